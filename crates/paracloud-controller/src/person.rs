//! What people ask for: one request a connection.

mod going_on;
mod refusal;
mod status;

pub(crate) use refusal::{has_left, refused, rejection, unknown_instance, unknown_node};

use crate::applying;
use crate::asks;
use crate::control::Control;
use crate::draining;
use crate::instance::{Rejected, Told};
use crate::journal::{Heard, now_unix_ms};
use crate::moves::{self, To};
use crate::orders::Order;
use crate::peers::Peer;
use crate::scales;
use crate::scaling;
use crate::sizes;
use paci::upcall::Reason;
use paracloud_core::ids::{NodeId, OperationNumber};
use paracloud_core::migration::coordinator::Command;
use paracloud_substrate::figures::millis;
use paracloud_substrate::link::{LinkError, Reader, SILENT_MS, Writer};
use paracloud_substrate::person::{Event, Outcome, Refused, Reply, Request};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot};

/// How long a person's command may take to say what it wants, and to read one reply, in milliseconds.
pub(crate) const PERSON_MS_MAX: u64 = 10_000;

/// An application has so long for the answer to a person's question, in milliseconds.
pub(crate) const ASK_MS: u32 = 10_000;

/// A cancel that was asked for so long before it could be taken has an entry of its own, in milliseconds.
pub(crate) const LATE_MS: u64 = 1_000;

/// Why nobody is told anything any more.
#[derive(Debug)]
pub(crate) enum Left {
    /// The command is gone, or does not read.
    Person(LinkError),
    /// The controller ends.
    Controller,
}

impl From<LinkError> for Left {
    fn from(error: LinkError) -> Self {
        Self::Person(error)
    }
}

/// The connection of one command.
pub(crate) struct Person<'a> {
    pub(crate) control: &'a Arc<Control>,
    reader: Reader,
    writer: Writer,
}

/// Serves one request.
pub(crate) async fn serve(
    control: &Arc<Control>,
    mut reader: Reader,
    writer: Writer,
) -> Result<(), LinkError> {
    let bound = Duration::from_millis(PERSON_MS_MAX);
    let request = match tokio::time::timeout(bound, reader.read::<Request>()).await {
        Ok(Ok(Some(request))) => request,
        Ok(Err(LinkError::Form(error))) => {
            let mut person = Person { control, reader, writer };
            let message = format!("the controller does not understand this request: {error}");
            let next = "use a command and a controller of the same version";
            return ended(person.refuse(refused("bad_request", message, next)).await);
        }
        Ok(Ok(None)) | Err(_) => return Ok(()),
        Ok(Err(error)) => return Err(error),
    };
    let mut person = Person { control, reader, writer };
    ended(Box::pin(person.serve(request)).await)
}

fn ended(served: Result<(), Left>) -> Result<(), LinkError> {
    match served {
        Ok(()) | Err(Left::Controller) => Ok(()),
        Err(Left::Person(error)) => Err(error),
    }
}

