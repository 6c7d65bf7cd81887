//! A program, looked at from outside: whether it is ready, and whether it is alive.

mod exec;

pub(crate) use exec::COMMAND;

use crate::processes::{self, ProcessDirectory};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper_util::rt::TokioIo;
use paracloud_substrate::config::{Check, Probe};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Pause between two looks at one that is getting ready, in milliseconds: clients may wait for it.
const PROBE_MS: u32 = 20;
/// The same, if a look is a command.
const EXEC_MS: u32 = 100;

/// Who is looked at, and how.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pub(crate) check: Check,
    pub(crate) address: SocketAddr,
    pub(crate) process: ProcessDirectory,
}

/// How a program is asked, and at which address, for people.
pub(crate) fn asked(probe: &Probe, address: SocketAddr) -> String {
    match probe {
        Probe::Http(path) => format!("GET http://{address}{path}"),
        Probe::Tcp => format!("TCP connect to {address}"),
        Probe::Exec(command) => format!("exec {}", filled(command, address).join(" ")),
    }
}

fn filled(command: &[String], address: SocketAddr) -> Vec<String> {
    command.iter().map(|part| processes::filled(part, address)).collect()
}

impl Watch {
    /// Looks until so many looks in a row were good as are to count, and says meanwhile what came back last. At first it is
    /// looked often: clients may wait.
    pub(crate) async fn until_ready(&self, is_first: bool, unready: &watch::Sender<Option<String>>) {
        let pause_ms = match self.check.probe {
            _ if !is_first => self.check.period_ms,
            Probe::Tcp | Probe::Http(_) => PROBE_MS,
            Probe::Exec(_) => EXEC_MS,
        };
        let mut good = 0_u32;
        loop {
            match self.look().await {
                Ok(()) => good = good.saturating_add(1),
                Err(answered) => {
                    good = 0;
                    say(unready, Some(answered));
                }
            }
            if good >= self.check.successes {
                return say(unready, None);
            }
            tokio::time::sleep(Duration::from_millis(pause_ms.into())).await;
        }
    }

    /// Looks on until so many looks in a row failed that a program which was ready is so no more, and says what came back.
    pub(crate) async fn until_unready(&self, unready: &watch::Sender<Option<String>>) {
        let answered = self.until_failed().await;
        say(unready, Some(answered));
    }

    /// Looks again and again, and returns once so many looks in a row failed as are to count: what came back last.
    pub(crate) async fn until_failed(&self) -> String {
        let mut failed = 0_u32;
        loop {
            match self.look_later().await {
                Ok(()) => failed = 0,
                Err(answered) => {
                    failed = failed.saturating_add(1);
                    if failed >= self.check.failures {
                        return answered;
                    }
                }
            }
        }
    }

    async fn look_later(&self) -> Result<(), String> {
        tokio::time::sleep(Duration::from_millis(self.check.period_ms.into())).await;
        self.look().await
    }

    /// Whether it is as it should be, or else what came back.
    async fn look(&self) -> Result<(), String> {
        let within = Duration::from_millis(self.check.timeout_ms.into());
        let path = match &self.check.probe {
            Probe::Exec(command) => {
                return exec::run(&self.process, &filled(command, self.address), within).await;
            }
            Probe::Http(path) => Some(path.as_str()),
            Probe::Tcp => None,
        };
        let late = |_| format!("no answer within {} ms", within.as_millis());
        tokio::time::timeout(within, ask(path, self.address)).await.map_err(late)?
    }
}

/// Notes what came back, if that is news.
fn say(unready: &watch::Sender<Option<String>>, answered: Option<String>) {
    unready.send_if_modified(|last| {
        let is_news = *last != answered;
        *last = answered;
        is_news
    });
}

/// Whether a connection is taken, and a GET of the path, if there is one, is answered as it should be; or else what came back.
async fn ask(path: Option<&str>, address: SocketAddr) -> Result<(), String> {
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

    fn watch(probe: Probe, address: SocketAddr) -> Watch {
        let check = Check { period_ms: 1, failures: 2, ..Check::by(probe) };
        Watch { check, address, process: ProcessDirectory::at("/no/such/process".into()) }
    }

    #[tokio::test]
    async fn a_program_is_ready_with_its_first_answer_that_says_so_and_not_after_failures_in_a_row() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let http = watch(Probe::Http("/healthy".to_owned()), address);
        let (unready, mut seen) = watch::channel(None);
        let (turned, mut turns) = tokio::sync::mpsc::unbounded_channel();
        let asking = tokio::spawn(async move {
            http.until_ready(true, &unready).await;
            let _ = turned.send(true);
            http.until_unready(&unready).await;
            let _ = turned.send(false);
            http.until_ready(false, &unready).await;
            let _ = turned.send(true);
        });
        let watched = async {
            let mut reasons = Vec::new();
            // Ends with the one that asks.
            while seen.changed().await.is_ok() {
                reasons.push(seen.borrow_and_update().clone());
            }
            reasons
        };
        let turning = async {
            // One failure alone does not count.
            for expected in [true, false, true] {
                assert_eq!(turns.recv().await, Some(expected));
            }
            asking.await.unwrap();
        };
        let statuses = [503, 500, 204, 500, 204, 500, 502, 404, 200];
        let (served, (), reasons) = tokio::join!(serve(listener, &statuses), turning, watched);
        assert_eq!(served, statuses.len(), "an answer is never asked for twice");
        let said = |reason: &Option<String>| reason.clone().unwrap_or_else(|| "ready".to_owned());
        let reasons: Vec<_> = reasons.iter().map(said).collect();
        assert!(reasons.contains(&"HTTP 503 Service Unavailable".to_owned()), "{reasons:?}");
        assert!(reasons.contains(&"HTTP 502 Bad Gateway".to_owned()), "{reasons:?}");
    }

    #[tokio::test]
    async fn as_many_good_looks_in_a_row_as_are_asked_for_make_a_program_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = watch(Probe::Http("/healthy".to_owned()), listener.local_addr().unwrap());
        let steady = Watch { check: Check { successes: 3, ..http.check.clone() }, ..http };
        let (unready, seen) = watch::channel(None);
        let statuses = [200, 200, 500, 200, 200, 200];
        let (served, ()) = tokio::join!(serve(listener, &statuses), steady.until_ready(false, &unready));
        assert_eq!((served, seen.borrow().clone()), (statuses.len(), None));
    }

    #[tokio::test]
    async fn what_came_back_is_said_whatever_it_was() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let http = Probe::Http("/healthy".to_owned());
        let silent = async {
            let _ = listener.accept().await;
        };
        let asked_once = watch(http.clone(), address);
        let (closed, ()) = tokio::join!(asked_once.look(), silent);
        assert!(closed.unwrap_err().starts_with("no HTTP answer: "));
        let mute = Watch { check: Check { timeout_ms: 1, ..asked_once.check.clone() }, ..asked_once };
        assert_eq!(mute.look().await, Err("no answer within 1 ms".to_owned()));
        drop(listener);
        for probe in [http, Probe::Tcp] {
            let refused = Err("connection refused (nothing listens there)".to_owned());
            assert_eq!(watch(probe.clone(), address).look().await, refused, "{}", asked(&probe, address));
        }
        assert_eq!(asked(&Probe::Tcp, address), format!("TCP connect to {address}"));
        let command = Probe::Exec(["test", "{port}", "-gt", "0"].map(str::to_owned).to_vec());
        assert_eq!(asked(&command, address), format!("exec test {} -gt 0", address.port()));
    }
}
