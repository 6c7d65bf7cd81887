//! One send of a request through one gateway, and what its answer says.

use crate::meter::Fault;
use crate::pool::{Pool, SendError};
use crate::wire;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for an answer. It is more than a gateway parks.
const ANSWER_MS_MAX: u64 = 60_000;
/// Longest answer to a write.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A request to `POST /write`.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) body: Bytes,
    /// Its `Idempotency-Key`.
    pub(crate) key: Option<String>,
}

/// What one send came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Applied.
    Acknowledged(Answer),
    /// Surely not applied.
    NotApplied(Fault),
    /// Nobody knows.
    Unknown(Fault),
}

/// An answer that acknowledges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    /// Where the process listens that gave it, if it says so.
    pub(crate) by: Option<SocketAddr>,
}

impl Post {
    /// Sends it once.
    pub(crate) async fn send(&self, pool: &Pool) -> Sent {
        match timeout(Duration::from_millis(ANSWER_MS_MAX), self.answered(pool)).await {
            Ok(sent) => sent,
            Err(_) => Sent::Unknown(Fault::Unknown),
        }
    }

    async fn answered(&self, pool: &Pool) -> Sent {
        let (response, connection) = match pool.send(self.request(pool)).await {
            Ok(answered) => answered,
            Err(SendError::NotSent(_)) => return Sent::NotApplied(Fault::Unreachable),
            Err(SendError::Lost(_)) => return Sent::Unknown(Fault::Unknown),
        };
        let (status, by) = (response.status(), wire::by(response.headers()));
        let Ok(body) = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await else {
            return Sent::Unknown(Fault::Unknown);
        };
        pool.give_back(connection);
        read(status, Answer { body: body.to_bytes(), by })
    }

    fn request(&self, pool: &Pool) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static("/write");
        let headers = request.headers_mut();
        let host = header::HeaderValue::from_str(&pool.address().to_string());
        headers.insert(header::HOST, host.expect("an address is visible ASCII"));
        if let Some(key) = &self.key {
            let key = header::HeaderValue::from_str(key).expect("a key of ours is hexadecimal");
            headers.insert("idempotency-key", key);
        }
        request
    }
}

/// What an answer says. A 503 says in its body whether the request was not applied.
fn read(status: StatusCode, answer: Answer) -> Sent {
    let refusal = || serde_json::from_slice::<Refusal>(&answer.body);
    let says_not_applied = || refusal().is_ok_and(|refusal| refusal.outcome == "not_applied");
    match status {
        StatusCode::OK => Sent::Acknowledged(answer),
        StatusCode::MISDIRECTED_REQUEST => Sent::NotApplied(Fault::NotApplied),
        StatusCode::SERVICE_UNAVAILABLE if says_not_applied() => Sent::NotApplied(Fault::NotApplied),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
            Sent::Unknown(Fault::Unknown)
        }
        // Of a request with a key: the first one is still being worked on.
        StatusCode::CONFLICT => Sent::Unknown(Fault::Rejected),
        status if status.is_client_error() => Sent::NotApplied(Fault::Rejected),
        _ => Sent::Unknown(Fault::Rejected),
    }
}

/// The body of a 503 of a gateway.
#[derive(Deserialize)]
struct Refusal {
    outcome: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_surely_not_applied_counts_as_such() {
        let answer = |body: &'static str| Answer { body: body.into(), by: None };
        let read = |status, body| read(StatusCode::from_u16(status).unwrap(), answer(body));
        assert_eq!(read(200, "[1]"), Sent::Acknowledged(answer("[1]")));
        assert_eq!(read(421, ""), Sent::NotApplied(Fault::NotApplied));
        assert_eq!(
            read(503, r#"{"outcome":"not_applied","reason":"full"}"#),
            Sent::NotApplied(Fault::NotApplied)
        );
        assert_eq!(
            read(503, r#"{"outcome":"unknown","reason":"not_applied"}"#),
            Sent::Unknown(Fault::Unknown)
        );
        assert_eq!(read(503, ""), Sent::Unknown(Fault::Unknown));
        assert_eq!(read(502, r#"{"outcome":"unknown"}"#), Sent::Unknown(Fault::Unknown));
        assert_eq!(read(409, ""), Sent::Unknown(Fault::Rejected));
        assert_eq!(read(400, ""), Sent::NotApplied(Fault::Rejected));
        assert_eq!(read(500, ""), Sent::Unknown(Fault::Rejected));
    }
}
