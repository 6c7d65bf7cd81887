//! One request, from its client to an application and back.
//!
//! A request without a body, or with a short one of known length, is whole before any byte of it is sent on: a slow
//! client then never keeps an application's guard, and the request can be sent again as long as it is proved that
//! nothing was applied. Any other is passed on as it comes and gets one attempt, unless it came over HTTP/2: then it is
//! kept at the same time, and has more of them for as long as all of it is here. While a request waits its body stays
//! unread.

use crate::again::Again;
use crate::answer;
use crate::apps::Instances;
use crate::body::{Gathering, Outgoing, Reply, Unread, hold};
use crate::bounds::{AGAIN_MAX, CHOICES_MAX, ELSEWHERE_MAX, HEADERS_MAX, REFUSAL_WAIT, REPLY_BYTES_HELD};
use crate::choice::{Place, Unplaced, Wish};
use crate::control::{Control, Verdict};
use crate::grpc;
use crate::head;
use crate::multiplexed::Multiplexed;
use crate::passing::{Begun, Passing};
use crate::room::Room;
use crate::sessions::SessionId;
use crate::sticky::{self, Marked};
use crate::streams::{Cut, Streams, Way};
use crate::ticket::{Ticketed, Witness};
use crate::upload::{LATE, Source, Upload, Waits, given_up};
use crate::upstream::{Broken, Coming, Connection, Looked, Speaks};
use crate::websocket::Tunnel;
use crate::workers::{Seat, Worker};
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request;
use hyper::{Method, Request, Response, StatusCode, Version};
use paracloud_core::migration::gateway::{Answer, Failure, Route};
use paracloud_substrate::config::Sticky;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep_until, timeout_at};

/// Why a request was sent to no instance.
const NOBODY: &str =
    "no instance of this app takes requests: each is not there yet, leaves or has left; send it again";

/// Why no request was sent to an application that does not answer the first bytes of HTTP/2 as one that speaks it.
const NO_HTTP2: &str = "by its manifest the application speaks HTTP/2 (`protocol: h2`); to its first bytes it answers something \
                        else, or closes";
/// Why there is no answer of one that answers something else.
const NO_HTTP1: &str = "what the application answered is no HTTP/1.1; one that speaks HTTP/2 wants `protocol: h2` in its \
                        manifest; the request may have been applied";

/// What serves the clients of one app.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) instances: Instances,
    /// Where clients say which session is theirs.
    pub(crate) sticky: Option<Arc<Sticky>>,
    /// For bodies that are kept. Shared by all instances of the gateway.
    pub(crate) room: Arc<Room>,
    /// For messages of WebSockets. Shared by all instances of the gateway, and apart from that of bodies: whoever sends
    /// these keeps no room from those.
    pub(crate) messages: Arc<Room>,
    /// Places for requests that come over HTTP/2. Shared by all instances of the gateway.
    pub(crate) streams: Arc<Semaphore>,
    /// The most of one body that is kept, in bytes.
    pub(crate) replay_bytes_max: u32,
    /// How long clients and applications are waited for.
    pub(crate) waits: Waits,
}

/// A client's connection.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Where it comes from, as applications are told.
    pub(crate) address: HeaderValue,
    /// The worker that it is at.
    pub(crate) worker: Worker,
    /// Its place among the connections, for as long as anybody has it: a tunnel keeps it.
    pub(crate) _place: Arc<(OwnedSemaphorePermit, Seat)>,
    /// What it is, if it speaks HTTP/2.
    pub(crate) multiplexed: Option<Arc<Multiplexed>>,
}

/// A request's body.
enum Content {
    /// All of it is here; if it was read, its room is kept with it.
    Whole(Bytes),
    Unread(Box<Gathering>),
    Upload(Option<Incoming>),
    Again(Again),
}

impl Content {
    /// Whether there may be another attempt.
    fn is_kept(&self) -> bool {
        match self {
            Self::Whole(_) | Self::Unread(_) => true,
            Self::Upload(_) => false,
            Self::Again(again) => again.is_kept(),
        }
    }
}

/// A request on its way.
struct Passed {
    parts: request::Parts,
    /// When its client waits no longer, if it has said so.
    deadline: Option<Instant>,
    client: Option<Arc<Multiplexed>>,
    worker: Worker,
    /// The session that its client says.
    session: Option<Marked>,
}

