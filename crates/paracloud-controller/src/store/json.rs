//! Records and entries as JSON, within their bounds.

use super::error::{StoreError, Table};
use super::tables::Stop;
use super::{ENTRIES_PER_WRITE_MAX, ENTRY_BYTES_MAX, KEY_BYTES_MAX, RECORD_BYTES_MAX};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The JSON of one write.
#[derive(Debug)]
pub(super) struct Texts {
    pub(super) record: Option<Vec<u8>>,
    pub(super) entries: Vec<Vec<u8>>,
}

impl Texts {
    pub(super) fn of<R: Serialize, E: Serialize>(
        record: Option<&R>,
        journal: &[E],
    ) -> Result<Self, StoreError> {
        check_bound("journal entries in one write", journal.len() as u64, ENTRIES_PER_WRITE_MAX as u64)?;
        let record =
            record.map(|record| text("record", "bytes of a record", record, RECORD_BYTES_MAX)).transpose()?;
        let entries = journal
            .iter()
            .map(|entry| text("journal entry", "bytes of a journal entry", entry, ENTRY_BYTES_MAX))
            .collect::<Result<_, _>>()?;
        Ok(Self { record, entries })
    }

    /// Bytes of all of it.
    pub(super) fn bytes(&self) -> u64 {
        self.record.iter().chain(&self.entries).map(|text| text.len() as u64).sum()
    }
}

/// Reads a whole value as what it is meant to be.
pub(super) fn understand<T: DeserializeOwned>(table: Table, key: &str, payload: &[u8]) -> Result<T, Stop> {
    serde_json::from_slice(payload).map_err(|source| {
        let (key, source) = (key.to_owned(), Arc::new(source));
        Stop::Refused(StoreError::NotUnderstood { table, key, source })
    })
}

pub(super) fn check_key(key: &str) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::EmptyKey);
    }
    check_bound("bytes of an instance's name", key.len() as u64, KEY_BYTES_MAX as u64)
}

pub(super) fn check_bound(what: &'static str, found: u64, bound: u64) -> Result<(), StoreError> {
    if found > bound {
        return Err(StoreError::AboveBound { what, found, bound });
    }
    Ok(())
}

fn text<T: Serialize>(
    what: &'static str,
    bytes_of: &'static str,
    value: &T,
    bound: usize,
) -> Result<Vec<u8>, StoreError> {
    let text = serde_json::to_vec(value)
        .map_err(|source| StoreError::NotWritable { what, source: Arc::new(source) })?;
    check_bound(bytes_of, text.len() as u64, bound as u64)?;
    Ok(text)
}
