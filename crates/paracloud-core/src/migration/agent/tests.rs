//! What one agent does with what it hears.

use super::*;
use crate::ids::{NodeId, Placement};
use crate::migration::cause::Cause;
use crate::register::{Change, Proposer};
use paci::participant::Standing;
use std::vec;

#[test]
fn a_refused_proposal_is_made_anew_without_the_longest_wait() {
    let setting =
        Setting { node: NodeId(1), ask_ms: 200, restart_ms: 200, restart_ms_max: 10_000, sound_ms: 60_000 };
    let (start, fresh) = (StartId(1), StartId(2));
    let address = SocketAddr::from(([127, 0, 1, 1], 20_000));
    let first = Record::first(Placement::new(setting.node, start));
    let served = first.apply(&Change::Serve(address), Proposer::Coordinator).unwrap();
    let mut agent = Agent::default();
    let mut step = |input| {
        let mut effects = Vec::new();
        agent.step(&setting, input, fresh, &mut effects);
        effects
    };
    step(Input::Started { generation: Generation(1), found: vec![(start, Status::Dead, address)] });
    step(Input::Coordinator(ToAgent::Own(first.clone())));
    let proposed = step(Input::Timer(Timer::Restart));
    assert!(proposed.contains(&Effect::Coordinator(FromAgent::Propose { expected: first, fresh })));
    let told = step(Input::Coordinator(ToAgent::Own(served.clone())));
    let wait_ms = told.iter().find_map(|effect| match effect {
        Effect::SetTimer(Timer::Restart, wait_ms) => Some(*wait_ms),
        Effect::SetTimer(Timer::Ask | Timer::Sound, _)
        | Effect::Coordinator(_)
        | Effect::Shim(..)
        | Effect::App(..)
        | Effect::Look(..)
        | Effect::Resize(..)
        | Effect::Check(..) => None,
    });
    assert_eq!(wait_ms, Some(400));
    let proposed = step(Input::Timer(Timer::Restart));
    assert!(proposed.contains(&Effect::Coordinator(FromAgent::Propose { expected: served, fresh })));
}

#[test]
fn a_program_without_a_session_is_not_taken_to_agree_to_a_restart() {
    let start = StartId(1);
    let address = SocketAddr::from(([127, 0, 1, 1], 20_000));
    let (mut agent, mut effects) = (Agent::default(), Vec::new());
    let found = vec![(start, Status::Running, address)];
    let operation = OperationNumber(1);
    let estimate = ToAgent::Estimate { operation, start, mode: Mode::Restart };
    for input in [Input::Started { generation: Generation(2), found }, Input::Coordinator(estimate)] {
        agent.step(&SETTING, input, StartId(9), &mut effects);
    }
    let asked = Effect::App(start, ToApp::Call(operation, Call::Estimate));
    assert!(effects.contains(&asked), "its holds may outlast the agent that granted them: {effects:?}");
    let offers = |effect: &Effect| matches!(effect, Effect::Coordinator(FromAgent::Offered { .. }));
    assert!(!effects.iter().any(offers), "{effects:?}");
}

#[test]
fn while_a_source_is_sealed_the_death_of_its_target_is_told_as_often_as_the_record_comes() {
    let (source, target) = (StartId(1), StartId(2));
    let address = SocketAddr::from(([127, 0, 1, 1], 20_000));
    let first = Record::first(Placement::new(NodeId(2), source));
    let placed = Placement::new(SETTING.node, target);
    let changes =
        [Change::Serve(address), Change::Open { mode: Mode::Handoff, target: placed }, Change::Seal];
    let sealing = changes.into_iter().fold(first, |record, change| apply(&record, change));
    let own = || Input::Coordinator(ToAgent::Own(sealing.clone()));
    let (mut agent, mut effects) = (Agent::default(), Vec::new());
    let found = vec![(target, Status::Dead, address)];
    for input in [Input::Started { generation: Generation(1), found }, own(), own()] {
        effects.clear();
        agent.step(&SETTING, input, StartId(9), &mut effects);
    }
    assert!(effects.contains(&Effect::Coordinator(FromAgent::Dead { start: target })), "{effects:?}");
}

