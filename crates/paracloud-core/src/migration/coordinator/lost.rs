//! What follows from a person's word that a node is lost, and from its coming back.
//!
//! Nobody on a lost node proposes the restart of an owner there. So the coordinator gives the instance to a new
//! process on a node whose agent is connected: by swap, under the next incarnation, without what the owner held. The
//! word may be wrong. Whatever comes back with the node and is named by no record is ended, and serves no gateway's
//! route meanwhile.

use super::{Coordinator, Effect};
use crate::ids::{NodeId, Placement, StartId};
use crate::migration::message::ToAgent;
use crate::register::{Change, Record};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// How the nodes are, as far as it decides where an instance may go.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nodes {
    /// Those that a person gave up, and that did not come back since.
    pub lost: BTreeSet<NodeId>,
    /// Those whose agent is connected.
    pub connected: BTreeSet<NodeId>,
}

/// What is to become of a process that an agent found alive when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stray {
    /// The register names it, or may do so yet: it is none.
    Named,
    /// No record names it. It is ended.
    Ended,
    /// No record names it, but it may hold what nobody else does: a person has to look.
    Left,
}

impl Coordinator {
    /// What is to become of a process that lives. With `in_doubt` it is sealed, or its node knows what the register
    /// does not explain.
    pub fn judge_stray(&self, start: StartId, in_doubt: bool) -> Stray {
        // While a swap is on its way it may be what names it.
        let settled = self.record.as_ref().filter(|_| self.swapping.is_none());
        match settled {
            Some(record) if !record.names(start) => {
                if in_doubt {
                    Stray::Left
                } else {
                    Stray::Ended
                }
            }
            Some(_) | None => Stray::Named,
        }
    }

    /// Ends a process that no record names.
    pub(super) fn found(&self, node: NodeId, start: StartId, in_doubt: bool, effects: &mut Vec<Effect>) {
        if let (Stray::Ended, Some(record)) = (self.judge_stray(start, in_doubt), &self.record) {
            let end = ToAgent::End { operation: record.last_operation, start, order: record.order() };
            effects.push(Effect::Agent(node, end));
        }
    }

    /// Takes in how the nodes are. Who came back is not dead because it was given up: what died there is told anew.
    pub(super) fn heed(&mut self, nodes: Nodes) {
        let back = self.nodes.lost.difference(&nodes.lost).copied().collect();
        for start in self.named_on(&back) {
            self.dead.remove(&start);
        }
        self.nodes = nodes;
        self.bury();
    }

    /// Whoever the record names on a lost node counts as dead.
    pub(super) fn bury(&mut self) {
        let lost = self.named_on(&self.nodes.lost);
        self.dead.extend(lost);
    }

    fn named_on(&self, nodes: &BTreeSet<NodeId>) -> Vec<StartId> {
        let Some(record) = &self.record else { return Vec::new() };
        let moving = record.operation.iter().flat_map(|operation| [operation.source, operation.target]);
        let places = core::iter::once(record.owner).chain(moving);
        places.filter(|place| nodes.contains(&place.node)).map(|place| place.start).collect()
    }

