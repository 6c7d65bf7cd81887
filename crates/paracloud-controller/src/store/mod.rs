//! The durable store: register and journal of the embedded controller.
//!
//! One file, written by redb, in a directory that one process holds. A record changes by compare-and-swap together
//! with the journal entries that say why, in one durable transaction. What the store promises:
//!
//! | | |
//! |---|---|
//! | acknowledged | what [`Store::swap`] or [`Store::append`] answered `Ok` for is there after any crash |
//! | not acknowledged | wholly there or wholly absent; the caller opens the store again and reads |
//! | damaged | refused by name, never skipped; a damaged file does not open, and what was damaged later is not read |
//! | full disk | said before anything is written; what was reserved is written all the same |
//! | failed disk | the store ends: each later call answers [`StoreError::Poisoned`], nothing is retried in place |
//!
//! ```text
//!            open                          first failure of disk or file
//!   (none) ───────▶ open: all calls work ───────────────────────────────▶ poisoned: no call works ──▶ drop
//!     ▲                                                                                                │
//!     └──────────────────────────── open again, and read ◀─────────────────────────────────────────────┘
//! ```
//!
//! **What it does not see.** redb keeps one bit that says which of its two newest commits is in force, and that bit
//! has no checksum. Flipped while the file lay still after a crash, it gives back the register as it was one write
//! earlier. And a disk that acknowledges what it has not kept can lose what was acknowledged here: mostly it is found
//! at the next opening, but nobody can promise that.
//!
//! Every call blocks, a write for as long as the disk takes for two flushes: call it from a thread that may wait.

mod backend;
mod engine;
mod error;
mod frame;
mod json;
mod lock;
mod medium;
mod open;
mod room;
mod tables;

pub use error::{Fault, StoreError, Table};
pub use medium::{FileMedium, Medium, is_no_space};
pub use open::Options;
pub use room::Reservation;

use engine::{Engine, Turn};
use json::{Texts, check_bound, check_key, understand};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::Range;

/// The most bytes of an instance's name.
pub const KEY_BYTES_MAX: usize = 253;
/// The most bytes of one record's JSON.
pub const RECORD_BYTES_MAX: usize = 64 << 10;
/// The most bytes of one journal entry's JSON.
pub const ENTRY_BYTES_MAX: usize = 16 << 10;
/// The most records in the register; a new one beyond is refused.
pub const RECORDS_MAX: u64 = 65_536;
/// The most entries in the journal; each write drops the oldest beyond.
pub const JOURNAL_ENTRIES_MAX: u64 = 16_384;
/// The most entries that one call appends.
pub const ENTRIES_PER_WRITE_MAX: usize = 64;
/// The most entries that one call reads.
pub const ENTRIES_PER_READ_MAX: usize = 1024;
/// The most writes, and the most bytes of JSON, of one reservation.
pub const RESERVED_WRITES_MAX: u32 = 1024;
/// See [`RESERVED_WRITES_MAX`].
pub const RESERVED_BYTES_MAX: u64 = 64 << 20;

/// What became of a compare-and-swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap<R> {
    /// The record was as expected; it and the journal entries are durable.
    Applied,
    /// The record is another one, or there is none. Nothing was written.
    Refused(Option<R>),
}

/// Records of type `R` by instance name, and a journal of entries of type `E`.
///
/// Both are kept as JSON. `R` is compared by `==`, so all of it that matters must take part in that.
#[derive(Debug)]
pub struct Store<R, E> {
    engine: Engine,
    created: bool,
    holds: PhantomData<fn() -> (R, E)>,
}

