//! How many instances an app has follows what they say and what gateways see. Why, `explain` says.

use crate::rig::{Rig, kill, wait_until};
use crate::unruly::Unruly;
use paracloud_substrate::decision;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;

/// How long a job takes, in milliseconds.
const JOB_MS: u32 = 40;

/// A manifest with this scaling; whatever it does not say is short.
fn scaled(fields: &Value) -> Value {
    let mut scale = json!({
        "min": 1, "max": 4, "period": "200ms", "hold": "1s", "flap": { "actions": 100, "per": "10m" },
    });
    scale.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    json!({ "scale": scale })
}

/// Each instance that is there, and the step of its operation.
fn instances(rig: &Rig) -> BTreeMap<String, Value> {
    let ps = rig.json(&["ps"]);
    let all = ps["instances"].as_array().expect("a list").iter();
    let there = all.filter(|it| it["record"]["gone"] != json!(true));
    let one = |it: &Value| {
        let serves = !it["record"]["served"].is_null();
        let name = it["name"].as_str().expect("a name").to_owned();
        (name, if serves { it["record"]["operation"].clone() } else { json!("starts") })
    };
    there.map(one).collect()
}

/// How many of them serve and are not on their way out.
fn serving(rig: &Rig) -> usize {
    instances(rig).values().filter(|operation| operation.is_null()).count()
}

/// Clients that send jobs one after the other, until they are told to end.
pub(crate) fn clients<'s, 'r: 's>(
    scope: &'s Scope<'s, '_>,
    rig: &'r Rig,
    count: usize,
    ends: &'r AtomicBool,
) {
    for client in 0..count {
        scope.spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let head = "Content-Length: 0\r\nConnection: close\r\n";
                let mut sent = rig.send(client % 2, &format!("POST /jobs/{JOB_MS}"), head);
                let mut answer = String::new();
                let _ = sent.read_to_string(&mut answer);
            }
        });
    }
}

/// Ends clients also when a test fails.
pub(crate) struct Ends<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The decision that is this to what is asked after.
pub(crate) fn decided(rig: &Rig, arguments: &[&str], role: &str) -> Option<Value> {
    let answer = rig.run(&[&["explain"], arguments, &["--output", "json"]].concat());
    let explained: Value = serde_json::from_str(&answer.out).ok()?;
    explained["decisions"].as_array()?.iter().find(|decided| decided["role"] == role).cloned()
}

