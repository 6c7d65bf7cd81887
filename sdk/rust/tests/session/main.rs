//! The session against an agent that speaks the real binding on real sockets, without anything behind it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod agent;
mod bounds;
mod handlers;
mod leases;
mod replies;
mod schema;

use agent::{Agent, upcall};
use paci::answer::{Answer, Verdict};
use paci::call::{
    Abort, Call, Drain, Estimate, Mode, Outcome, Prepare, Resume, Schema, Seal, Serve, Side, Stop,
};
use paci::finding::Finding;
use paci::instance::Standing;
use paci::names::AnswerCode;
use paci::state::State;
use paci::upcall::Upcall;
use paracloud_sdk::state::Map;
use paracloud_sdk::{Paci, Refused, StartError, UnderGuard};
use std::time::Duration;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A program with a map, and with the handlers that `named` names.
async fn program(agent: &Agent, named: impl FnOnce(&Paci)) -> (Paci, Map) {
    let paci = Paci::new(agent.environment());
    let map = paci.map("accounts").unwrap();
    named(&paci);
    paci.start().await.unwrap();
    (paci, map)
}

fn prepare(side: Side) -> Call {
    Call::Prepare(Prepare { side, mode: Mode::Handoff, channel_token: TOKEN.into(), schema: None })
}

fn seal() -> Call {
    Call::Seal(Seal { pause_ms_max: 100, guard_wait_ms: 10_000 })
}

fn resume(incarnation: u32, outcome: Outcome) -> Call {
    Call::Resume(Resume { incarnation, outcome })
}

/// A source and a target that are copying.
struct Move {
    source: Agent,
    target: Agent,
    left: (Paci, Map),
    right: (Paci, Map),
}

