//! How many instances an app has, and how large they are: the bounds within which that is decided.

use serde::{Deserialize, Serialize};

/// How many instances an app has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// Never fewer, by anybody's decision. At least 1.
    pub min: u32,
    /// Never more. At least `min`, at most [`crate::names::INSTANCES_PER_APP_MAX`].
    pub max: u32,
    /// So many are started when the app runs for the first time. From `min` to `max`.
    pub start: u32,
    /// It is decided anew so often, in milliseconds.
    pub period_ms: u32,
    /// What was decided to be too many must be too many for so long before one goes, in milliseconds. `None`: for as long as a
    /// few starts take.
    #[serde(default)]
    pub hold_ms: Option<u32>,
    /// How busy an instance ought to be: parts of a thousand of its capacity, 1 to 1,000.
    pub target_permille: u32,
    /// How often it may be started and stopped.
    pub flap: Flap,
    /// How long an instance may take to leave, in milliseconds.
    pub drain_ms: u32,
    /// How long what a person scales to is kept if that is not said with it, in milliseconds.
    pub manual_hold_ms: u32,
    /// What may be changed.
    pub shape: Shape,
    /// Whether what instances say of themselves counts when it is decided.
    #[serde(default)]
    pub reports: Reports,
    /// Where its work comes from.
    #[serde(default)]
    pub work: Work,
}

impl Default for Scale {
    fn default() -> Self {
        Self {
            min: 1,
            max: 1,
            start: 1,
            period_ms: 1_000,
            hold_ms: None,
            target_permille: 700,
            flap: Flap { actions: 12, per_ms: 600_000 },
            drain_ms: 300_000,
            manual_hold_ms: 3_600_000,
            shape: Shape::Out,
            reports: Reports::Used,
            work: Work::Requests,
        }
    }
}

/// A budget of starts and stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flap {
    /// So many.
    pub actions: u32,
    /// In any time of this length, in milliseconds.
    pub per_ms: u32,
}

/// What may be changed to meet a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// The number of instances.
    Out,
    /// Their size.
    Up,
    /// Both.
    Both,
}

/// Whether what instances say of themselves counts when their number and size are decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reports {
    /// Beside what is measured, as far as that bears it out.
    #[default]
    Used,
    /// It is as if they said nothing. What they answer when they are asked counts nevertheless.
    Ignored,
}

/// Where an app's work comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Through the gateways, which see how much comes.
    #[default]
    Requests,
    /// From a queue that only the app sees: what instances say of it is the load.
    Queue,
}

impl Shape {
    /// Whether the number of instances may be changed.
    pub fn goes_out(self) -> bool {
        matches!(self, Self::Out | Self::Both)
    }

    /// Whether the size of instances may be changed.
    pub fn goes_up(self) -> bool {
        matches!(self, Self::Up | Self::Both)
    }
}

/// Limits of one instance. What is `None` is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time, in thousandths of a processor.
    pub cpu_milli: Option<u32>,
}

/// How large an instance is, and may become. What has no limit at the start has no bounds either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Its limits when it is started.
    pub start: Size,
    /// It is never made smaller; where nothing is said, it is not made smaller at all.
    pub least: Size,
    /// It is never made larger; where nothing is said, it is not made larger at all.
    pub most: Size,
}
