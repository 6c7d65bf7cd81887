//! What clients saw of a pause, as gateways tell it.
//!
//! A gateway keeps an account of each pause and tells all of it again and again until it is closed, so that a line that
//! was lost is made good by the next one, and one that is heard twice counts once.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the clients of a gateway saw of a pause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// Requests that waited.
    pub requests: u32,
    /// The longest wait of a request, in microseconds: from when it was withheld to its first byte that was sent on, or to
    /// its end if none was.
    pub parked_us_max: u64,
    /// Requests that the gateway itself answered 502 or 503, and WebSocket messages that waited in vain.
    pub failed: u32,
    /// Those of `failed` that were uploads in progress: cut, or refused by a process that was sealed.
    pub uploads_failed: u32,
    /// Replies in progress that ended before they were whole, and WebSockets whose clients read nothing and so could not
    /// be told why they end.
    pub streams_cut: u32,
    /// WebSockets that the gateway closed with 1012.
    pub websockets_closed: u32,
}

impl Seen {
    /// And these, of others.
    pub fn add(&mut self, others: &Self) {
        self.requests = self.requests.saturating_add(others.requests);
        self.parked_us_max = self.parked_us_max.max(others.parked_us_max);
        self.failed = self.failed.saturating_add(others.failed);
        self.uploads_failed = self.uploads_failed.saturating_add(others.uploads_failed);
        self.streams_cut = self.streams_cut.saturating_add(others.streams_cut);
        self.websockets_closed = self.websockets_closed.saturating_add(others.websockets_closed);
    }
}

/// The account of one pause at one gateway, as far as it is known there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// When the pause began, in microseconds since 1970: which one of this gateway's it is. What is told of a pause takes
    /// the place of what was told of it before.
    pub began_unix_us: u64,
    /// What clients saw.
    #[serde(flatten)]
    pub seen: Seen,
    /// Not all of those clients are done with: there is more to come.
    pub more: bool,
}

/// The accounts of an operation's pauses, by gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts(BTreeMap<u32, Kept>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Kept {
    /// Of pauses before the newest one.
    before: Seen,
    newest: Account,
}

impl Accounts {
    /// A gateway tells. `false`: it is known.
    pub fn hear(&mut self, gateway: u32, account: &Account) -> bool {
        let kept = self.0.entry(gateway).or_default();
        if kept.newest == *account {
            return false;
        }
        if kept.newest.began_unix_us != account.began_unix_us {
            let past = kept.newest.seen;
            kept.before.add(&past);
        }
        kept.newest = *account;
        true
    }

    /// What all clients saw.
    pub fn seen(&self) -> Seen {
        let mut all = Seen::default();
        for kept in self.0.values() {
            all.add(&kept.before);
            all.add(&kept.newest.seen);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(began_unix_us: u64, websockets_closed: u32, more: bool) -> Account {
        let seen = Seen { websockets_closed, parked_us_max: began_unix_us, ..Seen::default() };
        Account { began_unix_us, seen, more }
    }

    #[test]
    fn what_is_told_of_a_pause_again_takes_the_place_of_what_was_told_before() {
        let mut accounts = Accounts::default();
        assert!(accounts.hear(1, &account(10, 0, true)) && accounts.hear(1, &account(10, 50, false)));
        assert!(!accounts.hear(1, &account(10, 50, false)), "a second time");
        assert!(accounts.hear(2, &account(11, 7, false)));
        let all = Seen { websockets_closed: 57, parked_us_max: 11, ..Seen::default() };
        assert_eq!(accounts.seen(), all);
    }

    #[test]
    fn what_is_told_of_another_pause_of_the_same_gateway_comes_on_top() {
        let mut accounts = Accounts::default();
        assert!(accounts.hear(1, &account(10, 3, false)) && accounts.hear(1, &account(20, 4, false)));
        assert_eq!(accounts.seen().websockets_closed, 7);
    }

    #[test]
    fn an_account_is_flat_and_one_of_an_older_version_lacks_nothing_but_what_it_did_not_count() {
        let text = serde_json::to_value(account(10, 3, true)).unwrap();
        let flat = serde_json::json!({
            "began_unix_us": 10, "requests": 0, "parked_us_max": 10, "failed": 0, "uploads_failed": 0,
            "streams_cut": 0, "websockets_closed": 3, "more": true,
        });
        assert_eq!(text, flat);
        let older = serde_json::json!({ "requests": 2, "parked_us_max": 5, "failed": 1 });
        let seen = Seen { requests: 2, parked_us_max: 5, failed: 1, ..Seen::default() };
        assert_eq!(serde_json::from_value::<Account>(older).unwrap(), Account { seen, ..Account::default() });
    }
}
