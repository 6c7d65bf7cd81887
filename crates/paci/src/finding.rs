//! What an application found or reached: the results that its answers carry.

use crate::bounds;
use crate::call::{Mode, Schema};
use crate::invalid::{self, Invalid};
use crate::proof::{self, Sealed};
use crate::size::Size;
use crate::wire::{Message, only_one, wire_enum};
use serde::{Deserialize, Deserializer, Serialize};

/// What an application found or reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Finding {
    /// `DONE` to `estimate`: what a move would cost.
    Estimate(MoveEstimate),
    /// To `prepare`: how far the copy has got.
    Copy(CopyProgress),
    /// `DONE` to `seal`: what the source holds.
    Sealed(Sealed),
    /// The target's `DONE` to `prepare`: what it holds, and what the channel's end record stated.
    Loaded(Loaded),
    /// `FAILED` with code `SEAL_BLOCKED`: who kept the seal from completing. The gate stays closed.
    Blocked(Blocked),
    /// To `drain`: units of work not finished yet.
    InFlight(u32),
    /// `DONE` to `quote`: what losing this instance would cost now.
    Quote(RemovalQuote),
    /// To `resize`: with `DONE` what it fits into, with `REFUSE` what it could fit into.
    Fit(Size),
}

wire_enum! {
    /// Whether an instance would rather go or stay, where the figures do not decide.
    pub enum Preference {
        "PREFERENCE_UNSPECIFIED",
        /// Rather this one than another.
        Prefer = "PREFER",
        /// Rather another one.
        Avoid = "AVOID",
    }
}

/// What losing an instance would cost now. What is absent is unknown, never zero.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RemovalQuote {
    /// Work that would be lost or done again if it ended now, without being drained, in milliseconds of work, at most
    /// [`bounds::WORK_MS_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_ms: Option<u32>,
    /// How long draining would take, after which nothing would be lost, in milliseconds, at most
    /// [`bounds::DURATION_MS_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_ms: Option<u32>,
    /// State that only it holds and that would be lost with it, in KiB. 0: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_kib: Option<u32>,
    /// Sessions that only this instance can serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
    /// Whether it would rather go or stay; unspecified: it does not mind.
    #[serde(skip_serializing_if = "Preference::is_unspecified")]
    pub preference: Preference,
}

/// What a move would cost. What is absent is unknown, never zero.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MoveEstimate {
    /// Size of the state, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_kib: Option<u32>,
    /// How much of it could be dropped first, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shrinkable_kib: Option<u32>,
    /// How fast it changes, in KiB per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dirty_kib_per_s: Option<u32>,
    /// The pause it expects, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<u32>,
    /// How long after a start it is fully able, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_ms: Option<u32>,
    /// The modes it can be moved in, best first.
    pub modes: Vec<Mode>,
    /// The form in which its state travels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Schema>,
}

/// How far a copy has got. What is absent is unknown, never zero.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CopyProgress {
    /// Handed to the channel (source) or taken from it (target) so far, in KiB.
    pub sent_kib: u32,
    /// Records changed and not sent yet, or received and not loaded yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_records: Option<u32>,
    /// What a pause would last if it began now, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted_pause_ms: Option<u32>,
    /// Accepted, room reserved, channel joined.
    pub staged: bool,
}

/// What the target holds, and what the end record on the channel stated.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Loaded {
    /// Position of what it loaded.
    pub position: String,
    /// Digest that it computed over what it loaded.
    pub digest: String,
    /// Position in the end record.
    pub end_position: String,
    /// Digest in the end record.
    pub end_digest: String,
}

/// Who kept a seal from completing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Blocked {
    /// What the oldest guard is held for: a route, the name of a task.
    pub route: String,
    /// How long it has been held, in milliseconds.
    pub held_ms: u32,
}

impl Finding {
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        match self {
            Self::Estimate(estimate) => estimate.check(),
            Self::Copy(copy) => {
                let pause = copy.predicted_pause_ms.unwrap_or(0);
                invalid::at_most("copy.predictedPauseMs", pause, bounds::DURATION_MS_MAX)
            }
            Self::Sealed(sealed) => sealed.validate(),
            Self::Loaded(loaded) => loaded.held().and_then(|_| loaded.stated()).map(|_| ()),
            Self::Blocked(blocked) => invalid::needed_text("blocked.route", &blocked.route),
            Self::InFlight(_) => Ok(()),
            Self::Quote(quote) => quote.check(),
            Self::Fit(size) => size.check(["fit", "fit.memoryKib", "fit.cpuMillis"]),
        }
    }
}

