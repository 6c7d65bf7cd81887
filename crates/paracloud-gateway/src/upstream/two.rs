//! A connection that speaks HTTP/2: many requests at once, each a stream of its own.
//!
//! What proves that an application has not looked at a request: its stream was reset with REFUSED_STREAM, or stands above
//! the last one that a GOAWAY names (RFC 9113, 6.8 and 8.7), or the connection took no streams any more. Anything else
//! that ends a stream before its reply is an unknown outcome.

use super::pump::Pump;
use super::shared::{Shared, Unread};
use super::{Broken, Looked};
use crate::body::{BodyError, Outgoing};
use crate::bounds::{
    CLOSE_WAIT, CONNECT_WAIT, HEAD_BYTES_MAX, HEADERS_MAX, LOOKS_MAX, REPLY_BYTES_HELD, UPSTREAM_STREAMS_MAX,
    UPSTREAM_WINDOW_BYTES, UPSTREAM_WINDOW_BYTES_TOTAL,
};
use crate::ticket::Witness;
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, Reason, RecvStream};
use hyper::body::{Frame, SizeHint};
use hyper::header::CONTENT_LENGTH;
use hyper::{HeaderMap, Request, Response};
use paracloud_core::ids::StartId;
use paracloud_core::migration::gateway::Route;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// A connection to one process. When nobody has it any more it is closed.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    socket: Shared,
    start: StartId,
    in_flight: AtomicUsize,
    /// Whether it carried a request before.
    used: AtomicBool,
    /// It takes no requests any more.
    over: Arc<AtomicBool>,
    idle_since: Mutex<Instant>,
    /// Tells its driver when it is dropped.
    _tells: oneshot::Sender<Infallible>,
}

impl Connection {
    /// Dials the process of a route, and hears it answer.
    ///
    /// # Errors
    /// Nobody accepts, or who does answers no HTTP/2: [`io::ErrorKind::InvalidData`].
    pub(super) async fn open(route: Route) -> io::Result<Arc<Self>> {
        timeout(CONNECT_WAIT, Self::dial(route)).await?
    }

    async fn dial(route: Route) -> io::Result<Arc<Self>> {
        let stream = TcpStream::connect(route.address).await?;
        stream.set_nodelay(true)?;
        let socket = Shared(Arc::new(stream));
        let (sender, mut driver) = Builder::new()
            .enable_push(false)
            .initial_window_size(UPSTREAM_WINDOW_BYTES)
            .initial_connection_window_size(UPSTREAM_WINDOW_BYTES_TOTAL)
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .handshake(socket.clone())
            .await
            .map_err(io::Error::other)?;
        let pings = driver.ping_pong();
        let (tells, dropped) = oneshot::channel();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = &mut driver => Some(ended),
                _ = dropped => timeout(CLOSE_WAIT, driver).await.ok(),
            };
            is_over.store(true, Ordering::Release);
            if let Some(Err(error)) = ended {
                tracing::debug!(%error, "a connection to an application broke");
            }
        });
        let connection = Self {
            sender,
            socket,
            start: route.start,
            in_flight: AtomicUsize::new(0),
            used: AtomicBool::new(false),
            over,
            idle_since: Mutex::new(Instant::now()),
            _tells: tells,
        };
        // Whoever answers speaks HTTP/2, and has said before how many streams it takes.
        if let Some(mut pings) = pings {
            pings.ping(Ping::opaque()).await.map_err(unheard)?;
        }
        Ok(Arc::new(connection))
    }

    /// The process it leads to.
    pub(super) fn start(&self) -> StartId {
        self.start
    }

    /// Whether it takes no requests any more.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Requests that have a place on it.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Whether there is a place for one more.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight() < self.sender.current_max_send_streams().min(UPSTREAM_STREAMS_MAX)
    }

    /// For how long nobody has used it.
    pub(super) fn idle_for(&self) -> Duration {
        if self.in_flight() > 0 {
            return Duration::ZERO;
        }
        self.idle_since.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn ends(&self) {
        self.over.store(true, Ordering::Release);
    }
}

