//! What the register did in a trial, as its journal tells, and what follows for what may be gone.

use super::trial::ANSWER_S_MAX;
use crate::rig::Rig;
use anyhow::{Result, bail};
use paracloud_core::ids::StartId;
use paracloud_core::migration::promises::Promise;
use paracloud_core::register::{Mode, Move, MoveStep, Record, Step};
use paracloud_substrate::person::{Event, Reply, Request, What};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// Times that the journal is asked for.
const TRIES_MAX: u32 = 10;

/// The journal from a number on.
pub(super) async fn events(rig: &Rig, from: u64) -> Result<Vec<Event>> {
    for _ in 0..TRIES_MAX {
        let asked =
            rig.ask(&Request::Events { from, follow: false }, Duration::from_secs(ANSWER_S_MAX)).await;
        let Ok(replies) = asked else { continue };
        let events = replies.into_iter().filter_map(|reply| match reply {
            Reply::Event(event) => Some(event),
            Reply::Status(_)
            | Reply::Outcome(_)
            | Reply::Waits { .. }
            | Reply::Drains(_)
            | Reply::Drained { .. }
            | Reply::Updates(_)
            | Reply::Applied { .. }
            | Reply::Previewed { .. }
            | Reply::Answered(_)
            | Reply::Begun(_)
            | Reply::Scaled(_)
            | Reply::GivenBack(_)
            | Reply::Explained(_)
            | Reply::Done
            | Reply::Refused(_) => None,
        });
        return Ok(events.collect());
    }
    bail!("the controller does not tell what happened")
}

/// A swap: the record before it, what was done, the record after it.
#[derive(Debug, Clone)]
pub(super) struct Swap {
    before: Record,
    change: Promise,
    after: Record,
}

/// The swaps of an instance in a trial that began at this record.
///
/// # Errors
/// The journal names a change of which nobody knows what it leaves behind: nothing can be judged by it.
pub(super) fn of(events: &[Event], instance: &str, begun: &Record) -> Result<Vec<Swap>> {
    let mut last = begun.clone();
    let mut swaps = Vec::new();
    for event in events.iter().filter(|event| event.instance == instance) {
        if let What::Swapped { change, record } = &event.what {
            let before = std::mem::replace(&mut last, record.clone());
            // Its cause may stand behind it.
            let name = change.split_whitespace().next().unwrap_or_default().trim_end_matches(':');
            let Some(change) = promise_of(name) else {
                bail!("the journal has a swap that is not known here: {change:?}");
            };
            swaps.push(Swap { before, change, after: record.clone() });
        }
    }
    Ok(swaps)
}

/// The promise that a change of this name is.
fn promise_of(name: &str) -> Option<Promise> {
    match name {
        // An instance stays as large as it was, or begins anew after it was gone.
        "keep" => Some(Promise::Resized),
        "start" => Some(Promise::Restart),
        _ => Promise::ALL.iter().copied().find(|promise| promise.name() == name),
    }
}

/// What was decided, in this order.
pub(super) fn decided(history: &[Swap]) -> Vec<Promise> {
    history.iter().map(|swap| swap.change).collect()
}

/// The same, each with the step of the operation that it was done at.
pub(super) fn steps(history: &[Swap]) -> Vec<(Option<Step>, Promise)> {
    history.iter().map(|swap| (swap.before.step(), swap.change)).collect()
}

/// Who owned, in this order, from this record on.
pub(super) fn owners(begun: &Record, history: &[Swap]) -> Vec<StartId> {
    let later = history.iter().map(|swap| swap.after.owner.start);
    let mut owners: Vec<_> = std::iter::once(begun.owner.start).chain(later).collect();
    owners.dedup();
    owners
}

/// Why processes may have taken along what they had acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The owner's own process was struck dead when nobody else held what it held.
    Struck,
    /// A move by restart ended its source, as a person had consented.
    Consented,
}

/// Processes that held one state after the other, and took it along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) why: Why,
    /// Where they listened.
    pub(super) processes: BTreeSet<SocketAddr>,
}

