//! Who an application is: identity, standing and limits as the agent states them.

use crate::bounds;
use crate::invalid::{self, Invalid};
use crate::wire::{Message, wire_enum};
use serde::{Deserialize, Serialize};

wire_enum! {
    /// What the register says of a process.
    pub enum Standing {
        "STANDING_UNSPECIFIED",
        /// It may act for the instance.
        Owner = "OWNER",
        /// It is only being filled: it must not act outwardly.
        Staging = "STAGING",
        /// Another process owns the instance: it refuses everything.
        Outdated = "OUTDATED",
        /// The register could not be asked yet; say `Hello` again.
        Undecided = "UNDECIDED",
    }
}

/// Who the process is. It is known from the socket that was used, never from what a message claims.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Instance {
    /// The app's name in its manifest.
    pub app: String,
    /// The instance's id.
    pub id: String,
    /// Random id of this process; it never returns.
    pub start_id: String,
    /// Incarnation of the instance that this process is or, while it is staging, may become. 0: not known yet.
    pub incarnation: u32,
    /// The node it runs on.
    pub node: String,
    /// What runs it: `local`, `swarm`, `kubernetes`, `sim`.
    pub substrate: String,
}

impl Message for Instance {
    fn validate(&self) -> Result<(), Invalid> {
        invalid::needed_text("instance.app", &self.app)?;
        invalid::needed_text("instance.id", &self.id)?;
        invalid::needed_text("instance.startId", &self.start_id)?;
        invalid::needed_text("instance.node", &self.node)?;
        invalid::needed_text("instance.substrate", &self.substrate)
    }
}

/// The limits of this agent: none is looser than the bound of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// An upcall without any answer for this long is delivered again, in milliseconds.
    pub ack_ms: u32,
    /// An application at work answers `IN_PROGRESS` at least this often, in milliseconds.
    pub heartbeat_ms: u32,
    /// Longest wait of one `Next`, in milliseconds.
    pub wait_ms_max: u32,
    /// Longest time that a hold is granted, in milliseconds.
    pub hold_ms_max: u32,
    /// Holds at a time.
    pub holds_max: u32,
    /// Longest body of a request other than `Hello`, in bytes.
    pub body_bytes_max: u32,
}

impl Limits {
    /// The limits of an agent that grants all that the contract allows.
    pub const fn of_the_contract() -> Self {
        Self {
            ack_ms: bounds::ACK_MS,
            heartbeat_ms: bounds::HEARTBEAT_MS,
            wait_ms_max: bounds::WAIT_MS_MAX,
            hold_ms_max: bounds::HOLD_MS_MAX,
            holds_max: HOLDS_MAX,
            body_bytes_max: BODY_BYTES_MAX,
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "both bounds are far below 2^32")]
const HOLDS_MAX: u32 = bounds::HOLDS_MAX as u32;
#[expect(clippy::cast_possible_truncation, reason = "both bounds are far below 2^32")]
const BODY_BYTES_MAX: u32 = bounds::BODY_BYTES_MAX as u32;

impl Message for Limits {
    fn validate(&self) -> Result<(), Invalid> {
        for (field, value, value_max) in [
            ("limits.ackMs", self.ack_ms, bounds::DURATION_MS_MAX),
            ("limits.heartbeatMs", self.heartbeat_ms, bounds::DURATION_MS_MAX),
            ("limits.waitMsMax", self.wait_ms_max, bounds::WAIT_MS_MAX),
            ("limits.holdMsMax", self.hold_ms_max, bounds::HOLD_MS_MAX),
            ("limits.holdsMax", self.holds_max, HOLDS_MAX),
            ("limits.bodyBytesMax", self.body_bytes_max, BODY_BYTES_MAX),
        ] {
            invalid::needed(field, value)?;
            invalid::at_most(field, value, value_max)?;
        }
        Ok(())
    }
}

/// `GET /v1/instance`: nothing is asked beyond the path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DescribeRequest {}

impl Message for DescribeRequest {
    fn validate(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

/// The answer to `Describe`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DescribeResponse {
    /// Who the process is.
    pub instance: Instance,
    /// What the register says of it. It informs: only `Hello`, `Resume` and `Serve` change what a process may do.
    pub standing: Standing,
}

impl Message for DescribeResponse {
    fn validate(&self) -> Result<(), Invalid> {
        self.instance.validate()?;
        invalid::known("standing", &self.standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_own_limits_are_within_their_bounds() {
        assert_eq!(Limits::of_the_contract().validate(), Ok(()));
    }

    #[test]
    fn a_limit_looser_than_its_bound_is_refused() {
        let loose = Limits { hold_ms_max: bounds::HOLD_MS_MAX + 1, ..Limits::of_the_contract() };
        assert_eq!(loose.validate().unwrap_err().field, "limits.holdMsMax");
    }
}
