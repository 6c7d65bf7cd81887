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
//!
//!            Leave           Depart           Gone             Start
//!   (none) ────────▶ draining ───────▶ leaving ──────▶ (gone) ─────────▶ (none)
//!                       │ Return
//!                       ▼         Close
//!                    returning ───────────▶ (none)
//!
//!            Resize           Resized, Keep
//!   (none) ─────────▶ resizing ──────────────▶ (none)
//! ```
//!
//! `Restart` replaces a process that is proved dead; an agent may propose it with no operation open, or in `open` and
//! `resizing` (which cancels the operation), `retire`, `undo` and `returning`. From `sealing` to `served` only the coordinator swaps. `Replace` puts
//! a new process on another node in the place of an owner whose node a person gave up: with no operation open, or in
//! `retire`, `undo`, `returning` and `resizing`. `Depart` and `Return` race: whoever is swapped first decides whether the
//! instance is stopped or serves on. An instance that is `gone` keeps its numbers, and nobody owns it.

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
    /// A leave: nothing new goes to the owner, which finishes what it has. It may still be called back.
    Draining,
    /// The owner had nothing left, or is dead: it is to be ended. **The point of no return** of a leave.
    Leaving,
    /// The leave is off: the owner serves on, and is to hear that.
    Returning,
    /// The owner is to get another size.
    Resizing,
}

/// The open operation of an instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// It goes to another process.
    Move(Move),
    /// It is to be there no longer.
    Leave(Leave),
    /// It gets another size.
    Resize(Resize),
}

impl Operation {
    /// How far it has got.
    pub fn step(&self) -> Step {
        match self {
            Self::Move(moving) => moving.step,
            Self::Leave(leave) => leave.step,
            Self::Resize(_) => Step::Resizing,
        }
    }

    /// The move, if it is one.
    pub fn moving(&self) -> Option<&Move> {
        match self {
            Self::Move(moving) => Some(moving),
            Self::Leave(_) | Self::Resize(_) => None,
        }
    }
}

/// A leave: the instance is drained and ended, unless it is called back before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Leave {
    /// How far it has got.
    pub step: Step,
    /// The owner when the leave was opened.
    pub victim: Placement,
}

/// A resize: the limits of the owner change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resize {
    /// The size before; `None`: what the manifest says.
    pub from: Option<Size>,
    /// The size to be.
    pub to: Size,
}

/// How large an instance is: the limits that its agent enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Memory in KiB; `None`: unlimited.
    pub memory_kib: Option<u32>,
    /// Processor time in thousandths of one; `None`: unlimited.
    pub cpu_milli: Option<u32>,
}

