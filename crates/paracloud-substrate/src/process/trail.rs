//! What a process may leave behind when it dies, told apart from what is somebody else's.
//!
//! A session and a group are known by a number, the pid of whoever made them; and the kernel gives nobody a pid that is
//! still in use as one of these. So whose a session is follows from who has its number as pid:
//!
//! | the number is | the session of that number is |
//! |---|---|
//! | its leader's, alive or not reaped yet | the leader's |
//! | another process's, or this is another life of the machine | another's, if there is one: the leader's is empty |
//! | nobody's | the leader's, or that of another one that had the number later and is dead too |
//!
//! In the last case it is taken for the leader's only if one of its members proves it: it was seen there while the number
//! was the leader's, has the leader's variable in its environment, or writes to the leader's log. One is enough for all:
//! as long as it is there, the number was given to nobody else.

use super::{Identity, boot_id, into_io};
use procfs::process::{Process, Stat};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Who has the pid of a process now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// The process itself: it lives, or was not reaped yet.
    Its,
    /// Nobody.
    Nobodys,
    /// Another process; or the process was of another life of the machine, where its number means nothing.
    Others,
}

/// One process, and how all that it may leave behind is known.
#[derive(Debug, Clone)]
pub struct Trail {
    leader: Identity,
    variable: (String, String),
    log: PathBuf,
    /// Members of its session, by pid and start, that were seen while its number was surely its own.
    seen: BTreeSet<(i32, u64)>,
}

/// A living process, as it was looked at.
struct Living {
    identity: Identity,
    group: i32,
    session: i32,
    has_variable: bool,
}

impl Trail {
    /// That of the leader of a session. `variable` is a name, and a value that no other process was started with;
    /// `log` is where its output goes.
    pub fn of(leader: Identity, (name, value): (&str, &str), log: &Path) -> Self {
        let variable = (name.to_owned(), value.to_owned());
        Self { leader, variable, log: log.to_owned(), seen: BTreeSet::new() }
    }

    /// Whose trail it is.
    pub fn leader(&self) -> &Identity {
        &self.leader
    }

    /// The others of its group, as long as its number is its own.
    ///
    /// # Errors
    /// Processes cannot be listed; nothing is known then.
    pub fn group(&self) -> io::Result<Vec<Identity>> {
        let group = self.living()?.into_iter().filter(|living| living.group == self.leader.pid);
        let group = group.map(|living| living.identity).collect();
        // Looked at after they were: so the number was its own all the while.
        Ok(if self.leader.number()? == Number::Its { group } else { Vec::new() })
    }

    /// Everything that is left: its session, and whoever has its variable in the environment. A program hands its
    /// environment down to all that it starts, also to what leaves its session and survives its parents; only what
    /// was given another environment *and* left the session is not found; nor is a session whose leader was reaped
    /// and none of whose members proves whose it is.
    ///
    /// The last one is the one to end last, once all others have been told: it proves whose the session is.
    ///
    /// # Errors
    /// Processes cannot be listed; nothing is known then.
    pub fn look(&mut self) -> io::Result<Vec<Identity>> {
        let living = self.living()?;
        let (session, elsewhere): (Vec<_>, Vec<_>) =
            living.into_iter().partition(|living| living.session == self.leader.pid);
        let elsewhere = elsewhere.into_iter().filter(|living| living.has_variable);
        let mut left: Vec<_> = elsewhere.map(|living| living.identity).collect();
        let number = self.leader.number()?;
        let proof = session.iter().position(|living| self.proves(living));
        if number == Number::Its || (number == Number::Nobodys && proof.is_some()) {
            left.extend(session.iter().map(|living| living.identity.clone()));
            self.seen = session.iter().map(|living| key(&living.identity)).collect();
            if let Some(proof) = proof {
                let last = session[proof].identity.clone();
                left.retain(|identity| *identity != last);
                left.push(last);
            }
        } else {
            let with_variable = session.into_iter().filter(|living| living.has_variable);
            left.extend(with_variable.map(|living| living.identity));
        }
        Ok(left)
    }

