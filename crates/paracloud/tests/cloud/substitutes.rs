//! Who was started in the place of another one leaves again when that one stays.

use crate::instances::another_controller;
use crate::rig::{Rig, kill, wait_until};
use crate::scale_in::serving;
use crate::unruly::Unruly;
use paracloud_core::migration::promises::{Point, Promise};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;

fn leaves(rig: &Rig, name: &str) -> bool {
    let ps = rig.json(&["ps"]);
    let all = ps["instances"].as_array().expect("a list");
    let one = all.iter().find(|it| it["name"] == name);
    one.is_some_and(|it| it["record"]["operation"]["leave"]["step"] == "draining")
}

/// What asks for another one in the place of `jobs.1`, which would not leave for a long time by itself; what does is not told
/// to wait.
fn asked(ask: impl FnOnce(&Rig)) -> Unruly {
    let scale = json!({ "scale": { "min": 1, "max": 3, "start": 1, "hold": "10m", "drain": "10m" } });
    let unruly = Unruly::up(&scale, &json!({ "drain": "never" }));
    let rig = &unruly.rig;
    unruly.order("jobs.2", &json!({ "drain": null }));
    rig.json(&["scale", "jobs", "1", "--for", "1h"]);
    ask(rig);
    unruly
}

fn drains_the_node(rig: &Rig) {
    rig.json(&["drain-node", "n1", "--no-wait"]);
}

fn applies_another(rig: &Rig) {
    let text = std::fs::read_to_string(rig.manifest()).expect("it is there");
    let changed = text.replacen("\"EXAMPLE\":", "\"NOTE\":\"1\",\"EXAMPLE\":", 1);
    assert_ne!(changed, text);
    std::fs::write(rig.manifest(), changed).expect("it can be written");
    rig.json(&["apply", rig.manifest(), "--no-wait"]);
}

fn kept(rig: &Rig, file: &str) -> Value {
    let kept = std::fs::read(Path::new(&rig.cloud()).join(file)).unwrap_or_default();
    serde_json::from_slice(&kept).unwrap_or_default()
}

fn wait_leaves(rig: &Rig) {
    wait_until("another one serves in its place", || leaves(rig, "jobs.1") && serving(rig) == ["jobs.2"]);
}

/// Who was started leaves again, and nothing of it is left.
fn wait_as_before(rig: &Rig) {
    wait_until("the one that was started leaves, and the other one serves", || serving(rig) == ["jobs.1"]);
    wait_until("nobody else is there", || rig.json(&["ps"])["instances"].as_array().map(Vec::len) == Some(1));
    let told = rig.run(&["events", "jobs.2"]).out;
    assert!(told.contains("jobs.1 stays, in whose place it was started"), "{told}");
    assert_eq!(rig.json(&["ps"])["scales"][0]["instances"], 1, "nobody wants one more");
}

#[test]
fn who_was_started_for_a_drained_node_leaves_again_when_the_one_there_is_called_back() {
    let unruly = asked(|_| ());
    let rig = &unruly.rig;
    let mut drains = rig.start(&["drain-node", "n1"], Stdio::null());
    wait_leaves(rig);
    rig.json(&["cancel", "jobs.1"]);
    assert_ne!(drains.ended(), 0, "the node is not drained");
    wait_as_before(rig);
}

/// Under another controller than the one that began it: it leaves again, and no other one comes.
fn is_called_back(unruly: &Unruly, file: &str) {
    let rig = &unruly.rig;
    wait_leaves(rig);
    another_controller(rig);
    wait_leaves(rig);
    rig.json(&["cancel", "jobs.1"]);
    wait_as_before(rig);
    wait_until("it is over", || kept(rig, file) == json!({}));
    // And the one after that does not try again either.
    another_controller(rig);
    assert_eq!(serving(rig), ["jobs.1"]);
    assert_eq!(unruly.did("jobs.2").iter().filter(|line| line.starts_with("stop")).count(), 1);
}

#[test]
fn who_was_started_for_a_drained_node_leaves_again_under_the_next_controller_too() {
    let unruly = asked(drains_the_node);
    is_called_back(&unruly, "draining.json");
    // Who says it again means it.
    unruly.rig.json(&["node", "open", "n1"]);
    drains_the_node(&unruly.rig);
    wait_leaves(&unruly.rig);
}

