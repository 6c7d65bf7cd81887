//! What is said on the controller's socket. The machines' own messages travel in envelopes that name the instance;
//! beside them travel figures and texts for people, which decide nothing.

use crate::advice::Advice;
use crate::seen::Account;
use paci::answer::Answer;
use paci::ask::{Became, Wish};
use paci::call::Schema;
use paci::finding::MoveEstimate;
use paci::size::Resize;
use paci::upcall::Reason;
use paracloud_core::ids::{GatewayId, NodeId, OperationNumber, StartId};
use paracloud_core::migration::message::{FromAgent, FromGateway, Offer, ToAgent, ToGateway};
use paracloud_core::migration::shim::Generation;
use paracloud_core::register::{Operation, Record, Size};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The first line on a connection: who dials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caller {
    /// The agent of a node.
    Agent {
        /// Its node.
        node: NodeId,
        /// Which agent of the node; an older one is not listened to.
        generation: Generation,
        /// What the node knows of each instance it has heard of.
        known: Vec<Known>,
    },
    /// A gateway.
    Gateway {
        /// Its number.
        gateway: GatewayId,
    },
    /// A person's command, one a connection; see `person` in the controller.
    Person,
}

/// What a node knows of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// The instance.
    pub instance: String,
    /// The newest record it heard of.
    pub record: Option<Record>,
    /// The highest operation it heard of, be it in a record or in what it was told to do.
    pub operation: OperationNumber,
    /// Its processes that are alive here, and whether each is sealed.
    pub alive: Vec<(StartId, bool)>,
    /// Those that its newest record names and that are proved dead.
    pub dead: Vec<StartId>,
}

/// Controller → agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "nearly every line is of the large kind")]
pub enum ToAgentLine {
    /// For the instance's machine.
    Machine {
        /// The instance.
        instance: String,
        /// What is said.
        message: ToAgent,
        /// The open operation, so that the source's agent knows where the channel leads.
        operation: Option<Operation>,
        /// What was agreed on for it.
        terms: Terms,
        /// Why it was opened. Applications are told.
        #[serde(default)]
        reason: Reason,
        /// The size that the register has: with it processes are started, also before the node hears of a record. `None`:
        /// as the manifest says.
        #[serde(default)]
        size: Option<Size>,
    },
    /// Ask the owner what a move would cost, and change nothing.
    Preview {
        /// The instance.
        instance: String,
        /// Answered with this number.
        question: u64,
        /// Why it is asked.
        #[serde(default)]
        reason: Reason,
    },
    /// Ask the owner something, under the number that its next operation will have, and change nothing.
    Question {
        /// The instance.
        instance: String,
        /// Answered with this number.
        question: u64,
        /// What is asked.
        call: Question,
        /// Why it is asked.
        #[serde(default)]
        reason: Reason,
        /// Time for the whole answer, in milliseconds; then it is [`Unasked::Never`]. The application is told it.
        budget_ms: u32,
    },
    /// What became of what an application asked for: said when it changes, and of each ask that is heard of anew.
    Became {
        /// The instance.
        instance: String,
        /// Which of its processes asked.
        start: StartId,
        /// What it asked for.
        wish: Wish,
        /// What became of it.
        became: Became,
        /// Why, in words.
        message: String,
        /// When more will be known, in milliseconds; 0: there is no more to be known.
        retry_after_ms: u32,
    },
    /// The configuration was changed: it is to be read again. Who dials reads it then by itself.
    Configured,
}

/// What an application can be asked without anything being done because of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// What would a move cost?
    Estimate,
    /// What would losing you cost, now?
    Quote,
    /// Would you fit into this size?
    Resize(Resize),
}

/// What is agreed on for an open operation and is not in its record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// A person consented, with this very move, to losing the state.
    pub loss_accepted: bool,
    /// The form in which the source says that its state travels; the target is asked whether it can read it.
    pub schema: Option<Schema>,
    /// How much is left of a budget that was given with a leave or a change of size, in milliseconds. Applications are told,
    /// no more than the manifest's.
    #[serde(default)]
    pub left_ms: Option<u32>,
}

