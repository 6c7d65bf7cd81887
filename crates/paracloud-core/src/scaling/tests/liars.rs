//! Who says what is not so is bounded by what gateways see.

use super::super::policy::Work;
use super::super::record::{Bound, Figure, Input};
use super::queues::Queue;
use super::*;

/// Seconds that a request takes alone.
const JOB_S: u32 = 4;
/// Requests that an instance works on at once.
const SLOTS: u32 = 4;

/// How many serve after so many seconds of 20 requests a second, which take long, to instances that all say this. They are
/// spread evenly, and of each what it does not work on waits.
fn serve_after(seconds: u32, says: &Report) -> u32 {
    let mut app = App::stateless(1, 8, 1);
    let mut outstanding = [0_u32; 9];
    for second in 0..seconds {
        app.seen.now_ms += 1_000;
        let ready = app.count(Phase::Ready).max(1);
        for (number, instance) in &mut app.seen.instances {
            instance.phase_ms = instance.phase_ms.saturating_add(1_000);
            if instance.phase == Phase::Starting && instance.phase_ms >= 2_000 {
                (instance.phase, instance.phase_ms) = (Phase::Ready, 0);
            }
            if instance.phase != Phase::Ready {
                continue;
            }
            let here = &mut outstanding[number.0 as usize];
            *here += 20 / ready;
            // What works on so many at once ends one of them a second.
            let completions = u32::from(second >= JOB_S) * (*here).min(SLOTS) / JOB_S;
            let took_s = (*here / (SLOTS / JOB_S)).clamp(JOB_S, second.max(JOB_S));
            *here -= completions;
            instance.report = Some(Told { value: *says, age_ms: 0, lease_ms: 3_000 });
            instance.measured = Some(Measured {
                age_ms: 0,
                over_ms: 1_000,
                completions,
                service_us_sum: u64::from(completions * took_s) * 1_000_000,
                in_flight: *here,
            });
        }
        app.seen.traffic = Some(Traffic { age_ms: 0, over_ms: 1_000, arrivals: 20, waiting: 0 });
        let (plan, memory, _) = plan(&app.policy, &app.seen, &app.memory);
        app.memory = memory;
        plan.actions.iter().for_each(|action| app.does(action));
    }
    app.count(Phase::Ready)
}

#[test]
fn a_capacity_a_hundred_times_too_large_hides_no_queue_that_gateways_see() {
    let report = |capacity_milli, slots| Report {
        capacity_milli: Some(capacity_milli),
        slots,
        backlog_ms: Some(0),
        warm_ms: Some(0),
        ..Report::default()
    };
    assert_eq!(serve_after(20, &report(1_000, Some(SLOTS))), 8, "the truth");
    assert_eq!(serve_after(30, &report(100_000, Some(SLOTS))), 8, "its slots contradict it");
    assert_eq!(serve_after(60, &report(100_000, None)), 8, "what it did contradicts it");
    assert_eq!(serve_after(60, &report(100_000, Some(400))), 8, "and so whatever it says of its slots");
}

/// What the instances told of what waits in the last decision, and what was made of it.
fn backlogs(app: &App) -> Vec<&Input> {
    app.record().reasons.inputs.iter().filter(|input| input.figure == Figure::Backlog).collect()
}

#[test]
fn a_queue_of_another_unit_is_not_cut_for_being_none_that_gateways_see() {
    let mut jobs = Queue::new(Work::Requests, 16, 2);
    jobs.is_unseen = true;
    jobs.waiting_ms = 30_000;
    jobs.run(1, 0);
    let told = backlogs(&jobs.app);
    assert!(told.iter().all(|input| input.bound.is_none() && input.told > Some(0)), "{told:?}");
    jobs.waiting_ms = 300_000;
    jobs.run(3, 0);
    assert_eq!(jobs.app.rule(), Rule::Queue);
    jobs.run(37, 0);
    assert_eq!(jobs.waiting_ms, 0, "those that were started work it off");
    assert!(backlogs(&jobs.app).iter().all(|input| input.trust_permille == Some(1_000)), "and nobody lied");

    let mut requests = Queue::new(Work::Requests, 16, 2);
    requests.waiting_ms = 300_000;
    requests.run(10, 0);
    let told = backlogs(&requests.app);
    assert!(told.iter().all(|input| input.bound == Some(Bound::GatewaysSeeLess)), "{told:?}");
    assert_eq!(requests.app.count(Phase::Ready), 2, "requests would be seen");
}

#[test]
fn a_queue_of_another_unit_without_end_starts_no_more_at_once_than_serve_and_no_more_than_the_budget_has() {
    let mut jobs = Queue::new(Work::Requests, 100, 2);
    jobs.is_unseen = true;
    jobs.app.policy.flap.actions = 20;
    let mut started = 0;
    for _ in 0..300 {
        jobs.waiting_ms = u32::MAX / 2;
        let there = jobs.app.count(Phase::Ready) + jobs.app.count(Phase::Starting);
        let more = starts(&jobs.run(1, 0));
        assert!(more <= there, "{more} beside {there}");
        started += more;
    }
    assert_eq!(started, 20);
    assert!(backlogs(&jobs.app).iter().all(|input| input.bound == Some(Bound::Doubling)));
}

#[test]
fn work_that_gateways_see_and_that_an_app_tells_of_as_unseen_counts_once() {
    let offered_milli = |backlog_ms| {
        let mut app = App::stateless(1, 4, 4);
        app.run(60, 100);
        for instance in app.seen.instances.values_mut() {
            let told = instance.report.as_mut().unwrap();
            (told.value.backlog_ms, told.value.is_unseen) = (Some(backlog_ms), true);
        }
        plan(&app.policy, &app.seen, &app.memory).2.reasons.need.offered_milli
    };
    // Ten are at work. What waits for each catch-up, once in each of them, is four.
    assert_eq!([0, 5_000, 20_000].map(offered_milli), [10_000, 10_000, 16_000]);
}

#[test]
fn slots_that_are_stated_are_contradicted_by_what_was_done_and_not_by_a_claim() {
    let mut app = App::stateless(1, 1, 1);
    // On its way a request takes a little longer than it is worked on.
    for completions in [[10; 40], [40; 40]].concat() {
        app.seen.now_ms += 1_000;
        let says = Report { capacity_milli: Some(80_000), slots: Some(SLOTS), ..Report::default() };
        let instance = app.instance(1);
        instance.report = Some(Told { value: says, age_ms: 0, lease_ms: 3_000 });
        let (service_us_sum, in_flight) = (u64::from(completions) * 105_000, completions / 10);
        let measured = Measured { age_ms: 0, over_ms: 1_000, completions, service_us_sum, in_flight };
        instance.measured = Some(measured);
        app.seen.traffic = Some(Traffic { age_ms: 0, over_ms: 1_000, arrivals: completions, waiting: 0 });
        let (_, memory, record) = plan(&app.policy, &app.seen, &app.memory);
        (app.memory, app.last) = (memory, Some(record));
    }
    let slots = app.record().reasons.inputs.iter().find(|input| input.figure == Figure::Slots);
    assert_eq!(slots.map(|it| (it.told, it.used, it.bound)), Some((Some(4), 4, None)));
}
