//! One instance: its coordinator and its record, in one task that takes one input after the other and carries out
//! each effect before the next.
//!
//! While a swap is on its way to the disk, nothing else is taken in: inputs wait in the inbox. Only a swap that found
//! the disk full is tried again later, and the coordinator listens meanwhile.

mod awaited;
mod closing;
mod configured;
mod crashed;
mod effects;
mod gathering;
mod lost;

pub use awaited::AWAY_MS;

use crate::control::{Control, View};
use crate::fleet::Full;
use crate::journal::{self, Allowance};
use crate::operations::Tracker;
use crate::orders::{Answering, Order};
use crate::recovery::History;
use crate::register::Gone;
use crate::sizes;
use crate::store::StoreError;
use paracloud_core::ids::{GatewayId, NodeId, OperationNumber};
use paracloud_core::migration::Phase;
use paracloud_core::migration::coordinator::{Command, Coordinator, Effect, Input, Nodes, Refused, Timer};
use paracloud_core::migration::message::{FromAgent, FromGateway};
use paracloud_core::register::{Change, Operation, Proposer, Record, Step};
use paracloud_substrate::config::App;
use paracloud_substrate::figures::millis;
use paracloud_substrate::message::{Known, Note, Sizing};
use paracloud_substrate::person::{Outcome, What};
use paracloud_substrate::seen::Account;
use paracloud_substrate::trace::Traced;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// After so long a swap that found the disk full is tried again, in milliseconds.
pub(crate) const NO_SPACE_RETRY_MS: u64 = 500;
/// Who makes the promises made here, for failpoints.
const WHO: &str = "controller";

/// What an instance is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// An agent's machine speaks.
    Agent(NodeId, FromAgent),
    /// A gateway's machine speaks.
    Gateway(GatewayId, FromGateway),
    /// An agent connected, and this is what its node knows.
    Known(NodeId, Known),
    /// An agent has something for people.
    Note(Option<OperationNumber>, Note),
    /// A gateway says what clients saw of a pause.
    Parked {
        /// Which one.
        gateway: GatewayId,
        /// What they saw.
        account: Account,
        /// It was said before, and may not have been heard.
        again: bool,
    },
    /// A person gave a node up.
    NodeLost,
    /// A person put right what made it unknown.
    Reconsider,
    /// Its app was changed.
    Configured(Box<App>),
    /// Show how it is now, and say so.
    Show(oneshot::Sender<()>),
    /// Could this command be taken now?
    Check(Command, oneshot::Sender<Result<(), Rejected>>),
    /// A command: the operation it opened, or ended.
    Command(Order, Answering),
}

/// Why a command was not taken.
#[derive(Debug)]
pub(crate) enum Rejected {
    /// There is no such instance.
    Unknown,
    /// The operation that it is about is not the open one.
    Over,
    /// Its app may not have fewer instances than so many.
    Fewest(u32),
    /// Its app may not have so many, or has no place for one more.
    Full(Full),
    /// The controller ends.
    Ending,
    /// The coordinator says so.
    Refused(Refused),
    /// The instance is not decided yet, or unknown.
    Undecided(String),
    /// The disk has no room for the outcome.
    NoSpace(StoreError),
    /// Another swap came first.
    Overtaken,
}

/// What is known before there is a record to act by.
#[derive(Debug, Default)]
struct Gathering {
    /// What the register holds, if a node knows better.
    own: Option<Record>,
    known: BTreeMap<NodeId, Known>,
    /// Why a person has to look; nothing is judged again before.
    unknown: Option<String>,
    /// The disk has no room for what was judged: when it is judged again, and why it had to wait.
    no_space: Option<(Instant, String)>,
}

/// A swap that waits for room on the disk.
#[derive(Debug)]
struct Stuck {
    expected: Record,
    change: Change,
    proposer: Proposer,
    again: Instant,
    why: String,
}

