use super::super::tests::{asked, candidate, costs};
use super::*;
use alloc::string::ToString;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::vec as list;

fn of(to: u32, candidates: Vec<Candidate>, may_lose: bool) -> Fewer {
    let from = u32::try_from(candidates.len()).unwrap();
    Fewer::of("web", from, to, candidates, may_lose)
}

/// So many that are alike.
fn alike(count: u32) -> Vec<Candidate> {
    (0..count).map(|it| candidate(&it.to_string(), 1, None, None)).collect()
}

/// How many are asked in each round, where these are to leave and nobody says anything.
fn rounds(count: u32, excess: u32) -> Vec<usize> {
    let silent = list![None; usize::try_from(count).unwrap()];
    let fewer = asked(of(count - excess, alike(count), true), &silent);
    fewer.rounds.iter().map(|it| it.asked.len()).collect()
}

#[test]
fn who_has_least_in_it_is_asked_and_who_is_held_is_not() {
    let candidates = list![
        candidate("web.5", 1, Some(2), None),
        candidate("web.4", 1, None, None),
        candidate("web.3", 2, Some(0), Some(Obstacle::Held(1_500))),
        candidate("web.2", 2, Some(1), None),
        candidate("web.1", 2, Some(9), None),
    ];
    let fewer = of(4, candidates, true);
    assert_eq!(fewer.next(), Next::Ask(list![3, 0, 4]), "who does not say how much is in it is not idle");
}

#[test]
fn sessions_that_are_known_decide_whom_to_ask_and_who_leaves_where_nobody_says_how_many_it_has() {
    let with = |name: &str, sessions| Candidate { sessions, ..candidate(name, 1, Some(0), None) };
    let candidates =
        list![with("web.5", Some(3)), with("web.4", None), with("web.3", Some(5)), with("web.1", Some(0))];
    let fewer = of(3, candidates, true);
    assert_eq!(fewer.next(), Next::Ask(list![3, 0, 2]), "who may have any is asked last");
    let unsaid = costs(0).map(|loss| Loss { sessions: None, ..loss });
    let chosen = |says: &[Option<Loss>]| asked(fewer.clone(), says).chosen[0];
    assert_eq!(chosen(&[unsaid; 4]), (3, Chosen::Goes));
    let more = costs(0).map(|loss| Loss { sessions: Some(9), ..loss });
    assert_eq!(chosen(&[unsaid, unsaid, unsaid, more]), (0, Chosen::Goes), "its own word goes before");
}

#[test]
fn of_those_that_say_the_same_the_sessions_that_are_known_decide_and_are_told_unless_a_node_is_fuller() {
    let with = |name: &str, node, sessions| Candidate { sessions, ..candidate(name, node, Some(0), None) };
    let decided = |candidates: &[Candidate]| asked(of(1, candidates.to_vec(), true), &[costs(0); 3]);
    let two = [with("web.2", 2, Some(3)), with("web.1", 1, Some(1))];
    let fewer = Fewer { from: 2, ..decided(&two) };
    assert_eq!(fewer.chosen, [(1, Chosen::Goes), (0, Chosen::Stays)]);
    assert!(fewer.is_by_known_sessions(&two[1], &two[0]) && !fewer.is_by_known_sessions(&two[0], &two[1]));
    let record = super::super::Record { at_ms: 0, decision: super::super::Decision::Fewer(fewer) };
    let told = super::super::explain(&record, super::super::Of::All);
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("0 sessions by its own word, 3 by what was known before"), "{told}");
    // Where more are on a node, that decides, and sessions do only after it.
    let three = [with("web.3", 1, Some(9)), with("web.2", 1, Some(8)), with("web.1", 2, Some(0))];
    let fewer = Fewer { to: 2, ..decided(&three) };
    let chosen: Vec<_> = fewer.chosen.iter().map(|(place, _)| *place).collect();
    assert_eq!(chosen[0], 1, "of the fullest node, who has the fewest");
    assert!(!fewer.is_by_known_sessions(&three[1], &three[2]));
    assert!(fewer.is_by_known_sessions(&three[1], &three[0]));
}

#[test]
fn a_few_for_each_that_is_to_leave_are_asked_and_never_fewer_than_are_to_leave() {
    let first = |excess| rounds(100, excess)[0];
    assert_eq!([1, 5, 20, 32, 56].map(first), [3, 15, 32, 32, 56]);
}

#[test]
fn what_each_said_decides_who_leaves() {
    let holds = costs(1).map(|loss| Loss { state_kib: Some(64), sessions: Some(2), ..loss });
    let outcome = |may_lose| asked(of(2, alike(3), may_lose), &[costs(40), holds, None]).chosen;
    let (goes, stays, needs) = (Chosen::Goes, Chosen::Stays, Chosen::NeedsConsent);
    assert_eq!(outcome(true), [(0, goes), (1, stays), (2, Chosen::Silent)]);
    assert_eq!(outcome(false), [(0, goes), (1, needs), (2, needs)]);
}

