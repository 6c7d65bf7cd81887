//! How far a copy has got, and what a pause would last if it began now.

use paci::bounds::DURATION_MS_MAX;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes after which the rate is measured anew: less says more of the scheduler than of the channel.
const WINDOW_BYTES: u64 = 4 * 1024 * 1024;
/// What the channel is taken to carry before anything was measured, in bytes per second.
const RATE_UNKNOWN: f64 = 100e6;
/// What a record is taken to have before any was sent, in bytes: rather too much, because a prediction that is too low
/// begins the pause too early.
const RECORD_BYTES_UNKNOWN: f64 = 65_536.0;
/// A longer pause is not predicted: the contract takes none.
const PAUSE_MAX: Duration = Duration::from_millis(DURATION_MS_MAX as u64);

/// What a source knows of its copy.
#[derive(Debug)]
pub(crate) struct Convergence {
    sent_bytes: u64,
    sent_records: u64,
    acked_bytes: u64,
    /// MARKs without their ACK: bytes sent up to there, when, and whether nothing else was on its way.
    marks: VecDeque<(u64, Instant, bool)>,
    bytes_per_s: f64,
    window: (u64, Instant),
    /// From sending a MARK to its ACK when nothing else was on its way.
    answer: Duration,
}

/// What is told of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) sent_bytes: u64,
    pub(crate) remaining_records: usize,
    pub(crate) pause: Duration,
}

impl Convergence {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            sent_bytes: 0,
            sent_records: 0,
            acked_bytes: 0,
            marks: VecDeque::new(),
            bytes_per_s: RATE_UNKNOWN,
            window: (0, now),
            answer: Duration::from_millis(1),
        }
    }

    /// Bytes were handed to the channel, so many records in them, and a MARK at their end.
    pub(crate) fn sent(&mut self, bytes: u64, records: u64, now: Instant) {
        let alone = self.acked_bytes == self.sent_bytes;
        self.sent_bytes += bytes;
        self.sent_records += records;
        self.marks.push_back((self.sent_bytes, now, alone));
    }

    /// The target answered the oldest MARK.
    pub(crate) fn acked(&mut self, now: Instant) {
        let Some((bytes, at, alone)) = self.marks.pop_front() else { return };
        self.acked_bytes = bytes;
        let took = now.saturating_duration_since(at);
        if alone {
            self.answer = took;
        }
        let (since_bytes, since) = self.window;
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        if bytes - since_bytes >= WINDOW_BYTES && seconds > 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
            let rate = (bytes - since_bytes) as f64 / seconds;
            self.bytes_per_s = rate;
            self.window = (bytes, now);
        } else if alone {
            // Idle time is no rate.
            self.window = (bytes, now);
        }
    }

    /// What a pause would last: the records that remain and the bytes on their way at the measured rate, and one answer.
    pub(crate) fn progress(&self, remaining_records: usize) -> Progress {
        #[expect(clippy::cast_precision_loss, reason = "a prediction needs no more than 52 bits")]
        let bytes = {
            let each = match self.sent_records {
                0 => RECORD_BYTES_UNKNOWN,
                records => self.sent_bytes as f64 / records as f64,
            };
            remaining_records as f64 * each + (self.sent_bytes - self.acked_bytes) as f64
        };
        let seconds = (bytes / self.bytes_per_s).min(PAUSE_MAX.as_secs_f64());
        let pause = (Duration::from_secs_f64(seconds) + self.answer).min(PAUSE_MAX);
        Progress { sent_bytes: self.sent_bytes, remaining_records, pause }
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn the_predicted_pause_is_what_remains_at_the_measured_rate_and_one_answer() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut copy = Convergence::new(start);
        copy.sent(10_000_000, 10_000, at(0));
        assert_eq!(copy.progress(0).pause, Duration::from_millis(101), "10 MB on their way at 100 MB/s");
        copy.acked(at(20));
        copy.sent(1_000, 1, at(30));
        copy.acked(at(32));
        // 500 MB/s were measured, an answer takes 2 ms.
        assert_eq!(copy.progress(0).pause, Duration::from_millis(2));
        assert_eq!(copy.progress(1_000).pause.as_millis(), 4);
    }

    #[test]
    fn a_copy_that_has_not_begun_is_far_from_done() {
        assert!(Convergence::new(Instant::now()).progress(1_000).pause >= Duration::from_millis(500));
    }

    #[test]
    fn no_pause_is_longer_than_can_be_told() {
        let told = Convergence::new(Instant::now()).progress(usize::MAX).pause;
        assert_eq!(told.as_millis(), u128::from(DURATION_MS_MAX));
    }

    #[test]
    fn an_answer_nobody_asked_for_changes_nothing() {
        let mut copy = Convergence::new(Instant::now());
        let before = copy.progress(3);
        copy.acked(Instant::now());
        assert_eq!(copy.progress(3), before);
    }
}
