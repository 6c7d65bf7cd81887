//! One value that moves with the instance.

use super::map::{Map, TransactError};
use crate::guard::Refused;
use bytes::Bytes;

/// One value that moves with the instance, absent at first. Cheap to clone: clones are the same cell.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The value is the record of the empty key.
    map: Map,
}

impl Cell {
    pub(crate) fn new(map: Map) -> Self {
        Self { map }
    }

    /// The value, without a copy.
    ///
    /// # Errors
    /// The gate is closed.
    pub fn get(&self) -> Result<Option<Bytes>, Refused> {
        self.map.get("")
    }

    /// Sets the value.
    ///
    /// # Errors
    /// As [`Map::transact`].
    pub fn set(&self, value: impl AsRef<[u8]>) -> Result<(), TransactError> {
        self.map.put("", value)
    }

    /// Sets the value to what `change` makes of it, as one step, and returns that. In `change` the same holds as in the
    /// closure of [`Map::transact`].
    ///
    /// # Errors
    /// As [`Map::transact`].
    pub fn update<V: AsRef<[u8]>>(
        &self,
        change: impl FnOnce(Option<Bytes>) -> V,
    ) -> Result<V, TransactError> {
        self.map.transact(|txn| {
            let value = change(txn.get(""));
            txn.put("", &value);
            value
        })
    }
}
