//! Who was started in the place of another one leaves again when that one stays.

use crate::rig::{Rig, wait_until};
use crate::scale_in::serving;
use crate::unruly::Unruly;
use serde_json::json;
use std::process::Stdio;

fn leaves(rig: &Rig, name: &str) -> bool {
    let ps = rig.json(&["ps"]);
    let all = ps["instances"].as_array().expect("a list");
    let one = all.iter().find(|it| it["name"] == name);
    one.is_some_and(|it| it["record"]["operation"]["leave"]["step"] == "draining")
}

#[test]
fn who_was_started_for_a_drained_node_leaves_again_when_the_one_there_is_called_back() {
    // By itself nobody would leave for a long time.
    let scale = json!({ "scale": { "min": 1, "max": 3, "start": 1, "hold": "10m", "drain": "10m" } });
    let unruly = Unruly::up(&scale, &json!({ "drain": "never" }));
    let rig = &unruly.rig;
    unruly.order("jobs.2", &json!({ "drain": null }));
    rig.json(&["scale", "jobs", "1", "--for", "1h"]);
    let mut drains = rig.start(&["drain-node", "n1"], Stdio::null());
    wait_until("another one serves in its place", || leaves(rig, "jobs.1") && serving(rig) == ["jobs.2"]);
    rig.json(&["cancel", "jobs.1"]);
    assert_ne!(drains.ended(), 0, "the node is not drained");
    wait_until("the one that was started leaves, and the other one serves", || serving(rig) == ["jobs.1"]);
    wait_until("nobody else is there", || rig.json(&["ps"])["instances"].as_array().map(Vec::len) == Some(1));
    let told = rig.run(&["events", "jobs.2"]).out;
    assert!(told.contains("jobs.1 stays, in whose place it was started"), "{told}");
    assert_eq!(rig.json(&["ps"])["scales"][0]["instances"], 1, "nobody wants one more");
}
