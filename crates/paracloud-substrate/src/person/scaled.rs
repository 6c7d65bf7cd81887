//! What a change of how many instances an app has comes to.

use paracloud_core::ids::{NodeId, OperationNumber};
use serde::{Deserialize, Serialize};

/// What a person's scaling does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaled {
    /// The app.
    pub app: String,
    /// Instances that it had.
    pub from: u32,
    /// Instances that it gets.
    pub to: u32,
    /// Those that are started, and where.
    pub starts: Vec<Starting>,
    /// Those that were leaving and are called back.
    #[serde(default)]
    pub called_back: Vec<String>,
    /// Those that leave, the cheapest first. Fewer than were to leave if there are no more that can.
    #[serde(default)]
    pub leaves: Vec<Leaving>,
    /// Every instance that was looked at because some are to leave, and what came of it.
    #[serde(default)]
    pub looked_at: Vec<Candidate>,
    /// Until when nobody else decides how many there are, in milliseconds since 1970; `None`: nothing was changed.
    pub until_unix_ms: Option<u64>,
}

/// An instance that is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starting {
    /// Its name.
    pub instance: String,
    /// The node.
    pub node: NodeId,
}

/// An instance that leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Its name.
    pub instance: String,
    /// The node.
    pub node: NodeId,
    /// The operation; `None`: nothing was begun.
    pub operation: Option<OperationNumber>,
    /// How long it says that it takes to drain, in milliseconds, if it said.
    pub drain_ms: Option<u32>,
}

/// An instance that was looked at because some are to leave. What is `None` is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name.
    pub instance: String,
    /// The node.
    pub node: Option<NodeId>,
    /// Work that would be lost if it ended now, in milliseconds, by its own word.
    pub cost_ms: Option<u32>,
    /// How long it takes to drain, in milliseconds, by its own word.
    pub drain_ms: Option<u32>,
    /// Sessions that only it can serve, by its own word.
    pub sessions: Option<u32>,
    /// What came of it.
    pub standing: Standing,
    /// Why, in words.
    pub why: String,
}

/// What came of an instance that was looked at because some are to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It leaves.
    Leaves,
    /// Losing it costs more than losing those that leave, or they come first for another reason.
    Stays,
    /// Others were asked first.
    NotAsked,
    /// It asks to be left alone.
    Held,
    /// It did not answer, or cannot be asked.
    Silent,
    /// It would lose state, and nobody consented to that.
    NeedsConsent,
    /// Another operation of it is open, or nothing can be decided about it.
    Busy,
}
