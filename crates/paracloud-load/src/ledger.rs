//! What the clients know of each key: what was acknowledged, what may have been applied, what they read last.
//!
//! Every write raises its key's counter by one and is answered with the new value. So for each key, counted from a
//! baseline that was read while nothing was outstanding:
//!
//! ```text
//!   base + acknowledged  ≤  counter  ≤  base + acknowledged + unknown
//!         below: lost                         above: duplicated
//! ```
//!
//! A counter value is returned once; and the value stored last is the one of the write that got the highest counter,
//! or of one whose outcome is unknown.

use crate::counters::Counters;
use serde::{Deserialize, Serialize};

/// Findings listed one by one in an [`Audit`]; the totals count all.
pub const FINDINGS_MAX: usize = 1_000;

/// Accounts of the keys `k0`, `k1`, …
#[derive(Debug)]
pub struct Ledger {
    accounts: Vec<Account>,
    /// Requests with one key, sent twice, that were answered differently.
    answers_differ: u64,
}

#[derive(Debug, Clone, Default)]
struct Account {
    base: u32,
    base_crc32: u32,
    acknowledged: u32,
    unknown: u32,
    /// CRC-32 of the values that may have been stored last, without our knowing.
    unknown_values: Vec<u32>,
    returned: Counters,
    repeated: u32,
    /// Highest counter returned, and the CRC-32 of the value stored with it.
    last: Option<(u32, u32)>,
}

/// A write: its key and the CRC-32 of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write {
    /// Number of the key.
    pub key: u32,
    /// Of the value.
    pub crc32: u32,
}

/// What a server holds of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The key's counter.
    pub counter: u32,
    /// Of its value.
    pub crc32: u32,
}

/// What a server holds, by number of the key. `None`: it does not have the key.
pub type Holdings = Vec<Option<Held>>;

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Keys compared.
    pub keys: u32,
    /// Writes acknowledged since the baseline.
    pub acknowledged: u64,
    /// Writes whose outcome is unknown.
    pub unknown: u64,
    /// Acknowledged writes that are not there, wrong last values included.
    pub lost: u64,
    /// Writes that were applied more often than they were sent, requests that were answered differently included.
    pub duplicated: u64,
    /// Keys with something lost or duplicated, at most [`FINDINGS_MAX`] of them.
    pub findings: Vec<Finding>,
}

impl Audit {
    /// Nothing was lost and nothing duplicated.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0
    }
}

/// A key that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Number of the key.
    pub key: u32,
    /// Its counter at the baseline.
    pub base: u32,
    /// Writes acknowledged since.
    pub acknowledged: u32,
    /// Writes whose outcome is unknown.
    pub unknown: u32,
    /// Its counter now. `None`: the key is gone.
    pub counter: Option<u32>,
    /// Acknowledged writes that are missing.
    pub lost: u32,
    /// Writes too many.
    pub duplicated: u32,
    /// Counter values that were returned more than once.
    pub repeated: u32,
    /// The value is none that can be the last.
    pub wrong_value: bool,
}

impl Ledger {
    /// A ledger that starts from what the server holds.
    pub fn from_baseline(held: &[Option<Held>]) -> Self {
        let account = |held: &Option<Held>| {
            let Held { counter, crc32 } = held.unwrap_or(Held { counter: 0, crc32: 0 });
            Account { base: counter, base_crc32: crc32, ..Account::default() }
        };
        Self { accounts: held.iter().map(account).collect(), answers_differ: 0 }
    }

    /// Writes that the baseline has in it.
    pub fn base(&self) -> u64 {
        self.accounts.iter().map(|account| u64::from(account.base)).sum()
    }

    /// A ledger of which nothing is known since the baseline of this one.
    pub fn from_base(&self) -> Self {
        let account =
            |of: &Account| Account { base: of.base, base_crc32: of.base_crc32, ..Account::default() };
        Self { accounts: self.accounts.iter().map(account).collect(), answers_differ: 0 }
    }

    /// A write was answered with its counter.
    pub fn acknowledge(&mut self, write: Write, counter: u32) {
        let Some(account) = self.accounts.get_mut(write.key as usize) else { return };
        account.acknowledged += 1;
        if !account.returned.insert(counter) || counter <= account.base {
            account.repeated += 1;
        }
        if account.last.is_none_or(|(highest, _)| highest < counter) {
            account.last = Some((counter, write.crc32));
        }
    }

