//! What is known when it is planned. Each figure has its age; what nobody said is absent, and absent is unknown.
//!
//! Nothing in here is believed as it stands: the numbers come from applications and gateways, and every bit pattern is
//! possible.

use super::fewer::{self, Preference};
use crate::ids::{InstanceNumber, NodeId};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The most announcements that are looked at; those that begin first.
pub const ANNOUNCEMENTS_MAX: usize = 16;
/// The longest id of an announcement, in bytes; a longer one is cut there.
pub const ANNOUNCEMENT_ID_BYTES_MAX: usize = 64;

/// All that is known of an app at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Observation {
    /// Time since any fixed point, in milliseconds. It is the only clock there is in a decision.
    pub now_ms: u64,
    /// Every instance that is not gone.
    pub instances: BTreeMap<InstanceNumber, Instance>,
    /// What the gateways measured of the app since it was planned the last time. `None`: no gateway said anything.
    pub traffic: Option<Traffic>,
    /// Demand that instances announced and that has not been taken back.
    pub announcements: Vec<Announcement>,
    /// A number of instances that a person set.
    pub manual: Option<Manual>,
    /// A number of instances that the app asks for.
    pub asked: Option<Told<u32>>,
}

/// A figure that somebody told, good for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Told<T> {
    /// What was told.
    pub value: T,
    /// How long ago, in milliseconds.
    pub age_ms: u32,
    /// How long it is good for from when it was told, in milliseconds.
    pub lease_ms: u32,
}

impl<T> Told<T> {
    /// Whether its lease is still good.
    pub fn is_good(&self) -> bool {
        self.age_ms < self.lease_ms
    }

    /// How much of it counts, in thousandths: all while its lease is good, then less and less, and nothing once it is
    /// over for as long as it was good.
    pub fn weight_permille(&self) -> u64 {
        let (age_ms, lease_ms) = (u64::from(self.age_ms), u64::from(self.lease_ms));
        if age_ms < lease_ms {
            return 1_000;
        }
        (lease_ms.saturating_mul(2).saturating_sub(age_ms) * 1_000).checked_div(lease_ms).unwrap_or(0)
    }
}

/// One instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Instance {
    /// How far it is.
    pub phase: Phase,
    /// For how long it has been that, in milliseconds.
    pub phase_ms: u32,
    /// How long it took from when it was ordered until it served, in milliseconds. `None`: not known, as of one that was
    /// started again in its place.
    #[serde(default)]
    pub start_ms: Option<u32>,
    /// Where it is. `None`: not known.
    #[serde(default)]
    pub node: Option<NodeId>,
    /// It says that it is cold.
    #[serde(default)]
    pub cold: Option<Cold>,
    /// The last report.
    pub report: Option<Told<Report>>,
    /// What the gateways measured of it since it was planned the last time.
    pub measured: Option<Measured>,
    /// What it answered when it was asked what losing it costs.
    pub quote: Option<Told<Quote>>,
    /// For how long it is not to be touched, by its own word, in milliseconds.
    pub held_ms: Option<u32>,
    /// It asked to be retired.
    pub retires: bool,
    /// An operation of it is open that is none of [`Phase`].
    pub in_operation: bool,
    /// It leaves because it was decided here. Who leaves by somebody else's word is not called back.
    #[serde(default)]
    pub leaves_by_plan: bool,
    /// It can say what losing it costs.
    pub quotes: bool,
    /// Clients' sessions that live in it. `None`: not known.
    pub sessions: Option<u32>,
    /// What it is given, in thousandths of a processor. `None`: no limit, or not known.
    pub cpu_m: Option<u32>,
    /// What it used of its processors lately, at the size that it has, in thousandths of one. `None`: not measured.
    #[serde(default)]
    pub cpu_used_m: Option<u32>,
    /// Memory that it is given, in KiB. `None`: no limit, or not known.
    #[serde(default)]
    pub memory_kib: Option<u32>,
    /// It refused to be smaller than this, in thousandths of a processor.
    pub counter_cpu_m: Option<Told<u32>>,
    /// It did not take another size of late: it is not asked for one yet.
    #[serde(default)]
    pub size_rests: bool,
}

