//! Who promises what in a move, and what is on disk before it is said.
//!
//! One row a promise. The crash tests stop its maker at each of its points and kill everybody in turn; a shell calls
//! its point by this name, so a promise that is in the code and not in this table cannot be tested, and one that is
//! in the table and not in the code is found by a failpoint that never fires.

use crate::register::Mode;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Who makes a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Maker {
    /// The controller, for an instance.
    Controller,
    /// The agent of the source's node.
    SourceAgent,
    /// The agent of the target's node.
    TargetAgent,
    /// A gateway.
    Gateway,
    /// The shim of the target's process.
    TargetShim,
}

/// Where in the making of a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// Decided, and nothing is on disk.
    BeforePersist,
    /// On disk, and nobody was told.
    AfterPersist,
    /// Told.
    AfterSend,
}

macro_rules! promises {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $maker:ident, $persists:literal;)+) => {
        /// A promise of a move.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Promise { $($(#[doc = $doc])+ $name,)+ }

        impl Promise {
            /// Every promise, in the order in which a move makes them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// Who makes it.
            pub const fn maker(self) -> Maker {
                match self { $(Self::$name => Maker::$maker),+ }
            }

            /// Whether something must be on disk before it is said.
            pub const fn persists(self) -> bool {
                match self { $(Self::$name => $persists),+ }
            }
        }
    };
}

promises! {
    /// A move has a number and a target. Persisted as `open` before the source is asked.
    Open = "open", Controller, true;
    /// A target's start id is used up. The marker is synced before the process is started.
    Mark = "mark", TargetShim, true;
    /// The target accepted, reserved room and joined the channel.
    Prepared = "prepared", TargetAgent, false;
    /// The source may be sealed. Persisted as `sealing` before gateways park and before `Seal`.
    Seal = "seal", Controller, true;
    /// This gateway starts nothing new, and nothing is outstanding.
    Parked = "parked", Gateway, false;
    /// The source's gate is closed, its guards ended, its last delta sent.
    Sealed = "sealed", SourceAgent, false;
    /// The target loaded everything up to the end record.
    Loaded = "loaded", TargetAgent, false;
    /// The target owns. Persisted as `switch` before anybody hears of it.
    Commit = "commit", Controller, true;
    /// The target took its identity and answers ready.
    Ready = "ready", TargetAgent, false;
    /// The target serves from now on. Persisted as `retire` before `Serve`, gateways and replies.
    Serve = "serve", Controller, true;
    /// The target's gate is open.
    Serving = "serving", TargetAgent, false;
    /// This gateway sends requests to the new route.
    Released = "released", Gateway, false;
    /// The process that is no longer needed is dead, proved by its shim.
    Dead = "dead", SourceAgent, false;
    /// The move is over. Persisted before it is reported.
    Close = "close", Controller, true;
    /// The move is off and the source owns on. Persisted as `undo` before the source hears it.
    RollBack = "roll_back", Controller, true;
    /// The source heard that the move is off, and serves.
    Undone = "undone", SourceAgent, false;
    /// The target will be ended unserved. Persisted as `doomed` before it is ended.
    Doom = "doom", Controller, true;
    /// The sealed source owns again, its target being dead and unserved. Persisted before the source hears it.
    Promote = "promote", Controller, true;
    /// A new process owns in the place of a dead one. Persisted before it is started.
    Restart = "restart", Controller, true;
    /// An instance leaves. Persisted as `draining` before gateways and the application hear of it.
    Leave = "leave", Controller, true;
    /// This gateway sends the instance nothing more, and nothing of what it sent is outstanding.
    Drained = "drained", Gateway, false;
    /// The application that leaves has nothing left to do.
    Emptied = "emptied", SourceAgent, false;
    /// The instance will be ended. Persisted as `leaving` before it is told to stop.
    Depart = "depart", Controller, true;
    /// The leave is off. Persisted as `returning` before the application and gateways hear it.
    Return = "return", Controller, true;
    /// The instance is gone. Persisted before it is reported, and before gateways forget it.
    Gone = "gone", Controller, true;
    /// An instance gets another size. Persisted as `resizing` before its application is asked.
    Resize = "resize", Controller, true;
    /// Its size is another one, or stays. Persisted before it is reported.
    Resized = "resized", Controller, true;
}

