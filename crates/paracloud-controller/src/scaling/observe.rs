//! What is known of an app when it is planned: from the register, agents, gateways, applications and people.

use super::measured::Together;
use super::phases::{Phases, Sight, phase};
use super::quotes::Quotes;
use crate::control::{Control, View};
use crate::journal::now_unix_ms;
use crate::peers::Peer;
use crate::sizes::registered;
use paci::announcement::AnnounceRequest;
use paci::ask::Wish;
use paci::report::{Report as Said, WORK_UNIT};
use paracloud_core::ids::{InstanceNumber, StartId};
use paracloud_core::register::Record;
use paracloud_core::scaling::observation::{
    ANNOUNCEMENTS_MAX, Announcement, Cold, Instance, Manual, Phase, Report, Told,
};
use paracloud_core::scaling::{Observation, Policy};
use paracloud_substrate::advice::{Advice, Leased};
use paracloud_substrate::config::{self, App, Reports};
use paracloud_substrate::message::HeldOp;
use paracloud_substrate::names::InstanceName;
use paracloud_substrate::person::HeldOff;
use std::collections::BTreeMap;
use std::time::Instant;

/// What an app's observations are made with.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    pub(super) control: &'a Control,
    pub(super) app: &'a App,
    pub(super) policy: &'a Policy,
    pub(super) quotes: &'a Quotes,
    pub(super) phases: &'a mut Phases,
}

impl Sources<'_> {
    /// Who was to leave by a decision and did not, because it refused or was not done in time, is left alone for a while:
    /// others are asked before it is asked again.
    pub(super) fn note_who_stayed(&self) {
        let Self { control, app, quotes, .. } = self;
        control.scaling.stayed(|instance, leave| {
            let own = instance.parse::<InstanceName>().ok().filter(|name| name.app() == app.name);
            let Some(number) = own.and_then(|name| name.number()).map(InstanceNumber) else { return false };
            let Some(view) = control.views.of(instance) else { return false };
            let has_stayed = view.outcome.is_some_and(|it| it.operation == leave && !it.committed);
            if let Some(owner) = view.record.filter(|_| has_stayed).map(|record| record.owner) {
                quotes.stayed(number, owner.start, Instant::now());
            }
            has_stayed
        });
    }

    /// What became of sizes that were decided.
    pub(super) fn note_sizes(&self) {
        let Self { control, .. } = self;
        control.scaling.sizes.ended(|instance, operation| {
            let outcome = control.views.of(instance)?.outcome?;
            (outcome.operation >= operation).then_some(outcome.operation == operation && outcome.committed)
        });
    }
}

/// All that is known at this time, on the clock of the decisions.
pub(super) fn observe(sources: &mut Sources<'_>, together: Option<Together>, now_ms: u64) -> Observation {
    let Sources { control, app, .. } = *sources;
    let (now, unix_ms) = (Instant::now(), now_unix_ms());
    let (traffic, mut measured, living) = match together {
        Some(Together { traffic, instances, sessions }) => (Some(traffic), instances, sessions),
        None => (None, BTreeMap::new(), BTreeMap::new()),
    };
    // In this order: who is told to leave is that until it has shown that it leaves.
    let mut about_to_leave = control.fleet.there();
    about_to_leave.retain(|name| control.is_about_to_leave(name));
    let views = control.views.all();
    let held = held(control.holds());
    let mut instances = BTreeMap::new();
    let mut announced: BTreeMap<String, Leased<AnnounceRequest>> = BTreeMap::new();
    let mut asked: Option<Told<u32>> = None;
    for name in control.fleet.there() {
        let parsed = name.parse::<InstanceName>().ok().filter(|parsed| parsed.app() == app.name);
        let Some(number) = parsed.and_then(|parsed| parsed.number()).map(InstanceNumber) else { continue };
        // One that left and is there all the same is being started anew: what it was says nothing of it.
        let view = views.get(&name).filter(|view| view.record.as_ref().is_none_or(|record| !record.gone));
        let owner = view.and_then(|view| view.record.as_ref()).map(|record| record.owner);
        let said = owner.and_then(|owner| control.advised.of(&name, owner.start));
        let (advice, report) = counting(app, said.unwrap_or_default());
        let record = view.and_then(|view| view.record.as_ref());
        let sight = Sight {
            view,
            is_connected: owner.is_some_and(|owner| control.peers.is_there(Peer::Agent(owner.node))),
            is_unready: record.is_some_and(|record| control.why_unready(&name, record).is_some()),
            state: advice.state.as_ref().map(|state| state.said),
            is_about_to_leave: about_to_leave.contains(&name),
        };
        let phase = phase(&sight);
        let pauses = owner.filter(|_| phase == Phase::Ready && advice.pause.is_some_and(|it| it.in_ms == 0));
        let pauses_on = sources.phases.pauses_on(number, pauses.map(|owner| owner.start), now_ms);
        let phase = if pauses_on { Phase::NotReady } else { phase };
        for leased in &advice.announcements {
            announce(&mut announced, leased);
        }
        if let Some(more) = replicas(&advice)
            && asked.is_none_or(|known| known.value < more.value)
        {
            asked = Some(more);
        }
        let start = owner.map(|owner| owner.start);
        let seen = Seen { number, name: &name, view, phase, start, advice: &advice, report };
        let mut instance = of_one(sources, &seen, now, (now_ms, unix_ms));
        instance.measured = measured.remove(&number);
        instance.sessions = instance.sessions.or_else(|| living.get(&number).copied());
        instance.held_ms = instance.held_ms.into_iter().chain(held.get(&name).copied()).max();
        instances.insert(number, instance);
    }
    sources.phases.looked(now_ms, |number| instances.contains_key(&number));
    sources.quotes.keep(|number| instances.contains_key(&number));
    let manual = control.scales.of(&app.name, unix_ms).map(|manual| Manual {
        count: manual.instances,
        left_ms: small(manual.until_unix_ms.saturating_sub(unix_ms)),
    });
    Observation { now_ms, instances, traffic, announcements: announcements(announced, now_ms), manual, asked }
}

