//! What bounds a decision whatever it is about: the greatest need of late, and the budget of starts and stops.

use super::policy::{Flap, Hold};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Parts that the time of a hold is cut into.
const PARTS: u64 = 32;

/// The greatest needs of late. What counts is a little more than the time asked for, never less.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Peaks {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Part {
    start_ms: u64,
    last_ms: u64,
    need: u32,
}

/// The greatest need within a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Peak {
    /// How much.
    pub need: u32,
    /// How long it still counts, in milliseconds.
    pub left_ms: u64,
}

impl Peaks {
    /// Whether nothing was needed yet.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Counts a need, and says the greatest within the hold.
    pub(super) fn add(&mut self, now_ms: u64, hold_ms: u64, need: u32) -> Peak {
        let part_ms = (hold_ms / PARTS).max(1);
        match self.parts.last_mut() {
            Some(last) if now_ms.saturating_sub(last.start_ms) < part_ms => {
                last.last_ms = now_ms;
                last.need = last.need.max(need);
            }
            _ => self.parts.push(Part { start_ms: now_ms, last_ms: now_ms, need }),
        }
        self.parts.retain(|part| part.last_ms.saturating_add(hold_ms) > now_ms || part.last_ms == now_ms);
        // A hold that has become much longer finds parts that were cut for a shorter one.
        let excess = self.parts.len().saturating_sub(usize::try_from(2 * PARTS).unwrap_or(usize::MAX));
        let forgotten = self.parts.drain(..excess).map(|part| part.need).max();
        if let (Some(need), Some(first)) = (forgotten, self.parts.first_mut()) {
            first.need = first.need.max(need);
        }
        let top = self.parts.iter().max_by_key(|part| (part.need, part.last_ms));
        let left_ms = top.map_or(0, |top| top.last_ms.saturating_add(hold_ms).saturating_sub(now_ms));
        Peak { need: top.map_or(need, |top| top.need), left_ms }
    }
}

/// How long the greatest need counts: as long as a few starts take, within the policy's bounds.
pub(super) fn hold_ms(hold: &Hold, start_ms: Option<u64>) -> u64 {
    let (least, most) = (u64::from(hold.min_ms), u64::from(hold.max_ms));
    let Some(start_ms) = start_ms else { return hold.unknown_ms.into() };
    start_ms.saturating_mul(hold.starts.into()).clamp(least, most)
}

/// Starts and stops within the window.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct FlapLedger {
    actions: Vec<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Action {
    at_ms: u64,
    count: u32,
}

impl FlapLedger {
    /// Forgets what is older than the window.
    pub(super) fn advance(&mut self, now_ms: u64, flap: &Flap) {
        self.actions.retain(|action| action.at_ms.saturating_add(flap.per_ms.into()) > now_ms);
    }

    /// Starts and stops within the window.
    pub(super) fn spent(&self) -> u32 {
        self.actions.iter().fold(0, |spent, action| spent.saturating_add(action.count))
    }

    /// Starts that are left.
    pub(super) fn starts_left(&self, flap: &Flap) -> u32 {
        flap.actions.saturating_sub(self.spent())
    }

    /// Stops that are left: half of the budget is for starts.
    pub(super) fn stops_left(&self, flap: &Flap) -> u32 {
        flap.actions.div_ceil(2).saturating_sub(self.spent())
    }

    /// Counts starts or stops.
    pub(super) fn spend(&mut self, now_ms: u64, count: u32) {
        match self.actions.last_mut() {
            Some(last) if last.at_ms == now_ms => last.count = last.count.saturating_add(count),
            _ if count > 0 => self.actions.push(Action { at_ms: now_ms, count }),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_need_counts_for_the_hold_and_not_much_longer() {
        let mut peaks = Peaks::default();
        assert_eq!(peaks.add(0, 60_000, 9), Peak { need: 9, left_ms: 60_000 });
        for second in 1..60 {
            assert_eq!(peaks.add(second * 1_000, 60_000, 3).need, 9, "after {second} s");
        }
        let after = (60..64).map(|second| peaks.add(second * 1_000, 60_000, 3).need);
        assert_eq!(after.last(), Some(3));
    }

    #[test]
    fn what_is_kept_of_needs_is_bounded_and_forgets_no_peak() {
        let mut peaks = Peaks::default();
        peaks.add(0, 1_000, 9);
        for ms in 1..5_000 {
            let hold_ms = if ms % 2 == 0 { 1_000 } else { 86_400_000 };
            peaks.add(ms, hold_ms, 1);
            assert!(peaks.parts.len() <= 64);
        }
        let mut peaks = Peaks::default();
        peaks.add(0, 64, 9);
        assert!((1..400).all(|step| peaks.add(step * 10, 320 + step * 320, 1).need == 9));
    }

    #[test]
    fn a_hold_follows_what_a_start_costs() {
        let hold = Hold { unknown_ms: 60_000, min_ms: 15_000, max_ms: 300_000, starts: 4 };
        let holds = [None, Some(1_000), Some(20_000), Some(900_000)].map(|start_ms| hold_ms(&hold, start_ms));
        assert_eq!(holds, [60_000, 15_000, 80_000, 300_000]);
    }

    #[test]
    fn stops_leave_half_of_the_budget_to_starts() {
        let flap = Flap { actions: 12, per_ms: 600_000 };
        let mut ledger = FlapLedger::default();
        ledger.spend(0, 6);
        assert_eq!((ledger.starts_left(&flap), ledger.stops_left(&flap)), (6, 0));
        ledger.advance(599_999, &flap);
        assert_eq!(ledger.spent(), 6);
        ledger.advance(600_000, &flap);
        assert_eq!((ledger.starts_left(&flap), ledger.stops_left(&flap)), (12, 6));
    }
}