impl Person<'_> {
    async fn serve(&mut self, request: Request) -> Result<(), Left> {
        match request {
            Request::Status => {
                let status = status::of(self.control).await;
                self.reply(&Reply::Status(status)).await
            }
            Request::Move { instance, to, accept_loss, wait } => {
                let wanted = moves::Wanted { instance, to: To::node(to), accept_loss };
                Box::pin(self.moves(&wanted, wait)).await
            }
            Request::Update { instance, accept_loss, wait } => {
                let wanted = moves::Wanted { instance, to: To::Current, accept_loss };
                Box::pin(self.moves(&wanted, wait)).await
            }
            Request::Preview { instance, to } => Box::pin(self.preview(&instance, To::node(to))).await,
            Request::PreviewUpdate { instance } => Box::pin(self.preview(&instance, To::Current)).await,
            Request::Apply { from, to, update, wait } => {
                match Box::pin(applying::apply(self.control, &from, &to, update.as_ref())).await {
                    Ok(updates) if wait && update.is_some() => Box::pin(self.updates(updates)).await,
                    Ok(_) => self.reply(&Reply::Done).await,
                    Err(refused) => self.refuse(refused).await,
                }
            }
            Request::Ask { instance, question } => {
                let asked = asks::ask(self.control, &instance, question, Reason::Person, ASK_MS);
                match Box::pin(asked).await {
                    Ok(answer) => self.reply(&Reply::Answered(Box::new(answer))).await,
                    Err(refused) => self.refuse(refused).await,
                }
            }
            Request::Explain { name, operation } => {
                match Box::pin(scaling::explain(self.control, &name, operation)).await {
                    Ok(explained) => self.reply(&Reply::Explained(Box::new(explained))).await,
                    Err(refused) => self.refuse(refused).await,
                }
            }
            Request::Cancel { instance, asked_unix_ms } => {
                let why = Some("a person called it back".to_owned());
                let order = Order { why, ..Order::of_person(Command::Cancel) };
                let done = Box::pin(scales::call_back(self.control, &instance, order)).await;
                let done = done.map_err(|rejected| rejection(self.control, &instance, rejected));
                late_cancel(self.control, &instance, asked_unix_ms, &done).await;
                match done {
                    Ok(_) => self.reply(&Reply::Done).await,
                    Err(refused) => self.refuse(refused).await,
                }
            }
            Request::Reconsider { instance } => {
                self.control.shown(std::iter::once(instance.as_str())).await;
                let Some(view) = self.control.views.of(&instance) else {
                    return self.refuse(unknown_instance(self.control, &instance)).await;
                };
                if view.unknown.is_none() {
                    let message = format!("{instance}: nothing about it is unknown");
                    return self.refuse(refused("not_unknown", message, "look at `paracloud ps`")).await;
                }
                self.control.tell(&instance, Told::Reconsider).await;
                self.reply(&Reply::Done).await
            }
            Request::Events { from, follow } => Box::pin(self.events(from, follow)).await,
            Request::Resize { instance, memory_kib, cpu_milli, budget_ms, dry_run, wait } => {
                let wanted = sizes::Wanted { instance, memory_kib, cpu_milli, budget_ms };
                if dry_run {
                    return match Box::pin(sizes::rehearse(self.control, &wanted)).await {
                        Ok(answer) => self.reply(&Reply::Answered(Box::new(answer))).await,
                        Err(refused) => self.refuse(refused).await,
                    };
                }
                let heard = self.control.heard.subscribe();
                match Box::pin(sizes::begin(self.control, &wanted)).await {
                    Err(refused) => self.refuse(refused).await,
                    Ok(operation) if !wait => self.reply(&Reply::Begun(operation)).await,
                    Ok(operation) => Box::pin(self.wait_for(&wanted.instance, operation, heard)).await,
                }
            }
            Request::Scale { app, to, hold_ms, dry_run, accept_loss, within_ms, wait } => {
                let wanted = scales::Wanted { app: &app, to, hold_ms, dry_run, accept_loss, within_ms };
                self.scale(&wanted, wait).await
            }
            Request::GiveBack { app } => match scales::give_back(self.control, &app).await {
                Ok(was) => self.reply(&Reply::GivenBack(was)).await,
                Err(refused) => self.refuse(refused).await,
            },
            Request::OpenNode { node } => match draining::close(self.control, node, false).await {
                Ok(()) => self.reply(&Reply::Done).await,
                Err(refused) => self.refuse(refused).await,
            },
            Request::DrainNode { node, terms, dry_run: true, .. } => {
                match Box::pin(draining::rehearse(self.control, node, terms)).await {
                    Ok(drained) => self.drained(drained).await,
                    Err(refused) => self.refuse(refused).await,
                }
            }
            Request::DrainNode { node, terms, dry_run: false, wait } => {
                match Box::pin(draining::begin(self.control, node, terms)).await {
                    Ok(progress) if wait => Box::pin(self.drains(progress)).await,
                    Ok(_) => self.reply(&Reply::Done).await,
                    Err(refused) => self.refuse(refused).await,
                }
            }
            Request::NodeLost { node, agreed } => self.node_lost(node, agreed).await,
        }
    }

    async fn scale(&mut self, wanted: &scales::Wanted<'_>, wait: bool) -> Result<(), Left> {
        let heard = self.control.heard.subscribe();
        let scaled = match Box::pin(scales::scale(self.control, wanted)).await {
            Ok(scaled) => scaled,
            Err(refused) => return self.refuse(refused).await,
        };
        let open: Vec<_> =
            scaled.leaves.iter().filter_map(|it| Some((it.instance.clone(), it.operation?))).collect();
        self.reply(&Reply::Scaled(scaled)).await?;
        if wait { Box::pin(self.wait_for_all(open, heard)).await } else { Ok(()) }
    }

    /// Events and outcomes of these operations, until each is over.
    async fn wait_for_all(
        &mut self,
        mut open: Vec<(String, OperationNumber)>,
        mut heard: broadcast::Receiver<Heard>,
    ) -> Result<(), Left> {
        let is_of = |event: &Event, open: &[(String, OperationNumber)]| {
            open.iter().any(|(name, number)| event.instance == *name && event.operation == Some(*number))
        };
        let mut last = 0;
        while !open.is_empty() {
            match self.next(&mut heard).await? {
                Some(Heard::Event(event)) if is_of(&event, &open) => {
                    if event.number == 0 || event.number > last {
                        last = last.max(event.number);
                        self.reply(&Reply::Event(event)).await?;
                    }
                }
                Some(Heard::Event(_)) => {}
                Some(Heard::Outcome(outcome)) => {
                    let of = (outcome.instance.clone(), outcome.operation);
                    if open.contains(&of) {
                        open.retain(|it| *it != of);
                        self.reply(&Reply::Outcome(outcome)).await?;
                    }
                }
                None => {
                    // It missed some: the outcomes are with the instances.
                    let ended: Vec<_> =
                        open.iter().filter_map(|(name, number)| self.outcome_of(name, *number)).collect();
                    for outcome in ended {
                        open.retain(|it| *it != (outcome.instance.clone(), outcome.operation));
                        self.reply(&Reply::Outcome(outcome)).await?;
                    }
                    if let Some((name, number)) =
                        open.iter().find(|(name, number)| self.is_past(name, *number))
                    {
                        let message =
                            format!("operation {number} of {name} ended, and its outcome was missed");
                        return self
                            .refuse(refused("outcome_missed", message, "look at `paracloud events`"))
                            .await;
                    }
                }
            }
        }
        Ok(())
    }

    async fn moves(&mut self, wanted: &moves::Wanted, wait: bool) -> Result<(), Left> {
        // Heard from before the command on, so that nothing is missed.
        let heard = self.control.heard.subscribe();
        match Box::pin(moves::begin(self.control, wanted)).await {
            Err(refused) => self.refuse(refused).await,
            Ok(operation) if !wait => self.reply(&Reply::Begun(operation)).await,
            Ok(operation) => Box::pin(self.wait_for(&wanted.instance, operation, heard)).await,
        }
    }

    async fn preview(&mut self, instance: &str, to: To) -> Result<(), Left> {
        match Box::pin(moves::preview(self.control, instance, to)).await {
            Ok(previewed) => self.reply(&previewed).await,
            Err(refused) => self.refuse(refused).await,
        }
    }

    pub(crate) async fn reply(&mut self, reply: &Reply) -> Result<(), Left> {
        let bound = Duration::from_millis(PERSON_MS_MAX);
        match tokio::time::timeout(bound, self.writer.write(reply)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(Left::Person(LinkError::Io(std::io::ErrorKind::TimedOut.into()))),
        }
    }

    async fn refuse(&mut self, refused: Refused) -> Result<(), Left> {
        self.reply(&Reply::Refused(refused)).await
    }

    async fn node_lost(&mut self, node: NodeId, agreed: bool) -> Result<(), Left> {
        let control = self.control;
        let cloud = control.cloud();
        let Some(configured) = cloud.node(node) else {
            return self.refuse(unknown_node(control, node)).await;
        };
        if !agreed && !control.peers.is_there(Peer::Agent(node)) {
            let message = format!("{} went away only now: nobody was told what it costs", configured.name);
            return self.refuse(refused("node_away", message, "say it again")).await;
        }
        // Said first, so that an agent that connects meanwhile takes it back.
        control.lose(node);
        if control.peers.is_there(Peer::Agent(node)) {
            control.find(node);
            let silent_ms = control.peers.silent_ms(Peer::Agent(node));
            let (name, bound) = (&configured.name, millis(SILENT_MS));
            let (message, next) = if silent_ms >= moves::LATE_MS {
                let silent = millis(silent_ms);
                let message = format!("{name} is connected, but has said nothing for {silent}");
                (message, format!("it counts as away after {bound}: say it again then"))
            } else {
                let next = format!(
                    "take the node from the network or stop its agent, then say it again; an agent that stands still counts as away after {bound}"
                );
                (format!("{name} is connected: it is not lost"), next)
            };
            return self.refuse(refused("node_connected", message, next)).await;
        }
        tracing::warn!(%node, "a person gave this node up");
        for instance in control.fleet.names() {
            control.tell(&instance, Told::NodeLost).await;
        }
        control.found();
        self.reply(&Reply::Done).await
    }

    /// Events and progress of one operation, until its outcome.
    async fn wait_for(
        &mut self,
        instance: &str,
        operation: OperationNumber,
        mut heard: broadcast::Receiver<Heard>,
    ) -> Result<(), Left> {
        let mut last = 0;
        loop {
            match self.next(&mut heard).await? {
                Some(Heard::Event(event)) => {
                    let ours = event.instance == instance && event.operation == Some(operation);
                    if ours && (event.number == 0 || event.number > last) {
                        last = last.max(event.number);
                        self.reply(&Reply::Event(event)).await?;
                    }
                }
                Some(Heard::Outcome(outcome)) => {
                    if outcome.instance == instance && outcome.operation == operation {
                        return self.reply(&Reply::Outcome(outcome)).await;
                    }
                }
                None => {
                    // It missed some: what is kept is in the journal, and the outcome with the instance.
                    for event in self.read(last + 1).await? {
                        last = event.number;
                        if event.instance == instance && event.operation == Some(operation) {
                            self.reply(&Reply::Event(event)).await?;
                        }
                    }
                    if let Some(outcome) = self.outcome_of(instance, operation) {
                        return self.reply(&Reply::Outcome(outcome)).await;
                    }
                    if self.is_past(instance, operation) {
                        let message = format!("operation {operation} ended, and its outcome was missed");
                        let next = "look at `paracloud events`";
                        return self.refuse(refused("outcome_missed", message, next)).await;
                    }
                }
            }
        }
    }

    /// Whether another operation was opened since: the outcome of this one is not kept any more.
    fn is_past(&self, instance: &str, operation: OperationNumber) -> bool {
        let record = self.control.views.of(instance).and_then(|view| view.record);
        record.is_none_or(|record| record.last_operation > operation)
    }

    fn outcome_of(&self, instance: &str, operation: OperationNumber) -> Option<Outcome> {
        let view = self.control.views.of(instance)?;
        view.outcome.filter(|outcome| outcome.operation == operation)
    }

    async fn events(&mut self, from: u64, follow: bool) -> Result<(), Left> {
        let mut heard = self.control.heard.subscribe();
        let mut next = self.catch_up(from).await?;
        if !follow {
            return self.reply(&Reply::Done).await;
        }
        loop {
            match self.next(&mut heard).await? {
                Some(Heard::Event(event)) if event.number == 0 => self.reply(&Reply::Event(event)).await?,
                Some(Heard::Event(event)) if event.number == next => {
                    next += 1;
                    self.reply(&Reply::Event(event)).await?;
                }
                Some(Heard::Event(event)) if event.number < next => {}
                Some(Heard::Event(_)) | None => next = self.catch_up(next).await?,
                Some(Heard::Outcome(_)) => {}
            }
        }
    }

    /// Everything the journal has from a number on. Says which number comes next.
    async fn catch_up(&mut self, from: u64) -> Result<u64, Left> {
        let mut next = from.max(1);
        loop {
            let events = self.read(next).await?;
            if events.is_empty() {
                return Ok(next);
            }
            for event in events {
                next = event.number + 1;
                self.reply(&Reply::Event(event)).await?;
            }
        }
    }

    async fn read(&self, from: u64) -> Result<Vec<Event>, Left> {
        self.control.register.read(from).await.map_err(|_| Left::Controller)
    }

    /// What happens next; `None` if some was missed. Ends when the command is gone.
    async fn next(&mut self, heard: &mut broadcast::Receiver<Heard>) -> Result<Option<Heard>, Left> {
        tokio::select! {
            heard = heard.recv() => match heard {
                Ok(heard) => Ok(Some(heard)),
                Err(RecvError::Lagged(_)) => Ok(None),
                Err(RecvError::Closed) => Err(Left::Controller),
            },
            left = gone(&mut self.reader) => Err(left),
        }
    }
}

