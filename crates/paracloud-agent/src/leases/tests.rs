use super::*;
use paci::ask::{MoveMe, Wish};

fn report(valid_for_ms: u32, queued: u32) -> Report {
    Report { valid_for_ms, queued: Some(queued), ..Report::default() }
}

fn sale(id: &str, begins_in_ms: u32, lasts_ms: u32) -> AnnounceRequest {
    let id = id.to_owned();
    AnnounceRequest { id, begins_in_ms, lasts_ms, demand_milli_per_s: 1_000, ..AnnounceRequest::default() }
}

#[test]
fn what_changes_is_told_together_and_seldom_and_a_pause_at_once() {
    let mut leases = Leases::default();
    assert!(leases.is_silent() && leases.due_ms().is_none());
    leases.report(report(500, 1), 100);
    assert!(leases.news(100).is_some(), "the first at once");
    leases.report(report(500, 2), 101);
    leases.report(report(500, 3), 102);
    assert_eq!((leases.due_ms(), leases.news(119)), (Some(120), None));
    let told = leases.news(120).unwrap().report.unwrap();
    assert_eq!((told.said.queued, told.age_ms, told.remaining_ms), (Some(3), 18, 482));
    let pause = StateChange { in_ms: 30, for_ms: 200, ..StateChange::to(State::Pausing, "") };
    leases.state(&pause, 121);
    let told = leases.news(121).unwrap();
    assert_eq!(told.pause, Some(Pause { in_ms: 30, for_ms: 200 }));
    assert!(told.report.is_some() && told.state.is_none(), "it has said no other state");
}

#[test]
fn a_lease_that_is_over_is_said_to_be_and_nothing_of_it_is_left() {
    let mut leases = Leases::default();
    leases.report(report(500, 1), 0);
    leases.announce(sale("sale", 100, 200), Work::Requests, 0).unwrap();
    leases.ask(
        AskRequest { valid_for_ms: 400, wish: Some(Wish::MoveMe(MoveMe {})), ..AskRequest::default() },
        0,
    );
    let all = leases.news(0).unwrap();
    assert_eq!((all.announcements.len(), all.asks.len()), (1, 1));
    for (at_ms, announcements, asks, reports) in [(300, 0, 1, 1), (400, 0, 0, 1), (500, 0, 0, 0)] {
        assert_eq!(leases.due_ms(), Some(at_ms));
        assert_eq!(leases.news(at_ms - 1), None);
        let told = leases.news(at_ms).unwrap();
        assert_eq!((told.announcements.len(), told.asks.len()), (announcements, asks));
        assert_eq!(told.report.iter().count(), reports);
    }
    assert_eq!(leases.due_ms(), None);
}

#[test]
fn an_ask_is_answered_with_what_became_of_it_and_one_that_was_refused_stands_no_more() {
    let mut leases = Leases::default();
    let ask =
        |wish: Wish, valid_for_ms| AskRequest { valid_for_ms, wish: Some(wish), ..AskRequest::default() };
    let elsewhere = || Wish::MoveMe(MoveMe {});
    let became = |became, retry_after_ms| Answered { became, message: "why".to_owned(), retry_after_ms };
    let new = leases.ask(ask(elsewhere(), 60_000), 0);
    assert_eq!((new.became, new.granted_valid_for_ms, new.retry_after_ms), (Became::Pending, 60_000, 1_000));
    leases.became(&elsewhere(), became(Became::Granted, 500), 100);
    let again = leases.ask(ask(elsewhere(), 60_000), 300);
    assert_eq!((again.became, again.message.as_str(), again.retry_after_ms), (Became::Granted, "why", 300));
    assert_eq!(leases.ask(ask(elsewhere(), 60_000), 900).retry_after_ms, 1, "it is due");
    leases.became(&elsewhere(), became(Became::Refused, 5_000), 1_000);
    assert_eq!(leases.tell(1_000).asks.len(), 0);
    let refused = leases.ask(ask(elsewhere(), 60_000), 2_000);
    assert_eq!(
        (refused.became, refused.granted_valid_for_ms, refused.retry_after_ms),
        (Became::Refused, 0, 4_000)
    );
    assert_eq!(leases.ask(ask(elsewhere(), 0), 2_000), AskResponse::default(), "withdrawn");
    assert_eq!(leases.ask(ask(elsewhere(), 60_000), 2_500).became, Became::Refused, "and not forgotten");
    assert_eq!(leases.ask(ask(elsewhere(), 60_000), 6_000).became, Became::Pending, "anew");
    let of_another = Wish::Replicas(paci::ask::Replicas { count: 3 });
    leases.became(&of_another, became(Became::Granted, 0), 6_000);
    assert_eq!(leases.ask(ask(of_another, 60_000), 6_000).became, Became::Pending, "it was not asked for");
}