const SETTING: Setting =
    Setting { node: NodeId(1), ask_ms: 70, restart_ms: 100, restart_ms_max: 30_000, sound_ms: 60_000 };

/// What is ordered of shims when this is heard, one after the other.
fn orders(heard: Vec<Input>) -> Vec<(StartId, Order)> {
    let (mut agent, mut effects) = (Agent::default(), Vec::new());
    for input in heard {
        effects.clear();
        agent.step(&SETTING, input, StartId(9), &mut effects);
    }
    let order = |effect| if let Effect::Shim(start, _, order) = effect { Some((start, order)) } else { None };
    effects.into_iter().filter_map(order).collect()
}

fn apply(record: &Record, change: Change) -> Record {
    record.apply(&change, Proposer::Coordinator).unwrap()
}

#[test]
fn a_late_end_of_a_process_that_owns_is_refused() {
    let start = StartId(1);
    let first = Record::first(Placement::new(SETTING.node, start));
    let served = apply(&first, Change::Serve(([127, 0, 1, 1], 20_000).into()));
    let after = |order| {
        let end = ToAgent::End { operation: OperationNumber(0), start, order };
        let own = ToAgent::Own(served.clone());
        orders(vec![Input::Coordinator(own), Input::Coordinator(end)])
    };
    assert_eq!(after(first.order()), []);
    assert_eq!(after(served.order()), [(start, Order::End)]);
}

#[test]
fn a_late_prepare_starts_nothing() {
    let first = Record::first(Placement::new(NodeId(2), StartId(1)));
    let served = apply(&first, Change::Serve(([127, 0, 1, 2], 20_000).into()));
    let target = Placement::new(SETTING.node, StartId(2));
    let open = apply(&served, Change::Open { mode: Mode::Handoff, target });
    let after = |record: &Record| {
        let (operation, start) = (open.last_operation, target.start);
        let prepare = ToAgent::Prepare { operation, start, side: Side::Target, mode: Mode::Handoff };
        let own = ToAgent::Own(record.clone());
        orders(vec![Input::Coordinator(own), Input::Coordinator(prepare)])
    };
    assert_eq!(after(&apply(&open, Change::Seal)), []);
    assert_eq!(after(&apply(&open, Change::RollBack(Cause::Cancelled))), []);
    assert_eq!(after(&open), [(target.start, Order::Spawn)]);
}

#[test]
fn an_older_record_is_not_believed() {
    let first = Record::first(Placement::new(NodeId(2), StartId(1)));
    let served = apply(&first, Change::Serve(([127, 0, 1, 2], 20_000).into()));
    let mut agent = Agent::default();
    for record in [&served, &first] {
        let own = Input::Coordinator(ToAgent::Own(record.clone()));
        agent.step(&SETTING, own, StartId(9), &mut Vec::new());
    }
    assert_eq!(agent.record(), Some(&served));
}

#[test]
fn an_owner_that_was_sound_for_a_while_is_replaced_after_the_first_wait_again() {
    let place = |start| Placement::new(SETTING.node, StartId(start));
    let address = SocketAddr::from(([127, 0, 1, 1], 20_000));
    let mut agent = Agent::default();
    let mut step = |input| {
        let mut effects = Vec::new();
        agent.step(&SETTING, input, StartId(9), &mut effects);
        effects
            .into_iter()
            .filter_map(|it| if let Effect::SetTimer(timer, ms) = it { Some((timer, ms)) } else { None })
            .collect::<Vec<_>>()
    };
    let dies = |start| Input::Shim(StartId(start), Status::Dead, address);
    let own = |record: &Record| Input::Coordinator(ToAgent::Own(record.clone()));
    let serve = |record: &Record| apply(record, Change::Serve(address));
    let first = serve(&Record::first(place(1)));
    step(own(&first));
    assert_eq!(step(dies(1)), [(Timer::Restart, 100)]);
    step(Input::Timer(Timer::Restart));
    let restarted = first.apply(&Change::Restart { fresh: StartId(2) }, Proposer::Agent).unwrap();
    step(own(&restarted));
    step(Input::Shim(StartId(2), Status::Running, address));
    let second = serve(&restarted);
    assert_eq!(step(own(&second)), [(Timer::Sound, SETTING.sound_ms)]);
    step(Input::Timer(Timer::Sound));
    assert_eq!(step(dies(2)), [(Timer::Restart, 100)], "and not 200");
}

