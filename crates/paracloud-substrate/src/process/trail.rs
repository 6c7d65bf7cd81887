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
//!
//! What cannot be looked at is not taken for gone: a look fails then, and nothing is known until one succeeds. There are
//! two answers which are none of that kind. Who is gone has left nothing to be looked at. And what the kernel does not
//! show to this user (`EACCES`, `EPERM`) it will not show at the next look either: a process of another user, or one that
//! made itself undumpable, as every machine has them. If such a look failed, no death could be proved on these machines.
//! So it counts as one that has another environment; in the session it is found all the same, unless `/proc` is mounted
//! so that it hides who belongs to others altogether.

use super::environment::Environment;
use super::{Identity, boot_id, into_io, is_dead, is_gone, shown};
use procfs::process::{Process, Stat};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The longest chain of parents that is followed.
const ANCESTORS_MAX: usize = 64;

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

    /// That of whoever made a session of this number: of a process that has the number, dead though it may be, or of one
    /// that is gone.
    ///
    /// # Errors
    /// Nothing can be known of processes.
    pub fn of_session(number: i32, variable: (&str, &str), log: &Path) -> io::Result<Self> {
        let leader = match Identity::of(number) {
            Ok(leader) => leader,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Identity { pid: number, start_ticks: 0, boot_id: boot_id()? }
            }
            Err(error) => return Err(error),
        };
        Ok(Self::of(leader, variable, log))
    }

    /// Whose trail it is.
    pub fn leader(&self) -> &Identity {
        &self.leader
    }

    /// The others of its group, as long as its number is its own.
    ///
    /// # Errors
    /// Processes cannot be listed, or one of them not be looked at; nothing is known then.
    pub fn group(&self) -> io::Result<Vec<Identity>> {
        let group = self.living(|stat| stat.pgrp == self.leader.pid)?;
        let group = group.into_iter().map(|living| living.identity).collect();
        // Looked at after they were: so the number was its own all the while.
        Ok(if self.leader.number()? == Number::Its { group } else { Vec::new() })
    }

    /// The process itself, if it lives, and its session. The last one is the one to end last, as in [`Trail::look`].
    ///
    /// # Errors
    /// Processes cannot be listed, or one of them not be looked at; nothing is known then.
    pub fn session(&mut self) -> io::Result<Vec<Identity>> {
        let number = self.leader.pid;
        let session = self.living(|stat| stat.session == number)?;
        let members = self.members(&session)?.unwrap_or_default();
        let leader = self.leader.is_alive()?.then(|| self.leader.clone());
        Ok(leader.into_iter().chain(members).collect())
    }

    /// Whether a process is of it: the process itself, or in its session, or descended from one of these. What is not
    /// sure is a no.
    pub fn covers(&self, pid: i32) -> bool {
        let Ok(boot_id) = boot_id() else { return false };
        let mut current = pid;
        // Nobody has a parent that is younger; who seems to has lost his, and its number was given away.
        let mut born_at = u64::MAX;
        for _ in 0..ANCESTORS_MAX {
            let Ok(process) = Process::new(current) else { return false };
            let Ok(stat) = process.stat() else { return false };
            if stat.starttime > born_at {
                return false;
            }
            if current == self.leader.pid {
                return self.leader.is_alive().unwrap_or(false);
            }
            if stat.session == self.leader.pid {
                let living = || self.look_at(&process, &stat, &boot_id).ok().flatten();
                let is_proof = || living().is_some_and(|it| self.proves(&it).unwrap_or(false));
                return match self.leader.number() {
                    Ok(Number::Its) => true,
                    Ok(Number::Nobodys) => is_proof(),
                    Ok(Number::Others) | Err(_) => false,
                };
            }
            if stat.ppid <= 1 {
                return false;
            }
            (current, born_at) = (stat.ppid, stat.starttime);
        }
        false
    }

    /// Everything that is left: its session, and whoever has its variable in the environment. A program hands its
    /// environment down to all that it starts, also to what leaves its session and survives its parents; only what
    /// was given another environment, or does not show it to this user, *and* left the session is not found; nor is a
    /// session whose leader was reaped and none of whose members proves whose it is.
    ///
    /// The last one is the one to end last, once all others have been told: it proves whose the session is.
    ///
    /// # Errors
    /// Processes cannot be listed, or one of them not be looked at; nothing is known then.
    pub fn look(&mut self) -> io::Result<Vec<Identity>> {
        let (session, elsewhere): (Vec<_>, Vec<_>) =
            self.living(|_| true)?.into_iter().partition(|living| living.session == self.leader.pid);
        let with_variable = |living: Living| living.has_variable.then_some(living.identity);
        let mut left: Vec<_> = elsewhere.into_iter().filter_map(with_variable).collect();
        match self.members(&session)? {
            Some(members) => left.extend(members),
            None => left.extend(session.into_iter().filter_map(with_variable)),
        }
        Ok(left)
    }

    /// The members of the session of its number but the leader, if it is its own; who proves that is the last of them.
    fn members(&mut self, session: &[Living]) -> io::Result<Option<Vec<Identity>>> {
        let number = self.leader.number()?;
        let proof = match self.proof(session) {
            // Whose it is is known, whoever proves it.
            Err(_) if number == Number::Its => None,
            found => found?,
        };
        if number == Number::Its || (number == Number::Nobodys && proof.is_some()) {
            self.seen = session.iter().map(|living| key(&living.identity)).collect();
            let mut members: Vec<_> = session.iter().map(|living| living.identity.clone()).collect();
            if let Some(proof) = proof {
                let last = members.remove(proof);
                members.push(last);
            }
            Ok(Some(members))
        } else {
            Ok(None)
        }
    }

    /// Who of these proves that the session is its own: its place.
    fn proof(&self, session: &[Living]) -> io::Result<Option<usize>> {
        for (place, living) in session.iter().enumerate() {
            if self.proves(living)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Every living process but the leader, of those whose state is wanted.
    fn living(&self, is_wanted: impl Fn(&Stat) -> bool) -> io::Result<Vec<Living>> {
        let boot_id = boot_id()?;
        let mut living = Vec::new();
        for process in procfs::process::all_processes().map_err(into_io)? {
            let Some(process) = shown(process)? else { continue };
            let stat = shown(process.stat())?.filter(|stat| !is_dead(stat) && is_wanted(stat));
            if let Some(stat) = stat {
                living.extend(self.look_at(&process, &stat, &boot_id)?);
            }
        }
        Ok(living)
    }

    /// A process that is not the leader.
    fn look_at(&self, process: &Process, stat: &Stat, boot_id: &str) -> io::Result<Option<Living>> {
        let identity = Identity { pid: stat.pid, start_ticks: stat.starttime, boot_id: boot_id.to_owned() };
        if identity == self.leader {
            return Ok(None);
        }
        let has_variable = self.is_in_environment(process)?;
        Ok(Some(Living { identity, session: stat.session, has_variable }))
    }

    fn is_in_environment(&self, process: &Process) -> io::Result<bool> {
        let (name, value) = &self.variable;
        let environment = Environment::of(process)?;
        Ok(environment.is_some_and(|it| it.get(name).is_some_and(|found| found == OsStr::new(value))))
    }

    /// Whether this member of a session of its number shows that the session is its own, and is in it on.
    fn proves(&self, living: &Living) -> io::Result<bool> {
        let is_proof = living.has_variable
            || self.seen.contains(&key(&living.identity))
            || self.writes(living.identity.pid)?;
        let stat = shown(Process::new(living.identity.pid).and_then(|process| process.stat()))?;
        let is_there =
            |stat: Stat| stat.starttime == living.identity.start_ticks && stat.session == self.leader.pid;
        Ok(is_proof && stat.is_some_and(is_there))
    }

    /// Whether the standard output or the standard error of a process is the log. Who only reads it has it elsewhere.
    fn writes(&self, pid: i32) -> io::Result<bool> {
        let looked =
            |path: &Path, look: fn(&Path) -> io::Result<Metadata>| shown(look(path).map_err(Into::into));
        let Some(log) = looked(&self.log, |path| path.metadata())? else { return Ok(false) };
        for number in [1, 2] {
            let opened = PathBuf::from(format!("/proc/{pid}/fd/{number}"));
            let file = looked(&opened, |path| path.metadata())?;
            let link = looked(&opened, |path| path.symlink_metadata())?;
            let is_log = file.is_some_and(|file| (file.dev(), file.ino()) == (log.dev(), log.ino()));
            // The rights of the link itself are those that the file was opened with.
            if is_log && link.is_some_and(|link| link.mode() & 0o200 != 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Identity {
    /// Who has its pid now.
    ///
    /// # Errors
    /// `/proc` cannot be read; nothing is known then.
    pub fn number(&self) -> io::Result<Number> {
        if self.is_of_another_boot()? {
            return Ok(Number::Others);
        }
        match Process::new(self.pid).and_then(|process| process.stat()) {
            Ok(stat) if stat.starttime == self.start_ticks => Ok(Number::Its),
            Ok(_) => Ok(Number::Others),
            Err(error) if is_gone(&error) => Ok(Number::Nobodys),
            Err(error) => Err(into_io(error)),
        }
    }
}

fn key(identity: &Identity) -> (i32, u64) {
    (identity.pid, identity.start_ticks)
}

#[cfg(test)]
mod tests;
