//! What the tests of interleavings need of the inside: the part of a session that has no runtime.

use crate::Paci;
use crate::state::shard::Taken;
use crate::state::table::SHARDS;
use std::collections::BTreeMap;

/// What a program holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Sum of the hashes of all records.
    pub digest: u128,
    /// Changes seen.
    pub position: u64,
    /// Guards held.
    pub guards: usize,
}

/// Opens the gate.
pub fn open(paci: &Paci, incarnation: u32) {
    paci.gate().open(incarnation);
}

/// Closes the gate, as `Seal` does.
pub fn close(paci: &Paci) {
    paci.gate().close();
}

/// Waits for all guards, as `Seal` does.
pub async fn ended(paci: &Paci) {
    paci.gate().ended().await;
}

/// What is held now.
pub fn held(paci: &Paci) -> Held {
    let held = paci.store().held();
    Held { digest: held.digest, position: held.position, guards: paci.gate().held() }
}

/// A copy of one program's state, as a target would load it: records by their key.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Peer(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl Peer {
    /// Starts to copy.
    pub fn begin(paci: &Paci) -> Self {
        paci.store().begin_copy();
        Self::default()
    }

    /// Takes everything once, one record at a time.
    pub fn copy(&mut self, paci: &Paci) {
        for table in paci.store().tables() {
            for shard in 0..SHARDS {
                while !table.copy(shard, |taken| self.take(taken)) {}
            }
        }
    }

    /// Takes what changed since, one record at a time.
    pub fn drain(&mut self, paci: &Paci) {
        for table in paci.store().tables() {
            for shard in 0..SHARDS {
                while !table.drain(shard, |taken| self.take(taken)) {}
            }
        }
    }

    /// What the program holds itself.
    pub fn of(paci: &Paci) -> Self {
        let mut own = Self::default();
        for table in paci.store().tables() {
            table.each(|record| {
                own.take(Taken::Put(record));
            });
        }
        own
    }

    fn take(&mut self, taken: Taken<'_>) -> bool {
        match taken {
            Taken::Put(record) => self.0.insert(record.key().to_vec(), record.value().to_vec()),
            Taken::Delete(record) => self.0.remove(record.key()),
        };
        false
    }
}
