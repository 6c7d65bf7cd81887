//! What goes wrong: stalls, crashes, broken channels, and how the parts come back.

use super::{Party, Setting, Waiting, World, address};
use crate::ledger::RequestId;
use paracloud_core::ids::{GatewayId, NodeId, StartId};
use paracloud_core::migration::agent::{self, Agent};
use paracloud_core::migration::coordinator::{self, Coordinator};
use paracloud_core::migration::gateway::{self, Gateway, Ticket};
use paracloud_core::migration::message::Offer;
use paracloud_core::migration::shim::{self, Generation, Order, Status};
use paracloud_core::register::{Change, Mode, Record};

impl World {
    /// A party is stopped: until it wakes it handles nothing, and what it would have to handle waits. What reaches it
    /// from other machines (and its timers) is for the driver to hold back.
    pub fn stall(&mut self, party: Party) {
        if self.is_up(party) {
            self.stalled.insert(party);
        }
    }

    /// A stopped party goes on, with the state it had, and handles what has waited for it.
    pub fn wake(&mut self, setting: &Setting, party: Party) {
        self.begin();
        if !self.stalled.remove(&party) {
            return;
        }
        let (mine, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(of, _)| *of == party);
        self.waiting = others;
        for (_, what) in mine {
            match (party, what) {
                (Party::Agent(node), Waiting::Agent(input)) => self.agent(setting, node, input),
                (Party::Shim(start), Waiting::Shim(input)) => self.shim(setting, start, input),
                (Party::App(start), Waiting::Call(message)) => self.call(setting, start, message),
                (Party::App(start), Waiting::ChannelFailed(operation)) => {
                    self.channel_failed(setting, start, operation);
                }
                _ => {}
            }
        }
        if let Party::App(start) = party {
            self.hello(setting, start);
            self.say_ready(setting, start);
        }
        self.check();
    }

    /// The request that did not end has ended: a seal that it blocked goes on.
    pub fn unhog(&mut self, setting: &Setting, start: StartId) {
        self.begin();
        let Some(app) = self.processes.get_mut(&start).and_then(|process| process.app.as_mut()) else {
            return;
        };
        app.hogged = false;
        if let paci::participant::Phase::Blocked(operation) = *app.participant.phase() {
            self.act(setting, start, vec![paci::participant::Act::Ship(operation)]);
        } else if let paci::participant::Phase::Draining(operation) = *app.participant.phase() {
            let acts = app.participant.emptied(operation);
            self.act(setting, start, acts);
        }
        self.check();
    }

    /// The owner answers so when it is asked for an offer next; none: it agrees.
    pub fn decline(&mut self, offer: Option<Offer>) {
        let owner = self.processes.get_mut(&self.disk.owner.start);
        if let Some(app) = owner.and_then(|process| process.app.as_mut()) {
            app.declines = offer;
        }
    }

    /// Whether the owner breaks the contract in its next move: it ends its stream with its copy, and serves on.
    pub fn hasten(&mut self, is_hasty: bool) {
        let owner = self.processes.get_mut(&self.disk.owner.start);
        if let Some(app) = owner.and_then(|process| process.app.as_mut()) {
            app.is_hasty = is_hasty;
        }
    }

    /// A client goes away before it is answered: it does not know what became of its request.
    pub fn leave(&mut self, setting: &Setting, id: GatewayId, ticket: Ticket) {
        self.begin();
        let Some(request) = self.gateways.get_mut(&id).and_then(|gateway| gateway.tickets.remove(&ticket))
        else {
            return;
        };
        self.ledger.unknown(request);
        self.gateway(setting, id, gateway::Input::Left(ticket));
        self.check();
    }

    /// The connection that carries the state breaks.
    pub fn cut_channel(&mut self, setting: &Setting) {
        self.begin();
        self.break_channel(setting);
        self.check();
    }

    /// Keeps what a stalled party would have to handle now.
    pub(super) fn waits(&mut self, party: Party, what: impl FnOnce() -> Waiting) -> bool {
        let stalled = self.stalled.contains(&party);
        if stalled {
            self.waiting.push((party, what()));
        }
        stalled
    }

    pub(super) fn forget_waiting(&mut self, party: Party) {
        self.stalled.remove(&party);
        self.waiting.retain(|(of, _)| *of != party);
    }

    pub(super) fn crash(&mut self, setting: &Setting, party: Party) {
        self.forget_waiting(party);
        match party {
            Party::Controller => {
                self.coordinator = None;
                self.lost.clear();
                self.pending = None;
                self.forget_asked();
                self.controller_life += 1;
            }
            Party::Agent(node) => {
                if let Some(agent) = self.agents.get_mut(&node) {
                    agent.machine = None;
                    agent.life += 1;
                }
                for process in self.processes.values_mut().filter(|process| process.node == node) {
                    if let Some(app) = &mut process.app {
                        app.connected = false;
                        app.said_ready = false;
                    }
                }
                let carried = self.channel.map(|channel| channel.target);
                if carried.and_then(|target| self.node_of(target)) == Some(node) {
                    self.break_channel(setting);
                }
            }
            Party::Gateway(id) => {
                let mut open = Vec::new();
                if let Some(gateway) = self.gateways.get_mut(&id) {
                    gateway.machine = None;
                    gateway.life += 1;
                    gateway.said_to_park = None;
                    gateway.said_drained = None;
                    open.extend(std::mem::take(&mut gateway.tickets).into_values());
                }
                for request in open {
                    self.ledger.unknown(request);
                }
            }
            Party::Shim(start) => {
                if let Some(process) = self.processes.get_mut(&start) {
                    process.shim = None;
                    process.marking = false;
                }
            }
            Party::App(start) => self.end_app(setting, start),
        }
    }

