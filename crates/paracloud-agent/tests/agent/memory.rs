//! What a node writes in a pause, and what it remembers of it, whoever is killed.

use crate::rig::{APP, N1, N2, Puppet, Rig, moving, sealed_at, until};
use paci::participant::Side;
use paracloud_core::ids::{NodeId, OperationNumber, StartId};
use paracloud_core::migration::message::{FromAgent, ToAgent};
use paracloud_core::register::{Mode, MoveStep};
use paracloud_substrate::message::Note;
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const CAPABILITIES: &[&str] = &["move.handoff"];

/// Every file beneath a directory, by its number and its birth, which it keeps as long as it is not made anew.
fn files(directory: &Path) -> BTreeMap<PathBuf, (u64, Option<SystemTime>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_path_buf()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
            let file = entry.metadata().unwrap();
            found.insert(entry.path(), (file.ino(), file.created().ok()));
        }
    }
    found
}

/// Decision 13: what is written in a pause is written in place.
#[test]
fn from_the_intent_to_seal_to_the_close_an_agent_makes_and_renames_no_file() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (source, shop) = rig.owner(N1);
    shop.hello(CAPABILITIES);
    shop.ready();
    rig.agent(N2);
    let target = rig.fresh();
    let record = |step| moving(source, target, shop.address, step);
    let prepare = |start, side| {
        let operation = OperationNumber(1);
        ToAgent::Prepare { operation, start, side, mode: Mode::Handoff }
    };
    let [n1, n2] = &mut rig.agents[..] else { panic!("two agents") };
    n2.tell(prepare(target, Side::Target), record(MoveStep::Open).operation);
    let filled = until("the target listens", || {
        let spec = std::fs::read(rig.layout.process(N2, target).join("spec.json")).ok()?;
        let spec: serde_json::Value = serde_json::from_slice(&spec).ok()?;
        let address = spec["address"].as_str()?.parse().ok()?;
        std::net::TcpStream::connect(address).is_ok().then_some(Puppet { address })
    });
    filled.hello(CAPABILITIES);
    let fill = filled.next();
    n1.tell(prepare(source, Side::Source), record(MoveStep::Open).operation);
    assert_eq!(shop.next()["prepare"]["side"], "SOURCE");

    let lies = |node: NodeId| files(&rig.layout.node(node));
    let kept = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    // What was heard before the pause is written soon; until then it is in the way of nothing.
    until("nothing waits to be written", || {
        let record = rig.layout.record(N1, APP);
        let written = record.exists() && !record.with_extension("new").exists();
        (written && kept(rig.layout.process(N1, source).join("session.json")).contains("READY")).then_some(())
    });
    let before = [lies(N1), lies(N2)];
    n1.own(&record(MoveStep::Sealing));
    n2.own(&record(MoveStep::Sealing));
    let seal = shop.next();
    shop.answer(&seal, json!({"verdict": "DONE", "sealed": sealed_at(9)}));
    let digest = "ab".repeat(16);
    let loaded = json!({"position": "9", "digest": digest, "endPosition": "9", "endDigest": digest});
    filled.answer(&fill, json!({"verdict": "DONE", "loaded": loaded}));
    n2.own(&record(MoveStep::Switch));
    let resume = filled.next();
    filled.answer(&resume, json!({"verdict": "DONE"}));
    filled.ready();
    filled.call("PUT", "/v1/holds/payroll", r#"{"ops":["move"],"ttlMs":60000}"#);
    n2.own(&record(MoveStep::Retire));
    let serve = filled.next();
    assert!(serve["serve"].is_object(), "{serve}");
    filled.answer(&serve, json!({"verdict": "DONE"}));
    n2.hear("serving", |message| matches!(message, FromAgent::Serving { .. }).then_some(()));
    // The source's outcome, as if it had been the other one: it is told in a pause as well.
    n1.own(&record(MoveStep::Undo));
    let undo = shop.next();
    assert_eq!(undo["resume"]["outcome"], "ROLLED_BACK");
    shop.answer(&undo, json!({"verdict": "DONE"}));
    n1.hear("undone", |message| matches!(message, FromAgent::Undone { .. }).then_some(()));
    assert_eq!([lies(N1), lies(N2)], before);

    // What was put off is written when the pause is over.
    let mut closed = record(MoveStep::Retire);
    closed.operation = None;
    n2.own(&closed);
    until("what was put off is kept", || {
        let session = kept(rig.layout.process(N2, target).join("session.json"));
        let durable = kept(rig.layout.record(N2, APP));
        (session.contains("payroll") && durable.contains(r#""operation":null"#)).then_some(())
    });
}

#[test]
fn an_agent_that_is_killed_in_a_pause_leaves_the_record_that_it_acted_on() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (source, shop) = rig.owner(N1);
    shop.hello(CAPABILITIES);
    let record = |step| moving(source, StartId(9), shop.address, step);
    rig.agents[0].own(&record(MoveStep::Sealing));
    assert!(shop.next()["seal"].is_object());
    rig.kill_agent(0);
    let agent = rig.agent(N1);
    assert_eq!(agent.known[0].record, Some(record(MoveStep::Sealing)));
    assert_eq!(agent.known[0].alive, [(source, true)]);
    agent.own(&record(MoveStep::Undo));
    shop.hello(CAPABILITIES);
    let resume = shop.next();
    assert_eq!(resume["resume"]["outcome"], "ROLLED_BACK", "{resume}");
    assert_eq!(shop.answer(&resume, json!({"verdict": "DONE"})).0, 200);
    rig.kill_agent(0);
    let agent = rig.agent(N1);
    assert_eq!(agent.known[0].record, Some(record(MoveStep::Undo)));
    assert_eq!(agent.known[0].alive, [(source, false)]);
}

/// A note of what was done would be there, however soon the agent ended after it.
#[test]
fn an_agent_that_can_keep_a_record_nowhere_does_nothing_because_of_it_and_ends() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (source, shop) = rig.owner(N1);
    shop.hello(CAPABILITIES);
    let record = moving(source, StartId(9), shop.address, MoveStep::Sealing);
    let kept = rig.layout.record(N1, APP);
    let [slot, staged] = ["slot", "new"].map(|extension| kept.with_extension(extension));
    until("the first one is kept", || kept.exists().then_some(()));
    std::fs::remove_file(&slot).unwrap();
    for path in [&slot, &staged] {
        std::fs::create_dir(path).unwrap();
    }
    rig.agents[0].own(&record);
    let ended = until("the agent ends", || rig.agents[0].process.try_wait().unwrap());
    assert!(!ended.success());
    let word = rig.last_word();
    assert!(word.contains(&kept.display().to_string()), "{word}");
    let sealed = rig.process_dir(N1, source).join("sealed");
    assert!(!sealed.exists(), "it was to be told to seal");
    for path in [&slot, &staged] {
        std::fs::remove_dir(path).unwrap();
    }
    let agent = rig.agent(N1);
    assert_eq!(agent.known[0].alive, [(source, false)]);
    agent.own(&record);
    shop.hello(CAPABILITIES);
    assert!(shop.next()["seal"].is_object());
    assert!(sealed.exists());
}

