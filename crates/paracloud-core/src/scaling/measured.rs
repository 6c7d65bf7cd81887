//! What the gateways' figures say by themselves: how much an instance can do.
//!
//! An instance's capacity is seen when it is saturated: requests take twice as long as they take at best, and what it then
//! completes is what it can do. As long as it is not, what it completes is only the least that it can do. So a fleet in
//! which nothing says anything of itself can be planned too, more slowly: it must have been saturated once.

use super::observation::{Instance, Measured};
use super::trust::{self, Best};
use serde::{Deserialize, Serialize};

/// Answers that make a window worth judging.
const COMPLETIONS: u64 = 50;
/// Answers that make one of [`WINDOW_MS`] worth judging.
const COMPLETIONS_MIN: u64 = 10;
/// Length after which fewer answers will do, in milliseconds.
const WINDOW_MS: u64 = 5_000;
/// Length after which a window is given up, in milliseconds.
const WINDOW_MS_MAX: u64 = 20_000;
/// The most milliseconds and answers of one observation that count, so that no sum overflows.
const FIGURE_MAX: u64 = 1_000_000_000;

/// How long requests took counts for about so many periods.
const TIMES_PERIODS: u64 = 30;

/// Who had as many requests as it works on, at every look for so long, does all that it can, however little that is: then requests
/// take longer than they did. In milliseconds.
const FULL_MS: u64 = 10_000;

/// What was once done is forgotten within about this time, in milliseconds.
const FORGETS_MS: u64 = 3_600_000;

/// What was learnt of one instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Known {
    /// How far its word is believed, in thousandths.
    pub(super) trust_permille: u32,
    /// The work that it said waits in it, in milliseconds of a slot.
    pub(super) backlog_ms: Option<u32>,
    /// How long it was starting when it was last seen to.
    pub(super) starting_ms: Option<u32>,
    /// How long its start took, by who noted when it was ordered and when it served: that was learnt.
    #[serde(default)]
    pub(super) start_ms: Option<u32>,
    /// What it can do, in thousandths of a request a second, as far as that was seen.
    pub(super) capacity: Capacity,
    /// The size at which that was seen.
    cpu_m: Option<u32>,
    #[serde(default)]
    memory_kib: Option<u32>,
    /// In its last window requests waited.
    waited: bool,
    /// For how long it has had as many requests as it works on, at every look, in milliseconds.
    #[serde(default)]
    full_ms: u64,
    window: Window,
    /// How long its requests took of late.
    pub(super) times: Times,
}

/// How long requests took of late, also while they waited: no less than they take alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Times {
    completions_milli: u64,
    service_us_sum: u64,
}

/// What was seen of a capacity, in thousandths of a request a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Capacity {
    /// Seen while saturated.
    pub(super) exact_milli: Option<u32>,
    /// The most that was ever done without being saturated.
    pub(super) least_milli: u32,
}

/// How large an instance is, as far as that says how much it can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Extent {
    /// Requests it works on at once, by its own word.
    pub(super) slots: Option<u32>,
    /// What it is given, in thousandths of a processor.
    pub(super) cpu_m: Option<u32>,
}

/// Answers that are being counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Window {
    over_ms: u64,
    completions: u64,
    service_us_sum: u64,
    /// The fewest that were in it at a look.
    in_flight_min: Option<u32>,
}

/// A window that is worth judging.
#[derive(Debug, Clone, Copy)]
struct Seen {
    over_ms: u64,
    rate_milli: u32,
    mean_us: u64,
    completions: u64,
    in_flight_min: u32,
}

/// What was learnt of all instances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Fleet {
    /// What an instance can do.
    pub(super) capacity: Capacity,
    /// How large the one is that did the most.
    #[serde(default)]
    pub(super) most_of: Extent,
    /// How long a request takes at best, in microseconds.
    pub(super) best_us: Option<u64>,
    /// How many were in an instance at once when that was seen, in thousandths: with more than it works on, some waited.
    #[serde(default)]
    pub(super) best_at_milli: u64,
    /// From decision to ready, in milliseconds.
    pub(super) boot_ms: Option<u32>,
    /// How long requests took of late in those that are warm.
    pub(super) times: Times,
}

impl Times {
    /// Counts answers of one look; what was counted before counts a little less.
    fn add(&mut self, measured: &Measured, period_ms: u32) {
        let window_ms = TIMES_PERIODS * u64::from(period_ms);
        let over_ms = u64::from(measured.over_ms).min(window_ms);
        let lost = |figure: u64| {
            let lost = u128::from(figure) * u128::from(over_ms) / u128::from(window_ms.max(1));
            u64::try_from(lost).unwrap_or(figure)
        };
        let left = |figure: u64| figure - lost(figure).min(figure);
        let completions_milli = u64::from(measured.completions).min(FIGURE_MAX) * 1_000;
        self.completions_milli = left(self.completions_milli) + completions_milli;
        self.service_us_sum = left(self.service_us_sum) + measured.service_us_sum.min(1_000 * FIGURE_MAX);
    }

