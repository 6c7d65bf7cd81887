//! What became of an action that was decided: the line behind the decision in the log.

use paracloud_core::ids::OperationNumber;
use paracloud_core::scaling::Action;
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// The decision: what its observation has for now, in milliseconds.
    pub decided_ms: u64,
    /// What was to be done. Of several that are started each has a line of its own.
    pub action: Action,
    /// The instance that it was done to. `None`: to none, because it was refused.
    pub instance: Option<String>,
    /// The operation that was opened or ended by it, if one was.
    pub operation: Option<OperationNumber>,
    /// Why it was not done.
    pub refused: Option<String>,
}
