//! How everything is, for a person.

use crate::control::{Control, View};
use crate::journal::now_unix_ms;
use crate::peers::Peer;
use crate::scales;
use paracloud_core::ids::GatewayId;
use paracloud_substrate::config::State;
use paracloud_substrate::person::{Instance, Node, Status};

/// How everything is: as new as anything that was heard before it was asked for, if the instances have time to say.
pub(super) async fn of(control: &Control) -> Status {
    let names = control.fleet.names();
    control.shown(names.iter().map(String::as_str)).await;
    // Nothing is left of one that left.
    let is_there = |(_, view): &(String, View)| !view.record.as_ref().is_some_and(|record| record.gone);
    let instance = |(name, view): (String, View)| Instance {
        state: control.cloud().app_of(&name).map_or(State::Stateful, |app| app.state),
        age_ms: view
            .served_unix_ms
            .filter(|_| !view.is_dead)
            .map(|since| now_unix_ms().saturating_sub(since)),
        restarts: view.is_dead,
        unready: view.record.as_ref().and_then(|record| control.why_unready(&name, record)),
        unanswered: control.what_is_unanswered(&name),
        name,
        record: view.record,
        phase: view.phase,
        unknown: view.unknown,
    };
    let node = |node: &paracloud_substrate::config::Node| Node {
        id: node.id,
        name: node.name.clone(),
        connected: control.peers.is_there(Peer::Agent(node.id)),
        closed: control.closed.has(node.id),
        draining: control.drains.terms(&node.id).is_some(),
    };
    let gateway = |gateway: &GatewayId| (gateway.0, control.peers.is_there(Peer::Gateway(*gateway)));
    Status {
        instances: control.views.all().into_iter().filter(is_there).map(instance).collect(),
        nodes: control.cloud().nodes.iter().map(node).collect(),
        gateways: control.cloud().gateways.iter().map(gateway).collect(),
        holds: control.holds(),
        scales: scales::kept(control),
        updating: control.updates.going_on(),
    }
}
