//! Moves that go well, and moves that are given up.

use crate::player::{Agent, Gateway};
use crate::town::{Controller, Person, Town, events, soon, swaps};
use paci::call::Schema;
use paracloud_core::ids::{Incarnation, NodeId, OperationNumber};
use paracloud_core::migration::Phase;
use paracloud_core::migration::message::Offer;
use paracloud_core::register::Mode;
use paracloud_substrate::config::State;
use paracloud_substrate::message::{Preview, Terms};
use paracloud_substrate::person::{Conclusion, Event, Outcome, Reply, Request, What};
use tokio::sync::watch;

fn outcome(replies: &[Reply]) -> &Outcome {
    match replies.last() {
        Some(Reply::Outcome(outcome)) => outcome,
        other => panic!("no outcome: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_nobody_knows_is_started_once_on_its_node() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let _people = town.populate();
    let seen = town.until_swapped("serve").await;
    let changes: Vec<_> = swaps(&seen).into_iter().map(|(change, _)| change).collect();
    assert_eq!(changes, ["first", "serve"]);
    let web = town.web().await;
    let record = web.record.unwrap();
    assert_eq!((record.owner.node, record.incarnation), (NodeId(1), Incarnation(1)));
    assert!(web.unknown.is_none() && web.state == State::Stateful && web.age_ms.is_some());
    controller.stop().await;

    // The next controller finds it and starts nothing.
    let controller = Controller::start(&town);
    town.until_swapped("serve").await;
    assert_eq!(town.web().await.record.unwrap().owner, record.owner);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handoff_is_swapped_durably_and_its_outcome_says_what_clients_saw() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let people = town.populate();
    town.until_swapped("serve").await;
    let replies = town.ask(Town::move_to(2)).await;
    let outcome = outcome(&replies);
    assert!(outcome.committed, "{outcome:?}");
    assert_eq!((outcome.node, outcome.incarnation), (NodeId(2), 2));
    assert_eq!((outcome.cause.as_ref(), outcome.mode, outcome.state_lost), (None, Mode::Handoff, false));
    // Both gateways have told, and the longer wait counts.
    assert_eq!((outcome.parked, outcome.parked_us_max, outcome.failed), (6, 2000, 0));
    assert_eq!((outcome.streams_cut, outcome.websockets_closed, outcome.clients_known), (2, 100, true));
    assert_eq!(outcome.carried_bytes, Some(4096));
    let phases: Vec<_> = outcome.phases.iter().map(|(phase, _)| *phase).collect();
    let expected = [
        Phase::Offer,
        Phase::Prepare,
        Phase::Copy,
        Phase::Drain,
        Phase::Park,
        Phase::Seal,
        Phase::Switch,
        Phase::Serve,
        Phase::Retire,
    ];
    // Gateways are released while the target is told to serve: only for those that take longer there is a phase.
    let phases: Vec<_> = phases.into_iter().filter(|phase| *phase != Phase::Release).collect();
    assert_eq!(phases, expected);
    assert!(!town.gates.lock().unwrap().doubled);
    assert_eq!(town.gates.lock().unwrap().open.len(), 1);
    assert!(people.0.node.lock().unwrap().alive.is_empty(), "the source was ended");

    // What was streamed and what is kept are the same swaps.
    let streamed = events(&replies);
    controller.stop().await;
    let controller = Controller::start(&town);
    let kept = swaps(&town.until_swapped("close").await);
    let changes: Vec<_> = kept.iter().map(|(change, _)| change.as_str()).collect();
    assert_eq!(changes, ["first", "serve", "open", "seal", "commit", "serve", "close"]);
    assert_eq!(swaps(&streamed), kept[2..]);
    assert_eq!(town.web().await.record.as_ref(), kept.last().map(|(_, record)| record));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_says_that_a_gateway_has_more_to_say_and_what_it_says_later_is_kept_with_the_move() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let (close, closed) = watch::channel(false);
    let _agents = (Agent::start(&town, 1), Agent::start(&town, 2));
    let _gateways = (Gateway::start(&town, 1), Gateway::late(&town, 2, closed));
    town.until_swapped("serve").await;
    let replies = town.ask(Town::move_to(2)).await;
    let outcome = outcome(&replies);
    assert_eq!((outcome.streams_cut, outcome.websockets_closed, outcome.clients_known), (2, 50, false));
    close.send(true).unwrap();
    let is_whole =
        |event: &Event| matches!(event.what, What::Parked { gateway: 2, account } if !account.more);
    let heard = town.until(is_whole).await;
    assert_eq!(heard.last().unwrap().operation, Some(outcome.operation));
    let concluded = What::Concluded(Conclusion { carried_bytes: Some(4096), clients_known: false });
    assert!(heard.iter().any(|event| event.what == concluded), "{heard:?}");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_says_before_it_is_released_is_never_its_last_word() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let (close, closed) = watch::channel(false);
    let _agents = (Agent::start(&town, 1), Agent::start(&town, 2));
    let _gateways = (Gateway::start(&town, 1), Gateway::early(&town, 2, closed));
    town.until_swapped("serve").await;
    let replies = town.ask(Town::move_to(2)).await;
    let outcome = outcome(&replies);
    let is_early = |event: &Event| {
        event.operation == Some(outcome.operation)
            && matches!(event.what, What::Parked { gateway: 2, account } if !account.more)
    };
    let heard = events(&replies);
    let early = heard.iter().position(is_early).expect("it says something when it begins to park");
    let commits = |event: &Event| matches!(&event.what, What::Swapped { change, .. } if change == "commit");
    assert!(heard.iter().position(commits).is_some_and(|commit| early < commit), "{heard:?}");
    assert!(!outcome.clients_known, "{outcome:?}");
    close.send(true).unwrap();
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unaware_program_with_consent_is_stopped_and_started() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let people = town.populate();
    town.until_swapped("serve").await;
    people.0.node.lock().unwrap().manners.preview =
        Ok(Preview { hands_over: false, offer: None, estimate: None, reason: String::new() });
    assert_eq!(town.refused(Town::move_to(2)).await.code, "consent_needed");
    let with_consent = Request::Move { instance: "web".to_owned(), to: None, accept_loss: true, wait: true };
    let replies = town.ask(with_consent).await;
    assert!(outcome(&replies).committed);
    let swapped = swaps(&events(&replies));
    let modes: Vec<_> = swapped.iter().filter_map(|(_, record)| record.moving().map(|it| it.mode)).collect();
    assert!(!modes.is_empty() && modes.iter().all(|mode| *mode == Mode::Restart));
    assert!(!town.gates.lock().unwrap().doubled);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_hands_over_and_refuses_now_is_not_restarted_by_what_its_manifest_consents_to() {
    let town = Town::with(|cloud| cloud.apps[0].accept_loss = true);
    let controller = Controller::start(&town);
    let people = town.populate();
    town.until_swapped("serve").await;
    let reason = "a backup is under way".to_owned();
    let preview = Preview { hands_over: true, offer: Some(Offer::Refuse), estimate: None, reason };
    people.0.node.lock().unwrap().manners.preview = Ok(preview.clone());
    let refused = town.refused(Town::move_to(2)).await;
    assert_eq!(refused.code, "refused");
    assert!(refused.message.contains("a backup is under way"), "{refused:?}");
    assert_eq!(town.web().await.record.unwrap().last_operation.0, 0, "nothing was opened");

    // What a person says with the move itself counts, and the source's agent hears of it.
    let with_consent = Request::Move { instance: "web".to_owned(), to: None, accept_loss: true, wait: true };
    let replies = town.ask(with_consent).await;
    let ended = outcome(&replies);
    assert_eq!((ended.mode, ended.committed, ended.state_lost), (Mode::Restart, true, true));
    assert!(people.0.node.lock().unwrap().terms.contains(&Terms { loss_accepted: true, ..Terms::default() }));

    // Of another program the manifest may say it once and for all, which is not taken for a person's word.
    let unaware = Preview { hands_over: false, offer: None, ..preview };
    {
        let mut node = people.1.node.lock().unwrap();
        node.manners.preview = Ok(unaware);
        node.terms.clear();
    }
    let replies = town.ask(Town::move_to(1)).await;
    assert!(outcome(&replies).state_lost);
    assert!(!people.1.node.lock().unwrap().terms.iter().any(|terms| terms.loss_accepted));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_is_told_which_schema_the_source_sends() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let people = town.populate();
    town.until_swapped("serve").await;
    let schema = Schema { name: "ledger".to_owned(), version: 3 };
    people.0.node.lock().unwrap().manners.schema = Some(schema.clone());
    assert!(outcome(&town.ask(Town::move_to(2)).await).committed);
    let told = people.1.node.lock().unwrap().terms.clone();
    assert!(told.contains(&Terms { schema: Some(schema), ..Terms::default() }), "{told:?}");
    // The next source has its own, or none.
    people.0.node.lock().unwrap().terms.clear();
    assert!(outcome(&town.ask(Town::move_to(1)).await).committed);
    assert!(people.0.node.lock().unwrap().terms.iter().all(|terms| terms.schema.is_none()));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_state_loses_none_when_it_is_restarted() {
    let town = Town::with(|cloud| cloud.apps[0].state = State::None);
    let controller = Controller::start(&town);
    let people = town.populate();
    town.until_swapped("serve").await;
    people.0.node.lock().unwrap().manners.preview =
        Ok(Preview { hands_over: false, offer: None, estimate: None, reason: String::new() });
    let replies = town.ask(Town::move_to(2)).await;
    let ended = outcome(&replies);
    assert_eq!((ended.mode, ended.committed, ended.state_lost), (Mode::Restart, true, false));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_cannot_be_made_ready_leaves_everything_as_it_was() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let people = town.populate();
    town.until_swapped("serve").await;
    people.1.node.lock().unwrap().manners.refuses_as_target = true;
    let replies = town.ask(Town::move_to(2)).await;
    let outcome = outcome(&replies);
    assert!(!outcome.committed);
    assert_eq!((outcome.node, outcome.incarnation, outcome.parked), (NodeId(1), 1, 0));
    assert!(outcome.cause.as_ref().unwrap().contains("the target could not go on"), "{outcome:?}");
    assert_eq!(town.gates.lock().unwrap().open.len(), 1);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_being_rolled_back_cannot_be_cancelled_again_and_is_not_called_committed() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let (first, second, _one, _two) = town.populate();
    town.until_swapped("serve").await;
    first.node.lock().unwrap().manners.copies_for_ever = true;
    let Request::Move { instance, to, accept_loss, .. } = Town::move_to(2) else { panic!("no move") };
    let unattended = Request::Move { instance, to, accept_loss, wait: false };
    assert_eq!(town.ask(unattended).await, [Reply::Begun(OperationNumber(1))]);
    // Nobody says that the target has ended, so the rollback does not.
    drop(second);
    let cancel = Request::Cancel { instance: "web".to_owned(), asked_unix_ms: 0 };
    assert_eq!(town.ask(cancel.clone()).await, [Reply::Done]);
    town.until_swapped("roll_back: cancelled").await;
    let refused = town.refused(cancel).await;
    assert_eq!(refused.code, "rolled_back");
    assert_eq!(refused.message, "web: the move is being rolled back already: there is nothing to cancel");
    assert!(refused.next.starts_with("wait for it to end"), "{}", refused.next);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_can_be_cancelled_while_it_copies_and_another_is_refused_meanwhile() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let people = town.populate();
    town.until_swapped("serve").await;
    people.0.node.lock().unwrap().manners.copies_for_ever = true;
    let cancel = Request::Cancel { instance: "web".to_owned(), asked_unix_ms: 0 };
    assert_eq!(town.refused(cancel.clone()).await.code, "nothing_open");
    let mut waiting = Person::ask(&town.layout, &Town::move_to(2)).await;
    town.until(|event| event.what == What::Entered(Phase::Copy)).await;
    assert_eq!(town.web().await.phase, Phase::Copy);
    assert_eq!(town.refused(Town::move_to(2)).await.code, "busy");
    assert_eq!(town.ask(cancel).await, [Reply::Done]);
    let ended = soon(async {
        loop {
            match waiting.next().await {
                Some(Reply::Outcome(outcome)) => break outcome,
                Some(Reply::Event(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    assert_eq!((ended.committed, ended.cause.as_deref()), (false, Some("cancelled")));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_asks_the_application_and_opens_nothing() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let people = town.populate();
    town.until_swapped("serve").await;
    let ask = Request::Preview { instance: "web".to_owned(), to: None };
    let previewed = town.ask(ask.clone()).await;
    let [Reply::Previewed { mode: Some(Mode::Handoff), to: NodeId(2), obstacle: None, .. }] = &previewed[..]
    else {
        panic!("{previewed:?}");
    };
    people.0.node.lock().unwrap().manners.preview = Ok(Preview {
        hands_over: true,
        offer: Some(Offer::Hold { remaining_ms: 9000 }),
        estimate: None,
        reason: "a backup is under way".to_owned(),
    });
    let previewed = town.ask(ask).await;
    let [Reply::Previewed { mode: None, obstacle: Some(obstacle), .. }] = &previewed[..] else {
        panic!("{previewed:?}");
    };
    assert_eq!(obstacle.code, "held");
    assert!(obstacle.message.contains("for 9.00 s: a backup is under way"), "{obstacle:?}");
    assert_eq!(town.web().await.record.unwrap().last_operation.0, 0);
    controller.stop().await;
}
