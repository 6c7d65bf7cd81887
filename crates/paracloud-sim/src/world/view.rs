//! What can be asked of the world without changing it.

use super::{Envelope, Message, Party, Process, Timer, World};
use paracloud_core::ids::{GatewayId, NodeId, StartId};
use paracloud_core::migration::agent;
use paracloud_core::migration::coordinator::Coordinator;
use paracloud_core::migration::gateway::{self, Gateway, Ticket};
use paracloud_core::migration::message::{FromAgent, FromGateway, ToAgent, ToGateway};
use paracloud_core::register::{Change, Step};

impl World {
    /// The coordinator, if the controller is up.
    pub fn coordinator(&self) -> Option<&Coordinator> {
        self.coordinator.as_ref()
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
        self.disk.moving().is_some_and(|operation| operation.target.start == start)
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
                    ToAgent::Probe { order, .. } => *order < self.disk.order(),
                    ToAgent::End { start, order, .. } => known.is_owned_by(*start) && known.order() > *order,
                })
            }
            (Message::FromAgent(message), _) => match message {
                FromAgent::Offered { operation, .. } => {
                    !(current(*operation) && matches!(step, Some(Step::Open | Step::Draining)))
                }
                FromAgent::Drained { operation, .. } => {
                    !(current(*operation) && step == Some(Step::Draining))
                }
                FromAgent::Resized { operation, .. } | FromAgent::Unfit { operation, .. } => {
                    !(current(*operation) && step == Some(Step::Resizing))
                }
                FromAgent::Prepared { operation, .. } | FromAgent::Progressed { operation, .. } => {
                    !(current(*operation) && step == Some(Step::Open))
                }
                FromAgent::Sealed { operation, .. }
                | FromAgent::Blocked { operation }
                | FromAgent::Loaded { operation, .. } => !(current(*operation) && deciding),
                FromAgent::Failed { operation, .. } => {
                    !(current(*operation) && (deciding || step == Some(Step::Draining)))
                }
                FromAgent::Serving { operation, .. } | FromAgent::Undone { operation, .. } => {
                    !current(*operation)
                }
                FromAgent::Ready { incarnation, .. } => {
                    *incarnation < self.disk.incarnation || self.disk.served.is_some()
                }
                FromAgent::Lives { order, .. } => *order != self.disk.order(),
                FromAgent::Dead { start } => !self.disk.names(*start),
                FromAgent::Ask | FromAgent::Propose { .. } => false,
            },
            (Message::ToGateway(ToGateway::Table(table)), Party::Gateway(id)) => {
                let known = self.gateways.get(&id).and_then(|gateway| gateway.machine.as_ref()?.table());
                known.is_some_and(|known| known.is_newer_than(table))
            }
            (
                Message::FromGateway(
                    FromGateway::Obeyed { order, .. }
                    | FromGateway::Drained { order }
                    | FromGateway::Wanted { order },
                ),
                _,
            )
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
                    agent::Timer::Sound => machine.has_restarted(),
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
            machine.parked() > 0
                && machine.table().is_some_and(|table| table.is_open() && table.route.is_some())
        })
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

    /// Whether a party is stopped.
    pub fn is_stalled(&self, party: Party) -> bool {
        self.stalled.contains(&party)
    }

    /// Parties that are stopped.
    pub fn stalled(&self) -> impl Iterator<Item = Party> + '_ {
        self.stalled.iter().copied()
    }

    /// Requests at a gateway that were not answered.
    pub fn open_tickets(&self, id: GatewayId) -> impl Iterator<Item = Ticket> + '_ {
        self.gateways.get(&id).into_iter().flat_map(|gateway| gateway.tickets.keys().copied())
    }

    /// Whether state crosses, or could: both ends are joined and the connection holds.
    pub fn has_channel(&self) -> bool {
        self.channel.is_some_and(|channel| !channel.broken && channel.source.is_some())
    }
}
