//! `SetState`: what an application says of its own readiness, and of how able it is.

use crate::bounds;
use crate::invalid::{self, Invalid};
use crate::wire::{Message, wire_enum};
use serde::{Deserialize, Serialize};

wire_enum! {
    /// Whether the application wants requests, and how able it is.
    pub enum State {
        "STATE_UNSPECIFIED",
        /// It answers requests.
        Ready = "READY",
        /// It is alive and does not want requests.
        NotReady = "NOT_READY",
        /// It is leaving by its own decision.
        Stopping = "STOPPING",
        /// It will answer nothing for a stated time; then the state before holds again.
        Pausing = "PAUSING",
        /// It answers requests, slower than it will, for a stated time; then it is ready.
        Cold = "COLD",
        /// It finishes what it has and wants nothing new.
        Draining = "DRAINING",
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
    /// With [`State::Pausing`]: milliseconds until the pause begins, at most [`bounds::PAUSE_MS_MAX`]; 0: now.
    pub in_ms: u32,
    /// With [`State::Pausing`]: how long it lasts, in milliseconds: 1 to [`bounds::PAUSE_MS_MAX`].
    pub for_ms: u32,
    /// With [`State::Cold`]: how long it is not fully able, in milliseconds: 1 to [`bounds::DURATION_MS_MAX`].
    pub warmup_ms: u32,
    /// With [`State::Cold`]: the share of its capacity that it has until then: 1000 is all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_permille: Option<u32>,
}

impl StateChange {
    /// To this state, and why. [`State::Pausing`] and [`State::Cold`] need their times beside it.
    pub fn to(state: State, message: &str) -> Self {
        Self { state, message: message.to_owned(), ..Self::default() }
    }
}

impl Message for StateChange {
    fn validate(&self) -> Result<(), Invalid> {
        invalid::known("state", &self.state)?;
        invalid::text("message", &self.message, bounds::MESSAGE_BYTES_MAX)?;
        let (pauses, is_cold) = (self.state == State::Pausing, self.state == State::Cold);
        let capacity = self.capacity_permille;
        invalid::in_place("inMs", pauses || self.in_ms == 0, "it goes with PAUSING")?;
        invalid::in_place("forMs", pauses || self.for_ms == 0, "it goes with PAUSING")?;
        invalid::in_place("warmupMs", is_cold || self.warmup_ms == 0, "it goes with COLD")?;
        invalid::in_place("capacityPermille", is_cold || capacity.is_none(), "it goes with COLD")?;
        if pauses {
            invalid::needed("forMs", self.for_ms)?;
        }
        if is_cold {
            invalid::needed("warmupMs", self.warmup_ms)?;
        }
        invalid::at_most("inMs", self.in_ms, bounds::PAUSE_MS_MAX)?;
        invalid::at_most("forMs", self.for_ms, bounds::PAUSE_MS_MAX)?;
        invalid::at_most("warmupMs", self.warmup_ms, bounds::DURATION_MS_MAX)?;
        invalid::at_most("capacityPermille", capacity.unwrap_or(0), bounds::PROGRESS_PERMILLE_MAX)
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
        let change = StateChange::to(State::NotReady, "warming up");
        let text = String::from_utf8(change.write()).unwrap();
        let stated = r#"{"state":"NOT_READY","message":"warming up","inMs":0,"forMs":0,"warmupMs":0}"#;
        assert_eq!(text, stated);
        assert_eq!(StateChange::read(&change.write()).unwrap(), change);
    }

    #[test]
    fn a_pause_and_a_warm_up_have_an_end_and_nothing_else_has_one() {
        for (body, field) in [
            (&br#"{"state":"PAUSING"}"#[..], "forMs"),
            (br#"{"state":"PAUSING","forMs":60001}"#, "forMs"),
            (br#"{"state":"PAUSING","inMs":60001,"forMs":1}"#, "inMs"),
            (br#"{"state":"PAUSING","forMs":1,"warmupMs":1}"#, "warmupMs"),
            (br#"{"state":"COLD"}"#, "warmupMs"),
            (br#"{"state":"COLD","warmupMs":86400001}"#, "warmupMs"),
            (br#"{"state":"COLD","warmupMs":1,"capacityPermille":1001}"#, "capacityPermille"),
            (br#"{"state":"READY","inMs":1}"#, "inMs"),
            (br#"{"state":"READY","capacityPermille":0}"#, "capacityPermille"),
        ] {
            let change = StateChange::decode(body).unwrap();
            assert_eq!(change.validate().unwrap_err().field, field, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_change_to_no_state_is_refused() {
        assert_eq!(
            StateChange::read(b"{}").unwrap_err().to_string(),
            "state: missing, want one of READY, NOT_READY, STOPPING, PAUSING, COLD, DRAINING"
        );
        assert_eq!(
            StateChange::read(br#"{"state":"READDY"}"#).unwrap_err().to_string(),
            "state: \"READDY\", want one of READY, NOT_READY, STOPPING, PAUSING, COLD, DRAINING"
        );
    }
}
