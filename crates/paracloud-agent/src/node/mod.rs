//! The one loop that owns all machines of a node: inputs in, effects carried out in their order.

mod applications;
mod channels;
mod ending;
mod instances;
mod liveness;
mod previews;
mod readiness;
mod records;
mod resizing;
mod revisions;
mod sizes;
mod starts;
mod unstarted;

use crate::channel::{Ends, Tokens};
use crate::controller::{self, Link};
use crate::doors::{Reply, Said};
use crate::leases::Answered;
use crate::resize::Unset;
use crate::{AgentError, channel, processes};
use ending::Ending;
use paci::channel::ChannelToken;
use paci::participant::Side;
use paci::upcall::Reason;
use paracloud_core::ids::{NodeId, OperationNumber, StartId};
use paracloud_core::migration::agent::{Agent, Effect, FromApp, Input, Timer};
use paracloud_core::migration::message::{FromAgent, ToAgent};
use paracloud_core::migration::promises::{Point, Promise};
use paracloud_core::migration::shim::{Generation, Order, Status};
use paracloud_core::register::{self, Leave, Move, Operation, Record, RecordOrder};
use paracloud_substrate::config::{self, App, Cloud, Size};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::lifeline::{self, End};
use paracloud_substrate::link::BEAT_MS;
use paracloud_substrate::message::{Caller, FromAgentLine, Known, Note, Terms, ToAgentLine};
use paracloud_substrate::trace::Traced;
use paracloud_substrate::{failpoint, fresh_start_id};
use previews::Ask;
use records::Records;
use sizes::{Measured, Meter};
use starts::Start;
use std::collections::{BTreeMap, VecDeque};
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Events that wait for the loop; who has one more waits.
const EVENTS_MAX: usize = 1_024;
/// Logs are flushed and the carried bytes are told this often, in milliseconds.
const TICK_MS: u64 = 200;

/// What happens to a node.
#[derive(Debug)]
pub(crate) enum Event {
    /// There is a link to the controller.
    Connected(Link),
    /// There is none any more.
    Disconnected,
    /// The controller says something.
    Line(Box<ToAgentLine>),
    /// A shim reports.
    Shim { start: StartId, status: Status },
    /// No shim can be had for a process, again and again.
    Stuck { start: StartId, message: String },
    /// A newer agent of this node was here.
    Superseded(Generation),
    /// An application says something.
    Said { start: StartId, said: Box<Said>, reply: oneshot::Sender<Reply> },
    /// An application broke the contract; `answers`: with an answer.
    Breach { start: StartId, what: String, answers: bool },
    /// An application wants to join its channel.
    Join { start: StartId, token: ChannelToken, stream: tokio::net::UnixStream },
    /// An end of a channel is here.
    End { instance: String, operation: OperationNumber, side: Side, end: UnixStream },
    /// What processes use was measured.
    Measured(Vec<Measured>),
    /// The probe found a program ready, or not ready any more.
    Probed { start: StartId, is_ready: bool },
    /// The probe found a program not alive, and what came back.
    NotAlive { start: StartId, answered: String },
    /// Limits of a process were set, or not: for an operation, or because they are those that it has.
    Resized { start: StartId, operation: Option<OperationNumber>, to: Size, set: Result<(), Unset> },
    /// A timer of an instance's machine fired.
    Timer { instance: String, timer: Timer },
}

/// One instance, as this node sees it.
struct Instance {
    app: App,
    machine: Traced<Agent>,
    timers: BTreeMap<Timer, JoinHandle<()>>,
    /// What an agent before this one heard of last.
    remembered: Option<Record>,
    /// The record that was kept last.
    kept: Option<RecordOrder>,
    /// The last operation that the controller spoke of.
    operation: Option<(OperationNumber, Operation)>,
    /// What was agreed on for it.
    terms: Terms,
    /// When the budget ends that its open operation was ordered with, in the node's milliseconds.
    ordered_until_ms: Option<u64>,
    /// Why it was opened.
    reason: Reason,
    /// The size that its processes are started with; `None`: as the manifest says.
    size: Option<register::Size>,
    ends: Ends,
    /// The last start that could not be made, and why, as this controller was told.
    failure: Option<(StartId, String)>,
}

