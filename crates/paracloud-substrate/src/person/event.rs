//! The journal, as a person reads it.

use crate::message::Note;
use crate::seen::Account;
use paracloud_core::ids::{NodeId, OperationNumber, Placement};
use paracloud_core::migration::Phase;
use paracloud_core::register::{Mode, MoveStep, Record};
use serde::{Deserialize, Serialize};

/// Whether what was stopped in a move by restart is started again, because what came after it did not serve: `change` made the
/// record after `before`.
pub fn falls_back(change: &str, before: &Record) -> bool {
    let undone = before.moving().filter(|it| matches!(it.step, MoveStep::Switch | MoveStep::Doomed));
    change == "restart" && undone.is_some_and(|it| it.mode == Mode::Restart)
}

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number; 0 if it is not kept (progress).
    pub number: u64,
    /// Milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The instance.
    pub instance: String,
    /// The operation, if it belongs to one.
    pub operation: Option<OperationNumber>,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The register changed: the change in a word (`commit`), and the record after it.
    Swapped {
        /// The change, and its cause if it has one.
        change: String,
        /// The record after it.
        record: Record,
    },
    /// A phase began.
    Entered(Phase),
    /// Something for people to know.
    Note(Note),
    /// How far a copy is.
    Progress(Progress),
    /// A move was asked for, and nothing was begun.
    Refused(Refusal),
    /// What an instance held is lost.
    StateLost {
        /// With what it went.
        by: Loss,
        /// Who consented to that.
        consent: Consent,
    },
    /// What clients saw at one gateway.
    Parked {
        /// The gateway.
        gateway: u32,
        /// What they saw, as far as it is known.
        #[serde(flatten)]
        account: Account,
    },
    /// An operation that ended has its outcome: what is told of it later is not in it.
    Concluded(Conclusion),
}

/// Why a move that was asked for was not begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Where it was to go; `None`: to any other node.
    pub to: Option<NodeId>,
    /// The person consented to losing the state.
    pub accept_loss: bool,
    /// The process that was asked; `None`: it was refused before anybody was.
    pub asked: Option<Placement>,
    /// A word for programs, as in [`Refused`](super::Refused).
    pub code: String,
    /// What is wrong, naming who.
    pub message: String,
    /// If its owner holds on to its place: until when, in milliseconds since 1970.
    pub held_until_unix_ms: Option<u64>,
    /// Refusals since the last one with an entry of its own that have none: who asks again and again fills no journal.
    pub unkept: u32,
}

/// With what the state of an instance went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// It was moved by restart.
    Restart,
    /// Its process died, and was started anew.
    Death,
    /// Its cloud was ended.
    Stop,
    /// It is in the manifest no more.
    Removal,
    /// A person gave its node up, and it was started anew on another one.
    Node,
    /// It left: there are fewer of its app.
    Leave,
}

/// Who consented to losing an instance's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// A person, with the very command.
    Person,
    /// The manifest, by `acceptLoss`.
    Manifest,
    /// Nobody: nobody was asked.
    Nobody,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes that crossed the channel.
    pub carried_bytes: u64,
    /// Bytes of state, as the application estimated.
    pub state_bytes: Option<u64>,
    /// Bytes a second, over the last second.
    pub rate_bytes_per_s: u64,
    /// Milliseconds until the copy is done, as far as known.
    pub eta_ms: Option<u64>,
    /// The pause if it came now, in milliseconds.
    pub predicted_pause_ms: Option<u32>,
}

/// What an outcome says that only whoever drove the operation can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conclusion {
    /// Bytes that crossed the channel; `None`: not known, because the controller was restarted meanwhile.
    pub carried_bytes: Option<u64>,
    /// Every gateway has said all that its clients saw.
    pub clients_known: bool,
}
