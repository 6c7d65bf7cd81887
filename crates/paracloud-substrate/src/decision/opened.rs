//! What was begun on one instance by what a person's order was made into, or because the application asked for it: a line behind
//! the decision in the log.

use paracloud_core::ids::OperationNumber;
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// The decision: when it was made, in milliseconds since 1970; of an ask, what it has for now.
    pub decided_ms: u64,
    /// The instance.
    pub instance: String,
    /// The operation that was opened, or given up where one is called back. `None`: it was started.
    pub operation: Option<OperationNumber>,
    /// What kept it from being begun. `None`: nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hindrance: Option<Hindrance>,
}

/// What kept something from being begun on an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hindrance {
    /// Who, and why, in words.
    pub why: String,
    /// Until when a hold stands, in milliseconds since 1970. `None`: it was none.
    pub until_unix_ms: Option<u64>,
    /// Nobody waits for it any more: it stays.
    pub stays: bool,
}
