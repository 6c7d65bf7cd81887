//! The program: state, service, connections.

use crate::answer::Body;
use crate::faults::{self, Held};
use crate::fill;
use crate::records::Records;
use crate::routes::Routes;
use crate::settings::Settings;
use crate::socket::Sockets;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use paracloud_sdk::http::Guarded;
use paracloud_sdk::state::ContainerError;
use paracloud_sdk::{Paci, StartError};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower::{Layer, Service};

/// Connections at a time. One more waits to be accepted.
const CONNECTIONS_MAX: usize = 16_384;
/// Pause after a connection could not be accepted, as when there are no file descriptors.
const ACCEPT_RETRY_MS: u64 = 50;

/// The header that says who answered.
const AT: HeaderName = HeaderName::from_static("sessions-at");

/// The program, listening.
#[derive(Debug)]
pub struct App {
    listener: TcpListener,
    front: Front,
    stopping: watch::Receiver<bool>,
}

/// Why the program does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}; set HOST and PORT to an address that is free")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        cause: std::io::Error,
    },
    /// A container has no proper name. Ours have.
    #[error(transparent)]
    Container(#[from] ContainerError),
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
        let records = Records::new(paci.map("records")?);
        let talks = paci.map("talks")?;
        let (stop, stopping) = watch::channel(false);
        faults::hooks(paci, settings, stop);
        let address = settings.address;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|cause| RunError::Listen { address, cause })?;
        paci.app_version(env!("CARGO_PKG_VERSION")).start().await?;
        let is_filled = Arc::new(AtomicBool::new(false));
        tokio::spawn(fill::fill(paci.clone(), records.clone(), settings.fill_mib, is_filled.clone()));
        let held = settings.has_fault_routes.then(Held::default);
        let sockets = Sockets::new(paci.clone(), talks);
        let routes = Routes { paci: paci.clone(), records, sockets, held: held.clone() };
        let at = listener.local_addr().map_err(|cause| RunError::Listen { address, cause })?;
        let at = HeaderValue::from_str(&at.to_string()).expect("an address is visible ASCII");
        let front = Front { guarded: paci.layer().layer(routes), at, is_filled, held };
        Ok(Self { listener, front, stopping })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the cloud says that the process is to exit.
    pub async fn serve(self) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut stopping = self.stopping.clone();
        let serving = async {
            loop {
                self.accept(&room).await;
            }
        };
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = serving => {}
        }
    }

    async fn accept(&self, room: &Arc<Semaphore>) {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let stream = match self.listener.accept().await {
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
        let front = self.front.clone();
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), front);
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(permit);
        });
    }
}

/// What needs no guard, and the guard before the rest.
#[derive(Debug, Clone)]
struct Front {
    guarded: Guarded<Routes>,
    /// Where this process listens.
    at: HeaderValue,
    is_filled: Arc<AtomicBool>,
    held: Option<Held>,
}

impl hyper::service::Service<Request<Incoming>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let is_filled = self.is_filled.load(Ordering::Acquire);
        if let Some(response) = faults::unguarded(&request, is_filled, self.held.as_ref()) {
            return Box::pin(std::future::ready(Ok(response)));
        }
        let answered = self.guarded.clone().call(request);
        let at = self.at.clone();
        Box::pin(async move {
            let mut response = answered.await?.map(BodyExt::boxed_unsync);
            response.headers_mut().insert(AT, at);
            Ok(response)
        })
    }
}