#[test]
fn a_pause_is_over_with_its_time_and_the_state_before_holds_again() {
    let mut leases = Leases::default();
    leases.state(&StateChange::to(State::Ready, ""), 0);
    leases.state(&StateChange { for_ms: 200, ..StateChange::to(State::Pausing, "") }, 10);
    let told = leases.news(60).unwrap();
    assert_eq!(told.pause, Some(Pause { in_ms: 0, for_ms: 150 }));
    let told = leases.news(210).unwrap();
    assert_eq!((told.pause, told.state.unwrap().said), (None, State::Ready));
    assert_eq!(told.lapsed, Some(Lapsed { for_ms: 200, age_ms: 0 }), "and that is told");
    leases.state(&StateChange { for_ms: 200, ..StateChange::to(State::Pausing, "") }, 300);
    leases.state(&StateChange::to(State::Ready, ""), 310);
    let told = leases.news(320).unwrap();
    assert_eq!((told.pause, told.lapsed), (None, None), "it is over earlier when it says so");
}

#[test]
fn who_is_cold_is_ready_when_it_is_warm() {
    let mut leases = Leases::default();
    let cold =
        StateChange { warmup_ms: 1_000, capacity_permille: Some(500), ..StateChange::to(State::Cold, "") };
    leases.state(&cold, 0);
    let told = leases.news(400).unwrap();
    assert_eq!(told.cold, Some(Cold { warmup_ms: 600, capacity_permille: Some(500) }));
    assert_eq!(told.state, Some(Aged { age_ms: 400, said: State::Cold }));
    let told = leases.news(1_000).unwrap();
    assert_eq!((told.cold, told.state), (None, Some(Aged { age_ms: 0, said: State::Ready })));
}

#[test]
fn an_announcement_is_replaced_by_its_id_revoked_and_bounded_in_number() {
    let mut leases = Leases::default();
    for number in 0..bounds::ANNOUNCEMENTS_MAX {
        assert!(leases.announce(sale(&format!("a{number}"), 0, 1_000), Work::Requests, 0).unwrap().stands);
    }
    assert_eq!(
        leases.announce(sale("more", 0, 1_000), Work::Requests, 0).unwrap_err().code,
        ErrorCode::AnnouncementsFull
    );
    assert!(
        leases.announce(sale("a3", 50, 1_000), Work::Requests, 0).unwrap().stands,
        "the same id replaces"
    );
    let jobs = AnnounceRequest { work_unit: "job".to_owned(), ..sale("a5", 0, 1_000) };
    let not_taken = leases.announce(jobs, Work::Requests, 0).unwrap();
    assert_eq!(
        (not_taken.stands, not_taken.message.as_str()),
        (false, "what comes is planned in requests: say how many of those")
    );
    assert!(leases.announce(sale("a5", 0, 1_000), Work::Requests, 0).unwrap().stands);
    assert!(!leases.announce(sale("a4", 0, 0), Work::Requests, 0).unwrap().stands, "it is revoked");
    assert!(leases.announce(sale("more", 0, 1_000), Work::Requests, 0).unwrap().stands);
    assert!(
        leases.announce(sale("later", 0, 1_000), Work::Requests, 1_000).unwrap().stands,
        "what is over makes room"
    );
    assert_eq!(leases.tell(1_000).announcements.len(), 2, "a3 lasts longer");
    let of_a_queue = leases.announce(sale("a3", 50, 1_000), Work::Queue, 1_000).unwrap();
    assert!(!of_a_queue.stands && of_a_queue.message.contains("its queue"), "{of_a_queue:?}");
    assert_eq!(leases.tell(1_000).announcements.len(), 1, "and it stands no more");
}

#[test]
fn of_the_dead_nothing_counts_and_that_is_told_once() {
    let mut leases = Leases::default();
    leases.end();
    assert_eq!(leases.due_ms(), None, "it has never said anything");
    leases.report(report(60_000, 1), 0);
    leases.end();
    assert_eq!(leases.news(0), Some(Advice::default()));
    leases.end();
    assert_eq!(leases.tell(1), Advice::default());
}
