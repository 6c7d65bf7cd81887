//! Walks at random through what is too large to be searched to the end.

use super::explorer::{Found, Outcome};
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use stateright::{Expectation, Model};
use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Choices in a row that are not taken, after which a walk has come to its end.
const REFUSED_MAX: u32 = 200;

/// Of the steps that `is_rare` names, one in so many that the dice choose is taken: else every walk would begin with
/// all the faults there are, and none would get far.
const RARE: u32 = 12;

/// How many walks, and how far each goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walks {
    /// Walks.
    pub count: u32,
    /// Steps of one walk, after which the next begins.
    pub depth: u32,
}

/// Walks through a model. The same seed takes the same walks; what comes of it is never called exhausted. After each
/// walk `is_over` is asked whether it was the last.
pub fn walk<M>(
    model: &M,
    seed: u64,
    walks: Walks,
    is_rare: impl Fn(&M::Action) -> bool,
    is_over: impl Fn() -> bool,
) -> Outcome<M::Action>
where
    M: Model,
    M::State: Hash,
    M::Action: Clone,
{
    let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
    let properties = model.properties();
    let mut found: BTreeMap<usize, Vec<M::Action>> = BTreeMap::new();
    let mut seen = HashSet::new();
    let (mut states, mut depth) = (0, 0);
    for _ in 0..walks.count {
        let Some(mut state) = model.init_states().into_iter().next() else { break };
        let mut path: Vec<M::Action> = Vec::new();
        let mut refused = 0;
        states += 1;
        loop {
            let mut hasher = DefaultHasher::new();
            state.hash(&mut hasher);
            seen.insert(hasher.finish());
            for (index, property) in properties.iter().enumerate() {
                if (property.condition)(model, &state) != (property.expectation == Expectation::Always) {
                    found.entry(index).or_insert_with(|| path.clone());
                }
            }
            let length = u32::try_from(path.len()).unwrap_or(u32::MAX);
            depth = depth.max(length);
            if length >= walks.depth || refused >= REFUSED_MAX {
                break;
            }
            let mut actions = Vec::new();
            model.actions(&state, &mut actions);
            let Some(action) = actions.choose(&mut dice).cloned() else { break };
            if is_rare(&action) && !dice.random_ratio(1, RARE) && actions.iter().any(|it| !is_rare(it)) {
                refused += 1;
                continue;
            }
            // An action without effect is not taken; another is.
            let Some(next) = model.next_state(&state, action.clone()) else {
                refused += 1;
                continue;
            };
            (states, refused) = (states + 1, 0);
            path.push(action);
            state = next;
        }
        let is_wrong = |index: &usize| {
            properties.get(*index).is_some_and(|property| property.expectation == Expectation::Always)
        };
        if is_over() || found.keys().any(is_wrong) {
            break;
        }
    }
    let of = |kind: Expectation| {
        let all = found.iter().filter_map(|(index, path)| Some((properties.get(*index)?, path)));
        all.filter(|(property, _)| property.expectation == kind)
            .map(|(property, path)| Found { property: property.name, path: path.clone() })
            .collect()
    };
    let missing = properties.iter().enumerate().filter(|(index, property)| {
        property.expectation == Expectation::Sometimes && !found.contains_key(index)
    });
    Outcome {
        states,
        unique: seen.len() as u64,
        exhausted: false,
        depth,
        violations: of(Expectation::Always),
        examples: of(Expectation::Sometimes),
        missing: missing.map(|(_, property)| property.name).collect(),
    }
}
