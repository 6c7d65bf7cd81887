use super::*;
use crate::stage::{Stage, drains, serves, worker};
use paracloud_substrate::config::Scale;

#[test]
fn what_is_decided_by_itself_consents_to_no_loss() {
    assert!(!LEAVES.loss_accepted && LEAVES.budget_ms.is_none());
}

#[test]
fn a_loss_is_one_by_the_word_of_the_manifest_where_there_may_be_something_to_lose() {
    let table = [
        (true, State::Stateful, true, true),
        (false, State::Stateful, true, false),
        (true, State::Stateful, false, false),
        (true, State::Session, true, false),
        (true, State::None, true, false),
    ];
    for (is_accepted, state, holds, expected) in table {
        assert_eq!(is_lost(is_accepted, state, holds), expected, "{is_accepted} {state:?} {holds}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leave_that_is_answered_late_is_noted_then_and_one_that_nobody_was_told_of_is_none() {
    let (noted, notes) = std::sync::mpsc::channel();
    let note = |what: &'static str| {
        let noted = noted.clone();
        move |operation| noted.send((what, operation)).unwrap()
    };
    let mut following = JoinSet::new();
    let (instance, answer) = Answer::awaited(None);
    instance.give(Ok(OperationNumber(6)));
    let did = followed(std::future::ready(Ok(answer)), &mut following, note("in time")).await;
    assert_eq!(did.unwrap(), OperationNumber(6));
    let never = std::future::pending::<Result<Answer, Rejected>>();
    let did = followed(never, &mut following, note("never")).await;
    assert!(matches!(did, Err(Rejected::Undecided(_))) && following.is_empty());
    let (instance, answer) = Answer::awaited(None);
    let did = followed(std::future::ready(Ok(answer)), &mut following, note("late")).await;
    assert!(matches!(did, Err(Rejected::Undecided(_))));
    assert_eq!(notes.try_recv().ok(), None);
    instance.give(Ok(OperationNumber(7)));
    assert!(following.join_next().await.unwrap().is_ok());
    assert_eq!(notes.try_iter().collect::<Vec<_>>(), [("late", OperationNumber(7))]);
}

#[tokio::test(start_paused = true)]
async fn while_one_that_was_handed_a_leave_does_not_answer_it_nobody_else_is_handed_one() {
    let app = worker(Scale { min: 1, max: 4, ..Scale::default() });
    let mut stage = Stage::of(app, [1, 2, 3].map(serves));
    let control = Arc::clone(&stage.control);
    let by = By { reason: Reason::ScaleIn, why: "one fewer".to_owned() };
    let mut following = JoinSet::new();
    for name in ["worker.3", "worker.2"] {
        let did = followed(control.hand_leave(name, LEAVES, &by), &mut following, |_| ()).await;
        assert!(matches!(did, Err(Rejected::Undecided(_))), "{did:?}");
    }
    let (_, answering) = stage.handed("worker.3").unwrap();
    assert!(stage.handed("worker.2").is_none(), "two at once");
    stage.shows("worker.3", drains(3));
    answering.give(Ok(OperationNumber(1)));
    drop(in_time(control.hand_leave("worker.2", LEAVES, &by)).await.unwrap().unwrap());
    assert!(stage.handed("worker.2").is_some(), "its turn comes");
}
