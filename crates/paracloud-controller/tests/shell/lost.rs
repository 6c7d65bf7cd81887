//! Nodes that a person gives up, with what ran there, and what comes back.

use crate::player::{Agent, Gateway};
use crate::town::{Controller, Person, Town, soon, swaps};
use paracloud_core::ids::{NodeId, StartId};
use paracloud_core::register::{Change, Proposer, Record};
use paracloud_substrate::draining::Terms;
use paracloud_substrate::message::{FromAgentLine, HeldOp, Hold, Note};
use paracloud_substrate::person::{Consent, Event, Loss, Reply, Request, What};

const REPLACED: &str = "replace: a person gave its node up";

/// Gives the first node up, once its link is seen to be gone.
async fn give_up_first(town: &Town) {
    soon(async { while town.status().await.nodes[0].connected {} }).await;
    assert_eq!(town.ask(Request::NodeLost { node: NodeId(1), agreed: true }).await, [Reply::Done]);
}

/// The owner that the second node serves.
async fn serves_on_second(town: &Town) -> Record {
    let mut served = None;
    soon(async {
        while served.is_none() {
            let record = town.web().await.record;
            served = record.filter(|it| it.owner.node == NodeId(2) && it.served.is_some());
        }
    })
    .await;
    served.unwrap()
}

fn remark(event: &Event) -> Option<&str> {
    if let What::Note(Note::Remark { what, .. }) = &event.what { Some(what) } else { None }
}

