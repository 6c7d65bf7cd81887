//! The coordinator of an instance's moves: it proposes the swaps and tells everybody what came of them.
//!
//! It is level-triggered: [`Coordinator::decide`] is a function of the register's record and of what is known
//! ([`Facts`]), not of the order in which messages came. A restarted coordinator therefore needs only the record: it
//! knows fewer facts, asks again, and goes on. While a swap is on its way it decides nothing.

use super::cause::Cause;
use super::convergence::{self, Copy, Verdict};
use super::gateway::Table;
use super::message::{FromAgent, FromGateway, Offer, ToAgent, ToGateway};
use super::{Phase, Role};
use crate::ids::{GatewayId, Incarnation, NodeId, Placement, StartId};
use crate::register::{Change, Mode, Operation, Proposer, Record, Step};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::SocketAddr;
use paci::participant::{Sealed, Side};
use serde::{Deserialize, Serialize};

/// What a coordinator is set to: who takes part, and how long each wait may last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Setting {
    /// Every configured gateway.
    pub gateways: BTreeSet<GatewayId>,
    /// Every configured node.
    pub nodes: BTreeSet<NodeId>,
    /// After this long without an answer everything is said again, in milliseconds.
    pub resend_ms: u32,
    /// Budget of the offer and prepare phases each, in milliseconds.
    pub prepare_ms: u32,
    /// Budget of the copy phase, in milliseconds.
    pub copy_ms: u32,
    /// How long uploads and streaming replies may go on before gateways park, in milliseconds; then they are cut.
    pub drain_ms: u32,
    /// How long gateways may take to park, in milliseconds.
    pub park_ms: u32,
    /// How long the source may take to seal (or to stop) and the target to load the rest, in milliseconds.
    pub seal_ms: u32,
    /// How long a committed target may take to answer ready, in milliseconds.
    pub switch_ms: u32,
    /// How long to wait for gateways to take up a new route before going on without them, in milliseconds.
    pub release_ms: u32,
    /// When a copy is good enough.
    pub pause: convergence::Budget,
}

/// What a person or another controller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Command {
    /// Move the instance to another node.
    Move {
        /// The target node.
        to: NodeId,
        /// How. The mode was agreed with the user before; it is never replaced by a weaker one.
        mode: Mode,
    },
    /// Give the open move up, if it is not committed.
    Cancel,
}

/// Why a command was not taken.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error,
)]
pub enum Refused {
    /// The register has not been read yet.
    #[error("the register has not been read yet")]
    Unready,
    /// Another operation is open.
    #[error("another operation is open on this instance")]
    Busy,
    /// The instance is not serving.
    #[error("the instance does not serve: there is nothing to move")]
    NotServing,
    /// It is there already.
    #[error("the instance runs on that node already")]
    SameNode,
    /// No such node.
    #[error("no such node is configured")]
    UnknownNode,
    /// Nothing to cancel.
    #[error("no operation is open on this instance")]
    NothingOpen,
    /// Past the point of no return.
    #[error("the move is committed and can no longer be cancelled")]
    Committed,
}

/// The coordinator's timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// Say everything that was not answered again.
    Resend,
    /// The phase's budget is used up.
    Deadline,
}

/// What happens to a coordinator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Input {
    /// The record was read from the register: the first input of every coordinator.
    Recovered(Record),
    /// A person asks.
    Command(Command),
    /// The answer to [`Effect::Swap`].
    Swapped {
        /// The record as it is now.
        record: Record,
        /// Whether our change made it so.
        applied: bool,
    },
    /// An agent speaks.
    Agent(NodeId, FromAgent),
    /// A gateway speaks.
    Gateway(GatewayId, FromGateway),
    /// A timer fired.
    Timer(Timer),
}

