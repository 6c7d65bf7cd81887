//! What an agent hears and says.

use crate::ids::Incarnation;
use crate::ids::{NodeId, OperationNumber, StartId};
use crate::migration::cause::Unfit;
use crate::migration::message::{FromAgent, Offer, Progress, ToAgent};
use crate::migration::shim::{Generation, Order, Status};
use crate::register::{RecordOrder, Size};
use alloc::vec::Vec;
use core::net::SocketAddr;
use paci::participant::{Answer, Call, Standing};
use serde::{Deserialize, Serialize};

/// What an agent is set to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Setting {
    /// Which node this is.
    pub node: NodeId,
    /// Ask again for the record after this long, in milliseconds.
    pub ask_ms: u32,
    /// First wait before a dead owner is proposed for a restart, in milliseconds; it doubles with each restart.
    pub restart_ms: u32,
    /// Longest such wait, in milliseconds.
    pub restart_ms_max: u32,
    /// An owner that has served for this long is sound, in milliseconds: the next wait is the first one again.
    pub sound_ms: u32,
}

/// An agent's timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// Ask for the record again.
    Ask,
    /// Propose the restart of the dead owner (again).
    Restart,
    /// The owner has served for long enough.
    Sound,
}

/// What a process says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FromApp {
    /// It opened a session, or opened it anew.
    Hello,
    /// It is ready for requests, or not: said by itself or seen by the readiness probe.
    Ready(bool),
    /// What it says to a move.
    Offer(OperationNumber, Offer),
    /// How far its copy has got.
    Progress(OperationNumber, Progress),
    /// Its answer to an upcall of this operation.
    Answer(OperationNumber, Answer),
}

/// What a process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ToApp {
    /// The answer to its `Hello`.
    Welcome(Standing, Incarnation),
    /// An upcall.
    Call(OperationNumber, Call),
}

/// What happens to an agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Input {
    /// It starts and finds these processes in its node's directory.
    Started {
        /// This agent's generation.
        generation: Generation,
        /// Each process of this instance that was ever marked here, with its address.
        found: Vec<(StartId, Status, SocketAddr)>,
    },
    /// The coordinator speaks.
    Coordinator(ToAgent),
    /// A shim reports its process; the address is the one the process was given.
    Shim(StartId, Status, SocketAddr),
    /// A process speaks.
    App(StartId, FromApp),
    /// The answer to [`Effect::Look`].
    Looked {
        /// The process.
        start: StartId,
        /// As it was asked.
        order: RecordOrder,
        /// Whether it lives now.
        lives: bool,
    },
    /// The answer to [`Effect::Check`].
    Checked(OperationNumber, StartId, bool),
    /// The answer to [`Effect::Resize`]: the limits are set, or why not.
    Resized(OperationNumber, StartId, Option<Unfit>),
    /// A timer fired.
    Timer(Timer),
}

/// What an agent wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// Tell the coordinator.
    Coordinator(FromAgent),
    /// Order a shim, starting one if there is none.
    Shim(StartId, Generation, Order),
    /// Tell a process.
    App(StartId, ToApp),
    /// Look at the process itself, now, whether it lives: what was reported of it may be of before its death. Answer with
    /// [`Input::Looked`].
    Look(StartId, RecordOrder),
    /// Ask the application for the new size, see that what it uses fits, and set its limits; answer with
    /// [`Input::Resized`]. Ordered as often as the record comes: who has answered answers the same again.
    Resize(OperationNumber, StartId, Size),
    /// Look whether a process could be started here (command, room); answer with [`Input::Checked`].
    Check(OperationNumber, StartId),
    /// Arm a timer.
    SetTimer(Timer, u32),
}