impl Instance {
    /// The last operation that the controller spoke of, if it is a move.
    fn moving(&self) -> Option<(OperationNumber, &Move)> {
        let (number, operation) = self.operation.as_ref()?;
        Some((*number, operation.moving()?))
    }

    /// The same, if it is a leave.
    fn leave(&self) -> Option<(OperationNumber, &Leave)> {
        let (number, operation) = self.operation.as_ref()?;
        if let Operation::Leave(leave) = operation { Some((*number, leave)) } else { None }
    }

    /// What is left of the budget that its open operation was ordered with, in milliseconds. Without one: without end.
    fn left_ms(&self, now_ms: u64) -> u32 {
        let left_ms = self.ordered_until_ms.map(|until_ms| until_ms.saturating_sub(now_ms));
        left_ms.and_then(|left_ms| u32::try_from(left_ms).ok()).unwrap_or(u32::MAX)
    }

    /// Whether clients may wait in a pause that a process has a part in.
    fn pauses(&self, start: StartId) -> bool {
        self.machine
            .machine()
            .record()
            .is_some_and(|record| record.names(start) && records::may_pause(record))
    }
}

/// See the module.
pub(crate) struct Node {
    layout: Layout,
    node: config::Node,
    generation: Generation,
    cloud: Cloud,
    instances: BTreeMap<String, Instance>,
    starts: BTreeMap<StartId, Start>,
    tokens: Tokens,
    link: Option<Link>,
    events: mpsc::Sender<Event>,
    heard: Option<mpsc::Receiver<Event>>,
    inputs: VecDeque<(String, Input)>,
    records: Records,
    ending: Option<Ending>,
    began: Instant,
    /// When the controller was last told that the loop goes round.
    beaten: Instant,
    meter: Meter,
}

impl Node {
    /// Finds what runs on the node.
    pub(crate) fn open(
        layout: Layout,
        cloud: Cloud,
        id: NodeId,
        generation: Generation,
    ) -> Result<Self, AgentError> {
        let node = cloud.node(id).cloned().ok_or(AgentError::NoSuchNode(id))?;
        let failed = |source| AgentError::Directory { path: layout.node(id), source };
        for directory in ["records", "p", "s"] {
            layout.make(&layout.node(id).join(directory)).map_err(failed)?;
        }
        let records = Records::start().map_err(failed)?;
        let (events, heard) = mpsc::channel(EVENTS_MAX);
        let mut node = Self {
            node,
            generation,
            cloud,
            instances: BTreeMap::new(),
            starts: BTreeMap::new(),
            tokens: Tokens::default(),
            link: None,
            events,
            heard: Some(heard),
            inputs: VecDeque::new(),
            records,
            ending: None,
            began: Instant::now(),
            beaten: Instant::now(),
            meter: Meter::default(),
            layout: layout.clone(),
        };
        node.find_instances()?;
        node.find()?;
        node.listen().map_err(failed)?;
        Ok(node)
    }

    /// Opens the socket on which other agents hand ends of channels on.
    fn listen(&self) -> std::io::Result<()> {
        let path = self.layout.agent_socket(self.node.id);
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        let listener = UnixListener::bind(path)?;
        tokio::spawn(channels::take_ends(listener, self.events.clone()));
        Ok(())
    }

