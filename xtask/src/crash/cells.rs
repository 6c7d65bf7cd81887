//! The cells of the crash matrix: mode × promise × point × victim × fault, and the story in which each promise is made.

use paracloud_core::ids::StartId;
use paracloud_core::migration::promises::{Maker, Point, Promise, Victim};
use paracloud_core::register::Mode;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is done to the victim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT after [`STOPPED_MS`](super::stand::STOPPED_MS).
    Stop,
    /// It hears nothing from the controller any more, until the move has ended without it.
    Cut,
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Cell {
    pub(super) mode: Mode,
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
    /// A move by restart, of a program that knows nothing of the cloud, with consent to the loss.
    Restarted,
}

impl Cell {
    /// Every cell with a meaning.
    pub(super) fn all() -> Vec<Self> {
        let of = |mode| Self::product(mode).into_iter().chain([Self::cut(mode)]);
        let cells = of(Mode::Handoff).chain(of(Mode::Restart));
        cells.filter(|cell| cell.struck().is_none()).collect()
    }

    /// The gateway is cut off before it can hear that it is to park.
    fn cut(mode: Mode) -> Self {
        let (promise, point) = (Promise::Seal, Point::AfterPersist);
        Self { mode, promise, point, victim: Victim::Gateway, fault: Fault::Cut }
    }

    /// Every victim once at every promise, by SIGKILL after it was sent; and the rows of the gateway that is cut off.
    pub(super) fn smoke() -> Vec<Self> {
        let is_smoke =
            |it: &Self| it.fault == Fault::Cut || (it.point == Point::AfterSend && it.fault == Fault::Kill);
        Self::all().into_iter().filter(is_smoke).collect()
    }

    /// How many cells are struck out.
    pub(super) fn struck_count() -> usize {
        let cells = Self::product(Mode::Handoff).into_iter().chain(Self::product(Mode::Restart));
        cells.filter(|cell| cell.struck().is_some()).count()
    }

