//! The control shell: register, journal, operations.
//!
//! It carries out what core's coordinators decide, and decides nothing of a move by itself.
//!
//! ```text
//!   agents, gateways ──lines──▶ server ──▶ instance (one task each, around one coordinator) ──▶ peers ──lines──▶ …
//!   persons ──requests──▶ person ──commands──▶   │ swaps, with the entry that says so          ▲ events, outcomes
//!                                                ▼                                             │
//!                                        register (one thread, the durable store) ─────────────┘
//! ```
//!
//! | | |
//! |---|---|
//! | [`store`] | the durable store: what was acknowledged is there after any crash |
//! | `register` | the one thread that may wait for the disk |
//! | `instance` | one coordinator and its record; its effects, in order |
//! | `recovery` | what a controller without a record may believe (rule 7) |
//! | `fleet`, `closed` | which instances there are, and which nodes get no new ones |
//! | `operations` | an operation from its command to its outcome, for people |
//! | `journal`, `refusals` | what is written of it, and of what was not begun, and its bounds |
//! | `server`, `peers` | links of agents and gateways |
//! | `person`, `moves`, `scales`, `fewer` | what people ask for |
//! | `scaling` | how many instances an app has, decided from what is known |
//! | `wishes` | what becomes of what applications ask for themselves |
//! | `applying`, `replacing` | another configuration, while the cloud runs; one instance in the place of another |
//! | `orders` | one instance fewer, that one after all, one more, another size: for people and for whoever else decides that |
//! | `ordered`, `closed`, `kept` | starts that are not in the register yet; nodes that get nothing new; the files of such |
//!
//! A controller that loses its disk ends this life and begins another: it drops the store, opens it again and reads.
//! Everybody's links break and are dialled again, as after a crash; there is no second way to recover.

mod advised;
mod applying;
mod asks;
mod closed;
mod control;
mod crashes;
mod decided;
mod draining;
mod ended;
mod fewer;
mod fleet;
mod instance;
mod journal;
mod kept;
mod marks;
mod moves;
mod ongoing;
mod operations;
mod ordered;
mod orders;
mod peers;
mod person;
mod recovery;
mod refusals;
mod register;
mod replacing;
mod scales;
mod scaling;
mod server;
mod sizes;
#[cfg(test)]
mod stage;
pub mod store;
mod turns;
mod updating;
mod wishes;
mod words;

pub use instance::AWAY_MS;
pub use register::Ledger;

use control::Control;
use fleet::{Birth, Fleet};
use instance::Instance;
use ordered::Ordered;
use paracloud_substrate::config::{App, Cloud, ConfigError};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::lifeline::Ends;
use paracloud_substrate::private::{self, NotPrivate};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Options, StoreError};
use tokio::task::JoinSet;

/// How often in a row a failed store is opened again before the controller gives up.
pub const REOPEN_MAX: u32 = 8;
/// The first pause before a failed store is opened again, in milliseconds; it doubles.
pub const REOPEN_MS: u64 = 100;
/// A controller that went on for so long without losing its store counts its failures from zero, in milliseconds.
pub const SOUND_MS: u128 = 60_000;

