//! What can happen next in a state, and how each message may fare.

use super::{Fate, MoveModel, State};
use crate::ledger::Standing;
use crate::world::{Action, Envelope, Message, Party, Timer};
use paracloud_core::ids::{NodeId, Revision};
use paracloud_core::migration::agent;
use paracloud_core::migration::coordinator::{self, Command};
use paracloud_core::migration::gateway::{self, Answer};
use paracloud_core::migration::message::{FromAgent, ToAgent};
use paracloud_core::register::Step;

impl MoveModel {
    /// What can happen while the register, a marker, a reply or an idle message is waited for; nothing else can then.
    pub(super) fn urgent(state: &State) -> Option<Vec<(Action, Fate)>> {
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
            return Self::prompt(state);
        }
        Some(actions.into_iter().map(|action| (action, Fate::Plain)).collect())
    }

    /// A reply, or else an idle message, that comes next.
    fn prompt(state: &State) -> Option<Vec<(Action, Fate)>> {
        let may_crash = state.left.crashes > 0;
        let mut actions = Vec::new();
        let reply = state.network.iter().find(|it| matches!(it.message, Message::Reply(..)));
        if let Some(reply) = reply {
            actions.push((Action::Deliver(reply.clone()), Fate::Plain));
            // Its connection breaks: whether the request was applied is not known.
            if state.left.losses > 0 && matches!(reply.message, Message::Reply(_, _, Answer::Replied)) {
                actions.push((Action::Deliver(reply.clone()), Fate::Lost));
            }
            if may_crash {
                actions.push((Action::Crash(reply.to), Fate::Plain));
            }
        } else {
            let idle = state.network.arriving().find(|envelope| is_heard_idly(state, envelope))?;
            Self::arrival(state, idle, &mut actions);
            // Its sender may die and take it along with all else that it sent.
            if may_crash && state.left.losses > 0 {
                actions.push((Action::Crash(idle.from), Fate::Lost));
            }
        }
        Some(actions)
    }

    /// What can happen to messages.
    pub(super) fn arrivals(state: &State, actions: &mut Vec<(Action, Fate)>) {
        state.network.arriving().for_each(|envelope| Self::arrival(state, envelope, actions));
    }

    /// What can happen to a message.
    fn arrival(state: &State, envelope: &Envelope, actions: &mut Vec<(Action, Fate)>) {
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

    pub(super) fn timers(state: &State, actions: &mut Vec<(Action, Fate)>) {
        let may_fire = |(party, timer): &&(Party, Timer)| {
            let quiet = || is_quiet(state, *party);
            match timer {
                Timer::Coordinator(coordinator::Timer::Deadline)
                | Timer::Gateway(gateway::Timer::Bound(_)) => {
                    state.network.is_empty() || state.left.lates > 0
                }
                Timer::Coordinator(coordinator::Timer::Resend) => quiet() || state.left.retries > 0,
                // How often it restarted is forgotten after each step.
                Timer::Agent(agent::Timer::Sound) => false,
                Timer::Agent(agent::Timer::Ask) => quiet(),
                Timer::Gateway(gateway::Timer::Ask) => {
                    let Party::Gateway(id) = *party else { return false };
                    let tries_again = state.world.may_try_again(id);
                    let is_wanted = tries_again || !state.world.is_up_to_date(id);
                    quiet() && is_wanted || tries_again && state.left.retries > 0
                }
                Timer::Agent(agent::Timer::Restart) => {
                    let is_outdated = matches!(party, Party::Agent(node) if state.world.is_outdated(*node));
                    if is_outdated { quiet() } else { !proposes(state, *party) }
                }
            }
        };
        let fire = |(party, timer): &(Party, Timer)| (Action::Fire(*party, *timer), Fate::Plain);
        actions.extend(state.timers.iter().filter(may_fire).map(fire));
    }

    /// Deaths and returns. A shim that dies outside of a start or an end is replaced by one that adopts; nothing else
    /// changes, so that is left out.
    pub(super) fn lives(state: &State, actions: &mut Vec<(Action, Fate)>) {
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
    pub(super) fn wishes(&self, state: &State, actions: &mut Vec<(Action, Fate)>) {
        let world = &state.world;
        let mut may = |action| actions.push((action, Fate::Plain));
        if state.moves > 0 && world.coordinator().is_some() {
            let mode = self.configuration.mode;
            let moves = |to, revision| Action::Command(Command::Move { to: NodeId(to), mode, revision });
            if self.configuration.leaves {
                may(Action::Command(Command::Leave));
            } else {
                may(moves(2, None));
            }
            if self.configuration.updates {
                may(moves(1, Some(Revision::first().next())));
            }
        }
        if state.left.cancels > 0
            && world.coordinator().is_some()
            && matches!(world.disk.step(), Some(Step::Open | Step::Sealing | Step::Draining))
        {
            may(Action::Command(Command::Cancel));
        }
        if state.left.hogs > 0
            && matches!(world.disk.step(), Some(Step::Open | Step::Sealing | Step::Draining))
        {
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
}

/// Whether something goes wrong by this step, or may: for walks, which are to get somewhere.
pub fn is_fault((action, fate): &(Action, Fate)) -> bool {
    *fate != Fate::Plain
        || match action {
            Action::Crash(_)
            | Action::PersistAndCrash
            | Action::MarkAndCrash(_)
            | Action::Hog(_)
            | Action::GiveUp(_)
            | Action::Command(Command::Cancel) => true,
            Action::Fire(_, timer) => matches!(
                timer,
                Timer::Coordinator(coordinator::Timer::Deadline) | Timer::Gateway(gateway::Timer::Bound(_))
            ),
            Action::Deliver(_)
            | Action::Persist
            | Action::Mark(_)
            | Action::Restart(_)
            | Action::Command(
                Command::Move { .. } | Command::Leave | Command::Start { .. } | Command::Resize(_),
            )
            | Action::Send(..) => false,
        }
}

/// Whether a proposal of this agent is on its way.
fn proposes(state: &State, agent: Party) -> bool {
    let is_proposal = |it: &Envelope| matches!(it.message, Message::FromAgent(FromAgent::Propose { .. }));
    state.network.iter().any(|it| it.from == agent && is_proposal(it))
}

/// Whether a message is the record, for an agent on whose node nothing lives and that is not to start anything: it
/// takes the record for what it knows, and says and does nothing.
fn is_heard_idly(state: &State, envelope: &Envelope) -> bool {
    match (&envelope.message, envelope.to) {
        (Message::ToAgent(ToAgent::Own(record)), Party::Agent(node)) => {
            record.owner.node != node
                && state.world.is_deserted(node)
                && !state.network.has_stray_to(envelope.to)
        }
        _ => false,
    }
}

/// Whether nothing is on its way between a party and another machine's.
pub(super) fn is_quiet(state: &State, party: Party) -> bool {
    let between = |envelope: &Envelope| {
        matches!(
            envelope.message,
            Message::ToAgent(_) | Message::FromAgent(_) | Message::ToGateway(_) | Message::FromGateway(_)
        )
    };
    !state.network.iter().any(|it| between(it) && (it.from == party || it.to == party))
}