impl Passed {
    /// As the application gets it, which is not told of time that was waited away.
    fn request(&self, body: Outgoing, left: Option<Duration>) -> Request<Outgoing> {
        let mut request = Request::from_parts(self.parts.clone(), body);
        if let Some(left) = left {
            request.headers_mut().insert(grpc::TIMEOUT, grpc::left(left));
        }
        request
    }
}

/// An attempt that the application answered.
type Replied = (Connection, Response<Coming>);

/// How an attempt ended without an answer.
enum Unserved {
    /// As the machine is told.
    Refused(Answer),
    /// It was not sent, because its application speaks something else than its manifest says.
    Misspoken,
    /// A byte may have been sent, and for this reason there is no answer.
    Lost(&'static str),
    /// Its client waits no longer, and nothing was sent.
    Late,
    /// Nor that, because nobody took a connection until then.
    Unreached,
    /// Its client waits no longer, and a byte may have been sent.
    Overdue,
}

impl Proxy {
    /// Serves one request.
    pub(crate) async fn serve(&self, client: &Client, request: Request<Incoming>) -> Response<Reply> {
        if !grpc::is_call(request.version(), request.headers()) {
            return self.answer(client, request, None).await;
        }
        let response = match grpc::timeout(request.headers()) {
            // One answer's future is large enough in that of each request.
            Ok(timeout) => Box::pin(self.answer(client, request, Some(timeout))).await,
            Err(malformed) => answer::refused(StatusCode::BAD_REQUEST, &malformed),
        };
        grpc::to_call(response)
    }

    /// Answers one request; with `call`, a gRPC one, with the time that its client gives it.
    async fn answer(
        &self,
        client: &Client,
        mut request: Request<Incoming>,
        call: Option<Option<Duration>>,
    ) -> Response<Reply> {
        if request.method() == Method::CONNECT {
            return answer::refused(StatusCode::METHOD_NOT_ALLOWED, "this is no forward proxy");
        }
        if request.headers().len() > HEADERS_MAX {
            let many = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return answer::refused(many, "a request has too many headers");
        }
        let deadline = call.flatten().and_then(|timeout| Instant::now().checked_add(timeout));
        let upgrade = hyper::upgrade::on(&mut request);
        let (mut parts, incoming) = request.into_parts();
        let is_two = parts.version == Version::HTTP_2;
        let handshake = head::is_handshake(&parts);
        let length = incoming.size_hint().exact();
        let takes_trailers = self.instances.speaks() == Speaks::Two && head::takes_trailers(&parts.headers);
        head::to_application(&mut parts, &client.address, length, handshake);
        let session = self.sticky.as_ref().and_then(|sticky| sticky::find(sticky, &mut parts.headers));
        parts.extensions.clear();
        if self.instances.speaks() == Speaks::Two {
            if handshake {
                let why = "this application speaks HTTP/2, on which no WebSocket is passed on to it";
                return answer::refused(StatusCode::NOT_IMPLEMENTED, why);
            }
            if !head::to_http2(&mut parts) {
                return answer::refused(StatusCode::BAD_REQUEST, "a request needs a `Host`");
            }
            if takes_trailers {
                head::take_trailers(&mut parts.headers);
            }
        }
        let content = match self.content(incoming, length, is_two).await {
            Ok(content) => content,
            Err(answer) => return answer,
        };
        let mut passed =
            Passed { parts, deadline, client: client.multiplexed.clone(), worker: client.worker, session };
        let served = self.forward(&mut passed, content).await;
        let (connection, response, mut request) = match served {
            Ok(served) => served,
            Err(answer) => return answer,
        };
        if handshake && response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let (mut parts, _) = response.into_parts();
            head::to_client(parts.status, parts.version, &mut parts.headers);
            let session = self.mark(&mut parts.headers, &mut request);
            let control = Arc::clone(request.control());
            let tunnel = Tunnel {
                counted: control.websocket(connection.start(), session),
                _tally: request.keep_tally(),
                control,
                room: Arc::clone(&self.messages),
                client: client.clone(),
                start: connection.start(),
            };
            request.replied();
            tokio::spawn(tunnel.run(upgrade, connection));
            return Response::from_parts(parts, Reply::held(Bytes::new()));
        }
        let way = Way { start: connection.start(), client: passed.client };
        self.pass(connection, response, request, way, call.is_some()).await
    }

