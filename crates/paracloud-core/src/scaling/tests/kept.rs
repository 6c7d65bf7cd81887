//! Who stays though fewer would do.

use super::super::record::Reasons;
use super::super::victims::Standing;
use super::*;

#[test]
fn who_asks_to_go_and_may_not_be_touched_makes_nobody_else_go_before_the_hold_is_over() {
    let mut app = App::stateless(1, 8, 6);
    app.run(60, 165);
    assert_eq!(app.run(8, 20), []);
    let asks = app.instance(2);
    (asks.retires, asks.held_ms) = (true, Some(60_000));
    assert_eq!(app.run(5, 20), []);
    assert!(matches!(app.cuts(), [Cut::Hold(_), Cut::NoVictim]), "{:?}", app.cuts());
    app.instance(2).held_ms = None;
    assert_eq!(leaves(&app.run(3, 20)), [2], "once it may");
}

#[test]
fn a_quarter_at_a_time_is_of_those_that_end_as_well_as_of_those_that_drain() {
    let leave = |phase| {
        let mut app = App::stateless(1, 8, 8);
        app.run(30, 220);
        app.instance(8).phase = phase;
        leaves(&app.run(90, 10)).len()
    };
    assert_eq!([Phase::Draining, Phase::Leaving].map(leave), [0, 0], "it never ends");
    assert_eq!(leave(Phase::Unknown), 1);
}

#[test]
fn of_two_that_are_over_only_one_goes_where_those_that_serve_do_without_one_and_not_without_both() {
    let mut app = App::stateless(1, 8, 8);
    app.run(60, 225);
    (app.reports, app.rate) = (false, 160);
    let second = |app: &mut App, held_ms| {
        for number in 1..=8 {
            // Two of them work half as fast, and cost more than those that do not.
            let (phase_ms, warm_ms) = if number > 6 { (0, 600_000) } else { (600_000, 0) };
            let instance = app.instance(number);
            (instance.phase_ms, instance.held_ms) = (phase_ms, held_ms);
            let report = Report { warm_ms: Some(warm_ms), ..instance.report.unwrap().value };
            instance.report = Some(Told { value: report, age_ms: 0, lease_ms: 3_000 });
        }
        leaves(&app.second())
    };
    assert!((0..60).all(|_| second(&mut app, Some(60_000)).is_empty()), "nobody may go");
    let left = (0..3).map(|_| second(&mut app, None)).find(|left| !left.is_empty());
    let Reasons { count, bounded, standings, .. } = &app.record().reasons;
    let stays = standings.iter().find(|(_, it)| **it == Standing::Spared).map(|(number, _)| number.0);
    assert_eq!((*count - *bounded, left, stays), (2, Some([3].to_vec()), Some(4)));
}
