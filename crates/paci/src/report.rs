//! `Report`: how much an application can do, and how much it has to do. It always expires.

use crate::bounds;
use crate::invalid::{self, Invalid};
use crate::wire::Message;
use serde::{Deserialize, Serialize};

/// What a unit of work is called when nothing else is said: what a gateway counts.
pub const WORK_UNIT: &str = "request";

/// `PUT /v1/report`. The last one counts, whole. What is absent is unknown, never zero.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// How long it counts, in milliseconds from receipt: 1 to [`bounds::REPORT_MS_MAX`].
    pub valid_for_ms: u32,
    /// What one unit of work is called; empty stands for [`WORK_UNIT`].
    pub work_unit: String,
    /// How much work this instance can do at its present size, warm, in thousandths of a unit per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_milli_per_s: Option<u32>,
    /// How many units it works on at the same time, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Units begun and not finished, whoever sent them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,
    /// Units accepted and not begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued: Option<u32>,
    /// The work in those that are not begun: the sum of the time that each takes when one of `concurrency` works on it, in
    /// milliseconds, at most [`bounds::WORK_MS_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog_ms: Option<u32>,
    /// How long the oldest that is not begun has waited, in milliseconds, at most [`bounds::DURATION_MS_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_wait_ms: Option<u32>,
    /// How far its tightest resource is used: 1000 is all of it, at most [`bounds::UTILISATION_PERMILLE_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilisation_permille: Option<u32>,
    /// Which resource that is; only beside `utilisation_permille`.
    pub tightest: String,
    /// How much of the load it should get beside an ordinary instance, which has 1000: at most
    /// [`bounds::WEIGHT_PERMILLE_MAX`]; 0: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_permille: Option<u32>,
    /// How long a new instance is not fully able once it is ready, in milliseconds, at most [`bounds::DURATION_MS_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_ms: Option<u32>,
    /// The share of its capacity that a new instance has until then: 1000 is all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_permille: Option<u32>,
    /// Sessions that only this instance can serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
    /// Figures of its own, at most [`bounds::METRICS_MAX`], each name once.
    pub metrics: Vec<Metric>,
}

/// A figure of the application's own. `cpu_utilization`, `mem_utilization`, `rps_fractional` and `eps` have the meaning
/// that ORCA gives them; the others travel as its `named_metrics`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metric {
    /// What it is called: a name.
    pub name: String,
    /// How much it is, in thousandths.
    pub value_milli: u32,
}

impl Report {
    /// What one unit of work is called.
    pub fn unit(&self) -> &str {
        unit(&self.work_unit)
    }
}

/// What one unit of work is called, where a message may leave it out.
pub(crate) fn unit(name: &str) -> &str {
    if name.is_empty() { WORK_UNIT } else { name }
}

/// A name that may be left out.
pub(crate) fn name_if_any(field: &'static str, name: &str) -> Result<(), Invalid> {
    if name.is_empty() { Ok(()) } else { invalid::name(field, name, bounds::NAME_BYTES_MAX) }
}

impl Message for Report {
    const BODY_BYTES_MAX: usize = bounds::REPORT_BODY_BYTES_MAX;

    fn validate(&self) -> Result<(), Invalid> {
        invalid::needed("validForMs", self.valid_for_ms)?;
        invalid::at_most("validForMs", self.valid_for_ms, bounds::REPORT_MS_MAX)?;
        name_if_any("workUnit", &self.work_unit)?;
        invalid::not_zero("concurrency", self.concurrency)?;
        for (field, value, value_max) in [
            ("backlogMs", self.backlog_ms, bounds::WORK_MS_MAX),
            ("oldestWaitMs", self.oldest_wait_ms, bounds::DURATION_MS_MAX),
            ("utilisationPermille", self.utilisation_permille, bounds::UTILISATION_PERMILLE_MAX),
            ("weightPermille", self.weight_permille, bounds::WEIGHT_PERMILLE_MAX),
            ("warmupMs", self.warmup_ms, bounds::DURATION_MS_MAX),
            ("coldPermille", self.cold_permille, bounds::PROGRESS_PERMILLE_MAX),
        ] {
            invalid::at_most(field, value.unwrap_or(0), value_max)?;
        }
        name_if_any("tightest", &self.tightest)?;
        let has_figure = self.tightest.is_empty() || self.utilisation_permille.is_some();
        invalid::in_place("tightest", has_figure, "it goes with utilisationPermille")?;
        invalid::count("metrics", self.metrics.len(), bounds::METRICS_MAX)?;
        for (at, metric) in self.metrics.iter().enumerate() {
            invalid::name("metrics.name", &metric.name, bounds::NAME_BYTES_MAX)?;
            let is_first = self.metrics[..at].iter().all(|before| before.name != metric.name);
            invalid::in_place(
                "metrics.name",
                is_first,
                "another figure has this name, and each is given once",
            )?;
        }
        Ok(())
    }
}

/// For how long a report counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReportResponse {
    /// In milliseconds from now: what was asked for or less; 0: not at all.
    pub granted_valid_for_ms: u32,
    /// Why it is less than was asked for, for people.
    pub message: String,
}

impl Message for ReportResponse {
    fn validate(&self) -> Result<(), Invalid> {
        invalid::at_most("grantedValidForMs", self.granted_valid_for_ms, bounds::REPORT_MS_MAX)?;
        invalid::text("message", &self.message, bounds::MESSAGE_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_absent_and_not_zero() {
        let unknown = Report { valid_for_ms: 500, ..Report::default() };
        let text = String::from_utf8(unknown.write()).unwrap();
        assert_eq!(text, r#"{"validForMs":500,"workUnit":"","tightest":"","metrics":[]}"#);
        assert_eq!(Report::read(&unknown.write()).unwrap(), unknown);
        let idle = Report::read(br#"{"validForMs":500,"queued":0,"backlogMs":null}"#).unwrap();
        assert_eq!((idle.queued, idle.backlog_ms, idle.unit()), (Some(0), None, "request"));
    }

    #[test]
    fn the_longest_valid_report_fits_its_bound() {
        let name = |number: usize| format!("{number:0>64}");
        let most = Some(bounds::PROGRESS_PERMILLE_MAX);
        let longest = Report {
            valid_for_ms: bounds::REPORT_MS_MAX,
            work_unit: name(0),
            capacity_milli_per_s: Some(u32::MAX),
            concurrency: Some(u32::MAX),
            in_flight: Some(u32::MAX),
            queued: Some(u32::MAX),
            backlog_ms: Some(bounds::WORK_MS_MAX),
            oldest_wait_ms: Some(bounds::DURATION_MS_MAX),
            utilisation_permille: Some(bounds::UTILISATION_PERMILLE_MAX),
            tightest: name(0),
            weight_permille: Some(bounds::WEIGHT_PERMILLE_MAX),
            warmup_ms: Some(bounds::DURATION_MS_MAX),
            cold_permille: most,
            sessions: Some(u32::MAX),
            metrics: (0..bounds::METRICS_MAX)
                .map(|at| Metric { name: name(at), value_milli: u32::MAX })
                .collect(),
        };
        assert_eq!(longest.validate(), Ok(()));
        assert!(longest.write().len() <= bounds::REPORT_BODY_BYTES_MAX, "{}", longest.write().len());
    }
}
