//! Agents and gateways, played: they speak the real lines, and do at once what they are asked to.

use crate::town::Town;
use paci::call::Schema;
use paci::finding::MoveEstimate;
use paci::participant::{Call, Outcome, Sealed, Side};
use paci::upcall::Reason;
use paracloud_core::ids::{GatewayId, NodeId, StartId};
use paracloud_core::migration::duty::duty;
use paracloud_core::migration::message::{FromAgent, FromGateway, Offer, Progress, ToAgent, ToGateway};
use paracloud_core::migration::shim::Generation;
use paracloud_core::register::{Mode, Record, Step};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::link::{self, BEAT_MS, Reader, Writer};
use paracloud_substrate::message::{
    Caller, FromAgentLine, FromGatewayLine, Known, Note, Preview, Terms, ToAgentLine, ToGatewayLine, Unasked,
};
use paracloud_substrate::seen::{Account, Seen};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Processes of one instance whose gate is open, on all nodes: never two at once.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    pub(crate) open: BTreeSet<StartId>,
    /// Those that have sent their last delta and its digest.
    shipped: BTreeSet<StartId>,
    pub(crate) doubled: bool,
}

/// How an agent is played.
#[derive(Debug, Clone)]
pub(crate) struct Manners {
    pub(crate) preview: Result<Preview, Unasked>,
    /// What its estimates say that its state travels as.
    pub(crate) schema: Option<Schema>,
    pub(crate) refuses_as_target: bool,
    /// Answers nothing to `Prepare` for the target, so that a move stays in `prepare`.
    pub(crate) prepares_for_ever: bool,
    /// Answers nothing to `Prepare` for the source, so that a move stays in `copy`.
    pub(crate) copies_for_ever: bool,
}

impl Default for Manners {
    fn default() -> Self {
        let preview =
            Preview { hands_over: true, offer: Some(Offer::Accept), estimate: None, reason: String::new() };
        Self {
            preview: Ok(preview),
            schema: None,
            refuses_as_target: false,
            prepares_for_ever: false,
            copies_for_ever: false,
        }
    }
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) record: Option<Record>,
    /// Processes that are alive, and whether each is sealed.
    pub(crate) alive: BTreeMap<StartId, bool>,
    /// Processes that were alive once and are dead.
    pub(crate) dead: BTreeSet<StartId>,
    pub(crate) manners: Manners,
    /// What it was told to be agreed on for moves, line by line.
    pub(crate) terms: Vec<Terms>,
    /// Why the operations were opened that it was told of, line by line.
    pub(crate) reasons: Vec<Reason>,
    /// What it says unasked, before its answer to what it is told next.
    pub(crate) says: Vec<FromAgentLine>,
    gates: Arc<Mutex<Gates>>,
}

