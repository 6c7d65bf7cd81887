//! The agent's side of the shims: one task a process, which sees to it that a shim is there until death is proved.

use crate::node::Event;
use crate::processes::ProcessDirectory;
use crate::shim::order::{FromShim, ToShim};
use paracloud_core::ids::StartId;
use paracloud_core::migration::shim::{Order, Status};
use paracloud_substrate::{lifeline, link};
use std::fs::OpenOptions;
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::mpsc;

/// Orders that wait for a shim. The last one is the one that matters.
pub(crate) const ORDERS_MAX: usize = 32;
/// Pause between two tries to reach a shim that was started.
const REACH_MS: u64 = 2;
/// Tries to reach it before another one is started.
const REACHES_MAX: u32 = 500;
/// First and longest pause before a shim is started again; it doubles.
const AGAIN_MS: (u64, u64) = (20, 2_000);

/// After so many shims in a row that said nothing, none can be had.
const SILENT_MAX: u32 = 5;
/// Of a shim's log, so much is told, in bytes.
const WORDS_BYTES_MAX: usize = 300;

/// Looks after one process. Ends when it is dead or nobody orders any more.
pub(crate) async fn attend(
    start: StartId,
    process: ProcessDirectory,
    mut orders: mpsc::Receiver<ToShim>,
    events: mpsc::Sender<Event>,
) {
    let Some(mut standing) = orders.recv().await else { return };
    let mut pause_ms = AGAIN_MS.0;
    let mut silent = 0_u32;
    loop {
        silent = silent.saturating_add(1);
        match reach(&process).await {
            Ok(stream) => match talk(start, stream, &mut standing, &mut orders, &events).await {
                Talk::Over => return,
                Talk::Broke { spoke } => {
                    if spoke {
                        (pause_ms, silent) = (AGAIN_MS.0, 0);
                    }
                }
            },
            Err(error) => tracing::warn!(%start, %error, "no shim for this process; trying again"),
        }
        // Its shim may have proved the death just before the link broke.
        if matches!(process.exit(), Ok(Some(_))) {
            let _ = events.send(Event::Shim { start, status: Status::Dead }).await;
            return;
        }
        if silent >= SILENT_MAX {
            let _ = events.send(Event::Stuck { start, message: last_words(&process) }).await;
        }
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        pause_ms = (pause_ms * 2).min(AGAIN_MS.1);
    }
}

/// Connects to the shim, starting one if there is none.
async fn reach(process: &ProcessDirectory) -> io::Result<UnixStream> {
    if let Ok(stream) = UnixStream::connect(process.socket()).await {
        return Ok(stream);
    }
    start_shim(process)?;
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for _ in 0..REACHES_MAX {
        match UnixStream::connect(process.socket()).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
        tokio::time::sleep(Duration::from_millis(REACH_MS)).await;
    }
    Err(last)
}

fn start_shim(process: &ProcessDirectory) -> io::Result<()> {
    let log = OpenOptions::new().create(true).append(true).open(process.shim_log())?;
    let mut child = Command::new(crate::binary())
        .arg0(crate::NAME)
        .args(["shim", "--process"])
        .arg(process.path())
        .env_remove(lifeline::VARIABLE)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    // It outlives this agent; as long as this agent lives, it is reaped.
    tokio::spawn(async move { child.wait().await });
    Ok(())
}

/// The end of what the shims of a process said.
fn last_words(process: &ProcessDirectory) -> String {
    let log = std::fs::read(process.shim_log()).unwrap_or_default();
    let words = String::from_utf8_lossy(&log[log.len().saturating_sub(WORDS_BYTES_MAX)..]);
    format!("its shim ends without a word; its log: {}", words.trim())
}

/// Of what was ordered, the last counts; a question is no order.
fn stand(standing: &mut ToShim, order: ToShim) {
    if order.order != Order::Report {
        *standing = order;
    }
}

enum Talk {
    Over,
    Broke { spoke: bool },
}

async fn talk(
    start: StartId,
    stream: UnixStream,
    standing: &mut ToShim,
    orders: &mut mpsc::Receiver<ToShim>,
    events: &mpsc::Sender<Event>,
) -> Talk {
    let (mut reader, mut writer) = link::halves(stream);
    let mut spoke = false;
    // What was ordered while no shim was there: a start that an end has overtaken is never ordered.
    while let Ok(order) = orders.try_recv() {
        stand(standing, order);
    }
    if writer.write(standing).await.is_err() {
        return Talk::Broke { spoke };
    }
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some(order) = order else { return Talk::Over };
                stand(standing, order);
                if writer.write(&order).await.is_err() {
                    return Talk::Broke { spoke };
                }
            }
            line = reader.read::<FromShim>() => {
                let Ok(Some(line)) = line else { return Talk::Broke { spoke } };
                spoke = true;
                let event = match line {
                    FromShim::Status(status) => Event::Shim { start, status },
                    FromShim::Superseded(by) => Event::Superseded(by),
                };
                if events.send(event).await.is_err() || line == FromShim::Status(Status::Dead) {
                    return Talk::Over;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::migration::shim::Generation;
    use tokio::net::UnixListener;

    #[tokio::test]
    async fn a_start_that_an_end_has_overtaken_is_not_ordered_of_a_shim_that_comes_up_late() {
        let directory = tempfile::tempdir().unwrap();
        let process = ProcessDirectory::at(directory.path().to_path_buf());
        let shim = UnixListener::bind(process.socket()).unwrap();
        let (orders, queue) = mpsc::channel(ORDERS_MAX);
        for order in [Order::Spawn, Order::End, Order::Report] {
            orders.try_send(ToShim { generation: Generation(1), order }).unwrap();
        }
        let (events, _heard) = mpsc::channel(1);
        let attending = tokio::spawn(attend(StartId(1), process, queue, events));
        let (mut reader, _writer) = link::halves(shim.accept().await.unwrap().0);
        let first: ToShim = reader.read().await.unwrap().unwrap();
        assert_eq!(first.order, Order::End);
        attending.abort();
    }
}
