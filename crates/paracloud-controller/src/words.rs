//! What processes said last of themselves, as agents tell it: what they ask to be left alone from, and why they are not
//! ready. It decides nothing: people are told.

use crate::journal::cut;
use paracloud_core::ids::StartId;
use paracloud_substrate::message::{HeldOp, Hold, Unready};
use paracloud_substrate::person::HeldOff;
use std::collections::BTreeMap;

/// Of each instance at most one hold on each kind of operation and one reason, and the process that they are of.
#[derive(Debug, Default)]
pub(crate) struct Words {
    holds: BTreeMap<(String, HeldOp), (StartId, Hold)>,
    unready: BTreeMap<String, (StartId, Unready)>,
}

impl Words {
    /// A process asks, or asks no more.
    pub(crate) fn hold(&mut self, instance: &str, start: StartId, op: HeldOp, hold: Option<Hold>) {
        let hold = hold.map(|hold| Hold { reason: cut(hold.reason), ..hold });
        put(&mut self.holds, (instance.to_owned(), op), start, hold);
    }

    /// A process is not ready, or is.
    pub(crate) fn unready(&mut self, instance: &str, start: StartId, unready: Option<Unready>) {
        let kept = unready.map(cut_unready);
        put(&mut self.unready, instance.to_owned(), start, kept);
    }

    /// The holds that have not expired.
    pub(crate) fn holds_at(&self, now_unix_ms: u64) -> Vec<HeldOff> {
        let held = |((instance, op), (_, hold)): (&(String, HeldOp), &(StartId, Hold))| {
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

/// The last word of a process. That of one that was there before takes nothing from the one that is.
fn put<K: Ord, V>(words: &mut BTreeMap<K, (StartId, V)>, key: K, start: StartId, word: Option<V>) {
    match word {
        Some(word) => drop(words.insert(key, (start, word))),
        None => {
            if words.get(&key).is_some_and(|(of, _)| *of == start) {
                words.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_stands_until_it_expires_or_its_own_process_asks_no_more() {
        let mut words = Words::default();
        let hold = |until_unix_ms| Some(Hold { until_unix_ms, reason: "month end".to_owned() });
        words.hold("web", StartId(1), HeldOp::Stop, hold(500));
        let (instance, reason) = ("web".to_owned(), "month end".to_owned());
        let held = HeldOff { instance, op: HeldOp::Stop, remaining_ms: 100, reason };
        assert_eq!(words.holds_at(400), std::slice::from_ref(&held));
        assert_eq!(words.holds_at(500), []);
        words.hold("web", StartId(2), HeldOp::Stop, hold(700));
        words.hold("web", StartId(1), HeldOp::Stop, None);
        words.hold("web", StartId(2), HeldOp::Move, None);
        assert_eq!(words.holds_at(600), std::slice::from_ref(&held), "the one before it is dead");
        words.hold("web", StartId(2), HeldOp::Move, hold(700));
        assert_eq!(words.holds_at(600), [HeldOff { op: HeldOp::Move, ..held.clone() }, held]);
        words.hold("web", StartId(2), HeldOp::Stop, None);
        words.hold("web", StartId(2), HeldOp::Move, None);
        assert_eq!(words.holds_at(600), []);
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
