//! The clock by which it is decided.

use crate::journal::now_unix_ms;
use std::time::{Duration, Instant};

/// The wall's when it began, and never before what was decided before. From then on it goes as time does, whoever sets the wall's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    begun: Instant,
    begun_ms: u64,
}

impl Clock {
    /// Begins now, after a decision of this time, in milliseconds.
    pub(crate) fn after(left_ms: u64) -> Self {
        Self { begun: Instant::now(), begun_ms: now_unix_ms().max(left_ms) }
    }

    /// Now, in milliseconds.
    pub(crate) fn now_ms(self) -> u64 {
        self.ms_after(self.begun.elapsed())
    }

    /// So long after it began.
    pub(crate) fn ms_after(self, passed: Duration) -> u64 {
        self.begun_ms.saturating_add(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_no_earlier_than_what_was_decided_and_than_the_wall_and_does_not_stand() {
        let wall_ms = now_unix_ms();
        assert!(Clock::after(0).now_ms() >= wall_ms);
        let ahead = Clock::after(wall_ms + 3_000_000);
        assert_eq!(ahead.ms_after(Duration::ZERO), wall_ms + 3_000_000);
        assert_eq!(ahead.ms_after(Duration::from_secs(600)), wall_ms + 3_600_000);
        assert_eq!(Clock::after(u64::MAX).ms_after(Duration::from_secs(1)), u64::MAX);
    }
}
