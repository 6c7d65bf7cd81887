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
mod decided;
mod frames;
mod grpc;
mod head;
mod listener;
mod loads;
mod measured;
mod multiplexed;
mod orca;
mod parked;
mod passing;
mod pause;
mod preface;
mod proxy;
mod room;
mod said;
mod side;
mod sticky;
mod streams;
mod ticket;
mod upload;
mod upstream;
mod websocket;

pub use bounds::*;
pub use controller::DEAF;
pub use head::OUTCOME_HEADER;
pub use orca::{Load, ORCA_BYTES_MAX, ORCA_NAME_BYTES_MAX, ORCA_NAMES_MAX, ORCA_VALUE_MAX, Refused};
pub use parked::{End, ParkedLine};

use crate::apps::{Apps, Instances, Making};
use crate::backends::Backends;
use crate::control::{Outgoing, ToController};
use crate::decided::Decided;
use crate::parked::Log;
use crate::proxy::Proxy;
use crate::room::Room;
use crate::upload::Waits;
use paracloud_core::ids::GatewayId;
use paracloud_substrate::config::{Cloud, ConfigError};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::lifeline::Ends;
use paracloud_substrate::private::{self, NotPrivate};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

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
    let mut listeners = Vec::new();
    for app in &cloud.apps {
        let no_address = || GatewayError::NoAddress { app: app.name.clone(), gateway };
        let address = *app.listen.get(place).ok_or_else(no_address)?;
        let listener = listener::listen(address);
        let failed = |source| GatewayError::Listen { app: app.name.clone(), address, source };
        listeners.push((app, listener.map_err(failed)?));
    }
    let path = layout.parked_log(gateway);
    let failed = |source| GatewayError::Log { path: path.clone(), source };
    layout.make(&layout.gateway(gateway)).map_err(failed)?;
    let log = Log::open(&path, PARKED_LOG_BYTES_MAX).await.map_err(failed)?;

    let (to_controller, link) = ToController::new();
    let (ending, told_ending) = watch::channel(false);
    let room = Room::new(terms.replay_bytes_total_max);
    let messages = Room::new(terms.messages_bytes_total_max);
    let places = Arc::new(Semaphore::new(terms.connections_max as usize));
    let streams = Arc::new(Semaphore::new(terms.streams_total_max as usize));
    let chooses = cloud.apps.iter().any(|app| app.scale.is_some());
    let decided = if chooses { Decided::open(&layout.gateway(gateway)) } else { Decided::nowhere() };
    let making = Arc::new(Making {
        gateway,
        gateways: u32::try_from(cloud.gateways.len()).unwrap_or(u32::MAX),
        trace: layout.trace(),
        controller: to_controller,
        log,
        decided,
    });
    let mut apps = Apps::default();
    for (app, listener) in listeners {
        let instances = Instances::of(app, &making);
        apps.add(&app.name, instances.clone());
        let proxy = Proxy {
            instances,
            sticky: app.session.as_ref().map(|session| Arc::new(session.sticky.clone())),
            room: Arc::clone(&room),
            messages: Arc::clone(&messages),
            streams: Arc::clone(&streams),
            replay_bytes_max: app.parking.replay_bytes_max,
            waits: Waits {
                body: terms.body_wait,
                body_total: terms.body_wait_total,
                reply: terms.reply_wait,
            },
        };
        tracing::info!(app = app.name, address = ?listener.local_addr().ok(), "clients connect here");
        tokio::spawn(listener::accept(listener, proxy, Arc::clone(&places), told_ending.clone()));
    }
    let mut measuring = JoinSet::new();
    for backends in apps.many() {
        measuring.spawn(measure(Arc::clone(backends), Arc::clone(&making)));
    }
    let socket = layout.controller_socket();
    tokio::select! {
        () = told => {}
        () = controller::talk(&socket, gateway, terms.deaf.as_deref(), &apps, link) => {}
        () = sweep(&apps) => {}
    }
    // Nobody is listened to any more; what is in progress has a moment to end.
    ending.send_replace(true);
    let _ = tokio::time::timeout(STOP_WAIT, places.acquire_many(terms.connections_max)).await;
    apps.controls().iter().for_each(|control| control.flush());
    Ok(())
}

/// Tells the controller what is measured of an app, once a period.
async fn measure(backends: Arc<Backends>, making: Arc<Making>) {
    let mut tick = tokio::time::interval(backends.period());
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let _ = making.controller.send(Outgoing { line: backends.measured(), stand: None });
    }
}

/// Closes idle connections to applications, and hands logs to their files.
async fn sweep(apps: &Apps) {
    let mut tick = tokio::time::interval(IDLE_WAIT);
    loop {
        tick.tick().await;
        for control in apps.controls() {
            control.pool.sweep();
            control.flush();
        }
    }
}
