//! One process per directory: the lock file.
//!
//! The lock is the kernel's (`flock`), so it ends with its holder however that ends, and a lock file left behind means
//! nothing. The pid in it is for people; nobody decides by it.

use super::error::StoreError;
use super::medium::is_no_space;
use rustix::fs::FlockOperation;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// The name of the lock file in the store's directory.
const LOCK_FILE: &str = "store.lock";

/// A held directory. Dropping it lets go.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    file: File,
}

impl DirectoryLock {
    /// Takes `directory`, or says who has it.
    pub(super) fn take(directory: &Path) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { doing: "locking the store's directory", source: Arc::new(source) };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join(LOCK_FILE))
            .map_err(io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(StoreError::Held { path: directory.to_path_buf(), pid: holder(&mut file) });
            }
            Err(errno) => return Err(io(errno.into())),
        }
        // Always the same length, over the last holder's: no new block on a disk that has become full.
        match file.write_all_at(format!("{:<10}\n", std::process::id()).as_bytes(), 0) {
            // A full disk must not keep outcomes from being written: whoever is refused meanwhile learns no pid.
            Err(error) if !is_no_space(&error) => Err(io(error)),
            Ok(()) | Err(_) => Ok(Self { file }),
        }
    }
}

impl Drop for DirectoryLock {
    /// Closing the file is not enough: a process forked at this moment has it open until it executes its program.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
