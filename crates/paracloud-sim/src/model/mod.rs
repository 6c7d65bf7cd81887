//! The model: the world, and every choice there is, searched to the end.
//!
//! State = world, messages on their way (`Network`), armed timers, and what is left of the fault budget. Clients
//! never run out of requests, each has one at a time.
//!
//! What is left out, and why that loses nothing (`docs/decisions/0012` has the reasons at length):
//! - *Persist and mark come next* when one is pending, unless their party dies or hears something first. Steps of
//!   others that came in between would commute with what led to it, and so were taken before.
//! - *A reply reaches its gateway at once*, unless its connection breaks or the gateway dies first. Whatever a reply could be late for, the
//!   request is late for in another branch; and a write that is acknowledged earlier must be kept from earlier on.
//! - *A record reaches an agent at once on whose node nothing lives or is to be started*, unless it is lost: the agent
//!   takes it for what it knows, and says and does nothing.
//! - *A timer that repeats fires for free only when nothing is in flight to or from its party*; earlier it costs one of
//!   `retries`. Such a timer never changes a decision, it only says or tries the same once more.
//! - *A proposal against a record that has changed is a question*: it is sure to be refused, and all that comes of it
//!   is the record. Its timer is one that repeats.
//! - *Nobody cancels while a swap waits for the disk*: whoever asks then is heard as if they had asked right after.
//! - *What could change nothing any more is dropped*: a message whose time is over, a timer that would find nothing to
//!   do, a second copy of what was just said. Whoever heard such a message later would ignore it, or note a fact of a
//!   phase that is past.
//! - *What no step can tell apart is made one state*: how often a party died or proposed a restart, start ids that
//!   nobody knows any more, which of a client's requests this is ([`World::fold`](crate::world::World)), whose request
//!   it is that a dead gateway sent, and, with two gateways, which of them is which.
//!
//! I5 alone may be looked at in a sample of the states: one in [`Configuration::heal_every`] is healed and must come to
//! rest. A search that is exhausted is so for I1 to I4; where that number is not one, it says of I5 that no state of the
//! sample breaks it. A state that cannot be healed because another rule is broken on the way breaks I5 as well:
//! [`MoveModel::faults_after`] names that rule.
//!
//! What is a fault here and therefore bounded, though a network does it for free: a message that is overtaken by a
//! later one between the same two parties, and a budget or bound that runs out while anything is still on its way
//! (`lates`). The simulation has no such bound.

mod choices;
mod configuration;
pub mod explorer;
mod fingerprint;
mod network;
mod properties;
pub mod walk;

pub use choices::is_fault;
use choices::is_quiet;
pub use configuration::{Configuration, Extent, Faults, setting};

use crate::heal::heal;
use crate::ledger::Standing;
use crate::world::{Action, Envelope, Message, Party, Setting, Timer, Violation, World};
use fingerprint::Fingerprint;
use network::Network;
use paracloud_core::ids::{GatewayId, StartId};
use paracloud_core::migration::coordinator::{self, Command};
use paracloud_core::migration::gateway;
use paracloud_core::migration::message::FromAgent;
use paracloud_core::register::Record;
use stateright::{Model, Property};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// What becomes of a message, or of what a dying party sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// As usual.
    Plain,
    /// It is lost.
    Lost,
    /// It will arrive once more.
    Doubled,
    /// It is overtaken by what is sent later.
    Overtaken,
}

/// A state of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    world: World,
    network: Network,
    timers: BTreeSet<(Party, Timer)>,
    left: Faults,
    moves: u8,
    /// Of all the above, made once.
    fingerprint: u64,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.fingerprint);
    }
}

/// The model of one configuration.
pub struct MoveModel {
    configuration: Configuration,
    setting: Setting,
    /// States that were healed to look whether I5 holds.
    healed: AtomicU64,
}

impl MoveModel {
    /// The model of a configuration.
    pub fn new(configuration: Configuration) -> Self {
        let setting = setting(configuration.mode, configuration.gateways, configuration.drains);
        Self { configuration, setting, healed: AtomicU64::new(0) }
    }

    /// Heals a state.
    ///
    /// # Errors
    /// Why it does not come to rest.
    pub fn heal(&self, state: &State) -> Result<(), String> {
        let mut world = state.world.clone();
        heal(&mut world, &self.setting, state.network.iter().cloned(), state.timers.clone())
    }

    /// Whether I5 holds in a state, if it is one of those in which that is looked at: healing takes hundreds of steps.
    fn comes_to_rest(&self, state: &State) -> bool {
        if !state.fingerprint.is_multiple_of(self.configuration.heal_every) {
            return true;
        }
        self.healed.fetch_add(1, Relaxed);
        self.heal(state).is_ok()
    }

    /// How often it was looked at so far whether I5 holds. Every other property is looked at in each state.
    pub fn healed(&self) -> u64 {
        self.healed.load(Relaxed)
    }

