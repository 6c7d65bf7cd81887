//! The clients of a benchmark: a process of their own.

use crate::rig;
use anyhow::Result;
use paracloud_load::Config;
use paracloud_load::driver::Driver;
use tokio::process::Command;

/// Starts the process and its load.
pub(super) async fn start(config: Config) -> Result<Driver> {
    Ok(Driver::start(Command::new(rig::binary("paracloud-load")?), config).await?)
}
