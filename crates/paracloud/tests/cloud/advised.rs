//! A gateway goes by what instances say and are seen to be, also one that was killed and has just come back.

use crate::instances::all_connected;
use crate::rig::{Rig, kill, wait_until};
use crate::scaling::explained;
use crate::unruly::Unruly;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::Read;
use std::net::TcpStream;

/// Kills every gateway, and waits until others are there in their places.
fn kill_gateways(rig: &Rig) {
    let before = rig.processes("gateway");
    before.iter().for_each(|pid| kill(*pid, Signal::KILL));
    wait_until("others are there", || {
        let now = rig.processes("gateway");
        let are_there = now.len() == before.len() && now.iter().all(|pid| !before.contains(pid));
        let listen = |gateway: usize| TcpStream::connect(rig.address(gateway)).is_ok();
        are_there && (0..2).all(listen) && all_connected(rig) && gateways_connected(rig)
    });
}

fn gateways_connected(rig: &Rig) -> bool {
    let ps = rig.json(&["ps"]);
    ps["gateways"].as_array().is_some_and(|all| all.iter().all(|it| it[1] == true))
}

/// Sends jobs through both gateways, one after the other.
fn send_jobs(rig: &Rig, count: usize) {
    for number in 0..count {
        let head = "Content-Length: 0\r\nConnection: close\r\n";
        let mut answer = String::new();
        let mut sent = rig.send(number % 2, "POST /jobs/1", head);
        sent.read_to_string(&mut answer).expect("it is answered");
        assert_eq!(answer.split(' ').nth(1), Some("200"), "{answer}");
    }
}

/// How many jobs an instance began.
fn begun(unruly: &Unruly, instance: &str) -> usize {
    unruly.did(instance).iter().filter(|line| line.starts_with("begun")).count()
}

#[test]
fn a_gateway_that_was_killed_sends_nothing_new_to_who_pauses_or_drains_when_it_is_back() {
    let fields = json!({ "scale": { "min": 1, "max": 2, "start": 2, "hold": "10m" } });
    let unruly = Unruly::up(&fields, &json!({}));
    let rig = &unruly.rig;
    unruly.order("jobs.1", &json!({ "state": { "state": "PAUSING", "inMs": 0, "forMs": 60_000 } }));
    let shown = || explained(rig, &["jobs.1"]);
    wait_until("it is known that it pauses", || {
        shown().contains("jobs.1 pauses, by its own word, for another ")
    });
    kill_gateways(rig);
    send_jobs(rig, 20);
    assert_eq!(begun(&unruly, "jobs.1"), 0, "it pauses");
    // Both serve again, and one of them is to leave and works on for ever.
    unruly.order(
        "jobs.1",
        &json!({ "state": { "state": "READY" }, "drain": "never", "quote": { "costMs": 0 } }),
    );
    unruly.order("jobs.2", &json!({ "quote": { "costMs": 60_000 } }));
    wait_until("it does not pause any more", || !shown().contains("pauses, by its own word"));
    wait_until("it gets jobs", || {
        send_jobs(rig, 2);
        begun(&unruly, "jobs.1") > 0
    });
    ["jobs.1", "jobs.2"].iter().for_each(|name| unruly.wait_obeys(name));
    rig.json(&["scale", "jobs", "1", "--no-wait"]);
    let step = || {
        let ps = rig.json(&["ps"]);
        let all = ps["instances"].as_array().expect("a list").clone();
        let one = all.into_iter().find(|it| it["name"] == "jobs.1").unwrap_or(Value::Null);
        one["record"]["operation"]["leave"]["step"].clone()
    };
    wait_until("it is to leave", || step() == "draining");
    unruly.wait_did_times("jobs.1", "asked drain", 1);
    let before = begun(&unruly, "jobs.1");
    kill_gateways(rig);
    send_jobs(rig, 20);
    assert_eq!((begun(&unruly, "jobs.1"), step()), (before, json!("draining")), "it drains");
    rig.json(&["cancel", "jobs.1"]);
}

#[test]
fn what_an_instance_says_that_it_has_to_do_is_explained() {
    let report = json!({ "queued": 17, "oldestWaitMs": 900, "backlogMs": 8_500, "utilisationPermille": 1_205,
                         "tightest": "connections" });
    let unruly = Unruly::up(&json!({ "scale": { "max": 1 } }), &json!({ "report": report }));
    let words = "17 wait, the oldest for 900 ms; 8.50 s of work in what waits; 120.5 % of connections used";
    wait_until("it has said so", || explained(&unruly.rig, &["jobs.1"]).contains(words));
    unruly.end();
}

#[test]
fn requests_stay_away_from_an_instance_whose_probe_fails_until_it_is_well_again() {
    let program = "\
NAME = os.environ['PACI_INSTANCE']
class Web(Web):
    def do_GET(self):
        sick = self.path == '/healthz' and os.path.exists('sick-' + NAME)
        self.send_response(500 if sick else 200)
        self.send_header('content-length', str(len(NAME)))
        self.end_headers()
        self.wfile.write(NAME.encode())
";
    let lines = "state: none\nscale: {min: 2, max: 2, start: 2}\n\
                 readiness: {http: /healthz, period: 100ms, failures: 1}";
    let rig = Rig::with_program(program, lines);
    let mut up = rig.up(&[]);
    up.serving();
    let answered = |count: usize| (0..count).map(|number| rig.get(number % 2)).collect::<Vec<_>>();
    let is_asked = || answered(20).iter().any(|by| by == "web.1");
    wait_until("both are asked", || is_asked() && answered(20).iter().any(|by| by == "web.2"));
    let sick = rig.path().join("sick-web.1");
    std::fs::write(&sick, "").expect("a file of our own");
    wait_until("nothing goes there", || !is_asked());
    assert!(answered(60).iter().all(|by| by == "web.2"), "and nothing does");
    let shown = || explained(&rig, &["web.1"]);
    wait_until("it is said why", || shown().contains("web.1 is not ready, by its own word or its probe"));
    std::fs::remove_file(&sick).expect("it is there");
    wait_until("it is asked again", is_asked);
    wait_until("nothing is said any more", || !shown().contains("is not ready, by its own word"));
    assert_eq!(rig.run(&["stop", "--yes"]).code, 0);
}
