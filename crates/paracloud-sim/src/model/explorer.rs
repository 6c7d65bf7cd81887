//! The search: every state of a [`stateright::Model`], depth first or breadth first, on several threads.
//!
//! stateright's own checkers keep the path to each state that waits, and one of its two orders keeps every state; the
//! models here have tens of millions of them. This search asks the same [`Model`] and the same [`Property`] list, and
//! keeps a fingerprint of 64 bits for each state seen and whole states only on its stacks. (Two of *n* states share a
//! fingerprint with a probability of about n² / 2⁶⁵: one in fourteen thousand for fifty million.)

use stateright::{Expectation, Model, Property};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Which of the states that wait comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The newest: few states wait.
    Depth,
    /// The oldest: with one thread, what is found is found by a shortest path.
    Breadth,
}

/// How a search is run.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// Which state comes next.
    pub order: Order,
    /// Threads; at least one.
    pub threads: usize,
    /// Different states after which it ends unfinished.
    pub unique_max: u64,
}

/// What was found, and how to get there.
#[derive(Debug, Clone)]
pub struct Found<A> {
    /// The property.
    pub property: &'static str,
    /// From the first state to the one in which it was found.
    pub path: Vec<A>,
}

/// What a search came to.
#[derive(Debug, Clone)]
pub struct Outcome<A> {
    /// States reached, each as often as it was reached.
    pub states: u64,
    /// Different states.
    pub unique: u64,
    /// Every state that can be reached was.
    pub exhausted: bool,
    /// Longest path to a state when it was first reached.
    pub depth: u32,
    /// *Always* properties that do not hold. The search ends at the first.
    pub violations: Vec<Found<A>>,
    /// *Sometimes* properties with an example.
    pub examples: Vec<Found<A>>,
    /// *Sometimes* properties without one.
    pub missing: Vec<&'static str>,
}

/// How a state was reached: the action with this number in the state before.
struct Trail {
    before: Option<Arc<Self>>,
    action: usize,
    length: u32,
}

struct Waiting<S> {
    state: S,
    trail: Option<Arc<Trail>>,
}

/// Fingerprints are spread evenly already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}

type Shard = Mutex<HashSet<u64, BuildHasherDefault<AsItIs>>>;

/// Sets of fingerprints, so that threads seldom wait for each other.
const SHARDS: usize = 256;

/// States that a thread expands before it looks whether another one has nothing to do.
const BLOCK: usize = 512;

struct Shared<'m, M: Model> {
    model: &'m M,
    is_over: &'m (dyn Fn() -> bool + Sync),
    properties: Vec<Property<M>>,
    search: Search,
    seen: Vec<Shard>,
    pool: Mutex<Pool<M::State>>,
    filled: Condvar,
    states: AtomicU64,
    unique: AtomicU64,
    ended: AtomicBool,
    unfinished: AtomicBool,
    found: Mutex<BTreeMap<usize, Option<Arc<Trail>>>>,
    depth: AtomicU64,
}

