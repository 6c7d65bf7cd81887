//! A node is drained by the controller, whoever listens.

use crate::frozen::{agent, is_connected};
use crate::instances::another_controller;
use crate::killed::process_on;
use crate::points::Points;
use crate::rig::{Rig, kill, wait_until};
use crate::scaling::explained;
use crate::unruly::Unruly;
use paracloud_core::migration::promises::{Point, Promise};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Stdio;

/// Instances that are on the first node.
fn on_first(rig: &Rig) -> Vec<String> {
    let ps = rig.json(&["ps"]);
    let all = ps["instances"].as_array().expect("a list").iter();
    let here = all.filter(|it| it["record"]["owner"]["node"] == 1 && it["record"]["gone"] != json!(true));
    here.map(|it| it["name"].as_str().expect("a name").to_owned()).collect()
}

fn is_closed(rig: &Rig) -> bool {
    let is = |it: &Value| it["name"] == "n1" && it["closed"] == true;
    rig.json(&["ps"])["nodes"].as_array().expect("a list").iter().any(is)
}

/// Two on each node, of which one on the first holds on to its place.
fn held() -> Unruly {
    let scale = json!({ "scale": { "min": 4, "max": 8, "start": 4, "hold": "10m" } });
    let unruly = Unruly::up(&scale, &json!({}));
    holds(&unruly, 600_000);
    assert_eq!(on_first(&unruly.rig), ["jobs.1", "jobs.3"]);
    unruly
}

fn holds(unruly: &Unruly, ttl_ms: u32) {
    let hold = json!({ "ops": ["drain"], "ttlMs": ttl_ms, "reason": "month end" });
    unruly.order("jobs.1", &json!({ "hold": { "month": hold } }));
    unruly.wait_obeys("jobs.1");
    let stands = || unruly.rig.run(&["holds"]).out.contains("month end");
    wait_until("it is known", || stands() == (ttl_ms > 1));
}

#[test]
fn a_drain_goes_on_when_who_asked_for_it_has_left_and_under_the_next_controller() {
    let unruly = held();
    let rig = &unruly.rig;
    let mut asks = rig.start(&["drain-node", "n1", "--parallel", "1"], Stdio::null());
    wait_until("it is being drained", || is_closed(rig));
    let ps = rig.run(&["ps"]).out;
    assert!(ps.contains("node n1: is being drained, and gets no new instances"), "{ps}");
    asks.signal(Signal::INT);
    assert_eq!(asks.ended(), 1, "who left does not know what becomes of it");
    another_controller(rig);
    assert!(on_first(rig).contains(&"jobs.1".to_owned()), "it holds on to its place");
    wait_until("it is explained who holds, until when and why", || {
        let told = explained(rig, &["jobs.1"]);
        told.contains("waited jobs.1, until ")
            && told.contains("it holds on to its place for")
            && told.contains("month end")
    });
    // Another way of draining it is another thing.
    let busy = rig.json_of_refused(&["drain-node", "n1", "--parallel", "3"], 1);
    assert_eq!(busy["error"]["code"], "busy", "{busy}");
    let begun = rig.json(&["drain-node", "n1", "--parallel", "1", "--no-wait"]);
    assert_eq!(begun["begun"], true, "{begun}");
    holds(&unruly, 1);
    let drained = rig.json(&["drain-node", "n1", "--parallel", "1"]);
    assert_eq!(drained["ok"], true, "{drained}");
    assert_eq!(on_first(rig), Vec::<String>::new());
    let ps = rig.run(&["ps"]).out;
    assert!(ps.contains("node n1: was drained, and gets no new instances"), "{ps}");
    let nothing = rig.run(&["drain-node", "n1"]);
    assert!(nothing.out.contains("n1: no instance is on it"), "{}{}", nothing.out, nothing.err);
    unruly.end();
}

