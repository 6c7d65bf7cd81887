//! One request to a process or a gateway, and the whole answer, bounded.

use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// What is answered, with its head.
///
/// # Errors
/// Nobody takes the request, or the answer does not come in this time.
pub(super) async fn ask(address: SocketAddr, line: &str, body: &str, bound: Duration) -> Result<String> {
    let answered = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request(address, line, body).as_bytes()).await?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answered = tokio::time::timeout(bound, answered).await;
    Ok(answered.with_context(|| format!("{line}: it is not answered in time"))??)
}

/// The status of an answer.
pub(super) fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

/// What stands behind its head.
pub(super) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// A request as it is sent.
pub(super) fn request(address: SocketAddr, line: &str, body: &str) -> String {
    let length = body.len();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    format!(
        "{line} HTTP/1.1\r\nHost: {address}\r\n{kind}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_body_and_what_is_none_has_neither() {
        let answer = "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!((status(answer), body(answer)), (Some(202), "{}"));
        assert_eq!((status("HTTP/1.1 "), body("")), (None, ""));
    }
}
