//! The world: every party of one instance's moves, each with the machine that runs in production, its durable part
//! and its life.
//!
//! A world has no time and no network. It takes one [`Action`] at a time and leaves what came of it in `sent` and
//! `timers`; whoever drives it decides what arrives when, and what is lost. The simulation drives it with virtual
//! time and dice, the model checker with every choice there is.
//!
//! An agent, its shims and its processes share a machine and talk by calls that return at once: they are one step
//! here. What matters between them (that one of them dies before it answered) is an action of its own.

mod canonical;
mod faults;
mod lost;
mod machines;
mod revisions;
mod rules;
mod view;

use crate::application::Application;
use crate::ledger::{Ledger, RequestId};
use paci::participant::Sealed;
use paracloud_core::ids::{GatewayId, NodeId, Placement, Revision, StartId};
use paracloud_core::machine::Machine;
use paracloud_core::migration::agent::{self, Agent, ToApp};
use paracloud_core::migration::coordinator::{self, Command, Coordinator};
use paracloud_core::migration::gateway::{self, Gateway, Route, Ticket};
use paracloud_core::migration::message::{FromAgent, FromGateway, ToAgent, ToGateway};
use paracloud_core::migration::shim::{self, Generation, Shim};
use paracloud_core::register::{Change, Mode, Proposer, Record, RecordOrder, Step};
use revisions::Due;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// Somebody who can crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// Coordinator and register.
    Controller,
    /// The agent of a node.
    Agent(NodeId),
    /// A gateway.
    Gateway(GatewayId),
    /// The shim of a process.
    Shim(StartId),
    /// The application's process.
    App(StartId),
}

/// What travels between parties on different machines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// Coordinator → agent.
    ToAgent(ToAgent),
    /// Agent → coordinator.
    FromAgent(FromAgent),
    /// Coordinator → gateway.
    ToGateway(ToGateway),
    /// Gateway → coordinator.
    FromGateway(FromGateway),
    /// Gateway → application: a request on this route.
    Request(Ticket, RequestId, Route),
    /// Application → gateway.
    Reply(Ticket, RequestId, gateway::Answer),
    /// Source → target: the last delta and the end record.
    EndOfState(u32, BTreeMap<RequestId, u8>, Sealed),
}

/// A message on its way. It reaches only the life of its receiver that was there when it was sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Envelope {
    /// The sender.
    pub from: Party,
    /// The receiver.
    pub to: Party,
    /// Which life of the receiver.
    pub life: u8,
    /// What is said.
    pub message: Message,
}

/// A timer of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Of the coordinator.
    Coordinator(coordinator::Timer),
    /// Of an agent.
    Agent(agent::Timer),
    /// Of a gateway.
    Gateway(gateway::Timer),
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// A message arrives.
    Deliver(Envelope),
    /// The pending swap reaches the disk and is answered.
    Persist,
    /// The pending swap reaches the disk, and the controller dies before it heard of it.
    PersistAndCrash,
    /// The pending marker of a start reaches the disk; the shim goes on.
    Mark(StartId),
    /// The pending marker reaches the disk, and the shim dies before it started the process.
    MarkAndCrash(StartId),
    /// A party dies.
    Crash(Party),
    /// A party that died comes back with what it had on disk.
    Restart(Party),
    /// A timer fires.
    Fire(Party, Timer),
    /// A person asks for something.
    Command(Command),
    /// A person says that a node will not come back. What runs there is not touched by that.
    GiveUp(NodeId),
    /// A client sends a request through a gateway (again, if it was sent before).
    Send(RequestId, GatewayId),
    /// Somebody works on the state and does not end: this application's guards will not end in time.
    Hog(StartId),
}

/// What a broken rule looks like.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Violation {
    /// The rule: `I1` … `I6`; `G`: a gate is as its application's machine has it; `P`: no process is started twice, and
    /// no damaged disk is believed; `R`: a committed operation leaves an owner of the revision that it asked for, any other
    /// end leaves what ran before, and what is started anew is what the register says.
    pub rule: &'static str,
    /// What happened.
    pub what: String,
}

/// A node's agent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct AgentState {
    generation: Generation,
    machine: Option<Agent>,
    life: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct GatewayState {
    machine: Option<Gateway>,
    life: u8,
    tickets: BTreeMap<Ticket, RequestId>,
    /// It said that it parks by the table with this order, and of no newer one that it does not: what it believes since
    /// takes nothing of that back.
    said_to_park: Option<RecordOrder>,
    /// By which table it said that no session is left.
    said_drained: Option<RecordOrder>,
}

