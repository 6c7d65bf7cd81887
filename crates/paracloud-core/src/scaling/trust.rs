//! How far a claim is believed: inside of what the gateways see, wider where it was true before.
//!
//! A claim refines what is measured. The band around the measured figure is from half to twice of it for who is trusted,
//! and narrower for who was not right: trust falls with every disagreement and rises slowly again, between
//! [`TRUST_MIN_PERMILLE`] and 1000. What is cut off is in the record.

use super::measured::{Fleet, Known};
use super::observation::{Instance, Report, Told};
use super::policy::{Assumed, TIME_MS_MAX, Work};
use super::record::{Bound, Figure, Input, Subject};
use super::staffing::Unit;
use alloc::vec::Vec;

/// Who was never right is still believed this much, in thousandths: it can be right again.
pub const TRUST_MIN_PERMILLE: u32 = 50;
/// Trust of who has not been wrong yet.
const TRUST_MAX_PERMILLE: u32 = 1_000;
/// Disagreement for this long takes most of the trust, in milliseconds.
const LOSES_MS: u64 = 16_000;
/// Agreement for this long gives a whole of it back, in milliseconds.
const GAINS_MS: u64 = 200_000;
/// The longest warm-up that is believed, in milliseconds.
pub(super) const WARM_MS_MAX: u32 = 600_000;
/// The least that a cold instance is taken for, in thousandths, whatever it says.
pub(super) const COLD_PERMILLE_MIN: u32 = 250;
/// The greatest capacity there is, in thousandths of a request a second.
const CAPACITY_MILLI_MAX: u64 = 1_000_000_000;
/// The most requests that an instance works on at once.
const SLOTS_MAX: u64 = 10_000;

/// The longest queue of an instance that is looked at, in milliseconds of a slot.
const QUEUE_MS_MAX: u64 = 1_000_000_000_000;

/// What an instance's capacity is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Basis {
    /// Its own word, or what was seen when it was saturated.
    Known,
    /// It has done so much; it may be able to do more.
    AtLeast,
}

/// What an instance is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    /// Thousandths of a request a second.
    pub(super) capacity: Option<(u64, Basis)>,
    /// Milliseconds.
    pub(super) warm_ms: u32,
    /// Thousandths.
    pub(super) cold_permille: u32,
}

/// The trust that a new instance of these begins with: the mean of theirs.
pub(super) fn of_all<'a>(known: impl Iterator<Item = &'a Known>) -> u32 {
    let (sum, count) =
        known.fold((0_u64, 0_u64), |(sum, count), it| (sum + u64::from(it.trust_permille), count + 1));
    sum.checked_div(count).and_then(|mean| u32::try_from(mean).ok()).unwrap_or(TRUST_MAX_PERMILLE)
}

impl Known {
    /// It was wrong for this long.
    pub(super) fn disagrees(&mut self, elapsed_ms: u64) {
        let lost = (u64::from(self.trust_permille) * elapsed_ms).div_ceil(LOSES_MS);
        let left = u64::from(self.trust_permille).saturating_sub(lost);
        self.trust_permille = u32::try_from(left).unwrap_or(0).max(TRUST_MIN_PERMILLE);
    }

    /// It was right for this long.
    pub(super) fn agrees(&mut self, elapsed_ms: u64) {
        let gained = u32::try_from(elapsed_ms * u64::from(TRUST_MAX_PERMILLE) / GAINS_MS).unwrap_or(0);
        self.trust_permille = self.trust_permille.saturating_add(gained).min(TRUST_MAX_PERMILLE);
    }

    /// A claim no less than the band around one figure allows, and no more than that around another.
    fn within_bands(&self, claim: u64, least: u64, most: u64) -> u64 {
        let (low, high) = (self.band(least).0, self.band(most).1);
        claim.clamp(low, high.max(low))
    }

    /// The band around a measured figure.
    fn band(&self, measured: u64) -> (u64, u64) {
        let width = 1_000 + u64::from(self.trust_permille);
        (measured * 1_000 / width, measured * width / 1_000)
    }
}

/// What somebody told, what it was taken for, and what stands between.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    pub(super) told: u64,
    pub(super) used: u64,
    pub(super) age_ms: u32,
    pub(super) trust_permille: u32,
    pub(super) by: Bound,
}

