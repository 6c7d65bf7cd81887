//! What applications say of themselves, for the balancer, and for clients that read ORCA.

use crate::control::Control;
use crate::orca::Load;
use paci::report::WORK_UNIT;
use paci::state::State;
use paracloud_core::balancing::{BackendId, Balancer, Cold, Pause, Report};
use paracloud_core::ids::StartId;
use paracloud_substrate::advice::Advice;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Reports that come with replies are taken no more often than this: each covers what was in flight since the last one.
const REPLIES_EVERY: Duration = Duration::from_millis(100);

/// Processes of an instance that speak at a time: its owner, and one that is to become it.
const PROCESSES_MAX: usize = 2;

/// The last that processes of an instance said, those that were heard last behind.
#[derive(Debug, Default)]
pub(crate) struct Said {
    words: Vec<(StartId, Advice, Instant)>,
    reply: Option<Instant>,
    /// What the balancer has of it is what it said by itself, and not what came with a reply.
    is_own: bool,
}

impl Said {
    pub(crate) fn hear(&mut self, start: StartId, advice: Advice) {
        self.words.retain(|(of, ..)| *of != start);
        self.words.push((start, advice, Instant::now()));
        let excess = self.words.len().saturating_sub(PROCESSES_MAX);
        self.words.drain(..excess);
    }

    /// What this process said, as it counts now.
    pub(crate) fn of(&self, start: StartId) -> Option<Advice> {
        let (_, advice, at) = self.words.iter().find(|(of, ..)| *of == start)?;
        Some(advice.clone().aged(u32::try_from(at.elapsed().as_millis()).unwrap_or(u32::MAX)))
    }

    /// Whether a report that came with a reply of this process is to be taken. What it said by itself goes before, for as long
    /// as that counts.
    pub(crate) fn takes_reply(&mut self, start: StartId, now: Instant) -> bool {
        let says = self.of(start).is_some_and(|advice| advice.report.is_some());
        let is_soon = self.reply.is_some_and(|last| now.duration_since(last) < REPLIES_EVERY);
        if says || is_soon {
            return false;
        }
        (self.reply, self.is_own) = (Some(now), false);
        true
    }

    /// Tells the balancer what counts of this process by its own word. Who says nothing of its load there has not taken back
    /// what it said with a reply.
    pub(crate) fn tell(&mut self, advice: &Advice, balancer: &mut Balancer, id: BackendId, now_us: u64) {
        tell(balancer, id, advice, now_us);
        let reports = advice.report.is_some();
        if std::mem::replace(&mut self.is_own, reports) || reports {
            balancer.report(id, report(advice), now_us);
        }
    }
}

/// Tells the balancer what counts of one instance but its load.
fn tell(balancer: &mut Balancer, id: BackendId, advice: &Advice, now_us: u64) {
    let wants_none = advice.state.as_ref().is_some_and(|state| match state.said {
        State::NotReady | State::Stopping | State::Draining => true,
        State::Unspecified | State::Ready | State::Pausing | State::Cold => false,
    });
    balancer.not_ready(id, wants_none.then_some(u64::MAX));
    let us = |ms: u32| u64::from(ms) * 1_000;
    let pause = advice.pause.map(|pause| Pause {
        begins_in_us: us(pause.in_ms),
        ends_in_us: us(pause.in_ms.saturating_add(pause.for_ms)),
    });
    balancer.pause(id, pause, now_us);
    let cold = advice
        .cold
        .map(|cold| Cold { ends_in_us: us(cold.warmup_ms), capacity_permille: cold.capacity_permille });
    balancer.cold(id, cold, now_us);
}

