//! `SetState`: what an application says of its own readiness.

use crate::bounds;
use crate::invalid::{self, Invalid};
use crate::wire::{Message, wire_enum};
use serde::{Deserialize, Serialize};

wire_enum! {
    /// Whether the application wants requests.
    pub enum State {
        "STATE_UNSPECIFIED",
        /// It answers requests.
        Ready = "READY",
        /// It is alive and does not want requests.
        NotReady = "NOT_READY",
        /// It is leaving by its own decision.
        Stopping = "STOPPING",
    }
}

/// `PUT /v1/state`. The last one counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StateChange {
    /// The state from now on.
    pub state: State,
    /// Why, for people.
    pub message: String,
}

impl Message for StateChange {
    fn validate(&self) -> Result<(), Invalid> {
        invalid::known("state", &self.state)?;
        invalid::text("message", &self.message, bounds::MESSAGE_BYTES_MAX)
    }
}

/// The answer to a call that has nothing to tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ack {}

impl Message for Ack {
    fn validate(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_written_by_its_name() {
        let change = StateChange { state: State::NotReady, message: "warming up".into() };
        assert_eq!(change.write(), br#"{"state":"NOT_READY","message":"warming up"}"#);
        assert_eq!(StateChange::read(&change.write()).unwrap(), change);
    }

    #[test]
    fn a_change_to_no_state_is_refused() {
        assert_eq!(
            StateChange::read(b"{}").unwrap_err().to_string(),
            "state: no name that this version knows"
        );
    }
}
