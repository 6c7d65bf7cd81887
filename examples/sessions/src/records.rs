//! Keys with their counters and values, in a map that moves.

use crate::batch::Write;
use bytes::{BufMut, Bytes, BytesMut};
use paracloud_sdk::Refused;
use paracloud_sdk::state::{Map, TransactError, Txn};
use std::fmt::Write as _;

/// Bytes of a piece of an audit, about.
const PIECE_BYTES: usize = 64 * 1024;
const COUNTER_BYTES: usize = 8;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Records {
    map: Map,
}

/// A key's counter and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// How often it was written.
    pub counter: u64,
    /// What was written last.
    pub value: Bytes,
}

impl Records {
    /// Records in this map.
    pub fn new(map: Map) -> Self {
        Self { map }
    }

    /// Applies all writes or none. Returns the counters.
    ///
    /// # Errors
    /// The gate is closed.
    pub fn write(&self, writes: &[Write]) -> Result<Vec<u64>, TransactError> {
        self.map.transact(|txn| {
            let mut scratch = BytesMut::new();
            writes.iter().map(|write| raise(txn, write, &mut scratch)).collect()
        })
    }

    /// Sets records with the counter 0.
    ///
    /// # Errors
    /// The gate is closed.
    pub fn fill(&self, records: &[Write]) -> Result<(), TransactError> {
        self.map.transact(|txn| {
            let mut scratch = BytesMut::new();
            for record in records {
                put(txn, record, 0, &mut scratch);
            }
        })
    }

    /// What is held of a key.
    ///
    /// # Errors
    /// The gate is closed.
    pub fn get(&self, key: &[u8]) -> Result<Option<Held>, Refused> {
        Ok(self.map.get(key)?.map(held))
    }

    /// How many keys there are.
    ///
    /// # Errors
    /// The gate is closed.
    pub fn len(&self) -> Result<usize, Refused> {
        self.map.len()
    }

    /// Whether there is no key.
    ///
    /// # Errors
    /// The gate is closed.
    pub fn is_empty(&self) -> Result<bool, Refused> {
        self.map.is_empty()
    }

    /// The lines of an audit, in pieces. It goes through all records at once, which takes a while, and computes checksums
    /// as the pieces are taken.
    ///
    /// # Errors
    /// The gate is closed.
    pub fn audit(&self) -> Result<Audit, Refused> {
        let mut records = Vec::with_capacity(self.map.len()?);
        self.map.for_each(|key, value| records.push((Box::from(key), value)))?;
        Ok(Audit { keys: records.len(), records: records.into_iter(), has_ended: false })
    }
}

/// Pieces of an audit.
#[derive(Debug)]
pub struct Audit {
    keys: usize,
    records: std::vec::IntoIter<(Box<[u8]>, Bytes)>,
    has_ended: bool,
}

impl Iterator for Audit {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.has_ended {
            return None;
        }
        let mut piece = String::with_capacity(PIECE_BYTES + 256);
        while piece.len() < PIECE_BYTES {
            let Some((key, record)) = self.records.next() else {
                self.has_ended = true;
                writeln!(piece, "end {}", self.keys).expect("a string takes what is written");
                break;
            };
            let Held { counter, value } = held(record);
            let key = String::from_utf8_lossy(&key);
            let crc32 = crc32fast::hash(&value);
            writeln!(piece, "{key} {counter} {crc32:08x}").expect("a string takes what is written");
        }
        Some(piece.into())
    }
}

fn raise(txn: &mut Txn<'_>, write: &Write, scratch: &mut BytesMut) -> u64 {
    let counter = txn.get(&write.key).map_or(0, |record| held(record).counter) + 1;
    put(txn, write, counter, scratch);
    counter
}

fn put(txn: &mut Txn<'_>, write: &Write, counter: u64, scratch: &mut BytesMut) {
    scratch.clear();
    scratch.put_u64(counter);
    scratch.put_slice(&write.value);
    txn.put(&write.key, &scratch);
}

/// A record is the counter, big-endian, and the value.
fn held(mut record: Bytes) -> Held {
    let value = record.split_off(record.len().min(COUNTER_BYTES));
    Held { counter: record.as_ref().try_into().map_or(0, u64::from_be_bytes), value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_sdk::Paci;

    fn records() -> Records {
        // Without a cloud the gate is open and the map is a plain one.
        Records::new(Paci::from_env().unwrap().map("records").unwrap())
    }

    fn write(key: &'static str, value: &'static str) -> Write {
        Write { key: key.into(), value: value.into() }
    }

    #[test]
    fn each_write_raises_its_counter_also_within_one_request() {
        let records = records();
        assert_eq!(records.write(&[write("a", "1"), write("b", "2"), write("a", "3")]).unwrap(), [1, 1, 2]);
        assert_eq!(records.write(&[write("a", "4")]).unwrap(), [3]);
        assert_eq!(records.get(b"a").unwrap(), Some(Held { counter: 3, value: "4".into() }));
        assert_eq!(records.get(b"c").unwrap(), None);
    }

    #[test]
    fn an_audit_names_each_key_once_and_says_when_it_is_whole() {
        let records = records();
        records.fill(&[write("k0", "hello")]).unwrap();
        let text: Vec<u8> = records.audit().unwrap().flatten().collect();
        assert_eq!(text, b"k0 0 3610a686\nend 1\n");
    }

    #[test]
    fn a_large_audit_comes_in_pieces() {
        let records = records();
        for number in 0..5_000 {
            let key = format!("key-{number}").into();
            records.write(&[Write { key, value: Bytes::new() }]).unwrap();
        }
        let pieces: Vec<_> = records.audit().unwrap().collect();
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() <= PIECE_BYTES + 256));
        assert_eq!(pieces.concat().iter().filter(|byte| **byte == b'\n').count(), 5_001);
    }
}
