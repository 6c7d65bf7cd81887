//! Agents, shims and programs as real processes; the controller's side of the links is the test's.

#![cfg(test)]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one message among all")]

mod advice;
mod channels;
mod contract;
mod draining;
mod endings;
mod jobs;
mod memory;
mod moves;
mod previews;
mod privacy;
mod probes;
mod processes;
mod questions;
mod resizing;
mod rig;
mod sizes;
mod strangers;
mod synced;
mod unknown;
mod unstarted;
