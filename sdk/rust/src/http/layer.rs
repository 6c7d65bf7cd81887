//! The layer: a request is refused as a whole before any handler code runs, or it runs under a guard.

use super::body::Lease;
use super::replies::{Begun, Replies};
use super::reply::Said;
use super::{
    BoxError, GuardedBody, KEYED_BODY_BYTES_MAX, REPLY_BODY_BYTES_MAX, RequestBody, WHOLE_BODY_BYTES_MAX,
    answer,
};
use crate::gate::Gate;
use crate::guard::{Guard, Refused, Slot};
use crate::state::digest::fingerprint;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use paci::bounds::{IDEMPOTENCY_KEY_BYTES_MAX, IDEMPOTENCY_WAIT_MS, SERVE_WAIT_MS, STRING_BYTES_MAX};
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
///   also when the client goes away.
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

type Answered<S, B> = Result<Response<GuardedBody<B>>, S>;

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
    async fn guard(&self, route: &Arc<str>) -> Result<Guard, Refused> {
        if self.gate.is_opening() {
            let bound = Duration::from_millis(u64::from(SERVE_WAIT_MS));
            // Late or not, the gate has the word.
            let _opened = tokio::time::timeout(bound, self.gate.opened()).await;
        }
        Guard::take(&self.gate, route.clone())
    }

    async fn plain<S, B, R>(&self, inner: S, request: Request<B>, route: Arc<str>) -> Answered<S::Error, R>
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
        route: Arc<str>,
    ) -> Answered<S::Error, R>
    where
        S: tower::Service<Request<RequestBody<B>>, Response = Response<R>>,
        R: Body<Data = Bytes>,
    {
        let handler = slot.run(|| inner.call(request));
        let (mut parts, body) = slot.clone().scope(handler).await?.into_parts();
        parts.headers.remove(NOT_APPLIED_HEADER);
        let body = if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            GuardedBody::of_upgrade(body, &slot)
        } else {
            GuardedBody::of_response(body, Lease::new(self.gate.clone(), route, slot))
        };
        Ok(Response::from_parts(parts, body))
    }

    async fn keyed<S, B, R>(
        self,
        inner: S,
        request: Request<B>,
        route: Arc<str>,
        key: &HeaderValue,
        replies: &Arc<Replies>,
    ) -> Answered<S::Error, R>
    where
        S: tower::Service<Request<RequestBody<B>>, Response = Response<R>> + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let is_visible = |byte: &u8| byte.is_ascii_graphic();
        if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX || !key.iter().all(is_visible) {
            return Ok(own(StatusCode::BAD_REQUEST, KEY_MALFORMED));
        }
        let (parts, body) = request.into_parts();
        let body = match Limited::new(body, KEYED_BODY_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Ok(own(StatusCode::PAYLOAD_TOO_LARGE, KEYED_TOO_LARGE));
            }
            Err(_) => return Ok(own(StatusCode::BAD_REQUEST, UNREAD)),
        };
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        let of = fingerprint(&[parts.method.as_str().as_bytes(), target.as_bytes(), &body]);
        let deadline = tokio::time::Instant::now() + Duration::from_millis(u64::from(IDEMPOTENCY_WAIT_MS));
        loop {
            let Ok(guard) = self.guard(&route).await else { return Ok(self.refusal()) };
            let claim = match guard.run(|| replies.begin(&key, of)) {
                Begun::Stored(said) => return Ok(said.into_response()),
                Begun::Other => return Ok(own(StatusCode::UNPROCESSABLE_ENTITY, KEY_OF_ANOTHER)),
                Begun::Wait(mut end) => {
                    drop(guard);
                    // The sender is dropped when the work has ended, one way or the other.
                    if tokio::time::timeout_at(deadline, end.changed()).await.is_err() {
                        return Ok(own(StatusCode::CONFLICT, KEY_AT_WORK));
                    }
                    continue;
                }
                Begun::Fresh(claim) => claim,
            };
            let request = Request::from_parts(parts, RequestBody::whole(body));
            // A task of its own: it ends also when the client goes away, so that the key gets its result.
            let work = tokio::spawn(work(inner, request, guard, claim));
            return match work.await {
                Ok(answered) => answered.map(Said::into_response),
                Err(failed) => match failed.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Ok(own(StatusCode::SERVICE_UNAVAILABLE, ENDED)),
                },
            };
        }
    }

    fn refusal<B: Body>(&self) -> Response<GuardedBody<B>> {
        let mut response = own(StatusCode::MISDIRECTED_REQUEST, "");
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        headers.insert(NOT_APPLIED_HEADER, HeaderValue::from(self.gate.incarnation()));
        response
    }
}

