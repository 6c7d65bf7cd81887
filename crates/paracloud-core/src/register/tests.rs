use super::*;
use crate::ids::NodeId;
use crate::migration::cause::Cause;

const COORDINATOR: Proposer = Proposer::Coordinator;
const RESTART: Change = Change::Restart { fresh: StartId(3) };

const ELSEWHERE: Placement = Placement::new(NodeId(3), StartId(3));

fn address() -> SocketAddr {
    ([127, 0, 0, 1], 80).into()
}

/// An owner that serves.
fn served() -> Record {
    let first = Record::first(Placement::new(NodeId(1), StartId(1)));
    first.apply(&Change::Serve(address()), COORDINATOR).unwrap()
}

/// It, after these changes by the coordinator of a handoff.
fn after(changes: &[Change]) -> Record {
    let target = Placement::new(NodeId(2), StartId(2));
    let open = served().apply(&Change::Open { mode: Mode::Handoff, target }, COORDINATOR).unwrap();
    changes.iter().fold(open, |record, change| record.apply(change, COORDINATOR).unwrap())
}

#[test]
fn from_sealing_to_served_only_the_coordinator_restarts() {
    let serve = Change::Serve(address());
    let agents = [
        served(),
        after(&[]),
        after(&[Change::Seal, Change::Commit, serve]),
        after(&[Change::Seal, Change::RollBack(Cause::Cancelled)]),
    ];
    for record in agents {
        assert!(record.apply(&RESTART, Proposer::Agent).is_ok(), "{record:?}");
    }
    let coordinators = [
        after(&[Change::Seal]),
        after(&[Change::Seal, Change::Commit]),
        after(&[Change::Seal, Change::Commit, Change::Doom]),
    ];
    for record in coordinators {
        assert_eq!(record.apply(&RESTART, Proposer::Agent), Err(Refusal::Proposer), "{record:?}");
        assert!(record.apply(&RESTART, COORDINATOR).is_ok(), "{record:?}");
    }
}

#[test]
fn an_agent_may_propose_nothing_but_a_restart() {
    let serve = Change::Serve(address());
    let legal = [
        (after(&[]), Change::Seal),
        (after(&[]), Change::RollBack(Cause::Cancelled)),
        (after(&[Change::Seal]), Change::Commit),
        (after(&[Change::Seal, Change::Commit]), serve.clone()),
        (after(&[Change::Seal, Change::Commit]), Change::Doom),
        (after(&[Change::Seal, Change::Commit, Change::Doom]), Change::Promote),
        (after(&[Change::Seal, Change::Commit, serve.clone()]), Change::Replace(ELSEWHERE)),
        (after(&[Change::Seal, Change::Commit, serve]), Change::Close),
    ];
    for (record, change) in legal {
        assert!(record.apply(&change, COORDINATOR).is_ok(), "{change:?}");
        assert_eq!(record.apply(&change, Proposer::Agent), Err(Refusal::Proposer), "{change:?}");
    }
}

#[test]
fn what_has_served_is_never_promoted_away() {
    let record = after(&[Change::Seal, Change::Commit, Change::Serve(address())]);
    assert_eq!(record.apply(&Change::Promote, COORDINATOR), Err(Refusal::Step));
    assert_eq!(record.apply(&Change::Doom, COORDINATOR), Err(Refusal::Step));
}

#[test]
fn an_owner_is_replaced_on_another_node_only_where_no_step_of_a_move_decides_who_owns() {
    let serve = Change::Serve(address());
    let settled = [
        served(),
        after(&[Change::Seal, Change::Commit, serve]),
        after(&[Change::RollBack(Cause::SourceDied)]),
    ];
    for record in settled {
        let replaced = record.apply(&Change::Replace(ELSEWHERE), COORDINATOR).unwrap();
        assert_eq!((replaced.owner, replaced.served), (ELSEWHERE, None));
        assert_eq!(replaced.incarnation, record.incarnation.next());
        assert!(replaced.owner_is_to_be_started(), "{replaced:?}");
    }
    let committed = after(&[Change::Seal, Change::Commit]);
    for record in [
        after(&[]),
        after(&[Change::Seal]),
        committed.clone(),
        committed.apply(&Change::Doom, COORDINATOR).unwrap(),
    ] {
        assert_eq!(record.apply(&Change::Replace(ELSEWHERE), COORDINATOR), Err(Refusal::Step), "{record:?}");
    }
}

