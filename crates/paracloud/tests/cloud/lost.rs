//! A node that a person gives up: rightly, with all that ran there dead, and wrongly, with only its agent dead.

use crate::rig::{Rig, Up, kill, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The programs of the app.
fn programs(rig: &Rig, word: &str) -> Vec<i32> {
    let found = rig.left();
    found.iter().filter(|it| it.words.iter().any(|it| it.ends_with(word))).map(|it| it.pid).collect()
}

/// Kills these and the agent of the first node, which `up` does not start again before it goes on.
fn kill_first_node(rig: &Rig, up: &Up, more: &[i32]) {
    up.signal(Signal::STOP);
    let is_first =
        |words: &[String]| words.get(1).is_some_and(|it| it == "agent") && words.contains(&"n1".to_owned());
    let agents: Vec<_> = rig.left().iter().filter(|it| is_first(&it.words)).map(|it| it.pid).collect();
    assert_eq!(agents.len(), 1, "{:?}", rig.left());
    agents.iter().chain(more).for_each(|pid| kill(*pid, Signal::KILL));
    wait_until("the controller misses the agent", || rig.json(&["ps"])["nodes"][0]["connected"] == false);
}

/// Waits until the instance serves on the second node, and gives its record.
fn serves_on_second(rig: &Rig) -> Value {
    let mut served = None;
    wait_until("it serves on the other node", || {
        served = rig.record().filter(|it| it["owner"]["node"] == 2 && !it["served"].is_null());
        served.is_some()
    });
    served.expect("it serves")
}

#[test]
fn an_app_on_a_node_that_is_gone_serves_on_another_one_when_a_person_gives_the_node_up() {
    let rig = Rig::sessions(&json!({}), &json!({}));
    let mut up = rig.up(&[]);
    up.serving();
    let died = [programs(&rig, "demo-app"), rig.processes("shim")].concat();
    kill_first_node(&rig, &up, &died);
    let refused = rig.json_of_refused(&["node", "lost", "n1"], 4);
    assert_eq!(
        (&refused["lost"], &refused["error"]["code"]),
        (&json!(["sessions"]), &"consent_needed".into())
    );
    let why = refused["error"]["why"].as_str().expect("a sentence");
    assert!(why.contains("started anew on another node, without its state"), "{why}");
    assert_eq!(rig.record().expect("a record")["owner"]["node"], 1, "nothing was done");
    let given_up = rig.json(&["node", "lost", "n1", "--yes"]);
    assert_eq!(given_up["lost"], json!(["sessions"]), "{given_up}");
    let owner = serves_on_second(&rig)["owner"].clone();
    (0..2).for_each(|gateway| drop(rig.ask(gateway, "GET /healthz")));
    let told = rig.run(&["events"]).out;
    assert!(told.contains("its node was given up") && told.contains("a person consented to that"), "{told}");
    // The node is back, with nothing of the past: it can be used again.
    up.signal(Signal::CONT);
    wait_until("its agent is back", || rig.json(&["ps"])["nodes"][0]["connected"] == true);
    assert_eq!(rig.record().expect("a record")["owner"], owner);
    wait_until("it has greeted its agent", || rig.run(&["move", "sessions", "--dry-run"]).code == 0);
    assert_eq!(rig.json(&["move", "sessions", "--to", "n1"])["outcome"]["committed"], true);
}

/// Gives a node up on which the app lives: what runs there is ended when its agent is back.
fn give_up_wrongly(rig: &Rig, word: &str, page: &str) {
    let mut up = rig.up(&[]);
    up.serving();
    let before = programs(rig, word);
    assert_eq!(before.len(), 1, "{:?}", rig.left());
    kill_first_node(rig, &up, &[]);
    rig.json(&["node", "lost", "n1", "--yes"]);
    let owner = serves_on_second(rig)["owner"].clone();
    assert_eq!(programs(rig, word).len(), 2, "what the word was wrong about: {:?}", rig.left());
    up.signal(Signal::CONT);
    wait_until("it is ended", || !programs(rig, word).contains(&before[0]));
    wait_until("an event says so", || {
        let told = rig.run(&["events"]).out;
        told.contains("runs on n1 and is named by no record") && told.contains("it is ended")
    });
    assert_eq!(programs(rig, word).len(), 1, "{:?}", rig.left());
    assert_eq!(rig.record().expect("a record")["owner"], owner, "the new one serves on");
    (0..2).for_each(|gateway| drop(rig.ask(gateway, page)));
}

#[test]
fn an_application_that_lives_on_a_node_that_was_given_up_is_ended_when_its_agent_is_back() {
    give_up_wrongly(&Rig::sessions(&json!({}), &json!({})), "demo-app", "GET /healthz");
}

#[test]
fn so_is_a_program_that_knows_nothing_of_the_cloud() {
    give_up_wrongly(&Rig::new("state: none\nstopGrace: 1s"), "web.py", "GET /");
}
