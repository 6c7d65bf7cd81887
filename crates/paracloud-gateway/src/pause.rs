//! The pause in progress, and what there is to say of it.
//!
//! A pause lasts from the first request that is withheld to the first byte of a withheld request that is sent on. Where
//! that byte goes the gate may still be closed, so it is said too when the first of its requests was answered: the
//! controller hears of a pause once nothing waits any more, and its line in the log is written when one of those that
//! waited was answered, or none will be.
//!
//! How long a request waited is its own matter, whatever became of the pause: from when it was withheld to its first
//! byte, or to its end without one. The controller hears of a pause when each of its requests has waited its whole wait.

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
    /// Those whose wait goes on: nothing of them was sent on yet.
    unsent: u32,
    /// Of what the controller is to be told.
    untold: Waited,
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

/// What clients waited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Waited {
    /// Requests that waited in pauses that are over.
    pub(crate) requests: u32,
    /// The longest wait of any request, in microseconds.
    pub(crate) longest_us: u64,
}

/// What is said now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// To the controller, when nobody waits any more.
    pub(crate) waited: Option<Waited>,
    /// To the log, of pauses of which nothing more will be known.
    pub(crate) lines: Vec<Over>,
}

impl Pause {
    /// A request is withheld for the first time.
    pub(crate) fn withheld(&mut self, now: Instant) {
        self.began.get_or_insert_with(|| (now, unix_us()));
        self.requests += 1;
        self.unended += 1;
        self.unsent += 1;
    }

    /// Whether no pause is in progress.
    pub(crate) fn is_over(&self) -> bool {
        self.began.is_none()
    }

    /// Whether nobody waits of whom something will be said later.
    pub(crate) fn is_settled(&self) -> bool {
        self.began.is_none() && self.unsent == 0
    }

    /// The wait of a request is over, after so long, in microseconds.
    pub(crate) fn wait_ends(&mut self, waited_us: u64) {
        self.unsent = self.unsent.saturating_sub(1);
        self.lasted(waited_us);
    }

    /// A request waits again whose wait was over: it was refused.
    pub(crate) fn wait_goes_on(&mut self) {
        self.unsent += 1;
    }

    /// A request has waited for so long, in microseconds.
    pub(crate) fn lasted(&mut self, waited_us: u64) {
        self.untold.longest_us = self.untold.longest_us.max(waited_us);
    }

    /// What is to be told of waits before a pause that begins now.
    pub(crate) fn take_waited(&mut self) -> Waited {
        std::mem::take(&mut self.untold)
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
            self.untold.requests += over.requests;
            self.unanswered = Some((began, over));
            // Two are not kept.
            said.lines.extend(before.map(|(_, over)| over));
        }
        let nothing_follows = |over: &Over| over.answered_us.is_some() || self.unended == 0;
        if let Some((_, over)) = self.unanswered.filter(|(_, over)| nothing_follows(over)) {
            self.unanswered = None;
            said.lines.push(over);
        }
        if waiting == 0 && self.is_settled() && self.untold != Waited::default() {
            said.waited = Some(self.take_waited());
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
        *self = Self {
            unended: self.unended,
            unanswered: self.unanswered,
            unsent: self.unsent,
            untold: self.untold,
            ..Self::default()
        };
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

    /// The first byte of a request that waited since then.
    fn sends(pause: &mut Pause, since: Instant, now: Instant) {
        pause.wait_ends(micros(now.duration_since(since)));
        pause.sent_on(now);
    }

    fn waited(requests: u32, longest_us: u64) -> Option<Waited> {
        Some(Waited { requests, longest_us })
    }

    #[test]
    fn a_pause_lasts_from_the_first_request_withheld_to_the_first_byte_sent_on() {
        let mut pause = Pause::default();
        let start = Instant::now();
        pause.withheld(start);
        pause.withheld(after(start, 300));
        assert_eq!(pause.say(2), Said::default());
        assert_eq!(pause.say(0), Said::default(), "released, and nothing sent yet");
        sends(&mut pause, after(start, 300), after(start, 1_000));
        assert_eq!(pause.say(0), Said::default(), "one of them still waits");
        sends(&mut pause, start, after(start, 2_000));
        assert_eq!(pause.say(0).waited, waited(2, 2_000));
        pause.ended();
        pause.ended();
        let said = pause.say(0);
        assert_eq!(said.waited, None, "said once");
        let over = said.lines[0];
        assert_eq!((over.parked_us, over.requests, over.failed), (Some(1_000), 2, 0));
        assert_eq!(pause.say(0), Said::default(), "said once");
    }

    #[test]
    fn a_pause_is_logged_once_the_first_of_its_requests_is_answered() {
        let mut pause = Pause::default();
        let start = Instant::now();
        pause.withheld(start);
        pause.withheld(start);
        sends(&mut pause, start, after(start, 1_000));
        sends(&mut pause, start, after(start, 1_000));
        let told = pause.say(0);
        assert_eq!((told.waited, told.lines), (waited(2, 1_000), vec![]), "its answer is to come");
        pause.answered(start, after(start, 1_700));
        pause.answered(start, after(start, 1_900));
        let said = pause.say(0);
        assert_eq!(said.waited, None, "said once");
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
        sends(&mut pause, start, after(start, 10));
        assert_eq!(pause.say(0).lines, []);
        let next = after(start, 1_000);
        pause.withheld(next);
        pause.answered(start, after(start, 1_500));
        let first = pause.say(1);
        assert_eq!((first.waited, first.lines[0].answered_us), (None, Some(1_500)));
        sends(&mut pause, next, after(next, 20));
        pause.answered(next, after(next, 30));
        let second = pause.say(0);
        assert_eq!(second.waited, waited(1, 20));
        assert_eq!((second.lines[0].parked_us, second.lines[0].answered_us), (Some(20), Some(30)));
    }

    #[test]
    fn of_a_pause_that_nobody_answered_the_line_comes_with_the_end_of_its_requests_or_of_the_next_pause() {
        let mut pause = Pause::default();
        let start = Instant::now();
        for n in 0..2 {
            pause.withheld(start);
            sends(&mut pause, start, start);
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
        pause.wait_ends(1);
        pause.ended();
        assert_eq!(pause.say(0).lines[0].failed, 1);
        assert_eq!(pause.take_failed(), 0, "said once");
    }

    #[test]
    fn a_pause_in_which_everybody_left_has_no_length_and_its_requests_have_waited_all_the_same() {
        let mut pause = Pause::default();
        let start = Instant::now();
        pause.withheld(start);
        pause.withheld(start);
        pause.failed();
        for waited_us in [38_000_000, 20_000_000] {
            pause.wait_ends(waited_us);
            pause.ended();
        }
        let said = pause.say(0);
        let over = said.lines[0];
        assert_eq!((over.parked_us, over.answered_us), (None, None));
        assert_eq!((over.requests, over.failed, said.lines.len()), (2, 1, 1));
        assert_eq!(said.waited, waited(2, 38_000_000));
    }

    #[test]
    fn who_is_refused_waits_on_and_nothing_is_told_before_its_wait_is_over() {
        let mut pause = Pause::default();
        let start = Instant::now();
        pause.withheld(start);
        pause.withheld(start);
        sends(&mut pause, start, after(start, 10));
        assert_eq!(pause.say(0).waited, None);
        pause.wait_goes_on();
        sends(&mut pause, start, after(start, 15));
        assert_eq!(pause.say(1).waited, None);
        pause.wait_ends(7_000);
        assert_eq!(pause.say(0).waited, waited(2, 7_000));
    }
}