#[test]
fn an_agent_whose_slot_is_lost_keeps_the_record_durably_before_it_acts_on_it() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (source, shop) = rig.owner(N1);
    shop.hello(CAPABILITIES);
    let record = moving(source, StartId(9), shop.address, MoveStep::Sealing);
    let kept = rig.layout.record(N1, APP);
    let slot = kept.with_extension("slot");
    std::fs::remove_file(&slot).unwrap();
    std::fs::create_dir(&slot).unwrap();
    rig.agents[0].own(&record);
    assert!(shop.next()["seal"].is_object());
    rig.kill_agent(0);
    std::fs::remove_dir(&slot).unwrap();
    assert_eq!(rig.agent(N1).known[0].record, Some(record));
}

/// Without the note nothing would keep its shim from ending it when nobody looks after it, and its state with it.
#[test]
fn a_source_of_which_it_cannot_be_noted_that_it_seals_is_not_told_to_and_the_move_fails() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (source, shop) = rig.owner(N1);
    shop.hello(CAPABILITIES);
    let note = rig.process_dir(N1, source).join("sealed");
    std::fs::create_dir(&note).unwrap();
    let agent = &mut rig.agents[0];
    agent.own(&moving(source, StartId(9), shop.address, MoveStep::Sealing));
    agent.hear_note("that it cannot be noted", |said| match said {
        Note::Failure { start, code, .. } => (*start == source && code == "CANNOT_SEAL").then_some(()),
        _ => None,
    });
    agent.hear("a failure", |message| match message {
        FromAgent::Failed { start, .. } => (*start == source).then_some(()),
        _ => None,
    });
    assert_eq!(shop.call("GET", "/v1/upcalls/next?waitMs=0", "").0, 204, "it is asked nothing");
    std::fs::remove_dir(&note).unwrap();
    agent.own(&moving(source, StartId(9), shop.address, MoveStep::Undo));
    assert_eq!(shop.next()["resume"]["outcome"], "ROLLED_BACK");
}
