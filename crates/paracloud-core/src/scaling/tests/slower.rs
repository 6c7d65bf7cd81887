//! Requests that take longer than they did.

use super::super::measured::Capacity;
use super::super::record::Reasons;
use super::*;

/// An app whose requests take ten times as long after two minutes, and so many a second come all the time: how many serve then, and
/// how many waited at most in the minute after the first minute and a half.
fn serving_after(set: impl FnOnce(&mut App)) -> (u32, u32) {
    let mut app = App::stateless(1, 30, 2);
    set(&mut app);
    app.run(120, 60);
    app.work_ms *= 10;
    app.run(90, 60);
    let mut waited = 0;
    for _ in 0..60 {
        app.run(1, 60);
        waited = waited.max(app.queued);
    }
    (app.count(Phase::Ready), waited)
}

#[test]
fn an_app_whose_requests_take_longer_than_before_gets_as_many_as_that_takes() {
    // Sixty a second, a second each: fifteen of four are at work all the time.
    for (claims, reports) in [(true, true), (false, true), (true, false)] {
        let (serving, waited) = serving_after(|app| (app.claims, app.reports) = (claims, reports));
        assert!((16..=24).contains(&serving) && waited < 60, "{claims} {reports}: {serving} {waited}");
    }
}

#[test]
fn where_some_of_them_do_a_quarter_of_the_others_as_many_stay_as_those_are_worth() {
    let mut app = App::stateless(1, 8, 8);
    app.claims = false;
    app.run(5, 110);
    for number in 1..=8 {
        let known = app.memory.instances.get_mut(&InstanceNumber(number)).unwrap();
        known.capacity = {
            let milli = if number <= 3 { 10_000 } else { 40_000 };
            Capacity { exact_milli: Some(milli), least_milli: milli }
        };
    }
    app.run(1, 110);
    let Reasons { need, coming_milli, raw, .. } = &app.record().reasons;
    // Eleven are at work all the time, and chance needs five: four quick ones alone would just do.
    assert!((15_000..18_000).contains(&need.total_milli()) && (22_000..26_000).contains(coming_milli));
    assert_eq!((*raw, held_of(&app)), (6, 6));
}

fn held_of(app: &App) -> u32 {
    app.record().reasons.hold.unwrap().1.need.min(app.record().reasons.raw)
}

#[test]
fn clients_that_wait_for_each_answer_have_as_many_as_they_take_within_a_minute() {
    let mut app = App::stateless(1, 30, 6);
    // Sixteen clients, each of which asks again as soon as it has its answer.
    app.run(60, 160);
    app.work_ms *= 10;
    app.run(60, 16);
    let serving: Vec<_> = (0..240)
        .map(|_| {
            app.run(1, 16);
            app.count(Phase::Ready)
        })
        .collect();
    assert!(serving.iter().all(|count| (4..=7).contains(count)), "four are worked on in each: {serving:?}");
}
