//! One `up` for each directory: it holds a lock as long as it lives, and its pid stands in the file.

use crate::failure::{Exit, Failure};
use paracloud_substrate::layout::Layout;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::time::Duration;

/// How often a lock that is held is tried again, and after how many milliseconds.
const TRIES_MAX: u32 = 25;
const TRY_AGAIN_MS: u64 = 20;

/// The lock; it ends with the process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock of a directory.
///
/// # Errors
/// Another `up` holds it, or the file cannot be used.
pub fn take(layout: &Layout) -> Result<Lock, Failure> {
    let path = layout.up_lock();
    let failed = |error: std::io::Error| Failure::machine(path.display().to_string(), &error);
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    let mut tried = 0;
    let locked = loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Whoever only looks holds it for a moment.
            Err(rustix::io::Errno::WOULDBLOCK) if tried < TRIES_MAX => {
                tried += 1;
                std::thread::sleep(Duration::from_millis(TRY_AGAIN_MS));
            }
            locked => break locked,
        }
    };
    if let Err(error) = locked {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(failed(error.into()));
        }
        let holder = pid(&mut file).map_or_else(String::new, |pid| format!(" (pid {pid})"));
        let who = layout.root().display().to_string();
        let why = format!("another `paracloud up`{holder} is running in this directory");
        let next = "end it with paracloud stop, or choose another directory with --dir";
        return Err(Failure::new(Exit::Failed, "already_up", who, why, next));
    }
    let written = file.set_len(0).and_then(|()| file.rewind());
    written.and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
    Ok(Lock { _file: file })
}

/// The pid of the `up` that lives in this directory; 0 if it has not said yet.
pub fn holder(layout: &Layout) -> Option<i32> {
    let mut file = File::options().read(true).write(true).open(layout.up_lock()).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        // Free: closing the file gives it back.
        Ok(()) => None,
        Err(_) => Some(pid(&mut file).unwrap_or(0)),
    }
}

fn pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_up_is_refused_with_the_pid_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        assert_eq!(holder(&layout), None);
        let lock = take(&layout).unwrap();
        let own = std::process::id();
        assert_eq!(holder(&layout), i32::try_from(own).ok());
        let refused = take(&layout).unwrap_err();
        assert!(refused.why.contains(&format!("(pid {own})")), "{}", refused.why);
        drop(lock);
        assert_eq!(holder(&layout), None);
        take(&layout).unwrap();
    }
}
