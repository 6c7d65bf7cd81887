//! The model: the world, and every choice there is, searched to the end.
//!
//! State = world, messages on their way (`Network`), armed timers, and what is left of the fault budget. Clients
//! never run out of requests, each has one at a time.
//!
//! What is left out, and why that loses nothing:
//! - *Persist and mark come next* when one is pending, unless their party dies or hears something first. Steps of
//!   others that came in between would commute with what led to it, and so were taken before.
//! - *A reply reaches its gateway at once*, unless the gateway dies first. Whatever a reply could be late for, the
//!   request is late for in another branch; and a write that is acknowledged earlier must be kept from earlier on.
//! - *A resend timer fires for free only when nothing is in flight to or from its party*; earlier it costs one of
//!   `retries`. Such a timer never changes a decision, it only repeats messages.
//! - *What could change nothing any more is dropped*: a message whose time is over, a timer that would find nothing to
//!   do, a second copy of what was just said. Whoever heard such a message later would ignore it, or note a fact of a
//!   phase that is past.
//! - *What no step can tell apart is made one state*: how often a party died, which of a client's requests this is
//!   ([`World::fold`](crate::world::World)), and, with two gateways, which of them is which.
//!
//! What is a fault here and therefore bounded, though a network does it for free: a message that is overtaken by a
//! later one between the same two parties, and a budget or bound that runs out while anything is still on its way
//! (`lates`). The simulation has no such bound.

mod configuration;
pub mod explorer;
mod fingerprint;
mod network;
mod properties;
pub mod walk;

pub use configuration::{Configuration, Extent, Faults, setting};

use crate::heal::heal;
use crate::ledger::Standing;
use crate::world::{Action, Envelope, Message, Party, Setting, Timer, Violation, World};
use fingerprint::Fingerprint;
use network::Network;
use paracloud_core::ids::{GatewayId, NodeId};
use paracloud_core::migration::coordinator::{self, Command};
use paracloud_core::migration::message::FromAgent;
use paracloud_core::migration::{agent, gateway};
use paracloud_core::register::Step;
use stateright::{Model, Property};
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

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
}

impl MoveModel {
    /// The model of a configuration.
    pub fn new(configuration: Configuration) -> Self {
        let setting = setting(configuration.mode, configuration.gateways);
        Self { configuration, setting }
    }

    /// Heals a state.
    ///
    /// # Errors
    /// Why it does not come to rest.
    pub fn heal(&self, state: &State) -> Result<(), String> {
        let mut world = state.world.clone();
        heal(&mut world, &self.setting, state.network.iter().cloned(), state.timers.clone())
    }

    /// The configuration.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// What can happen while the register, a marker or a reply is waited for; nothing else can then.
    fn urgent(state: &State) -> Option<Vec<Action>> {
        let world = &state.world;
        let may_crash = state.left.crashes > 0;
        let mut actions = Vec::new();
        if world.is_swapping() {
            actions.push(Action::Persist);
            if may_crash {
                actions.extend([Action::PersistAndCrash, Action::Crash(Party::Controller)]);
            }
            let heard = state.network.arriving().filter(|envelope| envelope.to == Party::Controller);
            actions.extend(heard.cloned().map(Action::Deliver));
        } else if let Some(start) = world.marking() {
            actions.push(Action::Mark(start));
            if may_crash {
                actions.push(Action::MarkAndCrash(start));
                let agent = world.node_of(start).map(Party::Agent);
                let victims = [Some(Party::Shim(start)), agent].into_iter().flatten();
                actions.extend(victims.filter(|party| world.is_up(*party)).map(Action::Crash));
            }
        } else {
            let reply =
                state.network.iter().find(|envelope| matches!(envelope.message, Message::Reply(..)))?;
            actions.push(Action::Deliver(reply.clone()));
            if may_crash {
                actions.push(Action::Crash(reply.to));
            }
        }
        Some(actions)
    }

    /// What can happen to messages.
    fn arrivals(state: &State, actions: &mut Vec<(Action, Fate)>) {
        for envelope in state.network.arriving() {
            let mut may = |fate| actions.push((Action::Deliver(envelope.clone()), fate));
            may(Fate::Plain);
            let control = !matches!(envelope.message, Message::Request(..) | Message::EndOfState(..));
            if control && state.left.losses > 0 {
                may(Fate::Lost);
            }
            if control && state.left.duplicates > 0 {
                may(Fate::Doubled);
            }
            if control && state.left.lates > 0 && !state.network.has_stray(envelope) {
                may(Fate::Overtaken);
            }
        }
    }

    fn timers(state: &State, actions: &mut Vec<(Action, Fate)>) {
        let may_fire = |(party, timer): &&(Party, Timer)| {
            let quiet = || is_quiet(state, *party);
            match timer {
                Timer::Coordinator(coordinator::Timer::Deadline)
                | Timer::Gateway(gateway::Timer::Bound(_)) => {
                    state.network.is_empty() || state.left.lates > 0
                }
                Timer::Coordinator(coordinator::Timer::Resend) => quiet() || state.left.retries > 0,
                Timer::Agent(agent::Timer::Ask) => quiet(),
                Timer::Gateway(gateway::Timer::Ask) => {
                    quiet() && matches!(party, Party::Gateway(id) if !state.world.is_up_to_date(*id))
                }
                Timer::Agent(agent::Timer::Restart) => !state.network.iter().any(|envelope| {
                    envelope.from == *party
                        && matches!(envelope.message, Message::FromAgent(FromAgent::Propose { .. }))
                }),
            }
        };
        let fire = |(party, timer): &(Party, Timer)| (Action::Fire(*party, *timer), Fate::Plain);
        actions.extend(state.timers.iter().filter(may_fire).map(fire));
    }