#[test]
fn others_are_asked_before_who_says_nothing_leaves() {
    let says = [None, None, None, costs(9), costs(8)];
    let fewer = asked(of(4, alike(5), true), &says);
    let asked: Vec<_> = fewer.rounds.iter().map(|it| it.asked.clone()).collect();
    assert_eq!(asked, [list![0, 1, 2], list![3, 4]]);
    assert_eq!(fewer.chosen[..2], [(4, Chosen::Goes), (3, Chosen::Stays)]);
    assert!(fewer.chosen[2..].iter().all(|(_, it)| *it == Chosen::Silent), "{:?}", fewer.chosen);
}

#[test]
fn others_are_asked_before_somebody_has_to_consent_to_a_loss() {
    let holds = costs(0).map(|loss| Loss { state_kib: Some(64), ..loss });
    let fewer = asked(of(3, alike(4), false), &[holds, holds, None, costs(9)]);
    assert_eq!((fewer.rounds.len(), fewer.is_enough()), (2, true), "{:?}", fewer.chosen);
}

#[test]
fn nobody_else_is_asked_where_enough_can_go_and_only_those_that_are_missing_are_made_up_for() {
    let enough = asked(of(4, alike(5), true), &[None, None, costs(9), None, None]);
    assert_eq!((enough.rounds.len(), enough.chosen[0], enough.is_enough()), (1, (2, Chosen::Goes), true));
    let mut says = list![costs(9); 40];
    says[..14].fill(None);
    let missing = asked(of(35, alike(40), true), &says);
    let asked: Vec<_> = missing.rounds.iter().map(|it| it.asked.len()).collect();
    assert_eq!(asked, [15, 25], "one can go, and of four are missing nine for each, as far as there are");
}

#[test]
fn ever_more_are_asked_and_after_some_rounds_who_says_nothing_leaves() {
    assert_eq!(rounds(100, 1), [3, 9, 27, 32]);
    assert_eq!(rounds(30, 1), [3, 9, 18]);
    let fewer = asked(of(99, alike(100), true), &[None; 100]);
    assert_eq!((fewer.chosen[0].1, fewer.is_enough()), (Chosen::GoesUnheard, false));
}

prop_compose! {
    fn any_candidate()(node in 1..4u32, in_flight in option::of(0..4u32), is_held in prop::bool::weighted(0.2)) -> Candidate {
        candidate("web", node, in_flight, is_held.then_some(Obstacle::Held(1)))
    }
}

prop_compose! {
    fn any_loss()(cost_ms in option::of(0..3u32), sessions in option::of(0..2u32), state_kib in option::of(0..2u32)) -> Loss {
        Loss { cost_ms, sessions, state_kib, ..Loss::default() }
    }
}

proptest! {
    #[test]
    fn nobody_who_says_nothing_leaves_while_another_one_was_never_asked_unless_the_rounds_are_over(
        all in vec((any_candidate(), option::weighted(0.3, any_loss())), 1..120),
        to in 0..120u32,
        may_lose: bool,
    ) {
        let (candidates, says): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        let (first, mut fewer) = (of(to, candidates.clone(), may_lose), of(to, candidates, may_lose));
        let mut asked = std::collections::BTreeSet::new();
        while let Next::Ask(places) = fewer.next() {
            prop_assert!(fewer.rounds.len() < ROUNDS_MAX && !places.is_empty(), "it ends by itself");
            for place in &places {
                prop_assert!(asked.insert(*place), "nobody is asked twice");
                prop_assert!(fewer.candidates[*place].obstacle.is_none());
            }
            let said = places.iter().map(|place| says[*place]).collect();
            fewer = fewer.with(places, said);
        }
        let fewer = fewer.decided();
        let never_asked = fewer.unasked().filter(|it| it.obstacle.is_none()).count();
        let rounds_are_over = fewer.rounds.len() == ROUNDS_MAX;
        let goes_unheard = fewer.chosen.iter().any(|(_, it)| *it == Chosen::GoesUnheard);
        prop_assert!(!goes_unheard || never_asked == 0 || rounds_are_over);
        let goes = fewer.chosen.iter().filter(|(_, it)| it.goes()).count();
        prop_assert!(goes <= first.excess());
        prop_assert!(goes == first.excess() || never_asked == 0 || rounds_are_over, "nobody is forgotten");
        prop_assert_eq!(fewer.clone().replay(), fewer);
    }
}
