//! HTTP services under the guard: the layer, its bodies, the reply cache.

mod body;
mod keyed;
mod layer;
pub(crate) mod replies;
mod reply;

pub use body::{GuardedBody, RequestBody};
pub use layer::{Guarded, Layer};
pub use replies::ReplyLimits;

use crate::guard::Refused;
use crate::state::TransactError;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

/// What a body's error may be.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request body of known size up to so many bytes is received whole before the request takes a guard: so a slow upload
/// holds up no seal, and the request is applied or refused as a whole.
pub const WHOLE_BODY_BYTES_MAX: u64 = 256 * 1024;
/// Longest body of a request with an `Idempotency-Key`, in bytes. Longer: 413.
pub const KEYED_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longest body of a stored result, in bytes. Of a longer one, and of one whose size is not known beforehand, only that
/// the request was worked on is remembered: the first client gets it, and a retry is told that it was not kept.
pub const REPLY_BODY_BYTES_MAX: usize = 256 * 1024;

impl Refused {
    /// The answer of a handler that has begun and is refused: whether it was applied is not known, so it is 503 and
    /// never 421.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        answer(StatusCode::SERVICE_UNAVAILABLE, r#"{"outcome":"unknown"}"#)
    }
}

impl TransactError {
    /// As [`Refused::into_response`]; a record that is too large is 413, and a transaction inside of another one, which is
    /// a fault of the program, 500.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        match self {
            Self::Refused(refused) => refused.into_response(),
            Self::RecordTooLarge { .. } => {
                answer(StatusCode::PAYLOAD_TOO_LARGE, r#"{"error":"the record is too large"}"#)
            }
            Self::Nested => {
                let fault = r#"{"error":"a transaction inside of another one"}"#;
                answer(StatusCode::INTERNAL_SERVER_ERROR, fault)
            }
        }
    }
}

fn answer(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::CONFLICT {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests;
