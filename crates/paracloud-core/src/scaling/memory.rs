//! What a decision leaves to the next one. A plain value: whoever keeps it goes on where it was, also after a restart.

use super::announcements::Grades;
use super::limits::{FlapLedger, Peaks};
use super::load::Rates;
use super::measured::{Fleet, Known};
use super::observation::{Observation, Phase};
use super::trust;
use crate::ids::InstanceNumber;
use alloc::collections::BTreeMap;
use serde::{Deserialize, Serialize};

/// The most time that counts as passed between two decisions, in milliseconds: who slept for longer has not seen more.
const ELAPSED_MS_MAX: u64 = 5_000;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Memory {
    /// When it was planned the last time, in milliseconds.
    pub(super) planned_ms: Option<u64>,
    /// When gateways said something the last time, in milliseconds.
    pub(super) seen_ms: Option<u64>,
    /// Requests that came.
    pub(super) rates: Rates,
    /// What was learnt of each instance there is.
    pub(super) instances: BTreeMap<InstanceNumber, Known>,
    /// What was learnt of all of them.
    pub(super) fleet: Fleet,
    /// What was needed of late: instances.
    pub(super) needs: Peaks,
    /// What was needed of late with what is announced: instances. It counts while something is announced.
    pub(super) expected: Peaks,
    /// What was needed of late: thousandths of a processor of each.
    pub(super) sizes: Peaks,
    /// Starts and stops of late.
    pub(super) flaps: FlapLedger,
    /// When candidates for leaving were asked the last time, in milliseconds.
    pub(super) asked: BTreeMap<InstanceNumber, u64>,
    /// When an instance was made larger the last time, in milliseconds.
    pub(super) grown_ms: Option<u64>,
    /// How true announcements were.
    pub(super) grades: Grades,
}

/// What time it is, and how much of it has passed since the last decision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    /// Never earlier than in the decision before.
    pub(super) now_ms: u64,
    /// Bounded.
    pub(super) elapsed_ms: u64,
}

impl Memory {
    /// The time of this decision.
    pub(super) fn time(&mut self, observation: &Observation) -> Time {
        let last_ms = self.planned_ms.unwrap_or(observation.now_ms);
        let now_ms = observation.now_ms.max(last_ms);
        self.planned_ms = Some(now_ms);
        Time { now_ms, elapsed_ms: (now_ms - last_ms).min(ELAPSED_MS_MAX) }
    }

    /// Forgets instances that are gone and meets those that are new, with the trust that the others have.
    pub(super) fn meet(&mut self, observation: &Observation) {
        self.instances.retain(|number, _| observation.instances.contains_key(number));
        self.asked.retain(|number, _| observation.instances.contains_key(number));
        let trust_permille = trust::of_all(self.instances.values());
        for number in observation.instances.keys() {
            self.instances.entry(*number).or_insert_with(|| Known::trusted(trust_permille));
        }
    }

    /// Learns how long starts take: by who noted it, once of each; or else the figure of an instance that has just become ready,
    /// if it was seen while it started.
    pub(super) fn learn_starts(&mut self, observation: &Observation) {
        for (number, instance) in &observation.instances {
            let Some(known) = self.instances.get_mut(number) else { continue };
            match instance.phase {
                Phase::Starting => known.starting_ms = Some(instance.phase_ms),
                Phase::Ready => {
                    let seen_ms = known.starting_ms.take();
                    let boot_ms = match instance.start_ms {
                        Some(_) if known.start_ms == instance.start_ms => None,
                        Some(noted_ms) => Some(*known.start_ms.insert(noted_ms)),
                        None => seen_ms,
                    };
                    if let Some(boot_ms) = boot_ms {
                        self.fleet.learn_boot(boot_ms);
                    }
                }
                Phase::NotReady | Phase::Unknown | Phase::Draining | Phase::Leaving => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::observation::Instance;
    use super::*;

    /// What starts are taken for once these were seen, one after the other, of one instance.
    fn learnt(seen: &[(Phase, u32, Option<u32>)]) -> Option<u32> {
        let mut memory = Memory::default();
        for (phase, phase_ms, start_ms) in seen {
            let (phase, phase_ms, start_ms) = (*phase, *phase_ms, *start_ms);
            let instance = Instance { phase, phase_ms, start_ms, ..Instance::default() };
            let instances = [(InstanceNumber(1), instance)].into();
            let observation = Observation { instances, ..Observation::default() };
            memory.meet(&observation);
            memory.learn_starts(&observation);
        }
        memory.fleet.boot_ms
    }

    #[test]
    fn a_start_that_nobody_looked_at_is_learnt_from_who_noted_it_and_once() {
        use Phase::{Ready, Starting};
        assert_eq!(learnt(&[(Ready, 900, Some(40))]), Some(40));
        let again = [(Ready, 900, Some(40)), (Ready, 900, Some(80)), (Ready, 900, Some(80))];
        assert_eq!(learnt(&again), Some(50), "another process, a quarter of the way");
        assert_eq!(
            learnt(&[(Starting, 700, None), (Ready, 0, Some(900))]),
            Some(900),
            "more exactly than by looks"
        );
        assert_eq!(learnt(&[(Starting, 700, None), (Ready, 0, None)]), Some(700));
        assert_eq!(learnt(&[(Ready, 900, None)]), None, "nobody knows");
    }

    #[test]
    fn time_goes_forward_and_who_slept_has_not_seen_more_than_a_few_seconds() {
        let mut memory = Memory::default();
        let mut at = |now_ms| {
            let time = memory.time(&Observation { now_ms, ..Observation::default() });
            (time.now_ms, time.elapsed_ms)
        };
        assert_eq!([at(9_000), at(12_000), at(72_000)], [(9_000, 0), (12_000, 3_000), (72_000, 5_000)]);
        assert_eq!([at(1_000), at(73_000)], [(72_000, 0), (73_000, 1_000)], "a clock that was put back");
    }
}
