//! What one coordinator does with what it hears.

use super::*;
use crate::ids::{OperationNumber, Revision};
use crate::migration::cause::Cause;
use crate::migration::convergence;
use crate::migration::gateway::Table;
use std::vec;

fn setting() -> Setting {
    Setting {
        gateways: [GatewayId(1), GatewayId(2)].into(),
        nodes: [NodeId(1), NodeId(2)].into(),
        resend_ms: 100,
        prepare_ms: 1_000,
        copy_ms: 1_000,
        drain_ms: 1_000,
        leave_ms: 9_000,
        resize_ms: 8_000,
        park_ms: 1_000,
        seal_ms: 1_000,
        stop_ms: 7_000,
        switch_ms: 1_000,
        release_ms: 1_000,
        pause: convergence::Budget { pause_ms: 5, pause_ms_max: 50, stall_reports: 3, stall_reports_max: 8 },
    }
}

#[test]
fn gateways_are_told_the_route_of_an_instance_that_was_started() {
    let mut record = Record::first(Placement::new(NodeId(1), StartId(1)));
    let mut coordinator = Coordinator::default();
    coordinator.step(&setting(), Input::Recovered(record.clone()), StartId(2), &mut Vec::new());
    record.served = Some(([127, 0, 0, 1], 80).into());
    let mut effects = Vec::new();
    let served = Input::Swapped { record: record.clone(), applied: true };
    coordinator.step(&setting(), served, StartId(2), &mut effects);
    let mut routed = Vec::new();
    for effect in &effects {
        if let Effect::Gateway(_, ToGateway::Table(table)) = effect
            && !table.parks
        {
            routed.push(table.route);
        }
    }
    assert_eq!(routed.len(), 2, "{effects:?}");
    assert!(routed.iter().all(|route| route.is_some_and(|route| Some(route.address) == record.served)));
}

#[test]
fn gateways_hear_of_an_instance_before_it_serves() {
    let record = Record::first(Placement::new(NodeId(1), StartId(1)));
    let (mut coordinator, mut effects) = (Coordinator::default(), Vec::new());
    coordinator.step(&setting(), Input::Recovered(record.clone()), StartId(2), &mut effects);
    let told = ToGateway::Table(Table::of(&record, false));
    for gateway in setting().gateways {
        assert!(effects.contains(&Effect::Gateway(gateway, told.clone())), "{effects:?}");
    }
    // Who was not there to hear it hears it later.
    let heard = FromGateway::Obeyed { order: record.order(), parks: true };
    coordinator.step(&setting(), Input::Gateway(GatewayId(1), heard), StartId(2), &mut Vec::new());
    let mut again = Vec::new();
    coordinator.step(&setting(), Input::Timer(Timer::Resend), StartId(2), &mut again);
    let to = |gateway| again.contains(&Effect::Gateway(gateway, told.clone()));
    assert_eq!((to(GatewayId(1)), to(GatewayId(2))), (false, true), "{again:?}");
}

#[test]
fn a_session_that_comes_back_before_the_end_is_decided_has_every_gateway_asked_anew_within_the_same_budget() {
    let apply = |record: &Record, change| record.apply(&change, Proposer::Coordinator).unwrap();
    let served = apply(&moving(&[]), Change::RollBack(Cause::Cancelled));
    let draining = apply(&apply(&served, Change::Close), Change::Leave);
    let said = |gateway, message| Input::Gateway(GatewayId(gateway), message);
    let drained = |record: &Record| FromGateway::Drained { order: record.order() };
    let wanted = |record: &Record| FromGateway::Wanted { order: record.order() };
    let mut coordinator = Coordinator::default();
    hears(&mut coordinator, Input::Recovered(draining.clone()));
    assert_eq!(hears(&mut coordinator, said(1, drained(&draining))), None);
    assert_eq!(hears(&mut coordinator, said(1, wanted(&served))), None, "of another leave");
    assert_eq!(hears(&mut coordinator, said(1, wanted(&draining))), Some(Change::DrainAgain));
    let again = apply(&draining, Change::DrainAgain);
    assert!(again.order() > draining.order() && again.last_operation == draining.last_operation);
    let mut effects = Vec::new();
    let swapped = Input::Swapped { record: again.clone(), applied: true };
    coordinator.step(&setting(), swapped, StartId(3), &mut effects);
    let told = |effect: &&Effect| matches!(effect, Effect::Gateway(_, ToGateway::Table(table)) if table.order == again.order());
    assert_eq!(effects.iter().filter(told).count(), 2, "{effects:?}");
    let deadline = |effect: &Effect| {
        matches!(effect, Effect::SetTimer(Timer::Deadline, _) | Effect::CancelTimer(Timer::Deadline))
    };
    assert!(!effects.iter().any(deadline), "its budget runs on: {effects:?}");
    for gateway in [1, 2] {
        assert_eq!(hears(&mut coordinator, said(gateway, drained(&draining))), None, "of before");
    }
    assert_eq!(coordinator.phase(), Phase::Drain);
    for gateway in [1, 2] {
        assert_eq!(hears(&mut coordinator, said(gateway, drained(&again))), None);
    }
    assert_eq!(coordinator.phase(), Phase::Leave);
    let late = Some(Change::Return(Cause::Late(Phase::Leave)));
    assert_eq!(hears(&mut coordinator, Input::Timer(Timer::Deadline)), late);
}

