//! Says Hello, then waits for upcalls, for as long as the process lives.

use super::Parts;
use super::agent::{Agent, CallError};
use super::backoff::Backoff;
use super::driver::Event;
use paci::error::NextStep;
use paci::hello::{HelloRequest, HelloResponse, Told};
use paci::http::{NextRequest, Route};
use paci::instance::Standing;
use paci::names::VERSION;
use paci::wire::Message;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Longest wait of one `Next`, in milliseconds, if the agent allows it.
const WAIT_MS: u32 = 25_000;

/// What comes after a call.
enum Then {
    Hello,
    Next,
    End,
}

pub(super) async fn poll(
    parts: Parts,
    events: mpsc::Sender<Event>,
    told: Arc<Mutex<Told>>,
    greeted: watch::Sender<u32>,
) {
    let mut agent = Agent::new(parts.endpoint.path().to_owned());
    let mut backoff = Backoff::default();
    let mut then = Then::Hello;
    let mut wait_ms = WAIT_MS;
    loop {
        then = match then {
            Then::Hello => match hello(&mut agent, &parts, &told).await {
                Ok(response) => {
                    wait_ms = response.limits.wait_ms_max.min(WAIT_MS);
                    let undecided = response.standing == Standing::Undecided;
                    if events.send(Event::Welcome(response)).await.is_err() {
                        return;
                    }
                    if undecided {
                        tokio::time::sleep(backoff.next()).await;
                        Then::Hello
                    } else {
                        greeted.send_modify(|count| *count = count.saturating_add(1));
                        Then::Next
                    }
                }
                Err(error) => after(&error, &mut backoff).await,
            },
            Then::Next => {
                let route = Route::Next(NextRequest { wait_ms });
                match agent.call(&route, Vec::new(), Duration::from_millis(u64::from(wait_ms))).await {
                    Ok(None) => {
                        backoff.reset();
                        Then::Next
                    }
                    Ok(Some(body)) => {
                        backoff.reset();
                        if events.send(Event::Upcall(body)).await.is_err() {
                            return;
                        }
                        Then::Next
                    }
                    Err(error) => after(&error, &mut backoff).await,
                }
            }
            Then::End => return,
        };
    }
}

async fn hello(agent: &mut Agent, parts: &Parts, told: &Mutex<Told>) -> Result<HelloResponse, CallError> {
    let told = {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        told.position = parts.store.held().position.to_string();
        Some(told).filter(|told| !told.start_id.is_empty())
    };
    let request = HelloRequest {
        versions: vec![VERSION.to_owned()],
        capabilities: parts.capabilities.clone(),
        sdk: concat!("paracloud-sdk ", env!("CARGO_PKG_VERSION")).to_owned(),
        app_version: parts.app_version.clone(),
        told,
    };
    let body = agent.call(&Route::Hello, request.write(), Duration::ZERO).await?.unwrap_or_default();
    HelloResponse::read(&body).map_err(|error| CallError::Unreachable(error.into()))
}

/// What an error means for the loop.
async fn after(error: &CallError, backoff: &mut Backoff) -> Then {
    tracing::debug!(%error, "the agent did not answer the loop");
    match error {
        CallError::Refused(body) => match body.next {
            NextStep::SayHello => {
                // At once the first time; an agent that says so again and again is not spun around.
                if !backoff.is_fresh() {
                    tokio::time::sleep(backoff.next()).await;
                }
                backoff.next();
                return Then::Hello;
            }
            NextStep::StopPolling => {
                tracing::warn!(reason = body.message, "another loop of this instance has taken over");
                return Then::End;
            }
            NextStep::GoWithout => {
                tracing::error!(
                    reason = body.message,
                    "there is no cloud for this process; it goes on as it is"
                );
                return Then::End;
            }
            NextStep::Unspecified | NextStep::Fix | NextStep::Retry | NextStep::Forget => {}
        },
        CallError::Unreachable(_) => {}
    }
    tokio::time::sleep(backoff.next()).await;
    Then::Hello
}
