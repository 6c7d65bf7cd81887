//! Real processes under real shims, while agents, shims and programs are killed.

use crate::rig::{N1, N2, Puppet, Rig, is_alive, kill, moving_in, until};
use paracloud_core::ids::{OperationNumber, Placement, StartId};
use paracloud_core::migration::message::{FromAgent, Offer, ToAgent};
use paracloud_core::migration::promises::{Point, Promise};
use paracloud_core::register::{Change, Mode, MoveStep, Proposer, Record};
use paracloud_substrate::failpoint;
use paracloud_substrate::message::FromAgentLine;
use rustix::process::Signal;
use std::net::TcpStream;

const OPERATION: OperationNumber = OperationNumber(1);

#[test]
fn a_killed_agent_leaves_everything_running_and_the_next_one_adopts_it() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let (pid, shim) = (shop.pid(), rig.shim(N1, start));
    let record = Record::first(Placement::new(N1, start));
    rig.kill_agent(0);
    assert_eq!(shop.pid(), pid, "it serves without an agent");
    let agent = rig.agent(N1);
    assert_eq!(agent.generation, 2);
    assert_eq!(agent.known[0].record.as_ref(), Some(&record), "what was heard before is known");
    assert_eq!(agent.known[0].alive, [(start, false)]);
    agent.own(&record);
    let address = agent.hear("ready again", |message| match message {
        FromAgent::Ready { start: who, address, .. } if *who == start => Some(*address),
        _ => None,
    });
    assert_eq!(address, shop.address);
    assert_eq!((shop.pid(), rig.shim(N1, start)), (pid, shim));
}

#[test]
fn an_agent_that_has_nothing_to_say_says_that_it_goes_on() {
    let mut rig = Rig::new();
    let agent = rig.agent(N1);
    for _ in 0..2 {
        agent.hear_line("a beat", |line| matches!(line, FromAgentLine::Beat).then_some(()));
    }
}

#[test]
fn a_lost_link_is_dialled_again_and_the_node_says_what_it_knows() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, _) = rig.owner(N1);
    let record = Record::first(Placement::new(N1, start));
    rig.redial(0);
    let agent = &mut rig.agents[0];
    assert_eq!(agent.generation, 1, "the same agent");
    assert_eq!(
        (agent.known[0].record.as_ref(), &agent.known[0].alive[..]),
        (Some(&record), &[(start, false)][..])
    );
    agent.own(&record);
    agent.hear("ready", |message| matches!(message, FromAgent::Ready { .. }).then_some(()));
}

#[test]
fn a_killed_shim_is_replaced_and_the_next_one_proves_the_death() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let (pid, shim) = (shop.pid(), rig.shim(N1, start));
    kill(shim, Signal::KILL);
    let second = until("another shim", || Some(rig.shim(N1, start)).filter(|pid| *pid != shim));
    assert_eq!(shop.pid(), pid);
    kill(pid, Signal::KILL);
    let how = rig.agents[0].hear_death(start);
    assert!(how.contains("not known"), "{how}");
    until("the shim is done", || (!is_alive(second)).then_some(()));
}

#[test]
fn a_dead_owner_is_replaced_by_swap_under_a_fresh_start_id() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let agent = &mut rig.agents[0];
    let served = Record::first(Placement::new(N1, start))
        .apply(&Change::Serve(shop.address), Proposer::Coordinator)
        .unwrap();
    agent.own(&served);
    kill(shop.pid(), Signal::KILL);
    assert!(agent.hear_death(start).contains("signal 9"));
    let (expected, fresh) = agent.hear("a proposal", |message| match message {
        FromAgent::Propose { expected, fresh } => Some((expected.clone(), *fresh)),
        _ => None,
    });
    assert_eq!(expected, served);
    let record = served.apply(&Change::Restart { fresh }, Proposer::Agent).unwrap();
    agent.own(&record);
    let (incarnation, address) = agent.hear("ready", |message| match message {
        FromAgent::Ready { start: who, incarnation, address } if *who == fresh => {
            Some((*incarnation, *address))
        }
        _ => None,
    });
    assert_eq!(incarnation, record.incarnation);
    assert_ne!(address, shop.address, "an address belongs to a start");
    assert!(Puppet { address }.pid() > 0);
    // The old start id is told again: it is dead for good.
    agent.own(&Record::first(Placement::new(N1, start)));
    rig.kill_agent(0);
    let agent = rig.agent(N1);
    agent.own(&Record::first(Placement::new(N1, start)));
    agent.hear("dead", |message| {
        matches!(message, FromAgent::Dead { start: who } if *who == start).then_some(())
    });
    assert!(TcpStream::connect(shop.address).is_err());
}

