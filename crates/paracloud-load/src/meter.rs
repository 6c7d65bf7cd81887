//! What the clients saw: counts, latencies and gaps, in all and within windows that a test opens and closes.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Windows open at a time.
pub const WINDOWS_MAX: usize = 64;
/// Longest latency that is told apart, in microseconds; a longer one counts as this one.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Sends that were not answered with success, by kind. One request may have several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// No connection to the gateway.
    pub unreachable: u64,
    /// 503 or 421: surely not applied.
    pub not_applied: u64,
    /// 502, a lost connection, no answer in time: nobody knows.
    pub unknown: u64,
    /// Any other status.
    pub rejected: u64,
}

impl Errors {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.unreachable + self.not_applied + self.unknown + self.rejected
    }
}

/// What went wrong with one send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Unreachable,
    NotApplied,
    Unknown,
    Rejected,
}

/// What the clients saw within a time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// How long it was, in milliseconds.
    pub duration_ms: f64,
    /// Requests that were due.
    pub offered: u64,
    /// Requests that were acknowledged.
    pub achieved: u64,
    /// Requests whose outcome stays unknown.
    pub unknown: u64,
    /// Requests that were given up, surely not applied, those not sent for want of room included.
    pub given_up: u64,
    /// Sends without success.
    pub errors: Errors,
    /// Requests that were due, a second.
    pub offered_per_s: f64,
    /// Requests that were acknowledged, a second.
    pub achieved_per_s: f64,
    /// From the time at which a request was due to its answer, in milliseconds. 0 if there was none.
    pub latency_ms_p50: f64,
    /// As `latency_ms_p50`.
    pub latency_ms_p99: f64,
    /// As `latency_ms_p50`.
    pub latency_ms_max: f64,
    /// Longest time without an answer of success, the ends of the window counted as such, in milliseconds.
    pub client_gap_ms: f64,
}

/// A window cannot be opened or closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// The name is in use.
    #[error("the window {0:?} is open already")]
    Open(String),
    /// Nobody opened it.
    #[error("the window {0:?} is not open")]
    NotOpen(String),
    /// [`WINDOWS_MAX`] are open.
    #[error("{WINDOWS_MAX} windows are open; close one")]
    TooMany,
}

/// Counts for the whole run and for each open window.
#[derive(Debug)]
pub(crate) struct Meter {
    whole: Tally,
    windows: BTreeMap<String, Tally>,
}

impl Meter {
    pub(crate) fn new(now: Instant) -> Self {
        Self { whole: Tally::new(now), windows: BTreeMap::new() }
    }

    pub(crate) fn begin(&mut self, name: &str, now: Instant) -> Result<(), WindowError> {
        if self.windows.contains_key(name) {
            return Err(WindowError::Open(name.to_owned()));
        }
        if self.windows.len() >= WINDOWS_MAX {
            return Err(WindowError::TooMany);
        }
        self.windows.insert(name.to_owned(), Tally::new(now));
        Ok(())
    }

    pub(crate) fn end(&mut self, name: &str, now: Instant) -> Result<Seen, WindowError> {
        let tally = self.windows.remove(name).ok_or_else(|| WindowError::NotOpen(name.to_owned()))?;
        Ok(tally.seen(now))
    }

    pub(crate) fn whole(&self, now: Instant) -> Seen {
        self.whole.seen(now)
    }

    pub(crate) fn offered(&mut self) {
        self.each(|tally| tally.offered += 1);
    }

    pub(crate) fn achieved(&mut self, latency: Duration, now: Instant) {
        self.each(|tally| tally.achieved(latency, now));
    }

    pub(crate) fn unknown(&mut self) {
        self.each(|tally| tally.unknown += 1);
    }

    pub(crate) fn given_up(&mut self) {
        self.each(|tally| tally.given_up += 1);
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.each(|tally| {
            let count = match fault {
                Fault::Unreachable => &mut tally.errors.unreachable,
                Fault::NotApplied => &mut tally.errors.not_applied,
                Fault::Unknown => &mut tally.errors.unknown,
                Fault::Rejected => &mut tally.errors.rejected,
            };
            *count += 1;
        });
    }

    /// Nothing is sent from now on, until [`Meter::resume`]: that is no gap and no time.
    pub(crate) fn pause(&mut self, now: Instant) {
        self.each(|tally| tally.pause(now));
    }

    pub(crate) fn resume(&mut self, now: Instant) {
        self.each(|tally| tally.resume(now));
    }

    fn each(&mut self, change: impl Fn(&mut Tally)) {
        change(&mut self.whole);
        self.windows.values_mut().for_each(change);
    }
}

