//! What was tried: each fault, on each party, in each phase of a move.
//!
//! A *cell* is party × phase × fault. The phase is the coordinator's at that moment (its last one while it is down).
//! A cell without meaning is struck out here, with its reason; of all others none may stay empty over a run of many
//! seeds, or the simulation only says that it tried.

use paracloud_core::migration::Phase;
use std::collections::BTreeMap;
use std::fmt;

/// A party by the part it plays in the open move. With none open, *source* is the owner's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// Coordinator and register.
    Controller,
    /// The agent of the source's node.
    SourceAgent,
    /// The agent of the target's node.
    TargetAgent,
    /// Any gateway.
    Gateway,
    /// A shim on the source's node.
    SourceShim,
    /// A shim on the target's node.
    TargetShim,
    /// A process on the source's node.
    SourceApp,
    /// A process on the target's node.
    TargetApp,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// It dies.
    Crash,
    /// It comes back with what it had on disk.
    Restart,
    /// It is stopped for a while and goes on with its old state.
    Stall,
    /// It and the controller cannot reach each other (the controller: nobody; a process: its state channel breaks).
    Partition,
    /// A message from or to it is lost (a request or reply: its connection breaks).
    Drop,
    /// A message from or to it arrives twice.
    Duplicate,
    /// A message from or to it arrives much later, behind others.
    Delay,
    /// It dies before what it was writing is on disk.
    LostWrite,
    /// It dies when what it was writing is on disk, before it heard so.
    KeptWrite,
    /// It dies, and what it wrote before is damaged when it comes back.
    Damage,
    /// A request at it does not end.
    Hog,
}

/// One thing to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// On whom.
    pub who: Who,
    /// When.
    pub phase: Phase,
    /// What.
    pub fault: Fault,
}

const WHO: [Who; 8] = [
    Who::Controller,
    Who::SourceAgent,
    Who::TargetAgent,
    Who::Gateway,
    Who::SourceShim,
    Who::TargetShim,
    Who::SourceApp,
    Who::TargetApp,
];

const PHASES: [Phase; 17] = [
    Phase::Idle,
    Phase::Start,
    Phase::Offer,
    Phase::Prepare,
    Phase::Copy,
    Phase::Drain,
    Phase::Park,
    Phase::Seal,
    Phase::Switch,
    Phase::Doom,
    Phase::Serve,
    Phase::Undo,
    Phase::Release,
    Phase::Retire,
    Phase::Leave,
    Phase::Return,
    Phase::Resize,
];

const FAULTS: [Fault; 11] = [
    Fault::Crash,
    Fault::Restart,
    Fault::Stall,
    Fault::Partition,
    Fault::Drop,
    Fault::Duplicate,
    Fault::Delay,
    Fault::LostWrite,
    Fault::KeptWrite,
    Fault::Damage,
    Fault::Hog,
];

impl Cell {
    /// Every cell, struck out or not.
    pub fn all() -> impl Iterator<Item = Self> {
        WHO.into_iter().flat_map(|who| {
            PHASES
                .into_iter()
                .flat_map(move |phase| FAULTS.into_iter().map(move |fault| Self { who, phase, fault }))
        })
    }

    /// Every cell that is not struck out.
    pub fn meant() -> Vec<Self> {
        Self::all().filter(|cell| cell.struck().is_none()).collect()
    }

