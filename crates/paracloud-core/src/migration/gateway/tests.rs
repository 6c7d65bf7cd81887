//! Each rule of a gateway by itself.

use super::*;
use crate::ids::{NodeId, Placement, StartId};
use crate::migration::cause::Cause;
use crate::register::{Change, Mode, Proposer, Record};

const SETTING: Setting = Setting { parked_ms_max: 1_000, parked_max: 8, ask_ms: 100, soon_ms: 10 };

/// An owner that serves, and the same under a move.
fn records() -> (Record, Record) {
    let apply = |record: &Record, change| record.apply(&change, Proposer::Coordinator).unwrap();
    let first = Record::first(Placement::new(NodeId(1), StartId(1)));
    let served = apply(&first, Change::Serve(([127, 0, 0, 1], 80).into()));
    let target = Placement::new(NodeId(2), StartId(2));
    let sealing = apply(&apply(&served, Change::Open { mode: Mode::Handoff, target }), Change::Seal);
    (served, sealing)
}

fn told(gateway: &mut Gateway, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    gateway.step(&SETTING, input, &mut effects);
    effects
}

fn table(record: &Record) -> Input {
    Input::Coordinator(ToGateway::Table(Table::of(record, false)))
}

#[test]
fn an_older_table_is_not_taken_up() {
    let (served, sealing) = records();
    let mut gateway = Gateway::default();
    told(&mut gateway, table(&sealing));
    assert!(told(&mut gateway, table(&served)).is_empty());
    assert!(gateway.table().is_some_and(|table| table.parks && table.order == sealing.order()));
}

#[test]
fn a_request_that_the_route_in_force_refused_is_tried_again_after_a_pause_until_its_bound() {
    let (served, _) = records();
    let mut gateway = Gateway::default();
    told(&mut gateway, table(&served));
    let ticket = Ticket(1);
    let forwarded = |effects: &[Effect]| {
        effects.iter().filter(|effect| matches!(effect, Effect::Forward(of, _) if *of == ticket)).count()
    };
    assert_eq!(forwarded(&told(&mut gateway, Input::Arrived(ticket))), 1);
    for after_ms in [SETTING.soon_ms, SETTING.ask_ms, SETTING.ask_ms] {
        let refused = told(&mut gateway, Input::Answered(ticket, Answer::NotApplied));
        assert_eq!(forwarded(&refused), 0, "not at once: {refused:?}");
        assert!(refused.contains(&Effect::SetTimer(Timer::Ask, after_ms)), "{refused:?}");
        // The coordinator has nothing newer.
        assert_eq!(forwarded(&told(&mut gateway, table(&served))), 0);
        assert_eq!(forwarded(&told(&mut gateway, Input::Timer(Timer::Ask))), 1);
    }
    // The bound runs from the first wait, whatever is tried meanwhile.
    told(&mut gateway, Input::Timer(Timer::Bound(ticket)));
    let last = told(&mut gateway, Input::Answered(ticket, Answer::NotApplied));
    assert!(last.contains(&Effect::Fail(ticket, Failure::NotApplied)), "{last:?}");
    assert_eq!((gateway.parked(), gateway.outstanding()), (0, 0));
}

#[test]
fn of_who_leaves_sessions_are_served_on_and_everything_else_goes_elsewhere_until_nothing_is_left() {
    let (served, _) = records();
    let draining = served.apply(&Change::Leave, Proposer::Coordinator).unwrap();
    let mut gateway = Gateway::default();
    told(&mut gateway, table(&served));
    told(&mut gateway, Input::Arrived(Ticket(1)));
    let obeyed = FromGateway::Obeyed { order: draining.order(), parks: true };
    let heard = told(&mut gateway, table(&draining));
    assert!(heard.contains(&Effect::Drain(draining.order())), "{heard:?}");
    assert!(heard.contains(&Effect::Coordinator(obeyed)), "at once: {heard:?}");
    assert_eq!(told(&mut gateway, Input::Arrived(Ticket(2))), [Effect::Elsewhere(Ticket(2))]);
    let belongs = told(&mut gateway, Input::Belongs(Ticket(3)));
    assert!(matches!(belongs.as_slice(), [Effect::Forward(Ticket(3), _)]), "{belongs:?}");
    assert_eq!(told(&mut gateway, Input::Emptied(draining.order())), [], "two are outstanding");
    assert_eq!(told(&mut gateway, Input::Answered(Ticket(1), Answer::Replied)), []);
    let refused = told(&mut gateway, Input::Answered(Ticket(3), Answer::NotApplied));
    let drained = Effect::Coordinator(FromGateway::Drained { order: draining.order() });
    assert_eq!(refused, [Effect::Elsewhere(Ticket(3)), drained]);
    let back = draining.apply(&Change::Return(Cause::Cancelled), Proposer::Coordinator).unwrap();
    told(&mut gateway, table(&back));
    let sent = told(&mut gateway, Input::Arrived(Ticket(5)));
    assert!(matches!(sent.as_slice(), [Effect::Forward(Ticket(5), _)]), "it serves again: {sent:?}");
}