    /// How long one took in the mean, in microseconds, once enough were answered.
    pub(super) fn mean_us(&self) -> Option<u64> {
        let is_enough = self.completions_milli >= COMPLETIONS * 1_000;
        is_enough.then(|| (self.service_us_sum / (self.completions_milli / 1_000)).max(1))
    }
}

impl Known {
    /// One of which nothing is known but how far its kind is believed.
    pub(super) fn trusted(trust_permille: u32) -> Self {
        Self { trust_permille, ..Self::default() }
    }

    /// Whether what it does is all that it can do.
    pub(super) fn is_full(&self) -> bool {
        self.full_ms >= FULL_MS
    }

    /// How large it is, if it says that it works on so many at once.
    pub(super) fn extent(&self, slots: Option<u32>) -> Extent {
        Extent { slots, cpu_m: self.cpu_m }
    }

    /// Counts what was measured of this instance. A cold one teaches nothing: it is slow for another reason.
    pub(super) fn learn(&mut self, instance: &Instance, is_cold: bool, period_ms: u32, fleet: &mut Fleet) {
        if (self.cpu_m, self.memory_kib) != (instance.cpu_m, instance.memory_kib) {
            (self.window, self.capacity, self.full_ms) = (Window::default(), Capacity::default(), 0);
            self.times = Times::default();
            (self.cpu_m, self.memory_kib) = (instance.cpu_m, instance.memory_kib);
        }
        let Some(measured) = instance.measured else { return };
        if is_cold {
            (self.window, self.times, self.full_ms) = (Window::default(), Times::default(), 0);
            return;
        }
        self.times.add(&measured, period_ms);
        fleet.times.add(&measured, period_ms);
        self.window.add(&measured);
        let Some(seen) = self.window.close() else { return };
        let waits = fleet.judge(&seen) && seen.in_flight_min >= 2;
        // One window may be chance, or the end of a queue.
        let is_saturated = core::mem::replace(&mut self.waited, waits) && waits;
        let most = u64::from(fleet.capacity.least_milli);
        let rate = u64::from(seen.rate_milli);
        let slots = instance.report.filter(|it| it.is_good()).and_then(|it| it.value.slots);
        let extent = self.extent(slots);
        let is_full = fleet.filled_by(slots).is_some_and(|slots| u64::from(seen.in_flight_min) >= slots);
        self.full_ms = if is_full { self.full_ms.saturating_add(seen.over_ms) } else { 0 };
        if self.is_full() {
            self.capacity.least_milli = toward_rate(self.capacity.least_milli, seen.rate_milli, 4);
        }
        // What is slow without doing much is slow for another reason, unless it can do no more.
        let does_much = is_saturated && rate >= fleet.of(most, extent) / 2;
        self.capacity.learn(seen.rate_milli, does_much || self.is_full());
        if rate >= most {
            fleet.most_of = extent;
        }
        let is_usual = fleet.does_much(seen.rate_milli);
        fleet.capacity.learn(seen.rate_milli, is_saturated && is_usual);
    }
}

impl Capacity {
    /// What an instance may be taken for by what was seen: no more than twice of what one did that was never saturated.
    pub(super) fn proven_milli(&self) -> u64 {
        self.exact_milli.map_or_else(|| u64::from(self.least_milli) * 2, u64::from)
    }

    /// What one was seen to do.
    pub(super) fn done_milli(&self) -> u64 {
        self.exact_milli.unwrap_or(self.least_milli).into()
    }

    fn learn(&mut self, rate_milli: u32, is_saturated: bool) {
        self.least_milli = raised(self.least_milli, rate_milli);
        self.exact_milli = match (self.exact_milli, is_saturated) {
            (Some(exact), true) if rate_milli < exact => Some(exact - (exact - rate_milli) / 4),
            (Some(exact), _) => Some(raised(exact, rate_milli)),
            (None, true) => Some(rate_milli),
            (None, false) => None,
        };
    }
}

/// A figure that was exceeded: a quarter of the way, since the most of many windows is chance.
fn raised(figure: u32, seen: u32) -> u32 {
    if figure == 0 { seen } else { figure + seen.saturating_sub(figure) / 4 }
}

/// The same down to a rate, if that is less.
fn toward_rate(from_milli: u32, rate_milli: u32, parts: u32) -> u32 {
    from_milli - from_milli.saturating_sub(rate_milli).div_ceil(parts)
}

/// One of so many parts of the way from a figure to another.
fn toward(from: u64, to: u64, parts: u64) -> u64 {
    if to < from { from - (from - to).div_ceil(parts) } else { from + (to - from).div_ceil(parts) }
}

impl Window {
    /// Counts a look. While nothing was there, nothing is learnt.
    fn add(&mut self, measured: &Measured) {
        if measured.completions == 0 && measured.in_flight == 0 {
            return;
        }
        self.over_ms += u64::from(measured.over_ms).min(FIGURE_MAX);
        self.completions += u64::from(measured.completions).min(FIGURE_MAX);
        self.service_us_sum =
            self.service_us_sum.saturating_add(measured.service_us_sum.min(1_000 * FIGURE_MAX));
        self.in_flight_min =
            Some(self.in_flight_min.map_or(measured.in_flight, |it| it.min(measured.in_flight)));
    }

