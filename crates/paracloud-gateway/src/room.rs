//! Room for what a gateway keeps of its clients, together: bodies that may have to be sent again, messages that are on
//! their way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Room of so many bytes, shared by all who keep something.
#[derive(Debug)]
pub(crate) struct Room {
    taken_bytes: AtomicUsize,
    bytes_max: usize,
}

/// Room that is taken, until dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    room: Arc<Room>,
    bytes: usize,
}

impl Room {
    /// All of it is free.
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { taken_bytes: AtomicUsize::new(0), bytes_max })
    }

    /// Takes room, if there is any. Of nothing there is always room.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Option<Taken> {
        let mut taken = self.none();
        taken.resize(bytes).then_some(taken)
    }

    /// Nothing yet; it may become more.
    pub(crate) fn none(self: &Arc<Self>) -> Taken {
        Taken { room: Arc::clone(self), bytes: 0 }
    }

    fn grow(&self, bytes: usize) -> bool {
        let with_these = |taken: usize| taken.checked_add(bytes).filter(|all| *all <= self.bytes_max);
        self.taken_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_these).is_ok()
    }
}

impl Taken {
    /// Nothing yet, of the same room.
    pub(crate) fn none(&self) -> Self {
        self.room.none()
    }

    /// How much it is.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Becomes this much. Without room for more it stays as it is, and the answer is `false`.
    pub(crate) fn resize(&mut self, bytes: usize) -> bool {
        if let Some(less) = self.bytes.checked_sub(bytes) {
            self.room.taken_bytes.fetch_sub(less, Ordering::Relaxed);
        } else if !self.room.grow(bytes - self.bytes) {
            return false;
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.taken_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_keep_something_have_no_more_than_there_is() {
        let room = Room::new(10);
        let first = room.take(4).unwrap();
        let mut second = room.none();
        assert!(second.resize(6) && !second.resize(7) && second.bytes() == 6);
        assert!(room.take(1).is_none() && room.take(0).is_some());
        assert!(second.resize(2) && room.take(4).is_some());
        drop(first);
        assert!(room.take(9).is_none() && room.take(8).is_some());
    }
}
