//! From what was told and measured to what it takes and what there is.

use super::announcements::Now;
use super::load::Rate;
use super::measured::{Extent, Fleet};
use super::memory::{Memory, Time};
use super::observation::{Instance, Observation, Phase, Report};
use super::policy::{INSTANCES_MAX, Policy, Work};
use super::record::{Bound, Figure, Reasons, Subject};
use super::staffing::{self, Need, Start, Unit, Worth};
use super::trust::{self, Basis, Figures, Notes, QueueBounds, Said};
use super::unseen::{Unseen, unseen};
use crate::ids::InstanceNumber;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Gateways that said nothing for this long measure nothing, in milliseconds.
const SILENT_MS: u64 = 10_000;
/// One that says nothing of itself is taken for cold for this long, in milliseconds: it teaches nothing so long.
pub(super) const NEW_MS: u32 = 10_000;
/// What a request is taken for while nobody knows how long one takes, in milliseconds of a slot.
const WORK_MS: u64 = 1_000;

/// What is known of what an instance can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Knowledge {
    /// Told or measured.
    Known,
    /// It can do this much, perhaps more.
    AtLeast,
    /// Nothing.
    Nothing,
}

/// What was understood.
#[derive(Debug)]
pub(super) struct View {
    pub(super) knowledge: Knowledge,
    pub(super) unit: Unit,
    /// What each of those that are there is counted on for once it is warm, in thousandths of a slot.
    pub(super) each_milli: u64,
    /// Requests that an instance works on at once, as far as that is known.
    pub(super) at_once: Option<u64>,
    pub(super) start: Start,
    /// Whether what a start takes was told or measured.
    pub(super) knows_start: bool,
    pub(super) need: Need,
    /// What it would take if nothing were announced.
    pub(super) plain: Need,
    pub(super) figures: BTreeMap<InstanceNumber, Figures>,
    pub(super) is_blind: bool,
    pub(super) is_announced: bool,
    /// The load is what instances tell of a queue that gateways do not see.
    pub(super) is_queue: bool,
    /// Requests that wait in gateways.
    pub(super) waiting: u64,
}

impl View {
    /// What an instance is worth so many milliseconds from now, in thousandths of a slot.
    pub(super) fn worth_milli(&self, number: InstanceNumber, instance: &Instance, ahead_ms: u64) -> u64 {
        self.worth(number, instance, ahead_ms).map_or(0, |worth| worth.milli)
    }

    /// The same, and by what. `None`: it is one too many to be looked at.
    fn worth(&self, number: InstanceNumber, instance: &Instance, ahead_ms: u64) -> Option<Worth> {
        let figures = self.figures.get(&number)?;
        Some(staffing::worth(instance, figures, &self.unit, &self.start, ahead_ms))
    }
}