/// The load that it reports, as the balancer has it; of who reports none, one that counts for nothing.
fn report(advice: &Advice) -> Report {
    let report = advice.report.as_ref().map(|leased| {
        let said = &leased.said;
        // Of work that is no requests a gateway knows nothing; what it takes of the instance it does.
        let counts = said.unit() == WORK_UNIT;
        let of_requests = |figure: Option<u32>| figure.filter(|_| counts);
        Report {
            valid_for_ms: leased.age_ms.saturating_add(leased.remaining_ms),
            age_ms: leased.age_ms,
            concurrency: of_requests(said.concurrency),
            capacity_milli_per_s: of_requests(said.capacity_milli_per_s),
            in_flight: of_requests(said.in_flight),
            queued: of_requests(said.queued),
            backlog_ms: of_requests(said.backlog_ms),
            utilisation_permille: said.utilisation_permille,
            weight_permille: said.weight_permille,
        }
    });
    report.unwrap_or_default()
}

/// What the process that serves said of its load with its last reply.
pub(crate) fn with_reply(control: &Control) -> Option<(StartId, Report)> {
    let start = control.view().borrow().route?.start;
    let (load, age) = control.loads.fresh(start)?;
    let used = used(&load);
    let report = Report {
        valid_for_ms: millis(crate::bounds::LOAD_LEASE),
        age_ms: millis(age),
        utilisation_permille: used.map(|used| u32::try_from(used).unwrap_or(u32::MAX)),
        ..Report::default()
    };
    Some((start, report))
}

/// How far an instance is used: as it counts itself, or else its processors. Zero is what a client of gRPC takes for no word
/// (gRFC A58).
fn used(load: &Load) -> Option<u64> {
    load.application_permille.filter(|used| *used > 0).or(load.cpu_permille).or(load.application_permille)
}

