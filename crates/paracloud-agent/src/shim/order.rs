//! What an agent and a shim say to each other: lines on the shim's socket.

use paracloud_core::migration::shim::{Generation, Order, Status};
use serde::{Deserialize, Serialize};

/// Agent → shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToShim {
    /// Which agent of the node.
    pub(crate) generation: Generation,
    /// What it orders.
    pub(crate) order: Order,
}

/// Shim → agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FromShim {
    /// How the process is.
    Status(Status),
    /// A newer agent was here.
    Superseded(Generation),
}
