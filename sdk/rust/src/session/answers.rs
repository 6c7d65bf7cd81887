//! Posts answers, in order.

use super::agent::{Agent, CallError};
use super::backoff::Backoff;
use paci::answer::{Answer, Verdict};
use paci::error::NextStep;
use paci::http::Route;
use paci::wire::Message;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;

/// An answer that could not be posted so often is dropped: the agent asks again.
const TRIES: u32 = 5;

pub(super) async fn post(path: PathBuf, mut answers: mpsc::Receiver<Answer>) {
    let mut agent = Agent::new(path);
    while let Some(answer) = answers.recv().await {
        one(&mut agent, &answer).await;
    }
}

async fn one(agent: &mut Agent, answer: &Answer) {
    let route = Route::Answer { operation: answer.operation };
    let mut backoff = Backoff::default();
    let tries = if answer.verdict == Verdict::InProgress { 1 } else { TRIES };
    for _ in 0..tries {
        let Err(error) = agent.call(&route, answer.write(), Duration::ZERO).await else { return };
        let again = match &error {
            CallError::Unreachable(_) => true,
            CallError::Refused(body) => match body.next {
                NextStep::Unspecified | NextStep::Retry | NextStep::SayHello => true,
                NextStep::Fix | NextStep::Forget | NextStep::StopPolling | NextStep::GoWithout => false,
            },
        };
        let (operation, verdict) = (answer.operation, answer.verdict);
        if matches!(&error, CallError::Refused(body) if body.next == NextStep::Fix) {
            tracing::warn!(operation, %verdict, %error, "the agent refuses an answer, which is lost");
        } else {
            tracing::debug!(operation, %verdict, %error, again, "an answer was not taken");
        }
        if !again {
            return;
        }
        tokio::time::sleep(backoff.next()).await;
    }
}
