//! What a follower heard of one operation, and the outcome that can be told from it: for a follower whose controller
//! was restarted in between, and who therefore never hears the outcome itself.

use crate::telling;
use paracloud_core::ids::{OperationNumber, StartId};
use paracloud_core::migration::Phase;
use paracloud_core::register::{LeaveStep, Mode, Move, MoveStep, Operation, Record, Step};
use paracloud_substrate::message::Note;
use paracloud_substrate::person::{
    self, Conclusion, Event, Kind, Loss, Outcome, What, falls_back, fell_back,
};
use paracloud_substrate::seen::Accounts;

/// The events of one operation of one instance, each once, in order.
#[derive(Debug, Clone)]
pub struct History {
    instance: String,
    operation: Option<OperationNumber>,
    /// The number of the newest event that is kept in the journal.
    last: u64,
    began_unix_ms: Option<u64>,
    /// Of the last event up to its end.
    newest_unix_ms: u64,
    entered: Vec<(Phase, u64)>,
    kind: Kind,
    moved: Option<Move>,
    cause: Option<String>,
    because: Option<Note>,
    /// After the commit.
    lost: Option<&'static str>,
    /// It left, and what it held with it.
    left_state: bool,
    /// The record after the newest swap.
    record: Option<Record>,
    accounts: Accounts,
    conclusion: Option<Conclusion>,
    closed: Option<Record>,
}

impl History {
    /// Nothing heard yet. Without a number, the first operation that is heard of is the one.
    pub fn new(instance: &str, operation: Option<OperationNumber>) -> Self {
        Self {
            instance: instance.to_owned(),
            operation,
            last: 0,
            began_unix_ms: None,
            newest_unix_ms: 0,
            entered: Vec::new(),
            kind: Kind::Move,
            moved: None,
            cause: None,
            because: None,
            lost: None,
            left_state: false,
            record: None,
            accounts: Accounts::default(),
            conclusion: None,
            closed: None,
        }
    }

    /// The operation, once it is known.
    pub fn operation(&self) -> Option<OperationNumber> {
        self.operation
    }

    /// Takes an event in. `false`: it is of something else, or was heard before.
    pub fn take(&mut self, event: &Event) -> bool {
        if event.instance != self.instance || event.operation.is_none() {
            return false;
        }
        let again = event.number != 0 && event.number <= self.last;
        if again || self.operation.is_some_and(|operation| event.operation != Some(operation)) {
            return false;
        }
        self.operation = event.operation;
        self.last = self.last.max(event.number);
        self.began_unix_ms.get_or_insert(event.at_unix_ms);
        if self.closed.is_none() {
            self.newest_unix_ms = self.newest_unix_ms.max(event.at_unix_ms);
        }
        match &event.what {
            What::Swapped { change, record } => self.swapped(change, record),
            What::Entered(phase) => self.entered.push((*phase, event.at_unix_ms)),
            What::Note(note) => {
                let says_how = note.is_trouble() || note.is_new_size();
                if self.cause.is_none() && self.lost.is_none() && says_how {
                    self.because = Some(note.clone());
                }
            }
            // How far it was is not how far it came.
            What::Progress(_) | What::Refused(_) => {}
            What::StateLost { by, .. } => self.left_state |= *by == Loss::Leave,
            What::Parked { gateway, account } => {
                self.accounts.hear(*gateway, account);
            }
            What::Concluded(conclusion) => self.conclusion = Some(*conclusion),
        }
        true
    }