#[test]
fn a_session_that_comes_after_it_was_said_that_none_is_left_is_served_when_that_is_taken_back() {
    let (served, _) = records();
    let apply = |record: &Record, change| record.apply(&change, Proposer::Coordinator).unwrap();
    let draining = apply(&served, Change::Leave);
    let mut gateway = Gateway::default();
    told(&mut gateway, table(&served));
    told(&mut gateway, table(&draining));
    let drained = |record: &Record| Effect::Coordinator(FromGateway::Drained { order: record.order() });
    assert_eq!(told(&mut gateway, Input::Emptied(draining.order())), [drained(&draining)]);
    let wanted = Effect::Coordinator(FromGateway::Wanted { order: draining.order() });
    for ticket in [Ticket(1), Ticket(2)] {
        let waits = told(&mut gateway, Input::Belongs(ticket));
        assert!(waits.contains(&Effect::Parked(ticket)), "{waits:?}");
        assert_eq!(waits.contains(&wanted), ticket == Ticket(1), "{waits:?}");
    }
    assert!(told(&mut gateway, Input::Timer(Timer::Ask)).contains(&wanted), "it may have been lost");
    assert!(!told(&mut gateway, table(&draining)).contains(&Effect::Elsewhere(Ticket(1))), "nothing new");
    // Its bound ends the wait: nothing is sent there by a table by which that was excluded.
    assert_eq!(told(&mut gateway, Input::Timer(Timer::Bound(Ticket(2)))), [Effect::Elsewhere(Ticket(2))]);
    let again = apply(&draining, Change::DrainAgain);
    let heard = told(&mut gateway, table(&again));
    assert!(matches!(heard.as_slice(), [.., Effect::Forward(Ticket(1), _), _]), "{heard:?}");
    assert_eq!(told(&mut gateway, Input::Emptied(again.order())), [], "it is outstanding");
    // Who comes before it was said takes it back alone.
    let more = told(&mut gateway, Input::Belongs(Ticket(3)));
    assert!(matches!(more.as_slice(), [Effect::Drain(_), Effect::Forward(Ticket(3), _)]), "{more:?}");
    told(&mut gateway, Input::Answered(Ticket(1), Answer::Replied));
    assert_eq!(told(&mut gateway, Input::Answered(Ticket(3), Answer::Replied)), []);
    assert_eq!(told(&mut gateway, Input::Emptied(again.order())), [drained(&again)]);
    // Where its end was decided first, it finds its session elsewhere, or begins a new one.
    told(&mut gateway, Input::Belongs(Ticket(4)));
    let left = told(&mut gateway, table(&apply(&again, Change::Depart)));
    assert!(left.contains(&Effect::Elsewhere(Ticket(4))), "{left:?}");
    assert_eq!(told(&mut gateway, Input::Belongs(Ticket(5))), [Effect::Elsewhere(Ticket(5))]);
}

#[test]
fn a_gateway_that_begins_while_an_instance_leaves_sends_nothing_there_that_an_earlier_life_excluded() {
    let (served, _) = records();
    let apply = |record: &Record, change| record.apply(&change, Proposer::Coordinator).unwrap();
    let draining = apply(&served, Change::Leave);
    let mut gateway = Gateway::default();
    told(&mut gateway, Input::Started);
    told(&mut gateway, table(&draining));
    let waits = told(&mut gateway, Input::Belongs(Ticket(1)));
    let wanted = Effect::Coordinator(FromGateway::Wanted { order: draining.order() });
    assert!(waits.contains(&wanted) && waits.contains(&Effect::Parked(Ticket(1))), "{waits:?}");
    let heard = told(&mut gateway, table(&apply(&draining, Change::DrainAgain)));
    assert!(heard.iter().any(|effect| matches!(effect, Effect::Forward(Ticket(1), _))), "{heard:?}");
}

#[test]
fn what_waits_for_an_instance_that_has_left_is_handed_back() {
    let (served, sealing) = records();
    let mut gateway = Gateway::default();
    told(&mut gateway, table(&sealing));
    told(&mut gateway, Input::Arrived(Ticket(1)));
    let changes = [Change::RollBack(Cause::Cancelled), Change::Close, Change::Leave, Change::Depart];
    let apply = |record: Record, change: &Change| record.apply(change, Proposer::Coordinator).unwrap();
    let left = changes.iter().chain([&Change::Gone]).fold(sealing, apply);
    assert!(left.gone && served.order() < left.order());
    let heard = told(&mut gateway, table(&left));
    assert!(heard.contains(&Effect::Elsewhere(Ticket(1))), "{heard:?}");
    assert_eq!(
        (gateway.parked(), told(&mut gateway, Input::Arrived(Ticket(2)))),
        (0, [Effect::Elsewhere(Ticket(2))].into())
    );
}

#[test]
fn a_park_is_answered_when_nothing_is_outstanding() {
    let (served, sealing) = records();
    let mut gateway = Gateway::default();
    told(&mut gateway, table(&served));
    let sent = told(&mut gateway, Input::Arrived(Ticket(1)));
    assert!(matches!(sent.as_slice(), [Effect::Forward(Ticket(1), _)]), "{sent:?}");
    assert!(told(&mut gateway, table(&sealing)).is_empty());
    let obeyed = FromGateway::Obeyed { order: sealing.order(), parks: true };
    let answered = told(&mut gateway, Input::Answered(Ticket(1), Answer::Replied));
    assert_eq!(answered, [Effect::Coordinator(obeyed)]);
}
