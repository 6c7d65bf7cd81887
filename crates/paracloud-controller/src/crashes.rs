//! Owners that end again and again: how often, how, and when the next is tried. It decides nothing: people are told.

use crate::journal::cut;
use paracloud_core::ids::StartId;
use paracloud_substrate::config::{RESTART_MS, RESTART_SOUND_MS};
use paracloud_substrate::figures::millis;
use paracloud_substrate::message::Unready;
use std::collections::BTreeMap;

/// What is said to have been asked of a process that ended.
const ASKED: &str = "its process";

/// Of each instance the last owner that ended, as far as this controller heard.
#[derive(Debug, Default)]
pub(crate) struct Crashes(BTreeMap<String, Crash>);

#[derive(Debug)]
struct Crash {
    start: StartId,
    how: String,
    /// Owners that ended in a row, none of which had served for long enough to be sound.
    times: u32,
    /// When the first of them ended, in milliseconds since 1970.
    since_unix_ms: u64,
    /// When the last of them did.
    at_unix_ms: u64,
}

impl Crashes {
    /// An owner ended that served since then, in milliseconds since 1970; `None`: it never did.
    pub(crate) fn ended(
        &mut self,
        instance: &str,
        start: StartId,
        how: &str,
        served_unix_ms: Option<u64>,
        now_unix_ms: u64,
    ) {
        let is_sound = served_unix_ms
            .is_some_and(|since| now_unix_ms.saturating_sub(since) >= u64::from(RESTART_SOUND_MS));
        let before = self.0.get(instance).filter(|_| !is_sound);
        if before.is_some_and(|crash| crash.start == start) {
            return;
        }
        let (times, since_unix_ms) =
            before.map_or((1, now_unix_ms), |crash| (crash.times.saturating_add(1), crash.since_unix_ms));
        let how = cut(how.to_owned());
        let crash = Crash { start, how, times, since_unix_ms, at_unix_ms: now_unix_ms };
        self.0.insert(instance.to_owned(), crash);
    }

    /// An instance has left: whoever has its number next is another one.
    pub(crate) fn forget(&mut self, instance: &str) {
        self.0.remove(instance);
    }

    /// Why an owner does not serve: it ended, or the one before it did and it `serves` not yet.
    pub(crate) fn why(
        &self,
        instance: &str,
        owner: StartId,
        serves: bool,
        now_unix_ms: u64,
    ) -> Option<Unready> {
        let crash = self.0.get(instance)?;
        let is_dead = crash.start == owner;
        if serves && !is_dead {
            return None;
        }
        let starts = crash.times.saturating_add(u32::from(!is_dead));
        let started = if starts == 1 { "started once".to_owned() } else { format!("started {starts} times") };
        let mut answered = format!("{}, {started}", crash.how);
        if is_dead {
            let (first_ms, longest_ms) = RESTART_MS;
            let factor = 1_u32.checked_shl(crash.times - 1).unwrap_or(u32::MAX);
            let pause_ms = u64::from(first_ms.saturating_mul(factor).min(longest_ms));
            let next = crash.at_unix_ms.saturating_add(pause_ms).saturating_sub(now_unix_ms);
            answered += &format!("; next try in {}", millis(next));
        }
        Some(Unready { since_unix_ms: crash.since_unix_ms, asked: ASKED.to_owned(), answered })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOW: &str = "exited with status 4";

    fn said(crashes: &Crashes, owner: u64, serves: bool, now_unix_ms: u64) -> Option<String> {
        crashes.why("web", StartId(owner), serves, now_unix_ms).map(|unready| unready.answered)
    }

    #[test]
    fn an_owner_that_ends_at_once_again_and_again_is_said_to_with_the_next_try() {
        let mut crashes = Crashes::default();
        assert_eq!(said(&crashes, 1, false, 0), None);
        crashes.ended("web", StartId(1), HOW, None, 1_000);
        crashes.ended("web", StartId(1), HOW, None, 1_001);
        let first = said(&crashes, 1, false, 1_000).unwrap();
        assert_eq!(first, "exited with status 4, started once; next try in 200 ms");
        assert_eq!(said(&crashes, 2, false, 1_300).unwrap(), "exited with status 4, started 2 times");
        assert_eq!(said(&crashes, 2, true, 1_300), None, "it serves");
        for start in 2..=19 {
            crashes.ended("web", StartId(start), HOW, Some(start * 1_000), start * 1_000);
        }
        let last = said(&crashes, 19, true, 19_000).unwrap();
        assert_eq!(last, "exited with status 4, started 19 times; next try in 10.00 s");
        assert_eq!(crashes.why("web", StartId(19), false, 0).unwrap().since_unix_ms, 1_000);
    }

    #[test]
    fn of_one_that_has_left_nothing_is_said_of_the_next_one_of_its_number() {
        let mut crashes = Crashes::default();
        crashes.ended("web", StartId(1), HOW, None, 1_000);
        crashes.forget("web");
        assert_eq!(said(&crashes, 2, false, 2_000), None);
        crashes.ended("web", StartId(2), HOW, None, 3_000);
        assert!(said(&crashes, 2, false, 3_000).unwrap().contains("started once"));
    }

    #[test]
    fn one_that_was_sound_before_it_ended_begins_the_count_anew() {
        let mut crashes = Crashes::default();
        crashes.ended("web", StartId(1), HOW, None, 1_000);
        crashes.ended("web", StartId(2), "signal 9", Some(2_000), 2_000 + u64::from(RESTART_SOUND_MS));
        assert!(said(&crashes, 2, false, 62_000).unwrap().starts_with("signal 9, started once;"));
    }
}
