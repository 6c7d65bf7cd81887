//! One request, from its client to an application and back.
//!
//! A request without a body, or with a short one of known length, is whole before any byte of it is sent on: a slow
//! client then never keeps an application's guard, and the request can be sent again as long as it is proved that
//! nothing was applied. Any other is passed on as it comes and gets one attempt. While a request waits its body stays
//! unread.

use crate::answer;
use crate::body::{Gathering, Outgoing, Reply, Unread, hold};
use crate::bounds::{REFUSAL_WAIT, REPLY_BYTES_HELD};
use crate::control::{Control, Verdict};
use crate::head;
use crate::passing::Passing;
use crate::room::Room;
use crate::streams::{Cut, Streams};
use crate::ticket::{Ticketed, Witness};
use crate::upload::{Upload, Waits, given_up};
use crate::upstream::{Broken, Connection};
use crate::websocket::Tunnel;
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::http::request;
use hyper::{Method, Request, Response, StatusCode};
use paracloud_core::migration::gateway::{Answer, Failure, Route};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// What serves the clients of one instance.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) control: Arc<Control>,
    /// For bodies that are kept. Shared by all instances of the gateway.
    pub(crate) room: Arc<Room>,
    /// For messages of WebSockets. Shared by all instances of the gateway, and apart from that of bodies: whoever sends
    /// these keeps no room from those.
    pub(crate) messages: Arc<Room>,
    /// The most of one body that is kept, in bytes.
    pub(crate) replay_bytes_max: u32,
    /// How long clients and applications are waited for.
    pub(crate) waits: Waits,
}

/// A client's connection.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// Its place among the connections, for as long as anybody has it: a tunnel keeps it.
    pub(crate) _place: Arc<OwnedSemaphorePermit>,
}

/// A request's body.
enum Content {
    /// All of it is here; if it was read, its room is kept with it.
    Whole(Bytes),
    Unread(Box<Gathering>),
    Upload(Option<Incoming>),
}

/// An attempt that the application answered.
type Replied = (Connection, Response<Incoming>);

/// How an attempt ended without an answer.
enum Unserved {
    /// As the machine is told.
    Refused(Answer),
    /// A byte may have been sent, and for this reason there is no answer.
    Lost(&'static str),
}

impl Proxy {
    /// Serves one request.
    pub(crate) async fn serve(&self, client: Client, mut request: Request<Incoming>) -> Response<Reply> {
        if request.method() == Method::CONNECT {
            return answer::refused(StatusCode::METHOD_NOT_ALLOWED, "this is no forward proxy");
        }
        let upgrade = hyper::upgrade::on(&mut request);
        let (mut parts, incoming) = request.into_parts();
        let handshake = head::is_handshake(&parts);
        let length = incoming.size_hint().exact();
        head::to_application(&mut parts, client.address, length, handshake);
        parts.extensions.clear();
        let content = match self.content(incoming, length).await {
            Ok(content) => content,
            Err(answer) => return answer,
        };
        let served = self.forward(&parts, content).await;
        let (connection, response, request) = match served {
            Ok(served) => served,
            Err(answer) => return answer,
        };
        if handshake && response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let (mut parts, _) = response.into_parts();
            head::to_client(parts.status, &mut parts.headers);
            let tunnel = Tunnel {
                counted: self.control.websocket(connection.start()),
                control: Arc::clone(&self.control),
                room: Arc::clone(&self.messages),
                client,
                start: connection.start(),
            };
            request.replied();
            tokio::spawn(tunnel.run(upgrade, connection));
            return Response::from_parts(parts, Reply::held(Bytes::new()));
        }
        self.pass(connection, response, request).await
    }

    /// What kind of body it is; a short one is read now if it would be sent on at once.
    async fn content(&self, incoming: Incoming, length: Option<u64>) -> Result<Content, Response<Reply>> {
        if incoming.is_end_stream() {
            return Ok(Content::Whole(Bytes::new()));
        }
        let short = length.filter(|length| *length <= u64::from(self.replay_bytes_max));
        let room = short.and_then(|length| self.room.take(usize::try_from(length).ok()?));
        let Some(room) = room else { return Ok(Content::Upload(Some(incoming))) };
        let mut gathering = Box::new(Gathering::new(incoming, room, self.waits));
        if !self.control.is_open() {
            return Ok(Content::Unread(gathering));
        }
        gathering.read().await.map(Content::Whole).map_err(unread)
    }

    /// Sends it on until somebody answers.
    async fn forward(
        &self,
        parts: &request::Parts,
        mut content: Content,
    ) -> Result<(Connection, Response<Incoming>, Ticketed), Response<Reply>> {
        let (mut ticketed, mut verdict) = Ticketed::arrive(&self.control).await;
        let mut reason = None;
        loop {
            let route = match verdict {
                Verdict::Forward(route) => route,
                Verdict::Fail(failure) => {
                    ticketed.failed();
                    return Err(answer::failure(failure, reason));
                }
            };
            if let Content::Unread(gathering) = &mut content {
                ticketed.released();
                match self.read(gathering, &mut ticketed, route).await {
                    Some(Ok(bytes)) => content = Content::Whole(bytes),
                    Some(Err(error)) => return Err(unread(error)),
                    // What is not all here is not sent on into a park, and keeps nobody waiting.
                    None => {
                        verdict = ticketed.answered(Answer::NotApplied).await;
                        continue;
                    }
                }
            }
            if let Content::Upload(Some(_)) = &content {
                ticketed.uploads();
            }
            let witness = ticketed.witness();
            let attempt = self.attempt(route, parts, &mut content, &witness);
            let attempt = ticketed.alongside(attempt).await;
            let answer = match attempt {
                Ok((connection, response)) => {
                    ticketed.served(&witness);
                    return Ok((connection, response, ticketed));
                }
                Err(Unserved::Refused(answer)) => answer,
                Err(Unserved::Lost(why)) => {
                    reason = Some(why);
                    Answer::Lost
                }
            };
            verdict = ticketed.answered(answer).await;
        }
    }

