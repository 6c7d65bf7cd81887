//! The register: one record per instance, the only thing that says who owns.
//!
//! A record changes by compare-and-swap only, and only by the changes named in [`Change`]. Both the embedded store
//! and an engine's own store keep this record; [`Record::apply`] is the one place that says which change is legal
//! when, and for whom.
//!
//! ```text
//!            Open           Seal             Commit           Serve              Close
//!   (none) ───────▶ open ─────────▶ sealing ────────▶ switch ───────▶ retire ───────────▶ (none)
//!                    │                │                 │ Doom                              ▲
//!                    │ RollBack       │ RollBack        ▼           Promote                 │
//!                    │ Restart        │ Restart       doomed ──────────────▶ undo ─────────┘
//!                    └────────────────┴──────────────────────────────────────▲    Close
//! ```
//!
//! `Restart` replaces a process that is proved dead; an agent may propose it with no operation open, or in `open`
//! (which cancels the move), `retire` and `undo`. From `sealing` to `served` only the coordinator swaps. `Replace` puts
//! a new process on another node in the place of an owner whose node a person gave up: with no operation open, or in
//! `retire` and `undo`.

use crate::ids::{Incarnation, OperationNumber, Placement, StartId};
use crate::migration::cause::Cause;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

/// How an instance's state gets from source to target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// By the application's own hand, while it serves.
    Handoff,
    /// Not at all: the source is stopped, then the target is started.
    Restart,
}

/// How far an open operation has got, as far as it decides who owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Offer, prepare, copy: the source serves and nothing has happened.
    Open,
    /// The intent to seal (or, in mode `restart`, to stop) the source.
    Sealing,
    /// Committed: the target owns but has not served. **The point of no return.**
    Switch,
    /// The target is to be ended unserved, after which the source is promoted.
    Doomed,
    /// The target serves; the source is to be ended.
    Retire,
    /// The source owns on; the target is to be ended.
    Undo,
}

/// The open operation of an instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// It goes to another process.
    Move(Move),
}

impl Operation {
    /// How far it has got.
    pub fn step(&self) -> Step {
        match self {
            Self::Move(moving) => moving.step,
        }
    }

    /// The move, if it is one.
    pub fn moving(&self) -> Option<&Move> {
        match self {
            Self::Move(moving) => Some(moving),
        }
    }
}

/// A move: the instance goes from one process to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Move {
    /// How the state travels.
    pub mode: Mode,
    /// How far it has got.
    pub step: Step,
    /// The owner's incarnation when the operation was opened.
    pub base: Incarnation,
    /// Where the instance was when the operation was opened.
    pub source: Placement,
    /// Where the source listens.
    pub source_address: SocketAddr,
    /// Where the instance is to go: only this process may be committed.
    pub target: Placement,
}

impl Move {
    /// Whether the instance's state is lost if this process owns it at the end: it is none that the state was in or was
    /// handed to.
    pub fn loses_state(&self, owner: StartId) -> bool {
        let was_handed = self.mode == Mode::Handoff && owner == self.target.start;
        owner != self.source.start && !was_handed
    }
}

/// What the register holds of one instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Record {
    /// The owner's incarnation.
    pub incarnation: Incarnation,
    /// The owner.
    pub owner: Placement,
    /// Where the owner listens, once it answered ready. An owner without this has never served anybody.
    pub served: Option<SocketAddr>,
    /// The highest operation number ever issued for this instance.
    pub last_operation: OperationNumber,
    /// The operation with that number, if it is open.
    pub operation: Option<Operation>,
}

/// Orders all records an instance ever had: of two, the one with the greater order is the newer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordOrder {
    operation: OperationNumber,
    incarnation: Incarnation,
    step: u8,
    served: bool,
}

