//! Starts that were ordered and are not in the register yet, with who wants them and why: an instance is begun once every node
//! has said that it knows nothing of it. They are kept, so that a controller that is killed meanwhile neither forgets one nor
//! has it ordered anew for another reason.

use crate::control::locked;
use crate::journal::{cut, now_unix_ms};
use crate::kept;
use paracloud_core::ids::NodeId;
use paracloud_substrate::layout::Layout;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

/// One that was ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Start {
    /// Where.
    pub(crate) node: NodeId,
    /// Who wants it, and why.
    pub(crate) why: String,
    /// When it was ordered, in milliseconds since 1970.
    pub(crate) at_unix_ms: u64,
}

/// See the module. There are never more than apps may have instances.
#[derive(Debug)]
pub(crate) struct Ordered {
    path: PathBuf,
    starts: Mutex<BTreeMap<String, Start>>,
}

impl Ordered {
    /// What was kept. What cannot be read orders nothing: it is decided anew.
    pub(crate) fn load(layout: &Layout) -> Self {
        let path = layout.ordered();
        let starts = kept::read(&path, "what was ordered to be started");
        Self { path, starts: Mutex::new(starts) }
    }

    /// Those that `is_wanted` still, by their names; the others are forgotten.
    pub(crate) fn keep(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, NodeId)> {
        self.change(|starts| starts.retain(|name, _| is_wanted(name)));
        locked(&self.starts).iter().map(|(name, start)| (name.clone(), start.node)).collect()
    }

    /// Keeps one before anybody can hear of it.
    pub(crate) fn put(&self, name: &str, node: NodeId, why: &str) {
        let start = Start { node, why: cut(why.to_owned()), at_unix_ms: now_unix_ms() };
        self.change(|starts| drop(starts.insert(name.to_owned(), start)));
    }

    /// What is kept of one.
    pub(crate) fn of(&self, name: &str) -> Option<Start> {
        locked(&self.starts).get(name).cloned()
    }

    /// One is in the register, or is not to come any more.
    pub(crate) fn done(&self, name: &str) {
        self.change(|starts| drop(starts.remove(name)));
    }

    /// What cannot be written is kept for as long as this controller lives.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Start>)) {
        let mut starts = locked(&self.starts);
        let before = starts.clone();
        change(&mut starts);
        if *starts == before {
            return;
        }
        if let Err(error) = kept::write(&self.path, &*starts) {
            tracing::warn!(%error, path = %self.path.display(), "what is ordered to be started cannot be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ordered_is_known_to_the_next_controller_until_it_is_in_the_register() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        let ordered = Ordered::load(&layout);
        ordered.put("jobs.2", NodeId(1), "a person wants 3");
        ordered.put("jobs.3", NodeId(2), "a person wants 3");
        let next = Ordered::load(&layout);
        assert_eq!(next.of("jobs.3").map(|start| start.why).as_deref(), Some("a person wants 3"));
        next.done("jobs.3");
        let next = Ordered::load(&layout);
        assert_eq!(next.keep(|_| true), [("jobs.2".to_owned(), NodeId(1))]);
        assert_eq!(next.keep(|name| name != "jobs.2"), []);
        assert_eq!(Ordered::load(&layout).of("jobs.2"), None);
        std::fs::write(layout.ordered(), "{").unwrap();
        assert_eq!(Ordered::load(&layout).keep(|_| true), [], "torn");
    }
}