impl Size {
    /// Whether anything of it is less than of `other`. Without a limit there is more than with any.
    pub fn is_less_somewhere(&self, other: &Self) -> bool {
        let less = |one: Option<u32>, other: Option<u32>| one.unwrap_or(u32::MAX) < other.unwrap_or(u32::MAX);
        less(self.memory_kib, other.memory_kib) || less(self.cpu_milli, other.cpu_milli)
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
    /// It left: nobody owns it, until it is started anew.
    #[serde(default)]
    pub gone: bool,
    /// Its size; `None`: what the manifest says.
    #[serde(default)]
    pub size: Option<Size>,
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
    /// Issues the next operation number for a leave of the owner.
    Leave,
    /// The owner has nothing left to do, or is dead: it will be ended.
    Depart,
    /// Ends the leave for the owner, which serves on.
    Return(Cause),
    /// The owner that left is dead: nobody owns the instance.
    Gone,
    /// A new process of an instance that is gone.
    Start(Placement),
    /// Issues the next operation number for a change of the owner's size.
    Resize(Size),
    /// The owner has its new size.
    Resized,
    /// The owner keeps the size it had.
    Keep(Cause),
}

impl Change {
    /// The process that is to be started because of it, under a start id never used before.
    pub fn started(&self) -> Option<StartId> {
        match self {
            Self::Open { target: place, .. } | Self::Replace(place) | Self::Start(place) => Some(place.start),
            Self::Restart { fresh } => Some(*fresh),
            Self::Seal
            | Self::Commit
            | Self::Serve(_)
            | Self::Doom
            | Self::RollBack(_)
            | Self::Promote
            | Self::Close
            | Self::Leave
            | Self::Depart
            | Self::Return(_)
            | Self::Gone
            | Self::Resize(_)
            | Self::Resized
            | Self::Keep(_) => None,
        }
    }
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
            gone: false,
            size: None,
        }
    }

    /// Its place among all records of this instance. Every legal change makes it greater.
    pub fn order(&self) -> RecordOrder {
        RecordOrder {
            operation: self.last_operation,
            incarnation: self.incarnation,
            step: match self.step() {
                Some(Step::Open | Step::Draining | Step::Resizing) => 0,
                Some(Step::Sealing) => 1,
                Some(Step::Switch) => 2,
                Some(Step::Doomed) => 3,
                Some(Step::Retire | Step::Leaving) => 4,
                Some(Step::Undo | Step::Returning) => 5,
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

    /// The open operation, if it is a leave.
    pub fn leave(&self) -> Option<&Leave> {
        match &self.operation {
            Some(Operation::Leave(leave)) => Some(leave),
            Some(Operation::Move(_) | Operation::Resize(_)) | None => None,
        }
    }

    /// The open operation, if it is a resize.
    pub fn resize(&self) -> Option<&Resize> {
        match &self.operation {
            Some(Operation::Resize(resize)) => Some(resize),
            Some(Operation::Move(_) | Operation::Leave(_)) | None => None,
        }
    }

    /// Whether a process owns the instance.
    pub fn is_owned_by(&self, start: StartId) -> bool {
        self.owner.start == start && !self.gone
    }

    /// Whether a process has a place in this record.
    pub fn names(&self, start: StartId) -> bool {
        self.is_owned_by(start)
            || self
                .moving()
                .is_some_and(|operation| operation.source.start == start || operation.target.start == start)
    }

    /// Whether an agent may replace a dead owner by itself.
    pub fn agent_may_restart(&self) -> bool {
        match self.step() {
            None => !self.gone,
            Some(Step::Open | Step::Retire | Step::Undo | Step::Returning | Step::Resizing) => true,
            Some(Step::Sealing | Step::Switch | Step::Doomed | Step::Draining | Step::Leaving) => false,
        }
    }

    /// Whether an owner whose node is lost can be replaced on another one: no step of a move decides who owns.
    pub fn is_replaceable(&self) -> bool {
        match self.step() {
            None => !self.gone,
            Some(Step::Retire | Step::Undo | Step::Returning | Step::Resizing) => true,
            Some(
                Step::Open | Step::Sealing | Step::Switch | Step::Doomed | Step::Draining | Step::Leaving,
            ) => false,
        }
    }

    /// Whether an agent that has never started the owner is to start it now. A staging process is never started
    /// (again) by the register's word: it was started by its operation, or it is dead.
    pub fn owner_is_to_be_started(&self) -> bool {
        match &self.operation {
            None => !self.gone,
            Some(Operation::Move(operation)) => match operation.step {
                Step::Open => false,
                Step::Switch => operation.mode == Mode::Restart,
                Step::Retire | Step::Undo => {
                    self.owner.start != operation.source.start && self.owner.start != operation.target.start
                }
                Step::Sealing
                | Step::Doomed
                | Step::Draining
                | Step::Leaving
                | Step::Returning
                | Step::Resizing => false,
            },
            Some(Operation::Leave(leave)) => {
                leave.step == Step::Returning && self.owner.start != leave.victim.start
            }
            Some(Operation::Resize(_)) => false,
        }
    }

    /// The compare-and-swap, without the store around it.
    ///
    /// # Errors
    /// [`Refusal::Stale`] if this is not the `expected` record; the others if the change is not legal.
    pub fn swap(&self, expected: &Self, change: &Change, proposer: Proposer) -> Result<Self, Refusal> {
        let same = self.incarnation == expected.incarnation
            && self.owner == expected.owner
            && self.served == expected.served
            && self.last_operation == expected.last_operation
            && self.operation == expected.operation
            && self.gone == expected.gone;
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
        if self.gone != matches!(change, Change::Start(_)) {
            return Err(Refusal::Step);
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
            (Change::Serve(address), None | Some(Step::Undo | Step::Retire | Step::Returning))
                if self.served.is_none() =>
            {
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
                    None | Some(Step::Retire | Step::Undo | Step::Returning) => {}
                    Some(Step::Resizing) => next.operation = None,
                    Some(Step::Open | Step::Sealing | Step::Switch | Step::Doomed) => {
                        // As what the source was: an update that is given up is undone.
                        let source = self.moving().ok_or(Refusal::Step)?.source;
                        next.owner = Placement { start: *fresh, ..source };
                        next.set_step(Step::Undo);
                    }
                    Some(Step::Draining | Step::Leaving) => return Err(Refusal::Step),
                }
            }
            (
                Change::Replace(owner),
                None | Some(Step::Retire | Step::Undo | Step::Returning | Step::Resizing),
            ) => {
                next.incarnation = self.incarnation.next();
                next.owner = *owner;
                next.served = None;
                if self.step() == Some(Step::Resizing) {
                    next.operation = None;
                }
            }
            (Change::Close, Some(Step::Retire | Step::Undo | Step::Returning)) => next.operation = None,
            (Change::Leave, None) => {
                next.last_operation = self.last_operation.next();
                next.operation = Some(Operation::Leave(Leave { step: Step::Draining, victim: self.owner }));
            }
            (Change::Depart, Some(Step::Draining)) => next.set_step(Step::Leaving),
            (Change::Return(_), Some(Step::Draining)) => next.set_step(Step::Returning),
            (Change::Gone, Some(Step::Leaving)) => {
                next.operation = None;
                next.served = None;
                next.gone = true;
            }
            (Change::Start(owner), None) => {
                next.incarnation = self.incarnation.next();
                next.owner = *owner;
                next.gone = false;
                next.size = None;
            }
            (Change::Resize(to), None) if self.served.is_some() => {
                next.last_operation = self.last_operation.next();
                next.operation = Some(Operation::Resize(Resize { from: self.size, to: *to }));
            }
            (Change::Resized, Some(Step::Resizing)) => {
                next.size = Some(self.resize().ok_or(Refusal::Step)?.to);
                next.operation = None;
            }
            (Change::Keep(_), Some(Step::Resizing)) => next.operation = None,
            (
                Change::Open { .. }
                | Change::Seal
                | Change::Commit
                | Change::Serve(_)
                | Change::Doom
                | Change::RollBack(_)
                | Change::Promote
                | Change::Replace(_)
                | Change::Close
                | Change::Leave
                | Change::Depart
                | Change::Return(_)
                | Change::Gone
                | Change::Start(_)
                | Change::Resize(_)
                | Change::Resized
                | Change::Keep(_),
                _,
            ) => return Err(Refusal::Step),
        }
        debug_assert!(next.order() > self.order(), "a change makes a record newer");
        Ok(next)
    }

    fn set_step(&mut self, step: Step) {
        match &mut self.operation {
            Some(Operation::Move(moving)) => moving.step = step,
            Some(Operation::Leave(leave)) => leave.step = step,
            Some(Operation::Resize(_)) | None => {}
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
}
