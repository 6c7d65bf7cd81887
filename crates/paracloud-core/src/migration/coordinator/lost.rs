//! What follows from a person's word that a node is lost, and from its coming back.
//!
//! Nobody on a lost node proposes the restart of an owner there. So the coordinator gives the instance to a new
//! process on a node whose agent is connected: by swap, under the next incarnation, without what the owner held. The
//! word may be wrong. Whatever comes back with the node and is named by no record is ended, and serves no gateway's
//! route meanwhile.

use super::{Coordinator, Effect};
use crate::ids::{NodeId, Placement, StartId};
use crate::migration::message::ToAgent;
use crate::register::{Change, MoveStep, Record};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// How the nodes are, as far as it decides where an instance may go.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Nodes {
    /// Those that a person gave up, and that did not come back since.
    pub lost: BTreeSet<NodeId>,
    /// Those whose agent is connected and that take new instances.
    pub connected: BTreeSet<NodeId>,
}

/// Why a process that no record names is not to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Doubt {
    /// It is sealed: it serves nobody, and may be all that is left of the state.
    Sealed,
    /// Its node knows what the register does not explain.
    Unexplained,
}

/// A process that an agent found alive when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Found {
    /// Its node.
    pub node: NodeId,
    /// The process.
    pub start: StartId,
    /// Why it is to be left for a person if no record names it; `None`: it is ended then.
    pub doubt: Option<Doubt>,
}

impl Coordinator {
    /// Judges a process that lives; later, while a swap is on its way: that may be what names it.
    pub(super) fn found(&mut self, found: Found, effects: &mut Vec<Effect>) {
        let settled = self.record.as_ref().filter(|_| self.swapping.is_none());
        let Some(record) = settled else {
            self.found.insert(found);
            return;
        };
        if is_needed(record, found.start) {
            return;
        }
        effects.push(Effect::Stray(found));
        if found.doubt.is_none() {
            let (operation, order) = (record.last_operation, record.order());
            effects.push(Effect::Agent(found.node, ToAgent::End { operation, start: found.start, order }));
        }
    }

    /// Judges what was found while a swap was on its way.
    pub(super) fn judge_found(&mut self, effects: &mut Vec<Effect>) {
        for found in core::mem::take(&mut self.found) {
            self.found(found, effects);
        }
    }

    /// Whether a process that the record names is dead: proved so, or on a node that was given up.
    pub(super) fn is_dead(&self, start: StartId) -> bool {
        self.dead.contains(&start) || self.named_on(&self.nodes.lost).contains(&start)
    }

    fn named_on(&self, nodes: &BTreeSet<NodeId>) -> Vec<StartId> {
        let Some(record) = &self.record else { return Vec::new() };
        let moving = record.moving().into_iter().flat_map(|operation| [operation.source, operation.target]);
        let places = core::iter::once(record.owner).chain(moving);
        places.filter(|place| nodes.contains(&place.node)).map(|place| place.start).collect()
    }

    /// A new owner on another node, if the owner's is lost and no step of a move still decides who owns.
    pub(super) fn replacement(&self, record: &Record, fresh: StartId) -> Option<Change> {
        if !self.nodes.lost.contains(&record.owner.node) || !record.is_replaceable() {
            return None;
        }
        let node = *self.nodes.connected.difference(&self.nodes.lost).next()?;
        Some(Change::Replace(Placement { node, start: fresh, revision: record.owner.revision }))
    }
}

