//! More and fewer instances.

use super::super::explain::explain;
use super::super::observation::Manual;
use super::super::policy::{Flap, Quotes, Work};
use super::super::record::WhyNot;
use super::*;

#[test]
fn a_load_that_grows_orders_what_it_takes_within_a_second_or_two_and_once() {
    let mut app = App::stateless(2, 40, 2);
    assert_eq!(app.run(60, 40), []);
    let ordered = app.run(2, 400);
    assert!((10..=16).contains(&starts(&ordered)), "{ordered:?}");
    assert_eq!(app.rule(), Rule::Load);
    let more = app.run(30, 400);
    assert!(starts(&ordered) + starts(&more) <= 30, "what is ordered counts: {ordered:?} {more:?}");
    assert!(matches!(more[..], [Action::Start(_), Action::Leave(_), ..]), "{more:?}");
}

#[test]
fn the_first_decision_starts_as_many_as_the_policy_says() {
    let policy = Policy { start: 3, ..App::stateless(1, 8, 0).policy };
    let mut app = App::new(policy, 0);
    app.measures = false;
    assert_eq!(app.run(1, 0), [Action::Start(3)]);
    assert_eq!(app.run(10, 0), []);
}

#[test]
fn less_load_lets_nobody_go_before_the_hold_is_over_and_then_the_cheapest_of_those_asked() {
    let mut app = App::stateless(1, 8, 6);
    app.run(60, 165);
    assert_eq!(app.run(10, 20), []);
    assert!(matches!(app.cuts(), [Cut::Hold(_)]), "{:?}", app.cuts());
    let gone = app.run(60, 20);
    assert!(!gone.is_empty() && starts(&gone) == 0);
    assert_eq!(leaves(&gone)[0], 4, "6, 5 and 4 were asked, and 4 is the cheapest");
}

#[test]
fn nobody_else_goes_while_a_quarter_is_leaving() {
    let mut app = App::stateless(1, 8, 8);
    app.run(30, 220);
    app.run(90, 10);
    assert_eq!(app.count(Phase::Draining), 1, "it never ends");
    assert!(matches!(app.cuts(), [.., Cut::Leaving(1)]), "{:?}", app.cuts());
}

#[test]
fn load_that_comes_back_calls_a_draining_one_back_before_another_is_started() {
    let mut app = App::stateless(1, 10, 8);
    app.run(30, 220);
    let gone = leaves(&app.run(40, 10));
    let back = app.run(4, 300);
    assert_eq!((gone.len(), &back[0]), (1, &Action::Revoke(InstanceNumber(gone[0]))), "{back:?}");
    assert_eq!(starts(&back), 2);
}

#[test]
fn who_leaves_by_somebody_elses_word_is_not_called_back_and_others_are_started() {
    let mut app = App::stateless(1, 10, 3);
    app.run(30, 100);
    app.instance(1).phase = Phase::Draining;
    let more = app.run(4, 300);
    assert!(more.iter().all(|action| !matches!(action, Action::Revoke(_))), "{more:?}");
    assert!(starts(&more) >= 6, "it is not counted on: {more:?}");
}

#[test]
fn a_leaving_instance_is_not_called_back_and_takes_its_place_in_the_most_there_may_be() {
    let mut app = App::stateless(1, 4, 4);
    app.run(60, 100);
    app.instance(4).phase = Phase::Leaving;
    assert_eq!(app.run(5, 500), []);
    assert!(app.cuts().contains(&Cut::Max { max: 4, leaving: 1 }), "{:?}", app.cuts());
}

#[test]
fn however_little_there_is_to_do_the_least_that_there_must_be_stay() {
    let mut app = App::stateless(3, 8, 6);
    app.run(60, 165);
    for _ in 0..600 {
        app.run(1, 1);
        app.seen.instances.retain(|_, it| it.phase != Phase::Draining);
    }
    assert_eq!((app.count(Phase::Ready), app.cuts()), (3, [Cut::Min(3)].as_slice()));
}