/// A process: its shim, its marker on disk, and the program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Process {
    pub(crate) node: NodeId,
    /// What it was ordered to be started as, as far as anybody could say.
    pub(crate) revision: Option<Revision>,
    marked: bool,
    marking: bool,
    shim: Option<Shim>,
    was_started: bool,
    pub(crate) app: Option<Application>,
    /// What the program held when it died, for as long as the register may still build on it.
    held: BTreeSet<RequestId>,
    /// It ended its stream before it was asked to seal: what it took since is in no copy.
    ended_early: bool,
}

/// Something that waits for a party that is stalled, at its socket or in its pipe.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Waiting {
    Agent(agent::Input),
    Shim(shim::Input),
    Call(ToApp),
    ChannelFailed(u32),
}

/// The state channel of the open move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Channel {
    operation: u32,
    target: StartId,
    source: Option<StartId>,
    broken: bool,
}

/// Settings of all machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The coordinator's.
    pub coordinator: coordinator::Setting,
    /// Each agent's, but for its node.
    pub agent: agent::Setting,
    /// Each gateway's.
    pub gateway: gateway::Setting,
    /// How the instance is moved.
    pub mode: Mode,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct World {
    /// The register as it is on disk.
    pub disk: Record,
    coordinator: Option<Coordinator>,
    controller_life: u8,
    pending: Option<(Record, Change, Proposer)>,
    due: Due,
    agents: BTreeMap<NodeId, AgentState>,
    gateways: BTreeMap<GatewayId, GatewayState>,
    pub(crate) processes: BTreeMap<StartId, Process>,
    channel: Option<Channel>,
    /// Parties that are stopped: they handle nothing, and go on as they are when they wake.
    stalled: BTreeSet<Party>,
    /// Nodes that a person gave up, as this controller was told.
    lost: BTreeSet<NodeId>,
    waiting: Vec<(Party, Waiting)>,
    /// An agent looked at the source of the open move, by this very record, and it lived.
    source_was_seen: bool,
    /// What clients did and saw.
    pub ledger: Ledger,
    next_start: u64,
    /// Messages of the last action.
    pub sent: Vec<Envelope>,
    /// Timers armed (with their milliseconds) and disarmed by the last action.
    pub timers: Vec<(Party, Timer, Option<u32>)>,
    /// Phases entered by the last action.
    pub entered: Vec<paracloud_core::migration::Phase>,
    /// Rules broken so far.
    pub violations: Vec<Violation>,
}

/// Where a node's processes listen.
fn address(node: NodeId) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, u16::try_from(node.0).unwrap_or(u16::MAX)))
}

impl World {
    /// An instance that serves on the first of `nodes`, gateways that know it, and `requests` that clients will send.
    pub fn new(setting: &Setting, requests: u8) -> Self {
        let first = *setting.coordinator.nodes.first().unwrap_or(&NodeId(1));
        let start = StartId(1);
        let mut disk = Record::first(Placement::new(first, start));
        disk.served = Some(address(first));
        let mut coordinator = Coordinator::default();
        let mut effects = Vec::new();
        coordinator.take(
            &setting.coordinator,
            coordinator::Input::Recovered(disk.clone()),
            StartId(0),
            &mut effects,
        );
        let mut world = Self {
            disk: disk.clone(),
            coordinator: Some(coordinator),
            controller_life: 0,
            pending: None,
            due: Due::new(disk.owner.revision),
            agents: BTreeMap::new(),
            gateways: BTreeMap::new(),
            processes: BTreeMap::new(),
            channel: None,
            stalled: BTreeSet::new(),
            lost: BTreeSet::new(),
            waiting: Vec::new(),
            source_was_seen: false,
            ledger: Ledger::new((0..requests).map(|id| RequestId(u16::from(id)))),
            next_start: 2,
            sent: Vec::new(),
            timers: Vec::new(),
            entered: Vec::new(),
            violations: Vec::new(),
        };
        for node in &setting.coordinator.nodes {
            let state = AgentState { generation: Generation(0), machine: None, life: 0 };
            world.agents.insert(*node, state);
        }
        let app = Application::serving(setting.mode, disk.incarnation.0);
        let mut running = Shim::default();
        running.take(&(), shim::Input::Started { marked: true, alive: true }, StartId(0), &mut Vec::new());
        let process = Process {
            node: first,
            revision: Some(disk.owner.revision),
            marked: true,
            marking: false,
            shim: Some(running),
            was_started: true,
            app: Some(app),
            held: BTreeSet::new(),
            ended_early: false,
        };
        world.processes.insert(start, process);
        for node in &setting.coordinator.nodes {
            world.restart_agent(setting, *node);
        }
        let table = gateway::Table::of(&disk, false);
        for id in &setting.coordinator.gateways {
            let mut machine = Gateway::default();
            machine.take(
                &setting.gateway,
                gateway::Input::Coordinator(ToGateway::Table(table.clone())),
                StartId(0),
                &mut Vec::new(),
            );
            let tickets = BTreeMap::new();
            let state = GatewayState {
                machine: Some(machine),
                life: 0,
                tickets,
                said_to_park: None,
                said_drained: None,
            };
            world.gateways.insert(*id, state);
        }
        // Everybody has heard what the register says.
        for node in &setting.coordinator.nodes {
            let own = agent::Input::Coordinator(ToAgent::Own(disk.clone()));
            world.agent(setting, *node, own);
        }
        world.sent.clear();
        world.timers.clear();
        world
    }

