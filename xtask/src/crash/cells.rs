//! The cells of the crash matrix: promise × point × victim × fault, and the story in which each promise is made.

use paracloud_core::migration::promises::{Maker, Point, Promise, Victim};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is done to the victim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT after [`STOPPED_MS`].
    Stop,
    /// It hears nothing from the controller any more, until the move has ended without it.
    Cut,
}

/// How long a stopped victim stands still, in milliseconds.
pub(super) const STOPPED_MS: u64 = 10_000;

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Cell {
    pub(super) promise: Promise,
    pub(super) point: Point,
    pub(super) victim: Victim,
    pub(super) fault: Fault,
}

/// How a promise comes to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Story {
    /// A move by handing over.
    Move,
    /// A move whose seal is blocked by a request that does not end.
    Blocked,
    /// A move whose target is committed and never answers ready.
    NeverReady,
    /// The owner's process is killed; no move.
    OwnerDies,
}

impl Cell {
    /// Every cell with a meaning.
    pub(super) fn all() -> Vec<Self> {
        let mut cells: Vec<_> =
            Self::product().filter(|cell| cell.promise.struck(cell.point, cell.victim).is_none()).collect();
        cells.push(Self {
            promise: Promise::Parked,
            point: Point::AfterSend,
            victim: Victim::Gateway,
            fault: Fault::Cut,
        });
        cells
    }

    /// Every victim once at every promise, by SIGKILL after it was sent.
    pub(super) fn smoke() -> Vec<Self> {
        Self::all().into_iter().filter(|it| it.point == Point::AfterSend && it.fault == Fault::Kill).collect()
    }

    /// Cells without a meaning, each with its reason.
    pub(super) fn struck() -> Vec<(Self, &'static str)> {
        Self::product()
            .filter_map(|cell| Some((cell, cell.promise.struck(cell.point, cell.victim)?)))
            .collect()
    }

    fn product() -> impl Iterator<Item = Self> {
        Promise::ALL.iter().flat_map(|&promise| {
            promise.points().iter().flat_map(move |&point| {
                Victim::ALL.iter().flat_map(move |&victim| {
                    [Fault::Kill, Fault::Stop].map(|fault| Self { promise, point, victim, fault })
                })
            })
        })
    }

    /// How its promise comes to be made.
    pub(super) fn story(self) -> Story {
        match self.promise {
            Promise::RollBack | Promise::Undone => Story::Blocked,
            Promise::Doom | Promise::Promote => Story::NeverReady,
            Promise::Restart => Story::OwnerDies,
            Promise::Open
            | Promise::Mark
            | Promise::Prepared
            | Promise::Seal
            | Promise::Parked
            | Promise::Sealed
            | Promise::Loaded
            | Promise::Commit
            | Promise::Ready
            | Promise::Serve
            | Promise::Serving
            | Promise::Released
            | Promise::Dead
            | Promise::Close => Story::Move,
        }
    }

    /// Whether acknowledged writes may be gone afterwards, because the owner's own process died and nobody else held
    /// them where it counts.
    pub(super) fn may_lose(self) -> bool {
        if self.story() == Story::OwnerDies {
            return true;
        }
        if self.fault != Fault::Kill {
            return false;
        }
        match self.victim {
            // Until the target has proved that it holds everything, and again once the source owns on.
            Victim::SourceApplication => match self.promise {
                Promise::Open
                | Promise::Mark
                | Promise::Prepared
                | Promise::Seal
                | Promise::Parked
                | Promise::Sealed
                | Promise::RollBack
                | Promise::Undone
                | Promise::Doom
                | Promise::Promote => true,
                Promise::Loaded
                | Promise::Commit
                | Promise::Ready
                | Promise::Serve
                | Promise::Serving
                | Promise::Released
                | Promise::Dead
                | Promise::Close
                | Promise::Restart => false,
            },
            // From the moment in which it may have answered ready: `served` may be persisted any time then.
            Victim::TargetApplication => match self.promise {
                Promise::Commit => self.point == Point::AfterSend,
                Promise::Ready
                | Promise::Serve
                | Promise::Serving
                | Promise::Released
                | Promise::Dead
                | Promise::Close
                | Promise::Restart => true,
                Promise::Open
                | Promise::Mark
                | Promise::Prepared
                | Promise::Seal
                | Promise::Parked
                | Promise::Sealed
                | Promise::Loaded
                | Promise::RollBack
                | Promise::Undone
                | Promise::Doom
                | Promise::Promote => false,
            },
            Victim::Controller
            | Victim::SourceAgent
            | Victim::TargetAgent
            | Victim::Gateway
            | Victim::SourceShim
            | Victim::TargetShim => false,
        }
    }

    /// The name of the file that arms its point. A gateway's promise is taken from the first one, so that the victim
    /// is known.
    pub(super) fn armed(self) -> String {
        match self.promise.maker() {
            Maker::Gateway => format!("{}.{}.g1", self.promise, self.point),
            Maker::Controller | Maker::SourceAgent | Maker::TargetAgent | Maker::TargetShim => {
                format!("{}.{}", self.promise, self.point)
            }
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            Fault::Kill => "kill",
            Fault::Stop => "stop",
            Fault::Cut => "cut",
        };
        write!(f, "{}.{}.{}.{fault}", self.promise, self.point, self.victim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_promise_has_cells_and_no_two_cells_share_a_name() {
        let cells = Cell::all();
        for promise in Promise::ALL {
            assert!(cells.iter().any(|cell| cell.promise == *promise), "{promise}");
        }
        let names: BTreeSet<_> = cells.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), cells.len());
    }

    #[test]
    fn the_smoke_run_kills_every_victim() {
        let victims: BTreeSet<_> = Cell::smoke().iter().map(|cell| cell.victim).collect();
        assert_eq!(victims.len(), Victim::ALL.len());
    }
}
