//! What the shells share of the machine they run on: the substrate `local`.
//!
//! | | |
//! |---|---|
//! | [`cgroup`] | control groups: limits, usage, members |
//! | [`config`] | the resolved configuration of one cloud, read by every shell when it starts |
//! | [`decision`] | the log of decisions, and its replay |
//! | [`explained`] | the decisions behind an app, an instance or an operation |
//! | [`layout`] | where what lies in the cloud's directory |
//! | [`names`] | what instances are called |
//! | [`lifeline`] | when a shell is to end |
//! | [`advice`] | what applications say of themselves for a time |
//! | [`link`], [`message`] | the lines that shells say to the controller, and it to them |
//! | [`person`] | what a person's command says to the controller |
//! | [`private`] | whether a directory is its owner's alone |
//! | [`process`] | who a process is, across restarts of whoever looks after it |
//! | [`trace`] | the log of a machine's inputs and effects, and its replay |
//! | [`failpoint`] | where the crash tests stop a shell |
//! | [`figures`] | sizes and times as people read them |
//!
//! Nothing here decides anything.

pub mod advice;
pub mod cgroup;
pub mod config;
pub mod decision;
pub mod draining;
pub mod explained;
pub mod failpoint;
pub mod figures;
pub mod layout;
pub mod lifeline;
pub mod link;
pub mod message;
pub mod names;
pub mod person;
pub mod private;
pub mod process;
pub mod seen;
pub mod trace;
pub mod updating;

use paracloud_core::ids::StartId;

/// A start id never used before: 64 random bits.
pub fn fresh_start_id() -> StartId {
    StartId(rand::random())
}
