//! What a controller may believe that has no record of an instance, or an older one than a node knows (rule 7).
//!
//! It waits until every configured node answered or was declared lost by a person. Then the newest record that any
//! node knows is the register's, so that no number is ever issued twice. What such a record does not explain (a
//! process it does not name, a sealed process without an intent to seal) makes the instance `unknown`: nothing is
//! started until a person says so.

use crate::register::Ledger;
use crate::store::{ENTRIES_PER_READ_MAX, StoreError};
use paracloud_core::ids::{NodeId, OperationNumber, Placement, StartId};
use paracloud_core::migration::Phase;
use paracloud_core::register::{MoveStep, Record, Step};
use paracloud_substrate::message::{Known, Note};
use paracloud_substrate::person::{Event, What};
use paracloud_substrate::seen::Accounts;
use std::collections::{BTreeMap, BTreeSet};

/// Numbers from here on are not believed: no instance was moved or started so often.
const NUMBER_MAX: u32 = 1 << 31;

/// Whether what an agent says it knows can be true.
pub(crate) fn is_credible(known: &Known) -> bool {
    known.operation.0 < NUMBER_MAX
        && known.record.as_ref().is_none_or(|record| {
            (1..NUMBER_MAX).contains(&record.incarnation.0) && record.last_operation.0 < NUMBER_MAX
        })
}

/// What follows from what nodes know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// These have not answered yet.
    Wait(Vec<NodeId>),
    /// A person has to look.
    Unknown(String),
    /// Nobody knows of it, and nothing runs: it is started for the first time.
    First,
    /// This is the newest record.
    Newest(Record),
}

/// Judges what nodes know of one instance. `own` is what the register holds, if it is behind.
pub(crate) fn judge(
    nodes: impl Iterator<Item = NodeId>,
    own: Option<&Record>,
    known: &BTreeMap<NodeId, Known>,
    lost: &BTreeSet<NodeId>,
) -> Verdict {
    let silent: Vec<_> = nodes.filter(|node| !known.contains_key(node) && !lost.contains(node)).collect();
    if !silent.is_empty() {
        return Verdict::Wait(silent);
    }
    let records = || own.into_iter().chain(known.values().filter_map(|known| known.record.as_ref()));
    // A node that was declared lost may still have told its records; its processes count as dead.
    let here = known.iter().filter(|(node, _)| !lost.contains(node));
    let alive: Vec<(NodeId, StartId, bool)> = here
        .flat_map(|(node, known)| known.alive.iter().map(|(start, sealed)| (*node, *start, *sealed)))
        .collect();
    let heard = known.values().map(|known| known.operation).max().unwrap_or_default();
    let Some(newest) = records().max_by_key(|record| record.order()) else {
        return match alive.first() {
            None if heard > OperationNumber::default() => {
                Verdict::Unknown(format!("operation {heard} was heard of, and no node knows of a record"))
            }
            None => Verdict::First,
            Some((node, start, _)) => Verdict::Unknown(format!(
                "process {start} runs on {node} and no node knows of a record: end it, or give the node up"
            )),
        };
    };
    if records().any(|record| record.incarnation > newest.incarnation) {
        return Verdict::Unknown(
            "nodes know records of two histories: neither has both the highest incarnation and the highest operation"
                .to_owned(),
        );
    }
    for (node, start, sealed) in &alive {
        if !places(newest).iter().any(|place| (place.node, place.start) == (*node, *start)) {
            return Verdict::Unknown(format!(
                "process {start} runs on {node} beside the owner {} on {}: the newest record does not explain it",
                newest.owner.start, newest.owner.node
            ));
        }
        if *sealed && !may_be_sealed(newest, *start) {
            return Verdict::Unknown(format!(
                "process {start} on {node} is sealed, and the newest record knows of no intent to seal it"
            ));
        }
    }
    if newest.operation.is_some() && heard > newest.last_operation {
        return Verdict::Unknown(format!(
            "operation {heard} was heard of, and the newest record is in the middle of {}",
            newest.last_operation
        ));
    }
    // What was begun after the newest record has sealed nothing, or there would be a newer one: its number is spent.
    Verdict::Newest(Record { last_operation: heard.max(newest.last_operation), ..newest.clone() })
}

