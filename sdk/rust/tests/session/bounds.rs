//! What a program says that breaks a bound reaches the agent in a form that it takes.

use super::{Agent, Move, Paci, copying, program, upcall};
use paci::answer::Verdict;
use paci::call::{Call, Estimate, Mode, Seal};
use paci::finding::Finding;
use paci::instance::Standing;

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_is_named_when_it_blocks_a_seal_whatever_it_is_held_for() {
    for (held_for, told) in [
        ("", "-".to_owned()),
        ("nightly\n\u{1b}[2J", "nightly??[2J".to_owned()),
        (&"ö".repeat(1_000), "ö".repeat(64)),
    ] {
        let Move { mut source, left, .. } = copying(|_| {}).await;
        let _guard = left.0.enter(held_for).unwrap();
        source.ask(upcall(41, 2, Call::Seal(Seal { pause_ms_max: 1, guard_wait_ms: 20 })));
        let failed = source.answer_when(41, |answer| answer.verdict == Verdict::Failed).await;
        let Some(Finding::Blocked(blocked)) = failed.result else { panic!("nobody is named: {failed:?}") };
        assert_eq!(blocked.route, told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estimate_that_breaks_a_bound_is_a_failure_that_says_which() {
    let mut agent = Agent::start(Standing::Owner, 7);
    let (_paci, _map) = program(&agent, |paci: &Paci| {
        paci.on_estimate(|estimate| {
            let modes = vec![Mode::Handoff; 9];
            Ok(paci::finding::MoveEstimate { modes, ..estimate })
        });
    })
    .await;
    agent.ask(upcall(41, 1, Call::Estimate(Estimate {})));
    let failed = agent.answer_when(41, |_| true).await;
    assert_eq!((failed.verdict, &*failed.code), (Verdict::Failed, "MALFORMED"));
    assert_eq!(failed.message, "estimate.modes: 9 entries, at most 8");
}
