//! The processes of an instance, as their directories tell.

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

/// Every process that was ever started for the instance. One of which it is not written yet whose it is may be its own.
pub(super) fn all(layout: &Layout, instance: &str) -> BTreeSet<Placement> {
    let mut found = BTreeSet::new();
    for node in NODES {
        for entry in std::fs::read_dir(layout.processes(node)).into_iter().flatten().flatten() {
            let start = entry.file_name().to_str().and_then(|name| name.parse::<StartId>().ok());
            found.extend(start.map(|start| Placement::new(node, start)));
        }
    }
    found.retain(|place| spec(layout, *place).is_none_or(|spec| spec.instance == instance));
    found
}

fn spec(layout: &Layout, place: Placement) -> Option<Spec> {
    let text = std::fs::read(layout.process(place.node, place.start).join("spec.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Whether exactly one process of the instance is alive: this one.
pub(super) fn is_alone(rig: &Rig, instance: &str, owner: Placement) -> bool {
    alive(rig, instance).iter().map(|place| (place.node, place.start)).eq([(owner.node, owner.start)])
}

/// Those that are alive; directories do not say of which revision.
pub(super) fn alive(rig: &Rig, instance: &str) -> BTreeSet<Placement> {
    let is_alive = |place: &Placement| rig.find(Who::Application(place.node, place.start)).is_some();
    all(rig.layout(), instance).into_iter().filter(is_alive).collect()
}

/// Where a process is to listen; `None` while that is not written.
pub(super) fn address(layout: &Layout, place: Placement, instance: &str) -> Option<SocketAddr> {
    spec(layout, place).filter(|spec| spec.instance == instance).map(|spec| spec.address)
}

/// Whether its shim has proved it dead.
pub(super) fn is_proved_dead(layout: &Layout, place: Placement) -> bool {
    layout.process(place.node, place.start).join("exit.json").exists()
}

/// Whether nothing is left of it: it is proved dead, or its directory was cleared away after that.
pub(super) fn is_over(layout: &Layout, place: Placement) -> bool {
    is_proved_dead(layout, place) || !layout.process(place.node, place.start).exists()
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
