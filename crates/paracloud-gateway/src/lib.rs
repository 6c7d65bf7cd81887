//! The gateway: where clients connect. It sends their requests to the process that owns an instance, and while nobody
//! may serve them it keeps them waiting.
//!
//! ```text
//!  client ──▶ listener ──▶ proxy ──▶ upstream ──▶ application
//!                            │ ▲
//!                     ticket │ │ verdict                      websocket: whole messages, both ways
//!                            ▼ │                              streams:   what may be cut
//!                          control ◀──────▶ controller        parked:    the log of waits
//!                             │                               account:   what clients saw of a pause
//!                (core's gateway machine, one an instance)
//! ```
//!
//! A request stays on the thread of its client's connection, with the connections that it takes to its application.
//!
//! What it may do it is told by core's machine, one for each instance ([`paracloud_core::migration::gateway`]).
//! Safety does not rest here: an application that must not serve refuses, whatever a gateway believes.
//!
//! What clients are promised:
//! - a request of which a byte was sent is sent again only after a 421 with a `Paci-Not-Applied` that the gate of the
//!   process it was sent to can have said, and only if all of it is still here; no answer is 502 with `outcome: unknown`;
//! - a request that waits is bounded in time and count, its body unread; bodies that are kept to be sent again are
//!   bounded one by one and all together, and what finds no room is streamed; at the bound it has one attempt, then it is
//!   answered 503 with `outcome: not_applied`;
//! - a WebSocket is stopped between two messages, and closed with 1012 once its process is no longer the owner; messages
//!   on their way are bounded one by one and all together, those that wait also in time and count: what finds no room
//!   closes its client with 1013.

mod account;
mod again;
mod answer;
mod apps;
mod backends;
mod body;
mod bounds;
mod choice;
mod control;
mod controller;
mod deadline;
mod decided;
mod frames;
mod grpc;
mod head;
mod listener;
mod loads;
mod measured;
mod multiplexed;
mod opening;
mod orca;
mod parked;
mod passing;
mod pause;
mod preface;
mod proxy;
mod room;
mod said;
mod sessions;
mod side;
mod sticky;
mod streams;
mod ticket;
mod upload;
mod upstream;
mod websocket;
mod workers;

pub use bounds::*;
pub use controller::DEAF;
pub use head::OUTCOME_HEADER;
pub use orca::{Load, ORCA_BYTES_MAX, ORCA_NAME_BYTES_MAX, ORCA_NAMES_MAX, ORCA_VALUE_MAX, Refused};
pub use parked::{End, ParkedLine};

use crate::apps::{Apps, Making};
use crate::control::ToController;
use crate::decided::Decided;
use crate::opening::Opening;
use crate::parked::Log;
use crate::room::Room;
use crate::workers::Workers;
use paracloud_core::ids::GatewayId;
use paracloud_core::migration::gateway::Input;
use paracloud_substrate::config::{Cloud, ConfigError};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::lifeline::Ends;
use paracloud_substrate::private::{self, NotPrivate};
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Why a gateway cannot run.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The directory of the cloud.
    #[error(transparent)]
    NotPrivate(#[from] NotPrivate),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It is not in the configuration.
    #[error("{gateway} is no gateway of this cloud: its configuration has {known}")]
    Unknown {
        /// The gateway.
        gateway: GatewayId,
        /// Those that there are.
        known: String,
    },
    /// An app has no address for it.
    #[error("app {app} has no address for {gateway}: `listen` needs one for each gateway")]
    NoAddress {
        /// The app.
        app: String,
        /// The gateway.
        gateway: GatewayId,
    },
    /// An address cannot be listened on.
    #[error("app {app} cannot be served on {address}: {source}; end what listens there, or change `listen`")]
    Listen {
        /// The app.
        app: String,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The log of parked times cannot be written.
    #[error("{path}: cannot be written")]
    Log {
        /// The log.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Threads that carry requests cannot be started.
    #[error("the threads that carry requests cannot be started")]
    Workers(#[source] io::Error),
    /// Signals cannot be waited for.
    #[error("signals cannot be waited for")]
    Signals(#[source] io::Error),
}

/// Runs a gateway until it is told to end: by SIGTERM, SIGINT, SIGHUP, or the end of its lifeline.
///
/// # Errors
/// It cannot begin: the directory is not its owner's alone, the configuration is unreadable, or an address is taken.
pub async fn run(layout: Layout, gateway: GatewayId) -> Result<(), GatewayError> {
    let mut ends = Ends::listen().map_err(GatewayError::Signals)?;
    let told = async move {
        let end = ends.next().await;
        tracing::info!("ending: {end}");
    };
    let deaf = std::env::var_os(DEAF).map(|path| {
        let mut path = path;
        path.push(format!(".{gateway}"));
        PathBuf::from(path)
    });
    run_until(layout, gateway, Terms { deaf, ..Terms::default() }, told).await
}

/// What a test may want otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The file that [`DEAF`] names for it.
    pub deaf: Option<PathBuf>,
    /// Threads that carry requests: one for each processor, [`WORKERS_MAX`] at most.
    pub workers: usize,
    /// In place of [`CONNECTIONS_MAX`].
    pub connections_max: u32,
    /// In place of [`STREAMS_TOTAL_MAX`].
    pub streams_total_max: u32,
    /// In place of [`REPLAY_BYTES_TOTAL_MAX`].
    pub replay_bytes_total_max: usize,
    /// In place of [`MESSAGES_BYTES_TOTAL_MAX`].
    pub messages_bytes_total_max: usize,
    /// In place of [`BODY_WAIT`].
    pub body_wait: Duration,
    /// In place of [`BODY_WAIT_TOTAL`].
    pub body_wait_total: Duration,
    /// In place of [`REPLY_WAIT`].
    pub reply_wait: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            deaf: None,
            workers: std::thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS_MAX),
            connections_max: CONNECTIONS_MAX,
            streams_total_max: STREAMS_TOTAL_MAX,
            replay_bytes_total_max: REPLAY_BYTES_TOTAL_MAX,
            messages_bytes_total_max: MESSAGES_BYTES_TOTAL_MAX,
            body_wait: BODY_WAIT,
            body_wait_total: BODY_WAIT_TOTAL,
            reply_wait: REPLY_WAIT,
        }
    }
}