#[test]
fn a_proposal_against_an_older_record_is_made_anew_against_the_newer_one() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let agent = &mut rig.agents[0];
    let first = Record::first(Placement::new(N1, start));
    shop.say("exit 1");
    let expected = agent.hear("a proposal", |message| match message {
        FromAgent::Propose { expected, .. } => Some(expected.clone()),
        _ => None,
    });
    assert_eq!(expected, first, "it was not told that the owner served");
    let served = first.apply(&Change::Serve(shop.address), Proposer::Coordinator).unwrap();
    // Refused: it hears the record that stands instead.
    agent.own(&served);
    let expected = agent.hear("another proposal", |message| match message {
        FromAgent::Propose { expected, .. } if expected.served.is_some() => Some(expected.clone()),
        _ => None,
    });
    assert_eq!(expected, served);
}

#[test]
fn a_start_id_whose_shim_died_between_marker_and_program_is_dead_and_never_started() {
    let mut rig = Rig::new();
    let points = rig.layout.root().join("points");
    std::fs::create_dir(&points).unwrap();
    std::fs::write(points.join(format!("{}.{}", Promise::Mark, Point::AfterPersist)), "").unwrap();
    rig.set(failpoint::DIRECTORY, points.to_str().unwrap());
    let start = rig.fresh();
    let record = Record::first(Placement::new(N1, start));
    rig.agent(N1).own(&record);
    until("the marker is on disk", || points.join("mark.after_persist.fired").exists().then_some(()));
    kill(rig.shim(N1, start), Signal::KILL);
    let agent = &mut rig.agents[0];
    let how = agent.hear_death(start);
    assert!(how.contains("never"), "{how}");
    agent.own(&record);
    agent.hear("dead", |message| {
        matches!(message, FromAgent::Dead { start: who } if *who == start).then_some(())
    });
    assert!(!rig.process_dir(N1, start).join("identity.json").exists());
}

#[test]
fn a_process_whose_agent_was_killed_before_it_was_marked_is_known_to_the_next_one() {
    let mut rig = Rig::new();
    let points = rig.layout.root().join("points");
    std::fs::create_dir(&points).unwrap();
    std::fs::write(points.join(format!("{}.{}", Promise::Mark, Point::BeforePersist)), "").unwrap();
    rig.set(failpoint::DIRECTORY, points.to_str().unwrap());
    let start = rig.fresh();
    rig.agent(N1).own(&Record::first(Placement::new(N1, start)));
    until("the shim is about to mark it", || points.join("mark.before_persist.fired").exists().then_some(()));
    rig.kill_agent(0);
    assert!(!rig.process_dir(N1, start).join("marker").exists());
    let agent = rig.agent(N1);
    assert_eq!(agent.known[0].alive, [(start, false)], "its shim may start it any moment");
    std::fs::write(points.join("mark.before_persist.go"), "").unwrap();
    let agent = &mut rig.agents[0];
    agent.own(&Record::first(Placement::new(N1, start)));
    agent.hear("ready", |message| {
        matches!(message, FromAgent::Ready { start: who, .. } if *who == start).then_some(())
    });
}

#[test]
fn one_that_was_never_started_is_marked_and_said_to_be_dead() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (source, shop) = rig.owner(N1);
    rig.agent(N2);
    let target = rig.fresh();
    let record = moving_in(Mode::Handoff, source, target, shop.address, MoveStep::Undo);
    let n2 = &mut rig.agents[1];
    n2.own(&record);
    let end = ToAgent::End { operation: OPERATION, start: target, order: record.order() };
    n2.tell(end, record.operation);
    assert!(n2.hear_death(target).contains("never"));
    assert!(rig.process_dir(N2, target).join("marker").exists());
}

#[test]
fn a_program_that_cannot_be_run_is_dead_with_its_reason() {
    let mut rig = Rig::with(|app| app.command = vec!["/no/such/program".to_owned()]);
    let start = rig.fresh();
    let agent = rig.agent(N1);
    agent.own(&Record::first(Placement::new(N1, start)));
    let how = agent.hear_death(start);
    assert!(how.contains("/no/such/program") && how.contains("No such file"), "{how}");
}

#[test]
fn what_a_program_leaves_behind_is_ended_before_its_death_is_told() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let child: i32 = shop.say("child").parse().unwrap();
    assert!(is_alive(child));
    shop.say("exit 3");
    let how = rig.agents[0].hear_death(start);
    assert!(how.contains("status 3"), "{how}");
    assert!(!is_alive(child), "a group of its own does not save it");
}

