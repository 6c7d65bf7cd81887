//! The gateway's own log of waits: one line of JSON a request that waited, and one a pause.
//!
//! A pause lasts from the first request that is withheld to the first byte of a withheld request that is sent on.
//! Its line is written once nothing waits any more.

use crate::bounds::LOG_QUEUE_MAX;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::time::{Instant, SystemTime};
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

/// The pause in progress, if one is.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    began: Option<(Instant, u64)>,
    first_byte: Option<Instant>,
    requests: u32,
    failed: u32,
    /// Requests that waited and have not ended.
    unended: u32,
}

/// What there is to say of a pause that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) began_unix_us: u64,
    pub(crate) parked_us: Option<u64>,
    pub(crate) requests: u32,
    pub(crate) failed: u32,
}

impl Pause {
    /// A request is withheld for the first time.
    pub(crate) fn withheld(&mut self, now: Instant) {
        self.began.get_or_insert_with(|| (now, unix_us()));
        self.requests += 1;
        self.unended += 1;
    }

    /// Whether nothing is in progress that will be said later.
    pub(crate) fn is_over(&self) -> bool {
        self.began.is_none()
    }

    /// A byte of a request that waited was sent on.
    pub(crate) fn sent_on(&mut self, now: Instant) {
        if self.began.is_some() {
            self.first_byte.get_or_insert(now);
        }
    }

    /// The gateway answered a request by itself.
    pub(crate) fn failed(&mut self) {
        self.failed += 1;
    }

    /// How many failed so far, which are then forgotten: those of a pause in which nobody waited, and before a pause those
    /// of the time without one.
    pub(crate) fn take_failed(&mut self) -> u32 {
        std::mem::take(&mut self.failed)
    }

    /// A request that waited has ended.
    pub(crate) fn ended(&mut self) {
        self.unended = self.unended.saturating_sub(1);
    }

    /// The pause, if it is over now that `waiting` requests wait.
    pub(crate) fn over(&mut self, waiting: usize) -> Option<Over> {
        let (began, began_unix_us) = self.began?;
        if waiting > 0 || (self.first_byte.is_none() && self.unended > 0) {
            return None;
        }
        let parked_us = self.first_byte.map(|byte| micros(byte.duration_since(began)));
        let over = Over { began_unix_us, parked_us, requests: self.requests, failed: self.failed };
        *self = Self { unended: self.unended, ..Self::default() };
        Some(over)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_pause_lasts_from_the_first_request_withheld_to_the_first_byte_sent_on() {
        let mut pause = Pause::default();
        let start = Instant::now();
        pause.withheld(start);
        pause.withheld(start + Duration::from_micros(300));
        assert_eq!(pause.over(2), None);
        assert_eq!(pause.over(0), None, "released, and nothing sent yet");
        pause.sent_on(start + Duration::from_micros(1_000));
        pause.sent_on(start + Duration::from_micros(2_000));
        let over = pause.over(0).unwrap();
        assert_eq!((over.parked_us, over.requests, over.failed), (Some(1_000), 2, 0));
        assert_eq!(pause.over(0), None, "said once");
    }

    #[test]
    fn what_failed_before_a_pause_is_none_of_its_failures() {
        let mut pause = Pause::default();
        pause.failed();
        assert_eq!(pause.take_failed(), 1);
        pause.withheld(Instant::now());
        pause.failed();
        pause.ended();
        assert_eq!(pause.over(0).unwrap().failed, 1);
        assert_eq!(pause.take_failed(), 0, "said once");
    }

    #[test]
    fn a_pause_in_which_everybody_left_has_no_length() {
        let mut pause = Pause::default();
        pause.withheld(Instant::now());
        pause.failed();
        pause.ended();
        let over = pause.over(0).unwrap();
        assert_eq!((over.parked_us, over.requests, over.failed), (None, 1, 1));
    }
}
