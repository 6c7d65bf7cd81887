//! What becomes of the instances of an app that run something else than what counts.

use crate::person::{Outcome, Refused, Starting};
use paracloud_core::ids::StartId;
use serde::{Deserialize, Serialize};

/// The code of one that stays because the update of another one of its app failed.
pub const NOT_BEGUN: &str = "not_begun";

/// How instances are to be updated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Owners that were found to run something else, also where the register cannot know it: one that was started before
    /// whatever is started was to be started from something newer. Apps that have one of them are updated.
    pub outdated: Vec<StartId>,
    /// A person consents to losing what cannot be handed over.
    pub accept_loss: bool,
}

/// What became of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Updated {
    /// Its app.
    pub app: String,
    /// The instance.
    pub instance: String,
    /// How that ended.
    pub end: End,
}

/// How it ended with one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It was to get a new process where it is; that ended so.
    InPlace(Outcome),
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
    /// It is there no more by nothing that was done here.
    Left {
        /// How that is.
        why: String,
    },
    /// It is as it was.
    Stays(Refused),
}

impl Updated {
    /// Whether nothing of the instance runs something else any more.
    pub fn is_done(&self) -> bool {
        match &self.end {
            End::InPlace(outcome) => outcome.committed,
            End::Replaced { .. } | End::Left { .. } => true,
            End::Stays(_) => false,
        }
    }
}
