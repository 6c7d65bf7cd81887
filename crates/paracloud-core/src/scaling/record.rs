//! The record of one decision: everything it was made from, what was made of it, and why nothing else.
//!
//! It is complete: [`Record::replay`] makes the decision again from the record alone, and an equal core comes to an equal
//! record.

use super::limits::Peak;
use super::load::Rate;
use super::memory::Memory;
use super::observation::Observation;
use super::policy::Policy;
use super::staffing::{Need, Start, Unit, Worth};
use super::victims::Standing;
use crate::ids::InstanceNumber;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What is to be done, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// Empty: nothing is to be done.
    pub actions: Vec<Action>,
}

/// One thing to be done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Call an instance back that drains because it was decided here.
    Revoke(InstanceNumber),
    /// Start so many, under the lowest numbers that are free.
    Start(u32),
    /// Ask these what losing them costs.
    AskQuotes(Vec<InstanceNumber>),
    /// Let this one drain and go.
    Leave(InstanceNumber),
    /// Give this one so much, if it agrees.
    Resize {
        /// Which.
        instance: InstanceNumber,
        /// Thousandths of a processor.
        cpu_m: u32,
    },
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What was allowed.
    pub policy: Policy,
    /// What was known.
    pub observation: Observation,
    /// What earlier decisions had left.
    pub memory: Memory,
    /// How it was decided.
    pub reasons: Reasons,
    /// What was decided.
    pub plan: Plan,
    /// What is left to the next decision.
    pub next: Memory,
}

impl Record {
    /// Makes the decision again from what is in the record.
    #[must_use]
    pub fn replay(&self) -> Self {
        super::plan(&self.policy, &self.observation, &self.memory).2
    }
}

/// How it was decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reasons {
    /// Instances that served or would, before.
    pub count: u32,
    /// What was told and measured, and what was made of it.
    pub inputs: Vec<Input>,
    /// Requests that come. `None`: not measured.
    pub rate: Option<Rate>,
    /// The rate that was planned for, announcements included, in thousandths of a request a second.
    pub planned_milli: u64,
    /// What one instance was taken for. `None`: not known.
    pub unit: Option<Unit>,
    /// What a start was taken for.
    pub start: Option<Start>,
    /// What it takes.
    pub need: Need,
    /// Those that serve from a queue and do not say what they work on. `None`: all say it, or they serve requests.
    #[serde(default)]
    pub silent: Option<Silent>,
    /// What serves now, in thousandths of a slot.
    pub serving_milli: u64,
    /// Those that are not worth what the usual one is, now.
    #[serde(default)]
    pub worth: BTreeMap<InstanceNumber, Worth>,
    /// What will serve when a start ordered now would be ready, in thousandths of a slot.
    pub coming_milli: u64,
    /// How long the greatest need counts, in milliseconds, and that need.
    pub hold: Option<(u64, Peak)>,
    /// What made [`Reasons::raw`].
    pub rule: Rule,
    /// What there would be if no person had set the number. `None`: nobody has.
    #[serde(default)]
    pub instead: Option<Instead>,
    /// Instances by the rule alone.
    pub raw: u32,
    /// Instances within hold and bounds.
    pub bounded: u32,
    /// Instances once the plan is done.
    pub planned: u32,
    /// What cut it, in order.
    pub cuts: Vec<Cut>,
    /// Who was looked at for leaving, and what came of it.
    pub standings: BTreeMap<InstanceNumber, Standing>,
    /// What else could have been done.
    pub alternatives: Vec<Alternative>,
    /// How large those that serve were to be. `None`: their size stays, or nothing is known.
    #[serde(default)]
    pub sizing: Option<Sizing>,
}

/// How large each of those that serve was to be, in thousandths of a processor.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sizing {
    /// What they have in the mean.
    pub mean_cpu_m: u64,
    /// What they use of it in the mean. `None`: not measured.
    pub used_cpu_m: Option<u64>,
    /// What the load takes. `None`: nobody knows what they can do.
    pub by_load_m: Option<u64>,
    /// What they use takes. `None`: it does not count, or was not measured.
    pub by_use_m: Option<u64>,
    /// Within bounds and hold. `None`: what they have.
    pub wanted_cpu_m: Option<u64>,
    /// What cut it, in order.
    pub cuts: Vec<SizeCut>,
}