/// What of it counts. How far an instance is counts always: that is no figure.
fn counting(app: &App, (mut advice, report): (Advice, Option<Told<Said>>)) -> (Advice, Option<Told<Said>>) {
    if app.scale.is_none_or(|scale| scale.reports == Reports::Used) {
        return (advice, report);
    }
    advice.announcements.clear();
    advice.asks.clear();
    advice.cold = None;
    (advice, None)
}

/// What is seen of one instance.
struct Seen<'a> {
    number: InstanceNumber,
    name: &'a str,
    view: Option<&'a View>,
    phase: Phase,
    start: Option<StartId>,
    advice: &'a Advice,
    report: Option<Told<Said>>,
}

fn of_one(
    sources: &mut Sources<'_>,
    seen: &Seen<'_>,
    now: Instant,
    (now_ms, unix_ms): (u64, u64),
) -> Instance {
    let Sources { control, app, policy, quotes, .. } = *sources;
    let &Seen { number, name, view, phase, start, advice, .. } = seen;
    let record = view.and_then(|view| view.record.as_ref());
    // The clock of the decisions is the wall's, as far as that goes forward.
    let served_ms = view.and_then(|view| view.served_unix_ms);
    let ready_ms = served_ms.map(|at| now_ms.saturating_sub(unix_ms.saturating_sub(at)));
    let phase_ms = sources.phases.since(number, phase, start, ready_ms, now_ms);
    let known = start.map(|start| quotes.of(number, start, policy.quotes.valid_ms, now)).unwrap_or_default();
    let usage = start.and_then(|start| control.scaling.usages.of(name, start)).map(|(usage, _)| usage);
    let given = record.and_then(|record| record.size).unwrap_or_else(|| registered(app.resources.start));
    // What an agent measured is some seconds old: by that it would be asked again for what it has.
    let cpu_m = given.cpu_milli.or_else(|| usage.and_then(|usage| usage.cpu_limit_milli));
    let report = seen.report.as_ref();
    Instance {
        phase,
        phase_ms,
        start_ms: view.and_then(|view| view.start_ms),
        node: record.map(|record| record.owner.node),
        report: report.map(|told| Told {
            value: figures(&told.value),
            age_ms: told.age_ms,
            lease_ms: told.lease_ms,
        }),
        cold: advice.cold.map(|cold| Cold { left_ms: cold.warmup_ms, permille: cold.capacity_permille }),
        measured: None,
        quote: known.quote,
        held_ms: known.held_ms,
        retires: advice.asks.iter().any(|ask| matches!(ask.said.wish, Some(Wish::RetireMe(_)))),
        in_operation: is_in_operation(record, phase),
        leaves_by_plan: control.leaving(name).is_some_and(|(leave, _)| control.scaling.let_go(name, leave)),
        quotes: !known.is_unable,
        sessions: sessions(app.state, report, known.sessions),
        cpu_m,
        // What it used at another size says nothing of this one.
        cpu_used_m: usage.filter(|usage| usage.cpu_limit_milli == cpu_m).and_then(|usage| usage.cpu_milli),
        memory_kib: given.memory_kib,
        counter_cpu_m: start.and_then(|start| control.scaling.sizes.least_cpu_m(name, start)),
        size_rests: start.is_some_and(|start| control.scaling.sizes.rests(name, start)),
    }
}

