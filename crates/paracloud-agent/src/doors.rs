//! The two sockets of one process: PaCI over HTTP/1.1, and the channel. Here requests are read and held against the
//! bounds of the contract; what they mean is for the node to say.

use crate::accept::accept;
use crate::breaches::Breaches;
use crate::node::Event;
use crate::peer::Peers;
use crate::rate::Rate;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, EXPECT, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use paci::announcement::AnnounceRequest;
use paci::answer::Answer;
use paci::ask::AskRequest;
use paci::bounds;
use paci::channel::{JoinRefusal, read_join_line, reply_line};
use paci::env::{CHANNEL_FILE, SOCKET_FILE};
use paci::error::{ErrorBody, ErrorCode};
use paci::hello::HelloRequest;
use paci::hold::HoldRequest;
use paci::http::{self, Route};
use paci::report::Report;
use paci::state::StateChange;
use paci::wire::Message;
use paracloud_core::ids::StartId;
use paracloud_substrate::figures::bytes;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Connections of one process at a time, on each of its sockets. One more waits.
const CONNECTIONS_MAX: usize = 64;
/// The buffer of a connection. A head that passes even this is answered 431 without a body.
const BUFFER_BYTES_MAX: usize = 4 * bounds::HEAD_BYTES_MAX;
/// Of a body that passes its bound, so much is read and thrown away, so that the refusal is heard.
const DISCARDED_BYTES_MAX: usize = 16 << 20;
/// So much of a request line is told of a call that breaks the contract.
const CALL_CHARS_MAX: usize = 80;
/// How long the rest of a request may take to arrive.
const BODY_MS_MAX: u64 = 10_000;

/// What an application said.
#[derive(Debug)]
pub(crate) enum Said {
    Hello(HelloRequest),
    SetState(StateChange),
    Hold(HoldRequest),
    Report(Report),
    Announce(AnnounceRequest),
    Ask(AskRequest),
    Describe,
    /// Says when it was seen: what is there then is delivered, however short the wait.
    Next(oneshot::Sender<()>),
    Answer(Answer),
}

/// What it is answered: a body, nothing (204), or an error.
pub(crate) type Reply = Result<Option<Vec<u8>>, ErrorBody>;