/// Understands it.
pub(super) fn understand(
    policy: &Policy,
    observation: &Observation,
    memory: &mut Memory,
    time: Time,
    reasons: &mut Reasons,
) -> View {
    let rate = rate(policy, observation, memory, time, reasons);
    let (start, knows_start) = start(policy, observation, memory, reasons);
    let figures = figures(policy, observation, memory, time, reasons);
    let told = told_slots(observation);
    let usual = Extent { slots: told, cpu_m: policy.size.map(|size| size.base_cpu_m) };
    let (capacity_milli, known) = typical(policy, observation, memory.fleet, usual, &figures);
    // What waits and what is worked on is told in slots: what one does in a second does not matter then.
    let knowledge = if policy.work == Work::Queue { Knowledge::Known } else { known };
    let proven_milli = capacity_milli.map_or(0, |milli| milli.min(memory.fleet.capacity.proven_milli()));
    let milli = (memory.fleet.capacity.done_milli().min(proven_milli), capacity_milli.unwrap_or(0));
    let little = |best| told.map(|told| trust::slots(told.into(), milli, best));
    let slots = little(memory.fleet.best());
    let knows_slots = slots.is_some();
    let seen_at_once = match (known, capacity_milli, memory.fleet.best_us) {
        // By a claim that nobody has tested nothing would wait.
        (Knowledge::Known, Some(_), Some(best_us)) => Some(trust::at_once(proven_milli, best_us)),
        _ => None,
    };
    let at_once = slots.or(seen_at_once);
    // Slots for other work than requests are nothing that the time of a request says anything of.
    let are_unseen = reports(observation).all(|report| trust::is_unseen(policy.work, &report));
    let slots = slots.filter(|_| !are_unseen).or_else(|| little(None));
    if let (Some(told), Some(used)) = (told, slots) {
        let notes = &mut Notes { inputs: &mut reasons.inputs };
        let by = if slots == little(None) { Bound::Bounds } else { Bound::Little };
        notes.told(Subject::App, Figure::Slots, Said::of_all(told.into(), used, by));
    }
    let slots = slots.unwrap_or(1);
    let capacity_milli = capacity_milli.unwrap_or(slots * 1_000_000 / WORK_MS).max(1);
    let unit = Unit { slots, capacity_milli };

    let planned_milli = rate.map_or(0, |rate| rate.planned_milli);
    let now = Now {
        now_ms: time.now_ms,
        rate_milli: planned_milli,
        seen_milli: rate.map(|it| it.short_milli),
        lead_ms: start.boot_ms + start.warm_ms + u64::from(policy.period_ms),
        work: policy.work,
        policy: &policy.announced,
    };
    let expected_milli = memory.grades.expect(observation, &now, &mut reasons.inputs);
    let knows_load = knowledge != Knowledge::Nothing && policy.work == Work::Requests;
    // What has just been added is taken for requests as they are at best: rare long ones show soon, and by what waits.
    let best_us = memory.fleet.best_us.filter(|_| knows_slots && knowledge == Knowledge::Known);
    let offered = |rate_milli: u64| {
        let added_milli = rate.map_or(0, |rate| rate_milli.saturating_sub(rate.long_milli));
        let known_milli = rate_milli - added_milli;
        let added_milli = match best_us {
            Some(best_us) => staffing::offered_milli(added_milli, &unit)
                .min(added_milli.saturating_mul(best_us) / 1_000_000),
            None => staffing::offered_milli(added_milli, &unit),
        };
        staffing::offered_milli(known_milli, &unit).saturating_add(added_milli)
    };
    let Unseen { milli: unseen_milli, silent } = unseen(policy, observation, &unit);
    let by_gateways = |rate_milli| if knows_load { offered(rate_milli) } else { 0 };
    // An app may tell of what gateways see under a name of its own: the same work counts once.
    let offered_milli = by_gateways(expected_milli).max(unseen_milli);
    let traffic = observation.traffic.filter(|_| policy.work == Work::Requests);
    let waiting = traffic.map_or(0, |it| u64::from(it.waiting));
    let is_blind = match policy.work {
        Work::Requests => rate.is_none() && !reports_are_good(observation),
        Work::Queue => !tells_of_work(observation),
    };
    let need = Need { offered_milli, ..Need::default() };
    let is_announced = expected_milli > planned_milli && policy.work == Work::Requests;
    let mut view = View {
        knowledge,
        unit,
        each_milli: each_milli(observation, &figures, &unit),
        at_once,
        start,
        knows_start,
        need,
        plain: need,
        figures,
        is_blind,
        is_announced,
        is_queue: policy.work == Work::Queue || unseen_milli > by_gateways(expected_milli),
        waiting,
    };
    let worth = |ahead_ms| {
        let worth = observation.live().map(|(number, it)| view.worth_milli(number, it, ahead_ms));
        worth.fold(0_u64, u64::saturating_add)
    };
    reasons.serving_milli = worth(0);
    let usual = |worth: &Worth| worth.milli == unit.slots_milli();
    let unusual = |(number, it)| Some((number, view.worth(number, it, 0).filter(|worth| !usual(worth))?));
    reasons.worth = observation.live().filter_map(unusual).collect();
    reasons.coming_milli = worth(start.boot_ms);
    let queue_ms = queue_ms(policy, observation, memory, time, &view, reasons);
    let queue_ms = match policy.work {
        // What waits adds the load again at most, or what serves: by when more are there, much of it is done.
        Work::Requests => {
            let slots_milli = offered_milli.max(reasons.serving_milli);
            let most_ms = slots_milli.saturating_mul(policy.catch_up_ms.into()) / 1_000;
            if queue_ms > most_ms {
                let notes = &mut Notes { inputs: &mut reasons.inputs };
                notes.told(Subject::App, Figure::Backlog, Said::of_all(queue_ms, most_ms, Bound::Load));
            }
            queue_ms.min(most_ms)
        }
        Work::Queue => queue_ms,
    };
    view.need = staffing::need(offered_milli, queue_ms, knows_slots, policy);
    let plain_milli = by_gateways(planned_milli).max(unseen_milli);
    // What waits because too few were there is worked off once. What waits though there ought to be enough comes again.
    let comes_again = policy.work == Work::Queue || reasons.serving_milli >= plain_milli;
    let plain_ms = if comes_again { queue_ms } else { 0 };
    view.plain = staffing::need(plain_milli, plain_ms, knows_slots, policy);
    reasons.rate = rate;
    reasons.silent = silent;
    reasons.planned_milli = expected_milli;
    // Of a queue it is what it works on at once that says how many it takes.
    let knows_unit = knowledge != Knowledge::Nothing && (policy.work == Work::Requests || knows_slots);
    reasons.unit = knows_unit.then_some(unit);
    reasons.start = Some(start);
    reasons.need = view.need;
    view
}

