//! What an application asks for itself is done within what its manifest allows and as often as a budget has, and it is told what
//! became of it. Sizes are in `sizes`.

use crate::instances::another_controller;
use crate::rig::{Rig, wait_until};
use crate::scaling::explained;
use crate::unruly::Unruly;
use paracloud_substrate::decision;
use serde_json::{Value, json};
use std::path::Path;

/// To be moved, and to write down what becomes of it.
fn elsewhere() -> Value {
    let ask = json!({ "validForMs": 600_000, "reason": "the disk is slow", "moveMe": {} });
    json!({ "ask": ask, "asksAgain": true })
}

fn node(rig: &Rig) -> Option<u64> {
    let record = rig.record()?;
    record["owner"]["node"].as_u64().filter(|_| !record["served"].is_null() && record["operation"].is_null())
}

/// How many moves were begun because it was asked for them.
fn moves(rig: &Rig) -> usize {
    let told = rig.run(&["events", "jobs"]).out;
    told.matches("asked by the application, to be moved to another node: the disk is slow").count()
}

#[test]
fn who_asks_to_be_moved_waits_for_an_open_node_and_is_moved_no_more_often_than_the_budget_has() {
    let unruly = Unruly::up(&json!({}), &json!({}));
    let rig = &unruly.rig;
    assert_eq!(node(rig), Some(1));
    // Nothing is on it, and it gets nothing new.
    rig.json(&["drain-node", "n2"]);
    let refused = rig.json_of_refused(&["move", "jobs"], 1);
    assert_eq!(refused["error"]["code"], "no_other_node", "{refused}");
    unruly.order("jobs", &elsewhere());
    unruly.wait_did_times("jobs", "became PENDING no other node is there that takes it", 1);
    assert_eq!((node(rig), moves(rig)), (Some(1), 0));
    assert!(explained(rig, &["jobs"]).contains("pending: no other node is there that takes it"));
    rig.json(&["node", "open", "n2"]);
    // Each process that it becomes asks again.
    let spent = "as many of its asks were carried out as may be";
    wait_until("the budget is spent", || explained(rig, &["jobs"]).contains(spent));
    assert_eq!((node(rig), moves(rig)), (Some(2), 3));
    unruly.wait_did_times("jobs", &format!("became PENDING {spent}"), 1);
    let told = explained(rig, &["jobs", "op-1"]);
    assert!(told.contains("opened because the application asked for it, below; it was done in"), "{told}");
    let asked = "asked by the application itself, to be moved to another node because the disk is slow";
    assert!(told.contains(asked), "{told}");
    another_controller(rig);
    wait_until("it is decided again", || explained(rig, &["jobs"]).contains(spent));
    assert_eq!((node(rig), moves(rig)), (Some(2), 3), "it is spent by whichever controller");
    let log = Path::new(&rig.cloud()).join("decisions").join("decisions.jsonl");
    assert!(decision::replay(&log).expect("every decision comes out the same")["wish"] >= 5);
    unruly.end();
}

#[test]
fn who_has_something_to_lose_is_not_moved_by_its_own_word_whatever_its_manifest_consents_to() {
    let unruly = Unruly::up(&json!({ "state": "stateful", "acceptLoss": true }), &elsewhere());
    let rig = &unruly.rig;
    unruly.wait_did_times("jobs", "became REFUSED jobs: ", 1);
    assert!(explained(rig, &["jobs"]).contains("refused: jobs: "), "{}", explained(rig, &["jobs"]));
    // Remarks are written when nothing else is.
    wait_until("the journal has it", || {
        rig.run(&["events", "jobs"]).out.contains("asked by the application: jobs asks to be moved")
    });
    assert_eq!((node(rig), moves(rig)), (Some(1), 0));
    // What is asked of an app without scale does not count.
    let more = json!({ "validForMs": 600_000, "replicas": { "count": 3 } });
    unruly.order("jobs", &json!({ "ask": more, "asksAgain": true }));
    unruly.wait_did_times("jobs", "became REFUSED its app has one instance", 1);
    // A person's consent to this move is another thing.
    assert_eq!(rig.json(&["move", "jobs"])["outcome"]["committed"], true);
    unruly.end();
}
