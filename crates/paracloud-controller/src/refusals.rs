//! Moves that were asked for and not begun, as the journal has them: few, however often somebody asks.

use paracloud_substrate::person::Refusal;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Refusals of one instance that have an entry of their own in [`REFUSALS_WINDOW`]; others are counted.
pub(crate) const REFUSALS_MAX: u32 = 8;
/// See [`REFUSALS_MAX`]. One that is equal to the last that has an entry has one of its own after as long.
pub(crate) const REFUSALS_WINDOW: Duration = Duration::from_secs(60);

/// What was refused lately, of each instance that is configured.
#[derive(Debug, Default)]
pub(crate) struct Refusals(BTreeMap<String, Lately>);

#[derive(Debug)]
struct Lately {
    since: Instant,
    kept: u32,
    unkept: u32,
    last: Option<(Refusal, Instant)>,
}

impl Refusals {
    /// The refusal as it is kept; `None`: it is only counted.
    pub(crate) fn take(&mut self, instance: &str, refusal: &Refusal, now: Instant) -> Option<Refusal> {
        let lately = self.lately(instance, now);
        let again = lately.last.as_ref().is_some_and(|(last, kept)| {
            is_equal(last, refusal) && now.saturating_duration_since(*kept) < REFUSALS_WINDOW
        });
        if again || !lately.take() {
            lately.unkept = lately.unkept.saturating_add(1);
            return None;
        }
        lately.last = Some((refusal.clone(), now));
        Some(Refusal { unkept: std::mem::take(&mut lately.unkept), ..refusal.clone() })
    }

    /// Whether something else that a command asked for is kept: it has the same bound.
    pub(crate) fn has_room(&mut self, instance: &str, now: Instant) -> bool {
        self.lately(instance, now).take()
    }

    fn lately(&mut self, instance: &str, now: Instant) -> &mut Lately {
        let fresh = || Lately { since: now, kept: 0, unkept: 0, last: None };
        let lately = self.0.entry(instance.to_owned()).or_insert_with(fresh);
        if now.saturating_duration_since(lately.since) >= REFUSALS_WINDOW {
            (lately.since, lately.kept) = (now, 0);
        }
        lately
    }
}

impl Lately {
    fn take(&mut self) -> bool {
        let is_kept = self.kept < REFUSALS_MAX;
        self.kept += u32::from(is_kept);
        is_kept
    }
}

/// Whether two say the same. The end of a hold that is asked for anew and anew is no news.
fn is_equal(one: &Refusal, other: &Refusal) -> bool {
    let said = |refusal: &Refusal| Refusal { held_until_unix_ms: None, unkept: 0, ..refusal.clone() };
    said(one) == said(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: &str) -> Refusal {
        Refusal {
            to: None,
            accept_loss: false,
            asked: None,
            code: code.to_owned(),
            message: "web: no".to_owned(),
            held_until_unix_ms: None,
            unkept: 0,
        }
    }

    #[test]
    fn equal_refusals_in_a_row_are_counted_and_told_with_the_next_one() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.take("web", &refusal("busy"), now), Some(refusal("busy")));
        for until in 0..1000 {
            let again = Refusal { held_until_unix_ms: Some(until), ..refusal("busy") };
            assert_eq!(refusals.take("web", &again, now), None);
        }
        let counted = |code: &str| Some(Refusal { unkept: 1000, ..refusal(code) });
        assert_eq!(refusals.take("web", &refusal("held"), now), counted("held"));
        assert_eq!(refusals.take("web", &refusal("busy"), now), Some(refusal("busy")));
        assert_eq!(refusals.take("web", &refusal("busy"), now + REFUSALS_WINDOW), Some(refusal("busy")));
    }

    #[test]
    fn whoever_is_refused_differently_each_time_has_no_more_entries_either() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let mut ask = |number: u32, now| refusals.take("web", &refusal(&number.to_string()), now).is_some();
        let kept = (0..1000).filter(|number| ask(*number, now)).count();
        assert_eq!(kept, REFUSALS_MAX as usize);
        assert!(ask(1000, now + REFUSALS_WINDOW));
        assert!(refusals.has_room("other", now) && refusals.take("other", &refusal("busy"), now).is_some());
    }
}
