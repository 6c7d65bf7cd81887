//! What a person's command says to the controller, and what it hears: one request a connection, and one or more
//! replies until the controller closes it.

use crate::config::State;
use crate::draining;
use crate::explained::Explained;
use crate::message::{HeldOp, Note, Preview, Question, Unready};
use crate::seen::{Account, Accounts};
use crate::updating;
use paci::answer::Answer;
use paci::participant::Call;
use paracloud_core::ids::{NodeId, OperationNumber, Placement, StartId};
use paracloud_core::migration::Phase;
use paracloud_core::migration::duty::duty;
use paracloud_core::register::{Mode, MoveStep, Operation, Record, Step};
use serde::{Deserialize, Serialize};

/// The version of this protocol; a command of another one is refused.
pub const VERSION: u32 = 1;

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How everything is: [`Reply::Status`].
    Status,
    /// Move an instance: [`Reply::Event`]s until it ended, then [`Reply::Outcome`]; without `wait` [`Reply::Begun`].
    Move {
        /// The instance.
        instance: String,
        /// The target node; `None`: any other.
        to: Option<NodeId>,
        /// The person consents to a move that loses the state.
        accept_loss: bool,
        /// Stay and hear how it goes.
        wait: bool,
    },
    /// Ask the application what a move would cost, and change nothing: [`Reply::Previewed`].
    Preview {
        /// The instance.
        instance: String,
        /// The target node; `None`: any other.
        to: Option<NodeId>,
    },
    /// Start an instance from what its app is by now, in place: as [`Request::Move`], but that it stays on its node.
    Update {
        /// The instance.
        instance: String,
        /// The person consents to losing the state.
        accept_loss: bool,
        /// Stay and hear how it goes.
        wait: bool,
    },
    /// Ask the application what an update would cost, and change nothing: [`Reply::Previewed`].
    PreviewUpdate {
        /// The instance.
        instance: String,
    },
    /// Name other revisions of apps, which are written already, as those that count from now on, and update the instances that
    /// run something else, of each app one after the other. That goes on whoever listens, until it is over or one of the app
    /// failed; who asks while it goes on hears of it. [`Reply::Updates`] as it goes, and a [`Reply::Event`] of whom is waited
    /// for, then [`Reply::Applied`]; without `wait` or `update` [`Reply::Done`].
    Apply {
        /// What counts now. If that is not so any more, it is refused.
        from: Vec<Revised>,
        /// What counts from now on: every app of the cloud, each once.
        to: Vec<Revised>,
        /// How; `None`: who runs something else is left as it is.
        update: Option<updating::Terms>,
        /// Stay and hear how it goes.
        wait: bool,
    },
    /// Ask the application something that nothing is done because of: [`Reply::Answered`].
    Ask {
        /// The instance.
        instance: String,
        /// What is asked.
        question: Question,
    },
    /// Give the open move up: [`Reply::Done`].
    Cancel {
        /// The instance.
        instance: String,
        /// When the person asked, in milliseconds since 1970. 0: not said.
        #[serde(default)]
        asked_unix_ms: u64,
    },
    /// The journal: [`Reply::Event`]s, and if nothing is to follow [`Reply::Done`].
    Events {
        /// From this number on.
        from: u64,
        /// Stay and hear what happens.
        follow: bool,
    },
    /// A person's word that what made an instance `unknown` was put right (a process too many was ended): its nodes
    /// are asked again. [`Reply::Done`].
    Reconsider {
        /// The instance.
        instance: String,
    },
    /// Why it is as it is: [`Reply::Explained`].
    Explain {
        /// An app with `scale`, or an instance.
        name: String,
        /// An operation of the instance.
        operation: Option<OperationNumber>,
    },
    /// Give an instance another size, with its consent: [`Reply::Begun`], or with `wait` [`Reply::Event`]s and its
    /// [`Reply::Outcome`]; with `dry_run` only its application is asked: [`Reply::Answered`].
    Resize {
        /// The instance.
        instance: String,
        /// Memory in KiB; `None`: as it is.
        memory_kib: Option<u32>,
        /// Processors in thousandths; `None`: as they are.
        cpu_milli: Option<u32>,
        /// It is given up if it is not done within so many milliseconds; `None` or more than the manifest says: as that says.
        #[serde(default)]
        budget_ms: Option<u32>,
        /// Change nothing.
        #[serde(default)]
        dry_run: bool,
        /// Stay and hear how it goes.
        wait: bool,
    },
    /// Set how many instances an app has, and keep it so for a time: [`Reply::Scaled`]; with `wait` then [`Reply::Event`]s
    /// and a [`Reply::Outcome`] for each instance that leaves.
    Scale {
        /// The app.
        app: String,
        /// So many.
        to: u32,
        /// For so long, in milliseconds; `None`: as its manifest says.
        hold_ms: Option<u32>,
        /// Change nothing, and say what would be done.
        dry_run: bool,
        /// The person consents to losing the state of those that leave.
        #[serde(default)]
        accept_loss: bool,
        /// Who has not left within so many milliseconds is called back; `None` or more than the manifest says: as that says.
        #[serde(default)]
        within_ms: Option<u32>,
        /// Stay and hear how those leave that do.
        #[serde(default)]
        wait: bool,
    },
    /// How many instances an app has is decided by itself again, before the time of a person's number is over:
    /// [`Reply::GivenBack`].
    GiveBack {
        /// The app.
        app: String,
    },
    /// A node that was drained, or is, gets new instances again: [`Reply::Done`].
    OpenNode {
        /// The node.
        node: NodeId,
    },
    /// Take everything that a node owns away from it: from now on it gets no new instances. It goes on whoever listens, until
    /// it is over or the node gets new ones again; who asks while it goes on hears of it. [`Reply::Waits`] and
    /// [`Reply::Drains`] as it goes, then [`Reply::Drained`]; without `wait` [`Reply::Done`].
    DrainNode {
        /// The node.
        node: NodeId,
        /// How.
        terms: draining::Terms,
        /// Change nothing, and say what would become of each.
        dry_run: bool,
        /// Stay and hear how it goes.
        wait: bool,
    },
    /// A person's word that a node will not come back: processes on it count as dead. [`Reply::Done`].
    NodeLost {
        /// The node.
        node: NodeId,
        /// The person was told what it costs, while the node was away. Without that it is refused.
        #[serde(default)]
        agreed: bool,
    },
}