impl Said {
    /// What the instances say together now.
    pub(super) fn of_all(told: u64, used: u64, by: Bound) -> Self {
        Self { told, used, age_ms: 0, trust_permille: TRUST_MAX_PERMILLE, by }
    }
}

/// Writes down what somebody told and what is made of it.
pub(super) struct Notes<'a> {
    pub(super) inputs: &'a mut Vec<Input>,
}

impl Notes<'_> {
    pub(super) fn told(&mut self, of: Subject, figure: Figure, said: Said) {
        // What counts no more counts for nothing also where that is what was said.
        let bound = (said.told != said.used || said.by == Bound::Lease).then_some(said.by);
        let (age_ms, trust_permille) = (Some(said.age_ms), Some(said.trust_permille));
        self.inputs.push(Input {
            of,
            figure,
            told: Some(said.told),
            used: said.used,
            age_ms,
            trust_permille,
            bound,
        });
    }

    pub(super) fn taken(&mut self, of: Subject, figure: Figure, used: u64, age_ms: Option<u32>) {
        self.inputs.push(Input { of, figure, told: None, used, age_ms, trust_permille: None, bound: None });
    }
}

/// How long an instance is cold, in milliseconds, and what it can do until then, in thousandths.
pub(super) fn warmth(report: Option<&Report>, assumed: &Assumed) -> (u32, u32) {
    let warm_ms = report.and_then(|it| it.warm_ms).map_or(assumed.warm_ms, |it| it.min(WARM_MS_MAX));
    let cold_permille = report.and_then(|it| it.cold_permille);
    (warm_ms, cold_permille.map_or(assumed.cold_permille, |it| it.clamp(COLD_PERMILLE_MIN, 1_000)))
}

/// What an instance is taken for.
pub(super) fn figures(
    of: Subject,
    report: Option<&Told<Report>>,
    known: &mut Known,
    fleet: Fleet,
    assumed: &Assumed,
    elapsed_ms: u64,
    notes: &mut Notes<'_>,
) -> Figures {
    let good = report.filter(|it| it.is_good()).map(|it| &it.value);
    let (warm_ms, cold_permille) = warmth(good, assumed);
    let capacity = capacity(of, report, known, fleet, elapsed_ms, notes);
    Figures { capacity, warm_ms, cold_permille }
}

fn capacity(
    of: Subject,
    report: Option<&Told<Report>>,
    known: &mut Known,
    fleet: Fleet,
    elapsed_ms: u64,
    notes: &mut Notes<'_>,
) -> Option<(u64, Basis)> {
    let exact = known.capacity.exact_milli.map(u64::from);
    let least = u64::from(known.capacity.least_milli);
    let kind = fleet.capacity.exact_milli.map(u64::from);
    // The smaller one of its kind need not do what a larger one did.
    let extent = known.extent(report.and_then(|it| it.value.slots));
    let of_kind = |milli| fleet.of(milli, extent);
    let measured = exact.or_else(|| kind.map(of_kind));
    let kind_done = u64::from(fleet.capacity.least_milli);
    // What others of its kind did it can do, too, as far as anybody knows.
    let at_least = least.max(of_kind(kind_done));
    let alone = measured
        .map(|it| (it.max(1), Basis::Known))
        .or_else(|| (least > 0).then_some((at_least, Basis::AtLeast)));
    // Who says that it can do nothing at all says that it is not ready, and that is said elsewhere.
    let told = report.and_then(|it| Some((it, it.value.capacity_milli.filter(|milli| *milli > 0)?)));
    let Some((report, told)) = told else {
        if let Some((milli, _)) = alone {
            notes.taken(of, Figure::Capacity, milli, None);
        }
        return alone;
    };
    let told = u64::from(told);
    let claim = told.min(CAPACITY_MILLI_MAX);
    let done = least.max(kind_done);
    let expected = measured.unwrap_or(0).max(at_least);
    if claim < expected / 2 || exact.or(kind).is_some_and(|it| claim > it * 2) {
        known.disagrees(elapsed_ms);
    }
    let (bounded, by) = match (exact, kind) {
        (Some(exact), _) => (known.within_bands(claim, exact, exact), Bound::Measured),
        (None, Some(kind)) => (known.within_bands(claim, of_kind(kind), kind), Bound::Fleet),
        (None, None) => (claim, Bound::Measured),
    };
    // What was done before can be done again, a tenth of it being chance; so can what others of its kind did, nearly.
    let proven = (least * 9 / 10).max(known.band(of_kind(kind_done)).0);
    let (bounded, by) = if bounded < proven { (proven, Bound::Done) } else { (bounded, by) };
    let most = most_by_slots(report, fleet, done).filter(|_| measured.is_none()).unwrap_or(u64::MAX);
    let (bounded, by) = if bounded > most { (most, Bound::Little) } else { (bounded, by) };
    let by_slots = by_slots(report, known, fleet).map_or(0, |milli| milli.min(done * 2));
    let (bounded, by) = if bounded < by_slots { (by_slots, Bound::Little) } else { (bounded, by) };
    let weight = report.weight_permille();
    let by = if weight < 1_000 { Bound::Lease } else { by };
    let (used, basis) = match alone {
        Some((measured, Basis::Known)) => {
            ((bounded * weight + measured * (1_000 - weight)) / 1_000, Basis::Known)
        }
        // What it has done is no estimate that its word could fade to.
        Some((least, Basis::AtLeast)) if weight == 0 => (least, Basis::AtLeast),
        None if weight == 0 => return None,
        Some((_, Basis::AtLeast)) | None => (bounded, Basis::Known),
    };
    let used = used.max(1);
    let said = Said { told, used, age_ms: report.age_ms, trust_permille: known.trust_permille, by };
    notes.told(of, Figure::Capacity, said);
    Some((used, basis))
}

