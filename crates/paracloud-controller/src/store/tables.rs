//! The tables in redb, and the one transaction that changes them.
//!
//! Register and journal hold what their names say. The head is one record that says how many records there are, which
//! journal entries are kept and how many writes there were: so a record that is missing is missed, where a checksum
//! only sees one that is there and wrong.
//!
//! # Which of redb's commits
//!
//! Every write is one *two-phase* commit without quick repair. Microseconds of a durable write of one record and one
//! entry of 300 bytes each, by `examples/store_bench.rs` on a shared machine of 2 cores (ext4 on a virtual disk), 3000
//! writes of each kind in turns, in a quiet hour (in a noisy one `Store::swap` took 411 and 1664):
//!
//! | | median | p99 |
//! |---|---:|---:|
//! | append to a plain file, `fdatasync` | 132 | 214 |
//! | redb, one-phase | 185 | 294 |
//! | redb, two-phase | 272 | 364 |
//! | redb, quick repair | 322 | 434 |
//! | `Store::swap` (two-phase) | 282 | 395 |
//!
//! - *One-phase* writes pages and header together and lets the checksums decide after a crash. A page of the last
//!   commit that was damaged later then looks like a commit that never finished: redb goes back to the one before and
//!   says nothing, and an acknowledged swap is gone. In our store that is the one thing that must not happen.
//! - *Two-phase* flushes the pages before the header names them. What the header names was whole, so damage to it is
//!   an error (`a_flipped_byte_is_refused_or_harmless_also_after_a_kill` fails with one-phase commits).
//! - *Quick repair* is two-phase and also stores the allocator's state with each commit, to spare the walk over the
//!   file when it is opened after a crash. Our file is some megabytes, and we walk it at every opening anyway: 7 ms
//!   for 2000 records and a full journal.

use super::error::{Fault, StoreError, Table};
use super::frame::{self, Value};
use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    WriteTransaction,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Two-phase commits, for the reason above.
const TWO_PHASE: bool = true;

/// Entries trimmed by one write at most, so that a smaller bound does not make one write long: the journal then
/// reaches its bound over the next writes.
const TRIMMED_PER_WRITE_MAX: u64 = 256;

pub(super) const REGISTER: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("register");
pub(super) const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");
pub(super) const HEAD: TableDefinition<'_, (), &[u8]> = TableDefinition::new("head");

/// What must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// How many writes there were; the number of the last one.
    pub(super) write: u64,
    /// How many records the register has.
    pub(super) records: u64,
    /// The oldest entry the journal keeps. Entries are numbered from 1, without a hole.
    pub(super) oldest: u64,
    /// The number the next entry gets.
    pub(super) next: u64,
}

impl Head {
    const EMPTY: Self = Self { write: 0, records: 0, oldest: 1, next: 1 };
}

/// Why a piece of work on the tables stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// redb stopped it.
    Engine(redb::Error),
    /// We did.
    Refused(StoreError),
}

impl<E: Into<redb::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Engine(error.into())
    }
}

/// Turns what is wrong with one value into the error that names it.
pub(super) fn damaged(table: Table, key: impl ToString) -> impl FnOnce(Fault) -> Stop {
    let key = key.to_string();
    move |fault| Stop::Refused(StoreError::Damaged { table, key, fault })
}

/// What one write brings, framed nowhere yet: JSON texts.
pub(super) struct Change<'a> {
    /// The record to write, and whether its key has none yet.
    pub(super) record: Option<(&'a str, &'a [u8], bool)>,
    /// The entries to append.
    pub(super) entries: &'a [Vec<u8>],
    /// How many entries to keep.
    pub(super) keep: u64,
}

/// Makes the tables in a new database.
pub(super) fn create(db: &Database) -> Result<Head, Stop> {
    let txn = begin(db)?;
    txn.open_table(REGISTER)?;
    txn.open_table(JOURNAL)?;
    put_head(&txn, Head::EMPTY)?;
    txn.commit()?;
    Ok(Head::EMPTY)
}

/// The record of `key`, checked.
pub(super) fn record(db: &Database, head: Head, key: &str) -> Result<Option<Value>, Stop> {
    let table = db.begin_read()?.open_table(REGISTER)?;
    table.get(key)?.map(|bytes| read_record(head, key, bytes.value())).transpose()
}

/// Every record, checked, and that there are as many as there must be.
pub(super) fn records(
    db: &Database,
    head: Head,
    mut each: impl FnMut(&str, Value) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let table = db.begin_read()?.open_table(REGISTER)?;
    let mut found = 0;
    // One more than there must be is enough to know.
    for item in table.iter()?.take(usize::try_from(head.records).unwrap_or(usize::MAX).saturating_add(1)) {
        let (key, bytes) = item?;
        each(key.value(), read_record(head, key.value(), bytes.value())?)?;
        found += 1;
    }
    if found != head.records {
        return Err(damaged(Table::Register, "*")(Fault::Count { expected: head.records, found }));
    }
    Ok(())
}

