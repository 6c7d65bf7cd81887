//! How much disk a write can need, and who has been promised it.
//!
//! A durable write must not fail for want of space once traffic is parked for it. redb cannot be asked how much room
//! it has: it copies pages on write, and when its file is full it *doubles* it. So the sums here are upper bounds, and
//! a test on a disk filled to the last block holds them against what really happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most bytes that one write occupies beside its JSON texts: the pages it copies on its way to the root of each
/// tree, redb's own tables, frames and keys, and the pages that the write before it has not given back yet. One write
/// alone stays below half of it (`a_write_occupies_at_most_half_of_what_it_is_charged_for`).
const WRITE_OVERHEAD_BYTES: u64 = 256 << 10;

/// The most bytes by which `writes` writes with `bytes` bytes of JSON between them can fill the file. redb rounds a
/// value larger than a page up to a power of two, and may copy its neighbour in the leaf: hence four times.
pub(super) fn cost(writes: u32, bytes: u64) -> u64 {
    u64::from(writes) * WRITE_OVERHEAD_BYTES + 4 * bytes
}

/// How long the file can become when `bytes` more are wanted of one that is `length` long and possibly full.
///
/// redb grows only when less is free than it wants, and then to the double or by twice what it wants, whichever is
/// more: never beyond twice of everything wanted. One page is the file's header.
pub(super) fn reach(length: u64, bytes: u64) -> u64 {
    2 * (length + bytes) + 4096
}

/// The sum of what is promised, in bytes of [`cost`].
#[derive(Debug, Default)]
pub(super) struct Ledger {
    promised: AtomicU64,
}

impl Ledger {
    /// What is promised to all reservations together.
    pub(super) fn promised(&self) -> u64 {
        self.promised.load(Ordering::Acquire)
    }
}

/// Room on the disk for writes to come, made by [`super::Store::reserve`]. Dropping it gives the room back.
#[derive(Debug)]
pub struct Reservation {
    ledger: Arc<Ledger>,
    left: u64,
}

impl Reservation {
    pub(super) fn new(ledger: &Arc<Ledger>, bytes: u64) -> Self {
        ledger.promised.fetch_add(bytes, Ordering::AcqRel);
        Self { ledger: Arc::clone(ledger), left: bytes }
    }

    /// How much of `bytes` this reservation covers in the store of `ledger`. One of another store (of the same file,
    /// before it was opened anew) covers nothing.
    pub(super) fn covers(&self, ledger: &Arc<Ledger>, bytes: u64) -> u64 {
        if Arc::ptr_eq(&self.ledger, ledger) { bytes.min(self.left) } else { 0 }
    }

    /// Takes what a write has used.
    pub(super) fn spend(&mut self, bytes: u64) {
        let spent = bytes.min(self.left);
        self.left -= spent;
        self.ledger.promised.fetch_sub(spent, Ordering::AcqRel);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ledger.promised.fetch_sub(self.left, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_is_the_sum_of_what_reservations_still_have() {
        let ledger = Arc::new(Ledger::default());
        let mut first = Reservation::new(&ledger, 100);
        let second = Reservation::new(&ledger, 50);
        first.spend(30);
        assert_eq!(ledger.promised(), 120);
        drop(second);
        first.spend(1000);
        assert_eq!(ledger.promised(), 0);
        drop(first);
        assert_eq!(ledger.promised(), 0);
    }

    #[test]
    fn a_reservation_of_the_store_before_it_was_reopened_covers_nothing() {
        let (before, after) = (Arc::new(Ledger::default()), Arc::new(Ledger::default()));
        let room = Reservation::new(&before, 100);
        assert_eq!(room.covers(&before, 70), 70);
        assert_eq!(room.covers(&after, 70), 0);
    }
}
