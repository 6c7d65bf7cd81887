//! A controller without a register, or with one that is behind (rule 7).

use crate::disk::QuotaDisk;
use crate::player::{Agent, Gateway};
use crate::town::{Controller, Person, Town, soon, swaps};
use paracloud_controller::Ledger;
use paracloud_controller::store::Options;
use paracloud_core::ids::{Incarnation, NodeId, OperationNumber, Placement, StartId};
use paracloud_core::register::{Change, Mode, Proposer, Record, Step};
use paracloud_substrate::message::Note;
use paracloud_substrate::person::{Event, Reply, Request, What};
use std::collections::BTreeSet;

fn owner() -> Placement {
    Placement::new(NodeId(1), StartId(10))
}

/// Served, on node 1, after so many restarts.
fn record(restarts: u32) -> Record {
    let mut record = Record::first(owner());
    record.incarnation = Incarnation(1 + restarts);
    record.last_operation = OperationNumber(5);
    record.apply(&Change::Serve("127.0.1.1:20000".parse().unwrap()), Proposer::Coordinator).unwrap()
}

fn is_unknown(event: &Event) -> bool {
    matches!(&event.what, What::Note(Note::Remark { what: why, .. }) if why.starts_with("unknown: "))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_started_before_every_node_answered_or_was_declared_lost() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let mut agent = Agent::start(&town, 1);
    soon(agent.has_connected(1)).await;
    let why = town.web().await.unknown.unwrap();
    assert!(why.contains("n2"), "{why}");
    let refused = town.refused(Town::move_to(2)).await;
    assert_eq!(refused.code, "unknown");
    assert!(agent.node.lock().unwrap().alive.is_empty());

    let unknown_node = Request::NodeLost { node: NodeId(9), agreed: true };
    assert_eq!(town.refused(unknown_node).await.code, "unknown_node");
    assert_eq!(town.ask(Request::NodeLost { node: NodeId(2), agreed: true }).await, [Reply::Done]);
    town.until_swapped("serve").await;
    let there = Request::NodeLost { node: NodeId(1), agreed: true };
    assert_eq!(town.refused(there).await.code, "node_connected");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_node_was_given_up_is_to_be_said_again_to_a_controller_that_is_started_later() {
    let town = Town::new();
    let controller = Controller::start(&town);
    // Its agent may have gone away only now, when the person had been told that it is there.
    let unagreed = Request::NodeLost { node: NodeId(2), agreed: false };
    assert_eq!(town.refused(unagreed).await.code, "node_away");
    let why = town.web().await.unknown.unwrap();
    assert!(why.contains("n2"), "nothing was given up: {why}");
    let lost = Request::NodeLost { node: NodeId(2), agreed: true };
    assert_eq!(town.ask(lost.clone()).await, [Reply::Done]);
    let why = town.web().await.unknown.unwrap();
    assert!(why.ends_with("waiting for n1"), "{why}");
    controller.stop().await;

    // The node may have come back while no controller listened, and its process with it.
    let controller = Controller::start(&town);
    let mut agent = Agent::start(&town, 1);
    soon(agent.has_connected(1)).await;
    soon(async { while !town.web().await.unknown.unwrap().ends_with("waiting for n2") {} }).await;
    assert!(agent.node.lock().unwrap().alive.is_empty(), "nothing is started on an old word");
    assert_eq!(town.ask(lost).await, [Reply::Done]);
    town.until_swapped("serve").await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_register_takes_the_highest_numbers_that_any_node_knows() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let _gateways = (Gateway::start(&town, 1), Gateway::start(&town, 2));
    let newest = record(3);
    let _first = Agent::with(&town, 1, Some(record(1)), &[(10, false)]);
    let _second = Agent::with(&town, 2, Some(newest.clone()), &[]);
    let found = town.until_swapped("found").await;
    assert_eq!(swaps(&found), [("found".to_owned(), newest)]);
    let replies = town.ask(Town::move_to(2)).await;
    let Some(Reply::Outcome(outcome)) = replies.last() else { panic!("{replies:?}") };
    assert!(outcome.committed);
    assert_eq!((outcome.operation, outcome.incarnation), (OperationNumber(6), 5));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_register_a_move_is_finished_of_which_only_the_targets_node_knows_that_it_was_committed() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let _gateways = (Gateway::start(&town, 1), Gateway::start(&town, 2));
    let change = |record: &Record, change: &Change| record.apply(change, Proposer::Coordinator).unwrap();
    let target = Placement::new(NodeId(2), StartId(20));
    let open = change(&record(0), &Change::Open { mode: Mode::Handoff, target });
    let sealing = change(&open, &Change::Seal);
    let served = Change::Serve("127.0.1.2:20001".parse().unwrap());
    let retire = change(&change(&sealing, &Change::Commit), &served);
    let _first = Agent::with(&town, 1, Some(sealing), &[(10, true)]);
    let _second = Agent::with(&town, 2, Some(retire.clone()), &[(20, false)]);
    let swapped = swaps(&town.until_swapped("close").await);
    let changes: Vec<_> = swapped.iter().map(|(change, _)| change.as_str()).collect();
    assert_eq!(changes, ["found", "close"]);
    assert_eq!(swapped[0].1, retire);
    assert_eq!(swapped[1].1.owner, target);
    let open = town.gates.lock().map(|gates| (gates.doubled, gates.open.clone())).unwrap();
    assert_eq!(open, (false, BTreeSet::from([target.start])));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_found_alive_twice_waits_for_a_person() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let mut first = Agent::with(&town, 1, Some(record(0)), &[(10, false)]);
    let mut second = Agent::with(&town, 2, Some(record(0)), &[(20, false)]);
    town.until(is_unknown).await;
    let web = town.web().await;
    assert!(web.unknown.unwrap().contains(&StartId(20).to_string()));
    assert_eq!(web.record, None, "nothing was decided");
    assert_eq!(town.refused(Town::move_to(2)).await.code, "unknown");
    // That the second one is gone does not decide anything either: a person does.
    second.node.lock().unwrap().alive.clear();
    let reconsider = Request::Reconsider { instance: "web".to_owned() };
    assert_eq!(town.ask(reconsider.clone()).await, [Reply::Done]);
    let found = town.until_swapped("found").await;
    assert_eq!(swaps(&found).last().unwrap().1, record(0));
    soon(async {
        first.has_connected(2).await;
        second.has_connected(2).await;
    })
    .await;
    assert_eq!(town.refused(reconsider).await.code, "not_unknown");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_process_without_an_intent_to_seal_waits_for_a_person() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let _first = Agent::with(&town, 1, Some(record(0)), &[(10, true)]);
    let _second = Agent::start(&town, 2);
    town.until(is_unknown).await;
    assert!(town.web().await.unknown.unwrap().contains("sealed"));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_register_that_is_behind_its_nodes_asks_all_of_them_and_catches_up() {
    let town = Town::new();
    let disk = QuotaDisk::new(64 << 20);
    let store = Ledger::open_on(disk.clone(), Options::default()).unwrap();
    store.swap("web", None, &record(0), &[]).unwrap();
    store.close().unwrap();
    let controller = Controller::start_on(&town, move || Ledger::open_on(disk.clone(), Options::default()));
    let newest = record(2);
    let mut first = Agent::with(&town, 1, Some(newest.clone()), &[(10, false)]);
    soon(first.has_connected(2)).await;
    assert!(town.web().await.unknown.unwrap().contains("n2"));
    let _second = Agent::start(&town, 2);
    let found = town.until_swapped("found").await;
    assert_eq!(swaps(&found), [("found".to_owned(), newest)]);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_an_app_that_is_configured_no_longer_is_kept_and_shown() {
    let town = Town::new();
    let disk = QuotaDisk::new(64 << 20);
    let store = Ledger::open_on(disk.clone(), Options::default()).unwrap();
    store.swap("gone", None, &record(0), &[]).unwrap();
    store.close().unwrap();
    let controller = Controller::start_on(&town, move || Ledger::open_on(disk.clone(), Options::default()));
    let gone = town.status().await.instances.into_iter().find(|it| it.name == "gone").unwrap();
    assert_eq!(gone.record, Some(record(0)));
    assert!(gone.unknown.unwrap().contains("configuration"));
    let ask = Request::Move { instance: "gone".to_owned(), to: None, accept_loss: false, wait: false };
    assert_eq!(town.refused(ask).await.code, "not_configured");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_on_a_node_that_is_declared_lost_counts_as_dead() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let (first, second, _one, _two) = town.populate();
    town.until_swapped("serve").await;
    first.node.lock().unwrap().manners.copies_for_ever = true;
    let mut waiting = Person::ask(&town.layout, &Town::move_to(2)).await;
    town.until_swapped("open").await;
    drop(first);
    soon(async { while town.status().await.nodes[0].connected {} }).await;
    assert_eq!(town.ask(Request::NodeLost { node: NodeId(1), agreed: true }).await, [Reply::Done]);
    let seen = town
        .until(|event| {
            matches!(&event.what, What::Swapped { record, .. }
        if record.step() == Some(Step::Undo))
        })
        .await;
    let (change, _) = swaps(&seen).pop().unwrap();
    assert_eq!(change, "roll_back: the source's process died");
    drop(second);
    assert!(soon(waiting.next()).await.is_some());
    controller.stop().await;
}

/// A handoff from node 1 to node 2 that is committed, and not served yet.
fn committed() -> Record {
    let target = Placement::new(NodeId(2), StartId(20));
    let changes = [Change::Open { mode: Mode::Handoff, target }, Change::Seal, Change::Commit];
    changes.iter().fold(record(0), |record, change| record.apply(change, Proposer::Coordinator).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_died_while_there_was_no_controller_is_known_to_be_dead_and_not_promoted() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let _first = Agent::knowing(&town, 1, Some(committed()), &[], &[10]);
    let _second = Agent::knowing(&town, 2, Some(committed()), &[], &[20]);
    let swapped = swaps(&town.until_swapped("restart").await);
    let changes: Vec<_> = swapped.iter().map(|(change, _)| change.as_str()).collect();
    assert_eq!(changes, ["found", "restart"], "the dead source is nobody's successor");
    controller.stop().await;
}
