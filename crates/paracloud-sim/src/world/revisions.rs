//! Which revision a process was started as, and which one is to run.

use super::World;
use paracloud_core::ids::{NodeId, Revision, StartId};
use paracloud_core::migration::coordinator::Command;
use paracloud_core::register::{Change, Operation, Record, Step};

/// What is to run, by what was asked for and by what became of it, whichever revision the register names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Due {
    /// The owner's revision.
    owner: Revision,
    /// That of what is started for the open operation, or for the swap that begins one.
    asked: Option<Revision>,
    /// The owner's before the open operation was committed.
    before: Option<Revision>,
}

impl Due {
    /// Nobody has asked for any other yet.
    pub(super) fn new(owner: Revision) -> Self {
        Self { owner, asked: None, before: None }
    }

    /// A change of the register's record reached the disk.
    fn changes(&mut self, before: &Record, change: &Change) {
        let goes_back = *change == Change::Promote
            || (matches!(change, Change::Restart { .. })
                && matches!(before.step(), Some(Step::Switch | Step::Doomed)));
        if *change == Change::Commit {
            self.before = Some(self.owner);
            self.owner = self.asked.unwrap_or(self.owner);
        } else if goes_back {
            self.owner = self.before.take().unwrap_or(self.owner);
        } else if matches!(change, Change::Start(_)) {
            self.owner = self.asked.unwrap_or(self.owner);
        }
    }
}

impl World {
    /// A command was given. With `is_taken` a swap came of it.
    pub(super) fn note_asked(&mut self, command: Command, is_taken: bool) {
        match command {
            Command::Move { revision, .. } if is_taken => {
                self.due.asked = Some(revision.unwrap_or(self.due.owner));
            }
            Command::Start { revision, .. } if is_taken => self.due.asked = Some(revision),
            Command::Move { .. }
            | Command::Start { .. }
            | Command::Cancel
            | Command::Leave
            | Command::Resize(_) => {}
        }
    }

    /// Forgets what was asked for once nothing is to come of it any more.
    pub(super) fn forget_asked(&mut self) {
        if self.disk.operation.is_none() && self.pending.is_none() {
            (self.due.asked, self.due.before) = (None, None);
        }
    }

    /// A swap reached the disk: the register names what is to run.
    pub(super) fn check_revision(&mut self, before: &Record, change: &Change) {
        self.due.changes(before, change);
        let (owner, due) = (self.disk.owner, self.due.owner);
        if owner.revision != due {
            let what =
                format!("{change:?}: {} owns as {:?}, and {due:?} is to run", owner.start, owner.revision);
            self.broken("R", what);
        }
    }

    /// What is wrong with what the owner was started as, if it lives.
    pub(super) fn other_revision(&self) -> Option<String> {
        let (start, due) = (self.disk.owner.start, self.due.owner);
        let owner = self.processes.get(&start).filter(|owner| owner.app.is_some())?;
        let runs = owner.revision;
        (runs != Some(due)).then(|| format!("{start} owns and runs {runs:?}, and {due:?} is to run"))
    }

    /// What an agent starts a process as: what its record says, or else what the open move says, which stands in the order.
    pub(super) fn revision_told(&self, node: NodeId, start: StartId) -> Option<Revision> {
        let known = self.agents.get(&node).and_then(|agent| agent.machine.as_ref()?.record());
        [known, Some(&self.disk)].into_iter().flatten().find_map(|record| named(record, start))
    }
}

/// The revision of a process that a record names.
fn named(record: &Record, start: StartId) -> Option<Revision> {
    let moving = record.operation.as_ref().and_then(Operation::moving);
    let places = moving.map(|moving| [moving.source, moving.target]).into_iter().flatten();
    [record.owner].into_iter().chain(places).find(|place| place.start == start).map(|place| place.revision)
}
