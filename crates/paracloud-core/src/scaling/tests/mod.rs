//! Sentences about whole decisions.

mod always;
mod holds;
mod kept;
mod liars;
mod moves;
mod queues;
mod silence;
mod sizes;
mod slower;
mod texts;

use super::observation::{Instance, Measured, Phase, Quote, Report, Told, Traffic};
use super::policy::{Policy, State};
use super::record::{Action, Cut, Record, Rule};
use super::{Memory, Observation, plan};
use crate::ids::InstanceNumber;
use std::vec::Vec;

/// An app whose instances work on four requests at once, a tenth of a second each unless it is said otherwise, and are ready after
/// two seconds. It does what is planned; gateways and instances say what is.
struct App {
    policy: Policy,
    memory: Memory,
    seen: Observation,
    /// Requests a second.
    rate: u32,
    /// Requests that wait in all instances.
    queued: u32,
    /// How long one takes, in milliseconds.
    work_ms: u32,
    reports: bool,
    /// Its reports say what it can do.
    claims: bool,
    measures: bool,
    last: Option<Record>,
}

impl App {
    fn new(policy: Policy, instances: u32) -> Self {
        let ready = Instance { phase: Phase::Ready, phase_ms: 600_000, quotes: true, ..Instance::default() };
        let instances = (1..=instances).map(|number| (InstanceNumber(number), ready.clone())).collect();
        // They were started once, and that was seen.
        let mut memory = Memory::default();
        memory.fleet.learn_boot(2_000);
        Self {
            policy,
            memory,
            seen: Observation { now_ms: 1_000_000, instances, ..Observation::default() },
            rate: 0,
            queued: 0,
            work_ms: 100,
            reports: true,
            claims: true,
            measures: true,
            last: None,
        }
    }

    fn stateless(min: u32, max: u32, instances: u32) -> Self {
        Self::new(Policy { state: State::None, ..Policy::between(min, max) }, instances)
    }

    /// One second later, planned.
    fn second(&mut self) -> Vec<Action> {
        self.seen.now_ms += 1_000;
        let serving = self.count(Phase::Ready).max(1);
        let served = (self.rate + self.queued).min(4_000 / self.work_ms * serving);
        self.queued = self.rate + self.queued - served;
        let (completions, queued) = (served / serving, self.queued.div_ceil(serving));
        let in_flight = completions * self.work_ms / 1_000 + queued;
        let (work_us, wait_us) = (u64::from(self.work_ms) * 1_000, u64::from(queued * self.work_ms) * 250);
        for instance in self.seen.instances.values_mut() {
            instance.phase_ms = instance.phase_ms.saturating_add(1_000);
            if instance.phase == Phase::Starting && instance.phase_ms >= 2_000 {
                (instance.phase, instance.phase_ms, instance.quotes) = (Phase::Ready, 0, true);
            }
            let report = Report {
                capacity_milli: self.claims.then_some(4_000_000 / self.work_ms),
                slots: Some(4),
                backlog_ms: Some(queued * self.work_ms),
                warm_ms: Some(0),
                ..Report::default()
            };
            let says = self.reports && instance.phase == Phase::Ready;
            if says {
                instance.report = Some(Told { value: report, age_ms: 0, lease_ms: 3_000 });
            } else if let Some(report) = &mut instance.report {
                report.age_ms += 1_000;
            }
            let service_us_sum = u64::from(completions) * (work_us + wait_us);
            let measured = Measured { age_ms: 0, over_ms: 1_000, completions, service_us_sum, in_flight };
            instance.measured = (self.measures && instance.phase == Phase::Ready).then_some(measured);
        }
        let traffic = Traffic { age_ms: 0, over_ms: 1_000, arrivals: self.rate, waiting: 0 };
        self.seen.traffic = self.measures.then_some(traffic);
        let (plan, memory, record) = plan(&self.policy, &self.seen, &self.memory);
        self.memory = memory;
        self.last = Some(record);
        for action in &plan.actions {
            self.does(action);
        }
        plan.actions
    }

    /// Runs and says what was done, quotes left out.
    fn run(&mut self, seconds: u32, rate: u32) -> Vec<Action> {
        self.rate = rate;
        let actions = (0..seconds).flat_map(|_| self.second()).collect::<Vec<_>>();
        actions.into_iter().filter(|action| !matches!(action, Action::AskQuotes(_))).collect()
    }

    fn does(&mut self, action: &Action) {
        match action {
            Action::Start(count) => {
                for _ in 0..*count {
                    let free =
                        (1..).map(InstanceNumber).find(|number| !self.seen.instances.contains_key(number));
                    self.seen.instances.insert(free.unwrap(), Instance::default());
                }
            }
            Action::Revoke(number) => self.instance(number.0).phase = Phase::Ready,
            Action::Leave(number) => {
                let instance = self.instance(number.0);
                (instance.phase, instance.leaves_by_plan) = (Phase::Draining, true);
            }
            Action::AskQuotes(of) => {
                for number in of {
                    let cost_ms = 10 * number.0;
                    let quote = Quote { cost_ms, state_kib: Some(0), ..Quote::default() };
                    self.instance(number.0).quote = Some(Told { value: quote, age_ms: 0, lease_ms: 60_000 });
                }
            }
            Action::Resize { instance, cpu_m } => self.instance(instance.0).cpu_m = Some(*cpu_m),
        }
    }

    fn instance(&mut self, number: u32) -> &mut Instance {
        self.seen.instances.get_mut(&InstanceNumber(number)).unwrap()
    }

    fn count(&self, phase: Phase) -> u32 {
        u32::try_from(self.seen.instances.values().filter(|it| it.phase == phase).count()).unwrap()
    }

    fn record(&self) -> &Record {
        self.last.as_ref().unwrap()
    }

    fn rule(&self) -> Rule {
        self.record().reasons.rule
    }

    fn cuts(&self) -> &[Cut] {
        &self.record().reasons.cuts
    }
}

fn starts(actions: &[Action]) -> u32 {
    actions.iter().map(|action| if let Action::Start(count) = action { *count } else { 0 }).sum()
}

fn leaves(actions: &[Action]) -> Vec<u32> {
    let left = |action: &Action| if let Action::Leave(number) = action { Some(number.0) } else { None };
    actions.iter().filter_map(left).collect()
}
