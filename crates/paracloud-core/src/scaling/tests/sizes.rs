//! Larger and smaller instances.

use super::super::explain::explain;
use super::super::measured::{Capacity, Extent};
use super::super::policy::{Shape, SizeBounds};
use super::*;
use std::string::String;

fn sized(shape: Shape, instances: u32, max: u32) -> App {
    let size = SizeBounds { base_cpu_m: 500, min_cpu_m: 250, max_cpu_m: 1_000 };
    let mut app = App::new(Policy { shape, size: Some(size), ..App::stateless(1, max, 0).policy }, instances);
    for instance in app.seen.instances.values_mut() {
        instance.cpu_m = Some(500);
    }
    app
}

fn resized(actions: &[Action]) -> Vec<(u32, u32)> {
    let resized = |action: &Action| match action {
        Action::Resize { instance, cpu_m } => Some((instance.0, *cpu_m)),
        Action::Start(_) | Action::Leave(_) | Action::Revoke(_) | Action::AskQuotes(_) => None,
    };
    actions.iter().filter_map(resized).collect()
}

#[test]
fn while_more_are_on_their_way_those_that_serve_grow() {
    let mut app = sized(Shape::Both, 2, 8);
    app.run(60, 40);
    let actions = app.run(2, 160);
    assert!(starts(&actions) > 0 && resized(&actions).len() >= 2, "{actions:?}");
    assert!(resized(&actions).iter().all(|(_, cpu_m)| (501..=1_000).contains(cpu_m)), "{actions:?}");
}

#[test]
fn what_was_lent_is_given_back_once_more_are_there_and_not_while_they_start() {
    let mut app = sized(Shape::Both, 2, 8);
    app.run(60, 40);
    app.run(2, 160);
    for instance in app.seen.instances.values_mut() {
        instance.cpu_m = instance.cpu_m.or(Some(500));
    }
    let early = resized(&app.run(5, 160));
    assert!(early.iter().all(|(_, cpu_m)| *cpu_m > 500), "{early:?}");
    for instance in app.seen.instances.values_mut() {
        instance.cpu_m = instance.cpu_m.or(Some(500));
    }
    let back = resized(&app.run(60, 150));
    assert!(!back.is_empty() && back.iter().all(|(_, cpu_m)| *cpu_m == 500), "{back:?}");
}

#[test]
fn what_grew_is_not_made_smaller_before_as_long_as_others_are_held() {
    let mut app = sized(Shape::Both, 2, 8);
    app.run(60, 40);
    let lent = resized(&app.run(4, 160));
    assert!(!lent.is_empty(), "those that serve grew");
    for instance in app.seen.instances.values_mut() {
        instance.cpu_m = instance.cpu_m.or(Some(500));
    }
    app.run(3, 160);
    let (all, early) = (app.count(Phase::Ready), app.run(5, 60));
    assert!(resized(&early).is_empty() && app.count(Phase::Ready) == all, "{early:?}");
    assert!(!resized(&app.run(30, 60)).is_empty(), "afterwards it is given back");
}

#[test]
fn nothing_is_made_smaller_while_one_starts_or_leaves() {
    for phase in [Phase::Starting, Phase::Draining, Phase::Leaving] {
        let mut app = sized(Shape::Up, 3, 8);
        app.run(60, 100);
        for instance in app.seen.instances.values_mut() {
            instance.cpu_m = Some(900);
        }
        // What grew did so long ago.
        app.memory.grown_ms = None;
        let is_smaller = |app: &mut App, phase| {
            let instance = app.instance(3);
            (instance.phase, instance.phase_ms) = (phase, 0);
            resized(&app.run(1, 10)).iter().any(|(_, cpu_m)| *cpu_m < 900)
        };
        assert!((0..200).all(|_| !is_smaller(&mut app, phase)), "{phase:?}");
        assert!((0..200).any(|_| is_smaller(&mut app, Phase::Ready)), "{phase:?}: afterwards they are");
    }
}

#[test]
fn where_the_number_stays_the_size_follows_the_load() {
    let mut app = sized(Shape::Up, 2, 8);
    app.run(60, 40);
    let up = app.run(3, 120);
    assert!(starts(&up) == 0 && resized(&up).iter().any(|(_, cpu_m)| *cpu_m > 500), "{up:?}");
    assert_eq!(app.rule(), Rule::Fixed);
    let down = resized(&app.run(200, 10));
    assert!(down.iter().any(|(_, cpu_m)| *cpu_m < 500), "{down:?}");
}

#[test]
fn no_decision_makes_some_larger_and_others_smaller() {
    let mut app = sized(Shape::Both, 3, 8);
    for second in 0..600_u32 {
        app.rate = if second / 40 % 2 == 0 { 40 } else { 200 };
        app.instance(1).cpu_m = Some(if second % 7 == 0 { 1_000 } else { 300 });
        let before: Vec<u32> = app.seen.instances.values().filter_map(|it| it.cpu_m).collect();
        let numbers: Vec<u32> = app.seen.instances.keys().map(|it| it.0).collect();
        let actions = app.second();
        let sizes = resized(&actions);
        let grow = |(number, cpu_m): &(u32, u32)| {
            let at = numbers.iter().position(|it| it == number).unwrap();
            before.get(at).is_some_and(|before| cpu_m > before)
        };
        let growing = sizes.iter().filter(|size| grow(size)).count();
        assert!(growing == 0 || growing == sizes.len(), "{second}: {sizes:?}");
        assert!(growing > 0 || sizes.is_empty() || actions.len() == sizes.len(), "{second}: {actions:?}");
        app.seen.instances.retain(|number, it| number.0 == 1 || it.phase != Phase::Draining);
        for instance in app.seen.instances.values_mut() {
            instance.cpu_m = instance.cpu_m.or(Some(500));
        }
        app.instance(1).phase = Phase::Ready;
    }
}

