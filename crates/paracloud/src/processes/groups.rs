//! The control groups of a cloud's processes: who is in one is of the process, whatever else is known of him.

use super::Process;
use paracloud_substrate::cgroup::{Group, Hierarchies, Site};
use paracloud_substrate::process::Identity;
use serde::Deserialize;
use std::io;

/// What a process's directory says of its group.
#[derive(Deserialize)]
struct Place {
    group: Group,
}

/// The group of a process: as its directory says, or where it would be if that is gone.
fn of(process: &Process) -> io::Result<Option<Group>> {
    match std::fs::read(process.directory.join("group.json")) {
        Ok(text) => Ok(Some(serde_json::from_slice::<Place>(&text)?.group)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Some(cloud) = process.directory.ancestors().nth(3) else { return Ok(None) };
            let group = Site::of(&Hierarchies::find()?, cloud).known(&process.node, process.start);
            Ok(group.is_there().then_some(group))
        }
        Err(error) => Err(error),
    }
}

/// Who is in the group of a process.
///
/// # Errors
/// It cannot be known.
pub(super) fn members(process: &Process) -> io::Result<Vec<Identity>> {
    of(process)?.map_or(Ok(Vec::new()), |group| group.members())
}

/// Kills whoever is in the group of a process. Who cannot be killed is seen at the next look.
pub(super) fn kill(process: &Process) {
    if let Ok(Some(group)) = of(process) {
        let _ = group.kill();
    }
}

/// Removes the group of a process that is dead.
///
/// # Errors
/// Somebody is in it, or was until just now.
pub(super) fn remove(process: &Process) -> io::Result<()> {
    of(process)?.map_or(Ok(()), |group| group.remove())
}