    fn swapped(&mut self, change: &str, record: &Record) {
        let before = self.record.replace(record.clone());
        if change == "restart" && record.step() == Some(Step::Retire) {
            self.lost.get_or_insert("the target's process died when it served, and was started anew");
        }
        if before.is_some_and(|before| falls_back(change, &before)) {
            self.cause = Some(fell_back(self.cause.as_deref()));
        } else if change == "restart" && record.step() == Some(Step::Undo) {
            // It explains what went wrong before: a channel breaks with either end.
            let target = record.moving().map(|operation| operation.target.start);
            self.cause = Some("the source's process died, and was started anew".to_owned());
            self.because.take_if(|note| target.is_some_and(|target| note.is_failure_of(target)));
        }
        if change.starts_with("replace") && record.step() == Some(Step::Retire) {
            self.lost.get_or_insert(
                "the target's node was given up when it served, and it was started anew elsewhere",
            );
        }
        self.kind = record.operation.as_ref().map_or(self.kind, Kind::of);
        match &record.operation {
            Some(Operation::Move(operation)) => {
                self.moved = Some(operation.clone());
                if matches!(operation.step, MoveStep::Undo | MoveStep::Doomed) && self.cause.is_none() {
                    self.cause = Some(telling::cause(change).to_owned());
                }
            }
            Some(Operation::Leave(leave)) if leave.step == LeaveStep::Returning => {
                self.cause.get_or_insert_with(|| telling::cause(change).to_owned());
            }
            Some(Operation::Leave(_) | Operation::Resize(_)) => {}
            None => {
                if self.kind == Kind::Resize && change != "resized" {
                    self.cause = Some(match change {
                        "restart" => "the owner's process died, and was started anew".to_owned(),
                        other => telling::cause(other).to_owned(),
                    });
                }
                self.closed = Some(record.clone());
            }
        }
    }

    /// The owner and the call that it has to answer before the operation ends, once the outcome is decided.
    pub fn delivery(&self) -> Option<(StartId, &'static str)> {
        person::delivery(self.record.as_ref()?)
    }

    /// The phase that it is in, if it was heard.
    pub fn phase(&self) -> Option<Phase> {
        self.entered.last().map(|(phase, _)| *phase)
    }