/// Agent → controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromAgentLine {
    /// From the instance's machine.
    Machine {
        /// The instance.
        instance: String,
        /// What is said.
        message: FromAgent,
    },
    /// For people.
    Note {
        /// The instance.
        instance: String,
        /// The operation it belongs to, if one.
        operation: Option<OperationNumber>,
        /// What there is to know.
        note: Note,
    },
    /// Until when an application asks to be left alone: said when it changes, and of each that lives when the agent dials.
    Held {
        /// The instance.
        instance: String,
        /// Which of its processes.
        start: StartId,
        /// From what.
        op: HeldOp,
        /// `None`: it does not ask, or is dead.
        hold: Option<Hold>,
    },
    /// Why an owner is not ready, or that it is: said when it changes, and of each that lives when the agent dials.
    Unready {
        /// The instance.
        instance: String,
        /// Which of its processes.
        start: StartId,
        /// `None`: it is ready, or nothing is expected of it, or it was not waited for long enough to say so.
        unready: Option<Unready>,
    },
    /// The answer to `Preview`.
    Previewed {
        /// The question.
        question: u64,
        /// What the application said, or why it could not be asked.
        answer: Result<Preview, Unasked>,
    },
    /// The answer to `Question`: a final one, or one that stands for a time (`DEFER`, `REFUSE`).
    Answered {
        /// The question.
        question: u64,
        /// What the application said, held against the contract; or why it could not be asked.
        answer: Result<Answer, Unasked>,
    },
    /// What an application says of itself for a time: said at each change, when something of it is over, and of each that
    /// lives when the agent dials. The last one counts, whole.
    Advice {
        /// The instance.
        instance: String,
        /// Which of its processes.
        start: StartId,
        /// All that still counts; boxed, because it is far larger than the other lines.
        advice: Box<Advice>,
    },
    /// What a process and all that it started use, as the agent measures it: said when it has changed, every few seconds,
    /// and of each that runs when the agent dials. Of one that is dead nothing is said any more.
    Usage {
        /// The instance.
        instance: String,
        /// Which of its processes.
        start: StartId,
        /// What was measured.
        usage: Usage,
    },
    /// Nothing but that the agent's loop goes round.
    Beat,
}

/// What was measured of a process and all that it started. Absent: it is not known, which is never zero; of a limit: there
/// is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Memory that could not be given back at once, in KiB.
    pub memory_kib: Option<u64>,
    /// The limit on memory that is enforced, in KiB.
    pub memory_limit_kib: Option<u64>,
    /// CPU time over the last second or so, in thousandths of a CPU.
    pub cpu_milli: Option<u32>,
    /// The limit on CPU time that is enforced, in thousandths of a CPU.
    pub cpu_limit_milli: Option<u32>,
    /// Share of the last ten seconds in which some of it waited for memory, in thousandths.
    pub memory_stalled_permille: Option<u16>,
    /// The same, for a CPU.
    pub cpu_stalled_permille: Option<u16>,
}

/// Why a program is never asked that is none of the contract's.
pub const UNAWARE: &str = "it does not speak PaCI";

/// Why an application could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unasked {
    /// It is being asked already, or an operation is open.
    Busy,
    /// Not yet: it passes within seconds.
    Soon(String),
    /// Its process ended meanwhile, and how.
    Ended(String),
    /// It does not speak PaCI.
    Unaware,
    /// It does not claim this capability, which it takes to be asked that.
    Lacks(String),
    /// It does not pass by itself.
    Never(String),
}

impl fmt::Display for Unasked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => formatter.write_str("it is being asked something already"),
            Self::Ended(how) => write!(formatter, "its process ended: {how}"),
            Self::Unaware => formatter.write_str(UNAWARE),
            Self::Lacks(capability) => write!(formatter, "it does not claim the capability {capability}"),
            Self::Soon(why) | Self::Never(why) => formatter.write_str(why),
        }
    }
}