/// What an instance can do at least by Little's law, in thousandths of a request a second: what it works on at once, by how
/// long requests took of late, waiting included.
fn by_slots(report: &Told<Report>, known: &Known, fleet: Fleet) -> Option<u64> {
    let slots = report.value.slots.filter(|_| report.is_good())?;
    let (own, kind) = (known.times.mean_us(), fleet.times.mean_us());
    // Who is as quick as its kind, but for a quarter, is taken for its kind: of many requests the mean is less by chance.
    let is_usual = |own: u64| kind.is_some_and(|kind| own.abs_diff(kind) <= kind / 4);
    let mean_us = own.filter(|own| !is_usual(*own)).or(kind).or(own)?;
    (u64::from(slots).min(SLOTS_MAX) * 1_000_000_000).checked_div(mean_us)
}

/// What an instance that was never saturated can do at most by Little's law, in thousandths of a request a second: twice of
/// what it works on at once by its own word, by how long a request takes at best. What was done can be done twice over, too:
/// where everything waited from the first request on, nobody has seen how long one takes at best.
fn most_by_slots(report: &Told<Report>, fleet: Fleet, done_milli: u64) -> Option<u64> {
    let slots = u64::from(report.value.slots?).clamp(1, SLOTS_MAX);
    let alone_milli = (slots * 1_000_000_000).checked_div(fleet.best_us?)?;
    Some(alone_milli.max(done_milli).saturating_mul(2))
}

/// Requests that an instance has at once when it does this much and none waits: Little's law.
pub(super) fn at_once(capacity_milli: u64, best_us: u64) -> u64 {
    capacity_milli.saturating_mul(best_us).div_ceil(1_000_000_000).clamp(1, SLOTS_MAX)
}

/// How many requests an instance works on at once. What it says is held against Little's law: requests at once are
/// requests a second, times how long one takes. No more than twice of what it needs for what it is taken for; and no fewer
/// than half of what it needs for what was `done`, if that can contradict it. It cannot where, by its word, some waited
/// also when requests were at their best: then that time has waiting in it, and Little's law counts who waits as well.
pub(super) fn slots(told: u64, (done_milli, capacity_milli): (u64, u64), best: Option<Best>) -> u64 {
    let told = told.clamp(1, SLOTS_MAX);
    let Some(Best { us, at_milli }) = best else { return told };
    let most = at_once(capacity_milli, us) * 2;
    let least = at_once(done_milli, us).div_ceil(2);
    let least = if at_milli > told * 1_000 { told.min(least) } else { least };
    told.clamp(least.min(most), most)
}

