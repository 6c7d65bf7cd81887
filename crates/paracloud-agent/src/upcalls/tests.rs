use super::*;
use paci::call::{Abort, Prepare, Seal, Serve, Side};
use paci::names::AnswerCode;
use paci::proof::Sealed;

fn seal(operation: u32) -> Upcall {
    Upcall { operation, call: Some(Call::Seal(Seal::default())), ..Upcall::default() }
}

fn sealed(upcall: &Upcall, position: u64) -> Answer {
    Answer::to(upcall, Verdict::Done).with(Finding::Sealed(Sealed::new(position, &[7; 16])))
}

fn asked(upcall: Upcall) -> (Desk, Upcall) {
    let mut desk = Desk::default();
    desk.ask(upcall, 0);
    let delivered = desk.deliver(0).unwrap();
    (desk, delivered)
}

#[test]
fn attempts_grow_over_all_calls_of_an_operation() {
    let (mut desk, first) = asked(seal(7));
    desk.ask(Upcall { call: Some(Call::Serve(Serve { incarnation: 2 })), ..seal(7) }, 0);
    let second = desk.deliver(0).unwrap();
    assert_eq!((first.attempt, second.attempt), (1, 2));
    desk.ask(seal(8), 0);
    assert_eq!(desk.deliver(0).unwrap().attempt, 1);
}

#[test]
fn an_unanswered_upcall_comes_again_and_then_is_said_to_be_unanswered() {
    let (mut desk, _) = asked(seal(7));
    let ack = u64::from(bounds::ACK_MS);
    assert_eq!(desk.deliver(ack - 1), None);
    assert_eq!(desk.deliver(ack).unwrap().attempt, 2);
    assert_eq!(desk.deliver(2 * ack).unwrap().attempt, 3);
    assert!(!desk.falls_silent());
    assert_eq!(desk.deliver(3 * ack).unwrap().attempt, 4);
    assert_eq!((desk.falls_silent(), desk.falls_silent(), desk.is_silent()), (true, false, true));
}

/// Goes by the clock of what is due, as one whom nobody polls: when it fell silent, and how often it was woken.
fn unpolled(desk: &mut Desk) -> (u64, u32) {
    let mut wake = |woken| {
        let now_ms = desk.misses_ms().expect("it is still counted");
        desk.miss(now_ms);
        desk.falls_silent().then_some((now_ms, woken))
    };
    (1..=100).find_map(&mut wake).expect("it falls silent")
}

#[test]
fn what_nobody_polls_for_counts_as_unanswered_and_uses_no_delivery_up() {
    let ack = u64::from(bounds::ACK_MS);
    let mut desk = Desk::default();
    desk.ask(seal(7), 500);
    assert_eq!(unpolled(&mut desk), (500 + 3 * ack, 3), "it never polled");
    assert_eq!(desk.misses_ms(), None, "it is said, and nothing is left to count");
    assert_eq!(desk.deliver(90_000).unwrap().attempt, 1, "it is there for who polls at last");
    assert!(!desk.falls_silent(), "said once");

    let (mut desk, upcall) = asked(seal(7));
    assert_eq!(unpolled(&mut desk), (3 * ack, 3), "it stopped when it had been asked");
    assert_eq!(desk.answer(&Answer::to(&upcall, Verdict::InProgress), false, 5_000), Ok(Taken::Counts));
    assert!(!desk.is_silent(), "it has answered");
    let heartbeats = 5_000 + 2 * u64::from(bounds::HEARTBEAT_MS);
    assert_eq!(unpolled(&mut desk), (heartbeats + 3 * ack, 3), "it stopped while it was at work");
    assert_eq!(desk.answer(&sealed(&upcall, 9), false, 20_000), Ok(Taken::Counts), "it still counts");
    assert_eq!((desk.is_silent(), desk.misses_ms()), (false, None));
}

#[test]
fn what_ends_an_operation_is_overdue_after_its_budget_whatever_is_said_of_work() {
    let serve = Upcall { call: Some(Call::Serve(Serve { incarnation: 2 })), budget_ms: 9_000, ..seal(7) };
    let (mut desk, upcall) = asked(serve);
    let at_work = Answer::to(&upcall, Verdict::InProgress);
    let told: Vec<_> = (1..=20)
        .filter(|second| {
            let now_ms = second * 1_000;
            desk.answer(&at_work, false, now_ms).unwrap();
            desk.wait(now_ms);
            desk.falls_silent()
        })
        .collect();
    assert_eq!(told, [9], "once");
    assert!(desk.is_silent() && desk.is_at_work());
    desk.answer(&Answer::to(&upcall, Verdict::Done), false, 21_000).unwrap();
    assert!(!desk.is_silent());
    // A copy may last.
    let prepare = Upcall { call: Some(Call::Prepare(Prepare::default())), budget_ms: 9_000, ..seal(8) };
    let (mut desk, _) = asked(prepare);
    assert_eq!(desk.overdue_ms(), None);
    desk.wait(10_000);
    assert!(!desk.is_silent());
}

