//! The group of a process, from the shim's side: entered before the process is a program, looked into when it has died,
//! removed at the end.

use crate::processes::{ProcessDirectory, Spec};
use paracloud_substrate::cgroup::{Group, Hierarchies, Site};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Pause between two tries to remove a group whose last member has just died, in milliseconds.
const REMOVE_AGAIN_MS: u64 = 5;
/// Tries to remove it. What stays is swept by the next agent of the node, or by whoever stops the cloud.
const REMOVES_MAX: u32 = 200;

/// Where a process was put, written down before it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Its group.
    pub(crate) group: Group,
    /// Why a limit that it was to have is not enforced, for people.
    pub(crate) unenforced: Option<String>,
}

/// Puts this very process into a group of its own, with its limits. A machine on which that cannot be done runs it
/// without, and the reason is written down.
///
/// # Errors
/// It cannot be written down where it is: then whoever is to prove its death could not look there.
pub(super) fn enter(process: &ProcessDirectory, spec: &Spec) -> std::io::Result<()> {
    let hierarchies = Hierarchies::find().unwrap_or_else(|error| {
        tracing::warn!(%error, "whether there are control groups cannot be seen");
        Hierarchies::default()
    });
    let group = Site::of(&hierarchies, process.cloud()).make(&spec.node, spec.start);
    let unenforced = group.limit(spec.size).err().map(|why| why.to_string());
    let place = Place { group, unenforced };
    process.write_place(&place)?;
    if let Err(why) = place.group.join() {
        let unenforced = Some(format!("it could not be put into its group: {why}"));
        process.write_place(&Place { unenforced, ..place })?;
    }
    Ok(())
}

/// What is said of how it ended, if that was so.
pub(super) const FOR_MEMORY: &str = "; its limit on memory was reached";

/// Whether the kernel killed one of a process's group because of its limit on memory.
pub(super) fn was_killed_for_memory(process: &ProcessDirectory) -> bool {
    let place = process.place().ok().flatten();
    place.and_then(|place| place.group.killed_for_memory()).is_some_and(|killed| killed > 0)
}

/// Removes the group of a process that is proved dead, and says so if it stays.
pub(super) async fn leave(process: ProcessDirectory) {
    for _ in 0..REMOVES_MAX {
        let path = process.clone();
        let removed = tokio::task::spawn_blocking(move || match path.place() {
            Ok(Some(place)) => place.group.remove(),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        });
        if matches!(removed.await, Ok(Ok(()))) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(REMOVE_AGAIN_MS)).await;
    }
    tracing::warn!(process = %process.path().display(), "the group of the dead process stays");
}
