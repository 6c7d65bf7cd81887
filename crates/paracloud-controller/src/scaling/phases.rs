//! How far each instance is, and for how long it has been that.

use crate::control::View;
use paci::state::State;
use paracloud_core::ids::{InstanceNumber, StartId};
use paracloud_core::register::{Operation, Step};
use paracloud_core::scaling::observation::Phase;
use std::collections::BTreeMap;

/// What decides how far an instance is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sight<'a> {
    pub(super) view: Option<&'a View>,
    /// Its node's agent is connected.
    pub(super) is_connected: bool,
    /// Its probe, or it, says that it is not ready.
    pub(super) is_unready: bool,
    /// The state that it said last.
    pub(super) state: Option<State>,
    /// It was told to leave, or another one comes in its place.
    pub(super) is_about_to_leave: bool,
}

/// How far it is. One of which nobody has heard is ordered.
pub(super) fn phase(sight: &Sight<'_>) -> Phase {
    let Some((view, record)) = sight.view.and_then(|view| Some((view, view.record.as_ref()?))) else {
        return Phase::Starting;
    };
    match (&record.operation, record.step()) {
        (Some(Operation::Leave(_)), Some(Step::Leaving)) => return Phase::Leaving,
        (Some(Operation::Leave(_)), Some(Step::Draining)) => return Phase::Draining,
        _ => {}
    }
    if view.unknown.is_some() || !sight.is_connected {
        return Phase::Unknown;
    }
    if record.served.is_none() {
        return Phase::Starting;
    }
    // It goes when it has heard of it, or when the other one serves. Until then it is as one that drains: nothing is counted on it.
    if sight.is_about_to_leave {
        return Phase::Draining;
    }
    let wants_none = match sight.state {
        Some(State::NotReady | State::Stopping | State::Draining) => true,
        Some(State::Ready | State::Cold | State::Pausing | State::Unspecified) | None => false,
    };
    if sight.is_unready || wants_none { Phase::NotReady } else { Phase::Ready }
}

/// Who pauses for so long without an end, in milliseconds, is not ready, whatever it says: gateways send it nothing.
const PAUSES_MS_MAX: u64 = 10_000;

/// Since when each instance is what it is, on one clock in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Phases {
    all: BTreeMap<InstanceNumber, Since>,
    /// Those that pause, and since when.
    pauses: BTreeMap<InstanceNumber, (StartId, u64)>,
    /// When it was looked the last time.
    looked_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Since {
    phase: Phase,
    at_ms: u64,
    /// The process that became ready, and when: being called back makes no cold one of it.
    ready: Option<(StartId, u64)>,
}

impl Phases {
    /// For how long an instance has been this, in milliseconds. One that is ready is that since its process became ready: by
    /// `ready_ms`, if that is known when it is first seen to be. From then on nobody who sets the wall's clock makes it colder.
    pub(super) fn since(
        &mut self,
        number: InstanceNumber,
        phase: Phase,
        owner: Option<StartId>,
        ready_ms: Option<u64>,
        now_ms: u64,
    ) -> u32 {
        // One that was not there at the last look was ordered right after it.
        let ordered_ms = self.looked_ms.filter(|_| phase == Phase::Starting).unwrap_or(now_ms);
        let since = self.all.entry(number).or_insert(Since { phase, at_ms: ordered_ms, ready: None });
        if since.phase != phase {
            (since.phase, since.at_ms) = (phase, now_ms);
        }
        let mut at_ms = since.at_ms;
        if phase == Phase::Ready
            && let Some(owner) = owner
        {
            let known = since.ready.filter(|(of, _)| *of == owner).map(|(_, at_ms)| at_ms);
            at_ms = known.or(ready_ms).unwrap_or(at_ms).min(now_ms);
            since.ready = Some((owner, at_ms));
        }
        u32::try_from(now_ms.saturating_sub(at_ms)).unwrap_or(u32::MAX)
    }

    /// Whether one pauses without an end. `pauses`: which process of it is in a pause now.
    pub(super) fn pauses_on(&mut self, number: InstanceNumber, pauses: Option<StartId>, now_ms: u64) -> bool {
        let Some(start) = pauses else {
            self.pauses.remove(&number);
            return false;
        };
        let since = self.pauses.entry(number).or_insert((start, now_ms));
        if since.0 != start {
            *since = (start, now_ms);
        }
        now_ms.saturating_sub(since.1) >= PAUSES_MS_MAX
    }

