//! Work that no gateway sees.

use super::super::explain::explain;
use super::super::policy::Work;
use super::super::record::{Bound, Figure, Subject, WhyNot};
use super::*;

/// An app that takes its work from a queue: its instances work on four jobs at once.
pub(super) struct Queue {
    pub(super) app: App,
    /// Work that waits in all instances, in milliseconds of a slot.
    pub(super) waiting_ms: u32,
    /// It says that they are no requests.
    pub(super) is_unseen: bool,
    /// Requests that are in each instance, and that wait in gateways.
    polls: u32,
}

impl Queue {
    pub(super) fn new(work: Work, max: u32, instances: u32) -> Self {
        let mut app = App::stateless(1, max, instances);
        app.policy.work = work;
        Self { app, waiting_ms: 0, is_unseen: false, polls: 0 }
    }

    /// So many seconds, in each of which so much work comes, in milliseconds of a slot. Gateways see nothing of it.
    pub(super) fn run(&mut self, seconds: u32, comes_ms: u32) -> Vec<Action> {
        let mut actions = Vec::new();
        for _ in 0..seconds {
            self.app.seen.now_ms += 1_000;
            let serving = self.app.count(Phase::Ready);
            let done_ms = (self.waiting_ms + comes_ms).min(4_000 * serving);
            self.waiting_ms += comes_ms - done_ms.min(comes_ms);
            self.waiting_ms -= done_ms - done_ms.min(comes_ms);
            let mut at_work = done_ms.div_ceil(1_000);
            let mut says = Report {
                slots: Some(4),
                backlog_ms: Some(self.waiting_ms / serving.max(1)),
                warm_ms: Some(0),
                is_unseen: self.is_unseen,
                ..Report::default()
            };
            for instance in self.app.seen.instances.values_mut() {
                instance.phase_ms = instance.phase_ms.saturating_add(1_000);
                if instance.phase == Phase::Starting && instance.phase_ms >= 2_000 {
                    (instance.phase, instance.phase_ms, instance.quotes) = (Phase::Ready, 0, true);
                }
                let is_ready = instance.phase == Phase::Ready;
                says.in_flight = Some(at_work.min(done_ms.div_ceil(1_000 * serving.max(1))));
                at_work -= says.in_flight.filter(|_| is_ready).unwrap_or(0);
                instance.report = is_ready.then_some(Told { value: says, age_ms: 0, lease_ms: 3_000 });
                let completions = self.polls.min(1);
                let service_us_sum = 10_000 * u64::from(completions);
                let in_flight = self.polls;
                let measured = Measured { age_ms: 0, over_ms: 1_000, completions, service_us_sum, in_flight };
                instance.measured = Some(measured);
            }
            // Those that drained have left.
            self.app.seen.instances.retain(|_, it| it.phase != Phase::Draining);
            actions.extend(self.plan());
        }
        actions
    }

    fn plan(&mut self) -> Vec<Action> {
        self.app.seen.traffic = Some(Traffic { over_ms: 1_000, waiting: self.polls, ..Traffic::default() });
        let (plan, memory, record) = plan(&self.app.policy, &self.app.seen, &self.app.memory);
        (self.app.memory, self.app.last) = (memory, Some(record));
        plan.actions.iter().for_each(|action| self.app.does(action));
        plan.actions
    }
}

#[test]
fn a_queue_that_only_the_app_sees_has_as_many_as_work_it_off_and_they_leave_when_it_is_empty() {
    let mut queue = Queue::new(Work::Queue, 16, 1);
    queue.run(30, 20_000);
    assert_eq!((queue.app.rule(), queue.waiting_ms), (Rule::Queue, 0));
    queue.run(300, 20_000);
    let serving = queue.app.count(Phase::Ready);
    assert!((5..=8).contains(&serving), "at work for 20 of 4 each, and some for chance: {serving}");
    queue.run(600, 0);
    assert_eq!(queue.app.count(Phase::Ready), 1);
}