/// What a coordinator wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// Compare-and-swap the record, durably, and answer with [`Input::Swapped`].
    Swap {
        /// The record it must still be.
        expected: Record,
        /// The change.
        change: Change,
        /// For whom.
        proposer: Proposer,
    },
    /// Tell an agent.
    Agent(NodeId, ToAgent),
    /// Tell a gateway.
    Gateway(GatewayId, ToGateway),
    /// Arm a timer, replacing the armed one of that name.
    SetTimer(Timer, u32),
    /// Disarm a timer.
    CancelTimer(Timer),
    /// The move entered this phase.
    Entered(Phase),
    /// A command was not taken.
    Refused(Refused),
}

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
    loaded: Option<(Sealed, Sealed)>,
    source_failed: bool,
    target_failed: bool,
    serving: bool,
    undone: bool,
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
        }
    }
}

/// What follows from record and facts.
enum Next {
    Swap(Change),
    Wait(Phase),
}

impl Coordinator {
    /// The phase it is in.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Renames gateways in what is known of them. One to one: which number a gateway has decides nothing.
    pub fn rename_gateways(&mut self, rename: impl Fn(GatewayId) -> GatewayId) {
        for known in [&mut self.facts.obeyed, &mut self.facts.drained] {
            *known = core::mem::take(known).into_iter().map(&rename).collect();
        }
    }

