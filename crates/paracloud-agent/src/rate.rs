//! How often one process may call.

use std::time::Instant;

/// Calls per second in the long run, but those of [`ADVICE_PER_S_MAX`].
const CALLS_PER_S_MAX: f64 = 200.0;
/// Reports, announcements and asks per second in the long run: apart from the others, so that who reports too often can
/// still answer.
const ADVICE_PER_S_MAX: f64 = 100.0;
/// Calls at once, after a rest: those of so many seconds.
const BURST_S: f64 = 2.0;

/// A bucket of calls that fills by itself.
#[derive(Debug)]
pub(crate) struct Rate {
    per_s: f64,
    left: f64,
    seen: Instant,
}

impl Rate {
    /// Of calls that are no advice.
    pub(crate) fn of_calls() -> Self {
        Self::full(CALLS_PER_S_MAX)
    }

    /// Of reports, announcements and asks.
    pub(crate) fn of_advice() -> Self {
        Self::full(ADVICE_PER_S_MAX)
    }

    fn full(per_s: f64) -> Self {
        Self { per_s, left: per_s * BURST_S, seen: Instant::now() }
    }

    /// Takes one call, if there is one.
    pub(crate) fn take(&mut self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.seen).as_secs_f64();
        self.left = passed.mul_add(self.per_s, self.left).min(self.per_s * BURST_S);
        self.seen = now;
        let there = self.left >= 1.0;
        if there {
            self.left -= 1.0;
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn who_reports_too_often_can_still_call() {
        let (mut calls, mut advice) = (Rate::of_calls(), Rate::of_advice());
        let now = calls.seen.max(advice.seen);
        assert_eq!((0..1_000).filter(|_| advice.take_at(now)).count(), 200);
        assert!(calls.take_at(now));
    }

    #[test]
    fn a_burst_is_bounded_and_fills_again() {
        let mut rate = Rate::of_calls();
        let now = rate.seen;
        let taken = (0..1_000).filter(|_| rate.take_at(now)).count();
        assert_eq!(taken, 400);
        assert!(rate.take_at(now + Duration::from_millis(5)));
        assert!(!rate.take_at(now + Duration::from_millis(5)));
    }
}