fn leaving(changes: &[Change]) -> Record {
    changes.iter().fold(served(), |record, change| record.apply(change, COORDINATOR).unwrap())
}

#[test]
fn whether_an_instance_leaves_or_is_called_back_is_decided_by_the_first_swap() {
    let (depart, back) = (Change::Depart, Change::Return(Cause::Cancelled));
    for (first, second) in [(&depart, &back), (&back, &depart)] {
        let decided = leaving(&[Change::Leave, first.clone()]);
        assert_eq!(decided.apply(second, COORDINATOR), Err(Refusal::Step), "{decided:?}");
    }
}

#[test]
fn who_has_left_owns_nothing_and_only_a_start_brings_the_instance_back_under_a_greater_incarnation() {
    let gone = leaving(&[Change::Leave, Change::Depart, Change::Gone]);
    let old = gone.owner.start;
    assert!(gone.gone && gone.served.is_none() && !gone.names(old) && !gone.owner_is_to_be_started());
    let refused = [RESTART, Change::Leave, Change::Replace(ELSEWHERE), Change::Serve(address())];
    for change in refused {
        assert_eq!(gone.apply(&change, COORDINATOR), Err(Refusal::Step), "{change:?}");
    }
    assert_eq!(gone.apply(&RESTART, Proposer::Agent), Err(Refusal::Proposer));
    let started = gone.apply(&Change::Start(ELSEWHERE), COORDINATOR).unwrap();
    assert_eq!((started.owner, started.incarnation), (ELSEWHERE, gone.incarnation.next()));
    assert!(started.order() > gone.order() && started.owner_is_to_be_started());
    assert_eq!(started.apply(&Change::Start(ELSEWHERE), COORDINATOR), Err(Refusal::Step));
}

#[test]
fn who_is_drained_is_not_restarted_and_who_is_called_back_is() {
    let draining = leaving(&[Change::Leave]);
    assert_eq!(draining.apply(&RESTART, Proposer::Agent), Err(Refusal::Proposer));
    assert_eq!(draining.apply(&RESTART, COORDINATOR), Err(Refusal::Step));
    let returning = leaving(&[Change::Leave, Change::Return(Cause::Held)]);
    let restarted = returning.apply(&RESTART, Proposer::Agent).unwrap();
    assert!(restarted.owner_is_to_be_started());
    assert_eq!(restarted.apply(&Change::Close, COORDINATOR).unwrap().operation, None);
}

#[test]
fn a_size_is_the_new_one_only_when_the_owner_has_it() {
    let to = Size { memory_kib: Some(64), cpu_milli: None };
    let resizing = leaving(&[Change::Resize(to)]);
    assert_eq!(resizing.size, None);
    assert_eq!(resizing.apply(&Change::Keep(Cause::Cancelled), COORDINATOR).unwrap().size, None);
    assert_eq!(resizing.apply(&Change::Resized, COORDINATOR).unwrap().size, Some(to));
    let restarted = resizing.apply(&RESTART, Proposer::Agent).unwrap();
    assert_eq!((restarted.operation, restarted.size), (None, None));
}

#[test]
fn nothing_is_committed_before_the_intent_to_seal() {
    assert_eq!(after(&[]).apply(&Change::Commit, COORDINATOR), Err(Refusal::Step));
    assert!(after(&[Change::Seal]).apply(&Change::Commit, COORDINATOR).is_ok());
}
