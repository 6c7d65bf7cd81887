//! One of several.

use super::COMPARED_MAX;
use super::dice::Dice;
use super::picture::Picture;
use super::policy::{Policy, Setting};
use super::standing::Standing;
use serde::{Deserialize, Serialize};

/// By what kind of knowledge it was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regime {
    /// There was only one that could be chosen.
    Alone,
    /// Some of them say how many requests they work on at once.
    Reports,
    /// Nobody says it, or what is said is not used.
    Silent,
    /// Nobody should have got the request: of them all it was the least bad.
    LeastBad,
}

/// What decided between those that were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// There was one.
    Only,
    /// One of those that need not wait.
    Cold,
    /// All were hot: the one with the least to wait.
    Hot,
    /// The one with less in flight.
    LeastLoaded,
    /// The one with the least of the gateway's own in flight.
    LeastInFlight,
    /// Its turn.
    RoundRobin,
    /// Any.
    Random,
}

/// Positions that were compared.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Compared {
    positions: [u32; COMPARED_MAX],
    length: usize,
}

impl Compared {
    /// Once each; more than there is room for are left out.
    fn add(&mut self, position: u32) {
        if self.length < COMPARED_MAX && !self.as_slice().contains(&position) {
            self.positions[self.length] = position;
            self.length += 1;
        }
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        &self.positions[..self.length]
    }
}

/// What was decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decision {
    pub(super) position: u32,
    pub(super) regime: Regime,
    pub(super) rule: Rule,
    pub(super) compared: Compared,
}

/// `None` if there is nobody at all.
pub(super) fn decide(picture: &Picture, setting: Setting, random: u32, turn: u32) -> Option<Decision> {
    let usable = picture.usable();
    let first = *usable.first()?;
    let mut dice = Dice::new(random);
    let mut compared = Compared::default();
    if usable.len() == 1 {
        compared.add(first);
        let is_bad = picture.standing() > Standing::Open;
        let regime = if is_bad { Regime::LeastBad } else { Regime::Alone };
        return Some(Decision { position: first, regime, rule: Rule::Only, compared });
    }
    let knows = picture.fleet().places > 0;
    let regime = match picture.standing() {
        Standing::Open if knows => Regime::Reports,
        Standing::Open => Regime::Silent,
        Standing::Pausing | Standing::Parked | Standing::NotReady | Standing::Absent | Standing::Draining => {
            Regime::LeastBad
        }
    };
    let (position, rule) = match setting.policy {
        Policy::Random => (any(picture, &mut dice), Rule::Random),
        Policy::RoundRobin => (usable[turn as usize % usable.len()], Rule::RoundRobin),
        Policy::LeastInFlight => {
            let own = |position: u32| u64::from(picture.own(position));
            let least = least(usable.iter().map(|position| (own(*position), 1_000, *position)), &mut dice);
            (least.unwrap_or(first), Rule::LeastInFlight)
        }
        Policy::Used | Policy::Ignored => {
            let wanted = wanted(picture, setting);
            if usable.len() <= wanted {
                usable.iter().for_each(|position| compared.add(*position));
            } else if wanted > 2 {
                (0..wanted).for_each(|_| compared.add(any(picture, &mut dice)));
            } else {
                let two = picture.two(|bound| dice.below(bound));
                two.into_iter().for_each(|position| compared.add(position));
            }
            let costs = compared.as_slice().iter().map(|position| {
                let judged = picture.judged(*position);
                ((judged.is_hot, judged.cost), judged.weight_permille, *position)
            });
            let position = least(costs, &mut dice).unwrap_or(first);
            let rule = match (knows, picture.judged(position).is_hot) {
                (false, _) => Rule::LeastLoaded,
                (true, false) => Rule::Cold,
                (true, true) => Rule::Hot,
            };
            (position, rule)
        }
    };
    if compared.length == 0 {
        compared.add(position);
        usable.iter().for_each(|position| compared.add(*position));
    }
    Some(Decision { position, regime, rule, compared })
}

/// How many are compared. Of what is there each of several gateways knows its own share as it is, and the rest as it was:
/// the more of them, the fewer, so that they do not all find the same one.
fn wanted(picture: &Picture, setting: Setting) -> usize {
    let fleet = picture.fleet();
    if fleet.places == 0 {
        return 2;
    }
    let balancers = if fleet.is_fresh { 1 } else { setting.balancers.max(1) };
    (COMPARED_MAX / balancers as usize).max(2)
}

fn any(picture: &Picture, dice: &mut Dice) -> u32 {
    picture.at(dice.below(picture.weight()))
}

/// The least of them; of equal ones any, by weight.
fn least<K: Ord>(all: impl Iterator<Item = (K, u64, u32)>, dice: &mut Dice) -> Option<u32> {
    let mut best: Option<(K, u64, u32)> = None;
    for (key, weight, position) in all {
        best = Some(match best {
            None => (key, weight, position),
            Some(it) if it.0 < key => it,
            Some(it) if key < it.0 => (key, weight, position),
            // Among those that are equal so far each keeps its share.
            Some((_, sum, other)) => {
                let sum = sum + weight;
                let keeps = dice.below(sum) >= weight;
                (key, sum, if keeps { other } else { position })
            }
        });
    }
    best.map(|(_, _, position)| position)
}
