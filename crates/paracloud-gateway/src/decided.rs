//! Choices that are kept with their reasons: one a second of each app, and one when the kind of knowledge changes by which
//! it is chosen. They are written behind the requests' back, and what finds no room is not kept.

use paracloud_core::balancing::{Record, Regime};
use paracloud_substrate::decision::{Decision, Fate, Writer};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// One choice of an app is kept so often.
const EVERY: Duration = Duration::from_secs(1);
/// However often the kind of knowledge changes, no more are kept than one in this time.
const EVERY_MIN: Duration = Duration::from_millis(100);
/// Records that wait to be written.
const QUEUE_MAX: usize = 64;

/// Where records go: to the log of a directory, which is opened for the first of them.
#[derive(Debug)]
pub(crate) struct Decided {
    directory: PathBuf,
    queue: OnceLock<mpsc::Sender<(String, Record)>>,
}

impl Decided {
    pub(crate) fn in_directory(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), queue: OnceLock::new() }
    }

    pub(crate) fn keep(&self, app: &str, record: Record) {
        let queue = self.queue.get_or_init(|| open(&self.directory));
        let _ = queue.try_send((app.to_owned(), record));
    }
}

/// Writes to the log of this directory. What cannot be written is not kept, and it is said when that begins and when it is over.
fn open(directory: &Path) -> mpsc::Sender<(String, Record)> {
    let (sender, mut records) = mpsc::channel::<(String, Record)>(QUEUE_MAX);
    let mut writer = Writer::new(directory);
    std::thread::spawn(move || {
        while let Some((app, record)) = records.blocking_recv() {
            match writer.write(&app, Decision::Balancing(&record)) {
                Fate::Kept | Fate::LostToo => {}
                Fate::KeptAgain(lost) => tracing::info!(lost, "choices are kept again"),
                Fate::Lost(error) => tracing::warn!(app, %error, "choices are not kept"),
            }
        }
    });
    sender
}

/// When the next one is due.
#[derive(Debug, Default)]
pub(crate) struct Sampling {
    last: Option<(Instant, Regime)>,
    /// What the last choice was made by, if that is another kind.
    is_other: bool,
}

impl Sampling {
    /// Whether the next choice is kept.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let Some((at, _)) = self.last else { return true };
        now.duration_since(at) >= if self.is_other { EVERY_MIN } else { EVERY }
    }

    /// It was chosen by this.
    pub(crate) fn chosen(&mut self, regime: Regime) {
        self.is_other = self.last.is_some_and(|(_, last)| last != regime);
    }

    /// And it is kept.
    pub(crate) fn kept(&mut self, regime: Regime, now: Instant) {
        (self.last, self.is_other) = (Some((now, regime)), false);
    }
}
