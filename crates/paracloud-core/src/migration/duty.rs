//! What a record means for one process: the upcall it has to be told, if any.
//!
//! This is the whole of what an agent decides about a move after it was prepared. It is a function of the record,
//! so a restarted agent, or one that missed messages, needs nothing but the record to go on.

use crate::ids::{Incarnation, OperationNumber, StartId};
use crate::register::{Leave, LeaveStep, Mode, Move, MoveStep, Operation, Record};
use paci::participant::{Call, Outcome, Side, Standing};
use serde::{Deserialize, Serialize};

/// What a process has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Duty {
    /// The operation it belongs to.
    pub operation: OperationNumber,
    /// The upcall.
    pub call: Call,
}

/// The upcall that `record` asks for at `start`.
pub fn duty(record: &Record, start: StartId) -> Option<Duty> {
    let call = match record.operation.as_ref()? {
        Operation::Move(moving) => of_move(record, moving, start),
        Operation::Leave(leave) => of_leave(record, leave, start),
        // What has to be done for it is not the application's alone.
        Operation::Resize(_) => None,
    };
    Some(Duty { operation: record.last_operation, call: call? })
}

fn of_leave(record: &Record, leave: &Leave, start: StartId) -> Option<Call> {
    let is_victim = start == leave.victim.start && record.is_owned_by(start);
    match leave.step {
        LeaveStep::Draining if is_victim => Some(Call::Drain),
        LeaveStep::Returning if is_victim => Some(Call::Abort),
        LeaveStep::Draining | LeaveStep::Returning | LeaveStep::Leaving => None,
    }
}

fn of_move(record: &Record, operation: &Move, start: StartId) -> Option<Call> {
    if operation.mode == Mode::Restart {
        return None;
    }
    let Incarnation(incarnation) = record.incarnation;
    Some(match operation.step {
        MoveStep::Sealing if start == operation.source.start => Call::Seal,
        // Asked again: has everything arrived?
        MoveStep::Sealing if start == operation.target.start => Call::Prepare(Side::Target),
        MoveStep::Switch if start == record.owner.start => {
            Call::Resume { incarnation, outcome: Outcome::Committed }
        }
        MoveStep::Retire if start == record.owner.start && start == operation.target.start => {
            Call::Serve { incarnation }
        }
        MoveStep::Undo if start == record.owner.start && start == operation.source.start => {
            if record.incarnation == operation.base {
                Call::Abort
            } else {
                Call::Resume { incarnation, outcome: Outcome::RolledBack }
            }
        }
        MoveStep::Open
        | MoveStep::Sealing
        | MoveStep::Switch
        | MoveStep::Doomed
        | MoveStep::Retire
        | MoveStep::Undo => return None,
    })
}

/// What `record` says of a process that says `Hello`.
pub fn standing(record: &Record, start: StartId) -> Standing {
    if record.is_owned_by(start) {
        return Standing::Owner;
    }
    match record.moving() {
        Some(operation) if start == operation.target.start => match operation.step {
            MoveStep::Open | MoveStep::Sealing => Standing::Staging,
            MoveStep::Switch | MoveStep::Doomed | MoveStep::Retire | MoveStep::Undo => Standing::Outdated,
        },
        Some(_) | None => Standing::Outdated,
    }
}
