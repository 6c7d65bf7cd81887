//! The coordinator of an instance's moves: it proposes the swaps and tells everybody what came of them.
//!
//! It is level-triggered: [`Coordinator::decide`] is a function of the register's record and of what is known
//! ([`Facts`]), not of the order in which messages came. A restarted coordinator therefore needs only the record: it
//! knows fewer facts, asks again, and goes on. While a swap is on its way it decides nothing.

mod decide;
mod lost;
mod tell;
mod words;

pub use lost::{Doubt, Found, Nodes};
pub use words::{Command, Effect, Input, Refused, Setting, Timer};

use super::Phase;
use super::cause::Unfit;
use super::convergence::{Copy, Verdict};
use super::message::{FromAgent, FromGateway, Offer, ToAgent, ToGateway};
use crate::ids::{GatewayId, Incarnation, NodeId, Placement, StartId};
use crate::register::{Change, Mode, Operation, Proposer, Record, Step};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::SocketAddr;
use decide::Next;
use paci::participant::Sealed;
use serde::{Deserialize, Serialize};
/// What this coordinator has learnt about the open operation since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Facts {
    /// This coordinator opened the operation: before `sealing` nobody else may go on with it.
    opened_here: bool,
    cancelled: bool,
    offer: Option<Offer>,
    target_prepared: bool,
    copy: Copy,
    converged: Option<bool>,
    /// Gateways that no upload and no streaming reply is left at.
    drained: BTreeSet<GatewayId>,
    sealed: Option<Sealed>,
    blocked: bool,
    /// The source ended its stream before anybody asked it to seal.
    ended_early: bool,
    loaded: Option<(Sealed, Sealed)>,
    source_failed: bool,
    /// Its agent said, since the budget of the phase was used up or a person cancelled, that the source's process lives.
    source_lives: bool,
    target_failed: bool,
    serving: bool,
    undone: bool,
    /// The application that leaves has nothing left to do.
    emptied: bool,
    /// A gateway that said that no session is left there has the request of one.
    wanted: bool,
    /// What is left of the leave's budget is all there is.
    budget_runs: bool,
    /// The owner has its new size, or does not get it.
    resized: bool,
    unfit: Option<Unfit>,
    /// The owner as it answered ready.
    ready: Option<(StartId, Incarnation, SocketAddr)>,
    /// Gateways that obey the table of this record.
    obeyed: BTreeSet<GatewayId>,
    /// The wait for gateways is over, with or without them.
    gateways_over: bool,
    /// The current phase's budget is used up.
    expired: bool,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Coordinator {
    record: Option<Record>,
    swapping: Option<Change>,
    /// Whose proposal is being swapped.
    proposing: Option<NodeId>,
    phase: Phase,
    facts: Facts,
    /// Processes of this record that are proved dead.
    dead: BTreeSet<StartId>,
    nodes: Nodes,
    /// What lives and was found while a swap was on its way.
    found: BTreeSet<Found>,
}

impl Default for Coordinator {
    fn default() -> Self {
        Self {
            record: None,
            swapping: None,
            proposing: None,
            phase: Phase::Idle,
            facts: Facts::default(),
            dead: BTreeSet::new(),
            nodes: Nodes::default(),
            found: BTreeSet::new(),
        }
    }
}
impl Coordinator {
    /// The phase it is in.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Renames gateways in what is known of them. One to one: which number a gateway has decides nothing. For the
    /// model, which takes two gateways exchanged for the same state: a shell never calls it.
    pub fn rename_gateways(&mut self, rename: impl Fn(GatewayId) -> GatewayId) {
        for known in [&mut self.facts.obeyed, &mut self.facts.drained] {
            *known = core::mem::take(known).into_iter().map(&rename).collect();
        }
    }

    /// The record as last read.
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Whether the process that owns the instance is dead: what serves next is another one.
    pub fn owner_is_dead(&self) -> bool {
        self.record.as_ref().is_some_and(|record| self.is_dead(record.owner.start))
    }

    /// Takes one input in. `fresh` is a start id never used before, for a process this step may name.
    pub fn step(&mut self, setting: &Setting, input: Input, fresh: StartId, effects: &mut Vec<Effect>) {
        match input {
            Input::Recovered(record) => self.learn(record, false),
            Input::Swapped { record, applied } => self.swapped(record, applied, effects),
            Input::Command(command) => return self.command(setting, command, fresh, effects),
            Input::Agent(node, message) => self.agent(setting, node, message, effects),
            Input::Gateway(gateway, message) => self.gateway(gateway, &message, effects),
            Input::Nodes(nodes) => self.nodes = nodes,
            Input::Found(found) => self.found(found, effects),
            Input::Timer(Timer::Deadline) => self.facts.expired = true,
            Input::Timer(Timer::Resend) => {
                if self.phase != Phase::Idle {
                    // While a swap is on its way nothing is said; if it is refused, the phase goes on as it was.
                    if self.swapping.is_none() {
                        self.tell(setting, effects);
                    }
                    effects.push(Effect::SetTimer(Timer::Resend, setting.resend_ms));
                }
            }
        }
        self.advance(setting, fresh, effects);
    }