fn rate(
    policy: &Policy,
    observation: &Observation,
    memory: &mut Memory,
    time: Time,
    reasons: &mut Reasons,
) -> Option<Rate> {
    if let Some(traffic) = observation.traffic.filter(|it| it.over_ms > 0) {
        memory.rates.add(&traffic, policy.period_ms);
        memory.seen_ms = Some(time.now_ms);
    }
    let seen_ms = memory.seen_ms?;
    let silent_ms = time.now_ms - seen_ms.min(time.now_ms);
    let rate = memory.rates.rate(policy.period_ms).filter(|_| silent_ms < SILENT_MS)?;
    let age_ms = observation.traffic.map_or(0, |it| u64::from(it.age_ms)).saturating_add(silent_ms);
    let age_ms = Some(u32::try_from(age_ms).unwrap_or(u32::MAX));
    let mut notes = Notes { inputs: &mut reasons.inputs };
    // Of a queue both count for nothing.
    if policy.work == Work::Requests {
        notes.taken(Subject::Gateways, Figure::Rate, rate.planned_milli, age_ms);
        if let Some(traffic) = observation.traffic.filter(|it| it.waiting > 0) {
            notes.taken(Subject::Gateways, Figure::Waiting, traffic.waiting.into(), Some(traffic.age_ms));
        }
    }
    Some(rate)
}

/// What is told and still good.
fn reports(observation: &Observation) -> impl Iterator<Item = Report> {
    observation
        .live()
        .filter_map(|(_, it)| it.report.filter(|report| report.is_good()).map(|report| report.value))
}

/// How many requests one works on at once, by what they say.
fn told_slots(observation: &Observation) -> Option<u32> {
    let told = reports(observation).filter_map(|report| report.slots.map(u64::from));
    median(told).and_then(|slots| u32::try_from(slots).ok())
}

fn reports_are_good(observation: &Observation) -> bool {
    observation.ready().any(|(_, it)| it.report.is_some_and(|report| report.is_good()))
}

/// Whether one that serves tells what it works on, or what waits.
fn tells_of_work(observation: &Observation) -> bool {
    let good = |it: &Instance| it.report.filter(|report| report.is_good()).map(|report| report.value);
    observation
        .ready()
        .filter_map(|(_, it)| good(it))
        .any(|report| report.in_flight.or(report.backlog_ms).is_some())
}

fn start(
    policy: &Policy,
    observation: &Observation,
    memory: &Memory,
    reasons: &mut Reasons,
) -> (Start, bool) {
    let measured_ms = memory.fleet.boot_ms.map(|it| u64::from(it).max(1));
    let mut notes = Notes { inputs: &mut reasons.inputs };
    if let Some(measured_ms) = measured_ms {
        notes.taken(Subject::App, Figure::Boot, measured_ms, None);
    }
    let boot_ms = measured_ms.unwrap_or_else(|| policy.assumed.boot_ms.into());
    let figures = |report: Report| trust::warmth(Some(&report), &policy.assumed);
    let warm_ms = median(reports(observation).map(|it| figures(it).0.into()));
    let cold_permille = median(reports(observation).map(|it| figures(it).1.into()));
    let start = Start {
        boot_ms,
        warm_ms: warm_ms.unwrap_or_else(|| policy.assumed.warm_ms.into()),
        cold_permille: cold_permille.unwrap_or_else(|| policy.assumed.cold_permille.into()),
    };
    (start, measured_ms.is_some())
}

fn figures(
    policy: &Policy,
    observation: &Observation,
    memory: &mut Memory,
    time: Time,
    reasons: &mut Reasons,
) -> BTreeMap<InstanceNumber, Figures> {
    memory.fleet.forget(time.elapsed_ms);
    let most = usize::try_from(INSTANCES_MAX).unwrap_or(usize::MAX);
    // All of them teach before any is judged: one is held against what its kind does.
    for (number, instance) in observation.live().take(most) {
        let Some(known) = memory.instances.get_mut(&number) else { continue };
        let (warm_ms, _) = trust::warmth(instance.report.map(|it| it.value).as_ref(), &policy.assumed);
        let warm_ms = if instance.report.is_none() { warm_ms.max(NEW_MS) } else { warm_ms };
        let is_cold =
            instance.phase != Phase::Ready || instance.phase_ms < warm_ms || instance.cold.is_some();
        known.learn(instance, is_cold, policy.period_ms, &mut memory.fleet);
    }
    slower(observation, memory);
    let fleet = memory.fleet;
    let mut all = BTreeMap::new();
    for (number, instance) in observation.live().take(most) {
        let Some(known) = memory.instances.get_mut(&number) else { continue };
        let mut notes = Notes { inputs: &mut reasons.inputs };
        let of = Subject::Instance(number);
        let report = instance.report.as_ref();
        let figures = trust::figures(of, report, known, fleet, &policy.assumed, time.elapsed_ms, &mut notes);
        all.insert(number, figures);
    }
    all
}

