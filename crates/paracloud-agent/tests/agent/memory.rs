//! What a node remembers of a pause, whoever is killed in it.

use crate::rig::{N1, Rig, moving};
use paracloud_core::ids::StartId;
use paracloud_core::register::Step;
use serde_json::json;

const CAPABILITIES: &[&str] = &["move.handoff"];

#[test]
fn an_agent_that_is_killed_in_a_pause_leaves_the_record_that_it_acted_on() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (source, shop) = rig.owner(N1);
    shop.hello(CAPABILITIES);
    let record = |step| moving(source, StartId(9), shop.address, step);
    rig.agents[0].own(&record(Step::Sealing));
    assert!(shop.next()["seal"].is_object());
    rig.kill_agent(0);
    let agent = rig.agent(N1);
    assert_eq!(agent.known[0].record, Some(record(Step::Sealing)));
    assert_eq!(agent.known[0].alive, [(source, true)]);
    agent.own(&record(Step::Undo));
    shop.hello(CAPABILITIES);
    let resume = shop.next();
    assert_eq!(resume["resume"]["outcome"], "ROLLED_BACK", "{resume}");
    assert_eq!(shop.answer(&resume, json!({"verdict": "DONE"})).0, 200);
    rig.kill_agent(0);
    let agent = rig.agent(N1);
    assert_eq!(agent.known[0].record, Some(record(Step::Undo)));
    assert_eq!(agent.known[0].alive, [(source, false)]);
}
