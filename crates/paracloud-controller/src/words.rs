//! What processes said last of themselves, as agents tell it: what they ask to be left alone from, and why they are not
//! ready; and what they do not answer. It decides nothing: people are told.

use crate::journal::cut;
use paracloud_core::ids::{OperationNumber, StartId};
use paracloud_core::register::Record;
use paracloud_substrate::message::{HeldOp, Hold, Unready};
use paracloud_substrate::person::{self, HeldOff, Unanswered};
use std::collections::BTreeMap;

/// Of each process at most one hold on each kind of operation; of each instance one reason and one silence, and the process that
/// they are of.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// Those of a process that takes over stand beside those of the one that it takes over from. What expired goes.
    holds: BTreeMap<(String, HeldOp, StartId), Hold>,
    unready: BTreeMap<String, (StartId, Unready)>,
    /// With the operation that it was asked because of.
    unanswered: BTreeMap<String, (OperationNumber, Unanswered)>,
}

impl Words {
    /// A process asks, or asks no more.
    pub(crate) fn hold(
        &mut self,
        instance: &str,
        (start, op): (StartId, HeldOp),
        hold: Option<Hold>,
        now_unix_ms: u64,
    ) {
        // Of a process that died with its node nobody says that it asks no more.
        self.holds.retain(|_, hold| hold.until_unix_ms > now_unix_ms);
        let whose = (instance.to_owned(), op, start);
        match hold {
            Some(hold) => drop(self.holds.insert(whose, Hold { reason: cut(hold.reason), ..hold })),
            None => drop(self.holds.remove(&whose)),
        }
    }

    /// A process is not ready, or is.
    pub(crate) fn unready(&mut self, instance: &str, start: StartId, unready: Option<Unready>) {
        match unready {
            Some(unready) => drop(self.unready.insert(instance.to_owned(), (start, cut_unready(unready)))),
            // The word of one that was there before takes nothing from the one that is.
            None => {
                if self.unready.get(instance).is_some_and(|(of, _)| *of == start) {
                    self.unready.remove(instance);
                }
            }
        }
    }

    /// A process does not answer what it is asked because of an operation.
    pub(crate) fn unanswered(&mut self, instance: &str, operation: OperationNumber, unanswered: Unanswered) {
        let (call, answered) = (cut(unanswered.call), unanswered.answered.map(cut));
        let kept = Unanswered { call, answered, ..unanswered };
        let before = self.unanswered.insert(instance.to_owned(), (operation, kept));
        // It is said again on each link; it is silent since it was said first.
        if let (Some((of, before)), Some((_, kept))) = (before, self.unanswered.get_mut(instance))
            && (of, before.start, &before.call) == (operation, kept.start, &kept.call)
        {
            kept.since_unix_ms = before.since_unix_ms;
        }
    }

    /// What keeps the open operation of this record open, if its owner was said not to answer it.
    pub(crate) fn what_is_unanswered(&self, instance: &str, record: &Record) -> Option<Unanswered> {
        let (operation, unanswered) = self.unanswered.get(instance)?;
        let awaited = (*operation, Some((unanswered.start, unanswered.call.as_str())));
        (awaited == (record.last_operation, person::delivery(record))).then(|| unanswered.clone())
    }

    /// The holds of processes that count which have not expired. What another process said holds nothing off.
    pub(crate) fn holds_at(&self, now_unix_ms: u64, counts: impl Fn(&str, StartId) -> bool) -> Vec<HeldOff> {
        let held = |((instance, op, start), hold): (&(String, HeldOp, StartId), &Hold)| {
            if !counts(instance, *start) {
                return None;
            }
            let remaining_ms = hold.until_unix_ms.checked_sub(now_unix_ms).filter(|left| *left > 0)?;
            Some(HeldOff { instance: instance.clone(), op: *op, remaining_ms, reason: hold.reason.clone() })
        };
        self.holds.iter().filter_map(held).collect()
    }

    /// Why the owner of an instance is not ready, if it said so. The word of another process says nothing of it.
    pub(crate) fn why_unready(&self, instance: &str, owner: StartId) -> Option<Unready> {
        self.unready.get(instance).filter(|(of, _)| *of == owner).map(|(_, unready)| unready.clone())
    }
}

