//! What a node remembers of its instances' records: told to a controller that has lost its register.
//!
//! Each record is written twice. At once, before anything is said or done because of it, into a slot that is there
//! already: so whatever an agent did, the next one knows why. And durably, by a thread of its own; that waits until a
//! pause is over, because each swap of a pause brings a new record, and a disk that is busy with what a node remembers
//! keeps the register waiting.
//!
//! Where the slot cannot be written, the durable file is waited for instead, in a pause as well; and where that cannot be
//! written either, nothing follows from the record.

mod slot;

use crate::{durable, processes};
use paracloud_core::register::{Record, Step};
use slot::Slot;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest that a record of a pause waits to be written durably, in milliseconds: longer than clients wait in one. Of
/// those heard meanwhile the last is written.
const KEEP_MS: u64 = 30_000;

/// The longest that a record which is not in its slot is waited for, in milliseconds.
const KEPT_MS_MAX: u64 = 5_000;

/// What is to be in a file, and when it is to be there.
#[derive(Debug)]
struct Due {
    text: Vec<u8>,
    at: Instant,
    /// Who waits for it.
    told: Option<mpsc::Sender<io::Result<()>>>,
}

/// What is to be written durably, by file. One an instance at most.
#[derive(Debug, Default)]
struct Waiting {
    newest: BTreeMap<PathBuf, Due>,
    /// Nothing more comes: all is due.
    over: bool,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

/// The slots, and the thread. Dropping it writes down what waits.
#[derive(Debug)]
pub(super) struct Records {
    slots: BTreeMap<PathBuf, Slot>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Records {
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let shares = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("records".to_owned()).spawn(move || write_down(&shares))?;
        Ok(Self { slots: BTreeMap::new(), shared, thread: Some(thread) })
    }

    /// The newest record that an agent before this one kept in a file or in the slot beside it.
    ///
    /// # Errors
    /// One of them cannot be read, or holds what is no record. What is torn is passed over.
    pub(super) fn recall(&mut self, path: &Path) -> io::Result<Option<Record>> {
        let durable: Option<Record> = processes::present(processes::read(path))?;
        let mut slot = Slot::beside(path);
        let heard = slot.recall()?;
        self.slots.insert(path.to_owned(), slot);
        match heard.filter(|heard| durable.as_ref().is_none_or(|known| known.order() < heard.order())) {
            Some(heard) => {
                self.write_late(path, serde_json::to_vec(&heard)?, wait_ms(&heard));
                Ok(Some(heard))
            }
            None => Ok(durable),
        }
    }

    /// Keeps a record: once this returns the next agent knows it, and soon a machine that lost its power does.
    ///
    /// # Errors
    /// It was written neither into its slot nor durably: the next agent does not know it, and nothing may follow from it.
    pub(super) fn keep(&mut self, path: &Path, record: &Record) -> io::Result<()> {
        let text = serde_json::to_vec(record)?;
        let slot = self.slots.entry(path.to_owned()).or_insert_with(|| Slot::beside(path));
        match slot.write(&text) {
            Ok(()) => {
                self.write_late(path, text, wait_ms(record));
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "a record is not in its slot; the disk is waited for");
                self.write_now(path, text)
            }
        }
    }

