//! Tells the agent what the program says of its own readiness, and tells it again after each Hello.

use super::agent::{Agent, CallError};
use super::backoff::Backoff;
use super::driver::ms;
use paci::error::NextStep;
use paci::http::Route;
use paci::state::{State, StateChange};
use paci::wire::Message;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// What the program said of itself last.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    change: StateChange,
    at: Instant,
    pause: Option<Pause>,
}

/// A pause that the program told of.
#[derive(Debug, Clone)]
struct Pause {
    begins: Instant,
    ends: Instant,
    /// Who waits to hear that the agent knows.
    waits: Waits,
}

type Waits = Arc<Mutex<Option<oneshot::Sender<Result<(), CallError>>>>>;

impl Default for Said {
    fn default() -> Self {
        Self { change: StateChange::default(), at: Instant::now(), pause: None }
    }
}

impl Said {
    /// It is in this state from now on, and does not pause.
    pub(crate) fn state(&mut self, change: StateChange) {
        *self = Self { change, at: Instant::now(), pause: None };
    }

    /// It will pause. The agent's word comes back.
    pub(crate) fn pausing(
        &mut self,
        begins_in: Duration,
        lasts: Duration,
    ) -> oneshot::Receiver<Result<(), CallError>> {
        let begins = Instant::now() + begins_in;
        let (answer, answered) = oneshot::channel();
        let waits = Arc::new(Mutex::new(Some(answer)));
        self.pause = Some(Pause { begins, ends: begins + lasts, waits });
        answered
    }

    /// The state as it is to be said now: what has passed of a warm-up has passed.
    fn now(&self) -> StateChange {
        let warmup = Duration::from_millis(u64::from(self.change.warmup_ms));
        let left = warmup.saturating_sub(self.at.elapsed());
        match self.change.state {
            State::Cold if left.is_zero() => StateChange::to(State::Ready, &self.change.message),
            State::Cold => StateChange { warmup_ms: ms(left).max(1), ..self.change.clone() },
            State::Unspecified
            | State::Ready
            | State::NotReady
            | State::Stopping
            | State::Pausing
            | State::Draining => self.change.clone(),
        }
    }
}

impl Pause {
    /// As it is to be said now; `None`: it is over.
    fn now(&self) -> Option<StateChange> {
        let now = Instant::now();
        let lasts = ms(self.ends.saturating_duration_since(self.begins.max(now)));
        let begins_in = ms(self.begins.saturating_duration_since(now));
        (lasts > 0).then(|| StateChange {
            in_ms: begins_in,
            for_ms: lasts,
            ..StateChange::to(State::Pausing, "")
        })
    }

    fn is_told(&self, answer: Result<(), CallError>) {
        if let Some(waits) = self.waits.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Who does not wait any more does not want to know.
            let _ = waits.send(answer);
        }
    }
}

pub(super) async fn tell(
    path: PathBuf,
    mut readiness: watch::Receiver<Said>,
    mut greetings: watch::Receiver<u32>,
) {
    let mut agent = Agent::new(path);
    let mut backoff = Backoff::default();
    // A state without a pause is not said again for the pause's sake: it would wait for it.
    let mut told: Option<(Instant, u32)> = None;
    loop {
        let said = readiness.borrow_and_update().clone();
        let greeting = *greetings.borrow_and_update();
        let is_news = told != Some((said.at, greeting));
        if is_news && said.change.state != State::Unspecified {
            match agent.call(&Route::SetState, said.now().write(), Duration::ZERO).await {
                Ok(_) => backoff.reset(),
                Err(error) => {
                    tracing::debug!(%error, "the state was not taken");
                    if !is_final(&error) {
                        wait(backoff.next(), &mut greetings).await;
                        continue;
                    }
                    if said.change.state == State::Cold {
                        // An agent that does not know what cold is knows what ready is, and the program is that.
                        let ready = StateChange::to(State::Ready, &said.change.message);
                        readiness_of(&mut agent, &ready).await;
                    }
                }
            }
        }
        told = Some((said.at, greeting));
        // Before the first Hello no pause is taken: it is told after it.
        if let Some(pause) = said.pause.as_ref().filter(|_| greeting > 0) {
            let call = match pause.now() {
                Some(change) => agent.call(&Route::SetState, change.write(), Duration::ZERO).await.map(drop),
                None => Ok(()),
            };
            if let Err(error) = &call {
                tracing::debug!(%error, "the pause was not taken");
            }
            // It is said once: it may be over before another try. After a Hello it is said again.
            pause.is_told(call);
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

async fn readiness_of(agent: &mut Agent, change: &StateChange) {
    if let Err(error) = agent.call(&Route::SetState, change.write(), Duration::ZERO).await {
        tracing::debug!(%error, "the state was not taken either");
    }
}

/// Whether the same words are refused again.
pub(super) fn is_final(error: &CallError) -> bool {
    matches!(error, CallError::Refused(body)
        if matches!(body.next, NextStep::Fix | NextStep::GoWithout | NextStep::Forget))
}

/// Waits before another try, but not longer than until the next Hello.
async fn wait(pause: Duration, greetings: &mut watch::Receiver<u32>) {
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        Ok(()) = greetings.changed() => {}
    }
}