#[test]
fn who_was_never_seen_at_work_and_gets_nothing_for_the_longest_hold_leaves() {
    let mut app = App::stateless(2, 8, 5);
    app.reports = false;
    assert_eq!(app.run(290, 0), [], "what is to come may be on its way");
    assert_eq!(app.rule(), Rule::Idle);
    for _ in 0..120 {
        app.run(1, 0);
        app.seen.instances.retain(|_, it| it.phase != Phase::Draining);
    }
    assert_eq!(app.count(Phase::Ready), 2);
}

#[test]
fn who_asks_to_go_though_as_many_are_needed_is_replaced() {
    let mut app = App::stateless(3, 8, 3);
    app.run(60, 60);
    app.instance(2).retires = true;
    assert_eq!(app.run(1, 60), [Action::Start(1)]);
    assert_eq!(app.cuts(), [Cut::Retiring(1)]);
    let then = app.run(120, 60);
    assert_eq!(leaves(&then), [2], "and nobody else");
    assert_eq!(starts(&then), 0, "once");
    let mut full = App::stateless(1, 3, 3);
    full.run(60, 110);
    full.instance(2).retires = true;
    assert_eq!(full.run(20, 110), [], "there may be no more");
}

#[test]
fn an_app_that_gets_nothing_and_asks_for_more_has_more() {
    let mut app = App::stateless(1, 8, 1);
    app.reports = false;
    app.seen.asked = Some(Told { value: 3, age_ms: 0, lease_ms: u32::MAX });
    app.run(600, 0);
    assert_eq!(app.count(Phase::Ready), 3);
}

#[test]
fn what_is_worked_on_or_waits_in_a_queue_that_nobody_tells_of_keeps_those_that_were_never_seen_at_work() {
    for is_queue in [false, true] {
        let mut app = App::stateless(2, 8, 5);
        app.reports = false;
        if is_queue {
            app.policy.work = Work::Queue;
        }
        for _ in 0..600 {
            app.seen.now_ms += 1_000;
            for instance in app.seen.instances.values_mut() {
                let in_flight = u32::from(!is_queue);
                instance.measured =
                    Some(Measured { age_ms: 0, over_ms: 1_000, in_flight, ..Measured::default() });
            }
            app.seen.traffic = Some(Traffic { age_ms: 0, over_ms: 1_000, ..Traffic::default() });
            let (planned, memory, record) = plan(&app.policy, &app.seen, &app.memory);
            let rule = if is_queue { Rule::Blind } else { Rule::Unknown };
            assert_eq!((planned.actions, record.reasons.rule), (Vec::new(), rule));
            app.memory = memory;
        }
    }
}

#[test]
fn while_nothing_is_told_or_measured_nothing_leaves() {
    let mut app = App::stateless(1, 8, 6);
    app.run(60, 165);
    (app.reports, app.measures) = (false, false);
    assert_eq!(app.run(7_200, 0), []);
    assert_eq!((app.rule(), app.cuts()), (Rule::Blind, [Cut::Blind].as_slice()));
}

#[test]
fn an_app_that_says_nothing_is_planned_by_what_is_measured() {
    let mut app = App::stateless(1, 8, 6);
    app.reports = false;
    app.run(60, 165);
    assert_eq!((app.rule(), app.run(60, 200)), (Rule::Unsaturated, Vec::new()), "nobody was saturated");
    let fewer = app.run(200, 60);
    assert!(!leaves(&fewer).is_empty());
    assert!(app.count(Phase::Ready) >= 2, "an instance was seen to do 33 a second");
}

#[test]
fn requests_that_wait_for_instances_of_which_nothing_is_known_order_half_as_many_again_at_a_time() {
    let mut app = App::stateless(1, 8, 2);
    app.seen.now_ms += 1_000;
    app.seen.traffic = Some(Traffic { age_ms: 0, over_ms: 1_000, arrivals: 50, waiting: 50 });
    let (planned, memory, record) = plan(&app.policy, &app.seen, &app.memory);
    assert_eq!((planned.actions, record.reasons.rule), ([Action::Start(1)].to_vec(), Rule::Waiting));
    app.does(&Action::Start(1));
    assert_eq!(plan(&app.policy, &app.seen, &memory).0.actions, [], "it is on its way");
}

