//! `Hold`: "leave me alone until …". It always expires.

use crate::bounds;
use crate::invalid::{self, Invalid, Problem};
use crate::names::HOLD_OPS;
use crate::wire::Message;
use serde::{Deserialize, Serialize};

/// `PUT /v1/holds/{key}`. Said again with the same key it replaces the one before; with `ttlMs` 0 it ends it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HoldRequest {
    /// Which hold. It stands in the path; in the body it may be left out.
    pub key: String,
    /// Kinds of operation held off ([`HOLD_OPS`]); empty means all.
    pub ops: Vec<String>,
    /// For how long, in milliseconds; 0 releases.
    pub ttl_ms: u32,
    /// Why, for people.
    pub reason: String,
}

impl HoldRequest {
    /// The request of this path and body: the path names the key, and a body that names another is refused.
    ///
    /// # Errors
    /// The body names another key.
    pub fn at(key: &str, mut body: Self) -> Result<Self, Invalid> {
        let same = body.key.is_empty() || body.key == key;
        invalid::in_place("key", same, "the path names another, and it may be left out")?;
        body.key = key.to_owned();
        Ok(body)
    }
}

impl Message for HoldRequest {
    /// The key may be absent here: the path names it.
    fn validate(&self) -> Result<(), Invalid> {
        if !self.key.is_empty() {
            invalid::name("key", &self.key, bounds::NAME_BYTES_MAX)?;
        }
        invalid::names("ops", &self.ops, bounds::HOLD_OPS_MAX)?;
        let is_known = |op: &&String| OPS.contains(&op.as_str());
        if let Some(other) = self.ops.iter().find(|op| !is_known(op)) {
            let problem = Problem::Unknown { came: Some(invalid::quoted(other)), known: OPS };
            return Err(Invalid::new("ops", problem));
        }
        invalid::at_most("ttlMs", self.ttl_ms, bounds::HOLD_MS_MAX)?;
        invalid::text("reason", &self.reason, bounds::MESSAGE_BYTES_MAX)
    }
}

/// The names of [`HOLD_OPS`].
const OPS: &[&str] = &{
    let mut names = [""; HOLD_OPS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = HOLD_OPS[at].0;
        at += 1;
    }
    names
};

/// What a hold was granted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HoldResponse {
    /// For how long it stands, in milliseconds from now: what was asked for or less; 0: not at all.
    pub granted_ttl_ms: u32,
    /// Why it is less than was asked for, for people.
    pub message: String,
}

impl Message for HoldResponse {
    fn validate(&self) -> Result<(), Invalid> {
        invalid::at_most("grantedTtlMs", self.granted_ttl_ms, bounds::HOLD_MS_MAX)?;
        invalid::text("message", &self.message, bounds::MESSAGE_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_without_end_is_refused() {
        let error = HoldRequest { ttl_ms: u32::MAX, ..HoldRequest::default() }.validate().unwrap_err();
        let problem = Problem::TooBig { value: u32::MAX, value_max: bounds::HOLD_MS_MAX };
        assert_eq!(error, Invalid { field: "ttlMs", problem });
    }

    #[test]
    fn the_path_names_the_key_and_the_body_may_not_differ() {
        let nameless = HoldRequest { ttl_ms: 5, ..HoldRequest::default() };
        assert_eq!(HoldRequest::at("payroll", nameless).unwrap().key, "payroll");
        let other = HoldRequest { key: "other".into(), ..HoldRequest::default() };
        assert_eq!(HoldRequest::at("payroll", other).unwrap_err().field, "key");
    }
}
