//! One of the parts of a table, under a lock of its own.
//!
//! Records lie in numbered slots that never move, so that a copy can go through them piece by piece while they change.
//! While a copy runs, what changes behind its cursor is queued; what lies before the cursor will be met anyway. The
//! queue is what the pause consists of, so its length is what counts and never the number of records.

use super::record::Record;
use hashbrown::HashTable;
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(crate) struct Shard {
    /// Hash of the key and number of the slot.
    index: HashTable<(u64, u32)>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The next slot that the running copy takes. `None`: no copy runs.
    cursor: Option<usize>,
    /// Slots that changed behind the cursor, each once.
    dirty: VecDeque<u32>,
    digest: u128,
    position: u64,
    records: usize,
    bytes: u64,
}

#[derive(Debug)]
struct Slot {
    content: Content,
    queued: bool,
}

#[derive(Debug)]
enum Content {
    Free,
    Live(Record, u128),
    /// Deleted during a copy that had sent it, with the hash of its key: it waits in the queue to be told.
    Gone(Record, u64),
}

/// What a copy takes from a shard.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Taken<'a> {
    /// A record as it is now.
    Put(&'a Record),
    /// A record that is no more; its value means nothing.
    Delete(&'a Record),
}

/// What a shard holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Sum of the hashes of its records.
    pub(crate) digest: u128,
    /// Changes it has seen.
    pub(crate) position: u64,
    /// Records.
    pub(crate) records: usize,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Records that changed and were not sent yet, those included that a running copy has not met.
    pub(crate) remaining: usize,
}

impl Shard {
    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<&Record> {
        match &self.slots[self.find(hash, key)?].content {
            Content::Live(record, _) => Some(record),
            Content::Free | Content::Gone(..) => None,
        }
    }

    /// Sets a record, whose hash for the digest is given.
    pub(crate) fn put(&mut self, hash: u64, record: Record, digest: u128) {
        let number = match self.find(hash, record.key()) {
            Some(number) => number,
            None => self.place(hash),
        };
        self.forget(number);
        self.digest = self.digest.wrapping_add(digest);
        self.records += 1;
        self.bytes += record.as_bytes().len() as u64;
        self.position += 1;
        self.slots[number].content = Content::Live(record, digest);
        self.queue(number);
    }

    /// Deletes a record; one that is not there is no change.
    pub(crate) fn delete(&mut self, hash: u64, key: &[u8]) {
        let Some(number) = self.find(hash, key) else { return };
        let Some(record) = self.forget(number) else { return };
        self.position += 1;
        if self.cursor.is_some_and(|cursor| number < cursor) {
            self.slots[number].content = Content::Gone(record, hash);
            self.queue(number);
        } else {
            self.release(hash, number);
        }
    }

    /// How many slots there are.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The records in so many slots, from one on.
    pub(crate) fn records(&self, from: usize, slots: usize) -> impl Iterator<Item = &Record> {
        self.slots.iter().skip(from).take(slots).filter_map(|slot| match &slot.content {
            Content::Live(record, _) => Some(record),
            Content::Free | Content::Gone(..) => None,
        })
    }

    pub(crate) fn held(&self) -> Held {
        let before = self.cursor.map_or(0, |cursor| self.slots.len().saturating_sub(cursor));
        Held {
            digest: self.digest,
            position: self.position,
            records: self.records,
            bytes: self.bytes,
            remaining: before + self.dirty.len(),
        }
    }

    /// Starts a copy: all of it is to be sent.
    pub(crate) fn begin_copy(&mut self) {
        self.end_copy();
        self.cursor = Some(0);
    }

    /// Ends a copy: nothing is remembered for it.
    pub(crate) fn end_copy(&mut self) {
        self.cursor = None;
        while let Some(number) = self.dirty.pop_front() {
            self.settle(number);
        }
    }

    /// Gives what the cursor meets next to `take` until that has enough. Whether the cursor is through.
    pub(crate) fn copy(&mut self, mut take: impl FnMut(Taken<'_>) -> bool) -> bool {
        let Some(mut cursor) = self.cursor else { return true };
        let mut wants_more = true;
        while wants_more && cursor < self.slots.len() {
            if let Content::Live(record, _) = &self.slots[cursor].content {
                wants_more = take(Taken::Put(record));
            }
            cursor += 1;
        }
        self.cursor = Some(cursor);
        cursor == self.slots.len()
    }

    /// Gives what changed behind the cursor to `take` until that has enough. Whether the queue is empty.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(Taken<'_>) -> bool) -> bool {
        let mut wants_more = true;
        while wants_more {
            let Some(number) = self.dirty.pop_front() else { return true };
            match &self.slots[number as usize].content {
                Content::Live(record, _) => wants_more = take(Taken::Put(record)),
                Content::Gone(record, _) => wants_more = take(Taken::Delete(record)),
                Content::Free => {}
            }
            self.settle(number);
        }
        self.dirty.is_empty()
    }

    /// Makes room for so many records more.
    pub(crate) fn reserve(&mut self, records: usize) {
        self.index.reserve(records, |(hash, _)| *hash);
        self.slots.reserve(records);
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let same = |&(of, number): &(u64, u32)| {
            of == hash
                && match &self.slots[number as usize].content {
                    Content::Live(record, _) | Content::Gone(record, _) => record.key() == key,
                    Content::Free => false,
                }
        };
        self.index.find(hash, same).map(|&(_, number)| number as usize)
    }

    /// A free slot, entered in the index.
    fn place(&mut self, hash: u64) -> usize {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { content: Content::Free, queued: false });
            u32::try_from(self.slots.len() - 1)
                .expect("a shard holds less than 2^32 records: each takes 64 bytes")
        });
        self.index.insert_unique(hash, (hash, number), |(hash, _)| *hash);
        number as usize
    }

    /// Takes the record of a slot out of the sums.
    fn forget(&mut self, number: usize) -> Option<Record> {
        match std::mem::replace(&mut self.slots[number].content, Content::Free) {
            Content::Live(record, digest) => {
                self.digest = self.digest.wrapping_sub(digest);
                self.records -= 1;
                self.bytes -= record.as_bytes().len() as u64;
                Some(record)
            }
            gone @ Content::Gone(..) => {
                self.slots[number].content = gone;
                None
            }
            Content::Free => None,
        }
    }

    /// Remembers a slot for the running copy, if that has passed it.
    fn queue(&mut self, number: usize) {
        let passed = self.cursor.is_some_and(|cursor| number < cursor);
        let slot = &mut self.slots[number];
        if passed && !slot.queued {
            slot.queued = true;
            self.dirty.push_back(u32::try_from(number).expect("slots are numbered in 32 bits"));
        }
    }

    /// A slot left the queue: one that only waited to be told as deleted is free now.
    fn settle(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        slot.queued = false;
        if let Content::Gone(_, hash) = slot.content {
            self.release(hash, number as usize);
        }
    }

    /// Frees a slot.
    fn release(&mut self, hash: u64, number: usize) {
        let number = u32::try_from(number).expect("slots are numbered in 32 bits");
        if let Ok(entry) = self.index.find_entry(hash, |&(_, of)| of == number) {
            entry.remove();
        }
        self.slots[number as usize].content = Content::Free;
        self.free.push(number);
    }
}
