//! The group of one start.

use super::site::{PREFIX, below};
use super::{NoGroup, Version};
use crate::process::{Identity, signal_each};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Groups within a group, made by the program in it, are followed so deep.
const DEPTH_MAX: usize = 16;

/// A directory of a group, and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seat {
    /// The interface.
    pub version: Version,
    /// The directory.
    pub path: PathBuf,
}

/// See the module. It may be written down, and is known again by whoever reads that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Where memory is limited and measured, or why not.
    pub memory: Result<Seat, NoGroup>,
    /// Where CPU time is limited, or why not.
    pub cpu: Result<Seat, NoGroup>,
    /// Where CPU time is measured.
    pub accounting: Option<Seat>,
    /// In the tree of version 2: where members are killed at once and pressure is measured.
    pub unified: Option<PathBuf>,
}

impl Group {
    /// Whether there is anything of it.
    pub fn is_there(&self) -> bool {
        !self.directories().is_empty()
    }

    /// Its directories, in all trees.
    pub fn directories(&self) -> BTreeSet<&Path> {
        let seats = self.memory.iter().chain(&self.cpu).chain(&self.accounting);
        seats.map(|seat| seat.path.as_path()).chain(self.unified.as_deref()).collect()
    }

    /// Takes this process in, with all its threads.
    ///
    /// # Errors
    /// It cannot be taken in everywhere. Where it was, it stays.
    pub fn join(&self) -> Result<(), NoGroup> {
        // In the one tree first: it is there that whoever is in the group is looked for.
        let unified = self.unified.as_deref().into_iter();
        let others = self.directories().into_iter().filter(|path| Some(*path) != self.unified.as_deref());
        for directory in unified.chain(others) {
            let procs = directory.join("cgroup.procs");
            write(&procs, "0").map_err(|error| NoGroup::of(&procs, &error))?;
        }
        Ok(())
    }

    /// Everybody in it, and in the groups that they made below it. Nobody else can be meant: each was alive before it was
    /// read that its number is in the group, and is so afterwards.
    ///
    /// # Errors
    /// It cannot be read; nothing is known then.
    pub fn members(&self) -> io::Result<Vec<Identity>> {
        let mut identities = Vec::new();
        for pid in self.pids()? {
            match Identity::of(pid) {
                Ok(identity) => identities.push(identity),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if identities.is_empty() {
            return Ok(identities);
        }
        let again = self.pids()?;
        let mut members = Vec::new();
        for identity in identities.into_iter().filter(|identity| again.contains(&identity.pid)) {
            if identity.is_alive()? {
                members.push(identity);
            }
        }
        Ok(members)
    }

    /// Kills everybody in it: all at once where version 2 can, else one by one. Who comes meanwhile is killed the next
    /// time.
    ///
    /// # Errors
    /// It is not known who is in it.
    pub fn kill(&self) -> io::Result<()> {
        if let Some(unified) = &self.unified {
            // Kernels before 5.14 have no such file.
            let _ = write(&unified.join("cgroup.kill"), "1");
        }
        signal_each(&self.members()?, Signal::KILL);
        Ok(())
    }

    /// Removes it, once nobody is in it any more, and what is above it of the cloud, if nothing else is left there.
    ///
    /// # Errors
    /// Somebody is in it, or was until just now.
    pub fn remove(&self) -> io::Result<()> {
        let directories = self.directories();
        // Each, also behind one that stays.
        let removed: Vec<_> = directories.iter().map(|path| remove_tree(path)).collect();
        removed.into_iter().collect::<io::Result<()>>()?;
        for path in directories {
            for above in path.ancestors().skip(1).take(2) {
                let is_ours =
                    above.components().any(|part| part.as_os_str().to_string_lossy().starts_with(PREFIX));
                // As long as others are in it, it stays.
                if !is_ours || std::fs::remove_dir(above).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn pids(&self) -> io::Result<BTreeSet<i32>> {
        let mut pids = BTreeSet::new();
        for directory in self.directories() {
            read_pids(directory, DEPTH_MAX, &mut pids)?;
        }
        Ok(pids)
    }
}

fn read_pids(directory: &Path, depth: usize, pids: &mut BTreeSet<i32>) -> io::Result<()> {
    let text = match std::fs::read_to_string(directory.join("cgroup.procs")) {
        Ok(text) => text,
        // It was removed: nobody is in it.
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    // Whoever this namespace of processes does not show is number 0.
    pids.extend(text.lines().filter_map(|line| line.trim().parse::<i32>().ok()).filter(|pid| *pid > 0));
    if depth > 0 {
        for inner in below(directory) {
            read_pids(&inner, depth - 1, pids)?;
        }
    }
    Ok(())
}

/// The file or the directory is not there, or no longer: a file of a group that was removed while it was open says ENODEV.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

/// Removes a group with those below it. One that is not there is removed.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    for inner in below(path) {
        remove_tree(&inner)?;
    }
    match std::fs::remove_dir(path) {
        Err(error) if !is_gone(&error) => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes to a file of a group, which is never made by that.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).truncate(true).open(path)?.write_all(text.as_bytes())
}
