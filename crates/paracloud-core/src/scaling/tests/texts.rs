//! Records: as text, as data, and made again.

use super::super::explain::explain;
use super::super::observation::{Announcement, Cold, Manual};
use super::super::policy::{Flap, Shape, SizeBounds, Work};
use super::super::victims::Standing;
use super::*;
use crate::ids::NodeId;
use std::format;
use std::string::String;

fn told(app: &App) -> String {
    explain(app.record(), "worker", None)
}

#[test]
fn a_load_that_grows_is_explained() {
    let mut app = App::stateless(2, 8, 2);
    app.run(60, 40);
    app.run(2, 400);
    insta::assert_snapshot!(told(&app));
}

#[test]
fn a_liar_is_explained() {
    let mut app = App::stateless(1, 8, 2);
    app.run(60, 40);
    app.rate = 40;
    app.reports = false;
    for _ in 0..20 {
        let lie = Report {
            capacity_milli: Some(1),
            slots: Some(9_999),
            backlog_ms: Some(u32::MAX),
            ..Report::default()
        };
        app.instance(2).report = Some(Told { value: lie, age_ms: 0, lease_ms: 3_000 });
        app.instance(1).report = None;
        app.second();
    }
    insta::assert_snapshot!(told(&app));
}

#[test]
fn who_goes_and_who_does_not_is_explained() {
    let mut app = App::stateless(1, 8, 6);
    app.run(60, 165);
    app.instance(5).held_ms = Some(1_250_000);
    while !app.record().plan.actions.iter().any(|action| matches!(action, Action::Leave(_))) {
        app.run(1, 20);
        assert!(app.seen.now_ms < 1_200_000);
    }
    insta::assert_snapshot!(told(&app));
}

#[test]
fn of_equals_it_is_said_which_rule_chose() {
    let told_of = |app: &App, number: u32| {
        let text = told(app).replace("\n            ", " ");
        let line = text.lines().find(|line| line.starts_with(&format!("  may go?   worker.{number}:")));
        String::from(line.unwrap_or_else(|| panic!("{text}")))
    };
    let goes_from = |nodes: [u32; 3]| {
        let mut app = App::stateless(1, 8, 3);
        app.run(60, 70);
        loop {
            for (number, node) in (1..).zip(nodes) {
                let value = Quote { cost_ms: 40, state_kib: Some(0), ..Quote::default() };
                let instance = app.instance(number);
                (instance.node, instance.sessions) = (Some(NodeId(node)), Some(0));
                instance.quote = Some(Told { value, age_ms: 0, lease_ms: 5_000 });
            }
            if leaves(&app.run(1, 5)).len() == 1 {
                return app;
            }
            assert!(app.seen.now_ms < 1_200_000);
        }
    };
    let same = goes_from([1, 1, 1]);
    assert!(told(&same).contains("  who goes  who asked to;") && told(&same).contains("of equals"));
    assert_eq!(told_of(&same, 3), "  may go?   worker.3: goes, costs 40 ms of work");
    let as_three = "no: costs 40 ms of work, as worker.3 does: of equals the highest number goes";
    assert_eq!(told_of(&same, 1), format!("  may go?   worker.1: {as_three}"));
    let fuller = goes_from([1, 1, 2]);
    assert_eq!(told_of(&fuller, 2), "  may go?   worker.2: goes, costs 40 ms of work");
    assert!(
        told_of(&fuller, 3).ends_with("of equals one of the node with most goes, then the highest number")
    );
}