/// What `explain` says of these, in one line.
pub(crate) fn explained(rig: &Rig, arguments: &[&str]) -> String {
    let shown = rig.run(&[&["explain"], arguments].concat());
    [shown.out, shown.err].concat().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every decision that the controller kept, made again.
fn replayed(rig: &Rig) -> usize {
    let log = Path::new(&rig.cloud()).join("decisions").join("decisions.jsonl");
    decision::replay(&log).expect("every decision comes out the same")["scaling"]
}

#[test]
fn under_load_instances_are_started_and_without_it_they_leave_and_each_says_why() {
    let unruly = Unruly::up(&scaled(&json!({})), &json!({}));
    let rig = &unruly.rig;
    assert_eq!(serving(rig), 1);
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&ends);
        clients(scope, rig, 16, &ends);
        wait_until("more of them serve", || serving(rig) >= 2);
        let acted = decided(rig, &["jobs"], "acted").expect("it was decided");
        assert!(acted["record"]["plan"]["actions"][0]["start"].is_u64(), "{acted}");
        let known = &acted["record"]["memory"]["fleet"]["boot_ms"];
        assert!(known.is_u64(), "how long the first one took: {acted}");
        let shown = rig.run(&["explain", "jobs"]);
        assert!(shown.out.contains(": started") && shown.out.contains("rule"), "{}{}", shown.out, shown.err);
        let mut started = String::new();
        // Gateways keep one choice a second.
        wait_until("a choice is kept in which it was looked at", || {
            started = rig.run(&["explain", "jobs.2"]).out;
            started.contains(" chose jobs.")
        });
        assert!(started.contains("jobs.2 was started by this one"), "{started}");
        assert!(shown.out.lines().chain(started.lines()).all(|line| line.chars().count() <= 80), "{started}");
    });
    // Nobody sends anything any more.
    wait_until("one is left", || instances(rig).len() == 1);
    let events = rig.events();
    let left = events.iter().find(|event| event["what"]["swapped"]["change"] == "leave").expect("one left");
    let (name, operation) = (left["instance"].as_str().expect("a name"), &left["operation"]);
    let operation = format!("op-{operation}");
    let opened = decided(rig, &[name, &operation], "opened").expect("a decision was behind it");
    assert!(opened["record"]["plan"]["actions"].to_string().contains("leave"), "{opened}");
    let log = Path::new(&rig.cloud()).join("decisions").join("decisions.jsonl");
    let text = std::fs::read_to_string(log).expect("it is there");
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let decided_ms = &opened["record"]["observation"]["now_ms"];
    let kept = lines
        .filter(|line| line["kind"] == "scaling" && line["record"]["observation"]["now_ms"] == *decided_ms)
        .find_map(|line| line["unix_ms"].as_u64())
        .expect("it is kept");
    assert!(Some(kept) <= left["at_unix_ms"].as_u64(), "before it is done: {kept} {left}");
    let told = explained(rig, &[name, &operation]);
    assert!(told.contains("opened by a decision") && told.contains("scaling: one fewer"), "{told}");
    assert!(replayed(rig) > 3);
    for (arguments, code) in [
        (&["explain", "jobs", "op-1"][..], 2),
        (&["explain", "nobody"], 2),
        (&["explain", "jobs.1", "op-99"], 2),
    ] {
        rig.json_of_refused(arguments, code);
    }
}

#[test]
fn an_instance_that_says_that_it_is_cold_counts_as_that_and_how_long_it_took_to_start_is_known() {
    let cold = json!({ "state": "COLD", "warmupMs": 600_000, "capacityPermille": 250 });
    let unruly = Unruly::up(&scaled(&json!({})), &json!({ "state": cold }));
    let rig = &unruly.rig;
    let seen = || {
        let present = decided(rig, &["jobs"], "present").unwrap_or_default();
        present["record"]["observation"]["instances"]["1"].clone()
    };
    wait_until("it counts as cold", || !seen()["cold"].is_null());
    let one = seen();
    assert_eq!(one["cold"]["permille"], 250, "{one}");
    let left_ms = one["cold"]["left_ms"].as_u64().expect("a figure");
    assert!((1..=600_000).contains(&left_ms) && one["start_ms"].as_u64() > Some(0), "{one}");
    let told = explained(rig, &["jobs.1"]);
    assert!(told.contains("jobs.1 is cold, by its own word"), "{told}");
    unruly.end();
}

#[test]
fn a_decision_is_kept_across_a_controller_that_is_killed_and_a_log_that_is_damaged() {
    let unruly = Unruly::up(
        &scaled(&json!({ "max": 3 })),
        &json!({ "ask": { "validForMs": 600_000, "replicas": { "count": 3 } } }),
    );
    let rig = &unruly.rig;
    wait_until("as many serve as it asks for", || serving(rig) == 3);
    let decides = |rig: &Rig| decided(rig, &["jobs"], "present").is_some();
    let before = decided(rig, &["jobs"], "present").expect("one")["record"]["next"]["flaps"].clone();
    let restart = || {
        rig.processes("controller").into_iter().for_each(|pid| kill(pid, Signal::KILL));
        wait_until("it decides again", || decides(rig) && rig.record().is_some());
        wait_until("all serve", || serving(rig) == 3);
        decided(rig, &["jobs"], "present").expect("one")["record"]["next"]["flaps"].clone()
    };
    assert_eq!(restart(), before, "the budget is what it was");
    let log = Path::new(&rig.cloud()).join("decisions").join("decisions.jsonl");
    let text = std::fs::read_to_string(&log).expect("it is there");
    std::fs::write(&log, format!("{text}no decision\n\n{{}}\n")).expect("it can be written");
    assert_eq!(restart(), before, "what can be read counts");
    assert!(Path::new(&rig.cloud()).join("decisions.damaged").exists());
    assert!(rig.run(&["events", "jobs"]).out.contains("the log of decisions"));
    assert!(replayed(rig) > 0);
}