/// A node with its agent.
pub(crate) struct Agent {
    pub(crate) node: Arc<Mutex<Node>>,
    connected: watch::Receiver<u32>,
    task: JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Agent {
    pub(crate) fn start(town: &Town, id: u32) -> Self {
        Self::with(town, id, None, &[])
    }

    /// One that knows something already.
    pub(crate) fn with(town: &Town, id: u32, record: Option<Record>, alive: &[(u64, bool)]) -> Self {
        Self::knowing(town, id, record, alive, &[])
    }

    /// One that has seen these die, too.
    pub(crate) fn knowing(
        town: &Town,
        id: u32,
        record: Option<Record>,
        alive: &[(u64, bool)],
        dead: &[u64],
    ) -> Self {
        let node = Node {
            id: NodeId(id),
            record,
            alive: alive.iter().map(|(start, sealed)| (StartId(*start), *sealed)).collect(),
            dead: dead.iter().map(|start| StartId(*start)).collect(),
            manners: Manners::default(),
            terms: Vec::new(),
            reasons: Vec::new(),
            says: Vec::new(),
            gates: Arc::clone(&town.gates),
        };
        let node = Arc::new(Mutex::new(node));
        let (sender, connected) = watch::channel(0);
        let task = tokio::spawn(live(town.layout.clone(), Arc::clone(&node), sender));
        Self { node, connected, task }
    }

    /// Waits until the agent has connected so often.
    pub(crate) async fn has_connected(&mut self, times: u32) {
        self.connected.wait_for(|count| *count >= times).await.unwrap();
    }
}

async fn live(layout: Layout, node: Arc<Mutex<Node>>, connected: watch::Sender<u32>) {
    loop {
        let (mut reader, mut writer) = link::halves(link::dial(&layout.controller_socket()).await);
        let caller = {
            let node = node.lock().unwrap();
            let alive = node.alive.iter().map(|(start, sealed)| (*start, *sealed)).collect();
            let record = node.record.clone();
            let operation = record.as_ref().map(|record| record.last_operation).unwrap_or_default();
            let dead = node.dead.iter().copied().collect();
            let known = Known { instance: "web".to_owned(), record, operation, alive, dead };
            Caller::Agent { node: node.id, generation: Generation(1), known: vec![known] }
        };
        if writer.write(&caller).await.is_err() {
            continue;
        }
        connected.send_modify(|count| *count += 1);
        let ask = FromAgentLine::Machine { instance: "web".to_owned(), message: FromAgent::Ask };
        let _ = writer.write(&ask).await;
        while let Some(line) = next(&mut reader, &mut writer, &FromAgentLine::Beat).await {
            let replies = {
                let mut node = node.lock().unwrap();
                let mut says = std::mem::take(&mut node.says);
                says.extend(node.hear(line));
                says
            };
            for reply in replies {
                let _ = writer.write(&reply).await;
            }
        }
    }
}

/// The next line of the controller; it hears meanwhile that somebody listens.
async fn next<T: DeserializeOwned>(
    reader: &mut Reader,
    writer: &mut Writer,
    beat: &impl Serialize,
) -> Option<T> {
    loop {
        match tokio::time::timeout(Duration::from_millis(BEAT_MS), reader.read()).await {
            Ok(line) => return line.ok().flatten(),
            Err(_) => writer.write(beat).await.ok()?,
        }
    }
}

impl Node {
    fn hear(&mut self, line: ToAgentLine) -> Vec<FromAgentLine> {
        let (instance, message) = match line {
            // Of the one app that is played nothing changes, and it asks for nothing.
            ToAgentLine::Configured | ToAgentLine::Became { .. } => return Vec::new(),
            ToAgentLine::Preview { question, .. } => {
                let answer = self.manners.preview.clone();
                return vec![FromAgentLine::Previewed { question, answer }];
            }
            ToAgentLine::Question { question, .. } => {
                let answer = Err(Unasked::Unaware);
                return vec![FromAgentLine::Answered { question, answer }];
            }
            ToAgentLine::Machine { instance, message, terms, operation, reason, .. } => {
                self.terms.push(terms);
                self.reasons.extend(operation.map(|_| reason));
                (instance, message)
            }
        };
        let estimates = matches!(message, ToAgent::Estimate { .. });
        let said = self.answer(message);
        let machine = |message| FromAgentLine::Machine { instance: instance.clone(), message };
        let carried = said.iter().any(|said| matches!(said, FromAgent::Loaded { .. }));
        let mut lines: Vec<_> = said.into_iter().map(machine).collect();
        if carried {
            let note = Note::Carried { bytes: 4096 };
            lines.insert(0, FromAgentLine::Note { instance, operation: None, note });
        } else if estimates {
            let schema = self.manners.schema.clone();
            let note = Note::Estimate(MoveEstimate { schema, ..MoveEstimate::default() });
            lines.insert(0, FromAgentLine::Note { instance, operation: None, note });
        }
        lines
    }