fn places(record: &Record) -> Vec<Placement> {
    let moving = record.moving().into_iter().flat_map(|operation| [operation.source, operation.target]);
    std::iter::once(record.owner).chain(moving).collect()
}

fn may_be_sealed(record: &Record, start: StartId) -> bool {
    record
        .moving()
        .is_some_and(|operation| operation.source.start == start && operation.step != MoveStep::Open)
}

/// What the journal says of an instance's past, for people.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct History {
    /// When its owner began to serve.
    pub(crate) served_unix_ms: Option<u64>,
    /// When its first process was ordered, until that serves.
    ordered_unix_ms: Option<u64>,
    /// How long that took, in milliseconds: not of one that was started again in its place.
    pub(crate) start_ms: Option<u32>,
    /// What its owner held is said to be lost.
    pub(crate) lost: bool,
    /// Its open operation.
    pub(crate) open: Option<Past>,
}

/// What the journal says of an operation that was open when a controller ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Past {
    pub(crate) operation: OperationNumber,
    pub(crate) begun_unix_ms: u64,
    /// Phases that ended, in microseconds, as exactly as the journal knows.
    pub(crate) phases: Vec<(Phase, u64)>,
    /// The phase it was in, and since when.
    pub(crate) current: Option<(Phase, u64)>,
    pub(crate) cause: Option<String>,
    pub(crate) state_bytes: Option<u64>,
    /// Gateways were told to park.
    pub(crate) parked: bool,
    /// What gateways said that their clients saw.
    pub(crate) accounts: Accounts,
}

/// Reads the journal once, from its oldest entry.
pub(crate) fn histories(store: &Ledger) -> Result<BTreeMap<String, History>, StoreError> {
    let mut found: BTreeMap<String, History> = BTreeMap::new();
    let mut from = store.journal()?.start;
    loop {
        let entries = store.entries(from, ENTRIES_PER_READ_MAX)?;
        let Some((last, _)) = entries.last() else { return Ok(found) };
        from = last + 1;
        for (_, event) in entries {
            found.entry(event.instance.clone()).or_default().hear(&event);
        }
    }
}

impl History {
    fn hear(&mut self, event: &Event) {
        match &event.what {
            What::Swapped { change, record } => self.swapped(change, record, event.at_unix_ms),
            What::Entered(phase) => {
                let Some(open) = &mut self.open else { return };
                if let Some((before, since)) = open.current.replace((*phase, event.at_unix_ms)) {
                    open.phases.push((before, event.at_unix_ms.saturating_sub(since) * 1000));
                }
            }
            What::Note(Note::Estimate(estimate)) => {
                if let Some(open) = &mut self.open {
                    open.state_bytes = estimate.state_kib.map(|kib| u64::from(kib) * 1024);
                }
            }
            What::Parked { gateway, account } => {
                if let Some(open) = &mut self.open {
                    open.accounts.hear(*gateway, account);
                }
            }
            // What an operation cost is no word on whoever owns after it.
            What::StateLost { .. } => self.lost |= event.operation.is_none(),
            What::Note(_) | What::Progress(_) | What::Refused(_) | What::Concluded(_) => {}
        }
    }

    /// Its first process is ordered, or the first after it was gone.
    pub(crate) fn ordered(&mut self, at_unix_ms: u64) {
        *self = Self { ordered_unix_ms: Some(at_unix_ms), open: self.open.take(), ..Self::default() };
    }

    /// Its owner began to serve.
    pub(crate) fn serves(&mut self, at_unix_ms: u64) {
        (self.served_unix_ms, self.lost) = (Some(at_unix_ms), false);
        // A wall clock that went back says nothing.
        if let Some(took_ms) = self.ordered_unix_ms.take().and_then(|from| at_unix_ms.checked_sub(from)) {
            self.start_ms = u32::try_from(took_ms).ok();
        }
    }

    /// Another process comes in its place: nobody serves, and what that takes is no start of an instance.
    pub(crate) fn comes_again(&mut self) {
        (self.served_unix_ms, self.ordered_unix_ms, self.start_ms) = (None, None, None);
    }

