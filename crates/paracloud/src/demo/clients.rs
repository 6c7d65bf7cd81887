//! The clients: a process of their own, driven by lines of JSON, so that they share no runtime with what they measure.

use super::place::Place;
use crate::failure::{Exit, Failure};
use paracloud_load::meter::Seen;
use paracloud_load::process::{Command as Order, Reply};
use paracloud_load::{Audited, Config, SETTLE_MS_MAX};
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Requests a second, through both gateways together.
pub(super) const REQUESTS_PER_S: u32 = 200;
/// WebSockets, through both gateways together.
pub(super) const SOCKETS: u16 = 100;
/// How often each WebSocket sends a message, in milliseconds.
const SOCKET_MESSAGE_MS: u32 = 200;
/// Values of 1 KiB, as the app fills itself with.
const KEYS_PER_MIB: u32 = 1024;
/// How long one order may take, in milliseconds: settling, and reading every key.
const REPLY_MS_MAX: u64 = SETTLE_MS_MAX + 60_000;

/// See the module. When it is dropped, the process is killed.
#[derive(Debug)]
pub(super) struct Clients {
    _process: Child,
    orders: ChildStdin,
    replies: Lines<BufReader<ChildStdout>>,
}

impl Clients {
    /// Starts the process, and its load.
    ///
    /// # Errors
    /// It cannot be started, or the app does not answer it.
    pub(super) async fn start(place: &Place, state_mib: u32) -> Result<Self, Failure> {
        let mut command = Command::new(&place.program);
        command.arg("load").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        // Of its own: Ctrl-C is for whoever drives it.
        let mut process = command.process_group(0).spawn().map_err(|error| lost(&error))?;
        let (Some(orders), Some(replies)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(lost(&io::Error::from(io::ErrorKind::BrokenPipe)));
        };
        let mut clients = Self { _process: process, orders, replies: BufReader::new(replies).lines() };
        let config = Config {
            gateways: place.gateways.to_vec(),
            keys: state_mib * KEYS_PER_MIB,
            requests_per_s: REQUESTS_PER_S,
            sockets: SOCKETS,
            socket_message_ms: SOCKET_MESSAGE_MS,
            ..Config::default()
        };
        let reply = clients.order(&Order::Start(config)).await?;
        if reply == Reply::Started { Ok(clients) } else { Err(otherwise(&reply)) }
    }

    /// Opens a window.
    ///
    /// # Errors
    /// The clients are gone.
    pub(super) async fn begin(&mut self, window: &str) -> Result<(), Failure> {
        let reply = self.order(&Order::Begin(window.to_owned())).await?;
        if reply == Reply::Begun { Ok(()) } else { Err(otherwise(&reply)) }
    }

    /// Lets the clients finish what they have begun, compares, closes the window, and lets them go on. So whatever was
    /// sent in a window ends in it.
    ///
    /// # Errors
    /// The clients are gone, or cannot read what the app holds.
    pub(super) async fn end(&mut self, window: &str) -> Result<(Seen, Audited), Failure> {
        let reply = self.order(&Order::Audit).await?;
        let Reply::Audited(audited) = reply else { return Err(otherwise(&reply)) };
        let reply = self.order(&Order::End(window.to_owned())).await?;
        let Reply::Ended(seen) = reply else { return Err(otherwise(&reply)) };
        Ok((seen, audited))
    }

    async fn order(&mut self, order: &Order) -> Result<Reply, Failure> {
        let answered = async {
            let mut line = serde_json::to_vec(order)?;
            line.push(b'\n');
            self.orders.write_all(&line).await?;
            let reply = self.replies.next_line().await?;
            let reply = reply.ok_or_else(|| io::Error::other("they ended before they answered"))?;
            Ok::<Reply, io::Error>(serde_json::from_str(&reply)?)
        };
        let answered = timeout(Duration::from_millis(REPLY_MS_MAX), answered).await;
        answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|error| lost(&error))
    }
}

fn lost(error: &io::Error) -> Failure {
    Failure::machine("the demo's clients", error)
}

fn otherwise(reply: &Reply) -> Failure {
    let why = if let Reply::Refused(why) = reply { why.clone() } else { format!("they answered {reply:?}") };
    Failure::new(Exit::Failed, "clients", "the demo's clients", why, "")
}
