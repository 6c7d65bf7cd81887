//! How often one process may call.

use std::time::Instant;

/// Calls per second in the long run.
const CALLS_PER_S_MAX: f64 = 200.0;
/// Calls at once, after a rest.
const BURST_MAX: f64 = 400.0;

/// A bucket of calls that fills by itself.
#[derive(Debug)]
pub(crate) struct Rate {
    left: f64,
    seen: Instant,
}

impl Default for Rate {
    fn default() -> Self {
        Self { left: BURST_MAX, seen: Instant::now() }
    }
}

impl Rate {
    /// Takes one call, if there is one.
    pub(crate) fn take(&mut self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.seen).as_secs_f64();
        self.left = passed.mul_add(CALLS_PER_S_MAX, self.left).min(BURST_MAX);
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
    fn a_burst_is_bounded_and_fills_again() {
        let mut rate = Rate::default();
        let now = rate.seen;
        let taken = (0..1_000).filter(|_| rate.take_at(now)).count();
        assert_eq!(taken, 400);
        assert!(rate.take_at(now + Duration::from_millis(5)));
        assert!(!rate.take_at(now + Duration::from_millis(5)));
    }
}