/// Why the controller ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControllerError {
    /// Its directory.
    #[error(transparent)]
    NotPrivate(#[from] NotPrivate),
    /// Its configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its register and journal cannot be opened.
    #[error("the register cannot be opened{}", hint(.0))]
    Store(#[source] StoreError),
    /// Its register and journal failed, again and again.
    #[error("the register failed{}", hint(.0))]
    Disk(#[source] StoreError),
    /// Its socket.
    #[error("{path}: cannot listen here")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What ends it.
    #[error("signals cannot be listened for")]
    Signals(#[source] io::Error),
    /// A part of it that never ends has ended.
    #[error("the part of the controller that drives {part} broke off: start it again")]
    Broken {
        /// Which one.
        part: String,
    },
}

fn hint(error: &StoreError) -> String {
    error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default()
}

/// Runs the controller of a cloud until SIGTERM, SIGINT, SIGHUP or the end of its lifeline.
///
/// # Errors
/// The directory is not its owner's alone, the configuration cannot be read, the store cannot be opened or fails again
/// and again, or the socket cannot be listened on.
pub async fn run(layout: Layout) -> Result<(), ControllerError> {
    let mut ends = Ends::listen().map_err(ControllerError::Signals)?;
    run_until(layout, async move {
        let end = ends.next().await;
        tracing::info!("ending: {end}");
    })
    .await
}

/// [`run`], ended by `end` instead of signals: for whoever holds a controller inside another program.
///
/// # Errors
/// As [`run`].
pub async fn run_until(layout: Layout, end: impl Future<Output = ()>) -> Result<(), ControllerError> {
    let open = {
        let directory = layout.controller();
        move || Ledger::open(&directory, Options::default())
    };
    run_on(layout, open, end).await
}

/// [`run_until`], on a store that `open` opens: for tests that bring a disk of their own.
///
/// # Errors
/// As [`run`].
pub async fn run_on<O>(layout: Layout, open: O, end: impl Future<Output = ()>) -> Result<(), ControllerError>
where
    O: Fn() -> Result<Ledger, StoreError> + Clone + Send + 'static,
{
    private::check(layout.root())?;
    let mut end = std::pin::pin!(end);
    let mut failures = 0;
    for life in 0.. {
        // Also of what was applied since: each life reads it anew.
        let cloud = Arc::new(Cloud::load(&layout.cloud())?);
        let begun = Instant::now();
        let error = match Box::pin(live(&layout, &cloud, open.clone(), life, end.as_mut())).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if begun.elapsed().as_millis() > SOUND_MS {
            failures = 0;
        }
        failures += 1;
        // What is damaged or held by another does not get better by asking again; a disk may.
        let may_get_better =
            matches!(error, ControllerError::Disk(_) | ControllerError::Store(StoreError::Io { .. }));
        if !may_get_better || failures > REOPEN_MAX {
            return Err(error);
        }
        tracing::error!(
            error = &error as &dyn std::error::Error,
            failures,
            "the store failed: it is opened again and read"
        );
        let pause = Duration::from_millis(REOPEN_MS << failures);
        tokio::select! {
            () = &mut end => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
    Ok(())
}

/// From opening the store to losing it, or to `end`.
async fn live<O>(
    layout: &Layout,
    cloud: &Arc<Cloud>,
    open: O,
    life: u32,
    end: impl Future<Output = ()>,
) -> Result<(), ControllerError>
where
    O: FnOnce() -> Result<Ledger, StoreError> + Send + 'static,
{
    let (mut disk, found) = register::start(open).await.map_err(ControllerError::Store)?;
    let mut instances = JoinSet::new();
    let mut links = JoinSet::new();
    let ended = {
        let ordered = Ordered::load(layout);
        let comes = |name: &str| {
            !found.records.contains_key(name) && cloud.app_of(name).is_some_and(|app| app.scale.is_some())
        };
        let (fleet, mut births) = Fleet::new(cloud, found.records.iter(), &ordered.keep(comes));
        let control = Arc::new(Control::new(layout, cloud, disk.register(), disk.heard(), (fleet, ordered)));
        for (name, record) in &found.records {
            if cloud.app_of(name).is_none() {
                control.views.show_unconfigured(name, record);
            }
        }
        let listener = server::listen(layout)?;
        let mut end = std::pin::pin!(end);
        let mut accepting = std::pin::pin!(server::accept(&control, listener, &mut links));
        let mut scaling = std::pin::pin!(scaling::run(Arc::clone(&control)));
        let mut wishes = std::pin::pin!(wishes::run(Arc::clone(&control)));
        let mut draining = std::pin::pin!(draining::run(Arc::clone(&control)));
        let mut updating = std::pin::pin!(updating::run(Arc::clone(&control)));
        let mut replacing = std::pin::pin!(replacing::run(Arc::clone(&control)));
        loop {
            tokio::select! {
                () = &mut end => break Ok(()),
                () = &mut accepting => break Ok(()),
                () = &mut scaling => break Ok(()),
                () = &mut wishes => break Ok(()),
                () = &mut draining => break Ok(()),
                () = &mut updating => break Ok(()),
                () = &mut replacing => break Ok(()),
                fault = disk.ended() => break Err(ControllerError::Disk(fault)),
                Some(Birth { name, app, node, inbox }) = births.recv() => {
                    let record = found.records.get(&name).cloned();
                    let history = found.histories.get(&name).cloned().unwrap_or_default();
                    let app = App { name, node, ..app };
                    let instance = Instance::new(Arc::clone(&control), app, record, history, life);
                    instances.spawn(Box::pin(instance.run(inbox)));
                }
                name = broken(&mut instances) => break match disk.fault().await {
                    // Whoever waits for a store that has failed ends first.
                    Some(fault) => Err(ControllerError::Disk(fault)),
                    None => Err(ControllerError::Broken { part: name }),
                },
            }
        }
    };
    links.shutdown().await;
    instances.shutdown().await;
    disk.close().await;
    ended
}

async fn broken(instances: &mut JoinSet<String>) -> String {
    match instances.join_next().await {
        Some(Ok(name)) => name,
        Some(Err(error)) => error.to_string(),
        // No app is configured.
        None => std::future::pending().await,
    }
}
