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

use crate::application::Application;
use crate::ledger::{Ledger, RequestId};
use paci::participant::Sealed;
use paracloud_core::ids::{GatewayId, NodeId, Placement, StartId};
use paracloud_core::machine::Machine;
use paracloud_core::migration::agent::{self, Agent, FromApp, ToApp};
use paracloud_core::migration::coordinator::{self, Command, Coordinator};
use paracloud_core::migration::gateway::{self, Gateway, Route, Ticket};
use paracloud_core::migration::message::{FromAgent, FromGateway, ToAgent, ToGateway};
use paracloud_core::migration::shim::{self, Generation, Order, Shim, Status};
use paracloud_core::register::{Change, Mode, Proposer, Record, Step};
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
    /// A client sends a request through a gateway (again, if it was sent before).
    Send(RequestId, GatewayId),
    /// Somebody works on the state and does not end: this application's guards will not end in time.
    Hog(StartId),
}

/// What a broken rule looks like.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Violation {
    /// The rule: `I1` … `I5`, `P…`.
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
}

/// A process: its shim, its marker on disk, and the program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Process {
    pub(crate) node: NodeId,
    marked: bool,
    marking: bool,
    shim: Option<Shim>,
    was_started: bool,
    pub(crate) app: Option<Application>,
    /// What the program held when it died, for as long as the register may still build on it.
    held: BTreeSet<RequestId>,
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
    agents: BTreeMap<NodeId, AgentState>,
    gateways: BTreeMap<GatewayId, GatewayState>,
    pub(crate) processes: BTreeMap<StartId, Process>,
    channel: Option<Channel>,
    /// Parties that are stopped: they handle nothing, and go on as they are when they wake.
    stalled: BTreeSet<Party>,
    waiting: Vec<(Party, Waiting)>,
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
        let mut disk = Record::first(Placement { node: first, start });
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
            agents: BTreeMap::new(),
            gateways: BTreeMap::new(),
            processes: BTreeMap::new(),
            channel: None,
            stalled: BTreeSet::new(),
            waiting: Vec::new(),
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
            marked: true,
            marking: false,
            shim: Some(running),
            was_started: true,
            app: Some(app),
            held: BTreeSet::new(),
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
            let state = GatewayState { machine: Some(machine), life: 0, tickets: BTreeMap::new() };
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

    /// The coordinator, if the controller is up.
    pub fn coordinator(&self) -> Option<&Coordinator> {
        self.coordinator.as_ref()
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
        let of_swap = self.pending_change().and_then(|change| match change {
            Change::Open { target, .. } => Some(target.start),
            Change::Restart { fresh } => Some(*fresh),
            Change::Seal
            | Change::Commit
            | Change::Serve(_)
            | Change::Doom
            | Change::RollBack(_)
            | Change::Promote
            | Change::Close => None,
        });
        let of_record = self.disk.operation.as_ref().map(|operation| operation.target.start);
        let of_agents = self.agents.values().filter_map(|agent| agent.machine.as_ref()?.proposal());
        let known = proposed
            .chain(of_agents)
            .chain(of_swap)
            .chain(of_record)
            .chain([self.disk.owner.start])
            .chain(self.processes.keys().copied());
        self.next_start = known.max().map_or(self.next_start, |highest| highest.0 + 1);
    }

    /// Whether an agent's record is older than the register's.
    pub(crate) fn is_outdated(&self, node: NodeId) -> bool {
        let known = self.agents.get(&node).and_then(|agent| agent.machine.as_ref()?.record());
        known.is_some_and(|known| known.order() < self.disk.order())
    }

    /// Whether nothing lives on a node, in the eyes of its agent.
    pub(crate) fn is_deserted(&self, node: NodeId) -> bool {
        let machine = self.agents.get(&node).and_then(|agent| agent.machine.as_ref());
        machine.is_some_and(|machine| !machine.has_living())
    }

    /// All gateways.
    pub fn gateways(&self) -> impl Iterator<Item = GatewayId> + '_ {
        self.gateways.keys().copied()
    }

    /// Whether a swap waits for the disk.
    pub fn is_swapping(&self) -> bool {
        self.pending.is_some()
    }

    /// The change that waits for the disk.
    pub fn pending_change(&self) -> Option<&Change> {
        self.pending.as_ref().map(|(_, change, _)| change)
    }

    /// The change that waits for the disk, if it will be made: it was proposed against the record as it is.
    pub fn coming_change(&self) -> Option<&Change> {
        let (expected, change, proposer) = self.pending.as_ref()?;
        self.disk.swap(expected, change, *proposer).is_ok().then_some(change)
    }

    /// A start whose marker waits for the disk.
    pub fn marking(&self) -> Option<StartId> {
        self.markings().next()
    }

    /// All starts whose marker waits for the disk.
    pub fn markings(&self) -> impl Iterator<Item = StartId> + '_ {
        self.processes.iter().filter(|(_, process)| process.marking).map(|(start, _)| *start)
    }

    /// Whether a party is up.
    pub fn is_up(&self, party: Party) -> bool {
        match party {
            Party::Controller => self.coordinator.is_some(),
            Party::Agent(node) => self.agents.get(&node).is_some_and(|agent| agent.machine.is_some()),
            Party::Gateway(id) => self.gateways.get(&id).is_some_and(|gateway| gateway.machine.is_some()),
            Party::Shim(start) => self.processes.get(&start).is_some_and(|process| process.shim.is_some()),
            Party::App(start) => self.processes.get(&start).is_some_and(|process| process.app.is_some()),
        }
    }

    /// Everybody who is there, dead or alive.
    pub fn parties(&self) -> Vec<Party> {
        let mut parties = vec![Party::Controller];
        parties.extend(self.agents.keys().map(|node| Party::Agent(*node)));
        parties.extend(self.gateways.keys().map(|id| Party::Gateway(*id)));
        for (start, process) in &self.processes {
            if process.app.is_some() || process.marking {
                parties.push(Party::Shim(*start));
                parties.push(Party::App(*start));
            }
        }
        parties
    }

    /// The types of the machines in this world, as its own fields have them.
    pub fn machines(&self) -> [&'static str; 5] {
        fn of<M>(_: Option<&M>) -> &'static str {
            std::any::type_name::<M>()
        }
        let process = self.processes.values().next();
        [
            of(self.coordinator.as_ref()),
            of(self.agents.values().next().and_then(|agent| agent.machine.as_ref())),
            of(self.gateways.values().next().and_then(|gateway| gateway.machine.as_ref())),
            of(process.and_then(|process| process.shim.as_ref())),
            of(process.and_then(|process| process.app.as_ref()).map(|app| &app.participant)),
        ]
    }

    /// Requests that wait at a gateway.
    pub fn parked(&self, id: GatewayId) -> usize {
        self.gateways.get(&id).and_then(|gateway| gateway.machine.as_ref()).map_or(0, Gateway::parked)
    }

    /// Processes on a node that live, or whose marker is being written.
    pub fn processes_on(&self, node: NodeId) -> impl Iterator<Item = StartId> + '_ {
        let here =
            move |process: &Process| process.node == node && (process.app.is_some() || process.marking);
        self.processes.iter().filter(move |(_, process)| here(process)).map(|(start, _)| *start)
    }

    /// The side of the open move (or of the settled instance) that a process is on.
    pub fn is_target(&self, start: StartId) -> bool {
        self.disk.operation.as_ref().is_some_and(|operation| operation.target.start == start)
    }

    /// The node a process runs on.
    pub fn node_of(&self, start: StartId) -> Option<NodeId> {
        self.processes.get(&start).map(|process| process.node)
    }

    /// Which life a party lives: it counts deaths.
    pub fn life(&self, party: Party) -> u8 {
        match party {
            Party::Controller => self.controller_life,
            Party::Agent(node) => self.agents.get(&node).map_or(0, |agent| agent.life),
            Party::Gateway(id) => self.gateways.get(&id).map_or(0, |gateway| gateway.life),
            Party::Shim(_) | Party::App(_) => 0,
        }
    }

    /// Whether a message can still reach the life it was sent to. (One to a dead application can: what happens to a
    /// request on a broken connection is something the gateway sees.)
    pub fn is_current(&self, envelope: &Envelope) -> bool {
        match envelope.to {
            Party::App(_) => true,
            Party::Controller | Party::Agent(_) | Party::Gateway(_) | Party::Shim(_) => {
                self.is_up(envelope.to) && self.life(envelope.to) == envelope.life
            }
        }
    }

    /// Whether the arrival of a message, now or later, could not change anything: its time is over.
    pub fn is_over(&self, envelope: &Envelope) -> bool {
        let step = self.disk.step();
        let deciding = matches!(step, Some(Step::Open | Step::Sealing));
        let current = |operation| operation == self.disk.last_operation && step.is_some();
        match (&envelope.message, envelope.to) {
            (Message::ToAgent(message), Party::Agent(node)) => {
                let known = self.agents.get(&node).and_then(|agent| agent.machine.as_ref()?.record());
                known.is_some_and(|known| match message {
                    ToAgent::Own(record) => record.order() < known.order(),
                    ToAgent::Estimate { operation, .. } | ToAgent::Prepare { operation, .. } => {
                        known.last_operation > *operation
                            || (known.last_operation == *operation && known.step() != Some(Step::Open))
                    }
                    ToAgent::End { start, order, .. } => {
                        known.owner.start == *start && known.order() > *order
                    }
                })
            }
            (Message::FromAgent(message), _) => match message {
                FromAgent::Offered { operation, .. }
                | FromAgent::Prepared { operation, .. }
                | FromAgent::Progressed { operation, .. } => {
                    !(current(*operation) && step == Some(Step::Open))
                }
                FromAgent::Sealed { operation, .. }
                | FromAgent::Blocked { operation }
                | FromAgent::Loaded { operation, .. }
                | FromAgent::Failed { operation, .. } => !(current(*operation) && deciding),
                FromAgent::Serving { operation, .. } | FromAgent::Undone { operation, .. } => {
                    !current(*operation)
                }
                FromAgent::Ready { incarnation, .. } => {
                    *incarnation < self.disk.incarnation || self.disk.served.is_some()
                }
                FromAgent::Dead { start } => !self.disk.names(*start),
                FromAgent::Ask | FromAgent::Propose { .. } => false,
            },
            (Message::ToGateway(ToGateway::Table(table)), Party::Gateway(id)) => {
                let known = self.gateways.get(&id).and_then(|gateway| gateway.machine.as_ref()?.table());
                known.is_some_and(|known| (table.order, !table.parks) < (known.order, !known.parks))
            }
            (Message::FromGateway(FromGateway::Obeyed { order, .. } | FromGateway::Drained { order }), _)
            | (Message::ToGateway(ToGateway::Leave { order }), _) => *order < self.disk.order(),
            (Message::EndOfState(operation, ..), Party::App(start)) => !self.channel.is_some_and(|channel| {
                channel.operation == *operation && channel.target == start && !channel.broken
            }),
            (
                Message::ToAgent(_)
                | Message::ToGateway(_)
                | Message::FromGateway(FromGateway::Ask)
                | Message::Request(..)
                | Message::Reply(..)
                | Message::EndOfState(..),
                _,
            ) => false,
        }
    }

    /// Whether a timer, firing now, could change anything.
    pub fn is_due(&self, party: Party, timer: Timer) -> bool {
        match (party, timer) {
            (Party::Agent(node), Timer::Agent(timer)) => {
                let machine = self.agents.get(&node).and_then(|agent| agent.machine.as_ref());
                machine.is_some_and(|machine| match timer {
                    agent::Timer::Ask => machine.wants_record(),
                    // It must fire even if there is nothing to restart any more: it is armed once at a time.
                    agent::Timer::Restart => machine.restart_is_armed(),
                })
            }
            (Party::Gateway(id), Timer::Gateway(gateway::Timer::Ask)) => {
                let machine = self.gateways.get(&id).and_then(|gateway| gateway.machine.as_ref());
                machine.is_some_and(Gateway::wants_table)
            }
            _ => self.is_up(party),
        }
    }

    /// Whether a gateway knows all that the coordinator would tell it.
    pub fn is_up_to_date(&self, id: GatewayId) -> bool {
        let known = self.gateways.get(&id).and_then(|gateway| gateway.machine.as_ref()?.table());
        let current = self.coordinator.as_ref().and_then(Coordinator::table);
        known.is_some() && (current.is_none() || known == current.as_ref())
    }

    /// Whether requests wait at a gateway though its route is in force.
    pub(crate) fn may_try_again(&self, id: GatewayId) -> bool {
        let machine = self.gateways.get(&id).and_then(|gateway| gateway.machine.as_ref());
        machine.is_some_and(|machine| {
            machine.parked() > 0 && machine.table().is_some_and(|table| !table.parks && table.route.is_some())
        })
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
            Action::Command(command) => self.coordinate(setting, coordinator::Input::Command(command)),
            Action::Send(request, id) => {
                let ticket = Ticket(self.ledger.send(request, id));
                if let Some(gateway) = self.gateways.get_mut(&id).filter(|gateway| gateway.machine.is_some())
                {
                    gateway.tickets.insert(ticket, request);
                    self.gateway(setting, id, gateway::Input::Arrived(ticket));
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

    /// A party is stopped: until it wakes it handles nothing, and what it would have to handle waits. What reaches it
    /// from other machines (and its timers) is for the driver to hold back.
    pub fn stall(&mut self, party: Party) {
        if self.is_up(party) {
            self.stalled.insert(party);
        }
    }

    /// Whether a party is stopped.
    pub fn is_stalled(&self, party: Party) -> bool {
        self.stalled.contains(&party)
    }

    /// Parties that are stopped.
    pub fn stalled(&self) -> impl Iterator<Item = Party> + '_ {
        self.stalled.iter().copied()
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
        }
        self.check();
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

    /// Requests at a gateway that were not answered.
    pub fn open_tickets(&self, id: GatewayId) -> impl Iterator<Item = Ticket> + '_ {
        self.gateways.get(&id).into_iter().flat_map(|gateway| gateway.tickets.keys().copied())
    }

    /// The connection that carries the state breaks.
    pub fn cut_channel(&mut self, setting: &Setting) {
        self.begin();
        self.break_channel(setting);
        self.check();
    }

    /// Whether state crosses, or could: both ends are joined and the connection holds.
    pub fn has_channel(&self) -> bool {
        self.channel.is_some_and(|channel| !channel.broken && channel.source.is_some())
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
            let is_moving = matches!(before.step(), Some(Step::Sealing | Step::Switch | Step::Doomed));
            if proposer == Proposer::Agent && is_moving {
                self.broken("I3", "an agent replaced an owner between sealing and served".to_owned());
            }
            self.bury(&before, &change);
        }
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
                let answer = match self.processes.get_mut(&start).and_then(|process| process.app.as_mut()) {
                    Some(app) => {
                        let held = app.state.get(&request).copied();
                        let answer = app.request(request);
                        if answer == gateway::Answer::Replied && app.state.get(&request).copied() != held {
                            let what = self.ledger.applied(request);
                            what.into_iter().for_each(|what| self.broken("I2", what));
                        }
                        answer
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

    fn coordinate(&mut self, setting: &Setting, input: coordinator::Input) {
        let Some(machine) = &mut self.coordinator else { return };
        let mut effects = Vec::new();
        let fresh = StartId(self.next_start);
        machine.take(&setting.coordinator, input, fresh, &mut effects);
        for effect in effects {
            match effect {
                coordinator::Effect::Swap { expected, change, proposer } => {
                    let opens = matches!(&change, Change::Open { target, .. } if target.start == fresh);
                    if opens || change == (Change::Restart { fresh }) {
                        self.next_start += 1;
                    }
                    self.pending = Some((expected, change, proposer));
                }
                coordinator::Effect::Agent(node, message) => {
                    self.send(Party::Controller, Party::Agent(node), Message::ToAgent(message));
                }
                coordinator::Effect::Gateway(id, message) => {
                    self.send(Party::Controller, Party::Gateway(id), Message::ToGateway(message));
                }
                coordinator::Effect::SetTimer(timer, ms) => {
                    self.timers.push((Party::Controller, Timer::Coordinator(timer), Some(ms)));
                }
                coordinator::Effect::CancelTimer(timer) => {
                    self.timers.push((Party::Controller, Timer::Coordinator(timer), None));
                }
                coordinator::Effect::Entered(phase) => self.entered.push(phase),
                coordinator::Effect::Refused(_) => {}
            }
        }
    }

    fn agent(&mut self, setting: &Setting, node: NodeId, input: agent::Input) {
        if self.waits(Party::Agent(node), || Waiting::Agent(input.clone())) {
            return;
        }
        let Some(machine) = self.agents.get_mut(&node).and_then(|agent| agent.machine.as_mut()) else {
            return;
        };
        let mut effects = Vec::new();
        let fresh = StartId(self.next_start);
        machine.take(&agent::Setting { node, ..setting.agent.clone() }, input, fresh, &mut effects);
        for effect in effects {
            match effect {
                agent::Effect::Coordinator(message) => {
                    if matches!(&message, FromAgent::Propose { fresh: used, .. } if *used == fresh) {
                        self.next_start += 1;
                    }
                    self.send(Party::Agent(node), Party::Controller, Message::FromAgent(message));
                }
                agent::Effect::Shim(start, generation, order) => {
                    self.order(setting, node, start, generation, order);
                }
                agent::Effect::App(start, message) => {
                    if !self.waits(Party::App(start), || Waiting::Call(message)) {
                        self.call(setting, start, message);
                    }
                }
                agent::Effect::Check(operation, start) => {
                    self.agent(setting, node, agent::Input::Checked(operation, start, true));
                }
                agent::Effect::SetTimer(timer, ms) => {
                    self.timers.push((Party::Agent(node), Timer::Agent(timer), Some(ms)));
                }
            }
        }
    }

    fn call(&mut self, setting: &Setting, start: StartId, message: ToApp) {
        let Some(app) = self.processes.get_mut(&start).and_then(|process| process.app.as_mut()) else {
            return;
        };
        let acts = match message {
            ToApp::Welcome(standing, incarnation) => app.participant.welcome(standing, incarnation.0),
            ToApp::Call(operation, call) => app.participant.call(operation.0, call),
        };
        self.act(setting, start, acts);
        self.say_ready(setting, start);
    }

    fn gateway(&mut self, setting: &Setting, id: GatewayId, input: gateway::Input) {
        let at_bound = matches!(input, gateway::Input::Timer(gateway::Timer::Bound(_)));
        let Some(machine) = self.gateways.get_mut(&id).and_then(|gateway| gateway.machine.as_mut()) else {
            return;
        };
        let mut effects = Vec::new();
        machine.take(&setting.gateway, input, StartId(0), &mut effects);
        let parks = machine.table().is_some_and(|table| table.parks);
        for effect in effects {
            match effect {
                gateway::Effect::Forward(ticket, route) => {
                    if parks && !at_bound {
                        self.broken("I4", format!("{id} forwards {ticket:?} though it parks"));
                    }
                    let Some(request) =
                        self.gateways.get(&id).and_then(|gateway| gateway.tickets.get(&ticket)).copied()
                    else {
                        continue;
                    };
                    if self.is_up(Party::App(route.start)) {
                        let message = Message::Request(ticket, request, route);
                        self.send(Party::Gateway(id), Party::App(route.start), message);
                    } else {
                        // The connection is refused: not a byte was sent.
                        let refused = gateway::Input::Answered(ticket, gateway::Answer::NotApplied);
                        self.gateway(setting, id, refused);
                    }
                }
                gateway::Effect::Fail(ticket, failure) => {
                    let request = self.gateways.get_mut(&id).and_then(|it| it.tickets.remove(&ticket));
                    if let Some(request) = request {
                        match failure {
                            gateway::Failure::Unknown => self.ledger.unknown(request),
                            gateway::Failure::NotApplied | gateway::Failure::Full => {
                                self.ledger.refused(request);
                            }
                        }
                    }
                }
                gateway::Effect::Coordinator(message) => {
                    self.send(Party::Gateway(id), Party::Controller, Message::FromGateway(message));
                }
                gateway::Effect::SetTimer(timer, ms) => {
                    self.timers.push((Party::Gateway(id), Timer::Gateway(timer), Some(ms)));
                }
                gateway::Effect::CancelTimer(timer) => {
                    self.timers.push((Party::Gateway(id), Timer::Gateway(timer), None));
                }
                gateway::Effect::Leave(order) => self.gateway(setting, id, gateway::Input::Drained(order)),
                gateway::Effect::Parked(_) => {}
            }
        }
    }

    /// An agent orders a shim; where there is none, a new one adopts what it finds.
    fn order(
        &mut self,
        setting: &Setting,
        node: NodeId,
        start: StartId,
        generation: Generation,
        order: Order,
    ) {
        let process = self.processes.entry(start).or_insert(Process {
            node,
            marked: false,
            marking: false,
            shim: None,
            was_started: false,
            app: None,
            held: BTreeSet::new(),
        });
        if process.shim.is_none() {
            let mut adopting = Shim::default();
            let found = shim::Input::Started { marked: process.marked, alive: process.app.is_some() };
            adopting.take(&(), found, StartId(0), &mut Vec::new());
            process.shim = Some(adopting);
        }
        self.shim(setting, start, shim::Input::Ordered(generation, order));
    }

    fn shim(&mut self, setting: &Setting, start: StartId, input: shim::Input) {
        if self.waits(Party::Shim(start), || Waiting::Shim(input)) {
            return;
        }
        let Some(process) = self.processes.get_mut(&start) else { return };
        let node = process.node;
        let Some(machine) = &mut process.shim else { return };
        let mut effects = Vec::new();
        machine.take(&(), input, StartId(0), &mut effects);
        for effect in effects {
            match effect {
                shim::Effect::Mark => {
                    if let Some(process) = self.processes.get_mut(&start) {
                        process.marking = true;
                    }
                }
                shim::Effect::Exec => {
                    let twice = self.processes.get_mut(&start).is_some_and(|process| {
                        process.app = Some(Application::new(setting.mode));
                        std::mem::replace(&mut process.was_started, true)
                    });
                    if twice {
                        self.broken("P", format!("{start} was started twice"));
                    }
                }
                shim::Effect::Kill => self.end_app(setting, start),
                shim::Effect::Report(status) => {
                    self.agent(setting, node, agent::Input::Shim(start, status, address(node)));
                    if status == Status::Running {
                        self.hello(setting, start);
                    }
                }
                shim::Effect::Superseded(_) => {}
            }
        }
    }

    fn mark(&mut self, setting: &Setting, start: StartId) {
        if let Some(process) = self.processes.get_mut(&start)
            && process.marking
        {
            process.marking = false;
            process.marked = true;
            self.shim(setting, start, shim::Input::Marked);
        }
    }

    /// A process that has not done so opens its session with its agent.
    fn hello(&mut self, setting: &Setting, start: StartId) {
        let Some(process) = self.processes.get_mut(&start) else { return };
        let node = process.node;
        let Some(app) = &mut process.app else { return };
        let agent_is_up = self.agents.get(&node).is_some_and(|agent| agent.machine.is_some());
        if !agent_is_up || app.connected || self.stalled.contains(&Party::App(start)) {
            return;
        }
        app.connected = true;
        if app.is_aware() {
            self.agent(setting, node, agent::Input::App(start, FromApp::Hello));
        }
        self.say_ready(setting, start);
    }

    /// Tells the agent that the application is ready, once it is (an unaware one is probed).
    fn say_ready(&mut self, setting: &Setting, start: StartId) {
        let Some(process) = self.processes.get_mut(&start) else { return };
        let node = process.node;
        let Some(app) = &mut process.app else { return };
        if self.stalled.contains(&Party::App(start)) {
            return;
        }
        if app.connected && !app.said_ready && (app.participant.is_open() || !app.is_aware()) {
            app.said_ready = true;
            self.agent(setting, node, agent::Input::App(start, FromApp::Ready(true)));
        }
    }

    /// Carries out what an application's machine asks of it, and passes on what it answers.
    fn act(&mut self, setting: &Setting, start: StartId, acts: Vec<paci::participant::Act>) {
        use paci::participant::{Act, Answer};
        let mut queue: std::collections::VecDeque<_> = acts.into();
        while let Some(act) = queue.pop_front() {
            let Some(process) = self.processes.get_mut(&start) else { return };
            let node = process.node;
            let Some(app) = &mut process.app else { return };
            match act {
                Act::Answer(operation, answer) => {
                    let number = paracloud_core::ids::OperationNumber(operation);
                    let from = if answer == Answer::Estimated {
                        FromApp::Offer(number, paracloud_core::migration::message::Offer::Accept)
                    } else {
                        FromApp::Answer(number, answer.clone())
                    };
                    if app.connected {
                        self.agent(setting, node, agent::Input::App(start, from));
                    }
                    let copying = answer == Answer::Prepared && !self.is_target(start);
                    if copying {
                        let progress = paracloud_core::migration::message::Progress::default();
                        self.agent(
                            setting,
                            node,
                            agent::Input::App(start, FromApp::Progress(number, progress)),
                        );
                    }
                }
                Act::Close => app.note_seal(),
                Act::Open(_) | Act::Forget(_) => {}
                Act::Load(operation) => {
                    self.channel = Some(Channel { operation, target: start, source: None, broken: false });
                    queue.extend(app.participant.prepared(operation));
                }
                Act::Copy(operation) => match &mut self.channel {
                    Some(channel) if channel.operation == operation && !channel.broken => {
                        channel.source = Some(start);
                        queue.extend(app.participant.prepared(operation));
                    }
                    _ => queue.extend(app.participant.channel_failed(operation)),
                },
                Act::Ship(operation) => {
                    let joined = self.channel.filter(|channel| {
                        channel.operation == operation && channel.source == Some(start) && !channel.broken
                    });
                    if app.hogged {
                        queue.extend(app.participant.blocked(operation));
                    } else if let Some(channel) = joined {
                        let sealed = app.sealed();
                        let state = app.state.clone();
                        queue.extend(app.participant.shipped(operation, sealed.clone()));
                        let message = Message::EndOfState(operation, state, sealed);
                        self.send(Party::App(start), Party::App(channel.target), message);
                    } else {
                        queue.extend(app.participant.channel_failed(operation));
                    }
                }
            }
        }
    }

    /// Keeps what a stalled party would have to handle now.
    fn waits(&mut self, party: Party, what: impl FnOnce() -> Waiting) -> bool {
        let stalled = self.stalled.contains(&party);
        if stalled {
            self.waiting.push((party, what()));
        }
        stalled
    }

    fn forget_waiting(&mut self, party: Party) {
        self.stalled.remove(&party);
        self.waiting.retain(|(of, _)| *of != party);
    }

    fn crash(&mut self, setting: &Setting, party: Party) {
        self.forget_waiting(party);
        match party {
            Party::Controller => {
                self.coordinator = None;
                self.pending = None;
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

    fn end_app(&mut self, setting: &Setting, start: StartId) {
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

    /// The register gives the instance to a process that starts with nothing. What its owner held when it died is
    /// lost by that crash; or was left behind, where that is how the instance is moved. An owner that was replaced
    /// though it lives is no crash, and what it held must not be missed.
    fn bury(&mut self, before: &Record, change: &Change) {
        let restarting = before.operation.as_ref().is_some_and(|operation| operation.mode == Mode::Restart);
        let starts_empty =
            matches!(change, Change::Restart { .. }) || (*change == Change::Commit && restarting);
        if starts_empty {
            let held = self.processes.get(&before.owner.start).map(|process| process.held.clone());
            self.ledger.bury(held.unwrap_or_default(), restarting);
        }
        let disk = &self.disk;
        for (_, process) in self.processes.iter_mut().filter(|(start, _)| !disk.names(**start)) {
            process.held.clear();
        }
    }

    fn break_channel(&mut self, setting: &Setting) {
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

    fn channel_failed(&mut self, setting: &Setting, start: StartId, operation: u32) {
        let app = self.processes.get_mut(&start).and_then(|process| process.app.as_mut());
        if let Some(acts) = app.map(|app| app.participant.channel_failed(operation)) {
            self.act(setting, start, acts);
        }
    }

    fn restart(&mut self, setting: &Setting, party: Party) {
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

    fn restart_agent(&mut self, setting: &Setting, node: NodeId) {
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
        for (start, _) in here {
            self.hello(setting, start);
        }
    }

    fn broken(&mut self, rule: &'static str, what: String) {
        self.violations.push(Violation { rule, what });
    }

    /// The rules that must hold after every step.
    fn check(&mut self) {
        let mut broken = Vec::new();
        for (start, process) in &mut self.processes {
            if process.app.as_mut().is_some_and(Application::has_unsealed_itself) {
                broken.push(("I3", format!("{start} opened its gate again and was told no outcome")));
            }
        }
        let mut open = self
            .processes
            .iter()
            .filter_map(|(start, process)| Some((*start, process.app.as_ref()?)))
            .filter(|(_, app)| app.is_open());
        let first = open.next();
        let unserved = self.disk.operation.as_ref().is_some_and(|operation| {
            operation.mode == Mode::Handoff && matches!(operation.step, Step::Switch | Step::Doomed)
        });
        if let (Some((start, _)), true) = (first, unserved) {
            broken
                .push(("I3", format!("{start} has its gate open after the commit and before it is served")));
        }
        if let (Some((first, _)), Some((second, _))) = (first, open.next()) {
            broken.push(("I1", format!("{first} and {second} both have their gate open")));
        }
        if let Some((start, app)) = first
            && let Some(what) = self.ledger.check(&app.state)
        {
            broken.push(("I2", format!("{start} serves, but {what}")));
        }
        for (rule, what) in broken {
            self.broken(rule, what);
        }
    }

    /// Whether everything has come to rest as it should: no operation, one owner that serves and nothing else alive,
    /// gateways that know it, nobody waiting.
    ///
    /// # Errors
    /// What has not.
    pub fn converged(&self) -> Result<(), String> {
        if let Some(operation) = &self.disk.operation {
            return Err(format!("an operation is still open: {:?}", operation.step));
        }
        if self.disk.served.is_none() {
            return Err("the owner does not serve".to_owned());
        }
        let alive: Vec<_> = self
            .processes
            .iter()
            .filter(|(_, process)| process.app.is_some())
            .map(|(start, _)| *start)
            .collect();
        if alive != [self.disk.owner.start] {
            return Err(format!("alive are {alive:?}, the owner is {}", self.disk.owner.start));
        }
        for (id, gateway) in &self.gateways {
            let Some(machine) = &gateway.machine else { return Err(format!("{id} is down")) };
            if machine.parked() + machine.outstanding() > 0 {
                return Err(format!("{id} still holds requests"));
            }
        }
        Ok(())
    }
}
