//! What a program says of itself for a time, and what it is asked about its price and its size.

use super::agent::Said;
use super::{Agent, Paci, program, upcall};
use paci::answer::{Answer, Verdict};
use paci::call::{Abort, Call, Drain, Quote};
use paci::finding::Finding;
use paci::instance::Standing;
use paci::size::Resize;
use paci::state::{State, StateChange};
use paci::upcall::Upcall;
use paracloud_sdk::words::{
    AnnounceRequest, AskRequest, MoveMe, Preference, RemovalQuote, Report, Size, Wish,
};
use paracloud_sdk::{CallError, NotNow, Unfit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

fn report(said: Said) -> Option<Report> {
    if let Said::Report(report) = said { Some(report) } else { None }
}

fn change(said: Said) -> Option<StateChange> {
    if let Said::State(change) = said { Some(change) } else { None }
}

async fn started(agent: &Agent, named: impl FnOnce(&Paci)) -> Paci {
    let paci = Paci::new(agent.environment());
    paci.stateless();
    named(&paci);
    paci.start().await.unwrap();
    paci
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_renewed_before_its_lease_ends_and_told_to_a_new_agent() {
    let mut agent = Agent::start(Standing::Owner, 7);
    let paci = started(&agent, |_| {}).await;
    let busy = Report { valid_for_ms: 90, backlog_ms: Some(4_000), ..Report::default() };
    paci.report(busy.clone()).unwrap();
    for _ in 0..4 {
        assert_eq!(agent.said_when(report).await, busy);
    }
    agent.restart(Standing::Owner).await;
    assert_eq!(agent.said_when(report).await, busy);
    let idle = Report { valid_for_ms: 90, backlog_ms: Some(0), ..Report::default() };
    paci.report(idle.clone()).unwrap();
    agent.said_when(|said| report(said).filter(|said| *said == idle)).await;
    assert_eq!(agent.said_when(report).await, idle, "the value before is not said any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_values_that_come_too_fast_the_last_is_told() {
    let mut agent = Agent::start(Standing::Owner, 7);
    let paci = started(&agent, |_| {}).await;
    for queued in 0..=500 {
        paci.report(Report { valid_for_ms: 60_000, queued: Some(queued), ..Report::default() }).unwrap();
    }
    let told = Arc::new(AtomicU32::new(0));
    let count = |said| {
        told.fetch_add(1, Ordering::Relaxed);
        report(said).filter(|report| report.queued == Some(500))
    };
    agent.said_when(count).await;
    assert!(told.load(Ordering::Relaxed) < 100, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_breaks_a_bound_is_refused_by_name_and_the_one_before_stands() {
    let mut agent = Agent::start(Standing::Owner, 7);
    let paci = started(&agent, |_| {}).await;
    paci.report(Report { queued: Some(1), ..Report::default() }).unwrap();
    let invalid = paci.report(Report { cold_permille: Some(1_001), ..Report::default() }).unwrap_err();
    assert_eq!(invalid.to_string(), "coldPermille: 1001, at most 1000");
    let told = agent.said_when(report).await;
    assert_eq!((told.queued, told.valid_for_ms), (Some(1), 3_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_known_to_the_agent_when_the_call_returns_and_ready_ends_it() {
    let mut agent = Agent::start(Standing::Owner, 7);
    let paci = started(&agent, |_| {}).await;
    paci.ready();
    assert_eq!(agent.state().await, State::Ready);
    paci.pausing(Duration::from_secs(30), Duration::from_millis(200)).await.unwrap();
    let pause = agent.said_when(|said| change(said).filter(|said| said.state == State::Pausing)).await;
    assert_eq!(pause.for_ms, 200);
    assert!((1..=30_000).contains(&pause.in_ms), "{pause:?}");
    agent.restart(Standing::Owner).await;
    assert_eq!(agent.state().await, State::Ready, "first the state");
    assert_eq!(agent.state().await, State::Pausing, "then the pause, which is not over");
    paci.ready();
    assert_eq!(agent.state().await, State::Ready);
    agent.restart(Standing::Owner).await;
    assert_eq!(agent.state().await, State::Ready);
    paci.set_state(State::Draining, "enough");
    assert_eq!(agent.state().await, State::Draining, "it does not pause any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_must_pause_is_not_kept_from_it_by_an_agent_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = Some(paci::env::Endpoint::in_directory(directory.path()));
    let paci = Paci::new(paci::env::Environment { endpoint, ..paci::env::Environment::default() });
    paci.stateless().start().await.unwrap();
    paci.set_state(State::Pausing, "without a time it is none");
    let told = paci.pausing(Duration::ZERO, Duration::from_millis(5)).await;
    assert!(matches!(told, Err(CallError::Unreachable(_))), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_cold_says_how_cold_and_after_a_restart_of_the_agent_how_cold_still() {
    let mut agent = Agent::start(Standing::Owner, 7);
    let paci = started(&agent, |_| {}).await;
    paci.cold(Duration::from_secs(60), Some(500));
    let cold = agent.said_when(change).await;
    assert_eq!((cold.state, cold.capacity_permille), (State::Cold, Some(500)));
    agent.restart(Standing::Owner).await;
    let again = agent.said_when(change).await;
    assert!((1..=cold.warmup_ms).contains(&again.warmup_ms), "{again:?}");
    paci.cold(Duration::from_millis(1), None);
    let said = tokio::time::Instant::now();
    while said.elapsed() < Duration::from_millis(2) {
        tokio::task::yield_now().await;
    }
    // On a busy machine it is warm before it could say that it is not yet.
    agent.restart(Standing::Owner).await;
    agent.said_when(|said| change(said).filter(|said| said.state == State::Ready)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn announcements_and_asks_are_told_to_a_new_agent_until_they_are_over_or_taken_back() {
    let mut agent = Agent::start(Standing::Owner, 7);
    let paci = started(&agent, |_| {}).await;
    let sale = |id: &str, lasts_ms| AnnounceRequest {
        id: id.into(),
        begins_in_ms: 60_000,
        lasts_ms,
        demand_milli_per_s: 1_000,
        ..AnnounceRequest::default()
    };
    let stands =
        |said: Result<paracloud_sdk::words::AnnounceResponse, CallError>| said.is_ok_and(|it| it.stands);
    assert!(stands(paci.announce(sale("kept", 60_000)).await), "also before the first Hello");
    assert!(stands(paci.announce(sale("revoked", 60_000)).await));
    assert!(!paci.announce(sale("revoked", 0)).await.unwrap().stands);
    let ask =
        AskRequest { valid_for_ms: 60_000, wish: Some(Wish::MoveMe(MoveMe {})), ..AskRequest::default() };
    assert_eq!(paci.ask(ask.clone()).await.unwrap().granted_valid_for_ms, 60_000);
    let said = tokio::time::Instant::now();
    while said.elapsed() < Duration::from_millis(2) {
        tokio::task::yield_now().await;
    }
    agent.restart(Standing::Owner).await;
    let again = |said| if let Said::Announce(request) = said { Some(request) } else { None };
    let told = agent.said_when(again).await;
    assert_eq!(told.id, "kept");
    assert!(told.begins_in_ms < 60_000 && told.lasts_ms == 60_000, "{told:?}");
    let told = agent.said_when(|said| if let Said::Ask(ask) = said { Some(ask) } else { None }).await;
    assert!(told.wish == ask.wish && told.valid_for_ms < 60_000, "{told:?}");
    for (id, confidence_permille) in [("", None), ("a b", None), ("a", Some(1_001))] {
        let bad = AnnounceRequest { confidence_permille, ..sale(id, 1) };
        assert!(matches!(paci.announce(bad).await, Err(CallError::Refused(_))), "{id}");
    }
    assert!(matches!(paci.ask(AskRequest::default()).await, Err(CallError::Refused(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_is_told_afresh_each_time_and_a_hold_of_the_programs_is_no_price() {
    let mut agent = Agent::start(Standing::Owner, 7);
    let (price, asked) = (Arc::new(AtomicU32::new(700)), Arc::new(AtomicU32::new(0)));
    let (now, counted) = (price.clone(), asked.clone());
    let (paci, map) = program(&agent, move |paci| {
        paci.on_quote(move |quote| {
            counted.fetch_add(1, Ordering::SeqCst);
            let cost_ms = now.load(Ordering::SeqCst);
            if cost_ms == u32::MAX {
                return Err(NotNow { retry_after: Duration::from_secs(2), reason: "payroll".into() });
            }
            Ok(RemovalQuote { cost_ms: Some(cost_ms), preference: Preference::Avoid, ..quote })
        });
    })
    .await;
    paci.serving().await;
    map.put("alice", vec![0; 4_096]).unwrap();
    let quoted = |answer: &Answer| match &answer.result {
        Some(Finding::Quote(quote)) => quote.clone(),
        other => panic!("no price: {other:?}"),
    };
    agent.ask(upcall(41, 1, Call::Quote(Quote {})));
    let first = quoted(&agent.done(41).await);
    assert_eq!((first.cost_ms, first.preference, first.drain_ms), (Some(700), Preference::Avoid, None));
    assert!(first.state_kib.is_some_and(|kib| kib >= 4), "{first:?}");
    price.store(0, Ordering::SeqCst);
    agent.ask(upcall(41, 2, Call::Quote(Quote {})));
    let second = agent.answer_when(41, |answer| answer.attempt == 2).await;
    assert_eq!(quoted(&second).cost_ms, Some(0));
    price.store(u32::MAX, Ordering::SeqCst);
    agent.ask(upcall(41, 3, Call::Quote(Quote {})));
    let later = agent.answer_when(41, |answer| answer.attempt == 3).await;
    assert_eq!((later.verdict, later.retry_after_ms), (Verdict::Defer, 2_000));
    price.store(u32::MAX - 1, Ordering::SeqCst);
    agent.ask(upcall(41, 4, Call::Quote(Quote {})));
    let broken = agent.answer_when(41, |answer| answer.attempt == 4).await;
    assert_eq!((broken.verdict, &*broken.code), (Verdict::Failed, "MALFORMED"));
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_is_fitted_into_or_countered_and_a_dry_run_is_no_answer_to_the_real_one() {
    let mut agent = Agent::start(Standing::Owner, 7);
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let paci = started(&agent, |paci| {
        paci.on_resize(move |resize| {
            let counted = counted.clone();
            async move {
                assert_eq!((resize.budget, resize.shrinks()), (Duration::from_secs(30), true));
                if resize.memory_kib < Some(65_536) {
                    let fit = Size { memory_kib: Some(65_536), cpu_millis: None };
                    return Err(Unfit { fit, reason: "the index".into() });
                }
                counted.fetch_add(u32::from(!resize.dry_run), Ordering::SeqCst);
                Ok(())
            }
        });
    })
    .await;
    assert!(paci.is_serving());
    let resize = |memory_kib| Resize {
        memory_kib: Some(memory_kib),
        now_memory_kib: Some(262_144),
        ..Resize::default()
    };
    let ask = |attempt, memory_kib, dry_run| Upcall {
        dry_run,
        ..upcall(41, attempt, Call::Resize(resize(memory_kib)))
    };
    let answered =
        |attempt| move |answer: &Answer| answer.attempt == attempt && answer.verdict != Verdict::InProgress;
    agent.ask(ask(1, 1_024, true));
    let counter = agent.answer_when(41, answered(1)).await;
    assert_eq!((counter.verdict, &*counter.code), (Verdict::Refuse, "DOES_NOT_FIT"));
    assert_eq!(counter.result, Some(Finding::Fit(Size { memory_kib: Some(65_536), cpu_millis: None })));
    agent.ask(ask(2, 65_536, true));
    assert_eq!(agent.answer_when(41, answered(2)).await.verdict, Verdict::Done);
    assert_eq!(runs.load(Ordering::SeqCst), 0, "nothing was let go of");
    for attempt in [3, 4] {
        agent.ask(ask(attempt, 65_536, false));
        assert_eq!(agent.answer_when(41, answered(attempt)).await.verdict, Verdict::Done);
        assert_eq!(runs.load(Ordering::SeqCst), 1, "once, however often it is asked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_the_guards_and_when_it_is_called_off_the_program_takes_work_again() {
    let mut agent = Agent::start(Standing::Owner, 7);
    let undrained = Arc::new(AtomicU32::new(0));
    let counted = undrained.clone();
    let paci = Paci::new(agent.environment());
    let waits = paci.clone();
    paci.stateless()
        .on_drain(move |_| {
            let waits = waits.clone();
            async move { waits.idle().await }
        })
        .on_undrain(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            async {}
        });
    paci.start().await.unwrap();
    let guard = paci.enter("job 7").unwrap();
    assert_eq!(paci.in_flight(), 1);
    let drain = Call::Drain(Drain { reversible: true });
    agent.ask(upcall(41, 1, drain.clone()));
    agent.answer_when(41, |answer| answer.result == Some(Finding::InFlight(1))).await;
    drop(guard);
    assert_eq!(agent.done(41).await.result, Some(Finding::InFlight(0)));
    assert!(agent.greeting().capabilities.contains(&"drain.reversible".to_owned()));
    agent.ask(upcall(41, 2, Call::Abort(Abort {})));
    agent.answer_when(41, |answer| answer.attempt == 2 && answer.verdict == Verdict::Done).await;
    assert_eq!(undrained.load(Ordering::SeqCst), 1, "done is said when it takes work again");
    agent.ask(upcall(42, 1, drain));
    agent.done(42).await;
    agent.ask(upcall(43, 1, Call::Drain(Drain { reversible: true })));
    agent.done(43).await;
    let is_told = async {
        while undrained.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), is_told).await.expect("a higher number calls it off");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_waits_to_be_filled_has_nothing_to_drain_and_its_handler_is_not_run() {
    let mut agent = Agent::start(Standing::Staging, 0);
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let (_paci, _map) = program(&agent, |paci| {
        paci.on_drain(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            async {}
        });
    })
    .await;
    agent.ask(upcall(41, 1, Call::Drain(Drain { reversible: true })));
    let refused = agent.answer_when(41, |answer| answer.verdict != Verdict::InProgress).await;
    assert_eq!((refused.verdict, &*refused.code), (Verdict::Failed, "WRONG_PHASE"));
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn without_a_cloud_what_is_said_is_held_against_its_bounds_and_told_to_nobody() {
    let paci = Paci::new(paci::env::Environment::default());
    paci.report(Report::default()).unwrap();
    assert!(paci.report(Report { concurrency: Some(0), ..Report::default() }).is_err());
    paci.pausing(Duration::ZERO, Duration::from_millis(5)).await.unwrap();
    paci.cold(Duration::from_secs(1), None);
    let sale = AnnounceRequest {
        id: "sale".into(),
        lasts_ms: 1,
        demand_milli_per_s: 1,
        ..AnnounceRequest::default()
    };
    assert!(paci.announce(sale).await.unwrap().stands);
    let ask = AskRequest { valid_for_ms: 7, wish: Some(Wish::MoveMe(MoveMe {})), ..AskRequest::default() };
    assert_eq!(paci.ask(ask).await.unwrap().granted_valid_for_ms, 7);
    paci.idle().await;
}
