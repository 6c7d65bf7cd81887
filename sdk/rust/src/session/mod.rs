//! The session with the agent: tasks beside the program that poll for upcalls, decide with
//! [`paci::participant::Participant`], and answer.

pub(crate) mod agent;
mod answers;
mod backoff;
mod driver;
pub(crate) mod hooks;
mod poll;
mod readiness;

use crate::gate::Gate;
use crate::http::replies::Replies;
use crate::state::store::Store;
use paci::call::Schema;
use paci::env::Endpoint;
use paci::hello::Told;
use paci::state::StateChange;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};

/// Events and answers that wait to be worked on.
const QUEUE: usize = 64;

/// What a session works on.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) endpoint: Endpoint,
    pub(crate) gate: Arc<Gate>,
    pub(crate) store: Arc<Store>,
    pub(crate) replies: Arc<Replies>,
    pub(crate) hooks: hooks::Hooks,
    pub(crate) schema: Schema,
    pub(crate) app_version: String,
    pub(crate) capabilities: Vec<String>,
    /// Whether the program has containers.
    pub(crate) has_state: bool,
    /// What the program says of itself.
    pub(crate) readiness: watch::Receiver<StateChange>,
    /// Whether an operation is under way.
    pub(crate) operation: watch::Sender<bool>,
}

/// Starts the tasks of a session. They end with the runtime.
pub(crate) fn start(parts: Parts) {
    let (events, from_events) = mpsc::channel(QUEUE);
    let (answers, from_answers) = mpsc::channel(QUEUE);
    let told = Arc::new(Mutex::new(Told::default()));
    let (greeted, greetings) = watch::channel(0);
    tokio::spawn(answers::post(parts.endpoint.path().to_owned(), from_answers));
    tokio::spawn(readiness::tell(parts.endpoint.path().to_owned(), parts.readiness.clone(), greetings));
    tokio::spawn(poll::poll(parts.clone(), events.clone(), told.clone(), greeted));
    tokio::spawn(driver::Driver::new(parts, events, answers, told).run(from_events));
}
