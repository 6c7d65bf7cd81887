//! An agent that stands still: it is missed like one that is gone, and everything goes on when it does.

use crate::rig::{Rig, Up, kill, wait_until};
use rustix::process::Signal;
use serde_json::json;

/// The agent of a node.
pub(crate) fn agent(rig: &Rig, node: &str) -> i32 {
    let is_it =
        |words: &[String]| words.get(1).is_some_and(|it| it == "agent") && words.contains(&node.to_owned());
    let agents: Vec<_> = rig.left().iter().filter(|it| is_it(&it.words)).map(|it| it.pid).collect();
    assert_eq!(agents.len(), 1, "{:?}", rig.left());
    agents[0]
}

pub(crate) fn is_connected(rig: &Rig, node: usize) -> bool {
    rig.json(&["ps"])["nodes"][node]["connected"] == true
}

fn serves(rig: &Rig) {
    (0..2).for_each(|gateway| drop(rig.ask(gateway, "GET /healthz")));
}

fn sessions() -> (Rig, Up) {
    let rig = Rig::sessions(&json!({ "move": { "prepare": "1s" } }), &json!({}));
    let mut up = rig.up(&[]);
    up.serving();
    wait_until("it has greeted its agent", || rig.run(&["move", "sessions", "--dry-run"]).code == 0);
    (rig, up)
}

#[test]
fn a_move_whose_targets_agent_stands_still_says_whom_it_waits_for_and_ends_when_that_one_goes_on() {
    let (rig, _up) = sessions();
    let frozen = agent(&rig, "n2");
    kill(frozen, Signal::STOP);
    let failed = rig.json_of_refused(&["move", "sessions", "--to", "n2"], 1);
    serves(&rig);
    let error = &failed["error"];
    assert_eq!(error["code"], "node_unreachable", "{failed}");
    let (why, next) = (error["why"].as_str().expect("why"), error["next"].as_str().expect("what next"));
    assert!(
        why.contains("the move is rolled back; it waits for the agent of n2, which is not connected"),
        "{why}"
    );
    assert!(why.ends_with("it is to say that the target's process is dead"), "{why}");
    assert!(next.contains("goes on by itself") && next.contains("paracloud node lost n2"), "{next}");
    assert!(rig.run(&["ps"]).out.contains("node n2: its agent is not connected"), "{}", rig.run(&["ps"]).out);
    assert!(rig.run(&["events"]).out.contains("waits for the agent of n2"), "{}", rig.run(&["events"]).out);
    let record = rig.record().expect("a record");
    assert!(!record["operation"].is_null(), "it is open still: {record}");

    kill(frozen, Signal::CONT);
    wait_until("the move ends", || rig.record().is_some_and(|record| record["operation"].is_null()));
    wait_until("the agent is back", || is_connected(&rig, 1));
    assert_eq!(agent(&rig, "n2"), frozen, "it is the same one");
    serves(&rig);
    assert_eq!(rig.json(&["move", "sessions", "--to", "n2"])["outcome"]["committed"], true);
    serves(&rig);
}

#[test]
fn an_owners_agent_that_stands_still_is_named_and_counts_as_away() {
    let (rig, _up) = sessions();
    let owner = rig.record().expect("a record")["owner"].clone();
    let frozen = agent(&rig, "n1");
    kill(frozen, Signal::STOP);
    wait_until("it counts as away, and may be given up", || {
        let refused = rig.run(&["node", "lost", "n1"]);
        assert!(
            refused.code == 4 || refused.err.contains("n1: is connected"),
            "{}{}",
            refused.out,
            refused.err
        );
        refused.code == 4
    });
    assert!(!is_connected(&rig, 0));
    assert!(rig.run(&["ps"]).out.contains("node n1: its agent is not connected"));
    for arguments in [&["move", "sessions"][..], &["move", "sessions", "--dry-run"]] {
        let refused = rig.json_of_refused(arguments, 1);
        assert_eq!(refused["error"]["code"], "node_unreachable", "{refused}");
        let why = refused["error"]["why"].as_str().expect("why");
        assert!(why.contains("the agent of n1 is not connected, and was not heard for"), "{why}");
    }
    // Whoever owns there serves on.
    serves(&rig);

    kill(frozen, Signal::CONT);
    wait_until("the agent is back", || is_connected(&rig, 0));
    assert_eq!(rig.record().expect("a record")["owner"], owner, "nothing has happened to the app");
    assert_eq!(rig.json(&["move", "sessions"])["outcome"]["committed"], true);
    serves(&rig);
}

#[test]
fn who_asks_an_agent_that_has_just_stopped_is_told_that_the_agent_is_silent_and_not_the_app() {
    let (rig, _up) = sessions();
    let frozen = agent(&rig, "n1");
    kill(frozen, Signal::STOP);
    let refused = rig.json_of_refused(&["move", "sessions"], 1);
    assert_eq!(refused["error"]["code"], "node_unreachable", "{refused}");
    let why = refused["error"]["why"].as_str().expect("why");
    assert!(why.contains("the agent of n1 has said nothing for "), "{why}");
    kill(frozen, Signal::CONT);
    wait_until("it can be asked", || rig.run(&["move", "sessions", "--dry-run"]).code == 0);
    serves(&rig);
}
