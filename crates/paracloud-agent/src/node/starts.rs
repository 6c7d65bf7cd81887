//! The processes of a node: found, started, ordered, buried.

use super::ending::Parting;
use super::liveness::Liveness;
use super::readiness::Readiness;
use super::resizing::SizeKept;
use super::sizes::Measurement;
use super::unstarted::NEVER;
use super::{Event, Node};
use crate::doors::Doors;
use crate::peer::Peers;
use crate::probe::Watch;
use crate::processes::{self, ProcessDirectory};
use crate::session::Session;
use crate::shim::order::ToShim;
use crate::{AgentError, durable, resize, shims};
use paci::error::{ErrorBody, ErrorCode};
use paci::state::State;
use paracloud_core::ids::StartId;
use paracloud_core::migration::agent::{FromApp, Input};
use paracloud_core::migration::shim::{Generation, Order, Status};
use paracloud_core::register::MoveStep;
use paracloud_substrate::message::{Note, Unasked};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Directories of dead processes that are kept on a node, with their logs; the oldest go first.
const DEAD_KEPT_MAX: usize = 64;

/// One process of an instance on this node.
pub(super) struct Start {
    pub(super) instance: String,
    pub(super) process: ProcessDirectory,
    pub(super) address: SocketAddr,
    pub(super) readiness: Readiness,
    pub(super) measured: Measurement,
    pub(super) size: SizeKept,
    /// A probe has found it ready.
    pub(super) was_ready: bool,
    pub(super) liveness: Liveness,
    /// What its shim said last.
    status: Option<Status>,
    /// It was found marked, or its shim has said that it runs: whatever becomes of its directory, it was started.
    pub(super) was_started: bool,
    shim: Option<mpsc::Sender<ToShim>>,
    /// No shim can be had for it.
    is_stuck: bool,
    doors: Option<Doors>,
    probe: Option<JoinHandle<()>>,
    pub(super) session: Session,
    pub(super) parting: Parting,
}

impl Start {
    fn new(process: ProcessDirectory, instance: String, address: SocketAddr) -> Self {
        let session = Session::resumed(process.clone());
        let (status, shim, doors, probe, parting) = (None, None, None, None, Parting::None);
        let readiness = Readiness::default();
        let (is_stuck, was_started) = (false, process.may_be_marked());
        Self {
            instance,
            process,
            address,
            readiness,
            measured: Measurement::default(),
            size: SizeKept::default(),
            was_ready: false,
            liveness: Liveness::default(),
            status,
            was_started,
            shim,
            is_stuck,
            doors,
            probe,
            session,
            parting,
        }
    }

    /// Whether it was started and its death is not proved.
    fn may_live(&self) -> bool {
        self.status != Some(Status::Dead) && self.process.may_be_marked()
    }

    /// Whether it may live, or may be started by an order that is on its way.
    pub(super) fn may_come_to_live(&self) -> bool {
        self.may_live() || (self.status != Some(Status::Dead) && self.shim.is_some())
    }

    /// Whether its shim proved its death.
    pub(super) fn is_dead(&self) -> bool {
        self.status == Some(Status::Dead)
    }

    /// Whether its shim says that it runs.
    pub(super) fn runs(&self) -> bool {
        self.status == Some(Status::Running)
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        if let Some(probe) = &self.probe {
            probe.abort();
        }
    }
}

impl Node {
    /// Finds every process of the node and tells the machines of those that were ever marked.
    ///
    /// # Errors
    /// It cannot be known what lives on the node.
    pub(super) fn find(&mut self) -> Result<(), AgentError> {
        let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
        let mut ready = Vec::new();
        for (process, spec) in processes::scan(&self.layout.processes(self.node.id))? {
            if !self.know(&spec.instance)? {
                tracing::warn!(start = %spec.start, instance = spec.instance, "a process of no configured instance");
                continue;
            }
            let mut start = Start::new(process, spec.instance.clone(), spec.address);
            let unknown = |source| AgentError::UnknownProcess { path: start.process.path().into(), source };
            let dead = start.process.exit().map_err(unknown)?.is_some();
            let status = if dead { Status::Dead } else { Status::Running };
            if dead {
                start.status = Some(Status::Dead);
            }
            if start.process.may_be_marked() {
                found.entry(spec.instance.clone()).or_default().push((spec.start, status, spec.address));
            }
            if !dead && start.session.state == Some(State::Ready) {
                ready.push(spec.start);
            }
            self.starts.insert(spec.start, start);
            if !dead {
                let path = self.layout.socket_directory(self.node.id, spec.start);
                let failed = |source| AgentError::Directory { path, source };
                self.open_doors(spec.start).map_err(failed)?;
            }
        }
        self.forget_the_long_dead();
        self.sweep_groups();
        let generation = self.generation;
        for name in self.instances.keys() {
            let mut found = found.remove(name).unwrap_or_default();
            found.retain(|(start, ..)| self.starts.contains_key(start));
            self.inputs.push_back((name.clone(), Input::Started { generation, found }));
        }
        for start in ready {
            self.input(start, FromApp::Ready(true));
        }
        // One that an agent before this one ordered, and that may be started only now.
        let late: Vec<_> = self
            .starts
            .iter()
            .filter(|(_, start)| {
                // Where it cannot be looked at, a shim is asked.
                !start.process.may_be_marked() && durable::is_locked(&start.process.lock()).unwrap_or(true)
            })
            .map(|(id, start)| (*id, start.instance.clone()))
            .collect();
        for (id, instance) in late {
            self.order(&instance, id, generation, Order::Report);
        }
        Ok(())
    }