#[test]
fn a_process_that_left_the_session_of_its_program_is_ended_before_the_death_is_told() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let daemon: i32 = shop.say("daemon").trim().parse().unwrap();
    assert!(is_alive(daemon));
    shop.say("exit 3");
    let how = rig.agents[0].hear_death(start);
    assert!(how.contains("status 3"), "{how}");
    assert!(!is_alive(daemon), "neither its own session nor the death of its parent saves it");
}

#[test]
fn a_program_that_does_not_hear_is_killed_after_its_grace() {
    let mut rig = Rig::with(|app| {
        let puppet = app.command.join(" ");
        app.command = ["sh", "-c", &format!("trap '' TERM; exec {puppet}")].map(str::to_owned).to_vec();
        app.stop_grace_ms = 50;
    });
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let record = moving_in(Mode::Restart, start, rig.fresh(), shop.address, MoveStep::Sealing);
    let agent = &mut rig.agents[0];
    agent.own(&record);
    agent.tell(ToAgent::End { operation: OPERATION, start, order: record.order() }, record.operation);
    let how = agent.hear_death(start);
    assert!(how.contains("signal 9"), "{how}");
}

#[test]
fn output_goes_on_when_agent_and_shim_are_dead() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    rig.kill_agent(0);
    kill(rig.shim(N1, start), Signal::KILL);
    for number in 0..100 {
        assert_eq!(shop.say(&format!("print line {number}")), "printed");
    }
    let log = std::fs::read_to_string(rig.process_dir(N1, start).join("log")).unwrap();
    assert!(log.contains("line 0\n") && log.contains("line 99\n"), "{log}");
}

#[test]
fn without_agent_and_up_an_unsealed_process_is_ended_and_a_sealed_one_waits() {
    let mut rig = Rig::new();
    rig.set(paracloud_agent::shim::ORPHAN_VARIABLE, "200");
    rig.agent(N1);
    let (start, sealed) = rig.owner(N1);
    std::fs::write(rig.process_dir(N1, start).join("sealed"), "").unwrap();
    rig.agent(N2);
    let (_, unsealed) = rig.owner(N2);
    let pid = unsealed.pid();
    rig.kill_agent(0);
    rig.kill_agent(0);
    until("the unsealed one is ended", || (!is_alive(pid)).then_some(()));
    assert!(sealed.pid() > 0, "its outcome may still come");
}

#[test]
fn a_newer_agent_takes_over_and_the_older_one_ends() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let record = Record::first(Placement::new(N1, start));
    let newer = rig.agent(N1);
    newer.own(&record);
    newer.hear("ready", |message| matches!(message, FromAgent::Ready { .. }).then_some(()));
    let older = &mut rig.agents[0];
    let end = ToAgent::End { operation: OPERATION, start, order: record.order() };
    older.tell(end, None);
    until("the older agent ends", || older.process.try_wait().unwrap());
    assert!(shop.pid() > 0, "its order counts for nothing");
}

#[test]
fn an_unaware_program_is_moved_by_a_restart_and_not_by_handing_over() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (source, shop) = rig.owner(N1);
    let target = rig.fresh();
    rig.agent(N2);
    let [n1, n2] = &mut rig.agents[..] else { panic!("two agents") };
    let offer = |message: &FromAgent| match message {
        FromAgent::Offered { offer, .. } => Some(*offer),
        _ => None,
    };
    for (number, mode, expected) in
        [(OPERATION, Mode::Restart, Offer::Accept), (OPERATION.next(), Mode::Handoff, Offer::Refuse)]
    {
        let operation = moving_in(mode, source, target, shop.address, MoveStep::Open).operation;
        n1.tell(ToAgent::Estimate { operation: number, start: source, mode }, operation);
        assert_eq!(n1.hear("an offer", offer), expected);
    }
    let record = |step| moving_in(Mode::Restart, source, target, shop.address, step);
    let side = paci::participant::Side::Target;
    let prepare = ToAgent::Prepare { operation: OPERATION, start: target, side, mode: Mode::Restart };
    n2.tell(prepare, record(MoveStep::Open).operation);
    n2.hear("fits", |message| matches!(message, FromAgent::Prepared { .. }).then_some(()));
    assert!(!rig.layout.process(N2, target).exists(), "nothing is started before the source is dead");
    let order = record(MoveStep::Sealing).order();
    n1.own(&record(MoveStep::Sealing));
    n1.tell(ToAgent::End { operation: OPERATION, start: source, order }, record(MoveStep::Sealing).operation);
    n1.hear_death(source);
    n2.own(&record(MoveStep::Switch));
    let address = n2.hear("ready", |message| match message {
        FromAgent::Ready { start, address, .. } if *start == target => Some(*address),
        _ => None,
    });
    assert!(Puppet { address }.pid() > 0);
}

