//! An app of several instances that does what a test orders while it runs: `unruly.py` says what can be ordered.

use crate::points::Points;
use crate::rig::{Rig, Up, wait_until};
use serde_json::{Value, json};
use std::net::TcpStream;

/// A cloud around `unruly.py`; the app is `jobs`.
pub(crate) struct Unruly {
    pub(crate) rig: Rig,
    pub(crate) up: Up,
}

impl Unruly {
    /// Starts it with these fields in its manifest and these orders for every instance, and waits until it is served.
    pub(crate) fn up(fields: &Value, orders: &Value) -> Self {
        Self::up_in(fields, orders, &[])
    }

    /// The same, in this environment.
    pub(crate) fn up_in(fields: &Value, orders: &Value, environment: &[(&str, &str)]) -> Self {
        let rig = Self::rig(fields, orders);
        let mut up = rig.up(environment);
        up.serving();
        Self { rig, up }
    }

    /// The same, with points that can be armed.
    pub(crate) fn up_with_points(fields: &Value, orders: &Value) -> (Self, Points) {
        let rig = Self::rig(fields, orders);
        let (up, points) = Points::up(&rig);
        (Self { rig, up }, points)
    }

    fn rig(fields: &Value, orders: &Value) -> Rig {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cloud/unruly.py");
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/python");
        let own = json!({ "state": "none", "stopGrace": "5s", "drain": "1s" });
        let command = json!(["python3", "-B", program]);
        let rig = Rig::of("jobs", &command, &[&own, fields], &json!({ "EXAMPLE": example }));
        rig.order("orders.json", orders);
        rig
    }

    /// Orders something from one instance (`jobs.2`), in place of what was ordered of it before.
    pub(crate) fn order(&self, instance: &str, orders: &Value) {
        self.rig.order(&format!("orders-{instance}.json"), orders);
    }

    /// Waits until an instance that runs has done what was last ordered of it alone.
    pub(crate) fn wait_obeys(&self, instance: &str) {
        let read = |name: String| std::fs::read(self.rig.path().join(name)).ok();
        let ordered = read(format!("orders-{instance}.json")).expect("something was ordered");
        wait_until(&format!("{instance} does what is ordered"), || {
            read(format!("obeys-{instance}.json")).as_ref() == Some(&ordered)
        });
    }

    /// Ends it; nobody is left.
    pub(crate) fn end(mut self) {
        self.rig.json(&["stop", "--yes"]);
        assert_eq!(self.up.ended(), 0);
        assert!(self.rig.left().is_empty(), "{:?}", self.rig.left());
    }

    /// What an instance was asked and did, the oldest first, without its times; of all processes that were this instance.
    pub(crate) fn did(&self, instance: &str) -> Vec<String> {
        let mut all = self.wrote(instance);
        all.retain(|line| !line.starts_with("within "));
        all
    }

    /// The same, with how long it was told that it has.
    fn wrote(&self, instance: &str) -> Vec<String> {
        let path = self.rig.path().join(format!("did-{instance}"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let words = |line: &str| Some(line.split_once(' ')?.1.trim_end().to_owned());
        text.lines().filter_map(words).collect()
    }

    /// How long an instance was told that it has, in milliseconds, each time it was asked this.
    pub(crate) fn budgets(&self, instance: &str, asked: &str) -> Vec<u32> {
        let within = format!("within {asked} ");
        let of = |line: &String| line.strip_prefix(&within).map(|ms| ms.parse().expect("milliseconds"));
        self.wrote(instance).iter().filter_map(of).collect()
    }

    /// Waits until an instance did this so many times.
    pub(crate) fn wait_did_times(&self, instance: &str, what: &str, times: usize) {
        let begins = |line: &&String| line.starts_with(what);
        let done = || self.did(instance).iter().filter(begins).count() >= times;
        wait_until(&format!("{instance}: {what}, {times} times"), done);
    }

    /// Begins a job of so many milliseconds through the first gateway; its answer comes on the connection.
    pub(crate) fn begin(&self, ms: u32) -> TcpStream {
        self.rig.send(0, &format!("POST /jobs/{ms}"), "Content-Length: 0\r\nConnection: close\r\n")
    }
}

impl Rig {
    /// A file of orders, which is there whole or not at all.
    fn order(&self, name: &str, orders: &Value) {
        let staged = self.path().join(format!("{name}.new"));
        std::fs::write(&staged, orders.to_string()).expect("orders can be written");
        std::fs::rename(staged, self.path().join(name)).expect("orders can be named");
    }
}

#[test]
fn what_is_ordered_of_one_instance_is_said_by_that_one() {
    let scale = json!({ "scale": { "max": 2, "start": 2 } });
    let unruly = Unruly::up(&scale, &json!({ "quote": { "costMs": 5 } }));
    unruly.order(
        "jobs.2",
        &json!({ "quote": "refuse", "hold": { "payroll": { "ops": ["move"], "ttlMs": 60000 } } }),
    );
    wait_until("the hold stands", || {
        unruly.rig.json(&["holds"])["holds"].as_array().is_some_and(|holds| holds.len() == 1)
    });
    let asked = |instance: &str| unruly.rig.run(&["ask", instance, "quote"]).out;
    assert!(asked("jobs.1").contains("5 ms"), "{}", asked("jobs.1"));
    assert!(asked("jobs.2").contains("BUSY"), "{}", asked("jobs.2"));
    assert_eq!(unruly.did("jobs.1"), ["asked quote dry"]);
    let job = unruly.begin(50);
    wait_until("it was begun and is done", || {
        let all = [unruly.did("jobs.1"), unruly.did("jobs.2")].concat();
        ["begun 50", "done 50"].iter().all(|wanted| all.iter().any(|line| line == wanted))
    });
    drop(job);
    unruly.end();
}