fn read_record(head: Head, key: &str, bytes: &[u8]) -> Result<Value, Stop> {
    let value =
        frame::decode(Table::Register, key.as_bytes(), bytes).map_err(damaged(Table::Register, key))?;
    if value.sequence > head.write {
        let fault = Fault::Sequence { expected: head.write, found: value.sequence };
        return Err(damaged(Table::Register, key)(fault));
    }
    Ok(value)
}

/// The entries `from` to `until` (exclusive), which must be kept, checked, and without a hole.
pub(super) fn entries(
    db: &Database,
    from: u64,
    until: u64,
    mut each: impl FnMut(u64, Value) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let table = db.begin_read()?.open_table(JOURNAL)?;
    let mut items = table.range(from..until)?;
    for number in from..until {
        let missing = || damaged(Table::Journal, number)(Fault::Missing);
        let (key, bytes) = items.next().transpose()?.ok_or_else(missing)?;
        if key.value() != number {
            return Err(missing());
        }
        let value = frame::decode(Table::Journal, &number.to_le_bytes(), bytes.value())
            .map_err(damaged(Table::Journal, number))?;
        if value.sequence != number {
            let fault = Fault::Sequence { expected: number, found: value.sequence };
            return Err(damaged(Table::Journal, number)(fault));
        }
        each(number, value)?;
    }
    Ok(())
}

/// That the journal has no more entries than it must have.
pub(super) fn count_entries(db: &Database, head: Head) -> Result<(), Stop> {
    let (expected, found) = (head.next - head.oldest, db.begin_read()?.open_table(JOURNAL)?.len()?);
    if found != expected {
        return Err(damaged(Table::Journal, "*")(Fault::Count { expected, found }));
    }
    Ok(())
}

/// The head, checked.
pub(super) fn head(db: &Database) -> Result<Head, Stop> {
    let table = db.begin_read()?.open_table(HEAD)?;
    let bytes = table.get(())?.ok_or_else(|| damaged(Table::Head, "")(Fault::Missing))?;
    let value = frame::decode(Table::Head, &[], bytes.value()).map_err(damaged(Table::Head, ""))?;
    let head: Head = serde_json::from_slice(&value.payload).map_err(|source| {
        let source = Arc::new(source);
        Stop::Refused(StoreError::NotUnderstood { table: Table::Head, key: String::new(), source })
    })?;
    if head.write != value.sequence {
        return Err(damaged(Table::Head, "")(Fault::Sequence {
            expected: head.write,
            found: value.sequence,
        }));
    }
    Ok(head)
}

/// Writes `change` in one durable transaction, and says what must be there now.
pub(super) fn write(db: &Database, head: Head, change: &Change<'_>) -> Result<Head, Stop> {
    let mut head = Head { write: head.write + 1, ..head };
    let txn = begin(db)?;
    if let Some((key, payload, new)) = change.record {
        let bytes = frame::encode(Table::Register, key.as_bytes(), head.write, payload);
        txn.open_table(REGISTER)?.insert(key, bytes.as_slice())?;
        head.records += u64::from(new);
    }
    if !change.entries.is_empty() {
        let mut journal = txn.open_table(JOURNAL)?;
        for payload in change.entries {
            let bytes = frame::encode(Table::Journal, &head.next.to_le_bytes(), head.next, payload);
            journal.insert(head.next, bytes.as_slice())?;
            head.next += 1;
        }
        let surplus = (head.next - head.oldest).saturating_sub(change.keep).min(TRIMMED_PER_WRITE_MAX);
        for number in head.oldest..head.oldest + surplus {
            let removed = journal.remove(number)?.is_some();
            if !removed {
                return Err(damaged(Table::Journal, number)(Fault::Missing));
            }
        }
        head.oldest += surplus;
    }
    put_head(&txn, head)?;
    txn.commit()?;
    Ok(head)
}

fn begin(db: &Database) -> Result<WriteTransaction, Stop> {
    let mut txn = db.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    txn.set_two_phase_commit(TWO_PHASE);
    Ok(txn)
}

fn put_head(txn: &WriteTransaction, head: Head) -> Result<(), Stop> {
    let payload = serde_json::to_vec(&head).expect("four numbers are JSON");
    let bytes = frame::encode(Table::Head, &[], head.write, &payload);
    txn.open_table(HEAD)?.insert((), bytes.as_slice())?;
    Ok(())
}
