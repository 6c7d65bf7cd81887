//! What a person's order was made into is kept with its reasons: it is explained, and made again from what went into it.

use crate::rig::{Rig, wait_until};
use crate::scaling::decided;
use crate::unruly::Unruly;
use paracloud_substrate::decision;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;

/// What `explain` says, each sentence on one line.
fn explained(rig: &Rig, what: &[&str]) -> String {
    let told = rig.run(&[&["explain"], what].concat());
    assert_eq!(told.code, 0, "{what:?}: {}{}", told.out, told.err);
    told.out.replace("\n            ", " ")
}

fn names(all: &Value) -> Vec<String> {
    let names = all.as_array().expect("a list").iter();
    names.map(|it| it["instance"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn whoever_asks_after_an_operation_of_an_order_is_told_what_was_decided_and_why() {
    let scale = json!({ "scale": { "min": 2, "max": 5, "start": 4, "hold": "10m" } });
    let unruly = Unruly::up(&scale, &json!({}));
    let rig = &unruly.rig;

    let fewer = rig.json(&["scale", "jobs", "3"]);
    let [left] = &names(&fewer["leaves"])[..] else { panic!("one leaves: {fewer}") };
    let operation_of_leave = format!("op-{}", fewer["leaves"][0]["operation"]);
    let told = explained(rig, &[left, &operation_of_leave]);
    assert!(told.contains(&format!("{operation_of_leave} of {left} was opened by this one")), "{told}");
    assert!(told.contains("jobs: 4 -> 3, by a person's word\n"), "{told}");
    assert!(told.contains(&format!("leaves    {left} on n")), "{told}");
    let told = explained(rig, &["jobs"]);
    assert!(told.contains("The last order of a person") && told.contains("jobs: 4 -> 3"), "{told}");
    let stays = if left == "jobs.1" { "jobs.2" } else { "jobs.1" };
    let told = explained(rig, &[stays]);
    assert!(told.contains(&format!("{stays} was looked at by this one")), "{told}");
    let object = rig.json(&["explain", left, &operation_of_leave]);
    let order = &object["orders"][0];
    assert_eq!(
        (&order["role"], &order["opened"][0]["instance"]),
        (&json!("opened"), &json!(left)),
        "{object}"
    );
    assert_eq!(order["record"]["decision"]["fewer"]["to"], 3, "{object}");

    let more = rig.json(&["scale", "jobs", "4"]);
    let [came] = &names(&more["starts"])[..] else { panic!("one comes: {more}") };
    let told = explained(rig, &[came]);
    assert!(told.contains(&format!("{came} was started by this one")), "{told}");
    assert!(told.contains("jobs: 3 -> 4, by a person's word"), "{told}");

    let drained = rig.json(&["drain-node", "n1"]);
    assert_eq!(drained["ok"], true, "{drained}");
    let replaced = &names(&drained["instances"])[0];
    let events = rig.events();
    let of_it = |event: &&Value| event["instance"] == json!(replaced) && !event["operation"].is_null();
    let leave = format!("op-{}", events.iter().rev().find(of_it).expect("it left")["operation"]);
    let told = explained(rig, &[replaced, &leave]);
    assert!(told.contains(&format!("{leave} of {replaced} was opened by this one")), "{told}");
    assert!(told.contains("n1 is drained: 2 are to leave it") && told.contains("  replace "), "{told}");

    let text = std::fs::read_to_string(rig.manifest()).expect("it is there");
    let changed = text.replacen("\"EXAMPLE\":", "\"NOTE\":\"two\",\"EXAMPLE\":", 1);
    assert_ne!(changed, text);
    std::fs::write(rig.manifest(), changed).expect("it can be written");
    rig.json(&["node", "open", "n1"]);
    let applied = rig.json(&["apply", rig.manifest()]);
    assert_eq!(applied["changes"][0]["how"], "replaced", "{applied}");
    // The names of the others were used again.
    let last = applied["changes"].as_array().and_then(|all| all.last()).expect("all four are updated");
    let who = last["who"].as_str().expect("a name");
    wait_until("it has left", || rig.run(&["events", who]).out.contains("serves in its place"));
    let told = explained(rig, &[who]);
    assert!(told.contains(&format!("{who} comes to r2: another one comes first, then it leaves")), "{told}");

    let log = Path::new(&rig.cloud()).join("decisions").join("decisions.jsonl");
    let replayed = decision::replay(&log).expect("each comes out the same");
    assert!(replayed["ordered"] >= 4 && replayed["opened"] >= 4, "{replayed:?}");
    unruly.end();
}

#[test]
fn who_does_not_answer_stays_while_there_is_one_that_was_not_asked_and_can_go() {
    let scale = json!({ "scale": { "min": 2, "max": 5, "start": 5, "hold": "10m" } });
    let unruly = Unruly::up(&scale, &json!({ "quote": { "costMs": 7 } }));
    let rig = &unruly.rig;
    // Of those that are alike the newest are asked first.
    let said = [("jobs.5", "silent"), ("jobs.4", "refuse"), ("jobs.3", "silent")];
    said.iter().for_each(|(name, said)| unruly.order(name, &json!({ "quote": said })));
    said.iter().for_each(|(name, _)| unruly.wait_obeys(name));
    // Who has not said yet what it has to do is taken to have much.
    let says = |number: u32| rig.run(&["explain", &format!("jobs.{number}")]).out.contains(": 0 in flight;");
    wait_until("all say that they have nothing to do", || (1..=5).all(says));
    let fewer = rig.json(&["scale", "jobs", "4"]);
    assert_eq!(names(&fewer["leaves"]), ["jobs.1"], "it is where most are: {fewer}");
    let why = |name: &str| {
        let all = fewer["looked_at"].as_array().expect("a list").iter();
        all.filter(|it| it["instance"] == name).map(|it| it["why"].to_string()).collect::<String>()
    };
    let whole = "as dear as jobs.2; of equals one from the fullest node goes first, then who was asked first";
    assert!(why("jobs.1").contains(whole), "a table may shorten it: {fewer}");
    let told = explained(rig, &["jobs.1", &format!("op-{}", fewer["leaves"][0]["operation"])]);
    assert!(told.contains("asked     3, then 2: each time too few of those before can go"), "{told}");
    assert!(told.contains("stays     jobs.5 on n"), "{told}");
    // Once everybody was asked those leave that said nothing.
    let fewer = rig.json(&["scale", "jobs", "2"]);
    assert_eq!(names(&fewer["leaves"])[0], "jobs.2", "{fewer}");
    let unheard = &fewer["looked_at"][1];
    assert_eq!(unheard["standing"], "leaves", "{fewer}");
    assert!(unheard["why"].as_str().is_some_and(|it| it.starts_with("too few others can go; ")), "{fewer}");
    let log = Path::new(&rig.cloud()).join("decisions").join("decisions.jsonl");
    let replayed = decision::replay(&log).expect("each comes out the same");
    assert!(replayed["ordered"] >= 2, "{replayed:?}");
    unruly.end();
}

#[test]
fn who_only_asks_what_would_become_of_a_number_keeps_nobody_from_deciding_it() {
    let scale = json!({ "scale": { "min": 2, "max": 5, "start": 4, "hold": "10m" } });
    let unruly = Unruly::up(&scale, &json!({ "quote": "silent" }));
    let rig = &unruly.rig;
    let mut asks = rig.start(&["scale", "jobs", "3", "--dry-run"], Stdio::null());
    wait_until("one is asked", || {
        (1..=4).any(|it| unruly.did(&format!("jobs.{it}")).contains(&"asked quote dry".into()))
    });
    let more = rig.json(&["scale", "jobs", "5", "--no-wait"]);
    assert_eq!(more["starts"][0]["instance"], "jobs.5", "{more}");
    assert!(!asks.is_ended(), "it waits for answers still");
    assert_eq!(asks.ended(), 0);
    unruly.end();
}

#[test]
fn where_sessions_that_are_known_decided_they_are_what_is_told_and_not_that_it_says_none_when_it_is_asked() {
    let fields = json!({ "scale": { "max": 2, "start": 2, "period": "200ms", "hold": "10m" } });
    let unruly = Unruly::up(&fields, &json!({}));
    let rig = &unruly.rig;
    for (name, sessions) in [("jobs.1", 1), ("jobs.2", 3)] {
        unruly.order(name, &json!({ "report": { "sessions": sessions }, "quote": { "sessions": 0 } }));
    }
    wait_until("it is known how many live in each", || {
        let decided = decided(rig, &["jobs"], "present").unwrap_or_default();
        let sessions =
            |number: &str| decided["record"]["observation"]["instances"][number]["sessions"].clone();
        [sessions("1"), sessions("2")] == [json!(1), json!(3)]
    });
    let scaled = rig.json(&["scale", "jobs", "1"]);
    let looked: Vec<_> = ["instance", "why"].map(|field| scaled["looked_at"][0][field].clone()).into();
    let why = "as dear as jobs.2; fewer sessions are known to live in it";
    assert_eq!(looked, [json!("jobs.1"), json!(why)], "{scaled}");
    let told = explained(rig, &["jobs.2"]);
    assert!(told.contains("0 sessions by its own word, 3 by what was known before"), "{told}");
    unruly.end();
}
