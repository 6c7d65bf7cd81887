//! One `up` for each directory: it holds a lock as long as it lives, and who it is stands in the file: a line with its
//! pid for people, and its identity for programs.

use crate::command::hint;
use crate::failure::{Exit, Failure};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::process::Identity;
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::time::Duration;

/// How often a lock that is held is tried again, and after how many milliseconds.
const TRIES_MAX: u32 = 25;
const TRY_AGAIN_MS: u64 = 20;
/// The most that is read of the file, in bytes.
const TEXT_BYTES_MAX: u64 = 1 << 10;

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
        let next =
            format!("end it with paracloud stop{}, or choose another directory with --dir", hint(layout));
        return Err(Failure::new(Exit::Failed, "already_up", who, why, next));
    }
    sign(&mut file).map_err(failed)?;
    Ok(Lock { _file: file })
}

/// Says who holds it now, in the room that whoever held it before has left: there may be no other.
fn sign(file: &mut File) -> std::io::Result<()> {
    let own = Identity::own()?;
    let text = format!("{}\n{}\n", own.pid, serde_json::to_string(&own)?);
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    let end = file.stream_position()?;
    file.set_len(end)
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

/// The `up` that lives in this directory; `None`: there is none.
///
/// # Errors
/// Somebody holds the lock, and it cannot be said who: what stands in the file is of one that is dead.
pub fn living(layout: &Layout) -> Result<Option<Identity>, Failure> {
    for _ in 0..TRIES_MAX {
        if holder(layout).is_none() {
            return Ok(None);
        }
        // It may have taken the lock and not have signed yet.
        let signed = File::open(layout.up_lock()).ok().and_then(|mut file| identity(&mut file));
        if let Some(identity) = signed.filter(|identity| identity.is_alive().unwrap_or(false)) {
            return Ok(Some(identity));
        }
        std::thread::sleep(Duration::from_millis(TRY_AGAIN_MS));
    }
    let who = layout.up_lock().display().to_string();
    let why = "somebody holds it and does not say who: no `paracloud up` of this version";
    let next = format!("see who it is: fuser -v {who}; then end it");
    Err(Failure::new(Exit::Failed, "held", who, why, next))
}

fn text(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(TEXT_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

fn pid(file: &mut File) -> Option<i32> {
    text(file)?.lines().next()?.trim().parse().ok()
}

fn identity(file: &mut File) -> Option<Identity> {
    serde_json::from_str(text(file)?.lines().nth(1)?).ok()
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
        assert_eq!(living(&layout).unwrap(), Some(Identity::own().unwrap()));
        let refused = take(&layout).unwrap_err();
        assert!(refused.why.contains(&format!("(pid {own})")), "{}", refused.why);
        drop(lock);
        assert_eq!(holder(&layout), None);
        take(&layout).unwrap();
    }

    #[test]
    fn whoever_takes_it_signs_in_the_place_of_a_longer_signature_and_leaves_nothing_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        std::fs::write(layout.up_lock(), "1".repeat(500)).unwrap();
        let _lock = take(&layout).unwrap();
        let own = Identity::own().unwrap();
        let signed = format!("{}\n{}\n", own.pid, serde_json::to_string(&own).unwrap());
        assert_eq!(std::fs::read_to_string(layout.up_lock()).unwrap(), signed);
    }

    #[test]
    fn who_only_has_the_pid_of_the_holder_is_not_taken_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        let lock = take(&layout).unwrap();
        // As if a dead `up` had signed, whose pid is ours by now.
        let mut dead = Identity::own().unwrap();
        dead.start_ticks -= 1;
        let text = format!("{}\n{}\n", dead.pid, serde_json::to_string(&dead).unwrap());
        std::fs::write(layout.up_lock(), text).unwrap();
        assert_eq!(living(&layout).unwrap_err().code, "held");
        drop(lock);
        assert_eq!(living(&layout).unwrap(), None);
    }
}
