//! What may be asked of a record, by whom, and why it is refused.

use super::{Mode, Size};
use crate::ids::{Placement, StartId};
use crate::migration::cause::Cause;
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};

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
    /// A client of a session came after its gateway had said that none is left: each of them is asked anew.
    DrainAgain,
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
            | Self::DrainAgain
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
