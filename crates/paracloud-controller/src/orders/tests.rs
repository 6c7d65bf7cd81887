use super::*;
use crate::stage::{Stage, drains, gone, serves, worker};
use paracloud_substrate::config::Scale;
use std::time::Duration;

fn by() -> By {
    By { reason: Reason::ScaleIn, why: "one fewer".to_owned() }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What it comes to before it has to wait for anybody.
async fn at_once<T>(what: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = what => Some(done),
        () = std::future::ready(()) => None,
    }
}

#[tokio::test]
async fn an_app_with_its_fewest_lets_nobody_go() {
    let two = worker(Scale { min: 2, max: 4, ..Scale::default() });
    let mut stage = Stage::of(two, [serves(1), serves(2), drains(3)]);
    let refused = at_once(stage.control.retire("worker.1", Terms::default(), &by())).await.unwrap();
    assert!(matches!(refused, Err(Rejected::Fewest(2))), "{refused:?}");
    assert!(stage.handed("worker.1").is_none(), "it hears nothing of it");
    stage.shows("worker.3", serves(3));
    assert!(at_once(stage.control.hand_leave("worker.1", Terms::default(), &by())).await.unwrap().is_ok());
    assert_eq!(stage.handed("worker.1").unwrap().0.command, Command::Leave);
}

#[tokio::test]
async fn whoever_was_told_to_leave_is_none_that_stays_until_it_has_answered_though_nobody_listens_any_more() {
    let two = worker(Scale { min: 2, max: 4, ..Scale::default() });
    let mut stage = Stage::of(two, [serves(1), serves(2), serves(3)]);
    let control = std::sync::Arc::clone(&stage.control);
    let answer = at_once(control.hand_leave("worker.3", Terms::default(), &by())).await.unwrap();
    drop(answer.unwrap());
    assert_eq!(control.staying("worker"), names(&["worker.1", "worker.2"]));
    let by = by();
    let mut another = Box::pin(control.retire("worker.1", Terms::default(), &by));
    assert!(at_once(&mut another).await.is_none(), "it waits for its turn");
    stage.shows("worker.3", drains(3));
    let (_, answering) = stage.handed("worker.3").unwrap();
    answering.give(Ok(OperationNumber(1)));
    assert_eq!(control.staying("worker"), names(&["worker.1", "worker.2"]));
    assert!(matches!(at_once(another).await, Some(Err(Rejected::Fewest(2)))));
    // Who refuses stays.
    stage.shows("worker.3", serves(3));
    drop(at_once(control.hand_leave("worker.3", Terms::default(), &by)).await.unwrap().unwrap());
    let (_, answering) = stage.handed("worker.3").unwrap();
    answering.give(Err(Rejected::Overtaken));
    assert_eq!(control.staying("worker").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_name_whose_start_nobody_waits_for_any_more_is_given_away_again_once_that_is_answered() {
    let three = worker(Scale { min: 1, max: 3, ..Scale::default() });
    let mut stage = Stage::of(three, [serves(1), gone(2)]);
    let control = std::sync::Arc::clone(&stage.control);
    let (cloud, by) = (control.cloud(), by());
    let app = cloud.app("worker").unwrap();
    let starts = tokio::time::timeout(Duration::from_secs(10), control.start_instance(app, &by)).await;
    assert!(starts.is_err(), "nobody answers");
    assert_eq!(control.fleet.there(), names(&["worker.1", "worker.2"]), "it may still come");
    let (order, answering) = stage.handed("worker.2").unwrap();
    assert!(matches!(order.command, Command::Start { .. }));
    stage.shows("worker.2", serves(3));
    answering.give(Ok(OperationNumber(0)));
    assert_eq!(control.fleet.there(), names(&["worker.1", "worker.2"]));
    stage.shows("worker.2", gone(3));
    assert_eq!(control.fleet.there(), names(&["worker.1"]), "it left again");
    // The same where it never came.
    let starts = tokio::time::timeout(Duration::from_secs(10), control.start_instance(app, &by)).await;
    assert!(starts.is_err() && control.fleet.there().len() == 2);
    let (_, answering) = stage.handed("worker.2").unwrap();
    answering.give(Err(Rejected::Overtaken));
    assert_eq!(control.fleet.there(), names(&["worker.1"]));
}

#[test]
fn an_app_keeps_its_fewest_and_who_goes_already_takes_nothing_from_them() {
    let stays = ["web.1", "web.2"].map(str::to_owned);
    assert!(keeps(1, &stays, "web.1").is_ok());
    assert!(matches!(keeps(2, &stays, "web.1"), Err(Rejected::Fewest(2))));
    assert!(matches!(keeps(3, &stays, "web.2"), Err(Rejected::Fewest(3))), "there are too few already");
    assert!(keeps(2, &stays, "web.3").is_ok());
}

#[test]
fn a_call_back_is_about_the_operation_that_it_names_and_consents_to_nothing() {
    let by = By { reason: Reason::ScaleOut, why: "more comes".to_owned() };
    let order = by.calls_back(OperationNumber(7));
    assert_eq!((order.command, order.only), (Command::Cancel, Some(OperationNumber(7))));
    assert!(!order.loss_accepted);
}