    /// Deaths and returns. A shim that dies outside of a start or an end is replaced by one that adopts; nothing else
    /// changes, so that is left out.
    fn lives(state: &State, actions: &mut Vec<(Action, Fate)>) {
        for party in state.world.parties() {
            let is_up = state.world.is_up(party);
            if is_up && state.left.crashes > 0 && !matches!(party, Party::Shim(_)) {
                actions.push((Action::Crash(party), Fate::Plain));
                // It may take what it sent last with it.
                if state.left.losses > 0 && state.network.iter().any(|it| it.from == party) {
                    actions.push((Action::Crash(party), Fate::Lost));
                }
            }
            if !is_up && !matches!(party, Party::Shim(_) | Party::App(_)) {
                actions.push((Action::Restart(party), Fate::Plain));
            }
        }
    }

    /// What people and clients can do.
    fn wishes(&self, state: &State, actions: &mut Vec<(Action, Fate)>) {
        let world = &state.world;
        let mut may = |action| actions.push((action, Fate::Plain));
        if state.moves > 0 && world.coordinator().is_some() {
            may(Action::Command(Command::Move { to: NodeId(2), mode: self.configuration.mode }));
        }
        if state.left.hogs > 0 && matches!(world.disk.step(), Some(Step::Open | Step::Sealing)) {
            may(Action::Hog(world.disk.owner.start));
        }
        for gateway in world.gateways().filter(|id| world.is_up(Party::Gateway(*id))) {
            if let Some(request) = world.ledger.standing(Standing::Unsent).next() {
                may(Action::Send(request, gateway));
            }
            if state.left.retries > 0 {
                let again = world.ledger.standing(Standing::Unknown).filter(|request| request.has_key());
                again.for_each(|request| may(Action::Send(request, gateway)));
            }
        }
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
                if fate == Fate::Lost {
                    spend(&mut left.losses)?;
                    next.network.retain(|envelope| envelope.from != *party);
                }
            }
            Action::PersistAndCrash => {
                spend(&mut left.crashes)?;
                next.timers.retain(|(of, _)| *of != Party::Controller);
            }
            Action::MarkAndCrash(_) => spend(&mut left.crashes)?,
            Action::Fire(party, timer) => {
                next.timers.remove(&(*party, *timer));
                match timer {
                    Timer::Coordinator(coordinator::Timer::Deadline)
                    | Timer::Gateway(gateway::Timer::Bound(_))
                        if !last.network.is_empty() =>
                    {
                        spend(&mut left.lates)?;
                    }
                    Timer::Coordinator(coordinator::Timer::Resend) if !is_quiet(last, *party) => {
                        spend(&mut left.retries)?;
                    }
                    Timer::Coordinator(_) | Timer::Gateway(_) | Timer::Agent(_) => {}
                }
            }
            Action::Command(_) => spend(&mut next.moves)?,
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
        next.timers.retain(|(party, timer)| world.is_due(*party, *timer));
        next.world.forget_history();
        let network = &next.network;
        let is_travelling = |request| {
            network.iter().any(|it| {
                matches!(it.message, Message::Request(_, of, _) | Message::Reply(_, of, _) if of == request)
            })
        };
        next.world.fold(World::PAST, next.left.retries > 0, is_travelling);
        next.fingerprint = next.compute_fingerprint();
        if self.configuration.gateways == 2 {
            let other = next.exchanged();
            if other.fingerprint < next.fingerprint {
                return other;
            }
        }
        next
    }
}

/// Whether something goes wrong by this step, or may: for walks, which are to get somewhere.
pub fn is_fault((action, fate): &(Action, Fate)) -> bool {
    *fate != Fate::Plain
        || match action {
            Action::Crash(_) | Action::PersistAndCrash | Action::MarkAndCrash(_) | Action::Hog(_) => true,
            Action::Fire(_, timer) => matches!(
                timer,
                Timer::Coordinator(coordinator::Timer::Deadline) | Timer::Gateway(gateway::Timer::Bound(_))
            ),
            Action::Deliver(_)
            | Action::Persist
            | Action::Mark(_)
            | Action::Restart(_)
            | Action::Command(_)
            | Action::Send(..) => false,
        }
}

/// Whether nothing is on its way between a party and another machine's.
fn is_quiet(state: &State, party: Party) -> bool {
    let between = |envelope: &Envelope| {
        matches!(
            envelope.message,
            Message::ToAgent(_) | Message::FromAgent(_) | Message::ToGateway(_) | Message::FromGateway(_)
        )
    };
    !state.network.iter().any(|it| between(it) && (it.from == party || it.to == party))
}

impl Model for MoveModel {
    type State = State;
    type Action = (Action, Fate);

    fn init_states(&self) -> Vec<State> {
        vec![self.settle(State {
            world: World::new(&self.setting, self.configuration.requests).with_a_past(),
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
            actions.extend(urgent.into_iter().map(|action| (action, Fate::Plain)));
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
        let is_heard = match (&action, fate) {
            (Action::Deliver(_), Fate::Plain | Fate::Doubled) => true,
            (Action::Deliver(_), Fate::Lost | Fate::Overtaken) => false,
            _ => true,
        };
        let second = match (&action, fate) {
            (Action::Deliver(envelope), Fate::Doubled) => Some(envelope.clone()),
            _ => None,
        };
        if is_heard {
            next.world.apply(&self.setting, action);
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

    /// The same state with the numbers of its two gateways exchanged.
    fn exchanged(&self) -> Self {
        let gateway = |id: GatewayId| GatewayId(3 - id.0);
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