    /// The same, with clients that will send these requests and no others.
    #[must_use]
    pub fn with_requests(mut self, requests: &[RequestId]) -> Self {
        self.ledger = Ledger::new(requests.iter().copied());
        self
    }

    /// The write of [`Self::with_a_past`].
    pub const PAST: RequestId = RequestId(100);

    /// The same, after one write was acknowledged: something that must never be lost.
    #[must_use]
    pub fn with_a_past(mut self) -> Self {
        let past = Self::PAST;
        if let Some(app) = self.processes.get_mut(&self.disk.owner.start).and_then(|it| it.app.as_mut()) {
            app.request(past);
        }
        self.ledger.acknowledged(past);
        self
    }

    /// Forgets what no step can tell apart any more: which life a party lives (every message to an earlier one is
    /// gone), how often an agent was started (its shims have heard of no later one) and proposed a restart, what it
    /// proposed against a record that has changed, a channel that is over.
    pub(crate) fn forget_history(&mut self) {
        self.controller_life = 0;
        let order = self.disk.order();
        for agent in self.agents.values_mut() {
            agent.life = 0;
            agent.generation = Generation(0);
            if let Some(machine) = &mut agent.machine {
                let refused = machine.record().is_some_and(|known| known.order() < order);
                machine.forget_proposals(refused);
            }
        }
        for gateway in self.gateways.values_mut() {
            gateway.life = 0;
        }
        if !matches!(self.disk.step(), Some(Step::Open | Step::Sealing)) {
            self.channel = None;
        }
        let ended = self.processes.iter().filter(|(start, process)| {
            process.app.is_none() && process.marked && process.shim.is_some() && !self.disk.names(**start)
        });
        let ended: Vec<_> = ended.map(|(start, _)| *start).collect();
        for start in ended {
            if let Some(process) = self.processes.get_mut(&start) {
                process.shim = None;
            }
        }
    }

    /// Lets start ids be used again that nobody knows any more: all above the highest one that a process, the record,
    /// a swap, a proposal or (`proposed`) a message has.
    pub(crate) fn reuse_starts(&mut self, proposed: impl Iterator<Item = StartId>) {
        let of_swap = self.pending_change().and_then(Change::started);
        let of_record = self.disk.moving().map(|operation| operation.target.start);
        let of_agents = self.agents.values().filter_map(|agent| agent.machine.as_ref()?.proposal());
        let known = proposed
            .chain(of_agents)
            .chain(of_swap)
            .chain(of_record)
            .chain([self.disk.owner.start])
            .chain(self.processes.keys().copied());
        self.next_start = known.max().map_or(self.next_start, |highest| highest.0 + 1);
    }

    fn send(&mut self, from: Party, to: Party, message: Message) {
        if self.is_up(to) || matches!(to, Party::App(_)) {
            self.sent.push(Envelope { from, to, life: self.life(to), message });
        }
    }

