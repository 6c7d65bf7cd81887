//! What the parties of a move say to each other.
//!
//! There are few messages because most of the talking is one thing said again: *this is what the register says*.
//! An agent derives from a record what each of its processes has to be told ([`super::duty`]), a gateway derives
//! where to send requests. A message that was lost is said again, one that came twice changes nothing, and an older
//! record is known by its order.

use super::cause::Unfit;
use super::gateway::Table;
use crate::ids::{Incarnation, OperationNumber, StartId};
use crate::register::{Mode, Record, RecordOrder};
use core::net::SocketAddr;
use paci::participant::{Sealed, Side};
use serde::{Deserialize, Serialize};

/// Coordinator → agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ToAgent {
    /// What the register says, persisted before this was sent.
    Own(Record),
    /// Ask the source what a move would cost.
    Estimate {
        /// The move.
        operation: OperationNumber,
        /// The source.
        start: StartId,
        /// How it is to be moved.
        mode: Mode,
    },
    /// Get one side ready. An agent of the target starts the process first.
    Prepare {
        /// The move.
        operation: OperationNumber,
        /// The process.
        start: StartId,
        /// Which side of the move it is.
        side: Side,
        /// How the state travels.
        mode: Mode,
    },
    /// Say whether the process lives: who may have all that is left of the state waits for nothing but that.
    Probe {
        /// The move.
        operation: OperationNumber,
        /// The process.
        start: StartId,
        /// The order of the record that it is asked for.
        order: RecordOrder,
    },
    /// End the process and prove it dead. A process that was never started is marked, so that it never will be.
    End {
        /// The move that ends it.
        operation: OperationNumber,
        /// The process.
        start: StartId,
        /// The order of the record that decided it: an agent that knows of a newer one in which the process owns
        /// refuses.
        order: RecordOrder,
    },
}

/// What the application says of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Offer {
    /// It can be moved.
    Accept,
    /// Not now: it holds on to its place for this long.
    Hold {
        /// Milliseconds until the hold expires.
        remaining_ms: u32,
    },
    /// Not in this way.
    Refuse,
}

/// How far a copy has got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Progress {
    /// KiB handed to the channel so far.
    pub sent_kib: u32,
    /// Records changed and not yet sent.
    pub remaining_records: u32,
    /// What a pause would last if it began now, in milliseconds.
    pub predicted_pause_ms: u32,
}

/// Agent → coordinator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FromAgent {
    /// What does the register say?
    Ask,
    /// The source's answer to `Estimate`.
    Offered {
        /// The move.
        operation: OperationNumber,
        /// What the application said.
        offer: Offer,
    },
    /// One side is ready.
    Prepared {
        /// The move.
        operation: OperationNumber,
        /// The process.
        start: StartId,
    },
    /// The source's copy.
    Progressed {
        /// The move.
        operation: OperationNumber,
        /// How far it got.
        progress: Progress,
    },
    /// The source's gate is closed, its guards ended, its last delta sent.
    Sealed {
        /// The move.
        operation: OperationNumber,
        /// What it holds.
        sealed: Sealed,
    },
    /// The source's gate is closed but a guard did not end.
    Blocked {
        /// The move.
        operation: OperationNumber,
    },
    /// The target loaded everything up to the end record.
    Loaded {
        /// The move.
        operation: OperationNumber,
        /// What the target computed.
        held: Sealed,
        /// What the end record said.
        stated: Sealed,
    },
    /// One side cannot go on with this move.
    Failed {
        /// The move.
        operation: OperationNumber,
        /// The process.
        start: StartId,
    },
    /// The owner answered ready under this incarnation.
    Ready {
        /// The process.
        start: StartId,
        /// Its incarnation.
        incarnation: Incarnation,
        /// Where it listens.
        address: SocketAddr,
    },
    /// The target's gate is open.
    Serving {
        /// The move.
        operation: OperationNumber,
        /// The process.
        start: StartId,
    },
    /// The source heard that the move is off, and serves.
    Undone {
        /// The move.
        operation: OperationNumber,
        /// The process.
        start: StartId,
    },
    /// The answer to `Probe`, if the process lives.
    Lives {
        /// The process.
        start: StartId,
        /// The order of the record that it was asked for.
        order: RecordOrder,
    },
    /// The application has nothing left to do, by a drain.
    Drained {
        /// The leave.
        operation: OperationNumber,
        /// The process.
        start: StartId,
    },
    /// The owner has its new size: its limits are set, and what it uses was measured to be below them.
    Resized {
        /// The resize.
        operation: OperationNumber,
        /// The process.
        start: StartId,
    },
    /// The owner keeps the size that it had.
    Unfit {
        /// The resize.
        operation: OperationNumber,
        /// The process.
        start: StartId,
        /// Why.
        why: Unfit,
    },
    /// The process is dead, proved by its shim; or it was never started and never will be.
    Dead {
        /// The process.
        start: StartId,
    },
    /// A restart by swap: replace the dead owner.
    Propose {
        /// The record the agent saw.
        expected: Record,
        /// The new process.
        fresh: StartId,
    },
}

/// Coordinator → gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ToGateway {
    /// Where the instance's requests go, and whether to park them.
    Table(Table),
    /// A park is near: uploads and streaming replies are to end. Answered when none is left.
    Leave {
        /// Order of the record that says so.
        order: RecordOrder,
    },
}

/// Gateway → coordinator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FromGateway {
    /// Where do requests go? (After a start, or after a refusal by a process that should have served.)
    Ask,
    /// The table with this order is in force. If it parks, nothing counted is outstanding any more.
    Obeyed {
        /// Order of the table.
        order: RecordOrder,
        /// Whether by it nothing new is started: it parks or drains.
        parks: bool,
    },
    /// No upload and no streaming reply is left; by a table that drains: nothing at all is, and nothing will be sent.
    Drained {
        /// Order of the record that asked for it.
        order: RecordOrder,
    },
    /// After `Drained`, by a table that drains: a request came of a session that lives there. It waits for a newer table.
    Wanted {
        /// Order of the table.
        order: RecordOrder,
    },
}
