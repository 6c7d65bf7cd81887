//! Offered load: requests that come, whoever serves them, and those that are announced.

use super::observation::Traffic;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What a slice covers at least, in milliseconds.
const SLICE_MS: u64 = 500;
/// The window that notices a change, in milliseconds.
const SHORT_MS: u64 = 3_000;
/// The window that is not misled by chance, in milliseconds.
const LONG_MS: u64 = 30_000;
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
    /// Over the last three seconds.
    pub short_milli: u64,
    /// Over the last thirty.
    pub long_milli: u64,
}

impl Rate {
    /// The rate to plan for: the long one, and the short one when that is a quarter greater.
    pub fn planned_milli(self) -> u64 {
        if self.short_milli > self.long_milli + self.long_milli / 4 {
            self.short_milli
        } else {
            self.long_milli
        }
    }
}

impl Rates {
    /// Counts what came.
    pub(super) fn add(&mut self, traffic: &Traffic) {
        let slice = Slice { over_ms: traffic.over_ms.into(), arrivals: traffic.arrivals.into() };
        match self.slices.last_mut() {
            Some(last) if last.over_ms < SLICE_MS => {
                last.over_ms += slice.over_ms;
                last.arrivals += slice.arrivals;
            }
            _ if slice.over_ms > 0 => self.slices.push(slice),
            _ => {}
        }
        let mut covered_ms = 0;
        let kept = self.slices.iter().rev().take_while(|slice| {
            let is_within = covered_ms < LONG_MS;
            covered_ms += slice.over_ms;
            is_within
        });
        let kept = kept.count();
        self.slices.drain(..self.slices.len() - kept);
    }

    /// The rates. `None`: nothing was measured yet.
    pub(super) fn rate(&self) -> Option<Rate> {
        Some(Rate { short_milli: self.over(SHORT_MS)?, long_milli: self.over(LONG_MS)? })
    }

    fn over(&self, window_ms: u64) -> Option<u64> {
        let (mut over_ms, mut arrivals) = (0_u64, 0_u64);
        for slice in self.slices.iter().rev() {
            if over_ms >= window_ms {
                break;
            }
            over_ms += slice.over_ms;
            arrivals += slice.arrivals;
        }
        (arrivals * 1_000_000).checked_div(over_ms).map(|rate| rate.min(RATE_MILLI_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(seconds: &[u32]) -> Rates {
        let mut rates = Rates::default();
        for &arrivals in seconds {
            rates.add(&Traffic { age_ms: 0, over_ms: 1_000, arrivals, waiting: 0 });
        }
        rates
    }

    #[test]
    fn nothing_measured_is_not_a_rate_of_zero() {
        assert_eq!(Rates::default().rate(), None);
        assert_eq!(rates(&[0]).rate(), Some(Rate { short_milli: 0, long_milli: 0 }));
    }

    #[test]
    fn a_rise_is_seen_within_three_seconds_and_a_fall_within_thirty() {
        let mut seconds = [100; 40].to_vec();
        seconds.extend([500; 3]);
        let rise = rates(&seconds).rate().unwrap();
        assert_eq!((rise.short_milli, rise.planned_milli()), (500_000, 500_000));
        seconds.extend([500; 40]);
        seconds.extend([100; 3]);
        let fall = rates(&seconds).rate().unwrap();
        assert_eq!((fall.short_milli, fall.planned_milli()), (100_000, 460_000));
    }

    #[test]
    fn what_is_kept_is_bounded_however_often_it_is_measured() {
        let mut rates = Rates::default();
        for over_ms in [0, 1, 100, 7, 3_000].repeat(1_000) {
            rates.add(&Traffic { age_ms: 0, over_ms, arrivals: u32::MAX, waiting: 0 });
        }
        assert!(rates.slices.len() <= 61, "{}", rates.slices.len());
    }
}
