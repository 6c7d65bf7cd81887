//! The sessions that live in one instance, as far as this gateway has seen them.
//!
//! Nothing depends on it while an instance serves: where a session lives stands in its mark. It is asked when the instance
//! leaves: the last session has ended once none was seen for as long as one may be idle. What a gateway cannot know counts
//! as a session: those before it began, and those that found no room.

use crate::bounds::SESSIONS_MAX;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A session, by the id that the application gave it: only its hash is kept, by a key that no client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(u64);

impl SessionId {
    pub(crate) fn of(id: &[u8]) -> Self {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(KEY.hash_one(id))
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Sessions {
    /// How long nothing may be seen of one that goes on; `None` if the app has no sessions.
    idle: Option<Duration>,
    seen: HashMap<SessionId, Seen>,
    /// Requests and WebSockets of sessions that found no room.
    unlisted: u32,
    /// Until then there may be some of which nothing is known.
    unknown_until: Option<Instant>,
    /// Those that are over are not looked for again before.
    swept_next: Option<Instant>,
}

/// One session.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// When something of it was seen last, but for what is open.
    last: Instant,
    /// Its requests that have no whole answer yet, and its WebSockets: as long as one is open the session is seen.
    open: u32,
    /// Its application has ended it. What is open still holds the instance, and begins it not anew.
    is_ended: bool,
}

impl Seen {
    fn goes_on(&self, now: Instant, idle: Duration) -> bool {
        self.open > 0 || (!self.is_ended && now < self.last + idle)
    }
}

impl Sessions {
    /// None, of an app whose sessions end when nothing was seen of them for so long.
    pub(crate) fn new(idle: Option<Duration>) -> Self {
        Self { idle, seen: HashMap::new(), unlisted: 0, unknown_until: None, swept_next: None }
    }

    /// Whether the app has sessions.
    pub(crate) fn are_kept(&self) -> bool {
        self.idle.is_some()
    }

    /// There may be some that began before anything was seen.
    pub(crate) fn may_be(&mut self, now: Instant) {
        self.unknown_until = self.idle.map(|idle| now + idle);
    }

    /// The instance is gone, and they with it.
    pub(crate) fn clear(&mut self) {
        self.seen.retain(|_, seen| {
            seen.is_ended = true;
            seen.open > 0
        });
        (self.unknown_until, self.swept_next) = (None, None);
    }

    /// A request or a WebSocket of one begins.
    pub(crate) fn begins(&mut self, id: SessionId, now: Instant) {
        let Some(idle) = self.idle else { return };
        if let Some(seen) = self.seen.get_mut(&id) {
            *seen = Seen { last: now, open: seen.open + 1, is_ended: false };
            return;
        }
        if self.seen.len() >= SESSIONS_MAX && self.swept_next.is_none_or(|next| next <= now) {
            self.seen.retain(|_, seen| seen.goes_on(now, idle));
            self.swept_next = Some(now + idle / 8);
        }
        if self.seen.len() < SESSIONS_MAX {
            self.seen.insert(id, Seen { last: now, open: 1, is_ended: false });
        } else {
            self.unlisted += 1;
            self.may_be(now);
        }
    }

    /// It has ended: its answer is whole, or its client or its application is gone.
    pub(crate) fn ends(&mut self, id: SessionId, now: Instant) {
        if self.idle.is_none() {
            return;
        }
        let Some(seen) = self.seen.get_mut(&id) else {
            self.unlisted = self.unlisted.saturating_sub(1);
            return self.may_be(now);
        };
        seen.open = seen.open.saturating_sub(1);
        if !seen.is_ended {
            seen.last = now;
        } else if seen.open == 0 {
            self.seen.remove(&id);
        }
    }

    /// The application has ended one.
    pub(crate) fn end(&mut self, id: SessionId) {
        if let Some(seen) = self.seen.get_mut(&id)
            && seen.open > 0
        {
            seen.is_ended = true;
            return;
        }
        self.seen.remove(&id);
    }

    /// Whether this one was seen here.
    pub(crate) fn has(&self, id: SessionId) -> bool {
        self.seen.get(&id).is_some_and(|seen| !seen.is_ended)
    }

    /// Whether one goes on.
    pub(crate) fn is_any(&self, now: Instant) -> bool {
        let Some(idle) = self.idle else { return false };
        self.unlisted > 0
            || self.unknown_until.is_some_and(|until| now < until)
            || self.seen.values().any(|seen| seen.goes_on(now, idle))
    }

    /// How many go on. `None`: the app has none, or there may be some that were not seen.
    pub(crate) fn count(&self, now: Instant) -> Option<u32> {
        let idle = self.idle?;
        if self.unlisted > 0 || self.unknown_until.is_some_and(|until| now < until) {
            return None;
        }
        let seen = self.seen.values().filter(|seen| seen.goes_on(now, idle)).count();
        Some(u32::try_from(seen).unwrap_or(u32::MAX))
    }