    /// What was seen, once it is worth judging; then a new one begins.
    fn close(&mut self) -> Option<Seen> {
        let is_enough = self.completions >= COMPLETIONS && self.over_ms > 0
            || self.completions >= COMPLETIONS_MIN && self.over_ms >= WINDOW_MS;
        let window = *self;
        if is_enough || self.over_ms >= WINDOW_MS_MAX {
            *self = Self::default();
        }
        let rate_milli = (window.completions * 1_000_000).checked_div(window.over_ms)?;
        let seen = Seen {
            over_ms: window.over_ms,
            rate_milli: u32::try_from(rate_milli).unwrap_or(u32::MAX),
            mean_us: window.service_us_sum.checked_div(window.completions)?,
            completions: window.completions,
            in_flight_min: window.in_flight_min.unwrap_or(0),
        };
        is_enough.then_some(seen)
    }
}

impl Fleet {
    /// How long a request takes at best, and with how many beside it.
    pub(super) fn best(&self) -> Option<Best> {
        self.best_us.map(|us| Best { us, at_milli: self.best_at_milli })
    }

    /// What of a figure of the one that did the most is to be had from one that is perhaps smaller: its part by what both
    /// are given and by what both work on at once. Who is larger may do no more.
    pub(super) fn of(&self, milli: u64, extent: Extent) -> u64 {
        let part = |own: Option<u32>, most: Option<u32>| match (own, most) {
            (Some(own), Some(most)) if own < most => milli.saturating_mul(own.into()) / u64::from(most),
            _ => milli,
        };
        part(extent.slots, self.most_of.slots).min(part(extent.cpu_m, self.most_of.cpu_m))
    }

    /// Whether requests that take this long wait for each other. The best time falls soon and rises slowly, however long
    /// they take: while they wait, nothing is learnt of how long one takes alone.
    fn judge(&mut self, seen: &Seen) -> bool {
        let mean_us = seen.mean_us;
        let at_milli = u64::from(seen.rate_milli).saturating_mul(mean_us) / 1_000_000;
        let (best_us, best_at_milli) = match self.best_us {
            // The mean of a few is chance.
            Some(best_us) if seen.completions < COMPLETIONS => (best_us, self.best_at_milli),
            Some(best_us) if mean_us < best_us => {
                (best_us - (best_us - mean_us).div_ceil(8), toward(self.best_at_milli, at_milli, 8))
            }
            Some(best_us) => {
                (mean_us.min(best_us + best_us.div_ceil(256)), toward(self.best_at_milli, at_milli, 256))
            }
            None => (mean_us, at_milli),
        };
        (self.best_us, self.best_at_milli) = (Some(best_us), best_at_milli);
        mean_us >= best_us.saturating_mul(2)
    }

    /// How many requests fill one: those that it works on at once, told or by Little's law, or, while nobody was saturated, twice of
    /// those that were there when they were at their best.
    fn filled_by(&self, told: Option<u32>) -> Option<u64> {
        let best = self.best()?;
        let done_milli = self.capacity.done_milli();
        Some(match (told, self.capacity.exact_milli) {
            (Some(told), _) => trust::slots(told.into(), (done_milli, done_milli), Some(best)),
            (None, Some(_)) => trust::at_once(done_milli, best.us),
            (None, None) => best.at_milli.div_ceil(1_000).max(1) * 2,
        })
    }

    /// Whether it is not much less than one once did.
    fn does_much(&self, rate_milli: u32) -> bool {
        u64::from(rate_milli) >= u64::from(self.capacity.least_milli) * 3 / 4
    }

    /// Most of them are full and do no more than this, at so many at once. If that is much less than one once did, requests take
    /// longer than they did.
    pub(super) fn is_slower(&mut self, rate_milli: u32, slots: Option<u32>) {
        let Some(slots) = self.filled_by(slots).filter(|_| !self.does_much(rate_milli)) else { return };
        let Capacity { exact_milli, least_milli } = &mut self.capacity;
        *least_milli = rate_milli.min(*least_milli);
        *exact_milli = Some(exact_milli.map_or(rate_milli, |exact_milli| exact_milli.min(rate_milli)));
        let takes_us = (slots * 1_000_000_000).checked_div(rate_milli.into()).unwrap_or(0);
        self.best_us = self.best_us.map(|best_us| best_us.max(takes_us));
    }

    /// What an instance once did counts a little less each time: the app may have become slower.
    pub(super) fn forget(&mut self, elapsed_ms: u64) {
        let least = u64::from(self.capacity.least_milli);
        let left = least - (least * elapsed_ms / FORGETS_MS).min(least);
        self.capacity.least_milli = u32::try_from(left).unwrap_or(0);
    }

    /// Counts a start that took this long.
    pub(super) fn learn_boot(&mut self, boot_ms: u32) {
        self.boot_ms = Some(match self.boot_ms {
            Some(known_ms) if boot_ms < known_ms => known_ms - (known_ms - boot_ms) / 4,
            Some(known_ms) => known_ms + (boot_ms - known_ms) / 4,
            None => boot_ms,
        });
    }
}

#[cfg(test)]
mod tests;