/// The sockets of one process. Dropping it closes them and every connection on them.
#[derive(Debug)]
pub(crate) struct Doors {
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Doors {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Doors {
    /// Opens both in this directory, in the place of those that an agent before this one left.
    pub(crate) fn open(
        directory: &Path,
        start: StartId,
        peers: &Peers,
        events: &mpsc::Sender<Event>,
    ) -> io::Result<Self> {
        let (paci, channel) = (bind(&directory.join(SOCKET_FILE))?, bind(&directory.join(CHANNEL_FILE))?);
        let rates = Arc::new(Rates::default());
        let watch = Watch { start, events: events.clone(), breaches: Arc::default() };
        let serve = {
            let (peers, watch) = (peers.clone(), watch.clone());
            move |stream| {
                let allowed = peers.allow(&stream);
                converse(stream, Door { watch: watch.clone(), allowed, rates: Arc::clone(&rates) })
            }
        };
        let join = {
            let peers = peers.clone();
            move |stream| join(stream, peers.clone(), watch.clone())
        };
        let tasks = vec![
            tokio::spawn(accept(paci, CONNECTIONS_MAX, serve)),
            tokio::spawn(accept(channel, CONNECTIONS_MAX, join)),
        ];
        Ok(Self { tasks })
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    UnixListener::bind(path)
}

/// Whose sockets they are, and who hears of what is said on them.
#[derive(Clone)]
struct Watch {
    start: StartId,
    events: mpsc::Sender<Event>,
    breaches: Arc<Mutex<Breaches>>,
}

impl Watch {
    /// What the contract does not allow is shown to people: to the application it is an error like any other, and it may
    /// never tell.
    fn breach(&self, what: String, answers: bool) {
        let told = self.breaches.lock().unwrap_or_else(PoisonError::into_inner).take(what);
        if let Some(what) = told {
            let _ = self.events.try_send(Event::Breach { start: self.start, what, answers });
        }
    }
}

/// One connection to the PaCI socket.
#[derive(Clone)]
struct Door {
    watch: Watch,
    allowed: bool,
    rates: Arc<Rates>,
}

/// How often one process may call, over all of its connections.
struct Rates {
    calls: Mutex<Rate>,
    advice: Mutex<Rate>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { calls: Mutex::new(Rate::of_calls()), advice: Mutex::new(Rate::of_advice()) }
    }
}

impl Rates {
    /// The one that a call counts for. What names no call counts for the calls.
    fn of(&self, route: &Result<Route, ErrorBody>) -> &Mutex<Rate> {
        match route {
            Ok(Route::Report | Route::Announce { .. } | Route::Ask) => &self.advice,
            Ok(
                Route::Hello
                | Route::SetState
                | Route::Hold { .. }
                | Route::Describe
                | Route::Next(_)
                | Route::Answer { .. },
            )
            | Err(_) => &self.calls,
        }
    }
}

async fn converse(stream: UnixStream, door: Door) {
    let (watch, allowed) = (door.watch.clone(), door.allowed);
    let service = service_fn(move |request| {
        let door = door.clone();
        async move { Ok::<_, Infallible>(response(door.answer(request).await)) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        if allowed && error.is_parse() {
            watch.breach(format!("what it sent is no request of HTTP/1.1: {error}"), false);
        }
        tracing::debug!(%error, "a connection of an application ended badly");
    }
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let (status, body, again) = match reply {
        Ok(Some(body)) => (200, body, false),
        Ok(None) => (204, Vec::new(), false),
        Err(error) => (error.status(), error.write(), error.code == ErrorCode::TooManyRequests),
    };
    let empty = body.is_empty();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if !empty {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(http::CONTENT_TYPE));
    }
    if again {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

impl Door {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        let (head, body) = request.into_parts();
        let route = self.admit(&head);
        let answers = matches!(route, Ok(Route::Answer { .. }));
        let bytes_max = route.as_ref().map_or(0, Route::body_bytes_max);
        let waits = head.headers.contains_key(EXPECT);
        let mut seen_bytes = 0;
        let reply = match (read(body, bytes_max, waits, &mut seen_bytes).await, route) {
            // What is wrong with the request as such comes before what is wrong with its body.
            (_, Err(error)) | (Err(error), Ok(_)) => Err(error),
            (Ok(body), Ok(route)) => self.say(route, &body).await,
        };
        if let Err(error) = &reply
            && self.allowed
            && breaks_contract(error.code)
        {
            let call = format!("{} {}", head.method, head.uri.path());
            let call: String = call.chars().take(CALL_CHARS_MAX).collect();
            let why = if error.code == ErrorCode::BodyTooLarge {
                format!("a body of {}, at most {}", bytes(seen_bytes), bytes(bytes_max as u64))
            } else {
                error.message.clone()
            };
            self.watch.breach(format!("{call}: {}: {why}", error.code), answers);
        }
        reply
    }

    /// Holds the head of a request against the contract.
    fn admit(&self, head: &hyper::http::request::Parts) -> Result<Route, ErrorBody> {
        if !self.allowed {
            return Err(ErrorBody::new(ErrorCode::PeerNotAllowed, "this socket belongs to another process"));
        }
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        let lines: usize =
            head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let bytes = head.method.as_str().len() + target.len() + lines + 14;
        if bytes > bounds::HEAD_BYTES_MAX {
            let what = format!("head: {bytes} bytes, at most {}", bounds::HEAD_BYTES_MAX);
            return Err(ErrorBody::new(ErrorCode::HeadTooLarge, &what));
        }
        let header = head.headers.get(http::PACI_HEADER).map(HeaderValue::as_bytes);
        if header != Some(http::PACI_HEADER_VALUE.as_bytes()) {
            return Err(ErrorBody::new(ErrorCode::HeaderMissing, "want the header `Paci: 1`"));
        }
        let route = Route::parse(head.method.as_str(), target);
        if !self.rates.of(&route).lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(ErrorBody::new(ErrorCode::TooManyRequests, "more calls than the agent takes"));
        }
        route
    }

    async fn say(&self, route: Route, body: &[u8]) -> Reply {
        let said = match route {
            Route::Hello => Said::Hello(HelloRequest::read(body)?),
            Route::SetState => Said::SetState(StateChange::read(body)?),
            Route::Hold { key } => Said::Hold(HoldRequest::at(&key, HoldRequest::read(body)?)?),
            Route::Report => Said::Report(Report::read(body)?),
            Route::Announce { id } => Said::Announce(AnnounceRequest::at(&id, AnnounceRequest::read(body)?)?),
            Route::Ask => Said::Ask(AskRequest::read(body)?),
            Route::Describe => Said::Describe,
            Route::Next(next) => return self.next(Duration::from_millis(next.wait_ms.into())).await,
            Route::Answer { operation } => {
                let answer = Answer::read(body)?;
                if answer.operation != operation {
                    let what = format!("operation: {}, and the path says {operation}", answer.operation);
                    return Err(ErrorBody::new(ErrorCode::Malformed, &what));
                }
                Said::Answer(answer)
            }
        };
        self.tell(said).await?.await.unwrap_or_else(|_| Err(leaving()))
    }

    /// Waits for an upcall. One that is handed over at the last moment is still delivered.
    async fn next(&self, wait: Duration) -> Reply {
        let (see, seen) = oneshot::channel();
        let mut upcall = self.tell(Said::Next(see)).await?;
        // The wait begins when the poller has its place.
        let _ = seen.await;
        match tokio::time::timeout(wait, &mut upcall).await {
            Ok(reply) => reply.unwrap_or_else(|_| Err(leaving())),
            Err(_) => {
                upcall.close();
                upcall.try_recv().unwrap_or(Ok(None))
            }
        }
    }

    async fn tell(&self, said: Said) -> Result<oneshot::Receiver<Reply>, ErrorBody> {
        let (reply, answered) = oneshot::channel();
        let event = Event::Said { start: self.watch.start, said: Box::new(said), reply };
        self.watch.events.send(event).await.map_err(|_| leaving())?;
        Ok(answered)
    }
}

fn leaving() -> ErrorBody {
    ErrorBody::new(ErrorCode::Unavailable, "the agent does not serve this process now")
}

/// Whether a call with this error is one that no application makes which keeps the contract.
fn breaks_contract(code: ErrorCode) -> bool {
    match code {
        ErrorCode::Malformed
        | ErrorCode::OutOfBounds
        | ErrorCode::HeaderMissing
        | ErrorCode::PathUnknown
        | ErrorCode::MethodNotAllowed
        | ErrorCode::BodyTooLarge
        | ErrorCode::HeadTooLarge
        | ErrorCode::CapabilityMissing => true,
        ErrorCode::Unspecified
        | ErrorCode::PeerNotAllowed
        | ErrorCode::OperationUnknown
        | ErrorCode::VersionUnsupported
        | ErrorCode::HelloRequired
        | ErrorCode::Superseded
        | ErrorCode::OperationClosed
        | ErrorCode::AnswerDiffers
        | ErrorCode::HoldsFull
        | ErrorCode::AnnouncementsFull
        | ErrorCode::TooManyRequests
        | ErrorCode::Internal
        | ErrorCode::Unavailable => false,
    }
}

/// Reads a body whole. `seen_bytes`: how much of it there was, or was announced.
async fn read(
    body: Incoming,
    bytes_max: usize,
    waits: bool,
    seen_bytes: &mut u64,
) -> Result<Bytes, ErrorBody> {
    let too_large = || ErrorBody::new(ErrorCode::BodyTooLarge, &format!("body: at most {bytes_max} bytes"));
    let announced = body.size_hint().lower();
    *seen_bytes = announced;
    if announced > bytes_max as u64 && waits {
        return Err(too_large());
    }
    let mut limited = Limited::new(body, bytes_max.saturating_add(DISCARDED_BYTES_MAX));
    let reading = async {
        let mut kept = Vec::new();
        let mut bytes = 0;
        while let Some(frame) = limited.frame().await {
            let Ok(frame) = frame else {
                return Err(if bytes > bytes_max { too_large() } else { incomplete() });
            };
            if let Ok(data) = frame.into_data() {
                bytes += data.len();
                *seen_bytes = announced.max(bytes as u64);
                if bytes <= bytes_max {
                    kept.extend_from_slice(&data);
                }
            }
        }
        if bytes > bytes_max { Err(too_large()) } else { Ok(Bytes::from(kept)) }
    };
    let read = tokio::time::timeout(Duration::from_millis(BODY_MS_MAX), reading).await;
    read.unwrap_or_else(|_| Err(incomplete()))
}

fn incomplete() -> ErrorBody {
    ErrorBody::new(ErrorCode::Malformed, "the body did not arrive whole")
}

/// One connection to the channel's socket.
async fn join(mut stream: UnixStream, peers: Peers, watch: Watch) {
    let line =
        tokio::time::timeout(Duration::from_millis(bounds::JOIN_MS.into()), join_line(&mut stream)).await;
    let Ok(Ok(line)) = line else { return };
    let token = match read_join_line(&line) {
        Ok(token) if peers.allow(&stream) => Ok(token.into()),
        Ok(_) => Err(JoinRefusal::TokenUnknown),
        Err(refusal) => {
            if peers.allow(&stream) {
                watch.breach(format!("channel: {refusal}: what it sent is no line that joins"), false);
            }
            Err(refusal)
        }
    };
    match token {
        Ok(token) => {
            let _ = watch.events.send(Event::Join { start: watch.start, token, stream }).await;
        }
        Err(refusal) => refuse(stream, refusal).await,
    }
}

/// Answers a join with a refusal, and the end.
pub(crate) async fn refuse(mut stream: UnixStream, refusal: JoinRefusal) {
    let _ = stream.write_all(reply_line(Err(refusal)).as_bytes()).await;
}

/// Reads byte by byte: what follows the line belongs to the channel.
async fn join_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(bounds::JOIN_LINE_BYTES_MAX);
    while line.len() < bounds::JOIN_LINE_BYTES_MAX && line.last() != Some(&b'\n') {
        line.push(stream.read_u8().await?);
    }
    Ok(line)
}
