//! `Announce`: what demand is coming. It always ends.

use crate::bounds;
use crate::invalid::{self, Invalid};
use crate::report::{name_if_any, unit};
use crate::wire::Message;
use serde::{Deserialize, Serialize};

/// `PUT /v1/announcements/{id}`. Said again with the same id it replaces the one before; with no demand, or for no time,
/// it revokes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AnnounceRequest {
    /// Which announcement. It stands in the path; in the body it may be left out. The same id means the same event,
    /// whichever instance of the app says it.
    pub id: String,
    /// When it begins, in milliseconds from receipt, at most [`bounds::DURATION_MS_MAX`].
    pub begins_in_ms: u32,
    /// How long it lasts, in milliseconds, at most [`bounds::DURATION_MS_MAX`]; 0 revokes it.
    pub lasts_ms: u32,
    /// The demand on all instances of the app together in that time, in thousandths of a unit of work per second; 0
    /// revokes it.
    pub demand_milli_per_s: u32,
    /// What one unit of work is called; empty stands for [`crate::report::WORK_UNIT`].
    pub work_unit: String,
    /// How sure it is: 1000 is certain. `None`: unknown, and taken for 500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence_permille: Option<u32>,
    /// Why, for people.
    pub reason: String,
}

impl AnnounceRequest {
    /// The request of this path and body: the path names the id, and a body that names another is refused.
    ///
    /// # Errors
    /// The body names another id.
    pub fn at(id: &str, mut body: Self) -> Result<Self, Invalid> {
        let same = body.id.is_empty() || body.id == id;
        invalid::in_place("id", same, "the path names another, and it may be left out")?;
        body.id = id.to_owned();
        Ok(body)
    }

    /// Whether it takes back what was announced.
    pub const fn revokes(&self) -> bool {
        self.lasts_ms == 0 || self.demand_milli_per_s == 0
    }

    /// When it is over, in milliseconds from receipt.
    pub const fn ends_in_ms(&self) -> u32 {
        self.begins_in_ms.saturating_add(self.lasts_ms)
    }

    /// What one unit of work is called.
    pub fn unit(&self) -> &str {
        unit(&self.work_unit)
    }
}

impl Message for AnnounceRequest {
    /// The id may be absent here: the path names it.
    fn validate(&self) -> Result<(), Invalid> {
        name_if_any("id", &self.id)?;
        invalid::at_most("beginsInMs", self.begins_in_ms, bounds::DURATION_MS_MAX)?;
        invalid::at_most("lastsMs", self.lasts_ms, bounds::DURATION_MS_MAX)?;
        name_if_any("workUnit", &self.work_unit)?;
        let confidence = self.confidence_permille.unwrap_or(0);
        invalid::at_most("confidencePermille", confidence, bounds::PROGRESS_PERMILLE_MAX)?;
        invalid::text("reason", &self.reason, bounds::MESSAGE_BYTES_MAX)
    }
}

/// What became of an announcement.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AnnounceResponse {
    /// It stands until its end. `false`: it was revoked, or is not taken, and then the message says why.
    pub stands: bool,
    /// Why it does not stand although it was not revoked, for people.
    pub message: String,
}

impl Message for AnnounceResponse {
    fn validate(&self) -> Result<(), Invalid> {
        invalid::text("message", &self.message, bounds::MESSAGE_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_demand_and_no_time_each_revoke() {
        let sale = AnnounceRequest { lasts_ms: 1, demand_milli_per_s: 1, ..AnnounceRequest::default() };
        assert!(!sale.revokes());
        assert!(AnnounceRequest { lasts_ms: 0, ..sale.clone() }.revokes());
        assert!(AnnounceRequest { demand_milli_per_s: 0, ..sale }.revokes());
        assert!(AnnounceRequest::default().revokes());
    }

    #[test]
    fn the_path_names_the_id_and_the_body_may_not_differ() {
        let named = AnnounceRequest::at("sale", AnnounceRequest::default()).unwrap();
        assert_eq!(named.id, "sale");
        assert_eq!(AnnounceRequest::at("other", named).unwrap_err().field, "id");
    }
}
