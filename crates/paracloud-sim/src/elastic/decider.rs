//! Who decides.

use super::app::Phase;
use super::{Instance, MS, Scenario, World};
use crate::peers::hpa::{self, Hpa, Pod, Sample};
use paracloud_core::ids::InstanceNumber;
use paracloud_core::scaling::observation::{self, Announcement, Measured, Quote, Told, Traffic};
use paracloud_core::scaling::{Action, Memory, Observation, plan};
use std::collections::BTreeMap;

/// Who decides.
#[derive(Debug, Clone)]
pub enum Decider {
    /// Nobody: it stays as it is.
    Nobody,
    /// `core::scaling`.
    Plan,
    /// Kubernetes' autoscaler, each so many milliseconds, on samples as long as that.
    Hpa {
        /// What it is set to.
        spec: hpa::Spec,
        /// How often.
        sync_ms: u64,
    },
}

/// A decider at work.
pub(super) enum Deciding {
    Nobody,
    Plan { memory: Box<Memory>, period_ms: u64 },
    Hpa { hpa: Box<Hpa>, sync_ms: u64, seen: BTreeMap<u32, (u64, u64)> },
}

impl Deciding {
    pub(super) fn new(decider: &Decider, scenario: &Scenario) -> Self {
        match decider {
            Decider::Nobody => Self::Nobody,
            Decider::Plan => {
                Self::Plan { memory: Box::default(), period_ms: scenario.policy.period_ms.into() }
            }
            Decider::Hpa { spec, sync_ms } => {
                Self::Hpa { hpa: Box::new(Hpa::new(spec.clone())), sync_ms: *sync_ms, seen: BTreeMap::new() }
            }
        }
    }

    pub(super) fn period_ms(&self) -> u64 {
        match self {
            Self::Nobody => 1_000,
            Self::Plan { period_ms, .. } => *period_ms,
            Self::Hpa { sync_ms, .. } => *sync_ms,
        }
    }

    pub(super) fn decide(&mut self, world: &mut World<'_>) {
        match self {
            Self::Nobody => {}
            Self::Plan { memory, period_ms } => **memory = plans(world, memory, *period_ms),
            Self::Hpa { hpa, sync_ms, seen } => syncs(world, hpa, *sync_ms, seen),
        }
        world.count();
    }
}

fn plans(world: &mut World<'_>, memory: &Memory, period_ms: u64) -> Memory {
    let observation = observe(world, period_ms);
    let (plan, next, record) = plan(&world.scenario.policy, &observation, memory);
    let trust = record
        .reasons
        .inputs
        .iter()
        .filter(|it| matches!(it.of, paracloud_core::scaling::record::Subject::Instance(_)));
    let trust = trust.filter_map(|it| it.trust_permille).min();
    world.outcome.trust_permille = world.outcome.trust_permille.into_iter().chain(trust).min();
    for action in plan.actions {
        match action {
            Action::Start(count) => world.start(count),
            Action::Revoke(number) => world.revoke(number.0),
            Action::Leave(number) => world.leave(number.0),
            Action::AskQuotes(of) => {
                for number in of {
                    let service_ms = world.scenario.app.service_ms;
                    let Some(instance) = world.instances.get_mut(&number.0) else { continue };
                    instance.quote = Some((instance.in_flight() * service_ms, observation.now_ms));
                }
            }
            Action::Resize { .. } => {}
        }
    }
    next
}