#[test]
fn what_a_person_set_is_kept_until_its_time() {
    let mut app = App::stateless(1, 8, 2);
    app.seen.manual = Some(Manual { count: 5, left_ms: 60_000 });
    assert_eq!(app.run(1, 10), [Action::Start(3)]);
    assert_eq!((app.rule(), app.run(300, 10)), (Rule::Manual, Vec::new()));
    app.seen.manual = Some(Manual { count: 5, left_ms: 0 });
    assert!(!leaves(&app.run(120, 10)).is_empty());
}

#[test]
fn what_a_person_set_outside_of_the_bounds_is_cut_and_the_cut_is_told() {
    let mut app = App::stateless(2, 8, 4);
    app.seen.manual = Some(Manual { count: 50, left_ms: 60_000 });
    assert_eq!(
        (app.run(1, 10), app.cuts()),
        ([Action::Start(4)].to_vec(), [Cut::Max { max: 8, leaving: 0 }].as_slice())
    );
}

#[test]
fn starts_stop_at_the_budget_and_the_record_says_so() {
    let flap = Flap { actions: 3, per_ms: 600_000 };
    let mut app = App::new(Policy { flap, ..App::stateless(1, 40, 0).policy }, 2);
    app.run(60, 40);
    assert_eq!(starts(&app.run(60, 900)), 3);
    assert!(app.cuts().contains(&Cut::Flap { spent: 3, actions: 3 }), "{:?}", app.cuts());
}

#[test]
fn stops_spend_the_budget_and_use_half_of_it_at_most() {
    let flap = Flap { actions: 4, per_ms: 600_000 };
    let mut app = App::new(Policy { flap, ..App::stateless(1, 8, 0).policy }, 8);
    app.run(30, 250);
    let mut gone = Vec::new();
    for _ in 0..300 {
        gone.extend(leaves(&app.run(1, 10)));
        app.seen.instances.retain(|_, it| it.phase != Phase::Draining);
    }
    assert_eq!(gone.len(), 2, "{gone:?}");
    assert!(app.cuts().contains(&Cut::FlapStops { spent: 2, actions: 2 }), "{:?}", app.cuts());
}

#[test]
fn who_asks_to_go_goes_before_the_hold_is_over_if_it_is_not_needed() {
    let mut app = App::stateless(1, 8, 6);
    app.run(60, 165);
    assert_eq!(app.run(10, 20), []);
    app.instance(2).retires = true;
    assert_eq!(leaves(&app.run(3, 20)), [2]);
}

#[test]
fn an_app_that_asks_for_more_gets_a_quarter_more_and_no_more() {
    let mut app = App::stateless(1, 40, 8);
    app.run(60, 210);
    let without = app.record().reasons.raw;
    app.seen.asked = Some(Told { value: 40, age_ms: 0, lease_ms: 60_000 });
    app.run(30, 210);
    assert_eq!((without, app.record().reasons.raw, app.rule()), (8, 10, Rule::Asked));
}

#[test]
fn one_that_holds_among_eight_is_never_the_victim() {
    let policy = Policy { flap: Flap { actions: 4_000, per_ms: 600_000 }, ..App::stateless(1, 8, 0).policy };
    let mut app = App::new(policy, 8);
    let mut gone = Vec::new();
    for second in 0..5_400_u32 {
        app.instance(7).held_ms = Some(60_000);
        gone.extend(leaves(&app.run(1, if second % 90 < 60 { 10 } else { 250 })));
        app.seen.instances.retain(|_, it| it.phase != Phase::Draining);
    }
    assert!(gone.len() >= 50 && !gone.contains(&7), "{gone:?}");
}

#[test]
fn a_candidate_that_does_not_answer_is_passed_over_and_asked_again_later() {
    let mut app = App::stateless(1, 8, 2);
    app.policy.quotes = Quotes { candidates: 1, wait_ms: 2_000, valid_ms: 5_000 };
    app.run(60, 45);
    app.rate = 10;
    let mut asked = Vec::new();
    for _ in 0..60 {
        for instance in app.seen.instances.values_mut() {
            instance.quote = None;
        }
        for action in app.second() {
            if let Action::AskQuotes(of) = action {
                asked.extend(of.into_iter().map(|number| number.0));
            }
        }
    }
    assert!(asked.starts_with(&[2, 1]) && asked.len() >= 4, "{asked:?}");
    assert_eq!(app.count(Phase::Draining), 0);
}