/// A revision of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revised {
    /// The app.
    pub app: String,
    /// Its number.
    pub revision: u32,
    /// Nothing of the app serves: whatever is started from now on is started from this, whatever it was before.
    #[serde(default)]
    pub anew: bool,
}

/// What a person hears.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// How everything is.
    Status(Status),
    /// Something that happened.
    Event(Event),
    /// How an operation ended.
    Outcome(Outcome),
    /// What a move would be.
    Previewed {
        /// How it would be done; `None`: it cannot be.
        mode: Option<Mode>,
        /// Where to.
        to: NodeId,
        /// What the application said.
        preview: Preview,
        /// What stands in the way, if something does: what the move itself would be refused with.
        obstacle: Option<Refused>,
    },
    /// Why it is as it is.
    Explained(Box<Explained>),
    /// What the application said to a question.
    Answered(Box<Answer>),
    /// How many instances an app gets.
    Scaled(Scaled),
    /// What a person wanted until now of an app's instances; `None`: nothing, and nothing was changed.
    GivenBack(Option<Kept>),
    /// An instance that is to leave a node, or to come to what its app is, is waited for.
    Waits {
        /// The instance.
        instance: String,
        /// What for.
        why: String,
    },
    /// What became of an instance that was to leave a node.
    Drains(Box<draining::Drained>),
    /// Nothing more is done about the node.
    Drained {
        /// Instances that are on it and were not to leave it: they came meanwhile.
        missed: Vec<String>,
    },
    /// What became of an instance that was to be updated.
    Updates(Box<updating::Updated>),
    /// Nothing more is done about what was applied.
    Applied {
        /// What became of each, as far as this controller did it: app by app, in the order in which it was.
        updated: Vec<updating::Updated>,
    },
    /// This operation has begun.
    Begun(OperationNumber),
    /// It was done.
    Done,
    /// It was not: who, why, what next.
    Refused(Refused),
}