/// A change of a record. Each is one compare-and-swap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change {
    /// Issues the next operation number for a move to `target`.
    Open {
        /// How the state travels.
        mode: Mode,
        /// The process to be filled, under a start id never used before.
        target: Placement,
    },
    /// The source may be sealed (or stopped) from now on.
    Seal,
    /// source@e → target@e+1.
    Commit,
    /// The owner answered ready, here.
    Serve(SocketAddr),
    /// The target will be ended; it can no longer be served.
    Doom,
    /// Ends the move for the source: source@e → source@e+1 from `sealing`, unchanged from `open`.
    RollBack(Cause),
    /// target@e+1, dead and unserved → source@e+2, sealed and alive.
    Promote,
    /// The owner is dead: a new process in its place, on its node (on the source's, if a move was in the way).
    Restart {
        /// The new process.
        fresh: StartId,
    },
    /// The owner's node is lost by a person's word: a new process on another node, with nothing of what it held.
    Replace(Placement),
    /// Everybody concerned has heard the outcome.
    Close,
}

/// Who asks for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Proposer {
    /// An agent, for a process that died on its node.
    Agent,
    /// The coordinator of the open operation.
    Coordinator,
}

/// Why a change was refused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error,
)]
pub enum Refusal {
    /// The record is not (or no longer) the expected one.
    #[error("the record has changed: another swap came first")]
    Stale,
    /// The change is not possible at this step.
    #[error("this change is not possible at this step of the operation")]
    Step,
    /// The proposer may not do this now.
    #[error("from sealing to served only the coordinator restarts an instance")]
    Proposer,
}

impl Record {
    /// The record of an instance that is to be started for the first time.
    pub fn first(owner: Placement) -> Self {
        Self {
            incarnation: Incarnation(1),
            owner,
            served: None,
            last_operation: OperationNumber(0),
            operation: None,
        }
    }

    /// Its place among all records of this instance. Every legal change makes it greater.
    pub fn order(&self) -> RecordOrder {
        RecordOrder {
            operation: self.last_operation,
            incarnation: self.incarnation,
            step: match self.step() {
                Some(Step::Open) => 0,
                Some(Step::Sealing) => 1,
                Some(Step::Switch) => 2,
                Some(Step::Doomed) => 3,
                Some(Step::Retire) => 4,
                Some(Step::Undo) => 5,
                None => 6,
            },
            served: self.served.is_some(),
        }
    }

    /// The step of the open operation.
    pub fn step(&self) -> Option<Step> {
        self.operation.as_ref().map(Operation::step)
    }

    /// The open operation, if it is a move.
    pub fn moving(&self) -> Option<&Move> {
        self.operation.as_ref().and_then(Operation::moving)
    }

    /// Whether a process has a place in this record.
    pub fn names(&self, start: StartId) -> bool {
        self.owner.start == start
            || self
                .moving()
                .is_some_and(|operation| operation.source.start == start || operation.target.start == start)
    }

    /// Whether an agent may replace a dead owner by itself.
    pub fn agent_may_restart(&self) -> bool {
        match self.step() {
            None | Some(Step::Open | Step::Retire | Step::Undo) => true,
            Some(Step::Sealing | Step::Switch | Step::Doomed) => false,
        }
    }

    /// Whether an owner whose node is lost can be replaced on another one: no step of a move decides who owns.
    pub fn is_replaceable(&self) -> bool {
        match self.step() {
            None | Some(Step::Retire | Step::Undo) => true,
            Some(Step::Open | Step::Sealing | Step::Switch | Step::Doomed) => false,
        }
    }

    /// Whether an agent that has never started the owner is to start it now. A staging process is never started
    /// (again) by the register's word: it was started by its operation, or it is dead.
    pub fn owner_is_to_be_started(&self) -> bool {
        match &self.operation {
            None => true,
            Some(Operation::Move(operation)) => match operation.step {
                Step::Open => false,
                Step::Switch => operation.mode == Mode::Restart,
                Step::Sealing | Step::Doomed => false,
                Step::Retire | Step::Undo => {
                    self.owner.start != operation.source.start && self.owner.start != operation.target.start
                }
            },
        }
    }

    /// The compare-and-swap, without the store around it.
    ///
    /// # Errors
    /// [`Refusal::Stale`] if this is not the `expected` record; the others if the change is not legal.
    pub fn swap(&self, expected: &Self, change: &Change, proposer: Proposer) -> Result<Self, Refusal> {
        let same = self.incarnation == expected.incarnation
            && self.owner.start == expected.owner.start
            && self.owner.node == expected.owner.node
            && self.served == expected.served
            && self.last_operation == expected.last_operation
            && self.operation == expected.operation;
        if !same {
            return Err(Refusal::Stale);
        }
        self.apply(change, proposer)
    }