    /// The record as last read.
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Takes one input in. `fresh` is a start id never used before, for a process this step may name.
    pub fn step(&mut self, setting: &Setting, input: Input, fresh: StartId, effects: &mut Vec<Effect>) {
        match input {
            Input::Recovered(record) => self.learn(record, false),
            Input::Swapped { record, applied } => self.swapped(record, applied, effects),
            Input::Command(command) => return self.command(setting, command, fresh, effects),
            Input::Agent(node, message) => self.agent(setting, node, message, effects),
            Input::Gateway(gateway, message) => self.gateway(gateway, &message, effects),
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
                }
                Command::Move { to, mode } => {
                    self.swap(Change::Open { mode, target: Placement { node: to, start: fresh } }, effects);
                }
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
                Some(Step::Open | Step::Sealing) => Ok(()),
                Some(Step::Switch | Step::Doomed | Step::Retire | Step::Undo) => Err(Refused::Committed),
            },
            Command::Move { to, .. } => {
                if record.operation.is_some() || self.swapping.is_some() {
                    return Err(Refused::Busy);
                }
                if record.served.is_none() || self.dead.contains(&record.owner.start) {
                    return Err(Refused::NotServing);
                }
                if !setting.nodes.contains(&to) {
                    return Err(Refused::UnknownNode);
                }
                if record.owner.node == to {
                    return Err(Refused::SameNode);
                }
                Ok(())
            }
        }
    }

    fn agent(&mut self, setting: &Setting, node: NodeId, message: FromAgent, effects: &mut Vec<Effect>) {
        let Some(record) = &self.record else { return };
        let open = record.operation.is_some().then_some(record.last_operation);
        let source = record.operation.as_ref().map(|operation| operation.source.start);
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
                self.facts.loaded = Some((held, stated));
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
                self.facts.undone = true;
            }
            FromAgent::Dead { start } => {
                if record.names(start) {
                    self.dead.insert(start);
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
            FromGateway::Ask => effects.push(Effect::Gateway(gateway, ToGateway::Table(table))),
            FromGateway::Obeyed { order, parks } => {
                if *order == table.order && *parks == table.parks {
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
        if applied && record.operation.is_none() && record.served.is_some() {
            effects.push(Effect::Agent(record.owner.node, ToAgent::Own(record.clone())));
        }
        self.learn(record, opened);
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
            // Gateways route as they did.
            None if closed && record.served == known.served => {
                Facts { obeyed: facts.obeyed, gateways_over: facts.gateways_over, ..Facts::default() }
            }
            Some(Step::Sealing | Step::Switch | Step::Doomed | Step::Retire | Step::Undo) | None => {
                Facts::default()
            }
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
                    effects.push(Effect::CancelTimer(Timer::Deadline));
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

    fn enter(&mut self, setting: &Setting, phase: Phase, effects: &mut Vec<Effect>) {
        self.phase = phase;
        self.facts.expired = false;
        effects.push(Effect::CancelTimer(Timer::Deadline));
        if phase == Phase::Idle {
            effects.push(Effect::CancelTimer(Timer::Resend));
            return;
        }
        effects.push(Effect::Entered(phase));
        self.tell(setting, effects);
        effects.push(Effect::SetTimer(Timer::Resend, setting.resend_ms));
        let budget_ms = match phase {
            Phase::Offer | Phase::Prepare => setting.prepare_ms,
            Phase::Copy => setting.copy_ms,
            Phase::Drain => setting.drain_ms,
            Phase::Park => setting.park_ms,
            Phase::Seal => setting.seal_ms,
            Phase::Switch => setting.switch_ms,
            Phase::Release => setting.release_ms,
            // The outcome is decided; its delivery may wait for whoever is away.
            Phase::Idle | Phase::Start | Phase::Doom | Phase::Serve | Phase::Undo | Phase::Retire => return,
        };
        effects.push(Effect::SetTimer(Timer::Deadline, budget_ms));
    }

    /// The next swap, or what is being waited for.
    fn decide(&self, setting: &Setting, record: &Record, fresh: StartId) -> Next {
        match &record.operation {
            None if self.gateways_settled(setting) => self.start_or(record, Next::Wait(Phase::Idle)),
            None => self.start_or(record, Next::Wait(Phase::Release)),
            Some(operation) => match operation.step {
                Step::Open => self.decide_open(setting, operation),
                Step::Sealing => match operation.mode {
                    Mode::Handoff => self.decide_sealing(setting, operation, fresh),
                    Mode::Restart => self.decide_stopping(setting, operation),
                },
                Step::Switch | Step::Doomed => self.decide_switch(record, operation, fresh),
                Step::Retire => {
                    let told = self.told(record, operation.target.start);
                    self.start_or(record, self.settle(setting, operation, Phase::Serve, told))
                }
                Step::Undo => {
                    let told = self.told(record, operation.source.start);
                    self.start_or(record, self.settle(setting, operation, Phase::Undo, told))
                }
            },
        }
    }

    fn decide_open(&self, setting: &Setting, operation: &Operation) -> Next {
        let facts = &self.facts;
        let give_up = |cause| Next::Swap(Change::RollBack(cause));
        if !facts.opened_here {
            return give_up(Cause::Interrupted);
        }
        if facts.cancelled {
            return give_up(Cause::Cancelled);
        }
        if self.dead.contains(&operation.source.start) {
            return give_up(Cause::SourceDied);
        }
        if self.dead.contains(&operation.target.start) {
            return give_up(Cause::TargetDied);
        }
        if facts.source_failed {
            return give_up(Cause::Failed(Role::Source));
        }
        if facts.target_failed {
            return give_up(Cause::Failed(Role::Target));
        }
        if facts.expired && self.phase != Phase::Drain {
            return give_up(Cause::Late(self.phase));
        }
        match facts.offer {
            None => return Next::Wait(Phase::Offer),
            Some(Offer::Refuse) => return give_up(Cause::Refused),
            Some(Offer::Hold { .. }) => return give_up(Cause::Held),
            Some(Offer::Accept) => {}
        }
        if !facts.target_prepared {
            return Next::Wait(Phase::Prepare);
        }
        match (operation.mode, facts.converged) {
            (Mode::Restart, _) | (Mode::Handoff, Some(true)) => {
                // Who is still streaming when the budget is used up is cut.
                let drained = setting.drain_ms == 0
                    || setting.gateways.is_subset(&facts.drained)
                    || (facts.expired && self.phase == Phase::Drain);
                if drained { Next::Swap(Change::Seal) } else { Next::Wait(Phase::Drain) }
            }
            (Mode::Handoff, Some(false)) => give_up(Cause::Diverging),
            (Mode::Handoff, None) => Next::Wait(Phase::Copy),
        }
    }

    /// Mode `handoff`: park, seal, prove.
    fn decide_sealing(&self, setting: &Setting, operation: &Operation, fresh: StartId) -> Next {
        let facts = &self.facts;
        let source_dead = self.dead.contains(&operation.source.start);
        let target_dead = self.dead.contains(&operation.target.start);
        if let Some((held, stated)) = &facts.loaded
            && !target_dead
        {
            let agreed = facts.sealed.as_ref().is_none_or(|sealed| sealed == stated);
            if held.is_well_formed() && held == stated && agreed {
                return Next::Swap(Change::Commit);
            }
            if !source_dead {
                return Next::Swap(Change::RollBack(Cause::DigestMismatch));
            }
        }
        let late = facts.expired && self.phase == Phase::Seal;
        if source_dead {
            // Nothing is left of the source to roll back to. Wait only while the target may still prove itself.
            return if target_dead || facts.target_failed || facts.loaded.is_some() || late {
                Next::Swap(Change::Restart { fresh })
            } else {
                Next::Wait(Phase::Seal)
            };
        }
        let cause = if facts.cancelled {
            Some(Cause::Cancelled)
        } else if facts.blocked {
            Some(Cause::SealBlocked)
        } else if target_dead {
            Some(Cause::TargetDied)
        } else if facts.source_failed {
            Some(Cause::Failed(Role::Source))
        } else if facts.target_failed {
            Some(Cause::Failed(Role::Target))
        } else if late {
            Some(Cause::Late(Phase::Seal))
        } else {
            None
        };
        match cause {
            Some(cause) => Next::Swap(Change::RollBack(cause)),
            None if self.gateways_settled(setting) => Next::Wait(Phase::Seal),
            None => Next::Wait(Phase::Park),
        }
    }

    /// Mode `restart`: park, stop the source, prove it dead.
    fn decide_stopping(&self, setting: &Setting, operation: &Operation) -> Next {
        if self.dead.contains(&operation.source.start) {
            return Next::Swap(Change::Commit);
        }
        if self.facts.cancelled {
            return Next::Swap(Change::RollBack(Cause::Cancelled));
        }
        if self.facts.expired {
            return Next::Swap(Change::RollBack(Cause::Late(self.phase)));
        }
        if setting.gateways.is_subset(&self.facts.obeyed) {
            Next::Wait(Phase::Seal)
        } else {
            Next::Wait(Phase::Park)
        }
    }

    fn decide_switch(&self, record: &Record, operation: &Operation, fresh: StartId) -> Next {
        if self.dead.contains(&operation.target.start) {
            let source_dead = self.dead.contains(&operation.source.start);
            return Next::Swap(if operation.mode == Mode::Restart || source_dead {
                Change::Restart { fresh }
            } else {
                Change::Promote
            });
        }
        if operation.step == Step::Doomed {
            return Next::Wait(Phase::Doom);
        }
        if let Some(address) = self.ready(record) {
            return Next::Swap(Change::Serve(address));
        }
        if self.facts.expired {
            return Next::Swap(Change::Doom);
        }
        Next::Wait(Phase::Switch)
    }

    /// After the outcome: tell the owner, release the gateways, end the other process, close.
    fn settle(&self, setting: &Setting, operation: &Operation, telling: Phase, told: bool) -> Next {
        if !told {
            return Next::Wait(telling);
        }
        if !self.gateways_settled(setting) {
            return Next::Wait(Phase::Release);
        }
        let other = if telling == Phase::Undo { operation.target.start } else { operation.source.start };
        if self.dead.contains(&other) { Next::Swap(Change::Close) } else { Next::Wait(Phase::Retire) }
    }

    /// An owner that has not served yet comes first.
    fn start_or(&self, record: &Record, next: Next) -> Next {
        if record.served.is_some() {
            return next;
        }
        match self.ready(record) {
            Some(address) => Next::Swap(Change::Serve(address)),
            None => Next::Wait(Phase::Start),
        }
    }

    fn ready(&self, record: &Record) -> Option<SocketAddr> {
        self.facts
            .ready
            .filter(|(start, incarnation, _)| {
                *start == record.owner.start && *incarnation == record.incarnation
            })
            .map(|(_, _, address)| address)
    }

    /// Whether the owner of a decided operation has heard that it may serve. A process that was started as owner
    /// after the decision never had to be told.
    fn told(&self, record: &Record, survivor: StartId) -> bool {
        self.facts.serving || self.facts.undone || record.owner.start != survivor
    }

    fn gateways_settled(&self, setting: &Setting) -> bool {
        self.facts.gateways_over || setting.gateways.is_subset(&self.facts.obeyed)
    }

    /// Where requests go, as far as this coordinator knows.
    pub fn table(&self) -> Option<Table> {
        let record = self.record.as_ref()?;
        let told = match &record.operation {
            None => true,
            Some(operation) => match operation.step {
                Step::Open => true,
                Step::Sealing | Step::Switch | Step::Doomed => false,
                // `served` is on disk: whoever comes before `Serve` does waits at the target's gate, or is refused untouched.
                Step::Retire => true,
                Step::Undo => self.told(record, operation.source.start),
            },
        };
        Some(Table::of(record, !told))
    }

    /// Says what the phase has to say to everybody who has not answered it.
    fn tell(&self, setting: &Setting, effects: &mut Vec<Effect>) {
        let Some(record) = &self.record else { return };
        let own = |node| Effect::Agent(node, ToAgent::Own(record.clone()));
        if matches!(self.phase, Phase::Start | Phase::Serve) {
            effects.push(own(record.owner.node));
        }
        // Also without an operation: after a start, gateways wait for the route.
        if matches!(self.phase, Phase::Park | Phase::Serve | Phase::Release)
            && let Some(table) = self.table()
        {
            for gateway in setting.gateways.difference(&self.facts.obeyed) {
                effects.push(Effect::Gateway(*gateway, ToGateway::Table(table.clone())));
            }
        }
        let Some(operation) = &record.operation else { return };
        let number = record.last_operation;
        let end = |place: Placement| {
            let order = record.order();
            Effect::Agent(place.node, ToAgent::End { operation: number, start: place.start, order })
        };
        let prepare = |place: Placement, side| {
            let message =
                ToAgent::Prepare { operation: number, start: place.start, side, mode: operation.mode };
            Effect::Agent(place.node, message)
        };
        match self.phase {
            Phase::Idle | Phase::Start | Phase::Park | Phase::Serve | Phase::Release => {}
            Phase::Offer => effects.push(Effect::Agent(
                operation.source.node,
                ToAgent::Estimate { operation: number, start: operation.source.start, mode: operation.mode },
            )),
            Phase::Prepare => effects.push(prepare(operation.target, Side::Target)),
            Phase::Copy => effects.push(prepare(operation.source, Side::Source)),
            Phase::Drain => {
                let order = record.order();
                let staying = setting.gateways.difference(&self.facts.drained);
                effects.extend(staying.map(|gateway| Effect::Gateway(*gateway, ToGateway::Leave { order })));
            }
            Phase::Seal if operation.mode == Mode::Restart => effects.push(end(operation.source)),
            Phase::Seal => {
                effects.push(own(operation.source.node));
                effects.push(own(operation.target.node));
            }
            Phase::Switch | Phase::Undo => effects.push(own(record.owner.node)),
            Phase::Doom => effects.push(end(operation.target)),
            Phase::Retire if operation.step == Step::Undo => effects.push(end(operation.target)),
            Phase::Retire => effects.push(end(operation.source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn setting() -> Setting {
        Setting {
            gateways: [GatewayId(1), GatewayId(2)].into(),
            nodes: [NodeId(1), NodeId(2)].into(),
            resend_ms: 100,
            prepare_ms: 1_000,
            copy_ms: 1_000,
            drain_ms: 1_000,
            park_ms: 1_000,
            seal_ms: 1_000,
            switch_ms: 1_000,
            release_ms: 1_000,
            pause: convergence::Budget {
                pause_ms: 5,
                pause_ms_max: 50,
                stall_reports: 3,
                stall_reports_max: 8,
            },
        }
    }

    #[test]
    fn gateways_are_told_the_route_of_an_instance_that_was_started() {
        let mut record = Record::first(Placement { node: NodeId(1), start: StartId(1) });
        let mut coordinator = Coordinator::default();
        coordinator.step(&setting(), Input::Recovered(record.clone()), StartId(2), &mut Vec::new());
        record.served = Some(([127, 0, 0, 1], 80).into());
        let mut effects = Vec::new();
        let served = Input::Swapped { record: record.clone(), applied: true };
        coordinator.step(&setting(), served, StartId(2), &mut effects);
        let mut routed = Vec::new();
        for effect in &effects {
            if let Effect::Gateway(_, ToGateway::Table(table)) = effect
                && !table.parks
            {
                routed.push(table.route);
            }
        }
        assert_eq!(routed.len(), 2, "{effects:?}");
        assert!(routed.iter().all(|route| route.is_some_and(|route| Some(route.address) == record.served)));
    }

    /// A handoff after these changes.
    fn moving(changes: &[Change]) -> Record {
        let served = Record::first(Placement { node: NodeId(1), start: StartId(1) });
        let target = Placement { node: NodeId(2), start: StartId(2) };
        let open = Change::Open { mode: Mode::Handoff, target };
        let changes = [Change::Serve(([127, 0, 0, 1], 80).into()), open].into_iter().chain(changes.to_vec());
        changes.fold(served, |record, change| record.apply(&change, Proposer::Coordinator).unwrap())
    }

    /// What a coordinator that finds this record, and hears this, swaps.
    fn swapped(record: &Record, heard: Vec<FromAgent>) -> Option<Change> {
        let mut coordinator = Coordinator::default();
        let mut effects = Vec::new();
        let recovered = Input::Recovered(record.clone());
        coordinator.step(&setting(), recovered, StartId(3), &mut effects);
        for message in heard {
            coordinator.step(&setting(), Input::Agent(NodeId(1), message), StartId(3), &mut effects);
        }
        let swap = effects.into_iter().find(|effect| matches!(effect, Effect::Swap { .. }));
        if let Some(Effect::Swap { change, .. }) = swap { Some(change) } else { None }
    }

    fn holds(digest: &[u8]) -> Sealed {
        Sealed { position: 7, digest: digest.to_vec() }
    }

    #[test]
    fn digests_that_differ_end_the_move() {
        let record = moving(&[Change::Seal]);
        let operation = record.last_operation;
        let proof = |sealed: &[u8], held: &[u8], stated: &[u8]| {
            vec![
                FromAgent::Sealed { operation, sealed: holds(sealed) },
                FromAgent::Loaded { operation, held: holds(held), stated: holds(stated) },
            ]
        };
        let (one, other) = ([1; 16], [2; 16]);
        assert_eq!(swapped(&record, proof(&one, &one, &one)), Some(Change::Commit));
        let differs = Some(Change::RollBack(Cause::DigestMismatch));
        assert_eq!(swapped(&record, proof(&one, &other, &one)), differs, "what was loaded");
        assert_eq!(swapped(&record, proof(&other, &one, &one)), differs, "what was sealed");
        assert_eq!(swapped(&record, proof(&[], &[], &[])), differs, "an empty digest proves nothing");
    }

    #[test]
    fn with_a_proved_target_and_a_dead_source_only_a_commit_follows() {
        let record = moving(&[Change::Seal]);
        let operation = record.last_operation;
        let dead = FromAgent::Dead { start: StartId(1) };
        let loaded = FromAgent::Loaded { operation, held: holds(&[1; 16]), stated: holds(&[1; 16]) };
        assert_eq!(swapped(&record, vec![dead.clone()]), None, "the target may still prove itself");
        assert_eq!(swapped(&record, vec![dead, loaded]), Some(Change::Commit));
    }

    #[test]
    fn a_move_that_was_open_when_the_controller_died_is_off() {
        assert_eq!(swapped(&moving(&[]), vec![]), Some(Change::RollBack(Cause::Interrupted)));
    }
}