    /// Why it has no meaning, if so.
    fn struck(self) -> Option<&'static str> {
        self.promise.struck(self.mode, self.point, self.victim)
    }

    /// Every promise at each of its points, every victim, killed and stopped.
    fn product(mode: Mode) -> Vec<Self> {
        let mut cells = Vec::new();
        for &promise in Promise::ALL.iter().filter(|promise| promise.is_of_move()) {
            for &point in promise.points() {
                for &victim in Victim::ALL {
                    let cell = |fault| Self { mode, promise, point, victim, fault };
                    cells.extend([Fault::Kill, Fault::Stop].map(cell));
                }
            }
        }
        cells
    }

    /// How its promise comes to be made.
    pub(super) fn story(self) -> Story {
        match (self.mode, self.promise) {
            (Mode::Restart, _) => Story::Restarted,
            (Mode::Handoff, Promise::RollBack | Promise::Undone) => Story::Blocked,
            (Mode::Handoff, Promise::Doom | Promise::Promote) => Story::NeverReady,
            (Mode::Handoff, Promise::Restart) => Story::OwnerDies,
            (
                Mode::Handoff,
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
                | Promise::Close
                // No move makes these.
                | Promise::Leave
                | Promise::Drained
                | Promise::Emptied
                | Promise::Depart
                | Promise::Return
                | Promise::Gone
                | Promise::Resize
                | Promise::Resized,
            ) => Story::Move,
        }
    }

    /// The processes that are struck dead in its trial when nobody else holds what they hold: the owner that dies by the
    /// story, and the application that the victim was.
    pub(super) fn struck_alone(self, owner: StartId, killed: Option<StartId>) -> Vec<StartId> {
        let by_story = (self.story() == Story::OwnerDies).then_some(owner);
        let is_alone = self.victim != Victim::SourceApplication || self.source_is_alone();
        by_story.into_iter().chain(killed.filter(|_| is_alone)).collect()
    }

    /// Whether nobody else holds what the source holds: until the target may have everything, the end record included,
    /// and again once the target is to be ended.
    fn source_is_alone(self) -> bool {
        match self.promise {
            Promise::Open
            | Promise::Mark
            | Promise::Prepared
            | Promise::Seal
            | Promise::Parked
            | Promise::RollBack
            | Promise::Undone
            | Promise::Doom
            | Promise::Promote => true,
            Promise::Sealed
            | Promise::Loaded
            | Promise::Commit
            | Promise::Ready
            | Promise::Serve
            | Promise::Serving
            | Promise::Released
            | Promise::Dead
            | Promise::Close
            | Promise::Restart
            | Promise::Leave
            | Promise::Drained
            | Promise::Emptied
            | Promise::Depart
            | Promise::Return
            | Promise::Gone
            | Promise::Resize
            | Promise::Resized => false,
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

    /// How long a trial of it takes on an idle machine, roughly, in seconds.
    pub(super) fn expected_s(self) -> u64 {
        match self.fault {
            Fault::Kill => 2,
            Fault::Cut => 6,
            Fault::Stop => 12,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            Mode::Handoff => "",
            Mode::Restart => "restart:",
        };
        let fault = match self.fault {
            Fault::Kill => "kill",
            Fault::Stop => "stop",
            Fault::Cut => "cut",
        };
        write!(f, "{mode}{}.{}.{}.{fault}", self.promise, self.point, self.victim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_promise_has_cells_and_no_two_cells_share_a_name() {
        let cells = Cell::all();
        for promise in Promise::ALL.iter().filter(|promise| promise.is_of_move()) {
            assert!(cells.iter().any(|cell| cell.promise == *promise), "{promise}");
            let by_restart = cells.iter().any(|it| it.mode == Mode::Restart && it.promise == *promise);
            assert_eq!(by_restart, promise.made_by_restart(), "{promise}");
        }
        let names: BTreeSet<_> = cells.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), cells.len());
    }

    #[test]
    fn in_both_modes_whoever_is_killed_is_also_stopped_and_a_gateway_is_cut_off() {
        for mode in [Mode::Handoff, Mode::Restart] {
            let of = |fault| {
                let cells = Cell::all().into_iter().filter(move |it| it.mode == mode && it.fault == fault);
                cells.map(|it| (it.promise, it.point, it.victim)).collect::<Vec<_>>()
            };
            assert_eq!(of(Fault::Kill), of(Fault::Stop));
            assert_eq!(of(Fault::Cut).len(), 1);
        }
    }

    #[test]
    fn a_source_that_is_struck_when_its_target_may_have_everything_is_not_alone() {
        let (source, other) = (StartId(1), StartId(2));
        let alone = |promise, victim, killed| {
            let (mode, point, fault) = (Mode::Handoff, Point::AfterSend, Fault::Kill);
            Cell { mode, promise, point, victim, fault }.struck_alone(source, killed)
        };
        let killed = Some(source);
        for promise in [Promise::Open, Promise::Seal, Promise::Parked, Promise::RollBack, Promise::Doom] {
            assert_eq!(alone(promise, Victim::SourceApplication, killed), [source], "{promise}");
        }
        for promise in [Promise::Sealed, Promise::Loaded, Promise::Commit, Promise::Serve] {
            assert_eq!(alone(promise, Victim::SourceApplication, killed), [], "{promise}");
        }
        assert_eq!(alone(Promise::Serve, Victim::TargetApplication, Some(other)), [other]);
        assert_eq!(alone(Promise::Open, Victim::SourceShim, None), []);
        assert_eq!(alone(Promise::Restart, Victim::Gateway, None), [source], "it dies by the story");
        assert_eq!(alone(Promise::Restart, Victim::TargetApplication, Some(other)), [source, other]);
    }

    #[test]
    fn the_smoke_run_kills_every_victim_in_both_modes() {
        for mode in [Mode::Handoff, Mode::Restart] {
            let smoke = Cell::smoke();
            let victims: BTreeSet<_> =
                smoke.iter().filter(|it| it.mode == mode).map(|it| it.victim).collect();
            assert_eq!(victims.len(), Victim::ALL.len());
        }
    }
}
