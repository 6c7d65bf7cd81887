//! What an instance does with a person's word that a node is lost, and with what comes back from there.

use super::Instance;
use crate::journal;
use crate::peers::Peer;
use crate::register::Gone;
use paracloud_core::ids::NodeId;
use paracloud_core::migration::coordinator::{Doubt, Found, Input, Nodes};
use paracloud_core::register::Record;
use paracloud_substrate::message::Known;
use paracloud_substrate::person::What;

impl Instance {
    /// Tells the coordinator how the nodes are, for as long as one of them counts as lost, and when none does any more.
    pub(super) async fn heed_nodes(&mut self) -> Result<(), Gone> {
        let lost = self.control.lost();
        if self.gathering.is_some() || (lost.is_empty() && self.nodes.lost.is_empty()) {
            return Ok(());
        }
        let cloud = self.control.cloud();
        let nodes = cloud.nodes.iter().map(|node| node.id);
        let takes = |node: &NodeId| {
            self.control.peers.is_there(Peer::Agent(*node)) && !self.control.closed.has(*node)
        };
        let connected = nodes.filter(takes).collect();
        let nodes = Nodes { lost, connected };
        if nodes == self.nodes {
            return Ok(());
        }
        self.nodes = nodes.clone();
        self.take(Input::Nodes(nodes)).await
    }

    /// Shows the coordinator what lives on a node, which ends what was replaced when its node counted as lost.
    pub(super) async fn find(&mut self, node: NodeId, known: &Known) -> Result<(), Gone> {
        for (start, sealed) in &known.alive {
            let Some(own) = self.machine.machine().record() else { return Ok(()) };
            let doubt = if *sealed {
                Some(Doubt::Sealed)
            } else {
                known.record.as_ref().filter(|record| contradicts(record, own)).map(|_| Doubt::Unexplained)
            };
            self.take(Input::Found(Found { node, start: *start, doubt })).await?;
        }
        Ok(())
    }

    /// Writes down what lives though no record names it.
    pub(super) async fn say_of_stray(&self, found: Found) -> Result<(), Gone> {
        let said = match found.doubt {
            None => "its node counted as lost, another process was started in its place: it is ended",
            Some(Doubt::Sealed) => {
                "it is sealed and serves nobody, and may hold what nobody else does: it is left, end it by hand"
            }
            Some(Doubt::Unexplained) => {
                "its node knows a record that the register does not explain: it is left, end it by hand"
            }
        };
        let node = self.control.node_name(found.node);
        let what = format!("process {} runs on {node} and is named by no record: {said}", found.start);
        tracing::warn!(instance = self.app.name, what);
        let note = What::Note(journal::kept(journal::remark(what)));
        self.control.register.keep(journal::event(&self.app.name, None, note)).await
    }
}

/// Whether two records, the first of them not the newer one, cannot be of one history.
fn contradicts(theirs: &Record, own: &Record) -> bool {
    (theirs.order() == own.order() && theirs != own) || theirs.incarnation > own.incarnation
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{Placement, StartId};
    use paracloud_core::register::{Change, Proposer};

    #[test]
    fn a_record_of_another_history_is_told_from_an_older_one() {
        let place = |start| Placement::new(NodeId(1), StartId(start));
        let first = Record::first(place(1));
        let restarted = |fresh| {
            let change = Change::Restart { fresh: StartId(fresh) };
            first.apply(&change, Proposer::Agent).unwrap()
        };
        assert!(!contradicts(&first, &restarted(2)), "an older one");
        assert!(!contradicts(&restarted(2), &restarted(2)), "the same");
        assert!(contradicts(&restarted(3), &restarted(2)), "the same numbers for another process");
        assert!(contradicts(&restarted(2), &first));
    }
}
