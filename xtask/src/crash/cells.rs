//! The cells of the crash matrix: course × promise × point × victim × fault, and the story in which each promise is made.

use super::courses::Course;
use paracloud_core::ids::StartId;
use paracloud_core::migration::promises::{Maker, Point, Promise, Victim};
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
    pub(super) course: Course,
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
    /// A person wants one instance fewer.
    Leaves,
    /// The same, and who is to leave still has work and is called back.
    CalledBack,
    /// The same, and who leaves is called back as soon as the point was reached.
    Raced,
    /// A person wants another size.
    Resized,
}

impl Cell {
    /// Every cell with a meaning.
    pub(super) fn all() -> Vec<Self> {
        let of = |course| Self::product(course).into_iter().chain(Self::cut(course));
        Course::ALL.into_iter().flat_map(of).filter(|cell| cell.struck().is_none()).collect()
    }

    /// The gateway is cut off before it can hear that it is to park.
    fn cut(course: Course) -> Option<Self> {
        let (promise, point) = (Promise::Seal, Point::AfterPersist);
        course.mode().map(|_| Self { course, promise, point, victim: Victim::Gateway, fault: Fault::Cut })
    }

    /// Every victim once at every promise of a move, by SIGKILL after it was sent; the rows of the gateway that is cut
    /// off; and of every other operation every victim at the promise that decides it.
    pub(super) fn smoke() -> Vec<Self> {
        let is_smoke = |it: &Self| {
            let is_killed = it.point == Point::AfterSend && it.fault == Fault::Kill;
            match it.course {
                Course::Handoff | Course::Restart => it.fault == Fault::Cut || is_killed,
                Course::Update | Course::UpdateRestart => it.promise == Promise::Commit && is_killed,
                Course::Leave => it.promise == Promise::Emptied && is_killed,
                Course::Revoked => it.promise == Promise::Return && is_killed,
                Course::Raced => {
                    let is_killed = it.point == Point::BeforePersist && it.fault == Fault::Kill;
                    it.promise == Promise::Depart && is_killed && it.victim == Victim::Controller
                }
                Course::Shrink => it.promise == Promise::Resize && is_killed,
                Course::Grow | Course::Unkept => false,
            }
        };
        Self::all().into_iter().filter(is_smoke).collect()
    }

    /// How many cells are struck out.
    pub(super) fn struck_count() -> usize {
        let cells = Course::ALL.into_iter().flat_map(Self::product);
        cells.filter(|cell| cell.struck().is_some()).count()
    }

