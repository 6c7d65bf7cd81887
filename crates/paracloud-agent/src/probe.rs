//! Readiness of a program that does not speak of itself, seen from outside.

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::rt::TokioIo;
use paracloud_substrate::config::Probe;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// Pause between two tries.
const PROBE_MS: u64 = 20;
/// Longest try.
const TRY_MS_MAX: u64 = 1_000;

/// Tries until the program is ready; ends with the task it runs in.
pub(crate) async fn until_ready(probe: &Probe, address: SocketAddr) {
    loop {
        let tried = tokio::time::timeout(Duration::from_millis(TRY_MS_MAX), is_ready(probe, address)).await;
        if matches!(tried, Ok(Ok(true))) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(PROBE_MS)).await;
    }
}

async fn is_ready(probe: &Probe, address: SocketAddr) -> io::Result<bool> {
    let stream = TcpStream::connect(address).await?;
    let Probe::Http(path) = probe else { return Ok(true) };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::get(path)
        .header(hyper::header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    tokio::select! {
        answer = sender.send_request(request) => {
            Ok((200..400).contains(&answer.map_err(io::Error::other)?.status().as_u16()))
        }
        _ = connection => Ok(false),
    }
}