#[test]
fn who_asked_for_a_drain_hears_the_rest_of_it_from_the_next_controller_and_has_one_row_for_each() {
    let unruly = held();
    let rig = &unruly.rig;
    std::thread::scope(|scope| {
        let asks = scope.spawn(|| rig.json(&["drain-node", "n1", "--parallel", "1"]));
        wait_until("it is being drained", || is_closed(rig));
        another_controller(rig);
        holds(&unruly, 1);
        let drained = asks.join().expect("it hears of it from the next one");
        let row = |row: &Value| (row["instance"].clone(), row["moved"].clone());
        let rows: Vec<_> = drained["instances"].as_array().expect("a list").iter().map(row).collect();
        assert_eq!(rows, ["jobs.1", "jobs.3"].map(|it| (json!(it), json!(true))), "{drained}");
    });
    assert_eq!(on_first(rig), Vec::<String>::new());
    unruly.end();
}

#[test]
fn a_node_that_is_opened_again_is_drained_no_more() {
    let unruly = held();
    let rig = &unruly.rig;
    std::thread::scope(|scope| {
        let drain = scope.spawn(|| rig.json_of_refused(&["drain-node", "n1"], 1));
        wait_until("the other one has left", || on_first(rig) == ["jobs.1"]);
        rig.json(&["node", "open", "n1"]);
        let ended = drain.join().expect("it ends");
        let rows: Vec<_> = ended["instances"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|row| (row["instance"].clone(), row["code"].clone(), row["moved"].clone()))
            .collect();
        assert_eq!(
            rows,
            [(json!("jobs.1"), json!("opened"), json!(false)), (json!("jobs.3"), Value::Null, json!(true))],
            "{ended}"
        );
    });
    assert!(!is_closed(rig));
    assert_eq!(on_first(rig), ["jobs.1"]);
    unruly.end();
}

/// Those that are to leave the first node of [`three_that_wait`].
const LEAVING: [&str; 3] = ["jobs.1", "jobs.3", "jobs.5"];

/// Three on each node. Who leaves has nothing left to do only once that is ordered.
fn three_that_wait() -> Unruly {
    let fields = json!({ "scale": { "min": 6, "max": 12, "start": 6 }, "drain": "10m" });
    let unruly = Unruly::up(&fields, &json!({ "drain": "never" }));
    assert_eq!(on_first(&unruly.rig), LEAVING);
    unruly
}

/// Those of the first node that have an operation open, and how many had one at once at most: by the journal.
fn open(rig: &Rig) -> (BTreeSet<String>, usize) {
    let (mut open, mut most) = (BTreeSet::new(), 0);
    for event in rig.events() {
        let record = &event["what"]["swapped"]["record"];
        let Some(name) = event["instance"].as_str().filter(|name| LEAVING.contains(name)) else { continue };
        if record["operation"].is_object() {
            open.insert(name.to_owned());
        } else if record.is_object() {
            open.remove(name);
        }
        most = most.max(open.len());
    }
    (open, most)
}

/// Drains the first node, so many at once: these have to leave at once, and never more.
fn drains_at_once(parallel: &str, first: &[&str]) {
    let unruly = three_that_wait();
    let rig = &unruly.rig;
    let mut drain = rig.start(&["drain-node", "n1", "--parallel", parallel], Stdio::null());
    first.iter().for_each(|name| unruly.wait_did_times(name, "asked drain", 1));
    // Who else were to leave with them would have begun to: another one was started that was asked for after that.
    rig.json(&["scale", "jobs", "7"]);
    let first: BTreeSet<_> = first.iter().map(|name| (*name).to_owned()).collect();
    let at_once = first.len();
    assert_eq!(open(rig), (first, at_once));
    LEAVING.iter().for_each(|name| unruly.order(name, &json!({ "drain": null })));
    assert_eq!(drain.ended(), 0);
    assert_eq!(open(rig), (BTreeSet::new(), at_once));
    assert_eq!(on_first(rig), Vec::<String>::new());
    unruly.end();
}

#[test]
fn of_a_node_that_is_drained_one_at_a_time_no_two_have_an_operation_open_at_once() {
    drains_at_once("1", &LEAVING[..1]);
}

#[test]
fn of_a_node_that_is_drained_two_at_a_time_two_leave_at_once_and_the_third_after_one_of_them() {
    drains_at_once("2", &LEAVING[..2]);
}

