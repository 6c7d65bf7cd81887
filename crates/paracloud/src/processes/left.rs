//! What must be gone before a directory is quiet: programs with all of their sessions, and shims.
//!
//! Each look finds out anew who is whose, and finds processes, not numbers: whoever has a number later hears nothing.

use super::{Process, groups, seen};
use paci::env::ENDPOINT;
use paracloud_substrate::process::{Ending, Environment, Identity, Trail, is_dead, signal_each};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

/// Looks for what of some processes is left, again and again.
#[derive(Debug)]
pub(super) struct Search<'a> {
    processes: &'a [Process],
    /// Sessions that were found to be of a process: by its place, the session's number, and when its leader began.
    sessions: BTreeMap<(usize, i32, u64), Session>,
    /// Shims by the places of their processes.
    shims: Vec<(usize, Identity)>,
    /// The places of processes in whose group somebody is.
    groups: BTreeSet<usize>,
}

/// One session, as it was found at the last look. What was seen of it before proves whose it is.
#[derive(Debug)]
struct Session {
    trail: Trail,
    ending: Ending,
    left: Vec<Identity>,
}

/// A process that acts, as it was looked at.
struct Living {
    identity: Identity,
    session: i32,
    endpoint: Option<String>,
    /// It is a shim, or is about to become the program, of the process with this directory.
    serves: Option<PathBuf>,
}

impl<'a> Search<'a> {
    /// For what is left of these.
    pub(super) fn of(processes: &'a [Process]) -> Self {
        Self { processes, sessions: BTreeMap::new(), shims: Vec::new(), groups: BTreeSet::new() }
    }

    /// Finds what is left now.
    ///
    /// # Errors
    /// Processes cannot be listed, or not whether a session is a process's: something may be left besides.
    pub(super) fn look(&mut self) -> io::Result<()> {
        let living = living()?;
        self.shims.clear();
        for Living { identity, serves, .. } in &living {
            let serves = serves.as_ref().and_then(|directory| {
                self.processes.iter().position(|process| process.directory == *directory)
            });
            self.shims.extend(serves.map(|at| (at, identity.clone())));
        }
        for (at, process) in self.processes.iter().enumerate() {
            let has_members = |number: i32| living.iter().any(|living| living.session == number);
            let known = process.identity().ok().flatten().into_iter().chain(process.seen.iter().cloned());
            let trails = known.filter(|it| has_members(it.pid)).filter_map(|it| process.trail(it));
            for trail in trails.chain(with_variable(process, &living)) {
                let (number, began) = (trail.leader().pid, trail.leader().start_ticks);
                let session = || Session { trail, ending: Ending::default(), left: Vec::new() };
                self.sessions.entry((at, number, began)).or_insert_with(session);
            }
        }
        self.groups.clear();
        for (at, process) in self.processes.iter().enumerate() {
            if !groups::members(process)?.is_empty() {
                self.groups.insert(at);
            }
        }
        let shims: BTreeSet<i32> = self.shims.iter().map(|(_, shim)| shim.pid).collect();
        for session in self.sessions.values_mut() {
            session.left = session.trail.session()?;
            session.left.retain(|identity| !shims.contains(&identity.pid));
        }
        Ok(())
    }

    /// Whether the last look found nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.shims.is_empty()
            && self.groups.is_empty()
            && self.sessions.values().all(|session| session.left.is_empty())
    }

    /// The processes of which the last look found something.
    pub(super) fn found(&self) -> impl Iterator<Item = &'a Process> {
        let sessions = self.sessions.iter().filter(|(_, session)| !session.left.is_empty());
        let of_sessions = sessions.map(|((at, ..), _)| *at);
        let of_groups = self.groups.iter().copied();
        let of: BTreeSet<usize> =
            of_sessions.chain(self.shims.iter().map(|(at, _)| *at)).chain(of_groups).collect();
        of.into_iter().map(|at| &self.processes[at])
    }

    /// Kills what the last look found.
    pub(super) fn kill(&mut self) {
        let shims: Vec<_> = self.shims.iter().map(|(_, shim)| shim.clone()).collect();
        signal_each(&shims, Signal::KILL);
        for at in &self.groups {
            groups::kill(&self.processes[*at]);
        }
        for session in self.sessions.values_mut() {
            session.ending.kill(&session.left);
        }
    }
}

/// Sessions that have the variable of this process: of a leader that has it, or of whom a leader left behind that acts
/// no more. Who inherited the variable elsewhere is somebody else.
fn with_variable(process: &Process, living: &[Living]) -> Vec<Trail> {
    let Some(endpoint) = process.endpoint() else { return Vec::new() };
    let mut trails = Vec::new();
    for member in living.iter().filter(|living| living.endpoint.as_ref() == Some(&endpoint)) {
        if member.session == member.identity.pid {
            trails.extend(process.trail(member.identity.clone()));
        } else if !living.iter().any(|living| living.identity.pid == member.session) {
            trails.extend(Trail::of_session(member.session, (ENDPOINT, &endpoint), &process.log()).ok());
        }
    }
    trails
}

/// Every process that acts.
fn living() -> io::Result<Vec<Living>> {
    let boot_id = Identity::own()?.boot_id;
    let look_at = |process: procfs::process::Process| -> Option<Living> {
        let stat = process.stat().ok().filter(|stat| !is_dead(stat))?;
        let identity = Identity { pid: stat.pid, start_ticks: stat.starttime, boot_id: boot_id.clone() };
        let serves = process.cmdline().ok().and_then(|words| seen::served(&words)).map(PathBuf::from);
        let environment = Environment::of(&process).ok().flatten();
        let endpoint = environment.and_then(|it| Some(it.get(ENDPOINT)?.to_str()?.to_owned()));
        Some(Living { identity, session: stat.session, endpoint, serves })
    };
    let all = procfs::process::all_processes().map_err(io::Error::other)?;
    Ok(all.flatten().filter_map(look_at).collect())
}