#[test]
fn of_those_that_only_say_how_many_they_work_on_the_usual_one_does_its_part_of_what_the_largest_did() {
    let unit = |exact_milli| {
        let mut app = App::stateless(1, 8, 3);
        app.memory.fleet.capacity = Capacity { exact_milli, least_milli: 12_000 };
        app.memory.fleet.most_of = Extent { slots: Some(8), cpu_m: None };
        for (number, slots) in [(1, 2), (2, 2), (3, 8)] {
            let value = Report { slots: Some(slots), in_flight: Some(1), ..Report::default() };
            app.instance(number).report = Some(Told { value, age_ms: 0, lease_ms: 3_000 });
        }
        app.seen.traffic = Some(Traffic { over_ms: 1_000, arrivals: 3, ..Traffic::default() });
        let unit = plan(&app.policy, &app.seen, &app.memory).2.reasons.unit.unwrap();
        (unit.slots, unit.capacity_milli)
    };
    assert_eq!([unit(None), unit(Some(16_000))], [(2, 3_000), (2, 4_000)]);
}

/// One instance of which nobody knows what it can do, and what it was asked for in a second in which it used this much.
fn uses(app: &mut App, used: Option<u32>) -> Option<u32> {
    (app.reports, app.measures) = (false, true);
    app.instance(1).cpu_used_m = used;
    resized(&app.run(1, 0)).first().map(|(_, cpu_m)| *cpu_m)
}

/// What is said of it, in one line.
fn told(app: &App) -> String {
    let told = explain(app.record(), "up.", None);
    told.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn who_uses_all_that_it_has_grows_by_half_and_again_until_it_has_the_most() {
    assert_eq!(uses(&mut sized(Shape::Up, 1, 1), Some(449)), Some(641), "so that it is seven tenths");
    let mut app = sized(Shape::Up, 1, 1);
    assert_eq!(uses(&mut app, Some(450)), Some(750));
    assert_eq!(uses(&mut app, None), None, "of its new size nothing is measured yet");
    assert_eq!(uses(&mut app, Some(750)), Some(1_000));
    let told = told(&app);
    assert!(told.contains("1.125 by what is used; 1.000 within limits"), "{told}");
    assert!(told.contains("size cut the most: 1.000"), "{told}");
    assert_eq!(uses(&mut app, Some(1_000)), None);
}

#[test]
fn who_did_not_take_another_size_of_late_is_not_asked_for_one_and_it_is_said_why() {
    let mut app = sized(Shape::Up, 1, 1);
    app.instance(1).size_rests = true;
    assert_eq!(uses(&mut app, Some(450)), None);
    assert!(told(&app).contains("size cut it did not take another size of late"), "{}", told(&app));
    app.instance(1).size_rests = false;
    assert_eq!(uses(&mut app, Some(450)), Some(750));
}

#[test]
fn who_uses_little_shrinks_to_where_that_is_seven_tenths_once_no_more_was_used_for_the_hold() {
    let mut app = sized(Shape::Up, 1, 1);
    let hold = 15;
    let early: Vec<_> = (0..hold).filter_map(|_| uses(&mut app, Some(210))).collect();
    assert!(early.is_empty(), "what is to come may be on its way: {early:?}");
    assert!(told(&app).contains("0.300 by what is used; 0.500 within limits"), "{}", told(&app));
    assert!(told(&app).contains("size cut hold: 0.500 were needed"), "{}", told(&app));
    assert_eq!((0..10).find_map(|_| uses(&mut app, Some(210))), Some(300));
}

#[test]
fn where_more_instances_may_come_what_one_uses_makes_none_larger() {
    let mut app = sized(Shape::Both, 1, 8);
    assert_eq!(uses(&mut app, Some(500)), None);
    assert!(
        told(&app).contains("each has 0.500 processors and uses 0.500; nobody knows what they can do"),
        "{}",
        told(&app)
    );
}

#[test]
fn an_app_of_which_nothing_is_known_is_left_alone_whoever_asks_for_more_or_to_go_and_whatever_is_used() {
    for shape in [Shape::Out, Shape::Both, Shape::Up] {
        let mut app = sized(shape, 4, 8);
        app.run(60, 100);
        (app.reports, app.measures) = (false, false);
        app.run(60, 0);
        app.seen.asked = Some(Told { value: 8, age_ms: 0, lease_ms: 60_000 });
        app.instance(2).retires = true;
        for instance in app.seen.instances.values_mut() {
            (instance.cpu_m, instance.cpu_used_m) = (Some(900), Some(900));
        }
        assert_eq!(app.run(60, 0), [], "{shape:?}");
        assert_eq!(app.cuts(), [Cut::Blind], "{shape:?}");
    }
}

#[test]
fn as_long_as_it_is_not_known_of_each_what_it_uses_no_size_follows_from_it() {
    let used = |of_both: [Option<u32>; 2]| {
        let mut app = sized(Shape::Up, 2, 2);
        app.reports = false;
        for (instance, used) in app.seen.instances.values_mut().zip(of_both) {
            instance.cpu_used_m = used;
        }
        resized(&app.run(1, 0))
    };
    assert_eq!(used([Some(500), None]), []);
    assert_eq!(used([Some(500); 2]), [(1, 750), (2, 750)]);
}