/// What a person's scaling does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaled {
    /// The app.
    pub app: String,
    /// Instances that it had.
    pub from: u32,
    /// Instances that it gets.
    pub to: u32,
    /// Those that are started, and where.
    pub starts: Vec<Starting>,
    /// Those that were leaving and are called back.
    #[serde(default)]
    pub called_back: Vec<String>,
    /// Those that leave, the cheapest first. Fewer than were to leave if there are no more that can.
    #[serde(default)]
    pub leaves: Vec<Leaving>,
    /// Every instance that was looked at because some are to leave, and what came of it.
    #[serde(default)]
    pub looked_at: Vec<Candidate>,
    /// Until when nobody else decides how many there are, in milliseconds since 1970; `None`: nothing was changed.
    pub until_unix_ms: Option<u64>,
}

/// An instance that is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starting {
    /// Its name.
    pub instance: String,
    /// The node.
    pub node: NodeId,
}

/// An instance that leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// Its name.
    pub instance: String,
    /// The node.
    pub node: NodeId,
    /// The operation; `None`: nothing was begun.
    pub operation: Option<OperationNumber>,
    /// How long it says that it takes to drain, in milliseconds, if it said.
    pub drain_ms: Option<u32>,
}

/// An instance that was looked at because some are to leave. What is `None` is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name.
    pub instance: String,
    /// The node.
    pub node: Option<NodeId>,
    /// Work that would be lost if it ended now, in milliseconds, by its own word.
    pub cost_ms: Option<u32>,
    /// How long it takes to drain, in milliseconds, by its own word.
    pub drain_ms: Option<u32>,
    /// Sessions that only it can serve, by its own word.
    pub sessions: Option<u32>,
    /// What came of it.
    pub standing: Standing,
    /// Why, in words.
    pub why: String,
}

/// What came of an instance that was looked at because some are to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It leaves.
    Leaves,
    /// Losing it costs more than losing those that leave, or they come first for another reason.
    Stays,
    /// Others were asked first.
    NotAsked,
    /// It asks to be left alone.
    Held,
    /// It did not answer, or cannot be asked.
    Silent,
    /// It would lose state, and nobody consented to that.
    NeedsConsent,
    /// Another operation of it is open, or nothing can be decided about it.
    Busy,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// A word for programs: `unknown_instance`, `busy`, `consent_needed`, …
    pub code: String,
    /// What is wrong, naming who.
    pub message: String,
    /// What to do.
    pub next: String,
}

/// How everything is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Each instance.
    pub instances: Vec<Instance>,
    /// Each node and whether its agent is there.
    pub nodes: Vec<Node>,
    /// Each gateway and whether it is there.
    pub gateways: Vec<(u32, bool)>,
    /// Instances that ask to be left alone.
    pub holds: Vec<HeldOff>,
    /// How many instances people want of apps.
    #[serde(default)]
    pub scales: Vec<Kept>,
    /// Apps whose instances are being updated.
    #[serde(default)]
    pub updating: Vec<String>,
}

/// How many instances a person wants of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The app.
    pub app: String,
    /// So many.
    pub instances: u32,
    /// For so much longer, in milliseconds.
    pub remaining_ms: u64,
}

/// An instance that asks to be left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOff {
    /// Its name.
    pub instance: String,
    /// From what.
    pub op: HeldOp,
    /// Milliseconds until the hold expires.
    pub remaining_ms: u64,
    /// Which hold it is, and why.
    pub reason: String,
}

/// How an instance is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// What the register says; `None`: not decided yet.
    pub record: Option<Record>,
    /// The phase of its open operation, or `idle`.
    pub phase: Phase,
    /// Why nothing can be decided, if so.
    pub unknown: Option<String>,
    /// What is lost when its process is.
    pub state: State,
    /// Milliseconds since its owner began to serve, as far as known.
    pub age_ms: Option<u64>,
    /// Why its owner is not ready, if it ought to be and was waited for long enough to say so.
    pub unready: Option<Unready>,
    /// What keeps its operation open though the outcome is decided, if its owner does not answer.
    #[serde(default)]
    pub unanswered: Option<Unanswered>,
}

