use super::super::fewer::Preference;
use super::super::observation::{Measured, Quote, Report};
use super::*;
use proptest::prelude::*;

fn ready(in_flight: u32) -> Instance {
    let measured = Some(Measured { in_flight, over_ms: 1_000, ..Measured::default() });
    Instance { phase: Phase::Ready, measured, ..Instance::default() }
}

fn quoted(cost_ms: u32) -> Instance {
    let value = Quote { cost_ms, state_kib: Some(0), ..Quote::default() };
    let quote = Told { value, age_ms: 100, lease_ms: 5_000 };
    Instance { quotes: true, quote: Some(quote), ..ready(1) }
}

/// One may go, by itself.
fn terms<'a>(policy: &'a Policy, asked: &'a BTreeMap<InstanceNumber, u64>) -> Terms<'a> {
    let unit = Some(Unit { slots: 4, capacity_milli: 40_000 });
    let (excess, excess_ready, dear_ms, now_ms) = (1, 1, 60_000, 100_000);
    Terms { policy, unit, excess, excess_ready, dear_ms, now_ms, asked, only_retiring: false }
}

fn choose_one(state: State, instances: &[Instance], asked_ms: Option<u64>) -> Choice {
    let asked = asked_ms.map(|at_ms| (InstanceNumber(1), at_ms)).into_iter().collect();
    let policy = Policy { state, ..Policy::between(1, 8) };
    let numbered = (1..).map(InstanceNumber).zip(instances.iter().cloned());
    let observation = Observation { instances: numbered.collect(), ..Observation::default() };
    let terms = terms(&policy, &asked);
    choose(&observation, &terms)
}

fn leaves(state: State, instances: &[Instance]) -> Vec<u32> {
    choose_one(state, instances, None).leave.into_iter().map(|number| number.0).collect()
}

#[test]
fn the_cheapest_of_those_that_answered_goes() {
    assert_eq!(leaves(State::Stateful, &[quoted(900), quoted(20), quoted(500)]), [2]);
}

#[test]
fn of_those_that_cost_the_same_who_would_rather_go_goes_and_then_one_of_the_fullest_node() {
    let with = |cost_ms, preference, node| {
        let value = Quote { cost_ms, preference, ..Quote::default() };
        let quote = Told { value, age_ms: 100, lease_ms: 5_000 };
        Instance { quote: Some(quote), node: Some(NodeId(node)), ..quoted(0) }
    };
    let (go, any, stay) = (Preference::Prefer, Preference::Unspecified, Preference::Avoid);
    assert_eq!(leaves(State::None, &[with(5, stay, 1), with(5, go, 1), with(5, any, 1)]), [2]);
    assert_eq!(leaves(State::None, &[with(5, stay, 1), with(6, go, 1), with(6, any, 1)]), [1]);
    assert_eq!(leaves(State::None, &[with(5, any, 1), with(5, any, 1), with(5, any, 2)]), [2]);
}

#[test]
fn who_is_held_or_in_an_operation_is_neither_asked_nor_taken() {
    let held = Instance { held_ms: Some(5), ..quoted(0) };
    let moving = Instance { in_operation: true, ..quoted(0) };
    let choice = choose_one(State::None, &[held, moving, quoted(700)], None);
    assert_eq!((choice.leave, choice.ask), ([InstanceNumber(3)].to_vec(), Vec::new()));
    let standings: Vec<_> = choice.standings.into_values().take(2).collect();
    assert_eq!(standings, [Standing::Held(5), Standing::InOperation]);
}

#[test]
fn who_has_the_fewest_sessions_drains_where_their_end_is_waited_for_and_nobody_with_one_elsewhere() {
    let owner = |sessions| Instance { sessions, ..ready(0) };
    assert_eq!(leaves(State::None, &[owner(Some(1))]), Vec::<u32>::new(), "nothing waits for its end");
    assert_eq!(leaves(State::Session, &[owner(Some(1)), owner(Some(0)), owner(None)]), [2]);
    assert_eq!(leaves(State::Session, &[owner(Some(7)), owner(Some(2)), owner(None)]), [2]);
}