impl RemovalQuote {
    fn check(&self) -> Result<(), Invalid> {
        invalid::at_most("quote.costMs", self.cost_ms.unwrap_or(0), bounds::WORK_MS_MAX)?;
        invalid::at_most("quote.drainMs", self.drain_ms.unwrap_or(0), bounds::DURATION_MS_MAX)
    }
}

impl MoveEstimate {
    fn check(&self) -> Result<(), Invalid> {
        let pause = self.pause_ms.unwrap_or(0);
        invalid::at_most("estimate.pauseMs", pause, bounds::DURATION_MS_MAX)?;
        let warmup = self.warmup_ms.unwrap_or(0);
        invalid::at_most("estimate.warmupMs", warmup, bounds::DURATION_MS_MAX)?;
        invalid::count("estimate.modes", self.modes.len(), bounds::MODES_MAX)?;
        self.schema.as_ref().map_or(Ok(()), |schema| schema.check("estimate.schema.name"))
    }
}

impl Loaded {
    /// States what the target computed and what the end record said.
    pub fn new(held: (u64, &[u8]), stated: (u64, &[u8])) -> Self {
        let (held, stated) = (Sealed::new(held.0, held.1), Sealed::new(stated.0, stated.1));
        Self {
            position: held.position,
            digest: held.digest,
            end_position: stated.position,
            end_digest: stated.digest,
        }
    }

    /// What the target computed over what it loaded.
    ///
    /// # Errors
    /// Position or digest is not well formed.
    pub fn held(&self) -> Result<(u64, Vec<u8>), Invalid> {
        Ok((
            proof::position("loaded.position", &self.position)?,
            proof::digest("loaded.digest", &self.digest)?,
        ))
    }

    /// What the end record said.
    ///
    /// # Errors
    /// Position or digest is not well formed.
    pub fn stated(&self) -> Result<(u64, Vec<u8>), Invalid> {
        Ok((
            proof::position("loaded.endPosition", &self.end_position)?,
            proof::digest("loaded.endDigest", &self.end_digest)?,
        ))
    }
}

pub(crate) fn only_one_finding<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Finding>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Findings {
        estimate: Option<MoveEstimate>,
        copy: Option<CopyProgress>,
        sealed: Option<Sealed>,
        loaded: Option<Loaded>,
        blocked: Option<Blocked>,
        in_flight: Option<u32>,
        quote: Option<RemovalQuote>,
        fit: Option<Size>,
    }
    let findings = Findings::deserialize(deserializer)?;
    only_one([
        ("estimate", findings.estimate.map(Finding::Estimate)),
        ("copy", findings.copy.map(Finding::Copy)),
        ("sealed", findings.sealed.map(Finding::Sealed)),
        ("loaded", findings.loaded.map(Finding::Loaded)),
        ("blocked", findings.blocked.map(Finding::Blocked)),
        ("inFlight", findings.in_flight.map(Finding::InFlight)),
        ("quote", findings.quote.map(Finding::Quote)),
        ("fit", findings.fit.map(Finding::Fit)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invalid::Problem;

    #[test]
    fn what_is_not_known_is_absent_and_not_zero() {
        let unknown = serde_json::to_string(&Finding::Estimate(MoveEstimate::default())).unwrap();
        assert_eq!(unknown, r#"{"estimate":{"modes":[]}}"#);
        let none = MoveEstimate { state_kib: Some(0), ..MoveEstimate::default() };
        assert_eq!(serde_json::to_string(&none).unwrap(), r#"{"stateKib":0,"modes":[]}"#);
    }

    #[test]
    fn an_estimate_names_at_most_so_many_modes() {
        let many =
            MoveEstimate { modes: vec![Mode::Handoff; bounds::MODES_MAX + 1], ..MoveEstimate::default() };
        let problem = Problem::TooMany { count: 9, count_max: 8 };
        assert_eq!(many.check(), Err(Invalid::new("estimate.modes", problem)));
    }

    #[test]
    fn both_statements_of_a_target_need_a_digest() {
        let held = (9, [1; 16]);
        let loaded = Loaded::new((held.0, &held.1), (9, &[]));
        assert_eq!(loaded.held().unwrap(), (9, vec![1; 16]));
        assert_eq!(Finding::Loaded(loaded).validate().unwrap_err().field, "loaded.endDigest");
    }
}