/// Who took what along, in this order, given the processes that were struck dead when nobody else held what they held.
/// Whoever is not named took nothing along: what it acknowledged must be there at the end.
///
/// Only two swaps leave state behind. The commit of a move by restart does, with consent. And whoever is put into the
/// place of a dead owner begins with nothing: that is excused if the dead one is a process that was struck, and that had
/// served. The dead one is the record's owner; but while a target owns that has not served, it is the sealed source,
/// which could have been promoted. A source that a move by restart had begun to stop is excused by the consent.
pub(super) fn gone(begun: &Record, history: &[Swap], struck: &[StartId]) -> Vec<Gone> {
    let mut all = Vec::new();
    // Who acknowledged what is in the state of now.
    let mut holders = BTreeMap::new();
    holders.extend(begun.served.map(|address| (begun.owner.start, address)));
    let mut stopping = None;
    for Swap { before, change, after } in history {
        let operation = before.moving();
        let is_by_restart = operation.is_some_and(|operation| operation.mode == Mode::Restart);
        let why = match change {
            Promise::Seal => {
                stopping = operation.filter(|_| is_by_restart).map(|operation| operation.source.start);
                continue;
            }
            Promise::Serve => {
                holders.extend(after.served.map(|address| (after.owner.start, address)));
                continue;
            }
            Promise::Close => {
                stopping = None;
                continue;
            }
            Promise::Commit if is_by_restart => Some(Why::Consented),
            Promise::Restart => {
                let dead = dead(before, operation);
                let held = holders.contains_key(&dead);
                let why = [(struck.contains(&dead), Why::Struck), (stopping == Some(dead), Why::Consented)];
                why.into_iter().find(|(is_so, _)| held && *is_so).map(|(_, why)| why)
            }
            // The state stays with its process, or was handed over.
            Promise::Open
            | Promise::Commit
            | Promise::RollBack
            | Promise::Doom
            | Promise::Promote
            // A move makes none of these.
            | Promise::Leave
            | Promise::Depart
            | Promise::Return
            | Promise::Gone
            | Promise::Resize
            | Promise::Resized
            | Promise::Drained
            | Promise::Emptied
            // No swaps.
            | Promise::Mark
            | Promise::Prepared
            | Promise::Parked
            | Promise::Sealed
            | Promise::Loaded
            | Promise::Ready
            | Promise::Serving
            | Promise::Released
            | Promise::Dead
            | Promise::Undone => continue,
        };
        let processes: BTreeSet<_> = std::mem::take(&mut holders).into_values().collect();
        if let Some(why) = why.filter(|_| !processes.is_empty()) {
            all.push(Gone { why, processes });
        }
    }
    all
}

/// Whose death takes everything along if this record's owner is replaced.
fn dead(record: &Record, operation: Option<&Move>) -> StartId {
    match operation {
        Some(operation) if matches!(operation.step, MoveStep::Switch | MoveStep::Doomed) => {
            operation.source.start
        }
        Some(_) | None => record.owner.start,
    }
}

#[cfg(test)]
mod tests {
    use super::super::INSTANCE;
    use super::*;
    use paracloud_core::ids::{NodeId, Placement};
    use paracloud_core::migration::cause::Cause;
    use paracloud_core::register::{Change, Proposer};

    const SOURCE: StartId = StartId(1);
    const TARGET: StartId = StartId(2);
    const FRESH: StartId = StartId(3);
    const FRESHER: StartId = StartId(4);

    fn at(start: StartId) -> SocketAddr {
        ([127, 0, 0, 1], u16::try_from(start.0).unwrap()).into()
    }

    fn begun() -> Record {
        let mut begun = Record::first(Placement::new(NodeId(1), SOURCE));
        begun.served = Some(at(SOURCE));
        begun
    }

    /// What the register says of a trial that goes through these changes.
    fn history(changes: &[Change]) -> Vec<Swap> {
        let mut record = begun();
        let events: Vec<_> = changes
            .iter()
            .map(|change| {
                record = record.apply(change, Proposer::Coordinator).unwrap();
                let name = Promise::of_change(change).name();
                let cause =
                    if let Change::RollBack(cause) = change { format!(": {cause}") } else { String::new() };
                let change = format!("{name}{cause}");
                let what = What::Swapped { change, record: record.clone() };
                let instance = INSTANCE.to_owned();
                Event { number: 1, at_unix_ms: 0, instance, operation: None, what }
            })
            .collect();
        of(&events, INSTANCE, &begun()).unwrap()
    }

    fn open(mode: Mode) -> Change {
        Change::Open { mode, target: Placement::new(NodeId(2), TARGET) }
    }

    fn serve(start: StartId) -> Change {
        Change::Serve(at(start))
    }

    const RESTART: Change = Change::Restart { fresh: FRESH };

