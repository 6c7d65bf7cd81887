//! The pause in progress, and what there is to say of it.
//!
//! A pause lasts from the first request that is withheld to the first byte of a withheld request that is sent on. Where
//! that byte goes the gate may still be closed, so it is said too when the first of its requests was answered: the
//! controller hears of a pause once nothing waits any more, and its line in the log is written when one of those that
//! waited was answered, or none will be.

use crate::parked::{micros, unix_us};
use std::time::Instant;

/// The pause in progress, if one is, and the one before it.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    began: Option<(Instant, u64)>,
    first_byte: Option<Instant>,
    first_reply: Option<Instant>,
    requests: u32,
    failed: u32,
    /// Requests that waited and have not ended.
    unended: u32,
    /// One that is over, and none of its requests was answered yet; and when it began.
    unanswered: Option<(Instant, Over)>,
}

/// What there is to say of a pause that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) began_unix_us: u64,
    pub(crate) parked_us: Option<u64>,
    pub(crate) answered_us: Option<u64>,
    pub(crate) requests: u32,
    pub(crate) failed: u32,
}

/// What is said now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// To the controller, of a pause that is over.
    pub(crate) over: Option<Over>,
    /// To the log, of pauses of which nothing more will be known.
    pub(crate) lines: Vec<Over>,
}

impl Pause {
    /// A request is withheld for the first time.
    pub(crate) fn withheld(&mut self, now: Instant) {
        self.began.get_or_insert_with(|| (now, unix_us()));
        self.requests += 1;
        self.unended += 1;
    }

    /// Whether nothing is in progress that will be said later.
    pub(crate) fn is_over(&self) -> bool {
        self.began.is_none()
    }

    /// A byte of a request that waited was sent on.
    pub(crate) fn sent_on(&mut self, now: Instant) {
        if self.began.is_some() {
            self.first_byte.get_or_insert(now);
        }
    }

    /// The first byte of a reply came, `now`, to a request that waited since then.
    pub(crate) fn answered(&mut self, since: Instant, now: Instant) {
        if self.began.is_some_and(|(began, _)| began <= since) {
            self.first_reply.get_or_insert(now);
        } else if let Some((began, over)) = self.unanswered.as_mut().filter(|(began, _)| *began <= since) {
            over.answered_us.get_or_insert_with(|| micros(now.duration_since(*began)));
        }
    }

    /// The gateway answered a request by itself.
    pub(crate) fn failed(&mut self) {
        self.failed += 1;
    }

    /// How many failed so far, which are then forgotten: those of a pause in which nobody waited, and before a pause those
    /// of the time without one.
    pub(crate) fn take_failed(&mut self) -> u32 {
        std::mem::take(&mut self.failed)
    }

    /// A request that waited has ended.
    pub(crate) fn ended(&mut self) {
        self.unended = self.unended.saturating_sub(1);
    }

    /// What there is to say, now that `waiting` requests wait.
    pub(crate) fn say(&mut self, waiting: usize) -> Said {
        let mut said = Said::default();
        let before = self.unanswered;
        if let Some((began, over)) = self.over(waiting) {
            said.over = Some(over);
            self.unanswered = Some((began, over));
            // Two are not kept.
            said.lines.extend(before.map(|(_, over)| over));
        }
        let nothing_follows = |over: &Over| over.answered_us.is_some() || self.unended == 0;
        if let Some((_, over)) = self.unanswered.filter(|(_, over)| nothing_follows(over)) {
            self.unanswered = None;
            said.lines.push(over);
        }
        said
    }

