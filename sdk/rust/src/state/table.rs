//! A container's records, in shards.

use super::digest::{self, Hasher};
use super::record::Record;
use super::shard::{Held, Shard, Taken};
use crate::sync::{Mutex, MutexGuard, RwLock, lock, read, write};
use std::hash::{BuildHasher, RandomState};

/// Shards of a table. A shard's lock is held while it grows or while a piece of it is copied; so the more there are the
/// shorter is the wait.
#[cfg(not(feature = "shuttle"))]
pub(crate) const SHARDS: usize = 256;
#[cfg(feature = "shuttle")]
pub(crate) const SHARDS: usize = 2;

/// Slots of a shard that a visit looks at before it lets go of the lock: so many records it keeps at most.
#[cfg(not(feature = "shuttle"))]
const VISITED_AT_ONCE: usize = 256;
#[cfg(feature = "shuttle")]
const VISITED_AT_ONCE: usize = 1;

/// A container's records.
#[derive(Debug)]
pub(crate) struct Table {
    name: Box<str>,
    hasher: Hasher,
    keys: RandomState,
    shards: Box<[RwLock<Shard>]>,
    /// Held by who changes: transactions follow each other.
    writer: Mutex<()>,
}

/// A change of one record: its new content, or with `live` false its key's end.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) record: Record,
    pub(crate) live: bool,
}