#[test]
fn a_persons_number_is_explained_with_when_it_is_over_and_what_the_rule_would_have() {
    let mut app = App::stateless(1, 8, 6);
    app.run(60, 165);
    app.seen.manual = Some(Manual { count: 7, left_ms: 65_000 });
    app.run(1, 165);
    let rule = |until| {
        let text = explain(app.record(), "worker", until).replace("\n            ", " ");
        text.lines().find(|line| line.starts_with("  rule")).map(String::from)
    };
    let would = "the rule would have 6: enough for the requests that come";
    let set = "  rule      a person set the number,";
    assert_eq!(rule(None), Some(format!("{set} for 1 m 05 s more; {would}")));
    assert_eq!(rule(Some("12:40:00Z")), Some(format!("{set} until 12:40:00Z (in 1 m 05 s); {would}")));
    let text = told(&app);
    assert!(
        text.contains("7 by a person's word, 7 within limits") && !text.contains("by the rule"),
        "{text}"
    );
}

#[test]
fn what_there_is_can_be_added_up_where_they_are_not_alike() {
    let mut app = App::stateless(1, 8, 4);
    app.run(60, 100);
    app.instance(1).cold = Some(Cold { left_ms: 60_000, permille: Some(250) });
    app.instance(2).cold = Some(Cold { left_ms: 60_000, permille: Some(250) });
    (app.instance(3).phase, app.instance(3).phase_ms) = (Phase::Starting, 0);
    app.run(1, 100);
    let text = told(&app);
    let lines: Vec<_> =
        text.lines().filter(|line| line.contains("now,") || line.contains("of these")).collect();
    insta::assert_snapshot!(lines.join("\n"));
    assert_eq!(app.record().reasons.serving_milli, 6_000);
}