    /// Counts a write as acknowledged that nobody sent, under the counter that its key would have had next: for a test
    /// of the audit, which must find it lost.
    pub fn forge(&mut self, write: Write) {
        let Some(account) = self.accounts.get(write.key as usize) else { return };
        let highest = account.last.map_or(account.base, |(highest, _)| highest);
        self.acknowledge(write, highest.saturating_add(1));
    }

    /// Nobody will say whether a write was applied.
    pub fn leave_unknown(&mut self, write: Write) {
        let Some(account) = self.accounts.get_mut(write.key as usize) else { return };
        account.unknown += 1;
        account.unknown_values.push(write.crc32);
    }

    /// A request that was sent twice with one key was answered in two ways.
    pub fn answers_differ(&mut self) {
        self.answers_differ += 1;
    }

    /// Compares with what the server holds, and takes that as the baseline from now on. What was unknown and is not
    /// there may still arrive: it stays unknown.
    ///
    /// Nothing may be outstanding while `held` was read.
    pub fn audit(&mut self, held: &[Option<Held>]) -> Audit {
        let keys = u32::try_from(self.accounts.len()).unwrap_or(u32::MAX);
        let mut audit =
            Audit { keys, duplicated: std::mem::take(&mut self.answers_differ), ..Audit::default() };
        let nothing = std::iter::repeat(&None);
        for ((key, account), held) in (0..).zip(&mut self.accounts).zip(held.iter().chain(nothing)) {
            audit.acknowledged += u64::from(account.acknowledged);
            audit.unknown += u64::from(account.unknown);
            let finding = account.compare(key, *held);
            let wrong = u32::from(finding.wrong_value && finding.duplicated == 0);
            let lost = finding.lost.max(finding.repeated).max(wrong);
            audit.lost += u64::from(lost);
            audit.duplicated += u64::from(finding.duplicated);
            if (lost > 0 || finding.duplicated > 0) && audit.findings.len() < FINDINGS_MAX {
                audit.findings.push(finding);
            }
            account.rebase(*held);
        }
        audit
    }
}

impl Account {
    fn compare(&self, key: u32, held: Option<Held>) -> Finding {
        let least = self.base.saturating_add(self.acknowledged);
        let most = least.saturating_add(self.unknown);
        let counter = held.map_or(0, |held| held.counter);
        Finding {
            key,
            base: self.base,
            acknowledged: self.acknowledged,
            unknown: self.unknown,
            counter: held.map(|held| held.counter),
            lost: least.saturating_sub(counter),
            duplicated: counter.saturating_sub(most),
            repeated: self.repeated,
            wrong_value: !self.may_be_last(held),
        }
    }

    fn may_be_last(&self, held: Option<Held>) -> bool {
        let Some(Held { counter, crc32 }) = held else { return self.base == 0 && self.last.is_none() };
        let (known, value) = self.last.unwrap_or((self.base, self.base_crc32));
        (counter, crc32) == (known, value) || (counter > known && self.unknown_values.contains(&crc32))
    }