async fn copying(target_named: impl FnOnce(&Paci)) -> Move {
    let (mut source, mut target) = (Agent::start(Standing::Owner, 7), Agent::start(Standing::Staging, 8));
    let (left, right) = (program(&source, |_| {}).await, program(&target, target_named).await);
    left.0.serving().await;
    (0..500_u32).for_each(|number| left.1.put(number.to_be_bytes(), vec![1; 100]).unwrap());
    target.ask(upcall(41, 1, prepare(Side::Target)));
    source.ask(upcall(41, 1, prepare(Side::Source)));
    Agent::join(&mut source, &mut target).await;
    let copied = |answer: &Answer| matches!(&answer.result, Some(Finding::Copy(copy)) if copy.staged);
    assert_eq!(source.answer_when(41, copied).await.verdict, Verdict::InProgress);
    assert_eq!(target.answer_when(41, copied).await.verdict, Verdict::InProgress);
    Move { source, target, left, right }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_moved_while_it_serves() {
    let Move { mut source, mut target, left, right } = copying(|_| {}).await;
    assert!(right.1.get("alice").is_err(), "a target that is being filled does not serve");
    left.1.put("alice", "100").unwrap();
    let small = |answer: &Answer| matches!(&answer.result, Some(Finding::Copy(copy)) if copy.remaining_records == Some(0));
    source.answer_when(41, small).await;
    left.1.put("bob", "40").unwrap();

    source.ask(upcall(41, 2, seal()));
    let sealed = source.done(41).await;
    let Some(Finding::Sealed(sealed)) = sealed.result else { panic!("no seal: {sealed:?}") };
    assert_eq!(left.1.get("alice"), Err(Refused { incarnation: 7 }));
    assert!(left.1.put("alice", "0").is_err());
    let loaded = target.done(41).await;
    let Some(Finding::Loaded(loaded)) = loaded.result else { panic!("not loaded: {loaded:?}") };
    assert_eq!((&loaded.position, &loaded.digest), (&sealed.position, &sealed.digest));
    assert_eq!((&loaded.end_position, &loaded.end_digest), (&sealed.position, &sealed.digest));
    assert_eq!(sealed.position, "502");

    target.ask(upcall(41, 2, resume(8, Outcome::Committed)));
    target.done(41).await;
    assert!(!right.0.is_serving(), "the gate opens with serve, not before");
    target.ask(upcall(41, 3, Call::Serve(Serve { incarnation: 8 })));
    target.done(41).await;
    assert_eq!(right.1.get("alice").unwrap().unwrap(), "100");
    assert_eq!(right.1.get("bob").unwrap().unwrap(), "40");
    assert_eq!(right.1.len(), Ok(502));
    assert_eq!(right.0.incarnation(), 8);

    source.ask(upcall(41, 3, resume(8, Outcome::Committed)));
    source.done(41).await;
    assert!(left.1.get("alice").is_err(), "a source that was left refuses for ever");
    assert_eq!(left.0.settled().await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_rolled_back_serves_on_and_can_be_moved_again() {
    let Move { mut source, mut target, left, right } = copying(|_| {}).await;
    source.ask(upcall(41, 2, seal()));
    source.done(41).await;
    target.done(41).await;
    target.ask(upcall(41, 2, Call::Abort(Abort {})));
    target.done(41).await;
    source.ask(upcall(41, 3, resume(9, Outcome::RolledBack)));
    source.done(41).await;
    left.1.put("after", "all").unwrap();
    assert_eq!(left.0.incarnation(), 9);
    assert!(!right.0.is_serving());

    let mut other = Agent::start(Standing::Staging, 10);
    let (filled, map) = program(&other, |_| {}).await;
    other.ask(upcall(42, 1, prepare(Side::Target)));
    source.ask(upcall(42, 1, prepare(Side::Source)));
    Agent::join(&mut source, &mut other).await;
    source.ask(upcall(42, 2, seal()));
    assert!(matches!(source.done(42).await.result, Some(Finding::Sealed(_))));
    other.done(42).await;
    other.ask(upcall(42, 2, resume(10, Outcome::Committed)));
    other.done(42).await;
    other.ask(upcall(42, 3, Call::Serve(Serve { incarnation: 10 })));
    other.done(42).await;
    assert!(filled.is_serving());
    assert_eq!(map.get("after").unwrap().unwrap(), "all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_held_blocks_the_seal_and_is_named_and_the_gate_stays_closed() {
    let Move { mut source, left, .. } = copying(|_| {}).await;
    let guard = left.0.enter("POST /transfer").unwrap();
    source.ask(upcall(41, 2, Call::Seal(Seal { pause_ms_max: 1, guard_wait_ms: 20 })));
    let failed = source.answer_when(41, |answer| answer.verdict == Verdict::Failed).await;
    assert_eq!(failed.code, AnswerCode::SealBlocked.as_str());
    assert!(matches!(&failed.result, Some(Finding::Blocked(blocked)) if blocked.route == "POST /transfer"));
    drop(guard);
    assert!(left.1.get("alice").is_err());
    source.ask(upcall(41, 3, Call::Seal(Seal { pause_ms_max: 1, guard_wait_ms: 20 })));
    let again = source.answer_when(41, |answer| answer.attempt == 3).await;
    assert_eq!(again, Answer { attempt: 3, ..failed }, "the same question has the same answer");
    source.ask(upcall(41, 4, resume(9, Outcome::RolledBack)));
    source.done(41).await;
    assert_eq!(left.1.get("alice"), Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_waits_for_the_guards_and_what_they_change_is_moved() {
    let Move { mut source, mut target, left, right } = copying(|_| {}).await;
    let guard = left.0.enter("POST /transfer").unwrap();
    source.ask(upcall(41, 2, seal()));
    let closed = async {
        while left.1.get("alice").is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), closed).await.unwrap();
    guard.run(|| left.1.put("late", "but in time")).unwrap();
    drop(guard);
    source.done(41).await;
    target.done(41).await;
    target.ask(upcall(41, 2, resume(8, Outcome::Committed)));
    target.done(41).await;
    target.ask(upcall(41, 3, Call::Serve(Serve { incarnation: 8 })));
    target.done(41).await;
    assert_eq!(right.1.get("late").unwrap().unwrap(), "but in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_breaks_fails_both_sides_and_only_resume_opens_the_gate() {
    let Move { mut source, mut target, left, right } = copying(|_| {}).await;
    source.break_channel();
    let failed = |answer: &Answer| answer.verdict == Verdict::Failed;
    assert_eq!(target.answer_when(41, failed).await.code, AnswerCode::ChannelLost.as_str());
    // An idle source notices when it writes.
    left.1.put("alice", "1").unwrap();
    assert_eq!(source.answer_when(41, failed).await.code, AnswerCode::ChannelLost.as_str());
    source.ask(upcall(41, 2, prepare(Side::Source)));
    assert_eq!(source.answer_when(41, |answer| answer.attempt == 2).await.verdict, Verdict::Failed);
    assert!(left.0.is_serving());
    // It is told to seal all the same: it cannot ship, and stays closed.
    for attempt in [3, 4] {
        source.ask(upcall(41, attempt, seal()));
        let lost = source.answer_when(41, |answer| failed(answer) && answer.attempt == attempt).await;
        assert_eq!(lost.code, AnswerCode::ChannelLost.as_str());
    }
    source.ask(upcall(41, 5, Call::Abort(Abort {})));
    let refused = source.answer_when(41, |answer| answer.attempt == 5).await;
    assert_eq!((refused.verdict, &*refused.code), (Verdict::Failed, AnswerCode::WrongPhase.as_str()));
    assert!(!left.0.is_serving());
    source.ask(upcall(41, 6, resume(9, Outcome::RolledBack)));
    source.done(41).await;
    assert!(left.0.is_serving() && !right.0.is_serving());
    assert_eq!(left.1.get("alice").unwrap().unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_source_stays_sealed_when_its_agent_restarts() {
    let Move { mut source, left, .. } = copying(|_| {}).await;
    source.ask(upcall(41, 2, seal()));
    source.done(41).await;
    for standing in [Standing::Undecided, Standing::Owner, Standing::Staging, Standing::Outdated] {
        let told = source.restart(standing).await.told.unwrap();
        assert_eq!((told.incarnation, told.operation, told.sealed), (7, 41, true), "under {standing}");
        assert!(!left.0.is_serving(), "under {standing}");
    }
    source.ask(upcall(41, 3, seal()));
    assert!(matches!(source.done(41).await.result, Some(Finding::Sealed(_))));
    source.ask(upcall(41, 4, resume(9, Outcome::RolledBack)));
    source.done(41).await;
    assert!(left.0.is_serving());
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_that_are_over_are_refused() {
    let Move { mut source, left, .. } = copying(|_| {}).await;
    source.ask(upcall(41, 2, Call::Abort(Abort {})));
    source.done(41).await;
    assert!(left.0.is_serving());
    for (attempt, call) in [(3, seal()), (4, prepare(Side::Source)), (5, Call::Estimate(Estimate {}))] {
        source.ask(upcall(41, attempt, call));
        let refused = source.answer_when(41, |answer| answer.attempt == attempt).await;
        assert_eq!(refused.verdict, Verdict::Refuse);
        assert_eq!(refused.code, AnswerCode::OperationClosed.as_str());
    }
    source.ask(upcall(40, 1, resume(8, Outcome::Committed)));
    assert_eq!(source.answer_when(40, |_| true).await.verdict, Verdict::Refuse);
    assert!(left.0.is_serving());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_tells_size_mode_and_schema_and_can_be_put_off() {
    let mut agent = Agent::start(Standing::Owner, 7);
    let paci = Paci::new(agent.environment());
    let map = paci.map("accounts").unwrap();
    paci.schema("ledger", 3).on_estimate(|estimate| {
        if estimate.state_kib == Some(0) {
            return Err(paracloud_sdk::NotNow {
                retry_after: Duration::from_secs(20),
                reason: "payroll".into(),
            });
        }
        Ok(estimate)
    });
    paci.start().await.unwrap();
    assert_eq!(paci.start().await, Err(StartError::Started));
    paci.serving().await;
    agent.ask(upcall(41, 1, Call::Estimate(Estimate {})));
    let later = agent.answer_when(41, |_| true).await;
    assert_eq!((later.verdict, later.retry_after_ms, &*later.message), (Verdict::Defer, 20_000, "payroll"));
    map.put("alice", vec![0; 10_000]).unwrap();
    agent.ask(upcall(42, 1, Call::Estimate(Estimate {})));
    let Some(Finding::Estimate(estimate)) = agent.done(42).await.result else { panic!("no estimate") };
    assert_eq!((estimate.state_kib, estimate.modes), (Some(10), vec![Mode::Handoff]));
    assert_eq!(estimate.schema, Some(Schema { name: "ledger".into(), version: 3 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_agent_refuses_ends_the_preparation() {
    let mut source = Agent::start(Standing::Owner, 7);
    source.refuse_joins();
    let (paci, _map) = program(&source, |_| {}).await;
    paci.serving().await;
    source.ask(upcall(41, 1, prepare(Side::Source)));
    let failed = source.answer_when(41, |answer| answer.verdict == Verdict::Failed).await;
    assert_eq!(failed.code, AnswerCode::ChannelRefused.as_str());
    assert!(paci.is_serving());
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_run_once_a_question_however_often_it_is_asked() {
    let mut agent = Agent::start(Standing::Owner, 7);
    let paci = Paci::new(agent.environment());
    let (entered, mut entries) = tokio::sync::mpsc::unbounded_channel();
    let (release, released) = tokio::sync::watch::channel(false);
    paci.stateless()
        .on_drain({
            let entered = entered.clone();
            move |_| {
                entered.send("drain").unwrap();
                let mut released = released.clone();
                async move { drop(released.wait_for(|released| *released).await) }
            }
        })
        .on_stop(move |stop| {
            entered.send(if stop.grace == Duration::from_secs(3) { "stop" } else { "?" }).unwrap();
            async {}
        });
    paci.start().await.unwrap();
    assert!(paci.is_serving(), "a program without state may serve at once");
    let drain = Call::Drain(Drain { reversible: false });
    agent.ask(upcall(41, 1, drain.clone()));
    agent.answer_when(41, |answer| answer.verdict == Verdict::InProgress).await;
    agent.ask(upcall(41, 2, drain.clone()));
    agent.answer_when(41, |answer| answer.attempt == 2 && answer.verdict == Verdict::InProgress).await;
    release.send_replace(true);
    assert_eq!(agent.done(41).await.result, Some(Finding::InFlight(0)));
    agent.ask(upcall(41, 3, drain));
    agent.answer_when(41, |answer| answer.attempt == 3 && answer.verdict == Verdict::Done).await;
    agent.ask(upcall(42, 1, Call::Stop(Stop { grace_ms: 3_000 })));
    agent.done(42).await;
    assert_eq!((entries.recv().await, entries.recv().await), (Some("drain"), Some("stop")));
    assert!(entries.try_recv().is_err());
    let claims = agent.greeting().capabilities;
    let said = ["report", "announce", "ask", "pausing", "cold"];
    assert_eq!(claims, [&["stop", "drain", "move.estimate", "move.restart"][..], &said].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_understood_is_answered_and_does_no_harm() {
    let mut agent = Agent::start(Standing::Owner, 7);
    let (paci, _map) = program(&agent, |_| {}).await;
    paci.serving().await;
    agent.ask_raw(r#"{"operation":41,"attempt":1,"diagnose":{}}"#);
    assert_eq!(agent.answer_when(41, |_| true).await.verdict, Verdict::Unsupported);
    agent.ask_raw(r#"{"operation":41,"attempt":2,"resume":{"incarnation":8,"outcome":"CLONED"}}"#);
    assert_eq!(agent.answer_when(41, |_| true).await.verdict, Verdict::Unsupported);
    agent.ask_raw(r#"{"operation":41,"attempt":3,"seal":{"guardWaitMs":"soon"}}"#);
    let malformed = agent.answer_when(41, |_| true).await;
    assert_eq!((malformed.verdict, &*malformed.code), (Verdict::Failed, AnswerCode::Malformed.as_str()));
    agent.ask_raw("garbage");
    agent.ask(Upcall {
        operation: 42,
        attempt: 1,
        call: Some(Call::Drain(Drain::default())),
        ..Upcall::default()
    });
    assert_eq!(
        agent.answer_when(42, |_| true).await.verdict,
        Verdict::Unsupported,
        "no handler, no capability"
    );
    assert!(paci.is_serving());
}

#[tokio::test(flavor = "multi_thread")]
async fn cloudcalls_are_made_and_the_state_is_told_again_after_a_restart() {
    let mut agent = Agent::start(Standing::Owner, 7);
    let (paci, _map) = program(&agent, |_| {}).await;
    paci.ready();
    assert_eq!(agent.state().await, State::Ready);
    let granted = paci.hold("payroll", Duration::from_secs(60), "monthly", &["move"]).await.unwrap();
    assert_eq!(granted, Duration::from_secs(60));
    assert!(paci.hold("no name", Duration::from_secs(1), "", &[]).await.is_err());
    assert_eq!(paci.describe().await.unwrap().unwrap().standing, Standing::Owner);
    agent.restart(Standing::Owner).await;
    assert_eq!(agent.state().await, State::Ready);
}

#[tokio::test]
async fn without_a_cloud_everything_works_and_nothing_is_asked() {
    let paci = Paci::new(paci::env::Environment::default());
    let map = paci.map("accounts").unwrap();
    assert!(paci.map("paci.own").is_err());
    paci.start().await.unwrap();
    assert!(paci.map("accounts").is_ok() && paci.map("late").is_err());
    paci.ready();
    paci.serving().await;
    map.put("alice", "100").unwrap();
    let hour = Duration::from_secs(3600);
    assert_eq!(paci.hold("payroll", hour, "", &[]).await.unwrap(), hour);
    assert_eq!(paci.describe().await.unwrap(), None);
    let guard = paci.enter("test").unwrap();
    assert_eq!(guard.scope(paci.settled()).await, Err(UnderGuard));
    assert_eq!(paci.settled().await, Ok(()));
}
