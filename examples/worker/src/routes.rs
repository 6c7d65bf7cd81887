//! Which path is what. Everything here runs under the guard.

use crate::answer::{self, Body};
use crate::cloud;
use crate::ledger::{ID_BYTES_MAX, Ledger};
use crate::rhythm::{Cold, Pause, Rhythm};
use crate::settings::Settings;
use crate::slots::{Load, Refused, Slots};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use paracloud_sdk::http::RequestBody;
use paracloud_sdk::words::Report;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Longest job, in milliseconds.
const WORK_MS_MAX: u32 = 600_000;
/// Longest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// When what found no place is to be sent again, in seconds.
const RETRY_AFTER_S: u16 = 1;

/// The service under the guard.
#[derive(Debug, Clone)]
pub(crate) struct Routes {
    pub(crate) settings: Arc<Settings>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) rhythm: Rhythm,
}

/// A job as it is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Work {
    /// How long it takes at full speed.
    ms: u32,
    /// A name of its own, to find it in the ledger.
    id: Option<String>,
    /// Whether the answer comes when it is done, or when it is taken.
    #[serde(default = "yes")]
    wait: bool,
}

/// A job as it is answered.
#[derive(Debug, Serialize)]
struct Taken<'a> {
    id: &'a str,
    at: &'a str,
    done: bool,
}

/// All that is known of the jobs of this process.
#[derive(Debug, Serialize)]
struct Account<'a> {
    at: &'a str,
    #[serde(flatten)]
    load: Load,
    #[serde(flatten)]
    ledger: Ledger,
}

/// What it tells its cloud of itself.
#[derive(Debug, Serialize)]
struct Said {
    report: Report,
    pause: Option<Pause>,
    cold: Option<Cold>,
}

fn yes() -> bool {
    true
}

impl tower::Service<Request<RequestBody<Incoming>>> for Routes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody<Incoming>>) -> Self::Future {
        let routes = self.clone();
        Box::pin(async move { Ok(routes.answer(request).await) })
    }
}

impl Routes {
    async fn answer(self, request: Request<RequestBody<Incoming>>) -> Response<Body> {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/work") => match read(request.into_body()).await {
                Ok(work) => self.work(work).await,
                Err(refused) => *refused,
            },
            (&Method::GET, "/ledger") => answer::json(StatusCode::OK, &self.account()),
            (&Method::GET, "/said") => answer::json(StatusCode::OK, &self.said()),
            (_, "/work" | "/ledger" | "/said" | "/healthz") => {
                answer::line(StatusCode::METHOD_NOT_ALLOWED, "the path has another method")
            }
            _ => answer::line(StatusCode::NOT_FOUND, "there is no such path; the README lists them"),
        }
    }

    fn account(&self) -> Account<'_> {
        Account { at: &self.settings.name, load: self.slots.load(), ledger: self.slots.ledger() }
    }

    fn said(&self) -> Said {
        let report = cloud::of(&self.slots, &self.settings);
        Said { report, pause: self.rhythm.pause(), cold: self.rhythm.cold() }
    }

    async fn work(&self, work: Work) -> Response<Body> {
        match self.slots.take(work.id, Duration::from_millis(work.ms.into())) {
            Ok((id, done)) => {
                let done = work.wait && done.await.is_ok();
                let status = if done { StatusCode::OK } else { StatusCode::ACCEPTED };
                answer::json(status, &Taken { id: &id, at: &self.settings.name, done })
            }
            Err(full @ Refused::Full(_)) => {
                let mut response = answer::line(StatusCode::SERVICE_UNAVAILABLE, &full.to_string());
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
                response
            }
            Err(twice @ Refused::Twice) => answer::line(StatusCode::CONFLICT, &twice.to_string()),
        }
    }
}

/// A job, or the answer that says why it is none.
async fn read(body: RequestBody<Incoming>) -> Result<Work, Box<Response<Body>>> {
    let refused = |status, why: &str| Box::new(answer::line(status, why));
    let body: Bytes = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "the body has at most 4 KiB"));
        }
        Err(error) => {
            let why = format!("the body did not come whole: {error}");
            return Err(refused(StatusCode::BAD_REQUEST, &why));
        }
    };
    let work: Work = serde_json::from_slice(&body).map_err(|error| {
        refused(StatusCode::BAD_REQUEST, &format!(r#"want {{"ms":20}}, "id" and "wait" beside it: {error}"#))
    })?;
    if work.ms > WORK_MS_MAX {
        let why = format!("ms: {}, want at most {WORK_MS_MAX}", work.ms);
        return Err(refused(StatusCode::BAD_REQUEST, &why));
    }
    if work.id.as_ref().is_some_and(|id| id.is_empty() || id.len() > ID_BYTES_MAX) {
        let why = format!("id: want 1 to {ID_BYTES_MAX} bytes");
        return Err(refused(StatusCode::BAD_REQUEST, &why));
    }
    Ok(work)
}