    /// Goes on until it is told to stop.
    pub(crate) async fn run(mut self, mut ends: lifeline::Ends) -> Result<(), AgentError> {
        let Some(mut heard) = self.heard.take() else { return Ok(()) };
        self.settle().await?;
        let dialling =
            tokio::spawn(controller::keep_dialling(self.layout.controller_socket(), self.events.clone()));
        let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
        let done = loop {
            let due = self.due();
            tokio::select! {
                Some(event) = heard.recv() => {
                    if let Event::Superseded(by) = event {
                        break Err(AgentError::Superseded { own: self.generation, by });
                    }
                    // The controller listens to the newest agent alone, and drops the others without a word.
                    if matches!(event, Event::Disconnected) && let Some(by) = self.newer_agent() {
                        break Err(AgentError::Superseded { own: self.generation, by });
                    }
                    if let Err(error) = self.hear(event).await {
                        break Err(error);
                    }
                }
                () = tokio::time::sleep_until(due) => self.see_to_sessions().await,
                _ = tick.tick() => self.tick(),
                end = ends.next() => {
                    if end == End::Cut || self.ending.is_some() || !self.layout.ending().exists() {
                        break Ok(());
                    }
                    self.begin_to_end().await;
                }
            }
            if let Err(error) = self.settle().await {
                break Err(error);
            }
            if self.is_ended() {
                break Ok(());
            }
        };
        dialling.abort();
        self.flush();
        self.keep_sessions(true);
        done
    }

