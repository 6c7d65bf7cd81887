//! The model: the world, and every choice there is, searched to the end.
//!
//! State = world, messages in flight, armed timers, and what is left of the fault budget. Messages are a set without
//! order: any of them may arrive next, or be lost or doubled within the budget, or outrun every other.
//!
//! What is left out, and why that loses nothing:
//! - *Persist and mark come next* when one is pending, unless their party dies or the coordinator hears something
//!   first: other parties' steps commute with them.
//! - *A reply reaches its gateway at once*, unless the gateway dies first: nobody else looks at it.
//! - *A resend timer fires for free only when nothing is in flight to or from its party*; earlier it costs one of
//!   `retries`. Such a timer never changes a decision, it only repeats messages.
//! - *What could change nothing any more is dropped*: a message whose time is over, a timer that would find nothing to
//!   do, a question that would be answered with what is known.
//! - *Two gateways that differ in nothing but their number* are the same state with the numbers exchanged.

use crate::heal::heal;
use crate::ledger::Standing;
use crate::world::{Action, Envelope, Message, Party, Setting, Timer, World};
use paracloud_core::ids::{GatewayId, NodeId};
use paracloud_core::migration::agent;
use paracloud_core::migration::coordinator::{self, Command};
use paracloud_core::migration::gateway;
use paracloud_core::migration::message::FromAgent;
use paracloud_core::migration::{Phase, convergence};
use paracloud_core::register::{Change, Mode, Step};
use stateright::{Model, Property};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What may go wrong, how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Faults {
    /// Crashes, of any party at any instant.
    pub crashes: u8,
    /// Lost messages.
    pub losses: u8,
    /// Doubled messages.
    pub duplicates: u8,
    /// Repeats that come before they are needed, of messages and of a client's request.
    pub retries: u8,
    /// Requests that do not end and so block the seal.
    pub hogs: u8,
}

/// A configuration of the model.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Its name in reports.
    pub name: &'static str,
    /// How the instance is moved.
    pub mode: Mode,
    /// Gateways; with two, states are taken up to their exchange.
    pub gateways: u32,
    /// Client writes.
    pub requests: u8,
    /// What may go wrong.
    pub faults: Faults,
    /// Every state whose hash is a multiple of this is healed and must come to rest.
    pub heal_every: u64,
}

/// A state of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    world: World,
    network: BTreeSet<Envelope>,
    timers: BTreeSet<(Party, Timer)>,
    left: Faults,
    moves: u8,
}