    /// What is wrong with the state that a path leads to, in words.
    pub fn faults_after(&self, path: &[(Action, Fate)]) -> Vec<String> {
        let first = self.init_states().into_iter().next();
        let step = |state: State, taken: &(Action, Fate)| self.next_state(&state, taken.clone());
        let Some(last) = first.and_then(|first| path.iter().try_fold(first, step)) else { return Vec::new() };
        let broken = last.world.violations.iter().map(|it| format!("{}: {}", it.rule, it.what));
        broken.chain(self.heal(&last).err().map(|why| format!("healed: {why}"))).collect()
    }

    /// The configuration.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Pays for an action, and takes what it used up away.
    fn pay(last: &State, next: &mut State, action: &Action, fate: Fate) -> Option<()> {
        let left = &mut next.left;
        let spend = |budget: &mut u8| {
            *budget = budget.checked_sub(1)?;
            Some(())
        };
        match action {
            Action::Deliver(envelope) => {
                next.network.remove(envelope);
                match fate {
                    Fate::Plain => {}
                    Fate::Lost => spend(&mut left.losses)?,
                    Fate::Doubled => {
                        spend(&mut left.duplicates)?;
                        next.network.stray(envelope);
                    }
                    Fate::Overtaken => {
                        spend(&mut left.lates)?;
                        next.network.stray(envelope);
                    }
                }
            }
            Action::Crash(party) => {
                spend(&mut left.crashes)?;
                next.timers.retain(|(of, _)| of != party);
                if matches!(party, Party::Gateway(_)) {
                    next.network.orphan(*party);
                }
                if fate == Fate::Lost {
                    spend(&mut left.losses)?;
                    next.network.retain(|envelope| envelope.from != *party);
                }
            }
            Action::PersistAndCrash => {
                spend(&mut left.crashes)?;
                next.timers.retain(|(of, _)| *of != Party::Controller);
            }
            Action::MarkAndCrash(_) | Action::GiveUp(_) => spend(&mut left.crashes)?,
            Action::Fire(party, timer) => {
                next.timers.remove(&(*party, *timer));
                match timer {
                    Timer::Coordinator(coordinator::Timer::Deadline)
                    | Timer::Gateway(gateway::Timer::Bound(_))
                        if !last.network.is_empty() =>
                    {
                        spend(&mut left.lates)?;
                    }
                    Timer::Coordinator(coordinator::Timer::Resend) | Timer::Gateway(gateway::Timer::Ask)
                        if !is_quiet(last, *party) =>
                    {
                        spend(&mut left.retries)?;
                    }
                    Timer::Coordinator(_) | Timer::Gateway(_) | Timer::Agent(_) => {}
                }
            }
            Action::Command(
                Command::Move { .. } | Command::Leave | Command::Start { .. } | Command::Resize(_),
            ) => spend(&mut next.moves)?,
            Action::Command(Command::Cancel) => spend(&mut left.cancels)?,
            Action::Hog(_) => spend(&mut left.hogs)?,
            Action::Send(request, _) => {
                if last.world.ledger.standing(Standing::Unknown).any(|known| known == *request) {
                    spend(&mut left.retries)?;
                }
            }
            Action::Persist | Action::Mark(_) | Action::Restart(_) => {}
        }
        Some(())
    }

    /// Takes what came of the last action over, drops what is over, and makes alike what is alike.
    fn settle(&self, mut next: State) -> State {
        for (party, timer, ms) in next.world.timers.drain(..) {
            if ms.is_some() {
                next.timers.insert((party, timer));
            } else {
                next.timers.remove(&(party, timer));
            }
        }
        for envelope in next.world.sent.drain(..) {
            next.network.send(envelope);
        }
        next.world.entered.clear();
        let world = &next.world;
        next.network.retain(|envelope| world.is_current(envelope) && !world.is_over(envelope));
        next.network.replace(|envelope| {
            let (expected, _) = proposal(envelope)?;
            let refused = expected.order() < world.disk.order();
            refused.then_some(Message::FromAgent(FromAgent::Ask))
        });
        next.timers.retain(|(party, timer)| world.is_due(*party, *timer));
        next.world.forget_history();
        next.world.reuse_starts(next.network.iter().filter_map(|it| Some(proposal(it)?.1)));
        let network = &next.network;
        let is_travelling = |request| {
            network.iter().any(|it| {
                matches!(it.message, Message::Request(_, of, _) | Message::Reply(_, of, _) if of == request)
            })
        };
        next.world.fold(World::PAST, next.left.retries > 0, is_travelling);
        next.fingerprint = next.compute_fingerprint();
        if self.configuration.gateways == 2 { next.canonical() } else { next }
    }
}

/// What an action comes to.
fn happening(action: Action, fate: Fate) -> Option<Action> {
    match (action, fate) {
        // A gateway sees that the connection breaks.
        (
            Action::Deliver(Envelope { message: Message::Reply(ticket, request, _), from, to, life }),
            Fate::Lost,
        ) => {
            let message = Message::Reply(ticket, request, gateway::Answer::Lost);
            Some(Action::Deliver(Envelope { from, to, life, message }))
        }
        (Action::Deliver(_), Fate::Lost | Fate::Overtaken) => None,
        (action, _) => Some(action),
    }
}

