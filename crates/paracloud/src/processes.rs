//! The processes of a cloud's directory, seen from outside: for logs, and to leave nothing behind.

mod groups;
mod left;
mod seen;

use left::Search;
use paracloud_core::ids::StartId;
use paracloud_substrate::layout::Layout;
use paracloud_substrate::process::{Identity, Trail, signal_each};
use rustix::process::Signal;
use serde::Deserialize;
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
    /// Which revision of its app it was started from, if that was written down.
    pub revision: Option<u32>,
    /// Leaders of sessions that were seen running, whatever the directory says.
    seen: Vec<Identity>,
}

#[derive(Deserialize)]
struct Spec {
    instance: String,
    #[serde(default)]
    revision: u32,
}

impl Process {
    /// One whose directory this is.
    pub fn at(node: &str, start: StartId, instance: &str, begun: SystemTime, directory: &Path) -> Self {
        let (node, instance) = (node.to_owned(), instance.to_owned());
        let directory = directory.to_owned();
        Self { node, start, instance, begun, directory, revision: None, seen: Vec::new() }
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

    /// How what is its own is known, if this one became the program or made a session of it.
    fn trail(&self, leader: Identity) -> Option<Trail> {
        let endpoint = self.endpoint()?;
        Some(Trail::of(leader, (paci::env::ENDPOINT, &endpoint), &self.log()))
    }

    /// Asks it to end, and its group. By handles, so that nobody else is asked who has one of their pids by now.
    fn ask_to_end(&self, leader: &Identity) {
        let group = self.trail(leader.clone()).and_then(|trail| trail.group().ok());
        signal_each(std::slice::from_ref(leader), Signal::TERM);
        signal_each(&group.unwrap_or_default(), Signal::TERM);
    }

    /// Who it is, if it became the program and has not ended.
    pub fn alive(&self) -> Option<Identity> {
        let known = self.identity().ok().flatten().filter(|identity| identity.is_alive().unwrap_or(true));
        known.or_else(|| self.seen.iter().find(|leader| leader.is_alive().unwrap_or(true)).cloned())
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
    let revision = Some(spec.revision).filter(|revision| *revision > 0);
    Some(Process { revision, ..Process::at(node, start, &spec.instance, begun, &directory) })
}

/// Ends all instances of `processes` and their shims: programs are asked first and killed after `grace`. Says whether
/// everything is gone.
pub async fn end(processes: &[Process], grace: Duration) -> bool {
    let mut search = Search::of(processes);
    // Who is in a session while its leader lives is known to be of it later. What cannot be seen now is looked for again.
    let _ = search.look();
    if !grace.is_zero() {
        let asked = |process: &Process| {
            let leader = process.alive()?;
            process.ask_to_end(&leader);
            Some(leader)
        };
        let leaders: Vec<Identity> = processes.iter().filter_map(asked).collect();
        gone(&leaders, grace).await;
    }
    let deadline = Instant::now() + Duration::from_millis(KILLED_MS_MAX);
    loop {
        // Looked at again each time: a shim that was about to start its process may have done so meanwhile, and who has
        // a number now may be somebody else.
        if search.look().is_ok() && search.is_empty() {
            break;
        }
        if Instant::now() >= deadline {
            return false;
        }
        search.kill();
        sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
    }
    // Their shims would have removed them, and are dead as well. One that stays holds nobody.
    while processes.iter().filter(|process| groups::remove(process).is_err()).count() > 0 {
        if Instant::now() >= deadline {
            break;
        }
        sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
    }
    true
}

/// What of these still runs, by name.
pub fn some_left(processes: &[Process]) -> Vec<String> {
    let mut search = Search::of(processes);
    // What cannot be seen cannot be named; whoever ends it says that it is not sure.
    let _ = search.look();
    search.found().map(|process| format!("{} on {}", process.instance, process.node)).collect()
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