/// Whether a process owns, or has a part in the open operation: who was replaced since it was decided has none.
fn is_needed(record: &Record, start: StartId) -> bool {
    let has_part = record.moving().is_some_and(|operation| match operation.step {
        MoveStep::Open | MoveStep::Sealing | MoveStep::Switch | MoveStep::Doomed => {
            [operation.source.start, operation.target.start].contains(&start)
        }
        // It is ended by the operation.
        MoveStep::Retire => operation.source.start == start,
        MoveStep::Undo => operation.target.start == start,
    });
    record.is_owned_by(start) || has_part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::GatewayId;
    use crate::migration::Phase;
    use crate::migration::cause::Cause;
    use crate::migration::convergence::Budget;
    use crate::migration::coordinator::{Command, Input, Setting, Timer};
    use crate::migration::message::{FromAgent, ToGateway};
    use crate::register::{Mode, Proposer, Step};

    const FRESH: StartId = StartId(9);

    fn setting() -> Setting {
        let (ms, nodes) = (1_000, [NodeId(1), NodeId(2), NodeId(3)].into());
        Setting {
            gateways: BTreeSet::new(),
            nodes,
            resend_ms: ms,
            leave_ms: ms,
            resize_ms: ms,
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
        let first = Record::first(Placement::new(NodeId(1), StartId(1)));
        let serve = Change::Serve(([127, 0, 0, 1], 80).into());
        let apply = |record: Record, change: &Change| record.apply(change, Proposer::Coordinator).unwrap();
        core::iter::once(&serve).chain(changes).fold(first, apply)
    }

    fn sealing() -> Record {
        let target = Placement::new(NodeId(2), StartId(2));
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
        let elsewhere = Change::Replace(Placement::new(NodeId(3), FRESH));
        let told = after_hearing(&after(&[]), alloc::vec![nodes(&[1, 2], &[2, 3])]);
        assert_eq!(swapped(&told), Some(&elsewhere));
        for input in [nodes(&[1], &[]), nodes(&[2], &[1, 3]), nodes(&[1], &[1]), nodes(&[], &[2, 3])] {
            assert_eq!(swapped(&after_hearing(&after(&[]), alloc::vec![input.clone()])), None, "{input:?}");
        }
        let later = alloc::vec![nodes(&[1], &[]), nodes(&[1], &[3])];
        assert_eq!(swapped(&after_hearing(&after(&[]), later)), Some(&elsewhere), "as soon as one is there");
    }

    #[test]
    fn gateways_are_told_to_park_at_once_because_the_old_owner_may_run() {
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

    /// What a coordinator that hears all this swaps in the end.
    fn swapped_at_last(record: &Record, inputs: Vec<Input>) -> Option<Change> {
        let mut coordinator = Coordinator::default();
        let mut effects = Vec::new();
        for input in core::iter::once(Input::Recovered(record.clone())).chain(inputs) {
            effects.clear();
            coordinator.step(&setting(), input, FRESH, &mut effects);
            if let Some(change) = swapped(&effects) {
                return Some(change.clone());
            }
        }
        None
    }

    #[test]
    fn what_comes_back_with_a_node_dooms_no_target_that_may_have_the_only_copy() {
        let switch = sealing().apply(&Change::Commit, Proposer::Coordinator).unwrap();
        let dead = Input::Agent(NodeId(1), FromAgent::Dead { start: StartId(1) });
        let late = || Input::Timer(Timer::Deadline);
        let lives = |record: &Record| {
            Input::Agent(NodeId(1), FromAgent::Lives { start: StartId(1), order: record.order() })
        };
        for record in [sealing(), switch.clone()] {
            let (lost, back) = (nodes(&[1], &[2]), nodes(&[], &[1, 2]));
            let waits = [
                alloc::vec![lost.clone(), late(), back.clone()],
                alloc::vec![dead.clone(), lost, late(), back],
            ];
            for inputs in waits.into_iter().skip(usize::from(record.step() == Some(Step::Sealing))) {
                assert_eq!(swapped_at_last(&record, inputs.clone()), None, "{:?}: {inputs:?}", record.step());
            }
        }
        assert_eq!(swapped_at_last(&switch, alloc::vec![late()]), None, "nobody said that the source lives");
        assert_eq!(swapped_at_last(&switch, alloc::vec![lives(&switch), late()]), None, "it did before");
        let of_before = alloc::vec![late(), lives(&sealing())];
        assert_eq!(swapped_at_last(&switch, of_before.clone()), None, "it did before the commit");
        let after = [of_before, alloc::vec![lives(&switch)]].concat();
        assert_eq!(swapped_at_last(&switch, after), Some(Change::Doom));
    }

    #[test]
    fn nothing_that_was_sealed_is_gone_back_to_until_the_source_is_said_to_live() {
        let record = sealing();
        let order = record.order();
        let lives = Input::Agent(NodeId(1), FromAgent::Lives { start: StartId(1), order });
        let late = Input::Timer(Timer::Deadline);
        let cancel = Input::Command(Command::Cancel);
        for (why, cause) in [(late, Cause::Late(Phase::Seal)), (cancel, Cause::Cancelled)] {
            let asked = alloc::vec![why];
            assert_eq!(
                swapped_at_last(&record, asked.clone()),
                None,
                "{cause:?}: the target may get it all yet"
            );
            let early = [alloc::vec![lives.clone()], asked.clone()].concat();
            assert_eq!(swapped_at_last(&record, early), None, "{cause:?}: it lived before anybody asked");
            let said = [asked, alloc::vec![lives.clone()]].concat();
            assert_eq!(swapped_at_last(&record, said), Some(Change::RollBack(cause)));
        }
        let told = after_hearing(&record, alloc::vec![Input::Command(Command::Cancel)]);
        let probes = |effect: &Effect| matches!(effect, Effect::Agent(NodeId(1), ToAgent::Probe { .. }));
        assert!(told.iter().any(probes), "a cancel asks at once: {told:?}");
    }

    #[test]
    fn a_proved_copy_is_not_rolled_back_from_because_the_node_of_its_source_is_silent() {
        let sealed = paci::participant::Sealed { position: 7, digest: alloc::vec![7; 16] };
        let record = sealing();
        let (operation, order) = (record.last_operation, record.order());
        let loaded = FromAgent::Loaded { operation, held: sealed.clone(), stated: sealed };
        let heard = || alloc::vec![Input::Agent(NodeId(2), loaded.clone()), Input::Timer(Timer::Deadline)];
        assert_eq!(swapped_at_last(&record, heard()), None);
        let lost = [heard(), alloc::vec![nodes(&[1], &[2])]].concat();
        assert_eq!(swapped_at_last(&record, lost), Some(Change::Commit), "all that is left is proved");
        let lives = Input::Agent(NodeId(1), FromAgent::Lives { start: StartId(1), order });
        let silent = [heard(), alloc::vec![lives]].concat();
        let late = Some(Change::RollBack(Cause::Late(Phase::Seal)));
        assert_eq!(swapped_at_last(&record, silent), late, "it lives, and does not say that it is sealed");
    }

    #[test]
    fn only_what_no_record_names_is_ended_and_not_what_is_in_doubt() {
        let found = |start| Input::Found(Found { node: NodeId(2), start: StartId(start), doubt: None });
        let ended = |record: &Record, inputs: Vec<Input>| {
            let is_end = |effect: &Effect| matches!(effect, Effect::Agent(_, ToAgent::End { .. }));
            after_hearing(record, inputs).iter().any(is_end)
        };
        assert!(ended(&after(&[]), alloc::vec![found(5)]));
        assert!(!ended(&after(&[]), alloc::vec![found(1)]), "the owner");
        assert!(!ended(&sealing(), alloc::vec![found(1)]), "the source of an open move");
        assert!(!ended(&sealing(), alloc::vec![found(2)]), "its target");
        let doubted = Input::Found(Found { node: NodeId(2), start: StartId(5), doubt: Some(Doubt::Sealed) });
        assert!(!ended(&after(&[]), alloc::vec![doubted]));
        let expected = after(&[]);
        let proposed = FromAgent::Propose { expected, fresh: StartId(5) };
        let swapping = Input::Agent(NodeId(1), proposed);
        let swapped = Input::Swapped { record: after(&[]), applied: false };
        let meanwhile = alloc::vec![swapping, found(5)];
        assert!(!ended(&after(&[]), meanwhile.clone()), "a swap on its way may name it");
        assert!(ended(&after(&[]), [meanwhile, alloc::vec![swapped]].concat()), "and has not");
        let undone = sealing().apply(&Change::RollBack(Cause::Cancelled), Proposer::Coordinator).unwrap();
        assert!(!ended(&undone, alloc::vec![found(1)]), "it owns");
        let elsewhere = Change::Replace(Placement::new(NodeId(3), FRESH));
        let replaced = undone.apply(&elsewhere, Proposer::Coordinator).unwrap();
        assert!(ended(&replaced, alloc::vec![found(1)]), "it was replaced before its move was closed");
    }
}