    fn answer(&mut self, message: ToAgent) -> Vec<FromAgent> {
        match message {
            ToAgent::Own(record) => self.own(&record),
            ToAgent::Estimate { operation, .. } => {
                vec![FromAgent::Offered { operation, offer: Offer::Accept }]
            }
            ToAgent::Prepare { operation, start, side: Side::Target, .. }
                if self.manners.refuses_as_target =>
            {
                self.alive.insert(start, false);
                vec![FromAgent::Failed { operation, start }]
            }
            ToAgent::Prepare { side: Side::Target, .. } if self.manners.prepares_for_ever => Vec::new(),
            ToAgent::Prepare { operation, start, side: Side::Target, mode } => {
                if mode == Mode::Handoff {
                    self.alive.insert(start, false);
                }
                vec![FromAgent::Prepared { operation, start }]
            }
            ToAgent::Prepare { .. } if self.manners.copies_for_ever => Vec::new(),
            ToAgent::Prepare { operation, start, .. } => {
                let progress = Progress { sent_kib: 4, remaining_records: 0, predicted_pause_ms: 1 };
                let prepared = FromAgent::Prepared { operation, start };
                vec![prepared, FromAgent::Progressed { operation, progress }]
            }
            ToAgent::Probe { start, .. } if self.dead.contains(&start) => vec![FromAgent::Dead { start }],
            ToAgent::Probe { start, order, .. } => vec![FromAgent::Lives { start, order }],
            ToAgent::End { start, .. } => {
                self.alive.remove(&start);
                self.dead.insert(start);
                self.gates.lock().unwrap().open.remove(&start);
                vec![FromAgent::Dead { start }]
            }
        }
    }

    fn own(&mut self, record: &Record) -> Vec<FromAgent> {
        if self.record.as_ref().is_some_and(|known| known.order() > record.order()) {
            return Vec::new();
        }
        self.record = Some(record.clone());
        let owner = record.owner;
        let mut said = Vec::new();
        if owner.node == self.id {
            if self.dead.contains(&owner.start) {
                said.push(FromAgent::Dead { start: owner.start });
                // Where it may, it is the agent that asks for another one.
                let (expected, fresh) = (record.clone(), paracloud_substrate::fresh_start_id());
                said.extend(record.agent_may_restart().then_some(FromAgent::Propose { expected, fresh }));
            } else if record.owner_is_to_be_started() || self.runs_unaware(record) {
                self.alive.insert(owner.start, false);
                self.open(owner.start);
                let address = format!("127.0.1.{}:20000", self.id.0).parse().unwrap();
                let (start, operation) = (owner.start, record.last_operation);
                said.push(match record.step() {
                    Some(Step::Retire) if record.served.is_some() => FromAgent::Serving { operation, start },
                    Some(Step::Undo) if record.served.is_some() => FromAgent::Undone { operation, start },
                    _ => FromAgent::Ready { start, incarnation: record.incarnation, address },
                });
            }
        }
        let here: Vec<_> = self.alive.keys().copied().collect();
        for start in here {
            if let Some(due) = duty(record, start) {
                said.extend(self.told(start, due.operation, due.call));
            }
        }
        said
    }

    /// Of a program that is told nothing, all there is to say is that it runs.
    fn runs_unaware(&self, record: &Record) -> bool {
        let unaware = record.moving().is_some_and(|operation| operation.mode == Mode::Restart);
        unaware && self.alive.contains_key(&record.owner.start)
    }

    fn told(
        &mut self,
        start: StartId,
        operation: paracloud_core::ids::OperationNumber,
        call: Call,
    ) -> Option<FromAgent> {
        let sealed = || Sealed { position: 7, digest: vec![7; 16] };
        Some(match call {
            Call::Seal => {
                self.alive.insert(start, true);
                let mut gates = self.gates.lock().unwrap();
                gates.open.remove(&start);
                gates.shipped.insert(start);
                FromAgent::Sealed { operation, sealed: sealed() }
            }
            Call::Prepare(Side::Target) if !self.source_has_shipped() => return None,
            Call::Prepare(Side::Target) => FromAgent::Loaded { operation, held: sealed(), stated: sealed() },
            Call::Resume { outcome: Outcome::Committed, incarnation } => {
                let address = format!("127.0.1.{}:20001", self.id.0).parse().unwrap();
                let incarnation = paracloud_core::ids::Incarnation(incarnation);
                FromAgent::Ready { start, incarnation, address }
            }
            Call::Serve { .. } => {
                self.open(start);
                FromAgent::Serving { operation, start }
            }
            Call::Resume { outcome: Outcome::RolledBack, .. } | Call::Abort => {
                self.alive.insert(start, false);
                self.open(start);
                FromAgent::Undone { operation, start }
            }
            Call::Drain => FromAgent::Drained { operation, start },
            Call::Prepare(Side::Source) | Call::Estimate => return None,
        })
    }

