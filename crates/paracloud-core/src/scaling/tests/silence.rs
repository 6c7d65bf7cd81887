//! Of a queue that no gateway sees, those that say nothing are no proof that there is nothing to do.

use super::super::explain::explain;
use super::super::policy::{Flap, Shape, SizeBounds, Work};
use super::super::record::Reasons;
use super::*;
use proptest::prelude::*;

/// What one says: what it works on, and what waits; or nothing.
type Word = Option<(u32, u32)>;

/// An app whose instances have had nothing to do for so long that no hold counts.
fn idle(instances: u32) -> App {
    let mut app = App::stateless(1, 64, instances);
    app.policy.work = Work::Queue;
    app.policy.flap = Flap { actions: 400, per_ms: 600_000 };
    for _ in 0..60 {
        decide(&mut app, &[Some((0, 0))].repeat(instances as usize));
    }
    app
}

/// Decides a second later, by these words. Nothing of it is done.
fn decide(app: &mut App, words: &[Word]) -> Vec<Action> {
    app.seen.now_ms += 1_000;
    for (instance, word) in app.seen.instances.values_mut().zip(words) {
        let report = |(in_flight, backlog_ms)| Report {
            slots: Some(4),
            in_flight: Some(in_flight),
            backlog_ms: Some(backlog_ms),
            ..Report::default()
        };
        instance.report = word.map(|word| Told { value: report(word), age_ms: 0, lease_ms: 3_000 });
        let quote = Quote { cost_ms: 0, state_kib: Some(0), ..Quote::default() };
        instance.quote = Some(Told { value: quote, age_ms: 0, lease_ms: 3_000 });
    }
    app.seen.traffic = Some(Traffic { over_ms: 1_000, ..Traffic::default() });
    let (plan, memory, record) = plan(&app.policy, &app.seen, &app.memory);
    (app.memory, app.last) = (memory, Some(record));
    plan.actions
}

fn decided(instances: u32, words: &[Word]) -> (Vec<u32>, Reasons) {
    let mut app = idle(instances);
    let actions = decide(&mut app, words);
    (leaves(&actions), app.record().reasons.clone())
}

#[test]
fn while_one_of_them_says_nothing_of_a_queue_nobody_leaves_and_once_nobody_says_anything_nothing_is_known() {
    for silent in 0..=4_u32 {
        let mut words = [Some((0, 0)); 4];
        words[..silent as usize].fill(None);
        let (left, reasons) = decided(4, &words);
        let by = (reasons.rule, reasons.cuts.iter().any(|cut| matches!(cut, Cut::Hold(_))));
        match silent {
            0 => assert_eq!((left, by), ([4].to_vec(), (Rule::Queue, false))),
            4 => assert_eq!((left, by), (Vec::new(), (Rule::Blind, false))),
            _ => {
                assert_eq!((left, reasons.rule), (Vec::new(), Rule::Queue));
                assert_eq!(reasons.cuts.last(), Some(&Cut::Silent(silent)));
            }
        }
    }
}

#[test]
fn those_that_say_nothing_are_taken_for_as_busy_as_those_that_do() {
    let raw = |silent: usize| {
        let mut words = [Some((4, 0)); 4];
        words[..silent].fill(None);
        decided(4, &words).1.raw
    };
    assert_eq!([raw(0), raw(1), raw(2), raw(3)], [6, 6, 6, 6], "16 are worked on, and some for chance");
}

#[test]
fn one_that_has_just_become_ready_and_said_nothing_yet_starts_nobody() {
    let mut app = idle(4);
    let busy = [Some((4, 0)), Some((4, 0)), Some((4, 0)), None];
    app.instance(4).phase_ms = 1_000;
    assert_eq!(starts(&decide(&mut app, &busy)), 0, "four will do for what three work on");
    let mut app = idle(4);
    assert_eq!(starts(&decide(&mut app, &busy)), 2, "it was heard of before");
}

#[test]
fn who_tells_what_waits_and_not_what_it_works_on_may_work_on_anything() {
    let mut app = idle(4);
    decide(&mut app, &[Some((0, 0)); 4]);
    for instance in app.seen.instances.values_mut() {
        let report = instance.report.as_mut().unwrap();
        report.value.in_flight = None;
    }
    app.seen.now_ms += 1_000;
    let (plan, _, record) = plan(&app.policy, &app.seen, &app.memory);
    assert_eq!((plan.actions.as_slice(), record.reasons.cuts.last()), (&[][..], Some(&Cut::Silent(4))));
}

#[test]
fn while_one_of_them_says_nothing_of_a_queue_nobody_is_made_smaller() {
    let smaller = |words: [Word; 4]| {
        let mut app = idle(4);
        app.policy.shape = Shape::Up;
        app.policy.size = Some(SizeBounds { base_cpu_m: 500, min_cpu_m: 250, max_cpu_m: 1_000 });
        for instance in app.seen.instances.values_mut() {
            instance.cpu_m = Some(900);
        }
        (0..60).flat_map(|_| decide(&mut app, &words)).count()
    };
    let said = Some((0, 0));
    assert_eq!(smaller([None, said, said, said]), 0);
    assert!(smaller([said; 4]) > 0);
}

#[test]
fn who_asked_to_go_goes_though_another_one_says_nothing() {
    let mut app = idle(4);
    app.instance(2).retires = true;
    assert_eq!(leaves(&decide(&mut app, &[None, Some((0, 0)), Some((0, 0)), Some((0, 0))])), [2]);
}

#[test]
fn why_nobody_leaves_is_told_by_what_is_not_said() {
    let mut app = idle(3);
    decide(&mut app, &[Some((1, 0)), None, None]);
    let partly = explain(app.record(), "jobs", None);
    decide(&mut app, &[None; 3]);
    insta::assert_snapshot!([partly, explain(app.record(), "jobs", None)].join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn silence_lets_nobody_leave_and_makes_no_plan_smaller_than_nothing_to_do_would(
        words in prop::collection::vec((0..6_u32, 0..60_000_u32, prop::bool::weighted(0.7)), 1..9),
    ) {
        let count = u32::try_from(words.len()).unwrap();
        let silent: Vec<Word> = words.iter().map(|(at_work, waits, says)| says.then_some((*at_work, *waits))).collect();
        let zero: Vec<Word> = silent.iter().map(|word| Some(word.unwrap_or((0, 0)))).collect();
        let (left, by_silence) = decided(count, &silent);
        let (_, by_zero) = decided(count, &zero);
        if silent.contains(&None) {
            prop_assert_eq!(left, Vec::<u32>::new());
        }
        // Once nobody says anything there is nothing to be larger by.
        prop_assert!(by_silence.planned >= by_zero.planned, "{:?} {:?}", by_silence, by_zero);
    }
}
