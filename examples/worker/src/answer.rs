//! Answers: JSON, or a status with one line of text.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

/// The body of every answer.
pub(crate) type Body = Full<Bytes>;

/// A status, and a line that says why.
pub(crate) fn line(status: StatusCode, line: &str) -> Response<Body> {
    whole(status, "text/plain", format!("{line}\n").into())
}

/// JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_vec(value).expect("numbers and text are JSON");
    whole(status, "application/json", text.into())
}

fn whole(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
