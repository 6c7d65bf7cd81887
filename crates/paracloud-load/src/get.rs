//! `GET`s that tell what the server holds. They are asked again until they are answered, and bounded.

use crate::ledger::Holdings;
use crate::pool::Pool;
use crate::session::Kept;
use crate::wire::{self, AuditError, AuditReader};
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How often a `GET` is tried.
const TRIES_MAX: u32 = 60;
/// Pause between two tries.
const PAUSE_MS: u64 = 500;
/// How long one try may take. A million keys take some seconds.
const TRY_MS_MAX: u64 = 60_000;
/// Longest answer about one session.
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// A `GET` that has no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// No connection, or it ended early, or it took too long.
    #[error("GET {target}: no whole answer")]
    Unanswered {
        /// Path and query.
        target: String,
    },
    /// Another status than 200.
    #[error("GET {target}: {status}")]
    Status {
        /// Path and query.
        target: String,
        /// Of the answer.
        status: StatusCode,
    },
    /// The audit says nothing.
    #[error("GET /audit")]
    Audit(#[from] AuditError),
    /// It is not JSON of the right form.
    #[error("GET {target}: the answer is not what the server keeps of a session")]
    Malformed {
        /// Path and query.
        target: String,
    },
}

/// Every key, with counter and checksum, and who says so.
pub(crate) async fn audit(
    pools: &[Arc<Pool>],
    keys: u32,
) -> Result<(Holdings, Option<SocketAddr>), GetError> {
    again(pools, |pool| async move {
        let response = with_success(ask(&pool, "/audit").await?, "/audit")?;
        let by = wire::by(response.headers());
        let mut body = response.into_body();
        let mut reader = AuditReader::new(keys);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| unanswered("/audit"))?;
            if let Some(piece) = frame.data_ref() {
                reader.piece(piece)?;
            }
        }
        Ok((reader.end()?, by))
    })
    .await
}

/// What the server keeps of a session, and who says so.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// `None`: nothing.
    pub(crate) kept: Option<Kept>,
    pub(crate) by: Option<SocketAddr>,
}

/// What the server keeps of a session.
pub(crate) async fn kept(pools: &[Arc<Pool>], id: &str) -> Result<Summary, GetError> {
    again(pools, |pool| kept_by(pool, format!("/sessions/{id}"))).await
}

async fn kept_by(pool: Arc<Pool>, target: String) -> Result<Summary, GetError> {
    let response = ask(&pool, &target).await?;
    let by = wire::by(response.headers());
    if response.status() == StatusCode::NOT_FOUND {
        return Ok(Summary { kept: None, by });
    }
    let response = with_success(response, &target)?;
    let body = Limited::new(response.into_body(), KEPT_BYTES_MAX).collect().await;
    let body = body.map_err(|_| unanswered(&target))?.to_bytes();
    let kept = serde_json::from_slice(&body).map_err(|_| GetError::Malformed { target })?;
    Ok(Summary { kept: Some(kept), by })
}

/// Tries through each gateway in turn. An answer that is wrong is not asked for again: it is what there is.
async fn again<T, F>(pools: &[Arc<Pool>], attempt: impl Fn(Arc<Pool>) -> F) -> Result<T, GetError>
where
    F: Future<Output = Result<T, GetError>>,
{
    let mut tries = 0;
    loop {
        let pool = pools[tries as usize % pools.len()].clone();
        let bounded = timeout(Duration::from_millis(TRY_MS_MAX), attempt(pool));
        let result = bounded.await.unwrap_or_else(|_| Err(unanswered("within a minute")));
        tries += 1;
        match result {
            Err(
                GetError::Unanswered { .. }
                | GetError::Status { .. }
                | GetError::Audit(AuditError::Cut { .. }),
            ) if tries < TRIES_MAX => sleep(Duration::from_millis(PAUSE_MS)).await,
            other => return other,
        }
    }
}

fn with_success(response: Response<Incoming>, target: &str) -> Result<Response<Incoming>, GetError> {
    match response.status() {
        StatusCode::OK => Ok(response),
        status => Err(GetError::Status { target: target.to_owned(), status }),
    }
}

async fn ask(pool: &Pool, target: &str) -> Result<Response<Incoming>, GetError> {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = target.parse::<Uri>().map_err(|_| unanswered(target))?;
    let host = header::HeaderValue::from_str(&pool.address().to_string());
    request.headers_mut().insert(header::HOST, host.expect("an address is visible ASCII"));
    let (response, _connection) = pool.send(request).await.map_err(|_| unanswered(target))?;
    Ok(response)
}

fn unanswered(target: &str) -> GetError {
    GetError::Unanswered { target: target.to_owned() }
}