    /// Why this cell has no meaning, if it has none.
    pub fn struck(self) -> Option<&'static str> {
        use Fault::{
            Crash, Damage, Delay, Drop, Duplicate, Hog, KeptWrite, LostWrite, Partition, Restart, Stall,
        };
        use Phase::{
            Copy, Doom, Drain, Idle, Leave, Offer, Park, Prepare, Release, Resize, Retire, Return, Seal,
            Serve, Start, Switch, Undo,
        };
        use Who::{
            Controller, Gateway, SourceAgent, SourceApp, SourceShim, TargetAgent, TargetApp, TargetShim,
        };
        match (self.who, self.phase, self.fault) {
            (TargetShim | TargetApp, Idle | Offer, _) => Some("nothing was started at the target yet"),
            (TargetShim | TargetApp, Leave | Return | Resize, _) => Some("there is no target"),
            (SourceShim | TargetShim, _, Partition | Drop | Duplicate | Delay) => {
                Some("a shim and its agent share a machine and talk over a local socket")
            }
            (SourceApp | TargetApp, _, Duplicate) => {
                Some("a connection doubles nothing; what clients send twice the ledger follows")
            }
            (SourceApp | TargetApp, _, Restart) => {
                Some("a process is never started twice: its replacement is another one")
            }
            (SourceApp | TargetApp | SourceAgent | TargetAgent | Gateway, _, LostWrite | KeptWrite) => {
                Some("it writes nothing that is promised")
            }
            (
                SourceAgent | TargetAgent | Gateway | SourceShim | TargetShim | SourceApp | TargetApp,
                _,
                Damage,
            ) => Some("only the controller keeps records"),
            (
                Controller | SourceAgent | TargetAgent | Gateway | SourceShim | TargetShim | TargetApp,
                _,
                Hog,
            ) => Some("only a process that serves and may be sealed holds guards that matter"),
            (
                SourceApp,
                Start | Seal | Switch | Doom | Serve | Undo | Release | Retire | Return | Resize,
                Hog,
            ) => Some("the gate is closed, or nobody is about to close it"),
            (
                SourceShim,
                Idle | Offer | Prepare | Copy | Drain | Park | Seal | Switch | Doom | Serve | Undo,
                LostWrite | KeptWrite,
            )
            | (SourceShim, Release | Retire | Leave | Return | Resize, LostWrite | KeptWrite) => {
                Some("at the source a marker is written only for a new owner")
            }
            (TargetShim, Copy | Drain | Park | Seal | Serve, LostWrite | KeptWrite) => {
                Some("the marker was written before, or is not written before the commit")
            }
            (
                SourceApp | TargetApp,
                Idle | Start | Offer | Prepare | Switch | Doom | Serve | Undo | Release | Retire | Leave
                | Return | Resize,
                Partition,
            ) => Some("no state crosses"),
            (SourceApp, Leave, Drop | Delay) => Some("nothing is sent to who has nothing outstanding"),
            (TargetApp, Start | Prepare | Copy | Drain | Switch | Doom, Drop | Delay) => {
                Some("nothing is sent to a target before the source seals, nor before the target has served")
            }
            (
                _,
                Idle | Start | Offer | Prepare | Copy | Drain | Park | Seal | Switch | Doom | Serve | Undo
                | Release | Retire | Leave | Return | Resize,
                Crash | Restart | Stall | Partition | Drop | Duplicate | Delay | LostWrite | KeptWrite
                | Damage | Hog,
            ) => None,
        }
    }
}

/// Hits per cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    hits: BTreeMap<Cell, u32>,
}

impl Coverage {
    pub(super) fn hit(&mut self, cell: Cell) {
        *self.hits.entry(cell).or_insert(0) += 1;
    }

    /// Adds what another run has tried.
    pub fn add(&mut self, other: &Self) {
        for (cell, hits) in &other.hits {
            *self.hits.entry(*cell).or_insert(0) += hits;
        }
    }

    /// How often a cell was hit.
    pub fn hits(&self, cell: Cell) -> u32 {
        self.hits.get(&cell).copied().unwrap_or(0)
    }

    /// Cells that have a meaning and were never hit.
    pub fn missing(&self) -> Vec<Cell> {
        Cell::meant().into_iter().filter(|cell| self.hits(*cell) == 0).collect()
    }

    /// Cells that were hit though they are struck out: the table is wrong about them.
    pub fn unexpected(&self) -> Vec<Cell> {
        self.hits.keys().copied().filter(|cell| cell.struck().is_some()).collect()
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Controller => "controller",
            Self::SourceAgent => "source_agent",
            Self::TargetAgent => "target_agent",
            Self::Gateway => "gateway",
            Self::SourceShim => "source_shim",
            Self::TargetShim => "target_shim",
            Self::SourceApp => "source_app",
            Self::TargetApp => "target_app",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crash => "crash",
            Self::Restart => "restart",
            Self::Stall => "stall",
            Self::Partition => "partition",
            Self::Drop => "drop",
            Self::Duplicate => "duplicate",
            Self::Delay => "delay",
            Self::LostWrite => "lost_write",
            Self::KeptWrite => "kept_write",
            Self::Damage => "damage",
            Self::Hog => "hog",
        })
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} × {}", self.who, self.phase, self.fault)
    }
}
