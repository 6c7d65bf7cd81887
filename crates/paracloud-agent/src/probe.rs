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
    // Beside the question, so that a server that closes with its answer is heard all the same.
    let driving = tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    driving.abort();
    Ok((200..400).contains(&answer.map_err(io::Error::other)?.status().as_u16()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers one request after the other with these statuses, closing each time; says how many it answered.
    async fn serve(listener: TcpListener, statuses: &[u16]) -> usize {
        for (answered, status) in statuses.iter().enumerate() {
            let Ok((mut stream, _)) = listener.accept().await else { return answered };
            let mut request = [0; 1_024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(format!("HTTP/1.0 {status} Said\r\n\r\n").as_bytes()).await;
        }
        statuses.len()
    }

    #[tokio::test]
    async fn a_program_is_ready_with_its_first_answer_that_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let probe = Probe::Http("/healthy".to_owned());
        let (served, ()) = tokio::join!(serve(listener, &[503, 500, 204]), until_ready(&probe, address));
        assert_eq!(served, 3, "an answer is never asked for twice");
    }
}