#[derive(Debug)]
struct Tally {
    begun: Instant,
    paused_since: Option<Instant>,
    paused: Duration,
    offered: u64,
    achieved: u64,
    unknown: u64,
    given_up: u64,
    errors: Errors,
    latency_us: Histogram<u64>,
    last_success: Instant,
    gap: Duration,
}

impl Tally {
    fn new(now: Instant) -> Self {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are in order");
        Self {
            begun: now,
            paused_since: None,
            paused: Duration::ZERO,
            offered: 0,
            achieved: 0,
            unknown: 0,
            given_up: 0,
            errors: Errors::default(),
            latency_us,
            last_success: now,
            gap: Duration::ZERO,
        }
    }

    fn achieved(&mut self, latency: Duration, now: Instant) {
        self.achieved += 1;
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.saturating_record(micros.clamp(1, LATENCY_US_MAX));
        if self.paused_since.is_none() {
            self.gap = self.gap.max(now.saturating_duration_since(self.last_success));
            self.last_success = self.last_success.max(now);
        }
    }

    fn pause(&mut self, now: Instant) {
        if self.paused_since.is_none() {
            self.gap = self.gap.max(now.saturating_duration_since(self.last_success));
            self.paused_since = Some(now);
        }
    }

    fn resume(&mut self, now: Instant) {
        if let Some(since) = self.paused_since.take() {
            self.paused += now.saturating_duration_since(since);
            self.last_success = now;
        }
    }

    fn seen(&self, now: Instant) -> Seen {
        let until = self.paused_since.unwrap_or(now);
        let last = if self.paused_since.is_some() { until } else { self.last_success };
        let duration = until.saturating_duration_since(self.begun).saturating_sub(self.paused);
        let per_s = |count: u64| if duration.is_zero() { 0.0 } else { count as f64 / duration.as_secs_f64() };
        let quantile = |share| self.latency_us.value_at_quantile(share) as f64 / 1e3;
        Seen {
            duration_ms: duration.as_secs_f64() * 1e3,
            offered: self.offered,
            achieved: self.achieved,
            unknown: self.unknown,
            given_up: self.given_up,
            errors: self.errors,
            offered_per_s: per_s(self.offered),
            achieved_per_s: per_s(self.achieved),
            latency_ms_p50: quantile(0.5),
            latency_ms_p99: quantile(0.99),
            latency_ms_max: self.latency_us.max() as f64 / 1e3,
            client_gap_ms: self.gap.max(until.saturating_duration_since(last)).as_secs_f64() * 1e3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_worst_gap_counts_from_the_begin_between_answers_and_to_the_end() {
        let start = Instant::now();
        for (answers, end, gap_ms) in
            [(vec![30, 35], 40, 30.0), (vec![5, 25], 30, 20.0), (vec![5, 10], 50, 40.0)]
        {
            let mut meter = Meter::new(start);
            meter.begin("w", start).unwrap();
            answers.iter().for_each(|at| meter.achieved(MS, start + MS * *at));
            assert_eq!(meter.end("w", start + MS * end).unwrap().client_gap_ms, gap_ms, "{answers:?}");
        }
    }

    #[test]
    fn a_window_counts_only_what_happens_while_it_is_open() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        meter.achieved(MS, start);
        meter.begin("w", start).unwrap();
        meter.offered();
        meter.fault(Fault::NotApplied);
        meter.achieved(MS * 9, start + MS);
        let window = meter.end("w", start + MS * 1000).unwrap();
        assert_eq!((window.offered, window.achieved, window.errors.total()), (1, 1, 1));
        assert!((window.latency_ms_max - 9.0).abs() < 0.1, "{window:?}");
        assert_eq!(window.achieved_per_s, 1.0);
        assert_eq!(meter.whole(start + MS * 1000).achieved, 2);
    }

    #[test]
    fn a_pause_of_the_clients_is_neither_gap_nor_time() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        meter.achieved(MS, start + MS * 10);
        meter.pause(start + MS * 12);
        meter.achieved(MS, start + MS * 15);
        meter.resume(start + MS * 500);
        meter.achieved(MS, start + MS * 505);
        let seen = meter.whole(start + MS * 506);
        assert_eq!((seen.client_gap_ms, seen.duration_ms), (10.0, 18.0));
    }

    #[test]
    fn a_window_has_one_begin_and_one_end() {
        let mut meter = Meter::new(Instant::now());
        meter.begin("w", Instant::now()).unwrap();
        assert_eq!(meter.begin("w", Instant::now()), Err(WindowError::Open("w".into())));
        meter.end("w", Instant::now()).unwrap();
        assert_eq!(meter.end("w", Instant::now()), Err(WindowError::NotOpen("w".into())));
        (0..WINDOWS_MAX).for_each(|number| meter.begin(&number.to_string(), Instant::now()).unwrap());
        assert_eq!(meter.begin("one more", Instant::now()), Err(WindowError::TooMany));
    }
}