#[test]
fn a_queue_is_explained_by_what_counts_for_it_and_one_more_than_may_be_by_that() {
    let mut queue = Queue::new(Work::Queue, 4, 3);
    queue.waiting_ms = u32::MAX / 2;
    queue.run(30, 20_000);
    let reasons = &queue.app.record().reasons;
    assert_eq!((reasons.planned, reasons.alternatives[1].why_not), (4, not_more_than(4)));
    let text = explain(queue.app.record(), "jobs", None);
    assert!(text.contains("  not 5     the most: 4\n"), "{text}");
    assert!(
        text.contains("for what is worked on") && text.contains("requests that come do not count"),
        "{text}"
    );
    assert!(!text.contains("/s") && !text.contains("gateways rate"), "a rate counts for nothing: {text}");
}

#[test]
fn requests_that_come_beside_a_queue_count_for_nothing_however_long_they_last() {
    let with = |polls| {
        let mut queue = Queue::new(Work::Queue, 8, 2);
        queue.polls = polls;
        (queue.run(120, 10_000), queue)
    };
    let ((without, _), (all, queue)) = (with(0), with(3_000));
    assert_eq!(all, without);
    assert!(starts(&all) > 0, "it is scaled by its work");
    let inputs = &queue.app.record().reasons.inputs;
    assert!(inputs.iter().all(|input| input.bound != Some(Bound::GatewaysSeeMore)), "{inputs:?}");
    assert!(inputs.iter().all(|input| input.of != Subject::Gateways), "{inputs:?}");
    let slots = inputs.iter().find(|input| input.figure == Figure::Slots).unwrap();
    assert_eq!((slots.told, slots.used, slots.bound), (Some(4), 4, None));
}

#[test]
fn what_was_told_for_a_time_that_is_over_is_said_to_count_no_more_also_where_it_was_nothing() {
    let mut queue = Queue::new(Work::Queue, 8, 2);
    queue.run(30, 2_000);
    queue.app.seen.now_ms += 60_000;
    queue
        .app
        .seen
        .instances
        .values_mut()
        .filter_map(|it| it.report.as_mut())
        .for_each(|it| it.age_ms = 60_000);
    queue.plan();
    let inputs = &queue.app.record().reasons.inputs;
    let mut backlogs = inputs.iter().filter(|input| input.figure == Figure::Backlog).peekable();
    assert!(backlogs.peek().is_some());
    assert!(backlogs.all(|it| (it.told, it.bound) == (Some(0), Some(Bound::Lease))), "{inputs:?}");
}

/// The policy has no room for one more.
fn not_more_than(max: u32) -> WhyNot {
    WhyNot::Cut(Cut::Max { max, leaving: 0 })
}

#[test]
fn who_works_on_jobs_that_take_long_stays_though_nothing_waits() {
    let mut queue = Queue::new(Work::Queue, 4, 4);
    assert_eq!(queue.run(900, 12_000), []);
    assert_eq!(queue.waiting_ms, 0);
}

#[test]
fn what_is_said_to_wait_in_a_queue_adds_as_much_again_as_serves_and_what_chance_needs() {
    let mut queue = Queue::new(Work::Queue, 100, 4);
    queue.waiting_ms = u32::MAX / 2;
    let started = starts(&queue.run(1, 0));
    assert!((4..=6).contains(&started), "{started}");
}

#[test]
fn an_app_whose_queue_nobody_tells_of_any_more_keeps_who_is_there() {
    let mut queue = Queue::new(Work::Queue, 8, 6);
    queue.run(60, 20_000);
    for instance in queue.app.seen.instances.values_mut() {
        instance.report = None;
    }
    for _ in 0..900 {
        queue.app.seen.now_ms += 1_000;
        assert_eq!(queue.plan(), []);
    }
    assert_eq!(queue.app.rule(), Rule::Blind, "that gateways see no request says nothing of a queue");
}