    /// Why it has no meaning, if so.
    fn struck(self) -> Option<&'static str> {
        self.course.struck(self.promise, self.point, self.victim)
    }

    /// Every promise of a course at each of its points, every victim, killed and stopped.
    fn product(course: Course) -> Vec<Self> {
        let mut cells = Vec::new();
        for &promise in Promise::ALL.iter().filter(|promise| course.makes(**promise)) {
            for &point in promise.points() {
                for &victim in Victim::ALL {
                    let cell = |fault| Self { course, promise, point, victim, fault };
                    cells.extend([Fault::Kill, Fault::Stop].map(cell));
                }
            }
        }
        cells
    }

    /// How its promise comes to be made.
    pub(super) fn story(self) -> Story {
        match (self.course, self.promise) {
            (Course::Restart | Course::UpdateRestart, _) => Story::Restarted,
            (Course::Leave, _) => Story::Leaves,
            (Course::Revoked, _) => Story::CalledBack,
            (Course::Raced, _) => Story::Raced,
            (Course::Grow | Course::Shrink | Course::Unkept, _) => Story::Resized,
            (Course::Handoff | Course::Update, Promise::RollBack | Promise::Undone) => Story::Blocked,
            (Course::Handoff | Course::Update, Promise::Doom | Promise::Promote) => Story::NeverReady,
            (Course::Handoff | Course::Update, Promise::Restart) => Story::OwnerDies,
            (
                Course::Handoff | Course::Update,
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

    /// Whether its operation was never begun: a controller that was killed before it wrote anything has forgotten the
    /// command.
    pub(super) fn is_forgotten(self) -> bool {
        matches!(self.promise, Promise::Open | Promise::Leave | Promise::Resize)
            && (self.point, self.victim, self.fault)
                == (Point::BeforePersist, Victim::Controller, Fault::Kill)
    }

    /// Whether a client may see a request fail: whoever it was connected to was struck.
    pub(super) fn may_turn_away(self) -> bool {
        matches!(self.victim, Victim::Gateway | Victim::SourceApplication)
    }

    /// Whether the application that is there at the beginning is struck dead.
    pub(super) fn kills_application(self) -> bool {
        (self.victim, self.fault) == (Victim::SourceApplication, Fault::Kill)
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
        let course = self.course.prefix();
        let fault = match self.fault {
            Fault::Kill => "kill",
            Fault::Stop => "stop",
            Fault::Cut => "cut",
        };
        write!(f, "{course}{}.{}.{}.{fault}", self.promise, self.point, self.victim)
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
            for course in [Course::Restart, Course::UpdateRestart] {
                let by_restart = cells.iter().any(|it| it.course == course && it.promise == *promise);
                assert_eq!(by_restart, promise.made_by_restart(), "{promise}");
            }
        }
        let names: BTreeSet<_> = cells.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), cells.len());
    }

    #[test]
    fn in_every_course_whoever_is_killed_is_also_stopped_and_of_a_move_a_gateway_is_cut_off() {
        for course in Course::ALL {
            let of = |fault| {
                let cells =
                    Cell::all().into_iter().filter(move |it| it.course == course && it.fault == fault);
                cells.map(|it| (it.promise, it.point, it.victim)).collect::<Vec<_>>()
            };
            assert_eq!(of(Fault::Kill), of(Fault::Stop));
            assert_eq!(of(Fault::Cut).len(), usize::from(course.mode().is_some()));
        }
    }

    #[test]
    fn every_party_of_a_leave_an_update_and_a_resize_is_struck_wherever_it_is_there() {
        use Victim::{Controller, Gateway, SourceAgent, SourceApplication, SourceShim};
        let own = [Controller, SourceAgent, Gateway, SourceShim, SourceApplication];
        let victims = |course, promise, point| {
            let cells = Cell::all().into_iter();
            let at = cells.filter(|it| (it.course, it.promise, it.point) == (course, promise, point));
            at.map(|it| it.victim).collect::<BTreeSet<_>>()
        };
        for (course, promise) in [
            (Course::Leave, Promise::Emptied),
            (Course::Revoked, Promise::Return),
            (Course::Raced, Promise::Drained),
            (Course::Grow, Promise::Resize),
            (Course::Shrink, Promise::Resized),
            (Course::Unkept, Promise::Resized),
        ] {
            assert_eq!(victims(course, promise, Point::AfterSend), BTreeSet::from(own), "{course:?}");
        }
        // In the moment of its decision, both are there; then it has left.
        assert_eq!(victims(Course::Raced, Promise::Depart, Point::BeforePersist), BTreeSet::from(own));
        let left = BTreeSet::from([Controller, SourceAgent, Gateway]);
        assert_eq!(victims(Course::Leave, Promise::Gone, Point::BeforePersist), left);
        let updated = victims(Course::Update, Promise::Loaded, Point::AfterSend);
        assert_eq!(updated.len(), Victim::ALL.len() - 1, "it has one agent");
    }

    #[test]
    fn a_source_that_is_struck_when_its_target_may_have_everything_is_not_alone() {
        let (source, other) = (StartId(1), StartId(2));
        let alone = |promise, victim, killed| {
            let (course, point, fault) = (Course::Handoff, Point::AfterSend, Fault::Kill);
            Cell { course, promise, point, victim, fault }.struck_alone(source, killed)
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
        for course in [Course::Handoff, Course::Restart] {
            let smoke = Cell::smoke();
            let victims: BTreeSet<_> =
                smoke.iter().filter(|it| it.course == course).map(|it| it.victim).collect();
            assert_eq!(victims.len(), Victim::ALL.len());
        }
    }
}
