//! What a program does when the cloud asks: its handlers. One that panics has failed, and the cloud is told so.

use paci::finding::{MoveEstimate, RemovalQuote};
use paci::size::Size;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub(crate) type Hook<T, R = ()> = Arc<dyn Fn(T) -> Pin<Box<dyn Future<Output = R> + Send>> + Send + Sync>;
pub(crate) type Pricer = Arc<dyn Fn(RemovalQuote) -> Result<RemovalQuote, NotNow> + Send + Sync>;
pub(crate) type Estimator = Arc<dyn Fn(MoveEstimate) -> Result<MoveEstimate, NotNow> + Send + Sync>;

/// The program's handlers.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) drain: Option<Hook<Draining>>,
    pub(crate) undrain: Option<Hook<()>>,
    pub(crate) stop: Option<Hook<Stopping>>,
    pub(crate) resume: Option<Hook<Resuming>>,
    pub(crate) estimate: Option<Estimator>,
    pub(crate) quote: Option<Pricer>,
    pub(crate) resize: Option<Hook<Resizing, Result<(), Unfit>>>,
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

/// The instance is to have another size. Before it gets smaller the handler lets go of what is too much and ends when it
/// fits; after it got greater it makes use of that. What the process really uses is measured before a limit is lowered.
#[derive(Debug, Clone, Copy)]
pub struct Resizing {
    /// The memory that it is to have, in KiB; `None`: it does not change.
    pub memory_kib: Option<u32>,
    /// The processors that it is to have, in thousandths; `None`: they do not change.
    pub cpu_millis: Option<u32>,
    /// The memory that it has now, in KiB; `None`: it has no limit, or none that is known.
    pub now_memory_kib: Option<u32>,
    /// The processors that it has now, in thousandths; `None`: it has no limit, or none that is known.
    pub now_cpu_millis: Option<u32>,
    /// It is only asked whether it would fit: nothing is to be let go of.
    pub dry_run: bool,
    /// The deadline, from now: then the size stays as it is.
    pub budget: Duration,
}

impl Resizing {
    /// Whether it is to have less of something than it has now. Without a limit now every limit is less.
    pub fn shrinks(&self) -> bool {
        let less = |wanted: Option<u32>, now: Option<u32>| {
            wanted.is_some_and(|wanted| now.is_none_or(|now| wanted < now))
        };
        less(self.memory_kib, self.now_memory_kib) || less(self.cpu_millis, self.now_cpu_millis)
    }
}

/// It cannot do with that size.
#[derive(Debug, Clone)]
pub struct Unfit {
    /// The smallest that it could do with; empty: it cannot say.
    pub fit: Size,
    /// Why, for people.
    pub reason: String,
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

/// It cannot be moved, or be done without, now: ask again.
#[derive(Debug, Clone)]
pub struct NotNow {
    /// When to ask again; at most ten minutes.
    pub retry_after: Duration,
    /// Why, for people.
    pub reason: String,
}