    fn command(&mut self, setting: &Setting, command: Command, fresh: StartId, effects: &mut Vec<Effect>) {
        match self.check(setting, command) {
            Err(refused) => effects.push(Effect::Refused(refused)),
            Ok(()) => match command {
                Command::Cancel => {
                    self.facts.cancelled = true;
                    self.advance(setting, fresh, effects);
                    if self.swapping.is_none() {
                        self.probe(effects);
                    }
                }
                Command::Move { to, mode, revision } => {
                    let Some(owner) = self.record.as_ref().map(|record| record.owner) else { return };
                    let revision = revision.unwrap_or(owner.revision);
                    self.swap(
                        Change::Open { mode, target: Placement { node: to, start: fresh, revision } },
                        effects,
                    );
                }
                Command::Leave => self.swap(Change::Leave, effects),
                Command::Start { to, revision } => {
                    self.swap(Change::Start(Placement { node: to, start: fresh, revision }), effects);
                }
                Command::Resize(size) => self.swap(Change::Resize(size), effects),
            },
        }
    }

    /// Whether a command can be taken now.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, setting: &Setting, command: Command) -> Result<(), Refused> {
        let record = self.record.as_ref().ok_or(Refused::Unready)?;
        match command {
            Command::Cancel => match record.step() {
                None => Err(Refused::NothingOpen),
                Some(Step::Open | Step::Sealing | Step::Draining | Step::Resizing) => Ok(()),
                Some(Step::Switch | Step::Doomed | Step::Retire) => Err(Refused::Committed),
                Some(Step::Undo) => Err(Refused::RolledBack),
                Some(Step::Leaving) => Err(Refused::Departed),
                Some(Step::Returning) => Err(Refused::Returned),
            },
            Command::Start { to, .. } => {
                if !record.gone {
                    return Err(Refused::NotGone);
                }
                if self.swapping.is_some() {
                    return Err(Refused::Busy);
                }
                // Whether what is started there runs could never be told.
                if self.nodes.lost.contains(&to) {
                    return Err(Refused::LostNode);
                }
                if setting.nodes.contains(&to) { Ok(()) } else { Err(Refused::UnknownNode) }
            }
            Command::Leave | Command::Resize(_) | Command::Move { .. } if record.gone => Err(Refused::Gone),
            Command::Leave | Command::Resize(_) if record.operation.is_some() || self.swapping.is_some() => {
                Err(Refused::Busy)
            }
            Command::Leave => Ok(()),
            Command::Resize(to) => {
                if record.served.is_none() || self.is_dead(record.owner.start) {
                    return Err(Refused::NotServing);
                }
                if record.size == Some(to) { Err(Refused::SameSize) } else { Ok(()) }
            }
            Command::Move { to, revision, .. } => {
                if record.operation.is_some() || self.swapping.is_some() {
                    return Err(Refused::Busy);
                }
                if record.served.is_none() || self.is_dead(record.owner.start) {
                    return Err(Refused::NotServing);
                }
                if !setting.nodes.contains(&to) {
                    return Err(Refused::UnknownNode);
                }
                // Another spec is a reason to move, but not to anywhere else.
                if record.owner.node == to && revision.is_none_or(|it| it == record.owner.revision) {
                    return Err(Refused::SameNode);
                }
                Ok(())
            }
        }
    }

    fn agent(&mut self, setting: &Setting, node: NodeId, message: FromAgent, effects: &mut Vec<Effect>) {
        let Some(record) = &self.record else { return };
        let open = record.operation.is_some().then_some(record.last_operation);
        let source = match &record.operation {
            Some(Operation::Move(operation)) => Some(operation.source.start),
            Some(Operation::Leave(_) | Operation::Resize(_)) => Some(record.owner.start),
            None => None,
        };
        match message {
            FromAgent::Ask => effects.push(Effect::Agent(node, ToAgent::Own(record.clone()))),
            FromAgent::Offered { operation, offer } if open == Some(operation) => {
                self.facts.offer = Some(offer);
            }
            FromAgent::Prepared { operation, start } if open == Some(operation) => {
                if Some(start) != source {
                    self.facts.target_prepared = true;
                }
            }
            FromAgent::Progressed { operation, progress } if open == Some(operation) => {
                match self.facts.copy.judge(progress, &setting.pause) {
                    Verdict::Continue => {}
                    Verdict::Switch => self.facts.converged = Some(true),
                    Verdict::GiveUp => self.facts.converged = self.facts.converged.or(Some(false)),
                }
            }
            FromAgent::Sealed { operation, sealed } if open == Some(operation) => {
                self.facts.sealed = Some(sealed);
            }
            FromAgent::Blocked { operation } if open == Some(operation) => self.facts.blocked = true,
            FromAgent::Loaded { operation, held, stated } if open == Some(operation) => {
                if record.step() == Some(Step::Open) {
                    self.facts.ended_early = true;
                } else {
                    self.facts.loaded = Some((held, stated));
                }
            }
            FromAgent::Failed { operation, start } if open == Some(operation) => {
                if Some(start) == source {
                    self.facts.source_failed = true;
                } else {
                    self.facts.target_failed = true;
                }
            }
            FromAgent::Ready { start, incarnation, address } => {
                // It counts once, for the owner that has not served yet.
                if start == record.owner.start && incarnation == record.incarnation && record.served.is_none()
                {
                    self.facts.ready = Some((start, incarnation, address));
                }
            }
            FromAgent::Serving { operation, start }
                if open == Some(operation) && start == record.owner.start =>
            {
                self.facts.serving = true;
            }
            FromAgent::Undone { operation, start }
                if open == Some(operation) && start == record.owner.start =>
            {
                // The table was to park until now: whoever obeyed that one has another to obey.
                if self.table().is_some_and(|table| !table.is_open()) {
                    self.facts.obeyed.clear();
                    self.facts.gateways_over = false;
                }
                self.facts.undone = true;
            }
            FromAgent::Drained { operation, start }
                if open == Some(operation) && start == record.owner.start =>
            {
                self.facts.emptied = true;
            }
            FromAgent::Resized { operation, start }
                if open == Some(operation) && start == record.owner.start =>
            {
                self.facts.resized = true;
            }
            FromAgent::Unfit { operation, start, why }
                if open == Some(operation) && start == record.owner.start =>
            {
                self.facts.unfit = Some(why);
            }
            FromAgent::Dead { start } => {
                if record.names(start) {
                    self.dead.insert(start);
                }
            }
            FromAgent::Lives { start, order } => {
                if Some(start) == source && order == record.order() && self.is_asking(record) {
                    self.facts.source_lives = true;
                }
            }
            FromAgent::Propose { expected, fresh } => {
                // One swap at a time; the agent proposes again.
                if self.swapping.is_none() {
                    let change = Change::Restart { fresh };
                    self.swapping = Some(change.clone());
                    self.proposing = Some(node);
                    effects.push(Effect::Swap { expected, change, proposer: Proposer::Agent });
                }
            }
            // Of an operation that is over.
            FromAgent::Offered { .. }
            | FromAgent::Prepared { .. }
            | FromAgent::Progressed { .. }
            | FromAgent::Sealed { .. }
            | FromAgent::Blocked { .. }
            | FromAgent::Loaded { .. }
            | FromAgent::Failed { .. }
            | FromAgent::Serving { .. }
            | FromAgent::Drained { .. }
            | FromAgent::Resized { .. }
            | FromAgent::Unfit { .. }
            | FromAgent::Undone { .. } => {}
        }
    }

    fn gateway(&mut self, gateway: GatewayId, message: &FromGateway, effects: &mut Vec<Effect>) {
        let Some(table) = self.table() else { return };
        match message {
            FromGateway::Drained { order } => {
                if *order == table.order {
                    self.facts.drained.insert(gateway);
                }
            }
            FromGateway::Wanted { order } => self.facts.wanted |= *order == table.order,
            FromGateway::Ask => effects.push(Effect::Gateway(gateway, ToGateway::Table(table))),
            FromGateway::Obeyed { order, parks } => {
                if *order == table.order && *parks != table.is_open() {
                    self.facts.obeyed.insert(gateway);
                }
            }
        }
    }

    fn swapped(&mut self, record: Record, applied: bool, effects: &mut Vec<Effect>) {
        let change = self.swapping.take();
        let proposer = self.proposing.take();
        if let (Some(node), false) = (proposer, applied) {
            effects.push(Effect::Agent(node, ToAgent::Own(record.clone())));
        }
        let opened = applied && matches!(change, Some(Change::Open { .. }));
        // The owner's agent hears that all is at rest, so that what it does next it does by this record.
        if applied && record.operation.is_none() && (record.served.is_some() || record.gone) {
            effects.push(Effect::Agent(record.owner.node, ToAgent::Own(record.clone())));
        }
        self.learn(record, opened);
        self.judge_found(effects);
    }

    /// Takes a record for the current one, and forgets what was known of another.
    fn learn(&mut self, record: Record, opened_here: bool) {
        let Some(known) = &self.record else {
            self.record = Some(record);
            return;
        };
        if record.order() <= known.order() {
            return;
        }
        let facts = core::mem::take(&mut self.facts);
        let same_operation = record.last_operation == known.last_operation;
        let closed = known.operation.is_some() && record.operation.is_none();
        self.facts = match record.step() {
            Some(Step::Open) => Facts { opened_here, ..Facts::default() },
            // What was learnt of both sides holds on; gateways have a new table to obey.
            Some(Step::Sealing) if same_operation => {
                Facts { obeyed: BTreeSet::new(), gateways_over: false, expired: false, ..facts }
            }
            // Gateways have another table to obey and to answer; a person's word and the budget hold on.
            Some(Step::Draining) if same_operation => Facts {
                cancelled: facts.cancelled,
                expired: facts.expired,
                offer: facts.offer,
                source_failed: facts.source_failed,
                budget_runs: facts.budget_runs || matches!(self.phase, Phase::Drain | Phase::Leave),
                ..Facts::default()
            },
            // Gateways route as they did.
            None if closed && record.served == known.served => {
                Facts { obeyed: facts.obeyed, gateways_over: facts.gateways_over, ..Facts::default() }
            }
            Some(Step::Resizing) => {
                Facts { obeyed: facts.obeyed, gateways_over: facts.gateways_over, ..Facts::default() }
            }
            Some(
                Step::Sealing
                | Step::Switch
                | Step::Doomed
                | Step::Retire
                | Step::Undo
                | Step::Draining
                | Step::Leaving
                | Step::Returning,
            )
            | None => Facts::default(),
        };
        self.dead.retain(|start| record.names(*start));
        self.record = Some(record);
        // Whatever phase comes next, it is entered anew.
        self.phase = Phase::Idle;
    }

    fn swap(&mut self, change: Change, effects: &mut Vec<Effect>) {
        let Some(expected) = self.record.clone() else { return };
        self.swapping = Some(change.clone());
        effects.push(Effect::Swap { expected, change, proposer: Proposer::Coordinator });
    }

    fn advance(&mut self, setting: &Setting, fresh: StartId, effects: &mut Vec<Effect>) {
        if self.swapping.is_some() {
            return;
        }
        let Some(record) = self.record.clone() else { return };
        // Each round settles one fact or returns.
        loop {
            match self.decide(setting, &record, fresh) {
                Next::Swap(change) => {
                    if change != Change::DrainAgain {
                        effects.push(Effect::CancelTimer(Timer::Deadline));
                    }
                    effects.push(Effect::CancelTimer(Timer::Resend));
                    return self.swap(change, effects);
                }
                Next::Wait(phase) if phase == self.phase => {
                    // A budget that ran out in a phase that waits for gateways: go on without them.
                    if self.facts.expired && matches!(phase, Phase::Park | Phase::Release) {
                        self.facts.gateways_over = true;
                        self.facts.expired = false;
                        continue;
                    }
                    return;
                }
                Next::Wait(phase) => return self.enter(setting, phase, effects),
            }
        }
    }

    fn is_leaving(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.leave().is_some())
    }

    fn stops_the_source(&self) -> bool {
        let operation = self.record.as_ref().and_then(Record::moving);
        operation.is_some_and(|operation| operation.mode == Mode::Restart)
    }

    fn enter(&mut self, setting: &Setting, phase: Phase, effects: &mut Vec<Effect>) {
        self.phase = phase;
        let budget_runs = self.facts.budget_runs && matches!(phase, Phase::Drain | Phase::Leave);
        if !budget_runs {
            self.facts.expired = false;
            effects.push(Effect::CancelTimer(Timer::Deadline));
        }
        if phase == Phase::Idle {
            effects.push(Effect::CancelTimer(Timer::Resend));
            return;
        }
        effects.push(Effect::Entered(phase));
        self.tell(setting, effects);
        effects.push(Effect::SetTimer(Timer::Resend, setting.resend_ms));
        if budget_runs {
            return;
        }
        let budget_ms = match phase {
            Phase::Offer | Phase::Prepare => setting.prepare_ms,
            Phase::Copy => setting.copy_ms,
            Phase::Drain if self.is_leaving() => setting.leave_ms,
            Phase::Drain => setting.drain_ms,
            Phase::Leave => setting.leave_ms,
            Phase::Resize => setting.resize_ms,
            Phase::Park => setting.park_ms,
            Phase::Seal if self.stops_the_source() => setting.stop_ms,
            Phase::Seal => setting.seal_ms,
            Phase::Switch => setting.switch_ms,
            Phase::Release => setting.release_ms,
            // The outcome is decided; its delivery may wait for whoever is away.
            Phase::Idle
            | Phase::Start
            | Phase::Doom
            | Phase::Serve
            | Phase::Undo
            | Phase::Return
            | Phase::Retire => return,
        };
        effects.push(Effect::SetTimer(Timer::Deadline, budget_ms));
    }
}

#[cfg(test)]
mod tests;
