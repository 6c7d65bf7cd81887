//! Who goes first when one must: one order for whoever lets instances go, the controller by itself or a person's word.
//!
//! First those go that asked to, then those that no session lives in, then those whose loss costs least, then those that would rather go; of those
//! that are alike, from the node that has most of them, in turn. What is not said is dearer than what is, and who says
//! nothing is dearest. Of an app that holds state who says that it holds none goes, or with a consent to losing it: silence
//! is never a yes.

use crate::ids::NodeId;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;
use serde::{Deserialize, Serialize};

/// Whether an instance would rather go than another, where the figures do not decide.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preference {
    /// Rather this one than another.
    Prefer,
    /// It does not mind.
    #[default]
    Unspecified,
    /// Rather another one.
    Avoid,
}

/// What losing an instance costs, by its own word. What is not said is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// Sessions that only it can serve.
    pub sessions: Option<u32>,
    /// Work lost or to be done again, in milliseconds of one slot.
    pub cost_ms: Option<u32>,
    /// Whether it would rather go.
    pub preference: Preference,
    /// How long it takes until it can go, in milliseconds.
    pub drain_ms: Option<u32>,
    /// State that only it holds and that nobody took over, in KiB.
    pub state_kib: Option<u32>,
}

/// One of those that were asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Where it is. `None`: nowhere yet.
    pub node: Option<NodeId>,
    /// What it said. `None`: nothing that can be compared.
    pub loss: Option<Loss>,
    /// Sessions that live in one that said nothing, as far as that is known.
    pub sessions: Option<u32>,
    /// It asked to go.
    pub retires: bool,
}

/// What came of one that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chosen {
    /// It goes.
    Goes,
    /// It goes though it said nothing: too few others can.
    GoesUnheard,
    /// It stays, and others go: [`decides`] says by what.
    Stays,
    /// It said nothing, and others go.
    Silent,
    /// It holds state or did not say that it holds none, and nobody consented to losing that.
    NeedsConsent,
}

/// Whether something is lost with who says this of the state that only it holds, in KiB: silence is never a no.
pub fn may_hold_state(said_kib: Option<u32>) -> bool {
    said_kib != Some(0)
}

/// Whether who says this goes where it must, without another consent.
pub fn can_go(loss: &Loss, may_lose: bool) -> bool {
    may_lose || !may_hold_state(loss.state_kib)
}

/// By what one of two goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decides {
    /// Fewer sessions live in it, or the other one does not say how many.
    Sessions,
    /// Losing it costs less, or the other one does not say what that costs.
    Cost,
    /// It would rather go, or the other one would rather stay.
    Preference,
    /// It is drained sooner, or the other one does not say how soon.
    Drain,
    /// They are alike: who is where most are goes first, then who was asked first.
    Place,
}

/// By what this one goes before that one.
pub fn decides(first: &Loss, second: &Loss) -> Decides {
    match () {
        () if first.sessions != second.sessions => Decides::Sessions,
        () if first.cost_ms != second.cost_ms => Decides::Cost,
        () if first.preference != second.preference => Decides::Preference,
        () if first.drain_ms != second.drain_ms => Decides::Drain,
        () => Decides::Place,
    }
}

impl Chosen {
    /// Whether it goes.
    pub fn goes(self) -> bool {
        match self {
            Self::Goes | Self::GoesUnheard => true,
            Self::Stays | Self::Silent | Self::NeedsConsent => false,
        }
    }
}

impl Loss {
    fn rank(&self) -> impl Ord + use<> {
        let cost = (self.cost_ms.is_none(), self.cost_ms);
        (self.sessions.unwrap_or(u32::MAX), cost, self.preference, self.drain_ms.unwrap_or(u32::MAX))
    }
}