#[test]
fn of_two_that_leave_at_once_one_waits_until_there_may_be_another_one_and_none_is_stopped_first() {
    let fields = json!({ "scale": { "min": 4, "max": 5, "start": 4, "hold": "10m" } });
    let unruly = Unruly::up(&fields, &json!({}));
    let rig = &unruly.rig;
    let drained = rig.json(&["drain-node", "n1", "--parallel", "2"]);
    assert_eq!(drained["ok"], true, "{drained}");
    let told = rig.run(&["events", "jobs"]).out;
    assert!(!told.contains("a move by"), "they are replaced, and not moved: {told}");
    assert_eq!(on_first(rig), Vec::<String>::new());
    unruly.end();
}

#[test]
fn a_rehearsal_asks_who_would_be_replaced_what_that_costs_and_changes_nothing() {
    let fields = json!({ "scale": { "min": 2, "max": 4, "start": 2 } });
    let unruly = Unruly::up(&fields, &json!({ "quote": { "costMs": 7, "drainMs": 40 } }));
    let rig = &unruly.rig;
    let dry = rig.json(&["drain-node", "n1", "--dry-run"]);
    let says = &dry["instances"][0];
    assert_eq!((&says["instance"], &says["can_go"]), (&json!("jobs.1"), &json!(true)), "{dry}");
    assert!(says["why"].as_str().is_some_and(|why| why.contains("losing it costs 7 ms of work")), "{dry}");
    assert_eq!(unruly.did("jobs.1"), ["asked quote dry"], "it is asked, and nothing else");
    assert!(!is_closed(rig) && on_first(rig) == ["jobs.1"], "nothing was changed");
    unruly.order("jobs.1", &json!({ "quote": "refuse" }));
    unruly.wait_obeys("jobs.1");
    let dry = rig.run(&["drain-node", "n1", "--dry-run"]).out;
    assert!(dry.contains("it answers REFUSE: it was ordered"), "{dry}");
    unruly.end();
}

#[test]
fn a_move_of_a_drain_that_breaks_is_tried_again_and_the_table_says_how_it_went_in_the_end() {
    let rig = Rig::sessions(&json!({}), &json!({}));
    let (_up, points) = Points::up(&rig);
    points.arm(Promise::Seal, Point::BeforePersist);
    std::thread::scope(|scope| {
        let drain = scope.spawn(|| rig.json(&["drain-node", "n1"]));
        points.fired(Promise::Seal, Point::BeforePersist);
        let (target, _) = process_on(&rig, "n2");
        kill(target, Signal::KILL);
        points.go(Promise::Seal, Point::BeforePersist);
        let drained = drain.join().expect("it ends");
        let row = &drained["instances"][0];
        assert_eq!((&row["instance"], &row["moved"]), (&json!("sessions"), &json!(true)), "{drained}");
    });
    assert_eq!(rig.record().expect("a record")["owner"]["node"], 2);
    let told = rig.run(&["events", "sessions"]).out;
    assert!(told.contains("op-1  given up ("), "{told}");
    let operations = rig.record().expect("a record")["last_operation"].clone();
    assert_eq!(operations, 2, "once more, and no more: {told}");
}

#[test]
fn a_drain_that_the_next_controller_takes_up_while_the_other_node_is_away_waits_for_it_and_says_so() {
    let unruly = held();
    let rig = &unruly.rig;
    rig.json(&["drain-node", "n1", "--no-wait"]);
    let frozen = agent(rig, "n2");
    kill(frozen, Signal::STOP);
    rig.processes("controller").into_iter().for_each(|pid| kill(pid, Signal::KILL));
    wait_until("another controller is there", || rig.run(&["ps"]).code == 0 && !is_connected(rig, 1));
    // For a minute it waits for all nodes, as it does after each begin.
    let mut joins = rig.start_telling(&["drain-node", "n1"]);
    joins.tells("n1: no other node is connected that takes instances; waiting for n1");
    kill(frozen, Signal::CONT);
    wait_until("the other node is there", || is_connected(rig, 1));
    holds(&unruly, 1);
    assert_eq!(joins.ended(), 0);
    assert!(on_first(rig).is_empty());
    unruly.end();
}
