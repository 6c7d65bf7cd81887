//! Requests with an `Idempotency-Key`: whoever comes first is worked on, and everybody else gets its result.

use super::layer::{Answered, Layer, UNREAD, own};
use super::replies::{Begun, Claim, Replies};
use super::reply::Said;
use super::{BoxError, KEYED_BODY_BYTES_MAX, REPLY_BODY_BYTES_MAX, RequestBody};
use crate::guard::{Guard, Slot};
use crate::route::Route;
use crate::state::digest::fingerprint;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use paci::bounds::{IDEMPOTENCY_KEY_BYTES_MAX, IDEMPOTENCY_WAIT_MS};
use paci::http::NOT_APPLIED_HEADER;
use std::sync::Arc;
use std::time::Duration;

impl Layer {
    pub(super) async fn keyed<S, B, R>(
        self,
        inner: S,
        request: Request<B>,
        route: Route,
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
            Err(error) if error.is::<LengthLimitError>() => {
                return Ok(own(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE));
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
            let work = tokio::spawn(self.work(inner, request, route, guard, claim));
            return match work.await {
                Ok(answered) => answered,
                Err(failed) => match failed.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Ok(own(StatusCode::SERVICE_UNAVAILABLE, ENDED)),
                },
            };
        }
    }

    /// Works on a request with a key and stores what it says, under its guard.
    async fn work<S, B, R>(
        self,
        mut inner: S,
        request: Request<RequestBody<B>>,
        route: Route,
        guard: Guard,
        claim: Claim,
    ) -> Answered<S::Error, R>
    where
        S: tower::Service<Request<RequestBody<B>>, Response = Response<R>>,
        R: Body<Data = Bytes>,
        R::Error: Into<BoxError>,
    {
        let mut remembered = Remembered { guard: guard.clone(), claim: Some(claim) };
        let slot = Slot::holding(guard);
        let handler = slot.run(|| inner.call(request));
        let (parts, body) = slot.clone().scope(handler).await?.into_parts();
        let status = parts.status;
        if !can_be_kept(&body) {
            // The handler has run, and its effect counts. What follows is the first client's alone: it takes a guard a
            // chunk, as without a key, and ends with its client.
            remembered.keep(status, Said::Lost);
            return Ok(self.handed_over(parts, body, slot, route));
        }
        let said = slot.scope(whole(parts, body)).await;
        remembered.keep(status, said.clone());
        Ok(said.into_response())
    }
}

/// Whether its end is known, so that the guard may wait for it, and near enough to be kept.
fn can_be_kept(body: &impl Body) -> bool {
    let exact = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    exact.is_some_and(|bytes| bytes <= REPLY_BODY_BYTES_MAX)
}

/// Reads a result, to be kept.
async fn whole<R: Body<Data = Bytes>>(parts: Parts, body: R) -> Said
where
    R::Error: Into<BoxError>,
{
    match Limited::new(body, REPLY_BODY_BYTES_MAX).collect().await {
        Ok(body) => Said::Whole { status: parts.status, headers: kept(parts.headers), body: body.to_bytes() },
        Err(error) => {
            tracing::warn!(error = %error, "a result was not kept: its body failed, or is longer than it said");
            Said::Lost
        }
    }
}

/// Sees to it that a key whose work ended without a result is either free, or never applied again.
struct Remembered {
    guard: Guard,
    claim: Option<Claim>,
}

impl Remembered {
    /// A refusal that has changed nothing leaves the key free.
    fn keep(&mut self, status: StatusCode, said: Said) {
        if status != StatusCode::SERVICE_UNAVAILABLE || self.guard.has_changed() {
            self.store(said);
        }
    }

    fn store(&mut self, said: Said) {
        if let Some(claim) = self.claim.take() {
            claim.store(said, &self.guard);
        }
    }
}

impl Drop for Remembered {
    fn drop(&mut self) {
        // A handler failed or panicked after it had changed something: once more would be twice.
        if self.guard.has_changed() {
            self.store(Said::Lost);
        }
    }
}

/// The headers that belong to a result, and not to one transfer of it.
fn kept(mut headers: HeaderMap) -> HeaderMap {
    headers.remove(NOT_APPLIED_HEADER);
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::DATE] {
        headers.remove(name);
    }
    headers
}

const KEY_MALFORMED: &str = r#"{"error":"Idempotency-Key: want 1 to 128 visible ASCII characters"}"#;
const TOO_LARGE: &str = r#"{"error":"the body of a request with an Idempotency-Key has at most 1 MiB"}"#;
const KEY_OF_ANOTHER: &str = r#"{"error":"the Idempotency-Key belongs to another request"}"#;
const KEY_AT_WORK: &str = r#"{"error":"the request with this Idempotency-Key is still being worked on"}"#;
const ENDED: &str = r#"{"outcome":"unknown"}"#;