    pub(super) fn end_app(&mut self, setting: &Setting, start: StartId) {
        let named = self.disk.names(start);
        let Some(process) = self.processes.get_mut(&start) else { return };
        let Some(app) = process.app.take() else { return };
        let has_shipped = matches!(app.participant.phase(), paci::participant::Phase::Sealed(..));
        if named {
            process.held = app.state.into_keys().collect();
        }
        self.forget_waiting(Party::App(start));
        // What a source has sent up to its end record arrives without it.
        let ends =
            self.channel.is_some_and(|channel| channel.target == start || channel.source == Some(start));
        if ends && !has_shipped {
            self.break_channel(setting);
        }
        self.shim(setting, start, shim::Input::Exited);
    }

    /// The register gives the instance to a process that starts with nothing, or with the copy of a source that ended
    /// its stream too early. What its owner held beyond that when it died is lost by that crash; or was left behind,
    /// where that is how the instance is moved. An owner that was replaced though it lives is no crash, and what it held
    /// must not be missed.
    pub(super) fn bury(&mut self, before: &Record, change: &Change) {
        let restarting = before.moving().is_some_and(|operation| operation.mode == Mode::Restart);
        // Who leaves carries nothing over.
        let leaves = *change == Change::Gone;
        let starts_empty = matches!(change, Change::Restart { .. } | Change::Replace(_))
            || leaves
            || (*change == Change::Commit && restarting);
        let dead = self.processes.get(&before.owner.start).filter(|process| process.app.is_none());
        if let Some(dead) = dead.filter(|it| starts_empty || (*change == Change::Commit && it.ended_early)) {
            let next = self.processes.get(&self.disk.owner.start).and_then(|process| process.app.as_ref());
            let is_kept = |request: &&RequestId| next.is_some_and(|app| app.state.contains_key(request));
            let lost = dead.held.iter().filter(|request| !is_kept(request)).copied().collect();
            self.ledger.bury(lost, restarting || leaves);
        }
        let disk = &self.disk;
        for (_, process) in self.processes.iter_mut().filter(|(start, _)| !disk.names(**start)) {
            process.held.clear();
        }
    }

    /// What was under way on the channel is gone, and its ends see that.
    pub(crate) fn lose_the_stream(&mut self, setting: &Setting) {
        self.break_channel(setting);
        self.check();
    }

    pub(super) fn break_channel(&mut self, setting: &Setting) {
        let Some(channel) = &mut self.channel else { return };
        if channel.broken {
            return;
        }
        channel.broken = true;
        let operation = channel.operation;
        let ends = [Some(channel.target), channel.source];
        for start in ends.into_iter().flatten() {
            if !self.waits(Party::App(start), || Waiting::ChannelFailed(operation)) {
                self.channel_failed(setting, start, operation);
            }
        }
    }

    pub(super) fn channel_failed(&mut self, setting: &Setting, start: StartId, operation: u32) {
        let app = self.processes.get_mut(&start).and_then(|process| process.app.as_mut());
        if let Some(acts) = app.map(|app| app.participant.channel_failed(operation)) {
            self.act(setting, start, acts);
        }
    }

    pub(super) fn restart(&mut self, setting: &Setting, party: Party) {
        match party {
            Party::Controller if self.coordinator.is_none() => {
                self.coordinator = Some(Coordinator::default());
                self.coordinate(setting, coordinator::Input::Recovered(self.disk.clone()));
            }
            Party::Agent(node) => self.restart_agent(setting, node),
            Party::Gateway(id) => {
                if let Some(gateway) = self.gateways.get_mut(&id).filter(|gateway| gateway.machine.is_none())
                {
                    gateway.machine = Some(Gateway::default());
                    self.gateway(setting, id, gateway::Input::Started);
                }
            }
            Party::Shim(start) => {
                // The agent of its node notices, and starts a new one that adopts.
                let Some(node) = self.node_of(start) else { return };
                if let Some(agent) = self.agents.get(&node).filter(|agent| agent.machine.is_some()) {
                    self.order(setting, node, start, agent.generation, Order::Report);
                }
            }
            Party::Controller | Party::App(_) => {}
        }
    }

    pub(super) fn restart_agent(&mut self, setting: &Setting, node: NodeId) {
        let Some(agent) = self.agents.get_mut(&node).filter(|agent| agent.machine.is_none()) else { return };
        agent.generation = Generation(agent.generation.0 + 1);
        agent.machine = Some(Agent::default());
        let generation = agent.generation;
        let here: Vec<_> = self
            .processes
            .iter()
            .filter(|(_, process)| process.node == node && process.marked)
            .map(|(start, process)| (*start, process.app.is_some()))
            .collect();
        let found = here
            .iter()
            .map(|(start, alive)| {
                (*start, if *alive { Status::Running } else { Status::Dead }, address(node))
            })
            .collect();
        self.agent(setting, node, agent::Input::Started { generation, found });
        let alive: Vec<_> = here.iter().filter(|(_, alive)| *alive).map(|(start, _)| *start).collect();
        for (start, _) in here {
            self.hello(setting, start);
        }
        self.find(setting, node, &alive);
    }
}
