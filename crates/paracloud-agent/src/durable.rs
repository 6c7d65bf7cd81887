//! Files that are whole or not there.

use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Writes a file that survives the machine once this returns, and that nobody ever sees half of.
pub(crate) fn write_synced(path: &Path, text: &[u8]) -> io::Result<()> {
    let staged = path.with_extension("new");
    let mut file = File::create(&staged)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&staged, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes a file that nobody ever sees half of. It survives every process, not the machine.
pub(crate) fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    let staged = path.with_extension("new");
    std::fs::write(&staged, text)?;
    std::fs::rename(&staged, path)
}

/// Takes the lock of a file, if nobody has it. It is held until the file is dropped.
pub(crate) fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether somebody has the lock of a file. A file that is not there is locked by nobody.
///
/// # Errors
/// It cannot be looked at; somebody may have it.
pub(crate) fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // Shared, so that those who only look do not see each other; given back at once.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Raises the number in a file by one, under its lock and durably, and says the new one. An absent file counts as 0.
pub(crate) fn raise(path: &Path) -> io::Result<u32> {
    let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, format!("{}: want a number", path.display()));
    let last: u32 = if text.trim().is_empty() { 0 } else { text.trim().parse().map_err(|_| wrong())? };
    let next = last.checked_add(1).ok_or_else(wrong)?;
    file.seek(SeekFrom::Start(0))?;
    // It never gets shorter, so that it can be written in place.
    file.write_all(format!("{next}\n").as_bytes())?;
    file.sync_all()?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_grows_with_each_raise() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("generation");
        assert_eq!((1..=11).map(|_| raise(&path).unwrap()).collect::<Vec<_>>(), (1..=11).collect::<Vec<_>>());
        std::fs::write(&path, "many").unwrap();
        assert_eq!(raise(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_lock_is_one_holders_until_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        assert!(!is_locked(&path).unwrap(), "a file that is not there");
        let held = lock(&path).unwrap();
        assert!(held.is_some() && is_locked(&path).unwrap());
        assert!(lock(&path).unwrap().is_none());
        drop(held);
        assert!(!is_locked(&path).unwrap());
    }

    #[test]
    fn of_a_lock_that_cannot_be_looked_at_nobody_says_that_it_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        std::os::unix::fs::symlink(&path, &path).unwrap();
        assert!(is_locked(&path).is_err(), "it leads to itself");
        assert!(is_locked(&directory.path().join("lock").join("lock")).is_err(), "and so does its directory");
    }
}