    /// How far it is decided, as it goes on after `the move`.
    pub fn standing(&self) -> &'static str {
        match self.record.as_ref().and_then(Record::step) {
            None | Some(Step::Open | Step::Draining | Step::Resizing) => "is open",
            Some(Step::Sealing | Step::Doomed) => "is not decided yet",
            Some(Step::Switch | Step::Retire | Step::Leaving) => "is committed",
            Some(Step::Undo | Step::Returning) => "is rolled back",
        }
    }

    /// How the operation ended, if its end was heard. Whether there was state to lose is not in its events: one that was
    /// restarted is said to have lost it.
    pub fn outcome(&self) -> Option<Outcome> {
        let record = self.closed.as_ref()?;
        let moved = self.moved.as_ref();
        // One that served and was lost since may be on any node now.
        let arrived = moved.is_none_or(|it| it.target.node == record.owner.node);
        let committed = match self.kind {
            Kind::Move => self.cause.is_none() && (arrived || self.lost.is_some()),
            Kind::Leave => record.gone,
            Kind::Resize => self.cause.is_none(),
        };
        let mode = moved.map_or(Mode::Handoff, |operation| operation.mode);
        let state_lost = self.left_state || moved.is_some_and(|it| it.loses_state(record.owner.start));
        let ends = self.entered.iter().skip(1).map(|(_, at)| *at).chain([self.newest_unix_ms]);
        let phases = self.entered.iter().zip(ends);
        let mut outcome = Outcome {
            instance: self.instance.clone(),
            operation: self.operation?,
            kind: self.kind,
            mode,
            committed,
            state_lost,
            cause: self.cause.clone().or_else(|| self.lost.map(str::to_owned)),
            may_pass: false,
            because: self.because.clone().filter(|note| {
                let died = record.gone && note.is_end_of(record.owner.start);
                self.cause.is_some() || self.lost.is_some() || note.is_new_size() || died
            }),
            node: record.owner.node,
            incarnation: record.incarnation.0,
            phases: phases
                .filter(|((phase, _), _)| *phase != Phase::Idle)
                .map(|((phase, from), to)| (*phase, to.saturating_sub(*from).saturating_mul(1_000)))
                .collect(),
            total_ms: self.newest_unix_ms.saturating_sub(self.began_unix_ms.unwrap_or(self.newest_unix_ms)),
            carried_bytes: self.conclusion.and_then(|conclusion| conclusion.carried_bytes),
            parked: 0,
            parked_us_max: 0,
            failed: 0,
            uploads_failed: 0,
            streams_cut: 0,
            websockets_closed: 0,
            clients_known: self.conclusion.is_some_and(|conclusion| conclusion.clients_known),
        };
        outcome.saw(&self.accounts);
        Some(outcome)
    }

    /// Whether nothing is added to its outcome any more.
    pub fn is_concluded(&self) -> bool {
        self.conclusion.is_some()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use paracloud_core::ids::{Incarnation, NodeId, Placement, StartId};
    use paracloud_substrate::person::Progress;
    use paracloud_substrate::seen::{Account, Seen};

    /// The record of a move from n1 to n2, at this step; `None`: closed.
    pub(crate) fn record(step: Option<MoveStep>, owner: u32, incarnation: u32) -> Record {
        let place =
            |node: u32| Placement::new(NodeId(node), StartId(0x1234_5678_0000_0000 + u64::from(node)));
        let mut record = Record::first(place(owner));
        record.incarnation = Incarnation(incarnation);
        record.last_operation = OperationNumber(3);
        record.served = Some(format!("127.0.1.{owner}:20001").parse().unwrap());
        record.operation = step.map(|step| {
            Operation::Move(Move {
                mode: Mode::Handoff,
                step,
                base: Incarnation(4),
                source: place(1),
                source_address: "127.0.1.1:20000".parse().unwrap(),
                target: place(2),
            })
        });
        record
    }

    pub(crate) fn event(number: u64, what: What) -> Event {
        Event {
            number,
            at_unix_ms: 1_700_000_000_000 + number * 10,
            instance: "sessions".to_owned(),
            operation: Some(OperationNumber(3)),
            what,
        }
    }

    pub(crate) fn a_move() -> Vec<Event> {
        let swapped = |change: &str, record| What::Swapped { change: change.to_owned(), record };
        let progress = Progress {
            carried_bytes: 120 << 20,
            state_bytes: Some(200 << 20),
            rate_bytes_per_s: 310 << 20,
            eta_ms: Some(260),
            predicted_pause_ms: Some(4),
        };
        let parked = |websockets_closed| {
            let seen = Seen { requests: 12, parked_us_max: 4_250, websockets_closed, ..Seen::default() };
            let account =
                Account { began_unix_us: 1_700_000_000_045_000, seen, more: websockets_closed == 0 };
            What::Parked { gateway: 1, account }
        };
        let whats = [
            swapped("open", record(Some(MoveStep::Open), 1, 4)),
            What::Entered(Phase::Offer),
            What::Entered(Phase::Copy),
            What::Progress(progress),
            swapped("seal", record(Some(MoveStep::Sealing), 1, 4)),
            What::Entered(Phase::Seal),
            swapped("commit", record(Some(MoveStep::Switch), 2, 5)),
            swapped("serve", record(Some(MoveStep::Retire), 2, 5)),
            parked(0),
            swapped("close", record(None, 2, 5)),
            parked(50),
            What::Concluded(Conclusion { carried_bytes: Some(200 << 20), clients_known: true }),
        ];
        (1..).zip(whats).map(|(number, what)| event(number, what)).collect()
    }

    #[test]
    fn the_outcome_of_a_move_is_told_from_its_events() {
        let mut history = History::new("sessions", None);
        for event in &a_move() {
            assert!(!history.is_concluded());
            assert_eq!(history.outcome().is_some(), event.number > 10);
            assert!(history.take(event));
        }
        assert!(history.is_concluded());
        let outcome = history.outcome().unwrap();
        assert!(outcome.committed && outcome.cause.is_none());
        assert_eq!(
            (outcome.node, outcome.incarnation, outcome.operation),
            (NodeId(2), 5, OperationNumber(3))
        );
        assert_eq!(outcome.phases, [(Phase::Offer, 10_000), (Phase::Copy, 30_000), (Phase::Seal, 40_000)]);
        assert_eq!((outcome.parked, outcome.parked_us_max, outcome.failed), (12, 4_250, 0));
        assert_eq!((outcome.websockets_closed, outcome.clients_known), (50, true), "closed after the close");
        assert_eq!((outcome.carried_bytes, outcome.total_ms), (Some(200 << 20), 90));
    }

    #[test]
    fn what_no_controller_concluded_is_not_known_however_far_it_was() {
        let mut history = History::new("sessions", None);
        for event in &a_move()[..10] {
            history.take(event);
        }
        let outcome = history.outcome().unwrap();
        assert_eq!((outcome.carried_bytes, outcome.clients_known), (None, false));
        assert_eq!(outcome.parked, 12, "what was heard is said");
    }

    #[test]
    fn a_move_by_restart_that_was_followed_from_the_journal_says_so() {
        let mut history = History::new("sessions", None);
        for mut event in a_move() {
            if let What::Swapped { record, .. } = &mut event.what
                && let Some(Operation::Move(operation)) = &mut record.operation
            {
                operation.mode = Mode::Restart;
            }
            history.take(&event);
        }
        let outcome = history.outcome().unwrap();
        assert_eq!((outcome.mode, outcome.committed, outcome.state_lost), (Mode::Restart, true, true));
    }

    #[test]
    fn what_was_stopped_for_a_target_that_does_not_serve_is_said_to_be_started_again() {
        for (ending, why) in [(None, "ended before it had served"), (Some("doom"), "within its budget")] {
            let mut history = History::new("sessions", None);
            let steps =
                [("commit", MoveStep::Switch), ("doom", MoveStep::Doomed), ("restart", MoveStep::Undo)];
            let heard = steps.into_iter().filter(|(change, _)| *change != "doom" || ending.is_some());
            for (number, (change, step)) in (1..).zip(heard) {
                let mut record = record(Some(step), 2, 5);
                if let Some(Operation::Move(operation)) = &mut record.operation {
                    operation.mode = Mode::Restart;
                }
                history.take(&event(number, What::Swapped { change: change.to_owned(), record }));
            }
            history.take(&event(9, What::Swapped { change: "close".to_owned(), record: record(None, 1, 6) }));
            let outcome = history.outcome().unwrap();
            let cause = outcome.cause.unwrap();
            assert!(!outcome.committed && cause.contains(why), "{cause}");
            assert!(cause.ends_with("; the process that was stopped for it was started again"), "{cause}");
        }
    }

    #[test]
    fn what_was_heard_before_and_what_is_of_another_operation_changes_nothing() {
        let mut history = History::new("sessions", None);
        let events = a_move();
        assert!(history.take(&events[8]));
        assert!(!history.take(&events[8]), "again, after the controller was restarted");
        let mut other = events[9].clone();
        other.operation = Some(OperationNumber(4));
        assert!(!history.take(&other));
        other.operation = None;
        assert!(!history.take(&other));
        assert_eq!(history.outcome(), None);
    }

    #[test]
    fn a_move_that_was_undone_is_not_committed() {
        let mut history = History::new("sessions", None);
        let swapped = |change: &str, record| What::Swapped { change: change.to_owned(), record };
        history.take(&event(1, swapped("open", record(Some(MoveStep::Open), 1, 4))));
        history.take(&event(2, swapped("roll back: cancelled", record(Some(MoveStep::Undo), 1, 5))));
        history.take(&event(3, swapped("close", record(None, 1, 5))));
        let outcome = history.outcome().unwrap();
        assert!(!outcome.committed && !outcome.state_lost);
        assert_eq!((outcome.node, outcome.cause.as_deref()), (NodeId(1), Some("roll back: cancelled")));
    }
}