/// What a node knows when its agent ends: its record, its processes.
fn knowledge(agent: &Agent, sealed: bool) -> (Option<Record>, Vec<(u64, bool)>) {
    let node = agent.node.lock().unwrap();
    (node.record.clone(), node.alive.keys().map(|start| (start.0, sealed)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_at_rest_on_a_node_that_is_given_up_is_started_anew_on_another_without_its_state() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let (first, second, _one, _two) = town.populate();
    town.until_swapped("serve").await;
    let before = town.web().await.record.unwrap();
    drop(first);
    town.gates.lock().unwrap().open.clear();
    give_up_first(&town).await;
    let replaced = swaps(&town.until_swapped(REPLACED).await).pop().unwrap().1;
    assert_eq!(replaced.incarnation, before.incarnation.next());
    assert_ne!(replaced.owner.start, before.owner.start, "a start id is used once");
    let now = serves_on_second(&town).await;
    assert_eq!(now.owner, replaced.owner);
    assert!(second.node.lock().unwrap().alive.contains_key(&now.owner.start));
    let lost = |event: &Event| {
        event.what == What::StateLost { by: Loss::Node, consent: Consent::Person }
            && event.operation.is_none()
    };
    town.until(lost).await;
    assert!(!town.gates.lock().unwrap().doubled);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_a_process_that_died_with_its_node_holds_nobody_after_it() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let (first, _second, _one, _two) = town.populate();
    town.until_swapped("serve").await;
    let (instance, start) = ("web".to_owned(), town.web().await.record.unwrap().owner.start);
    let hold = Some(Hold { until_unix_ms: u64::MAX, reason: "month end".to_owned() });
    let held = FromAgentLine::Held { instance, start, op: HeldOp::Stop, hold };
    first.node.lock().unwrap().says.push(held);
    town.ask(Request::Preview { instance: "web".to_owned(), to: None }).await;
    soon(async { while town.status().await.holds.is_empty() {} }).await;
    drop(first);
    town.gates.lock().unwrap().open.clear();
    give_up_first(&town).await;
    assert_ne!(serves_on_second(&town).await.owner.start, start);
    let holds = town.status().await.holds;
    assert!(holds.is_empty(), "{holds:?}");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_node_is_given_up_is_not_started_on_one_that_gets_nothing_new_until_that_does() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let (first, _second, _one, _two) = town.populate();
    town.until_swapped("serve").await;
    // Nothing is on it.
    let terms = Terms { parallel: 1, until_unix_ms: 0, accept_loss: false };
    let drain = Request::DrainNode { node: NodeId(2), terms, dry_run: false, wait: true };
    assert_eq!(town.ask(drain).await, [Reply::Drained { missed: Vec::new() }]);
    let refused =
        town.ask(Request::Move { instance: "web".to_owned(), to: None, accept_loss: false, wait: true });
    let refused = refused.await;
    assert!(
        matches!(&refused[..], [Reply::Refused(refused)] if refused.code == "no_other_node"),
        "{refused:?}"
    );
    drop(first);
    town.gates.lock().unwrap().open.clear();
    give_up_first(&town).await;
    assert_eq!(town.web().await.record.unwrap().owner.node, NodeId(1), "there is none that takes it");
    assert_eq!(town.ask(Request::OpenNode { node: NodeId(2) }).await, [Reply::Done]);
    serves_on_second(&town).await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_still_runs_on_a_node_that_was_given_up_is_ended_when_its_agent_is_back() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let (first, second, _one, _two) = town.populate();
    town.until_swapped("serve").await;
    let (record, alive) = knowledge(&first, false);
    drop(first);
    give_up_first(&town).await;
    let now = serves_on_second(&town).await;
    // Also a controller that knows nothing of the word any more.
    controller.stop().await;
    let controller = Controller::start(&town);
    let mut back = Agent::with(&town, 1, record, &alive);
    soon(back.has_connected(1)).await;
    soon(async { while !back.node.lock().unwrap().alive.is_empty() {} }).await;
    let told = StartId(alive[0].0).to_string();
    town.until(|event| {
        remark(event).is_some_and(|what| what.contains(&told) && what.ends_with("it is ended"))
    })
    .await;
    assert_eq!(town.web().await.record.unwrap(), now, "the new owner serves on");
    assert!(second.node.lock().unwrap().alive.contains_key(&now.owner.start));
    assert_eq!(town.gates.lock().unwrap().open.len(), 1);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_process_that_no_record_names_is_left_for_a_person() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let (first, _second, _one, _two) = town.populate();
    town.until_swapped("serve").await;
    let (record, alive) = knowledge(&first, true);
    drop(first);
    give_up_first(&town).await;
    serves_on_second(&town).await;
    let back = Agent::with(&town, 1, record, &alive);
    town.until(|event| remark(event).is_some_and(|what| what.contains("it is left"))).await;
    // What is said after it is heard after it: a move there and back, of which the agent takes part.
    let replies = town.ask(Town::move_to(1)).await;
    assert!(matches!(replies.last(), Some(Reply::Outcome(outcome)) if outcome.committed), "{replies:?}");
    assert!(
        back.node.lock().unwrap().alive.contains_key(&StartId(alive[0].0)),
        "only it may hold what it held"
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_node_knows_what_the_register_does_not_explain_is_left_for_a_person() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let (first, _second, _one, _two) = town.populate();
    town.until_swapped("serve").await;
    let before = knowledge(&first, false).0.unwrap();
    drop(first);
    give_up_first(&town).await;
    let now = serves_on_second(&town).await;
    // With the same numbers as the register's, and another owner.
    let stranger = StartId(now.owner.start.0 ^ 1);
    let restarted = before.apply(&Change::Restart { fresh: stranger }, Proposer::Agent).unwrap();
    let served = Change::Serve("127.0.1.1:20001".parse().unwrap());
    let known = restarted.apply(&served, Proposer::Coordinator).unwrap();
    assert_eq!(known.order(), now.order());
    let back = Agent::with(&town, 1, Some(known), &[(stranger.0, false)]);
    town.until(|event| {
        remark(event).is_some_and(|what| {
            what.contains(&stranger.to_string())
                && what.contains("the register does not explain")
                && what.contains("it is left")
        })
    })
    .await;
    let replies = town.ask(Town::move_to(1)).await;
    assert!(matches!(replies.last(), Some(Reply::Outcome(outcome)) if outcome.committed), "{replies:?}");
    assert!(back.node.lock().unwrap().alive.contains_key(&stranger), "nobody but a person may end it");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_whose_node_is_given_up_waits_for_another_node_or_for_its_own() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let (first, second, _one, _two) = town.populate();
    town.until_swapped("serve").await;
    let (record, alive) = knowledge(&first, false);
    let before = town.web().await.record;
    drop((first, second));
    soon(async { while town.status().await.nodes[1].connected {} }).await;
    give_up_first(&town).await;
    assert_eq!(town.web().await.record, before, "there is nowhere to start it");
    // Its own node is back first: nothing has happened.
    let mut back = Agent::with(&town, 1, record, &alive);
    soon(back.has_connected(1)).await;
    soon(async { while !town.status().await.nodes[0].connected {} }).await;
    let second = Agent::start(&town, 2);
    soon(async { while !town.status().await.nodes[1].connected {} }).await;
    let moved = soon(async {
        loop {
            let replies = town.ask(Town::move_to(2)).await;
            if let Some(Reply::Outcome(outcome)) = replies.last() {
                break outcome.committed;
            }
            tokio::task::yield_now().await;
        }
    });
    assert!(moved.await, "what was given up lives, and can be moved");
    // Now the other way round.
    drop((back, second));
    soon(async { while town.status().await.nodes[1].connected {} }).await;
    assert_eq!(town.ask(Request::NodeLost { node: NodeId(2), agreed: true }).await, [Reply::Done]);
    let _third = Agent::start(&town, 1);
    town.until_swapped(REPLACED).await;
    let served = |record: Record| record.owner.node == NodeId(1) && record.served.is_some();
    soon(async { while !town.web().await.record.is_some_and(served) {} }).await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_whose_source_is_on_a_node_that_is_given_up_ends_with_a_new_process_elsewhere() {
    let town = Town::new();
    let controller = Controller::start(&town);
    let (first, _second) = (Agent::start(&town, 1), Agent::start(&town, 2));
    let _gateways = (Gateway::start(&town, 1), Gateway::start(&town, 2));
    town.until_swapped("serve").await;
    first.node.lock().unwrap().manners.copies_for_ever = true;
    let mut waiting = Person::ask(&town.layout, &Town::move_to(2)).await;
    town.until_swapped("open").await;
    drop(first);
    give_up_first(&town).await;
    let outcome = soon(async {
        loop {
            match waiting.next().await {
                Some(Reply::Outcome(outcome)) => break outcome,
                Some(_) => {}
                None => panic!("the command has no answer"),
            }
        }
    })
    .await;
    assert_eq!(
        (outcome.committed, outcome.node, outcome.state_lost),
        (false, NodeId(2), true),
        "{outcome:?}"
    );
    let lost = |event: &Event| event.what == What::StateLost { by: Loss::Node, consent: Consent::Person };
    let events = town.until(lost).await;
    assert!(swaps(&events).iter().any(|(change, _)| change == REPLACED));
    serves_on_second(&town).await;
    controller.stop().await;
}