/// What an application can ask to be left alone from, as far as anybody here asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldOp {
    /// Being moved to another node.
    Move,
    /// Being stopped for good: whoever stops the cloud is told.
    Stop,
    /// Being drained, to be there no longer.
    Drain,
}

impl HeldOp {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Move, Self::Stop, Self::Drain];

    /// As applications name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Move => "move",
            Self::Stop => "stop",
            Self::Drain => "drain",
        }
    }
}

/// An application's wish to be left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// When it expires, in milliseconds since 1970.
    pub until_unix_ms: u64,
    /// Which hold it is, and why.
    pub reason: String,
}

/// Why a process that ought to be ready is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unready {
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// How it was asked, and at which address: `GET http://127.0.1.1:20001/healthz`, `TCP connect to …`, `PaCI SetState`.
    pub asked: String,
    /// What came back: `connection refused`, `HTTP 500 …`, what the application says.
    pub answered: String,
}

/// What an application says of a move that is only thought of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// It claims to hand its state over. Only a person's consent to this very move lets it be moved without its state.
    pub hands_over: bool,
    /// Whether it could be moved by handing over; `None`: it cannot hand over, and `reason` says why.
    pub offer: Option<Offer>,
    /// Its figures.
    pub estimate: Option<MoveEstimate>,
    /// Its reason, if it refused or holds; why it cannot hand over, if so; else what it had to say.
    pub reason: String,
}

/// Something for people to know of a move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// The source's answer to `Estimate`.
    Estimate(MoveEstimate),
    /// Why the application refused or holds.
    Reason(String),
    /// What a part of the cloud has to say itself.
    Remark {
        /// Which part.
        by: Speaker,
        /// Its words.
        what: String,
    },
    /// Bytes that crossed the channel so far, counted by the agent that joins its ends.
    Carried {
        /// Bytes from source to target.
        bytes: u64,
    },
    /// The source says how far it is.
    Copying {
        /// Records left.
        remaining_records: u32,
        /// The pause if it came now, in milliseconds.
        predicted_pause_ms: u32,
    },
    /// Who kept a seal from completing.
    Blocked {
        /// The route that its guard is held for.
        route: String,
        /// How long it has been held, in milliseconds.
        held_ms: u32,
    },
    /// A process could not be started, or ended by itself.
    Ended {
        /// Which one.
        start: StartId,
        /// Exit status or signal, as far as known.
        how: String,
    },
    /// An owner that ought to be ready is not, and why: said when the reason changes, and not too often.
    Unready {
        /// Which one.
        start: StartId,
        /// Why.
        #[serde(flatten)]
        unready: Unready,
    },
    /// An application does not answer.
    Unresponsive {
        /// Which one.
        start: StartId,
        /// The upcall.
        call: String,
        /// It says that it is at work, and is not done in the time that it has.
        #[serde(default)]
        at_work: bool,
    },
    /// An application broke the contract; what it said was refused.
    Breach {
        /// Which one.
        start: StartId,
        /// What it did.
        what: String,
    },
    /// A move cannot go on without a node whose agent is away. Said by the controller, once a phase.
    Awaited {
        /// The node's name.
        node: String,
        /// For how long nothing was heard of its agent, in milliseconds.
        silent_ms: u64,
        /// What the agent is to do, as it goes on after `it is `: `to say that the target's process is dead`.
        duty: String,
    },
    /// A side of a move failed.
    Failure {
        /// Which one.
        start: StartId,
        /// Its code.
        code: String,
        /// Its words.
        message: String,
    },
    /// How a change of an owner's size went, as far as its node can tell.
    Sized(Sizing),
}

