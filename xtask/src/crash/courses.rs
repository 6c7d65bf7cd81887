//! The operations that are struck, and who can be struck at which promise of each.

use paracloud_core::migration::promises::{Point, Promise, Victim};
use paracloud_core::register::Mode;
use serde::{Deserialize, Serialize};

/// An operation, and how it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Course {
    /// A move by handing over.
    Handoff,
    /// A move by restart, with consent.
    Restart,
    /// Another revision in place, by handing over.
    Update,
    /// Another revision in place, by restart with consent.
    UpdateRestart,
    /// An instance leaves.
    Leave,
    /// An instance that still has work is called back before it has left.
    Revoked,
    /// An instance is called back in the moment in which it is decided that it leaves.
    Raced,
    /// An instance gets a larger size.
    Grow,
    /// An instance gets a smaller size, and keeps to it.
    Shrink,
    /// An instance accepts a smaller size, and does not keep to it.
    Unkept,
}

/// What kind of operation a course is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kin {
    /// An instance goes to another process, here or there.
    Move(Mode),
    /// An instance leaves, or is to.
    Leave,
    /// An instance gets another size, or is to.
    Resize,
}

const NO_TARGET: &str = "nothing is started in this operation";
const SAME_AGENT: &str = "an update has one agent, which is its source's";
const NOT_MADE: &str = "this operation makes no such promise";
const HAS_LEFT: &str = "who leaves is dead when this is said";

impl Course {
    /// Every course.
    pub(super) const ALL: [Self; 10] = [
        Self::Handoff,
        Self::Restart,
        Self::Update,
        Self::UpdateRestart,
        Self::Leave,
        Self::Revoked,
        Self::Raced,
        Self::Grow,
        Self::Shrink,
        Self::Unkept,
    ];

    /// Its name in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Handoff => "handoff",
            Self::Restart => "restart",
            Self::Update => "update",
            Self::UpdateRestart => "update by restart",
            Self::Leave => "leave",
            Self::Revoked => "leave, revoked",
            Self::Raced => "leave, race",
            Self::Grow => "grow",
            Self::Shrink => "shrink",
            Self::Unkept => "shrink, not kept",
        }
    }

    /// What stands before the names of its cells.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Handoff => "",
            Self::Restart => "restart:",
            Self::Update => "update:",
            Self::UpdateRestart => "update_restart:",
            Self::Leave => "leave:",
            Self::Revoked => "revoked:",
            Self::Raced => "raced:",
            Self::Grow => "grow:",
            Self::Shrink => "shrink:",
            Self::Unkept => "unkept:",
        }
    }

    /// The kind of its operation.
    pub(super) fn kin(self) -> Kin {
        match self {
            Self::Handoff | Self::Update => Kin::Move(Mode::Handoff),
            Self::Restart | Self::UpdateRestart => Kin::Move(Mode::Restart),
            Self::Leave | Self::Revoked | Self::Raced => Kin::Leave,
            Self::Grow | Self::Shrink | Self::Unkept => Kin::Resize,
        }
    }

    /// How its instance goes to another process, if it does.
    pub(super) fn mode(self) -> Option<Mode> {
        match self.kin() {
            Kin::Move(mode) => Some(mode),
            Kin::Leave | Kin::Resize => None,
        }
    }

    /// Whether it is an update.
    pub(super) fn is_update(self) -> bool {
        matches!(self, Self::Update | Self::UpdateRestart)
    }

    /// The instance that it is about.
    pub(super) fn instance(self) -> &'static str {
        match self.kin() {
            Kin::Move(_) => super::INSTANCE,
            Kin::Leave => super::LEAVER,
            Kin::Resize => super::SIZED,
        }
    }

    /// Whether this promise has rows in its table.
    pub(super) fn makes(self, promise: Promise) -> bool {
        let restarts = promise == Promise::Restart;
        match self {
            Self::Handoff | Self::Restart => promise.is_of_move(),
            // Whose owner dies at rest is not updated.
            Self::Update => promise.is_of_move() && !restarts,
            Self::UpdateRestart => promise.made_by_restart(),
            Self::Leave => matches!(
                promise,
                Promise::Leave
                    | Promise::Drained
                    | Promise::Emptied
                    | Promise::Depart
                    | Promise::Dead
                    | Promise::Gone
            ),
            Self::Revoked => matches!(
                promise,
                Promise::Leave
                    | Promise::Drained
                    | Promise::Return
                    | Promise::Undone
                    | Promise::Released
                    | Promise::Close
            ),
            Self::Raced => matches!(promise, Promise::Drained | Promise::Emptied | Promise::Depart),
            Self::Grow | Self::Shrink | Self::Unkept => {
                matches!(promise, Promise::Resize | Promise::Resized)
            }
        }
    }

    /// Why nobody can be struck in this cell: there is no such process then. `None`: the cell has a meaning.
    pub(super) fn struck(self, promise: Promise, point: Point, victim: Victim) -> Option<&'static str> {
        if !self.makes(promise) {
            return Some(NOT_MADE);
        }
        let is_other = matches!(victim, Victim::TargetAgent | Victim::TargetShim | Victim::TargetApplication);
        let is_source = matches!(victim, Victim::SourceShim | Victim::SourceApplication);
        match self.kin() {
            Kin::Move(_) if self.is_update() && victim == Victim::TargetAgent => Some(SAME_AGENT),
            Kin::Move(mode) => promise.struck(mode, point, victim),
            Kin::Leave | Kin::Resize if is_other => Some(NO_TARGET),
            Kin::Leave if is_source && matches!(promise, Promise::Dead | Promise::Gone) => Some(HAS_LEFT),
            Kin::Leave if is_source && (promise, point) == (Promise::Depart, Point::AfterSend) => {
                Some("who leaves is ended as soon as this is sent")
            }
            Kin::Leave | Kin::Resize => None,
        }
    }
}
