//! From what it takes to what is done.

use super::limits;
use super::load::Rate;
use super::memory::{Memory, Time};
use super::observation::{Instance, Observation, Phase};
use super::policy::{Policy, Shape, Work};
use super::record::{Action, Bound, Cut, Figure, Input, Instead, Plan, Reasons, Rule, Subject};
use super::staffing;
use super::trust::{Notes, Said};
use super::understand::{Knowledge, View};
use super::victims::{self, Standing};

/// At most one of so many instances drains at a time.
const DRAINS_ONE_OF: u32 = 4;

/// One decision while it is made.
pub(super) struct Decision<'a> {
    pub(super) policy: &'a Policy,
    pub(super) observation: &'a Observation,
    pub(super) memory: &'a mut Memory,
    pub(super) view: View,
    pub(super) time: Time,
    pub(super) reasons: &'a mut Reasons,
    /// Instances that the hold counts.
    pub(super) counts: u32,
}

impl Decision<'_> {
    /// Makes it.
    pub(super) fn make(mut self) -> Plan {
        let mut plan = Plan::default();
        self.raw();
        let only_retiring = self.bound();
        self.act(only_retiring, &mut plan);
        self.resize(&mut plan);
        self.alternatives();
        plan
    }

    fn live(&self) -> u32 {
        u32::try_from(self.observation.live().count()).unwrap_or(u32::MAX)
    }

    pub(super) fn in_phase(&self, phase: Phase) -> u32 {
        let count = self.observation.instances.values().filter(|it| it.phase == phase).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Instances by the rules alone.
    fn raw(&mut self) {
        let count = self.live();
        self.reasons.count = count;
        let (raw, rule, cut) = self.by_load(count);
        (self.reasons.raw, self.reasons.rule) = (raw, rule);
        self.reasons.cuts.extend(cut);
        // What holds is what the load takes once all are warm. What was announced and does not come holds nobody once that
        // is known; what waits because too few were there is worked off once; and who was started because others are cold
        // is not needed any more.
        self.counts = match rule {
            Rule::Announced | Rule::Load | Rule::Queue => {
                raw.min(self.of_these(self.view.plain.least_milli()))
            }
            Rule::Unusable
            | Rule::Manual
            | Rule::Blind
            | Rule::Unknown
            | Rule::Idle
            | Rule::Waiting
            | Rule::Unsaturated
            | Rule::Asked
            | Rule::Fixed => raw,
        };
        let Some(asked) = self.observation.asked.filter(|it| it.is_good() && it.value > raw) else { return };
        if self.view.is_blind || rule == Rule::Fixed {
            return;
        }
        let used = asked.value.min(raw.saturating_add((raw / 4).max(1)));
        let notes = &mut Notes { inputs: &mut self.reasons.inputs };
        let said =
            Said { age_ms: asked.age_ms, ..Said::of_all(asked.value.into(), used.into(), Bound::Quarter) };
        notes.told(Subject::App, Figure::Asked, said);
        (self.reasons.raw, self.reasons.rule) = (used, Rule::Asked);
        // What kept the other rule from more is nothing that keeps the wish.
        self.reasons.cuts = (used < asked.value).then_some(Cut::Quarter(asked.value)).into_iter().collect();
        self.counts = self.counts.max(used);
    }

    /// By what comes and waits, and what keeps that from being as many as it takes, or as few.
    fn by_load(&self, count: u32) -> (u32, Rule, Option<Cut>) {
        let View { unit, start, need, .. } = &self.view;
        if self.policy.shape == Shape::Up {
            return (count, Rule::Fixed, None);
        }
        if self.view.is_blind {
            return (count, Rule::Blind, None);
        }
        let total_milli = need.total_milli();
        let warm = staffing::instances(total_milli, unit);
        let is_bounded = |by: Option<Bound>| matches!(by, Some(Bound::Doubling | Bound::Load));
        let waits_more = |it: &Input| it.figure == Figure::Backlog && is_bounded(it.bound);
        let backlog = self.reasons.inputs.iter().any(waits_more).then_some(Cut::Backlog);
        match self.view.knowledge {
            Knowledge::Nothing if self.is_idle() => return (self.policy.min, Rule::Idle, None),
            Knowledge::Nothing if need.queue_milli == 0 => return (count, Rule::Unknown, None),
            Knowledge::Nothing if self.view.waiting > 0 => {
                let more = if self.in_phase(Phase::Starting) > 0 { 0 } else { (count / 2).max(1) };
                return (count.saturating_add(more), Rule::Waiting, None);
            }
            Knowledge::AtLeast if warm >= count => {
                let for_queue = staffing::instances(need.queue_milli, unit);
                let raw = count.saturating_add(for_queue).min(warm);
                let rule = if for_queue == 0 { Rule::Unsaturated } else { Rule::Queue };
                return (raw, rule, (raw < warm).then_some(Cut::Unsaturated).or(backlog));
            }
            Knowledge::Nothing | Knowledge::AtLeast | Knowledge::Known => {}
        }
        let rule = match () {
            () if self.view.is_announced => Rule::Announced,
            () if self.view.is_queue || need.queue_milli > total_milli / 2 => Rule::Queue,
            () => Rule::Load,
        };
        let missing_milli = total_milli.saturating_sub(self.reasons.coming_milli);
        let capacity = self.memory.fleet.capacity;
        let is_untested = capacity.exact_milli.is_none() && capacity.least_milli == 0;
        if !need.misses(missing_milli) {
            // Those that are there will do, however many of the usual ones it would take.
            let enough = self.of_these(need.least_milli()).min(count);
            let fewest = self.fewest(count, enough);
            return (fewest, rule, (fewest > enough).then_some(Cut::Untested(fewest)).or(backlog));
        }
        let raw = staffing::missing(missing_milli, count, warm, unit, start);
        // A claim before anything was measured doubles them at most, and only if as much waits as is worked on.
        let is_claim = is_untested && self.policy.work == Work::Requests && need.offered_milli > 0;
        let waits = need.queue_milli.saturating_mul(self.policy.catch_up_ms.into()) / unit.work_ms();
        let works = unit.slots_milli().saturating_mul(count.into());
        let most = if waits < works { count } else { count.saturating_mul(2) }.max(1);
        if is_claim && most < raw { (most, rule, Some(Cut::Claim(most))) } else { (raw, rule, backlog) }
    }

    /// So many of those that are there do for a need: the usual ones may be able to do more, or less.
    fn of_these(&self, need_milli: u64) -> u32 {
        u32::try_from(need_milli.div_ceil(self.view.each_milli)).unwrap_or(u32::MAX)
    }

    /// Whether nothing comes, nothing waits, nothing is worked on and nobody asks for more: what an instance can do does not
    /// matter then.
    fn is_idle(&self) -> bool {
        let is_silent = |rate: Rate| rate.short_milli == 0 && rate.long_milli == 0;
        let works = |it: &Instance| it.measured.is_some_and(|it| it.in_flight > 0);
        self.policy.work == Work::Requests
            && self.reasons.rate.is_some_and(is_silent)
            && self.reasons.planned_milli == 0
            && self.view.need.total_milli() == 0
            && !self.observation.asked.is_some_and(|it| it.is_good())
            && !self.observation.instances.values().any(works)
    }

    /// To how many it may go down at once, where so many would do: no more than twice of what any instance was seen to do is
    /// counted on, so that a claim that nobody has tested takes away half at most, and is tested by that.
    fn fewest(&self, count: u32, warm: u32) -> u32 {
        let capacity = self.memory.fleet.capacity;
        let tested_milli = u64::from(capacity.least_milli) * 2;
        let needs_test =
            capacity.exact_milli.is_none() && self.view.need.offered_milli > 0 && tested_milli > 0;
        if !needs_test {
            return warm.min(count);
        }
        let untested = u32::try_from(self.reasons.planned_milli.div_ceil(tested_milli)).unwrap_or(u32::MAX);
        warm.max(untested).min(count)
    }

    /// Keeps hold, bounds, and what a person set. Says whether only who asked to go may go.
    fn bound(&mut self) -> bool {
        let (count, raw, policy) = (self.reasons.count, self.reasons.raw, self.policy);
        let start = &self.view.start;
        let start_ms = self.view.knows_start.then_some(start.boot_ms);
        let hold_ms = if self.reasons.rule == Rule::Idle {
            // Nothing was ever seen of it: what is to come may be on its way.
            policy.hold.max_ms.into()
        } else {
            limits::hold_ms(&policy.hold, start_ms)
        };
        let first = if self.memory.needs.is_empty() { count.max(policy.start) } else { 0 };
        let mut peak = self.memory.needs.add(self.time.now_ms, hold_ms, self.counts.max(first));
        if self.reasons.rule == Rule::Announced {
            let expected = self.memory.expected.add(self.time.now_ms, hold_ms, raw);
            peak = if expected.need > peak.need { expected } else { peak };
        }
        self.reasons.hold = Some((hold_ms, peak));
        let mut bounded = if first > raw { first } else { raw };
        let mut only_retiring = false;
        if raw < count && peak.need > raw {
            bounded = peak.need.min(count).max(first.min(policy.start));
            self.reasons.cuts.push(Cut::Hold(peak));
        }
        // What is not known is not nothing.
        if let Some(silent) = self.reasons.silent.filter(|_| bounded < count && !self.view.is_blind) {
            bounded = count;
            self.reasons.cuts.push(Cut::Silent(silent.count));
        }
        let retires = self.observation.live().any(|(_, it)| it.retires);
        if raw < count && bounded == count && retires && !self.view.is_blind {
            (bounded, only_retiring) = (count - 1, true);
        }
        if bounded > raw.max(count) {
            self.reasons.cuts.push(Cut::Start(bounded));
        }
        if self.view.is_blind && bounded <= count {
            self.reasons.cuts.push(Cut::Blind);
            (bounded, only_retiring) = (count, false);
        }
        if let Some(manual) = self.observation.manual.filter(|it| it.left_ms > 0) {
            let notes = &mut Notes { inputs: &mut self.reasons.inputs };
            notes.taken(Subject::Person, Figure::Manual, manual.count.into(), None);
            let count = bounded.clamp(policy.min, policy.max);
            self.reasons.instead = Some(Instead { rule: self.reasons.rule, count });
            self.reasons.rule = Rule::Manual;
            self.reasons.raw = manual.count;
            self.reasons.cuts.clear();
            (bounded, only_retiring) = (manual.count, false);
        }
        if bounded < policy.min {
            self.reasons.cuts.push(Cut::Min(policy.min));
            bounded = policy.min;
        }
        if bounded > policy.max {
            self.reasons.cuts.push(Cut::Max { max: policy.max, leaving: 0 });
            bounded = policy.max;
        }
        let retiring = self.observation.live().filter(|(_, it)| it.retires).count();
        let retiring = u32::try_from(retiring).unwrap_or(u32::MAX);
        // Who is to go though as many are needed is replaced: one at a time, and only where it is known what is there.
        let is_short = count.saturating_sub(retiring) < bounded && bounded == count && count < policy.max;
        if retiring > 0 && is_short && !self.view.is_blind {
            self.reasons.cuts.push(Cut::Retiring(retiring));
            bounded = count + 1;
        }
        self.reasons.bounded = bounded;
        only_retiring
    }

    fn act(&mut self, only_retiring: bool, plan: &mut Plan) {
        let (count, bounded) = (self.reasons.count, self.reasons.bounded);
        self.memory.flaps.advance(self.time.now_ms, &self.policy.flap);
        self.reasons.planned = count;
        if bounded > count {
            self.more(bounded - count, plan);
        } else if bounded < count {
            self.fewer(count - bounded, only_retiring, plan);
        }
    }

    fn more(&mut self, wanted: u32, plan: &mut Plan) {
        let mut left = wanted;
        for (number, instance) in &self.observation.instances {
            if left > 0 && instance.phase == Phase::Draining && instance.leaves_by_plan {
                plan.actions.push(Action::Revoke(*number));
                left -= 1;
            }
        }
        let there = u32::try_from(self.observation.instances.len()).unwrap_or(u32::MAX);
        let room = self.policy.max.saturating_sub(there);
        if left > room {
            let leaving = self.in_phase(Phase::Draining) + self.in_phase(Phase::Leaving);
            self.reasons.cuts.push(Cut::Max { max: self.policy.max, leaving });
            left = room;
        }
        let budget = self.memory.flaps.starts_left(&self.policy.flap);
        if left > budget {
            let spent = self.memory.flaps.spent();
            self.reasons.cuts.push(Cut::Flap { spent, actions: self.policy.flap.actions });
            left = budget;
        }
        if left > 0 {
            plan.actions.push(Action::Start(left));
            self.memory.flaps.spend(self.time.now_ms, left);
        }
        let revoked = u32::try_from(plan.actions.len()).unwrap_or(u32::MAX) - u32::from(left > 0);
        self.reasons.planned = self.reasons.count.saturating_add(revoked).saturating_add(left);
    }

    fn fewer(&mut self, wanted: u32, only_retiring: bool, plan: &mut Plan) {
        let mut excess = wanted;
        let draining = self.in_phase(Phase::Draining) + self.in_phase(Phase::Leaving);
        let at_once = (self.reasons.count / DRAINS_ONE_OF).max(1).saturating_sub(draining);
        if excess > at_once {
            self.reasons.cuts.push(Cut::Leaving(draining));
            excess = at_once;
        }
        let budget = self.memory.flaps.stops_left(&self.policy.flap);
        if excess > budget {
            let (spent, actions) = (self.memory.flaps.spent(), self.policy.flap.actions.div_ceil(2));
            self.reasons.cuts.push(Cut::FlapStops { spent, actions });
            excess = budget;
        }
        if excess == 0 {
            return;
        }
        let is_manual = self.reasons.rule == Rule::Manual;
        let ready = self.in_phase(Phase::Ready);
        let hold_ms = self.reasons.hold.map_or(0, |(hold_ms, _)| hold_ms);
        let terms = victims::Terms {
            policy: self.policy,
            unit: self.reasons.unit,
            excess,
            excess_ready: if is_manual { excess } else { ready.saturating_sub(self.reasons.bounded) },
            dear_ms: if is_manual { u64::MAX } else { hold_ms },
            now_ms: self.time.now_ms,
            asked: &self.memory.asked,
            only_retiring,
        };
        let mut choice = victims::choose(self.observation, &terms);
        if !is_manual {
            self.keep_enough(&mut choice);
        }
        let leaving = u32::try_from(choice.leave.len()).unwrap_or(u32::MAX);
        if leaving < excess {
            self.reasons.cuts.push(if choice.waits { Cut::Quotes } else { Cut::NoVictim });
        }
        if !choice.ask.is_empty() {
            let now_ms = self.time.now_ms;
            self.memory.asked.extend(choice.ask.iter().map(|number| (*number, now_ms)));
            plan.actions.push(Action::AskQuotes(choice.ask));
        }
        self.memory.flaps.spend(self.time.now_ms, leaving);
        plan.actions.extend(choice.leave.into_iter().map(Action::Leave));
        self.reasons.planned = self.reasons.count - leaving.min(self.reasons.count);
        self.reasons.standings = choice.standings;
    }

    /// Takes those back without whom too little would serve now.
    fn keep_enough(&mut self, choice: &mut victims::Choice) {
        if self.view.knowledge == Knowledge::Nothing {
            return;
        }
        let need_milli = self.view.need.least_milli();
        let mut serving_milli = self.reasons.serving_milli;
        let chosen = core::mem::take(&mut choice.leave);
        for number in chosen {
            let Some(instance) = self.observation.instances.get(&number) else { continue };
            let worth_milli = self.view.worth_milli(number, instance, 0);
            if worth_milli > 0 && serving_milli.saturating_sub(worth_milli) < need_milli {
                choice.standings.insert(number, Standing::Spared);
                if self.reasons.cuts.last() != Some(&Cut::Serving) {
                    self.reasons.cuts.push(Cut::Serving);
                }
                continue;
            }
            serving_milli -= worth_milli;
            choice.leave.push(number);
        }
    }
}