/// What became of a swap.
enum Swapping {
    Done(Record, bool),
    NoRoomToSeal,
    Stuck,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Instance {
    control: Arc<Control>,
    /// Its app, under the instance's own name, and with the node on which it is started first.
    app: App,
    machine: Traced<Coordinator>,
    /// Counts machines of this instance, for the names of their logs.
    machines: u32,
    life: u32,
    found: Option<Record>,
    history: History,
    gathering: Option<Gathering>,
    timers: BTreeMap<Timer, Instant>,
    tracker: Option<Tracker>,
    /// An outcome that waits for the figures of gateways.
    closing: Option<(Tracker, Outcome, Instant)>,
    /// The operation whose outcome was told before these gateways had said everything.
    late: Option<(OperationNumber, BTreeSet<GatewayId>)>,
    last_outcome: Option<Outcome>,
    stuck: Option<Stuck>,
    /// How the nodes are, as the machine was last told.
    nodes: Nodes,
    no_space: Option<StoreError>,
    allowance: Allowance,
    command_begun: Instant,
    /// The last command that was taken.
    ordered: Order,
    /// When the open leave or change of size is given up because its own budget is used up, before the manifest's.
    called_back: Option<Instant>,
    /// When it is looked next whether the open operation waits for a node that is away.
    look: Instant,
    /// For which node, in which phase, it was said last that it is waited for.
    awaited: Option<(OperationNumber, Phase, NodeId)>,
}

impl Instance {
    /// The instance that is called as `app` is, with the record that the register holds of it. `life` counts this controller's lives.
    pub(crate) fn new(
        control: Arc<Control>,
        app: App,
        found: Option<Record>,
        history: History,
        life: u32,
    ) -> Self {
        let machine = Self::machine(&control, &app, life, 0);
        Self {
            control,
            app,
            machine,
            machines: 0,
            life,
            found,
            history,
            gathering: None,
            timers: BTreeMap::new(),
            tracker: None,
            closing: None,
            late: None,
            last_outcome: None,
            stuck: None,
            nodes: Nodes::default(),
            no_space: None,
            allowance: Allowance::new(),
            command_begun: Instant::now(),
            ordered: Order::of_person(Command::Cancel),
            called_back: None,
            look: Instant::now(),
            awaited: None,
        }
    }

    fn machine(control: &Control, app: &App, life: u32, number: u32) -> Traced<Coordinator> {
        let name = match (life, number) {
            (0, 0) => app.name.clone(),
            (life, number) => format!("{}.{life}.{number}", app.name),
        };
        Traced::new(control.cloud().coordinator_setting(app), &control.layout.trace(), &name)
    }

    /// Runs until the controller ends or the store fails. Says its name.
    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Told>) -> String {
        if let Err(Gone) = Box::pin(self.serve(&mut inbox)).await {
            tracing::debug!(instance = self.app.name, "the store is gone");
        }
        self.app.name
    }

    async fn serve(&mut self, inbox: &mut mpsc::Receiver<Told>) -> Result<(), Gone> {
        match self.found.take() {
            Some(record) => self.recover(record).await?,
            None => {
                self.gathering = Some(Gathering::default());
                self.judge().await?;
            }
        }
        loop {
            self.publish();
            let due = self.next_due();
            let told = tokio::select! {
                told = inbox.recv() => told,
                () = wait_until(due) => {
                    self.on_time().await?;
                    continue;
                }
            };
            let Some(told) = told else { return Ok(()) };
            self.heed_nodes().await?;
            self.hear(told).await?;
            self.renew_at_rest().await?;
            self.heed_nodes().await?;
            // However much is said, what is due is done.
            if self.next_due().is_some_and(|due| due <= Instant::now()) {
                self.on_time().await?;
            }
        }
    }

    async fn hear(&mut self, told: Told) -> Result<(), Gone> {
        match told {
            Told::Agent(node, message) => {
                if let (FromAgent::Progressed { progress, .. }, Some(tracker)) = (&message, &mut self.tracker)
                {
                    tracker.predicted(progress.predicted_pause_ms);
                }
                self.take(Input::Agent(node, message)).await?;
                self.tell_progress();
            }
            Told::Gateway(gateway, message) => self.take(Input::Gateway(gateway, message)).await?,
            Told::Known(node, known) => self.learn(node, known).await?,
            Told::Note(operation, note) => self.note(operation, note).await?,
            Told::Parked { gateway, account, again } => self.parked(gateway, account, again).await?,
            Told::NodeLost => self.node_lost().await?,
            Told::Reconsider => self.reconsider().await?,
            Told::Configured(app) => self.configured(*app),
            Told::Show(shown) => {
                self.publish();
                let _ = shown.send(());
            }
            Told::Check(command, answer) => drop(answer.send(self.check(command))),
            Told::Command(order, answer) => {
                let answered = self.command(order).await?;
                self.publish();
                answer.give(answered);
            }
        }
        Ok(())
    }