    /// All were looked at: forgets those that are not there any more.
    pub(super) fn looked(&mut self, now_ms: u64, is_there: impl Fn(InstanceNumber) -> bool) {
        self.looked_ms = Some(now_ms);
        self.all.retain(|number, _| is_there(*number));
        self.pauses.retain(|number, _| is_there(*number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{NodeId, Placement};
    use paracloud_core::migration::Phase as Machine;
    use paracloud_core::migration::cause::Cause;
    use paracloud_core::register::{Change, Proposer, Record};

    const NUMBER: InstanceNumber = InstanceNumber(1);

    fn after(changes: &[Change]) -> View {
        let first = Record::first(Placement::new(NodeId(1), StartId(1)));
        let apply = |record: Record, change: &Change| record.apply(change, Proposer::Coordinator).unwrap();
        View {
            record: Some(changes.iter().fold(first, apply)),
            phase: Machine::Idle,
            unknown: None,
            served_unix_ms: None,
            is_dead: false,
            start_ms: None,
            outcome: None,
        }
    }

    fn seen(view: &View) -> Phase {
        phase(&Sight {
            view: Some(view),
            is_connected: true,
            is_unready: false,
            state: None,
            is_about_to_leave: false,
        })
    }

    #[test]
    fn how_far_an_instance_is_follows_its_record_its_node_and_its_own_word() {
        let served = Change::Serve("127.0.1.1:20000".parse().unwrap());
        let none = Sight {
            view: None,
            is_connected: true,
            is_unready: false,
            state: None,
            is_about_to_leave: false,
        };
        assert_eq!(phase(&none), Phase::Starting, "it is ordered");
        assert_eq!(seen(&after(&[])), Phase::Starting);
        let ready = after(std::slice::from_ref(&served));
        assert_eq!(seen(&ready), Phase::Ready);
        let sight = Sight {
            view: Some(&ready),
            is_connected: true,
            is_unready: false,
            state: None,
            is_about_to_leave: false,
        };
        assert_eq!(phase(&Sight { is_connected: false, ..sight }), Phase::Unknown);
        assert_eq!(phase(&Sight { is_unready: true, ..sight }), Phase::NotReady);
        let states = [(State::Draining, Phase::NotReady), (State::Cold, Phase::Ready)];
        for (state, expected) in states {
            assert_eq!(phase(&Sight { state: Some(state), ..sight }), expected, "{state:?}");
        }
        assert_eq!(phase(&Sight { is_about_to_leave: true, ..sight }), Phase::Draining);
        let unknown = View { unknown: Some("two processes".to_owned()), ..ready.clone() };
        assert_eq!(seen(&unknown), Phase::Unknown);
        let leaves = [served, Change::Leave];
        assert_eq!(seen(&after(&leaves)), Phase::Draining);
        let returns = [leaves.as_slice(), &[Change::Return(Cause::Cancelled)]].concat();
        assert_eq!(seen(&after(&returns)), Phase::Ready);
        let departs = [leaves.as_slice(), &[Change::Depart]].concat();
        assert_eq!(seen(&after(&departs)), Phase::Leaving);
    }

    #[test]
    fn who_pauses_again_and_again_without_an_end_between_is_not_counted_on() {
        let mut phases = Phases::default();
        let mut at = |pauses: Option<u64>, now_ms| phases.pauses_on(NUMBER, pauses.map(StartId), now_ms);
        assert!(!at(Some(1), 1_000) && !at(Some(1), 1_000 + PAUSES_MS_MAX - 1));
        assert!(at(Some(1), 1_000 + PAUSES_MS_MAX));
        assert!(!at(Some(2), 12_000), "another process");
        assert!(!at(None, 20_000) && !at(Some(2), 22_000), "it was ready between them");
        assert!(at(Some(2), 32_000));
        phases.looked(33_000, |_| false);
        assert!(!phases.pauses_on(NUMBER, Some(StartId(2)), 34_000), "it was gone");
    }

    #[test]
    fn one_that_is_called_back_is_as_warm_as_before() {
        let mut phases = Phases::default();
        let mut at = |phase, start, now_ms| phases.since(NUMBER, phase, Some(StartId(start)), None, now_ms);
        assert_eq!(at(Phase::Starting, 1, 1_000), 0);
        assert_eq!(at(Phase::Starting, 1, 3_000), 2_000);
        assert_eq!(at(Phase::Ready, 1, 4_000), 0);
        assert_eq!(at(Phase::Draining, 1, 60_000), 0);
        assert_eq!(at(Phase::Draining, 1, 61_000), 1_000);
        assert_eq!(at(Phase::Ready, 1, 62_000), 58_000, "since it became ready");
        assert_eq!(at(Phase::NotReady, 1, 63_000), 0);
        assert_eq!(at(Phase::Ready, 2, 70_000), 0, "another process");
        let mut noted = |start, ready_ms, now_ms| {
            phases.since(NUMBER, Phase::Ready, Some(StartId(start)), Some(ready_ms), now_ms)
        };
        assert_eq!(noted(3, 64_000, 71_000), 7_000, "noted when it was first seen");
        assert_eq!(
            [noted(3, 72_000, 72_000), noted(3, 0, 73_000)],
            [8_000, 9_000],
            "the wall's clock was set"
        );
        assert_eq!(noted(4, 99_000, 74_000), 0, "no time is ahead");
        phases.looked(75_000, |_| false);
        assert_eq!(phases.since(NUMBER, Phase::Starting, None, None, 76_000), 1_000, "ordered by that look");
    }
}
