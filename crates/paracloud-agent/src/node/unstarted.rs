//! The end of what was never started, on a node where that cannot be written down: its disk is full, say.
//!
//! The end of a process is ordered of its shim, and that of one which was never started too: its shim writes the marker,
//! and the start id is used up for good. Where neither a directory nor a marker can be made, no shim can do so. Whoever
//! waits for that end, as a move that is rolled back does, must not wait for room on a disk: the process is said to be
//! dead without a marker, if it was never started and never will be.
//!
//! It never was: whoever starts a process marks it before, and there is no marker. Nor is a shim about to: none has the
//! lock of the directory, and where there is no directory there is nothing that a shim could read. A shim that comes up
//! late hears the order that stands, and that is the end. What this agent has seen marked or running was started,
//! whatever has become of its directory.
//!
//! It never will be:
//! - By this agent not, because its machine has the process for dead from here on, and orders no start of what is dead
//!   (and of what is to be ended): a late order for it, also a repeated one, is answered with its death.
//! - By a later agent of the node only if the controller orders it of that one. What was said to this agent dies with its
//!   link: each link has a queue of its own, and a new link begins with an empty one. And the controller does not say it
//!   anew. A target is ordered to start while its operation is open, or by the record that it owns by; its end is
//!   ordered by a record beyond these steps, and records do not go back. Whoever acts on this death takes the start id
//!   out of the record by a swap before anything else is started, and a later agent hears only of what comes after.
//!
//! A marker is tried nevertheless, and where there is a directory the shim goes on trying: it stands as soon as there is
//! room.

use super::Node;
use crate::durable;
use crate::processes::ProcessDirectory;
use paracloud_core::ids::StartId;
use paracloud_core::migration::agent::Input;
use paracloud_core::migration::shim::Status;
use paracloud_substrate::message::Note;
use std::io;
use std::net::SocketAddr;

/// How it is said that a process ended which never began.
pub(super) const NEVER: &str = "it was never started, and never will be";

impl Node {
    /// The end was ordered of a process for which there is no directory, and none can be made. Says that it is dead if
    /// it was never started; otherwise it is `false` and nothing has happened.
    pub(super) fn end_without_directory(&mut self, name: &str, id: StartId) -> bool {
        let process = ProcessDirectory::at(self.layout.process(self.node.id, id));
        if self.starts.contains_key(&id) || !was_never_started(&process) {
            return false;
        }
        // There may be room for that much; where there is none, the marker stays away.
        let _ = self.layout.make(process.path()).and_then(|()| durable::write_synced(&process.marker(), b""));
        tracing::info!(start = %id, instance = name, "a process that has no directory is dead: {NEVER}");
        self.note(name, None, Note::Ended { start: id, how: NEVER.to_owned() });
        let nowhere = SocketAddr::new(self.node.host, 0);
        self.inputs.push_back((name.to_owned(), Input::Shim(id, Status::Dead, nowhere)));
        true
    }

    /// The end was ordered of a process for which no shim can be had. Says that it is dead if it was never started.
    pub(super) fn end_without_shim(&mut self, id: StartId) {
        let Some(start) = self.starts.get(&id) else { return };
        if !start.is_dead() && !start.was_started && was_never_started(&start.process) {
            self.shim_reports(id, Status::Dead);
        }
    }
}

/// Whether no shim has started a process, and none is about to. What cannot be seen is not sure.
fn was_never_started(process: &ProcessDirectory) -> bool {
    // Held until the marker was looked for: no shim comes up in between.
    let lock = match exists(process.lock()) {
        Ok(true) => durable::lock(&process.lock()),
        Ok(false) => return matches!(exists(process.marker()), Ok(false)),
        Err(error) => Err(error),
    };
    matches!((lock, exists(process.marker())), (Ok(Some(_)), Ok(false)))
}

/// As [`std::fs::exists`]; below what is no directory there is nothing.
fn exists(path: std::path::PathBuf) -> io::Result<bool> {
    match std::fs::exists(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_or_has_a_shim_may_have_been_started() {
        let directory = tempfile::tempdir().unwrap();
        let process = ProcessDirectory::at(directory.path().join("process"));
        assert!(was_never_started(&process), "there is nothing");
        std::fs::write(process.path(), "").unwrap();
        assert!(was_never_started(&process), "there can be nothing");
        std::fs::remove_file(process.path()).unwrap();
        std::fs::create_dir(process.path()).unwrap();
        let shim = durable::lock(&process.lock()).unwrap();
        assert!(!was_never_started(&process), "a shim may be about to start it");
        drop(shim);
        assert!(was_never_started(&process), "its shim is gone");
        std::fs::write(process.marker(), "").unwrap();
        assert!(!was_never_started(&process), "it is marked");
    }
}
