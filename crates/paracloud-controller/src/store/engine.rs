//! The store without its types: one database, one caller at a time, and an end after the first failure.

use super::backend::Backend;
use super::error::StoreError;
use super::json::Texts;
use super::lock::DirectoryLock;
use super::medium::is_no_space;
use super::room::{self, Ledger, Reservation};
use super::tables::{self, Change, Head, Stop};
use redb::Database;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was being done when a file turned out to be damaged, or the disk to have failed.
pub(super) const OPENING: &str = "opening the store's file";

#[derive(Debug)]
pub(super) struct Engine {
    state: Mutex<State>,
    backend: Backend,
    ledger: Arc<Ledger>,
    /// How many journal entries to keep.
    keep: u64,
    /// Let go last, after the file is closed.
    _lock: Option<DirectoryLock>,
}

#[derive(Debug)]
struct State {
    /// There until the store is closed.
    db: Option<Database>,
    head: Head,
    poison: Option<StoreError>,
}

impl Engine {
    pub(super) fn new(
        db: Database,
        head: Head,
        backend: Backend,
        keep: u64,
        lock: Option<DirectoryLock>,
    ) -> Self {
        let state = Mutex::new(State { db: Some(db), head, poison: None });
        Self { state, backend, ledger: Arc::default(), keep, _lock: lock }
    }

    /// The turn of one caller; none after the first failure.
    pub(super) fn turn(&self) -> Result<Turn<'_>, StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &state.poison {
            Some(first) => Err(StoreError::Poisoned { first: Box::new(first.clone()) }),
            None => Ok(Turn { engine: self, state }),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(db) = state.db.take() {
            let_go(db);
        }
    }
}

/// Drops a database. After a panic inside redb its locks may be poisoned, and closing may panic again.
pub(super) fn let_go(db: Database) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
}

/// The only way to the database.
pub(super) struct Turn<'a> {
    engine: &'a Engine,
    state: MutexGuard<'a, State>,
}

impl Turn<'_> {
    /// What must be there.
    pub(super) fn head(&self) -> Head {
        self.state.head
    }

    /// Reads; poisons the store if that says the disk or the file has failed.
    pub(super) fn read<T>(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&Database) -> Result<T, Stop>,
    ) -> Result<T, StoreError> {
        let Some(db) = &self.state.db else {
            return Err(StoreError::Engine { doing, detail: "the store is closed".to_owned() });
        };
        caught(&self.engine.backend, doing, || work(db)).inspect_err(|error| {
            if error.poisons() {
                self.engine.backend.close();
                self.state.poison.get_or_insert_with(|| error.clone());
            }
        })
    }

    /// Writes `texts`, and under `record`'s key (which says whether it is new) the record among them; in `room` as far
    /// as it reaches, and beyond that only if the disk has room for it and for all that is promised.
    pub(super) fn write(
        &mut self,
        room: Option<&mut Reservation>,
        record: Option<(&str, bool)>,
        texts: &Texts,
    ) -> Result<(), StoreError> {
        let cost = room::cost(1, texts.bytes());
        let covered = room.as_ref().map_or(0, |room| room.covers(&self.engine.ledger, cost));
        if covered < cost {
            self.make_room(cost - covered)?;
        }
        let record = record.zip(texts.record.as_deref()).map(|((key, new), text)| (key, text, new));
        let change = Change { record, entries: &texts.entries, keep: self.engine.keep };
        let head = self.state.head;
        self.state.head = self.read("writing", |db| tables::write(db, head, &change))?;
        if let Some(room) = room {
            room.spend(covered);
        }
        Ok(())
    }

    /// Promises room for `writes` writes with `bytes` bytes of JSON between them.
    pub(super) fn reserve(&mut self, writes: u32, bytes: u64) -> Result<Reservation, StoreError> {
        let cost = room::cost(writes, bytes);
        self.make_room(cost)?;
        Ok(Reservation::new(&self.engine.ledger, cost))
    }

    pub(super) fn close(&mut self) -> Result<(), StoreError> {
        let Some(db) = self.state.db.take() else { return Ok(()) };
        caught(&self.engine.backend, "closing the file", || Ok(db.close()?))
    }

    /// Has the disk give blocks for `bytes` more than is promised already.
    fn make_room(&mut self, bytes: u64) -> Result<(), StoreError> {
        let backend = &self.engine.backend;
        let needed_bytes = room::reach(backend.length(), self.engine.ledger.promised() + bytes);
        let Err(error) = backend.make_room(needed_bytes) else { return Ok(()) };
        let source = Arc::new(error);
        if is_no_space(&source) {
            return Err(StoreError::NoSpace { place: backend.place(), needed_bytes, source });
        }
        let error = StoreError::Io { doing: "reserving blocks", source };
        self.state.poison.get_or_insert_with(|| error.clone());
        Err(error)
    }
}

/// Does `work`; a panic of redb and every failure of the medium comes back as an error.
pub(super) fn caught<T>(
    backend: &Backend,
    doing: &'static str,
    work: impl FnOnce() -> Result<T, Stop>,
) -> Result<T, StoreError> {
    let outcome = catch_unwind(AssertUnwindSafe(work));
    // What the medium said comes before what redb made of it, and before success: redb retries some writes.
    if let Some(failure) = backend.failure() {
        return Err(StoreError::Io { doing: failure.doing, source: failure.source });
    }
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Stop::Refused(error))) => Err(error),
        Ok(Err(Stop::Engine(error))) => Err(engine_error(doing, error)),
        Err(panic) => Err(StoreError::DamagedFile { doing, detail: panic_text(panic.as_ref()) }),
    }
}

fn engine_error(doing: &'static str, error: redb::Error) -> StoreError {
    let detail = error.to_string();
    // An I/O error although the medium has not failed: redb wanted bytes that are not there, or found no database.
    // And whatever redb refuses a file for when it opens it, we did not write it like that.
    let damage = doing == OPENING || matches!(error, redb::Error::Io(_) | redb::Error::Corrupted(_));
    if damage { StoreError::DamagedFile { doing, detail } } else { StoreError::Engine { doing, detail } }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}