    /// Who took what along.
    fn gone(changes: &[Change], struck: &[StartId]) -> Vec<(Why, Vec<StartId>)> {
        let gone = super::gone(&begun(), &history(changes), struck).into_iter();
        gone.map(|gone| {
            let starts = gone.processes.iter().map(|address| StartId(address.port().into()));
            (gone.why, starts.collect())
        })
        .collect()
    }

    fn handoff(changes: &[Change]) -> Vec<Change> {
        [&[open(Mode::Handoff)], changes].concat()
    }

    fn by_restart(changes: &[Change]) -> Vec<Change> {
        [&[open(Mode::Restart)], changes].concat()
    }

    #[test]
    fn owners_are_told_in_their_order() {
        let owners = |history: &[Swap]| owners(&begun(), history);
        assert_eq!(owners(&[]), [SOURCE], "nothing happened");
        let moved = handoff(&[Change::Seal, Change::Commit, serve(TARGET)]);
        assert_eq!(owners(&history(&moved)), [SOURCE, TARGET]);
        let promoted = handoff(&[Change::Seal, Change::Commit, Change::Doom, Change::Promote]);
        assert_eq!(owners(&history(&promoted)), [SOURCE, TARGET, SOURCE]);
    }

    #[test]
    fn every_change_is_known_by_the_name_that_the_journal_gives_it_but_one_that_no_trial_makes() {
        let size = paracloud_core::register::Size { memory_kib: None, cpu_milli: None };
        for change in [
            Change::Leave,
            Change::Depart,
            Change::Gone,
            Change::Resize(size),
            Change::Resized,
            RESTART,
            Change::Commit,
        ] {
            let promise = Promise::of_change(&change);
            assert_eq!(promise_of(promise.name()), Some(promise));
        }
        let kept = Promise::of_change(&Change::Keep(Cause::SourceDied));
        assert_eq!(promise_of("keep"), Some(kept), "it is said apart");
        let started = Promise::of_change(&Change::Start(Placement::new(NodeId(1), FRESH)));
        assert_eq!((promise_of("start"), promise_of("replace")), (Some(started), None));
    }

    #[test]
    fn a_swap_that_is_not_known_is_not_taken_for_one_that_leaves_nothing_behind() {
        for change in ["replace: a person gave its node up", "found", ""] {
            let what = What::Swapped { change: change.to_owned(), record: begun() };
            let instance = INSTANCE.to_owned();
            let event = Event { number: 1, at_unix_ms: 0, instance, operation: None, what };
            let error = of(&[event], INSTANCE, &begun()).unwrap_err().to_string();
            assert!(error.contains("not known here") && error.contains(change), "{error}");
        }
    }

    #[test]
    fn a_handoff_takes_nothing_along_whoever_was_struck() {
        let moved = handoff(&[Change::Seal, Change::Commit, serve(TARGET), Change::Close]);
        let promoted = handoff(&[Change::Seal, Change::Commit, Change::Promote, Change::Close]);
        let called_off = handoff(&[Change::Seal, Change::RollBack(Cause::SealBlocked), Change::Close]);
        for changes in [moved, promoted, called_off, Vec::new()] {
            assert_eq!(gone(&changes, &[SOURCE, TARGET]), [], "{changes:?}");
        }
    }

    #[test]
    fn an_owner_takes_along_what_it_holds_only_if_it_was_struck_itself() {
        let at_rest = [RESTART, serve(FRESH)];
        let in_open = handoff(&[RESTART, serve(FRESH), Change::Close]);
        let in_sealing = handoff(&[Change::Seal, RESTART, serve(FRESH), Change::Close]);
        let called_off = handoff(&[Change::RollBack(Cause::Cancelled), RESTART, serve(FRESH), Change::Close]);
        for changes in [&at_rest[..], &in_open, &in_sealing, &called_off] {
            assert_eq!(gone(changes, &[SOURCE]), [(Why::Struck, vec![SOURCE])], "{changes:?}");
            assert_eq!(gone(changes, &[TARGET]), [], "{changes:?}");
            assert_eq!(gone(changes, &[]), [], "{changes:?}");
        }
    }