/// A handoff after these changes.
fn moving(changes: &[Change]) -> Record {
    moving_in(Mode::Handoff, changes)
}

fn moving_in(mode: Mode, changes: &[Change]) -> Record {
    let served = Record::first(Placement::new(NodeId(1), StartId(1)));
    let target = Placement::new(NodeId(2), StartId(2));
    let open = Change::Open { mode, target };
    let changes = [Change::Serve(([127, 0, 0, 1], 80).into()), open].into_iter().chain(changes.to_vec());
    changes.fold(served, |record, change| record.apply(&change, Proposer::Coordinator).unwrap())
}

/// What a coordinator that finds this record, and hears this, swaps.
fn swapped(record: &Record, heard: Vec<FromAgent>) -> Option<Change> {
    let mut coordinator = Coordinator::default();
    let mut effects = Vec::new();
    let recovered = Input::Recovered(record.clone());
    coordinator.step(&setting(), recovered, StartId(3), &mut effects);
    for message in heard {
        coordinator.step(&setting(), Input::Agent(NodeId(1), message), StartId(3), &mut effects);
    }
    let swap = effects.into_iter().find(|effect| matches!(effect, Effect::Swap { .. }));
    if let Some(Effect::Swap { change, .. }) = swap { Some(change) } else { None }
}

/// What a coordinator swaps when it hears this.
fn hears(coordinator: &mut Coordinator, input: Input) -> Option<Change> {
    let mut effects = Vec::new();
    coordinator.step(&setting(), input, StartId(3), &mut effects);
    effects
        .into_iter()
        .find_map(|effect| if let Effect::Swap { change, .. } = effect { Some(change) } else { None })
}

fn holds(digest: &[u8]) -> Sealed {
    Sealed { position: 7, digest: digest.to_vec() }
}

#[test]
fn digests_that_differ_end_the_move() {
    let record = moving(&[Change::Seal]);
    let operation = record.last_operation;
    let proof = |sealed: &[u8], held: &[u8], stated: &[u8]| {
        vec![
            FromAgent::Sealed { operation, sealed: holds(sealed) },
            FromAgent::Loaded { operation, held: holds(held), stated: holds(stated) },
        ]
    };
    let (one, other) = ([1; 16], [2; 16]);
    assert_eq!(swapped(&record, proof(&one, &one, &one)), Some(Change::Commit));
    let differs = Some(Change::RollBack(Cause::DigestMismatch));
    assert_eq!(swapped(&record, proof(&one, &other, &one)), differs, "what was loaded");
    assert_eq!(swapped(&record, proof(&other, &one, &one)), differs, "what was sealed");
    assert_eq!(swapped(&record, proof(&[], &[], &[])), differs, "an empty digest proves nothing");
}

