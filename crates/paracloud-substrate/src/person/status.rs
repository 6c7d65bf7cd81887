//! How everything is.

use crate::config::State;
use crate::message::{HeldOp, Unready};
use paci::participant::Call;
use paracloud_core::ids::{NodeId, StartId};
use paracloud_core::migration::Phase;
use paracloud_core::migration::duty::duty;
use paracloud_core::register::{Record, Step};
use serde::{Deserialize, Serialize};

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
    /// Its owner's process has ended, whatever the record says: another one is started in its place.
    #[serde(default)]
    pub restarts: bool,
    /// Why its owner is not ready, if it ought to be and was waited for long enough to say so.
    pub unready: Option<Unready>,
    /// What keeps its operation open though the outcome is decided, if its owner does not answer.
    #[serde(default)]
    pub unanswered: Option<Unanswered>,
}

impl Instance {
    /// Whether it serves.
    pub fn serves(&self) -> bool {
        !self.restarts && self.record.as_ref().is_some_and(|record| record.served.is_some())
    }
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