/// An owner that does not answer what was decided: it is told again until it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unanswered {
    /// Its process.
    pub start: StartId,
    /// What it is told: `resume`, `serve`.
    pub call: String,
    /// What it said to that instead of doing it, if it said anything: a code, and its words.
    #[serde(default)]
    pub answered: Option<String>,
    /// When it was said to be silent, in milliseconds since 1970.
    pub since_unix_ms: u64,
}

/// The owner and the call that it has to answer before the open operation of this record ends, once the outcome is decided.
/// An abort is none: it counts as answered when its time is over.
pub fn delivery(record: &Record) -> Option<(StartId, &'static str)> {
    if !matches!(record.step(), Some(Step::Retire | Step::Undo)) {
        return None;
    }
    let call = match duty(record, record.owner.start)?.call {
        Call::Serve { .. } => "serve",
        Call::Resume { .. } => "resume",
        Call::Estimate | Call::Prepare(_) | Call::Seal | Call::Abort | Call::Drain => return None,
    };
    Some((record.owner.start, call))
}

/// Whether what was stopped in a move by restart is started again, because what came after it did not serve: `change` made the
/// record after `before`.
pub fn falls_back(change: &str, before: &Record) -> bool {
    let undone = before.moving().filter(|it| matches!(it.step, MoveStep::Switch | MoveStep::Doomed));
    change == "restart" && undone.is_some_and(|it| it.mode == Mode::Restart)
}

/// Why such a move ended so; `cause`: why the target was given up, if it was and did not end by itself.
pub fn fell_back(cause: Option<&str>) -> String {
    let cause = cause.unwrap_or("the target's process ended before it had served");
    format!("{cause}; the process that was stopped for it was started again")
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Its agent is connected.
    pub connected: bool,
    /// It gets no new instances: it was drained, or is.
    #[serde(default)]
    pub closed: bool,
    /// It is being drained now.
    #[serde(default)]
    pub draining: bool,
}

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number; 0 if it is not kept (progress).
    pub number: u64,
    /// Milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The instance.
    pub instance: String,
    /// The operation, if it belongs to one.
    pub operation: Option<OperationNumber>,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The register changed: the change in a word (`commit`), and the record after it.
    Swapped {
        /// The change, and its cause if it has one.
        change: String,
        /// The record after it.
        record: Record,
    },
    /// A phase began.
    Entered(Phase),
    /// Something for people to know.
    Note(Note),
    /// How far a copy is.
    Progress(Progress),
    /// A move was asked for, and nothing was begun.
    Refused(Refusal),
    /// What an instance held is lost.
    StateLost {
        /// With what it went.
        by: Loss,
        /// Who consented to that.
        consent: Consent,
    },
    /// What clients saw at one gateway.
    Parked {
        /// The gateway.
        gateway: u32,
        /// What they saw, as far as it is known.
        #[serde(flatten)]
        account: Account,
    },
    /// An operation that ended has its outcome: what is told of it later is not in it.
    Concluded(Conclusion),
}

/// Why a move that was asked for was not begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Where it was to go; `None`: to any other node.
    pub to: Option<NodeId>,
    /// The person consented to losing the state.
    pub accept_loss: bool,
    /// The process that was asked; `None`: it was refused before anybody was.
    pub asked: Option<Placement>,
    /// A word for programs, as in [`Refused`].
    pub code: String,
    /// What is wrong, naming who.
    pub message: String,
    /// If its owner holds on to its place: until when, in milliseconds since 1970.
    pub held_until_unix_ms: Option<u64>,
    /// Refusals since the last one with an entry of its own that have none: who asks again and again fills no journal.
    pub unkept: u32,
}

/// With what the state of an instance went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// It was moved by restart.
    Restart,
    /// Its process died, and was started anew.
    Death,
    /// Its cloud was ended.
    Stop,
    /// It is in the manifest no more.
    Removal,
    /// A person gave its node up, and it was started anew on another one.
    Node,
    /// It left: there are fewer of its app.
    Leave,
}

