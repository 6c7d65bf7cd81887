//! Applications.

use crate::world::{route, soon};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use paracloud_core::migration::gateway::Route;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What an application got of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

/// An application that says its name, with a gate like a guard's.
pub(crate) struct Application {
    pub(crate) route: Route,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    name: String,
    /// What its gate says.
    incarnation: u32,
    sealed: watch::Sender<bool>,
    /// Requests that are let in have to wait here.
    busy: watch::Sender<bool>,
    seen: Mutex<Vec<Seen>>,
    count: watch::Sender<usize>,
    refused: watch::Sender<usize>,
    connections: watch::Sender<usize>,
}

impl Application {
    pub(crate) async fn new(start: u64) -> Self {
        Self::speaking(start, false).await
    }

    /// One that speaks HTTP/2.
    pub(crate) async fn two(start: u64) -> Self {
        Self::speaking(start, true).await
    }

    async fn speaking(start: u64, is_two: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let route = route(start, address);
        let state = Arc::new(State {
            name: format!("app {start}"),
            incarnation: route.incarnation.0,
            sealed: watch::Sender::new(false),
            busy: watch::Sender::new(false),
            seen: Mutex::new(Vec::new()),
            count: watch::Sender::new(0),
            refused: watch::Sender::new(0),
            connections: watch::Sender::new(0),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&state), is_two));
        Self { route, state, task }
    }

    /// Its gate closes: what comes is refused.
    pub(crate) fn seal(&self) {
        self.state.sealed.send_replace(true);
    }

    pub(crate) fn unseal(&self) {
        self.state.sealed.send_replace(false);
    }

    /// What is let in takes until `busy(false)`.
    pub(crate) fn busy(&self, busy: bool) {
        self.state.busy.send_replace(busy);
    }

    /// Waits until `count` requests were let in.
    pub(crate) async fn counts(&self, count: usize) {
        let mut seen = self.state.count.subscribe();
        soon("a request at the application", seen.wait_for(|seen| *seen >= count)).await.unwrap();
    }

    /// Waits until `count` requests were refused.
    pub(crate) async fn refuses(&self, count: usize) {
        let mut refused = self.state.refused.subscribe();
        soon("a refusal", refused.wait_for(|refused| *refused >= count)).await.unwrap();
    }

    /// How many connections it has accepted.
    pub(crate) fn connections(&self) -> usize {
        *self.state.connections.borrow()
    }

    /// Ends it: nobody listens there any more.
    pub(crate) async fn end(mut self) {
        self.task.abort();
        let _ = soon("the end of an application", &mut self.task).await;
    }

    /// What it has let in.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>, is_two: bool) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        state.connections.send_modify(|connections| *connections += 1);
        connections.spawn(async move {
            let stream = TokioIo::new(stream);
            if is_two {
                let service = service_fn(move |request| {
                    let state = Arc::clone(&state);
                    async move { answer(request, &state).await }
                });
                let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await;
            } else {
                let service = service_fn(|request| answer(request, &state));
                let _ = http1::Builder::new().serve_connection(stream, service).await;
            }
        });
    }
}

async fn answer(request: Request<Incoming>, state: &State) -> Result<Response<Full<Bytes>>, Infallible> {
    if *state.sealed.borrow() {
        state.refused.send_modify(|refused| *refused += 1);
        let refusal = Response::builder().status(421).header("paci-not-applied", state.incarnation);
        return Ok(refusal.body(Full::from("sealed")).unwrap());
    }
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let line = format!("{} {}", parts.method, parts.uri);
    state.seen.lock().unwrap().push(Seen { line, headers: parts.headers.clone(), body });
    state.count.send_modify(|count| *count += 1);
    state.busy.subscribe().wait_for(|busy| !busy).await.unwrap();
    let mut response = Response::builder().header("x-app", &state.name);
    // It says so itself: `/answers/503`.
    if let Some(status) = parts.uri.path().strip_prefix("/answers/") {
        response = response.status(status.parse::<u16>().unwrap());
    }
    if parts.uri.path() == "/login" {
        response = response.header("set-cookie", "theme=dark").header("set-cookie", "sid=abc; Path=/");
    }
    if parts.uri.path() == "/logout" {
        response = response.header("set-cookie", "sid=; Path=/; Max-Age=0");
    }
    // Who is named is at its limit, and the others have little to do.
    if let Some(full) = parts.uri.path().strip_prefix("/full/") {
        let used = if state.name.ends_with(full) { "1.0" } else { "0.1" };
        // In this figure: `/full/1?cpu_utilization`.
        let figure = parts.uri.query().unwrap_or("application_utilization");
        response = response.header("endpoint-load-metrics", format!("TEXT {figure}:{used}"));
    }
    Ok(response.body(Full::from(state.name.clone())).unwrap())
}

/// An application of which the test says every byte.
pub(crate) struct RawApplication {
    pub(crate) route: Route,
    listener: TcpListener,
}

impl RawApplication {
    pub(crate) async fn new(start: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let route = route(start, listener.local_addr().unwrap());
        Self { route, listener }
    }

    /// The next connection of the gateway.
    pub(crate) async fn accept(&self) -> crate::client::Raw {
        let accepted: (TcpStream, SocketAddr) = soon("a connection", self.listener.accept()).await.unwrap();
        crate::client::Raw(accepted.0)
    }

    /// Whether nobody has connected that was not accepted.
    pub(crate) async fn is_alone(&self) -> bool {
        let accepted = std::future::poll_fn(|cx| std::task::Poll::Ready(self.listener.poll_accept(cx))).await;
        accepted.is_pending()
    }
}

/// Somebody who listens and, until it accepts what was first, takes no connection: a client of it waits.
pub(crate) struct Clogged {
    pub(crate) listener: TcpListener,
    _first: TcpStream,
}

impl Clogged {
    pub(crate) async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let first = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        Self { listener, _first: first }
    }

    pub(crate) fn route(&self) -> Route {
        route(1, self.listener.local_addr().unwrap())
    }

    /// Waits until somebody dials it, and waits.
    pub(crate) async fn is_dialled(&self) {
        const SYN_SENT: &str = "02";
        let port = format!(":{:04X}", self.listener.local_addr().unwrap().port());
        soon("somebody who dials", async {
            loop {
                let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
                let mut rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
                if rows.any(|row| row[2].ends_with(&port) && row[3] == SYN_SENT) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