    /// When the last one ends if nothing more is seen of any; `None` if none goes on. One of which something is open ends no
    /// sooner than after that.
    pub(crate) fn live_until(&self, now: Instant) -> Option<Instant> {
        let idle = self.idle?;
        let is_open = self.unlisted > 0 || self.seen.values().any(|seen| seen.open > 0);
        let last = self.seen.values().filter(|seen| !seen.is_ended).map(|seen| seen.last + idle).max();
        let open = is_open.then_some(now + idle);
        [open, last, self.unknown_until].into_iter().flatten().max().filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(10);

    fn id(number: usize) -> SessionId {
        SessionId::of(&number.to_be_bytes())
    }

    /// A request of it comes, and is answered at once.
    fn see(sessions: &mut Sessions, number: usize, now: Instant) {
        sessions.begins(id(number), now);
        sessions.ends(id(number), now);
    }

    #[test]
    fn the_last_session_ends_when_it_was_idle_for_long_enough_or_by_its_application() {
        let (begin, mut sessions) = (Instant::now(), Sessions::new(Some(IDLE)));
        assert_eq!(sessions.live_until(begin), None);
        see(&mut sessions, 1, begin);
        see(&mut sessions, 2, begin + IDLE / 2);
        assert_eq!(sessions.live_until(begin + IDLE), Some(begin + IDLE / 2 + IDLE));
        assert_eq!(sessions.live_until(begin + IDLE / 2 + IDLE), None);
        let counts = [IDLE / 2, IDLE, IDLE / 2 + IDLE].map(|after| sessions.count(begin + after));
        assert_eq!(counts, [Some(2), Some(1), Some(0)]);
        sessions.end(id(2));
        assert_eq!(sessions.live_until(begin + IDLE / 2), Some(begin + IDLE));
        sessions.end(id(1));
        assert_eq!(sessions.live_until(begin + IDLE / 2), None);
    }

    #[test]
    fn one_that_found_no_room_counts_until_it_must_be_over() {
        let (begin, mut sessions) = (Instant::now(), Sessions::new(Some(IDLE)));
        (0..SESSIONS_MAX).for_each(|number| see(&mut sessions, number, begin));
        see(&mut sessions, SESSIONS_MAX, begin + IDLE / 2);
        assert_eq!(sessions.seen.len(), SESSIONS_MAX);
        (0..SESSIONS_MAX).for_each(|number| sessions.end(id(number)));
        assert_eq!(sessions.live_until(begin + IDLE), Some(begin + IDLE / 2 + IDLE), "it is not known which");
        assert_eq!(sessions.live_until(begin + IDLE * 2), None);
        // Those that are over make room.
        (0..SESSIONS_MAX).for_each(|number| see(&mut sessions, number, begin));
        see(&mut sessions, SESSIONS_MAX, begin + IDLE * 2);
        assert!(sessions.has(id(SESSIONS_MAX)) && sessions.seen.len() == 1);
    }

    #[test]
    fn a_session_is_seen_for_as_long_as_anything_of_it_is_open_and_idle_only_after_that() {
        let (begin, mut sessions) = (Instant::now(), Sessions::new(Some(IDLE)));
        sessions.begins(id(1), begin);
        sessions.begins(id(1), begin + IDLE);
        let late = begin + IDLE * 9;
        assert_eq!((sessions.live_until(late), sessions.count(late)), (Some(late + IDLE), Some(1)));
        sessions.ends(id(1), begin + IDLE);
        assert!(sessions.is_any(late) && sessions.count(late) == Some(1), "one is open still");
        sessions.ends(id(1), late);
        assert_eq!(sessions.live_until(late), Some(late + IDLE));
        assert_eq!((sessions.live_until(late + IDLE), sessions.count(late + IDLE)), (None, Some(0)));
    }

    #[test]
    fn what_was_open_when_its_application_ended_a_session_holds_it_until_it_is_over_and_no_longer() {
        let (begin, mut sessions) = (Instant::now(), Sessions::new(Some(IDLE)));
        (0..2).for_each(|_| sessions.begins(id(1), begin));
        sessions.end(id(1));
        sessions.ends(id(1), begin);
        assert!(sessions.is_any(begin) && !sessions.has(id(1)));
        sessions.ends(id(1), begin);
        assert!(!sessions.is_any(begin) && sessions.seen.is_empty(), "and that it ends begins none anew");
        sessions.begins(id(1), begin);
        sessions.end(id(1));
        sessions.begins(id(1), begin);
        assert!(sessions.has(id(1)), "who comes after that is in it again");
    }

    #[test]
    fn the_end_of_what_an_instance_had_that_is_gone_is_no_session_of_the_next() {
        let (begin, mut sessions) = (Instant::now(), Sessions::new(Some(IDLE)));
        sessions.begins(id(1), begin);
        see(&mut sessions, 2, begin);
        sessions.clear();
        sessions.ends(id(1), begin);
        assert_eq!((sessions.live_until(begin), sessions.count(begin)), (None, Some(0)));
    }

    #[test]
    fn where_an_app_has_no_sessions_none_lives() {
        let (begin, mut sessions) = (Instant::now(), Sessions::new(None));
        sessions.may_be(begin);
        see(&mut sessions, 1, begin);
        assert!(!sessions.are_kept() && !sessions.has(id(1)));
        assert_eq!(sessions.live_until(begin), None);
    }
}
