//! Where state was lost on the way: what of it only the lost processes had acknowledged, and what must be there.
//!
//! Each answer says which process gave it. What was acknowledged by one that is not among the lost is part of the state
//! that began, empty, when they were gone; all the rest went with them.

use crate::ledger::{Ledger, Write};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Requests kept between two audits. Of more nothing can be told.
pub(crate) const REQUESTS_MAX: usize = 1_000_000;

/// Processes that took state along, by where they listened: each set at once, in this order.
pub(crate) type Gone<'a> = &'a [BTreeSet<SocketAddr>];

/// A request, and what was told of it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) writes: Vec<Write>,
    /// Every answer to it.
    pub(crate) told: Vec<Told>,
    /// It was also sent in a way whose outcome nobody knows.
    pub(crate) may_be_applied: bool,
}

/// An answer: who gave it, and the counters of the writes.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) by: Option<SocketAddr>,
    pub(crate) counters: Vec<u32>,
}

/// The requests since the last audit.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    kept: Vec<Request>,
    is_full: bool,
}

impl Requests {
    pub(crate) fn push(&mut self, request: Request) {
        if self.kept.len() < REQUESTS_MAX {
            self.kept.push(request);
        } else {
            self.is_full = true;
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Enters into a ledger what others than the lost processes acknowledged, or may have applied; and counts the writes
    /// that nobody else acknowledged, for each set of them. `None`: there were more than are kept.
    pub(crate) fn since(&self, ledger: &mut Ledger, gone: Gone<'_>) -> Option<Vec<u64>> {
        let mut lost = vec![0; gone.len()];
        for request in &self.kept {
            let (went, stayed): (Vec<_>, Vec<_>) =
                request.told.iter().partition(|told| place(gone, told.by).is_some());
            if let Some(first) = stayed.first() {
                let writes = request.writes.iter().zip(&first.counters);
                writes.for_each(|(write, counter)| ledger.acknowledge(*write, *counter));
                if stayed.iter().any(|told| told.counters != first.counters) {
                    ledger.answers_differ();
                }
                continue;
            }
            if request.may_be_applied {
                request.writes.iter().for_each(|write| ledger.leave_unknown(*write));
            }
            // The last of them had it.
            if let Some(last) = went.iter().filter_map(|told| place(gone, told.by)).max()
                && let Some(lost) = lost.get_mut(last)
            {
                *lost += request.writes.len() as u64;
            }
        }
        (!self.is_full).then_some(lost)
    }
}

/// Which set of lost processes one belongs to.
pub(crate) fn place(gone: Gone<'_>, process: Option<SocketAddr>) -> Option<usize> {
    let process = process?;
    gone.iter().position(|set| set.contains(&process))
}

/// Messages of a session that are missing, or came twice, at one process, of those that another had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Who had the session last.
    pub(crate) known_by: Option<SocketAddr>,
    /// Where it was found.
    pub(crate) found_by: Option<SocketAddr>,
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
}

impl Gap {
    /// The set of lost processes that took the messages along, if it was one.
    pub(crate) fn is_due_to(&self, gone: Gone<'_>) -> Option<usize> {
        let known = place(gone, self.known_by)?;
        let found_by = self.found_by?;
        place(gone, Some(found_by)).is_none_or(|found| found > known).then_some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Held;

    const KEY: Write = Write { key: 0, crc32: 7 };

    fn at(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn request(told: &[(u16, u32)], may_be_applied: bool) -> Request {
        let told = told.iter().map(|(port, counter)| Told { by: Some(at(*port)), counters: vec![*counter] });
        Request { writes: vec![KEY], told: told.collect(), may_be_applied }
    }

    /// What is lost and doubled of what the others than 1 acknowledged, and what is lost of 1, with this counter now.
    fn lost(requests: Vec<Request>, counter: u32) -> (u64, u64, Vec<u64>) {
        let mut all = Requests::default();
        requests.into_iter().for_each(|request| all.push(request));
        let mut ledger = Ledger::from_baseline(&[None]);
        let lost = all.since(&mut ledger, &[BTreeSet::from([at(1)])]).unwrap();
        let audit = ledger.audit(&[Some(Held { counter, crc32: 7 })]);
        (audit.lost, audit.duplicated, lost)
    }

    #[test]
    fn what_only_a_lost_process_acknowledged_is_gone_and_the_rest_must_be_there() {
        let requests =
            || vec![request(&[(1, 1)], false), request(&[(1, 2)], false), request(&[(2, 1)], false)];
        assert_eq!(lost(requests(), 1), (0, 0, vec![2]));
        assert_eq!(lost(requests(), 3).1, 2, "what was lost is not there again");
        let mut more = requests();
        more.push(request(&[(2, 2)], false));
        assert_eq!(lost(more, 1).0, 1, "what was acknowledged after the loss");
    }

    #[test]
    fn whoever_answered_without_saying_who_it_is_is_not_among_the_lost() {
        let mut unknown = request(&[(1, 1)], false);
        unknown.told[0].by = None;
        assert_eq!(lost(vec![request(&[(2, 1)], false), unknown], 1).0, 1);
    }

    #[test]
    fn a_request_that_both_answered_belongs_to_the_one_that_stayed() {
        assert_eq!(lost(vec![request(&[(1, 1), (2, 1)], false)], 1), (0, 0, vec![0]));
        let (lost_of_both, ..) = lost(vec![request(&[(1, 1), (2, 1)], false), request(&[(2, 2)], false)], 1);
        assert_eq!(lost_of_both, 1);
        assert_eq!(lost(vec![request(&[(2, 1), (3, 2)], false)], 1).1, 1, "two answers to one request");
    }

    #[test]
    fn a_request_that_may_have_been_applied_again_may_be_there() {
        let requests = || vec![request(&[(2, 1)], false), request(&[(1, 9)], true)];
        assert_eq!(lost(requests(), 1), (0, 0, vec![1]));
        assert_eq!(lost(requests(), 2), (0, 0, vec![1]));
        assert_eq!(lost(requests(), 3).1, 1);
    }

    #[test]
    fn messages_are_gone_only_with_whoever_had_them_and_only_for_who_came_after() {
        let gone = [BTreeSet::from([at(1)]), BTreeSet::from([at(2), at(3)])];
        let due = |known: Option<u16>, found: Option<u16>| {
            let gap = Gap { known_by: known.map(at), found_by: found.map(at), lost: 1, repeated: 0 };
            gap.is_due_to(&gone)
        };
        assert_eq!(due(Some(1), Some(2)), Some(0));
        assert_eq!(due(Some(1), Some(4)), Some(0));
        assert_eq!(due(Some(3), Some(4)), Some(1));
        assert_eq!(due(Some(2), Some(3)), None, "a handover between two that were lost together");
        assert_eq!(due(Some(4), Some(4)), None, "after the loss");
        assert_eq!(due(Some(2), Some(1)), None, "backwards");
        assert_eq!(due(None, Some(4)), None);
        assert_eq!(due(Some(1), None), None);
    }
}