    /// Every living process but the leader.
    fn living(&self) -> io::Result<Vec<Living>> {
        let boot_id = boot_id()?;
        let all = procfs::process::all_processes().map_err(into_io)?;
        let living = all.flatten().filter_map(|process| {
            let stat = process.stat().ok().filter(|stat| !is_dead(stat))?;
            let identity = Identity { pid: stat.pid, start_ticks: stat.starttime, boot_id: boot_id.clone() };
            let (group, session) = (stat.pgrp, stat.session);
            let has_variable = self.is_in_environment(&process);
            (identity != self.leader).then_some(Living { identity, group, session, has_variable })
        });
        Ok(living.collect())
    }

    fn is_in_environment(&self, process: &Process) -> bool {
        let (name, value) = &self.variable;
        // What belongs to another user, and what is gone, shows none.
        let variables = process.environ().unwrap_or_default();
        variables.get(OsStr::new(name)).is_some_and(|found| found.as_os_str() == OsStr::new(value))
    }

    /// Whether this member of a session of its number shows that the session is its own, and is in it on.
    fn proves(&self, living: &Living) -> bool {
        let is_proof = living.has_variable
            || self.seen.contains(&key(&living.identity))
            || self.writes(living.identity.pid);
        let stat = Process::new(living.identity.pid).and_then(|process| process.stat());
        let is_there =
            |stat: Stat| stat.starttime == living.identity.start_ticks && stat.session == self.leader.pid;
        is_proof && stat.is_ok_and(is_there)
    }

    /// Whether the standard output or the standard error of a process is the log. Who only reads it has it elsewhere.
    fn writes(&self, pid: i32) -> bool {
        let Ok(log) = std::fs::metadata(&self.log) else { return false };
        [1, 2].iter().any(|number| {
            let opened = PathBuf::from(format!("/proc/{pid}/fd/{number}"));
            let is_log = |file: std::fs::Metadata| (file.dev(), file.ino()) == (log.dev(), log.ino());
            // The rights of the link itself are those that the file was opened with.
            let may_write = |link: std::fs::Metadata| link.mode() & 0o200 != 0;
            std::fs::metadata(&opened).is_ok_and(is_log)
                && std::fs::symlink_metadata(&opened).is_ok_and(may_write)
        })
    }
}

impl Identity {
    /// Who has its pid now.
    ///
    /// # Errors
    /// `/proc` cannot be read; nothing is known then.
    pub fn number(&self) -> io::Result<Number> {
        if boot_id()? != self.boot_id {
            return Ok(Number::Others);
        }
        match Process::new(self.pid).and_then(|process| process.stat()) {
            Ok(stat) if stat.starttime == self.start_ticks => Ok(Number::Its),
            Ok(_) => Ok(Number::Others),
            Err(procfs::ProcError::NotFound(_)) => Ok(Number::Nobodys),
            Err(error) => Err(into_io(error)),
        }
    }
}

/// A zombie is dead: it acts no more.
fn is_dead(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X' | 'x')
}