    /// Reads a body after its wait; `None` if the route is not the one any more before it is all here.
    async fn read(
        &self,
        gathering: &mut Gathering,
        ticketed: &mut Ticketed,
        route: Route,
    ) -> Option<Result<Bytes, Unread>> {
        let mut view = self.control.view();
        let is_last = ticketed.is_last();
        let read = async {
            tokio::select! {
                biased;
                read = gathering.read() => Some(read),
                _ = view.wait_for(|view| !is_last && (view.parks || view.route != Some(route))) => None,
            }
        };
        ticketed.alongside(read).await
    }

    /// Sends it to one process, once.
    async fn attempt(
        &self,
        route: Route,
        parts: &request::Parts,
        content: &mut Content,
        witness: &Witness,
    ) -> Result<Replied, Unserved> {
        loop {
            // An upload has one attempt, which must not meet a connection that was closed meanwhile.
            let connection = match content {
                Content::Upload(_) => self.control.pool.open(route).await,
                Content::Whole(_) | Content::Unread(_) => self.control.pool.take(route).await,
            };
            let mut connection = match connection {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::debug!(instance = self.control.instance(), address = %route.address, %error, "not reached");
                    return Err(Unserved::Refused(Answer::NotApplied));
                }
            };
            let (body, upload) = match content {
                Content::Whole(bytes) => (Outgoing::Whole(bytes.clone()), None),
                Content::Unread(_) => return Err(Unserved::Refused(Answer::NotApplied)),
                Content::Upload(incoming) => {
                    let Some(incoming) = incoming.take() else {
                        return Err(Unserved::Refused(Answer::Spent));
                    };
                    let (sender, cut) = oneshot::channel();
                    let stream = Streams::begin(&self.control, false, Cut::Upload(sender));
                    let (upload, pace) = Upload::begin(incoming, stream);
                    (Outgoing::Upload(upload), Some((cut, pace)))
                }
            };
            let may_repeat = upload.is_none();
            let was_used = connection.is_used();
            let request = Request::from_parts(parts.clone(), body);
            let exchanged = tokio::select! {
                biased;
                exchanged = connection.exchange(request, witness) => exchanged,
                why = given_up(upload, self.waits) => return Err(Unserved::Lost(why)),
            };
            return match exchanged {
                Ok(response) => self.judge(route, connection, response, may_repeat).await,
                Err(Broken::Unsent) if may_repeat && was_used => continue,
                Err(Broken::Unsent) if may_repeat => Err(Unserved::Refused(Answer::NotApplied)),
                Err(Broken::Unsent) => Err(Unserved::Refused(Answer::Spent)),
                Err(Broken::Sent(error)) => {
                    tracing::debug!(instance = self.control.instance(), ?error, "no answer");
                    Err(Unserved::Refused(Answer::Lost))
                }
            };
        }
    }

    /// A reply, or the proof that nothing was applied.
    async fn judge(
        &self,
        route: Route,
        mut connection: Connection,
        response: Response<Incoming>,
        may_repeat: bool,
    ) -> Result<Replied, Unserved> {
        if !head::is_not_applied(response.status(), response.headers(), route.incarnation) {
            return Ok((connection, response));
        }
        let body = response.into_body();
        let is_short = body.size_hint().upper().is_some_and(|length| length <= REPLY_BYTES_HELD);
        // The head alone is the proof: what the application may still say keeps nobody waiting.
        if is_short && let Ok(Ok(_)) = tokio::time::timeout(REFUSAL_WAIT, hold(&mut connection, body)).await {
            self.control.pool.give(connection);
        }
        Err(Unserved::Refused(if may_repeat { Answer::NotApplied } else { Answer::Spent }))
    }

    /// Passes a reply on.
    async fn pass(
        &self,
        mut connection: Connection,
        response: Response<Incoming>,
        mut request: Ticketed,
    ) -> Response<Reply> {
        let (mut parts, body) = response.into_parts();
        let length = body.size_hint().exact();
        let endless = is_event_stream(&parts.headers);
        head::to_client(parts.status, &mut parts.headers);
        if body.is_end_stream() {
            self.control.pool.give(connection);
            request.replied();
            return Response::from_parts(parts, Reply::held(Bytes::new()));
        }
        if length.is_none_or(|length| length > REPLY_BYTES_HELD) {
            let passing = Passing::begin(connection, body, request, endless);
            return Response::from_parts(parts, Reply::Passing(passing));
        }
        let held = tokio::time::timeout(self.waits.reply, hold(&mut connection, body));
        if let Ok(Ok(bytes)) = request.alongside(held).await {
            self.control.pool.give(connection);
            request.replied();
            return Response::from_parts(parts, Reply::held(bytes));
        }
        let failure = match request.answered(Answer::Lost).await {
            Verdict::Fail(failure) => failure,
            Verdict::Forward(_) => Failure::Unknown,
        };
        request.failed();
        answer::failure(failure, Some("the answer broke off; the request may have been applied"))
    }
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