/// The places of those that were asked, who goes first first, where so many are `on` each node. Of those that are alike in
/// everything the one goes that was asked first.
pub fn in_order(asked: &[Asked], mut on: BTreeMap<NodeId, usize>) -> Vec<usize> {
    let mut left: Vec<usize> = (0..asked.len()).collect();
    let mut order = Vec::with_capacity(left.len());
    let rank = |one: &Asked| {
        let known = Loss { sessions: one.sessions, ..Loss::default() };
        (one.loss.is_none(), !one.retires, one.loss.unwrap_or(known).rank())
    };
    while let Some((at, place, node)) = left
        .iter()
        .enumerate()
        .filter_map(|(at, place)| Some((at, *place, asked.get(*place)?)))
        .min_by_key(|(_, place, one)| {
            let there = one.node.and_then(|node| on.get(&node)).copied().unwrap_or_default();
            (rank(one), Reverse(there), *place)
        })
        .map(|(at, place, one)| (at, place, one.node))
    {
        left.remove(at);
        order.push(place);
        if let Some(there) = node.and_then(|node| on.get_mut(&node)) {
            *there = there.saturating_sub(1);
        }
    }
    order
}

/// Chooses `excess` of those that were asked: each with its place among them, those that go first.
pub fn choose(
    asked: &[Asked],
    excess: usize,
    may_lose: bool,
    on: BTreeMap<NodeId, usize>,
) -> Vec<(usize, Chosen)> {
    let mut left = excess;
    let decide = |place: usize| {
        let chosen = match asked.get(place).and_then(|one| one.loss) {
            None if !may_lose => Chosen::NeedsConsent,
            Some(loss) if !can_go(&loss, may_lose) => Chosen::NeedsConsent,
            None if left == 0 => Chosen::Silent,
            None => Chosen::GoesUnheard,
            Some(_) if left == 0 => Chosen::Stays,
            Some(_) => Chosen::Goes,
        };
        left -= usize::from(chosen.goes());
        (place, chosen)
    };
    in_order(asked, on).into_iter().map(decide).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(cost_ms: u32) -> Option<Loss> {
        Some(Loss { cost_ms: Some(cost_ms), state_kib: Some(0), ..Loss::default() })
    }

    fn nowhere(losses: &[Option<Loss>]) -> Vec<Asked> {
        losses.iter().map(|loss| Asked { node: None, loss: *loss, sessions: None, retires: false }).collect()
    }

    /// Who goes, by place.
    fn gone(asked: &[Asked], excess: usize, may_lose: bool, on: &[(u32, usize)]) -> Vec<usize> {
        let on = on.iter().map(|(node, count)| (NodeId(*node), *count)).collect();
        let chosen = choose(asked, excess, may_lose, on).into_iter();
        chosen.filter(|(_, it)| it.goes()).map(|(place, _)| place).collect()
    }

    #[test]
    fn of_those_that_say_nothing_the_one_goes_in_which_the_fewest_sessions_are_known_to_live() {
        let silent = [Some(2), None, Some(0)];
        let all = silent.map(|sessions| Asked { node: None, loss: None, sessions, retires: false });
        assert_eq!(gone(&all, 3, true, &[]), [2, 0, 1]);
    }

    #[test]
    fn the_cheapest_go_and_what_is_not_said_is_dearer_than_what_is() {
        let unpriced = Some(Loss { drain_ms: Some(1), state_kib: Some(0), ..Loss::default() });
        let all = nowhere(&[costs(9), unpriced, costs(0), costs(9)]);
        assert_eq!(gone(&all, 1, false, &[]), [2]);
        assert_eq!(gone(&all, 2, false, &[]), [2, 0], "of equals who was asked first");
        assert_eq!(gone(&all, 9, false, &[]), [2, 0, 3, 1]);
        assert!(gone(&all, 0, true, &[]).is_empty());
    }

    #[test]
    fn who_would_rather_go_goes_first_only_where_the_figures_do_not_decide_and_who_has_sessions_last() {
        let with = |preference, cost_ms, sessions| {
            let loss = costs(cost_ms).unwrap_or_default();
            Some(Loss { preference, sessions: Some(sessions), ..loss })
        };
        let nobody_knows = Some(Loss { sessions: None, ..costs(0).unwrap_or_default() });
        let all = nowhere(&[
            with(Preference::Prefer, 0, 2),
            with(Preference::Avoid, 5, 0),
            with(Preference::Unspecified, 5, 0),
            with(Preference::Prefer, 5, 0),
            with(Preference::Avoid, 4, 0),
            with(Preference::Prefer, 0, 1),
            nobody_knows,
        ]);
        assert_eq!(gone(&all, 9, false, &[]), [4, 3, 2, 1, 5, 0, 6]);
    }

    #[test]
    fn who_asked_to_go_goes_first_whatever_that_costs() {
        let mut all = nowhere(&[costs(0), costs(9), None]);
        all[1].retires = true;
        all[2].retires = true;
        assert_eq!(gone(&all, 1, true, &[]), [1], "silence is no yes, whatever was asked for before");
    }

    #[test]
    fn of_those_that_are_alike_those_go_from_the_fullest_node_in_turn() {
        let all = [1, 2, 1, 2, 1].map(|node| Asked {
            node: Some(NodeId(node)),
            loss: costs(0),
            sessions: None,
            retires: false,
        });
        let first = gone(&all, 3, false, &[(1, 3), (2, 2)]);
        assert_eq!(first, [0, 1, 2], "as many stay on each, as far as that goes");
        assert_eq!(gone(&all, 2, false, &[(1, 3), (2, 9)]), [1, 3]);
    }

    #[test]
    fn who_holds_state_or_does_not_say_that_it_holds_none_goes_only_with_a_consent() {
        let holds = |state_kib| Some(Loss { state_kib, ..costs(0).unwrap_or_default() });
        let all = nowhere(&[holds(Some(8)), holds(None), costs(60_000)]);
        let chosen = |may_lose| choose(&all, 1, may_lose, BTreeMap::new());
        let needs = Chosen::NeedsConsent;
        assert_eq!(chosen(false), [(0, needs), (1, needs), (2, Chosen::Goes)]);
        assert_eq!(chosen(true), [(0, Chosen::Goes), (1, Chosen::Stays), (2, Chosen::Stays)]);
    }

    #[test]
    fn who_says_nothing_goes_when_nobody_else_is_there_and_of_what_holds_state_never_without_a_consent() {
        let all = nowhere(&[None, costs(60_000)]);
        let chosen = |excess, may_lose| choose(&all, excess, may_lose, BTreeMap::new());
        assert_eq!(chosen(1, true), [(1, Chosen::Goes), (0, Chosen::Silent)]);
        assert_eq!(chosen(2, true), [(1, Chosen::Goes), (0, Chosen::GoesUnheard)]);
        assert_eq!(
            chosen(2, false),
            [(1, Chosen::Goes), (0, Chosen::NeedsConsent)],
            "silence is never a yes"
        );
        assert_eq!(chosen(0, true), [(1, Chosen::Stays), (0, Chosen::Silent)]);
    }
    #[test]
    fn what_makes_one_go_before_another_is_the_first_figure_that_is_not_the_same() {
        let loss = costs(5).unwrap_or_default();
        let cases = [
            (Loss { sessions: Some(1), cost_ms: None, ..loss }, Decides::Sessions),
            (Loss { cost_ms: None, preference: Preference::Prefer, ..loss }, Decides::Cost),
            (Loss { preference: Preference::Avoid, drain_ms: Some(3), ..loss }, Decides::Preference),
            (Loss { drain_ms: Some(3), state_kib: Some(8), ..loss }, Decides::Drain),
            (Loss { state_kib: Some(8), ..loss }, Decides::Place),
        ];
        for (other, by) in cases {
            assert_eq!(decides(&loss, &other), by, "{other:?}");
        }
    }
}