/// What a restart is proposed against, and the start id that it would have.
fn proposal(envelope: &Envelope) -> Option<(&Record, StartId)> {
    match &envelope.message {
        Message::FromAgent(FromAgent::Propose { expected, fresh }) => Some((expected, *fresh)),
        Message::ToAgent(_)
        | Message::FromAgent(_)
        | Message::ToGateway(_)
        | Message::FromGateway(_)
        | Message::Request(..)
        | Message::Reply(..)
        | Message::EndOfState(..) => None,
    }
}

impl Model for MoveModel {
    type State = State;
    type Action = (Action, Fate);

    fn init_states(&self) -> Vec<State> {
        vec![self.settle(State {
            world: World::new(&self.setting, 0).with_requests(self.configuration.requests).with_a_past(),
            network: Network::default(),
            timers: BTreeSet::new(),
            left: self.configuration.faults,
            moves: 1,
            fingerprint: 0,
        })]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Self::Action>) {
        if !state.world.violations.is_empty() {
            return;
        }
        if let Some(urgent) = Self::urgent(state) {
            actions.extend(urgent);
            return;
        }
        Self::arrivals(state, actions);
        Self::timers(state, actions);
        Self::lives(state, actions);
        self.wishes(state, actions);
    }

    fn next_state(&self, last: &State, (action, fate): Self::Action) -> Option<State> {
        let mut next = last.clone();
        Self::pay(last, &mut next, &action, fate)?;
        let second = match (&action, fate) {
            (Action::Deliver(envelope), Fate::Doubled) => Some(envelope.clone()),
            _ => None,
        };
        let carries_the_stream = |of: Party| {
            last.network.iter().any(|it| it.from == of && matches!(it.message, Message::EndOfState(..)))
        };
        let loses_the_stream =
            matches!((&action, fate), (Action::Crash(of), Fate::Lost) if carries_the_stream(*of));
        if let Some(action) = happening(action, fate) {
            next.world.apply(&self.setting, action);
        }
        if loses_the_stream {
            next.world.lose_the_stream(&self.setting);
        }
        let next = self.settle(next);
        // The second copy has nothing to change: as if it had not been doubled, and with less left to go wrong.
        if second.is_some_and(|second| self.configuration.gateways == 1 && !next.network.has_stray(&second)) {
            return None;
        }
        (next.fingerprint != last.fingerprint).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::properties(&self.configuration)
    }
}

impl State {
    /// The rules broken in this state.
    pub fn violations(&self) -> &[Violation] {
        &self.world.violations
    }

    fn compute_fingerprint(&self) -> u64 {
        let mut hasher = Fingerprint::default();
        (&self.world, &self.network, &self.timers, self.left, self.moves).hash(&mut hasher);
        hasher.finish()
    }

    /// This state or the same with its two gateways exchanged, always the same one of the two.
    fn canonical(self) -> Self {
        let [one, other] = [GatewayId(1), GatewayId(2)].map(|id| self.hash_of_gateway(id));
        match one.cmp(&other) {
            Ordering::Less => self,
            Ordering::Greater => self.exchanged(),
            Ordering::Equal => {
                let other = self.exchanged();
                if other.fingerprint < self.fingerprint { other } else { self }
            }
        }
    }

    /// Of most that belongs to a gateway, but for its number.
    fn hash_of_gateway(&self, id: GatewayId) -> u64 {
        let mut hasher = Fingerprint::default();
        let party = Party::Gateway(id);
        self.world.hash_gateway(id, &mut hasher);
        for Envelope { from, to, message, .. } in self.network.iter() {
            if *from == party {
                (true, to, message).hash(&mut hasher);
            } else if *to == party {
                (false, from, message).hash(&mut hasher);
            }
        }
        self.timers.iter().filter(|(of, _)| *of == party).for_each(|(_, timer)| timer.hash(&mut hasher));
        hasher.finish()
    }

    /// The same state with the numbers of its two gateways exchanged.
    fn exchanged(&self) -> Self {
        let gateway = |id: GatewayId| match id.0 {
            1 => GatewayId(2),
            2 => GatewayId(1),
            _ => id,
        };
        let party = |party: Party| match party {
            Party::Gateway(id) => Party::Gateway(gateway(id)),
            Party::Controller | Party::Agent(_) | Party::Shim(_) | Party::App(_) => party,
        };
        let mut other = Self {
            world: self.world.exchanged(gateway),
            network: self.network.renamed(party),
            timers: self.timers.iter().map(|(of, timer)| (party(*of), *timer)).collect(),
            left: self.left,
            moves: self.moves,
            fingerprint: 0,
        };
        other.fingerprint = other.compute_fingerprint();
        other
    }
}