/// What a process told the cloud of its load is written into its replies, for as long as it counts.
pub(crate) fn tell_clients(control: &Control, start: StartId, advice: &Advice) {
    let Some(leased) = &advice.report else { return control.loads.unsay() };
    let said = &leased.said;
    let mut load = Load { application_permille: said.utilisation_permille.map(u64::from), ..Load::default() };
    let mut others = BTreeMap::new();
    for (name, figure) in [("in_flight", said.in_flight), ("queued", said.queued)] {
        others.extend(figure.map(|figure| (format!("named_metrics.paci.{name}"), u64::from(figure) * 1_000)));
    }
    for metric in &said.metrics {
        let value = Some(u64::from(metric.value_milli));
        match metric.name.as_str() {
            "cpu_utilization" => load.cpu_permille = value,
            "mem_utilization" => load.memory_permille = value,
            "rps_fractional" => load.rps_milli = value,
            "eps" => load.eps_milli = value,
            name => others.extend(value.map(|value| (format!("named_metrics.{name}"), value))),
        }
    }
    load.others = others;
    control.loads.say(start, &load, Duration::from_millis(leased.remaining_ms.into()));
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use paci::report::Report as Reported;
    use paracloud_core::balancing::{Inputs, Setting, Standing};
    use paracloud_substrate::advice::{Aged, Leased};

    const START: StartId = StartId(1);

    fn reports(said: Reported, remaining_ms: u32) -> Advice {
        let report = Some(Leased { said, age_ms: 0, remaining_ms });
        Advice { report, ..Advice::default() }
    }

    /// What the balancer knows of one that says this.
    fn told(advice: &Advice) -> Inputs {
        let (mut balancer, id) = (Balancer::new(Setting::default()), BackendId(1));
        balancer.add(id, 0);
        Said::default().tell(advice, &mut balancer, id, 0);
        balancer.record(None, 0, 0).unwrap().inputs[0]
    }

    #[test]
    fn the_owner_is_heard_beside_the_one_that_is_to_become_it_and_nobody_from_before() {
        let mut said = Said::default();
        [1, 2, 1, 3].into_iter().for_each(|start| said.hear(StartId(start), Advice::default()));
        assert_eq!([1, 2, 3].map(|start| said.of(StartId(start)).is_some()), [true, false, true]);
    }

    #[test]
    fn who_says_that_it_is_not_ready_drains_or_stops_gets_nothing_new() {
        let standing =
            |said| told(&Advice { state: Some(Aged { age_ms: 0, said }), ..Advice::default() }).standing;
        for said in [State::NotReady, State::Draining, State::Stopping] {
            assert_eq!(standing(said), Standing::NotReady, "{said:?}");
        }
        for said in [State::Unspecified, State::Ready, State::Pausing, State::Cold] {
            assert_eq!(standing(said), Standing::Open, "{said:?}");
        }
    }

    #[test]
    fn of_work_that_is_no_requests_only_what_it_takes_of_the_instance_counts() {
        let of_unit = |unit: &str| {
            let said = Reported {
                valid_for_ms: 60_000,
                work_unit: unit.to_owned(),
                concurrency: Some(4),
                capacity_milli_per_s: Some(40_000),
                in_flight: Some(3),
                queued: Some(2),
                backlog_ms: Some(900),
                utilisation_permille: Some(700),
                weight_permille: Some(2_000),
                ..Reported::default()
            };
            told(&reports(said, 60_000)).claimed.unwrap().report
        };
        let all = Report {
            valid_for_ms: 60_000,
            age_ms: 0,
            concurrency: Some(4),
            capacity_milli_per_s: Some(40_000),
            in_flight: Some(3),
            queued: Some(2),
            backlog_ms: Some(900),
            utilisation_permille: Some(700),
            weight_permille: Some(2_000),
        };
        assert_eq!(of_unit(WORK_UNIT), all);
        let used = Report {
            valid_for_ms: 60_000,
            utilisation_permille: Some(700),
            weight_permille: Some(2_000),
            ..Report::default()
        };
        assert_eq!(of_unit("job"), used);
    }

    #[test]
    fn how_far_one_is_used_it_says_itself_or_its_processors_do_and_a_zero_beside_them_is_no_word() {
        let load = |application_permille, cpu_permille| {
            used(&Load { application_permille, cpu_permille, ..Load::default() })
        };
        assert_eq!(load(Some(300), Some(900)), Some(300));
        assert_eq!([load(None, Some(900)), load(Some(0), Some(900))], [Some(900); 2]);
        assert_eq!([load(Some(0), None), load(None, None)], [Some(0), None]);
    }

    #[test]
    fn what_came_with_a_reply_counts_on_though_the_process_speaks_of_something_else_and_its_own_word_can_be_taken_back()
     {
        let (mut balancer, id) = (Balancer::new(Setting::default()), BackendId(1));
        balancer.add(id, 0);
        let with_reply = Report { valid_for_ms: 2_000, utilisation_permille: Some(700), ..Report::default() };
        let mut said = Said::default();
        let used = |balancer: &mut Balancer| {
            let claimed = balancer.record(None, 0, 0).unwrap().inputs[0].claimed;
            claimed.and_then(|claimed| claimed.report.utilisation_permille)
        };
        assert!(said.takes_reply(START, Instant::now()));
        balancer.report(id, with_reply, 0);
        said.tell(&Advice::default(), &mut balancer, id, 0);
        assert_eq!(used(&mut balancer), Some(700), "a pause, say, and no word of its load");
        let own = Reported {
            valid_for_ms: 60_000,
            work_unit: WORK_UNIT.to_owned(),
            utilisation_permille: Some(200),
            ..Reported::default()
        };
        said.tell(&reports(own, 60_000), &mut balancer, id, 0);
        assert_eq!(used(&mut balancer), Some(200));
        said.tell(&Advice::default(), &mut balancer, id, 0);
        assert_eq!(used(&mut balancer), None, "it is taken back");
    }

    #[test]
    fn a_report_that_came_with_a_reply_counts_where_the_process_has_not_reported_itself_and_not_too_often() {
        let reported = || Reported { valid_for_ms: 60_000, ..Reported::default() };
        let mut said = Said::default();
        let now = Instant::now();
        said.hear(StartId(2), reports(reported(), 60_000));
        said.hear(START, reports(reported(), 0));
        assert!(said.takes_reply(START, now), "another process said it, and what this one said is over");
        assert!(!said.takes_reply(START, now + REPLIES_EVERY / 2));
        assert!(said.takes_reply(START, now + REPLIES_EVERY));
        said.hear(START, reports(reported(), 60_000));
        assert!(!said.takes_reply(START, now + 2 * REPLIES_EVERY));
    }
}
