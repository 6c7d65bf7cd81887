//! One instance: its coordinator and its record, in one task that takes one input after the other and carries out
//! each effect before the next.
//!
//! While a swap is on its way to the disk, nothing else is taken in: inputs wait in the inbox. Only a swap that found
//! the disk full is tried again later, and the coordinator listens meanwhile.

use crate::control::{Control, View};
use crate::journal::{self, Allowance, Heard, change_text};
use crate::operations::{FIGURES_WAIT, Figures, Tracker};
use crate::peers::{Out, Peer};
use crate::recovery::{self, History, Verdict};
use crate::register::{Gone, swapped};
use crate::store::{StoreError, Swap};
use paracloud_core::ids::{GatewayId, NodeId, OperationNumber, Placement};
use paracloud_core::migration::coordinator::{Command, Coordinator, Effect, Input, Refused, Timer};
use paracloud_core::migration::message::{FromAgent, FromGateway};
use paracloud_core::migration::promises::{Point, Promise};
use paracloud_core::register::{Change, Proposer, Record};
use paracloud_substrate::config::App;
use paracloud_substrate::message::{Known, Note, ToAgentLine, ToGatewayLine};
use paracloud_substrate::person::{Outcome, What};
use paracloud_substrate::trace::Traced;
use paracloud_substrate::{failpoint, fresh_start_id};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
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
    Parked(GatewayId, Figures),
    /// A person gave a node up.
    NodeLost(NodeId),
    /// A person put right what made it unknown.
    Reconsider,
    /// Show how it is now, and say so.
    Show(oneshot::Sender<()>),
    /// Could this command be taken now?
    Check(Command, oneshot::Sender<Result<(), Rejected>>),
    /// A person's command: the operation it opened, or ended.
    Command(Command, oneshot::Sender<Result<OperationNumber, Rejected>>),
}

/// Why a command was not taken.
#[derive(Debug)]
pub(crate) enum Rejected {
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
    last_outcome: Option<Outcome>,
    stuck: Option<Stuck>,
    no_space: Option<StoreError>,
    allowance: Allowance,
    command_begun: Instant,
}