    /// One thing happens. What came of it is in `sent`, `timers` and `violations`.
    pub fn apply(&mut self, setting: &Setting, action: Action) {
        self.begin();
        match action {
            Action::Deliver(envelope) => {
                if self.is_current(&envelope) {
                    self.deliver(setting, envelope);
                }
            }
            Action::Persist => {
                if let Some((record, applied)) = self.persist() {
                    self.coordinate(setting, coordinator::Input::Swapped { record, applied });
                }
            }
            Action::PersistAndCrash => {
                self.persist();
                self.crash(setting, Party::Controller);
            }
            Action::Mark(start) => self.mark(setting, start),
            Action::MarkAndCrash(start) => {
                if let Some(process) = self.processes.get_mut(&start) {
                    process.marked = true;
                    process.marking = false;
                    process.shim = None;
                }
            }
            Action::Crash(party) => self.crash(setting, party),
            Action::Restart(party) => self.restart(setting, party),
            Action::Fire(Party::Controller, Timer::Coordinator(timer)) => {
                self.coordinate(setting, coordinator::Input::Timer(timer));
            }
            Action::Fire(Party::Agent(node), Timer::Agent(timer)) => {
                self.agent(setting, node, agent::Input::Timer(timer));
            }
            Action::Fire(Party::Gateway(id), Timer::Gateway(timer)) => {
                self.gateway(setting, id, gateway::Input::Timer(timer));
            }
            Action::Fire(..) => {}
            Action::Command(command) => {
                let was_swapping = self.is_swapping();
                self.coordinate(setting, coordinator::Input::Command(command));
                self.note_asked(command, !was_swapping && self.is_swapping());
            }
            Action::GiveUp(node) => self.give_up(setting, node),
            Action::Send(request, id) => {
                let ticket = Ticket(self.ledger.send(request, id));
                if let Some(gateway) = self.gateways.get_mut(&id).filter(|gateway| gateway.machine.is_some())
                {
                    gateway.tickets.insert(ticket, request);
                    let input = if request.belongs() {
                        gateway::Input::Belongs(ticket)
                    } else {
                        gateway::Input::Arrived(ticket)
                    };
                    self.gateway(setting, id, input);
                } else {
                    self.ledger.unknown(request);
                }
            }
            Action::Hog(start) => {
                if let Some(app) = self.processes.get_mut(&start).and_then(|process| process.app.as_mut()) {
                    app.hogged = true;
                }
            }
        }
        self.check();
    }

    fn begin(&mut self) {
        self.sent.clear();
        self.timers.clear();
        self.entered.clear();
    }

    fn persist(&mut self) -> Option<(Record, bool)> {
        let (expected, change, proposer) = self.pending.take()?;
        let swapped = self.disk.swap(&expected, &change, proposer);
        let applied = swapped.is_ok();
        if let Ok(record) = swapped {
            let before = std::mem::replace(&mut self.disk, record);
            self.bury(&before, &change);
            self.check_swap(&before, &change, proposer);
            self.check_copies(&before, &change);
            self.check_revision(&before, &change);
            self.source_was_seen = false;
        }
        self.forget_asked();
        Some((self.disk.clone(), applied))
    }

    fn deliver(&mut self, setting: &Setting, envelope: Envelope) {
        match (envelope.to, envelope.message) {
            (Party::Controller, Message::FromAgent(message)) => {
                if let Party::Agent(node) = envelope.from {
                    self.coordinate(setting, coordinator::Input::Agent(node, message));
                }
            }
            (Party::Controller, Message::FromGateway(message)) => {
                if let Party::Gateway(id) = envelope.from {
                    self.coordinate(setting, coordinator::Input::Gateway(id, message));
                }
            }
            (Party::Agent(node), Message::ToAgent(message)) => {
                self.agent(setting, node, agent::Input::Coordinator(message));
            }
            (Party::Gateway(id), Message::ToGateway(message)) => {
                self.gateway(setting, id, gateway::Input::Coordinator(message));
            }
            (Party::App(start), Message::Request(ticket, request, _)) => {
                self.check_request(envelope.from, start, ticket);
                let answer = match self.processes.get_mut(&start).and_then(|process| process.app.as_mut()) {
                    Some(app) => {
                        let held = app.state.get(&request).copied();
                        let answer = app.request(request);
                        if answer == gateway::Answer::Replied && app.state.get(&request).copied() != held {
                            let what = self.ledger.applied(request);
                            what.into_iter().for_each(|what| self.broken("I2", what));
                        }
                        // Its body has gone by and is no longer all at the gateway.
                        let is_spent = answer == gateway::Answer::NotApplied && !request.is_kept_whole();
                        if is_spent { gateway::Answer::Spent } else { answer }
                    }
                    None => gateway::Answer::Lost,
                };
                self.send(Party::App(start), envelope.from, Message::Reply(ticket, request, answer));
            }
            (Party::Gateway(id), Message::Reply(ticket, request, answer)) => {
                let answered = answer == gateway::Answer::Replied;
                // A client that left has not seen it.
                let waited = answered
                    && self.gateways.get_mut(&id).is_some_and(|it| it.tickets.remove(&ticket).is_some());
                if waited {
                    self.ledger.acknowledged(request);
                }
                self.gateway(setting, id, gateway::Input::Answered(ticket, answer));
            }
            (Party::App(start), Message::EndOfState(operation, state, sealed)) => {
                let joined = self.channel.is_some_and(|channel| {
                    channel.operation == operation && channel.target == start && !channel.broken
                });
                let app = self.processes.get_mut(&start).and_then(|process| process.app.as_mut());
                if let (Some(app), true) = (app, joined) {
                    let acts = app.load(operation, state, &sealed);
                    self.act(setting, start, acts);
                }
            }
            _ => {}
        }
    }
}