    fn rebase(&mut self, held: Option<Held>) {
        let Held { counter, crc32 } = held.unwrap_or(Held { counter: 0, crc32: 0 });
        let most = self.base.saturating_add(self.acknowledged).saturating_add(self.unknown);
        let unknown = self.unknown.min(most.saturating_sub(counter));
        let unknown_values = if unknown == 0 { Vec::new() } else { std::mem::take(&mut self.unknown_values) };
        *self = Self { base: counter, base_crc32: crc32, unknown, unknown_values, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server of two keys, and the ledger of its one client.
    struct World {
        held: Holdings,
        ledger: Ledger,
        values: u32,
    }

    impl World {
        fn new() -> Self {
            let held = vec![Some(Held { counter: 0, crc32: 7 }), None];
            Self { ledger: Ledger::from_baseline(&held), held, values: 100 }
        }

        fn write(&mut self, key: u32) -> Write {
            self.values += 1;
            Write { key, crc32: self.values }
        }

        fn apply(&mut self, write: Write) -> u32 {
            let held = self.held[write.key as usize].get_or_insert(Held { counter: 0, crc32: 0 });
            *held = Held { counter: held.counter + 1, crc32: write.crc32 };
            held.counter
        }

        fn acknowledge(&mut self, key: u32) {
            let write = self.write(key);
            let counter = self.apply(write);
            self.ledger.acknowledge(write, counter);
        }

        fn audit(&mut self) -> Audit {
            self.ledger.audit(&self.held.clone())
        }
    }

    #[test]
    fn what_was_acknowledged_and_is_there_is_clean() {
        let mut world = World::new();
        for key in [0, 1, 0] {
            world.acknowledge(key);
        }
        let audit = world.audit();
        assert!(audit.is_clean(), "{audit:?}");
        assert_eq!((audit.acknowledged, audit.unknown, audit.keys), (3, 0, 2));
    }

    #[test]
    fn dropping_an_acknowledged_write_makes_the_audit_fail() {
        let mut world = World::new();
        world.acknowledge(0);
        let before = world.held.clone();
        world.acknowledge(0);
        world.held = before;
        let audit = world.audit();
        assert_eq!((audit.lost, audit.duplicated), (1, 0), "{audit:?}");
        assert_eq!(audit.findings[0].counter, Some(1));
    }

    #[test]
    fn dropping_an_acknowledged_write_is_found_when_a_later_one_covers_it() {
        let mut world = World::new();
        world.acknowledge(0);
        let before = world.held.clone();
        world.acknowledge(0);
        world.held = before;
        world.acknowledge(0);
        let unknown = world.write(0);
        world.apply(unknown);
        world.ledger.leave_unknown(unknown);
        let audit = world.audit();
        assert_eq!(audit.lost, 1, "the counter 2 was returned twice: {audit:?}");
    }

    #[test]
    fn a_forged_write_makes_the_audit_fail_once_whatever_is_written_before_and_after_it() {
        for (before, after) in [(0, 0), (1, 0), (0, 1), (3, 2)] {
            let mut world = World::new();
            (0..before).for_each(|_| world.acknowledge(0));
            let forged = world.write(0);
            world.ledger.forge(forged);
            (0..after).for_each(|_| world.acknowledge(0));
            let audit = world.audit();
            assert_eq!((audit.lost, audit.duplicated), (1, 0), "{before} {after}: {audit:?}");
            assert_eq!((audit.findings.len(), audit.findings[0].key), (1, 0), "{audit:?}");
            assert!(world.audit().is_clean(), "{before} {after}: it was told");
        }
    }

    #[test]
    fn applying_a_write_twice_makes_the_audit_fail() {
        let mut world = World::new();
        let write = world.write(1);
        let counter = world.apply(write);
        world.ledger.acknowledge(write, counter);
        world.apply(write);
        let audit = world.audit();
        assert_eq!((audit.lost, audit.duplicated), (0, 1), "{audit:?}");
    }

    #[test]
    fn a_key_that_is_gone_or_never_written_to_and_changed_makes_the_audit_fail() {
        let mut world = World::new();
        world.acknowledge(1);
        world.held[1] = None;
        assert_eq!(world.audit().lost, 1);
        world.held[0] = Some(Held { counter: 0, crc32: 8 });
        assert_eq!(world.audit().lost, 1, "a value changed that nobody wrote");
    }

    #[test]
    fn an_older_value_under_the_right_counter_makes_the_audit_fail() {
        let mut world = World::new();
        world.acknowledge(0);
        world.acknowledge(0);
        world.held[0] = Some(Held { counter: 2, crc32: 101 });
        assert_eq!(world.audit().lost, 1);
    }

    #[test]
    fn a_write_of_unknown_outcome_may_be_there_or_not() {
        for applied in [false, true] {
            let mut world = World::new();
            world.acknowledge(0);
            let write = world.write(0);
            if applied {
                world.apply(write);
            }
            world.ledger.leave_unknown(write);
            assert!(world.audit().is_clean(), "applied: {applied}");
        }
    }

    #[test]
    fn a_write_of_unknown_outcome_may_still_arrive_after_an_audit_but_not_twice() {
        let mut world = World::new();
        let write = world.write(0);
        world.ledger.leave_unknown(write);
        assert!(world.audit().is_clean());
        world.apply(write);
        assert!(world.audit().is_clean());
        world.apply(write);
        assert_eq!(world.audit().duplicated, 1);
    }

    #[test]
    fn two_answers_to_one_key_make_the_audit_fail() {
        let mut world = World::new();
        world.ledger.answers_differ();
        assert_eq!(world.audit().duplicated, 1);
        assert!(world.audit().is_clean(), "each audit tells what came since the one before");
    }
}