impl<R, E> Store<R, E>
where
    R: Serialize + DeserializeOwned + PartialEq,
    E: Serialize + DeserializeOwned,
{
    /// Whether this opening made the store: it holds nothing of what a store before it knew.
    pub fn was_created(&self) -> bool {
        self.created
    }

    /// Replaces the record of `key` by `new` if it is `expected` (`None`: if there is none), and appends `journal`.
    ///
    /// On success both are durable. A refusal tells the record there is, and nothing is written, not even the journal
    /// entries. After an error that [`StoreError::poisons`], the swap is wholly there or wholly absent.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSpace`] if the disk may not have room for it and for all that is reserved;
    /// [`StoreError::Damaged`] or [`StoreError::NotUnderstood`] if the record cannot be compared;
    /// [`StoreError::AboveBound`], [`StoreError::EmptyKey`], [`StoreError::NotWritable`] for what is not storable.
    pub fn swap(
        &self,
        key: &str,
        expected: Option<&R>,
        new: &R,
        journal: &[E],
    ) -> Result<Swap<R>, StoreError> {
        self.swap_drawing(None, key, expected, new, journal)
    }

    /// [`Store::swap`], in the room of a reservation: it does not fail for want of space as long as `room` lasts, and
    /// spends of it what it writes. Beyond that it asks the disk like any other write.
    ///
    /// # Errors
    ///
    /// As [`Store::swap`].
    pub fn swap_within(
        &self,
        room: &mut Reservation,
        key: &str,
        expected: Option<&R>,
        new: &R,
        journal: &[E],
    ) -> Result<Swap<R>, StoreError> {
        self.swap_drawing(Some(room), key, expected, new, journal)
    }

    /// Appends to the journal, durably, and says the number of its last entry (0 if it has never had one).
    ///
    /// # Errors
    ///
    /// As [`Store::swap`], but there is no record to compare.
    pub fn append(&self, journal: &[E]) -> Result<u64, StoreError> {
        self.append_drawing(None, journal)
    }

    /// [`Store::append`], in the room of a reservation; see [`Store::swap_within`].
    ///
    /// # Errors
    ///
    /// As [`Store::append`].
    pub fn append_within(&self, room: &mut Reservation, journal: &[E]) -> Result<u64, StoreError> {
        self.append_drawing(Some(room), journal)
    }

    /// The record of `key`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] or [`StoreError::NotUnderstood`] if it is there and cannot be used.
    pub fn get(&self, key: &str) -> Result<Option<R>, StoreError> {
        check_key(key)?;
        let mut turn = self.engine.turn()?;
        current(&mut turn, key)
    }

    /// Every record, by name. One that cannot be used fails the call: the others alone would look like all.
    ///
    /// # Errors
    ///
    /// As [`Store::get`], and [`StoreError::Damaged`] if there are not as many as there must be.
    pub fn all(&self) -> Result<BTreeMap<String, R>, StoreError> {
        let mut turn = self.engine.turn()?;
        let head = turn.head();
        turn.read("reading the register", |db| {
            let mut all = BTreeMap::new();
            tables::records(db, head, |key, value| {
                all.insert(key.to_owned(), understand(Table::Register, key, &value.payload)?);
                Ok(())
            })?;
            Ok(all)
        })
    }

    /// The numbers of the entries that the journal keeps. The first is 1 until entries were trimmed.
    ///
    /// # Errors
    ///
    /// Only [`StoreError::Poisoned`].
    pub fn journal(&self) -> Result<Range<u64>, StoreError> {
        let head = self.engine.turn()?.head();
        Ok(head.oldest..head.next)
    }

    /// Journal entries with their numbers, in order, from number `from` on: at most `count`, and at most
    /// [`ENTRIES_PER_READ_MAX`]. Nothing if there are none yet; go on from the last number plus one.
    ///
    /// # Errors
    ///
    /// [`StoreError::Trimmed`] if `from` is older than what is kept; [`StoreError::Damaged`] or
    /// [`StoreError::NotUnderstood`] if one of them cannot be used.
    pub fn entries(&self, from: u64, count: usize) -> Result<Vec<(u64, E)>, StoreError> {
        let mut turn = self.engine.turn()?;
        let head = turn.head();
        if from < head.oldest {
            return Err(StoreError::Trimmed { asked: from, oldest: head.oldest });
        }
        let until = head.next.min(from.saturating_add(count.min(ENTRIES_PER_READ_MAX) as u64));
        turn.read("reading the journal", |db| {
            let mut found = Vec::new();
            tables::entries(db, from, until, |number, value| {
                found.push((number, understand(Table::Journal, &number.to_string(), &value.payload)?));
                Ok(())
            })?;
            Ok(found)
        })
    }

    /// Sets blocks of the disk aside for `writes` writes to come, of `bytes` bytes of JSON between them (records and
    /// entries). When it has succeeded, those writes succeed on a disk that has become full, whatever is written
    /// beside them. Ask *before* the point from which an outcome must be written.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSpace`] if the disk has not got the blocks: nothing has changed, and nothing needs undoing.
    /// [`StoreError::AboveBound`] beyond [`RESERVED_WRITES_MAX`] or [`RESERVED_BYTES_MAX`].
    pub fn reserve(&self, writes: u32, bytes: u64) -> Result<Reservation, StoreError> {
        check_bound("writes in one reservation", u64::from(writes), u64::from(RESERVED_WRITES_MAX))?;
        check_bound("bytes in one reservation", bytes, RESERVED_BYTES_MAX)?;
        self.engine.turn()?.reserve(writes, bytes)
    }

    /// Closes the file. Dropping the store does the same but cannot say if it failed; either way nothing that was
    /// acknowledged depends on it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] and the like if the file could not be closed in good order; it is repaired when opened.
    pub fn close(self) -> Result<(), StoreError> {
        self.engine.turn()?.close()
    }

    fn swap_drawing(
        &self,
        room: Option<&mut Reservation>,
        key: &str,
        expected: Option<&R>,
        new: &R,
        journal: &[E],
    ) -> Result<Swap<R>, StoreError> {
        check_key(key)?;
        let texts = Texts::of(Some(new), journal)?;
        let mut turn = self.engine.turn()?;
        let current = current(&mut turn, key)?;
        if current.as_ref() != expected {
            return Ok(Swap::Refused(current));
        }
        if current.is_none() {
            check_bound("records in the register", turn.head().records + 1, RECORDS_MAX)?;
        }
        turn.write(room, Some((key, current.is_none())), &texts)?;
        Ok(Swap::Applied)
    }

    fn append_drawing(&self, room: Option<&mut Reservation>, journal: &[E]) -> Result<u64, StoreError> {
        let texts = Texts::of(None::<&R>, journal)?;
        let mut turn = self.engine.turn()?;
        if !journal.is_empty() {
            turn.write(room, None, &texts)?;
        }
        Ok(turn.head().next - 1)
    }
}

fn current<R: DeserializeOwned>(turn: &mut Turn<'_>, key: &str) -> Result<Option<R>, StoreError> {
    let head = turn.head();
    turn.read("reading a record", |db| {
        let value = tables::record(db, head, key)?;
        value.map(|value| understand(Table::Register, key, &value.payload)).transpose()
    })
}
