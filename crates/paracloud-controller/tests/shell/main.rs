//! The controller as a whole: its real store and its real socket, among agents and gateways that are played here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod applying;
#[path = "../store/disk.rs"]
#[expect(dead_code, reason = "the store's own tests use the rest of it")]
mod disk;
mod disks;
mod journal;
mod kills;
mod links;
mod lost;
mod moves;
mod person;
mod player;
mod privacy;
mod recovery;
mod town;