#[test]
fn who_was_started_for_an_update_leaves_again_under_the_next_controller_too() {
    let unruly = asked(applies_another);
    is_called_back(&unruly, "updating.json");
    unruly.rig.json(&["apply", unruly.rig.manifest(), "--no-wait"]);
    wait_leaves(&unruly.rig);
}

#[test]
fn who_was_called_back_while_that_could_not_be_kept_stays_alone_and_is_replaced_when_it_is_ordered_again() {
    let unruly = asked(|_| ());
    let rig = &unruly.rig;
    let mut drains = rig.start(&["drain-node", "n1"], Stdio::null());
    wait_leaves(rig);
    let full = Path::new(&rig.cloud()).join("replacing.new");
    std::fs::create_dir(&full).expect("it can be made");
    rig.json(&["cancel", "jobs.1"]);
    assert_ne!(drains.ended(), 0, "the node is not drained");
    wait_as_before(rig);
    std::fs::remove_dir(&full).expect("it is there");
    rig.json(&["node", "open", "n1"]);
    drains_the_node(rig);
    wait_leaves(rig);
    unruly.end();
}

#[test]
fn an_app_is_scaled_while_another_one_comes_in_the_place_of_one() {
    let scale = json!({ "scale": { "min": 1, "max": 4, "start": 1, "hold": "10m", "drain": "10m" } });
    let unruly = Unruly::up(&scale, &json!({}));
    let rig = &unruly.rig;
    unruly.order("jobs.2", &json!({ "slow": true }));
    drains_the_node(rig);
    wait_until("another one comes", || kept(rig, "replacing.json")["jobs.1"]["step"]["comes"].is_object());
    let scaled = rig.json(&["scale", "jobs", "2", "--for", "1h"]);
    assert_eq!((&scaled["from"], &scaled["to"]), (&json!(1), &json!(2)), "{scaled}");
    wait_until("one more serves", || serving(rig) == ["jobs.1", "jobs.3"]);
    unruly.order("jobs.2", &json!({}));
    wait_until("two serve, none of which is the one that was to go", || serving(rig) == ["jobs.2", "jobs.3"]);
    wait_until("nothing of it is left", || kept(rig, "replacing.json") == json!({}));
    unruly.end();
}

/// Three, of which two are on the node that is drained: what becomes of `jobs.1` while `jobs.3` holds on to its place, so that
/// the drain goes on.
fn goes_on(first: &Value) -> Unruly {
    let scale = json!({ "scale": { "min": 1, "max": 5, "start": 3, "hold": "10m", "drain": "10m" } });
    let unruly = Unruly::up(&scale, &json!({}));
    unruly.order("jobs.1", first);
    unruly.order("jobs.3", &holds(600_000));
    wait_until("it holds", || unruly.rig.run(&["holds"]).out.contains("month end"));
    unruly
}

fn holds(ttl_ms: u32) -> Value {
    json!({ "hold": { "month": { "ops": ["drain"], "ttlMs": ttl_ms, "reason": "month end" } } })
}

fn drains_two_at_once(rig: &Rig) {
    rig.json(&["drain-node", "n1", "--parallel", "2", "--no-wait"]);
}

/// `jobs.1` has left for `jobs.4`, by the word of the drain that goes on, and nobody else was started for it.
fn is_told_replaced(unruly: &Unruly) {
    let rig = &unruly.rig;
    wait_until("it has left", || serving(rig) == ["jobs.2", "jobs.3", "jobs.4"]);
    let mut joins = rig.start_telling(&["drain-node", "n1", "--parallel", "2"]);
    joins.tells("jobs.4 on n2 is in its place");
    unruly.order("jobs.3", &holds(1));
    assert_eq!(joins.ended(), 0);
    assert!(!rig.run(&["events", "jobs"]).out.contains("jobs.5"), "one for each");
}

