//! What an instance does with a person's word that a node is lost, and with what comes back from there.

use super::Instance;
use crate::journal;
use crate::peers::Peer;
use crate::register::Gone;
use paracloud_core::ids::{NodeId, StartId};
use paracloud_core::migration::coordinator::{Input, Nodes, Stray};
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
        let nodes = self.control.cloud.nodes.iter().map(|node| node.id);
        let connected = nodes.filter(|node| self.control.peers.is_there(Peer::Agent(*node))).collect();
        let nodes = Nodes { lost, connected };
        if nodes == self.nodes {
            return Ok(());
        }
        self.nodes = nodes.clone();
        self.take(Input::Nodes(nodes)).await
    }

    /// Ends what runs on a node and is named by no record: it was replaced when its node counted as lost. What may hold
    /// something that nobody else does is left, and shown.
    pub(super) async fn end_strays(&mut self, node: NodeId, known: &Known) -> Result<(), Gone> {
        for (start, sealed) in &known.alive {
            let machine = self.machine.machine();
            let Some(own) = machine.record() else { return Ok(()) };
            let contradicts = known.record.as_ref().is_some_and(|record| contradicts(record, own));
            let in_doubt = *sealed || contradicts;
            let said = match machine.judge_stray(*start, in_doubt) {
                Stray::Named => continue,
                Stray::Ended => {
                    "its node counted as lost, another process was started in its place: it is ended"
                }
                Stray::Left if *sealed => {
                    "it is sealed and serves nobody, and may hold what nobody else does: it is left, end it by hand"
                }
                Stray::Left => {
                    "its node knows a record that the register does not explain: it is left, end it by hand"
                }
            };
            self.say_of_stray(node, *start, said).await?;
            self.take(Input::Found { node, start: *start, in_doubt }).await?;
        }
        Ok(())
    }

    async fn say_of_stray(&self, node: NodeId, start: StartId, said: &str) -> Result<(), Gone> {
        let node = self.control.node_name(node);
        let what = format!("process {start} runs on {node} and is named by no record: {said}");
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
    use paracloud_core::ids::Placement;
    use paracloud_core::register::{Change, Proposer};

    #[test]
    fn a_record_of_another_history_is_told_from_an_older_one() {
        let place = |start| Placement { node: NodeId(1), start: StartId(start) };
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
