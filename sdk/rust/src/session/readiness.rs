//! Tells the agent what the program says of its own readiness, and tells it again after each Hello.

use super::agent::{Agent, CallError};
use super::backoff::Backoff;
use paci::error::NextStep;
use paci::http::Route;
use paci::state::{State, StateChange};
use paci::wire::Message;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;

pub(super) async fn tell(
    path: PathBuf,
    mut readiness: watch::Receiver<StateChange>,
    mut greetings: watch::Receiver<u32>,
) {
    let mut agent = Agent::new(path);
    let mut backoff = Backoff::default();
    loop {
        let change = readiness.borrow_and_update().clone();
        greetings.borrow_and_update();
        if change.state != State::Unspecified {
            match agent.call(&Route::SetState, change.write(), Duration::ZERO).await {
                Ok(_) => backoff.reset(),
                Err(error) => {
                    tracing::debug!(%error, "the state was not taken");
                    let is_final = matches!(&error, CallError::Refused(body)
                        if matches!(body.next, NextStep::Fix | NextStep::GoWithout | NextStep::Forget));
                    if !is_final {
                        tokio::time::sleep(backoff.next()).await;
                        continue;
                    }
                }
            }
        }
        let ended = tokio::select! {
            changed = readiness.changed() => changed.is_err(),
            greeted = greetings.changed() => greeted.is_err() && readiness.changed().await.is_err(),
        };
        if ended {
            return;
        }
    }
}
