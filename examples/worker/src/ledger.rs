//! What became of each job: so that a loss can be counted.

use serde::Serialize;
use std::collections::{BTreeSet, VecDeque};

/// Ids of jobs that are done and still told one by one; older ones are only counted.
pub const IDS_MAX: usize = 100_000;
/// Longest id, in bytes.
pub const ID_BYTES_MAX: usize = 64;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Jobs that were taken.
    pub accepted: u64,
    /// Jobs that were done.
    pub done: u64,
    /// Jobs that found no place.
    pub refused: u64,
    /// Jobs that were taken and are not done.
    pub open_ids: BTreeSet<String>,
    /// The last [`IDS_MAX`] that are done, in the order in which they were.
    pub done_ids: VecDeque<String>,
}

impl Ledger {
    /// A job is taken. Of an id that is taken already there is no second one: `false`.
    pub(crate) fn accept(&mut self, id: &str) -> bool {
        let is_new = self.open_ids.insert(id.to_owned());
        self.accepted += u64::from(is_new);
        is_new
    }

    /// It is done.
    pub(crate) fn done(&mut self, id: &str) {
        let Some(id) = self.open_ids.take(id) else { return };
        self.done += 1;
        if self.done_ids.len() == IDS_MAX {
            self.done_ids.pop_front();
        }
        self.done_ids.push_back(id);
    }

    /// There was no place for one.
    pub(crate) fn refuse(&mut self) {
        self.refused += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_open_until_it_is_done_and_counted_once() {
        let mut ledger = Ledger::default();
        assert!(ledger.accept("a") && ledger.accept("b") && !ledger.accept("a"));
        ledger.done("a");
        ledger.done("a");
        ledger.refuse();
        assert_eq!((ledger.accepted, ledger.done, ledger.refused), (2, 1, 1));
        assert_eq!((ledger.open_ids.first().unwrap().as_str(), ledger.done_ids[0].as_str()), ("b", "a"));
    }

    #[test]
    fn of_the_oldest_jobs_only_the_number_is_kept() {
        let mut ledger = Ledger::default();
        for number in 0..=IDS_MAX {
            let id = number.to_string();
            ledger.accept(&id);
            ledger.done(&id);
        }
        assert_eq!((ledger.done, ledger.done_ids.len()), (IDS_MAX as u64 + 1, IDS_MAX));
        assert_eq!(ledger.done_ids[0], "1");
    }
}
