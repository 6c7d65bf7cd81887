//! How many slots it takes, and how many there are.
//!
//! A slot works on one request at a time. Offered load in slots is the rate times how long one takes; square-root
//! staffing adds what chance needs, and what waits is to be worked off within a stated time. Capacity counts for what
//! it is when a start that is ordered now would be ready: an instance that is cold by then counts as cold, one that is
//! ordered counts, one that should long be there does not.

use super::observation::{Instance, Phase};
use super::policy::Policy;
use super::trust::{COLD_PERMILLE_MIN, Figures, WARM_MS_MAX};
use serde::{Deserialize, Serialize};

/// How many standard deviations of the load there is room for, in thousandths.
const SPARE_PERMILLE: u64 = 1_500;
/// One of so many parts of what it takes may be missing without a start, as Kubernetes' autoscaler tolerates it.
const TOLERATED_ONE_OF: u64 = 10;
/// A start that takes this many times as long as starts take is not counted on,
const OVERDUE_STARTS: u64 = 4;
/// but for so long each is, in milliseconds: what takes a moment takes many times that on a machine that is busy.
const OVERDUE_MS_MIN: u64 = 5_000;
/// An instance that was ready and is not, or whose node is silent, is counted on for this long, in milliseconds.
const ABSENT_MS_MAX: u32 = 10_000;

/// What one warm instance of the usual size is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Unit {
    /// Requests it works on at once, at least 1.
    pub slots: u64,
    /// Requests, in thousandths of one a second, at least 1.
    pub capacity_milli: u64,
}

impl Unit {
    /// Slots, in thousandths.
    pub fn slots_milli(&self) -> u64 {
        self.slots * 1_000
    }

    /// How long one request takes in a slot, in milliseconds, at least 1.
    pub fn work_ms(&self) -> u64 {
        (self.slots * 1_000_000).div_ceil(self.capacity_milli)
    }
}

/// What it takes, in thousandths of a slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Need {
    /// For the requests that come.
    pub offered_milli: u64,
    /// For chance.
    pub spare_milli: u64,
    /// For what waits.
    pub queue_milli: u64,
}

impl Need {
    /// Whether so much of it is missing that it is not left to chance.
    pub(super) fn misses(&self, missing_milli: u64) -> bool {
        missing_milli > self.tolerated_milli()
    }

    /// What may be missing of it: a tenth, and nothing but what is spared.
    fn tolerated_milli(&self) -> u64 {
        self.spare_milli.min(self.total_milli() / TOLERATED_ONE_OF)
    }

    /// What nobody is kept for beyond it: half of what may be missing without a start, so that who went is not started again
    /// by the next chance.
    pub(super) fn least_milli(&self) -> u64 {
        self.total_milli() - self.tolerated_milli() / 2
    }

    /// All of it.
    pub fn total_milli(&self) -> u64 {
        self.offered_milli.saturating_add(self.spare_milli).saturating_add(self.queue_milli)
    }
}

/// Offered load, in thousandths of a slot.
pub(super) fn offered_milli(rate_milli: u64, unit: &Unit) -> u64 {
    let slots_milli =
        u128::from(rate_milli) * u128::from(unit.slots_milli()) / u128::from(unit.capacity_milli);
    u64::try_from(slots_milli).unwrap_or(u64::MAX).min(u64::MAX / 4_000)
}

/// What a load and a queue take.
pub(super) fn need(offered_milli: u64, queue_ms: u64, knows_slots: bool, policy: &Policy) -> Need {
    let target = u64::from(policy.target_permille).max(1);
    let by_target = (offered_milli * 1_000 / target).saturating_sub(offered_milli);
    let by_chance = (offered_milli * 1_000).isqrt() * SPARE_PERMILLE / 1_000;
    let spare_milli = if knows_slots { by_target.max(by_chance) } else { by_target };
    let queue_milli = queue_ms.saturating_mul(1_000) / u64::from(policy.catch_up_ms).max(1);
    Need { offered_milli, spare_milli, queue_milli }
}

/// How long a start takes, and until it is warm, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Start {
    /// To ready.
    pub boot_ms: u64,
    /// From there to all it can do.
    pub warm_ms: u64,
    /// What it can do until then, in thousandths.
    pub cold_permille: u64,
}

/// How long a start is counted on, in milliseconds.
fn overdue_ms(start: &Start) -> u64 {
    start.boot_ms.saturating_mul(OVERDUE_STARTS).max(OVERDUE_MS_MIN)
}

