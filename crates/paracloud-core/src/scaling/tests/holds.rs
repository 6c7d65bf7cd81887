//! What a hold counts, and what it does not.

use super::super::observation::Announcement;
use super::*;

fn held(app: &App) -> u32 {
    app.record().reasons.hold.unwrap().1.need
}

fn raw(app: &App) -> u32 {
    app.record().reasons.raw
}

#[test]
fn what_waits_because_too_few_were_there_is_worked_off_once_and_holds_nobody() {
    let mut app = App::stateless(1, 40, 2);
    app.run(60, 60);
    app.run(2, 300);
    assert!(raw(&app) > held(&app) && held(&app) >= 8, "{} {}", raw(&app), held(&app));
}

#[test]
fn what_waits_though_enough_are_there_comes_again_and_holds_who_works_it_off() {
    let mut app = App::stateless(1, 40, 10);
    app.run(60, 200);
    let without = held(&app);
    app.queued = 600;
    app.run(1, 200);
    assert_eq!(held(&app), raw(&app));
    assert!(held(&app) > without, "{} {without}", held(&app));
}

#[test]
fn what_was_announced_is_held_while_something_is_and_not_once_nothing_is() {
    let announced = |app: &mut App, rate_milli| {
        let start_ms = app.seen.now_ms + 3_000;
        let (id, end_ms) = ("sale".into(), start_ms + 100_000);
        let sale = Announcement { id, start_ms, end_ms, rate_milli, confidence_permille: Some(1_000) };
        app.seen.announcements = [sale].into();
        app.run(1, 40);
        app.count(Phase::Ready) + app.count(Phase::Starting)
    };
    let mut app = App::stateless(1, 40, 2);
    app.run(60, 40);
    let many = announced(&mut app, 400_000);
    assert!(many >= 10, "{many}");
    assert_eq!((announced(&mut app, 100_000), app.rule()), (many, Rule::Announced));
    assert!(raw(&app) < many && held(&app) >= many, "by the rule alone some would go");
    app.seen.announcements.clear();
    app.run(1, 40);
    assert!(held(&app) < many, "it was taken back: {}", held(&app));
}

#[test]
fn who_asks_to_go_where_all_are_needed_and_no_more_may_be_is_not_replaced() {
    let bounded = |max| {
        let mut app = App::stateless(1, max, 4);
        app.run(60, 120);
        app.instance(2).retires = true;
        app.run(1, 120);
        let is_replaced = app.cuts().iter().any(|cut| matches!(cut, Cut::Retiring(_)));
        (app.record().reasons.bounded, is_replaced)
    };
    assert_eq!([bounded(5), bounded(4)], [(5, true), (4, false)]);
}

#[test]
fn a_hold_keeps_who_is_there_and_starts_nobody_for_who_was_taken_away() {
    let mut app = App::stateless(1, 8, 6);
    app.policy.hold.min_ms = 60_000;
    app.run(60, 165);
    assert_eq!(app.run(40, 20), []);
    app.seen.instances.retain(|number, _| number.0 <= 4);
    assert_eq!(app.run(5, 20), []);
    assert_eq!((raw(&app), held(&app), app.record().reasons.bounded), (1, 6, 4));
}
