//! The pause before a failed call is made again.

use paci::bounds::{RETRY_MS_MAX, RETRY_MS_MIN};
use std::time::Duration;

/// Doubles from [`RETRY_MS_MIN`] to [`RETRY_MS_MAX`].
#[derive(Debug)]
pub(crate) struct Backoff {
    next_ms: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next_ms: RETRY_MS_MIN }
    }
}

impl Backoff {
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.next_ms == RETRY_MS_MIN
    }

    pub(crate) fn next(&mut self) -> Duration {
        let now = self.next_ms;
        self.next_ms = now.saturating_mul(2).min(RETRY_MS_MAX);
        Duration::from_millis(u64::from(now))
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..8).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.next().as_millis(), 100);
    }
}
