//! What can be read afterwards: moves that were not begun, and what was lost, with whose consent.

use crate::player::{Agent, Gateway, Node};
use crate::town::{Controller, Person, Town, soon};
use paci::upcall::Reason;
use paracloud_core::ids::{NodeId, OperationNumber};
use paracloud_core::migration::Phase;
use paracloud_core::migration::message::Offer;
use paracloud_substrate::message::{Note, Preview, Speaker};
use paracloud_substrate::person::{Consent, Event, Loss, Refusal, Reply, Request, What};
use std::time::{SystemTime, UNIX_EPOCH};

fn offers(node: &mut Node, hands_over: bool, offer: Option<Offer>) {
    let reason = "payroll: month end".to_owned();
    node.manners.preview = Ok(Preview { hands_over, offer, estimate: None, reason });
}

fn refusals(events: &[Event]) -> Vec<Refusal> {
    let refusal = |event: &Event| {
        let What::Refused(refusal) = &event.what else { return None };
        Some(refusal.clone())
    };
    events.iter().filter_map(refusal).collect()
}

fn losses(events: &[Event]) -> Vec<(Option<OperationNumber>, Loss, Consent)> {
    let loss = |event: &Event| {
        let What::StateLost { by, consent } = event.what else { return None };
        Some((event.operation, by, consent))
    };
    events.iter().filter_map(loss).collect()
}

