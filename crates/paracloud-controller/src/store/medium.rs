//! What the store's one file lies on.
//!
//! The store asks six things of it. [`FileMedium`] is the real one; tests and the simulation bring others, which lose
//! power, fill up or lie.

use rustix::fs::FallocateFlags;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A growable array of bytes that outlives the process.
///
/// Sizes and offsets are in bytes. After a call has failed, whether its effect is there is unknown.
pub trait Medium: fmt::Debug + Send + Sync + 'static {
    /// What to call it in messages.
    fn place(&self) -> String;

    /// How long it is now.
    fn size(&self) -> io::Result<u64>;

    /// Fills `out` from `offset`. Reading past the end is an error.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, below the end. Durable only after [`Medium::sync`].
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes it `size` long, which is longer than it was. The new bytes are zero and have blocks of their own, so that
    /// no later write to them fails for want of space. Durable only after [`Medium::sync`].
    fn grow(&self, size: u64) -> io::Result<()>;

    /// Gives every byte below `end` a block of its own, also those past the end of the file, whose length stays. When
    /// this returns the blocks outlive a crash. Fails whole, with an error that [`is_no_space`] knows, if the disk has
    /// not got them.
    fn allocate(&self, end: u64) -> io::Result<()>;

    /// Returns when everything written before is durable.
    fn sync(&self) -> io::Result<()>;
}

/// Whether an error says that a disk, a quota or a file-size limit is exhausted.
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// A file.
///
/// Its blocks come from `fallocate`, and it never shrinks: truncating would give back also what is reserved past its
/// end. On a filesystem that writes every change to a new place (btrfs, ZFS, bcachefs) an allocated block does not
/// promise that the *next* write to it finds room; the promises of [`super::Store::reserve`] hold on ext4, xfs and
/// tmpfs.
#[derive(Debug)]
pub struct FileMedium {
    file: File,
    path: PathBuf,
}

impl FileMedium {
    /// Lays the store on `file`, open for reading and writing. `path` is for messages.
    pub fn new(file: File, path: PathBuf) -> Self {
        Self { file, path }
    }

    fn fallocate(&self, mode: FallocateFlags, offset: u64, bytes: u64) -> io::Result<()> {
        // tmpfs gives up on a signal.
        rustix::io::retry_on_intr(|| rustix::fs::fallocate(&self.file, mode, offset, bytes))?;
        Ok(())
    }
}

impl Medium for FileMedium {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn grow(&self, size: u64) -> io::Result<()> {
        let old = self.size()?;
        self.fallocate(FallocateFlags::empty(), old, size.saturating_sub(old))
    }

    fn allocate(&self, end: u64) -> io::Result<()> {
        self.fallocate(FallocateFlags::KEEP_SIZE, 0, end)?;
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
