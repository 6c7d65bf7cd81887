//! A resize: the limits of the owner change.

use super::{Change, Record, Refusal};
use crate::ids::Placement;
use serde::{Deserialize, Serialize};

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

/// An open resize.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resize {
    /// The size before; `None`: what the manifest says.
    pub from: Option<Size>,
    /// The size to be.
    pub to: Size,
}

impl Resize {
    /// The record after a change of this resize, its open operation. Each ends it.
    pub(super) fn apply(&self, record: &Record, change: &Change) -> Result<Record, Refusal> {
        let mut next = Record { operation: None, ..record.clone() };
        match change {
            Change::Resized => next.size = Some(self.to),
            Change::Keep(_) => {}
            Change::Restart { fresh } => next.own_anew(Placement { start: *fresh, ..record.owner }),
            Change::Replace(owner) => next.own_anew(*owner),
            Change::Open { .. }
            | Change::Seal
            | Change::Commit
            | Change::Serve(_)
            | Change::Doom
            | Change::RollBack(_)
            | Change::Promote
            | Change::Close
            | Change::Leave
            | Change::DrainAgain
            | Change::Depart
            | Change::Return(_)
            | Change::Gone
            | Change::Start(_)
            | Change::Resize(_) => return Err(Refusal::Step),
        }
        Ok(next)
    }
}