/// How long a request takes at best, in microseconds, and how many were in an instance at once when that was seen, in
/// thousandths.
#[derive(Debug, Clone, Copy)]
pub(super) struct Best {
    pub(super) us: u64,
    pub(super) at_milli: u64,
}

/// What holds for every claim of a queue in one decision.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueBounds {
    /// What one instance is.
    pub(super) unit: Unit,
    /// Requests that an instance works on at once; `None`: not known, and no request in an instance is known to wait.
    pub(super) at_once: Option<u64>,
    /// What an instance may claim beyond what is seen while it is trusted, in milliseconds of a slot.
    pub(super) beyond_ms: u64,
    /// What it may claim of what nobody sees.
    pub(super) unseen_ms: u64,
    /// Those that serve can do more than is offered, so that a queue must become shorter.
    pub(super) has_surplus: bool,
    pub(super) work: Work,
    pub(super) elapsed_ms: u64,
}

/// Whether gateways see nothing of what an instance tells of its work.
pub(super) fn is_unseen(work: Work, report: &Report) -> bool {
    work == Work::Queue || report.is_unseen
}

/// Work that waits in an instance, in milliseconds of a slot: what it says, between what the gateways see and what they
/// would have to see. What they cannot see costs no trust, and gives none.
pub(super) fn queue_ms(
    of: Subject,
    instance: &Instance,
    known: &mut Known,
    bounds: &QueueBounds,
    notes: &mut Notes<'_>,
) -> u64 {
    let &QueueBounds { unit, at_once, beyond_ms, unseen_ms, has_surplus, work, elapsed_ms } = bounds;
    // Requests that come beside a queue are no work of it.
    let measured = instance.measured.filter(|_| work == Work::Requests);
    let outstanding = measured.map_or(0, |it| u64::from(it.in_flight));
    let seen = at_once.map_or(0, |at_once| outstanding.saturating_sub(at_once));
    let seen_ms = seen.saturating_mul(unit.work_ms()).min(QUEUE_MS_MAX);
    let told = instance.report.and_then(|it| Some((it, u64::from(it.value.backlog_ms?))));
    let Some((report, told_ms)) = told else {
        known.backlog_ms = None;
        return seen_ms;
    };
    let is_unseen = is_unseen(work, &report.value);
    let is_seen = !is_unseen && measured.is_some();
    let beyond_ms = if is_unseen { unseen_ms } else { beyond_ms }.min(QUEUE_MS_MAX);
    let claim_ms = told_ms.min(TIME_MS_MAX.into()) * report.weight_permille() / 1_000;
    let slack_ms = 2 * unit.slots * unit.work_ms();
    let known_ms = known.backlog_ms.replace(u32::try_from(told_ms).unwrap_or(u32::MAX)).map(u64::from);
    let is_no_shorter = known_ms.is_none_or(|known_ms| told_ms + elapsed_ms * unit.slots / 8 >= known_ms);
    let says_less = is_seen && claim_ms + slack_ms < seen_ms / 2;
    let says_more = is_seen && claim_ms > 2 * seen_ms + slack_ms;
    if report.is_good() {
        if says_less || says_more && has_surplus && is_no_shorter {
            known.disagrees(elapsed_ms);
        } else if !says_more && !is_unseen {
            known.agrees(elapsed_ms);
        }
    }
    let trusted_ms = beyond_ms * u64::from(known.trust_permille) / 1_000;
    let ceiling_ms = if is_seen { 2 * seen_ms + slack_ms } else { seen_ms } + trusted_ms;
    let (used, by) = match (claim_ms < seen_ms, claim_ms > ceiling_ms) {
        (true, _) => (seen_ms, if report.is_good() { Bound::GatewaysSeeMore } else { Bound::Lease }),
        (false, true) if is_seen => (ceiling_ms, Bound::GatewaysSeeLess),
        (false, true) => (ceiling_ms, Bound::Doubling),
        (false, false) => (claim_ms, if report.is_good() { Bound::Bounds } else { Bound::Lease }),
    };
    let (age_ms, trust_permille) = (report.age_ms, known.trust_permille);
    notes.told(of, Figure::Backlog, Said { told: told_ms, used, age_ms, trust_permille, by });
    used
}

#[cfg(test)]
mod tests;