impl Instance {
    /// Whether it did not say that it holds nothing that only it holds.
    pub fn may_hold_state(&self) -> bool {
        self.quote.is_none_or(|quote| fewer::may_hold_state(quote.value.state_kib))
    }
}

/// How far an instance is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Ordered, and not ready yet.
    #[default]
    Starting,
    /// It takes requests.
    Ready,
    /// It was ready and says, or its probe says, that it is not.
    NotReady,
    /// Its node is silent.
    Unknown,
    /// It gets nothing new and can be called back.
    Draining,
    /// It ends.
    Leaving,
}

impl Phase {
    /// Whether it will serve, or does.
    pub fn counts(self) -> bool {
        match self {
            Self::Starting | Self::Ready | Self::NotReady | Self::Unknown => true,
            Self::Draining | Self::Leaving => false,
        }
    }
}

/// What an application says of itself. Every field can be absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Report {
    /// Requests it can do, in thousandths of one a second, warm, at the size it has.
    pub capacity_milli: Option<u32>,
    /// Requests it works on at once when it is busy.
    pub slots: Option<u32>,
    /// Requests it works on now.
    #[serde(default)]
    pub in_flight: Option<u32>,
    /// What it works on and what waits in it is no request by its own word, and nothing that gateways could see.
    #[serde(default)]
    pub is_unseen: bool,
    /// Work that waits in it, in milliseconds of one slot.
    pub backlog_ms: Option<u32>,
    /// From ready to full capacity, in milliseconds.
    pub warm_ms: Option<u32>,
    /// What it can do until then, in thousandths of its capacity.
    pub cold_permille: Option<u32>,
}

/// What the gateways saw of one instance, all of them together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Measured {
    /// Of the newest part of it, in milliseconds.
    pub age_ms: u32,
    /// The time it covers, in milliseconds.
    pub over_ms: u32,
    /// Requests answered.
    pub completions: u32,
    /// Time that those took from first byte out to last byte in, summed up, in microseconds.
    pub service_us_sum: u64,
    /// Requests without an answer at the end of it.
    pub in_flight: u32,
}

/// What the gateways saw of the app, all of them together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Traffic {
    /// Of the newest part of it, in milliseconds.
    pub age_ms: u32,
    /// The time it covers, in milliseconds.
    pub over_ms: u32,
    /// Requests that came, served or not.
    pub arrivals: u32,
    /// Requests that wait in gateways at the end of it.
    pub waiting: u32,
}

/// What losing an instance costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Quote {
    /// Work lost or to be done again, in milliseconds of one slot.
    pub cost_ms: u32,
    /// Whether it would rather go than another.
    #[serde(default)]
    pub preference: Preference,
    /// State that only it holds and that nobody took over, in KiB. `None`: it did not say.
    #[serde(default)]
    pub state_kib: Option<u32>,
}

/// An instance that is not fully able yet, by its own word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cold {
    /// For how long that is so, in milliseconds.
    pub left_ms: u32,
    /// What it can do until then, in thousandths. `None`: it did not say.
    pub permille: Option<u32>,
}

/// Coming demand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Announcement {
    /// Who said it again says the same id.
    pub id: String,
    /// When it begins, in milliseconds on the clock of [`Observation::now_ms`].
    pub start_ms: u64,
    /// When it ends.
    pub end_ms: u64,
    /// Requests of the whole app, in thousandths of one a second.
    pub rate_milli: u32,
    /// How sure the application is, in thousandths. `None`: it did not say.
    pub confidence_permille: Option<u32>,
}

/// A number of instances that a person set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Manual {
    /// How many.
    pub count: u32,
    /// How long it still holds, in milliseconds.
    pub left_ms: u32,
}

impl Observation {
    /// Instances that serve, or will.
    pub(super) fn live(&self) -> impl Iterator<Item = (InstanceNumber, &Instance)> {
        self.instances.iter().filter(|(_, it)| it.phase.counts()).map(|(number, it)| (*number, it))
    }

    /// Instances that take requests.
    pub(super) fn ready(&self) -> impl Iterator<Item = (InstanceNumber, &Instance)> {
        self.live().filter(|(_, it)| it.phase == Phase::Ready)
    }
}
