//! Up and down by itself: what an instance has of processors follows the load, as far as its manifest and the application let
//! it. What was proposed and what came of it, `explain` says. Where no control groups can be made, the tests say so and pass.

use crate::rig::{Rig, wait_until};
use crate::scaling::{Ends, clients, decided, explained};
use crate::sizes::{can_be_limited, limits};
use crate::unruly::Unruly;
use serde_json::{Value, json};
use std::sync::atomic::AtomicBool;

/// A manifest of this shape, with half a processor that may become a whole one, and no less than this.
fn shaped(shape: &str, most: u32, least: &str) -> Value {
    json!({
        "resources": {
            "memory": "256MiB", "cpu": "500m",
            "resizeMin": { "memory": "128MiB", "cpu": least }, "resizeMax": { "memory": "1GiB", "cpu": 1 },
        },
        "scale": { "min": 1, "max": most, "start": 1, "shape": shape, "period": "200ms", "hold": "1s",
                   "flap": { "actions": 100, "per": "10m" } },
    })
}

/// What it says of itself makes requests of its jobs.
fn orders(fields: &Value) -> Value {
    let mut own = json!({ "report": { "workUnit": "request", "capacityMilliPerS": 100_000 } });
    own.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    own
}

/// The processors that the register says, in thousandths.
fn registered(rig: &Rig) -> Option<u64> {
    rig.record()?["size"]["cpu_milli"].as_u64()
}

/// What the decisions asked an instance for, the oldest first: its processors before and after, in thousandths.
fn proposed(rig: &Rig) -> Vec<(u64, u64)> {
    let cpu = |size: &Value| size["cpu_milli"].as_u64().expect("a figure");
    let events = rig.events();
    let sized = events.iter().filter_map(|event| {
        let sized = &event["what"]["note"]["sized"];
        sized.is_object().then(|| (cpu(&sized["from"]), cpu(&sized["to"])))
    });
    sized.collect()
}

/// Whether a decision proposes no size.
fn proposes_none(record: &Value) -> bool {
    let actions = record["plan"]["actions"].as_array();
    actions.is_none_or(|actions| actions.iter().all(|action| action["resize"].is_null()))
}

/// Whether a decision would have another size, and leaves alone who did not take it.
fn rests(record: &Value) -> bool {
    let cuts = record["reasons"]["sizing"]["cuts"].as_array();
    proposes_none(record) && cuts.is_some_and(|cuts| cuts.contains(&json!("rests")))
}

/// Waits until it was decided so many times more where this holds of the decision.
fn wait_decided(rig: &Rig, times: u32, what: &str, holds: impl Fn(&Value) -> bool) {
    let (mut last, mut seen) = (Value::Null, 0);
    wait_until(what, || {
        let Some(mut decided) = decided(rig, &["jobs"], "present") else { return false };
        let at = decided["unix_ms"].take();
        seen += u32::from(at != last && holds(&decided["record"]));
        last = at;
        seen >= times
    });
}

