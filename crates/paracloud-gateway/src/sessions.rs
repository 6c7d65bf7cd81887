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
    /// When each was seen last.
    seen: HashMap<SessionId, Instant>,
    /// WebSockets of sessions: as long as one is relayed its session is seen.
    websockets: u32,
    /// Until then there may be some of which nothing is known.
    unknown_until: Option<Instant>,
    /// Those that are over are not looked for again before.
    swept_next: Option<Instant>,
}

impl Sessions {
    /// None, of an app whose sessions end when nothing was seen of them for so long.
    pub(crate) fn new(idle: Option<Duration>) -> Self {
        Self { idle, seen: HashMap::new(), websockets: 0, unknown_until: None, swept_next: None }
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
        *self = Self { websockets: self.websockets, ..Self::new(self.idle) };
    }

    /// Something of one is seen.
    pub(crate) fn see(&mut self, id: SessionId, now: Instant) {
        let Some(idle) = self.idle else { return };
        if let Some(seen) = self.seen.get_mut(&id) {
            *seen = now;
            return;
        }
        if self.seen.len() >= SESSIONS_MAX && self.swept_next.is_none_or(|next| next <= now) {
            self.seen.retain(|_, seen| *seen + idle > now);
            self.swept_next = Some(now + idle / 8);
        }
        if self.seen.len() < SESSIONS_MAX {
            self.seen.insert(id, now);
        } else {
            self.may_be(now);
        }
    }

    /// The application has ended one.
    pub(crate) fn end(&mut self, id: SessionId) {
        self.seen.remove(&id);
    }

    /// A WebSocket of one is relayed.
    pub(crate) fn websocket_begins(&mut self) {
        self.websockets += 1;
    }

    /// It has ended.
    pub(crate) fn websocket_ends(&mut self, id: SessionId, now: Instant) {
        self.websockets -= 1;
        self.see(id, now);
    }

    /// Whether this one was seen here.
    pub(crate) fn has(&self, id: SessionId) -> bool {
        self.seen.contains_key(&id)
    }

    /// Whether one goes on.
    pub(crate) fn is_any(&self, now: Instant) -> bool {
        let Some(idle) = self.idle else { return false };
        self.websockets > 0
            || self.unknown_until.is_some_and(|until| now < until)
            || self.seen.values().any(|seen| now < *seen + idle)
    }

    /// How many go on, as many at least as have a WebSocket. `None`: the app has none, or there may be some that were not
    /// seen.
    pub(crate) fn count(&self, now: Instant) -> Option<u32> {
        let idle = self.idle?;
        if self.unknown_until.is_some_and(|until| now < until) {
            return None;
        }
        let seen = self.seen.values().filter(|seen| now < **seen + idle).count();
        Some(u32::try_from(seen).unwrap_or(u32::MAX).max(self.websockets))
    }

    /// When the last one ends if nothing more is seen of any; `None` if none goes on. One with a WebSocket ends no sooner
    /// than after that.
    pub(crate) fn live_until(&self, now: Instant) -> Option<Instant> {
        let idle = self.idle?;
        let websocket = (self.websockets > 0).then_some(now + idle);
        let last = self.seen.values().max().map(|seen| *seen + idle);
        [websocket, last, self.unknown_until].into_iter().flatten().max().filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(10);

    fn id(number: usize) -> SessionId {
        SessionId::of(&number.to_be_bytes())
    }

    #[test]
    fn the_last_session_ends_when_it_was_idle_for_long_enough_or_by_its_application() {
        let (begin, mut sessions) = (Instant::now(), Sessions::new(Some(IDLE)));
        assert_eq!(sessions.live_until(begin), None);
        sessions.see(id(1), begin);
        sessions.see(id(2), begin + IDLE / 2);
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
        (0..SESSIONS_MAX).for_each(|number| sessions.see(id(number), begin));
        sessions.see(id(SESSIONS_MAX), begin + IDLE / 2);
        assert_eq!(sessions.seen.len(), SESSIONS_MAX);
        (0..SESSIONS_MAX).for_each(|number| sessions.end(id(number)));
        assert_eq!(sessions.live_until(begin + IDLE), Some(begin + IDLE / 2 + IDLE), "it is not known which");
        assert_eq!(sessions.live_until(begin + IDLE * 2), None);
        // Those that are over make room.
        (0..SESSIONS_MAX).for_each(|number| sessions.see(id(number), begin));
        sessions.see(id(SESSIONS_MAX), begin + IDLE * 2);
        assert!(sessions.has(id(SESSIONS_MAX)) && sessions.seen.len() == 1);
    }

    #[test]
    fn a_websocket_is_its_session_for_as_long_as_it_is_relayed() {
        let (begin, mut sessions) = (Instant::now(), Sessions::new(Some(IDLE)));
        sessions.websocket_begins();
        assert_eq!(sessions.live_until(begin + IDLE * 9), Some(begin + IDLE * 10));
        sessions.websocket_ends(id(1), begin + IDLE * 9);
        assert_eq!(sessions.live_until(begin + IDLE * 9), Some(begin + IDLE * 10));
        assert_eq!(sessions.live_until(begin + IDLE * 10), None);
    }

    #[test]
    fn where_an_app_has_no_sessions_none_lives() {
        let (begin, mut sessions) = (Instant::now(), Sessions::new(None));
        sessions.may_be(begin);
        sessions.see(id(1), begin);
        assert!(!sessions.are_kept() && !sessions.has(id(1)));
        assert_eq!(sessions.live_until(begin), None);
    }
}
