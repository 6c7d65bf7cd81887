//! Kill and restart of the same program, for comparison.

use super::moving::{BEHIND_MS, FILLED_S_MAX, INSTANCE};
use crate::rig::{Rig, Who};
use anyhow::{Context, Result};
use paracloud_load::driver::Driver;
use paracloud_substrate::process::signal;
use rustix::process::Signal;
use std::time::Duration;

/// How often.
const RESTARTS: u32 = 3;

/// What a user would do instead: kill the program, and let it be started again. Gaps, and writes lost.
pub(super) async fn restarts(rig: &Rig, clients: &mut Driver) -> Result<(Vec<f64>, u64)> {
    let mut gaps = Vec::new();
    let mut lost = 0;
    for _ in 0..RESTARTS {
        let before = rig.settled(INSTANCE, Duration::from_secs(FILLED_S_MAX)).await?;
        let owner = before.record.context("it serves without a record")?.owner;
        clients.begin("restart").await?;
        let process =
            rig.find(Who::Application(owner.node, owner.start)).context("the owner is not there")?;
        signal(&process.open()?.context("the owner is dead already")?, Signal::KILL)?;
        rig.until(INSTANCE, "serves again", Duration::from_secs(FILLED_S_MAX), |_, instance| {
            let record = instance.record.as_ref();
            record.is_some_and(|record| record.owner.start != owner.start && record.served.is_some())
        })
        .await?;
        tokio::time::sleep(Duration::from_millis(BEHIND_MS)).await;
        gaps.push(clients.end("restart").await?.client_gap_ms);
        lost += clients.audit().await?.writes.lost;
    }
    Ok((gaps, lost))
}
