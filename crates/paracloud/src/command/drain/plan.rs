//! Who is to go, and where to.

use crate::failure::{Exit, Failure};
use paracloud_core::ids::NodeId;
use paracloud_substrate::config::Cloud;
use paracloud_substrate::names::{self, InstanceName};
use paracloud_substrate::person::{Node, Status};
use std::collections::BTreeMap;

/// The instances that a node owns, in the order in which people count.
pub(super) fn owned(status: &Status, cloud: &Cloud, node: NodeId) -> Vec<String> {
    let is_here = |record: &paracloud_core::register::Record| record.owner.node == node;
    let here = status.instances.iter().filter(|it| it.record.as_ref().is_some_and(is_here));
    let configured = here.filter(|instance| cloud.app_of(&instance.name).is_some());
    let mut found: Vec<_> = configured.map(|instance| instance.name.clone()).collect();
    found.sort_by(|left, right| names::order(left, right));
    found
}

/// Each instance that a node owns, and the node that it is to go to: the one with the fewest of its app, then with the fewest
/// of all, then the lowest, of those that are connected; what was planned before counts.
///
/// # Errors
/// The node cannot be asked, or there is no other one.
pub(super) fn moves(
    status: &Status,
    cloud: &Cloud,
    from: NodeId,
    name: &str,
) -> Result<Vec<(String, NodeId)>, Failure> {
    let leaving = owned(status, cloud, from);
    if leaving.is_empty() {
        return Ok(Vec::new());
    }
    let is_there = |node: &&Node| node.connected;
    if !status.nodes.iter().filter(is_there).any(|node| node.id == from) {
        let why = "its agent is not connected: what runs there can neither be asked nor moved";
        let next = format!("wait for it; if it will not come back: paracloud node lost {name}");
        return Err(Failure::new(Exit::Failed, "node_unreachable", name, why, next));
    }
    let takes = |node: &&Node| is_there(node) && !node.closed && node.id != from;
    let others = status.nodes.iter().filter(takes).map(|node| node.id);
    let others: Vec<_> = others.collect();
    let owner = |instance: &paracloud_substrate::person::Instance| {
        Some((instance.name.clone(), instance.record.as_ref()?.owner.node))
    };
    let mut places: BTreeMap<String, NodeId> = status.instances.iter().filter_map(owner).collect();
    let mut moves = Vec::new();
    for instance in leaving {
        let app = instance.parse::<InstanceName>().ok().map(|name| name.app().to_owned());
        let is_own =
            |name: &str| name.parse::<InstanceName>().ok().is_some_and(|it| Some(it.app()) == app.as_deref());
        let filling = |node: &NodeId| {
            let on = || places.iter().filter(|(_, at)| *at == node);
            (on().filter(|(name, _)| is_own(name)).count(), on().count(), *node)
        };
        let Some(to) = others.iter().copied().min_by_key(filling) else {
            let why = "no other node is connected that takes instances";
            return Err(Failure::new(Exit::Failed, "no_other_node", name, why, "look at paracloud ps"));
        };
        places.insert(instance.clone(), to);
        moves.push((instance, to));
    }
    Ok(moves)
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{Placement, StartId};
    use paracloud_core::migration::Phase;
    use paracloud_core::register::Record;
    use paracloud_substrate::person::Instance;
    use std::path::Path;

    fn status(places: &[(&str, u32)], connected: &[u32]) -> Status {
        let instance = |(name, node): &(&str, u32)| Instance {
            name: (*name).to_owned(),
            record: Some(Record::first(Placement::new(NodeId(*node), StartId(7)))),
            phase: Phase::Idle,
            unknown: None,
            stateful: true,
            age_ms: None,
            unready: None,
            unanswered: None,
        };
        let node = |id| Node {
            id: NodeId(id),
            name: format!("n{id}"),
            connected: connected.contains(&id),
            closed: false,
        };
        Status {
            instances: places.iter().map(instance).collect(),
            nodes: (1..=3).map(node).collect(),
            gateways: Vec::new(),
            holds: Vec::new(),
            scales: Vec::new(),
        }
    }

    fn planned(places: &[(&str, u32)], connected: &[u32]) -> Result<Vec<(String, u32)>, String> {
        let text = "kind: App\nname: web\ncommand: [sh, '{port}']\nscale: {max: 20}\n---\nkind: App\nname: db\n\
                    command: [sh, '{port}']\nlisten: 9090\n";
        let cloud = crate::manifest::resolve(text, Path::new("/"), 3).unwrap().cloud;
        let moves =
            moves(&status(places, connected), &cloud, NodeId(1), "n1").map_err(|failure| failure.code)?;
        Ok(moves.into_iter().map(|(name, node)| (name, node.0)).collect())
    }

    #[test]
    fn what_a_node_owns_goes_where_the_fewest_of_its_kind_are() {
        let places = [("web.10", 1), ("web.2", 1), ("web.3", 2), ("db", 1), ("gone", 1), ("web.4", 3)];
        let all =
            |plan: &[(&str, u32)]| Ok(plan.iter().map(|(name, node)| ((*name).to_owned(), *node)).collect());
        assert_eq!(planned(&places, &[1, 2, 3]), all(&[("db", 2), ("web.2", 3), ("web.10", 2)]));
        assert_eq!(planned(&places, &[1, 3]), all(&[("db", 3), ("web.2", 3), ("web.10", 3)]));
        assert_eq!(planned(&[("db", 2)], &[2]), all(&[]), "nothing is there");
    }

    #[test]
    fn a_node_that_cannot_be_asked_or_is_the_only_one_is_not_drained() {
        assert_eq!(planned(&[("db", 1)], &[2, 3]), Err("node_unreachable".to_owned()));
        assert_eq!(planned(&[("db", 1)], &[1]), Err("no_other_node".to_owned()));
    }
}
