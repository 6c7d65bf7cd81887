//! Who goes when one must: a few that can go are asked what losing them costs, and the cheapest goes.
//!
//! Who is held, at work by its own word, or in an operation is not asked, nor who owns sessions of an app that is not
//! `state: session`: there nothing waits for their end. Who holds what must not be lost goes only by its own word: silence
//! is never a yes. Of those that have answered [`fewer`] says who goes first.

use super::fewer::{self, Asked, Loss};
use super::observation::{Instance, Observation, Phase, Told};
use super::policy::{Policy, State};
use super::staffing::Unit;
use crate::ids::{InstanceNumber, NodeId};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What came of an instance that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It goes: losing it costs so many milliseconds of a slot. `None`: nobody knows what that costs.
    Goes(Option<u32>),
    /// Losing it costs so much, and others come first: they have fewer sessions, cost less or are alike, or are waited for.
    /// `None`: nobody knows what that costs.
    Dearer(Option<u32>),
    /// Losing it costs more than keeping it for a hold.
    TooDear(u32),
    /// It is asked, or was and has not answered yet.
    Asked,
    /// It was asked and did not answer.
    Silent,
    /// It cannot be asked, and it holds what must not be lost.
    Unasked,
    /// It serves, and neither it nor gateways say what it has in hand. It goes only by its own wish or a person's word.
    Unmeasured,
    /// It holds so many KiB that would be lost with it, or did not say that it holds nothing.
    HoldsState(Option<u32>),
    /// It is not to be touched for so many milliseconds.
    Held(u32),
    /// An operation of it is open.
    InOperation,
    /// So many sessions live in it.
    Sessions(u32),
    /// It starts, or its node is silent.
    NotReady,
    /// Others were looked at first: they have fewer sessions or less in flight, or are alike in that and came later.
    Behind {
        /// Those that live in it, if that is known.
        sessions: Option<u32>,
        /// What is in it, by its own word or by what gateways have in flight there, if either is known.
        in_flight: Option<u32>,
    },
    /// It stays though it could go: what serves now would not do without it, or only those go that asked to.
    Spared,
}

/// What a choice came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// They go, cheapest first.
    pub(super) leave: Vec<InstanceNumber>,
    /// They are to be asked.
    pub(super) ask: Vec<InstanceNumber>,
    /// Some were asked and may still answer.
    pub(super) waits: bool,
    pub(super) standings: BTreeMap<InstanceNumber, Standing>,
}

/// What a choice is made with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) policy: &'a Policy,
    pub(super) unit: Option<Unit>,
    /// How many may go.
    pub(super) excess: u32,
    /// How many of those may be ready ones.
    pub(super) excess_ready: u32,
    /// Losing one may cost so much, in milliseconds of a slot; `u64::MAX`: whatever it costs.
    pub(super) dear_ms: u64,
    pub(super) now_ms: u64,
    /// When each was asked the last time.
    pub(super) asked: &'a BTreeMap<InstanceNumber, u64>,
    /// Only those that asked to go.
    pub(super) only_retiring: bool,
}

/// Chooses among those that serve.
pub(super) fn choose(observation: &Observation, terms: &Terms<'_>) -> Choice {
    let mut choice = Choice::default();
    let mut able: Vec<(InstanceNumber, &Instance, Price)> = Vec::new();
    for (number, instance) in observation.live() {
        let is_out = terms.only_retiring && !instance.retires;
        let obstacle = obstacle(instance, terms.policy).or_else(|| is_out.then_some(Standing::Spared));
        match obstacle.map_or_else(|| price(number, instance, terms), Price::Not) {
            Price::Not(standing) => drop(choice.standings.insert(number, standing)),
            price @ (Price::Costs(_) | Price::Ask | Price::Wait) => able.push((number, instance, price)),
        }
    }
    able.sort_by_key(|(number, instance, price)| order(*number, instance, *price));
    let excess = usize::try_from(terms.excess).unwrap_or(usize::MAX);
    let candidates =
        excess.saturating_mul(usize::try_from(terms.policy.quotes.candidates).unwrap_or(usize::MAX));
    let spared = able.split_off(able.len().min(candidates));
    let behind = |instance: &Instance| Standing::Behind {
        sessions: instance.sessions,
        in_flight: in_flight(instance),
    };
    choice.standings.extend(spared.into_iter().map(|(number, instance, _)| (number, behind(instance))));
    let mut priced = Vec::new();
    for (number, instance, price) in able {
        match price {
            Price::Costs(cost_ms) => priced.push((cost_ms, number, instance)),
            Price::Ask => choice.ask.push(number),
            Price::Wait => choice.waits = true,
            Price::Not(_) => {}
        }
        choice.standings.insert(number, Standing::Asked);
    }
    choice.waits |= !choice.ask.is_empty();
    priced.sort_by_key(|(_, number, _)| core::cmp::Reverse(*number));
    // Who was asked later keeps nobody waiting: of each few that have answered, one can go.
    let answered =
        priced.len() / usize::try_from(terms.policy.quotes.candidates).unwrap_or(usize::MAX).max(1);
    let most = if choice.waits { excess.min(answered) } else { excess };
    let mut ready_left = terms.excess_ready;
    let asked: Vec<Asked> = priced.iter().map(|(cost_ms, _, instance)| asked(*cost_ms, instance)).collect();
    for place in fewer::in_order(&asked, on(observation)) {
        let Some(&(cost_ms, number, instance)) = priced.get(place) else { continue };
        let is_ready = instance.phase == Phase::Ready;
        let is_spared = is_ready && ready_left == 0;
        // It may be as dear as any, and may be known at the next look.
        let is_unmeasured = cost_ms.is_none() && is_ready && !instance.retires && terms.dear_ms < u64::MAX;
        let standing = match () {
            () if is_unmeasured => Standing::Unmeasured,
            () if let Some(cost_ms) = cost_ms.filter(|it| u64::from(*it) > terms.dear_ms) => {
                Standing::TooDear(cost_ms)
            }
            () if choice.leave.len() >= most => Standing::Dearer(cost_ms),
            () if is_spared => Standing::Spared,
            () => {
                ready_left -= u32::from(is_ready);
                choice.leave.push(number);
                Standing::Goes(cost_ms)
            }
        };
        choice.standings.insert(number, standing);
    }
    choice
}

