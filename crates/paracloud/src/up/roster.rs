//! Who the shells of an `up` are, in a file: so that the next `up` can end those of one that was killed.

use crate::failure::Failure;
use crate::processes;
use paracloud_substrate::layout::Layout;
use paracloud_substrate::process::Identity;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long shells may take to end when they are asked to, in milliseconds; then they are killed.
pub const SHELL_MS_MAX: u64 = 3_000;

/// The shells by name. Written whenever one is started.
#[derive(Debug)]
pub struct Roster {
    layout: Layout,
    shells: Mutex<BTreeMap<String, Identity>>,
}

impl Roster {
    /// Nobody yet.
    pub fn new(layout: &Layout) -> Self {
        Self { layout: layout.clone(), shells: Mutex::default() }
    }

    /// This shell is now this process.
    ///
    /// # Errors
    /// The process is gone already, or the file cannot be written.
    pub fn enter(&self, name: &str, pid: u32) -> io::Result<()> {
        let identity = Identity::of(pid.cast_signed())?;
        let mut shells = self.shells.lock().unwrap_or_else(PoisonError::into_inner);
        shells.insert(name.to_owned(), identity);
        let staged = self.layout.up_shells().with_extension("shells.new");
        let written = std::fs::write(&staged, serde_json::to_vec(&*shells)?);
        let written = written.and_then(|()| std::fs::rename(&staged, self.layout.up_shells()));
        // Half a file is of no use to anybody.
        written.inspect_err(|_| drop(std::fs::remove_file(&staged)))
    }
}

/// Ends the shells that a killed `up` left, and says their names.
///
/// # Errors
/// One does not end.
pub async fn end_leftovers(layout: &Layout) -> Result<Vec<String>, Failure> {
    let alive = living(layout);
    let identities: Vec<Identity> = alive.iter().map(|(_, identity)| identity.clone()).collect();
    for signal in [Signal::TERM, Signal::KILL] {
        // By handle: a pid could be somebody else's by now.
        for handle in identities.iter().filter_map(|identity| identity.open().ok().flatten()) {
            let _ = paracloud_substrate::process::signal(&handle, signal);
        }
        if processes::gone(&identities, Duration::from_millis(SHELL_MS_MAX)).await {
            return Ok(alive.into_iter().map(|(name, _)| name).collect());
        }
    }
    let who = layout.root().display().to_string();
    let error = io::Error::other("shells of an earlier `up` do not end, though they were killed");
    Err(Failure::machine(who, &error))
}

/// The shells of the last `up` that live, by name.
pub fn living(layout: &Layout) -> Vec<(String, Identity)> {
    read(layout).into_iter().filter(|(_, identity)| identity.is_alive().unwrap_or(false)).collect()
}

/// The shells of the last `up` by name; some may have ended.
pub fn read(layout: &Layout) -> BTreeMap<String, Identity> {
    // Absent or torn: nobody is known. Shells without an `up` end by themselves.
    let text = std::fs::read(layout.up_shells()).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Asks a child to end that was not waited for yet: its pid is nobody else's.
pub fn ask_to_end(pid: u32) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        // Gone is what is wanted.
        let _ = kill_process(pid, Signal::TERM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[tokio::test]
    async fn shells_of_a_killed_up_are_ended_and_others_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        assert!(end_leftovers(&layout).await.unwrap().is_empty());
        let mut shell = Command::new("sleep").arg("600").spawn().unwrap();
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        let roster = Roster::new(&layout);
        roster.enter("controller", shell.id()).unwrap();
        roster.enter("agent-n1", other.id()).unwrap();
        // The pid of the agent is another process by now.
        let mut stored = read(&layout);
        stored.get_mut("agent-n1").unwrap().start_ticks += 1;
        std::fs::write(layout.up_shells(), serde_json::to_vec(&stored).unwrap()).unwrap();
        let ended = end_leftovers(&layout).await;
        let untouched = other.try_wait();
        other.kill().unwrap();
        other.wait().unwrap();
        shell.wait().unwrap();
        assert_eq!(ended.unwrap(), ["controller"]);
        assert!(untouched.unwrap().is_none());
    }
}