#[test]
fn a_source_that_lives_has_to_say_itself_that_it_is_sealed() {
    let record = moving(&[Change::Seal]);
    let (operation, order) = (record.last_operation, record.order());
    let parked = |gateway| Input::Gateway(gateway, FromGateway::Obeyed { order, parks: true });
    let loaded = FromAgent::Loaded { operation, held: holds(&[1; 16]), stated: holds(&[1; 16]) };
    let sealed = |digest| FromAgent::Sealed { operation, sealed: holds(digest) };
    let in_the_end = |last: Input| {
        let mut coordinator = Coordinator::default();
        let mut swaps = |input| hears(&mut coordinator, input);
        let heard = Input::Agent(NodeId(2), loaded.clone());
        for input in [Input::Recovered(record.clone()), heard, parked(GatewayId(1)), parked(GatewayId(2))] {
            assert_eq!(swaps(input), None, "its gate may be open");
        }
        swaps(last)
    };
    assert_eq!(in_the_end(Input::Agent(NodeId(1), sealed(&[1; 16]))), Some(Change::Commit));
    let differs = Some(Change::RollBack(Cause::DigestMismatch));
    assert_eq!(in_the_end(Input::Agent(NodeId(1), sealed(&[2; 16]))), differs);
    assert_eq!(in_the_end(Input::Timer(Timer::Deadline)), None, "nobody said that the source lives");
}

#[test]
fn a_source_that_ends_its_stream_before_it_is_asked_to_seal_ends_the_move() {
    let served = moving(&[]).apply(&Change::RollBack(Cause::Cancelled), Proposer::Coordinator).unwrap();
    let served = served.apply(&Change::Close, Proposer::Coordinator).unwrap();
    let mut coordinator = Coordinator::default();
    let mut swaps = |input| hears(&mut coordinator, input);
    assert_eq!(swaps(Input::Recovered(served.clone())), None);
    let opened =
        swaps(Input::Command(Command::Move { to: NodeId(2), mode: Mode::Handoff, revision: None })).unwrap();
    let record = served.apply(&opened, Proposer::Coordinator).unwrap();
    let operation = record.last_operation;
    assert_eq!(swaps(Input::Swapped { record, applied: true }), None);
    let loaded = FromAgent::Loaded { operation, held: holds(&[1; 16]), stated: holds(&[1; 16]) };
    let early = Some(Change::RollBack(Cause::EndedEarly));
    assert_eq!(swaps(Input::Agent(NodeId(2), loaded)), early);
}

#[test]
fn an_update_opens_a_move_to_the_revision_that_is_asked_for_and_any_other_move_keeps_the_owners() {
    let mut served = Record::first(Placement::new(NodeId(1), StartId(1)).running(Revision(4)));
    served.served = Some(([127, 0, 0, 1], 80).into());
    let opened = |to, revision| {
        let mut coordinator = Coordinator::default();
        assert_eq!(hears(&mut coordinator, Input::Recovered(served.clone())), None);
        let command = Command::Move { to, mode: Mode::Restart, revision };
        hears(&mut coordinator, Input::Command(command))
    };
    let to = |node, revision| {
        let target = Placement::new(node, StartId(3)).running(revision);
        Some(Change::Open { mode: Mode::Restart, target })
    };
    let (here, there) = (NodeId(1), NodeId(2));
    assert_eq!(opened(here, Some(Revision(5))), to(here, Revision(5)));
    assert_eq!(opened(here, Some(Revision(2))), to(here, Revision(2)), "back to an older one");
    assert_eq!(opened(there, Some(Revision(5))), to(there, Revision(5)));
    assert_eq!(opened(there, None), to(there, Revision(4)));
    assert_eq!(opened(here, Some(Revision(4))), None, "it is there already");
}

#[test]
fn what_has_left_is_started_anew_as_the_revision_that_is_asked_for() {
    let mut gone = Record::first(Placement::new(NodeId(1), StartId(1)).running(Revision(4)));
    gone.gone = true;
    let mut coordinator = Coordinator::default();
    assert_eq!(hears(&mut coordinator, Input::Recovered(gone)), None);
    let command = Command::Start { to: NodeId(2), revision: Revision(5) };
    let place = Placement::new(NodeId(2), StartId(3)).running(Revision(5));
    assert_eq!(hears(&mut coordinator, Input::Command(command)), Some(Change::Start(place)));
}

#[test]
fn a_slow_target_that_may_have_the_only_copy_is_not_ended_before_the_commit_either() {
    let record = moving(&[Change::Seal]);
    let operation = record.last_operation;
    let mut coordinator = Coordinator::default();
    let mut swaps = |input| hears(&mut coordinator, input);
    let dead = Input::Agent(NodeId(1), FromAgent::Dead { start: StartId(1) });
    for input in [Input::Recovered(record), dead, Input::Timer(Timer::Deadline)] {
        assert_eq!(swaps(input), None);
    }
    let failed = FromAgent::Failed { operation, start: StartId(2) };
    assert_eq!(swaps(Input::Agent(NodeId(2), failed)), Some(Change::Restart { fresh: StartId(3) }));
}

