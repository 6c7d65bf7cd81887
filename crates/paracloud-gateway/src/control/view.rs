//! The table in force, as everybody sees it.

use paracloud_core::ids::StartId;
use paracloud_core::migration::gateway::Route;

/// The table in force, for those who are not asked about one request: tunnels, streams, slow bodies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// Nothing new is started.
    pub(crate) parks: bool,
    /// The instance leaves, or has left: what is new goes to another one.
    pub(crate) drains: bool,
    /// The instance is about to move: what is new goes to another one, where enough others are open.
    pub(crate) moves: bool,
    /// Where requests go.
    pub(crate) route: Option<Route>,
}

impl View {
    /// Whether the process that was sent to no longer is the one.
    pub(crate) fn has_left(&self, start: StartId) -> bool {
        self.is_gone() || self.route.is_some_and(|route| route.start != start)
    }

    /// Whether the instance is gone, or about to be, and does not come back by itself.
    pub(crate) fn is_gone(&self) -> bool {
        self.drains && self.route.is_none()
    }
}