    /// What kind of body it is; a short one is read now if it would be sent on at once.
    async fn content(
        &self,
        incoming: Incoming,
        length: Option<u64>,
        is_two: bool,
    ) -> Result<Content, Response<Reply>> {
        if incoming.is_end_stream() {
            return Ok(Content::Whole(Bytes::new()));
        }
        if length.is_none() && is_two {
            let again = Again::new(incoming, self.room.none(), self.replay_bytes_max as usize);
            let whole = if self.instances.is_open() { Box::pin(again.look()).await } else { None };
            return Ok(whole.map_or(Content::Again(again), Content::Whole));
        }
        let short = length.filter(|length| *length <= u64::from(self.replay_bytes_max));
        let room = short.and_then(|length| self.room.take(usize::try_from(length).ok()?));
        let Some(room) = room else { return Ok(Content::Upload(Some(incoming))) };
        let mut gathering = Box::new(Gathering::new(incoming, room, self.waits));
        if !self.instances.is_open() {
            return Ok(Content::Unread(gathering));
        }
        Box::pin(gathering.read()).await.map(Content::Whole).map_err(unread)
    }

    /// Sends it on until somebody answers.
    async fn forward(
        &self,
        passed: &mut Passed,
        mut content: Content,
    ) -> Result<(Connection, Response<Coming>, Ticketed), Response<Reply>> {
        let (session, deadline) = (passed.session, passed.deadline);
        let mut wish = Wish { session, but: None, is_new: true, deadline, latest: None };
        let place = self.instances.place(wish).await.map_err(unplaced)?;
        let (mut ticketed, mut verdict) = Ticketed::arrive(place, deadline, None).await;
        let (mut reason, mut overdue) = (None, false);
        let mut times = 1;
        loop {
            let route = match verdict {
                Verdict::Forward(route) => route,
                Verdict::Fail(failure) => {
                    ticketed.failed();
                    let reason = reason.filter(|_| failure != Failure::Full);
                    return Err(if overdue { answer::overdue() } else { answer::failure(failure, reason) });
                }
                Verdict::Late => {
                    ticketed.late();
                    return Err(answer::late());
                }
                Verdict::Elsewhere => {
                    let (but, latest) = ticketed.elsewhere();
                    if times >= CHOICES_MAX {
                        return Err(unplaced(Unplaced::Nobody));
                    }
                    wish = Wish { but, is_new: false, latest, ..wish };
                    let place = self.instances.place(wish).await.map_err(unplaced)?;
                    let is_free = place.is_free && times < ELSEWHERE_MAX;
                    times += 1;
                    let place = Place { is_free, ..place };
                    (ticketed, verdict) = Ticketed::arrive(place, deadline, latest).await;
                    continue;
                }
            };
            if let Content::Unread(gathering) = &mut content {
                ticketed.released();
                match Box::pin(self.read(gathering, &mut ticketed, route)).await {
                    Some(Ok(bytes)) => content = Content::Whole(bytes),
                    Some(Err(error)) => return Err(unread(error)),
                    // What is not all here is not sent on into a park, and keeps nobody waiting.
                    None => {
                        verdict = ticketed.answered(Answer::NotApplied).await;
                        continue;
                    }
                }
            }
            match &content {
                Content::Again(again) => match again.whole() {
                    Some(bytes) => content = Content::Whole(bytes),
                    None => ticketed.uploads(),
                },
                Content::Upload(Some(_)) => ticketed.uploads(),
                Content::Upload(None) | Content::Whole(_) | Content::Unread(_) => {}
            }
            let witness = ticketed.witness();
            let control = Arc::clone(ticketed.control());
            let attempt = pin!(self.attempt(&control, route, passed, &mut content, &witness));
            let attempt = ticketed.alongside(attempt).await;
            let answer = match attempt {
                Ok((connection, response)) => {
                    ticketed.served(&witness, response.status());
                    return Ok((connection, response, ticketed));
                }
                Err(Unserved::Refused(answer)) => {
                    reason = None;
                    answer
                }
                Err(Unserved::Misspoken) => {
                    reason = Some(NO_HTTP2);
                    Answer::NotApplied
                }
                Err(Unserved::Lost(why)) => {
                    reason = Some(why);
                    Answer::Lost
                }
                Err(Unserved::Overdue) => {
                    overdue = true;
                    Answer::Lost
                }
                Err(late @ (Unserved::Late | Unserved::Unreached)) => {
                    if matches!(late, Unserved::Unreached) {
                        ticketed.let_down();
                    }
                    ticketed.late();
                    return Err(answer::late());
                }
            };
            verdict = ticketed.answered(answer).await;
        }
    }

    /// Marks the session that the application names, if it has several instances. Returns in which one the client is then.
    fn mark(&self, headers: &mut HeaderMap, request: &mut Ticketed) -> Option<SessionId> {
        let (sticky, number) = (self.sticky.as_ref()?, request.number()?);
        request.is_given(sticky::mark(sticky, headers, number))
    }

