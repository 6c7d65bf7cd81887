//! An app with several instances: they are spread, each is an instance of its own, and there can be more of them.

use crate::rig::{Rig, kill, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Each instance that serves, and the number of its node.
fn serving(rig: &Rig) -> BTreeMap<String, u64> {
    let ps = rig.json(&["ps"]);
    let instances = ps["instances"].as_array().expect("a list").iter();
    let serve = instances.filter(|instance| !instance["record"]["served"].is_null());
    let place = |instance: &Value| {
        let name = instance["name"].as_str().expect("a name").to_owned();
        (name, instance["record"]["owner"]["node"].as_u64().expect("a number"))
    };
    serve.map(place).collect()
}

fn at(places: &[(&str, u64)]) -> BTreeMap<String, u64> {
    places.iter().map(|(name, node)| ((*name).to_owned(), *node)).collect()
}

/// Whether the controller answers, and the agents of all nodes are there.
pub(crate) fn all_connected(rig: &Rig) -> bool {
    let answer = rig.run(&["ps", "--output", "json"]);
    let ps: Value = serde_json::from_str(&answer.out).unwrap_or_default();
    let nodes = ps["nodes"].as_array().is_some_and(|nodes| nodes.iter().all(|it| it["connected"] == true));
    answer.code == 0 && nodes
}

/// Kills the controller, and waits until another one knows all nodes.
pub(crate) fn another_controller(rig: &Rig) {
    rig.processes("controller").into_iter().for_each(|pid| kill(pid, Signal::KILL));
    wait_until("another controller is there, and its agents", || all_connected(rig));
}

/// The record of an instance.
fn record(rig: &Rig, name: &str) -> Value {
    let ps = rig.json(&["ps"]);
    let instances = ps["instances"].as_array().expect("a list");
    instances.iter().find(|it| it["name"] == name).map_or(Value::Null, |it| it["record"].clone())
}

#[test]
fn an_app_with_scale_runs_as_many_instances_as_it_starts_with_and_each_is_one_of_its_own() {
    let rig = Rig::new("state: none\nstopGrace: 1s\nscale: {max: 4, start: 3}");
    let mut up = rig.up_with(&["--nodes", "3"], &[]);
    up.serving();
    assert_eq!(serving(&rig), at(&[("web.1", 1), ("web.2", 2), ("web.3", 3)]), "spread");
    (0..2).for_each(|gateway| assert_eq!(rig.get(gateway), "hello\n"));
    // Each is moved, and told of, by its own name.
    let several = rig.json_of_refused(&["move", "web"], 2);
    assert_eq!(several["error"]["code"], "several_instances", "{several}");
    let moved = rig.json(&["move", "web.2", "--to", "n1"]);
    assert_eq!(
        (&moved["outcome"]["committed"], &moved["outcome"]["instance"]),
        (&true.into(), &"web.2".into())
    );
    assert_eq!(serving(&rig), at(&[("web.1", 1), ("web.2", 1), ("web.3", 3)]));
    let told = rig.run(&["events", "web.2"]).out;
    assert!(told.contains("web.2") && !told.contains("web.1"), "{told}");
    let told = rig.run(&["events", "web"]).out;
    assert!(told.contains("web.1 ") && told.contains("web.3 "), "{told}");
    let written = rig.run(&["logs", "web.3"]);
    assert!(written.out.contains("starting") && written.out.starts_with("n3/"), "{}", written.out);
    let written = rig.run(&["logs", "web"]).out;
    assert!(
        ["web.1 n1/", "web.2 n1/", "web.2 n2/", "web.3 n3/"].iter().all(|it| written.contains(it)),
        "{written}"
    );
    rig.json_of_refused(&["move", "web.9"], 2);
    rig.json_of_refused(&["logs", "web.x"], 2);
    assert_eq!(rig.json(&["stop", "--yes"])["dropped"], json!([]), "nobody holds state");
    assert_eq!(up.ended(), 0);
    assert!(rig.left().is_empty(), "{:?}", rig.left());
}

#[test]
fn a_node_is_drained_and_what_cannot_go_is_said_with_its_reason() {
    let rig = Rig::new("state: none\nstopGrace: 1s\nscale: {max: 4, start: 4}");
    let mut up = rig.up(&[]);
    up.serving();
    let spread = at(&[("web.1", 1), ("web.2", 2), ("web.3", 1), ("web.4", 2)]);
    assert_eq!(serving(&rig), spread);
    let dry = rig.json(&["drain-node", "n1", "--dry-run"]);
    let can = |row: &Value| (row["instance"].clone(), row["can_go"].clone(), row["moved"].clone());
    let rows: Vec<_> = dry["instances"].as_array().expect("a list").iter().map(can).collect();
    let row = |name: &str| (json!(name), json!(true), json!(false));
    assert_eq!(rows, [row("web.1"), row("web.3")]);
    assert_eq!(serving(&rig), spread, "nothing was moved");
    let drained = rig.run(&["drain-node", "n1", "--parallel", "2"]);
    assert_eq!(drained.code, 0, "{}{}", drained.out, drained.err);
    assert!(drained.out.contains("n1: 2 of 2 instances moved"), "{}", drained.out);
    assert_eq!(serving(&rig), at(&[("web.1", 2), ("web.2", 2), ("web.3", 2), ("web.4", 2)]));
    assert!(rig.run(&["drain-node", "n1"]).out.contains("n1: no instance is on it"));
    assert_eq!(rig.json_of_refused(&["drain-node", "n9"], 2)["error"]["code"], "unknown_node");
    (0..2).for_each(|gateway| assert_eq!(rig.get(gateway), "hello\n"));
}

#[test]
fn who_leaves_already_is_waited_for_by_a_drain_and_is_not_said_to_stay() {
    let slow = "\
import time
def slow(self):
    while not os.path.exists('go'):
        time.sleep(0.02)
    self.send_response(200)
    self.send_header('content-length', '0')
    self.end_headers()
Web.do_POST = slow
";
    let rig = Rig::with_program(slow, "state: none\nstopGrace: 1s\nscale: {max: 2, start: 2}");
    let mut up = rig.up(&[]);
    up.serving();
    assert_eq!(serving(&rig), at(&[("web.1", 1), ("web.2", 2)]));
    // One at each of them, whoever is chosen.
    let post = || rig.send(0, "POST /", "Content-Length: 0\r\nConnection: close\r\n");
    let mut asked = [post(), post(), post(), post()];
    let leaves = rig.json(&["scale", "web", "1", "--no-wait"])["leaves"][0].clone();
    let node = format!("n{}", leaves["node"]);
    let drained = std::thread::scope(|scope| {
        let drain = scope.spawn(|| rig.json(&["drain-node", &node]));
        let closed = |it: &Value| it["name"] == node && it["closed"] == true;
        let nodes = || rig.json(&["ps"])["nodes"].as_array().expect("a list").iter().any(closed);
        wait_until("it is being drained", nodes);
        std::fs::write(rig.path().join("go"), "").expect("it can be written");
        drain.join().expect("it ends")
    });
    let row = &drained["instances"][0];
    assert_eq!(
        (&row["instance"], &row["code"], &row["moved"]),
        (&leaves["instance"], &json!("left"), &json!(true))
    );
    for stream in &mut asked {
        let mut answer = String::new();
        std::io::Read::read_to_string(stream, &mut answer).expect("an answer");
        assert!(answer.contains(" 200 "), "{answer}");
    }
}

#[test]
fn a_drained_node_gets_nothing_new_and_what_has_no_state_goes_when_another_one_serves_elsewhere() {
    let rig = Rig::new("state: none\nstopGrace: 1s\nscale: {max: 5, start: 2}");
    let mut up = rig.up(&[]);
    up.serving();
    assert_eq!(serving(&rig), at(&[("web.1", 1), ("web.2", 2)]));
    let drained = rig.json(&["drain-node", "n1"]);
    let row = &drained["instances"][0];
    assert_eq!((&row["instance"], &row["by"], &row["to"]), (&json!("web.1"), &json!("web.3"), &json!(2)));
    assert_eq!(serving(&rig), at(&[("web.2", 2), ("web.3", 2)]));
    assert!(rig.run(&["events", "web.1"]).out.contains("depart: "));
    rig.json(&["scale", "web", "3"]);
    let others = at(&[("web.1", 2), ("web.2", 2), ("web.3", 2)]);
    wait_until("it is started where new ones may", || serving(&rig) == others);
    another_controller(&rig);
    assert!(rig.run(&["ps"]).out.contains("node n1: was drained"));
    let dry = rig.json(&["scale", "web", "4", "--dry-run"]);
    assert_eq!(dry["starts"][0]["node"], 2, "{dry}");
    assert_eq!(rig.json(&["node", "open", "n1"])["was_open"], false);
    let again = rig.run(&["node", "open", "n1"]);
    assert!(again.out.contains("n1: was open already"), "{}{}", again.out, again.err);
    let dry = rig.json(&["scale", "web", "4", "--dry-run"]);
    assert_eq!(dry["starts"][0]["node"], 1, "{dry}");
    assert_eq!(rig.json_of_refused(&["node", "open", "n9"], 2)["error"]["code"], "unknown_node");
    (0..2).for_each(|gateway| assert_eq!(rig.get(gateway), "hello\n"));
}

#[test]
fn a_drain_takes_no_state_from_a_program_that_cannot_hand_it_over() {
    let rig = Rig::new("stopGrace: 1s\nscale: {max: 2, start: 2}");
    let mut up = rig.up(&[]);
    up.serving();
    let refused = rig.json_of_refused(&["drain-node", "n1"], 4);
    assert_eq!(refused["error"]["code"], "consent_needed", "{refused}");
    assert_eq!(
        (&refused["instances"][0]["instance"], &refused["instances"][0]["moved"]),
        (&json!("web.1"), &json!(false))
    );
    assert_eq!(serving(&rig), at(&[("web.1", 1), ("web.2", 2)]));
    let drained = rig.json(&["drain-node", "n1", "--accept-loss"]);
    assert_eq!(drained["instances"][0]["state_lost"], true, "{drained}");
    assert_eq!(serving(&rig), at(&[("web.1", 2), ("web.2", 2)]));
}

#[test]
fn a_person_scales_an_app_out_and_who_is_killed_is_started_again_as_who_it_was() {
    let rig = Rig::new("state: none\nstopGrace: 1s\nscale: {max: 3}");
    let mut up = rig.up(&[]);
    up.serving();
    assert_eq!(serving(&rig), at(&[("web.1", 1)]));
    let dry = rig.json(&["scale", "web", "3", "--dry-run"]);
    let starts = json!([{ "instance": "web.2", "node": 2 }, { "instance": "web.3", "node": 1 }]);
    assert_eq!((&dry["starts"], &dry["until_unix_ms"], &dry["from"]), (&starts, &Value::Null, &1.into()));
    assert_eq!(serving(&rig), at(&[("web.1", 1)]), "nothing was changed");
    let scaled = rig.json(&["scale", "web", "3", "--for", "10m"]);
    assert_eq!(scaled["starts"], starts, "{scaled}");
    assert!(scaled["until_unix_ms"].is_u64(), "{scaled}");
    let all = at(&[("web.1", 1), ("web.2", 2), ("web.3", 1)]);
    wait_until("all three serve", || serving(&rig) == all);
    assert_eq!(rig.json(&["ps"])["scales"][0]["instances"], 3);
    assert!(rig.run(&["events", "web"]).out.contains("a person wants 3 instances, of 1"));
    for (arguments, code) in [
        (&["scale", "web", "4"][..], "out_of_bounds"),
        (&["scale", "nobody", "2"], "unknown_instance"),
        (&["scale", "web.1", "2"], "unknown_instance"),
    ] {
        assert_eq!(rig.json_of_refused(arguments, 2)["error"]["code"], code, "{arguments:?}");
    }
    // The controller is killed: who there is, it knows from its register.
    rig.processes("controller").into_iter().for_each(|pid| kill(pid, Signal::KILL));
    wait_until("the controller is back", || rig.record().is_some() && serving(&rig) == all);
    // And an agent with everything that it runs.
    let before = record(&rig, "web.2");
    let layout =
        paracloud_substrate::layout::Layout::new(std::path::Path::new(&rig.cloud())).expect("a path");
    let programs = paracloud::processes::all(&layout);
    let of_second = programs.iter().filter(|process| process.instance == "web.2");
    let pids: Vec<_> = of_second.filter_map(|process| process.alive()).map(|identity| identity.pid).collect();
    assert_eq!(pids.len(), 1, "{programs:?}");
    pids.into_iter().for_each(|pid| kill(pid, Signal::KILL));
    wait_until("a new process serves as web.2", || {
        let now = record(&rig, "web.2");
        now["incarnation"].as_u64() > before["incarnation"].as_u64() && !now["served"].is_null()
    });
    (0..2).for_each(|gateway| assert_eq!(rig.get(gateway), "hello\n"));
    rig.json(&["stop", "--yes"]);
    assert_eq!(up.ended(), 0);
    assert!(rig.left().is_empty(), "{:?}", rig.left());
    // What there was is there again.
    let mut up = rig.up(&[]);
    up.serving();
    assert_eq!(serving(&rig), all);
}
