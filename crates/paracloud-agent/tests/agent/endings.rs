//! How an agent ends: with the cloud, or without.

use crate::rig::{N1, Rig, is_alive, kill, until};
use rustix::process::Signal;
use serde_json::json;

#[test]
fn an_agent_that_is_told_to_stop_leaves_everything_running() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (_, shop) = rig.owner(N1);
    kill(i32::try_from(rig.agents[0].process.id()).unwrap(), Signal::TERM);
    assert!(until("the agent ends", || rig.agents[0].process.try_wait().unwrap()).success());
    assert!(shop.pid() > 0);
}

#[test]
fn when_the_cloud_ends_applications_are_told_and_processes_are_ended() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let (pid, shim) = (shop.pid(), rig.shim(N1, start));
    shop.hello(&["stop"]);
    std::fs::write(rig.layout.ending(), "").unwrap();
    kill(i32::try_from(rig.agents[0].process.id()).unwrap(), Signal::TERM);
    let stop = shop.next();
    assert_eq!(stop["stop"], json!({"graceMs": 10_000}));
    assert_eq!(shop.answer(&stop, json!({"verdict": "DONE"})).0, 200);
    shop.say("exit 0");
    assert!(until("the agent ends", || rig.agents[0].process.try_wait().unwrap()).success());
    assert!(!is_alive(pid));
    until("the shim is done", || (!is_alive(shim)).then_some(()));
}

#[test]
fn a_program_that_knows_nothing_is_ended_with_the_cloud() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (_, shop) = rig.owner(N1);
    let pid = shop.pid();
    std::fs::write(rig.layout.ending(), "").unwrap();
    kill(i32::try_from(rig.agents[0].process.id()).unwrap(), Signal::TERM);
    assert!(until("the agent ends", || rig.agents[0].process.try_wait().unwrap()).success());
    assert!(!is_alive(pid));
}