/// What keeps a size from what was to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SizeCut {
    /// It is never made smaller.
    Min(u32),
    /// It is never made larger.
    Max(u32),
    /// So much was needed of late.
    Hold(Peak),
    /// Nothing becomes smaller while an instance starts or leaves.
    Changing,
    /// Nothing becomes smaller so soon after something became larger.
    Grew,
    /// Nothing becomes smaller while it is not known what all work on.
    Silent,
    /// It did not take another size of late: it is not asked for one yet.
    Rests,
    /// Less than a tenth is not worth the question; or who would be asked holds, is in an operation, or said what it needs.
    Step,
}

/// What would be without a person's number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Instead {
    /// What would have made it.
    pub rule: Rule,
    /// Instances, within hold and bounds.
    pub count: u32,
}

/// Those of which it is not known what they work on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Silent {
    /// How many.
    pub count: u32,
    /// What all of them are taken to work on, in thousandths of a slot.
    pub milli: u64,
}

/// What made the number of instances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The policy cannot be used: nothing is done.
    #[default]
    Unusable,
    /// A person set it.
    Manual,
    /// Nothing is told and nothing is measured, or of a queue nobody tells anything: as it is.
    Blind,
    /// Nobody knows what an instance can do, and nothing waits: as it is.
    Unknown,
    /// Nobody knows what an instance can do, and for as long as the longest hold nothing comes: the least.
    Idle,
    /// Nobody knows what an instance can do, and requests wait: half as many again.
    Waiting,
    /// No instance was ever saturated: no more than there are.
    Unsaturated,
    /// Requests that come.
    Load,
    /// Work that waits.
    Queue,
    /// Demand that was announced.
    Announced,
    /// The app asked for more.
    Asked,
    /// Instances become larger, not more.
    Fixed,
}

/// One figure: what was told, what was made of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Input {
    /// Whose.
    pub of: Subject,
    /// Which.
    pub figure: Figure,
    /// What was told. `None`: it was measured.
    pub told: Option<u64>,
    /// What it was taken for.
    pub used: u64,
    /// How old it is, in milliseconds.
    pub age_ms: Option<u32>,
    /// How far who told it is believed, in thousandths.
    pub trust_permille: Option<u32>,
    /// What stands between told and used.
    pub bound: Option<Bound>,
}

/// Whose a figure is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// One instance's.
    Instance(InstanceNumber),
    /// The app's.
    App,
    /// The gateways'.
    Gateways,
    /// A person's.
    Person,
    /// An announcement's.
    Announcement(String),
}

/// Which figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Thousandths of a request a second.
    Capacity,
    /// Requests at once.
    Slots,
    /// Milliseconds of a slot.
    Backlog,
    /// Milliseconds.
    Boot,
    /// Thousandths of a request a second.
    Rate,
    /// Requests.
    Waiting,
    /// Thousandths of a request a second.
    Announced,
    /// Instances.
    Asked,
    /// Instances.
    Manual,
}

/// Why a figure was not used as it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Its lease is over.
    Lease,
    /// Outside of the band around what is measured.
    Measured,
    /// More was already done.
    Done,
    /// Outside of the band around what its kind can do.
    Fleet,
    /// Requests at once do not fit rate and time.
    Little,
    /// The gateways see more waiting.
    GatewaysSeeMore,
    /// The gateways see less waiting.
    GatewaysSeeLess,
    /// What waits adds the load again, no more.
    Load,
    /// What nobody sees can double what serves, no more.
    Doubling,
    /// As far as earlier announcements were true.
    Grade,
    /// As sure as it is said to be, or half if that is not said.
    Confidence,
    /// It begins in so many milliseconds, and that is too early to start anybody for it.
    Ahead(u64),
    /// It is of requests, and the app's load is a queue.
    NoLoad,
    /// It was announced and did not come.
    NotShown,
    /// So many of those that were announced are not over that it could not be held against what comes.
    TooMany,
    /// An app's wish adds a quarter, no more.
    Quarter,
    /// Outside of what there is.
    Bounds,
}