struct Pool<S> {
    shares: Vec<VecDeque<Waiting<S>>>,
    idle: usize,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Searches a model. Whenever some hundred states were expanded `is_over` is asked whether the search has run into a
/// bound of its own; it then ends unfinished.
pub fn explore<M>(model: &M, search: Search, is_over: &(dyn Fn() -> bool + Sync)) -> Outcome<M::Action>
where
    M: Model + Sync,
    M::State: Hash + Send,
{
    let search = Search { threads: search.threads.max(1), ..search };
    let shared = Shared {
        model,
        is_over,
        properties: model.properties(),
        search,
        seen: (0..SHARDS).map(|_| Shard::default()).collect(),
        pool: Mutex::new(Pool { shares: Vec::new(), idle: 0 }),
        filled: Condvar::new(),
        states: AtomicU64::new(0),
        unique: AtomicU64::new(0),
        ended: AtomicBool::new(false),
        unfinished: AtomicBool::new(false),
        found: Mutex::new(BTreeMap::new()),
        depth: AtomicU64::new(0),
    };
    let mut first = VecDeque::new();
    for (action, state) in model.init_states().into_iter().enumerate() {
        shared.reach(state, Arc::new(Trail { before: None, action, length: 0 }), &mut first);
    }
    locked(&shared.pool).shares.push(first);
    std::thread::scope(|scope| {
        for _ in 0..search.threads {
            scope.spawn(|| shared.work());
        }
    });
    shared.outcome()
}

impl<M> Shared<'_, M>
where
    M: Model + Sync,
    M::State: Hash + Send,
{
    /// A state was reached: if it is new, it is judged and waits.
    fn reach(&self, state: M::State, trail: Arc<Trail>, waiting: &mut VecDeque<Waiting<M::State>>) {
        self.states.fetch_add(1, Ordering::Relaxed);
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        let fingerprint = hasher.finish();
        let shard = usize::try_from(fingerprint % SHARDS as u64).unwrap_or(0);
        if !self.seen.get(shard).is_some_and(|shard| locked(shard).insert(fingerprint)) {
            return;
        }
        if self.unique.fetch_add(1, Ordering::Relaxed) >= self.search.unique_max {
            self.unfinished.store(true, Ordering::Relaxed);
            self.end();
        }
        self.depth.fetch_max(u64::from(trail.length), Ordering::Relaxed);
        self.judge(&state, &trail);
        waiting.push_back(Waiting { state, trail: Some(trail) });
    }

    fn judge(&self, state: &M::State, trail: &Arc<Trail>) {
        for (index, property) in self.properties.iter().enumerate() {
            let notable = match property.expectation {
                Expectation::Always => !(property.condition)(self.model, state),
                Expectation::Sometimes | Expectation::Eventually => (property.condition)(self.model, state),
            };
            if notable {
                locked(&self.found).entry(index).or_insert_with(|| Some(Arc::clone(trail)));
                if property.expectation == Expectation::Always {
                    self.unfinished.store(true, Ordering::Relaxed);
                    self.end();
                }
            }
        }
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.filled.notify_all();
    }

    fn work(&self) {
        let mut actions = Vec::new();
        while let Some(mut waiting) = self.take() {
            while !waiting.is_empty() {
                for _ in 0..BLOCK {
                    let next = match self.search.order {
                        Order::Depth => waiting.pop_back(),
                        Order::Breadth => waiting.pop_front(),
                    };
                    let Some(next) = next else { break };
                    self.expand(&next, &mut actions, &mut waiting);
                }
                if (self.is_over)() {
                    self.unfinished.store(true, Ordering::Relaxed);
                    self.end();
                }
                if self.ended.load(Ordering::Relaxed) {
                    return;
                }
                self.share(&mut waiting);
            }
        }
    }

    fn expand(
        &self,
        at: &Waiting<M::State>,
        actions: &mut Vec<M::Action>,
        waiting: &mut VecDeque<Waiting<M::State>>,
    ) {
        self.model.actions(&at.state, actions);
        for (action, taken) in actions.drain(..).enumerate() {
            let Some(state) = self.model.next_state(&at.state, taken) else { continue };
            if self.model.within_boundary(&state) {
                let length = at.trail.as_ref().map_or(0, |trail| trail.length) + 1;
                self.reach(state, Arc::new(Trail { before: at.trail.clone(), action, length }), waiting);
            }
        }
    }

    /// Gives half of what waits to a thread that has nothing to do: the part that would be next last.
    fn share(&self, waiting: &mut VecDeque<Waiting<M::State>>) {
        let mut pool = locked(&self.pool);
        if waiting.len() > 1 && pool.idle > pool.shares.len() {
            let half = waiting.len() / 2;
            let share = match self.search.order {
                Order::Depth => {
                    let rest = waiting.split_off(half);
                    std::mem::replace(waiting, rest)
                }
                Order::Breadth => waiting.split_off(half),
            };
            pool.shares.push(share);
            self.filled.notify_one();
        }
    }

    /// A share of what waits; none if nothing waits anywhere, or the search has ended.
    fn take(&self) -> Option<VecDeque<Waiting<M::State>>> {
        let mut pool = locked(&self.pool);
        pool.idle += 1;
        loop {
            if self.ended.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(share) = pool.shares.pop() {
                pool.idle -= 1;
                return Some(share);
            }
            if pool.idle == self.search.threads {
                self.end();
                return None;
            }
            pool = self.filled.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn outcome(&self) -> Outcome<M::Action> {
        let found = locked(&self.found);
        let of = |kind: Expectation| {
            let all = found.iter().filter_map(|(index, trail)| Some((self.properties.get(*index)?, trail)));
            all.filter(|(property, _)| property.expectation == kind)
                .map(|(property, trail)| Found { property: property.name, path: self.path(trail.as_ref()) })
                .collect()
        };
        let missing = self.properties.iter().enumerate().filter(|(index, property)| {
            property.expectation == Expectation::Sometimes && !found.contains_key(index)
        });
        Outcome {
            states: self.states.load(Ordering::Relaxed),
            unique: self.unique.load(Ordering::Relaxed),
            exhausted: !self.unfinished.load(Ordering::Relaxed),
            depth: u32::try_from(self.depth.load(Ordering::Relaxed)).unwrap_or(u32::MAX),
            violations: of(Expectation::Always),
            examples: of(Expectation::Sometimes),
            missing: missing.map(|(_, property)| property.name).collect(),
        }
    }

    /// The actions of a trail, found again by following it.
    fn path(&self, trail: Option<&Arc<Trail>>) -> Vec<M::Action> {
        let mut indices = Vec::new();
        let mut at = trail;
        while let Some(step) = at {
            indices.push(step.action);
            at = step.before.as_ref();
        }
        let mut indices = indices.into_iter().rev();
        let first = indices.next().and_then(|index| self.model.init_states().into_iter().nth(index));
        let Some(mut state) = first else { return Vec::new() };
        let mut path = Vec::new();
        for index in indices {
            let taken = |state: &M::State| {
                let mut actions = Vec::new();
                self.model.actions(state, &mut actions);
                actions.into_iter().nth(index)
            };
            let (Some(shown), Some(action)) = (taken(&state), taken(&state)) else { break };
            let Some(next) = self.model.next_state(&state, action) else { break };
            path.push(shown);
            state = next;
        }
        path
    }
}
