//! How many breaches of the contract by one process are told: a few at once, and then one now and then, with how many
//! there were between.

use std::time::{Duration, Instant};

/// Breaches of one process that are told in [`BREACHES_WINDOW`].
const BREACHES_MAX: u32 = 8;
/// See [`BREACHES_MAX`].
const BREACHES_WINDOW: Duration = Duration::from_secs(10);

/// Counts the breaches of one process.
#[derive(Debug)]
pub(crate) struct Breaches {
    since: Instant,
    told: u32,
    untold: u32,
}

impl Default for Breaches {
    fn default() -> Self {
        Self { since: Instant::now(), told: 0, untold: 0 }
    }
}

impl Breaches {
    /// The breach as it is told, with how many before it were not; `None`: it is only counted.
    pub(crate) fn take(&mut self, what: String) -> Option<String> {
        self.take_at(what, Instant::now())
    }

    fn take_at(&mut self, what: String, now: Instant) -> Option<String> {
        if now.saturating_duration_since(self.since) >= BREACHES_WINDOW {
            (self.since, self.told) = (now, 0);
        }
        if self.told >= BREACHES_MAX {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.told += 1;
        Some(match std::mem::take(&mut self.untold) {
            0 => what,
            untold => format!("{what}; {untold} more before it were not told"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_breaches_without_end_is_told_of_now_and_then_with_how_often() {
        let mut breaches = Breaches::default();
        let now = breaches.since;
        let told = (0..1_000).filter_map(|_| breaches.take_at("10 MiB".to_owned(), now)).collect::<Vec<_>>();
        assert_eq!(told, vec!["10 MiB"; BREACHES_MAX as usize]);
        let later = breaches.take_at("10 MiB".to_owned(), now + BREACHES_WINDOW);
        assert_eq!(later.unwrap(), "10 MiB; 992 more before it were not told");
    }
}
