//! Why something is as it is: the decisions behind an app, an instance or an operation, with all that they were made from.

use crate::advice::Advice;
use crate::decision::{Done, Opened};
use crate::message::{Unready, Usage};
use crate::person::Event;
use paracloud_core::ids::{GatewayId, OperationNumber};
use paracloud_core::{balancing, ordered, scaling, wishes};
use serde::{Deserialize, Serialize};

/// The newest entries of the journal that are told of an operation.
pub const EVENTS_MAX: usize = 256;
/// Choices of each gateway that are told of an instance.
pub const CHOICES_MAX: usize = 3;

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// What was asked after.
    pub name: String,
    /// Its app.
    pub app: String,
    /// The operation that was asked after, if one was.
    pub operation: Option<OperationNumber>,
    /// When that was put together, in milliseconds since 1970.
    pub now_unix_ms: u64,
    /// Decisions about the number of its app's instances; the one that is asked for most comes first.
    pub decisions: Vec<Decided>,
    /// What was decided for a person: the newest about the app or the instance, or the one behind the operation.
    #[serde(default)]
    pub orders: Vec<Ordered>,
    /// What the application asked for, if the operation was opened because of that.
    #[serde(default)]
    pub asked: Option<Asked>,
    /// Choices of gateways in which an instance was looked at: the newest of each first. They are samples.
    pub choices: Vec<Choice>,
    /// What was written in the journal of an operation: the newest [`EVENTS_MAX`].
    pub events: Vec<Event>,
    /// What became of what the instance asked for last, one of each kind, each with when that was decided, in milliseconds
    /// since 1970.
    #[serde(default)]
    pub wishes: Vec<(u64, Box<wishes::Record>)>,
    /// What the instance's process says of itself, as it counts now.
    #[serde(default)]
    pub says: Option<Advice>,
    /// Why it is not ready, if it is not.
    #[serde(default)]
    pub unready: Option<Unready>,
    /// What the instance's process uses by its agent's measure, and how long ago that was, in milliseconds.
    pub usage: Option<(Usage, u32)>,
    /// Logs that could not be read, or not whole, and why.
    pub gaps: Vec<String>,
}

impl Explained {
    /// Of what nothing is known yet.
    pub fn of(name: &str, app: &str, operation: Option<OperationNumber>, now_unix_ms: u64) -> Self {
        Self {
            name: name.to_owned(),
            app: app.to_owned(),
            operation,
            now_unix_ms,
            decisions: Vec::new(),
            orders: Vec::new(),
            asked: None,
            choices: Vec::new(),
            events: Vec::new(),
            wishes: Vec::new(),
            says: None,
            unready: None,
            usage: None,
            gaps: Vec::new(),
        }
    }
}

/// A decision about the number of an app's instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// What it is to what was asked after.
    pub role: Role,
    /// When it was made, in milliseconds since 1970.
    pub unix_ms: u64,
    /// All that it was made from, and what was decided.
    pub record: Box<scaling::Record>,
    /// What became of it, as far as that is known.
    pub done: Vec<Done>,
}

/// A decision about what an application asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// When it was made, in milliseconds since 1970.
    pub unix_ms: u64,
    /// All that it was made from, and what became of it.
    pub record: Box<wishes::Record>,
}

/// A decision for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// What it is to what was asked after.
    pub role: Role,
    /// When it was made, in milliseconds since 1970.
    pub unix_ms: u64,
    /// All that it was made from, and what was decided.
    pub record: Box<ordered::Record>,
    /// What was begun by it.
    pub opened: Vec<Opened>,
}

/// What a decision is to what is asked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The last one about the app.
    Present,
    /// The last one by which something was done.
    Acted,
    /// The instance was started by it.
    Started,
    /// The instance was to leave, was called back, or got another size by it.
    Changed,
    /// The instance was looked at, and nothing was done to it.
    Looked,
    /// The operation was opened by it.
    Opened,
    /// The operation was given up by it.
    GaveUp,
}

/// A gateway's choice among instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Which gateway.
    pub gateway: GatewayId,
    /// When it was made, in milliseconds since 1970.
    pub unix_ms: u64,
    /// All that it was made from, and who was chosen.
    pub record: Box<balancing::Record>,
}