impl Promise {
    /// The points at which its maker can be stopped.
    pub const fn points(self) -> &'static [Point] {
        if self.persists() {
            &[Point::BeforePersist, Point::AfterPersist, Point::AfterSend]
        } else {
            &[Point::AfterSend]
        }
    }

    /// The promise of a swap.
    pub fn of_change(change: &crate::register::Change) -> Self {
        use crate::register::Change;
        match change {
            Change::Open { .. } => Self::Open,
            Change::Seal => Self::Seal,
            Change::Commit => Self::Commit,
            Change::Serve(_) => Self::Serve,
            Change::Doom => Self::Doom,
            Change::RollBack(_) => Self::RollBack,
            Change::Promote => Self::Promote,
            // Of a dead process, or of one whose node was given up.
            Change::Restart { .. } | Change::Replace(_) | Change::Start(_) => Self::Restart,
            Change::Close => Self::Close,
            Change::Leave | Change::DrainAgain => Self::Leave,
            Change::Depart => Self::Depart,
            Change::Return(_) => Self::Return,
            Change::Gone => Self::Gone,
            Change::Resize(_) => Self::Resize,
            Change::Resized | Change::Keep(_) => Self::Resized,
        }
    }
}

macro_rules! victims {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal;)+) => {
        /// Who can be killed while a promise is made.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Victim { $($(#[doc = $doc])+ $name,)+ }

        impl Victim {
            /// Every victim.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

victims! {
    /// The controller.
    Controller = "controller";
    /// The agent of the source's node.
    SourceAgent = "source_agent";
    /// The agent of the target's node.
    TargetAgent = "target_agent";
    /// One gateway.
    Gateway = "gateway";
    /// The shim of the source's process.
    SourceShim = "source_shim";
    /// The shim of the target's process.
    TargetShim = "target_shim";
    /// The source's process.
    SourceApplication = "source_application";
    /// The target's process.
    TargetApplication = "target_application";
}

impl Promise {
    /// Whether a move by restart that goes well makes this promise. One that is given up, or whose target does not
    /// get ready, goes the same ways as a handoff that is.
    pub const fn made_by_restart(self) -> bool {
        match self {
            Self::Open
            | Self::Mark
            | Self::Prepared
            | Self::Seal
            | Self::Parked
            | Self::Commit
            | Self::Ready
            | Self::Serve
            | Self::Serving
            | Self::Released
            | Self::Dead
            | Self::Close => true,
            Self::Sealed
            | Self::Loaded
            | Self::RollBack
            | Self::Undone
            | Self::Doom
            | Self::Promote
            | Self::Restart
            | Self::Leave
            | Self::Drained
            | Self::Emptied
            | Self::Depart
            | Self::Return
            | Self::Gone
            | Self::Resize
            | Self::Resized => false,
        }
    }

    /// Whether it is a promise of moves; the others are of an instance that leaves, or gets another size.
    pub const fn is_of_move(self) -> bool {
        match self {
            Self::Leave
            | Self::Drained
            | Self::Emptied
            | Self::Depart
            | Self::Return
            | Self::Gone
            | Self::Resize
            | Self::Resized => false,
            Self::Open
            | Self::Mark
            | Self::Prepared
            | Self::Seal
            | Self::Parked
            | Self::Sealed
            | Self::Loaded
            | Self::Commit
            | Self::Ready
            | Self::Serve
            | Self::Serving
            | Self::Released
            | Self::Dead
            | Self::Close
            | Self::RollBack
            | Self::Undone
            | Self::Doom
            | Self::Promote
            | Self::Restart => true,
        }
    }

    /// Why nobody can be killed in this cell: there is no such process then. `None`: the cell has a meaning.
    pub fn struck(self, mode: Mode, point: Point, victim: Victim) -> Option<&'static str> {
        if !self.is_of_move() {
            return Some("a move makes no such promise");
        }
        match mode {
            Mode::Handoff => self.struck_of_handoff(point, victim),
            Mode::Restart => self.struck_of_restart(point, victim),
        }
    }

    fn struck_of_handoff(self, point: Point, victim: Victim) -> Option<&'static str> {
        let target = matches!(victim, Victim::TargetShim | Victim::TargetApplication);
        let source = matches!(victim, Victim::SourceShim | Victim::SourceApplication);
        match self {
            Self::Open if target => Some("the target is started after the promise `open`"),
            Self::Mark if victim == Victim::TargetApplication && point != Point::AfterSend => {
                Some("the program is started after its mark")
            }
            Self::Dead | Self::Close if source => Some("the source is dead when this is said"),
            Self::Doom if victim == Victim::TargetApplication && point == Point::AfterSend => {
                Some("the target is ended as soon as this is sent")
            }
            Self::Promote if target => Some("the target is dead when its source is promoted"),
            Self::Restart if source => Some("the process to be replaced is dead"),
            Self::Restart if target && point != Point::AfterSend => {
                Some("the new process is started after this")
            }
            Self::Open
            | Self::Mark
            | Self::Prepared
            | Self::Seal
            | Self::Parked
            | Self::Sealed
            | Self::Loaded
            | Self::Commit
            | Self::Ready
            | Self::Serve
            | Self::Serving
            | Self::Released
            | Self::Dead
            | Self::Close
            | Self::RollBack
            | Self::Undone
            | Self::Doom
            | Self::Promote
            | Self::Restart
            | Self::Leave
            | Self::Drained
            | Self::Emptied
            | Self::Depart
            | Self::Return
            | Self::Gone
            | Self::Resize
            | Self::Resized => None,
        }
    }

    /// The source is stopped before the target is started: there are never both.
    fn struck_of_restart(self, point: Point, victim: Victim) -> Option<&'static str> {
        let target = matches!(victim, Victim::TargetShim | Victim::TargetApplication);
        let source = matches!(victim, Victim::SourceShim | Victim::SourceApplication);
        match self {
            Self::Open | Self::Prepared | Self::Seal | Self::Parked | Self::Dead if target => {
                Some("the target is started after the commit")
            }
            Self::Commit if target && point != Point::AfterSend => {
                Some("the target is started after the commit")
            }
            Self::Mark if victim == Victim::TargetApplication && point != Point::AfterSend => {
                Some("the program is started after its mark")
            }
            Self::Dead
            | Self::Commit
            | Self::Mark
            | Self::Ready
            | Self::Serve
            | Self::Serving
            | Self::Released
            | Self::Close
                if source =>
            {
                Some("the source is dead when this is said")
            }
            Self::Open
            | Self::Mark
            | Self::Prepared
            | Self::Seal
            | Self::Parked
            | Self::Commit
            | Self::Ready
            | Self::Serve
            | Self::Serving
            | Self::Released
            | Self::Dead
            | Self::Close => None,
            Self::Sealed
            | Self::Loaded
            | Self::RollBack
            | Self::Undone
            | Self::Doom
            | Self::Promote
            | Self::Restart
            | Self::Leave
            | Self::Drained
            | Self::Emptied
            | Self::Depart
            | Self::Return
            | Self::Gone
            | Self::Resize
            | Self::Resized => Some("a move by restart that goes well does not make this promise"),
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforePersist => "before_persist",
            Self::AfterPersist => "after_persist",
            Self::AfterSend => "after_send",
        })
    }
}
