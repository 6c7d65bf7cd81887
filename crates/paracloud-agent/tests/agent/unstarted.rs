//! The end of a target on a node where nothing can be made for it: a move that rolls back does not wait for a disk.

use crate::rig::{Agent, N1, N2, Rig, is_alive, kill, moving, until};
use paci::participant::Side;
use paracloud_core::ids::{OperationNumber, Placement, StartId};
use paracloud_core::migration::message::{FromAgent, ToAgent};
use paracloud_core::register::{Mode, MoveStep, Record};
use paracloud_substrate::message::{FromAgentLine, Note};
use rustix::process::Signal;

const OPERATION: OperationNumber = OperationNumber(1);
const TARGET: StartId = StartId(0x99);

fn tell(agent: &mut Agent, message: ToAgent, step: MoveStep) {
    let record = moving(StartId(0x51), TARGET, "127.0.1.1:20000".parse().unwrap(), step);
    agent.tell(message, record.operation);
}

fn prepare(agent: &mut Agent) {
    let (side, mode) = (Side::Target, Mode::Handoff);
    tell(agent, ToAgent::Prepare { operation: OPERATION, start: TARGET, side, mode }, MoveStep::Open);
}

fn end(agent: &mut Agent) {
    let order = moving(StartId(0x51), TARGET, "127.0.1.1:20000".parse().unwrap(), MoveStep::Undo).order();
    tell(agent, ToAgent::End { operation: OPERATION, start: TARGET, order }, MoveStep::Undo);
}

fn hear_failure(agent: &mut Agent, of: StartId) -> String {
    agent.hear_note("a failure", |note| match note {
        Note::Failure { start, code, .. } if *start == of => Some(code.clone()),
        _ => None,
    })
}

#[test]
fn a_target_for_which_no_directory_can_be_made_is_dead_and_is_not_started_when_one_can_be() {
    let mut rig = Rig::new();
    rig.agent(N2);
    // As on a disk without room: no directory can be made there.
    let directory = rig.layout.processes(N2);
    std::fs::remove_dir(&directory).unwrap();
    std::fs::write(&directory, "").unwrap();
    let agent = &mut rig.agents[0];
    prepare(agent);
    assert_eq!(hear_failure(agent, TARGET), "CANNOT_START");
    // The move does not wait for its budget; why is said once.
    for _ in 0..2 {
        let heard = agent.hear_line("that it failed", |line| match line {
            FromAgentLine::Machine { message: FromAgent::Failed { operation, start }, .. } => {
                Some((*operation, *start))
            }
            FromAgentLine::Note { note: Note::Failure { .. }, .. } => panic!("it is said again"),
            _ => None,
        });
        assert_eq!(heard, (OPERATION, TARGET));
        prepare(agent);
    }
    end(agent);
    let how = agent.hear_death(TARGET);
    assert!(how.contains("never"), "{how}");
    // There is room again, and late orders of a move that is over.
    std::fs::remove_file(&directory).unwrap();
    std::fs::create_dir(&directory).unwrap();
    prepare(agent);
    agent.hear_death(TARGET);
    end(agent);
    agent.hear_death(TARGET);
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "nothing was made for it");
}

#[test]
fn a_target_whose_directory_cannot_be_finished_is_dead_for_later_agents_too() {
    let mut rig = Rig::new();
    rig.agent(N2);
    // There is room for a directory and a name, and for no specification.
    let directory = rig.process_dir(N2, TARGET);
    rig.layout.make(&directory.join("spec.new")).unwrap();
    let agent = &mut rig.agents[0];
    end(agent);
    let how = agent.hear_death(TARGET);
    assert!(how.contains("never"), "{how}");
    assert!(directory.join("marker").exists(), "it could be marked");
    rig.kill_agent(0);
    std::fs::remove_dir(directory.join("spec.new")).unwrap();
    let agent = rig.agent(N2);
    prepare(agent);
    let how = agent.hear_death(TARGET);
    assert!(how.contains("never"), "{how}");
    assert!(!directory.join("identity.json").exists());
}

#[test]
fn a_target_that_its_shim_can_neither_start_nor_mark_is_dead() {
    let mut rig = Rig::new();
    rig.agent(N2);
    let directory = rig.process_dir(N2, TARGET);
    rig.layout.make(&directory.join("marker.new")).unwrap();
    let agent = &mut rig.agents[0];
    prepare(agent);
    assert_eq!(hear_failure(agent, TARGET), "NO_SHIM");
    end(agent);
    let how = agent.hear_death(TARGET);
    assert!(how.contains("never"), "{how}");
    assert!(!directory.join("marker").exists());
    // As soon as there is room, its shim marks it.
    std::fs::remove_dir(directory.join("marker.new")).unwrap();
    until("it is marked", || directory.join("marker").exists().then_some(()));
    assert!(!directory.join("identity.json").exists());
}

/// Kills a process that nothing leads to any more.
struct Lost(i32);

impl Drop for Lost {
    fn drop(&mut self) {
        kill(self.0, Signal::KILL);
    }
}

#[test]
fn a_process_that_was_started_is_not_said_to_be_dead_because_its_directory_is_gone() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let (process, shim) = (Lost(shop.pid()), rig.shim(N1, start));
    std::fs::remove_dir_all(rig.process_dir(N1, start)).unwrap();
    kill(shim, Signal::KILL);
    let agent = &mut rig.agents[0];
    assert_eq!(hear_failure(agent, start), "NO_SHIM");
    let order = Record::first(Placement::new(N1, start)).order();
    agent.tell(ToAgent::End { operation: OPERATION, start, order }, None);
    // The answer to what is asked next comes after whatever is said to that.
    let (operation, side, mode) = (OperationNumber(2), Side::Target, Mode::Restart);
    agent.tell(ToAgent::Prepare { operation, start: TARGET, side, mode }, None);
    agent.hear("it fits", |message| match message {
        FromAgent::Prepared { operation: asked, .. } => (*asked == operation).then_some(()),
        FromAgent::Dead { .. } => panic!("it is said to be dead"),
        _ => None,
    });
    assert!(is_alive(process.0));
}