    /// The pause in progress, if it is over.
    fn over(&mut self, waiting: usize) -> Option<(Instant, Over)> {
        let (began, began_unix_us) = self.began?;
        if waiting > 0 || (self.first_byte.is_none() && self.unended > 0) {
            return None;
        }
        let since = |at: Instant| micros(at.duration_since(began));
        let over = Over {
            began_unix_us,
            parked_us: self.first_byte.map(since),
            answered_us: self.first_reply.map(since),
            requests: self.requests,
            failed: self.failed,
        };
        *self = Self { unended: self.unended, unanswered: self.unanswered, ..Self::default() };
        Some((began, over))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn after(start: Instant, us: u64) -> Instant {
        start + Duration::from_micros(us)
    }

    #[test]
    fn a_pause_lasts_from_the_first_request_withheld_to_the_first_byte_sent_on() {
        let mut pause = Pause::default();
        let start = Instant::now();
        pause.withheld(start);
        pause.withheld(after(start, 300));
        assert_eq!(pause.say(2), Said::default());
        assert_eq!(pause.say(0), Said::default(), "released, and nothing sent yet");
        pause.sent_on(after(start, 1_000));
        pause.sent_on(after(start, 2_000));
        let over = pause.say(0).over.unwrap();
        assert_eq!((over.parked_us, over.requests, over.failed), (Some(1_000), 2, 0));
        assert_eq!(pause.say(0), Said::default(), "said once");
    }

    #[test]
    fn a_pause_is_logged_once_the_first_of_its_requests_is_answered() {
        let mut pause = Pause::default();
        let start = Instant::now();
        pause.withheld(start);
        pause.withheld(start);
        pause.sent_on(after(start, 1_000));
        let told = pause.say(0);
        assert_eq!(
            (told.over.unwrap().parked_us, told.lines),
            (Some(1_000), vec![]),
            "its answer is to come"
        );
        pause.answered(start, after(start, 1_700));
        pause.answered(start, after(start, 1_900));
        let said = pause.say(0);
        assert_eq!(said.over, None, "said once");
        assert_eq!((said.lines[0].parked_us, said.lines[0].answered_us), (Some(1_000), Some(1_700)));
        pause.ended();
        pause.ended();
        assert_eq!(pause.say(0), Said::default(), "said once");
    }

    #[test]
    fn an_answer_belongs_to_the_pause_in_which_its_request_was_withheld() {
        let mut pause = Pause::default();
        let start = Instant::now();
        pause.withheld(start);
        pause.sent_on(after(start, 10));
        assert_eq!(pause.say(0).lines, []);
        let next = after(start, 1_000);
        pause.withheld(next);
        pause.answered(start, after(start, 1_500));
        let first = pause.say(1);
        assert_eq!((first.over, first.lines[0].answered_us), (None, Some(1_500)));
        pause.sent_on(after(next, 20));
        pause.answered(next, after(next, 30));
        let second = pause.say(0);
        assert_eq!(second.lines, [second.over.unwrap()]);
        assert_eq!((second.lines[0].parked_us, second.lines[0].answered_us), (Some(20), Some(30)));
    }

    #[test]
    fn of_a_pause_that_nobody_answered_the_line_comes_with_the_end_of_its_requests_or_of_the_next_pause() {
        let mut pause = Pause::default();
        let start = Instant::now();
        for n in 0..2 {
            pause.withheld(start);
            pause.sent_on(start);
            assert_eq!(pause.say(0).lines.len(), n, "that of the pause before");
        }
        pause.ended();
        assert_eq!(pause.say(0), Said::default());
        pause.ended();
        let line = pause.say(0).lines.remove(0);
        assert_eq!((line.parked_us, line.answered_us), (Some(0), None));
    }

    #[test]
    fn what_failed_before_a_pause_is_none_of_its_failures() {
        let mut pause = Pause::default();
        pause.failed();
        assert_eq!(pause.take_failed(), 1);
        pause.withheld(Instant::now());
        pause.failed();
        pause.ended();
        assert_eq!(pause.say(0).over.unwrap().failed, 1);
        assert_eq!(pause.take_failed(), 0, "said once");
    }

    #[test]
    fn a_pause_in_which_everybody_left_has_no_length() {
        let mut pause = Pause::default();
        pause.withheld(Instant::now());
        pause.failed();
        pause.ended();
        let said = pause.say(0);
        let over = said.over.unwrap();
        assert_eq!((over.parked_us, over.answered_us), (None, None));
        assert_eq!((over.requests, over.failed, said.lines), (1, 1, vec![over]));
    }
}
