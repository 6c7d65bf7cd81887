//! Work that no gateway sees: what instances tell of it, and what those are taken for that do not.

use super::observation::{Instance, Observation, Report, Told};
use super::policy::{Policy, Work};
use super::record::Silent;
use super::staffing::Unit;
use super::trust;

/// What instances work on that no gateway sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unseen {
    /// In thousandths of a slot.
    pub(super) milli: u64,
    /// Those of which it is not known, if it should be.
    pub(super) silent: Option<Silent>,
}

/// What they say of it where a person says that there is a queue, and as much as waits for each catch-up. Whoever has so much
/// waiting works on all that it can.
///
/// Who serves from a queue and does not say what it works on may work on anything, and nobody leaves meanwhile. It is taken
/// for the mean of those that say it, because all of them take from one queue, or for what it said last, as far as that still
/// counts, if that is more. Taken for all its slots, each that falls silent would start others for work that nobody saw. One
/// that has just become ready and never said anything adds nothing: what it works on was what others told before.
pub(super) fn unseen(policy: &Policy, observation: &Observation, unit: &Unit) -> Unseen {
    let of_one = |report: &Told<Report>| of_one(policy, report, unit);
    if policy.work == Work::Requests {
        let told = observation.ready().filter_map(|(_, it)| it.report.as_ref());
        let unseen = told.filter(|report| trust::is_unseen(policy.work, &report.value)).map(of_one);
        return Unseen { milli: unseen.fold(0, u64::saturating_add), silent: None };
    }
    let own_milli = |it: &Instance| it.report.as_ref().map_or(0, of_one);
    let saying = || observation.ready().map(|(_, it)| it).filter(|it| says_its_work(it));
    let said_milli = saying().map(own_milli).fold(0, u64::saturating_add);
    let mean_milli = said_milli / u64::try_from(saying().count()).unwrap_or(u64::MAX).max(1);
    let mut silent = Silent::default();
    for (_, instance) in observation.ready().filter(|(_, it)| !says_its_work(it)) {
        let is_new = instance.report.is_none() && instance.phase_ms < super::understand::NEW_MS;
        let taken_milli = own_milli(instance).max(if is_new { 0 } else { mean_milli });
        silent.count += 1;
        silent.milli = silent.milli.saturating_add(taken_milli);
    }
    Unseen { milli: said_milli.saturating_add(silent.milli), silent: (silent.count > 0).then_some(silent) }
}

/// Whether it says what it works on, and that still counts.
pub(super) fn says_its_work(instance: &Instance) -> bool {
    instance.report.is_some_and(|report| report.is_good() && report.value.in_flight.is_some())
}

/// What one works on by its own word, in thousandths of a slot, as far as that still counts.
fn of_one(policy: &Policy, report: &Told<Report>, unit: &Unit) -> u64 {
    let Report { in_flight, backlog_ms, .. } = report.value;
    let works = match policy.work {
        Work::Requests => 0,
        Work::Queue => u64::from(in_flight.unwrap_or(0)) * 1_000,
    };
    let waits = u64::from(backlog_ms.unwrap_or(0)) * 1_000 / u64::from(policy.catch_up_ms).max(1);
    works.max(waits).min(unit.slots_milli()) * report.weight_permille() / 1_000
}

#[cfg(test)]
mod tests {
    use super::super::observation::Phase;
    use super::*;
    use crate::ids::InstanceNumber;

    const UNIT: Unit = Unit { slots: 4, capacity_milli: 4_000 };

    /// What instances work on, each by this word of this age.
    fn of(words: &[(Option<u32>, u32)]) -> Unseen {
        let policy = Policy { work: Work::Queue, ..Policy::between(1, 8) };
        let one = |(in_flight, age_ms): &(Option<u32>, u32)| {
            let value = Report { in_flight: *in_flight, ..Report::default() };
            let report = Some(Told { value, age_ms: *age_ms, lease_ms: 3_000 });
            Instance { phase: Phase::Ready, phase_ms: 60_000, report, ..Instance::default() }
        };
        let instances = (1..).map(InstanceNumber).zip(words.iter().map(one)).collect();
        unseen(&policy, &Observation { instances, ..Observation::default() }, &UNIT)
    }

    #[test]
    fn who_does_not_say_what_it_works_on_is_taken_for_the_mean_of_those_that_do() {
        let silent = |count, milli| Some(Silent { count, milli });
        assert_eq!(of(&[(Some(4), 0), (Some(1), 0)]), Unseen { milli: 5_000, silent: None });
        assert_eq!(of(&[(Some(4), 0), (None, 0)]), Unseen { milli: 8_000, silent: silent(1, 4_000) });
        assert_eq!(of(&[(Some(4), 0), (Some(0), 0), (None, 0)]).silent, silent(1, 2_000));
        assert_eq!(of(&[(None, 0), (None, 0)]).silent, silent(2, 0), "nobody says anything");
    }

    #[test]
    fn who_falls_silent_is_taken_for_what_it_said_last_as_long_as_that_is_more_than_the_mean() {
        let taken = |age_ms| of(&[(Some(1), 0), (Some(4), age_ms)]).silent.map(|it| it.milli);
        assert_eq!([taken(2_999), taken(3_000), taken(4_500)], [None, Some(4_000), Some(2_000)]);
        assert_eq!([taken(6_000), taken(u32::MAX)], [Some(1_000); 2]);
    }
}
