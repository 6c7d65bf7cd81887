//! The session with the agent: tasks that poll for upcalls, decide with [`paci::participant::Participant`], and answer.
//!
//! They have a thread of their own. A program whose own threads are all at work is asked and answers all the same; and
//! what stands in the pause of a move does not go from thread to thread.

pub(crate) mod agent;
mod answers;
mod backoff;
mod driver;
pub(crate) mod hooks;
pub(crate) mod leases;
mod poll;
pub(crate) mod readiness;

use crate::gate::Gate;
use crate::http::replies::Replies;
use crate::state::store::Store;
use paci::call::Schema;
use paci::env::Endpoint;
use paci::hello::Told;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot, watch};

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
    pub(crate) readiness: watch::Receiver<readiness::Said>,
    /// Whether an operation is under way.
    pub(crate) operation: watch::Sender<bool>,
    /// Where the program's own tasks run, and its handlers.
    pub(crate) program: Handle,
}

/// Starts the thread of a session. It ends with the program's runtime. `sources`: where what the program says for a time
/// comes from.
pub(crate) fn start(parts: Parts, sources: leases::Sources) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (lives, ended) = oneshot::channel::<()>();
    parts.program.spawn(async move {
        let _lives = lives;
        std::future::pending::<()>().await;
    });
    let thread = std::thread::Builder::new().name("paci".to_owned());
    thread.spawn(move || {
        runtime.block_on(async move {
            converse(parts, sources);
            // It is never sent to: what ends it is the end of the task that holds the other end.
            let _ended = ended.await;
        });
    })?;
    Ok(())
}

fn converse(parts: Parts, sources: leases::Sources) {
    let (events, from_events) = mpsc::channel(QUEUE);
    let (answers, from_answers) = mpsc::channel(QUEUE);
    let told = Arc::new(Mutex::new(Told::default()));
    let (greeted, greetings) = watch::channel(0);
    tokio::spawn(answers::post(parts.endpoint.path().to_owned(), from_answers));
    let path = parts.endpoint.path().to_owned();
    tokio::spawn(readiness::tell(path.clone(), parts.readiness.clone(), greetings.clone()));
    tokio::spawn(leases::tell(path, sources, greetings));
    tokio::spawn(poll::poll(parts.clone(), events.clone(), told.clone(), greeted));
    tokio::spawn(driver::Driver::new(parts, events, answers, told).run(from_events));
}