    fn check(&self, command: Command) -> Result<(), Rejected> {
        if let Some(gathering) = &self.gathering {
            return Err(Rejected::Undecided(self.why_undecided(gathering)));
        }
        self.machine.machine().check(self.machine.setting(), command).map_err(Rejected::Refused)
    }

    async fn command(&mut self, order: Order) -> Result<Result<OperationNumber, Rejected>, Gone> {
        let (command, why) = (order.command, order.why.clone());
        if order.only.is_some() && order.only != self.open_operation() {
            return Ok(Err(Rejected::Over));
        }
        if let Err(rejected) = self.check(command) {
            return Ok(Err(rejected));
        }
        if command == Command::Cancel {
            self.given_up(why);
        } else {
            (self.command_begun, self.ordered) = (Instant::now(), order);
        }
        let last = |machine: &Coordinator| machine.record().map(|record| record.last_operation);
        let before = last(self.machine.machine());
        if matches!(command, Command::Move { .. })
            && let Err(full) = self.control.register.reserve(&self.app.name).await?
        {
            return Ok(Err(Rejected::NoSpace(full)));
        }
        self.no_space = None;
        self.take(Input::Command(command)).await?;
        let after = last(self.machine.machine());
        let answered = match (command, after) {
            (Command::Cancel, Some(number)) => Ok(number),
            // It has no number: what it starts has the last one's.
            (Command::Start { .. }, Some(number)) if self.no_space.is_none() => Ok(number),
            (Command::Move { .. } | Command::Leave | Command::Resize(_), Some(number))
                if before.is_some_and(|before| before < number) =>
            {
                Ok(number)
            }
            (
                Command::Move { .. }
                | Command::Leave
                | Command::Start { .. }
                | Command::Resize(_)
                | Command::Cancel,
                _,
            ) => {
                self.control.register.release(&self.app.name).await?;
                Err(self.no_space.take().map_or(Rejected::Overtaken, Rejected::NoSpace))
            }
        };
        let why = self.ordered.why.take();
        if let (Ok(number), Some(why)) = (&answered, why) {
            let note = What::Note(journal::kept(journal::remark(why)));
            // A start is no operation, and that number is the one of who had the name before.
            let operation = (!matches!(command, Command::Start { .. })).then_some(*number);
            self.control.register.keep(journal::event(&self.app.name, operation, note)).await?;
        }
        Ok(answered)
    }

    /// Who gives a leave or a change of size up may say why. What is decided first counts.
    fn given_up(&mut self, why: Option<String>) {
        let is_move = self.machine.machine().record().is_some_and(|record| record.moving().is_some());
        if let Some(tracker) = self.tracker.as_mut().filter(|_| !is_move) {
            tracker.cause = tracker.cause.take().or(why);
        }
    }

    /// The open change of size as it stands: what is used, as far as its agent told, and which limit stays.
    fn unsized_yet(&self, why: &str) -> Option<(OperationNumber, Sizing)> {
        let record = self.machine.machine().record()?;
        let Some(Operation::Resize(resize)) = &record.operation else { return None };
        let start = record.owner.start;
        let from = resize.from.unwrap_or_else(|| sizes::registered(self.app.resources.start));
        let used = self.control.scaling.usages.of(&self.app.name, start);
        let used_kib = used.and_then(|(usage, _)| usage.memory_kib);
        let (to, why) = (resize.to, why.to_owned());
        let sizing = Sizing { start, from, to, limit: from, used_kib, offered: None, why };
        Some((record.last_operation, sizing))
    }