/// What an instance is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Worth {
    /// In thousandths of a slot.
    pub milli: u64,
    /// By what.
    pub by: WorthBy,
}

/// By what an instance is worth what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorthBy {
    /// It is taken for the usual one: nothing else is known of it.
    Usual,
    /// By what it can do, in thousandths of a request a second.
    Capacity(u64),
    /// It is cold: so much, in thousandths, of what it is worth when it is warm, in thousandths of a slot.
    Cold {
        /// Thousandths.
        permille: u32,
        /// Thousandths of a slot.
        warm_milli: u64,
    },
    /// It will not have started by then.
    Starts,
    /// It should have started long ago.
    Overdue,
    /// It has not served for too long.
    Away,
    /// It leaves.
    Leaves,
}

/// What an instance is worth once it is warm. One of which nothing is known is taken for the usual one, however much that can do by
/// its size.
pub(super) fn when_warm(figures: &Figures, unit: &Unit) -> Worth {
    match figures.capacity {
        Some((milli, _)) => Worth { milli: offered_milli(milli, unit), by: WorthBy::Capacity(milli) },
        None => Worth { milli: unit.slots_milli(), by: WorthBy::Usual },
    }
}

/// What an instance is worth in a time.
pub(super) fn worth(
    instance: &Instance,
    figures: &Figures,
    unit: &Unit,
    start: &Start,
    ahead_ms: u64,
) -> Worth {
    let phase_ms = u64::from(instance.phase_ms);
    let nothing = |by| Worth { milli: 0, by };
    let warm_for_ms = match instance.phase {
        Phase::Ready => phase_ms.saturating_add(ahead_ms),
        Phase::Starting if phase_ms >= overdue_ms(start) => return nothing(WorthBy::Overdue),
        Phase::Starting => {
            let left_ms = start.boot_ms.saturating_sub(phase_ms);
            let Some(warm_for_ms) = ahead_ms.checked_sub(left_ms) else { return nothing(WorthBy::Starts) };
            warm_for_ms
        }
        Phase::NotReady | Phase::Unknown if instance.phase_ms < ABSENT_MS_MAX => u64::MAX,
        Phase::NotReady | Phase::Unknown => return nothing(WorthBy::Away),
        Phase::Draining | Phase::Leaving => return nothing(WorthBy::Leaves),
    };
    let whole = when_warm(figures, unit);
    let cold = |permille: u32| {
        let (permille, warm_milli) = (permille.clamp(COLD_PERMILLE_MIN, 1_000), whole.milli);
        let milli = warm_milli * u64::from(permille) / 1_000;
        Worth { milli, by: WorthBy::Cold { permille, warm_milli } }
    };
    match instance.cold {
        Some(it) if u64::from(it.left_ms.min(WARM_MS_MAX)) > ahead_ms => {
            cold(it.permille.unwrap_or(figures.cold_permille))
        }
        // Who says that it is cold says when it is not any more.
        Some(_) => whole,
        None if warm_for_ms >= figures.warm_ms.into() => whole,
        None => cold(figures.cold_permille),
    }
}

/// Instances that a need takes when all of them are warm.
pub(super) fn instances(need_milli: u64, unit: &Unit) -> u32 {
    u32::try_from(need_milli.div_ceil(unit.slots_milli())).unwrap_or(u32::MAX)
}