/// Runs a gateway until `told` is ready.
///
/// # Errors
/// As [`run`].
pub async fn run_until(
    layout: Layout,
    gateway: GatewayId,
    terms: Terms,
    told: impl Future<Output = ()>,
) -> Result<(), GatewayError> {
    private::check(layout.root())?;
    let cloud = Cloud::load(&layout.cloud())?;
    let unknown = || {
        let known = cloud.gateways.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        GatewayError::Unknown { gateway, known }
    };
    let place = cloud.gateways.iter().position(|it| *it == gateway).ok_or_else(unknown)?;
    let path = layout.parked_log(gateway);
    let failed = |source| GatewayError::Log { path: path.clone(), source };
    layout.make(&layout.gateway(gateway)).map_err(failed)?;
    let log = Log::open(&path, PARKED_LOG_BYTES_MAX).await.map_err(failed)?;

    let workers = Workers::start(terms.workers).map_err(GatewayError::Workers)?;
    let (to_controller, link) = ToController::new();
    let (ending, told_ending) = watch::channel(false);
    let places = Arc::new(Semaphore::new(terms.connections_max as usize));
    let making = Arc::new(Making {
        gateway,
        gateways: u32::try_from(cloud.gateways.len()).unwrap_or(u32::MAX),
        trace: layout.trace(),
        controller: to_controller,
        log,
        decided: Decided::in_directory(&layout.gateway(gateway)),
        loops: workers.loops().clone(),
    });
    let opening = Opening {
        layout: layout.clone(),
        place,
        making,
        terms: terms.clone(),
        room: Room::new(terms.replay_bytes_total_max),
        messages: Room::new(terms.messages_bytes_total_max),
        places: Arc::clone(&places),
        streams: Arc::new(Semaphore::new(terms.streams_total_max as usize)),
        ending: told_ending,
        apps: Apps::default(),
    };
    // Either all of them, or it does not begin.
    let listeners: Vec<_> = cloud.apps.iter().map(|app| opening.listen(app)).collect::<Result<_, _>>()?;
    for (app, listener) in cloud.apps.iter().zip(listeners) {
        opening.open(app, listener);
    }
    let socket = layout.controller_socket();
    tokio::select! {
        () = told => {}
        () = controller::talk(&socket, gateway, terms.deaf.as_deref(), &opening, link) => {}
        () = sweep(&opening) => {}
    }
    // Nobody is listened to any more; what is in progress has a moment to end.
    ending.send_replace(true);
    let _ = tokio::time::timeout(STOP_WAIT, places.acquire_many(terms.connections_max)).await;
    drop(workers);
    opening.apps.controls().iter().for_each(|control| control.flush());
    Ok(())
}

/// Closes idle connections to applications, hands logs to their files, and opens what could not be opened before.
async fn sweep(opening: &Opening) {
    let mut tick = tokio::time::interval(IDLE_WAIT);
    loop {
        tick.tick().await;
        for control in opening.look() {
            control.input(Input::Started, None).await;
        }
        for control in opening.apps.controls() {
            control.pool.sweep();
            control.flush();
        }
    }
}