#[test]
fn a_controller_that_is_killed_while_another_one_comes_leaves_that_one_to_the_next() {
    let unruly = goes_on(&json!({}));
    let rig = &unruly.rig;
    unruly.order("jobs.4", &json!({ "slow": true }));
    drains_two_at_once(rig);
    wait_until("another one comes", || kept(rig, "replacing.json")["jobs.1"]["step"]["comes"].is_object());
    another_controller(rig);
    unruly.order("jobs.4", &json!({}));
    is_told_replaced(&unruly);
    unruly.end();
}

#[test]
fn a_controller_that_is_killed_while_one_leaves_for_another_one_leaves_it_to_the_next() {
    let unruly = goes_on(&json!({ "drain": "never" }));
    let rig = &unruly.rig;
    drains_two_at_once(rig);
    wait_until("another one serves in its place", || leaves(rig, "jobs.1"));
    another_controller(rig);
    unruly.order("jobs.1", &json!({}));
    is_told_replaced(&unruly);
    unruly.end();
}

#[test]
fn who_was_called_back_from_a_drain_is_not_replaced_again_by_the_next_controller_while_that_goes_on() {
    let unruly = goes_on(&json!({ "drain": "never" }));
    let rig = &unruly.rig;
    drains_two_at_once(rig);
    wait_until("another one serves in its place", || leaves(rig, "jobs.1"));
    rig.json(&["cancel", "jobs.1"]);
    wait_until("who came in its place leaves", || serving(rig) == ["jobs.1", "jobs.2", "jobs.3"]);
    another_controller(rig);
    unruly.order("jobs.3", &holds(1));
    wait_until("it is over", || kept(rig, "draining.json") == json!({}));
    let told = rig.run(&["events", "jobs"]).out;
    assert!(!serving(rig).contains(&"jobs.3".to_owned()), "the other one has left: {told}");
    let asked = unruly.did("jobs.1").iter().filter(|line| *line == "asked drain").count();
    assert_eq!(asked, 1, "{:?}", unruly.did("jobs.1"));
}

#[test]
fn who_was_not_told_to_leave_yet_and_is_another_process_under_the_next_controller_is_replaced_all_the_same() {
    let scale = json!({ "scale": { "min": 1, "max": 3, "start": 1, "hold": "10m", "drain": "10m" } });
    let (unruly, points) = Unruly::up_with_points(&scale, &json!({}));
    let rig = &unruly.rig;
    points.arm(Promise::Leave, Point::BeforePersist);
    applies_another(rig);
    points.fired(Promise::Leave, Point::BeforePersist);
    assert!(kept(rig, "replacing.json")["jobs.1"]["step"]["leaves"].is_object());
    let (_, owner) = crate::struck::processes(rig, &crate::struck::instances(rig)[0]);
    kill(owner, Signal::KILL);
    another_controller(rig);
    wait_until("it is over", || kept(rig, "updating.json") == json!({}));
    wait_until("the other one serves alone", || serving(rig) == ["jobs.2"]);
    let told = rig.run(&["events", "jobs.1"]).out;
    assert!(told.contains("gone: it has left"), "{told}");
    unruly.end();
}

#[test]
fn the_next_bearer_of_the_name_of_a_substitute_is_left_alone() {
    let scale = json!({ "scale": { "min": 1, "max": 3, "start": 2, "hold": "10m" } });
    let unruly = Unruly::up(&scale, &json!({}));
    let rig = &unruly.rig;
    let first = rig.json(&["ps"])["instances"][0]["record"]["owner"].clone();
    let refused = json!({ "code": "called_back", "message": "it stays", "next": "" });
    let substitute = json!({ "instance": "jobs.2", "node": 2 });
    let step = json!({ "returns": { "substitute": substitute, "at": 7, "why": refused } });
    let left = json!({ "jobs.1": { "owner": first, "order": null, "since_unix_ms": 0, "step": step } });
    std::fs::write(Path::new(&rig.cloud()).join("replacing.json"), left.to_string())
        .expect("it can be written");
    another_controller(rig);
    wait_until("it is looked at", || kept(rig, "replacing.json")["jobs.1"]["step"]["stays"].is_object());
    assert_eq!(serving(rig), ["jobs.1", "jobs.2"]);
    assert!(!rig.run(&["events", "jobs.2"]).out.contains("in whose place it was started"));
    unruly.end();
}
