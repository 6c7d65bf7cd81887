//! The program: jobs, service, connections.

use crate::answer::{self, Body};
use crate::cloud;
use crate::pace::Pace;
use crate::rhythm::Rhythm;
use crate::routes::Routes;
use crate::settings::Settings;
use crate::slots::Slots;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use paracloud_sdk::http::{Guarded, GuardedBody};
use paracloud_sdk::{Paci, StartError};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tower::{Layer, Service};

/// Connections at a time. One more waits to be accepted.
const CONNECTIONS_MAX: usize = 16_384;
/// Pause after a connection could not be accepted, as when there are no file descriptors.
const ACCEPT_RETRY_MS: u64 = 50;
/// How long answers may take to be written, in milliseconds, when it ends.
const WRITTEN_MS_MAX: u64 = 1_000;
/// The longest that it waits for its jobs after SIGTERM, in milliseconds. Whoever sent it kills it before.
const TERM_MS_MAX: u64 = 3_600_000;

/// The program, listening.
#[derive(Debug)]
pub struct App {
    listener: TcpListener,
    front: Front,
    slots: Arc<Slots>,
    asked_to_end: Signal,
    stopping: watch::Receiver<bool>,
    /// Whoever has the other end of `stopping`.
    _paci: Paci,
}

/// Why the program does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// SIGTERM cannot be waited for.
    #[error("SIGTERM cannot be waited for")]
    Signal(#[source] std::io::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}; set HOST and PORT to an address that is free")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        cause: std::io::Error,
    },
    /// The session runs already.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl App {
    /// Listens, and starts the session with the cloud.
    ///
    /// # Errors
    /// The address cannot be listened on, or this end of the contract was used before.
    pub async fn start(paci: &Paci, settings: &Settings) -> Result<Self, RunError> {
        let address = settings.address;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|cause| RunError::Listen { address, cause })?;
        let asked_to_end = signal(SignalKind::terminate()).map_err(RunError::Signal)?;
        let pace = Arc::new(Pace::new(settings.speed_permille));
        let slots = Slots::new(Arc::clone(&pace), settings.slots, settings.queue_max);
        let (stop, stopping) = watch::channel(false);
        cloud::on_calls(paci, &slots, settings, stop);
        paci.stateless().app_version(env!("CARGO_PKG_VERSION")).start().await?;
        let rhythm = Rhythm::new(settings);
        rhythm.keep(paci, &pace);
        tokio::spawn(cloud::report(paci.clone(), Arc::clone(&slots), settings.clone()));
        let routes = Routes { settings: settings.clone().into(), slots: Arc::clone(&slots), rhythm };
        let front = Front { guarded: paci.layer().layer(routes), pace };
        Ok(Self { listener, front, slots, asked_to_end, stopping, _paci: paci.clone() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process is to exit: the cloud says so, or SIGTERM.
    pub async fn serve(mut self) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let connections = GracefulShutdown::new();
        let ended = async {
            tokio::select! {
                () = told(&mut self.stopping) => {}
                _ = self.asked_to_end.recv() => {
                    cloud::end(&self.slots, Duration::from_millis(TERM_MS_MAX)).await;
                }
            }
        };
        tokio::pin!(ended);
        loop {
            tokio::select! {
                () = &mut ended => break,
                () = accept(&self.listener, &self.front, &room, &connections) => {}
            }
        }
        // Whoever still dials finds nobody, and who was answered has the answer.
        drop(self.listener);
        if timeout(Duration::from_millis(WRITTEN_MS_MAX), connections.shutdown()).await.is_err() {
            tracing::warn!("ended before all answers were written");
        }
    }
}

/// Returns once the cloud says that it is to exit.
async fn told(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn accept(
    listener: &TcpListener,
    front: &Front,
    room: &Arc<Semaphore>,
    connections: &GracefulShutdown,
) {
    let Ok(permit) = room.clone().acquire_owned().await else { return };
    let stream = match listener.accept().await {
        Ok((stream, _)) => stream,
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
            return;
        }
    };
    // Answers are written whole; waiting for more would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection is gone");
        return;
    }
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), front.clone());
    let served = connections.watch(served);
    tokio::spawn(async move {
        if let Err(error) = served.await {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(permit);
    });
}

/// What needs no guard, and the guard before the rest. While the process pauses nothing is answered.
#[derive(Debug, Clone)]
struct Front {
    guarded: Guarded<Routes>,
    pace: Arc<Pace>,
}

impl hyper::service::Service<Request<Incoming>> for Front {
    type Response = Response<Either<Body, GuardedBody<Body>>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (pace, mut guarded) = (Arc::clone(&self.pace), self.guarded.clone());
        Box::pin(async move {
            pace.goes_on().await;
            if request.method() == Method::GET && request.uri().path() == "/healthz" {
                return Ok(answer::line(StatusCode::OK, "ok").map(Either::Left));
            }
            Ok(guarded.call(request).await?.map(Either::Right))
        })
    }
}