#[test]
fn a_number_that_a_person_set_is_kept_until_it_is_given_back_and_who_holds_stays_after_it() {
    let report = json!({ "workUnit": "request", "capacityMilliPerS": 100_000, "backlogMs": 0 });
    let hold = |ttl_ms: u32| json!({ "month": { "ops": ["drain"], "ttlMs": ttl_ms, "reason": "month end" } });
    let orders = |ttl_ms: u32| json!({ "report": report, "hold": hold(ttl_ms) });
    let unruly = Unruly::up(&scaled(&json!({ "max": 3, "start": 1 })), &orders(60_000));
    let rig = &unruly.rig;
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&ends);
        // Known is what one can do, and one would do.
        clients(scope, rig, 1, &ends);
        assert!(rig.json(&["scale", "jobs", "--auto"])["given_back"].is_null(), "nobody set it");
        rig.json(&["scale", "jobs", "2", "--for", "1h"]);
        let present = || decided(rig, &["jobs"], "present").unwrap_or_default()["record"].take();
        let mut decision = Value::Null;
        wait_until("both serve by the word of a person", || {
            decision = present();
            decision["reasons"]["rule"] == "manual" && serving(rig) == 2
        });
        assert_eq!(decision["observation"]["manual"]["count"], 2, "{decision}");
        assert_eq!(decision["reasons"]["instead"]["count"], 1, "{decision}");
        let told = rig.run(&["explain", "jobs"]).out;
        assert!(
            told.contains("a person set the number, until ") && told.contains("rule would have"),
            "{told}"
        );
        let back = rig.json(&["scale", "jobs", "--auto"]);
        assert_eq!(back["given_back"]["instances"], 2, "before its time is over: {back}");
        // Remarks are written when nothing else is.
        wait_until("the journal has it", || {
            let given_back = "a person gives the number back: 2 instances were wanted";
            rig.run(&["events", "jobs"]).out.contains(given_back)
        });
        wait_until("one would do, and both hold", || {
            decision = present();
            let standings = &decision["reasons"]["standings"];
            ["1", "2"].iter().all(|number| standings[number]["held"].is_u64())
        });
        assert!(decision["observation"]["manual"].is_null(), "it was given back: {decision}");
        assert_eq!(serving(rig), 2);
        ["jobs.1", "jobs.2"].iter().for_each(|name| unruly.order(name, &orders(1)));
        wait_until("nobody holds, and one is left", || instances(rig).len() == 1);
    });
    assert!(replayed(rig) > 0);
}

/// Of two instances there may be, one serves on n1 and its requests take long to drain: it leaves by a person's word.
fn held_up() -> Unruly {
    let fields = json!({ "min": 1, "max": 2, "start": 1, "drain": "60s" });
    Unruly::up(&scaled(&fields), &json!({ "drain": "never" }))
}

/// Waits until the decision was made several times, under load, while this instance was drained.
fn wait_decided_while_draining(rig: &Rig, name: &str) {
    let mut last = Value::Null;
    let mut short = 0;
    wait_until("more would be started, if there might be more", || {
        let decided = decided(rig, &["jobs"], "present").unwrap_or_default();
        let is_short = decided["record"]["reasons"]["cuts"].to_string().contains("\"leaving\":1");
        short += u32::from(is_short && decided["unix_ms"] != last);
        last = decided["unix_ms"].clone();
        let events = rig.run(&["events", name]).out;
        assert!(!events.contains("called back"), "{events}");
        short >= 3
    });
    assert_eq!(instances(rig)[name]["leave"]["step"], "draining");
}

