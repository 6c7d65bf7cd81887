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
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

mod change;
mod leave;
mod moving;
mod resize;

pub use change::{Change, Proposer, Refusal};
pub use leave::{Leave, LeaveStep};
pub use moving::{Mode, Move, MoveStep};
pub use resize::{Resize, Size};

/// How far an open operation of whatever kind has got, as far as it decides who owns.
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
            Self::Move(moving) => moving.step.into(),
            Self::Leave(leave) => leave.step.into(),
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
    /// Within the first step of a leave.
    #[serde(default)]
    again: u32,
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
            again: self
                .leave()
                .filter(|leave| leave.step == LeaveStep::Draining)
                .map_or(0, |leave| leave.again),
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
            Some(Operation::Move(moving)) => moving.owner_is_to_be_started(self.owner.start),
            Some(Operation::Leave(leave)) => leave.owner_is_to_be_started(self.owner.start),
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
        let next = match &self.operation {
            None => self.apply_at_rest(change)?,
            Some(Operation::Move(moving)) => moving.apply(self, change)?,
            Some(Operation::Leave(leave)) => leave.apply(self, change)?,
            Some(Operation::Resize(resize)) => resize.apply(self, change)?,
        };
        debug_assert!(next.order() > self.order(), "a change makes a record newer");
        Ok(next)
    }

    /// The record after `change`, with no operation open.
    fn apply_at_rest(&self, change: &Change) -> Result<Self, Refusal> {
        let mut next = self.clone();
        let mut open = |operation| {
            next.last_operation = self.last_operation.next();
            next.operation = Some(operation);
        };
        match change {
            Change::Open { mode, target } => open(Operation::Move(Move {
                mode: *mode,
                step: MoveStep::Open,
                base: self.incarnation,
                source: self.owner,
                source_address: self.served.ok_or(Refusal::Step)?,
                target: *target,
            })),
            Change::Leave => {
                open(Operation::Leave(Leave { step: LeaveStep::Draining, victim: self.owner, again: 0 }));
            }
            Change::Resize(to) if self.served.is_some() => {
                open(Operation::Resize(Resize { from: self.size, to: *to }));
            }
            Change::Serve(address) if self.served.is_none() => next.served = Some(*address),
            Change::Restart { fresh } => next.own_anew(Placement { start: *fresh, ..self.owner }),
            Change::Replace(owner) => next.own_anew(*owner),
            Change::Start(owner) => {
                next.own_anew(*owner);
                next.gone = false;
                next.size = None;
            }
            Change::Seal
            | Change::Commit
            | Change::Serve(_)
            | Change::Doom
            | Change::RollBack(_)
            | Change::Promote
            | Change::Close
            | Change::DrainAgain
            | Change::Depart
            | Change::Return(_)
            | Change::Gone
            | Change::Resize(_)
            | Change::Resized
            | Change::Keep(_) => return Err(Refusal::Step),
        }
        Ok(next)
    }

    /// Another process in the place of the owner, which has not served yet.
    fn own_anew(&mut self, owner: Placement) {
        self.incarnation = self.incarnation.next();
        self.owner = owner;
        self.served = None;
    }
}

#[cfg(test)]
mod tests;
