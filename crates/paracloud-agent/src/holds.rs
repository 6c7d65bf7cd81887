//! What an application asked to be left alone from. Every hold expires.

use paci::bounds;
use paci::error::{ErrorBody, ErrorCode};
use paci::hold::{HoldRequest, HoldResponse};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The holds of one process. Times are milliseconds since the machine began, so that they outlast the agent, and no clock that
/// is set makes one longer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Holds(BTreeMap<String, Hold>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Hold {
    ops: Vec<String>,
    until_boot_ms: u64,
    reason: String,
}

/// The time on the clock of holds, in milliseconds. It goes on while the machine sleeps.
pub(crate) fn now_boot_ms() -> u64 {
    let since = Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Holds {
    /// Grants, renews or releases.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub(crate) fn put(&mut self, request: HoldRequest, now_boot_ms: u64) -> Result<HoldResponse, ErrorBody> {
        self.0.retain(|_, hold| hold.until_boot_ms > now_boot_ms);
        if request.ttl_ms == 0 {
            self.0.remove(&request.key);
            return Ok(HoldResponse::default());
        }
        if self.0.len() >= bounds::HOLDS_MAX && !self.0.contains_key(&request.key) {
            let many = format!("{} holds stand already", self.0.len());
            return Err(ErrorBody::new(ErrorCode::HoldsFull, &many));
        }
        let until_boot_ms = now_boot_ms + u64::from(request.ttl_ms);
        self.0.insert(request.key, Hold { ops: request.ops, until_boot_ms, reason: request.reason });
        Ok(HoldResponse { granted_ttl_ms: request.ttl_ms, message: String::new() })
    }

    /// The longest that this kind of operation is held off, in milliseconds, and why.
    pub(crate) fn against(&self, op: &str, now_boot_ms: u64) -> Option<(u32, String)> {
        self.0
            .iter()
            .filter(|(_, hold)| hold.ops.is_empty() || hold.ops.iter().any(|held| held == op))
            .filter(|(_, hold)| hold.until_boot_ms > now_boot_ms)
            .max_by_key(|(_, hold)| hold.until_boot_ms)
            .map(|(key, hold)| {
                let remaining =
                    u32::try_from(hold.until_boot_ms - now_boot_ms).unwrap_or(bounds::HOLD_MS_MAX);
                let why =
                    if hold.reason.is_empty() { key.clone() } else { format!("{key}: {}", hold.reason) };
                (remaining.min(bounds::HOLD_MS_MAX), why)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &str, ops: &[&str], ttl_ms: u32) -> HoldRequest {
        let ops = ops.iter().map(|&op| op.to_owned()).collect();
        HoldRequest { key: key.to_owned(), ops, ttl_ms, reason: "month end".to_owned() }
    }

    #[test]
    fn a_hold_stands_until_it_expires_or_is_released() {
        let mut holds = Holds::default();
        holds.put(request("payroll", &["move"], 500), 1_000).unwrap();
        assert_eq!(holds.against("move", 1_200), Some((300, "payroll: month end".to_owned())));
        assert_eq!(holds.against("drain", 1_200), None);
        assert_eq!(holds.against("move", 1_500), None);
        holds.put(request("payroll", &[], 500), 1_400).unwrap();
        assert!(holds.against("drain", 1_500).is_some(), "none named means all");
        holds.put(request("payroll", &[], 0), 1_500).unwrap();
        assert_eq!(holds.against("move", 1_500), None);
    }

    #[test]
    fn one_hold_too_many_is_refused_and_an_expired_one_makes_room() {
        let mut holds = Holds::default();
        for number in 0..bounds::HOLDS_MAX {
            holds.put(request(&format!("k{number}"), &[], 500), 0).unwrap();
        }
        assert_eq!(holds.put(request("more", &[], 500), 0).unwrap_err().code, ErrorCode::HoldsFull);
        assert!(holds.put(request("k3", &[], 500), 0).is_ok(), "the same key replaces");
        assert!(holds.put(request("more", &[], 500), 500).is_ok());
    }
}
