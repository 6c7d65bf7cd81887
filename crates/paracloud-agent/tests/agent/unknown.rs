//! What cannot be looked at is not taken for absent: nobody is ended, started or said to be dead because of it.

use crate::rig::{N1, N2, Rig, is_alive, kill, make_unknown, moving, until};
use paci::participant::Side;
use paracloud_core::ids::{OperationNumber, Placement, StartId};
use paracloud_core::migration::message::{FromAgent, ToAgent};
use paracloud_core::register::{Mode, MoveStep, Record};
use paracloud_substrate::message::Note;
use rustix::process::Signal;

const OPERATION: OperationNumber = OperationNumber(1);

#[test]
fn an_agent_that_cannot_know_what_lives_on_its_node_does_not_say_that_nothing_does() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let pid = shop.pid();
    rig.kill_agent(0);
    let spec = rig.process_dir(N1, start).join("spec.json");
    let aside = make_unknown(&spec);
    let word = rig.agent_that_refuses(N1);
    assert!(word.contains(&spec.display().to_string()), "which file: {word}");
    assert!(word.contains("symbolic link"), "and why: {word}");
    assert_eq!(shop.pid(), pid);
    std::fs::rename(aside, spec).unwrap();
    let agent = rig.agent(N1);
    assert_eq!(agent.known[0].alive, [(start, false)]);
    agent.own(&Record::first(Placement::new(N1, start)));
    agent.hear("ready", |message| matches!(message, FromAgent::Ready { .. }).then_some(()));
    assert_eq!(shop.pid(), pid);
}

#[test]
fn a_process_whose_marker_cannot_be_looked_at_is_known_and_adopted() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let (pid, shim) = (shop.pid(), rig.shim(N1, start));
    rig.kill_agent(0);
    kill(shim, Signal::KILL);
    until("its shim is gone", || (!is_alive(shim)).then_some(()));
    make_unknown(&rig.process_dir(N1, start).join("marker"));
    let agent = rig.agent(N1);
    assert_eq!(agent.known[0].alive, [(start, false)]);
    agent.own(&Record::first(Placement::new(N1, start)));
    agent.hear("ready", |message| match message {
        FromAgent::Ready { start: who, .. } => (*who == start).then_some(()),
        FromAgent::Dead { .. } => panic!("it is said to be dead"),
        _ => None,
    });
    assert_eq!(shop.pid(), pid, "nothing else was started under its start id");
}

#[test]
fn no_shim_starts_what_may_be_marked() {
    let mut rig = Rig::new();
    rig.agent(N2);
    let target = StartId(0x99);
    let directory = rig.process_dir(N2, target);
    rig.layout.make(&directory).unwrap();
    make_unknown(&directory.join("marker"));
    let agent = &mut rig.agents[0];
    let operation =
        moving(StartId(0x51), target, "127.0.1.1:20000".parse().unwrap(), MoveStep::Open).operation;
    let (side, mode) = (Side::Target, Mode::Handoff);
    agent.tell(ToAgent::Prepare { operation: OPERATION, start: target, side, mode }, operation);
    let (code, message) = agent.hear_note("a failure", |note| match note {
        Note::Failure { code, message, .. } => Some((code.clone(), message.clone())),
        _ => None,
    });
    assert!(code == "NO_SHIM" && message.contains("symbolic link"), "{code}: {message}");
    assert!(!directory.join("identity.json").exists() && !directory.join("log").exists());
}

#[test]
fn as_long_as_nobody_can_see_whether_up_lives_no_process_is_ended_for_want_of_it() {
    let mut rig = Rig::new();
    rig.set(paracloud_agent::shim::ORPHAN_VARIABLE, "50");
    let lock = rig.layout.up_lock();
    make_unknown(&lock);
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let pid = shop.pid();
    rig.kill_agent(0);
    let log = rig.process_dir(N1, start).join("shim.log");
    let said = || std::fs::read_to_string(&log).unwrap().matches("whether `up` lives").count();
    until("it is said, again and again", || (said() > 2).then_some(()));
    assert_eq!(shop.pid(), pid);
    std::fs::remove_file(lock).unwrap();
    until("it is ended", || (!is_alive(pid)).then_some(()));
}
