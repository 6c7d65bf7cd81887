//! What a program does when the cloud asks: its handlers. One that panics has failed, and the cloud is told so.

use paci::finding::MoveEstimate;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub(crate) type Hook<T> = Arc<dyn Fn(T) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;
pub(crate) type Estimator = Arc<dyn Fn(MoveEstimate) -> Result<MoveEstimate, NotNow> + Send + Sync>;

/// The program's handlers.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) drain: Option<Hook<Draining>>,
    pub(crate) stop: Option<Hook<Stopping>>,
    pub(crate) resume: Option<Hook<Resuming>>,
    pub(crate) estimate: Option<Estimator>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

/// The instance is taken out of routing: refuse new work and finish the old. The handler ends when nothing is in flight.
#[derive(Debug, Clone, Copy)]
pub struct Draining {
    /// It may be called off, after which the program takes work again.
    pub reversible: bool,
}

/// The process is to exit.
#[derive(Debug, Clone, Copy)]
pub struct Stopping {
    /// After this long it is ended from outside.
    pub grace: Duration,
}

/// The process has become the owner; it serves once the handler has ended and the register has it. Here a program makes
/// anew what must not be the same in two processes: random seeds, connections, temporary names.
#[derive(Debug, Clone, Copy)]
pub struct Resuming {
    /// The instance's incarnation from now on.
    pub incarnation: u32,
}

/// It cannot be moved now: ask again.
#[derive(Debug, Clone)]
pub struct NotNow {
    /// When to ask again; at most ten minutes.
    pub retry_after: Duration,
    /// Why, for people.
    pub reason: String,
}
