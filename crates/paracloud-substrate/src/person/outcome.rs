//! How an operation ended.

use crate::message::Note;
use crate::seen::Accounts;
use paracloud_core::ids::{NodeId, OperationNumber};
use paracloud_core::migration::Phase;
use paracloud_core::register::{Mode, Operation};
use serde::{Deserialize, Serialize};

/// Why such a move ended so; `cause`: why the target was given up, if it was and did not end by itself.
pub fn fell_back(cause: Option<&str>) -> String {
    let cause = cause.unwrap_or("the target's process ended before it had served");
    format!("{cause}; the process that was stopped for it was started again")
}

/// What an operation is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The instance goes to another process.
    #[default]
    Move,
    /// It is to be there no longer.
    Leave,
    /// It gets another size.
    Resize,
}

impl Kind {
    /// That of an operation.
    pub fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Move(_) => Self::Move,
            Operation::Leave(_) => Self::Leave,
            Operation::Resize(_) => Self::Resize,
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The instance.
    pub instance: String,
    /// The operation.
    pub operation: OperationNumber,
    /// What it was for.
    #[serde(default)]
    pub kind: Kind,
    /// How it was to be moved; of what is no move `handoff`.
    pub mode: Mode,
    /// It was committed: it moved, it left, it has its new size.
    pub committed: bool,
    /// It holds state, and what it held is lost: by consent in mode `restart` and with who left, with its process in mode
    /// `handoff`.
    pub state_lost: bool,
    /// Why not, in words; of a move that was committed, what was lost after it: the target's process died when it
    /// served, and was started anew.
    pub cause: Option<String>,
    /// It was given up for something that passes: the same may be done another time. Not known of what was put together
    /// from events.
    #[serde(default)]
    pub may_pass: bool,
    /// The last trouble that was told before the cause: who blocked a seal, what a side said, how a process ended. Of one that
    /// has left: how its process ended while it was drained.
    #[serde(default)]
    pub because: Option<Note>,
    /// Where the instance is now.
    pub node: NodeId,
    /// Its incarnation now.
    pub incarnation: u32,
    /// Each phase and how long it took, in microseconds.
    pub phases: Vec<(Phase, u64)>,
    /// From the command to the end, in milliseconds.
    pub total_ms: u64,
    /// Bytes that crossed the channel; `None`: not known, because the controller was restarted meanwhile.
    pub carried_bytes: Option<u64>,
    /// Requests that waited at gateways.
    pub parked: u32,
    /// Longest wait, in microseconds.
    pub parked_us_max: u64,
    /// Requests that gateways answered 502 or 503 themselves, and WebSocket messages that waited in vain.
    pub failed: u32,
    /// Those of `failed` that were uploads in progress.
    pub uploads_failed: u32,
    /// Replies in progress that ended before they were whole, and WebSockets whose clients read nothing.
    pub streams_cut: u32,
    /// WebSockets that gateways closed with 1012.
    pub websockets_closed: u32,
    /// Every gateway has said all that its clients saw; otherwise the figures of clients are what was heard of them.
    pub clients_known: bool,
}

impl Outcome {
    /// How the process ended of one that has left, if it did while it was drained and nobody had told it to.
    pub fn died(&self) -> Option<&str> {
        match &self.because {
            Some(Note::Ended { how, .. }) if self.kind == Kind::Leave && self.committed => Some(how),
            Some(_) | None => None,
        }
    }

    /// Takes in what gateways told.
    pub fn saw(&mut self, accounts: &Accounts) {
        let seen = accounts.seen();
        self.parked = seen.requests;
        self.parked_us_max = seen.parked_us_max;
        self.failed = seen.failed;
        self.uploads_failed = seen.uploads_failed;
        self.streams_cut = seen.streams_cut;
        self.websockets_closed = seen.websockets_closed;
    }
}