#[test]
fn one_grows_under_load_and_shrinks_after_it_as_far_as_it_says_that_it_can() {
    let least = 300;
    let unruly = Unruly::up(&shaped("up", 1, "250m"), &orders(&json!({})));
    let rig = &unruly.rig;
    if !can_be_limited(rig, "jobs.1") {
        return unruly.end();
    }
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&ends);
        clients(scope, rig, 16, &ends);
        let has =
            |cpu_m: u64| registered(rig) > Some(cpu_m) && limits(rig).1.map(u64::from) == registered(rig);
        wait_until("it has grown, by the register and by the kernel", || has(700));
        let told = explained(rig, &["jobs.1"]);
        assert!(
            told.contains("the size follows the load") && told.contains("processors to jobs.1"),
            "{told}"
        );
        assert!(unruly.did("jobs.1").iter().any(|line| line.starts_with("resized")), "it is told of it");
        unruly.order("jobs.1", &json!({ "leastCpu": least }));
        unruly.wait_obeys("jobs.1");
    });
    // Nobody sends anything any more, and it would do with a quarter.
    unruly.wait_did_times("jobs.1", "refused", 1);
    // Of what is less than a step nobody is asked.
    let is_least = |cpu_m: &u64| (least..least + least / 9 + 1).contains(cpu_m);
    wait_until("it has what it needs", || registered(rig).as_ref().is_some_and(is_least));
    wait_decided(rig, 8, "it was decided again and nothing was proposed", proposes_none);
    let all = proposed(rig);
    let ordered = all.iter().rposition(|(from, to)| to > from).expect("it grew");
    let below: Vec<_> = all[ordered..].iter().filter(|(_, to)| *to < least).collect();
    assert_eq!(below.len(), 1, "it is not asked below what it said again: {all:?}");
    assert_eq!(limits(rig).1.map(u64::from), registered(rig), "{all:?}");
    let present = decided(rig, &["jobs"], "present").expect("one");
    assert_eq!(
        present["record"]["observation"]["instances"]["1"]["counter_cpu_m"]["value"], least,
        "{present}"
    );
    let refused = |event: &&Value| event["what"]["note"]["sized"]["offered"]["cpu_milli"] == json!(least);
    let operation = rig.events().iter().find(refused).expect("it was refused")["operation"].clone();
    let told = explained(rig, &["jobs.1", &format!("op-{operation}")]);
    for words in ["opened by a decision", "proposes 0.2", "it could do with 300m", "the index takes more"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    unruly.end();
}

#[test]
fn a_size_that_nothing_enforces_is_tried_once_and_rests_then() {
    let fields = shaped("up", 1, "500m");
    let unruly = Unruly::up_in(&fields, &orders(&json!({})), &[("PARACLOUD_CGROUPS", "off")]);
    let rig = &unruly.rig;
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&ends);
        clients(scope, rig, 16, &ends);
        wait_until("it was tried", || !proposed(rig).is_empty());
        wait_decided(rig, 8, "it rests", rests);
        let all = proposed(rig);
        assert_eq!(all.len(), 1, "it rests: {all:?}");
        let told = explained(rig, &["jobs"]);
        assert!(told.contains("did not take another size of late"), "{told}");
    });
    let told = explained(rig, &["jobs.1"]);
    assert!(told.contains("processors to jobs.1"), "{told}");
    let operation = rig.events().iter().find(|event| event["what"]["note"]["sized"].is_object()).cloned();
    let operation = operation.expect("it was tried")["operation"].clone();
    let told = explained(rig, &["jobs.1", &format!("op-{operation}")]);
    assert!(told.contains("opened by a decision") && told.contains("no limit can be enforced"), "{told}");
    unruly.end();
}

#[test]
fn a_size_that_a_person_calls_off_is_not_asked_for_again_at_once() {
    let unruly = Unruly::up(&shaped("up", 1, "500m"), &orders(&json!({ "resize": "silent" })));
    let rig = &unruly.rig;
    if !can_be_limited(rig, "jobs.1") {
        return unruly.end();
    }
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&ends);
        clients(scope, rig, 16, &ends);
        let opened = || {
            let events = rig.events();
            events.iter().filter(|event| event["what"]["swapped"]["change"] == "resize").count()
        };
        wait_until("it is asked for", || opened() == 1);
        rig.json(&["cancel", "jobs.1"]);
        wait_decided(rig, 8, "it rests", rests);
        assert_eq!(opened(), 1, "it is left alone");
        assert_eq!(registered(rig), None, "and has what it had");
    });
    unruly.end();
}

#[test]
fn while_another_one_is_started_the_one_that_serves_grows_where_both_may_be() {
    let unruly = Unruly::up(&shaped("both", 2, "500m"), &orders(&json!({})));
    let rig = &unruly.rig;
    if !can_be_limited(rig, "jobs.1") {
        return unruly.end();
    }
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&ends);
        clients(scope, rig, 16, &ends);
        wait_until("there is another one, and one has grown", || {
            let there = rig.json(&["ps"])["instances"].as_array().map_or(0, Vec::len);
            there == 2 && proposed(rig).iter().any(|(from, to)| to > from)
        });
    });
    unruly.end();
}
