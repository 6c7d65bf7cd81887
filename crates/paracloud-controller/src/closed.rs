//! Nodes that get no new instances, by a person's word: one is drained, and what leaves it is not to come back. It is kept
//! across restarts of the controller, until a person takes it back.

use crate::control::locked;
use crate::kept;
use paracloud_core::ids::NodeId;
use paracloud_substrate::layout::Layout;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

/// See the module. There are never more than nodes that were configured once.
#[derive(Debug)]
pub(crate) struct Closed {
    path: PathBuf,
    nodes: Mutex<BTreeSet<NodeId>>,
}

impl Closed {
    /// What was kept. What cannot be read closes no node.
    pub(crate) fn load(layout: &Layout) -> Self {
        let path = layout.closed_nodes();
        let nodes = kept::read(&path, "which nodes get nothing new");
        Self { path, nodes: Mutex::new(nodes) }
    }

    /// Whether a node gets nothing new.
    pub(crate) fn has(&self, node: NodeId) -> bool {
        locked(&self.nodes).contains(&node)
    }

    /// From now on it gets nothing new, or does again.
    ///
    /// # Errors
    /// It cannot be kept, and nothing is changed.
    pub(crate) fn set(&self, node: NodeId, is_closed: bool) -> io::Result<()> {
        let mut nodes = locked(&self.nodes);
        let mut next = nodes.clone();
        let changes = if is_closed { next.insert(node) } else { next.remove(&node) };
        if !changes {
            return Ok(());
        }
        kept::write(&self.path, &next)?;
        *nodes = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_gets_nothing_new_until_a_person_takes_that_back_also_from_the_next_controller() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        let closed = Closed::load(&layout);
        assert!(!closed.has(NodeId(1)));
        closed.set(NodeId(1), true).unwrap();
        closed.set(NodeId(2), true).unwrap();
        closed.set(NodeId(2), false).unwrap();
        let next = Closed::load(&layout);
        assert!(next.has(NodeId(1)) && !next.has(NodeId(2)));
        std::fs::write(layout.closed_nodes(), "[1").unwrap();
        assert!(!Closed::load(&layout).has(NodeId(1)), "torn");
    }
}
