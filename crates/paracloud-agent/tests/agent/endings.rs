//! How an agent ends: with the cloud, or without.

use crate::rig::{N1, Puppet, Rig, is_alive, kill, moving, moving_in, until};
use paracloud_core::ids::{OperationNumber, StartId};
use paracloud_core::migration::message::{FromAgent, ToAgent};
use paracloud_core::register::{Mode, MoveStep, Record};
use paracloud_substrate::message::Note;
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

/// Ends the cloud of a process, hears under which number it is told to stop, and what the next agent knows of.
fn end_and_come_again(rig: &mut Rig, shop: Puppet) -> (OperationNumber, OperationNumber) {
    std::fs::write(rig.layout.ending(), "").unwrap();
    kill(i32::try_from(rig.agents[0].process.id()).unwrap(), Signal::TERM);
    let stop = shop.next();
    assert!(stop["stop"].is_object(), "{stop}");
    rig.kill_agent(0);
    std::fs::remove_file(rig.layout.ending()).unwrap();
    let number = u32::try_from(stop["operation"].as_u64().unwrap()).unwrap();
    (OperationNumber(number), rig.agent(N1).known[0].operation)
}

fn lasting_owner() -> (Rig, StartId, Puppet) {
    let mut rig = Rig::with(|app| app.stop_grace_ms = 600_000);
    rig.agent(N1);
    let (start, shop) = rig.owner(N1);
    shop.hello(&["stop", "move.estimate", "move.handoff"]);
    shop.ready();
    (rig, start, shop)
}

#[test]
fn the_number_of_the_clouds_end_is_that_of_no_operation() {
    let (mut rig, _, shop) = lasting_owner();
    let (told, known) = end_and_come_again(&mut rig, shop);
    assert_eq!((told, known), (OperationNumber(1), OperationNumber(0)));
}

#[test]
fn while_an_operation_is_open_the_cloud_ends_under_its_number() {
    let (mut rig, source, shop) = lasting_owner();
    let record = moving(source, StartId(9), shop.address, MoveStep::Sealing);
    let open = record.last_operation;
    rig.agents[0].own(&record);
    assert!(shop.next()["seal"].is_object());
    assert_eq!(end_and_come_again(&mut rig, shop), (open, open));

    // From the first question on, of which no record knows.
    let (mut rig, source, shop) = lasting_owner();
    let operation = moving(source, StartId(9), shop.address, MoveStep::Open).operation;
    let estimate = ToAgent::Estimate { operation: open, start: source, mode: Mode::Handoff };
    rig.agents[0].tell(estimate, operation);
    assert!(shop.next()["estimate"].is_object());
    assert_eq!(end_and_come_again(&mut rig, shop), (open, open));
}

#[test]
fn when_the_cloud_ends_a_session_that_is_opened_anew_hears_of_the_end_and_not_of_the_move() {
    let (mut rig, source, shop) = lasting_owner();
    rig.agents[0].own(&moving(source, StartId(9), shop.address, MoveStep::Sealing));
    assert!(shop.next()["seal"].is_object());
    std::fs::write(rig.layout.ending(), "").unwrap();
    kill(i32::try_from(rig.agents[0].process.id()).unwrap(), Signal::TERM);
    let stop = shop.next();
    assert!(stop["stop"].is_object(), "{stop}");
    assert_eq!(shop.answer(&stop, json!({"verdict": "IN_PROGRESS"})).0, 200);
    shop.hello(&["stop", "move.estimate", "move.handoff"]);
    let again = shop.next();
    assert_eq!((&again["stop"], &again["operation"]), (&stop["stop"], &stop["operation"]));
}

