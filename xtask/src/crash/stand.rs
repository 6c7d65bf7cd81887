//! A victim that was stopped: it stands for its time, is seen to, and goes on.

use super::starts;
use crate::rig::Rig;
use anyhow::{Context, Result, ensure};
use paracloud_core::ids::Placement;
use paracloud_substrate::process::{Identity, signal};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// How long a stopped victim stands still, in milliseconds.
pub(super) const STOPPED_MS: u64 = 10_000;
/// How long a process that is killed as it stands may take to be dead.
const DYING_S_MAX: u64 = 5;
/// How long it may take to go on.
const OBEYED_S_MAX: u64 = 40;
/// How often it is looked at, in milliseconds.
const LOOK_MS: u64 = 10;

/// A victim that stands still.
pub(super) struct Standing {
    pub(super) identity: Identity,
    /// The process that it is, or looks after, if it belongs to one.
    pub(super) process: Option<Placement>,
}

impl Standing {
    /// Lets it stand for its time, sees to it that it did, and lets it go on.
    pub(super) async fn stand(self, rig: &Rig) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(STOPPED_MS) {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            if !self.is_standing(rig).await? {
                return Ok(());
            }
        }
        let Some(handle) = self.identity.open()? else { return Ok(()) };
        signal(&handle, Signal::CONT)?;
        let begun = Instant::now();
        while self.identity.is_stopped()? {
            ensure!(begun.elapsed().as_secs() < OBEYED_S_MAX, "it does not go on after its stop");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Whether it stands. It may have been ended as it stood, if it belongs to a process that the cloud ends.
    async fn is_standing(&self, rig: &Rig) -> Result<bool> {
        let begun = Instant::now();
        while !self.identity.is_stopped()? {
            if !self.identity.is_alive()? {
                let process = self.process.context("the victim died as it stood")?;
                // Of a shim: whoever ends it without its process leaves that to nobody.
                ensure!(
                    !starts::runs(rig.layout(), process),
                    "the shim died as it stood, and its process lives"
                );
                return Ok(false);
            }
            // Between a stop and its death a process that is killed is neither.
            ensure!(begun.elapsed().as_secs() < DYING_S_MAX, "the victim went on by itself before its time");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(true)
    }
}