    /// A new owner on another node, if the owner's is lost and no step of a move still decides who owns.
    pub(super) fn replacement(&self, record: &Record, fresh: StartId) -> Option<Change> {
        if !self.nodes.lost.contains(&record.owner.node) || !record.is_replaceable() {
            return None;
        }
        let node = *self.nodes.connected.difference(&self.nodes.lost).next()?;
        Some(Change::Replace(Placement { node, start: fresh }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::GatewayId;
    use crate::migration::convergence::Budget;
    use crate::migration::coordinator::{Input, Setting};
    use crate::migration::message::{FromAgent, ToGateway};
    use crate::register::{Mode, Proposer};

    const FRESH: StartId = StartId(9);

    fn setting() -> Setting {
        let (ms, nodes) = (1_000, [NodeId(1), NodeId(2), NodeId(3)].into());
        Setting {
            gateways: BTreeSet::new(),
            nodes,
            resend_ms: ms,
            prepare_ms: ms,
            copy_ms: ms,
            drain_ms: ms,
            park_ms: ms,
            seal_ms: ms,
            stop_ms: ms,
            switch_ms: ms,
            release_ms: ms,
            pause: Budget { pause_ms: 5, pause_ms_max: 50, stall_reports: 3, stall_reports_max: 8 },
        }
    }

    fn after(changes: &[Change]) -> Record {
        let first = Record::first(Placement { node: NodeId(1), start: StartId(1) });
        let serve = Change::Serve(([127, 0, 0, 1], 80).into());
        let apply = |record: Record, change: &Change| record.apply(change, Proposer::Coordinator).unwrap();
        core::iter::once(&serve).chain(changes).fold(first, apply)
    }

    fn sealing() -> Record {
        let target = Placement { node: NodeId(2), start: StartId(2) };
        after(&[Change::Open { mode: Mode::Handoff, target }, Change::Seal])
    }

    fn nodes(lost: &[u32], connected: &[u32]) -> Input {
        let set = |ids: &[u32]| ids.iter().copied().map(NodeId).collect();
        Input::Nodes(Nodes { lost: set(lost), connected: set(connected) })
    }

    fn after_hearing(record: &Record, inputs: Vec<Input>) -> Vec<Effect> {
        let mut coordinator = Coordinator::default();
        let mut effects = Vec::new();
        coordinator.step(&setting(), Input::Recovered(record.clone()), FRESH, &mut effects);
        effects.clear();
        for input in inputs {
            coordinator.step(&setting(), input, FRESH, &mut effects);
        }
        effects
    }

    fn swapped(effects: &[Effect]) -> Option<&Change> {
        effects
            .iter()
            .find_map(|effect| if let Effect::Swap { change, .. } = effect { Some(change) } else { None })
    }

    #[test]
    fn an_owner_on_a_lost_node_is_replaced_on_one_that_is_connected_and_not_lost() {
        let elsewhere = Change::Replace(Placement { node: NodeId(3), start: FRESH });
        let told = after_hearing(&after(&[]), alloc::vec![nodes(&[1, 2], &[2, 3])]);
        assert_eq!(swapped(&told), Some(&elsewhere));
        for input in [nodes(&[1], &[]), nodes(&[2], &[1, 3]), nodes(&[1], &[1]), nodes(&[], &[2, 3])] {
            assert_eq!(swapped(&after_hearing(&after(&[]), alloc::vec![input.clone()])), None, "{input:?}");
        }
        let later = alloc::vec![nodes(&[1], &[]), nodes(&[1], &[3])];
        assert_eq!(swapped(&after_hearing(&after(&[]), later)), Some(&elsewhere), "as soon as one is there");
    }

    #[test]
    fn gateways_park_before_the_new_owner_serves_because_the_old_one_may_run() {
        let gateways = |record: &Record, input: Input| {
            let mut coordinator = Coordinator::default();
            let setting = Setting { gateways: [GatewayId(1)].into(), ..setting() };
            let mut effects = Vec::new();
            for input in [Input::Recovered(record.clone()), input] {
                effects.clear();
                coordinator.step(&setting, input, FRESH, &mut effects);
            }
            let Some(change) = swapped(&effects) else { panic!("{effects:?}") };
            let record = record.apply(change, Proposer::Coordinator).unwrap();
            coordinator.step(&setting, Input::Swapped { record, applied: true }, FRESH, &mut effects);
            let parks = |effect: &Effect| {
                let Effect::Gateway(_, ToGateway::Table(table)) = effect else { return None };
                Some((table.parks, table.route))
            };
            effects.iter().rev().find_map(parks)
        };
        assert_eq!(gateways(&after(&[]), nodes(&[1], &[2])), Some((true, None)));
    }

    #[test]
    fn between_sealing_and_served_what_is_proved_decides_and_no_word_on_a_node() {
        let told = after_hearing(&sealing(), alloc::vec![nodes(&[1], &[2, 3])]);
        assert_eq!(swapped(&told), None, "the target may prove that it has the state");
    }

    #[test]
    fn only_what_no_record_names_is_ended_and_not_what_is_in_doubt() {
        let found = |start| Input::Found { node: NodeId(2), start: StartId(start), in_doubt: false };
        let ended = |record: &Record, inputs: Vec<Input>| {
            let is_end = |effect: &Effect| matches!(effect, Effect::Agent(_, ToAgent::End { .. }));
            after_hearing(record, inputs).iter().any(is_end)
        };
        assert!(ended(&after(&[]), alloc::vec![found(5)]));
        assert!(!ended(&after(&[]), alloc::vec![found(1)]), "the owner");
        assert!(!ended(&sealing(), alloc::vec![found(1)]), "the source of an open move");
        assert!(!ended(&sealing(), alloc::vec![found(2)]), "its target");
        let doubted = Input::Found { node: NodeId(2), start: StartId(5), in_doubt: true };
        assert!(!ended(&after(&[]), alloc::vec![doubted]));
        let expected = after(&[]);
        let proposed = FromAgent::Propose { expected, fresh: StartId(5) };
        let swapping = Input::Agent(NodeId(1), proposed);
        assert!(!ended(&after(&[]), alloc::vec![swapping, found(5)]), "a swap on its way may name it");
    }
}
