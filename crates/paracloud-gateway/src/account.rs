//! The account of a pause: what clients saw of it, until all of it was told to the controller.
//!
//! It is opened when the table parks, when a request is withheld, or when the route moves away from WebSockets. It is
//! closed when nothing parks, nothing waits, every WebSocket to a process that is not the one any more has ended, and
//! the controller was told. A WebSocket ends within three times [`CLOSE_WAIT`](crate::CLOSE_WAIT), or with its process.

use crate::parked::unix_us;
use paracloud_core::ids::StartId;
use paracloud_substrate::seen::{Account, Seen};
use std::collections::BTreeMap;

/// The account in progress, if one is, and the one before it.
#[derive(Debug, Default)]
pub(crate) struct Book {
    account: Option<Account>,
    /// What was told last, of the account in progress or of the one before it.
    told: Option<Account>,
    /// There is something to tell before it is closed.
    is_due: bool,
    /// WebSockets, by the process that they lead to.
    websockets: BTreeMap<StartId, u32>,
}

impl Book {
    /// Something begins of which clients see something.
    pub(crate) fn open(&mut self) {
        let told = self.told;
        self.account.get_or_insert_with(|| {
            // The name of an account is its own.
            let began_unix_us = unix_us().max(told.map_or(0, |it| it.began_unix_us + 1));
            Account { began_unix_us, more: true, ..Account::default() }
        });
    }

    /// A pause begins. If clients of one before it still wait, what they have seen is the rest of that one.
    pub(crate) fn turn(&mut self) -> Option<Account> {
        let before = self.account.take().map(|account| Account { more: false, ..account });
        self.told = before.or(self.told);
        self.open();
        before.filter(|before| before.seen != Seen::default())
    }

    /// A client saw something of a pause, or of what follows it.
    pub(crate) fn saw(&mut self, what: impl FnOnce(&mut Seen)) {
        self.open();
        self.saw_if_open(what);
    }

    /// The same, if there is a pause.
    pub(crate) fn saw_if_open(&mut self, what: impl FnOnce(&mut Seen)) {
        if let Some(account) = &mut self.account {
            what(&mut account.seen);
        }
    }

    /// What there is to tell now is not kept until the account is closed.
    pub(crate) fn tell_soon(&mut self) {
        self.is_due = true;
    }

    /// A WebSocket to this process is relayed.
    pub(crate) fn websocket_begins(&mut self, start: StartId) {
        *self.websockets.entry(start).or_default() += 1;
    }

    /// It has ended.
    pub(crate) fn websocket_ends(&mut self, start: StartId) {
        if let Some(count) = self.websockets.get_mut(&start) {
            *count -= 1;
            if *count == 0 {
                self.websockets.remove(&start);
                self.is_due = true;
            }
        }
    }

    /// Whether a WebSocket leads to another process than this one.
    pub(crate) fn has_left_behind(&self, route: Option<StartId>) -> bool {
        route.is_some_and(|route| self.websockets.keys().any(|start| *start != route))
    }

    /// What is to be told now. `waits`: the table parks, or requests wait. While there is more to come it is told only when
    /// what was seen has doubled: a pause that lasts for days is some tens of entries in the journal, and pushes nothing out.
    pub(crate) fn due(&self, waits: bool, route: Option<StartId>) -> Option<Account> {
        let account = self.account.as_ref()?;
        let more = waits || self.has_left_behind(route);
        let now = Account { more, ..*account };
        let told = self.told.filter(|told| told.began_unix_us == now.began_unix_us).unwrap_or_default();
        let is_news = seen_by(&now.seen) >= (2 * seen_by(&told.seen)).max(1);
        (!more || (self.is_due && is_news)).then_some(now)
    }

    /// It was told.
    pub(crate) fn told(&mut self, account: Account) {
        self.told = Some(account);
        self.is_due = false;
        if !account.more {
            self.account = None;
        }
    }