/// Works on a request with a key and stores what it says, under its guard.
async fn work<S, B, R>(
    mut inner: S,
    request: Request<RequestBody<B>>,
    guard: Guard,
    claim: super::replies::Claim,
) -> Result<Said, S::Error>
where
    S: tower::Service<Request<RequestBody<B>>, Response = Response<R>>,
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let mut remembered = Remembered { guard: guard.clone(), claim: Some(claim) };
    let handler = guard.run(|| inner.call(request));
    let said = guard.clone().scope(async {
        let (mut parts, body) = handler.await?.into_parts();
        parts.headers.remove(NOT_APPLIED_HEADER);
        let said = match Limited::new(body, REPLY_BODY_BYTES_MAX).collect().await {
            Ok(body) => {
                Said::Whole { status: parts.status, headers: kept(parts.headers), body: body.to_bytes() }
            }
            Err(error) => {
                tracing::warn!(error = %error, "a result was not kept: its body failed or is too large");
                Said::Lost
            }
        };
        Ok(said)
    });
    let said = said.await?;
    let refused = matches!(&said, Said::Whole { status, .. } if *status == StatusCode::SERVICE_UNAVAILABLE);
    if !refused || guard.has_changed() {
        remembered.keep(said.clone());
    }
    Ok(said)
}

/// Sees to it that a key whose work ended without a result is either free, or never applied again.
struct Remembered {
    guard: Guard,
    claim: Option<super::replies::Claim>,
}

impl Remembered {
    fn keep(&mut self, said: Said) {
        if let Some(claim) = self.claim.take() {
            claim.store(said, &self.guard);
        }
    }
}

impl Drop for Remembered {
    fn drop(&mut self) {
        // A handler failed or panicked after it had changed something: once more would be twice.
        if self.guard.has_changed() {
            self.keep(Said::Lost);
        }
    }
}

/// The headers that belong to a result, and not to one transfer of it.
fn kept(mut headers: HeaderMap) -> HeaderMap {
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::DATE] {
        headers.remove(name);
    }
    headers
}

/// What the guard of a request is called: method and path.
fn route<B>(request: &Request<B>) -> Arc<str> {
    let printable = |char: char| if char == ' ' || char.is_ascii_graphic() { char } else { '?' };
    let route = format!("{} {}", request.method(), request.uri().path());
    route.chars().take(STRING_BYTES_MAX).map(printable).collect::<String>().into()
}

fn own<B: Body>(status: StatusCode, body: &'static str) -> Response<GuardedBody<B>> {
    let (parts, _) = answer(status, body).into_parts();
    Response::from_parts(parts, GuardedBody::own(Bytes::from_static(body.as_bytes())))
}

const UNREAD: &str = r#"{"error":"the body could not be read"}"#;
const KEY_MALFORMED: &str = r#"{"error":"Idempotency-Key: want 1 to 128 visible ASCII characters"}"#;
const KEYED_TOO_LARGE: &str =
    r#"{"error":"the body of a request with an Idempotency-Key has at most 1 MiB"}"#;
const KEY_OF_ANOTHER: &str = r#"{"error":"the Idempotency-Key belongs to another request"}"#;
const KEY_AT_WORK: &str = r#"{"error":"the request with this Idempotency-Key is still being worked on"}"#;
const ENDED: &str = r#"{"outcome":"unknown"}"#;
