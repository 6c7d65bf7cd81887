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

    /// Learns how long starts take: the figure of an instance that has just become ready.
    pub(super) fn learn_starts(&mut self, observation: &Observation) {
        for (number, instance) in &observation.instances {
            let Some(known) = self.instances.get_mut(number) else { continue };
            match instance.phase {
                Phase::Starting => known.starting_ms = Some(instance.phase_ms),
                Phase::Ready => {
                    if let Some(boot_ms) = known.starting_ms.take() {
                        self.fleet.learn_boot(boot_ms);
                    }
                }
                Phase::NotReady | Phase::Unknown | Phase::Draining | Phase::Leaving => {}
            }
        }
    }
}