/// The settings of all machines; their times mean nothing to a checker, which fires timers whenever it likes.
pub fn setting(mode: Mode, gateways: u32) -> Setting {
    Setting {
        coordinator: coordinator::Setting {
            gateways: (1..=gateways).map(GatewayId).collect(),
            nodes: [NodeId(1), NodeId(2)].into(),
            resend_ms: 100,
            prepare_ms: 2_000,
            copy_ms: 20_000,
            park_ms: 500,
            seal_ms: 1_000,
            switch_ms: 1_000,
            release_ms: 500,
            pause: convergence::Budget { pause_ms: 5, pause_ms_max: 50, stall_reports: 3, stall_reports_max: 20 },
        },
        agent: agent::Setting { node: NodeId(0), ask_ms: 100, restart_ms: 100, restart_ms_max: 1_000 },
        gateway: gateway::Setting { parked_ms_max: 5_000, parked_max: 16, ask_ms: 200 },
        mode,
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

    fn crashes(state: &State, actions: &mut Vec<Action>, of: impl Fn(Party) -> bool) {
        if state.left.crashes > 0 {
            let v = std::env::var("V").unwrap_or_default();
            let of = |p: Party| of(p) && (v.is_empty() || format!("{p:?}").starts_with(&v));
            let victims = state.world.parties().into_iter().filter(|party| of(*party) && state.world.is_up(*party));
            actions.extend(victims.map(Action::Crash));
        }
    }

    fn may_fire(state: &State, party: Party, timer: Timer) -> bool {
        let between =
            |envelope: &&Envelope| matches!(envelope.message, Message::ToAgent(_) | Message::FromAgent(_) | Message::ToGateway(_) | Message::FromGateway(_));
        let touches = |envelope: &&Envelope| envelope.from == party || envelope.to == party;
        let quiet = || !state.network.iter().filter(between).any(|envelope| touches(&envelope));
        match timer {
            Timer::Coordinator(coordinator::Timer::Deadline) | Timer::Gateway(gateway::Timer::Bound(_)) => true,
            Timer::Coordinator(coordinator::Timer::Resend) => quiet() || state.left.retries > 0,
            Timer::Agent(agent::Timer::Ask) => quiet(),
            Timer::Gateway(gateway::Timer::Ask) => {
                quiet() && matches!(party, Party::Gateway(id) if !state.world.is_up_to_date(id))
            }
            Timer::Agent(agent::Timer::Restart) => !state.network.iter().any(|envelope| {
                envelope.from == party && matches!(envelope.message, Message::FromAgent(FromAgent::Propose { .. }))
            }),
        }
    }

    fn free_resend(state: &State, party: Party) -> bool {
        !state.network.iter().any(|envelope| envelope.from == party || envelope.to == party)
    }
}

impl Model for MoveModel {
    type State = State;
    type Action = (Action, Fate);

    fn init_states(&self) -> Vec<State> {
        vec![State {
            world: World::new(&self.setting, self.configuration.requests).with_a_past(),
            network: BTreeSet::new(),
            timers: BTreeSet::new(),
            left: self.configuration.faults,
            moves: 1,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Self::Action>) {
        let mut plain = Vec::new();
        let world = &state.world;
        if !world.violations.is_empty() {
            return;
        }
        if world.is_swapping() {
            plain.push(Action::Persist);
            if state.left.crashes > 0 {
                plain.push(Action::PersistAndCrash);
            }
            Self::crashes(state, &mut plain, |party| party == Party::Controller);
            let heard = state.network.iter().filter(|envelope| envelope.to == Party::Controller);
            plain.extend(heard.cloned().map(Action::Deliver));
            actions.extend(plain.into_iter().map(|action| (action, Fate::Plain)));
            return;
        }
        if let Some(start) = world.marking() {
            plain.push(Action::Mark(start));
            if state.left.crashes > 0 {
                plain.push(Action::MarkAndCrash(start));
            }
            let node = world.node_of(start);
            Self::crashes(state, &mut plain, |party| {
                party == Party::Shim(start) || node.is_some_and(|node| party == Party::Agent(node))
            });
            actions.extend(plain.into_iter().map(|action| (action, Fate::Plain)));
            return;
        }
        if let Some(reply) = state.network.iter().find(|envelope| matches!(envelope.message, Message::Reply(..))) {
            plain.push(Action::Deliver(reply.clone()));
            Self::crashes(state, &mut plain, |party| party == reply.to);
            actions.extend(plain.into_iter().map(|action| (action, Fate::Plain)));
            return;
        }
        for envelope in &state.network {
            plain.push(Action::Deliver(envelope.clone()));
            let control = !matches!(
                envelope.message,
                Message::Request(..) | Message::Reply(..) | Message::EndOfState(..)
            );
            if control && state.left.losses > 0 {
                actions.push((Action::Deliver(envelope.clone()), Fate::Lost));
            }
            if control && state.left.duplicates > 0 {
                actions.push((Action::Deliver(envelope.clone()), Fate::Doubled));
            }
        }
        for (party, timer) in &state.timers {
            if Self::may_fire(state, *party, *timer) {
                plain.push(Action::Fire(*party, *timer));
            }
        }
        for party in world.parties() {
            let shim_or_app = matches!(party, Party::Shim(_) | Party::App(_));
            if !shim_or_app && !world.is_up(party) {
                plain.push(Action::Restart(party));
            }
        }
        // A shim that dies outside of a start or an end is replaced by one that adopts; nothing else changes.
        Self::crashes(state, &mut plain, |party| !matches!(party, Party::Shim(_)));
        if state.moves > 0 {
            plain.push(Action::Command(Command::Move { to: NodeId(2), mode: self.configuration.mode }));
        }
        let step = world.disk.step();
        if state.left.hogs > 0 && matches!(step, Some(Step::Open | Step::Sealing)) {
            plain.push(Action::Hog(world.disk.owner.start));
        }
        for gateway in &self.setting.coordinator.gateways {
            if world.is_up(Party::Gateway(*gateway)) {
                let next = world.ledger.standing(Standing::Unsent).next();
                plain.extend(next.map(|request| Action::Send(request, *gateway)));
                if state.left.retries > 0 {
                    let again = world.ledger.standing(Standing::Unknown).filter(|request| request.has_key());
                    plain.extend(again.map(|request| Action::Send(request, *gateway)));
                }
            }
        }
        actions.extend(plain.into_iter().map(|action| (action, Fate::Plain)));
        // A party that dies may take what it sent last with it.
        let dying: Vec<_> = actions
            .iter()
            .filter_map(|(action, _)| match action {
                Action::Crash(party)
                    if state.left.losses > 0 && state.network.iter().any(|it| it.from == *party) =>
                {
                    Some(*party)
                }
                _ => None,
            })
            .collect();
        actions.extend(dying.into_iter().map(|party| (Action::Crash(party), Fate::Lost)));
    }

    fn next_state(&self, last: &State, (action, fate): Self::Action) -> Option<State> {
        let mut next = last.clone();
        match (&action, fate) {
            (Action::Deliver(envelope), Fate::Plain) => {
                next.network.remove(envelope);
            }
            (Action::Deliver(envelope), Fate::Lost) => {
                next.network.remove(envelope);
                next.left.losses -= 1;
                return Some(next);
            }
            (Action::Deliver(_), Fate::Doubled) => next.left.duplicates -= 1,
            (Action::Crash(party), _) => {
                next.left.crashes -= 1;
                next.timers.retain(|(of, _)| of != party);
                if fate == Fate::Lost {
                    next.left.losses -= 1;
                    next.network.retain(|envelope| envelope.from != *party);
                }
            }
            (Action::PersistAndCrash, _) => {
                next.left.crashes -= 1;
                next.timers.retain(|(of, _)| *of != Party::Controller);
            }
            (Action::MarkAndCrash(_), _) => next.left.crashes -= 1,
            (Action::Fire(party, timer), _) => {
                next.timers.remove(&(*party, *timer));
                let resend = matches!(timer, Timer::Coordinator(coordinator::Timer::Resend));
                if resend && !Self::free_resend(last, *party) {
                    next.left.retries = next.left.retries.checked_sub(1)?;
                }
            }
            (Action::Command(_), _) => next.moves -= 1,
            (Action::Hog(_), _) => next.left.hogs -= 1,
            (Action::Send(request, _), _) => {
                if last.world.ledger.standing(Standing::Unknown).any(|known| known == *request) {
                    next.left.retries -= 1;
                }
            }
            (Action::Persist | Action::Mark(_) | Action::Restart(_), _) => {}
        }
        next.world.apply(&self.setting, action);
        for (party, timer, ms) in next.world.timers.drain(..) {
            if ms.is_some() {
                next.timers.insert((party, timer));
            } else {
                next.timers.remove(&(party, timer));
            }
        }
        next.network.extend(next.world.sent.drain(..));
        next.world.entered.clear();
        let world = &next.world;
        next.network.retain(|envelope| world.is_current(envelope) && !world.is_over(envelope));
        next.timers.retain(|(party, timer)| world.is_due(*party, *timer));
        next.world.forget_history();
        if next == *last {
            return None;
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always("I1 to I4 hold", |_, state| state.world.violations.is_empty()),
            Property::<Self>::always("I5: a healed world comes to rest", |model, state| {
                let mut hasher = DefaultHasher::new();
                state.hash(&mut hasher);
                if !hasher.finish().is_multiple_of(model.configuration.heal_every) {
                    return true;
                }
                model.heal(state).is_ok()
            }),
            Property::<Self>::sometimes("a move is committed", |_, state| state.step() == Some(Step::Switch)),
            Property::<Self>::sometimes("a move ends", |_, state| {
                state.moves == 0 && state.world.disk.last_operation.0 == 1 && state.step().is_none()
            }),
            Property::<Self>::sometimes("a target is doomed", |_, state| state.step() == Some(Step::Doomed)),
            Property::<Self>::sometimes("a write is acknowledged", |_, state| {
                state.world.ledger.standing(Standing::Acknowledged).next().is_some()
            }),
            Property::<Self>::sometimes("a move is given up in offer", |_, s| s.gives_up(Phase::Offer)),
            Property::<Self>::sometimes("a move is given up in prepare", |_, s| s.gives_up(Phase::Prepare)),
            Property::<Self>::sometimes("a move is given up in seal", |_, s| s.gives_up(Phase::Seal)),
        ];
        if self.configuration.mode == Mode::Handoff {
            properties.extend([
                Property::<Self>::sometimes("a move is given up in copy", |_, s| s.gives_up(Phase::Copy)),
                Property::<Self>::sometimes("a sealed source is promoted", |_, state| {
                    state.step() == Some(Step::Undo) && state.world.disk.incarnation.0 == 3
                }),
            ]);
            if self.configuration.faults.crashes > 0 {
                properties.push(Property::<Self>::sometimes("a move is given up in park", |_, s| {
                    s.gives_up(Phase::Park)
                }));
            }
            if self.configuration.faults.hogs > 0 {
                properties.push(Property::<Self>::sometimes("a seal is blocked", |_, state| {
                    matches!(
                        state.world.pending_change(),
                        Some(Change::RollBack(paracloud_core::migration::cause::Cause::SealBlocked))
                    )
                }));
            }
        }
        properties
    }
}

/// What becomes of a message, or of what a dying party sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// As usual.
    Plain,
    /// It is lost.
    Lost,
    /// It will arrive once more.
    Doubled,
}

impl State {
    fn step(&self) -> Option<Step> {
        self.world.disk.step()
    }

    /// The rules broken in this state.
    pub fn violations(&self) -> &[crate::world::Violation] {
        &self.world.violations
    }

    fn gives_up(&self, phase: Phase) -> bool {
        let gives_up = matches!(
            self.world.pending_change(),
            Some(Change::RollBack(_) | Change::Restart { .. })
        );
        gives_up && self.world.coordinator().is_some_and(|coordinator| coordinator.phase() == phase)
    }
}