/// Instances to be ordered for what is missing. A cold one is worth less; but never so many that there would be twice as
/// many as it takes once all are warm.
pub(super) fn missing(missing_milli: u64, count: u32, warm: u32, unit: &Unit, start: &Start) -> u32 {
    let worth = if start.warm_ms == 0 {
        unit.slots_milli()
    } else {
        unit.slots_milli() * start.cold_permille / 1_000
    };
    let ordered = u32::try_from(missing_milli.div_ceil(worth.max(1))).unwrap_or(u32::MAX);
    count.saturating_add(ordered).min(warm.saturating_mul(2).max(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::trust::Basis;

    const UNIT: Unit = Unit { slots: 4, capacity_milli: 40_000 };
    const START: Start = Start { boot_ms: 30_000, warm_ms: 60_000, cold_permille: 500 };
    const FIGURES: Figures =
        Figures { capacity: Some((40_000, Basis::Known)), warm_ms: 60_000, cold_permille: 500 };

    fn worth(phase: Phase, phase_ms: u32, ahead_ms: u64) -> u64 {
        let instance = Instance { phase, phase_ms, ..Instance::default() };
        super::worth(&instance, &FIGURES, &UNIT, &START, ahead_ms).milli
    }

    #[test]
    fn a_request_of_a_hundred_milliseconds_takes_a_tenth_of_a_slot_a_second() {
        assert_eq!(UNIT.work_ms(), 100);
        assert_eq!(offered_milli(500_000, &UNIT), 50_000);
    }

    #[test]
    fn chance_needs_the_root_of_the_load_and_at_least_what_the_target_leaves() {
        let policy = Policy { target_permille: 1_000, ..Policy::between(1, 8) };
        let needed = need(16_000, 0, true, &policy);
        assert_eq!((needed.spare_milli, needed.total_milli()), (6_000, 22_000));
        assert_eq!(need(16_000, 0, false, &policy).spare_milli, 0, "slots are not known");
        let policy = Policy { target_permille: 500, ..policy };
        assert_eq!(need(16_000, 0, true, &policy).spare_milli, 16_000);
    }

    #[test]
    fn what_waits_is_worked_off_within_the_stated_time() {
        let policy = Policy { catch_up_ms: 5_000, ..Policy::between(1, 8) };
        assert_eq!(need(0, 20_000, true, &policy).queue_milli, 4_000);
    }

    #[test]
    fn a_cold_instance_counts_half_and_a_warm_one_whole() {
        assert_eq!([worth(Phase::Ready, 10_000, 0), worth(Phase::Ready, 60_000, 0)], [2_000, 4_000]);
        assert_eq!(worth(Phase::Ready, 40_000, 30_000), 4_000, "warm by then");
    }

    #[test]
    fn who_says_nothing_is_the_usual_one_and_no_figure_is_too_large() {
        let unit = Unit { slots: 20_000, capacity_milli: 4_000_000_000_000 };
        let instance = Instance { phase: Phase::Ready, phase_ms: 90_000, ..Instance::default() };
        let worth = |capacity, unit: &Unit, phase_ms| {
            let instance = Instance { phase_ms, ..instance.clone() };
            super::worth(&instance, &Figures { capacity, ..FIGURES }, unit, &START, 0).milli
        };
        assert_eq!(worth(None, &unit, 90_000), unit.slots_milli());
        let most = Some((u64::from(u32::MAX) * 2, Basis::Known));
        assert!(worth(most, &Unit { capacity_milli: 1, ..unit }, 0) > 0);
    }

    #[test]
    fn what_is_ordered_counts_from_when_it_is_there_and_not_when_it_is_overdue() {
        let ordered = [(0, 29_000), (0, 30_000), (29_000, 30_000), (120_000, 30_000)];
        assert_eq!(
            ordered.map(|(for_ms, ahead_ms)| worth(Phase::Starting, for_ms, ahead_ms)),
            [0, 2_000, 2_000, 0]
        );
    }

    #[test]
    fn a_start_of_a_moment_that_takes_a_little_longer_is_still_counted_on() {
        let start = Start { boot_ms: 40, ..START };
        let worth = |phase_ms| {
            let instance = Instance { phase: Phase::Starting, phase_ms, ..Instance::default() };
            super::worth(&instance, &FIGURES, &UNIT, &start, 40).milli
        };
        assert_eq!([worth(1_000), worth(4_999), worth(5_000)], [2_000, 2_000, 0]);
    }

    #[test]
    fn who_is_away_for_a_moment_is_counted_on_and_who_leaves_is_not() {
        let away =
            [(Phase::NotReady, 5_000), (Phase::NotReady, 10_000), (Phase::Unknown, 0), (Phase::Draining, 0)];
        assert_eq!(away.map(|(phase, phase_ms)| worth(phase, phase_ms, 0)), [4_000, 0, 4_000, 0]);
    }

    #[test]
    fn a_tenth_may_be_missing_of_what_is_spared_and_nothing_of_what_comes() {
        let need = Need { offered_milli: 6_000, spare_milli: 2_000, queue_milli: 0 };
        assert_eq!([800, 801].map(|missing_milli| need.misses(missing_milli)), [false, true]);
        assert!(Need { spare_milli: 0, ..need }.misses(1));
        assert_eq!([need, Need { spare_milli: 300, ..need }].map(|it| it.least_milli()), [7_600, 6_150]);
    }

    #[test]
    fn cold_ones_are_ordered_for_what_they_are_worth_and_never_twice_as_many_as_it_takes() {
        assert_eq!(missing(8_000, 2, 4, &UNIT, &START), 6);
        assert_eq!(missing(80_000, 2, 4, &UNIT, &START), 8);
        assert_eq!(missing(8_000, 2, 4, &UNIT, &Start { warm_ms: 0, ..START }), 4);
    }
}
