//! Whoever drives clients in a process of their own ([`crate::process`]): one order, one reply.

use crate::config::Config;
use crate::meter::Seen;
use crate::process::{Command as Order, Reply};
use crate::run::{Audited, SETTLE_MS_MAX, Summary};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// The longest that one order may take, in milliseconds: settling, and an audit of every key.
pub const REPLY_MS_MAX: u64 = SETTLE_MS_MAX + 165_000;

/// Why the clients did not do what they were told.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Their process cannot be started, is gone, or does not answer.
    #[error("the process of the clients: {0}")]
    Process(#[from] io::Error),
    /// They refused: why.
    #[error("the clients: {0}")]
    Refused(String),
    /// They answered something else.
    #[error("the clients answered {0}")]
    Otherwise(String),
}

/// The process of the clients. When it is dropped, they are killed.
#[derive(Debug)]
pub struct Driver {
    _process: Child,
    orders: ChildStdin,
    replies: Lines<BufReader<ChildStdout>>,
}

impl Driver {
    /// Starts the process, and its load.
    ///
    /// # Errors
    /// It cannot be started, or what it is to load does not answer.
    pub async fn start(mut command: Command, config: Config) -> Result<Self, DriverError> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let (Some(orders), Some(replies)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        };
        let mut driver = Self { _process: process, orders, replies: BufReader::new(replies).lines() };
        let reply = driver.order(&Order::Start(config)).await?;
        if reply == Reply::Started { Ok(driver) } else { Err(otherwise(&reply)) }
    }

    /// Opens a window.
    ///
    /// # Errors
    /// The clients are gone, or refuse.
    pub async fn begin(&mut self, window: &str) -> Result<(), DriverError> {
        let reply = self.order(&Order::Begin(window.to_owned())).await?;
        if reply == Reply::Begun { Ok(()) } else { Err(otherwise(&reply)) }
    }

    /// Closes a window, and says what was seen in it.
    ///
    /// # Errors
    /// The clients are gone, or refuse.
    pub async fn end(&mut self, window: &str) -> Result<Seen, DriverError> {
        let reply = self.order(&Order::End(window.to_owned())).await?;
        let Reply::Ended(seen) = reply else { return Err(otherwise(&reply)) };
        Ok(seen)
    }

    /// Pauses, compares, goes on.
    ///
    /// # Errors
    /// The clients are gone, or cannot read what is held.
    pub async fn audit(&mut self) -> Result<Audited, DriverError> {
        let reply = self.order(&Order::Audit).await?;
        let Reply::Audited(audited) = reply else { return Err(otherwise(&reply)) };
        Ok(audited)
    }

    /// Counts a write of the first key as acknowledged that is never sent: the next audit must find it lost.
    ///
    /// # Errors
    /// The clients are gone.
    pub async fn forge(&mut self) -> Result<(), DriverError> {
        self.falsify(&Order::Forge).await
    }

    /// Writes the first key, and has that applied once more, uncounted: the next audit must find a write too many.
    ///
    /// # Errors
    /// The clients are gone, or the server did not apply it.
    pub async fn double(&mut self) -> Result<(), DriverError> {
        self.falsify(&Order::Double).await
    }

    async fn falsify(&mut self, order: &Order) -> Result<(), DriverError> {
        let reply = self.order(order).await?;
        if reply == Reply::Falsified { Ok(()) } else { Err(otherwise(&reply)) }
    }

    /// Compares and ends.
    ///
    /// # Errors
    /// The clients are gone, or cannot read what is held.
    pub async fn stop(mut self) -> Result<Summary, DriverError> {
        let reply = self.order(&Order::Stop).await?;
        let Reply::Stopped(summary) = reply else { return Err(otherwise(&reply)) };
        Ok(*summary)
    }

    async fn order(&mut self, order: &Order) -> io::Result<Reply> {
        let answered = async {
            let mut line = serde_json::to_vec(order)?;
            line.push(b'\n');
            self.orders.write_all(&line).await?;
            let reply = self.replies.next_line().await?;
            let reply = reply.ok_or_else(|| io::Error::other("it ended before it answered"))?;
            Ok(serde_json::from_str(&reply)?)
        };
        let answered = timeout(Duration::from_millis(REPLY_MS_MAX), answered).await;
        answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

fn otherwise(reply: &Reply) -> DriverError {
    if let Reply::Refused(why) = reply {
        return DriverError::Refused(why.clone());
    }
    DriverError::Otherwise(format!("{reply:?}"))
}

/// Loopback addresses that nobody listens on now: of a host of this process, from which nobody dials. On the common one
/// whoever dials may be given the port of one that does not listen yet.
///
/// # Errors
/// The system has none.
pub fn free_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    // All are held until all are found, or one might be given twice.
    let [_, second, third, fourth] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, second.max(1), third, fourth.max(1));
    let listeners = (0..count).map(|_| TcpListener::bind((host, 0))).collect::<io::Result<Vec<_>>>()?;
    listeners.iter().map(TcpListener::local_addr).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clients_that_refuse_are_heard_and_clients_that_end_are_no_wait() {
        let said = |line: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("read order; {line}")]);
            Driver::start(command, Config::default())
        };
        let refused = said(r#"echo '{"refused":"no gateway"}'"#).await.unwrap_err();
        assert_eq!(refused.to_string(), "the clients: no gateway");
        assert!(matches!(said(r#"echo '"begun"'"#).await, Err(DriverError::Otherwise(_))));
        assert!(matches!(said("exit 1").await, Err(DriverError::Process(_))));
        let mut driver = said(r#"echo '"started"'; read order; echo '"begun"'"#).await.unwrap();
        driver.begin("move").await.unwrap();
    }

    #[test]
    fn free_addresses_are_all_different() {
        let addresses: std::collections::BTreeSet<_> = free_addresses(16).unwrap().into_iter().collect();
        assert_eq!(addresses.len(), 16);
    }
}
