//! What an application says of its load, as a lease.

use super::{FRESH_US, REPORT_MS_MAX};
use serde::{Deserialize, Serialize};

/// What is used less counts as used so far, in thousandths: by less of it nobody knows how much there is.
const USED_PERMILLE_MIN: u64 = 100;

/// What one report says. Absent is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Report {
    /// How long it counts, in milliseconds; at most [`REPORT_MS_MAX`].
    pub valid_for_ms: u32,
    /// How old it was when it came, in milliseconds.
    pub age_ms: u32,
    /// How many requests it works on at once.
    pub concurrency: Option<u32>,
    /// What it can do, in thousandths of a request per second.
    pub capacity_milli_per_s: Option<u32>,
    /// Requests begun and not finished, whoever sent them.
    pub in_flight: Option<u32>,
    /// Requests accepted and not begun.
    pub queued: Option<u32>,
    /// The work in those, in milliseconds of one of the places.
    pub backlog_ms: Option<u32>,
    /// How far its tightest resource is used; 1000 is all of it.
    pub utilisation_permille: Option<u32>,
    /// How much it should get beside an ordinary instance, which has 1000.
    pub weight_permille: Option<u32>,
}

/// A report that counts, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claimed {
    /// What was said.
    pub report: Report,
    /// How old it is, in microseconds.
    pub age_us: u64,
    /// How long it counts yet, in microseconds.
    pub left_us: u64,
    /// Requests that others have there, by what it said lately and what the gateway had there meanwhile, in thousandths,
    /// if it said that. Below zero, it says less than it got.
    pub others_milli: Option<i64>,
    /// What the gateway had there on average between the last two reports, in thousandths.
    pub own_milli: u64,
}

impl Claimed {
    /// How far it is believed: whole for the first half of its lease, then ever less.
    pub(super) fn trust_permille(&self) -> u64 {
        let lease_us = self.age_us.saturating_add(self.left_us).max(1);
        (self.left_us.saturating_mul(2_000) / lease_us).min(1_000)
    }

    /// What others have there at least, in thousandths.
    pub(super) fn others_milli(&self) -> Option<u64> {
        Some(u64::try_from(self.others_milli?).unwrap_or(0))
    }

    /// Whether it is as good as seen.
    pub(super) fn is_fresh(&self) -> bool {
        self.age_us <= FRESH_US
    }

    /// How many it works on at once: said, or what it works on by how far that uses it.
    pub(super) fn places(&self) -> Option<u64> {
        let report = &self.report;
        let by_use = || {
            let used = u64::from(report.utilisation_permille?);
            // Who does not say what it works on has what the gateway had there.
            let busy_milli = report.in_flight.map_or(self.own_milli, |busy| u64::from(busy) * 1_000);
            (busy_milli >= 1_000).then(|| (busy_milli / used.max(USED_PERMILLE_MIN)).max(1))
        };
        report.concurrency.filter(|places| *places > 0).map(u64::from).or_else(by_use)
    }

    /// How long one takes, by what it says that it can do, in microseconds.
    pub(super) fn service_us(&self) -> Option<u64> {
        let capacity = self.report.capacity_milli_per_s.filter(|capacity| *capacity > 0)?;
        let places = self.report.concurrency.filter(|places| *places > 0)?;
        Some(u64::from(places) * 1_000_000_000 / u64::from(capacity))
    }
}

/// The report in force, if any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Claim {
    report: Option<Report>,
    sampled_us: u64,
    until_us: u64,
    others_milli: Option<i64>,
    own_milli: u64,
}

impl Claim {
    /// A report comes. `own_milli`: what the gateway had there on average since the last one, in thousandths.
    pub(super) fn take(&mut self, report: Report, own_milli: u64, now_us: u64) {
        let lease_us = u64::from(report.valid_for_ms.min(REPORT_MS_MAX)) * 1_000;
        let age_us = u64::from(report.age_ms) * 1_000;
        self.sampled_us = now_us.saturating_sub(age_us);
        self.until_us = now_us + lease_us.saturating_sub(age_us);
        self.report = Some(report);
        self.own_milli = own_milli;
        if report.in_flight.is_none() && report.queued.is_none() {
            self.others_milli = None;
            return;
        }
        let said = u64::from(report.in_flight.unwrap_or(0)) + u64::from(report.queued.unwrap_or(0));
        let others = signed(said * 1_000) - signed(own_milli);
        // One figure of a moment says little about others: what the gateway had there changes as fast.
        self.others_milli = Some(self.others_milli.map_or(others, |known| known + (others - known) / 4));
    }

    pub(super) fn now(&self, now_us: u64) -> Option<Claimed> {
        let report = self.report.filter(|_| now_us < self.until_us)?;
        Some(Claimed {
            report,
            age_us: now_us.saturating_sub(self.sampled_us),
            left_us: self.until_us - now_us,
            others_milli: self.others_milli,
            own_milli: self.own_milli,
        })
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
