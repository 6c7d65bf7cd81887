//! What is written of an instance's life, and its bounds: nobody's words may fill the journal.

use crate::words::cut_unready;
use paracloud_core::ids::OperationNumber;
use paracloud_core::migration::promises::Promise;
use paracloud_core::register::Change;
use paracloud_substrate::message::{Note, Sizing, Speaker};
use paracloud_substrate::person::{Event, Outcome, What};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The most of a text from an agent or an application that is kept, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 1024;
/// The most notes of one instance that are kept in [`NOTES_WINDOW`].
pub(crate) const NOTES_MAX: u32 = 32;
/// See [`NOTES_MAX`].
pub(crate) const NOTES_WINDOW: Duration = Duration::from_secs(1);

/// What followers hear, in order.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    /// Something happened; if it has a number, it is on disk.
    Event(Event),
    /// An operation ended.
    Outcome(Outcome),
}

/// Milliseconds since 1970.
pub(crate) fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// An entry that has no number yet.
pub(crate) fn event(instance: &str, operation: Option<OperationNumber>, what: What) -> Event {
    Event { number: 0, at_unix_ms: now_unix_ms(), instance: instance.to_owned(), operation, what }
}

/// What the controller itself has to say.
pub(crate) fn remark(what: String) -> Note {
    Note::Remark { by: Speaker::Controller, what }
}

/// Why an owner was replaced on another node.
pub(crate) const NODE_LOST: &str = "a person gave its node up";

/// A change in a word.
pub(crate) fn change_name(change: &Change) -> &'static str {
    match change {
        Change::Start(_) => "start",
        Change::Replace(_) => "replace",
        Change::Keep(_) => "keep",
        Change::DrainAgain => "drain_again",
        Change::Open { .. }
        | Change::Seal
        | Change::Commit
        | Change::Serve(_)
        | Change::Doom
        | Change::RollBack(_)
        | Change::Promote
        | Change::Restart { .. }
        | Change::Close
        | Change::Leave
        | Change::Depart
        | Change::Return(_)
        | Change::Gone
        | Change::Resize(_)
        | Change::Resized => Promise::of_change(change).name(),
    }
}

/// A change in a word, with its cause if it has one: `roll_back: cancelled`.
pub(crate) fn change_text(change: &Change) -> String {
    let name = change_name(change);
    match change {
        Change::RollBack(cause) | Change::Return(cause) | Change::Keep(cause) => format!("{name}: {cause}"),
        Change::Replace(_) => format!("{name}: {NODE_LOST}"),
        Change::Open { .. }
        | Change::Seal
        | Change::Commit
        | Change::Serve(_)
        | Change::Doom
        | Change::Promote
        | Change::Restart { .. }
        | Change::Close
        | Change::Leave
        | Change::DrainAgain
        | Change::Depart
        | Change::Gone
        | Change::Start(_)
        | Change::Resize(_)
        | Change::Resized => name.to_owned(),
    }
}

/// A note as it is kept: its texts cut, its lists bounded.
pub(crate) fn kept(note: Note) -> Note {
    match note {
        Note::Estimate(mut estimate) => {
            estimate.modes.truncate(paci::bounds::MODES_MAX);
            estimate.schema = estimate.schema.map(|mut schema| {
                schema.name = cut(schema.name);
                schema
            });
            Note::Estimate(estimate)
        }
        Note::Reason(reason) => Note::Reason(cut(reason)),
        Note::Remark { by, what } => Note::Remark { by, what: cut(what) },
        Note::Carried { bytes } => Note::Carried { bytes },
        Note::Copying { remaining_records, predicted_pause_ms } => {
            Note::Copying { remaining_records, predicted_pause_ms }
        }
        Note::Blocked { route, held_ms } => Note::Blocked { route: cut(route), held_ms },
        Note::Ended { start, how } => Note::Ended { start, how: cut(how) },
        Note::Unready { start, unready } => Note::Unready { start, unready: cut_unready(unready) },
        Note::Unresponsive { start, call, at_work } => Note::Unresponsive { start, call: cut(call), at_work },
        Note::Breach { start, what } => Note::Breach { start, what: cut(what) },
        Note::Awaited { node, silent_ms, duty } => {
            Note::Awaited { node: cut(node), silent_ms, duty: cut(duty) }
        }
        Note::Failure { start, code, message } => {
            Note::Failure { start, code: cut(code), message: cut(message) }
        }
        Note::Sized(sizing) => Note::Sized(Sizing { why: cut(sizing.why), ..sizing }),
    }
}

/// At most [`TEXT_BYTES_MAX`] of a text.
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}

/// Counts the notes of one instance, so that a talkative one does not push the others out of the journal.
#[derive(Debug)]
pub(crate) struct Allowance {
    since: Instant,
    kept: u32,
}

impl Allowance {
    /// Nothing kept yet.
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), kept: 0 }
    }

    /// Whether one more is kept.
    pub(crate) fn take(&mut self) -> bool {
        if self.since.elapsed() >= NOTES_WINDOW {
            *self = Self::new();
        }
        self.kept += 1;
        self.kept <= NOTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = cut("é".repeat(TEXT_BYTES_MAX));
        assert_eq!(text.len(), TEXT_BYTES_MAX + '…'.len_utf8());
        assert_eq!(cut("short".to_owned()), "short");
    }

    #[test]
    fn a_talkative_instance_is_kept_only_so_often() {
        let mut allowance = Allowance::new();
        let kept = (0..NOTES_MAX + 10).filter(|_| allowance.take()).count();
        assert_eq!(kept, NOTES_MAX as usize);
    }
}