/// Who consented to losing an instance's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// A person, with the very command.
    Person,
    /// The manifest, by `acceptLoss`.
    Manifest,
    /// Nobody: nobody was asked.
    Nobody,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes that crossed the channel.
    pub carried_bytes: u64,
    /// Bytes of state, as the application estimated.
    pub state_bytes: Option<u64>,
    /// Bytes a second, over the last second.
    pub rate_bytes_per_s: u64,
    /// Milliseconds until the copy is done, as far as known.
    pub eta_ms: Option<u64>,
    /// The pause if it came now, in milliseconds.
    pub predicted_pause_ms: Option<u32>,
}

/// What an outcome says that only whoever drove the operation can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conclusion {
    /// Bytes that crossed the channel; `None`: not known, because the controller was restarted meanwhile.
    pub carried_bytes: Option<u64>,
    /// Every gateway has said all that its clients saw.
    pub clients_known: bool,
}

/// What an operation is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The instance goes to another process.
    #[default]
    Move,
    /// It is to be there no longer.
    Leave,
    /// It gets another size.
    Resize,
}

impl Kind {
    /// That of an operation.
    pub fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Move(_) => Self::Move,
            Operation::Leave(_) => Self::Leave,
            Operation::Resize(_) => Self::Resize,
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The instance.
    pub instance: String,
    /// The operation.
    pub operation: OperationNumber,
    /// What it was for.
    #[serde(default)]
    pub kind: Kind,
    /// How it was to be moved; of what is no move `handoff`.
    pub mode: Mode,
    /// It was committed: it moved, it left, it has its new size.
    pub committed: bool,
    /// It holds state, and what it held is lost: by consent in mode `restart` and with who left, with its process in mode
    /// `handoff`.
    pub state_lost: bool,
    /// Why not, in words; of a move that was committed, what was lost after it: the target's process died when it
    /// served, and was started anew.
    pub cause: Option<String>,
    /// It was given up for something that passes: the same may be done another time. Not known of what was put together
    /// from events.
    #[serde(default)]
    pub may_pass: bool,
    /// The last trouble that was told before the cause: who blocked a seal, what a side said, how a process ended. Of one that
    /// has left: how its process ended while it was drained.
    #[serde(default)]
    pub because: Option<Note>,
    /// Where the instance is now.
    pub node: NodeId,
    /// Its incarnation now.
    pub incarnation: u32,
    /// Each phase and how long it took, in microseconds.
    pub phases: Vec<(Phase, u64)>,
    /// From the command to the end, in milliseconds.
    pub total_ms: u64,
    /// Bytes that crossed the channel; `None`: not known, because the controller was restarted meanwhile.
    pub carried_bytes: Option<u64>,
    /// Requests that waited at gateways.
    pub parked: u32,
    /// Longest wait, in microseconds.
    pub parked_us_max: u64,
    /// Requests that gateways answered 502 or 503 themselves, and WebSocket messages that waited in vain.
    pub failed: u32,
    /// Those of `failed` that were uploads in progress.
    pub uploads_failed: u32,
    /// Replies in progress that ended before they were whole, and WebSockets whose clients read nothing.
    pub streams_cut: u32,
    /// WebSockets that gateways closed with 1012.
    pub websockets_closed: u32,
    /// Every gateway has said all that its clients saw; otherwise the figures of clients are what was heard of them.
    pub clients_known: bool,
}

impl Outcome {
    /// How the process ended of one that has left, if it did while it was drained and nobody had told it to.
    pub fn died(&self) -> Option<&str> {
        match &self.because {
            Some(Note::Ended { how, .. }) if self.kind == Kind::Leave && self.committed => Some(how),
            Some(_) | None => None,
        }
    }

    /// Takes in what gateways told.
    pub fn saw(&mut self, accounts: &Accounts) {
        let seen = accounts.seen();
        self.parked = seen.requests;
        self.parked_us_max = seen.parked_us_max;
        self.failed = seen.failed;
        self.uploads_failed = seen.uploads_failed;
        self.streams_cut = seen.streams_cut;
        self.websockets_closed = seen.websockets_closed;
    }
}