#[test]
fn a_target_that_could_not_be_started_is_said_before_the_source_is_stopped() {
    let mut rig = Rig::with(|app| app.command = vec!["no-such-program-anywhere".to_owned()]);
    let (source, target) = (rig.fresh(), rig.fresh());
    let n2 = rig.agent(N2);
    let operation =
        moving_in(Mode::Restart, source, target, "127.0.1.1:1".parse().unwrap(), MoveStep::Open).operation;
    let side = paci::participant::Side::Target;
    n2.tell(ToAgent::Prepare { operation: OPERATION, start: target, side, mode: Mode::Restart }, operation);
    n2.hear("failed", |message| {
        matches!(message, FromAgent::Failed { start, .. } if *start == target).then_some(())
    });
}

#[test]
fn what_is_left_of_the_long_dead_is_removed_but_not_what_a_record_names() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    shop.say("exit 0");
    rig.agents[0].hear_death(start);
    rig.kill_agent(0);
    let spec = std::fs::read_to_string(rig.process_dir(N1, start).join("spec.json")).unwrap();
    for number in 1..=100 {
        let other = StartId(0xdead_0000 + number);
        let directory = rig.process_dir(N1, other);
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("spec.json"), spec.replace(&start.to_string(), &other.to_string()))
            .unwrap();
        std::fs::write(directory.join("marker"), "").unwrap();
        std::fs::write(directory.join("exit.json"), r#"{"how":"exited with status 0"}"#).unwrap();
    }
    rig.agent(N1);
    assert_eq!(std::fs::read_dir(rig.layout.processes(N1)).unwrap().count(), 65);
    assert!(rig.process_dir(N1, start).exists(), "the record names it");
}

#[test]
fn a_hold_outlasts_the_agent_that_granted_it_also_for_a_move_by_restart() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (source, shop) = rig.owner(N1);
    let target = rig.fresh();
    let held =
        shop.call("PUT", "/v1/holds/payroll", r#"{"ops":["move"],"ttlMs":3600000,"reason":"month end"}"#);
    assert_eq!(held.0, 200, "{held:?}");
    rig.kill_agent(0);
    let agent = rig.agent(N1);
    let record = moving_in(Mode::Restart, source, target, shop.address, MoveStep::Open);
    let estimate = ToAgent::Estimate { operation: OPERATION, start: source, mode: Mode::Restart };
    agent.tell(estimate, record.operation);
    let offer = agent.hear("an offer", |message| match message {
        FromAgent::Offered { offer, .. } => Some(*offer),
        _ => None,
    });
    assert!(matches!(offer, Offer::Hold { .. }), "{offer:?}");
}

#[test]
fn a_process_that_died_with_its_agent_and_its_shim_is_not_said_to_live() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let (pid, shim) = (shop.pid(), rig.shim(N1, start));
    rig.kill_agent(0);
    // Nobody is left who saw it die.
    kill(shim, Signal::KILL);
    kill(pid, Signal::KILL);
    until("both are dead", || (!is_alive(pid) && !is_alive(shim)).then_some(()));
    let record = moving_in(Mode::Handoff, start, StartId(0x99), shop.address, MoveStep::Switch);
    let (order, operation) = (record.order(), record.operation.clone());
    let agent = rig.agent(N1);
    for _ in 0..100 {
        agent.tell(ToAgent::Probe { operation: OPERATION, start, order }, operation.clone());
    }
    let lives = agent.hear("what is known of it", |message| match message {
        FromAgent::Lives { .. } => Some(true),
        FromAgent::Dead { .. } => Some(false),
        _ => None,
    });
    assert!(!lives);
}

#[test]
fn a_process_that_lives_is_said_to_live_when_it_is_asked_about() {
    let mut rig = Rig::new();
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    let record = moving_in(Mode::Handoff, start, StartId(0x99), shop.address, MoveStep::Switch);
    let order = record.order();
    let agent = &mut rig.agents[0];
    agent.tell(ToAgent::Probe { operation: OPERATION, start, order }, record.operation);
    let said = agent.hear("whether it lives", |message| match message {
        FromAgent::Lives { start, order } => Some((*start, *order)),
        _ => None,
    });
    assert_eq!(said, (start, order));
}
