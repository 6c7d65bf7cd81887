//! Connections to one gateway, used again one request at a time.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Idle connections that are kept.
const IDLE_MAX: usize = 1_024;
/// How long a connection may take to be there.
const CONNECT_MS_MAX: u64 = 5_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pool {
    address: SocketAddr,
    idle: Mutex<Vec<Connection>>,
}

pub(crate) type Connection = SendRequest<Full<Bytes>>;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// Not a byte of the request was sent.
    #[error("no connection to {0}")]
    NotSent(SocketAddr),
    /// The connection ended after a byte was sent.
    #[error("the connection to {0} ended without an answer")]
    Lost(SocketAddr),
}

impl Pool {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, idle: Mutex::new(Vec::new()) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request and waits for the head of its answer. Give the connection back once the body is read.
    pub(crate) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Connection), SendError> {
        loop {
            let (mut connection, is_new) = match self.take() {
                Some(connection) => (connection, false),
                None => (self.connect().await?, true),
            };
            match connection.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(mut error) => match error.take_message() {
                    // An idle connection that the gateway has closed: the request was not begun.
                    Some(unsent) if !is_new => request = unsent,
                    Some(_) => return Err(SendError::NotSent(self.address)),
                    None => return Err(SendError::Lost(self.address)),
                },
            }
        }
    }

    /// Gives a connection back whose answer was read whole.
    pub(crate) fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.is_closed() && idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = idle.pop() {
            if connection.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    async fn connect(&self) -> Result<Connection, SendError> {
        let connecting = async {
            let stream = TcpStream::connect(self.address).await.ok()?;
            stream.set_nodelay(true).ok()?;
            handshake(TokioIo::new(stream)).await.ok()
        };
        let connected = timeout(Duration::from_millis(CONNECT_MS_MAX), connecting).await.ok().flatten();
        let (sender, connection) = connected.ok_or(SendError::NotSent(self.address))?;
        // It ends by itself when the sender is dropped or the gateway closes.
        tokio::spawn(connection);
        Ok(sender)
    }
}
