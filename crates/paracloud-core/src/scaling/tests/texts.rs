//! Records: as text, as data, and made again.

use super::super::explain::explain;
use super::super::observation::Announcement;
use super::super::victims::Standing;
use super::*;

fn told(app: &App) -> std::string::String {
    explain(app.record(), "worker")
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
        confidence_permille: 900,
    });
    app.run(1, 40);
    assert_eq!(app.rule(), Rule::Announced);
    insta::assert_snapshot!(told(&app));
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
