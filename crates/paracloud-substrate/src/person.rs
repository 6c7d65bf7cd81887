//! What a person's command says to the controller, and what it hears: one request a connection, and one or more
//! replies until the controller closes it.

mod event;
mod outcome;
mod scaled;
mod status;

use crate::draining;
use crate::explained::Explained;
use crate::message::{Preview, Question};
use crate::updating;
pub use event::{Conclusion, Consent, Event, Loss, Progress, Refusal, What, falls_back};
pub use outcome::{Kind, Outcome, fell_back};
use paci::answer::Answer;
use paracloud_core::ids::{NodeId, OperationNumber};
use paracloud_core::register::Mode;
pub use scaled::{Candidate, Leaving, Scaled, Standing, Starting};
use serde::{Deserialize, Serialize};
pub use status::{HeldOff, Instance, Kept, Node, Status, Unanswered, delivery};

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
