//! What a node remembers of its instances' records: told to a controller that has lost its journal.
//!
//! A thread of its own writes them down. What is heard while requests may be parked waits: each swap of a pause brings a
//! new record, and a disk that is busy with what a node remembers keeps the register waiting. An agent that dies in the
//! middle of that forgets what the register still knows.

use crate::durable;
use paracloud_core::register::{Record, Step};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Records that wait to be taken up; who has one more waits.
const RECORDS_MAX: usize = 64;
/// The longest that a record of a pause waits to be written, in milliseconds; of those heard meanwhile the last is.
const KEEP_MS: u64 = 500;

/// A file, what is to be in it, and how long that may wait.
type Kept = (PathBuf, Vec<u8>, Duration);

/// The thread. Dropping it writes down what waits.
#[derive(Debug)]
pub(super) struct Records {
    queue: Option<SyncSender<Kept>>,
    thread: Option<JoinHandle<()>>,
}

impl Records {
    pub(super) fn start() -> io::Result<Self> {
        let (queue, heard) = sync_channel(RECORDS_MAX);
        let thread =
            std::thread::Builder::new().name("records".to_owned()).spawn(move || write_down(&heard))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Keeps a record in a file, soon, in the place of the one that is there.
    pub(super) fn keep(&self, path: PathBuf, record: &Record) {
        let (Some(queue), Ok(text)) = (&self.queue, serde_json::to_vec(record)) else { return };
        let wait_ms = if may_pause(record) { KEEP_MS } else { 0 };
        // The other end lives as long as this one.
        let _taken = queue.send((path, text, Duration::from_millis(wait_ms)));
    }
}

/// Whether requests may be parked under this record.
pub(super) fn may_pause(record: &Record) -> bool {
    match record.step() {
        Some(Step::Sealing | Step::Switch | Step::Doomed | Step::Retire | Step::Undo) => true,
        Some(Step::Open) | None => false,
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn write_down(heard: &Receiver<Kept>) {
    while let Ok((path, text, wait)) = heard.recv() {
        let mut due = Instant::now() + wait;
        let mut newest = BTreeMap::from([(path, text)]);
        while let Ok((path, text, wait)) = heard.recv_timeout(due.saturating_duration_since(Instant::now())) {
            newest.insert(path, text);
            due = due.min(Instant::now() + wait);
        }
        for (path, text) in newest {
            if let Err(error) = durable::write_synced(&path, &text) {
                tracing::warn!(%error, path = %path.display(), "a record could not be kept");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{NodeId, Placement, StartId};
    use paracloud_core::register::{Change, Mode, Proposer};

    #[test]
    fn of_the_records_of_a_pause_the_last_is_written_down_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.json");
        let apply = |record: &Record, change| record.apply(&change, Proposer::Coordinator).unwrap();
        let (owner, target) = (
            Placement { node: NodeId(1), start: StartId(1) },
            Placement { node: NodeId(2), start: StartId(2) },
        );
        let served = apply(&Record::first(owner), Change::Serve(([127, 0, 1, 1], 20_000).into()));
        let open = apply(&served, Change::Open { mode: Mode::Handoff, target });
        let sealing = apply(&open, Change::Seal);
        let records = Records::start().unwrap();
        for record in [&sealing, &apply(&sealing, Change::Commit)] {
            records.keep(path.clone(), record);
        }
        drop(records);
        let kept: Record = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(kept.step(), Some(Step::Switch));
    }
}
