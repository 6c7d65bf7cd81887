//! Sizes that did not come about: what an instance could live with instead, and that it is not asked again at once.

use crate::control::locked;
use paracloud_core::ids::{OperationNumber, StartId};
use paracloud_core::scaling::observation::Told;
use paracloud_substrate::message::Sizing;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

/// A counter-offer is good for so long, and so long nothing larger is tried again either, in milliseconds.
const AGAIN_MS: u32 = 60_000;

/// Of each instance that is configured the last one.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    missed: Mutex<BTreeMap<String, Missed>>,
    /// The last one that was decided and began.
    begun: Mutex<BTreeMap<String, Begun>>,
}

#[derive(Debug)]
struct Begun {
    start: StartId,
    operation: OperationNumber,
    at: Instant,
}

#[derive(Debug)]
struct Missed {
    start: StartId,
    /// It does not do with less, in thousandths of a processor.
    least_cpu_m: Option<u32>,
    at: Instant,
}

impl Sizes {
    /// How a change of size went.
    pub(crate) fn hear(&self, instance: &str, sizing: &Sizing) {
        let mut all = locked(&self.missed);
        let Sizing { start, from, to, offered, .. } = *sizing;
        if sizing.is_done() {
            // What it said that it needs counts for its time, until it does with less.
            let needs = |missed: &Missed| {
                missed.start == start && missed.least_cpu_m.is_some_and(|least| to.cpu_milli >= Some(least))
            };
            if !all.get(instance).is_some_and(needs) {
                all.remove(instance);
            }
            return;
        }
        let is_less = to.cpu_milli.unwrap_or(u32::MAX) < from.cpu_milli.unwrap_or(u32::MAX);
        let own = offered.and_then(|size| size.cpu_milli);
        let least_cpu_m = own.or(from.cpu_milli).filter(|_| is_less);
        all.insert(instance.to_owned(), Missed { start, least_cpu_m, at: Instant::now() });
    }

    /// A change of size was not even begun.
    pub(super) fn refused(&self, instance: &str, start: StartId) {
        let missed = Missed { start, least_cpu_m: None, at: Instant::now() };
        locked(&self.missed).insert(instance.to_owned(), missed);
    }

    /// It is being changed because that was decided.
    pub(super) fn begun(&self, instance: &str, start: StartId, operation: OperationNumber) {
        let begun = Begun { start, operation, at: Instant::now() };
        locked(&self.begun).insert(instance.to_owned(), begun);
    }

    /// Of those that were decided here those that ended, each once. What did not come about and nobody said why, because it was
    /// given up by a person or for lack of time, is tried again as little as what was refused.
    pub(super) fn ended(&self, mut outcome: impl FnMut(&str, OperationNumber) -> Option<bool>) {
        locked(&self.begun).retain(|instance, begun| {
            let Some(is_done) = outcome(instance, begun.operation) else { return true };
            let of_it = |missed: &Missed| missed.start == begun.start && missed.at >= begun.at;
            let is_said = locked(&self.missed).get(instance).is_some_and(of_it);
            if !is_done && !is_said {
                self.refused(instance, begun.start);
            }
            false
        });
    }

    /// The least that it said last that it could live with, as long as that is good.
    pub(super) fn least_cpu_m(&self, instance: &str, start: StartId) -> Option<Told<u32>> {
        let (least_cpu_m, age_ms) = self.of(instance, start)?;
        Some(Told { value: least_cpu_m?, age_ms, lease_ms: AGAIN_MS })
    }

    /// Whether it is not tried again yet, other than by less.
    pub(super) fn rests(&self, instance: &str, start: StartId) -> bool {
        self.of(instance, start).is_some_and(|(least_cpu_m, _)| least_cpu_m.is_none())
    }

    fn of(&self, instance: &str, start: StartId) -> Option<(Option<u32>, u32)> {
        let all = locked(&self.missed);
        let missed = all.get(instance).filter(|missed| missed.start == start)?;
        let age_ms = u32::try_from(missed.at.elapsed().as_millis()).unwrap_or(u32::MAX);
        (age_ms < AGAIN_MS).then_some((missed.least_cpu_m, age_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::register::Size;

    fn cpu(cpu_milli: u32) -> Size {
        Size { memory_kib: None, cpu_milli: Some(cpu_milli) }
    }

    fn sizing(from: u32, to: u32, limit: u32, offered: Option<u32>) -> Sizing {
        Sizing {
            start: StartId(1),
            from: cpu(from),
            to: cpu(to),
            limit: cpu(limit),
            used_kib: None,
            offered: offered.map(cpu),
            why: String::new(),
        }
    }

    #[test]
    fn a_counter_offer_is_the_least_for_a_time_and_what_cannot_grow_is_left_alone() {
        let sizes = Sizes::default();
        let least = |sizes: &Sizes| sizes.least_cpu_m("worker.1", StartId(1)).map(|told| told.value);
        sizes.hear("worker.1", &sizing(500, 250, 500, Some(300)));
        assert_eq!((least(&sizes), sizes.rests("worker.1", StartId(1))), (Some(300), false));
        assert_eq!(sizes.least_cpu_m("worker.1", StartId(2)), None, "another process");
        for (to, expected) in [(300, Some(300)), (900, Some(300)), (299, None)] {
            sizes.hear("worker.1", &sizing(500, to, to, None));
            assert_eq!(least(&sizes), expected, "what it said counts for its time: it has {to}");
        }
        sizes.hear("worker.1", &sizing(500, 250, 500, None));
        assert_eq!(least(&sizes), Some(500), "who does not say less does with none");
        sizes.hear("worker.1", &sizing(500, 900, 500, None));
        assert_eq!((least(&sizes), sizes.rests("worker.1", StartId(1))), (None, true));
        sizes.hear("worker.1", &sizing(500, 900, 900, None));
        assert!(!sizes.rests("worker.1", StartId(1)), "it has it");
        sizes.refused("worker.1", StartId(1));
        assert!(sizes.rests("worker.1", StartId(1)));
    }

    #[test]
    fn what_was_given_up_without_a_word_is_left_alone_and_what_was_done_or_answered_is_not() {
        let rests = |said: Option<Sizing>, is_done| {
            let sizes = Sizes::default();
            sizes.begun("worker.1", StartId(1), OperationNumber(4));
            said.iter().for_each(|said| sizes.hear("worker.1", said));
            sizes.ended(|_, _| None);
            sizes.ended(|_, operation| (operation == OperationNumber(4)).then_some(is_done));
            assert!(locked(&sizes.begun).is_empty(), "once");
            sizes.rests("worker.1", StartId(1))
        };
        assert!(rests(None, false), "it was called off");
        assert!(!rests(None, true), "it has it");
        assert!(!rests(Some(sizing(500, 250, 500, Some(300))), false), "it could do with more");
    }
}