fn observe(world: &mut World<'_>, period_ms: u64) -> Observation {
    let (now_us, now_ms) = (world.now_us, world.now_ms());
    let over_ms = u32::try_from(period_ms).unwrap_or(u32::MAX);
    let says = world.scenario.says;
    let app = world.scenario.app;
    let instances = world.instances.iter_mut().map(|(number, instance)| {
        let phase = match instance.phase {
            Phase::Starting => observation::Phase::Starting,
            Phase::Ready => observation::Phase::Ready,
            Phase::Draining => observation::Phase::Draining,
        };
        let in_flight = instance.in_flight();
        let measured = Measured {
            age_ms: 0,
            over_ms,
            completions: std::mem::take(&mut instance.completions),
            service_us_sum: std::mem::take(&mut instance.service_us),
            in_flight,
        };
        let quote = |(cost_ms, at_ms): (u32, u64)| {
            let age_ms = u32::try_from(now_ms - at_ms).unwrap_or(u32::MAX);
            Told { value: Quote { cost_ms, state_kib: Some(0), ..Quote::default() }, age_ms, lease_ms: 5_000 }
        };
        let is_ready = instance.phase == Phase::Ready;
        let phase_us = if is_ready { instance.served_us(now_us) } else { now_us - instance.since_us };
        let seen = observation::Instance {
            phase,
            phase_ms: u32::try_from(phase_us / MS).unwrap_or(u32::MAX),
            report: is_ready.then(|| says.of(&app, instance, over_ms, now_ms)).flatten(),
            measured: is_ready.then_some(measured),
            quote: instance.quote.map(quote),
            quotes: true,
            leaves_by_plan: instance.phase == Phase::Draining,
            ..observation::Instance::default()
        };
        (InstanceNumber(*number), seen)
    });
    let instances = instances.collect();
    let announced = world.scenario.announced.iter().filter(|it| it.said_ms <= now_ms);
    let announcements = announced.map(|it| Announcement {
        id: it.id.clone(),
        start_ms: it.start_ms,
        end_ms: it.end_ms,
        rate_milli: it.rate_milli,
        confidence_permille: Some(1_000),
    });
    let waiting = world.waiting();
    let announcements = announcements.collect();
    let arrivals = std::mem::take(&mut world.arrivals);
    let traffic = Some(Traffic { age_ms: 0, over_ms, arrivals, waiting });
    Observation { now_ms, instances, traffic, announcements, ..Observation::default() }
}

fn syncs(world: &mut World<'_>, hpa: &mut Hpa, sync_ms: u64, seen: &mut BTreeMap<u32, (u64, u64)>) {
    let now_ms = world.now_ms();
    let slots = u64::from(world.scenario.app.slots);
    seen.retain(|number, _| world.instances.contains_key(number));
    let pods = world.instances.iter().map(|(number, instance)| {
        let before = seen.insert(*number, (instance.busy_us, instance.lived_us));
        pod(instance, before, now_ms, sync_ms, slots)
    });
    let pods: Vec<Pod> = pods.collect();
    let current = world.live();
    let desired = hpa.sync(now_ms, current, &pods);
    if desired > current {
        world.start(desired - current);
    }
    // The order of a ReplicaSet: those that are not ready first, then those that were started last.
    let mut live: Vec<(bool, u64, u32)> = world
        .instances
        .iter()
        .filter(|(_, it)| it.phase != Phase::Draining)
        .map(|(number, it)| (it.phase == Phase::Ready, u64::MAX - it.started_us, *number))
        .collect();
    live.sort_unstable();
    let fewer = usize::try_from(current.saturating_sub(desired)).unwrap_or(0);
    for (_, _, number) in live.into_iter().take(fewer) {
        world.leave(number);
    }
}

fn pod(instance: &Instance, before: Option<(u64, u64)>, now_ms: u64, sync_ms: u64, slots: u64) -> Pod {
    let phase = match instance.phase {
        Phase::Starting => hpa::Phase::Pending,
        Phase::Ready => hpa::Phase::Running,
        Phase::Draining => hpa::Phase::Gone,
    };
    let sample = before.and_then(|(busy_us, lived_us)| {
        let used_permille =
            ((instance.busy_us - busy_us) * 1_000 / slots).checked_div(instance.lived_us - lived_us)?;
        Some(Sample { at_ms: now_ms, window_ms: sync_ms, used_permille })
    });
    let ready = (instance.phase == Phase::Ready).then_some((true, instance.ready_us / MS));
    Pod { phase, started_ms: instance.started_us / MS, ready, sample }
}
