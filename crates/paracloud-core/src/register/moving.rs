//! A move: the instance goes from one process to another.

use super::{Change, Operation, Record, Refusal, Step};
use crate::ids::{Incarnation, Placement, StartId};
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

/// How far a move has got, as far as it decides who owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MoveStep {
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

impl From<MoveStep> for Step {
    fn from(step: MoveStep) -> Self {
        match step {
            MoveStep::Open => Self::Open,
            MoveStep::Sealing => Self::Sealing,
            MoveStep::Switch => Self::Switch,
            MoveStep::Doomed => Self::Doomed,
            MoveStep::Retire => Self::Retire,
            MoveStep::Undo => Self::Undo,
        }
    }
}

/// An open move.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Move {
    /// How the state travels.
    pub mode: Mode,
    /// How far it has got.
    pub step: MoveStep,
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

    /// Whether an agent that has never started the owner is to start it now. Restarted in the middle of the move, it is
    /// neither of the two that the move started with.
    pub(super) fn owner_is_to_be_started(&self, owner: StartId) -> bool {
        match self.step {
            MoveStep::Open | MoveStep::Sealing | MoveStep::Doomed => false,
            MoveStep::Switch => self.mode == Mode::Restart,
            MoveStep::Retire | MoveStep::Undo => owner != self.source.start && owner != self.target.start,
        }
    }

    /// The record after a change of this move, its open operation.
    pub(super) fn apply(&self, record: &Record, change: &Change) -> Result<Record, Refusal> {
        let mut next = record.clone();
        let step = match (change, self.step) {
            (Change::Seal, MoveStep::Open) => MoveStep::Sealing,
            (Change::Commit, MoveStep::Sealing) => {
                next.owner = self.target;
                next.incarnation = record.incarnation.next();
                next.served = None;
                MoveStep::Switch
            }
            (Change::Serve(address), MoveStep::Switch | MoveStep::Undo | MoveStep::Retire)
                if record.served.is_none() =>
            {
                next.served = Some(*address);
                if self.step == MoveStep::Switch { MoveStep::Retire } else { self.step }
            }
            (Change::Doom, MoveStep::Switch) if record.served.is_none() => MoveStep::Doomed,
            (Change::RollBack(_), MoveStep::Open) => MoveStep::Undo,
            (Change::RollBack(_), MoveStep::Sealing) => {
                next.incarnation = record.incarnation.next();
                MoveStep::Undo
            }
            (Change::Promote, MoveStep::Switch | MoveStep::Doomed) if record.served.is_none() => {
                next.owner = self.source;
                next.served = Some(self.source_address);
                next.incarnation = record.incarnation.next();
                MoveStep::Undo
            }
            (Change::Restart { fresh }, MoveStep::Retire | MoveStep::Undo) => {
                next.own_anew(Placement { start: *fresh, ..record.owner });
                self.step
            }
            (Change::Restart { fresh }, _) => {
                // As what the source was: an update that is given up is undone.
                next.own_anew(Placement { start: *fresh, ..self.source });
                MoveStep::Undo
            }
            (Change::Replace(owner), MoveStep::Retire | MoveStep::Undo) => {
                next.own_anew(*owner);
                self.step
            }
            (Change::Close, MoveStep::Retire | MoveStep::Undo) => {
                next.operation = None;
                return Ok(next);
            }
            _ => return Err(Refusal::Step),
        };
        next.operation = Some(Operation::Move(Self { step, ..self.clone() }));
        Ok(next)
    }
}