#[test]
fn a_poller_that_is_gone_for_less_than_the_time_of_a_delivery_has_missed_none() {
    let ack = u64::from(bounds::ACK_MS);
    let mut desk = Desk::default();
    desk.ask(seal(7), 0);
    for attempt in 1..=10 {
        let due_ms = desk.due_ms().unwrap();
        desk.miss(due_ms + ack - 1);
        let upcall = desk.deliver(due_ms + ack - 1).unwrap();
        assert_eq!(upcall.attempt, attempt);
        assert!(!desk.falls_silent());
        desk.answer(&Answer::to(&upcall, Verdict::InProgress), false, due_ms + ack - 1).unwrap();
    }
}

#[test]
fn a_delivery_that_reached_nobody_is_due_at_once() {
    let (mut desk, _) = asked(seal(7));
    desk.returned();
    assert_eq!(desk.deliver(0).unwrap().attempt, 2);
}

#[test]
fn one_at_work_is_asked_again_only_after_two_heartbeats() {
    let (mut desk, upcall) = asked(seal(7));
    assert_eq!(desk.answer(&Answer::to(&upcall, Verdict::InProgress), false, 500), Ok(Taken::Counts));
    assert_eq!(desk.due_ms(), Some(500 + 2 * u64::from(bounds::HEARTBEAT_MS)));
}

#[test]
fn an_answer_to_what_was_never_delivered_is_unknown() {
    let (mut desk, upcall) = asked(seal(7));
    for (operation, attempt) in [(6, 1), (7, 2), (8, 1)] {
        let answer = Answer { operation, attempt, ..sealed(&upcall, 9) };
        assert_eq!(desk.answer(&answer, false, 0).unwrap_err().code, ErrorCode::OperationUnknown);
    }
    assert!(desk.open().is_some(), "the question stands");
}

#[test]
fn the_first_final_answer_counts_and_another_one_is_refused() {
    let (mut desk, upcall) = asked(seal(7));
    assert_eq!(desk.answer(&sealed(&upcall, 9), false, 0), Ok(Taken::Counts));
    assert_eq!(desk.answer(&sealed(&upcall, 9), false, 0), Ok(Taken::Nothing), "said again");
    assert_eq!(desk.answer(&sealed(&upcall, 9), true, 0), Ok(Taken::Nothing), "said again, late");
    let other = desk.answer(&sealed(&upcall, 10), false, 0).unwrap_err();
    assert_eq!(other.code, ErrorCode::AnswerDiffers);
    let straggler = Answer::to(&upcall, Verdict::InProgress);
    assert_eq!(desk.answer(&straggler, false, 0), Ok(Taken::Nothing));
    assert_eq!(desk.due_ms(), None);
}

#[test]
fn an_answer_to_an_earlier_call_counts_for_nothing() {
    let (mut desk, first) = asked(seal(7));
    desk.ask(Upcall { call: Some(Call::Abort(Abort {})), ..seal(7) }, 0);
    desk.deliver(0).unwrap();
    assert_eq!(desk.answer(&sealed(&first, 9), false, 0), Ok(Taken::Nothing));
    assert!(desk.open().is_some());
    assert_eq!(desk.answer(&sealed(&first, 9), true, 0).unwrap_err().code, ErrorCode::OperationClosed);
}

#[test]
fn another_answer_is_another_one_also_when_the_next_call_is_asked() {
    let (mut desk, first) = asked(seal(7));
    desk.answer(&sealed(&first, 9), false, 0).unwrap();
    for incarnation in 2..7 {
        desk.ask(Upcall { call: Some(Call::Serve(Serve { incarnation })), ..seal(7) }, 0);
        let serve = desk.deliver(0).unwrap();
        desk.answer(&Answer::to(&serve, Verdict::Done), false, 0).unwrap();
    }
    assert_eq!(desk.answer(&sealed(&first, 9), false, 0), Ok(Taken::Nothing), "said again");
    let other = desk.answer(&sealed(&first, 10), false, 0).unwrap_err();
    assert_eq!(other.code, ErrorCode::AnswerDiffers);
    assert!(other.message.starts_with("seal was answered DONE"), "{other:?}");
    assert_eq!(desk.answer(&sealed(&first, 10), true, 0).unwrap_err().code, ErrorCode::OperationClosed);
    for operation in 8..20 {
        desk.ask(seal(operation), 0);
        let upcall = desk.deliver(0).unwrap();
        desk.answer(&sealed(&upcall, 9), false, 0).unwrap();
    }
    assert_eq!(desk.settled.len(), SETTLED_MAX);
}

#[test]
fn an_answer_of_another_call_is_out_of_bounds_and_changes_nothing() {
    let (mut desk, upcall) = asked(seal(7));
    let bare = Answer::to(&upcall, Verdict::Done);
    assert_eq!(desk.answer(&bare, false, 0).unwrap_err().code, ErrorCode::OutOfBounds);
    assert_eq!(desk.answer(&sealed(&upcall, 9), false, 0), Ok(Taken::Counts));
}

#[test]
fn an_answer_after_the_operation_is_over_is_refused() {
    let (mut desk, upcall) = asked(seal(7));
    assert_eq!(desk.answer(&sealed(&upcall, 9), true, 0).unwrap_err().code, ErrorCode::OperationClosed);
}

