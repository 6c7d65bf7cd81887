//! What a record means for one process: the upcall it has to be told, if any.
//!
//! This is the whole of what an agent decides about a move after it was prepared. It is a function of the record,
//! so a restarted agent, or one that missed messages, needs nothing but the record to go on.

use crate::ids::{Incarnation, OperationNumber, StartId};
use crate::register::{Mode, Record, Step};
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
    let operation = record.moving()?;
    if operation.mode == Mode::Restart {
        return None;
    }
    let number = record.last_operation;
    let Incarnation(incarnation) = record.incarnation;
    let call = match operation.step {
        Step::Sealing if start == operation.source.start => Call::Seal,
        // Asked again: has everything arrived?
        Step::Sealing if start == operation.target.start => Call::Prepare(Side::Target),
        Step::Switch if start == record.owner.start => {
            Call::Resume { incarnation, outcome: Outcome::Committed }
        }
        Step::Retire if start == record.owner.start && start == operation.target.start => {
            Call::Serve { incarnation }
        }
        Step::Undo if start == record.owner.start && start == operation.source.start => {
            if record.incarnation == operation.base {
                Call::Abort
            } else {
                Call::Resume { incarnation, outcome: Outcome::RolledBack }
            }
        }
        Step::Open | Step::Sealing | Step::Switch | Step::Doomed | Step::Retire | Step::Undo => return None,
    };
    Some(Duty { operation: number, call })
}

/// What `record` says of a process that says `Hello`.
pub fn standing(record: &Record, start: StartId) -> Standing {
    if start == record.owner.start {
        return Standing::Owner;
    }
    match record.moving() {
        Some(operation) if start == operation.target.start => match operation.step {
            Step::Open | Step::Sealing => Standing::Staging,
            Step::Switch | Step::Doomed | Step::Retire | Step::Undo => Standing::Outdated,
        },
        Some(_) | None => Standing::Outdated,
    }
}