#[test]
fn with_a_proved_target_and_a_dead_source_only_a_commit_follows() {
    let record = moving(&[Change::Seal]);
    let operation = record.last_operation;
    let dead = FromAgent::Dead { start: StartId(1) };
    let loaded = FromAgent::Loaded { operation, held: holds(&[1; 16]), stated: holds(&[1; 16]) };
    assert_eq!(swapped(&record, vec![dead.clone()]), None, "the target may still prove itself");
    assert_eq!(swapped(&record, vec![dead, loaded]), Some(Change::Commit));
}

#[test]
fn a_move_that_was_open_when_the_controller_died_is_off() {
    assert_eq!(swapped(&moving(&[]), vec![]), Some(Change::RollBack(Cause::Interrupted)));
}

#[test]
fn while_a_move_is_undone_that_never_sealed_gateways_that_ask_are_told_the_route() {
    let parks = |changes: &[Change]| {
        let mut coordinator = Coordinator::default();
        let mut effects = Vec::new();
        coordinator.step(&setting(), Input::Recovered(moving(changes)), StartId(3), &mut effects);
        let asked = Input::Gateway(GatewayId(1), FromGateway::Ask);
        coordinator.step(&setting(), asked, StartId(3), &mut effects);
        effects.iter().find_map(|effect| {
            if let Effect::Gateway(_, ToGateway::Table(table)) = effect { Some(table.parks) } else { None }
        })
    };
    let off = Change::RollBack(Cause::Cancelled);
    assert_eq!(parks(std::slice::from_ref(&off)), Some(false));
    assert_eq!(parks(&[Change::Seal, off]), Some(true), "its gate may be closed until it answers");
}

#[test]
fn nobody_is_told_of_an_abort_before_it_is_on_disk() {
    let mut coordinator = Coordinator::default();
    let recovered = Input::Recovered(moving(&[Change::Seal]));
    coordinator.step(&setting(), recovered, StartId(3), &mut Vec::new());
    let blocked = FromAgent::Blocked { operation: OperationNumber(1) };
    let mut effects = Vec::new();
    coordinator.step(&setting(), Input::Agent(NodeId(1), blocked), StartId(3), &mut effects);
    let tells = |effect: &Effect| matches!(effect, Effect::Agent(..) | Effect::Gateway(..));
    assert!(!effects.iter().any(tells), "{effects:?}");
    let undone = moving(&[Change::Seal, Change::RollBack(Cause::SealBlocked)]);
    let swaps = effects
        .iter()
        .any(|effect| matches!(effect, Effect::Swap { change: Change::RollBack(Cause::SealBlocked), .. }));
    assert!(swaps, "{effects:?}");
    coordinator.step(&setting(), Input::Swapped { record: undone, applied: true }, StartId(3), &mut effects);
    assert!(effects.iter().any(tells), "{effects:?}");
}

#[test]
fn a_source_that_is_stopped_has_its_own_budget() {
    for (mode, budget_ms) in [(Mode::Handoff, setting().seal_ms), (Mode::Restart, setting().stop_ms)] {
        let record = moving_in(mode, &[Change::Seal]);
        let order = record.order();
        let mut coordinator = Coordinator::default();
        let mut effects = Vec::new();
        let parked = |gateway| Input::Gateway(gateway, FromGateway::Obeyed { order, parks: true });
        for input in [Input::Recovered(record), parked(GatewayId(1)), parked(GatewayId(2))] {
            effects.clear();
            coordinator.step(&setting(), input, StartId(3), &mut effects);
        }
        assert_eq!(coordinator.phase(), Phase::Seal, "{mode:?}");
        assert!(effects.contains(&Effect::SetTimer(Timer::Deadline, budget_ms)), "{mode:?}: {effects:?}");
    }
}

#[test]
fn a_target_that_cannot_take_over_is_doomed_at_once() {
    let record = moving(&[Change::Seal, Change::Commit]);
    let failed = FromAgent::Failed { operation: record.last_operation, start: StartId(2) };
    assert_eq!(swapped(&record, vec![failed]), Some(Change::Doom));
}