#[test]
fn of_whom_nobody_knows_what_it_does_is_not_said_to_do_nothing() {
    let mut app = App::stateless(1, 8, 6);
    app.run(60, 165);
    app.run(2, 20);
    let mut record = app.record().clone();
    let unknown = Standing::Behind { sessions: None, in_flight: None };
    let two = Standing::Behind { sessions: Some(2), in_flight: Some(3) };
    let known = [
        unknown,
        two,
        Standing::Unmeasured,
        Standing::Dearer(None),
        Standing::Goes(None),
        Standing::Goes(Some(0)),
    ];
    record.reasons.standings = (1..).map(InstanceNumber).zip(known).collect();
    let text = explain(&record, "worker", None);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let lines = text.lines().skip_while(|line| !line.starts_with("  may go?"));
    let lines: Vec<_> = lines.take_while(|line| !line.starts_with("  not ")).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_scale_in_that_is_called_back_is_explained() {
    let mut app = App::stateless(1, 8, 8);
    app.run(30, 220);
    app.run(48, 10);
    while !app.record().plan.actions.iter().any(|action| matches!(action, Action::Revoke(_))) {
        app.run(1, 300);
        assert!(app.seen.now_ms < 1_100_000);
    }
    insta::assert_snapshot!(told(&app));
}

#[test]
fn an_unusable_policy_is_explained() {
    let mut app = App::stateless(0, 8, 3);
    app.run(1, 900);
    insta::assert_snapshot!(told(&app));
}

#[test]
fn an_announcement_is_explained_with_its_grade() {
    let mut app = App::stateless(1, 20, 2);
    app.run(60, 40);
    app.seen.announcements.push(Announcement {
        id: "sale".into(),
        start_ms: app.seen.now_ms + 2_000,
        end_ms: app.seen.now_ms + 100_000,
        rate_milli: 300_000,
        confidence_permille: Some(900),
    });
    app.run(1, 40);
    assert_eq!(app.rule(), Rule::Announced);
    insta::assert_snapshot!(told(&app));
}

/// It announces 300 requests a second, so many seconds ahead.
fn announces(app: &mut App, ahead_s: u64, confidence_permille: Option<u32>) {
    let start_ms = app.seen.now_ms + ahead_s * 1_000;
    let (id, end_ms) = ("sale".into(), start_ms + 100_000);
    let sale = Announcement { id, start_ms, end_ms, rate_milli: 300_000, confidence_permille };
    app.seen.announcements.push(sale);
}

#[test]
fn an_announcement_that_is_known_early_is_explained_with_when_it_begins_and_that_it_does_not_count_yet() {
    let mut app = App::stateless(1, 20, 2);
    app.run(60, 40);
    announces(&mut app, 600, None);
    app.run(1, 40);
    assert_eq!(app.rule(), Rule::Load);
    insta::assert_snapshot!(told(&app));
}

#[test]
fn what_is_announced_for_those_that_were_never_seen_at_work_is_explained_with_what_keeps_it_from_counting() {
    let mut app = App::stateless(1, 20, 2);
    announces(&mut app, 2, None);
    app.run(1, 0);
    assert_eq!((app.rule(), app.cuts()), (Rule::Announced, &[Cut::Claim(2)][..]));
    insta::assert_snapshot!(told(&app));
}

/// One that nobody knows anything of, for which so many requests wait.
fn unknown(app: &mut App, waiting: u32) {
    app.seen.now_ms += 1_000;
    app.seen.traffic = Some(Traffic { age_ms: 0, over_ms: 1_000, arrivals: 20, waiting });
    app.last = Some(plan(&app.policy, &app.seen, &app.memory).2);
}

/// What there is, by which rule, and why not one fewer and not one more.
fn whys(name: &str, app: &App) -> String {
    let reasons = &app.record().reasons;
    let head = format!("{name}: {} -> {}, {:?}", reasons.count, reasons.planned, reasons.rule);
    let text = told(app);
    let whys = text.lines().filter(|line| line.starts_with("  not "));
    [head.as_str()].into_iter().chain(whys).collect::<Vec<_>>().join("\n")
}

#[test]
fn why_not_one_fewer_and_not_one_more_is_what_the_rule_goes_by_or_what_cuts_it() {
    type Case = (&'static str, [u32; 3], fn(&mut App));
    let cases: [Case; 27] = [
        ("a person", [1, 8, 3], |app| {
            app.seen.manual = Some(Manual { count: 3, left_ms: 60_000 });
            app.run(2, 10);
        }),
        ("a person wants fewer than can go at once", [1, 8, 8], |app| {
            app.seen.manual = Some(Manual { count: 3, left_ms: 60_000 });
            app.run(1, 10);
        }),
        ("a person wants more than there may be", [1, 4, 3], |app| {
            app.seen.manual = Some(Manual { count: 6, left_ms: 60_000 });
            app.run(1, 10);
        }),
        ("nothing is told or measured", [1, 8, 3], |app| {
            (app.reports, app.measures) = (false, false);
            app.run(1, 0);
        }),
        ("nothing is told or measured at first", [1, 8, 0], |app| {
            (app.reports, app.measures, app.policy.start) = (false, false, 3);
            app.run(1, 0);
        }),
        ("a gateway says that nothing comes, and it begins", [1, 8, 0], |app| {
            (app.reports, app.policy.start) = (false, 3);
            app.run(1, 0);
        }),
        ("nothing comes and nobody was seen at work", [2, 8, 3], |app| {
            app.reports = false;
            app.run(2, 0);
        }),
        ("nothing comes for long", [2, 8, 2], |app| {
            app.reports = false;
            app.run(400, 0);
        }),
        ("nobody knows what one can do", [1, 8, 3], |app| unknown(app, 0)),
        ("nobody knows, and requests wait", [1, 8, 3], |app| unknown(app, 9)),
        ("nobody was saturated", [1, 8, 6], |app| {
            app.reports = false;
            app.run(60, 165);
            app.run(60, 200);
        }),
        ("the load", [1, 8, 6], |app| drop(app.run(60, 165))),
        ("the load, a little short", [1, 8, 6], |app| drop(app.run(60, 176))),
        ("the load, and it was more", [1, 8, 6], |app| {
            app.run(60, 165);
            app.run(10, 20);
        }),
        ("the load, and no more may be", [1, 3, 3], |app| drop(app.run(60, 165))),
        ("the load of larger ones", [1, 8, 2], |app| {
            app.policy.size = Some(SizeBounds { base_cpu_m: 500, min_cpu_m: 100, max_cpu_m: 2_000 });
            app.policy.shape = Shape::Both;
            for number in [1, 2] {
                app.instance(number).cpu_m = Some(1_000);
            }
            app.run(60, 40);
        }),
        ("one asks to go", [3, 8, 3], |app| {
            app.run(60, 60);
            app.instance(2).retires = true;
            app.run(1, 60);
        }),
        ("what waits", [1, 40, 3], |app| {
            app.run(30, 100);
            app.queued = 2_000;
            app.run(1, 100);
        }),
        ("an announcement", [1, 20, 2], |app| {
            app.run(60, 40);
            announces(app, 2, Some(900));
            app.run(1, 40);
        }),
        ("an announcement, and nobody was saturated", [1, 20, 2], |app| {
            app.reports = false;
            app.run(60, 40);
            announces(app, 2, Some(900));
            app.run(1, 40);
        }),
        ("an announcement, and nobody was seen at work", [1, 20, 2], |app| {
            announces(app, 2, Some(900));
            app.run(1, 0);
        }),
        ("a claim that nobody has tested", [1, 20, 8], |app| {
            app.run(20, 60);
            let is_untested = |app: &App| app.cuts().iter().any(|cut| matches!(cut, Cut::Untested(_)));
            while !is_untested(app) || app.record().reasons.planned != app.record().reasons.raw {
                app.run(1, 60);
                app.seen.instances.retain(|_, it| it.phase != Phase::Draining);
                assert!(app.seen.now_ms < 1_300_000);
            }
        }),
        ("a queue, and nobody says how many at once", [1, 8, 2], |app| {
            app.policy.work = Work::Queue;
            for number in [1, 2] {
                let value = Report { in_flight: Some(3), backlog_ms: Some(0), ..Report::default() };
                app.instance(number).report = Some(Told { value, age_ms: 0, lease_ms: 3_000 });
            }
            unknown(app, 0);
        }),
        ("the app asks", [1, 8, 2], |app| {
            app.run(60, 40);
            app.seen.asked = Some(Told { value: 3, age_ms: 0, lease_ms: u32::MAX });
            app.run(1, 40);
        }),
        ("the app asks for more than it gets", [1, 8, 3], |app| {
            app.run(60, 60);
            app.seen.asked = Some(Told { value: 8, age_ms: 0, lease_ms: u32::MAX });
            app.run(1, 60);
        }),
        ("the size follows", [1, 8, 2], |app| {
            app.policy.size = Some(SizeBounds { base_cpu_m: 500, min_cpu_m: 100, max_cpu_m: 2_000 });
            app.policy.shape = Shape::Up;
            app.run(60, 200);
        }),
        ("too few starts are left", [5, 8, 2], |app| {
            app.policy.flap = Flap { actions: 1, per_ms: 600_000 };
            app.run(1, 10);
        }),
    ];
    let all = cases.map(|(name, [min, max, count], prepare)| {
        let mut app = App::stateless(min, max, count);
        prepare(&mut app);
        whys(name, &app)
    });
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn a_record_survives_its_journey_through_text_and_makes_the_same_decision_again() {
    let mut app = App::stateless(1, 8, 6);
    for rate in [165, 20, 20, 300, 10] {
        for _ in 0..30 {
            app.run(1, rate);
            let text = serde_json::to_string(app.record()).unwrap();
            let read: Record = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&read.replay()).unwrap(), text);
        }
    }
}

#[test]
fn a_record_that_was_changed_is_not_made_again() {
    let mut app = App::stateless(1, 8, 6);
    app.run(60, 165);
    let mut forged = app.record().clone();
    forged.reasons.standings.insert(InstanceNumber(3), Standing::Silent);
    assert_ne!(forged.replay(), forged);
}
