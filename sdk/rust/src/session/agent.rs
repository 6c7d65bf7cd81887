//! Calls to the agent: HTTP/1.1 and JSON on its unix socket.

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use paci::bounds::BODY_BYTES_MAX;
use paci::error::{ErrorBody, ErrorCode};
use paci::http::{CONTENT_TYPE, PACI_HEADER, PACI_HEADER_VALUE, Route};
use paci::wire::Message;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;

/// How long an answer may take beyond what the call itself waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the agent, dialled when it is needed.
#[derive(Debug)]
pub(crate) struct Agent {
    path: PathBuf,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens at the socket, or the connection ended: the agent restarts, or was frozen out.
    #[error("the agent cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The agent refused.
    #[error("the agent refused: {} ({})", .0.message, .0.code)]
    Refused(ErrorBody),
}

pub(crate) fn unreachable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CallError {
    CallError::Unreachable(error.into())
}

impl Agent {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, connection: None }
    }

    /// Makes a call that waits at the agent for at most `wait`; `None` is an answer without a body.
    pub(crate) async fn call(
        &mut self,
        route: &Route,
        body: Vec<u8>,
        wait: Duration,
    ) -> Result<Option<Bytes>, CallError> {
        let body = Bytes::from(body);
        let kept = self.connection.take().filter(|connection| !connection.is_closed());
        let reused = kept.is_some();
        match tokio::time::timeout(wait + PATIENCE, self.once(kept, route, body.clone())).await {
            // A connection that was kept may have ended meanwhile. All calls may be said twice.
            Ok(Err(CallError::Unreachable(_))) if reused => {
                let again = tokio::time::timeout(wait + PATIENCE, self.once(None, route, body)).await;
                again.unwrap_or_else(|late| Err(unreachable(late)))
            }
            Ok(answer) => answer,
            Err(late) => Err(unreachable(late)),
        }
    }

    async fn once(
        &mut self,
        kept: Option<SendRequest<Full<Bytes>>>,
        route: &Route,
        body: Bytes,
    ) -> Result<Option<Bytes>, CallError> {
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.dial().await?,
        };
        let request = Request::builder()
            .method(route.method())
            .uri(route.target())
            .header(header::HOST, "paci")
            .header(PACI_HEADER, PACI_HEADER_VALUE)
            .header(header::CONTENT_TYPE, CONTENT_TYPE)
            .body(Full::new(body))
            .map_err(unreachable)?;
        connection.ready().await.map_err(unreachable)?;
        let response = connection.send_request(request).await.map_err(unreachable)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.map_err(unreachable)?;
        let body = body.to_bytes();
        self.connection = Some(connection);
        match status {
            204 => Ok(None),
            200..=299 => Ok(Some(body)),
            // Not our agent, or a later one: go by the status.
            _ => Err(CallError::Refused(ErrorBody::read(&body).unwrap_or_else(|_| {
                let code = if status >= 500 { ErrorCode::Unavailable } else { ErrorCode::Malformed };
                ErrorBody::new(code, &format!("status {status} without a reason"))
            }))),
        }
    }

    async fn dial(&self) -> Result<SendRequest<Full<Bytes>>, CallError> {
        let stream = UnixStream::connect(&self.path).await.map_err(unreachable)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
        // It ends with its sender, or with the agent.
        tokio::spawn(connection);
        Ok(sender)
    }
}