    fn open_doors(&mut self, id: StartId) -> io::Result<()> {
        let Some(start) = self.starts.get_mut(&id) else { return Ok(()) };
        if start.doors.is_none() {
            let directory = self.layout.socket_directory(self.node.id, id);
            self.layout.make(&directory)?;
            let peers = Peers::of(start.process.clone());
            start.doors = Some(Doors::open(&directory, id, &peers, &self.events)?);
        }
        Ok(())
    }

    /// Orders a shim, making the process's directory first if there is none.
    pub(super) fn order(&mut self, name: &str, id: StartId, generation: Generation, order: Order) {
        if let Err(error) = self.ready_for(name, id, order) {
            if order == Order::End && self.end_without_directory(name, id) {
                return;
            }
            // It is ordered again when the record is told again.
            tracing::warn!(start = %id, %error, "a process cannot be made ready to start");
            return self.cannot_start(name, id, error.to_string());
        }
        let Some(start) = self.starts.get_mut(&id) else { return };
        if start.status == Some(Status::Dead) {
            self.inputs.push_back((name.to_owned(), Input::Shim(id, Status::Dead, start.address)));
            return;
        }
        if start.shim.as_ref().is_none_or(mpsc::Sender::is_closed) {
            let (orders, queue) = mpsc::channel(shims::ORDERS_MAX);
            tokio::spawn(shims::attend(id, start.process.clone(), queue, self.events.clone()));
            start.shim = Some(orders);
        }
        // A shim that does not read has its orders repeated.
        let is_told =
            start.shim.as_ref().is_some_and(|shim| shim.try_send(ToShim { generation, order }).is_ok());
        if is_told && order == Order::End && start.is_stuck {
            self.end_without_shim(id);
        }
    }

    /// It cannot be started now. That is said once, not with each try; and a move that only needs a target does not wait for
    /// another try.
    pub(super) fn cannot_start(&mut self, name: &str, id: StartId, message: String) {
        let Some(instance) = self.instances.get_mut(name) else { return };
        let open = instance.moving().filter(|(_, operation)| operation.step == MoveStep::Open);
        let operation = open.filter(|(_, operation)| operation.target.start == id).map(|(number, _)| number);
        let failure = (id, message.clone());
        if instance.failure.as_ref() != Some(&failure) {
            instance.failure = Some(failure);
            self.note(name, operation, Note::Failure { start: id, code: "CANNOT_START".to_owned(), message });
        }
        if let Some(operation) = operation {
            self.inputs.push_back((name.to_owned(), Input::Checked(operation, id, false)));
        }
    }

    fn ready_for(&mut self, name: &str, id: StartId, order: Order) -> io::Result<()> {
        if !self.starts.contains_key(&id) {
            let Some(app) = self.to_start(name, id).map_err(io::Error::other)? else { return Ok(()) };
            let size = self.instances.get(name).and_then(|instance| instance.size);
            let size = size.map_or(app.resources.start, resize::enforced);
            let (process, spec) = processes::make(&self.layout, &self.node, &app, name, id, size)?;
            let mut start = Start::new(process, spec.instance, spec.address);
            start.size = SizeKept::started_with(spec.size);
            self.starts.insert(id, start);
            self.forget_the_long_dead();
        }
        if order == Order::Spawn { self.open_doors(id) } else { Ok(()) }
    }

    /// A shim says how its process is.
    pub(super) fn shim_reports(&mut self, id: StartId, status: Status) {
        let Some(start) = self.starts.get_mut(&id) else { return };
        let before = start.status.replace(status);
        start.is_stuck = false;
        start.was_started |= status == Status::Running;
        let (name, address) = (start.instance.clone(), start.address);
        match status {
            Status::Running => self.begin_probe(id),
            Status::Dead if before != Some(Status::Dead) => self.bury(id),
            Status::Dead | Status::Unstarted => {}
        }
        self.inputs.push_back((name, Input::Shim(id, status, address)));
    }

