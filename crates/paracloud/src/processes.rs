//! The processes of a cloud's directory, seen from outside: for logs, and to leave nothing behind.

mod seen;

use paracloud_core::ids::StartId;
use paracloud_substrate::layout::Layout;
use paracloud_substrate::process::{Identity, Trail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};

/// How often it is looked whether processes are gone, in milliseconds.
const LOOK_AGAIN_MS: u64 = 20;
/// How long killed processes may take to go, in milliseconds. Only the kernel can be slower.
const KILLED_MS_MAX: u64 = 5_000;

/// One process that was started for an instance.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its node, by name.
    pub node: String,
    /// Its start.
    pub start: StartId,
    /// The instance.
    pub instance: String,
    /// When its directory was made.
    pub begun: SystemTime,
    /// Its directory.
    pub directory: PathBuf,
    /// Sessions that were seen running, whatever the directory says.
    sessions: Vec<i32>,
}

#[derive(Deserialize)]
struct Spec {
    instance: String,
}

impl Process {
    /// One whose directory this is.
    pub fn at(node: &str, start: StartId, instance: &str, begun: SystemTime, directory: &Path) -> Self {
        let (node, instance) = (node.to_owned(), instance.to_owned());
        Self { node, start, instance, begun, directory: directory.to_owned(), sessions: Vec::new() }
    }

    /// Where its output is.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// What no other process was started with: where it reaches the cloud.
    fn endpoint(&self) -> Option<String> {
        let node = self.directory.parent()?.parent()?;
        Some(paci::env::Endpoint::in_directory(&node.join("s").join(self.start.to_string())).to_string())
    }

    /// Who it is, if it became the program and has not ended.
    pub fn alive(&self) -> Option<Identity> {
        let known = self.identity().ok().flatten().filter(|identity| identity.is_alive().unwrap_or(true));
        known.or_else(|| self.sessions.iter().find_map(|leader| Identity::of(*leader).ok()))
    }

    /// Whether it may have become the program and not have ended. Of one that cannot be read nothing is sure.
    pub fn may_live(&self) -> bool {
        self.identity().is_err() || self.alive().is_some()
    }

    /// Who it was when it became the program, if it did.
    fn identity(&self) -> io::Result<Option<Identity>> {
        match std::fs::read(self.directory.join("identity.json")) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// All that were started and are still known, and all that are seen running though nothing is known of them any more:
/// whoever is to be ended. The others as [`all`] gives them.
pub fn all_seen(layout: &Layout) -> Vec<Process> {
    seen::all(layout)
}

/// All that were started and are still known, in the order in which they were.
pub fn all(layout: &Layout) -> Vec<Process> {
    let mut found = Vec::new();
    for node in entries(layout.root()).filter(|path| is_node(path)) {
        let name = node.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.extend(entries(&node.join("p")).filter_map(|directory| read(&name, directory)));
    }
    found.sort_by_key(|process| (process.begun, process.start));
    found
}

fn is_node(path: &Path) -> bool {
    let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix('n'));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

fn read(node: &str, directory: PathBuf) -> Option<Process> {
    let start = directory.file_name()?.to_str()?.parse().ok()?;
    let path = directory.join("spec.json");
    let spec: Spec = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
    let begun = path.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    Some(Process::at(node, start, &spec.instance, begun, &directory))
}

/// What must be gone before a directory is quiet: programs with all of their sessions, and shims.
#[derive(Debug, Default)]
struct Left {
    /// Leaders of sessions that still have somebody in them, and those members.
    sessions: Vec<(i32, Vec<i32>)>,
    shims: Vec<i32>,
    /// Of which processes they are: their places in the list that was looked for.
    of: BTreeSet<usize>,
}

impl Left {
    fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.shims.is_empty()
    }
}

/// Ends all instances of `processes` and their shims: programs are asked first and killed after `grace`. Says whether
/// everything is gone.
pub async fn end(processes: &[Process], grace: Duration) -> bool {
    let leaders: Vec<Identity> = processes.iter().filter_map(Process::alive).collect();
    if !grace.is_zero() {
        for leader in &leaders {
            to_group(leader.pid, Signal::TERM);
        }
        let deadline = Instant::now() + grace;
        while leaders.iter().any(|leader| leader.is_alive().unwrap_or(false)) && Instant::now() < deadline {
            sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
        }
    }
    let deadline = Instant::now() + Duration::from_millis(KILLED_MS_MAX);
    loop {
        // Looked at again each time: a shim that was about to start its process may have done so meanwhile.
        let left = left(processes);
        if left.is_empty() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        for pid in &left.shims {
            to_process(*pid, Signal::KILL);
        }
        for (leader, members) in &left.sessions {
            to_group(*leader, Signal::KILL);
            members.iter().for_each(|pid| to_process(*pid, Signal::KILL));
        }
        sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
    }
}

/// What of these still runs, by name.
pub fn some_left(processes: &[Process]) -> Vec<String> {
    let left = left(processes);
    left.of.iter().map(|at| format!("{} on {}", processes[*at].instance, processes[*at].node)).collect()
}

fn left(processes: &[Process]) -> Left {
    let mut left = Left::default();
    let living: Vec<_> = living().collect();
    let is_there = |leader: &i32| living.iter().any(|(_, stat)| stat.session == *leader);
    let sessions = |process: &Process| {
        session_of(process, is_there).into_iter().chain(process.sessions.iter().copied()).collect()
    };
    let known: Vec<Vec<i32>> = processes.iter().map(sessions).collect();
    for (process, stat) in &living {
        if let Some(at) = known.iter().position(|sessions| sessions.contains(&stat.session)) {
            left.of.insert(at);
            match left.sessions.iter_mut().find(|(leader, _)| *leader == stat.session) {
                Some((_, members)) => members.push(stat.pid),
                None => left.sessions.push((stat.session, vec![stat.pid])),
            }
        } else if let Some(directory) = process.cmdline().ok().and_then(|words| seen::served(&words))
            && let Some(at) = processes.iter().position(|process| process.directory == Path::new(&directory))
        {
            left.of.insert(at);
            left.shims.push(stat.pid);
        }
    }
    left
}

/// Every process that acts.
fn living() -> impl Iterator<Item = (procfs::process::Process, procfs::process::Stat)> {
    let all = procfs::process::all_processes().into_iter().flatten().flatten();
    let stats = all.filter_map(|process| process.stat().ok().map(|stat| (process, stat)));
    stats.filter(|(_, stat)| !matches!(stat.state, 'Z' | 'X' | 'x'))
}

/// The session of a process, by the pid of its leader, if there is one of this number and it is its own.
fn session_of(process: &Process, is_there: impl Fn(&i32) -> bool) -> Option<i32> {
    let leader = process.identity().ok().flatten().filter(|leader| is_there(&leader.pid))?;
    let pid = leader.pid;
    let endpoint = process.endpoint()?;
    let trail = Trail::of(leader, (paci::env::ENDPOINT, &endpoint), &process.log());
    trail.has_session().unwrap_or(false).then_some(pid)
}

fn to_group(leader: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(leader) {
        // Gone is what is wanted.
        let _ = kill_process_group(pid, signal);
    }
}

/// Signals a process. Gone is what is wanted.
pub fn to_process(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Waits until none of these is alive, at most this long; says whether none is.
pub async fn gone(identities: &[Identity], within: Duration) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if !identities.iter().any(|identity| identity.is_alive().unwrap_or(false)) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
    }
}

#[cfg(test)]
mod tests;