/// Why who accepted has not answered: it said something else, or nothing, and closed.
fn unheard(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// One request's place on a connection.
#[derive(Debug)]
pub(crate) struct Exchange {
    connection: Arc<Connection>,
    /// Whether nobody else was there.
    is_alone: bool,
    was_used: bool,
    upload: Option<Pump>,
}

impl Exchange {
    /// Takes a place.
    pub(super) fn on(connection: Arc<Connection>) -> Self {
        let is_alone = connection.in_flight.fetch_add(1, Ordering::AcqRel) == 0;
        let was_used = connection.used.load(Ordering::Acquire);
        Self { connection, is_alone, was_used, upload: None }
    }

    /// The process it leads to.
    pub(super) fn start(&self) -> StartId {
        self.connection.start
    }

    /// Whether the connection carried a request before.
    pub(super) fn is_used(&self) -> bool {
        self.was_used
    }

    /// Whether the connection takes requests, looked at now: what its application has said is heard first.
    pub(super) async fn is_usable(&self) -> bool {
        let socket = &self.connection.socket;
        let mut unread = socket.unread();
        for _ in 0..LOOKS_MAX {
            if !self.is_alone || unread != Unread::Something || self.connection.is_over() {
                break;
            }
            tokio::task::yield_now().await;
            unread = socket.unread();
        }
        // While others are there, something always comes.
        if unread == Unread::End || (self.is_alone && unread == Unread::Something) {
            self.connection.ends();
            return false;
        }
        let mut sender = self.connection.sender.clone();
        let usable = std::future::poll_fn(|cx| sender.poll_ready(cx)).await.is_ok();
        if !usable {
            self.connection.ends();
        }
        usable && !self.connection.is_over()
    }

    /// Sends a request and returns when the head of its reply is here.
    ///
    /// # Errors
    /// No reply came.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Outgoing>,
        witness: &Witness,
    ) -> Result<Response<Stream>, Broken> {
        let (head, body) = request.into_parts();
        let head = Request::from_parts(head, ());
        let ends = matches!(&body, Outgoing::Whole(bytes) if bytes.is_empty());
        let mut sender = self.connection.sender.clone();
        let (response, mut sink) = sender.send_request(head, ends).map_err(|error| {
            tracing::debug!(%error, "a connection to an application takes no more requests");
            self.connection.ends();
            Broken::Unsent
        })?;
        self.connection.used.store(true, Ordering::Release);
        witness.sent_on();
        match body {
            Outgoing::Whole(bytes) if !bytes.is_empty() => {
                // That it cannot be sent is said to who waits for the reply.
                let _ = sink.send_data(bytes, true);
            }
            Outgoing::Whole(_) => {}
            Outgoing::Upload(upload) => self.upload = Some(Pump::start(sink, upload)),
        }
        let response = response.await.map_err(|error| self.broken(error))?;
        witness.replied();
        let (head, body) = response.into_parts();
        if head.headers.len() > HEADERS_MAX {
            return Err(Broken::Sent(None));
        }
        let length = head.headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
        Ok(Response::from_parts(head, Stream { body, length, is_over: false, wrong: None }))
    }

    /// What the end of a stream before its reply says of its request.
    fn broken(&self, error: h2::Error) -> Broken {
        if error.is_go_away() && error.is_remote() {
            // Only of streams above the last one that it names.
            self.connection.ends();
            return Broken::Unsent;
        }
        if error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM) {
            return Broken::Refused;
        }
        Broken::Sent(Some(error.into()))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut idle_since = self.connection.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        *idle_since = Instant::now();
        drop(idle_since);
        self.connection.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The body of a reply.
#[derive(Debug)]
pub(crate) struct Stream {
    body: RecvStream,
    length: Option<u64>,
    /// All of it was given out.
    is_over: bool,
    /// What was wrong with it when it was looked for what came; said with the next part.
    wrong: Option<BodyError>,
}

impl Stream {
    /// Whether all of it came.
    pub(super) fn is_end_stream(&self) -> bool {
        self.wrong.is_none() && (self.is_over || self.body.is_end_stream())
    }

    /// How long it is, if it was said.
    pub(super) fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }

    /// Takes what came already, up to [`REPLY_BYTES_HELD`], and waits for nothing.
    pub(crate) async fn look(&mut self) -> Looked {
        let mut parts = Parts::default();
        for look in 0..LOOKS_MAX {
            if look > 0 {
                tokio::task::yield_now().await;
            }
            let looked = std::future::poll_fn(|cx| Poll::Ready(self.looked(&mut parts, cx))).await;
            if let Some(end) = looked {
                return Looked { bytes: parts.all(), end };
            }
        }
        Looked { bytes: parts.all(), end: None }
    }

    /// As far as it came; something once there is no need to look again.
    fn looked(&mut self, parts: &mut Parts, cx: &mut Context<'_>) -> Option<Option<Option<Box<HeaderMap>>>> {
        while parts.bytes < REPLY_BYTES_HELD {
            let Poll::Ready(frame) = self.poll_frame(cx) else { return None };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => return Some(Some(None)),
                Some(Ok(Ok(data))) => parts.add(data),
                Some(Ok(Err(frame))) => return Some(frame.into_trailers().ok().map(|it| Some(Box::new(it)))),
                Some(Err(error)) => {
                    (self.is_over, self.wrong) = (false, Some(error));
                    return Some(None);
                }
            }
        }
        Some(None)
    }

    /// The next part. Its room goes back to the application at once: whoever takes the part bounds what is taken.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(wrong) = self.wrong.take() {
            self.is_over = true;
            return Poll::Ready(Some(Err(wrong)));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        match ready!(self.body.poll_data(cx)) {
            Some(Ok(bytes)) => {
                // It can only fail if the stream is gone, which the next part says.
                let _ = self.body.flow_control().release_capacity(bytes.len());
                if let Some(left) = &mut self.length {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Err(error)) => {
                self.is_over = true;
                Poll::Ready(Some(Err(error.into())))
            }
            None => {
                let trailers = ready!(self.body.poll_trailers(cx));
                self.is_over = true;
                Poll::Ready(match trailers {
                    Ok(Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
                    Ok(None) => None,
                    Err(error) => Some(Err(error.into())),
                })
            }
        }
    }
}

/// What came of a reply, part by part: one part is not copied.
#[derive(Default)]
struct Parts {
    parts: Vec<Bytes>,
    bytes: u64,
}

impl Parts {
    fn add(&mut self, part: Bytes) {
        self.bytes += part.len() as u64;
        self.parts.push(part);
    }

    fn all(mut self) -> Bytes {
        if self.parts.len() > 1 {
            return Bytes::from(self.parts.concat());
        }
        self.parts.pop().unwrap_or_default()
    }
}
