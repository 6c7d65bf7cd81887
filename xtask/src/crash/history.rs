//! What the register did in a trial, as its journal tells, and what follows for what may be gone.

use super::INSTANCE;
use super::cells::{Cell, Loss};
use super::trial::ANSWER_S_MAX;
use crate::rig::Rig;
use anyhow::{Result, bail};
use paracloud_core::ids::StartId;
use paracloud_core::migration::promises::{Promise, Victim};
use paracloud_core::register::Record;
use paracloud_substrate::person::{Event, Reply, Request, What};
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
            | Reply::Previewed { .. }
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
    is_restart: bool,
    after: Record,
}

/// The swaps of a trial that began at this record.
pub(super) fn of(events: &[Event], begun: &Record) -> Vec<Swap> {
    let mut last = begun.clone();
    let mut swaps = Vec::new();
    for event in events.iter().filter(|event| event.instance == INSTANCE) {
        if let What::Swapped { change, record } = &event.what {
            let before = std::mem::replace(&mut last, record.clone());
            let is_restart = change == Promise::Restart.name();
            swaps.push(Swap { before, is_restart, after: record.clone() });
        }
    }
    swaps
}

/// Who owned, in this order, from this record on.
pub(super) fn owners(begun: &Record, history: &[Swap]) -> Vec<StartId> {
    let later = history.iter().map(|swap| swap.after.owner.start);
    let mut owners: Vec<_> = std::iter::once(begun.owner.start).chain(later).collect();
    owners.dedup();
    owners
}

/// What may be gone after this application was killed. The register must have put a new process into the place of an
/// owner that was dead; and that owner is a target that had been served, or a source at a point at which nobody else was
/// proved to hold what it held.
pub(super) fn loss(history: &[Swap], cell: Cell, killed: StartId) -> Loss {
    let by_story = cell.story().loss();
    if by_story != Loss::Nothing {
        return by_story;
    }
    let mut restarts = history.iter().filter(|swap| swap.is_restart);
    let was_owner = match cell.victim {
        Victim::SourceApplication => restarts.next().is_some() && cell.source_holds_all(),
        Victim::TargetApplication => {
            restarts.any(|swap| swap.before.owner.start == killed && swap.before.served.is_some())
        }
        Victim::Controller
        | Victim::SourceAgent
        | Victim::TargetAgent
        | Victim::Gateway
        | Victim::SourceShim
        | Victim::TargetShim => false,
    };
    if was_owner { Loss::Owners } else { Loss::Nothing }
}

#[cfg(test)]
mod tests {
    use super::super::cells::Fault;
    use super::*;
    use paracloud_core::ids::{NodeId, Placement};
    use paracloud_core::migration::promises::Point;
    use paracloud_core::register::{Change, Mode, Proposer};

    const SOURCE: StartId = StartId(1);
    const TARGET: StartId = StartId(2);
    const FRESH: StartId = StartId(3);

    fn begun() -> Record {
        let mut begun = Record::first(Placement { node: NodeId(1), start: SOURCE });
        begun.served = Some(([127, 0, 0, 1], 80).into());
        begun
    }

    /// What the register says of a move that goes through these changes.
    fn history(changes: &[Change]) -> Vec<Swap> {
        let mut record = begun();
        let events: Vec<_> = changes
            .iter()
            .map(|change| {
                record = record.apply(change, Proposer::Coordinator).unwrap();
                let change = Promise::of_change(change).name().to_owned();
                let what = What::Swapped { change, record: record.clone() };
                let instance = INSTANCE.to_owned();
                Event { number: 1, at_unix_ms: 0, instance, operation: None, what }
            })
            .collect();
        of(&events, &begun())
    }

    fn open() -> Change {
        Change::Open { mode: Mode::Handoff, target: Placement { node: NodeId(2), start: TARGET } }
    }

    fn serve() -> Change {
        Change::Serve(([127, 0, 0, 2], 80).into())
    }

    fn cell(promise: Promise, victim: Victim) -> Cell {
        Cell { mode: Mode::Handoff, promise, point: Point::AfterSend, victim, fault: Fault::Kill }
    }

    #[test]
    fn owners_are_told_in_their_order() {
        let owners = |history: &[Swap]| owners(&begun(), history);
        assert_eq!(owners(&[]), [SOURCE], "nothing happened");
        assert_eq!(owners(&history(&[open(), Change::Seal, Change::Commit, serve()])), [SOURCE, TARGET]);
        let promoted = history(&[open(), Change::Seal, Change::Commit, Change::Doom, Change::Promote]);
        assert_eq!(owners(&promoted), [SOURCE, TARGET, SOURCE]);
    }

    #[test]
    fn a_dead_target_costs_something_only_if_it_had_been_served() {
        let dead = cell(Promise::Commit, Victim::TargetApplication);
        let restart = Change::Restart { fresh: FRESH };
        let served = history(&[open(), Change::Seal, Change::Commit, serve(), restart]);
        assert_eq!(loss(&served, dead, TARGET), Loss::Owners);
        let promoted = history(&[open(), Change::Seal, Change::Commit, Change::Promote]);
        assert_eq!(loss(&promoted, dead, TARGET), Loss::Nothing);
    }

    #[test]
    fn a_dead_source_costs_something_only_before_the_target_may_have_everything() {
        let restarted = history(&[open(), Change::Restart { fresh: FRESH }]);
        let dead = |promise| cell(promise, Victim::SourceApplication);
        assert_eq!(loss(&restarted, dead(Promise::Open), SOURCE), Loss::Owners);
        assert_eq!(
            loss(&restarted, dead(Promise::Loaded), SOURCE),
            Loss::Nothing,
            "only a commit is right then"
        );
        let committed = history(&[open(), Change::Seal, Change::Commit, serve()]);
        assert_eq!(loss(&committed, dead(Promise::Open), SOURCE), Loss::Nothing);
    }

    #[test]
    fn nobody_else_takes_anything_along() {
        let restarted = history(&[open(), Change::Restart { fresh: FRESH }]);
        assert_eq!(loss(&restarted, cell(Promise::Open, Victim::SourceShim), SOURCE), Loss::Nothing);
    }
}
