//! What becomes of the instances of a node that is drained.

use crate::person::{Outcome, Refused, Starting};
use paracloud_core::ids::NodeId;
use paracloud_core::register::Mode;
use serde::{Deserialize, Serialize};

/// The most that leave a node at once.
pub const PARALLEL_MAX: u32 = 16;

/// How a node is to be drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// So many leave at once: 1 to [`PARALLEL_MAX`].
    pub parallel: u32,
    /// Who asks to be left alone is waited for until then, in milliseconds since 1970.
    pub until_unix_ms: u64,
    /// A person consents to losing what cannot be handed over.
    pub accept_loss: bool,
}

impl Terms {
    /// The same, with at least one that leaves and no more at once than may.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self { parallel: self.parallel.clamp(1, PARALLEL_MAX), ..self }
    }
}

/// What became of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drained {
    /// The instance.
    pub instance: String,
    /// Where it was to go.
    pub to: NodeId,
    /// How that ended.
    pub end: End,
}

/// How it ended with one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its move ended so.
    Moved(Outcome),
    /// It left, and another one serves.
    Replaced {
        /// The one that was started.
        by: Starting,
        /// How long that took, in milliseconds.
        took_ms: u64,
        /// How its process ended while it was drained, if it did.
        #[serde(default)]
        died: Option<String>,
    },
    /// It is not on the node any more by nothing that was done here.
    Left {
        /// How that is.
        why: String,
    },
    /// In a rehearsal: nothing stands in its way.
    CanGo {
        /// How it would be moved; `None`: it would be replaced.
        mode: Option<Mode>,
        /// What it says of being replaced.
        says: Option<String>,
    },
    /// It is where it was.
    Stays(Refused),
}

impl Drained {
    /// Whether the instance is not on the node any more.
    pub fn is_gone(&self) -> bool {
        match &self.end {
            End::Moved(outcome) => outcome.committed,
            End::Replaced { .. } | End::Left { .. } => true,
            End::CanGo { .. } | End::Stays(_) => false,
        }
    }
}
