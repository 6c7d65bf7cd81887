//! Offered load: requests that come, whoever serves them, and those that are announced.

use super::observation::Traffic;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The window that notices a change, in periods.
pub(super) const SHORT_PERIODS: u64 = 3;
/// The window that is not misled by chance, in periods.
pub(super) const LONG_PERIODS: u64 = 30;
/// How many standard deviations of chance a rise is greater than.
const CHANCE: u64 = 3;
/// The greatest rate there is, in thousandths of a request a second.
const RATE_MILLI_MAX: u64 = 1_000_000_000_000;

/// Requests that came of late, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Rates {
    slices: Vec<Slice>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Slice {
    over_ms: u64,
    arrivals: u64,
}

/// Rates in thousandths of a request a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// Over the last three periods.
    pub short_milli: u64,
    /// Over the last thirty.
    pub long_milli: u64,
    /// The rate to plan for: the long one, and the short one when that is greater by a quarter and by more than chance.
    pub planned_milli: u64,
}

impl Rates {
    /// Counts what came. Windows follow the period: who decides more often has to notice sooner.
    pub(super) fn add(&mut self, traffic: &Traffic, period_ms: u32) {
        let slice = Slice { over_ms: traffic.over_ms.into(), arrivals: traffic.arrivals.into() };
        let period_ms = u64::from(period_ms);
        match self.slices.last_mut() {
            Some(last) if last.over_ms < period_ms / 2 => {
                last.over_ms += slice.over_ms;
                last.arrivals += slice.arrivals;
            }
            _ if slice.over_ms > 0 => self.slices.push(slice),
            _ => {}
        }
        let mut covered_ms = 0;
        let kept = self.slices.iter().rev().take_while(|slice| {
            let is_within = covered_ms < LONG_PERIODS * period_ms;
            covered_ms += slice.over_ms;
            is_within
        });
        let kept = kept.count();
        self.slices.drain(..self.slices.len() - kept);
    }

    /// The rates. `None`: nothing was measured yet.
    pub(super) fn rate(&self, period_ms: u32) -> Option<Rate> {
        let period_ms = u64::from(period_ms);
        let short = self.over(SHORT_PERIODS * period_ms);
        let long = self.over(LONG_PERIODS * period_ms);
        let (short_milli, long_milli) = (short.rate_milli()?, long.rate_milli()?);
        let expected = u128::from(long.arrivals) * u128::from(short.over_ms);
        let expected = u64::try_from(expected.checked_div(long.over_ms.into())?).unwrap_or(u64::MAX / 2);
        let chance = CHANCE * expected.isqrt();
        let is_rise = short.arrivals > expected + (expected / 4).max(chance);
        let planned_milli = if is_rise { short_milli } else { long_milli };
        Some(Rate { short_milli, long_milli, planned_milli })
    }

    fn over(&self, window_ms: u64) -> Slice {
        let mut whole = Slice { over_ms: 0, arrivals: 0 };
        for slice in self.slices.iter().rev() {
            if whole.over_ms >= window_ms {
                break;
            }
            whole.over_ms += slice.over_ms;
            whole.arrivals += slice.arrivals;
        }
        whole
    }
}

impl Slice {
    fn rate_milli(self) -> Option<u64> {
        (self.arrivals * 1_000_000).checked_div(self.over_ms).map(|rate| rate.min(RATE_MILLI_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD_MS: u32 = 1_000;

    fn rates(seconds: &[u32]) -> Rates {
        let mut rates = Rates::default();
        for &arrivals in seconds {
            rates.add(&Traffic { age_ms: 0, over_ms: 1_000, arrivals, waiting: 0 }, PERIOD_MS);
        }
        rates
    }

    #[test]
    fn nothing_measured_is_not_a_rate_of_zero() {
        assert_eq!(Rates::default().rate(PERIOD_MS), None);
        assert_eq!(rates(&[0]).rate(PERIOD_MS), Some(Rate::default()));
    }

    #[test]
    fn a_rise_is_seen_within_three_periods_and_a_fall_within_thirty() {
        let mut seconds = [100; 40].to_vec();
        seconds.extend([500; 3]);
        let rise = rates(&seconds).rate(PERIOD_MS).unwrap();
        assert_eq!((rise.short_milli, rise.planned_milli), (500_000, 500_000));
        seconds.extend([500; 40]);
        seconds.extend([100; 3]);
        let fall = rates(&seconds).rate(PERIOD_MS).unwrap();
        assert_eq!((fall.short_milli, fall.planned_milli), (100_000, 460_000));
    }

    #[test]
    fn who_decides_ten_times_as_often_notices_ten_times_as_soon() {
        let mut rates = Rates::default();
        let mut add = |arrivals: u32| {
            rates.add(&Traffic { age_ms: 0, over_ms: 100, arrivals, waiting: 0 }, 100);
            rates.rate(100).unwrap()
        };
        let steady = (0..30).map(|_| add(10)).last();
        assert_eq!(steady.map(|rate| rate.planned_milli), Some(100_000));
        let rise = (0..3).map(|_| add(50)).last();
        assert_eq!(rise.map(|rate| rate.planned_milli), Some(500_000));
    }

    #[test]
    fn a_rise_that_may_be_chance_is_none() {
        let mut seconds = [4; 40].to_vec();
        seconds.extend([7; 3]);
        let rate = rates(&seconds).rate(PERIOD_MS).unwrap();
        assert_eq!((rate.short_milli, rate.planned_milli), (7_000, rate.long_milli));
    }

    #[test]
    fn what_is_kept_is_bounded_however_often_it_is_measured() {
        let mut rates = Rates::default();
        for over_ms in [0, 1, 100, 7, 3_000].repeat(1_000) {
            rates.add(&Traffic { age_ms: 0, over_ms, arrivals: u32::MAX, waiting: 0 }, PERIOD_MS);
        }
        assert!(rates.slices.len() <= 61, "{}", rates.slices.len());
    }
}