#[test]
fn who_was_told_how_an_operation_ends_is_not_told_to_stop_under_its_number() {
    let (mut rig, source, shop) = lasting_owner();
    let record = |step| moving(source, StartId(9), shop.address, step);
    rig.agents[0].own(&record(MoveStep::Sealing));
    assert!(shop.next()["seal"].is_object());
    rig.agents[0].own(&record(MoveStep::Undo));
    assert!(shop.next()["resume"].is_object());
    let open = record(MoveStep::Undo).last_operation;
    assert_eq!(end_and_come_again(&mut rig, shop), (open.next(), open));
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

/// An owner that listens and is to be stopped here and started on n2, with so long a grace.
fn stopping(grace_ms: u32) -> (Rig, StartId, Puppet, Record) {
    let mut rig = Rig::with(|app| app.stop_grace_ms = grace_ms);
    rig.agent(N1);
    let (source, shop) = rig.owner(N1);
    shop.hello(&["stop", "move.estimate"]);
    let record = moving_in(Mode::Restart, source, StartId(9), shop.address, MoveStep::Sealing);
    order_end(&mut rig, source, &record);
    (rig, source, shop, record)
}

/// What the coordinator says, and says again.
fn order_end(rig: &mut Rig, source: StartId, record: &Record) {
    let (operation, order) = (record.last_operation, record.order());
    let end = ToAgent::End { operation, start: source, order };
    rig.agents[0].tell(end, record.operation.clone());
}

#[test]
fn an_owner_that_is_restarted_elsewhere_is_told_to_stop_and_ends_by_itself() {
    let (mut rig, source, shop, record) = stopping(600_000);
    let stop = shop.next();
    assert_eq!(stop["stop"], json!({"graceMs": 600_000}));
    assert_eq!(stop["operation"].as_u64(), Some(record.last_operation.0.into()));
    assert_eq!(stop["message"], "it is stopped here and started on n2");
    assert_eq!(shop.answer(&stop, json!({"verdict": "IN_PROGRESS"})).0, 200);
    order_end(&mut rig, source, &record);
    // A session that is opened anew hears it anew.
    shop.hello(&["stop", "move.estimate"]);
    let again = shop.next();
    assert_eq!(again["stop"], stop["stop"]);
    assert!(again["attempt"].as_u64() > stop["attempt"].as_u64(), "{again}");
    // However often it is wanted dead, nobody sends it a signal meanwhile.
    assert_eq!(shop.answer(&again, json!({"verdict": "DONE"})).0, 200);
    shop.say("exit 7");
    let how = rig.agents[0].hear_death(source);
    assert!(how.contains("status 7"), "{how}");
}

#[test]
fn an_owner_that_does_not_stop_is_ended_after_its_grace_and_one_that_refuses_at_once() {
    let (mut rig, source, _, _) = stopping(300);
    let how = rig.agents[0].hear_death(source);
    assert!(how.contains("signal 15"), "it never asked what there is to do: {how}");

    let (mut rig, source, shop, record) = stopping(600_000);
    let stop = shop.next();
    let (operation, attempt) = (&stop["operation"], &stop["attempt"]);
    let refusal = json!({"operation": operation, "attempt": attempt, "verdict": "REFUSE", "code": "APP_BUSY",
        "message": "never"});
    // It may be gone before it can tell what it was answered.
    let answered = shop.begin(&format!("call POST /v1/upcalls/{operation} {refusal}"));
    let why = rig.agents[0].hear_note("why", |note| match note {
        Note::Failure { code, message, .. } => Some(format!("{code} {message}")),
        _ => None,
    });
    assert_eq!(why, "APP_BUSY never");
    let how = rig.agents[0].hear_death(source);
    assert!(how.contains("signal 15"), "{how}");
    let _ = answered.join();
    order_end(&mut rig, source, &record);
    rig.agents[0].hear("dead, again", |message| match message {
        FromAgent::Dead { start } if *start == source => Some(()),
        _ => None,
    });
}

#[test]
fn an_agent_that_is_killed_while_an_owner_stops_leaves_an_end_that_comes() {
    let (mut rig, source, shop, record) = stopping(600_000);
    assert!(shop.next()["stop"].is_object());
    rig.kill_agent(0);
    rig.agent(N1);
    order_end(&mut rig, source, &record);
    let how = rig.agents[0].hear_death(source);
    assert!(how.contains("signal 15"), "it has said no Hello to this agent: {how}");
}

#[test]
fn who_owns_nothing_any_more_is_ended_without_a_word() {
    let mut rig = Rig::with(|app| app.stop_grace_ms = 600_000);
    rig.agent(N1);
    let (source, shop) = rig.owner(N1);
    shop.hello(&["stop", "move.estimate", "move.handoff"]);
    let record = moving_in(Mode::Handoff, source, StartId(9), shop.address, MoveStep::Retire);
    order_end(&mut rig, source, &record);
    let how = rig.agents[0].hear_death(source);
    assert!(how.contains("signal 15"), "{how}");
}