    /// Its death is proved: nobody may speak for it any more.
    fn bury(&mut self, id: StartId) {
        let Some(start) = self.starts.get_mut(&id) else { return };
        start.doors = None;
        start.liveness = Liveness::default();
        if let Some(probe) = start.probe.take() {
            probe.abort();
        }
        let unavailable = ErrorBody::new(ErrorCode::Unavailable, "the process is dead");
        if let Some((hello, _)) = start.session.hello.take() {
            let _ = hello.send(Err(unavailable));
        }
        start.session.desk.withdraw();
        let how = match start.process.exit() {
            Ok(Some(exit)) => exit.how,
            Ok(None) if !start.process.may_be_marked() => NEVER.to_owned(),
            Ok(None) | Err(_) => "it ended".to_owned(),
        };
        let was_expected = start.session.state == Some(State::Stopping);
        let how = if was_expected { format!("{how}, as it had said that it would stop") } else { how };
        let (name, ahead) = (start.instance.clone(), start.session.asked_ahead.take());
        tracing::info!(start = %id, instance = name, how, "a process is dead");
        self.tokens.forget(id);
        let directory = self.layout.socket_directory(self.node.id, id);
        if let Err(error) = std::fs::remove_dir_all(&directory)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, directory = %directory.display(), "the sockets of a dead process stay");
        }
        if let Some(ahead) = ahead {
            self.unasked(&ahead, Unasked::Ended(how.clone()));
        }
        self.tell_holds(id);
        self.tell_news(id);
        self.tell_readiness(id);
        self.note(&name, None, Note::Ended { start: id, how });
    }

    /// Removes what is left of processes that died long ago, but for those that a record names.
    fn forget_the_long_dead(&mut self) {
        let named = |name: &str, id: StartId| {
            let instance = self.instances.get(name);
            let told = instance.and_then(|instance| instance.machine.machine().record());
            let remembered = instance.and_then(|instance| instance.remembered.as_ref());
            told.into_iter().chain(remembered).any(|record| record.names(id))
        };
        let mut dead: Vec<_> = self
            .starts
            .iter()
            .filter(|(id, start)| start.status == Some(Status::Dead) && !named(&start.instance, **id))
            .filter_map(|(id, start)| Some((start.process.ended_at()?, *id)))
            .collect();
        dead.sort_unstable();
        let many = dead.len().saturating_sub(DEAD_KEPT_MAX);
        for (_, id) in dead.into_iter().take(many) {
            let Some(start) = self.starts.remove(&id) else { continue };
            if let Err(error) = std::fs::remove_dir_all(start.process.path()) {
                tracing::warn!(%error, start = %id, "what is left of a dead process cannot be removed");
            }
        }
    }

    /// No shim can be had for a process, again and again: people should know, once.
    pub(super) fn stuck(&mut self, id: StartId, message: String) {
        let Some(start) = self.starts.get_mut(&id) else { return };
        let (name, is_news) = (start.instance.clone(), !start.is_stuck);
        let is_to_end = start.parting == Parting::Ordered;
        start.is_stuck = true;
        if is_news {
            self.note(&name, None, Note::Failure { start: id, code: "NO_SHIM".to_owned(), message });
        }
        if is_to_end {
            self.order(&name, id, self.generation, Order::End);
        }
    }

    /// It is looked at from outside in another way from now on.
    pub(super) fn probe_anew(&mut self, id: StartId) {
        let Some(probe) = self.starts.get_mut(&id).and_then(|start| start.probe.take()) else { return };
        probe.abort();
        self.begin_probe(id);
    }

    fn begin_probe(&mut self, id: StartId) {
        let Some(start) = self.starts.get_mut(&id) else { return };
        if start.probe.is_some() || start.session.aware || start.session.state.is_some() {
            return;
        }
        let Some(instance) = self.instances.get(&start.instance) else { return };
        let (check, address, events) = (instance.app.readiness.clone(), start.address, self.events.clone());
        let watch = Watch { check, address, process: start.process.clone() };
        let unready = start.readiness.probed();
        start.probe = Some(tokio::spawn(async move {
            let mut is_first = true;
            loop {
                watch.until_ready(is_first, &unready).await;
                let _ = events.send(Event::Probed { start: id, is_ready: true }).await;
                watch.until_unready(&unready).await;
                let _ = events.send(Event::Probed { start: id, is_ready: false }).await;
                is_first = false;
            }
        }));
    }

    /// The probe says that a process is ready, or not any more. One that speaks for itself is believed instead.
    pub(super) fn probed(&mut self, id: StartId, is_ready: bool) {
        let now_ms = self.now_ms();
        let silent = |start: &Start| !start.session.aware && start.session.state.is_none() && start.runs();
        if let Some(start) = self.starts.get_mut(&id).filter(|start| silent(start)) {
            start.was_ready |= is_ready;
            start.session.leases.probed(is_ready, now_ms);
            self.input(id, FromApp::Ready(is_ready));
            // Who routes hears of it as if the program had said so itself.
            self.tell_news(id);
        } else if let Some(probe) = self.starts.get_mut(&id).and_then(|start| start.probe.take()) {
            probe.abort();
        }
    }
}
