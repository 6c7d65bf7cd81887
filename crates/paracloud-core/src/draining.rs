//! A node is drained: where each instance that it owns goes, and how; and for how long one is waited for that cannot go yet.
//!
//! Who has nothing that only it holds, of an app that may have one more, is replaced: so never fewer serve. The others are
//! moved.

use crate::ids::NodeId;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Who cannot go yet is asked again after this long at most, in milliseconds: it may let go before it said so.
pub const ASK_AGAIN_MS: u64 = 2_000;

/// Who cannot be asked or placed because an agent is away is tried again after this long, in milliseconds.
pub const AWAY_MS: u64 = 500;

/// Of one that was begun and given up for something that passes so many are tried in all.
pub const TRIES_MAX: u32 = 3;

/// An instance, and the node of its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// Its name.
    pub name: String,
    /// Its app.
    pub app: String,
    /// Where it is.
    pub node: NodeId,
}

/// How one leaves the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// It is moved there.
    Move(NodeId),
    /// Another one is started, and it leaves once that serves. Where there may be none by then, it is moved there.
    Replace(NodeId),
}

impl Way {
    /// Where to.
    pub fn to(self) -> NodeId {
        match self {
            Self::Move(node) | Self::Replace(node) => node,
        }
    }
}

/// What stands in the way of one that is to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// It asks to be left alone, for so many milliseconds.
    Held(u64),
    /// Another operation of it is open, which ends.
    Busy,
    /// An agent that it takes is not connected. It may be there again in a moment.
    Away,
    /// It was begun and given up so many times, for something that passes.
    GivenUp(u32),
    /// What does not pass by itself.
    Lasting,
}

/// The node that one more of an app goes to: the one with the fewest of that app, then with the fewest of all, then the
/// lowest.
pub fn roomiest<'a>(
    app: &str,
    nodes: &[NodeId],
    placed: impl Iterator<Item = (&'a str, NodeId)> + Clone,
) -> Option<NodeId> {
    let filling = |node: &NodeId| {
        let on = || placed.clone().filter(|(_, at)| at == node);
        (on().filter(|(of, _)| *of == app).count(), on().count(), *node)
    };
    nodes.iter().copied().min_by_key(filling)
}

/// How each instance that a node owns leaves it, in the order of `instances`; what was planned before counts. `open`: the
/// nodes that take any. `most`: how many instances of an app there may be, of those of which each can be replaced. `None`:
/// they have nowhere to go.
pub fn plan(
    node: NodeId,
    instances: &[Placed],
    open: &[NodeId],
    most: &BTreeMap<String, u32>,
) -> Option<Vec<(String, Way)>> {
    let others: Vec<NodeId> = open.iter().copied().filter(|it| *it != node).collect();
    let mut placed: Vec<_> = instances.iter().map(|it| (it.app.as_str(), it.node)).collect();
    let mut ways = Vec::new();
    for (place, instance) in instances.iter().enumerate().filter(|(_, it)| it.node == node) {
        let to = roomiest(&instance.app, &others, placed.iter().copied())?;
        if let Some((_, at)) = placed.get_mut(place) {
            *at = to;
        }
        let there = instances.iter().filter(|it| it.app == instance.app).count();
        let most = most.get(&instance.app);
        let may_come = most.is_some_and(|most| u32::try_from(there).is_ok_and(|it| it < *most));
        ways.push((instance.name.clone(), if may_come { Way::Replace(to) } else { Way::Move(to) }));
    }
    Some(ways)
}

/// After how many milliseconds it is asked again; `None`: it stays. `left_ms`: it is waited for no longer.
pub fn ask_again_ms(obstacle: Obstacle, left_ms: u64) -> Option<u64> {
    let wait_ms = match obstacle {
        Obstacle::Held(held_ms) => held_ms.clamp(1, ASK_AGAIN_MS),
        Obstacle::Busy => ASK_AGAIN_MS,
        Obstacle::Away => AWAY_MS,
        Obstacle::GivenUp(tries) if tries < TRIES_MAX => AWAY_MS,
        Obstacle::GivenUp(_) | Obstacle::Lasting => return None,
    };
    (left_ms > 0).then(|| wait_ms.min(left_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn placed(all: &[(&str, u32)]) -> Vec<Placed> {
        let app = |name: &str| name.split('.').next().unwrap_or(name).into();
        all.iter()
            .map(|(name, node)| Placed { name: (*name).into(), app: app(name), node: NodeId(*node) })
            .collect()
    }

    fn moves(all: &[(&str, u32)], open: &[NodeId]) -> Option<Vec<(String, u32)>> {
        let ways = plan(NodeId(1), &placed(all), open, &BTreeMap::new())?;
        Some(ways.into_iter().map(|(name, way)| (name, way.to().0)).collect())
    }

    #[test]
    fn what_a_node_owns_goes_where_the_fewest_of_its_kind_are() {
        let all = [("db", 1), ("web.2", 1), ("web.3", 2), ("web.4", 3), ("web.10", 1)];
        let to = |nodes: [u32; 3]| {
            let names = ["db", "web.2", "web.10"].map(String::from);
            Some(names.into_iter().zip(nodes).collect())
        };
        assert_eq!(moves(&all, &NODES), to([2, 3, 2]));
        let two = [NodeId(1), NodeId(3)];
        assert_eq!(moves(&all, &two), to([3, 3, 3]));
        assert_eq!(moves(&all, &NODES[..1]), None, "there is no other node");
        assert_eq!(moves(&[("db", 2)], &NODES[..1]), Some(Vec::new()), "nothing is there");
    }

    #[test]
    fn who_may_have_another_one_in_its_place_is_replaced_and_the_others_are_moved() {
        let all = placed(&[("db", 1), ("web.1", 1), ("web.2", 2)]);
        let way = |most: u32| {
            let ways = plan(NodeId(1), &all, &NODES, &BTreeMap::from([("web".into(), most)]))?;
            ways.into_iter().find(|(name, _)| name == "web.1").map(|(_, way)| way)
        };
        assert_eq!([way(3), way(2)], [Some(Way::Replace(NodeId(3))), Some(Way::Move(NodeId(3)))]);
    }

    #[test]
    fn who_asks_to_be_left_alone_is_asked_again_until_nobody_waits_any_more() {
        let waits = |obstacle| [0, 700, 60_000].map(|left_ms| ask_again_ms(obstacle, left_ms));
        assert_eq!(waits(Obstacle::Held(900)), [None, Some(700), Some(900)]);
        assert_eq!(waits(Obstacle::Held(90_000)), [None, Some(700), Some(ASK_AGAIN_MS)]);
        assert_eq!(waits(Obstacle::Held(0)), [None, Some(1), Some(1)]);
        assert_eq!(waits(Obstacle::Busy), [None, Some(700), Some(ASK_AGAIN_MS)]);
        assert_eq!(waits(Obstacle::Away), [None, Some(AWAY_MS), Some(AWAY_MS)]);
        assert_eq!(waits(Obstacle::Lasting), [None, None, None]);
        assert_eq!(waits(Obstacle::GivenUp(TRIES_MAX - 1)), [None, Some(AWAY_MS), Some(AWAY_MS)]);
        assert_eq!(waits(Obstacle::GivenUp(TRIES_MAX)), [None, None, None], "it does not pass after all");
    }
}
