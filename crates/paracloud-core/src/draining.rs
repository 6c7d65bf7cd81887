//! A node is drained: where each instance that it owns goes, and how; and for how long one is waited for that cannot go yet.
//!
//! Who has nothing that only it holds, of an app that may have one more, is replaced: so never fewer serve. The others are
//! moved.

use crate::ids::NodeId;
use alloc::vec::Vec;

/// Who cannot go yet is asked again after this long at most, in milliseconds: it may let go before it said so.
pub const ASK_AGAIN_MS: u64 = 2_000;

/// Who cannot be asked or placed because an agent is away is tried again after this long, in milliseconds.
pub const AWAY_MS: u64 = 500;

/// An instance, and the node of its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its app.
    pub app: &'a str,
    /// Where it is.
    pub node: NodeId,
}

/// How one leaves the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
/// nodes that take any. `most`: how many instances of an app there may be, if each of them can be replaced. `None`: they have
/// nowhere to go.
pub fn plan<'a>(
    node: NodeId,
    instances: &[Placed<'a>],
    open: &[NodeId],
    most: impl Fn(&str) -> Option<u32>,
) -> Option<Vec<(&'a str, Way)>> {
    let others: Vec<NodeId> = open.iter().copied().filter(|it| *it != node).collect();
    let mut placed: Vec<Placed<'a>> = instances.to_vec();
    let mut ways = Vec::new();
    for (place, instance) in instances.iter().enumerate().filter(|(_, it)| it.node == node) {
        let to = roomiest(instance.app, &others, placed.iter().map(|it| (it.app, it.node)))?;
        if let Some(planned) = placed.get_mut(place) {
            planned.node = to;
        }
        let there = instances.iter().filter(|it| it.app == instance.app).count();
        let may_come = most(instance.app).is_some_and(|most| u32::try_from(there).is_ok_and(|it| it < most));
        ways.push((instance.name, if may_come { Way::Replace(to) } else { Way::Move(to) }));
    }
    Some(ways)
}

/// After how many milliseconds it is asked again; `None`: it stays. `left_ms`: it is waited for no longer.
pub fn ask_again_ms(obstacle: Obstacle, left_ms: u64) -> Option<u64> {
    let wait_ms = match obstacle {
        Obstacle::Held(held_ms) => held_ms.clamp(1, ASK_AGAIN_MS),
        Obstacle::Busy => ASK_AGAIN_MS,
        Obstacle::Away => AWAY_MS,
        Obstacle::Lasting => return None,
    };
    (left_ms > 0).then(|| wait_ms.min(left_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn placed(all: &[(&'static str, u32)]) -> Vec<Placed<'static>> {
        let app = |name: &'static str| name.split('.').next().unwrap_or(name);
        all.iter().map(|(name, node)| Placed { name, app: app(name), node: NodeId(*node) }).collect()
    }

    fn moves(all: &[(&'static str, u32)], open: &[NodeId]) -> Option<Vec<(&'static str, u32)>> {
        let ways = plan(NodeId(1), &placed(all), open, |_| None)?;
        Some(ways.into_iter().map(|(name, way)| (name, way.to().0)).collect())
    }

    #[test]
    fn what_a_node_owns_goes_where_the_fewest_of_its_kind_are() {
        let all = [("db", 1), ("web.2", 1), ("web.3", 2), ("web.4", 3), ("web.10", 1)];
        assert_eq!(moves(&all, &NODES), Some(Vec::from([("db", 2), ("web.2", 3), ("web.10", 2)])));
        let two = [NodeId(1), NodeId(3)];
        assert_eq!(moves(&all, &two), Some(Vec::from([("db", 3), ("web.2", 3), ("web.10", 3)])));
        assert_eq!(moves(&all, &NODES[..1]), None, "there is no other node");
        assert_eq!(moves(&[("db", 2)], &NODES[..1]), Some(Vec::new()), "nothing is there");
    }

    #[test]
    fn who_may_have_another_one_in_its_place_is_replaced_and_the_others_are_moved() {
        let all = placed(&[("db", 1), ("web.1", 1), ("web.2", 2)]);
        let way = |most: u32| {
            let ways = plan(NodeId(1), &all, &NODES, |app| (app == "web").then_some(most))?;
            ways.into_iter().find(|(name, _)| *name == "web.1").map(|(_, way)| way)
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
    }
}
