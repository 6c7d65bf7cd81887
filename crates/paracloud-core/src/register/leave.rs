//! A leave: the instance is drained and ended, unless it is called back before.

use super::{Change, Operation, Record, Refusal, Step};
use crate::ids::{Placement, StartId};
use serde::{Deserialize, Serialize};

/// How far a leave has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveStep {
    /// Nothing new goes to the owner, which finishes what it has. It may still be called back.
    Draining,
    /// The owner had nothing left, or is dead: it is to be ended. **The point of no return.**
    Leaving,
    /// The leave is off: the owner serves on, and is to hear that.
    Returning,
}

impl From<LeaveStep> for Step {
    fn from(step: LeaveStep) -> Self {
        match step {
            LeaveStep::Draining => Self::Draining,
            LeaveStep::Leaving => Self::Leaving,
            LeaveStep::Returning => Self::Returning,
        }
    }
}

/// An open leave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Leave {
    /// How far it has got.
    pub step: LeaveStep,
    /// The owner when the leave was opened.
    pub victim: Placement,
    /// How often a session came back to it after a gateway had said that none is left.
    #[serde(default)]
    pub again: u32,
}

impl Leave {
    /// Whether an agent that has never started the owner is to start it now: it was restarted after it was called back.
    pub(super) fn owner_is_to_be_started(&self, owner: StartId) -> bool {
        self.step == LeaveStep::Returning && owner != self.victim.start
    }

    /// The record after a change of this leave, its open operation.
    pub(super) fn apply(&self, record: &Record, change: &Change) -> Result<Record, Refusal> {
        let mut next = record.clone();
        let at = |step| Some(Operation::Leave(Self { step, ..self.clone() }));
        match (change, self.step) {
            (Change::DrainAgain, LeaveStep::Draining) => {
                let again = self.again.checked_add(1).ok_or(Refusal::Step)?;
                next.operation = Some(Operation::Leave(Self { again, ..self.clone() }));
            }
            (Change::Depart, LeaveStep::Draining) => next.operation = at(LeaveStep::Leaving),
            (Change::Return(_), LeaveStep::Draining) => next.operation = at(LeaveStep::Returning),
            (Change::Gone, LeaveStep::Leaving) => {
                next.operation = None;
                next.served = None;
                next.gone = true;
            }
            (Change::Serve(address), LeaveStep::Returning) if record.served.is_none() => {
                next.served = Some(*address);
            }
            (Change::Restart { fresh }, LeaveStep::Returning) => {
                next.own_anew(Placement { start: *fresh, ..record.owner });
            }
            (Change::Replace(owner), LeaveStep::Returning) => next.own_anew(*owner),
            (Change::Close, LeaveStep::Returning) => next.operation = None,
            _ => return Err(Refusal::Step),
        }
        Ok(next)
    }
}
