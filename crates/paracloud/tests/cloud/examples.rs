//! Each example, as its own manifest says it is run.

use crate::rig::{Rig, wait_until};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

fn directory(example: &str) -> PathBuf {
    let workspace =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("it lies in its workspace");
    workspace.join("examples").join(example)
}

/// A rig of an example: its manifest, where clients connect put to free ports, run in its own directory.
fn rig(example: &str, manifest: &str, listen: [u16; 2]) -> Rig {
    let directory = directory(example);
    let manifest = std::fs::read_to_string(directory.join(manifest)).expect("each example has a manifest");
    Rig::with_manifest(|rig| {
        let mut text = manifest;
        for (gateway, port) in listen.into_iter().enumerate() {
            let address = format!("127.0.0.1:{port}");
            assert!(text.contains(&address), "{text}");
            text = text.replace(&address, &rig.address(gateway).to_string());
        }
        // What cargo builds for a release is the same program that the command line has for its demo.
        let released = "\"../../target/release/sessions\"";
        text = text.replace(released, &format!("{:?}, demo-app", env!("CARGO_BIN_EXE_paracloud")));
        let known = format!("RIG: '{}'", rig.path().display());
        if text.contains("\nenv:\n") {
            text = text.replace("\nenv:\n", &format!("\nenv:\n  {known}\n"));
        } else {
            text += &format!("env: {{{known}}}\n");
        }
        format!("{text}directory: {}\n", directory.display())
    })
}

fn number(text: &str) -> u32 {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

#[test]
fn the_counters_in_plain_python_go_on_at_the_target_while_clients_count() {
    let rig = rig("python", "app.yaml", [8081, 8082]);
    let mut up = rig.up(&[]);
    up.serving();
    for expected in 1..=3 {
        assert_eq!(rig.ask(0, "POST /before"), format!("{expected}\n"));
    }
    let preview = rig.json(&["move", "counters", "--dry-run"]);
    assert_eq!(preview["preview"]["mode"], "handoff", "{preview}");
    let (counted, ended) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for gateway in 0..2 {
            let (rig, counted, ended) = (&rig, &counted, &ended);
            scope.spawn(move || {
                let path = format!("POST /client{gateway}");
                for expected in 1.. {
                    // Each is answered with success, and with the number after the one before.
                    assert_eq!(rig.ask(gateway, &path), format!("{expected}\n"));
                    counted.fetch_add(1, Ordering::Relaxed);
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        let more = |than: u32| {
            wait_until("clients are served", || counted.load(Ordering::Relaxed) > than + 20);
            counted.load(Ordering::Relaxed)
        };
        let mut seen = more(0);
        for node in [2, 1] {
            let moved = rig.run(&["move", "counters", "--output", "json"]);
            let object: Value = serde_json::from_str(&moved.out).expect("one object");
            assert_eq!(
                (&object["outcome"]["node"], &object["outcome"]["failed"]),
                (&node.into(), &0.into()),
                "{object}"
            );
            seen = more(seen);
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert_eq!(rig.ask(1, "GET /before"), "3\n", "what was counted before both moves");
    assert_eq!(rig.run(&["stop", "--yes"]).code, 0);
    assert_eq!(up.ended(), 0);
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

#[test]
fn the_jobs_in_plain_python_are_done_by_several_and_one_fewer_is_asked_what_that_costs() {
    let rig = rig("python", "jobs.yaml", [8087, 8088]);
    let mut up = rig.up(&[]);
    up.serving();
    let mut answer = String::new();
    let mut job = rig.send(0, "POST /jobs/5", "Content-Length: 0\r\nConnection: close\r\n");
    job.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let fewer = rig.json(&["scale", "jobs", "1"]);
    assert_eq!((&fewer["from"], &fewer["leaves"][0]["outcome"]["committed"]), (&2.into(), &true.into()));
    assert!(fewer["leaves"][0]["drain_ms"].is_u64(), "it said so: {fewer}");
    rig.json(&["stop", "--yes"]);
    assert_eq!(up.ended(), 0);
}

#[test]
fn the_program_that_knows_nothing_of_us_is_moved_with_consent_only_and_begins_anew() {
    let rig = rig("unaware", "app.yaml", [8083, 8084]);
    let mut up = rig.up(&[]);
    up.serving();
    let mut last = number(&rig.get(0));
    assert_eq!(last, 1, "who asks whether it is ready is no visitor");
    while last < 50 {
        last = number(&rig.get(0));
    }
    let refused = rig.run(&["move", "visitors"]);
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert_eq!(
        refused.err,
        "error: visitors: it does not speak PaCI, and it holds state: a move restarts it and loses the state\n\
         next: consent with --accept-loss, or say `state: none` in the manifest if it has none\n"
    );
    let unaware = rig.json_of_refused(&["ask", "visitors", "quote"], 1);
    assert_eq!(unaware["error"]["code"], "unaware", "{unaware}");
    assert!(number(&rig.get(1)) > last, "nothing happened to it");
    let moved = rig.json(&["move", "visitors", "--accept-loss"]);
    assert_eq!(moved["outcome"]["node"], 2, "{moved}");
    assert_eq!(
        (&moved["outcome"]["mode"], &moved["outcome"]["state_lost"]),
        (&"restart".into(), &true.into())
    );
    assert!(number(&rig.get(0)) < last, "the count was in its memory");
}

#[test]
fn sessions_is_filled_served_and_moved_as_its_manifest_says() {
    let rig = rig("sessions", "app.yaml", [8080, 8090]);
    let mut up = rig.up(&[]);
    up.serving();
    let held = rig.ask(0, "GET /audit").lines().filter(|line| line.starts_with('k')).count();
    assert_eq!(held, 64 * 1024, "64 MiB in records of 1 KiB");
    let logged = rig.run(&["logs", "sessions"]).out;
    assert!(logged.contains("listening") && !logged.contains('\x1b'), "no colours in a file: {logged:?}");
    let moved = rig.json(&["move", "sessions"]);
    assert_eq!(moved["outcome"]["node"], 2, "{moved}");
    assert_eq!(
        (&moved["outcome"]["mode"], &moved["outcome"]["state_lost"]),
        (&"handoff".into(), &false.into())
    );
    let carried = moved["outcome"]["carried_bytes"].as_u64().expect("a number");
    assert!(carried >= 64 << 20, "{carried} bytes crossed");
    assert_eq!(rig.ask(1, "GET /audit").lines().filter(|line| line.starts_with('k')).count(), held);
}