    /// The record after `change`.
    ///
    /// # Errors
    /// [`Refusal::Step`] and [`Refusal::Proposer`].
    pub fn apply(&self, change: &Change, proposer: Proposer) -> Result<Self, Refusal> {
        let restart = matches!(change, Change::Restart { .. });
        if proposer == Proposer::Agent && !(restart && self.agent_may_restart()) {
            return Err(Refusal::Proposer);
        }
        let mut next = self.clone();
        match (change, self.step()) {
            (Change::Open { mode, target }, None) => {
                let source_address = self.served.ok_or(Refusal::Step)?;
                next.last_operation = self.last_operation.next();
                next.operation = Some(Operation::Move(Move {
                    mode: *mode,
                    step: Step::Open,
                    base: self.incarnation,
                    source: self.owner,
                    source_address,
                    target: *target,
                }));
            }
            (Change::Seal, Some(Step::Open)) => next.set_step(Step::Sealing),
            (Change::Commit, Some(Step::Sealing)) => {
                next.owner = self.moving().ok_or(Refusal::Step)?.target;
                next.incarnation = self.incarnation.next();
                next.served = None;
                next.set_step(Step::Switch);
            }
            (Change::Serve(address), Some(Step::Switch)) if self.served.is_none() => {
                next.served = Some(*address);
                next.set_step(Step::Retire);
            }
            (Change::Serve(address), None | Some(Step::Undo | Step::Retire)) if self.served.is_none() => {
                next.served = Some(*address);
            }
            (Change::Doom, Some(Step::Switch)) if self.served.is_none() => next.set_step(Step::Doomed),
            (Change::RollBack(_), Some(Step::Open)) => next.set_step(Step::Undo),
            (Change::RollBack(_), Some(Step::Sealing)) => {
                next.incarnation = self.incarnation.next();
                next.set_step(Step::Undo);
            }
            (Change::Promote, Some(Step::Switch | Step::Doomed)) if self.served.is_none() => {
                let operation = self.moving().ok_or(Refusal::Step)?;
                next.owner = operation.source;
                next.served = Some(operation.source_address);
                next.incarnation = self.incarnation.next();
                next.set_step(Step::Undo);
            }
            (Change::Restart { fresh }, step) => {
                next.incarnation = self.incarnation.next();
                next.owner.start = *fresh;
                next.served = None;
                match step {
                    None | Some(Step::Retire | Step::Undo) => {}
                    Some(Step::Open | Step::Sealing | Step::Switch | Step::Doomed) => {
                        next.owner.node = self.moving().ok_or(Refusal::Step)?.source.node;
                        next.set_step(Step::Undo);
                    }
                }
            }
            (Change::Replace(owner), None | Some(Step::Retire | Step::Undo)) => {
                next.incarnation = self.incarnation.next();
                next.owner = *owner;
                next.served = None;
            }
            (Change::Close, Some(Step::Retire | Step::Undo)) => next.operation = None,
            (
                Change::Open { .. }
                | Change::Seal
                | Change::Commit
                | Change::Serve(_)
                | Change::Doom
                | Change::RollBack(_)
                | Change::Promote
                | Change::Replace(_)
                | Change::Close,
                _,
            ) => return Err(Refusal::Step),
        }
        debug_assert!(next.order() > self.order(), "a change makes a record newer");
        Ok(next)
    }

    fn set_step(&mut self, step: Step) {
        match &mut self.operation {
            Some(Operation::Move(moving)) => moving.step = step,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;

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
            assert_eq!(
                record.apply(&Change::Replace(ELSEWHERE), COORDINATOR),
                Err(Refusal::Step),
                "{record:?}"
            );
        }
    }

    #[test]
    fn nothing_is_committed_before_the_intent_to_seal() {
        assert_eq!(after(&[]).apply(&Change::Commit, COORDINATOR), Err(Refusal::Step));
        assert!(after(&[Change::Seal]).apply(&Change::Commit, COORDINATOR).is_ok());
    }
}
