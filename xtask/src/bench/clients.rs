//! The clients of a benchmark: a process of their own, driven by lines of JSON.

use crate::rig;
use anyhow::{Context, Result, bail};
use paracloud_load::meter::Seen;
use paracloud_load::process::{Command as Order, Reply};
use paracloud_load::{Audited, Config, Summary};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The longest that one order may take: an audit reads every key.
const REPLY_S_MAX: u64 = 300;

/// See the module.
pub(super) struct Clients {
    _process: Child,
    orders: ChildStdin,
    replies: Lines<BufReader<ChildStdout>>,
}

impl Clients {
    /// Starts the process and its load.
    pub(super) async fn start(config: Config) -> Result<Self> {
        let mut process = Command::new(rig::binary("paracloud-load")?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the clients cannot be started")?;
        let orders = process.stdin.take().context("no pipe to the clients")?;
        let replies = BufReader::new(process.stdout.take().context("no pipe from the clients")?).lines();
        let mut clients = Self { _process: process, orders, replies };
        let reply = clients.order(&Order::Start(config)).await?;
        let Reply::Started = reply else { bail!("the clients do not start: {reply:?}") };
        Ok(clients)
    }

    async fn order(&mut self, order: &Order) -> Result<Reply> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.orders.write_all(&line).await?;
        let reply = tokio::time::timeout(Duration::from_secs(REPLY_S_MAX), self.replies.next_line()).await;
        let line = reply.context("the clients do not answer")??.context("the clients are gone")?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Opens a window.
    pub(super) async fn begin(&mut self, window: &str) -> Result<()> {
        let reply = self.order(&Order::Begin(window.to_owned())).await?;
        let Reply::Begun = reply else { bail!("no window: {reply:?}") };
        Ok(())
    }

    /// Closes a window.
    pub(super) async fn end(&mut self, window: &str) -> Result<Seen> {
        let reply = self.order(&Order::End(window.to_owned())).await?;
        let Reply::Ended(seen) = reply else { bail!("no window: {reply:?}") };
        Ok(seen)
    }

    /// Pauses, compares, goes on.
    pub(super) async fn audit(&mut self) -> Result<Audited> {
        let reply = self.order(&Order::Audit).await?;
        let Reply::Audited(audited) = reply else { bail!("no audit: {reply:?}") };
        Ok(audited)
    }

    /// Compares and ends.
    pub(super) async fn stop(mut self) -> Result<Summary> {
        let reply = self.order(&Order::Stop).await?;
        let Reply::Stopped(summary) = reply else { bail!("no summary: {reply:?}") };
        Ok(*summary)
    }
}
