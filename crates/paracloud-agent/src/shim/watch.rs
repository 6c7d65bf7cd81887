//! Watching one process and all that it leaves behind.

use crate::processes::{Exit, ProcessDirectory};
use paracloud_substrate::process::{Ending, Identity, Number, Trail, signal, signal_each};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};
use std::time::Duration;
use tokio::sync::watch;

/// Pause between two looks at what a dead process left behind.
const SWEEP_MS: u64 = 5;
/// After so many looks it is said who does not die.
const SWEEPS_UNTIL_SAID: u32 = 200;

/// How a process ended whose shim was not there, or was not its parent.
pub(crate) const UNSEEN: &str = "it ended; its status is not known, because its first shim had ended";

/// A process that is watched, by its parent or by a later shim.
#[derive(Debug)]
pub(crate) struct Watched {
    process: ProcessDirectory,
    trail: Trail,
    handle: OwnedFd,
    dead: watch::Receiver<bool>,
    /// Its parent has it here. As long as it is not waited for, its number is nobody else's.
    child: Option<Child>,
}

impl Watched {
    /// One's own child; `trail` says how what it leaves behind is known.
    ///
    /// # Errors
    /// It cannot be watched. Nothing of it lives then.
    pub(crate) async fn child(
        child: Child,
        process: &ProcessDirectory,
        trail: impl FnOnce(Identity) -> Trail,
    ) -> io::Result<Self> {
        let pid = Pid::from_child(&child);
        let watching = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from).and_then(|handle| {
            let dead = watch_for_death(&handle)?;
            Ok((Identity::of(pid.as_raw_nonzero().get())?, handle, dead))
        });
        match watching {
            Ok((leader, handle, dead)) => {
                let (process, trail) = (process.clone(), trail(leader));
                Ok(Self { process, trail, handle, dead, child: Some(child) })
            }
            // It cannot be watched, so it must not run.
            Err(error) => {
                end(child, process, trail).await?;
                Err(error)
            }
        }
    }

    /// A living process that another shim started, by its handle.
    pub(crate) fn adopted(handle: OwnedFd, process: &ProcessDirectory, mut trail: Trail) -> io::Result<Self> {
        let dead = watch_for_death(&handle)?;
        // Somebody else reaps it: who is in its session is seen as long as it is sure whose that is.
        trail.look()?;
        Ok(Self { process: process.clone(), trail, handle, dead, child: None })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.trail.leader().pid
    }

    /// Returns when it is dead. It may be dropped and called again.
    pub(crate) async fn ended(&self) {
        let mut dead = self.dead.clone();
        if dead.wait_for(|dead| *dead).await.is_err() {
            // The thread that watches never goes away without a word.
            std::future::pending::<()>().await;
        }
    }

    /// Signals the process and its group.
    pub(crate) fn signal(&self, which: Signal) -> io::Result<()> {
        if self.child.is_some() {
            return match signal_own_group(self.trail.leader(), which)? {
                true => Ok(()),
                // It is not the leader of a session yet.
                false => signal(&self.handle, which),
            };
        }
        signal(&self.handle, which)?;
        signal_each(&self.trail.group()?, which);
        Ok(())
    }

    /// Once it is dead: ends what it has left, and returns when nothing is left.
    pub(crate) async fn end_leftovers(&mut self) {
        end_leftovers(&self.process, &mut self.trail, self.child.is_some()).await;
    }

    /// Once it is dead: how it ended. An adopted one's status went to somebody else.
    pub(crate) fn exit(mut self, failure: Option<String>) -> Exit {
        let status = self.child.as_mut().and_then(|child| child.wait().ok());
        let how = match (failure, status) {
            (Some(failure), _) => format!("it could not be started: {failure}"),
            (None, Some(status)) => told(status),
            (None, None) => UNSEEN.to_owned(),
        };
        Exit { how }
    }
}

/// Ends one's own child and all that it has started, and returns once nothing is left.
async fn end(
    mut child: Child,
    process: &ProcessDirectory,
    trail: impl FnOnce(Identity) -> Trail,
) -> io::Result<()> {
    // Who cannot be killed is waited for.
    let _ = child.kill();
    let pid = Pid::from_child(&child).as_raw_nonzero().get();
    let mut looks = 0_u32;
    // It was not waited for, so it is there, dead or alive.
    let leader = loop {
        match Identity::of(pid) {
            Ok(leader) => break leader,
            Err(error) if looks.is_multiple_of(SWEEPS_UNTIL_SAID) => {
                tracing::warn!(%error, pid, "a child cannot be seen; its death is not reported yet");
            }
            Err(_) => {}
        }
        looks = looks.saturating_add(1);
        tokio::time::sleep(Duration::from_millis(SWEEP_MS)).await;
    };
    end_leftovers(process, &mut trail(leader), true).await;
    child.wait().map(drop)
}