#[test]
fn who_leaves_a_node_that_a_person_drains_is_not_called_back_however_much_comes() {
    let unruly = held_up();
    let rig = &unruly.rig;
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&ends);
        let mut draining = rig.start(&["drain-node", "n1"], Stdio::null());
        wait_until("it is drained", || instances(rig)["jobs.1"]["leave"]["step"] == "draining");
        clients(scope, rig, 24, &ends);
        wait_decided_while_draining(rig, "jobs.1");
        unruly.order("jobs.1", &json!({ "drain": null }));
        draining.signal(Signal::TERM);
        draining.ended();
    });
    let told = rig.run(&["events", "jobs.1"]).out;
    assert!(told.contains("jobs.2 serves in its place"), "{told}");
}

#[test]
fn who_is_replaced_by_an_update_is_not_called_back_however_much_comes() {
    let unruly = held_up();
    let rig = &unruly.rig;
    let text = std::fs::read_to_string(rig.manifest()).expect("it is there");
    let changed = text.replacen("\"EXAMPLE\":", "\"NOTE\":\"two\",\"EXAMPLE\":", 1);
    assert_ne!(changed, text);
    std::fs::write(rig.manifest(), changed).expect("it can be written");
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&ends);
        let mut applying = rig.start(&["apply", rig.manifest()], Stdio::null());
        wait_until("the old one is drained", || instances(rig)["jobs.1"]["leave"]["step"] == "draining");
        clients(scope, rig, 24, &ends);
        wait_decided_while_draining(rig, "jobs.1");
        applying.signal(Signal::TERM);
        applying.ended();
    });
}

#[test]
fn one_that_leaves_is_called_back_when_the_load_comes_back() {
    called_back_by_load(false);
}

#[test]
fn one_that_an_earlier_controller_let_go_is_called_back_when_the_load_comes_back() {
    called_back_by_load(true);
}

fn called_back_by_load(controller_is_killed: bool) {
    let unruly =
        Unruly::up(&scaled(&json!({ "min": 1, "max": 2, "start": 2 })), &json!({ "drain": "never" }));
    let rig = &unruly.rig;
    assert_eq!(serving(rig), 2);
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&ends);
        // Known is what one can do, and one would do.
        clients(scope, rig, 1, &ends);
        unruly.order(
            "jobs.1",
            &json!({ "drain": "never", "report": { "workUnit": "request", "capacityMilliPerS": 100_000 } }),
        );
        unruly.order(
            "jobs.2",
            &json!({ "drain": "never", "report": { "workUnit": "request", "capacityMilliPerS": 100_000 } }),
        );
        let leaving =
            || instances(rig).into_values().any(|operation| operation["leave"]["step"] == "draining");
        wait_until("one of them is to leave", leaving);
        if controller_is_killed {
            let before = rig.processes("controller");
            before.iter().for_each(|pid| kill(*pid, Signal::KILL));
            wait_until("another controller is there", || {
                rig.processes("controller").iter().any(|pid| !before.contains(pid))
            });
        }
        clients(scope, rig, 24, &ends);
        wait_until("both serve again", || serving(rig) == 2);
    });
    let acted = decided(rig, &["jobs"], "acted").expect("it was decided");
    assert!(acted["record"]["plan"]["actions"].to_string().contains("revoke"), "{acted}");
    let events = rig.events();
    let returned = |event: &&Value| {
        event["what"]["swapped"]["change"].as_str().is_some_and(|change| change.starts_with("return"))
    };
    let returned = events.iter().find(returned).expect("it was called back");
    let name = returned["instance"].as_str().expect("a name");
    let operation = format!("op-{}", returned["operation"]);
    let gave_up = decided(rig, &[name, &operation], "gave_up").expect("a decision was behind it");
    assert!(gave_up["done"][0]["operation"] == returned["operation"], "{gave_up}");
    let told = explained(rig, &[name, &operation]);
    assert!(told.contains("was given up by this one"), "{told}");
    assert!(unruly.did("jobs.1").len() + unruly.did("jobs.2").len() > 0);
}

