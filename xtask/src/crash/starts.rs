//! The processes of the instance, as their directories tell.

use super::INSTANCE;
use crate::rig::{Rig, Who};
use paracloud_core::ids::{NodeId, Placement, StartId};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::process::Identity;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The nodes of every trial.
const NODES: [NodeId; 2] = [NodeId(1), NodeId(2)];

/// The part of a process's `spec.json` that matters here.
#[derive(Deserialize)]
struct Spec {
    instance: String,
    address: SocketAddr,
}

/// Every process that was ever started for the instance.
pub(super) fn all(layout: &Layout) -> BTreeSet<Placement> {
    let mut found = BTreeSet::new();
    for node in NODES {
        for entry in std::fs::read_dir(layout.processes(node)).into_iter().flatten().flatten() {
            let start = entry.file_name().to_str().and_then(|name| name.parse::<StartId>().ok());
            found.extend(start.map(|start| Placement::new(node, start)));
        }
    }
    found
}

/// Those that are alive.
pub(super) fn alive(rig: &Rig) -> BTreeSet<Placement> {
    let is_alive = |place: &Placement| rig.find(Who::Application(place.node, place.start)).is_some();
    all(rig.layout()).into_iter().filter(is_alive).collect()
}

/// Where a process is to listen; `None` while that is not written.
pub(super) fn address(layout: &Layout, place: Placement) -> Option<SocketAddr> {
    let text = std::fs::read(layout.process(place.node, place.start).join("spec.json")).ok()?;
    let spec: Spec = serde_json::from_slice(&text).ok()?;
    (spec.instance == INSTANCE).then_some(spec.address)
}

/// Whether its shim has proved it dead.
pub(super) fn is_proved_dead(layout: &Layout, place: Placement) -> bool {
    layout.process(place.node, place.start).join("exit.json").exists()
}

/// Whether its program was started. One whose start id was only used up, so that it never starts, was not.
pub(super) fn was_started(layout: &Layout, place: Placement) -> bool {
    layout.process(place.node, place.start).join("identity.json").exists()
}

/// Whether its program is running now.
pub(super) fn runs(layout: &Layout, place: Placement) -> bool {
    let file = layout.process(place.node, place.start).join("identity.json");
    let identity = std::fs::read(file).ok().and_then(|text| serde_json::from_slice::<Identity>(&text).ok());
    identity.is_some_and(|identity| identity.is_alive().unwrap_or(false))
}