fn key(identity: &Identity) -> (i32, u64) {
    (identity.pid, identity.start_ticks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::signal;
    use rustix::process::Signal;
    use std::fs::File;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    const NAME: &str = "PARACLOUD_TEST_TRAIL";

    /// A session of two, its leader a shell that waits for a line; all of them are killed when it is dropped.
    struct Session {
        leader: Child,
        identity: Identity,
        member: Identity,
    }

    impl Session {
        /// `prelude` is what starts the member: `env -i`, say.
        fn of(prelude: &str, value: &str, output: Stdio) -> Self {
            let script = format!("{prelude} sleep 600 >&2 & echo $!; read line");
            // A child that leads no group becomes the leader of a session without a fork.
            let mut leader = Command::new("setsid")
                .args(["sh", "-c", &script])
                .env(NAME, value)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(output)
                .spawn()
                .unwrap();
            let identity = Identity::of(leader.id().cast_signed()).unwrap();
            let mut pid = String::new();
            BufReader::new(leader.stdout.take().unwrap()).read_line(&mut pid).unwrap();
            let pid = pid.trim().parse().unwrap();
            // The shell forks first; what counts is the environment and the output of the program.
            let is_sleep =
                || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|it| it.starts_with(b"sleep"));
            while !is_sleep() {
                std::thread::yield_now();
            }
            Self { leader, identity, member: Identity::of(pid).unwrap() }
        }

        /// The leader ends. As long as it is not waited for, it keeps its number.
        fn leader_ends(&mut self) {
            drop(self.leader.stdin.take());
            while self.identity.is_alive().unwrap() {
                std::thread::yield_now();
            }
        }

        fn reap(&mut self) {
            self.leader_ends();
            self.leader.wait().unwrap();
        }

        fn earlier(&self) -> Identity {
            Identity { start_ticks: self.identity.start_ticks - 1, ..self.identity.clone() }
        }
    }

    impl Drop for Session {
        fn drop(&mut self) {
            let _ = self.leader.kill();
            let _ = self.leader.wait();
            if let Ok(Some(handle)) = self.member.open() {
                let _ = signal(&handle, Signal::KILL);
            }
        }
    }

    /// What is left by a leader that had the variable with this value.
    fn left_by(leader: Identity, value: &str) -> Vec<Identity> {
        Trail::of(leader, (NAME, value), Path::new("/no/such/log")).look().unwrap()
    }

    #[test]
    fn as_long_as_a_leader_has_its_number_its_session_is_its_own() {
        let mut session = Session::of("env -i", "", Stdio::null());
        assert_eq!(session.identity.number().unwrap(), Number::Its);
        assert_eq!(left_by(session.identity.clone(), "a"), [session.member.clone()]);
        session.leader_ends();
        assert_eq!(session.identity.number().unwrap(), Number::Its, "it was not reaped");
        assert_eq!(left_by(session.identity.clone(), "a"), [session.member.clone()]);
        assert_eq!(
            Trail::of(session.identity.clone(), (NAME, "a"), Path::new("")).group().unwrap(),
            [session.member.clone()]
        );
    }

    #[test]
    fn a_number_that_another_process_has_says_nothing() {
        let session = Session::of("env -i", "", Stdio::null());
        let reboot = Identity { boot_id: "an earlier one".to_owned(), ..session.identity.clone() };
        for before in [session.earlier(), reboot] {
            assert_eq!(before.number().unwrap(), Number::Others);
            assert!(left_by(before.clone(), "b").is_empty());
            assert!(Trail::of(before, (NAME, "b"), Path::new("")).group().unwrap().is_empty());
        }
    }

    #[test]
    fn whoever_has_the_variable_is_found_whatever_became_of_the_number() {
        let mut session = Session::of("", "c", Stdio::null());
        let leader = session.identity.clone();
        assert_eq!(left_by(session.earlier(), "c"), [leader, session.member.clone()]);
        session.reap();
        assert_eq!(left_by(session.identity.clone(), "c"), [session.member.clone()]);
        assert!(left_by(session.identity.clone(), "another").is_empty());
    }

    #[test]
    fn a_session_whose_leader_was_reaped_is_anybodys_until_one_of_it_proves_whose() {
        let mut session = Session::of("env -i", "", Stdio::null());
        let mut knowing = Trail::of(session.identity.clone(), (NAME, "d"), Path::new(""));
        assert_eq!(knowing.look().unwrap(), [session.member.clone()]);
        session.reap();
        assert_eq!(session.identity.number().unwrap(), Number::Nobodys);
        assert!(
            left_by(session.identity.clone(), "d").is_empty(),
            "it may be a later leader's of this number"
        );
        assert_eq!(knowing.look().unwrap(), [session.member.clone()], "seen before the leader was reaped");
    }

    #[test]
    fn who_writes_to_the_log_proves_whose_the_session_is_and_who_reads_it_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut writes = Session::of("env -i", "", File::create(&log).unwrap().into());
        let mut reads = Session::of("env -i", "", File::open(&log).unwrap().into());
        writes.reap();
        reads.reap();
        let left = |session: &Session| Trail::of(session.identity.clone(), (NAME, "e"), &log).look().unwrap();
        assert_eq!(left(&writes), [writes.member.clone()]);
        assert!(left(&reads).is_empty());
    }
}
