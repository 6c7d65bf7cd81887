//! Between redb and the medium: our own storage backend.
//!
//! It does three things that redb's own file backend does not.
//!
//! - **It keeps blocks.** Growing allocates, [`Backend::make_room`] allocates past the end of the file, and shrinking
//!   is remembered here only: the medium never gets shorter, because truncating a file also frees what was reserved
//!   past its end. redb takes a file longer than its layout for one that crashed before it was truncated, and adopts
//!   the length when it opens it.
//! - **It remembers the first failure**, with what was being done, even where redb would go on.
//! - **It closes after it.** From then on nothing is read or written: a retry after a failed `fsync` would succeed
//!   without the lost pages ever having been written.

use super::medium::Medium;
use redb::StorageBackend;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The medium gets new blocks in steps of this many bytes, if the disk has them: fewer, larger extents, and fewer
/// calls that wait for the disk. A disk too full for a step is asked for just what is needed.
const ALLOCATION_STEP_BYTES: u64 = 1 << 20;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A handle on the backend: redb has one, the store another.
#[derive(Debug, Clone)]
pub(super) struct Backend(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    medium: Box<dyn Medium>,
    extent: Mutex<Extent>,
    failure: OnceLock<Failure>,
    closed: AtomicBool,
}

/// Lengths in bytes: `wanted` ≤ `size` ≤ `allocated`.
#[derive(Debug)]
struct Extent {
    /// What redb takes for the length.
    wanted: u64,
    /// The length of the medium.
    size: u64,
    /// Every byte below has a block.
    allocated: u64,
}

/// The first failure of the medium.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// What was being done.
    pub(super) doing: &'static str,
    /// What the medium answered.
    pub(super) source: Arc<io::Error>,
}

impl Backend {
    pub(super) fn new(medium: Box<dyn Medium>) -> io::Result<Self> {
        let size = medium.size()?;
        Ok(Self(Arc::new(Shared {
            medium,
            extent: Mutex::new(Extent { wanted: size, size, allocated: size }),
            failure: OnceLock::new(),
            closed: AtomicBool::new(false),
        })))
    }

    /// What to call the medium in messages.
    pub(super) fn place(&self) -> String {
        self.0.medium.place()
    }

    /// The length redb works with, in bytes.
    pub(super) fn length(&self) -> u64 {
        self.extent().wanted
    }

    /// Gives every byte below `end` a block of its own. An error of the kind "no space" leaves everything as it was;
    /// any other one is a failure of the medium.
    pub(super) fn make_room(&self, end: u64) -> io::Result<()> {
        self.refuse_when_closed()?;
        let mut extent = self.extent();
        if end <= extent.allocated {
            return Ok(());
        }
        let step = end.next_multiple_of(ALLOCATION_STEP_BYTES);
        let reached = match self.0.medium.allocate(step) {
            Ok(()) => Ok(step),
            Err(error) if super::medium::is_no_space(&error) => self.0.medium.allocate(end).map(|()| end),
            Err(error) => Err(error),
        };
        match reached {
            Ok(end) => {
                extent.allocated = end;
                Ok(())
            }
            Err(error) if super::medium::is_no_space(&error) => Err(error),
            Err(error) => self.noted("reserving blocks", Err(error)),
        }
    }

    /// The first failure of the medium, if it ever failed.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.0.failure.get().cloned()
    }

    /// From now on nothing is read or written.
    pub(super) fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
    }

    fn extent(&self) -> MutexGuard<'_, Extent> {
        self.0.extent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse_when_closed(&self) -> io::Result<()> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(io::Error::other("the store has failed before"));
        }
        Ok(())
    }

    /// Keeps the first failure and closes after it.
    fn noted<T>(&self, doing: &'static str, answer: io::Result<T>) -> io::Result<T> {
        let Err(error) = answer else { return answer };
        let source = Arc::new(error);
        let again = io::Error::new(source.kind(), Arc::clone(&source));
        let _ = self.0.failure.set(Failure { doing, source });
        self.close();
        Err(again)
    }

    fn bounded(&self, offset: u64, bytes: usize) -> io::Result<()> {
        let end = offset.checked_add(bytes as u64);
        if end.is_none_or(|end| end > self.extent().wanted) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn resize(&self, length: u64) -> io::Result<()> {
        let mut extent = self.extent();
        // What redb gave up before and takes again must be zero; what the medium adds already is.
        let stale = extent.wanted..length.min(extent.size);
        let mut at = stale.start;
        while at < stale.end {
            let some = ZEROS.len().min(usize::try_from(stale.end - at).unwrap_or(usize::MAX));
            self.0.medium.write_at(at, &ZEROS[..some])?;
            at += some as u64;
        }
        if length > extent.size {
            self.0.medium.grow(length)?;
            extent.size = length;
            extent.allocated = extent.allocated.max(length);
        }
        extent.wanted = length;
        Ok(())
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.refuse_when_closed()?;
        Ok(self.length())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.refuse_when_closed()?;
        // Not a failure of the medium: a damaged file points anywhere.
        self.bounded(offset, out.len())?;
        self.noted("reading", self.0.medium.read_at(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.refuse_when_closed()?;
        self.noted("growing the file", self.resize(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.refuse_when_closed()?;
        self.noted("waiting for the disk", self.0.medium.sync())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.refuse_when_closed()?;
        self.bounded(offset, data.len())?;
        self.noted("writing", self.0.medium.write_at(offset, data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::FileMedium;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn shrinking_keeps_the_file_and_its_blocks_and_growing_again_gives_zeros() {
        let file = tempfile::tempfile().unwrap();
        let medium = FileMedium::new(file.try_clone().unwrap(), "a file without a name".into());
        let backend = Backend::new(Box::new(medium)).unwrap();
        backend.set_len(100_000).unwrap();
        backend.write(50_000, &[7; 50_000]).unwrap();
        backend.make_room(3 << 20).unwrap();
        let blocks = file.metadata().unwrap().blocks();
        assert!(blocks * 512 >= 3 << 20);

        backend.set_len(40_000).unwrap();
        assert_eq!(StorageBackend::len(&backend).unwrap(), 40_000);
        assert_eq!((file.metadata().unwrap().len(), file.metadata().unwrap().blocks()), (100_000, blocks));
        let mut read = [1; 60_000];
        assert_eq!(backend.read(40_000, &mut read).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);

        backend.set_len(100_000).unwrap();
        backend.read(40_000, &mut read).unwrap();
        assert!(read.iter().all(|&byte| byte == 0));
    }
}
