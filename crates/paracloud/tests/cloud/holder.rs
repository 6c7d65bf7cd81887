//! Fewer instances again and again, while one of eight is at work that would be lost with it.

use crate::rig::{Rig, wait_until};
use crate::scale_in::{serving, work};
use crate::scaling::explained;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many leave in all, and at once.
const LEAVES: (usize, usize) = (50, 5);
const ALL: usize = 8;

/// Begins a job that takes ten minutes, and says which instance has it.
fn holder(rig: &Rig) -> String {
    let body = r#"{"ms":600000,"id":"long","wait":false}"#;
    let head = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
    let mut stream = rig.send(0, "POST /work", &head);
    let mut answer = String::new();
    stream.write_all(body.as_bytes()).and_then(|()| stream.read_to_string(&mut answer)).expect("it is taken");
    let taken: Value =
        answer.split("\r\n\r\n").nth(1).and_then(|it| serde_json::from_str(it).ok()).expect("JSON");
    taken["at"].as_str().expect("a name").to_owned()
}

/// Who an instance is.
fn incarnation(rig: &Rig, name: &str) -> u64 {
    let ps = rig.json(&["ps"]);
    let one = ps["instances"].as_array().expect("a list").iter().find(|it| it["name"] == name);
    one.expect("it is there")["record"]["incarnation"].as_u64().expect("a number")
}

#[test]
fn of_fifty_that_leave_under_load_none_is_the_one_at_work_and_nothing_is_lost() {
    let worker = Path::new(env!("CARGO_BIN_EXE_paracloud")).with_file_name("worker");
    let own = json!({
        "state": "none",
        "readiness": { "http": "/healthz", "period": "20ms" },
        "stopGrace": "1s",
        "scale": {
            "max": ALL, "start": ALL, "period": "200ms", "hold": "1s", "flap": { "actions": 200, "per": "1m" },
        },
    });
    let rig = Rig::of("worker", &json!([worker]), &[&own], &json!({}));
    let mut up = rig.up(&[]);
    up.serving();
    let holder = holder(&rig);
    let (all, fewer) = (ALL.to_string(), (ALL - LEAVES.1).to_string());
    let is_over = AtomicBool::new(false);
    let (mut left, mut operation) = (Vec::new(), None);
    let clients: Vec<_> = std::thread::scope(|scope| {
        let _over = Over(&is_over);
        let client = |number: usize| {
            scope.spawn({
                let (rig, is_over) = (&rig, &is_over);
                move || work(rig, number % 2, is_over)
            })
        };
        let clients: Vec<_> = (0..4).map(client).collect();
        while left.len() < LEAVES.0 {
            let scaled = rig.json(&["scale", "worker", &fewer]);
            for it in scaled["leaves"].as_array().expect("a list") {
                assert_eq!(it["outcome"]["committed"], true, "{scaled}");
                left.push(it["instance"].as_str().expect("a name").to_owned());
                operation = it["operation"].as_u64().map(|number| (left[left.len() - 1].clone(), number));
            }
            rig.json(&["scale", "worker", &all]);
            wait_until("all serve", || serving(&rig).len() == ALL);
        }
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|it| it.join().expect("it works")).collect()
    });
    assert_eq!(left.len(), LEAVES.0);
    assert!(!left.contains(&holder), "{holder} was at work: {left:?}");
    assert_eq!(incarnation(&rig, &holder), 1, "{holder} was never anybody else");
    let (done, failed): (Vec<_>, Vec<_>) = clients.into_iter().unzip();
    assert!(done.iter().all(|done| *done > 0) && failed.concat().is_empty(), "{done:?}, {failed:?}");
    let (name, number) = operation.expect("one left");
    let told = explained(&rig, &[&name, &format!("op-{number}")]);
    assert!(told.contains("a person wants 3 instances of worker"), "{told}");
    assert!(told.contains("worker: 8 -> 3, by a person's word"), "{told}");
    assert!(told.contains(&format!("leaves {name} on n")), "{told}");
    assert!(told.contains(&format!("stays {holder} on n")), "who is at work was asked, and stays: {told}");
    // The first of that name left by a person's word; the one that has it now was started by another one.
    let told = explained(&rig, &[&name]);
    let by = told.split_once("was started by this one").map(|(_, by)| by);
    assert!(by.is_some_and(|by| by.contains("worker: 3 -> 8, by a person's word")), "{told}");
    assert!(!told.contains("was last changed"), "{told}");
    // By itself it goes down to one: to the one that works.
    rig.json(&["scale", "worker", &all, "--for", "1ms"]);
    wait_until("the others have left", || serving(&rig) == [holder.as_str()]);
    let prices = prices(&rig, &holder);
    assert!(!prices.is_empty(), "in some decision it was too dear");
    assert!(prices.iter().all(|ms| (1_000..600_000).contains(ms)), "its job would be done again: {prices:?}");
    let told = explained(&rig, &["worker"]);
    assert!(told.contains(&format!("may go? {holder}: ")), "{told}");
    assert!(!told.contains(&format!("{holder}: goes")), "{told}");
    assert_eq!(incarnation(&rig, &holder), 1);
    rig.json(&["stop", "--yes"]);
    assert_eq!(up.ended(), 0);
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

/// What it was to cost to lose an instance, in milliseconds, wherever it was too dear to let it go.
fn prices(rig: &Rig, instance: &str) -> Vec<u64> {
    let (_, number) = instance.split_once('.').expect("a number");
    let log = Path::new(&rig.cloud()).join("decisions").join("decisions.jsonl");
    let text = std::fs::read_to_string(log).expect("decisions are kept");
    let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let standings = records.map(|line| line["record"]["reasons"]["standings"][number].clone());
    standings.filter_map(|it| it["too_dear"].as_u64()).collect()
}

/// Ends clients also when a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