/// What one of those that are there is worth in the mean once it is warm, in thousandths of a slot: what the usual one is, where that
/// is less by a tenth at most, which is chance, or more, since those that are worth more may be those that go.
fn each_milli(observation: &Observation, figures: &BTreeMap<InstanceNumber, Figures>, unit: &Unit) -> u64 {
    let usual_milli = unit.slots_milli();
    let worth = |number| Some(staffing::when_warm(figures.get(&number)?, unit).milli);
    let all = observation.live().filter_map(|(number, _)| worth(number));
    let (sum, count) = all.fold((0_u64, 0_u64), |(sum, count), it| (sum.saturating_add(it), count + 1));
    let mean_milli = sum.checked_div(count).unwrap_or(usual_milli).max(1);
    if mean_milli >= usual_milli * 9 / 10 { usual_milli } else { mean_milli }
}

/// Where more than half of those that serve can do no more than they do, that is what all of them can do by now.
fn slower(observation: &Observation, memory: &mut Memory) {
    let known = |number| memory.instances.get(&number);
    let full = || observation.ready().filter_map(|(number, _)| known(number).filter(|known| known.is_full()));
    if full().count() * 2 <= observation.ready().count() {
        return;
    }
    let does = median(full().filter_map(|known| known.capacity.exact_milli.map(u64::from)));
    if let Some(does) = does.and_then(|milli| u32::try_from(milli).ok()) {
        memory.fleet.is_slower(does, told_slots(observation));
    }
}

/// What a warm instance of the usual size can do: the lower median of those that serve.
fn typical(
    policy: &Policy,
    observation: &Observation,
    fleet: Fleet,
    usual: Extent,
    figures: &BTreeMap<InstanceNumber, Figures>,
) -> (Option<u64>, Knowledge) {
    let known = observation.live().filter_map(|(number, instance)| {
        let (milli, basis) = figures.get(&number)?.capacity?;
        // Where sizes change, what counts is what one of the usual size can do.
        let usual = policy.size.zip(instance.cpu_m).filter(|(_, cpu_m)| *cpu_m > 0);
        let milli =
            usual.map_or(milli, |(size, cpu_m)| milli * u64::from(size.base_cpu_m) / u64::from(cpu_m));
        (basis == Basis::Known && instance.report.is_some()).then_some(milli.max(1))
    });
    // What is known of all is what a large one did.
    let of_usual = |milli: u32| fleet.of(milli.into(), usual);
    match median(known).or_else(|| fleet.capacity.exact_milli.map(of_usual)) {
        Some(milli) => (Some(milli), Knowledge::Known),
        None => match of_usual(fleet.capacity.least_milli) {
            0 => (None, Knowledge::Nothing),
            least_milli => (Some(least_milli), Knowledge::AtLeast),
        },
    }
}

/// Work that waits, in gateways and instances, in milliseconds of a slot.
fn queue_ms(
    policy: &Policy,
    observation: &Observation,
    memory: &mut Memory,
    time: Time,
    view: &View,
    reasons: &mut Reasons,
) -> u64 {
    let ready = u64::try_from(observation.ready().count()).unwrap_or(u64::MAX).max(1);
    let catch_up_ms = u64::from(policy.catch_up_ms);
    let bounds = QueueBounds {
        unit: view.unit,
        at_once: view.at_once,
        beyond_ms: (view.need.offered_milli / 1_000).max(1).saturating_mul(catch_up_ms) / ready,
        unseen_ms: view.unit.slots * catch_up_ms,
        has_surplus: reasons.serving_milli >= view.need.offered_milli,
        work: policy.work,
        elapsed_ms: time.elapsed_ms,
    };
    let mut queue_ms = view.waiting.saturating_mul(view.unit.work_ms());
    for (number, instance) in observation.ready() {
        let Some(known) = memory.instances.get_mut(&number) else { continue };
        let mut notes = Notes { inputs: &mut reasons.inputs };
        let of = Subject::Instance(number);
        queue_ms = queue_ms.saturating_add(trust::queue_ms(of, instance, known, &bounds, &mut notes));
    }
    queue_ms
}

/// The lower median: half of them are at least this.
fn median(figures: impl Iterator<Item = u64>) -> Option<u64> {
    let mut figures: Vec<u64> = figures.collect();
    figures.sort_unstable();
    let middle = figures.len().checked_sub(1)? / 2;
    figures.get(middle).copied()
}
