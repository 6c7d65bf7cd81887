//! What the gateway answers by itself.

use crate::body::Reply;
use crate::grpc;
use crate::head::{NOT_APPLIED_OUTCOME, OUTCOME_HEADER, UNKNOWN_OUTCOME};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use paracloud_core::migration::gateway::Failure;
use serde::Serialize;

/// When a client may try again, in seconds.
const RETRY_AFTER_S: &str = "1";

/// With every answer of its own: what it says, for clients that read it elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    /// What became of the request.
    pub(crate) outcome: &'static str,
    /// And why.
    pub(crate) reason: String,
}

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
            NOT_APPLIED_OUTCOME,
            "nobody could serve this request in time; send it again",
        ),
        Failure::Full => (
            StatusCode::SERVICE_UNAVAILABLE,
            NOT_APPLIED_OUTCOME,
            "too many requests wait already; send it again later",
        ),
        Failure::Unknown => (
            StatusCode::BAD_GATEWAY,
            UNKNOWN_OUTCOME,
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
    own(status, NOT_APPLIED_OUTCOME, reason)
}

/// The answer to one more request than may be in progress.
pub(crate) fn full() -> Response<Reply> {
    failure(Failure::Full, Some("too many requests are in progress already; send it again later"))
}

/// The answer to a call whose deadline was over before it could be sent on.
pub(crate) fn late() -> Response<Reply> {
    refused(StatusCode::GATEWAY_TIMEOUT, grpc::LATE)
}

/// The answer to a call whose deadline came after it was sent on.
pub(crate) fn overdue() -> Response<Reply> {
    own(StatusCode::GATEWAY_TIMEOUT, UNKNOWN_OUTCOME, grpc::OVERDUE)
}

/// The same answer as the client of this request reads it.
pub(crate) fn to_call<B>(request: &Request<B>, response: Response<Reply>) -> Response<Reply> {
    if grpc::is_call(request.version(), request.headers()) { grpc::to_call(response) } else { response }
}

fn own(status: StatusCode, outcome: &'static str, reason: &str) -> Response<Reply> {
    let text = serde_json::to_vec(&Text { outcome, reason }).unwrap_or_default();
    let mut response = Response::new(Reply::held(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(OUTCOME_HEADER, HeaderValue::from_static(outcome));
    response.extensions_mut().insert(Own { outcome, reason: reason.to_owned() });
    response
}
