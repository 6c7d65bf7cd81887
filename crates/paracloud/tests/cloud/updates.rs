//! Instances are updated by the controller, whoever listens.

use crate::frozen::{agent, is_connected};
use crate::instances::another_controller;
use crate::rig::{Rig, kill, wait_until};
use crate::unruly::Unruly;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

/// Three, of which the second does not come to its end when it leaves; the manifest says something else by now.
fn held() -> Unruly {
    let scale = json!({ "scale": { "min": 3, "max": 5, "start": 3, "hold": "10m", "drain": "10m" } });
    let unruly = Unruly::up(&scale, &json!({}));
    unruly.order("jobs.2", &json!({ "drain": "never" }));
    unruly.wait_obeys("jobs.2");
    rewrite(&unruly.rig, "\"EXAMPLE\":", "\"NOTE\":\"two\",\"EXAMPLE\":");
    unruly
}

/// The manifest says that in the place of this.
fn rewrite(rig: &Rig, this: &str, that: &str) {
    let text = std::fs::read_to_string(rig.manifest()).expect("it is there");
    let changed = text.replacen(this, that, 1);
    assert_ne!(changed, text);
    std::fs::write(rig.manifest(), changed).expect("it can be written");
}

/// The second comes to its end after all.
fn let_go(unruly: &Unruly) {
    unruly.order("jobs.2", &json!({ "drain": null }));
}

/// Which revision each instance runs.
fn revisions(rig: &Rig) -> BTreeMap<String, Value> {
    let ps = rig.json(&["ps"]);
    let all = ps["instances"].as_array().expect("a list").iter();
    all.map(|it| (it["name"].as_str().expect("a name").to_owned(), it["revision"].clone())).collect()
}

/// The first was updated, and the second is about to be.
fn wait_half_way(rig: &Rig) {
    wait_until("the second is to leave", || {
        let ps = rig.json(&["ps"]);
        let second = ps["instances"].as_array().expect("a list").iter().find(|it| it["name"] == "jobs.2");
        second.is_some_and(|it| it["record"]["operation"]["leave"]["step"] == "draining")
    });
    let now = revisions(rig);
    assert!(now.get("jobs.1").is_none_or(|it| *it == 2), "{now:?}");
    assert_eq!([&now["jobs.2"], &now["jobs.3"]], [1, 1], "{now:?}");
}

/// What the controller leaves to the next one.
fn kept(rig: &Rig) -> Value {
    let path = std::path::Path::new(&rig.cloud()).join("updating.json");
    serde_json::from_slice(&std::fs::read(path).expect("it was written")).expect("it is whole")
}

/// So many processes of this revision, which counts by now, were started for that.
fn wait_all_updated(rig: &Rig, revision: u32, starts: usize) {
    wait_until("all are updated", || {
        let now = revisions(rig);
        now.len() == 3 && now.values().all(|it| *it == revision)
    });
    wait_until("it is over", || kept(rig) == json!({}));
    let started: BTreeSet<_> = rig
        .events()
        .into_iter()
        .map(|event| event["what"]["swapped"]["record"]["owner"].clone())
        .filter(|owner| owner["revision"] == revision)
        .map(|owner| owner["start"].to_string())
        .collect();
    assert_eq!(started.len(), starts);
    let same = rig.json(&["apply", rig.manifest()]);
    assert_eq!((&same["changes"], &same["unchanged"]), (&json!([]), &json!(["jobs"])), "{same}");
}

#[test]
fn who_is_killed_while_it_applies_leaves_the_rest_to_the_controller() {
    let unruly = held();
    let rig = &unruly.rig;
    let mut applying = rig.start(&["apply", rig.manifest()], Stdio::null());
    wait_half_way(rig);
    applying.signal(Signal::KILL);
    applying.ended();
    let_go(&unruly);
    wait_all_updated(rig, 2, 3);
    unruly.end();
}

