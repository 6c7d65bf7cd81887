//! Which path is what. Everything here runs under the guard.

use crate::answer::{self, Body};
use crate::batch::{self, BODY_BYTES_MAX};
use crate::faults::Held;
use crate::records::Records;
use crate::socket::Sockets;
use crate::streams;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use paracloud_sdk::Paci;
use paracloud_sdk::http::RequestBody;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The header with a key's counter.
const COUNTER_HEADER: &str = "sessions-counter";

/// The service under the guard.
#[derive(Debug, Clone)]
pub(crate) struct Routes {
    pub(crate) paci: Paci,
    pub(crate) records: Records,
    pub(crate) sockets: Sockets,
    /// The routes under `/faults/` are open.
    pub(crate) held: Option<Held>,
}

type Asked = Request<RequestBody<Incoming>>;

impl tower::Service<Asked> for Routes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Asked) -> Self::Future {
        let routes = self.clone();
        Box::pin(async move { Ok(routes.answer(request).await) })
    }
}

impl Routes {
    async fn answer(self, request: Asked) -> Response<Body> {
        let path = request.uri().path().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::POST, "/write") => self.write(request.into_body()).await,
            (&Method::POST, "/upload") => streams::upload(request.into_body()).await,
            (&Method::GET, "/audit") => streams::audit(self.records).await,
            (&Method::GET, "/stream") => streams::endless(self.records),
            (&Method::GET, "/ws") => self.sockets.upgrade(request),
            (&Method::GET, "/faults/hold-guard") if self.held.is_some() => self.hold_guard(&path).await,
            (&Method::GET, path) if path.starts_with("/keys/") => self.key(&path["/keys/".len()..]),
            (&Method::GET, path) if path.starts_with("/sessions/") => {
                self.sockets.summary(&path["/sessions/".len()..])
            }
            (_, "/write" | "/upload" | "/audit" | "/stream" | "/ws" | "/healthz") => {
                answer::line(StatusCode::METHOD_NOT_ALLOWED, "the path has another method")
            }
            _ => answer::line(StatusCode::NOT_FOUND, "there is no such path; the README lists them"),
        }
    }

    async fn write(&self, body: RequestBody<Incoming>) -> Response<Body> {
        let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return answer::line(StatusCode::PAYLOAD_TOO_LARGE, "the body has at most 4 MiB");
            }
            Err(error) => return streams::cut(&error),
        };
        let writes = match batch::read(body) {
            Ok(writes) => writes,
            Err(error) => return answer::line(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        match self.records.write(&writes) {
            Ok(counters) => answer::json(&counters),
            Err(refused) => answer::of_sdk(refused.into_response()),
        }
    }

    fn key(&self, key: &str) -> Response<Body> {
        match self.records.get(key.as_bytes()) {
            Ok(Some(held)) => {
                let mut response = answer::whole(StatusCode::OK, "application/octet-stream", held.value);
                response.headers_mut().insert(COUNTER_HEADER, HeaderValue::from(held.counter));
                response
            }
            Ok(None) => answer::line(StatusCode::NOT_FOUND, "nobody wrote this key"),
            Err(refused) => answer::of_sdk(refused.into_response()),
        }
    }

    /// Holds a guard until it is let go, also when its client has gone. Only then it answers.
    async fn hold_guard(&self, route: &str) -> Response<Body> {
        let guard = match self.paci.enter(route) {
            Ok(guard) => guard,
            Err(refused) => return answer::of_sdk(refused.into_response()),
        };
        match self.held.as_ref().and_then(|held| held.keep(guard)) {
            Some(let_go) => {
                let _ended = let_go.await;
                answer::line(StatusCode::OK, "let go")
            }
            None => answer::line(StatusCode::TOO_MANY_REQUESTS, "too many guards are held"),
        }
    }
}