impl Instance {
    /// The instance of `app`, with the record that the register holds of it. `life` counts this controller's lives.
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
            last_outcome: None,
            stuck: None,
            no_space: None,
            allowance: Allowance::new(),
            command_begun: Instant::now(),
        }
    }

    fn machine(control: &Control, app: &App, life: u32, number: u32) -> Traced<Coordinator> {
        let name = match (life, number) {
            (0, 0) => app.name.clone(),
            (life, number) => format!("{}.{life}.{number}", app.name),
        };
        Traced::new(control.cloud.coordinator_setting(app), &control.layout.trace(), &name)
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
            self.hear(told).await?;
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
            Told::Parked(gateway, figures) => self.parked(gateway, figures).await?,
            Told::NodeLost(node) => self.node_lost(node).await?,
            Told::Reconsider => self.reconsider().await?,
            Told::Show(shown) => {
                self.publish();
                let _ = shown.send(());
            }
            Told::Check(command, answer) => drop(answer.send(self.check(command))),
            Told::Command(command, answer) => {
                let answered = self.command(command).await?;
                self.publish();
                let _ = answer.send(answered);
            }
        }
        Ok(())
    }

    /// Goes on from a record that is in the register.
    async fn recover(&mut self, record: Record) -> Result<(), Gone> {
        if record.operation.is_some() {
            self.tracker = Some(Tracker::recovered(record.last_operation, self.history.open.take()));
            if let Err(full) = self.control.register.reserve(&self.app.name).await? {
                tracing::warn!(instance = self.app.name, %full, "no room is reserved for the open operation");
            }
        }
        self.take(Input::Recovered(record)).await?;
        for node in self.control.lost() {
            self.bury(node).await?;
        }
        Ok(())
    }

    /// An agent connected.
    async fn learn(&mut self, node: NodeId, known: Known) -> Result<(), Gone> {
        if let Some(gathering) = &mut self.gathering {
            gathering.known.insert(node, known);
            return self.judge().await;
        }
        let Some(own) = self.machine.machine().record() else { return Ok(()) };
        if known.record.as_ref().is_none_or(|record| record.order() <= own.order()) {
            return Ok(());
        }
        // The store gave an older record back than one it acknowledged: everybody is asked afresh.
        tracing::error!(instance = self.app.name, %node, "the register is behind what this node knows");
        self.gathering = Some(Gathering { own: Some(own.clone()), ..Gathering::default() });
        self.machines += 1;
        self.machine = Self::machine(&self.control, &self.app, self.life, self.machines);
        self.timers.clear();
        self.stuck = None;
        self.tracker = None;
        self.control.peers.hear_agents_again();
        Ok(())
    }

    /// Whether what nodes know is enough to go on.
    async fn judge(&mut self) -> Result<(), Gone> {
        let control = Arc::clone(&self.control);
        let Some(gathering) = &mut self.gathering else { return Ok(()) };
        if gathering.unknown.is_some() {
            return Ok(());
        }
        let nodes = control.cloud.nodes.iter().map(|node| node.id);
        let (record, change) =
            match recovery::judge(nodes, gathering.own.as_ref(), &gathering.known, &control.lost()) {
                Verdict::Wait(_) => return Ok(()),
                Verdict::Unknown(why) => {
                    gathering.unknown = Some(why.clone());
                    let what = What::Note(Note::Reason(journal::cut(format!("unknown: {why}"))));
                    return control.register.keep(journal::event(&self.app.name, None, what)).await;
                }
                Verdict::First => {
                    let owner = Placement { node: self.app.node, start: fresh_start_id() };
                    (Record::first(owner), "first")
                }
                Verdict::Newest(record) => (record, "found"),
            };
        let own = gathering.own.clone();
        loop {
            let event = swapped(&self.app.name, change.to_owned(), &record);
            match control.register.swap(&self.app.name, own.as_ref(), &record, event).await? {
                Ok(Swap::Applied) => break,
                Ok(Swap::Refused(_)) => {
                    tracing::error!(instance = self.app.name, "somebody else writes this register");
                    return Err(Gone);
                }
                Err(full) => {
                    tracing::error!(instance = self.app.name, %full, "it cannot be started yet");
                    let why = full.to_string();
                    self.show(Some(why));
                    tokio::time::sleep(Duration::from_millis(NO_SPACE_RETRY_MS)).await;
                }
            }
        }
        self.gathering = None;
        self.recover(record).await
    }

    async fn reconsider(&mut self) -> Result<(), Gone> {
        let Some(gathering) = &mut self.gathering else { return Ok(()) };
        gathering.unknown = None;
        gathering.known.clear();
        self.control.peers.hear_agents_again();
        self.judge().await
    }

    async fn node_lost(&mut self, node: NodeId) -> Result<(), Gone> {
        if let Some(gathering) = &mut self.gathering {
            gathering.unknown = None;
            return self.judge().await;
        }
        self.bury(node).await
    }

    /// Processes on a node that is lost count as dead.
    async fn bury(&mut self, node: NodeId) -> Result<(), Gone> {
        let Some(record) = self.machine.machine().record() else { return Ok(()) };
        let moving = record.operation.iter().flat_map(|operation| [operation.source, operation.target]);
        let places: Vec<_> = std::iter::once(record.owner).chain(moving).collect();
        for place in places.into_iter().filter(|place| place.node == node) {
            self.take(Input::Agent(node, FromAgent::Dead { start: place.start })).await?;
        }
        Ok(())
    }

    fn check(&self, command: Command) -> Result<(), Rejected> {
        if let Some(gathering) = &self.gathering {
            return Err(Rejected::Undecided(self.why_undecided(gathering)));
        }
        self.machine.machine().check(self.machine.setting(), command).map_err(Rejected::Refused)
    }

    async fn command(&mut self, command: Command) -> Result<Result<OperationNumber, Rejected>, Gone> {
        if let Err(rejected) = self.check(command) {
            return Ok(Err(rejected));
        }
        self.command_begun = Instant::now();
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
        Ok(match (command, after) {
            (Command::Cancel, Some(number)) => Ok(number),
            (Command::Move { .. }, Some(number)) if before.is_some_and(|before| before < number) => {
                Ok(number)
            }
            (Command::Move { .. } | Command::Cancel, _) => {
                self.control.register.release(&self.app.name).await?;
                Err(self.no_space.take().map_or(Rejected::Overtaken, Rejected::NoSpace))
            }
        })
    }

    /// Feeds one input, and carries out what follows from it.
    async fn take(&mut self, input: Input) -> Result<(), Gone> {
        let effects = self.machine.take(input, fresh_start_id());
        Box::pin(self.carry_out(effects.into())).await
    }

    async fn carry_out(&mut self, mut effects: VecDeque<Effect>) -> Result<(), Gone> {
        let mut persisted: Option<Promise> = None;
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Swap { expected, change, proposer } => {
                    self.said(persisted.take()).await;
                    let promise = Promise::of_change(&change);
                    let following = match self.swap(expected.clone(), change, proposer).await? {
                        Swapping::Done(record, applied) => {
                            persisted = applied.then_some(promise);
                            self.machine.take(Input::Swapped { record, applied }, fresh_start_id())
                        }
                        Swapping::NoRoomToSeal => {
                            let mut effects =
                                self.machine.take(Input::Command(Command::Cancel), fresh_start_id());
                            let unchanged = Input::Swapped { record: expected, applied: false };
                            effects.extend(self.machine.take(unchanged, fresh_start_id()));
                            effects
                        }
                        Swapping::Stuck => Vec::new(),
                    };
                    effects.extend(following);
                }
                Effect::Agent(node, message) => {
                    let operation = self.machine.machine().record().and_then(|it| it.operation.clone());
                    let line = ToAgentLine::Machine { instance: self.app.name.clone(), message, operation };
                    self.control.peers.say(Peer::Agent(node), Out::ToAgent(line));
                }
                Effect::Gateway(gateway, message) => {
                    let line = ToGatewayLine { instance: self.app.name.clone(), message };
                    self.control.peers.say(Peer::Gateway(gateway), Out::ToGateway(line));
                }
                Effect::SetTimer(timer, after_ms) => {
                    let at = Instant::now() + Duration::from_millis(u64::from(after_ms));
                    self.timers.insert(timer, at);
                }
                Effect::CancelTimer(timer) => drop(self.timers.remove(&timer)),
                Effect::Entered(phase) => {
                    if let Some(tracker) = &mut self.tracker {
                        tracker.enter(phase);
                    }
                    let event = journal::event(&self.app.name, self.open_operation(), What::Entered(phase));
                    self.control.register.keep(event).await?;
                }
                Effect::Refused(refused) => {
                    tracing::warn!(instance = self.app.name, %refused, "a command was refused after its check");
                }
            }
        }
        self.said(persisted).await;
        self.machine.flush();
        Ok(())
    }

    /// What follows from a swap was said: the place where tests stop the controller after it.
    async fn said(&self, promise: Option<Promise>) {
        if let Some(promise) = promise
            && failpoint::is_armed(promise, Point::AfterSend, WHO)
        {
            self.control.peers.flush().await;
            failpoint::reached(promise, Point::AfterSend, WHO).await;
        }
    }

    async fn swap(&mut self, expected: Record, change: Change, proposer: Proposer) -> Result<Swapping, Gone> {
        let Some(current) = self.machine.machine().record().cloned() else { return Err(Gone) };
        let new = match current.swap(&expected, &change, proposer) {
            Ok(new) => new,
            Err(refusal) => {
                tracing::info!(instance = self.app.name, ?change, %refusal, "a swap was refused");
                return Ok(Swapping::Done(current, false));
            }
        };
        let control = Arc::clone(&self.control);
        let name = &self.app.name;
        if change == Change::Seal
            && let Err(full) = control.register.reserve(name).await?
        {
            let why = format!("the journal has no room for the outcome, so nothing is sealed: {full}");
            tracing::error!(instance = name, why);
            if let Some(tracker) = &mut self.tracker {
                tracker.cause = Some(why.clone());
            }
            let what = What::Note(Note::Reason(journal::cut(why)));
            control.register.keep(journal::event(name, self.open_operation(), what)).await?;
            return Ok(Swapping::NoRoomToSeal);
        }
        let promise = Promise::of_change(&change);
        failpoint::reached(promise, Point::BeforePersist, WHO).await;
        let event = swapped(name, change_text(&change), &new);
        match control.register.swap(name, Some(&current), &new, event).await? {
            Ok(Swap::Applied) => {
                failpoint::reached(promise, Point::AfterPersist, WHO).await;
                self.applied(&change, &current, &new).await?;
                Ok(Swapping::Done(new, true))
            }
            Ok(Swap::Refused(found)) => {
                tracing::error!(instance = name, ?found, "somebody else writes this register");
                Err(Gone)
            }
            Err(full) => Ok(self.no_room(current, change, proposer, full)),
        }
    }

    /// The disk is full, and nothing was reserved for this swap.
    fn no_room(&mut self, current: Record, change: Change, proposer: Proposer, full: StoreError) -> Swapping {
        tracing::error!(instance = self.app.name, ?change, %full, "a swap has no room");
        let asked_by_others = proposer == Proposer::Agent || matches!(change, Change::Open { .. });
        let why = format!("the register cannot be written: {full}");
        if asked_by_others {
            // Whoever asked asks again.
            self.no_space = Some(full);
            return Swapping::Done(current, false);
        }
        let again = Instant::now() + Duration::from_millis(NO_SPACE_RETRY_MS);
        self.stuck = Some(Stuck { expected: current, change, proposer, again, why });
        Swapping::Stuck
    }

    /// A swap is on disk.
    async fn applied(&mut self, change: &Change, before: &Record, after: &Record) -> Result<(), Gone> {
        match change {
            Change::Open { .. } => {
                self.finish_closing();
                self.tracker = Some(Tracker::new(after.last_operation, self.command_begun));
            }
            Change::Serve(_) | Change::Promote => {
                self.history.served_unix_ms = Some(journal::now_unix_ms());
            }
            Change::Restart { .. } => self.history.served_unix_ms = None,
            Change::Seal | Change::Commit | Change::Doom | Change::RollBack(_) | Change::Close => {}
        }
        if let Some(tracker) = &mut self.tracker {
            tracker.swapped(change, after);
        }
        if *change == Change::Close {
            self.control.register.release(&self.app.name).await?;
            if let Some(mut tracker) = self.tracker.take() {
                let outcome = tracker.close(&self.app.name, before, after);
                self.closing = Some((tracker, outcome, Instant::now() + FIGURES_WAIT));
                self.finish_closing_if_complete();
            }
        }
        Ok(())
    }

    async fn note(&mut self, operation: Option<OperationNumber>, note: Note) -> Result<(), Gone> {
        let current = |tracker: &&mut Tracker| operation.is_none_or(|number| number == tracker.operation);
        let closing = self.closing.as_mut().map(|(tracker, ..)| tracker);
        if let Some(tracker) = self.tracker.as_mut().or(closing).filter(current) {
            match &note {
                Note::Estimate(estimate) => tracker.estimated(estimate.state_kib),
                Note::Carried { bytes } => tracker.carried(*bytes),
                Note::Copying { predicted_pause_ms, .. } => tracker.predicted(*predicted_pause_ms),
                Note::Reason(_)
                | Note::Blocked { .. }
                | Note::Ended { .. }
                | Note::Unresponsive { .. }
                | Note::Breach { .. }
                | Note::Failure { .. } => tracker.troubled(&journal::kept(note.clone())),
            }
        }
        if matches!(note, Note::Carried { .. } | Note::Copying { .. }) {
            self.tell_progress();
            return Ok(());
        }
        if !self.allowance.take() {
            tracing::debug!(instance = self.app.name, "a note too many: not kept");
            return Ok(());
        }
        let what = What::Note(journal::kept(note));
        self.control.register.keep(journal::event(&self.app.name, operation, what)).await
    }

    fn tell_progress(&mut self) {
        let Some(tracker) = &mut self.tracker else { return };
        if let Some(progress) = tracker.progress() {
            let event = journal::event(&self.app.name, Some(tracker.operation), What::Progress(progress));
            let _ = self.control.heard.send(Heard::Event(event));
        }
    }

    async fn parked(&mut self, gateway: GatewayId, figures: Figures) -> Result<(), Gone> {
        let closing = self.closing.as_mut().map(|(tracker, ..)| tracker);
        let operation = self.tracker.as_mut().or(closing).map(|tracker| {
            tracker.parked(gateway, figures);
            tracker.operation
        });
        // That nobody waited is no event, but an outcome need not wait for more.
        if figures != Figures::default() {
            let what = What::Parked {
                gateway: gateway.0,
                requests: figures.requests,
                parked_us_max: figures.parked_us_max,
                failed: figures.failed,
            };
            self.control.register.keep(journal::event(&self.app.name, operation, what)).await?;
        }
        self.finish_closing_if_complete();
        Ok(())
    }

    /// Reports the outcome as soon as every gateway that is there has said what its clients saw.
    fn finish_closing_if_complete(&mut self) {
        let Some((tracker, ..)) = &self.closing else { return };
        let there = |gateway: &&GatewayId| self.control.peers.is_there(Peer::Gateway(**gateway));
        let mut gateways = self.control.cloud.gateways.iter().filter(there);
        if !tracker.parks || gateways.all(|gateway| tracker.has_heard(*gateway)) {
            self.finish_closing();
        }
    }

    fn finish_closing(&mut self) {
        let Some((tracker, mut outcome, _)) = self.closing.take() else { return };
        tracker.add_figures(&mut outcome);
        self.last_outcome = Some(outcome.clone());
        self.publish();
        let _ = self.control.heard.send(Heard::Outcome(outcome));
    }

    fn next_due(&self) -> Option<Instant> {
        let closing = self.closing.as_ref().map(|(.., until)| *until);
        let stuck = self.stuck.as_ref().map(|stuck| stuck.again);
        self.timers.values().copied().chain(closing).chain(stuck).min()
    }

    async fn on_time(&mut self) -> Result<(), Gone> {
        let now = Instant::now();
        if self.closing.as_ref().is_some_and(|(.., until)| *until <= now) {
            self.finish_closing();
        }
        if self.stuck.as_ref().is_some_and(|stuck| stuck.again <= now)
            && let Some(Stuck { expected, change, proposer, .. }) = self.stuck.take()
        {
            let again = Effect::Swap { expected, change, proposer };
            Box::pin(self.carry_out(VecDeque::from([again]))).await?;
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

    fn why_undecided(&self, gathering: &Gathering) -> String {
        if let Some(why) = &gathering.unknown {
            return why.clone();
        }
        let lost = self.control.lost();
        let silent: Vec<_> = self
            .control
            .cloud
            .nodes
            .iter()
            .filter(|node| !gathering.known.contains_key(&node.id) && !lost.contains(&node.id))
            .map(|node| node.name.as_str())
            .collect();
        format!("not decided before every node has answered: waiting for {}", silent.join(", "))
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
            outcome: self.last_outcome.clone(),
        };
        self.control.views.show(&self.app.name, view);
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
