//! Who a process is, for whoever did not start it: its pid, when it was started, and in which life of the machine.
//! A pid alone may be somebody else by now.

mod ending;
mod environment;
mod trail;

pub use ending::{Ending, signal_each};
pub use environment::Environment;
pub use trail::{Number, Trail};

use procfs::process::{Process, Stat};
use procfs::{ProcError, ProcResult};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;

/// A process, known again after everybody who knew it was restarted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its process id.
    pub pid: i32,
    /// When it was started, in clock ticks since boot.
    pub start_ticks: u64,
    /// The life of the machine.
    pub boot_id: String,
}

impl Identity {
    /// A process that is there now.
    ///
    /// # Errors
    /// There is none of this pid.
    pub fn of(pid: i32) -> io::Result<Self> {
        let stat = Process::new(pid).and_then(|process| process.stat()).map_err(into_io)?;
        Ok(Self { pid, start_ticks: stat.starttime, boot_id: boot_id()? })
    }

    /// This very process.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn own() -> io::Result<Self> {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// Whether it is of another life of the machine, which nobody of it has outlived.
    ///
    /// # Errors
    /// `/proc` cannot be read; nothing is known then.
    pub fn is_of_another_boot(&self) -> io::Result<bool> {
        Ok(boot_id()? != self.boot_id)
    }

    /// Whether it is still there. A zombie is dead: it acts no more.
    ///
    /// # Errors
    /// `/proc` cannot be read; nothing is known then.
    pub fn is_alive(&self) -> io::Result<bool> {
        if self.is_of_another_boot()? {
            return Ok(false);
        }
        match Process::new(self.pid).and_then(|process| process.stat()) {
            Ok(stat) => Ok(stat.starttime == self.start_ticks && !is_dead(&stat)),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(into_io(error)),
        }
    }

    /// Whether it was stopped by a signal and stands still now.
    ///
    /// # Errors
    /// As [`Identity::is_alive`].
    pub fn is_stopped(&self) -> io::Result<bool> {
        match Process::new(self.pid).and_then(|process| process.stat()) {
            Ok(stat) => Ok(stat.starttime == self.start_ticks && stat.state == 'T'),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(into_io(error)),
        }
    }

    /// A handle to it that can never mean another process; `None` if it is dead.
    ///
    /// # Errors
    /// As the system says.
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let handle = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Looked at after the handle was opened: so the handle is this process's.
        Ok(self.is_alive()?.then_some(handle))
    }
}

/// Sends a signal through a handle. A process that is gone has heard it.
///
/// # Errors
/// As the system says.
pub fn signal(handle: &OwnedFd, signal: Signal) -> io::Result<()> {
    match pidfd_send_signal(handle, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Whether it says that there is no such process, or none any more: the files of one that ends meanwhile say so too.
fn is_gone(error: &ProcError) -> bool {
    match error {
        ProcError::NotFound(_) => true,
        ProcError::Io(error, _) => error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()),
        ProcError::PermissionDenied(_)
        | ProcError::Incomplete(_)
        | ProcError::Other(_)
        | ProcError::InternalError(_) => false,
    }
}

/// What there was to be seen of a process. `None`: it is gone, or this user is not shown it, now or later.
///
/// # Errors
/// It is there, and could not be looked at.
fn shown<T>(looked: ProcResult<T>) -> io::Result<Option<T>> {
    match looked {
        Ok(seen) => Ok(Some(seen)),
        Err(ProcError::PermissionDenied(_)) => Ok(None),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(into_io(error)),
    }
}

/// Whether a process acts no more: a zombie does not.
pub fn is_dead(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X' | 'x')
}

pub(crate) fn into_io(error: ProcError) -> io::Error {
    match error {
        ProcError::Io(error, _) => error,
        ProcError::NotFound(_) => io::Error::from(io::ErrorKind::NotFound),
        ProcError::PermissionDenied(_) => io::Error::from(io::ErrorKind::PermissionDenied),
        other @ (ProcError::Incomplete(_) | ProcError::Other(_) | ProcError::InternalError(_)) => {
            io::Error::other(other)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_is_known_again_and_dead_when_it_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(identity.is_alive().unwrap());
        let handle = identity.open().unwrap().unwrap();
        signal(&handle, Signal::KILL).unwrap();
        rustix::event::poll(
            &mut [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)],
            Some(&rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 }),
        )
        .unwrap();
        assert!(!identity.is_alive().unwrap(), "not reaped yet, but dead");
        child.wait().unwrap();
        assert!(!identity.is_alive().unwrap());
        assert!(identity.open().unwrap().is_none());
    }

    #[test]
    fn another_process_of_the_same_pid_is_not_the_same() {
        let mut other = Identity::own().unwrap();
        other.start_ticks += 1;
        assert!(!other.is_alive().unwrap());
        let mut earlier = Identity::own().unwrap();
        earlier.boot_id.clear();
        assert!(!earlier.is_alive().unwrap());
    }
}