#[test]
fn who_asks_to_be_retired_though_as_many_are_needed_is_replaced() {
    let unruly = Unruly::up(&scaled(&json!({ "min": 2, "max": 3, "start": 2 })), &json!({}));
    let rig = &unruly.rig;
    let report = json!({ "workUnit": "request", "capacityMilliPerS": 100_000, "backlogMs": 0 });
    let ask = json!({ "validForMs": 600_000, "retireMe": {}, "reason": "it leaks" });
    unruly.order("jobs.1", &json!({ "report": report, "ask": ask }));
    unruly.order("jobs.2", &json!({ "report": report }));
    wait_until("another one is there instead", || {
        instances(rig).into_keys().eq(["jobs.2".to_owned(), "jobs.3".to_owned()]) && serving(rig) == 2
    });
    let events = rig.events();
    let place = |instance: &str, change: &str| {
        let is = |event: &Value| {
            event["instance"] == instance
                && event["what"]["swapped"]["change"].as_str().is_some_and(|it| it.starts_with(change))
        };
        events.iter().position(is).expect("it was so")
    };
    assert!(place("jobs.3", "serve") < place("jobs.1", "leave"), "never fewer than there must be");
    let log = Path::new(&rig.cloud()).join("decisions").join("decisions.jsonl");
    let text = std::fs::read_to_string(log).expect("it is there");
    assert!(text.contains("\"retiring\":1") && replayed(rig) > 0);
    let told = rig.run(&["events", "jobs.3"]).out;
    assert!(told.contains("another one comes in the place of one that asked to go"), "{told}");
}

#[test]
fn who_refuses_to_leave_keeps_nobody_else_from_leaving() {
    let report = json!({ "workUnit": "request", "capacityMilliPerS": 100_000, "backlogMs": 0 });
    // Who defers the question is asked again in a second.
    let not_yet = json!({ "report": report, "quote": "defer" });
    let fields = json!({ "min": 1, "max": 3, "start": 3, "hold": "100ms" });
    let unruly = Unruly::up(&scaled(&fields), &not_yet);
    let rig = &unruly.rig;
    unruly.order("jobs.3", &json!({ "report": report, "quote": { "costMs": 0 }, "drain": "refuse" }));
    let asked = || unruly.did("jobs.3").iter().filter(|line| line.starts_with("asked drain")).count();
    wait_until("it was to leave", || asked() > 0);
    let dear = json!({ "report": report, "quote": { "costMs": 90 } });
    ["jobs.1", "jobs.2"].iter().for_each(|name| unruly.order(name, &dear));
    wait_until("the others have left, as far as they may", || {
        let left = instances(rig);
        left.len() == 1 && left.contains_key("jobs.3")
    });
    assert_eq!(asked(), 1, "it is left alone: {:?}", unruly.did("jobs.3"));
}

/// What was told of this figure in the last decision, and what was made of it.
fn input(rig: &Rig, figure: &str) -> Option<Value> {
    let present = decided(rig, &["jobs"], "present")?;
    let inputs = present["record"]["reasons"]["inputs"].as_array()?;
    inputs.iter().find(|input| input["figure"] == figure).cloned()
}

