//! Sizes that did not come about: what an instance could live with instead, and that it is not asked again at once.

use crate::control::locked;
use paracloud_core::ids::StartId;
use paracloud_core::scaling::observation::Told;
use paracloud_substrate::message::Sizing;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

/// A counter-offer is good for so long, and so long nothing larger is tried again either, in milliseconds.
const AGAIN_MS: u32 = 60_000;

/// Of each instance that is configured the last one.
#[derive(Debug, Default)]
pub(crate) struct Sizes(Mutex<BTreeMap<String, Missed>>);

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
        let mut all = locked(&self.0);
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
        locked(&self.0).insert(instance.to_owned(), missed);
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
        let all = locked(&self.0);
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
}