/// For how long each that holds ends off is to be left alone. Who only wants to stay where it is may be ended all the same.
fn held(holds: Vec<HeldOff>) -> BTreeMap<String, u32> {
    let mut held: BTreeMap<String, u32> = BTreeMap::new();
    for hold in holds.into_iter().filter(|hold| hold.op != HeldOp::Move) {
        let left_ms = held.entry(hold.instance).or_default();
        *left_ms = (*left_ms).max(small(hold.remaining_ms));
    }
    held
}

/// Whether an operation is open that is not its way out.
fn is_in_operation(record: Option<&Record>, phase: Phase) -> bool {
    let is_operated = record.is_some_and(|record| record.operation.is_some());
    is_operated && !matches!(phase, Phase::Draining | Phase::Leaving)
}

/// Sessions that live in it, by its report as long as that is good, or else by what it answered. Of an app that is not said to
/// have any, who was asked once is not held against who was not.
fn sessions(state: config::State, report: Option<&Told<Said>>, answered: Option<u32>) -> Option<u32> {
    let reported = report.filter(|told| told.is_good()).and_then(|told| told.value.sessions);
    reported.or_else(|| answered.filter(|_| state == config::State::Session))
}

/// What a report says that a decision is made from. What counts other work than gateways do says nothing of requests, and
/// they say nothing of it.
fn figures(said: &Said) -> Report {
    Report {
        capacity_milli: said.capacity_milli_per_s.filter(|_| said.unit() == WORK_UNIT),
        slots: said.concurrency,
        in_flight: said.in_flight,
        backlog_ms: said.backlog_ms,
        is_unseen: said.unit() != WORK_UNIT,
        warm_ms: said.warmup_ms,
        cold_permille: said.cold_permille,
    }
}

/// The same id is the same event, whoever says it: the last word counts.
fn announce(announced: &mut BTreeMap<String, Leased<AnnounceRequest>>, leased: &Leased<AnnounceRequest>) {
    if leased.said.unit() != WORK_UNIT {
        return;
    }
    let is_newer = announced.get(&leased.said.id).is_none_or(|known| leased.age_ms < known.age_ms);
    if is_newer {
        announced.insert(leased.said.id.clone(), leased.clone());
    }
}

/// Those that begin first, as many as are looked at.
fn announcements(announced: BTreeMap<String, Leased<AnnounceRequest>>, now_ms: u64) -> Vec<Announcement> {
    let one = |(id, leased): (String, Leased<AnnounceRequest>)| {
        let said_ms = now_ms.saturating_sub(leased.age_ms.into());
        let start_ms = said_ms.saturating_add(leased.said.begins_in_ms.into());
        Announcement {
            id,
            start_ms,
            end_ms: start_ms.saturating_add(leased.said.lasts_ms.into()),
            rate_milli: leased.said.demand_milli_per_s,
            confidence_permille: leased.said.confidence_permille,
        }
    };
    let mut all: Vec<Announcement> = announced.into_iter().map(one).collect();
    all.sort_by_key(|announcement| announcement.start_ms);
    all.truncate(ANNOUNCEMENTS_MAX);
    all
}

/// How many instances a process asks for.
fn replicas(advice: &Advice) -> Option<Told<u32>> {
    let count = |ask: &Leased<paci::ask::AskRequest>| match &ask.said.wish {
        Some(Wish::Replicas(replicas)) => {
            let lease_ms = ask.age_ms.saturating_add(ask.remaining_ms);
            Some(Told { value: replicas.count, age_ms: ask.age_ms, lease_ms })
        }
        Some(Wish::MoveMe(_) | Wish::Size(_) | Wish::RetireMe(_)) | None => None,
    };
    advice.asks.iter().find_map(count)
}

fn small(ms: u64) -> u32 {
    u32::try_from(ms).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