#[test]
fn silence_of_who_holds_something_is_never_a_yes() {
    assert_eq!(leaves(State::Stateful, &[ready(0)]), Vec::<u32>::new());
    let silent = Instance { quotes: true, ..ready(0) };
    let asked = choose_one(State::Stateful, &[silent.clone(), quoted(70)], None);
    assert_eq!((asked.leave, asked.ask), (Vec::new(), [InstanceNumber(1)].to_vec()));
    let later = choose_one(State::Stateful, &[silent.clone(), quoted(70)], Some(97_000));
    assert_eq!(later.leave, [InstanceNumber(2)], "the other one has answered");
    assert_eq!(later.standings[&InstanceNumber(1)], Standing::Silent);
    assert!(choose_one(State::Stateful, &[silent], Some(0)).waits, "it is asked again");
}

#[test]
fn who_was_asked_and_is_silent_makes_room_for_another_one_that_is_asked() {
    let silent = Instance { quotes: true, ..ready(0) };
    let instances = (1..=5).map(|number| (InstanceNumber(number), silent.clone())).collect();
    let observation = Observation { instances, ..Observation::default() };
    let policy = Policy { state: State::None, ..Policy::between(1, 8) };
    let asked = [3, 4, 5].map(|number| (InstanceNumber(number), 97_000)).into();
    let choice = choose(&observation, &terms(&policy, &asked));
    assert_eq!((choice.leave, choice.ask), (Vec::new(), [2, 1].map(InstanceNumber).to_vec()));
}

#[test]
fn who_holds_state_or_does_not_say_that_it_holds_none_goes_only_with_a_consent() {
    let holds = |state_kib| {
        let mut instance = quoted(0);
        instance.quote = instance.quote.map(|told| {
            let value = Quote { state_kib, ..told.value };
            Told { value, ..told }
        });
        instance
    };
    for state_kib in [Some(1), None] {
        let choice = choose_one(State::Stateful, &[holds(state_kib), quoted(900)], None);
        assert_eq!(choice.leave, [InstanceNumber(2)], "its loss is the cheaper one");
        assert_eq!(choice.standings[&InstanceNumber(1)], Standing::HoldsState(state_kib));
    }
    assert_eq!(leaves(State::None, &[holds(None), quoted(900)]), [1], "nothing of it is missed");
    let policy = Policy { accepts_loss: true, ..Policy::between(1, 8) };
    let instances = [(InstanceNumber(1), holds(Some(1)))].into();
    let observation = Observation { instances, ..Observation::default() };
    let nobody = BTreeMap::new();
    assert_eq!(
        choose(&observation, &terms(&policy, &nobody)).leave,
        [InstanceNumber(1)],
        "a person consents"
    );
}

#[test]
fn who_asked_to_go_comes_first_and_the_least_loaded_next() {
    let retires = Instance { retires: true, ..ready(3) };
    let policy = Policy { state: State::None, ..Policy::between(1, 8) };
    assert_eq!(leaves(policy.state, &[ready(3), ready(1), ready(2)]), [2]);
    let choice = choose_one(State::None, &[ready(9), ready(9), ready(9), retires], None);
    assert_eq!(choice.leave, [InstanceNumber(4)]);
}

#[test]
fn who_could_go_and_is_needed_to_serve_is_spared_and_not_called_dearer() {
    let instances = [(InstanceNumber(1), quoted(0)), (InstanceNumber(2), quoted(0))].into();
    let observation = Observation { instances, ..Observation::default() };
    let policy = Policy { state: State::None, ..Policy::between(1, 8) };
    let standings = |excess_ready| {
        let nobody = BTreeMap::new();
        let terms = Terms { excess_ready, ..terms(&policy, &nobody) };
        choose(&observation, &terms).standings.into_values().collect::<Vec<_>>()
    };
    assert_eq!(standings(0), [Standing::Spared, Standing::Spared]);
    assert_eq!(standings(1), [Standing::Dearer(Some(0)), Standing::Goes(Some(0))]);
}

/// It says that it has so much in flight, or nothing of it, and gateways see so much there, or do not say.
fn says(said: Option<u32>, measured: Option<u32>) -> Instance {
    let value = Report { in_flight: said, ..Report::default() };
    let report = Some(Told { value, age_ms: 0, lease_ms: 3_000 });
    Instance { report, measured: measured.map(ready).and_then(|it| it.measured), ..ready(0) }
}

