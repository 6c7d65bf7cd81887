//! What the program does when the cloud asks, and its misbehaviours, for tests.

use crate::answer::{self, Body};
use crate::settings::{Fault, Settings};
use http::{Method, Request, Response, StatusCode};
use paracloud_sdk::{Guard, NotNow, Paci};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Guards held at a time.
const HELD_MAX: usize = 64;
const NOT_NOW_MS: u64 = 60_000;

/// Guards that are held until they are let go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    guards: Arc<Mutex<Vec<Holding>>>,
}

/// A guard, and who hears that it was let go.
type Holding = (Guard, oneshot::Sender<()>);

impl Held {
    /// Keeps a guard; what is given ends when it is let go. `None`: there are too many.
    pub(crate) fn keep(&self, guard: Guard) -> Option<oneshot::Receiver<()>> {
        let mut guards = self.guards.lock().unwrap_or_else(PoisonError::into_inner);
        if guards.len() >= HELD_MAX {
            return None;
        }
        let (holds, let_go) = oneshot::channel();
        guards.push((guard, holds));
        Some(let_go)
    }

    fn count(&self) -> usize {
        self.guards.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn let_go(&self) -> usize {
        std::mem::take(&mut *self.guards.lock().unwrap_or_else(PoisonError::into_inner)).len()
    }
}

/// What the cloud may ask for.
pub(crate) fn hooks(paci: &Paci, settings: &Settings, stop: watch::Sender<bool>) {
    let fault = settings.fault;
    let stop = Arc::new(stop);
    paci.on_stop(move |_| {
        let stop = stop.clone();
        async move {
            if fault == Some(Fault::NeverStops) {
                std::future::pending::<()>().await;
            }
            stop.send_replace(true);
        }
    });
    let resumed = paci.clone();
    paci.on_resume(move |_| {
        let paci = resumed.clone();
        async move {
            match fault {
                Some(Fault::NeverReadyOnResume) => std::future::pending().await,
                Some(Fault::ExitOnResume) => exit(),
                Some(Fault::NotNow | Fault::NeverStops) | None => paci.ready(),
            }
        }
    });
    if fault == Some(Fault::NotNow) {
        let retry_after = Duration::from_millis(NOT_NOW_MS);
        paci.on_estimate(move |_| Err(NotNow { retry_after, reason: "SESSIONS_FAULT=not-now".to_owned() }));
    }
}

/// What is answered without a guard, by a sealed process too. `None`: everything else.
pub(crate) fn unguarded<B>(
    request: &Request<B>,
    is_filled: bool,
    held: Option<&Held>,
) -> Option<Response<Body>> {
    match (request.method(), request.uri().path(), held) {
        (&Method::GET, "/healthz", _) if is_filled => Some(answer::line(StatusCode::OK, "ok")),
        // Whoever asks could otherwise send requests into the fill, which takes them for absent.
        (&Method::GET, "/healthz", _) => {
            Some(answer::line(StatusCode::SERVICE_UNAVAILABLE, "not filled yet"))
        }
        (&Method::GET, "/faults/held", Some(held)) => {
            Some(answer::line(StatusCode::OK, &held.count().to_string()))
        }
        (&Method::GET, "/faults/let-go", Some(held)) => {
            Some(answer::line(StatusCode::OK, &format!("{} let go", held.let_go())))
        }
        (&Method::GET, "/faults/exit", Some(_)) => exit(),
        _ => None,
    }
}

#[expect(clippy::exit, reason = "a crash is what the test asked for")]
fn exit() -> ! {
    std::process::exit(17)
}