    #[test]
    fn a_target_that_served_takes_along_what_both_held_and_one_that_did_not_takes_nothing() {
        let served = [Change::Seal, Change::Commit, serve(TARGET)];
        let in_retire = handoff(&[&served[..], &[RESTART, serve(FRESH), Change::Close]].concat());
        let at_rest = handoff(&[&served[..], &[Change::Close, RESTART, serve(FRESH)]].concat());
        for changes in [in_retire, at_rest] {
            assert_eq!(gone(&changes, &[TARGET]), [(Why::Struck, vec![SOURCE, TARGET])], "{changes:?}");
            assert_eq!(gone(&changes, &[SOURCE]), [], "the source had been replaced: {changes:?}");
        }
        let unserved = handoff(&[Change::Seal, Change::Commit, RESTART, serve(FRESH), Change::Close]);
        assert_eq!(gone(&unserved, &[TARGET]), [], "the source was to be promoted");
    }

    #[test]
    fn while_an_unserved_target_owns_it_is_the_sealed_source_whose_death_counts() {
        for doomed in [&[Change::Seal, Change::Commit][..], &[Change::Seal, Change::Commit, Change::Doom]] {
            let replaced = handoff(&[doomed, &[RESTART, serve(FRESH), Change::Close]].concat());
            assert_eq!(gone(&replaced, &[SOURCE]), [(Why::Struck, vec![SOURCE])]);
            assert_eq!(gone(&replaced, &[TARGET]), []);
        }
        let promoted = [Change::Seal, Change::Commit, Change::Doom, Change::Promote, RESTART, serve(FRESH)];
        assert_eq!(gone(&handoff(&promoted), &[SOURCE]), [(Why::Struck, vec![SOURCE])]);
        assert_eq!(gone(&handoff(&promoted), &[TARGET]), []);
    }

    #[test]
    fn a_move_by_restart_leaves_behind_what_its_source_held_and_no_more() {
        let moved = by_restart(&[Change::Seal, Change::Commit, serve(TARGET), Change::Close]);
        assert_eq!(gone(&moved, &[]), [(Why::Consented, vec![SOURCE])]);
        assert_eq!(gone(&moved, &[SOURCE]), [(Why::Consented, vec![SOURCE])], "it was to be stopped");
        let both = [(Why::Consented, vec![SOURCE]), (Why::Struck, vec![TARGET])];
        let replaced = [moved, vec![RESTART, serve(FRESH)]].concat();
        assert_eq!(gone(&replaced, &[]), both[..1], "what the target held is not consented to");
        assert_eq!(gone(&replaced, &[TARGET]), both);
        // A target that never served held nothing.
        for doomed in [&[Change::Seal, Change::Commit][..], &[Change::Seal, Change::Commit, Change::Doom]] {
            let replaced = by_restart(&[doomed, &[RESTART, serve(FRESH), Change::Close]].concat());
            assert_eq!(gone(&replaced, &[TARGET]), both[..1]);
        }
    }

    #[test]
    fn a_move_by_restart_that_is_called_off_is_no_consent_unless_it_had_begun_to_stop_its_source() {
        let rolled_back = Change::RollBack(Cause::Interrupted);
        let before = by_restart(&[rolled_back.clone(), RESTART, serve(FRESH), Change::Close]);
        assert_eq!(gone(&before, &[]), []);
        assert_eq!(gone(&before, &[SOURCE]), [(Why::Struck, vec![SOURCE])]);
        let stopping = [Change::Seal, rolled_back.clone(), RESTART, serve(FRESH), Change::Close];
        assert_eq!(gone(&by_restart(&stopping), &[]), [(Why::Consented, vec![SOURCE])]);
        let later = [Change::Seal, rolled_back, Change::Close, RESTART, serve(FRESH)];
        assert_eq!(gone(&by_restart(&later), &[]), [], "the move was over");
    }

    #[test]
    fn whoever_is_struck_before_it_serves_takes_nothing_along() {
        let twice = [RESTART, Change::Restart { fresh: FRESHER }, serve(FRESHER)];
        assert_eq!(gone(&twice, &[SOURCE, FRESH]), [(Why::Struck, vec![SOURCE])]);
        let served = [RESTART, serve(FRESH), Change::Restart { fresh: FRESHER }, serve(FRESHER)];
        let both = [(Why::Struck, vec![SOURCE]), (Why::Struck, vec![FRESH])];
        assert_eq!(gone(&served, &[SOURCE, FRESH]), both);
        assert_eq!(gone(&served, &[SOURCE]), both[..1]);
        assert_eq!(gone(&served, &[FRESH]), both[1..], "of the first, everything must be there");
    }
}