    /// Nobody owns it any more.
    pub(crate) fn goes(&mut self) {
        *self = Self { open: self.open.take(), ..Self::default() };
    }

    fn swapped(&mut self, change: &str, record: &Record, at_unix_ms: u64) {
        let (name, cause) =
            change.split_once(": ").map_or((change, None), |(name, cause)| (name, Some(cause)));
        match name {
            "open" | "leave" | "resize" => {
                self.open = Some(Past {
                    operation: record.last_operation,
                    begun_unix_ms: at_unix_ms,
                    phases: Vec::new(),
                    current: None,
                    cause: None,
                    state_bytes: None,
                    parked: false,
                    accounts: Accounts::default(),
                });
            }
            "serve" | "promote" => self.serves(at_unix_ms),
            "restart" | "replace" => self.comes_again(),
            "gone" => self.goes(),
            "first" | "start" => self.ordered(at_unix_ms),
            _ => {}
        }
        if record.operation.is_none() {
            self.open = None;
        }
        if let Some(open) = &mut self.open {
            open.parked |= record.step() == Some(Step::Sealing);
            if let Some(cause) = cause {
                open.cause = Some(cause.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::Revision;
    use paracloud_core::register::{Change, Mode, Proposer};

    const OWNER: Placement = Placement::new(NodeId(1), StartId(10));
    const TARGET: Placement = Placement::new(NodeId(2), StartId(20));

    fn nodes() -> impl Iterator<Item = NodeId> {
        [NodeId(1), NodeId(2)].into_iter()
    }

    fn known(record: Option<Record>, alive: &[(u64, bool)]) -> Known {
        let alive = alive.iter().map(|(start, sealed)| (StartId(*start), *sealed)).collect();
        let operation = record.as_ref().map(|record| record.last_operation).unwrap_or_default();
        Known { instance: "web".to_owned(), record, operation, alive, dead: Vec::new() }
    }

    fn both(first: Known, second: Known) -> BTreeMap<NodeId, Known> {
        BTreeMap::from([(NodeId(1), first), (NodeId(2), second)])
    }

    fn after(changes: &[Change]) -> Record {
        changes
            .iter()
            .fold(Record::first(OWNER), |record, change| record.apply(change, Proposer::Coordinator).unwrap())
    }

    fn served() -> Change {
        Change::Serve("127.0.1.1:20000".parse().unwrap())
    }

    fn open() -> Change {
        Change::Open { mode: Mode::Handoff, target: TARGET }
    }

    #[test]
    fn nothing_is_decided_before_every_node_answered_or_was_declared_lost() {
        let one = BTreeMap::from([(NodeId(1), known(None, &[]))]);
        assert_eq!(judge(nodes(), None, &one, &BTreeSet::new()), Verdict::Wait(vec![NodeId(2)]));
        assert_eq!(judge(nodes(), None, &one, &BTreeSet::from([NodeId(2)])), Verdict::First);
    }

    #[test]
    fn the_newest_record_of_any_node_is_taken() {
        let (older, newer) = (after(&[served(), open()]), after(&[served(), open(), Change::Seal]));
        let all = both(known(Some(older.clone()), &[(10, true)]), known(Some(newer.clone()), &[(20, false)]));
        assert_eq!(judge(nodes(), Some(&older), &all, &BTreeSet::new()), Verdict::Newest(newer));
    }

    #[test]
    fn a_process_that_the_newest_record_does_not_name_makes_it_unknown() {
        let record = after(&[served()]);
        let all = both(known(Some(record.clone()), &[(10, false)]), known(None, &[(99, false)]));
        let verdict = judge(nodes(), None, &all, &BTreeSet::new());
        assert!(matches!(&verdict, Verdict::Unknown(why) if why.contains("n2")), "{verdict:?}");
        // The owner's id on another node is not the owner.
        let all = both(known(Some(record.clone()), &[]), known(None, &[(10, false)]));
        assert!(matches!(judge(nodes(), None, &all, &BTreeSet::new()), Verdict::Unknown(_)));
        let lost = BTreeSet::from([NodeId(2)]);
        assert_eq!(judge(nodes(), None, &all, &lost), Verdict::Newest(record));
    }

    #[test]
    fn a_sealed_process_needs_an_intent_to_seal_it() {
        let found = |record: Record| {
            let all = both(known(Some(record), &[(10, true)]), known(None, &[]));
            judge(nodes(), None, &all, &BTreeSet::new())
        };
        assert!(matches!(found(after(&[served()])), Verdict::Unknown(_)));
        assert!(matches!(found(after(&[served(), open()])), Verdict::Unknown(_)));
        assert!(matches!(found(after(&[served(), open(), Change::Seal])), Verdict::Newest(_)));
    }

    #[test]
    fn a_process_without_any_record_is_not_doubled() {
        let all = both(known(None, &[(10, false)]), known(None, &[]));
        assert!(matches!(judge(nodes(), None, &all, &BTreeSet::new()), Verdict::Unknown(_)));
    }

    #[test]
    fn a_process_of_a_later_revision_is_explained_by_the_record_that_names_it() {
        let record = Record::first(OWNER.running(Revision(2)));
        let all = both(known(Some(record.clone()), &[(10, false)]), known(None, &[]));
        assert_eq!(judge(nodes(), None, &all, &BTreeSet::new()), Verdict::Newest(record));
    }

    #[test]
    fn records_of_two_histories_are_not_reconciled() {
        let many_starts = (0..3).fold(after(&[served()]), |record, start| {
            record.apply(&Change::Restart { fresh: StartId(start) }, Proposer::Agent).unwrap()
        });
        let all = both(known(Some(many_starts), &[]), known(Some(after(&[served(), open()])), &[]));
        assert!(matches!(judge(nodes(), None, &all, &BTreeSet::new()), Verdict::Unknown(_)));
    }

    #[test]
    fn the_number_of_an_operation_that_only_its_participants_heard_of_is_not_given_again() {
        let found = |record: Option<Record>| {
            let mut all = both(known(record, &[]), known(None, &[]));
            all.get_mut(&NodeId(2)).unwrap().operation = OperationNumber(7);
            judge(nodes(), None, &all, &BTreeSet::new())
        };
        let at_rest = after(&[served()]);
        let spent = Record { last_operation: OperationNumber(7), ..at_rest.clone() };
        assert_eq!(found(Some(at_rest)), Verdict::Newest(spent));
        let moving = after(&[served(), open(), Change::Seal]);
        assert!(matches!(found(Some(moving)), Verdict::Unknown(why) if why.contains("operation op-7")));
        assert!(matches!(found(None), Verdict::Unknown(why) if why.contains("operation op-7")));
    }

    #[test]
    fn numbers_that_no_instance_reaches_are_not_believed() {
        let mut record = after(&[served()]);
        record.incarnation.0 = u32::MAX;
        assert!(!is_credible(&known(Some(record), &[])));
        assert!(is_credible(&known(Some(after(&[served()])), &[])));
    }

    #[test]
    fn how_long_a_start_took_is_from_its_order_until_it_served_and_nothing_is_said_of_another_process_in_its_place()
     {
        let heard = |swaps: &[(&str, u64)]| {
            let mut history = History::default();
            for (change, at_unix_ms) in swaps {
                let what = What::Swapped { change: (*change).to_owned(), record: after(&[served()]) };
                let (instance, at_unix_ms) = ("web".to_owned(), *at_unix_ms);
                history.hear(&Event { number: 0, at_unix_ms, instance, operation: None, what });
            }
            history.start_ms
        };
        let first = [("first", 1_000), ("serve", 1_040)];
        assert_eq!(heard(&first), Some(40));
        assert_eq!(heard(&first[..1]), None, "it starts");
        assert_eq!(heard(&[first.as_slice(), &[("serve", 9_000)]].concat()), Some(40), "it was moved");
        assert_eq!(
            heard(&[("first", 1_000), ("restart", 1_500), ("serve", 9_000)]),
            None,
            "it crashed before"
        );
        let again = [("gone", 5_000), ("start", 6_000), ("serve", 6_070)];
        assert_eq!(heard(&[first.as_slice(), &again].concat()), Some(70));
        assert_eq!(heard(&[("first", 1_000), ("serve", 900)]), None, "the clock went back");
    }
}