    /// An agent of this node that was started after this one.
    fn newer_agent(&self) -> Option<Generation> {
        let text = std::fs::read_to_string(self.layout.generation(self.node.id)).ok()?;
        let newest = Generation(text.trim().parse().ok()?);
        (newest > self.generation).then_some(newest)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn due(&self) -> Instant {
        let due_ms =
            |start: &Start| [start.session.due_ms(), start.size.due_ms()].into_iter().flatten().min();
        let sessions = self.starts.values().filter_map(due_ms).min();
        let sessions = sessions.map(|due_ms| self.began + Duration::from_millis(due_ms));
        let far = Instant::now() + Duration::from_secs(3_600);
        [sessions, self.ending_due()].into_iter().flatten().min().unwrap_or(far)
    }

    async fn hear(&mut self, event: Event) -> Result<(), AgentError> {
        match event {
            Event::Connected(link) => {
                // It may have been changed while nobody could say so.
                self.configure()?;
                link.introduce(self.introduction());
                self.link = Some(link);
                let living = self.starts.iter().filter(|(_, start)| start.may_come_to_live());
                let living: Vec<_> = living.map(|(id, _)| *id).collect();
                for id in living {
                    self.tell_holds(id);
                    self.tell_advice(id);
                    self.tell_readiness(id);
                    self.tell_usage_anew(id);
                    self.tell_silence(id);
                }
                for instance in self.instances.values_mut() {
                    instance.ends.say_anew();
                    instance.failure = None;
                }
                self.carried_by_all();
            }
            Event::Disconnected => self.link = None,
            Event::Line(line) => self.line(*line).await?,
            Event::Shim { start, status } => self.shim_reports(start, status),
            Event::Stuck { start, message } => self.stuck(start, message),
            Event::Said { start, said, reply } => self.said(start, *said, reply),
            Event::Breach { start, what, answers } => self.breached(start, what, answers),
            Event::Join { start, token, stream } => self.join(start, &token, stream),
            Event::End { instance, operation, side, end } => self.take_end(&instance, operation, side, end),
            Event::Measured(measured) => self.measured(measured),
            Event::Probed { start, is_ready } => self.probed(start, is_ready),
            Event::NotAlive { start, answered } => self.not_alive(start, &answered),
            Event::Resized { start, operation, to, set } => self.limits_set(start, operation, to, set),
            Event::Timer { instance, timer } => {
                if let Some(instance) = self.instances.get_mut(&instance) {
                    instance.timers.remove(&timer);
                }
                self.inputs.push_back((instance, Input::Timer(timer)));
            }
            // Ends the loop before it comes here.
            Event::Superseded(_) => {}
        }
        Ok(())
    }

    /// Who this is, and what the node knows.
    fn introduction(&self) -> Caller {
        let known = self.instances.iter().map(|(name, instance)| {
            let told = instance.machine.machine().record();
            let newest = told.into_iter().chain(&instance.remembered).max_by_key(|record| record.order());
            // One that may be started any moment by an order that is on its way counts: nobody else may be started.
            let lives = |start: &Start| start.instance == *name && start.may_come_to_live();
            let alive = self.starts.iter().filter(|(_, start)| lives(start));
            let is_named = |id: &StartId| newest.is_some_and(|record| record.names(*id));
            let dead = self.starts.iter().filter(|(id, start)| start.is_dead() && is_named(id));
            // No record has the number of an operation before its seal: what was asked because of it has.
            let asked = self.starts.values().filter(|start| start.instance == *name);
            let operations = asked
                .map(|start| start.session.heard())
                .chain(newest.map(|record| record.last_operation))
                .chain(instance.operation.as_ref().map(|(number, _)| *number));
            Known {
                instance: name.clone(),
                record: newest.cloned(),
                operation: operations.max().unwrap_or_default(),
                alive: alive.map(|(id, start)| (*id, start.process.is_sealed())).collect(),
                dead: dead.map(|(id, _)| *id).collect(),
            }
        });
        Caller::Agent { node: self.node.id, generation: self.generation, known: known.collect() }
    }

    async fn line(&mut self, line: ToAgentLine) -> Result<(), AgentError> {
        if self.ending.is_some() {
            return Ok(());
        }
        match line {
            ToAgentLine::Configured => self.configure()?,
            ToAgentLine::Became { instance: _, start, wish, became, message, retry_after_ms } => {
                self.became(start, &wish, Answered { became, message, retry_after_ms });
            }
            ToAgentLine::Preview { instance, question, reason } => self.preview(&instance, question, reason),
            ToAgentLine::Question { instance, question, call, reason, budget_ms } => {
                self.question(&instance, Ask { question, call, reason, budget_ms });
            }
            ToAgentLine::Machine { instance: name, message, operation, terms, reason, size } => {
                self.hear_of(&name)?;
                let now_ms = self.now_ms();
                let Some(instance) = self.instances.get_mut(&name) else {
                    tracing::warn!(
                        instance = name,
                        "the controller speaks of an instance that is not configured here"
                    );
                    return Ok(());
                };
                instance.size = size;
                let number = match &message {
                    ToAgent::Own(record) => record.last_operation,
                    ToAgent::Estimate { operation, .. }
                    | ToAgent::Prepare { operation, .. }
                    | ToAgent::Probe { operation, .. }
                    | ToAgent::End { operation, .. } => *operation,
                };
                if let Some(operation) = operation {
                    let is_known = instance.operation.as_ref().is_some_and(|(known, _)| *known == number);
                    instance.operation = Some((number, operation));
                    instance.reason = reason;
                    // A controller that was started meanwhile has forgotten what was agreed on.
                    if !is_known || terms != Terms::default() {
                        instance.ordered_until_ms = terms.left_ms.map(|left_ms| now_ms + u64::from(left_ms));
                        instance.terms = terms;
                    }
                }
                let estimate = match &message {
                    ToAgent::Estimate { operation, start, .. } => Some((*operation, *start)),
                    ToAgent::Own(_)
                    | ToAgent::Prepare { .. }
                    | ToAgent::Probe { .. }
                    | ToAgent::End { .. } => None,
                };
                if let Some((operation, start)) = estimate {
                    self.repeat_offer(&name, operation, start);
                }
                self.inputs.push_back((name, Input::Coordinator(message)));
                self.settle().await?;
            }
        }
        Ok(())
    }

    /// Drives the machines until nothing is left to do.
    ///
    /// # Errors
    /// A record could not be kept. What was to follow from it is not done.
    async fn settle(&mut self) -> Result<(), AgentError> {
        while let Some((name, input)) = self.inputs.pop_front() {
            let Some(instance) = self.instances.get_mut(&name) else { continue };
            let effects = instance.machine.take(input, fresh_start_id());
            self.keep_record(&name)?;
            for effect in effects {
                self.carry_out(&name, effect).await;
            }
        }
        Ok(())
    }

    async fn carry_out(&mut self, name: &str, effect: Effect) {
        match effect {
            Effect::Coordinator(message) => self.tell_coordinator(name, message).await,
            Effect::Shim(start, _, Order::End) => self.end(name, start),
            Effect::Shim(start, generation, order) => self.order(name, start, generation, order),
            Effect::App(start, message) => self.tell_application(name, start, message),
            Effect::Look(start, order) => self.look(name, start, order),
            Effect::Check(operation, start) => self.check(name, operation, start),
            Effect::Resize(operation, start, to) => self.resize(name, operation, start, to),
            Effect::SetTimer(timer, wait_ms) => self.arm(name, timer, wait_ms),
        }
    }

    async fn tell_coordinator(&mut self, name: &str, message: FromAgent) {
        if self.ending.is_some() {
            return;
        }
        let promise = self.promise(name, &message);
        let all_crossed = matches!(message, FromAgent::Loaded { .. });
        let line = FromAgentLine::Machine { instance: name.to_owned(), message };
        let Some(link) = &self.link else { return };
        match promise {
            Some(promise) if failpoint::is_armed(promise, Point::AfterSend, &self.node.name) => {
                link.say_and_wait(line).await;
                failpoint::reached(promise, Point::AfterSend, &self.node.name).await;
            }
            Some(_) | None => self.say(line),
        }
        // After it, so that the pause does not wait for a figure.
        if all_crossed {
            self.carried(name);
        }
    }

    /// Says how much has crossed an instance's channel, if there is news.
    fn carried(&mut self, name: &str) {
        let Some(instance) = self.instances.get_mut(name) else { return };
        if let Some(bytes) = instance.ends.news() {
            let operation = instance.ends.operation();
            self.note(name, Some(operation), Note::Carried { bytes });
        }
    }

    fn carried_by_all(&mut self) {
        let names: Vec<_> = self.instances.keys().cloned().collect();
        for name in names {
            self.carried(&name);
        }
    }

    /// The promise that a message makes, if it makes one.
    fn promise(&self, name: &str, message: &FromAgent) -> Option<Promise> {
        let open = self.instances.get(name)?.moving();
        let open = open.filter(|(number, _)| !self.is_over(name, *number));
        let target = open.map(|(_, operation)| operation.target.start);
        match message {
            FromAgent::Prepared { start, .. } if Some(*start) == target => Some(Promise::Prepared),
            FromAgent::Ready { start, .. } if Some(*start) == target => Some(Promise::Ready),
            FromAgent::Sealed { .. } => Some(Promise::Sealed),
            FromAgent::Loaded { .. } => Some(Promise::Loaded),
            FromAgent::Serving { .. } => Some(Promise::Serving),
            FromAgent::Undone { .. } => Some(Promise::Undone),
            FromAgent::Dead { .. } => Some(Promise::Dead),
            FromAgent::Drained { .. } => Some(Promise::Emptied),
            FromAgent::Ask
            | FromAgent::Offered { .. }
            | FromAgent::Prepared { .. }
            | FromAgent::Progressed { .. }
            | FromAgent::Blocked { .. }
            | FromAgent::Failed { .. }
            | FromAgent::Ready { .. }
            | FromAgent::Lives { .. }
            | FromAgent::Resized { .. }
            | FromAgent::Unfit { .. }
            | FromAgent::Propose { .. } => None,
        }
    }

    fn say(&mut self, line: FromAgentLine) {
        if self.link.as_ref().is_some_and(|link| !link.say(line)) {
            tracing::warn!("the controller does not read: the link is dialled again");
            self.link = None;
        }
    }

    fn note(&mut self, instance: &str, operation: Option<OperationNumber>, note: Note) {
        self.say(FromAgentLine::Note { instance: instance.to_owned(), operation, note });
    }

    fn check(&mut self, name: &str, operation: OperationNumber, start: StartId) {
        let checked = match self.to_start(name, start) {
            Ok(None) => return,
            Ok(Some(app)) => processes::check(&app, &self.node),
            Err(error) => Err(error.to_string()),
        };
        match checked {
            Ok(()) => self.inputs.push_back((name.to_owned(), Input::Checked(operation, start, true))),
            Err(message) => self.cannot_start(name, start, message),
        }
    }

    /// What its shim reported may be of before its death, and the shim be dead as well: the process itself is looked at.
    fn look(&mut self, name: &str, start: StartId, order: RecordOrder) {
        let Some(process) = self.starts.get(&start).map(|start| &start.process) else { return };
        let looked = process.identity().and_then(|it| it.map_or(Ok(false), |identity| identity.is_alive()));
        // What cannot be looked at is not said to live; it is asked again.
        let lives = looked.unwrap_or_else(|error| {
            tracing::warn!(%start, %error, "whether it lives cannot be seen");
            false
        });
        self.inputs.push_back((name.to_owned(), Input::Looked { start, order, lives }));
    }

    fn arm(&mut self, name: &str, timer: Timer, wait_ms: u32) {
        let Some(instance) = self.instances.get_mut(name) else { return };
        let (events, name) = (self.events.clone(), name.to_owned());
        let task = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(wait_ms.into())).await;
            let _ = events.send(Event::Timer { instance: name, timer }).await;
        });
        if let Some(older) = instance.timers.insert(timer, task) {
            older.abort();
        }
    }

    /// Keeps a record that is newer than the one kept last, before anything follows from it.
    fn keep_record(&mut self, name: &str) -> Result<(), AgentError> {
        let Some(instance) = self.instances.get_mut(name) else { return Ok(()) };
        let Some(record) = instance.machine.machine().record() else { return Ok(()) };
        if instance.kept.is_some_and(|kept| kept >= record.order()) {
            return Ok(());
        }
        instance.kept = Some(record.order());
        if is_over(record, instance.ends.operation()) {
            instance.ends = Ends::default();
        }
        let path = self.layout.record(self.node.id, name);
        self.records.keep(&path, record).map_err(|source| AgentError::Unkept { path, source })
    }

    /// Whether the register says that an operation is over.
    fn is_over(&self, name: &str, operation: OperationNumber) -> bool {
        let record = self.instances.get(name).and_then(|instance| instance.machine.machine().record());
        record.is_some_and(|record| is_over(record, operation))
    }

    /// Hands an input of a process to its instance's machine.
    fn input(&mut self, start: StartId, message: FromApp) {
        if let Some(instance) = self.starts.get(&start).map(|start| start.instance.clone()) {
            self.inputs.push_back((instance, Input::App(start, message)));
        }
    }

    fn tick(&mut self) {
        self.beat();
        self.flush();
        self.carried_by_all();
        self.look_for_the_unready();
        self.measure();
        self.keep_sizes();
        self.watch_lives();
        self.keep_sessions(false);
    }

    /// Says, now and then, that the loop goes round.
    fn beat(&mut self) {
        if self.beaten.elapsed() >= Duration::from_millis(BEAT_MS) {
            self.beaten = Instant::now();
            self.say(FromAgentLine::Beat);
        }
    }

    /// Keeps what has changed of sessions, but those of instances whose clients may wait in a pause, unless it is the
    /// last chance.
    fn keep_sessions(&mut self, last: bool) {
        for (id, start) in self.starts.iter_mut().filter(|(_, start)| start.session.unkept) {
            if last || !self.instances.get(&start.instance).is_some_and(|instance| instance.pauses(*id)) {
                start.session.keep();
            }
        }
    }

    fn flush(&mut self) {
        for instance in self.instances.values_mut() {
            instance.machine.flush();
        }
    }
}

/// Whether a record says that an operation is over.
fn is_over(record: &Record, operation: OperationNumber) -> bool {
    record.last_operation > operation || (record.last_operation == operation && record.operation.is_none())
}

fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