    /// The open leave, or change of size, has a budget of its own, and it is used up.
    async fn call_back(&mut self) -> Result<(), Gone> {
        self.called_back = None;
        let missed = match self.machine.machine().record().and_then(Record::step) {
            Some(Step::Draining) => "it had not left",
            Some(Step::Resizing) => "it was not done",
            Some(
                Step::Leaving
                | Step::Returning
                | Step::Open
                | Step::Sealing
                | Step::Switch
                | Step::Doomed
                | Step::Retire
                | Step::Undo,
            )
            | None => return Ok(()),
        };
        let budget = millis(self.ordered.budget_ms.unwrap_or_default().into());
        let why = format!("{missed} within {budget}");
        let said = self.tracker.as_ref().and_then(Tracker::put_off).unwrap_or_default();
        if let Some((operation, sizing)) = self.unsized_yet(&format!("{why}{said}")) {
            self.note(Some(operation), Note::Sized(sizing)).await?;
        }
        self.given_up(Some(why));
        self.take(Input::Command(Command::Cancel)).await
    }

    /// How much is left of the open operation's own budget.
    fn left_ms(&self) -> Option<u32> {
        let left = self.called_back?.saturating_duration_since(Instant::now());
        Some(u32::try_from(left.as_millis()).unwrap_or(u32::MAX))
    }

    fn next_due(&self) -> Option<Instant> {
        let closing = self.closing.as_ref().map(|(.., until)| *until);
        let stuck = self.stuck.as_ref().map(|stuck| stuck.again);
        let no_space = self.gathering.as_ref().and_then(|it| it.no_space.as_ref()).map(|(again, _)| *again);
        let due = closing.into_iter().chain(stuck).chain(no_space).chain(self.called_back);
        self.timers.values().copied().chain(due).chain(self.look_due()).min()
    }

    async fn on_time(&mut self) -> Result<(), Gone> {
        self.heed_nodes().await?;
        let now = Instant::now();
        let no_space = self.gathering.as_ref().and_then(|gathering| gathering.no_space.as_ref());
        if no_space.is_some_and(|(again, _)| *again <= now) {
            Box::pin(self.judge()).await?;
        }
        if self.closing.as_ref().is_some_and(|(.., until)| *until <= now) {
            self.finish_closing().await?;
        }
        if self.stuck.as_ref().is_some_and(|stuck| stuck.again <= now)
            && let Some(Stuck { expected, change, proposer, .. }) = self.stuck.take()
        {
            let again = Effect::Swap { expected, change, proposer };
            Box::pin(self.carry_out(VecDeque::from([again]))).await?;
        }
        if self.called_back.is_some_and(|until| until <= now) {
            self.call_back().await?;
        }
        if self.look_due().is_some_and(|look| look <= now) {
            self.look_for_the_awaited().await?;
        }
        let due: Vec<_> = self.timers.iter().filter(|(_, at)| **at <= now).map(|(timer, _)| *timer).collect();
        for timer in due {
            // An input before it may have armed it anew or disarmed it.
            if self.timers.get(&timer).is_some_and(|at| *at <= now) {
                self.timers.remove(&timer);
                self.take(Input::Timer(timer)).await?;
            }
        }
        Ok(())
    }

    fn open_operation(&self) -> Option<OperationNumber> {
        self.machine
            .machine()
            .record()
            .filter(|record| record.operation.is_some())
            .map(|record| record.last_operation)
    }

    fn publish(&self) {
        let unknown = match (&self.gathering, &self.stuck) {
            (Some(gathering), _) => Some(self.why_undecided(gathering)),
            (None, Some(stuck)) => Some(stuck.why.clone()),
            (None, None) => None,
        };
        self.show(unknown);
    }

    fn show(&self, unknown: Option<String>) {
        let machine = self.machine.machine();
        let view = View {
            record: machine.record().cloned(),
            phase: machine.phase(),
            unknown,
            served_unix_ms: self.history.served_unix_ms,
            is_dead: machine.owner_is_dead() && machine.record().is_some_and(|it| it.operation.is_none()),
            start_ms: self.history.start_ms,
            outcome: self.last_outcome.clone(),
        };
        let is_gone = view.record.as_ref().is_some_and(|record| record.gone);
        self.control.fleet.mark(&self.app.name, is_gone);
        self.control.views.show(&self.app.name, view);
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
