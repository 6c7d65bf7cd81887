//! The gateway's own log of waits: one line of JSON a request that waited, and one a pause.

use crate::bounds::LOG_QUEUE_MAX;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::time::SystemTime;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::sync::mpsc;

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum ParkedLine {
    /// A request that waited has ended.
    Request {
        /// The instance.
        instance: String,
        /// When it was first withheld, in microseconds since 1970.
        began_unix_us: u64,
        /// From then to the first byte sent on at its last attempt, or to its end if none was, in microseconds.
        waited_us: u64,
        /// How it ended.
        end: End,
    },
    /// A pause is over.
    Pause {
        /// The instance.
        instance: String,
        /// When its first request was withheld, in microseconds since 1970.
        began_unix_us: u64,
        /// From then to the first byte of a withheld request that was sent on, in microseconds; absent if none was.
        parked_us: Option<u64>,
        /// From then to the first byte of a reply to a request that was withheld and not refused again, in
        /// microseconds; absent if there was none.
        answered_us: Option<u64>,
        /// Requests that were withheld.
        requests: u32,
        /// Requests that this gateway answered 502 or 503 since the last such line.
        failed: u32,
    },
}

/// How a request that waited ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The application answered.
    Replied,
    /// The gateway answered for it.
    Failed,
    /// The client went away.
    Left,
}

/// Microseconds, as far as they fit.
pub(crate) fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The wall clock, for people who lay logs side by side.
pub(crate) fn unix_us() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, micros)
}

/// Where lines go. Clones write to one file.
#[derive(Debug, Clone)]
pub(crate) struct Log(mpsc::Sender<ParkedLine>);

impl Log {
    /// Opens the log to go on where it ends.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) async fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path).await?;
        let (sender, receiver) = mpsc::channel(LOG_QUEUE_MAX);
        tokio::spawn(write(file, receiver));
        Ok(Self(sender))
    }

    /// Hands a line over; without room it is dropped.
    pub(crate) fn write(&self, line: ParkedLine) {
        if self.0.try_send(line).is_err() {
            tracing::warn!("a line of the log of parked times is lost: the disk is too slow");
        }
    }
}

async fn write(file: File, mut lines: mpsc::Receiver<ParkedLine>) {
    let mut file = BufWriter::new(file);
    let mut batch = Vec::new();
    while lines.recv_many(&mut batch, 256).await > 0 {
        let mut text = Vec::new();
        for line in batch.drain(..) {
            if serde_json::to_writer(&mut text, &line).is_ok() {
                text.push(b'\n');
            }
        }
        let written = async {
            file.write_all(&text).await?;
            file.flush().await
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, "lines of the log of parked times are lost");
        }
    }
}
