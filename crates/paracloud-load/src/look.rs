//! One look at a server: a `GET` with its answer, on a connection that is kept.

use crate::pool::{Pool, SendError};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

/// Longest answer, in bytes.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A server that is looked at again and again.
#[derive(Debug)]
pub struct Window(Pool);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// This is no path.
    #[error("{0:?} is no path: it begins with /")]
    Path(String),
    /// Nobody is there, or the connection ended.
    #[error(transparent)]
    Unanswered(#[from] LookedInVain),
    /// It did not answer whole in time.
    #[error("{0} did not answer in time")]
    Late(SocketAddr),
    /// It answered with another status than 200.
    #[error("{0} answered {1}")]
    Status(SocketAddr, StatusCode),
}

/// Nobody is there, or the connection ended.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct LookedInVain(SendError);

impl Window {
    /// Nothing is dialled yet.
    pub fn new(address: SocketAddr) -> Self {
        Self(Pool::new(address))
    }

    /// Asks for a path, and waits for the answer at most so long.
    ///
    /// # Errors
    /// There is no answer with status 200.
    pub async fn look(&self, path: &str, wait: Duration) -> Result<Bytes, LookError> {
        let uri: Uri = path.parse().map_err(|_| LookError::Path(path.to_owned()))?;
        let address = self.0.address();
        timeout(wait, self.answer(uri)).await.unwrap_or(Err(LookError::Late(address)))
    }

    async fn answer(&self, uri: Uri) -> Result<Bytes, LookError> {
        let address = self.0.address();
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = uri;
        let host = HeaderValue::from_str(&address.to_string()).expect("an address is visible ASCII");
        request.headers_mut().insert(header::HOST, host);
        let (response, connection) = self.0.send(request).await.map_err(LookedInVain)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| LookedInVain(SendError::Lost(address)))?.to_bytes();
        self.0.give_back(connection);
        if status == StatusCode::OK { Ok(body) } else { Err(LookError::Status(address, status)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn an_answer_is_given_whole_and_everything_else_is_an_error_that_says_who() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for answer in ["200 OK\r\ncontent-length: 2\r\n\r\nok", "404 No\r\ncontent-length: 0\r\n\r\n"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut head).await.unwrap();
                }
                stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        assert_eq!(Window::new(address).look("/a", LONG).await.unwrap(), "ok");
        let said =
            async |path: &str, wait| Window::new(address).look(path, wait).await.unwrap_err().to_string();
        assert_eq!(said("/b", LONG).await, format!("{address} answered 404 Not Found"));
        assert_eq!(said("/c", Duration::from_millis(10)).await, format!("{address} did not answer in time"));
        assert!(said("no path", LONG).await.contains("begins with /"));
        let nobody = crate::driver::free_addresses(1).unwrap()[0];
        let error = Window::new(nobody).look("/", LONG).await.unwrap_err().to_string();
        assert_eq!(error, format!("no connection to {nobody}"));
    }
}