#[test]
fn a_process_that_no_record_names_is_outdated_once_it_is_to_be_ended_and_is_not_asked_about_without_end() {
    let start = StartId(5);
    let elsewhere = Placement::new(NodeId(2), StartId(7));
    let record = Record::first(elsewhere);
    let address = SocketAddr::from(([127, 0, 1, 1], 20_000));
    let mut agent = Agent::default();
    let mut step = |input| {
        let mut effects = Vec::new();
        agent.step(&SETTING, input, StartId(9), &mut effects);
        effects
    };
    let ask = Effect::Coordinator(FromAgent::Ask);
    step(Input::Started { generation: Generation(2), found: vec![(start, Status::Running, address)] });
    assert!(step(Input::App(start, FromApp::Hello)).contains(&ask));
    let own = Input::Coordinator(ToAgent::Own(record.clone()));
    assert_eq!(step(own), [], "it is asked about again when the timer says so");
    assert!(step(Input::Timer(Timer::Ask)).contains(&ask));
    let end = ToAgent::End { operation: record.last_operation, start, order: record.order() };
    let told = step(Input::Coordinator(end));
    let outdated = Effect::App(start, ToApp::Welcome(Standing::Outdated, record.incarnation));
    assert_eq!(told, [Effect::Shim(start, Generation(2), Order::End), outdated]);
}

/// An agent that found this process, and what it does with what it hears.
fn found(status: Status, inputs: Vec<Input>) -> Vec<Effect> {
    let address = SocketAddr::from(([127, 0, 1, 1], 20_000));
    let mut agent = Agent::default();
    let mut effects = Vec::new();
    let started = Input::Started { generation: Generation(2), found: vec![(StartId(1), status, address)] };
    for input in std::iter::once(started).chain(inputs) {
        effects.clear();
        agent.step(&SETTING, input, StartId(9), &mut effects);
    }
    effects
}

#[test]
fn a_process_is_said_to_live_only_after_a_look_at_it() {
    let start = StartId(1);
    let record = Record::first(Placement::new(SETTING.node, start));
    let order = record.order();
    let probe = || Input::Coordinator(ToAgent::Probe { operation: record.last_operation, start, order });
    let looked = |lives| Input::Looked { start, order, lives };
    let lives = Effect::Coordinator(FromAgent::Lives { start, order });
    let dead = Effect::Coordinator(FromAgent::Dead { start });
    // It was running when it was last heard of.
    assert_eq!(found(Status::Running, vec![probe()]), [Effect::Look(start, order)]);
    assert_eq!(found(Status::Running, vec![probe(), looked(true)]), [lives]);
    assert_eq!(
        found(Status::Running, vec![probe(), looked(false)]),
        [],
        "its death is for its shim to prove"
    );
    assert_eq!(found(Status::Dead, vec![probe()]), [dead]);
    assert_eq!(found(Status::Dead, vec![looked(true)]), [], "what is proved dead stays so");
}

#[test]
fn an_owner_that_left_no_trace_and_is_not_to_be_started_is_ended_and_so_proved_dead() {
    let address = SocketAddr::from(([127, 0, 1, 1], 20_000));
    let first = Record::first(Placement::new(NodeId(2), StartId(7)));
    let target = Placement::new(SETTING.node, StartId(8));
    let changes =
        [Change::Serve(address), Change::Open { mode: Mode::Handoff, target }, Change::Seal, Change::Commit];
    let switch = changes.into_iter().fold(first, |record, change| apply(&record, change));
    let told = found(Status::Dead, vec![Input::Coordinator(ToAgent::Own(switch))]);
    assert!(told.contains(&Effect::Shim(target.start, Generation(2), Order::End)), "{told:?}");
}