#[test]
fn who_leaves_an_update_is_told_what_goes_on_and_it_does() {
    let unruly = held();
    let rig = &unruly.rig;
    let mut applying = rig.start_telling(&["apply", rig.manifest()]);
    applying.tells("jobs.1: left in");
    wait_half_way(rig);
    applying.signal(Signal::INT);
    applying.tells("you left; the update of jobs.2 goes on, and of those after it");
    assert_eq!(applying.ended(), 1, "who left does not know what becomes of it");
    let_go(&unruly);
    wait_all_updated(rig, 2, 3);
    unruly.end();
}

#[test]
fn a_controller_that_is_killed_half_way_leaves_the_rest_to_the_next_and_each_is_updated_once() {
    let unruly = held();
    let rig = &unruly.rig;
    std::thread::scope(|scope| {
        let applying = scope.spawn(|| rig.json(&["apply", rig.manifest()]));
        wait_half_way(rig);
        another_controller(rig);
        let_go(&unruly);
        let applied = applying.join().expect("it hears of it from the next one");
        let row = |row: &Value| (row["who"].clone(), row["done"].clone());
        let rows: Vec<_> = applied["changes"].as_array().expect("a list").iter().map(row).collect();
        assert_eq!(rows, ["jobs.1", "jobs.2", "jobs.3"].map(|it| (json!(it), json!(true))), "{applied}");
    });
    wait_all_updated(rig, 2, 3);
    unruly.end();
}

#[test]
fn whose_agent_is_away_is_waited_for_by_the_next_controller_and_updated_when_it_is_back() {
    let unruly = held();
    let rig = &unruly.rig;
    let mut applying = rig.start_telling(&["apply", rig.manifest()]);
    wait_half_way(rig);
    another_controller(rig);
    // The third is on the first node.
    let frozen = agent(rig, "n1");
    kill(frozen, Signal::STOP);
    wait_until("its agent counts as away", || !is_connected(rig, 0));
    let_go(&unruly);
    applying.tells("jobs.3: the agent of its node is away; waiting for jobs.3");
    assert_eq!(revisions(rig)["jobs.3"], 1);
    kill(frozen, Signal::CONT);
    assert_eq!(applying.ended(), 0);
    wait_all_updated(rig, 2, 3);
    unruly.end();
}

#[test]
fn who_applies_is_told_that_one_that_is_being_started_is_waited_for() {
    let scale = json!({ "scale": { "min": 1, "max": 2, "start": 1, "hold": "10m" } });
    let unruly = Unruly::up(&scale, &json!({}));
    let rig = &unruly.rig;
    unruly.order("jobs.2", &json!({ "slow": true }));
    rig.json(&["scale", "jobs", "2", "--for", "1h", "--no-wait"]);
    wait_until("its process runs", || revisions(rig).get("jobs.2").is_some_and(|it| *it == 1));
    rewrite(rig, "\"EXAMPLE\":", "\"NOTE\":\"two\",\"EXAMPLE\":");
    let mut applying = rig.start_telling(&["apply", rig.manifest()]);
    applying.tells("jobs.2: it does not serve yet, and is given up after 2 m 00 s; waiting for jobs.2");
    unruly.order("jobs.2", &json!({}));
    assert_eq!(applying.ended(), 0);
    assert_eq!(revisions(rig), BTreeMap::from(["jobs.1", "jobs.2"].map(|it| (it.to_owned(), json!(2)))));
    unruly.end();
}

#[test]
fn who_does_not_wait_hears_of_it_by_applying_the_same_and_who_is_called_back_ends_it() {
    let unruly = held();
    let rig = &unruly.rig;
    let begun = rig.json(&["apply", rig.manifest(), "--no-wait"]);
    assert_eq!(begun["begun"], true, "{begun}");
    wait_half_way(rig);
    let mut joins = rig.start_telling(&["apply", rig.manifest()]);
    joins.tells("jobs.1: left in");
    rig.json(&["cancel", "jobs.2"]);
    assert_eq!(joins.ended(), 1, "it is not so");
    wait_until("it is over", || kept(rig) == json!({}));
    wait_until("who came in its place is gone", || revisions(rig).len() == 3);
    let now = revisions(rig);
    assert_eq!([&now["jobs.2"], &now["jobs.3"]], [1, 1], "no other is begun: {now:?}");

    // And the next one does not try again.
    another_controller(rig);
    assert_eq!(revisions(rig), now);
    let_go(&unruly);
    let applied = rig.json(&["apply", rig.manifest()]);
    let row = |row: &Value| (row["who"].clone(), row["how"].clone(), row["done"].clone());
    let rows: Vec<_> = applied["changes"].as_array().expect("a list").iter().map(row).collect();
    assert_eq!(rows, ["jobs.2", "jobs.3"].map(|it| (json!(it), json!("replaced"), json!(true))), "{applied}");
    wait_all_updated(rig, 2, 4);
    unruly.end();
}