    /// What was told last, for a controller that may not have heard it.
    pub(crate) fn last(&self) -> Option<Account> {
        self.told
    }
}

/// By how many something was seen.
fn seen_by(seen: &Seen) -> u64 {
    [seen.requests, seen.failed, seen.streams_cut, seen.websockets_closed].into_iter().map(u64::from).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: StartId = StartId(1);
    const TARGET: StartId = StartId(2);

    #[test]
    fn an_account_is_closed_when_the_last_websocket_of_the_process_before_has_ended() {
        let mut book = Book::default();
        book.websocket_begins(SOURCE);
        book.websocket_begins(SOURCE);
        book.websocket_begins(TARGET);
        book.open();
        assert_eq!(book.due(true, Some(SOURCE)), None);
        assert_eq!(book.due(false, Some(TARGET)), None, "nothing was seen yet");
        book.saw(|seen| seen.streams_cut += 1);
        book.tell_soon();
        let first = book.due(false, Some(TARGET)).unwrap();
        assert_eq!((first.more, first.seen.streams_cut), (true, 1));
        book.told(first);
        for _ in 0..2 {
            assert_eq!(book.due(false, Some(TARGET)), None);
            book.saw(|seen| seen.websockets_closed += 1);
            book.websocket_ends(SOURCE);
        }
        let last = book.due(false, Some(TARGET)).unwrap();
        assert_eq!(last.began_unix_us, first.began_unix_us);
        assert_eq!((last.more, last.seen.streams_cut, last.seen.websockets_closed), (false, 1, 2));
        assert_eq!(book.due(false, Some(TARGET)), Some(last), "until it could be told");
        book.told(last);
        assert_eq!(book.due(false, Some(TARGET)), None, "told once");
        assert_eq!(book.last(), Some(last));
    }

    #[test]
    fn a_pause_has_an_account_of_its_own_also_when_somebody_still_waits_from_the_one_before() {
        let mut book = Book::default();
        assert_eq!(book.turn(), None);
        book.saw(|seen| seen.failed += 1);
        book.tell_soon();
        let first = book.due(true, None).unwrap();
        book.told(first);
        book.saw(|seen| seen.failed += 1);
        let rest = book.turn().unwrap();
        assert_eq!((rest.began_unix_us, rest.seen.failed, rest.more), (first.began_unix_us, 2, false));
        let second = book.due(false, None).unwrap();
        assert!(second.began_unix_us > first.began_unix_us && second.seen == Seen::default(), "{second:?}");
    }

    #[test]
    fn a_pause_that_does_not_end_is_told_of_ever_more_seldom() {
        let mut book = Book::default();
        book.open();
        let mut told = 0;
        for _ in 0..10_000 {
            book.saw(|seen| seen.failed += 1);
            book.tell_soon();
            if let Some(account) = book.due(true, None) {
                book.told(account);
                told += 1;
            }
        }
        assert_eq!(told, 14, "1, 2, 4, … 8192");
        assert_eq!(
            book.due(false, None).map(|last| last.seen.failed),
            Some(10_000),
            "the last one has them all"
        );
    }

    #[test]
    fn websockets_that_stay_keep_no_account_open_and_what_is_seen_later_has_one_of_its_own() {
        let mut book = Book::default();
        book.websocket_begins(SOURCE);
        book.open();
        let quiet = book.due(false, Some(SOURCE)).unwrap();
        assert_eq!((quiet.more, quiet.seen), (false, Seen::default()), "that nobody saw anything is told");
        book.told(quiet);
        book.saw_if_open(|seen| seen.failed += 1);
        assert_eq!(book.due(false, Some(SOURCE)), None);
        book.saw(|seen| seen.streams_cut += 1);
        let later = book.due(false, Some(SOURCE)).unwrap();
        assert!(later.began_unix_us > quiet.began_unix_us, "{later:?}");
        assert_eq!(later.seen, Seen { streams_cut: 1, ..Seen::default() });
    }
}