/// At most so much of its texts as is kept of any.
pub(crate) fn cut_unready(unready: Unready) -> Unready {
    Unready { asked: cut(unready.asked), answered: cut(unready.answered), ..unready }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{NodeId, Placement};
    use paracloud_core::migration::cause::Cause;
    use paracloud_core::register::{Change, Mode, Proposer};

    #[test]
    fn a_hold_stands_until_it_expires_or_its_process_asks_no_more_or_owns_no_more() {
        let mut words = Words::default();
        let hold = |until_unix_ms| Some(Hold { until_unix_ms, reason: "month end".to_owned() });
        let held = |op, remaining_ms| HeldOff {
            instance: "web".to_owned(),
            op,
            remaining_ms,
            reason: "month end".to_owned(),
        };
        let at = |words: &Words, now, owner| words.holds_at(now, |_, start| start == StartId(owner));
        words.hold("web", (StartId(1), HeldOp::Stop), hold(700), 0);
        assert_eq!(at(&words, 600, 1), [held(HeldOp::Stop, 100)]);
        assert_eq!(at(&words, 700, 1), []);
        // Another process takes over, or does not.
        words.hold("web", (StartId(2), HeldOp::Stop), hold(800), 0);
        words.hold("web", (StartId(2), HeldOp::Move), None, 0);
        assert_eq!(at(&words, 600, 1), [held(HeldOp::Stop, 100)]);
        assert_eq!(at(&words, 600, 2), [held(HeldOp::Stop, 200)]);
        assert_eq!(at(&words, 600, 3), [], "it never asked");
        words.hold("web", (StartId(1), HeldOp::Stop), None, 0);
        words.hold("web", (StartId(2), HeldOp::Move), hold(700), 0);
        assert_eq!(at(&words, 600, 2), [held(HeldOp::Move, 100), held(HeldOp::Stop, 200)]);
        words.hold("web", (StartId(2), HeldOp::Stop), None, 0);
        words.hold("web", (StartId(2), HeldOp::Move), None, 0);
        assert_eq!(at(&words, 600, 2), []);
    }

    #[test]
    fn what_processes_that_are_gone_asked_is_kept_no_longer_than_it_stands() {
        let mut words = Words::default();
        for start in 1..=9 {
            let hold = Hold { until_unix_ms: start * 100, reason: String::new() };
            words.hold("web", (StartId(start), HeldOp::Move), Some(hold), 500);
        }
        assert_eq!(words.holds.len(), 4, "{words:?}");
    }

    #[test]
    fn what_an_owner_does_not_answer_is_said_of_what_it_is_told_now_and_since_when() {
        let mut words = Words::default();
        let served = Change::Serve("127.0.1.1:20000".parse().unwrap());
        let target = Placement::new(NodeId(2), StartId(2));
        let open = [served, Change::Open { mode: Mode::Handoff, target }, Change::Seal];
        let owner = Placement::new(NodeId(1), StartId(1));
        let apply = |record: Record, change: &Change| record.apply(change, Proposer::Coordinator).unwrap();
        let open = open.iter().fold(Record::first(owner), apply);
        let told = apply(open.clone(), &Change::RollBack(Cause::Cancelled));
        let silent = |start, call: &str, since_unix_ms| Unanswered {
            start,
            call: call.to_owned(),
            answered: None,
            since_unix_ms,
        };
        let operation = told.last_operation;
        words.unanswered("web", operation, silent(owner.start, "seal", 4));
        assert_eq!(words.what_is_unanswered("web", &told), None, "it is told something else by now");
        words.unanswered("web", operation, silent(owner.start, "resume", 5));
        words.unanswered("web", operation, silent(owner.start, "resume", 9));
        let since_first = Some(silent(owner.start, "resume", 5));
        assert_eq!(words.what_is_unanswered("web", &told), since_first, "on another link it is no news");
        assert_eq!(words.what_is_unanswered("web", &open), None, "nothing is decided");
        assert_eq!(words.what_is_unanswered("else", &told), None);
        words.unanswered("web", OperationNumber(operation.0 - 1), silent(owner.start, "resume", 5));
        assert_eq!(words.what_is_unanswered("web", &told), None, "that was another move");
        words.unanswered("web", operation, silent(target.start, "resume", 5));
        assert_eq!(words.what_is_unanswered("web", &told), None, "that is not its owner");
    }

    #[test]
    fn why_an_owner_is_not_ready_is_its_own_word_and_bounded() {
        let mut words = Words::default();
        let answered = "x".repeat(5_000);
        let unready = Unready { since_unix_ms: 7, asked: "PaCI SetState".to_owned(), answered };
        words.unready("web", StartId(2), Some(unready));
        assert_eq!(words.why_unready("web", StartId(1)), None, "what another process said");
        let kept = words.why_unready("web", StartId(2)).unwrap();
        assert!(kept.answered.len() < 1_100, "{}", kept.answered.len());
        words.unready("web", StartId(1), None);
        assert!(words.why_unready("web", StartId(2)).is_some());
        words.unready("web", StartId(2), None);
        assert_eq!(words.why_unready("web", StartId(2)), None);
    }
}