    /// Returns when it is written durably, in the place of what waited to be.
    fn write_now(&self, path: &Path, text: Vec<u8>) -> io::Result<()> {
        let (told, written) = mpsc::channel();
        let due = Due { text, at: Instant::now(), told: Some(told) };
        self.shared.waiting().newest.insert(path.to_owned(), due);
        self.shared.changed.notify_one();
        let wait = Duration::from_millis(KEPT_MS_MAX);
        written.recv_timeout(wait).map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    fn write_late(&self, path: &Path, text: Vec<u8>, wait_ms: u64) {
        let mut waiting = self.shared.waiting();
        let due = Instant::now() + Duration::from_millis(wait_ms);
        let at = waiting.newest.get(path).map_or(due, |before| due.min(before.at));
        waiting.newest.insert(path.to_owned(), Due { text, at, told: None });
        drop(waiting);
        self.shared.changed.notify_one();
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.shared.waiting().over = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether requests may be parked under this record.
pub(super) fn may_pause(record: &Record) -> bool {
    match record.step() {
        Some(Step::Sealing | Step::Switch | Step::Doomed | Step::Retire | Step::Undo) => true,
        Some(Step::Open | Step::Draining | Step::Leaving | Step::Returning | Step::Resizing) | None => false,
    }
}

fn wait_ms(record: &Record) -> u64 {
    if may_pause(record) { KEEP_MS } else { 0 }
}

fn write_down(shared: &Shared) {
    let mut waiting = shared.waiting();
    loop {
        let (now, over) = (Instant::now(), waiting.over);
        let all = std::mem::take(&mut waiting.newest);
        let (due, later): (BTreeMap<_, _>, _) = all.into_iter().partition(|(_, due)| over || due.at <= now);
        waiting.newest = later;
        if !due.is_empty() {
            drop(waiting);
            for (path, Due { text, told, .. }) in due {
                let written = durable::write_synced(&path, &text);
                if let Err(error) = &written {
                    tracing::warn!(%error, path = %path.display(), "a record could not be kept durably");
                }
                if let Some(told) = told {
                    // Who has not waited so long has given up.
                    let _ = told.send(written);
                }
            }
            waiting = shared.waiting();
        } else if over {
            return;
        } else {
            let next = waiting.newest.values().map(|due| due.at.saturating_duration_since(now)).min();
            waiting = match next {
                Some(wait) => {
                    shared.changed.wait_timeout(waiting, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => shared.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{Incarnation, NodeId, Placement, StartId};
    use paracloud_core::register::{Change, Mode, Proposer};
    use rustix::fs::{CWD, FileType, Mode as Bits, OFlags, mknodat, open};

    fn apply(record: &Record, change: Change) -> Record {
        record.apply(&change, Proposer::Coordinator).unwrap()
    }

    /// Of a move: open, sealing, switch.
    fn moving() -> [Record; 3] {
        let place = |id: u32| Placement::new(NodeId(id), StartId(id.into()));
        let served = apply(&Record::first(place(1)), Change::Serve(([127, 0, 1, 1], 20_000).into()));
        let open = apply(&served, Change::Open { mode: Mode::Handoff, target: place(2) });
        let sealing = apply(&open, Change::Seal);
        let switch = apply(&sealing, Change::Commit);
        [open, sealing, switch]
    }

    fn recalled(path: &Path) -> Option<Record> {
        Records::start().unwrap().recall(path).unwrap()
    }

    #[test]
    fn of_the_records_of_a_pause_the_last_is_written_down_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.json");
        let [_, sealing, switch] = moving();
        let mut records = Records::start().unwrap();
        for record in [&sealing, &switch] {
            records.keep(&path, record).unwrap();
        }
        drop(records);
        let kept: Record = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(kept, switch);
    }

    #[test]
    fn a_record_of_a_pause_is_known_to_the_next_agent_though_it_was_not_written_durably() {
        let [open, sealing, switch] = moving();
        for heard in [vec![&sealing], vec![&sealing, &switch]] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("shop.json");
            let mut records = Records::start().unwrap();
            records.keep(&path, &open).unwrap();
            drop(records);
            let mut killed = Records::start().unwrap();
            assert_eq!(killed.recall(&path).unwrap().as_ref(), Some(&open));
            heard.iter().for_each(|record| killed.keep(&path, record).unwrap());
            // Nothing of it comes to an end any more.
            std::mem::forget(killed);
            assert_eq!(processes::read::<Record>(&path).unwrap(), open, "no disk was waited for");
            assert_eq!(recalled(&path).as_ref(), heard.last().copied());
            // The one that found it there wrote it down.
            assert_eq!(processes::read::<Record>(&path).ok().as_ref(), heard.last().copied());
        }
    }

    #[test]
    fn a_record_that_is_durable_is_believed_before_an_older_one_in_the_slot() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.json");
        let [_, sealing, switch] = moving();
        let mut records = Records::start().unwrap();
        records.keep(&path, &sealing).unwrap();
        drop(records);
        durable::write_synced(&path, &serde_json::to_vec(&switch).unwrap()).unwrap();
        assert_eq!(recalled(&path), Some(switch));
    }

    #[test]
    fn a_disk_that_hangs_holds_nobody_up_and_gets_the_newest_when_it_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.json");
        // Whoever opens this to write waits for a reader: the thread hangs there.
        let hangs = path.with_extension("new");
        mknodat(CWD, &hangs, FileType::Fifo, Bits::RUSR | Bits::WUSR, 0).unwrap();
        let [served, ..] = moving();
        let nth = move |number| Record { incarnation: Incarnation(number), ..served.clone() };
        let newest = nth(500);
        let (kept, is_kept) = mpsc::channel();
        let to = path.clone();
        std::thread::spawn(move || {
            let mut records = Records::start().unwrap();
            (1..=500).for_each(|number| records.keep(&to, &nth(number)).unwrap());
            let _ = kept.send(records);
        });
        let records = is_kept.recv_timeout(Duration::from_secs(30)).expect("nobody waits for the disk");
        assert!(records.shared.waiting().newest.len() <= 1, "one an instance");
        let gone = directory.path().join("gone");
        std::fs::rename(&hangs, &gone).unwrap();
        let _reader = open_to_read(&gone);
        drop(records);
        assert_eq!(processes::read::<Record>(&path).unwrap(), newest);
    }

    #[test]
    fn a_record_without_a_slot_is_kept_durably_before_anything_follows_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.json");
        let [open, sealing, switch] = moving();
        let mut records = Records::start().unwrap();
        records.keep(&path, &open).unwrap();
        let slot = path.with_extension("slot");
        std::fs::remove_file(&slot).unwrap();
        std::fs::create_dir(&slot).unwrap();
        records.keep(&path, &sealing).unwrap();
        assert_eq!(processes::read::<Record>(&path).unwrap(), sealing, "in the pause");
        let staged = path.with_extension("new");
        std::fs::create_dir(&staged).unwrap();
        records.keep(&path, &switch).unwrap_err();
        std::fs::remove_dir(&slot).unwrap();
        records.keep(&path, &switch).unwrap();
        std::mem::forget(records);
        std::fs::remove_dir(&staged).unwrap();
        assert_eq!(recalled(&path), Some(switch));
    }

    fn open_to_read(fifo: &Path) -> rustix::fd::OwnedFd {
        open(fifo, OFlags::RDONLY | OFlags::NONBLOCK, Bits::empty()).unwrap()
    }
}
