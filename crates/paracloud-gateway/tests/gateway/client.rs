//! Clients.

use crate::world::soon;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::handshake;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

pub(crate) type Answer = Response<Bytes>;

/// One request on a connection of its own, and its whole answer.
pub(crate) async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let response = soon("an answer", sender.send_request(request)).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = soon("the body of an answer", body.collect()).await.unwrap().to_bytes();
    connection.abort();
    Response::from_parts(parts, body)
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "shop.example").body(Full::default()).unwrap()
}

pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path).header("host", "shop.example").body(Full::new(body.into())).unwrap()
}

/// Sends in the background.
pub(crate) fn spawn(address: SocketAddr, request: Request<Full<Bytes>>) -> JoinHandle<Answer> {
    tokio::spawn(send(address, request))
}

/// The answer of a client in the background.
pub(crate) async fn answer(client: JoinHandle<Answer>) -> Answer {
    soon("an answer", client).await.unwrap()
}

pub(crate) fn text(answer: &Answer) -> &str {
    std::str::from_utf8(answer.body()).unwrap()
}

/// A connection on which the test says bytes.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until `end` has come, and returns all.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        soon(end, async {
            while !String::from_utf8_lossy(&read).contains(end) {
                assert_ne!(self.0.read_buf(&mut read).await.unwrap(), 0, "{read:?} ended before {end:?}");
            }
        })
        .await;
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Reads to the end, however it comes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut read = Vec::new();
        soon("the end", async { while self.0.read_buf(&mut read).await.is_ok_and(|bytes| bytes > 0) {} })
            .await;
        read
    }
}