#[test]
fn a_target_that_takes_too_long_is_doomed_unless_it_has_the_only_copy() {
    let record = moving(&[Change::Seal, Change::Commit]);
    let after_the_budget = |heard: Vec<FromAgent>| {
        let mut coordinator = Coordinator::default();
        let mut effects = Vec::new();
        let found = Input::Recovered(record.clone());
        let heard = heard.into_iter().map(|message| Input::Agent(NodeId(1), message));
        for input in [found, Input::Timer(Timer::Deadline)].into_iter().chain(heard) {
            coordinator.step(&setting(), input, StartId(3), &mut effects);
        }
        effects.iter().any(|effect| matches!(effect, Effect::Swap { change: Change::Doom, .. }))
    };
    assert!(after_the_budget(vec![FromAgent::Lives { start: StartId(1), order: record.order() }]));
    assert!(!after_the_budget(vec![]), "nobody said that its source lives");
    assert!(!after_the_budget(vec![FromAgent::Dead { start: StartId(1) }]), "nobody could be promoted");
}

#[test]
fn a_gateway_that_parks_while_a_move_is_undone_is_released_once_the_source_answers() {
    let record = moving(&[Change::Seal, Change::RollBack(Cause::Cancelled)]);
    let (operation, order) = (record.last_operation, record.order());
    let mut coordinator = Coordinator::default();
    let mut effects = Vec::new();
    let mut hears = |input| {
        effects.clear();
        coordinator.step(&setting(), input, StartId(3), &mut effects);
        (coordinator.phase(), effects.clone())
    };
    hears(Input::Recovered(record));
    for gateway in [GatewayId(1), GatewayId(2)] {
        hears(Input::Gateway(gateway, FromGateway::Obeyed { order, parks: true }));
    }
    let undone = FromAgent::Undone { operation, start: StartId(1) };
    let (phase, effects) = hears(Input::Agent(NodeId(1), undone));
    assert_eq!(phase, Phase::Release);
    let released =
        |effect: &&Effect| matches!(effect, Effect::Gateway(_, ToGateway::Table(table)) if !table.parks);
    assert_eq!(effects.iter().filter(released).count(), 2, "{effects:?}");
}

#[test]
fn a_move_that_is_being_rolled_back_cannot_be_cancelled_and_is_not_called_committed() {
    let check = |changes: &[Change]| {
        let mut coordinator = Coordinator::default();
        let found = Input::Recovered(moving(changes));
        coordinator.step(&setting(), found, StartId(3), &mut Vec::new());
        coordinator.check(&setting(), Command::Cancel)
    };
    assert_eq!(check(&[Change::RollBack(Cause::Cancelled)]), Err(Refused::RolledBack));
    assert_eq!(check(&[Change::Seal, Change::Commit]), Err(Refused::Committed));
}

#[test]
fn what_was_loaded_while_the_seal_was_being_swapped_proves_nothing() {
    let setting = Setting { drain_ms: 0, ..setting() };
    let served = moving(&[Change::RollBack(Cause::Cancelled), Change::Close]);
    let mut coordinator = Coordinator::default();
    let mut swaps = |input| {
        let mut effects = Vec::new();
        coordinator.step(&setting, input, StartId(3), &mut effects);
        let change = |effect| if let Effect::Swap { change, .. } = effect { Some(change) } else { None };
        effects.into_iter().find_map(change)
    };
    let says = |message| Input::Agent(NodeId(1), message);
    let applied = |record: &Record| Input::Swapped { record: record.clone(), applied: true };
    swaps(Input::Recovered(served.clone()));
    let open =
        swaps(Input::Command(Command::Move { to: NodeId(2), mode: Mode::Handoff, revision: None })).unwrap();
    let open = served.apply(&open, Proposer::Coordinator).unwrap();
    let operation = open.last_operation;
    swaps(applied(&open));
    swaps(says(FromAgent::Offered { operation, offer: Offer::Accept }));
    swaps(says(FromAgent::Prepared { operation, start: StartId(3) }));
    let progress = crate::migration::message::Progress { predicted_pause_ms: 1, ..Default::default() };
    assert_eq!(swaps(says(FromAgent::Progressed { operation, progress })), Some(Change::Seal));
    // Nobody has asked the source to seal yet.
    let loaded = FromAgent::Loaded { operation, held: holds(&[1; 16]), stated: holds(&[1; 16]) };
    assert_eq!(swaps(says(loaded)), None);
    let sealing = open.apply(&Change::Seal, Proposer::Coordinator).unwrap();
    assert_eq!(swaps(applied(&sealing)), Some(Change::RollBack(Cause::EndedEarly)));
}
