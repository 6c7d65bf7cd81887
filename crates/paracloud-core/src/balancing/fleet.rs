//! What is ordinary among the instances of an app, for those of whom something is not known.

use super::PAUSE_SHARE;
use super::inputs::Inputs;
use super::judged::pauses_soon;
use super::standing::Standing;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Figures of all that stand open but for their pauses; the medians of those that have one, or 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fleet {
    /// How many there are.
    pub open: u32,
    /// How many of them have a report that counts.
    pub reporting: u32,
    /// Each of them has one, and it is fresh.
    pub is_fresh: bool,
    /// How long requests take, in microseconds.
    pub typical_us: u64,
    /// And without a queue.
    pub service_us: u64,
    /// How many requests one works on at once.
    pub places: u64,
    /// What the gateway has in flight at one, in thousandths.
    pub own_milli: u64,
    /// What others have in flight at one, in thousandths.
    pub others_milli: u64,
    /// How many pause now, or before a request would end.
    pub pausing: u32,
    /// How many may.
    pub pausing_max: u32,
}

impl Fleet {
    /// `scratch` keeps its room for the next time.
    pub(super) fn of(inputs: &[Inputs], scratch: &mut Vec<u64>) -> Self {
        let open = || inputs.iter().filter(|it| it.standing == Standing::Open);
        let count = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
        let mut fleet = Self {
            open: count(open().count()),
            reporting: count(open().filter(|it| it.claimed.is_some()).count()),
            is_fresh: open().all(|it| it.claimed.is_some_and(|claimed| claimed.is_fresh())),
            typical_us: median(open().filter_map(|it| Some(it.measured?.mean_us)), scratch),
            service_us: median(open().filter_map(|it| Some(it.measured?.service_us)), scratch),
            places: median(open().filter_map(|it| it.claimed?.places()), scratch),
            own_milli: median(open().map(own_milli), scratch),
            others_milli: median(open().filter_map(|it| it.claimed?.others_milli()), scratch),
            ..Self::default()
        };
        fleet.pausing_max = (fleet.open / PAUSE_SHARE).max(1);
        fleet.pausing = count(open().filter(|it| pauses_soon(it, &fleet)).count());
        fleet
    }
}

/// What the gateway has in flight there, in thousandths, whatever it says of its weight.
pub(super) fn own_milli(inputs: &Inputs) -> u64 {
    u64::from(inputs.own) * 1_000
}

/// The lower one of two in the middle.
fn median(figures: impl Iterator<Item = u64>, scratch: &mut Vec<u64>) -> u64 {
    scratch.clear();
    scratch.extend(figures);
    if scratch.is_empty() {
        return 0;
    }
    let middle = (scratch.len() - 1) / 2;
    *scratch.select_nth_unstable(middle).1
}
