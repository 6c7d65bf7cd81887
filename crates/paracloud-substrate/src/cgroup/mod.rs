//! Control groups: what holds a process and all that it starts to its limits, measures them, and finds them when they end.
//!
//! | | |
//! |---|---|
//! | [`Hierarchies`] | which trees of groups the machine has, of version 1 and 2, and where in them this process is |
//! | [`Site`] | where the groups of one cloud lie, and removing what is left of them |
//! | [`Group`] | the group of one start: made, joined, looked into, killed, removed |
//! | [`Refused`] | setting limits, and lowering the one on memory |
//! | [`Usage`] | what is measured |
//! | [`NoGroup`] | why there is none, for people |
//!
//! A machine has the controllers of version 1 mounted one by one, or one tree of version 2, or both beside each other: then
//! the tree of version 2 has few controllers or none, and is still where members are killed at once and pressure is
//! measured. So each purpose of a group has a directory of its own, or a reason why there is none. A group lies below the
//! group of whoever makes it, so that a cloud that runs in a container or a service stays within what that was given.
//!
//! ```text
//! …/paracloud-NAME/       one cloud; NAME is its directory
//!   n1/                   one node of it
//!     START/              one process and all that it starts
//! ```
//!
//! Nothing but these directories is made, written to or removed.

mod find;
mod group;
mod limits;
mod reason;
mod site;
mod usage;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod real;

pub use find::Hierarchies;
pub use group::{Group, Seat};
pub use limits::{CPU_MILLI_MIN, Refused};
pub use reason::NoGroup;
pub use site::{Site, sweep_gone_clouds};
pub use usage::Usage;

use serde::{Deserialize, Serialize};

/// The variable that keeps groups from being made, if it is `off`.
pub const VARIABLE: &str = "PARACLOUD_CGROUPS";

/// Which interface a tree of groups has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    /// A tree for each controller.
    V1,
    /// One tree for all.
    V2,
}