proptest! {
    #[test]
    fn who_is_known_to_have_least_in_hand_goes_and_by_itself_nobody_of_whom_that_is_not_known(
        figures in prop::collection::vec(
            (prop::option::of(0..3_u32), prop::option::of(0..3_u32)),
            1..12,
        ),
    ) {
        let instances: Vec<_> = figures.iter().map(|(said, measured)| says(*said, *measured)).collect();
        let known: Vec<_> = figures.iter().map(|(said, measured)| *said.max(measured)).collect();
        let goes = leaves(State::None, &instances).first().map(|it| known[usize::try_from(*it).unwrap() - 1]);
        // By itself nobody goes of whom nothing is known.
        prop_assert_eq!(goes, known.iter().flatten().min().map(|least| Some(*least)));
    }
}

#[test]
fn who_cannot_be_asked_goes_by_the_more_of_its_word_and_what_is_measured_and_without_either_by_a_word_alone()
{
    let standings = |all: &[Instance]| {
        let choice = choose_one(State::None, all, None);
        (choice.leave.first().map(|it| it.0), choice.standings.into_values().collect::<Vec<_>>())
    };
    let (leaves, of) = standings(&[says(None, None), says(None, Some(2)), says(None, Some(1))]);
    assert_eq!((leaves, of[0]), (Some(3), Standing::Unmeasured));
    let (leaves, of) = standings(&[says(Some(4), None), says(Some(0), None), says(Some(1), None)]);
    assert_eq!((leaves, of[1], of[2]), (Some(2), Standing::Goes(Some(0)), Standing::Dearer(Some(100))));
    assert_eq!(standings(&[says(Some(4), Some(0)), says(Some(0), Some(3))]).0, Some(2));
    assert_eq!(standings(&[says(None, None)]), (None, [Standing::Unmeasured].to_vec()));
    let down = Instance { phase: Phase::NotReady, ..says(None, None) };
    assert_eq!(standings(&[says(Some(0), None), down]).1[0], Standing::Goes(Some(0)), "it may hold less");
    // A person's word takes it, and last.
    let policy = Policy { state: State::None, ..Policy::between(1, 8) };
    let by_person = |all: &[Instance]| {
        let instances = (1..).map(InstanceNumber).zip(all.iter().cloned()).collect();
        let observation = Observation { instances, ..Observation::default() };
        choose(&observation, &Terms { dear_ms: u64::MAX, ..terms(&policy, &BTreeMap::new()) }).standings
    };
    let of: Vec<_> = by_person(&[says(None, None), says(Some(9), None)]).into_values().collect();
    assert_eq!(of, [Standing::Dearer(None), Standing::Goes(Some(900))]);
    let of: Vec<_> = by_person(&[says(None, None)]).into_values().collect();
    assert_eq!(of, [Standing::Goes(None)]);
    let retires = Instance { retires: true, ..says(None, None) };
    assert_eq!(standings(&[says(Some(0), None), retires]).0, Some(2), "who asks to go does first");
    let mut stale = says(Some(0), None);
    stale.report = stale.report.map(|report| Told { age_ms: 3_000, ..report });
    assert_eq!(standings(&[says(Some(9), None), stale]).0, Some(1), "what it said before is over");
    // Who can be asked is asked last of those of which nothing is known.
    let asked = |it: Instance| Instance { quotes: true, ..it };
    let all = [says(None, None), says(None, Some(9)), says(None, Some(8)), says(None, Some(7))];
    let choice = choose_one(State::None, &all.map(asked), None);
    assert_eq!(choice.ask, [4, 3, 2].map(InstanceNumber));
    let behind = Standing::Behind { sessions: None, in_flight: None };
    assert_eq!(choice.standings[&InstanceNumber(1)], behind);
}

#[test]
fn who_costs_more_than_a_hold_is_kept() {
    let choice = choose_one(State::Stateful, &[quoted(60_001)], None);
    assert_eq!((choice.leave.len(), choice.standings[&InstanceNumber(1)]), (0, Standing::TooDear(60_001)));
}