/// What kept the number of instances from being what it takes: the rule itself first, then limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// So much was needed a short time ago.
    Hold(Peak),
    /// Nothing is told and nothing is measured, or of a queue nobody tells anything: nothing leaves.
    Blind,
    /// So many of those that serve do not say what they work on, and only they know it: nothing leaves.
    Silent(u32),
    /// The policy's least.
    Min(u32),
    /// The policy's most; so many of it are leaving.
    Max {
        /// The most.
        max: u32,
        /// Draining and leaving.
        leaving: u32,
    },
    /// The budget of starts and stops.
    Flap {
        /// Starts and stops within the window.
        spent: u32,
        /// What the budget has of them.
        actions: u32,
    },
    /// The fewer half of the budget is for stops.
    FlapStops {
        /// Starts and stops within the window.
        spent: u32,
        /// What of the budget stops may use.
        actions: u32,
    },
    /// Candidates have not answered yet.
    Quotes,
    /// No more of them can go.
    NoVictim,
    /// Enough are leaving at once.
    Leaving(u32),
    /// What serves now would not do.
    Serving,
    /// So many asked to go, and without them there would be too few: others come first.
    Retiring(u32),
    /// Nobody was seen at work yet, and by what they only claim to do there are no more than so many.
    Claim(u32),
    /// No instance was ever saturated: only what waits adds any.
    Unsaturated,
    /// What waits adds as much again at once, no more.
    Backlog,
    /// The app asks for so many, and its wish adds a quarter.
    Quarter(u32),
    /// Nobody has tested what an instance can do, and no fewer than so many are counted on to do it.
    Untested(u32),
    /// So many are there at first, until what they have to do shows.
    Start(u32),
}

/// One fewer or one more than was planned, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Alternative {
    /// Instances.
    pub count: u32,
    /// What those have when all are warm, in thousandths of a slot. `None`: not known.
    pub slots_milli: Option<u64>,
    /// Why not.
    pub why_not: WhyNot,
}

impl Cut {
    /// Whether it keeps instances there, rather than keeping more from coming.
    pub(super) fn keeps_up(self) -> bool {
        match self {
            Self::Hold(_)
            | Self::Blind
            | Self::Silent(_)
            | Self::Min(_)
            | Self::FlapStops { .. }
            | Self::Quotes
            | Self::NoVictim
            | Self::Leaving(_)
            | Self::Serving
            | Self::Retiring(_)
            | Self::Untested(_)
            | Self::Start(_) => true,
            Self::Max { .. }
            | Self::Flap { .. }
            | Self::Claim(_)
            | Self::Unsaturated
            | Self::Backlog
            | Self::Quarter(_) => false,
        }
    }

    /// Whether it is in what the rule takes already.
    pub(super) fn is_of_rule(self) -> bool {
        match self {
            Self::Claim(_) | Self::Unsaturated | Self::Backlog | Self::Quarter(_) | Self::Untested(_) => true,
            Self::Hold(_)
            | Self::Blind
            | Self::Silent(_)
            | Self::Min(_)
            | Self::Max { .. }
            | Self::Flap { .. }
            | Self::FlapStops { .. }
            | Self::Quotes
            | Self::NoVictim
            | Self::Leaving(_)
            | Self::Serving
            | Self::Retiring(_)
            | Self::Start(_) => false,
        }
    }
}

impl Reasons {
    /// Whether it is known what it takes.
    pub(super) fn knows_need(&self) -> bool {
        match self.rule {
            Rule::Unusable | Rule::Blind | Rule::Unknown | Rule::Waiting => false,
            Rule::Manual
            | Rule::Idle
            | Rule::Unsaturated
            | Rule::Load
            | Rule::Queue
            | Rule::Announced
            | Rule::Asked
            | Rule::Fixed => self.rate.is_some() || self.need.total_milli() > 0,
        }
    }

    /// What those that are planned are worth when all are warm, in thousandths of a slot: what is there may be of another
    /// size than the usual. `None`: not known.
    pub(super) fn there_milli(&self) -> Option<u64> {
        let slots = |count: u32| Some(self.unit?.slots_milli().saturating_mul(count.into()));
        let ordered = self.planned.checked_sub(self.count).and_then(slots);
        let with_ordered = ordered.map(|ordered| ordered.saturating_add(self.coming_milli));
        slots(self.planned).max(with_ordered)
    }
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyNot {
    /// Fewer slots than it takes.
    TooFew,
    /// No more are needed.
    NotNeeded,
    /// A person set another number.
    Manual,
    /// This limit: of those that stand in the way, the narrowest.
    Cut(Cut),
    /// The rule takes another number, whatever the slots.
    Rule,
    /// Not known whether it would do.
    Unknown,
}
