//! What the clients do.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Requests outstanding at a time. What is due beyond it is not sent, and counts as offered.
pub const IN_FLIGHT_MAX: usize = 20_000;
/// Keys that a ledger keeps accounts of.
pub const KEYS_MAX: u32 = 16 * 1024 * 1024;
/// Writes of one request: the bound of the server.
pub const WRITES_MAX: u16 = 64;
/// Requests a second.
pub const REQUESTS_PER_S_MAX: u32 = 100_000;
/// WebSocket sessions.
pub const SOCKETS_MAX: u16 = 10_000;

/// See the module. Each field is checked by [`Config::validate`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where clients connect. Requests and sessions are spread evenly; what cannot be sent through one is sent through
    /// the next. At least one.
    pub gateways: Vec<SocketAddr>,
    /// Written are `k0` to the one before `k{keys}`, uniformly: 1 to [`KEYS_MAX`].
    pub keys: u32,
    /// At most [`REQUESTS_PER_S_MAX`]; 0: no requests.
    pub requests_per_s: u32,
    /// Writes in each request: 1 to [`WRITES_MAX`].
    pub writes_per_request: u16,
    /// Bytes of each value, random: at most 65536.
    pub value_bytes: u32,
    /// So many requests of a thousand carry an `Idempotency-Key`.
    pub keyed_permille: u16,
    /// So many of a thousand with a key are sent twice at once, through different gateways.
    pub twice_permille: u16,
    /// WebSocket sessions: at most [`SOCKETS_MAX`].
    pub sockets: u16,
    /// Each session sends a message every so many milliseconds: at least 1.
    pub socket_message_ms: u32,
    /// Seeds keys and values.
    pub seed: u64,
    /// Requests are kept until the next audit, so that it can be told who acknowledged what.
    pub keeps_requests: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            gateways: Vec::new(),
            keys: 1024,
            requests_per_s: 100,
            writes_per_request: 10,
            value_bytes: 1024,
            keyed_permille: 500,
            twice_permille: 10,
            sockets: 0,
            socket_message_ms: 100,
            seed: 0,
            keeps_requests: false,
        }
    }
}

/// A field of a [`Config`] breaks its bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {found}, want {want}")]
pub struct ConfigError {
    field: &'static str,
    found: u64,
    want: &'static str,
}

impl Config {
    /// Checks every bound.
    ///
    /// # Errors
    /// Names the first field that breaks its bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |field, found: u64, range: std::ops::RangeInclusive<u64>, want| {
            if range.contains(&found) { Ok(()) } else { Err(ConfigError { field, found, want }) }
        };
        check("gateways", self.gateways.len() as u64, 1..=64, "1 to 64 addresses")?;
        check("keys", self.keys.into(), 1..=KEYS_MAX.into(), "1 to 16777216")?;
        let requests = 0..=REQUESTS_PER_S_MAX.into();
        check("requests_per_s", self.requests_per_s.into(), requests, "at most 100000")?;
        check("writes_per_request", self.writes_per_request.into(), 1..=WRITES_MAX.into(), "1 to 64")?;
        check("value_bytes", self.value_bytes.into(), 0..=65_536, "at most 65536")?;
        check("keyed_permille", self.keyed_permille.into(), 0..=1_000, "at most 1000")?;
        check("twice_permille", self.twice_permille.into(), 0..=1_000, "at most 1000")?;
        check("sockets", self.sockets.into(), 0..=SOCKETS_MAX.into(), "at most 10000")?;
        check("socket_message_ms", self.socket_message_ms.into(), 1..=3_600_000, "1 to 3600000")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_out_of_bounds_is_named() {
        let config = Config { gateways: vec![([127, 0, 0, 1], 1).into()], ..Config::default() };
        assert_eq!(config.validate(), Ok(()));
        let error = Config { writes_per_request: 65, ..config }.validate().unwrap_err();
        assert_eq!(error.to_string(), "writes_per_request: 65, want 1 to 64");
        assert!(Config::default().validate().is_err(), "there is no gateway");
    }
}
