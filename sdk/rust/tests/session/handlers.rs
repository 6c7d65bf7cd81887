//! A handler that panics has failed, and is said to have.

use super::{Agent, Map, Move, Paci, copying, program, resume, seal, upcall};
use paci::answer::{Answer, Verdict};
use paci::call::{Call, Drain, Estimate, Outcome, Serve, Stop};
use paci::instance::Standing;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The handler failed, and people are told how.
fn is_failed(answer: &Answer) {
    assert_eq!((answer.verdict, &*answer.code), (Verdict::Failed, "APP_HANDLER_FAILED"), "{answer:?}");
    assert!(answer.message.ends_with("panicked: no dice"), "{answer:?}");
}

async fn answered(agent: &mut Agent, operation: u32, attempt: u32) -> Answer {
    agent.answer_when(operation, |answer| answer.attempt == attempt && answer.is_final()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_whose_renewal_panicked_is_not_ready_and_never_serves() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let Move { mut source, mut target, left: _left, right } = copying(move |paci: &Paci| {
        paci.on_resume(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { panic!("no dice") }
        });
    })
    .await;
    source.ask(upcall(41, 2, seal()));
    source.done(41).await;
    target.done(41).await;
    for attempt in [2, 3] {
        target.ask(upcall(41, attempt, resume(8, Outcome::Committed)));
        is_failed(&answered(&mut target, 41, attempt).await);
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1, "the same question has the same answer");
    target.ask(upcall(41, 4, Call::Serve(Serve { incarnation: 8 })));
    is_failed(&answered(&mut target, 41, 4).await);
    assert!(!right.0.is_serving());
    assert!(right.1.get("alice").is_err());
    // The agent that asks next has not heard of it.
    target.restart(Standing::Owner).await;
    target.ask(upcall(41, 5, resume(8, Outcome::Committed)));
    is_failed(&answered(&mut target, 41, 5).await);
    assert!(!right.0.is_serving());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_not_told_to_serve_before_it_is_renewed() {
    let (release, released) = tokio::sync::watch::channel(false);
    let Move { mut source, mut target, left: _left, right } = copying(move |paci: &Paci| {
        paci.on_resume(move |_| {
            let mut released = released.clone();
            async move { drop(released.wait_for(|released| *released).await) }
        });
    })
    .await;
    source.ask(upcall(41, 2, seal()));
    source.done(41).await;
    target.done(41).await;
    target.ask(upcall(41, 2, resume(8, Outcome::Committed)));
    target.answer_when(41, |answer| answer.attempt == 2 && answer.verdict == Verdict::InProgress).await;
    target.ask(upcall(41, 3, Call::Serve(Serve { incarnation: 8 })));
    let early = answered(&mut target, 41, 3).await;
    assert_eq!((early.verdict, &*early.code), (Verdict::Failed, "WRONG_PHASE"));
    assert!(!right.0.is_serving());
    release.send_replace(true);
    target.done(41).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_that_panics_is_no_yes_and_ends_no_session() {
    let mut agent = Agent::start(Standing::Owner, 7);
    let (paci, map): (Paci, Map) = program(&agent, |paci| {
        paci.on_estimate(|estimate| {
            assert!(estimate.state_kib != Some(0), "no dice");
            Ok(estimate)
        });
    })
    .await;
    agent.ask(upcall(41, 1, Call::Estimate(Estimate {})));
    let failed = answered(&mut agent, 41, 1).await;
    is_failed(&failed);
    assert!(failed.result.is_none());
    paci.serving().await;
    map.put("alice", "100").unwrap();
    agent.ask(upcall(42, 1, Call::Estimate(Estimate {})));
    agent.done(42).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_panics_has_neither_drained_nor_is_about_to_exit() {
    let mut agent = Agent::start(Standing::Owner, 7);
    let paci = Paci::new(agent.environment());
    paci.stateless().on_drain(|_| async { panic!("no dice") }).on_stop(|stop| {
        // Before there is anything to be awaited, and with a text made for the occasion.
        assert!(stop.grace.is_zero(), "no {}", "dice");
        std::future::ready(())
    });
    paci.start().await.unwrap();
    agent.ask(upcall(41, 1, Call::Drain(Drain { reversible: false })));
    is_failed(&answered(&mut agent, 41, 1).await);
    agent.ask(upcall(41, 2, Call::Drain(Drain { reversible: false })));
    is_failed(&answered(&mut agent, 41, 2).await);
    agent.ask(upcall(42, 1, Call::Stop(Stop { grace_ms: 3_000 })));
    is_failed(&answered(&mut agent, 42, 1).await);
}
