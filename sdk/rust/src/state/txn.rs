//! What one transaction changes before it is applied, and that one never begins inside of another.

use super::map::TransactError;
use super::record::Record;
use super::table::{Change, Table};
use crate::sync::thread_local;
use bytes::Bytes;
use hashbrown::HashTable;
use std::cell::Cell;

thread_local! {
    /// Whether the running code is a transaction's closure.
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// The running code is a transaction's closure, until this is dropped.
///
/// A transaction that began there would wait for the one that it is a part of, or, on another map, for a thread that
/// waits for this one: for ever. So there is none.
pub(crate) struct Inside(());

impl Inside {
    /// `None`: it is one already.
    pub(crate) fn enter() -> Option<Self> {
        if IS_INSIDE.with(|is_inside| is_inside.replace(true)) {
            return None;
        }
        Some(Self(()))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        IS_INSIDE.with(|is_inside| is_inside.set(false));
    }
}

/// A transaction on a [`Map`](super::Map). It sees its own changes; others see them all at its end.
#[derive(Debug)]
pub struct Txn<'a> {
    table: &'a Table,
    changes: Vec<Change>,
    /// Hash of the key and place in `changes`.
    index: HashTable<(u64, usize)>,
    scratch: Vec<u8>,
    too_large: Option<usize>,
}

impl<'a> Txn<'a> {
    pub(crate) fn new(table: &'a Table) -> Self {
        Self { table, changes: Vec::new(), index: HashTable::new(), scratch: Vec::new(), too_large: None }
    }

    /// The value of a key, without a copy.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Bytes> {
        let key = key.as_ref();
        let hash = self.table.hash(key);
        match self.find(hash, key).map(|place| &self.changes[place]) {
            Some(change) if change.live => Some(change.record.value()),
            Some(_) => None,
            None => self.table.get(hash, key).map(|record| record.value()),
        }
    }

    /// Sets a record. One larger than [`RECORD_BYTES_MAX`](super::RECORD_BYTES_MAX) fails the transaction at its end.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.change(key.as_ref(), value.as_ref(), true);
    }

    /// Deletes a record, if it is there.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.change(key.as_ref(), &[], false);
    }

    /// What it changes, each key once, if all of it can be applied.
    pub(crate) fn changes(self) -> Result<Vec<Change>, TransactError> {
        match self.too_large {
            Some(bytes) => Err(TransactError::RecordTooLarge { bytes }),
            None => Ok(self.changes),
        }
    }

    fn change(&mut self, key: &[u8], value: &[u8], live: bool) {
        let Some(record) = Record::new(key, value, &mut self.scratch) else {
            self.too_large = Some(key.len().saturating_add(value.len()));
            return;
        };
        let hash = self.table.hash(key);
        match self.find(hash, key) {
            Some(place) => self.changes[place] = Change { record, live },
            None => {
                self.index.insert_unique(hash, (hash, self.changes.len()), |(hash, _)| *hash);
                self.changes.push(Change { record, live });
            }
        }
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let same = |&(of, place): &(u64, usize)| of == hash && self.changes[place].record.key() == key;
        self.index.find(hash, same).map(|&(_, place)| place)
    }
}