impl Table {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            hasher: Hasher::new(name),
            keys: RandomState::new(),
            shards: (0..SHARDS).map(|_| RwLock::new(Shard::default())).collect(),
            writer: Mutex::new(()),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// Hash of a key, for [`Table::get`] and for a transaction's own index. It has nothing to do with the digest.
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.keys.hash_one(key)
    }

    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<Record> {
        read(self.shard(hash)).get(hash, key).cloned()
    }

    /// From now on until it is dropped nobody else changes this table.
    pub(crate) fn writer(&self) -> MutexGuard<'_, ()> {
        lock(&self.writer)
    }

    /// Applies changes; whoever calls it holds the writer.
    pub(crate) fn apply(&self, changes: &[Change]) {
        let live = changes.iter().filter(|change| change.live);
        let mut jobs: Vec<_> = live.map(|change| self.hasher.job(change.record.as_bytes())).collect();
        digest::all(&mut jobs);
        let mut hashed = jobs.iter().map(digest::of);
        for change in changes {
            let hash = self.hash(change.record.key());
            let mut shard = write(self.shard(hash));
            if change.live {
                let digest = hashed.next().expect("each live record was hashed");
                shard.put(hash, change.record.clone(), digest);
            } else {
                shard.delete(hash, change.record.key());
            }
        }
    }

    /// Sets a record that arrived, with its hash for the digest.
    pub(crate) fn load(&self, record: Record, digest: u128) {
        let hash = self.hash(record.key());
        write(self.shard(hash)).put(hash, record, digest);
    }

    /// Deletes a record of which it arrived that it is no more.
    pub(crate) fn unload(&self, key: &[u8]) {
        let hash = self.hash(key);
        write(self.shard(hash)).delete(hash, key);
    }

    /// Makes room for so many records.
    pub(crate) fn reserve(&self, records: usize) {
        // Keys do not spread evenly: a sixteenth more saves most shards from growing at the end.
        let each = records / SHARDS + records / SHARDS / 16;
        self.shards.iter().for_each(|shard| write(shard).reserve(each));
    }

    /// Takes the content of another table in the place of its own.
    pub(crate) fn install(&self, staged: Self) {
        let _writer = self.writer();
        let Self { shards, keys, .. } = staged;
        debug_assert_eq!(keys.hash_one(0), self.keys.hash_one(0), "staged tables share the keys' hash");
        for (own, staged) in self.shards.iter().zip(shards) {
            *write(own) = staged.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// An empty table of the same name and hash, to be filled and then installed.
    pub(crate) fn staging(&self) -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::new(Shard::default())).collect();
        Self {
            name: self.name.clone(),
            hasher: self.hasher.clone(),
            keys: self.keys.clone(),
            shards,
            writer: Mutex::new(()),
        }
    }

    /// What it holds, shard by shard: exact when nobody changes it.
    pub(crate) fn held(&self) -> Held {
        self.shards.iter().fold(Held::default(), |sum, shard| {
            let held = read(shard).held();
            Held {
                digest: sum.digest.wrapping_add(held.digest),
                position: sum.position.wrapping_add(held.position),
                records: sum.records + held.records,
                bytes: sum.bytes + held.bytes,
                remaining: sum.remaining + held.remaining,
            }
        })
    }

    /// Calls `visit` with each record, and holds no lock meanwhile: `visit` may read and change this table.
    ///
    /// A record that is there all the time is met once, because it never leaves its slot. Slots that are new since the
    /// beginning are passed over, so that the visit ends whatever `visit` adds.
    pub(crate) fn each(&self, mut visit: impl FnMut(&Record)) {
        let ends: Vec<_> = self.shards.iter().map(|shard| read(shard).slots()).collect();
        let mut taken = Vec::with_capacity(VISITED_AT_ONCE);
        for (shard, end) in self.shards.iter().zip(ends) {
            for from in (0..end).step_by(VISITED_AT_ONCE) {
                taken.extend(read(shard).records(from, VISITED_AT_ONCE.min(end - from)).cloned());
                taken.drain(..).for_each(|record| visit(&record));
            }
        }
    }

    pub(crate) fn begin_copy(&self) {
        self.shards.iter().for_each(|shard| write(shard).begin_copy());
    }

    pub(crate) fn end_copy(&self) {
        self.shards.iter().for_each(|shard| write(shard).end_copy());
    }

    /// Gives the next piece of a shard to `take` until that has enough. Whether the shard is through.
    pub(crate) fn copy(&self, shard: usize, take: impl FnMut(Taken<'_>) -> bool) -> bool {
        write(&self.shards[shard]).copy(take)
    }

    /// Gives what a copy has not met or what changed behind it to `take` until that has enough. Whether there was no
    /// more.
    pub(crate) fn drain(&self, shard: usize, mut take: impl FnMut(Taken<'_>) -> bool) -> bool {
        if read(&self.shards[shard]).held().remaining == 0 {
            return true;
        }
        let mut shard = write(&self.shards[shard]);
        // Records that are new since the cursor was through lie before it.
        shard.copy(&mut take) && shard.drain(take)
    }

    /// The upper bits choose the shard; the index within uses the lower ones.
    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        &self.shards[usize::try_from(hash >> 48).expect("16 bits fit") % SHARDS]
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn change(key: u8, value: Option<u8>) -> Change {
        let record = Record::new(&[key], value.as_slice(), &mut Vec::new()).expect("it is small");
        Change { record, live: value.is_some() }
    }

    /// Content by key, as a peer would have it that got what a copy takes.
    #[derive(Default)]
    struct Peer(HashMap<Vec<u8>, Vec<u8>>);

    impl Peer {
        fn take(&mut self, taken: Taken<'_>) -> bool {
            match taken {
                Taken::Put(record) => self.0.insert(record.key().to_vec(), record.as_bytes().to_vec()),
                Taken::Delete(record) => self.0.remove(record.key()),
            };
            false
        }
    }

    fn content(table: &Table) -> HashMap<Vec<u8>, Vec<u8>> {
        let mut all = HashMap::new();
        table.each(|record| {
            all.insert(record.key().to_vec(), record.as_bytes().to_vec());
        });
        all
    }

    proptest! {
        #[test]
        fn the_digest_says_what_is_held_and_not_how_it_came_about(
            changes in prop::collection::vec((0..16_u8, prop::option::of(0..4_u8)), 0..100),
        ) {
            let table = Table::new("t");
            for &(key, value) in &changes {
                table.apply(&[change(key, value)]);
            }
            let mut expected = HashMap::new();
            for &(key, value) in &changes {
                match value {
                    Some(value) => expected.insert(vec![key], change(key, Some(value)).record),
                    None => expected.remove(&[key][..]),
                };
            }
            let fresh = Table::new("t");
            for record in expected.values() {
                fresh.apply(&[Change { record: record.clone(), live: true }]);
            }
            prop_assert_eq!(content(&fresh), content(&table));
            prop_assert_eq!(fresh.held().digest, table.held().digest);
            prop_assert_eq!(fresh.held().bytes, table.held().bytes);
            if content(&table).is_empty() {
                prop_assert_eq!(table.held().digest, 0);
            }
        }

        #[test]
        fn a_copy_that_runs_beside_changes_ends_with_what_is_held(
            steps in prop::collection::vec((0..24_u8, prop::option::of(0..4_u8), 0..3_u8), 0..200),
        ) {
            let table = Table::new("t");
            for key in 0..16 {
                table.apply(&[change(key, Some(9))]);
            }
            let mut peer = Peer::default();
            table.begin_copy();
            for (key, value, pieces) in steps {
                table.apply(&[change(key, value)]);
                for _ in 0..pieces {
                    let shard = usize::from(key) % SHARDS;
                    table.copy(shard, |taken| peer.take(taken));
                    table.drain(shard, |taken| peer.take(taken));
                }
            }
            for shard in 0..SHARDS {
                while !table.drain(shard, |taken| peer.take(taken)) {}
            }
            prop_assert_eq!(table.held().remaining, 0);
            prop_assert_eq!(peer.0, content(&table));
        }
    }

    #[test]
    fn two_equal_records_do_not_cancel_each_other() {
        let (one, two) = (Table::new("t"), Table::new("t"));
        one.apply(&[change(1, Some(1))]);
        let digest = one.held().digest;
        assert_ne!(digest, 0);
        assert_ne!(digest.wrapping_add(digest), 0);
        two.apply(&[change(1, Some(1)), change(1, Some(1))]);
        assert_eq!(two.held().digest, digest, "said twice it is held once");
        assert_eq!(two.held().position, 2);
    }

    #[test]
    fn what_is_deleted_and_set_again_during_a_copy_arrives_once() {
        let table = Table::new("t");
        (0..200).for_each(|key| table.apply(&[change(key, Some(1))]));
        let mut peer = Peer::default();
        table.begin_copy();
        for shard in 0..SHARDS {
            while !table.copy(shard, |taken| peer.take(taken)) {}
        }
        for key in 0..100 {
            table.apply(&[change(key, None)]);
            table.apply(&[change(key, Some(2))]);
        }
        (100..150).for_each(|key| table.apply(&[change(key, None)]));
        assert_eq!(table.held().remaining, 150);
        for shard in 0..SHARDS {
            while !table.drain(shard, |taken| peer.take(taken)) {}
        }
        assert_eq!(peer.0, content(&table));
        assert_eq!(peer.0.len(), 150);
    }

    #[test]
    fn a_copy_that_was_given_up_leaves_nothing_behind() {
        let table = Table::new("t");
        (0..50).for_each(|key| table.apply(&[change(key, Some(1))]));
        let mut peer = Peer::default();
        table.begin_copy();
        for shard in 0..SHARDS {
            while !table.copy(shard, |taken| peer.take(taken)) {}
        }
        (0..50).for_each(|key| table.apply(&[change(key, None)]));
        table.end_copy();
        assert_eq!(table.held(), Held { position: 100, ..Held::default() });
        (0..50).for_each(|key| table.apply(&[change(key, Some(3))]));
        assert_eq!(table.held().remaining, 0);
    }
}