#[test]
fn the_record_says_why_not_one_fewer_and_why_not_one_more() {
    let mut app = App::stateless(1, 8, 6);
    app.run(60, 165);
    let whys: Vec<_> = app.record().reasons.alternatives.iter().map(|it| (it.count, it.why_not)).collect();
    assert_eq!(whys, [(5, WhyNot::TooFew), (7, WhyNot::NotNeeded)]);
}

#[test]
fn of_several_limits_the_one_that_was_met_last_is_why_there_are_not_more() {
    let flap = Flap { actions: 2, per_ms: 600_000 };
    let mut app = App::new(Policy { flap, ..App::stateless(1, 8, 0).policy }, 2);
    app.run(60, 40);
    app.run(20, 900);
    let cuts = app.cuts();
    assert!(matches!(cuts, [Cut::Backlog, Cut::Max { .. }, Cut::Flap { .. }]), "{cuts:?}");
    let more = app.record().reasons.alternatives[1];
    assert_eq!((more.count, more.why_not), (5, WhyNot::Cut(Cut::Flap { spent: 2, actions: 2 })));
}

#[test]
fn what_is_not_known_is_said_to_be_unknown_and_not_nothing() {
    let mut app = App::stateless(1, 8, 3);
    app.run(30, 100);
    (app.reports, app.measures) = (false, false);
    app.run(60, 0);
    let text = explain(app.record(), "web", None);
    assert!(text.contains("needs     not known") && !text.contains("0.0 slots"), "{text}");
    let whys: Vec<_> = app.record().reasons.alternatives.iter().map(|it| it.why_not).collect();
    assert_eq!(whys, [WhyNot::Cut(Cut::Blind), WhyNot::Unknown]);
}

#[test]
fn an_instance_that_is_needed_now_stays_though_the_numbers_say_otherwise() {
    let mut app = App::stateless(1, 8, 4);
    app.run(60, 105);
    for number in [1, 2] {
        (app.instance(number).phase, app.instance(number).phase_ms) = (Phase::Unknown, 0);
    }
    // Three would do, four are there, and two of them serve.
    let mut gone = Vec::new();
    for _ in 0..120 {
        let left = leaves(&app.run(1, 50));
        assert!(left.is_empty() || app.count(Phase::Ready) >= 3, "{left:?}");
        gone.extend(left);
    }
    assert!(gone.len() <= 1, "the silent ones were replaced: {gone:?}");
}

#[test]
fn who_is_warm_stays_though_it_costs_least_while_others_beside_it_are_too_cold_to_serve_its_part() {
    let mut app = App::stateless(1, 4, 4);
    app.run(60, 105);
    (app.reports, app.rate) = (false, 60);
    let second = |app: &mut App, warm_ms: u32| {
        for number in 1..=4 {
            let warm_ms = Some(if number > 2 { warm_ms } else { 0 });
            let told = &mut app.instance(number).report;
            let report = Report { warm_ms, ..told.take().unwrap().value };
            *told = Some(Told { value: report, age_ms: 0, lease_ms: 3_000 });
        }
        leaves(&app.second())
    };
    (app.instance(3).phase_ms, app.instance(4).phase_ms) = (0, 0);
    // Three would do, four are there, and two of them work half as fast: the cheapest one does more than what is over.
    let left: Vec<u32> = (0..60).flat_map(|_| second(&mut app, 600_000)).collect();
    assert!(left.is_empty() && app.cuts().contains(&Cut::Serving), "{left:?} {:?}", app.cuts());
    assert!(explain(app.record(), "web", None).contains(": not needed to go"));
    let left: Vec<u32> = (0..5).flat_map(|_| second(&mut app, 0)).collect();
    assert_eq!(left.len(), 1, "all of them are warm: {left:?}");
}

#[test]
fn a_policy_that_cannot_be_used_does_nothing() {
    let mut app = App::stateless(0, 8, 3);
    assert_eq!((app.run(3, 900), app.rule()), (Vec::new(), Rule::Unusable));
}
