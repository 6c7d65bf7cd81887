//! What was ordered and not yet carried out is neither forgotten nor doubled by a controller that is killed.

use crate::instances::all_connected;
use crate::rig::{Rig, kill, wait_until};
use crate::scale_in::serving;
use crate::unruly::Unruly;
use rustix::process::Signal;
use serde_json::{Value, json};

/// Kills the controller, and waits until another one knows `connected` nodes.
fn kill_controller(rig: &Rig, connected: usize) {
    let before = rig.processes("controller");
    before.iter().for_each(|pid| kill(*pid, Signal::KILL));
    wait_until("another controller is there", || {
        let now = rig.processes("controller");
        let answer = rig.run(&["ps", "--output", "json"]);
        let ps: Value = serde_json::from_str(&answer.out).unwrap_or_default();
        let nodes = ps["nodes"].as_array().into_iter().flatten();
        now != before && nodes.filter(|node| node["connected"] == true).count() == connected
    });
}

#[test]
fn a_start_that_waits_for_a_node_to_be_heard_is_kept_with_its_reason_when_the_controller_is_killed() {
    let scale = json!({ "scale": { "min": 1, "max": 3, "start": 1, "hold": "10m", "period": "60s" } });
    let unruly = Unruly::up(&scale, &json!({}));
    let rig = &unruly.rig;
    // The agent of the second node stands still: a controller that begins does not know what it knows.
    let second =
        rig.left().into_iter().filter(|found| found.words.get(1).is_some_and(|word| word == "agent"));
    let second: Vec<_> =
        second.filter(|found| found.words.iter().any(|word| word == "n2" || word == "2")).collect();
    assert_eq!(second.len(), 1, "{second:?}");
    kill(second[0].pid, Signal::STOP);
    kill_controller(rig, 1);
    let scaled = rig.json(&["scale", "jobs", "2", "--for", "1h", "--no-wait"]);
    assert_eq!(scaled["starts"][0]["instance"], "jobs.2", "{scaled}");
    assert_eq!(serving(rig), ["jobs.1"], "it waits");
    kill_controller(rig, 1);
    kill(second[0].pid, Signal::CONT);
    wait_until("all are connected", || all_connected(rig));
    wait_until("it is started", || serving(rig) == ["jobs.1", "jobs.2"]);
    let events = rig.events();
    let of = |event: &&Value| event["instance"] == "jobs.2" && event["what"]["swapped"]["change"] == "first";
    assert_eq!(events.iter().filter(of).count(), 1, "once");
    assert_eq!(rig.json(&["ps"])["instances"].as_array().map(Vec::len), Some(2));
    let told = rig.run(&["events", "jobs.2"]).out;
    assert!(told.contains("a person wants 2 instances of jobs"), "{told}");
    let kept = std::fs::read_to_string(std::path::Path::new(&rig.cloud()).join("ordered.json"));
    assert_eq!(kept.expect("it is there").trim(), "{}", "nothing is ordered any more");
    unruly.end();
}