fn remark(event: &Event) -> Option<&str> {
    let What::Note(Note::Remark { by: Speaker::Controller, what }) = &event.what else { return None };
    Some(what)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_not_begun_is_in_the_journal_and_who_asks_again_and_again_fills_nothing() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let people = town.populate();
    town.until_swapped("serve").await;
    let owner = town.web().await.record.unwrap().owner;
    let same =
        Request::Move { instance: "web".to_owned(), to: Some(NodeId(1)), accept_loss: true, wait: true };
    assert_eq!(town.refused(same).await.code, "same_node");
    offers(&mut people.0.node.lock().unwrap(), true, Some(Offer::Hold { remaining_ms: 60_000 }));
    for _ in 0..30 {
        assert_eq!(town.refused(Town::move_to(2)).await.code, "held");
    }
    offers(&mut people.0.node.lock().unwrap(), false, None);
    assert_eq!(town.refused(Town::move_to(2)).await.code, "consent_needed");
    let is_last = |event: &Event| matches!(&event.what, What::Refused(it) if it.code == "consent_needed");
    let told = refusals(&town.until(is_last).await);
    let seen: Vec<_> = told
        .iter()
        .map(|it| {
            (it.code.as_str(), it.to, it.accept_loss, it.asked, it.held_until_unix_ms.is_some(), it.unkept)
        })
        .collect();
    let (one, two) = (Some(NodeId(1)), Some(NodeId(2)));
    assert_eq!(
        seen,
        [
            ("same_node", one, true, None, false, 0),
            ("held", two, false, Some(owner), true, 0),
            ("consent_needed", two, false, Some(owner), false, 29),
        ]
    );
    assert_eq!(told[1].message, "payroll: month end", "which hold");
    assert!(told[2].message.contains("loses the state"), "{told:?}");
    // However differently it is refused.
    for number in 0..100 {
        let reason = number.to_string();
        let preview = Preview { hands_over: true, offer: Some(Offer::Refuse), estimate: None, reason };
        people.0.node.lock().unwrap().manners.preview = Ok(preview);
        assert_eq!(town.refused(Town::move_to(2)).await.code, "refused");
    }
    people.0.node.lock().unwrap().manners = crate::player::Manners::default();
    town.ask(Town::move_to(2)).await;
    let all = town.until_swapped("close").await;
    assert_eq!(refusals(&all).len(), 8, "{all:#?}");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_with_a_move_is_in_the_journal_with_whose_consent_it_was() {
    let town = Town::with(|cloud| cloud.apps[0].accept_loss = true);
    let controller = Controller::start(&town);
    let people = town.populate();
    town.until_swapped("serve").await;
    for node in [&people.0.node, &people.1.node] {
        offers(&mut node.lock().unwrap(), false, None);
    }
    let by_person = Request::Move { instance: "web".to_owned(), to: None, accept_loss: true, wait: true };
    town.ask(by_person).await;
    town.ask(Town::move_to(1)).await;
    people.0.node.lock().unwrap().manners = crate::player::Manners::default();
    town.ask(Town::move_to(2)).await;
    let is_over = |event: &Event| {
        event.operation == Some(OperationNumber(3))
            && matches!(&event.what, What::Swapped { change, .. } if change == "close")
    };
    let all = town.until(is_over).await;
    assert_eq!(
        losses(&all),
        [
            (Some(OperationNumber(1)), Loss::Restart, Consent::Person),
            (Some(OperationNumber(2)), Loss::Restart, Consent::Manifest),
        ],
        "and nothing by a handoff"
    );
    // It is written with the end of its operation.
    let at = |awaited: &dyn Fn(&Event) -> bool| all.iter().position(awaited).unwrap();
    let lost = at(&|event| matches!(event.what, What::StateLost { .. }));
    let closed = at(&|event| matches!(&event.what, What::Swapped { change, .. } if change == "close"));
    assert!(lost < closed);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_held_that_died_before_a_move_by_restart_stopped_it_is_lost_by_its_death() {
    for phase in [Phase::Prepare, Phase::Park] {
        let town = Town::with(|cloud| cloud.apps[0].accept_loss = true);
        let controller = Controller::start(&town);
        let (first, second) = (Agent::start(&town, 1), Agent::start(&town, 2));
        town.until_swapped("serve").await;
        offers(&mut first.node.lock().unwrap(), false, None);
        second.node.lock().unwrap().manners.prepares_for_ever = phase == Phase::Prepare;
        let by_person = Request::Move { instance: "web".to_owned(), to: None, accept_loss: true, wait: true };
        let _waiting = Person::ask(&town.layout, &by_person).await;
        // Without gateways it gets no further than to where they park.
        town.until(|event| event.what == What::Entered(phase)).await;
        let record = town.web().await.record.unwrap();
        let source = record.moving().unwrap().source;
        drop(first);
        let _back = Agent::knowing(&town, source.node.0, Some(record), &[], &[source.start.0]);
        let _gateways = (Gateway::start(&town, 1), Gateway::start(&town, 2));
        let all = town.until_swapped("close").await;
        assert_eq!(losses(&all), [(Some(OperationNumber(1)), Loss::Death, Consent::Nobody)], "in {phase}");
        controller.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_state_loses_none_in_the_journal_either() {
    let town = Town::with(|cloud| cloud.apps[0].state = paracloud_substrate::config::State::None);
    let controller = Controller::start(&town);
    let people = town.populate();
    town.until_swapped("serve").await;
    offers(&mut people.0.node.lock().unwrap(), false, None);
    town.ask(Town::move_to(2)).await;
    assert_eq!(losses(&town.until_swapped("close").await), []);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_hear_who_asked_for_a_move_also_from_a_controller_that_was_started_meanwhile() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let people = town.populate();
    town.until_swapped("serve").await;
    people.0.node.lock().unwrap().manners.copies_for_ever = true;
    let _waiting = Person::ask(&town.layout, &Town::move_to(2)).await;
    town.until(|event| event.what == What::Entered(Phase::Copy)).await;
    controller.stop().await;
    let controller = Controller::start(&town);
    town.until_swapped("close").await;
    for node in [&people.0.node, &people.1.node] {
        let reasons = node.lock().unwrap().reasons.clone();
        assert!(!reasons.is_empty() && reasons.iter().all(|it| *it == Reason::Person), "{reasons:?}");
    }
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_comes_late_says_in_the_journal_what_became_of_it() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let people = town.populate();
    town.until_swapped("serve").await;
    let now = || u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let cancel =
        |before_ms: u64| Request::Cancel { instance: "web".to_owned(), asked_unix_ms: now() - before_ms };
    assert_eq!(town.refused(cancel(14_000)).await.code, "nothing_open");
    let all = town.until(|event| remark(event).is_some()).await;
    let refused = all.iter().find_map(remark).unwrap();
    assert!(
        refused.starts_with("a cancel that was asked for 14") && refused.contains("nothing_open"),
        "{refused}"
    );

    people.0.node.lock().unwrap().manners.copies_for_ever = true;
    let mut waiting = Person::ask(&town.layout, &Town::move_to(2)).await;
    town.until(|event| event.what == What::Entered(Phase::Copy)).await;
    assert_eq!(town.ask(cancel(14_000)).await, [Reply::Done]);
    soon(async { while waiting.next().await.is_some() {} }).await;
    let is_told = |event: &Event| remark(event).is_some_and(|what| what.contains("is carried out now: op-1"));
    let all = town.until(is_told).await;
    assert_eq!(all.last().unwrap().operation, Some(OperationNumber(1)));
    // One that is taken at once says nothing more than the end itself.
    let _waiting = Person::ask(&town.layout, &Town::move_to(2)).await;
    let second = |event: &Event| event.operation == Some(OperationNumber(2));
    town.until(|event| second(event) && event.what == What::Entered(Phase::Copy)).await;
    assert_eq!(town.ask(cancel(0)).await, [Reply::Done]);
    let is_over = |event: &Event| {
        second(event) && matches!(&event.what, What::Swapped { change, .. } if change == "close")
    };
    let all = town.until(is_over).await;
    assert_eq!(all.iter().filter_map(remark).count(), 2, "{all:#?}");
    controller.stop().await;
}