#[test]
fn what_is_applied_meanwhile_is_what_all_come_to_and_who_waits_for_the_first_hears_of_that() {
    let unruly = held();
    let rig = &unruly.rig;
    std::thread::scope(|scope| {
        let first = scope.spawn(|| rig.json(&["apply", rig.manifest()]));
        wait_half_way(rig);
        rewrite(rig, "\"NOTE\":\"two\"", "\"NOTE\":\"three\"");
        let begun = rig.json(&["apply", rig.manifest(), "--no-wait"]);
        assert_eq!(begun["begun"], true, "{begun}");
        let_go(&unruly);
        let applied = first.join().expect("it ends");
        let rows = applied["changes"].as_array().expect("a list");
        assert!(rows.len() >= 4 && rows.iter().all(|row| row["done"] == true), "the first twice: {applied}");
    });
    wait_all_updated(rig, 3, 3);
    unruly.end();
}

#[test]
fn a_rehearsal_asks_who_would_be_replaced_what_losing_it_costs_and_changes_nothing() {
    let scale = json!({ "scale": { "min": 2, "max": 4, "start": 2, "hold": "10m" } });
    let unruly = Unruly::up(&scale, &json!({ "quote": { "costMs": 7, "drainMs": 40 } }));
    let rig = &unruly.rig;
    rewrite(rig, "\"EXAMPLE\":", "\"NOTE\":\"two\",\"EXAMPLE\":");
    unruly.order("jobs.2", &json!({ "quote": "refuse" }));
    unruly.wait_obeys("jobs.2");
    let dry = rig.json(&["apply", rig.manifest(), "--dry-run"]);
    let row = |row: &Value| (row["who"].clone(), row["how"].clone(), row["why"].clone());
    let rows: Vec<_> = dry["changes"].as_array().expect("a list").iter().map(row).collect();
    let cost = "losing it now would cost 7 ms of work, drained in 40 ms";
    assert_eq!((&rows[0].0, &rows[0].1), (&json!("jobs.1"), &json!("replaced")), "{dry}");
    assert!(rows[0].2.as_str().is_some_and(|why| why.starts_with(cost)), "{dry}");
    assert!(rows[1].2.as_str().is_some_and(|why| why.contains("it was ordered")), "{dry}");
    assert_eq!(revisions(rig), BTreeMap::from(["jobs.1", "jobs.2"].map(|it| (it.to_owned(), json!(1)))));
    assert_eq!(unruly.did("jobs.1").iter().filter(|did| did.starts_with("asked quote")).count(), 1);
    unruly.end();
}

#[test]
fn one_that_is_being_started_as_what_counted_before_is_updated_too() {
    let scale = json!({ "scale": { "min": 1, "max": 5, "start": 2, "hold": "10m" } });
    let unruly = Unruly::up(&scale, &json!({}));
    let rig = &unruly.rig;
    unruly.order("jobs.3", &json!({ "slow": true }));
    rig.json(&["scale", "jobs", "3", "--for", "1h", "--no-wait"]);
    wait_until("its process runs", || revisions(rig).get("jobs.3").is_some_and(|it| *it == 1));
    rewrite(rig, "\"EXAMPLE\":", "\"NOTE\":\"two\",\"EXAMPLE\":");
    let applied = rig.json(&["apply", rig.manifest()]);
    let rows = applied["changes"].as_array().expect("a list").iter();
    assert_eq!(rows.filter(|row| row["done"] == true).count(), 3, "{applied}");
    wait_until("the others serve", || revisions(rig).len() == 3);
    assert!(revisions(rig).values().all(|it| *it == 2), "{:?}", revisions(rig));
    unruly.end();
}