#[test]
fn who_says_now_that_and_now_this_is_believed_less_and_starts_no_more_than_the_budget_has() {
    let endless = json!({ "workUnit": "request", "backlogMs": 3_600_000 });
    let truth = json!({ "workUnit": "request", "capacityMilliPerS": 40_000, "backlogMs": 0 });
    let orders = json!({ "report": truth, "flap": endless });
    let budget = json!({ "max": 16, "hold": "100ms", "flap": { "actions": 4, "per": "10m" } });
    let unruly = Unruly::up(&scaled(&budget), &orders);
    let rig = &unruly.rig;
    let trust = || input(rig, "backlog").and_then(|input| input["trust_permille"].as_u64());
    wait_until("it is believed less", || trust().is_some_and(|permille| permille < 900));
    // It asks for as many as there may be, wants them no more, and asks again when they have left.
    let (mut shown, mut asks) = (String::new(), 0);
    wait_until("the budget is spent, and that is said", || {
        if serving(rig) == 1 && input(rig, "asked").is_none() {
            asks += 1;
            let mut orders = orders.clone();
            orders["ask"] = json!({ "validForMs": 500 + asks, "replicas": { "count": 16 } });
            ["jobs.1", "jobs.2"].iter().for_each(|name| unruly.order(name, &orders));
        }
        shown = rig.run(&["explain", "jobs"]).out;
        shown.contains("flap budget: ")
    });
    assert!(asks > 1, "{asks}: {shown}");
    let log = Path::new(&rig.cloud()).join("decisions").join("decisions.jsonl");
    let text = std::fs::read_to_string(log).expect("it is there");
    assert!(text.contains("gateways_see_less"), "what nobody saw is cut");
    let acts = ["{\"start\":1}", "{\"leave\":"].map(|act| text.matches(&format!("\"action\":{act}")).count());
    assert!(acts[0] >= 1 && acts[0] + acts[1] <= 4, "no more than the budget has: {acts:?}");
    assert!(replayed(rig) > 0);
}

#[test]
fn who_announced_falsely_three_times_is_hardly_believed_and_that_is_said() {
    let report = json!({ "workUnit": "request", "capacityMilliPerS": 10_000, "backlogMs": 0 });
    let unruly = Unruly::up(&scaled(&json!({ "period": "100ms" })), &json!({ "report": report }));
    let rig = &unruly.rig;
    let mut used = Vec::new();
    for id in ["spring", "summer", "autumn", "winter"] {
        let sale = json!({
            "beginsInMs": 200, "lastsMs": 800, "demandMilliPerS": 30_000, "confidencePermille": 1_000,
        });
        unruly.order("jobs.1", &json!({ "report": report, "announce": { id: sale } }));
        let mut said = Value::Null;
        wait_until("it is looked at", || {
            said =
                input(rig, "announced").filter(|input| input["of"]["announcement"] == id).unwrap_or_default();
            !said.is_null()
        });
        used.push(said["used"].as_u64().expect("a figure"));
        if id == "winter" {
            let shown = rig.run(&["explain", "jobs"]).out;
            assert!(shown.contains("winter announced"), "{shown}");
            break;
        }
        // Nothing of it came.
        let graded = || {
            let present = decided(rig, &["jobs"], "present");
            present.is_some_and(|it| !it["record"]["next"]["grades"]["ids"][id].is_null())
        };
        wait_until("it is over, and graded", graded);
    }
    assert_eq!(used, [24_000, 12_000, 6_000, 3_000], "half as much each time");
    assert!(replayed(rig) > 0);
}

#[test]
fn an_app_that_takes_its_work_from_a_queue_has_more_instances_when_they_report_that_work_waits() {
    let report = |backlog_ms: u32| json!({ "report": { "backlogMs": backlog_ms } });
    let unruly = Unruly::up(&scaled(&json!({ "work": "queue", "hold": "100ms" })), &report(60_000));
    let rig = &unruly.rig;
    // Nobody sends a request.
    wait_until("as many serve as there may be", || serving(rig) == 4);
    let told = rig.run(&["explain", "jobs"]).out;
    assert!(told.contains("enough to work off what waits"), "{told}");
    (1..=4).for_each(|number| unruly.order(&format!("jobs.{number}"), &report(0)));
    wait_until("nothing waits, and one is left", || instances(rig).len() == 1);
    assert!(replayed(rig) > 0);
}
