//! The gateway's own log of waits: one line of JSON a request that waited, and one a pause.

use crate::bounds::LOG_QUEUE_MAX;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

/// Lines that are written at once.
const BATCH_MAX: usize = 256;

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
    /// It was given to another instance.
    Elsewhere,
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
pub(crate) struct Log {
    lines: mpsc::Sender<ParkedLine>,
    lost: Arc<AtomicU64>,
}

impl Log {
    /// Opens the log to go on where it ends.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) async fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let file = Aside::open(path, bytes_max).await?;
        let (lines, receiver) = mpsc::channel(LOG_QUEUE_MAX);
        tokio::spawn(write(file, receiver));
        Ok(Self { lines, lost: Arc::default() })
    }

    /// Hands a line over; without room it is dropped.
    pub(crate) fn write(&self, line: ParkedLine) {
        if self.lines.try_send(line).is_err() {
            let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
            if lost.is_power_of_two() {
                tracing::warn!(lost, "lines of the log of parked times are lost: the disk is too slow");
            }
        }
    }
}

async fn write(mut file: Aside, mut lines: mpsc::Receiver<ParkedLine>) {
    let mut batch = Vec::new();
    while lines.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let mut text = Vec::new();
        for line in batch.drain(..) {
            if serde_json::to_writer(&mut text, &line).is_ok() {
                text.push(b'\n');
            }
        }
        if let Err(error) = file.append(&text).await {
            tracing::warn!(%error, "lines of the log of parked times are lost");
        }
    }
}

/// A file that is put aside before it becomes too long.
struct Aside {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl Aside {
    async fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path).await?;
        let bytes = file.metadata().await?.len();
        Ok(Self { path: path.to_owned(), file, bytes, bytes_max })
    }

    async fn append(&mut self, text: &[u8]) -> io::Result<()> {
        let more = text.len() as u64;
        if self.bytes > 0 && self.bytes + more > self.bytes_max {
            if let Err(error) = tokio::fs::rename(&self.path, self.path.with_added_extension("1")).await {
                tracing::warn!(path = %self.path.display(), %error, "a log that is too long is not put aside");
            }
            *self = Self::open(&self.path, self.bytes_max).await?;
        }
        self.bytes += more;
        self.file.write_all(text).await?;
        self.file.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64) -> ParkedLine {
        ParkedLine::Request {
            instance: "shop".into(),
            began_unix_us: number,
            waited_us: 1_000,
            end: End::Replied,
        }
    }

    fn numbers(path: &Path) -> Vec<u64> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter_map(|line| match line {
                ParkedLine::Request { began_unix_us, .. } => Some(began_unix_us),
                ParkedLine::Pause { .. } => None,
            })
            .collect()
    }

    #[tokio::test]
    async fn a_log_that_would_become_too_long_is_put_aside_and_its_last_lines_are_there() {
        const BYTES_MAX: u64 = 64 << 10;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("parked.jsonl");
        // What another gateway left counts.
        std::fs::write(&path, "x\n".repeat(30_000)).unwrap();
        let log = Log::open(&path, BYTES_MAX).await.unwrap();
        (0..4_000).for_each(|number| log.write(line(number)));
        let written = async {
            while numbers(&path).last() != Some(&3_999) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), written).await.unwrap();
        let aside = directory.path().join("parked.jsonl.1");
        for path in [&path, &aside] {
            assert!(path.metadata().unwrap().len() <= BYTES_MAX, "{path:?}");
        }
        let last = [numbers(&aside), numbers(&path)].concat();
        assert!(
            last.is_sorted() && last.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "none is missing between"
        );
    }
}
