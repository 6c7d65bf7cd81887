//! A map whose content moves with the instance.

use super::record::{RECORD_BYTES_MAX, Record};
use super::table::{Change, Table};
use crate::gate::Gate;
use crate::guard::{Guard, Refused};
use bytes::Bytes;
use hashbrown::HashTable;
use std::sync::Arc;

/// A map from bytes to bytes that moves with the instance. Cheap to clone: clones are the same map.
///
/// Every access happens under a guard: the one that the running request holds already, or one of its own. While the gate
/// is closed everything is refused, reads and writes alike.
#[derive(Debug, Clone)]
pub struct Map {
    table: Arc<Table>,
    gate: Arc<Gate>,
}

/// Why a transaction was not applied. Nothing of it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransactError {
    /// The gate is closed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A record passes its bound.
    #[error("a record of {bytes} bytes in a transaction, at most {RECORD_BYTES_MAX}")]
    RecordTooLarge {
        /// Key and value.
        bytes: usize,
    },
}

impl Map {
    pub(crate) fn new(table: Arc<Table>, gate: Arc<Gate>) -> Self {
        Self { table, gate }
    }

    /// The value of a key, without a copy.
    ///
    /// # Errors
    /// The gate is closed.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Refused> {
        let _guard = Guard::enter(&self.gate, self.table.name())?;
        let key = key.as_ref();
        Ok(self.table.get(self.table.hash(key), key).map(|record| record.value()))
    }

    /// How many records it holds.
    ///
    /// # Errors
    /// The gate is closed.
    pub fn len(&self) -> Result<usize, Refused> {
        let _guard = Guard::enter(&self.gate, self.table.name())?;
        Ok(self.table.held().records)
    }

    /// Whether it holds no record.
    ///
    /// # Errors
    /// The gate is closed.
    pub fn is_empty(&self) -> Result<bool, Refused> {
        Ok(self.len()? == 0)
    }

    /// Calls `visit` with each key and value, in no order. Records that change meanwhile are met before or after their
    /// change.
    ///
    /// # Errors
    /// The gate is closed.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], Bytes)) -> Result<(), Refused> {
        let _guard = Guard::enter(&self.gate, self.table.name())?;
        self.table.each(|record| visit(record.key(), record.value()));
        Ok(())
    }

    /// Reads and changes records as one step: transactions on a map follow each other, and what one changes is applied
    /// after its closure ended. If the closure panics nothing is applied. The closure should be short; it must not start
    /// another transaction on the same map.
    ///
    /// # Errors
    /// The gate is closed, or a record is too large. Nothing was applied.
    pub fn transact<T>(&self, work: impl FnOnce(&mut Txn<'_>) -> T) -> Result<T, TransactError> {
        let done: Result<Result<T, std::convert::Infallible>, _> = self.try_transact(|txn| Ok(work(txn)));
        done.map(|Ok(value)| value)
    }

    /// As [`Map::transact`], but nothing is applied if the closure gives an error.
    ///
    /// # Errors
    /// The gate is closed, or a record is too large. Nothing was applied.
    pub fn try_transact<T, E>(
        &self,
        work: impl FnOnce(&mut Txn<'_>) -> Result<T, E>,
    ) -> Result<Result<T, E>, TransactError> {
        let guard = Guard::enter(&self.gate, self.table.name())?;
        let _writer = self.table.writer();
        let mut txn = Txn::new(&self.table);
        let value = match work(&mut txn) {
            Ok(value) => value,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(bytes) = txn.too_large {
            return Err(TransactError::RecordTooLarge { bytes });
        }
        if !txn.changes.is_empty() {
            guard.note_change();
            self.table.apply(&txn.changes);
        }
        Ok(Ok(value))
    }

    /// Sets one record.
    ///
    /// # Errors
    /// As [`Map::transact`].
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), TransactError> {
        self.transact(|txn| txn.put(key, value))
    }

    /// Deletes one record, if it is there.
    ///
    /// # Errors
    /// As [`Map::transact`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<(), TransactError> {
        self.transact(|txn| txn.delete(key))
    }
}

/// A transaction on a [`Map`]. It sees its own changes; others see them all at its end.
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

    /// Sets a record. One larger than [`RECORD_BYTES_MAX`] fails the transaction at its end.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.change(key.as_ref(), value.as_ref(), true);
    }

    /// Deletes a record, if it is there.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.change(key.as_ref(), &[], false);
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

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    fn map() -> (Map, Arc<Gate>) {
        let gate = Arc::new(Gate::new(true));
        (Map::new(Arc::new(Table::new("accounts")), gate.clone()), gate)
    }

    #[test]
    fn a_transaction_sees_its_own_changes_and_others_see_them_at_its_end() {
        let (map, _) = map();
        map.put("alice", "100").unwrap();
        map.transact(|txn| {
            txn.put("alice", "60");
            txn.put("bob", "40");
            txn.delete("alice");
            txn.put("alice", "61");
            assert_eq!(txn.get("alice").unwrap(), "61");
            assert_eq!(map.get("alice").unwrap().unwrap(), "100");
            assert_eq!(map.get("bob").unwrap(), None);
        })
        .unwrap();
        assert_eq!(map.get("alice").unwrap().unwrap(), "61");
        assert_eq!(map.get("bob").unwrap().unwrap(), "40");
        assert_eq!(map.len(), Ok(2));
    }

    #[test]
    fn a_transaction_that_fails_or_panics_changes_nothing() {
        let (map, gate) = map();
        map.put("alice", "100").unwrap();
        let failed: Result<(), &str> = map
            .try_transact(|txn| {
                txn.put("alice", "0");
                Err("no")
            })
            .unwrap();
        assert_eq!(failed, Err("no"));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            map.transact(|txn| {
                txn.put("alice", "0");
                panic!("a handler's fault");
            })
        }));
        assert!(panicked.is_err());
        let too_large = map.transact(|txn| {
            txn.put("alice", "0");
            txn.put("big", vec![0; RECORD_BYTES_MAX]);
        });
        assert!(matches!(too_large, Err(TransactError::RecordTooLarge { .. })));
        assert_eq!(map.get("alice").unwrap().unwrap(), "100");
        assert_eq!(gate.held(), 0);
    }

    #[test]
    fn a_closed_gate_refuses_reads_and_writes_alike() {
        let (map, gate) = map();
        gate.open(7);
        gate.close();
        let refused = Refused { incarnation: 7 };
        assert_eq!(map.get("alice"), Err(refused));
        assert_eq!(map.len(), Err(refused));
        assert_eq!(map.put("alice", "1"), Err(refused.into()));
        assert_eq!(map.delete("alice"), Err(refused.into()));
        assert_eq!(map.for_each(|_, _| unreachable!("it is refused")), Err(refused));
    }

    #[test]
    fn a_transaction_inside_a_guard_is_applied_after_the_gate_was_closed() {
        let (map, gate) = map();
        let guard = Guard::enter(&gate, "POST /transfer").unwrap();
        gate.close();
        guard.run(|| map.put("alice", "1")).unwrap();
        assert!(guard.has_changed());
        assert!(map.put("bob", "1").is_err());
    }
}