/// Returns when the command is gone: one request a connection, so that whatever comes ends it.
async fn gone(reader: &mut Reader) -> Left {
    match reader.read::<serde_json::Value>().await {
        Ok(_) => Left::Person(LinkError::Io(std::io::ErrorKind::ConnectionAborted.into())),
        Err(error) => error.into(),
    }
}

/// Who asked to give a move up may have left before that was done, or could not be: the journal says what became of it.
async fn late_cancel(
    control: &Control,
    instance: &str,
    asked_unix_ms: u64,
    done: &Result<OperationNumber, Refused>,
) {
    let waited_ms = now_unix_ms().saturating_sub(asked_unix_ms);
    if asked_unix_ms == 0 || waited_ms < LATE_MS || !control.fleet.has(instance) {
        return;
    }
    let asked = format!("a cancel that was asked for {} before", millis(waited_ms));
    match done {
        Ok(operation) => {
            let what = format!("{asked} is carried out now: {operation} is being given up");
            control.keep_remark(instance, Some(*operation), what).await;
        }
        Err(refused) => {
            let what = format!("{asked} is refused now ({}): {}", refused.code, refused.message);
            control.keep_remark(instance, None, what).await;
        }
    }
}

/// Whether the instance could take a command now.
pub(crate) async fn check(control: &Control, instance: &str, command: Command) -> Result<(), Refused> {
    if !control.fleet.has(instance) {
        return Err(unknown_instance(control, instance));
    }
    let (sender, receiver) = oneshot::channel();
    control.tell(instance, Told::Check(command, sender)).await;
    let answer = receiver.await.unwrap_or(Err(Rejected::Ending));
    answer.map_err(|rejected| rejection(control, instance, rejected))
}