/// Waits for a process's death on a thread of its own: a handle to a process can be polled and nothing else.
pub(crate) fn watch_for_death(handle: &OwnedFd) -> io::Result<watch::Receiver<bool>> {
    let handle = handle.try_clone()?;
    let (tell, dead) = watch::channel(false);
    std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
        while !matches!(poll(&mut [PollFd::new(&handle, PollFlags::IN)], None), Ok(ready) if ready > 0) {}
        let _ = tell.send(true);
    })?;
    Ok(dead)
}

fn told(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => format!("ended with {status}"),
    }
}

/// Signals the group of one's own child, all of it at once. `false`: it has none yet.
fn signal_own_group(child: &Identity, which: Signal) -> io::Result<bool> {
    match Pid::from_raw(child.pid).filter(|_| matches!(child.number(), Ok(Number::Its))) {
        None => Ok(false),
        Some(pid) => match kill_process_group(pid, which) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        },
    }
}

/// Kills whoever is in the group of a dead process, and says who that was. It is known there also of whom neither session
/// nor environment tells it.
fn end_members(process: &ProcessDirectory) -> io::Result<Vec<Identity>> {
    let Some(place) = process.place()? else { return Ok(Vec::new()) };
    let members = place.group.members()?;
    if !members.is_empty() {
        place.group.kill()?;
    }
    Ok(members)
}

/// Ends what a dead process has left, and returns once nothing is left. `is_own`: it is a child that was not waited for.
///
/// Nobody is signalled by a number that may have come to be somebody else's: see [`Trail`].
///
/// This has no bound of its own: death is proved or not reported. Who does not die is said in the log.
pub(crate) async fn end_leftovers(process: &ProcessDirectory, trail: &mut Trail, is_own: bool) {
    let mut sweeps = 0_u32;
    let mut ending = Ending::default();
    loop {
        if is_own {
            let _ = signal_own_group(trail.leader(), Signal::KILL);
        }
        let members = end_members(process);
        let left = trail.look();
        if let Ok(left) = &left {
            ending.kill(left);
        }
        let left =
            left.and_then(|left| members.map(|members| left.into_iter().chain(members).collect::<Vec<_>>()));
        sweeps = sweeps.saturating_add(1);
        let is_time_to_say = sweeps.is_multiple_of(SWEEPS_UNTIL_SAID);
        match left {
            Ok(left) if left.is_empty() => return,
            Ok(left) if is_time_to_say => {
                let pids: Vec<_> = left.iter().map(|identity| identity.pid).collect();
                tracing::warn!(
                    ?pids,
                    "what the dead process left behind does not die; its death is not reported yet"
                );
            }
            Err(error) if is_time_to_say => {
                tracing::warn!(%error, "what the dead process left behind cannot be seen; its death is not reported yet");
            }
            Ok(_) | Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(SWEEP_MS)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::{Command, Stdio};

    #[tokio::test]
    async fn who_cannot_be_watched_is_ended_with_all_that_it_has_started() {
        // A child that leads no group becomes the leader of a session without a fork.
        let script = "setsid sleep 600 >&2 & sleep 600 >&2 & echo $!; wait";
        let mut child = Command::new("setsid")
            .args(["sh", "-c", script])
            .env("PARACLOUD_TEST_WATCH", "a")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut member = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut member).unwrap();
        let member = Identity::of(member.trim().parse().unwrap()).unwrap();
        let leader = Identity::of(child.id().cast_signed()).unwrap();
        let trail = |leader| Trail::of(leader, ("PARACLOUD_TEST_WATCH", "a"), Path::new("/no/such/log"));
        let directory = tempfile::tempdir().unwrap();
        let process = ProcessDirectory::at(directory.path().to_path_buf());
        end(child, &process, trail).await.unwrap();
        assert!(!leader.is_alive().unwrap() && !member.is_alive().unwrap());
        assert!(trail(leader).look().unwrap().is_empty(), "nor who has left its session");
    }
}
