//! What a coordinator is set to, hears and says.

use super::lost::{Found, Nodes};
use crate::ids::{GatewayId, NodeId, Revision};
use crate::migration::message::{FromAgent, FromGateway, ToAgent, ToGateway};
use crate::migration::{Phase, convergence};
use crate::register::{Change, Mode, Proposer, Record, Size};
use alloc::collections::BTreeSet;
use serde::{Deserialize, Serialize};

/// What a coordinator is set to: who takes part, and how long each wait may last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Setting {
    /// Every configured gateway.
    pub gateways: BTreeSet<GatewayId>,
    /// Every configured node.
    pub nodes: BTreeSet<NodeId>,
    /// After this long without an answer everything is said again, in milliseconds.
    pub resend_ms: u32,
    /// Budget of the offer and prepare phases each, in milliseconds.
    pub prepare_ms: u32,
    /// Budget of the copy phase, in milliseconds.
    pub copy_ms: u32,
    /// How long uploads and streaming replies may go on before gateways park, in milliseconds; then they are cut.
    pub drain_ms: u32,
    /// How long gateways may take to park, in milliseconds.
    pub park_ms: u32,
    /// How long the source may take to seal and the target to load the rest, in milliseconds.
    pub seal_ms: u32,
    /// How long a source that is stopped to be started elsewhere may take to be proved dead, in milliseconds.
    pub stop_ms: u32,
    /// How long a committed target may take to answer ready, in milliseconds.
    pub switch_ms: u32,
    /// How long to wait for gateways to take up a new route before going on without them, in milliseconds.
    pub release_ms: u32,
    /// How long an instance that leaves may take for what it has, at its gateways and by itself each, in milliseconds;
    /// then it is called back.
    pub leave_ms: u32,
    /// How long an owner may take to get another size, in milliseconds.
    pub resize_ms: u32,
    /// When a copy is good enough.
    pub pause: convergence::Budget,
}

/// What a person or another controller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Command {
    /// Move the instance to another node.
    Move {
        /// The target node.
        to: NodeId,
        /// How. The mode was agreed with the user before; it is never replaced by a weaker one.
        mode: Mode,
        /// The spec that the target is to run; `None`: the source's. With another one the target may be on the same node.
        revision: Option<Revision>,
    },
    /// Drain the instance and end it, unless it is called back before.
    Leave,
    /// Start an instance that is gone.
    Start {
        /// Its node.
        to: NodeId,
        /// The spec that it is to run.
        revision: Revision,
    },
    /// Give the owner another size.
    Resize(Size),
    /// Give the open operation up, if it is not committed: a move goes back, who leaves is called back.
    Cancel,
}

/// Why a command was not taken.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error,
)]
pub enum Refused {
    /// The register has not been read yet.
    #[error("the register has not been read yet")]
    Unready,
    /// Another operation is open.
    #[error("another operation is open on this instance")]
    Busy,
    /// The instance is not serving.
    #[error("the instance does not serve: there is nothing to move")]
    NotServing,
    /// It is there already.
    #[error("the instance runs on that node already")]
    SameNode,
    /// No such node.
    #[error("no such node is configured")]
    UnknownNode,
    /// Nothing to cancel.
    #[error("no operation is open on this instance")]
    NothingOpen,
    /// Past the point of no return.
    #[error("the move is committed and can no longer be cancelled")]
    Committed,
    /// It was given up already.
    #[error("the move is being rolled back already: there is nothing to cancel")]
    RolledBack,
    /// Its end is decided.
    #[error("the instance is being stopped and can no longer be called back")]
    Departed,
    /// It was called back already.
    #[error("the instance is being called back already: there is nothing to cancel")]
    Returned,
    /// It left.
    #[error("the instance has left: there is nothing of it until it is started anew")]
    Gone,
    /// Its node was given up.
    #[error("that node was given up: start it elsewhere")]
    LostNode,
    /// It is there.
    #[error("the instance is there: only one that has left can be started anew")]
    NotGone,
    /// It has that size.
    #[error("the instance has that size already")]
    SameSize,
}

/// The coordinator's timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// Say everything that was not answered again.
    Resend,
    /// The phase's budget is used up.
    Deadline,
}

/// What happens to a coordinator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Input {
    /// The record was read from the register: the first input of every coordinator.
    Recovered(Record),
    /// A person asks.
    Command(Command),
    /// The answer to [`Effect::Swap`].
    Swapped {
        /// The record as it is now.
        record: Record,
        /// Whether our change made it so.
        applied: bool,
    },
    /// An agent speaks.
    Agent(NodeId, FromAgent),
    /// A gateway speaks.
    Gateway(GatewayId, FromGateway),
    /// How the nodes are: whenever a person gave one up or one came back, and whenever another agent comes or goes while
    /// one is lost.
    Nodes(Nodes),
    /// An agent that connected found this process alive.
    Found(Found),
    /// A timer fired.
    Timer(Timer),
}

/// What a coordinator wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// Compare-and-swap the record, durably, and answer with [`Input::Swapped`].
    Swap {
        /// The record it must still be.
        expected: Record,
        /// The change.
        change: Change,
        /// For whom.
        proposer: Proposer,
    },
    /// Tell an agent.
    Agent(NodeId, ToAgent),
    /// Tell a gateway.
    Gateway(GatewayId, ToGateway),
    /// Arm a timer, replacing the armed one of that name.
    SetTimer(Timer, u32),
    /// Disarm a timer.
    CancelTimer(Timer),
    /// The move entered this phase.
    Entered(Phase),
    /// A process lives that no record names: it is ended, or left for a person if there is a doubt.
    Stray(Found),
    /// A command was not taken.
    Refused(Refused),
}