#[test]
fn a_deferral_is_asked_again_when_it_expires() {
    let prepare = Call::Prepare(Prepare { side: Side::Source, ..Prepare::default() });
    let (mut desk, upcall) = asked(Upcall { call: Some(prepare), ..seal(7) });
    let defer = Answer { retry_after_ms: 300, ..Answer::to(&upcall, Verdict::Defer) };
    assert_eq!(desk.answer(&defer, false, 100), Ok(Taken::Counts));
    assert_eq!(desk.due_ms(), Some(400));
}

fn abort(budget_ms: u32) -> Upcall {
    Upcall { call: Some(Call::Abort(Abort {})), budget_ms, ..seal(7) }
}

#[test]
fn an_abort_that_is_not_answered_counts_as_answered_once_and_is_delivered_on() {
    let (mut desk, _) = asked(abort(1_500));
    assert_eq!((desk.lapses_ms(), desk.lapse(1_499)), (Some(1_500), None));
    assert_eq!((desk.lapse(1_600), desk.lapse(1_700), desk.lapses_ms()), (Some(1_600), None, None));
    let late = desk.deliver(1_600).unwrap();
    assert_eq!((late.attempt, &late.call), (2, &abort(0).call));
    let done = Answer::to(&late, Verdict::Done);
    assert_eq!(desk.answer(&done, true, 1_700).unwrap_err().code, ErrorCode::OperationClosed);
    assert_eq!(desk.due_ms(), None, "it has answered: it is not asked on");
    for call in [seal(7).call, Some(Call::Serve(Serve { incarnation: 2 }))] {
        let (desk, _) = asked(Upcall { call, budget_ms: 1_500, ..seal(7) });
        assert_eq!(desk.lapses_ms(), None, "what is decided is waited for");
    }
}

#[test]
fn an_abort_that_is_asked_anew_has_no_more_time_and_counts_as_answered_anew() {
    let (mut desk, _) = asked(abort(1_500));
    desk.withdraw();
    desk.ask(abort(1_500), 1_000);
    assert_eq!(desk.lapses_ms(), Some(1_500), "a Hello after the other does not put it off");
    assert!(desk.lapse(1_500).is_some());
    desk.ask(abort(1_500), 2_000);
    assert!(desk.lapse(2_000).is_some(), "whoever asked anew has to hear it anew");
    desk.ask(Upcall { operation: 8, ..abort(1_500) }, 3_000);
    assert_eq!(desk.lapses_ms(), Some(4_500), "another operation's");
}

#[test]
fn progress_puts_the_end_of_an_abort_off_but_not_for_ever() {
    let (mut desk, mut upcall) = asked(abort(1_000));
    let mut now_ms = 0;
    while desk.lapse(now_ms).is_none() {
        assert!(now_ms <= 4_000, "{desk:?}");
        let working = Answer::to(&upcall, Verdict::InProgress);
        assert_eq!(desk.answer(&working, false, now_ms), Ok(Taken::Counts));
        upcall = desk.deliver(now_ms).unwrap_or(upcall);
        now_ms += 100;
    }
    assert_eq!(now_ms, 4_000, "four budgets");
    let (mut desk, upcall) = asked(abort(1_000));
    desk.answer(&Answer::to(&upcall, Verdict::InProgress), false, 900).unwrap();
    let defer = Answer { retry_after_ms: 5_000, ..Answer::to(&upcall, Verdict::Defer) };
    desk.answer(&defer, false, 950).unwrap();
    assert_eq!(desk.lapses_ms(), Some(1_900), "a deferral is no progress");
}

#[test]
fn an_abort_that_is_answered_is_not_said_to_be_unanswered() {
    for verdict in [Verdict::Done, Verdict::Failed, Verdict::Unsupported, Verdict::Refuse] {
        let (mut desk, upcall) = asked(abort(1_000));
        let answer = Answer::to(&upcall, verdict);
        let answer = if verdict == Verdict::Done { answer } else { answer.because(AnswerCode::WrongPhase) };
        assert_eq!(desk.answer(&answer, false, 10), Ok(Taken::Counts));
        assert_eq!((desk.lapses_ms(), desk.lapse(5_000)), (None, None), "{verdict}");
    }
}

#[test]
fn after_a_restart_deliveries_go_on_from_where_they_were() {
    let (desk, _) = asked(seal(7));
    let mut desk = Desk::resumed(desk.deliveries().collect::<Vec<_>>());
    desk.ask(seal(7), 0);
    assert_eq!(desk.deliver(0).unwrap().attempt, 2);
}

#[test]
fn operations_long_past_are_closed_and_not_kept() {
    let mut desk = Desk::default();
    for operation in 1..=20 {
        desk.ask(seal(operation), 0);
        desk.deliver(0).unwrap();
    }
    assert_eq!(desk.deliveries().count(), OPERATIONS_MAX);
    let old = Answer { operation: 2, attempt: 1, verdict: Verdict::InProgress, ..Answer::default() };
    assert_eq!(desk.answer(&old, false, 0).unwrap_err().code, ErrorCode::OperationClosed);
}
