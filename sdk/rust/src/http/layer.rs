//! The layer: a request is refused as a whole before any handler code runs, or it runs under a guard.

use super::body::Lease;
use super::replies::Replies;
use super::{BoxError, GuardedBody, RequestBody, WHOLE_BODY_BYTES_MAX, answer};
use crate::gate::Gate;
use crate::guard::{Guard, Refused, Slot};
use crate::route::Route;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::BodyExt;
use paci::bounds::SERVE_WAIT_MS;
use paci::http::{IDEMPOTENCY_KEY_HEADER, NOT_APPLIED_HEADER};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Puts an HTTP service under the guard. Made by [`Paci::layer`](crate::Paci::layer).
///
/// - While the gate is closed every request is refused with 421 and `Paci-Not-Applied`, before any handler code runs.
///   That header is removed from requests and from what handlers answer. Only while all that is missing is the cloud's
///   word to serve, after a move, a request waits for it, at most [`SERVE_WAIT_MS`].
/// - A request's guard ends when the last frame of its answer was handed to the transport or the answer was dropped; at
///   101 when it is an upgrade. Bodies of unknown size, or longer than [`WHOLE_BODY_BYTES_MAX`], take one guard a chunk
///   and end with an error when the gate has closed.
/// - A request with an `Idempotency-Key` is applied once: the same key gets the same answer. It is worked on to its end
///   also when the client goes away. An answer of known size up to [`REPLY_BODY_BYTES_MAX`](super::REPLY_BODY_BYTES_MAX)
///   is kept, and the guard ends once it is, before it is written: what is kept moves with the state, and who does not
///   get the answer asks again. Of every other answer, such as a stream, only that it was given is kept: the first client
///   gets it as it would without a key, a retry is told that the result was not kept, and nothing is applied again.
#[derive(Debug, Clone)]
pub struct Layer {
    gate: Arc<Gate>,
    replies: Option<Arc<Replies>>,
}

impl Layer {
    pub(crate) fn new(gate: Arc<Gate>, replies: Option<Arc<Replies>>) -> Self {
        Self { gate, replies }
    }
}

impl<S> tower::Layer<S> for Layer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, layer: self.clone() }
    }
}

/// A service under the guard.
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    inner: S,
    layer: Layer,
}

pub(super) type Answered<S, B> = Result<Response<GuardedBody<B>>, S>;

impl<S, B, R> tower::Service<Request<B>> for Guarded<S>
where
    S: tower::Service<Request<RequestBody<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<GuardedBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Answered<S::Error, R>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that was polled ready does the work, a clone waits for the next.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        request.headers_mut().remove(NOT_APPLIED_HEADER);
        let route = route(&request);
        let is_upgrade = request.headers().contains_key(header::UPGRADE);
        let key = request.headers().get(IDEMPOTENCY_KEY_HEADER).cloned();
        match (key, &layer.replies) {
            (Some(key), Some(replies)) if !is_upgrade => {
                let replies = replies.clone();
                Box::pin(async move { layer.keyed(inner, request, route, &key, &replies).await })
            }
            _ => Box::pin(async move { layer.plain(inner, request, route).await }),
        }
    }
}

impl Layer {
    /// A guard for a request, once the gate that is about to open has opened.
    pub(super) async fn guard(&self, route: &Route) -> Result<Guard, Refused> {
        if self.gate.is_opening() {
            let bound = Duration::from_millis(u64::from(SERVE_WAIT_MS));
            // Late or not, the gate has the word.
            let _opened = tokio::time::timeout(bound, self.gate.opened()).await;
        }
        Guard::take(&self.gate, route.clone())
    }

    async fn plain<S, B, R>(&self, inner: S, request: Request<B>, route: Route) -> Answered<S::Error, R>
    where
        S: tower::Service<Request<RequestBody<B>>, Response = Response<R>>,
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
        R: Body<Data = Bytes>,
    {
        let (parts, body) = request.into_parts();
        let is_small = body.size_hint().exact().is_some_and(|bytes| bytes <= WHOLE_BODY_BYTES_MAX);
        if !is_small {
            let Ok(guard) = self.guard(&route).await else { return Ok(self.refusal()) };
            let slot = Slot::holding(guard);
            let lease = Lease::new(self.gate.clone(), route.clone(), slot.clone());
            let request = Request::from_parts(parts, RequestBody::streaming(body, lease));
            return self.handle(inner, request, slot, route).await;
        }
        let Ok(body) = body.collect().await else { return Ok(own(StatusCode::BAD_REQUEST, UNREAD)) };
        let Ok(guard) = self.guard(&route).await else { return Ok(self.refusal()) };
        let request = Request::from_parts(parts, RequestBody::whole(body.to_bytes()));
        self.handle(inner, request, Slot::holding(guard), route).await
    }

    /// Runs the service under a guard, and its answer's body too.
    async fn handle<S, B, R>(
        &self,
        mut inner: S,
        request: Request<RequestBody<B>>,
        slot: Slot,
        route: Route,
    ) -> Answered<S::Error, R>
    where
        S: tower::Service<Request<RequestBody<B>>, Response = Response<R>>,
        R: Body<Data = Bytes>,
    {
        let handler = slot.run(|| inner.call(request));
        let (parts, body) = slot.clone().scope(handler).await?.into_parts();
        Ok(self.handed_over(parts, body, slot, route))
    }

    /// What a handler answered, as the transport gets it. Its body ends the guard.
    pub(super) fn handed_over<R: Body<Data = Bytes>>(
        &self,
        mut parts: Parts,
        body: R,
        slot: Slot,
        route: Route,
    ) -> Response<GuardedBody<R>> {
        parts.headers.remove(NOT_APPLIED_HEADER);
        let body = if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            GuardedBody::of_upgrade(body, &slot)
        } else {
            GuardedBody::of_response(body, Lease::new(self.gate.clone(), route, slot))
        };
        Response::from_parts(parts, body)
    }

    pub(super) fn refusal<B: Body>(&self) -> Response<GuardedBody<B>> {
        let mut response = own(StatusCode::MISDIRECTED_REQUEST, "");
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(NOT_APPLIED_HEADER, HeaderValue::from(self.gate.incarnation()));
        response
    }
}

/// What the guard of a request is called: method and path.
fn route<B>(request: &Request<B>) -> Route {
    let is_printable = |char: char| char == ' ' || char.is_ascii_graphic();
    let route = format!("{} {}", request.method(), request.uri().path());
    Route::from(&*route.replace(|char| !is_printable(char), "?"))
}

pub(super) fn own<B: Body>(status: StatusCode, body: &'static str) -> Response<GuardedBody<B>> {
    let (parts, _) = answer(status, body).into_parts();
    Response::from_parts(parts, GuardedBody::own(Bytes::from_static(body.as_bytes())))
}

pub(super) const UNREAD: &str = r#"{"error":"the body could not be read"}"#;
