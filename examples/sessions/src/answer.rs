//! Answers: bodies of one type, statuses with one line of text.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use paracloud_sdk::http::BoxError;
use serde::Serialize;

/// The body of every answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// An answer with a body of known size.
pub(crate) fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    with(status, kind, full(body.into()))
}

/// A status, and a line that says why.
pub(crate) fn line(status: StatusCode, line: &str) -> Response<Body> {
    whole(status, TEXT, format!("{line}\n"))
}

/// JSON.
pub(crate) fn json(value: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_vec(value).expect("numbers and text are JSON");
    whole(StatusCode::OK, "application/json", text)
}

/// A body whose size is not known.
pub(crate) fn streamed(body: Body) -> Response<Body> {
    debug_assert!(body.size_hint().exact().is_none(), "a body of known size has its length in its head");
    with(StatusCode::OK, TEXT, body)
}

/// What the SDK answers, with our type of body.
pub(crate) fn of_sdk(response: Response<Full<Bytes>>) -> Response<Body> {
    response.map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

pub(crate) fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn with(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

const TEXT: &str = "text/plain";
