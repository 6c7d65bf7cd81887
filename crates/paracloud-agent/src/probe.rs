//! Readiness of a program that does not speak of itself, seen from outside.

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::rt::TokioIo;
use paracloud_substrate::config::Probe;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::watch;

/// Pause between two tries.
const PROBE_MS: u64 = 20;
/// Longest try.
const TRY_MS_MAX: u64 = 1_000;

/// How a program is asked, and at which address, for people.
pub(crate) fn asked(probe: &Probe, address: SocketAddr) -> String {
    match probe {
        Probe::Http(path) => format!("GET http://{address}{path}"),
        Probe::Tcp => format!("TCP connect to {address}"),
        Probe::Exec(command) => format!(
            "exec {}",
            command
                .join(" ")
                .replace("{host}", &address.ip().to_string())
                .replace("{port}", &address.port().to_string())
        ),
    }
}

/// Tries until the program is ready, and says meanwhile what came back last; ends with the task it runs in.
pub(crate) async fn until_ready(probe: &Probe, address: SocketAddr, unready: &watch::Sender<Option<String>>) {
    loop {
        let tried = tokio::time::timeout(Duration::from_millis(TRY_MS_MAX), try_once(probe, address)).await;
        let answered = match tried {
            Ok(Ok(())) => None,
            Ok(Err(answered)) => Some(answered),
            Err(_) => Some(format!("no answer within {} s", TRY_MS_MAX / 1_000)),
        };
        let is_ready = answered.is_none();
        unready.send_if_modified(|last| {
            let is_news = *last != answered;
            *last = answered;
            is_news
        });
        if is_ready {
            return;
        }
        tokio::time::sleep(Duration::from_millis(PROBE_MS)).await;
    }
}

/// Whether it is ready, or else what came back.
async fn try_once(probe: &Probe, address: SocketAddr) -> Result<(), String> {
    let path = match probe {
        Probe::Exec(command) => return run_once(command, address).await,
        Probe::Http(path) => Some(path),
        Probe::Tcp => None,
    };
    let stream = TcpStream::connect(address).await.map_err(|error| {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            return "connection refused (nothing listens there)".to_owned();
        }
        error.to_string()
    })?;
    let Some(path) = path else { return Ok(()) };
    let no_answer = |error: hyper::Error| match error.source() {
        Some(source) => format!("no HTTP answer: {error}: {source}"),
        None => format!("no HTTP answer: {error}"),
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(no_answer)?;
    let request = Request::get(path)
        .header(hyper::header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("{path} cannot be asked for: {error}"))?;
    // Beside the question, so that a server that closes with its answer is heard all the same.
    let driving = tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    driving.abort();
    let status = answer.map_err(no_answer)?.status();
    if (200..400).contains(&status.as_u16()) { Ok(()) } else { Err(format!("HTTP {status}")) }
}

/// Runs the command of a probe. It is killed when its time is over.
async fn run_once(command: &[String], address: SocketAddr) -> Result<(), String> {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut parts = command.iter().map(|part| part.replace("{host}", &host).replace("{port}", &port));
    let Some(program) = parts.next() else { return Err("its command is empty".to_owned()) };
    let mut command = Command::new(&program);
    command.args(parts).env(paci::env::HOST, host).env(paci::env::PORT, port).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(format!("{program}: {error}")),
    }
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
        let (unready, mut seen) = watch::channel(None);
        let watched = async {
            let mut reasons = Vec::new();
            // Ends when the one that asks is dropped, having been answered.
            while seen.changed().await.is_ok() {
                reasons.extend(seen.borrow_and_update().clone());
            }
            reasons
        };
        let asking = async {
            until_ready(&probe, address, &unready).await;
            drop(unready);
        };
        let (served, (), reasons) = tokio::join!(serve(listener, &[503, 500, 204]), asking, watched);
        assert_eq!(served, 3, "an answer is never asked for twice");
        assert_eq!(reasons, ["HTTP 503 Service Unavailable", "HTTP 500 Internal Server Error"]);
    }

    #[tokio::test]
    async fn what_came_back_is_said_whatever_it_was() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let http = Probe::Http("/healthy".to_owned());
        let silent = async {
            let _ = listener.accept().await;
        };
        let (closed, ()) = tokio::join!(try_once(&http, address), silent);
        assert!(closed.unwrap_err().starts_with("no HTTP answer: "));
        drop(listener);
        for probe in [http, Probe::Tcp] {
            assert_eq!(
                try_once(&probe, address).await,
                Err("connection refused (nothing listens there)".to_owned()),
                "{}",
                asked(&probe, address)
            );
        }
        assert_eq!(asked(&Probe::Tcp, address), format!("TCP connect to {address}"));
    }

    #[tokio::test]
    async fn a_command_says_by_its_status_whether_the_program_is_ready() {
        let address = "127.0.0.1:20001".parse().unwrap();
        let shell = |script: &str| Probe::Exec(["sh", "-c", script].map(str::to_owned).to_vec());
        let ready = shell("test {port} = 20001 -a \"$PORT\" = 20001");
        assert_eq!(asked(&ready, address), "exec sh -c test 20001 = 20001 -a \"$PORT\" = 20001");
        assert_eq!(try_once(&ready, address).await, Ok(()));
        assert_eq!(try_once(&shell("exit 3"), address).await, Err("exit status: 3".to_owned()));
        let missing = Probe::Exec(vec!["/no/such/program".to_owned()]);
        assert!(try_once(&missing, address).await.unwrap_err().starts_with("/no/such/program: "));
    }
}