    /// Reads a body after its wait; `None` if the route is not the one any more before it is all here.
    async fn read(
        &self,
        gathering: &mut Gathering,
        ticketed: &mut Ticketed,
        route: Route,
    ) -> Option<Result<Bytes, Unread>> {
        let mut view = ticketed.control().view();
        let is_last = ticketed.is_last();
        let read = async {
            tokio::select! {
                biased;
                read = gathering.read() => Some(read),
                _ = view.wait_for(|view| !is_last && (view.parks || view.route != Some(route))) => None,
            }
        };
        ticketed.alongside(pin!(read)).await
    }

    /// Sends it to one process, once.
    async fn attempt(
        &self,
        control: &Arc<Control>,
        route: Route,
        passed: &Passed,
        content: &mut Content,
        witness: &Witness,
    ) -> Result<Replied, Unserved> {
        let mut again = 0;
        loop {
            let connection = match passed.deadline {
                None => reach(control, route, passed.worker, content).await,
                Some(deadline) if deadline <= Instant::now() => return Err(Unserved::Late),
                Some(deadline) => {
                    let reached = Box::pin(reach(control, route, passed.worker, content));
                    timeout_at(deadline.into(), reached).await.map_err(|_| Unserved::Unreached)?
                }
            };
            let mut connection = match connection {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::debug!(instance = control.instance(), address = %route.address, %error, "not reached");
                    let is_other = error.kind() == io::ErrorKind::InvalidData;
                    return Err(if is_other {
                        Unserved::Misspoken
                    } else {
                        Unserved::Refused(Answer::NotApplied)
                    });
                }
            };
            let left = passed.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                control.pool.give(connection);
                return Err(Unserved::Late);
            }
            let source = match content {
                Content::Whole(_) => None,
                Content::Unread(_) => return Err(Unserved::Refused(Answer::NotApplied)),
                Content::Upload(incoming) => Some(incoming.take().map(Source::Once)),
                Content::Again(again) => Some(again.begin().map(Source::Again)),
            };
            let (body, upload) = match (source, &*content) {
                (Some(None), _) => return Err(Unserved::Refused(Answer::Spent)),
                (Some(Some(source)), _) => {
                    let (sender, cut) = oneshot::channel();
                    let way = Way { start: route.start, client: passed.client.clone() };
                    let stream = Streams::begin(control, false, way, Cut::Upload(sender));
                    let (upload, pace) = Upload::begin(source, stream);
                    (Outgoing::Upload(upload), Some((cut, pace)))
                }
                (None, Content::Whole(bytes)) => (Outgoing::Whole(bytes.clone()), None),
                (None, _) => return Err(Unserved::Refused(Answer::NotApplied)),
            };
            // On a shared connection there is no end to what others do meanwhile.
            let may_be_tried = connection.is_used() && (!connection.is_shared() || again < AGAIN_MAX);
            again += 1;
            let request = passed.request(body, left);
            let exchanged = match upload {
                None => {
                    let within = left.map_or(self.waits.reply, |left| left.min(self.waits.reply));
                    connection.exchange(request, witness, Some(within)).await
                }
                Some(upload) => {
                    // What is seldom done is apart from the future of each request.
                    let given_up = Box::pin(given_up(upload, self.waits));
                    let overdue = Box::pin(comes(passed.deadline));
                    tokio::select! {
                        biased;
                        exchanged = Box::pin(connection.exchange(request, witness, None)) => exchanged,
                        why = given_up => return Err(Unserved::Lost(why)),
                        () = overdue => return Err(Unserved::Overdue),
                    }
                }
            };
            return match exchanged {
                Ok(response)
                    if !head::is_not_applied(response.status(), response.headers(), route.incarnation) =>
                {
                    Ok((connection, response))
                }
                Ok(response) => Err(Box::pin(self.refusal(control, connection, response, content)).await),
                Err(Broken::Unsent) if content.is_kept() && may_be_tried => continue,
                Err(Broken::Unsent | Broken::Refused) => Err(refused(content)),
                Err(Broken::Late) if left.is_some_and(|left| left <= self.waits.reply) => {
                    Err(Unserved::Overdue)
                }
                Err(Broken::Late) => Err(Unserved::Lost(LATE)),
                Err(Broken::Sent(error)) => {
                    tracing::debug!(instance = control.instance(), ?error, "no answer");
                    let is_other = error.is_some_and(|error| error.is_other_protocol());
                    Err(if is_other { Unserved::Lost(NO_HTTP1) } else { Unserved::Refused(Answer::Lost) })
                }
            };
        }
    }

    /// The proof that nothing was applied.
    async fn refusal(
        &self,
        control: &Control,
        mut connection: Connection,
        response: Response<Coming>,
        content: &Content,
    ) -> Unserved {
        let body = response.into_body();
        let is_short = body.size_hint().upper().is_some_and(|length| length <= REPLY_BYTES_HELD);
        // The head alone is the proof: what the application may still say keeps nobody waiting.
        if is_short && let Ok(Ok(_)) = tokio::time::timeout(REFUSAL_WAIT, hold(&mut connection, body)).await {
            control.pool.give(connection);
        }
        refused(content)
    }

    /// Passes a reply on.
    async fn pass(
        &self,
        mut connection: Connection,
        response: Response<Coming>,
        mut request: Ticketed,
        way: Way,
        is_call: bool,
    ) -> Response<Reply> {
        let control = Arc::clone(request.control());
        let (mut parts, mut body) = response.into_parts();
        let length = body.size_hint().exact();
        let endless = is_event_stream(&parts.headers);
        head::to_client(parts.status, parts.version, &mut parts.headers);
        request.headed(&mut parts.headers, connection.start(), is_call);
        let _ = self.mark(&mut parts.headers, &mut request);
        if body.is_end_stream() {
            // A call that ends with its head has there what others have in their trailers.
            if is_call {
                request.trailed(Some(&mut parts.headers), connection.start(), is_call);
            }
            control.pool.give(connection);
            request.replied();
            return Response::from_parts(parts, Reply::held(Bytes::new()));
        }
        // The end of a call stands in its trailers, whatever was said of its length.
        if is_call || length.is_none_or(|length| length > REPLY_BYTES_HELD) {
            let first = match &mut body {
                Coming::Two(stream) if (is_call || length.is_none()) && !endless => {
                    Box::pin(stream.look()).await
                }
                Coming::One(_) | Coming::Two(_) => Looked::default(),
            };
            if let Looked { bytes, end: Some(mut trailers) } = first {
                request.trailed(trailers.as_deref_mut(), connection.start(), is_call);
                request.replied();
                return Response::from_parts(parts, Reply::Trailed(bytes, trailers));
            }
            let first = Some(first.bytes).filter(|bytes| !bytes.is_empty());
            let begun = Begun { connection, first, rest: body, endless, is_call };
            return Response::from_parts(parts, Reply::Passing(Passing::begin(begun, request, way)));
        }
        let held = {
            let held = pin!(hold(&mut connection, body));
            request.alongside(pin!(tokio::time::timeout(self.waits.reply, held))).await
        };
        if let Ok(Ok(bytes)) = held {
            control.pool.give(connection);
            request.replied();
            return Response::from_parts(parts, Reply::held(bytes));
        }
        let failure = match Box::pin(request.answered(Answer::Lost)).await {
            Verdict::Fail(failure) => failure,
            Verdict::Forward(_) | Verdict::Late | Verdict::Elsewhere => Failure::Unknown,
        };
        request.failed();
        answer::failure(failure, Some("the answer broke off; the request may have been applied"))
    }
}

/// A connection to the process of this route. An upload has one attempt, which must not meet one that was closed meanwhile.
async fn reach(control: &Control, route: Route, worker: Worker, content: &Content) -> io::Result<Connection> {
    match content {
        Content::Upload(_) | Content::Again(_) => control.pool.open(route, worker).await,
        Content::Whole(_) | Content::Unread(_) => control.pool.take(route, worker).await,
    }
}

/// Ready at this deadline, if there is one.
async fn comes(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// The answer to a request for which no instance was found.
fn unplaced(why: Unplaced) -> Response<Reply> {
    match why {
        Unplaced::Full => answer::failure(Failure::Full, None),
        Unplaced::Nobody => answer::failure(Failure::NotApplied, Some(NOBODY)),
        Unplaced::Late => answer::late(),
    }
}

/// The proof that nothing was applied, and whether there may be another attempt.
fn refused(content: &Content) -> Unserved {
    Unserved::Refused(if content.is_kept() { Answer::NotApplied } else { Answer::Spent })
}

fn unread(unread: Unread) -> Response<Reply> {
    match unread {
        Unread::Broken => answer::refused(StatusCode::BAD_REQUEST, "the body broke off"),
        Unread::Slow => answer::refused(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"text/event-stream"))
}
