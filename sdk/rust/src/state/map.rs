//! A map whose content moves with the instance.

use super::record::RECORD_BYTES_MAX;
use super::table::Table;
use super::txn::{Inside, Txn};
use crate::gate::Gate;
use crate::guard::{Guard, Refused};
use bytes::Bytes;
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
    /// It began inside of another one: in its closure, on whatever map.
    #[error(
        "a transaction (transact, put, delete, set or update) inside of another one's closure: it would wait for ever; \
         begin it when the other one has ended, or keep what changes together in one map"
    )]
    Nested,
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

    /// Calls `visit` with each key and value, in no order. No lock is held meanwhile: `visit` may use this map and others,
    /// and change them.
    ///
    /// A record that is there from the beginning to the end is met once, with a value that it had meanwhile. One that
    /// comes or goes meanwhile may be met or not, and one that goes and comes again even twice; whatever comes, the visit
    /// ends. So what is met is not what was there at one moment, unless nothing changes. The visit keeps a few hundred
    /// records at a time, which are not copied.
    ///
    /// # Errors
    /// The gate is closed.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], Bytes)) -> Result<(), Refused> {
        let _guard = Guard::enter(&self.gate, self.table.name())?;
        self.table.each(|record| visit(record.key(), record.value()));
        Ok(())
    }

    /// Reads and changes records as one step: transactions on a map follow each other, and what one changes is applied
    /// after its closure ended. If the closure panics nothing is applied.
    ///
    /// The closure may read every map. In it a transaction on this map or another one, [`Map::put`] and [`Map::delete`]
    /// included, is an error at once. The closure should be short, for others wait for its end; and it must not wait for
    /// another thread that changes the same map, because nobody can see that and both would wait for ever.
    ///
    /// # Errors
    /// The gate is closed, a record is too large, or the transaction began inside of another one. Nothing was applied.
    pub fn transact<T>(&self, work: impl FnOnce(&mut Txn<'_>) -> T) -> Result<T, TransactError> {
        let done: Result<Result<T, std::convert::Infallible>, _> = self.try_transact(|txn| Ok(work(txn)));
        done.map(|Ok(value)| value)
    }

    /// As [`Map::transact`], but nothing is applied if the closure gives an error.
    ///
    /// # Errors
    /// As [`Map::transact`].
    pub fn try_transact<T, E>(
        &self,
        work: impl FnOnce(&mut Txn<'_>) -> Result<T, E>,
    ) -> Result<Result<T, E>, TransactError> {
        let _inside = Inside::enter().ok_or(TransactError::Nested)?;
        let guard = Guard::enter(&self.gate, self.table.name())?;
        let _writer = self.table.writer();
        let mut txn = Txn::new(&self.table);
        let value = match work(&mut txn) {
            Ok(value) => value,
            Err(error) => return Ok(Err(error)),
        };
        let changes = txn.changes()?;
        if !changes.is_empty() {
            guard.note_change();
            self.table.apply(&changes);
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

    /// Does work that may hang if it is wrong.
    fn bounded(work: impl FnOnce() + Send + 'static) {
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            work();
            let _ = done.send(());
        });
        is_done.recv_timeout(std::time::Duration::from_secs(60)).expect("it ends, and does not fail");
    }

    #[test]
    fn what_is_visited_may_be_read_and_changed_meanwhile() {
        bounded(|| {
            let (map, _) = map();
            (0..2_000_u32).for_each(|key| map.put(key.to_be_bytes(), "old").unwrap());
            let mut met = std::collections::BTreeSet::new();
            map.for_each(|key, value| {
                assert_eq!(value, "old");
                assert_eq!(map.get(key).unwrap().unwrap(), "old");
                map.put(key, "new").unwrap();
                assert!(met.insert(key.to_vec()), "{key:?} is met twice");
            })
            .unwrap();
            assert_eq!(met.len(), 2_000);
            map.for_each(|key, value| {
                assert_eq!(value, "new");
                map.delete(key).unwrap();
            })
            .unwrap();
            assert_eq!(map.len(), Ok(0));
        });
    }

    #[test]
    fn a_visit_that_adds_records_ends() {
        bounded(|| {
            let (map, _) = map();
            (0..1_000_u32).for_each(|key| map.put(key.to_be_bytes(), "").unwrap());
            let mut met = 0_u32;
            map.for_each(|_, _| {
                met += 1;
                map.put((1_000 + met).to_be_bytes(), "").unwrap();
            })
            .unwrap();
            assert_eq!(met, 1_000);
        });
    }

    #[test]
    fn a_transaction_inside_of_another_one_is_refused_at_once_on_whatever_map() {
        bounded(|| {
            let gate = Arc::new(Gate::new(true));
            let new = |name| Map::new(Arc::new(Table::new(name)), gate.clone());
            let (one, other) = (new("one"), new("other"));
            other.put("k", "1").unwrap();
            one.transact(|txn| {
                txn.put("k", "2");
                for inner in [&other, &one] {
                    assert_eq!(inner.put("k", "3"), Err(TransactError::Nested));
                    assert_eq!(inner.delete("k"), Err(TransactError::Nested));
                    assert_eq!(inner.transact(|_| unreachable!("it is refused")), Err(TransactError::Nested));
                }
                other.for_each(|_, _| assert_eq!(one.put("k", "3"), Err(TransactError::Nested))).unwrap();
                assert_eq!(other.get("k").unwrap().unwrap(), "1", "reading is no transaction");
            })
            .unwrap();
            assert_eq!(one.get("k").unwrap().unwrap(), "2");
            assert_eq!(other.put("k", "4"), Ok(()), "the other one has ended");
        });
    }

    #[test]
    fn who_panicked_in_a_transaction_can_begin_the_next() {
        let (map, _) = map();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            map.transact(|_| panic!("a handler's fault"))
        }));
        assert!(panicked.is_err());
        assert_eq!(map.put("alice", "1"), Ok(()));
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
