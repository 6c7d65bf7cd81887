//! A cloud that decides by itself, or has as many instances as there may be.

use super::lives::Lives;
use super::setting::{INSTANCES, Setting};
use super::{Measured, Variant, run_load};
use crate::rig::{self, Rig};
use anyhow::{Context, Result};
use paracloud_core::ids::NodeId;
use paracloud_substrate::layout::Layout;
use paracloud_substrate::process::Identity;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// How long everything may take to be there, in seconds.
const THERE_S_MAX: u64 = 60;
/// The nodes of `up`.
const NODES: [NodeId; 2] = [NodeId(1), NodeId(2)];

/// Runs the load against a cloud of its own.
pub(super) async fn measure(setting: &Setting, variant: Variant) -> Result<Measured> {
    let [listen] = rig::free_addresses(1)?[..] else { unreachable!("one was asked for") };
    let (min, reports) = match variant {
        Variant::Floor => (INSTANCES.1, "used"),
        Variant::Reports => (INSTANCES.0, "used"),
        Variant::Ignored => (INSTANCES.0, "ignored"),
        Variant::Hpa => anyhow::bail!("Kubernetes' autoscaler is no cloud of ours"),
    };
    let program = rig::binary("worker")?;
    let program = program.to_str().context("the path of a program is no text")?;
    // JSON is YAML.
    let manifest = setting.manifest(program, listen, min, reports).to_string();
    let rig = Rig::start(&manifest, &[("RUST_LOG", "warn".to_owned())]).await?;
    let measured = async {
        let bound = Duration::from_secs(THERE_S_MAX);
        for number in 1..=min {
            rig.settled(&format!("worker.{number}"), bound).await?;
        }
        let lives = Lives::default();
        run_load(setting, listen, &lives, |lives| look(rig.layout(), lives)).await
    };
    let measured = measured.await.with_context(|| rig.output());
    let (left, _directory) = rig.end().await;
    let measured = measured?;
    let left = left?;
    anyhow::ensure!(left == 0, "{left} processes were left");
    Ok(measured)
}

/// Finds the processes of the application.
fn look(layout: &Layout, lives: &Lives) -> Result<()> {
    for node in NODES {
        let Ok(entries) = std::fs::read_dir(layout.processes(node)) else { continue };
        for directory in entries.flatten().map(|entry| entry.path()) {
            let Some(identity) = identity(&directory) else { continue };
            lives.add(identity, || File::open(directory.join("log")))?;
        }
    }
    Ok(())
}

/// Who a process is, if it became the program.
fn identity(directory: &Path) -> Option<Identity> {
    serde_json::from_slice(&std::fs::read(directory.join("identity.json")).ok()?).ok()
}
