//! What the gateway answers by itself.

use crate::body::Reply;
use crate::head::OUTCOME_HEADER;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use paracloud_core::migration::gateway::Failure;
use serde::Serialize;

/// When a client may try again, in seconds.
const RETRY_AFTER_S: &str = "1";

#[derive(Serialize)]
struct Text<'a> {
    outcome: &'a str,
    reason: &'a str,
}

/// The answer to a request that could not be served.
pub(crate) fn failure(failure: Failure, reason: Option<&str>) -> Response<Reply> {
    let (status, outcome, usual) = match failure {
        Failure::NotApplied => (
            StatusCode::SERVICE_UNAVAILABLE,
            "not_applied",
            "nobody could serve this request in time; send it again",
        ),
        Failure::Full => (
            StatusCode::SERVICE_UNAVAILABLE,
            "not_applied",
            "too many requests wait already; send it again later",
        ),
        Failure::Unknown => (
            StatusCode::BAD_GATEWAY,
            "unknown",
            "the request was sent on and no answer came; it may have been applied",
        ),
    };
    let mut response = own(status, outcome, reason.unwrap_or(usual));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    }
    response
}

/// The answer to a request that a gateway does not pass on.
pub(crate) fn refused(status: StatusCode, reason: &str) -> Response<Reply> {
    own(status, "not_applied", reason)
}

fn own(status: StatusCode, outcome: &'static str, reason: &str) -> Response<Reply> {
    let text = serde_json::to_vec(&Text { outcome, reason }).unwrap_or_default();
    let mut response = Response::new(Reply::held(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(OUTCOME_HEADER, HeaderValue::from_static(outcome));
    response
}
