//! Feeds each machine its inputs and carries out what it wants done.

use super::{Channel, Message, Party, Process, Setting, Timer, Waiting, World, address};
use crate::application::Application;
use paci::participant::{Answer, Call};
use paracloud_core::ids::{GatewayId, NodeId, OperationNumber, StartId};
use paracloud_core::machine::Machine;
use paracloud_core::migration::agent::{self, FromApp, ToApp};
use paracloud_core::migration::cause::Unfit;
use paracloud_core::migration::coordinator;
use paracloud_core::migration::gateway;
use paracloud_core::migration::message::{FromAgent, FromGateway, Offer, Progress};
use paracloud_core::migration::shim::{self, Generation, Order, Shim, Status};
use paracloud_core::register::Step;
use std::collections::BTreeSet;

impl World {
    pub(super) fn coordinate(&mut self, setting: &Setting, input: coordinator::Input) {
        let Some(machine) = &mut self.coordinator else { return };
        let mut effects = Vec::new();
        let fresh = StartId(self.next_start);
        machine.take(&setting.coordinator, input, fresh, &mut effects);
        for effect in effects {
            match effect {
                coordinator::Effect::Swap { expected, change, proposer } => {
                    if change.started() == Some(fresh) {
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
                coordinator::Effect::Stray(_) | coordinator::Effect::Refused(_) => {}
            }
        }
    }

    pub(super) fn agent(&mut self, setting: &Setting, node: NodeId, input: agent::Input) {
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
                    if let ToApp::Call(operation, Call::Estimate) = message
                        && let Some(offer) = self.offer_unasked(start)
                    {
                        let offered = FromApp::Offer(operation, offer);
                        self.agent(setting, node, agent::Input::App(start, offered));
                    } else if let ToApp::Call(operation, call @ (Call::Drain | Call::Abort)) = message
                        && !self.has_session(start)
                    {
                        if let Some(answer) = self.answer_unasked(start, operation, call) {
                            self.agent(setting, node, agent::Input::App(start, answer));
                        }
                    } else if !self.waits(Party::App(start), || Waiting::Call(message)) {
                        self.call(setting, start, message);
                    }
                }
                agent::Effect::Look(start, order) => {
                    let lives = self.is_up(Party::App(start));
                    self.source_was_seen |= lives && self.disk.order() == order;
                    self.agent(setting, node, agent::Input::Looked { start, order, lives });
                }
                agent::Effect::Resize(operation, start, _) => {
                    let app = self.processes.get_mut(&start).and_then(|process| process.app.as_mut());
                    if let Some(app) = app {
                        let unfit = app.declines.take().map(|_| Unfit::Refused);
                        self.agent(setting, node, agent::Input::Resized(operation, start, unfit));
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

    /// What an agent answers for a program that cannot be asked: that it agrees, but for a hold.
    fn offer_unasked(&mut self, start: StartId) -> Option<Offer> {
        let app = self.processes.get_mut(&start)?.app.as_mut().filter(|app| !app.is_aware())?;
        Some(app.declines.take().unwrap_or(Offer::Accept))
    }

    fn has_session(&self, start: StartId) -> bool {
        let app = self.processes.get(&start).and_then(|process| process.app.as_ref());
        app.is_some_and(|app| app.is_aware() && app.connected)
    }

    /// What an agent answers for a program that knows nothing of drains. One that does and has no session at this moment is
    /// asked when it has one again.
    fn answer_unasked(&mut self, start: StartId, operation: OperationNumber, call: Call) -> Option<FromApp> {
        let app = self.processes.get_mut(&start)?.app.as_mut().filter(|app| !app.is_aware())?;
        if call == Call::Abort {
            return Some(FromApp::Answer(operation, Answer::Aborted));
        }
        let offer = app.declines.take().map(|offer| FromApp::Offer(operation, offer));
        Some(offer.unwrap_or(FromApp::Answer(operation, Answer::Drained)))
    }

    pub(super) fn call(&mut self, setting: &Setting, start: StartId, message: ToApp) {
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

    pub(super) fn gateway(&mut self, setting: &Setting, id: GatewayId, input: gateway::Input) {
        let at_bound = matches!(input, gateway::Input::Timer(gateway::Timer::Bound(_)));
        let comes_of_session = matches!(input, gateway::Input::Belongs(_));
        let Some(machine) = self.gateways.get_mut(&id).and_then(|gateway| gateway.machine.as_mut()) else {
            return;
        };
        let mut effects = Vec::new();
        machine.take(&setting.gateway, input, StartId(0), &mut effects);
        for effect in effects {
            match effect {
                gateway::Effect::Forward(ticket, route) => {
                    let Some(request) =
                        self.gateways.get(&id).and_then(|gateway| gateway.tickets.get(&ticket)).copied()
                    else {
                        continue;
                    };
                    let may = request.belongs() && self.drains_for(id).is_some_and(|is_over| !is_over);
                    if self.has_to_park(id) && !at_bound && !may {
                        self.broken("I4", format!("{id} forwards {ticket:?} though it parks"));
                    }
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
                    if let FromGateway::Obeyed { order, parks } = message
                        && let Some(gateway) = self.gateways.get_mut(&id)
                        && gateway.said_to_park <= Some(order)
                    {
                        gateway.said_to_park = parks.then_some(order);
                    }
                    if let FromGateway::Drained { order } = message
                        && let Some(gateway) = self.gateways.get_mut(&id)
                    {
                        gateway.said_drained = Some(order);
                    }
                    self.send(Party::Gateway(id), Party::Controller, Message::FromGateway(message));
                }
                gateway::Effect::SetTimer(timer, ms) => {
                    self.timers.push((Party::Gateway(id), Timer::Gateway(timer), Some(ms)));
                }
                gateway::Effect::CancelTimer(timer) => {
                    self.timers.push((Party::Gateway(id), Timer::Gateway(timer), None));
                }
                gateway::Effect::Drain(order) => self.gateway(setting, id, gateway::Input::Emptied(order)),
                // There is no other instance in this world.
                gateway::Effect::Elsewhere(ticket) => {
                    let request = self.gateways.get_mut(&id).and_then(|it| it.tickets.remove(&ticket));
                    let stays = self.disk.step() == Some(Step::Draining) && self.drains_for(id).is_some();
                    if let Some(request) = request {
                        if comes_of_session && stays {
                            self.broken("I6", format!("{id} splits the session of {request:?} off"));
                        }
                        self.ledger.refused(request);
                    }
                }
                gateway::Effect::Leave(order) => self.gateway(setting, id, gateway::Input::Drained(order)),
                gateway::Effect::Parked(_) => {}
            }
        }
    }

    /// Whether a gateway has said that no session is left, by its table of an instance that drains and has not left.
    fn drains_for(&self, id: GatewayId) -> Option<bool> {
        let gateway = self.gateways.get(&id)?;
        let table = gateway.machine.as_ref().and_then(gateway::Gateway::table)?;
        (table.drains && table.route.is_some()).then(|| gateway.said_drained == Some(table.order))
    }

    /// Whether a gateway may start nothing: its table parks, or is older than one by which it said that it parks.
    fn has_to_park(&self, id: GatewayId) -> bool {
        let Some(gateway) = self.gateways.get(&id) else { return false };
        let table = gateway.machine.as_ref().and_then(gateway::Gateway::table);
        table.is_some_and(|table| !table.is_open() || gateway.said_to_park > Some(table.order))
    }

    /// An agent orders a shim; where there is none, a new one adopts what it finds.
    pub(super) fn order(
        &mut self,
        setting: &Setting,
        node: NodeId,
        start: StartId,
        generation: Generation,
        order: Order,
    ) {
        let told = if order == Order::Spawn { self.revision_told(node, start) } else { None };
        let process = self.processes.entry(start).or_insert(Process {
            node,
            revision: None,
            marked: false,
            marking: false,
            shim: None,
            was_started: false,
            app: None,
            held: BTreeSet::new(),
            ended_early: false,
        });
        if !process.was_started {
            process.revision = told.or(process.revision);
        }
        if process.shim.is_none() {
            let mut adopting = Shim::default();
            let found = shim::Input::Started { marked: process.marked, alive: process.app.is_some() };
            adopting.take(&(), found, StartId(0), &mut Vec::new());
            process.shim = Some(adopting);
        }
        self.shim(setting, start, shim::Input::Ordered(generation, order));
    }

    pub(super) fn shim(&mut self, setting: &Setting, start: StartId, input: shim::Input) {
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

    pub(super) fn mark(&mut self, setting: &Setting, start: StartId) {
        if let Some(process) = self.processes.get_mut(&start)
            && process.marking
        {
            process.marking = false;
            process.marked = true;
            self.shim(setting, start, shim::Input::Marked);
        }
    }

    /// A process that has not done so opens its session with its agent.
    pub(super) fn hello(&mut self, setting: &Setting, start: StartId) {
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
    pub(super) fn say_ready(&mut self, setting: &Setting, start: StartId) {
        let Some(process) = self.processes.get_mut(&start) else { return };
        let node = process.node;
        let Some(app) = &mut process.app else { return };
        if self.stalled.contains(&Party::App(start)) {
            return;
        }
        if app.connected && !app.said_ready && app.is_open() {
            app.said_ready = true;
            self.agent(setting, node, agent::Input::App(start, FromApp::Ready(true)));
        }
    }

    /// Carries out what an application's machine asks of it, and passes on what it answers.
    pub(super) fn act(&mut self, setting: &Setting, start: StartId, acts: Vec<paci::participant::Act>) {
        use paci::participant::Act;
        let mut queue: std::collections::VecDeque<_> = acts.into();
        while let Some(act) = queue.pop_front() {
            let Some(process) = self.processes.get_mut(&start) else { return };
            let node = process.node;
            let Some(app) = &mut process.app else { return };
            match act {
                Act::Answer(operation, answer) => {
                    let number = OperationNumber(operation);
                    let from = if answer == Answer::Estimated {
                        FromApp::Offer(number, app.declines.take().unwrap_or(Offer::Accept))
                    } else {
                        FromApp::Answer(number, answer.clone())
                    };
                    if app.connected {
                        self.agent(setting, node, agent::Input::App(start, from));
                    }
                    let copying = answer == Answer::Prepared && !self.is_target(start);
                    if copying {
                        let progress = FromApp::Progress(number, Progress::default());
                        self.agent(setting, node, agent::Input::App(start, progress));
                    }
                }
                Act::Open(incarnation) => {
                    let is_new = app.gate.open(incarnation);
                    if !is_new {
                        let what = format!("{start} opened its gate again and was told no outcome");
                        self.broken("I3", what);
                    }
                    // What is not on disk may never be: the register decides who serves, and not who was told first.
                    if incarnation > self.disk.incarnation.0 {
                        let on_disk = self.disk.incarnation;
                        let what =
                            format!("{start} opened its gate as {incarnation}, and {on_disk:?} is on disk");
                        self.broken("I3", what);
                    }
                }
                Act::Close => app.gate.close(),
                Act::Forget(_) => {}
                Act::Drain(operation) => {
                    let number = OperationNumber(operation);
                    if let Some(offer) = app.declines.take() {
                        let declined = FromApp::Offer(number, offer);
                        self.agent(setting, node, agent::Input::App(start, declined));
                    } else if !app.hogged {
                        queue.extend(app.participant.emptied(operation));
                    }
                }
                Act::Load(operation) => {
                    self.channel = Some(Channel { operation, target: start, source: None, broken: false });
                    queue.extend(app.participant.prepared(operation));
                }
                Act::Copy(operation) => match &mut self.channel {
                    Some(channel) if channel.operation == operation && !channel.broken => {
                        channel.source = Some(start);
                        let target = channel.target;
                        queue.extend(app.participant.prepared(operation));
                        process.ended_early = app.is_hasty;
                        if app.is_hasty {
                            let end = Message::EndOfState(operation, app.state.clone(), app.sealed());
                            self.send(Party::App(start), Party::App(target), end);
                        }
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
                        if !app.is_hasty {
                            let message = Message::EndOfState(operation, state, sealed);
                            self.send(Party::App(start), Party::App(channel.target), message);
                        }
                    } else {
                        queue.extend(app.participant.channel_failed(operation));
                    }
                }
            }
        }
    }
}
