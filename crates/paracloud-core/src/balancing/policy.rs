//! By which rule instances are chosen.

use serde::{Deserialize, Serialize};

/// A rule. All but the first are there to be compared with, and for finding out what is wrong with a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// By what applications say, bounded by what the gateway sees.
    #[default]
    Used,
    /// The same as if no application said anything: the one with less in flight of two.
    Ignored,
    /// The one with the least in flight of all, as the gateway counts.
    LeastInFlight,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
}

/// What a balancer is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Setting {
    /// By which rule.
    pub policy: Policy,
    /// How many gateways send to these instances, this one included.
    pub balancers: u32,
}

impl Default for Setting {
    fn default() -> Self {
        Self { policy: Policy::Used, balancers: 1 }
    }
}
