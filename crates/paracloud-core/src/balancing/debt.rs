//! Failures, counted as if their requests were still in flight; and words that were not kept.
//!
//! An instance that fails fast has few requests in flight and short times: by any rule that looks for these it would
//! draw everything. As a debt beside what is in flight, its failures keep away as much as they would have by hanging.

use super::left_permille;

/// Half of what failed is forgotten in this time, in microseconds.
pub const FAILURE_HALF_US: u64 = 1_000_000;
/// And half of what was not as it had been said, in this.
pub(super) const DOUBT_HALF_US: u64 = 10_000_000;
/// More than this, in thousandths of a request, is not counted.
const DEBT_MILLI_MAX: u64 = 1_000_000_000;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Debt {
    half_us: u64,
    milli: u64,
    at_us: u64,
}

impl Debt {
    pub(super) fn new(half_us: u64) -> Self {
        Self { half_us, milli: 0, at_us: 0 }
    }

    pub(super) fn add(&mut self, now_us: u64) {
        self.milli = (self.milli(now_us) + 1_000).min(DEBT_MILLI_MAX);
        self.at_us = now_us;
    }

    /// What it is now, in thousandths.
    pub(super) fn milli(&self, now_us: u64) -> u64 {
        self.milli * left_permille(now_us.saturating_sub(self.at_us), self.half_us) / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_request_more_and_half_of_it_a_second_later() {
        let mut debt = Debt::new(FAILURE_HALF_US);
        debt.add(5_000_000);
        debt.add(5_000_000);
        assert_eq!(debt.milli(5_000_000), 2_000);
        assert_eq!(debt.milli(6_000_000), 1_000);
        assert_eq!(debt.milli(60_000_000), 0);
    }
}