/// What it is held against others with.
pub(super) fn asked(cost_ms: Option<u32>, instance: &Instance) -> Asked {
    let preference = instance.quote.map(|quote| quote.value.preference).unwrap_or_default();
    let state_kib = instance.quote.and_then(|quote| quote.value.state_kib);
    let loss = Loss { sessions: instance.sessions, cost_ms, preference, drain_ms: None, state_kib };
    Asked { node: instance.node, loss: Some(loss), sessions: instance.sessions, retires: instance.retires }
}

/// How many are on each node.
fn on(observation: &Observation) -> BTreeMap<NodeId, usize> {
    let mut on = BTreeMap::new();
    for node in observation.live().filter_map(|(_, instance)| instance.node) {
        *on.entry(node).or_default() += 1;
    }
    on
}

/// What forbids that it goes.
fn obstacle(instance: &Instance, policy: &Policy) -> Option<Standing> {
    match instance.phase {
        Phase::Ready | Phase::NotReady => {}
        Phase::Starting | Phase::Unknown | Phase::Draining | Phase::Leaving => {
            return Some(Standing::NotReady);
        }
    }
    if instance.in_operation {
        return Some(Standing::InOperation);
    }
    if let Some(left_ms) = instance.held_ms {
        return Some(Standing::Held(left_ms));
    }
    match (policy.state, instance.sessions) {
        // It drains until they have ended.
        (State::Session, _) => None,
        (State::Stateful | State::None, Some(sessions)) if sessions > 0 => Some(Standing::Sessions(sessions)),
        (State::Stateful, _) if !instance.quotes && !policy.accepts_loss => Some(Standing::Unasked),
        (State::Stateful | State::None, _) => None,
    }
}

/// Who asked to go, then who does not serve, then who was asked, then who has the fewest sessions, then who has least to do,
/// then who came last. Of whom nobody knows what it does is not idle.
fn order(number: InstanceNumber, instance: &Instance, price: Price) -> impl Ord + use<> {
    let in_flight = in_flight(instance);
    let is_unasked = instance.quotes && matches!(price, Price::Ask);
    let sessions = instance.sessions.unwrap_or(u32::MAX);
    let last = core::cmp::Reverse(number);
    (
        !instance.retires,
        instance.phase == Phase::Ready,
        is_unasked,
        sessions,
        in_flight.is_none(),
        in_flight,
        last,
    )
}

/// What is in an instance: the more of what it says and what gateways measure. Each may not see what the other one does.
fn in_flight(instance: &Instance) -> Option<u32> {
    let said = instance.report.filter(Told::is_good).and_then(|report| report.value.in_flight);
    said.into_iter().chain(instance.measured.map(|it| it.in_flight)).max()
}

/// What losing an instance costs, in milliseconds of a slot, as far as that is known.
#[derive(Debug, Clone, Copy)]
enum Price {
    /// `None`: nobody knows how much, which is dearest.
    Costs(Option<u32>),
    Ask,
    Wait,
    Not(Standing),
}

fn price(number: InstanceNumber, instance: &Instance, terms: &Terms<'_>) -> Price {
    let quotes = &terms.policy.quotes;
    if !instance.quotes {
        let work_ms = terms.unit.map_or(1, |unit| unit.work_ms());
        let cost_ms = |count: u32| u32::try_from(work_ms.saturating_mul(count.into())).unwrap_or(u32::MAX);
        return Price::Costs(in_flight(instance).map(cost_ms));
    }
    if let Some(quote) = instance.quote.filter(|it| it.is_good() && it.age_ms <= quotes.valid_ms) {
        let state_kib = quote.value.state_kib;
        let may_lose = terms.policy.state != State::Stateful || terms.policy.accepts_loss;
        if !may_lose && fewer::may_hold_state(state_kib) {
            return Price::Not(Standing::HoldsState(state_kib));
        }
        return Price::Costs(Some(quote.value.cost_ms));
    }
    let asked_ago_ms = terms.asked.get(&number).map(|asked_ms| terms.now_ms.saturating_sub(*asked_ms));
    match asked_ago_ms {
        Some(ago_ms) if ago_ms < quotes.wait_ms.into() => Price::Wait,
        Some(ago_ms) if ago_ms < u64::from(quotes.wait_ms) + u64::from(quotes.valid_ms) => {
            Price::Not(Standing::Silent)
        }
        Some(_) | None => Price::Ask,
    }
}

#[cfg(test)]
mod tests;