    fn source_has_shipped(&self) -> bool {
        let operation = self.record.as_ref().and_then(|record| record.moving());
        operation.is_some_and(|it| self.gates.lock().unwrap().shipped.contains(&it.source.start))
    }

    fn open(&self, start: StartId) {
        let mut gates = self.gates.lock().unwrap();
        gates.open.insert(start);
        gates.doubled |= gates.open.len() > 1;
    }
}

/// A gateway.
pub(crate) struct Gateway(JoinHandle<()>);

impl Drop for Gateway {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Gateway {
    pub(crate) fn start(town: &Town, id: u32) -> Self {
        Self::late(town, id, watch::channel(true).1)
    }

    /// One that has closed the last WebSocket of a pause when this says so.
    pub(crate) fn late(town: &Town, id: u32, closed: watch::Receiver<bool>) -> Self {
        Self(tokio::spawn(route(town.layout.clone(), GatewayId(id), closed, false)))
    }

    /// As [`Gateway::late`], but that it knows of no more to come when it begins to park, and says so.
    pub(crate) fn early(town: &Town, id: u32, closed: watch::Receiver<bool>) -> Self {
        Self(tokio::spawn(route(town.layout.clone(), GatewayId(id), closed, true)))
    }
}

fn now_unix_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

async fn route(layout: Layout, gateway: GatewayId, mut closed: watch::Receiver<bool>, is_early: bool) {
    let mut parks = false;
    // Before an instance has served, nobody's request is withheld from it.
    let mut has_served = false;
    let mut began_unix_us = 0;
    loop {
        let (mut reader, mut writer) = link::halves(link::dial(&layout.controller_socket()).await);
        let _ = writer.write(&Caller::Gateway { gateway }).await;
        while let Some(line) = next(&mut reader, &mut writer, &FromGatewayLine::Beat).await {
            let ToGatewayLine::Machine { instance, message } = line else { continue };
            let said = match message {
                ToGateway::Table(table) => {
                    let released = has_served && parks && !table.parks;
                    if has_served && table.parks && !parks {
                        began_unix_us = now_unix_us();
                        if is_early {
                            let seen = Seen { requests: 1, ..Seen::default() };
                            let account = Account { began_unix_us, seen, more: false };
                            let instance = instance.clone();
                            let parked = FromGatewayLine::Parked { instance, account, again: false };
                            let _ = writer.write(&parked).await;
                        }
                    }
                    parks = table.parks;
                    has_served |= !parks;
                    if released {
                        // Requests first, and when the last WebSocket was closed all of it.
                        let seen = Seen {
                            requests: 3,
                            parked_us_max: u64::from(gateway.0) * 1000,
                            streams_cut: 1,
                            ..Seen::default()
                        };
                        let whole = Seen { websockets_closed: 50, ..seen };
                        for (seen, more) in [(seen, true), (whole, false)] {
                            if !more {
                                let _ = closed.wait_for(|closed| *closed).await;
                            }
                            let account = Account { began_unix_us, seen, more };
                            let instance = instance.clone();
                            let parked = FromGatewayLine::Parked { instance, account, again: false };
                            let _ = writer.write(&parked).await;
                        }
                    }
                    FromGateway::Obeyed { order: table.order, parks }
                }
                ToGateway::Leave { order } => FromGateway::Drained { order },
            };
            let _ = writer.write(&FromGatewayLine::Machine { instance, message: said }).await;
        }
    }
}