/// A change of an owner's size: what was asked for, what the application said, what was measured, which limits stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizing {
    /// Which process.
    pub start: StartId,
    /// The limits before.
    pub from: Size,
    /// Those that were asked for.
    pub to: Size,
    /// Those that are enforced after it.
    pub limit: Size,
    /// What it used of memory then, in KiB. `None`: that was not, or could not be, measured.
    pub used_kib: Option<u64>,
    /// The smallest that it says it could do with; of what it does not name it says nothing.
    pub offered: Option<Size>,
    /// Why it is so, in the words of the application or of the agent; empty: all went as asked.
    pub why: String,
}

impl Sizing {
    /// Whether the limits are those that were asked for.
    pub fn is_done(&self) -> bool {
        self.limit == self.to
    }
}

/// Who says something that is no application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The controller.
    Controller,
    /// An agent.
    Agent,
}

impl fmt::Display for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Controller => "controller",
            Self::Agent => "agent",
        })
    }
}

impl Note {
    /// Whether it says that this process answered with a failure. A channel breaks with either of its ends: where a source
    /// died, its target's failure is no reason.
    pub fn is_failure_of(&self, process: StartId) -> bool {
        matches!(self, Self::Failure { start, .. } if *start == process)
    }

    /// Whether it says how this process ended.
    pub fn is_end_of(&self, process: StartId) -> bool {
        matches!(self, Self::Ended { start, .. } if *start == process)
    }

    /// Whether it says which size an instance has from now on.
    pub fn is_new_size(&self) -> bool {
        matches!(self, Self::Sized(sizing) if sizing.is_done())
    }

    /// Whether it says that something is not as it should be.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Blocked { .. }
            | Self::Ended { .. }
            | Self::Unready { .. }
            | Self::Unresponsive { .. }
            | Self::Breach { .. }
            | Self::Awaited { .. }
            | Self::Failure { .. }
            | Self::Reason(_)
            | Self::Remark { .. } => true,
            Self::Sized(sizing) => !sizing.is_done(),
            Self::Estimate(_) | Self::Carried { .. } | Self::Copying { .. } => false,
        }
    }
}

/// Controller → gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToGatewayLine {
    /// For the instance's machine.
    Machine {
        /// The instance.
        instance: String,
        /// What is said.
        message: ToGateway,
    },
    /// What one of its processes says of itself, passed on from its agent. The last one counts, whole.
    Advice {
        /// The instance.
        instance: String,
        /// Which of its processes.
        start: StartId,
        /// All that still counts; boxed, because it is far larger than the other line.
        advice: Box<Advice>,
    },
    /// The configuration was changed: it is to be read again. Who dials reads it then by itself.
    Configured,
}

/// What a gateway measured of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredInstance {
    /// The instance.
    pub instance: String,
    /// Requests that the application answered, and not with an error of its own.
    pub completions: u32,
    /// Requests that it answered with an error of its own, or not at all.
    pub failures: u32,
    /// Requests that it has, now.
    pub in_flight: u32,
    /// From the choice of the instance to the end of the answer, of the completions together, in microseconds.
    pub service_us_sum: u64,
    /// Sessions that it has seen there and that go on. Absent: the app has none, or there may be some that it has not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
}

/// Gateway → controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromGatewayLine {
    /// From the instance's machine.
    Machine {
        /// The instance.
        instance: String,
        /// What is said.
        message: FromGateway,
    },
    /// What clients saw of a pause: said when nothing parks and nothing waits any more, again when the last WebSocket to
    /// the process before was closed, and on a new link.
    Parked {
        /// The instance.
        instance: String,
        /// What they saw.
        #[serde(flatten)]
        account: Account,
        /// It was said before, on a link that broke.
        again: bool,
    },
    /// What was measured of an app with `scale` since it was said last: once a `scale.period`.
    Measured {
        /// The app.
        app: String,
        /// The time that it covers, in milliseconds.
        over_ms: u32,
        /// Requests that came, served or not.
        arrivals: u32,
        /// Requests that wait for an instance to serve them, now.
        waiting: u32,
        /// Its instances that the gateway knows.
        instances: Vec<MeasuredInstance>,
    },
    /// Nothing but that the gateway listens to the controller.
    Beat,
}
