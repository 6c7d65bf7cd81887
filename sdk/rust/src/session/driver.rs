//! Drives the participant: what arrives is told to it, and what it asks for is done.
//!
//! All decisions on gate and operation are [`Participant`]'s. Here is what stands around it: which question an answer
//! belongs to, the threads that copy and load, the program's handlers.

use super::hooks::{Draining, Resuming, Stopping};
use super::{Parts, QUEUE};
use crate::handoff::source::Copy;
use crate::handoff::target::{Load, Loaded};
use crate::handoff::{HandoffError, join, source, target};
use crate::state::store::Staged;
use bytes::Bytes;
use paci::answer::{Answer, Verdict};
use paci::bounds::{HEARTBEAT_MS, REFUSAL_MS_MAX};
use paci::call::{Call, Mode, Outcome, Prepare, Side};
use paci::channel::ChannelToken;
use paci::finding::{Blocked, CopyProgress, Finding, MoveEstimate};
use paci::hello::{HelloResponse, Told};
use paci::instance::Standing;
use paci::invalid::Problem;
use paci::names::AnswerCode;
use paci::participant::{self, Act, Participant, Phase};
use paci::proof::Sealed;
use paci::upcall::Upcall;
use paci::wire::Message;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Between two reports of a copy: the cloud seals by them, so they bound how soon it sees that the rest is small.
const REPORT: Duration = Duration::from_millis(25);

/// What happened.
pub(super) enum Event {
    /// The agent answered Hello.
    Welcome(HelloResponse),
    /// An upcall, as it came.
    Upcall(Bytes),
    /// The channel is joined.
    Joined(u32),
    /// The source's thread has ended.
    Copied(u32, Result<Sealed, HandoffError>),
    /// The target's thread has ended.
    Filled(u32, Result<Loaded, HandoffError>),
    /// All guards ended, or the wait did.
    Guards(u32, Result<(), Blocked>),
    /// A handler has ended.
    Handled(Kind, u32),
}

/// Which call a question is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Drain,
    Stop,
    Abort,
    Estimate,
    Prepare,
    Seal,
    Resume,
    Serve,
}

/// A question that was asked, and where its answer stands.
struct Question {
    kind: Kind,
    operation: u32,
    attempt: u32,
    /// It is being worked on: heartbeats are due.
    at_work: bool,
    /// What was said at last, to be said again.
    last: Option<Answer>,
}

pub(super) struct Driver {
    parts: Parts,
    events: mpsc::Sender<Event>,
    answers: mpsc::Sender<Answer>,
    told: Arc<Mutex<Told>>,
    participant: Participant,
    seen: u32,
    closed: u32,
    /// One a kind at most.
    questions: Vec<Question>,
    token: ChannelToken,
    guard_wait: Duration,
    joined: bool,
    copy: Option<(u32, Arc<Copy>)>,
    load: Option<(u32, Arc<Load>)>,
    staged: Option<(u32, Staged)>,
    blocked: Option<Blocked>,
    failure: Option<(u32, AnswerCode, String)>,
    /// The handler of `Resume` is at work: the answer waits for it.
    resuming: bool,
    /// What was loaded is installed, and its replies are to be found.
    has_loaded: bool,
}

impl Driver {
    pub(super) fn new(
        parts: Parts,
        events: mpsc::Sender<Event>,
        answers: mpsc::Sender<Answer>,
        told: Arc<Mutex<Told>>,
    ) -> Self {
        Self {
            parts,
            events,
            answers,
            told,
            participant: Participant::default(),
            seen: 0,
            closed: 0,
            questions: Vec::new(),
            token: ChannelToken::default(),
            guard_wait: Duration::ZERO,
            joined: false,
            copy: None,
            load: None,
            staged: None,
            blocked: None,
            failure: None,
            resuming: false,
            has_loaded: false,
        }
    }

    pub(super) async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        loop {
            let due = self.next_report();
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.take(event),
                    None => return,
                },
                () = sleep(due) => self.report(),
            }
            self.publish();
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Welcome(response) => self.welcome(&response),
            Event::Upcall(body) => self.upcall(&body),
            Event::Joined(operation) => {
                self.joined = true;
                let acts = self.participant.prepared(operation);
                self.perform(Kind::Prepare, acts);
            }
            Event::Copied(operation, Ok(sealed)) => match sealed.parse() {
                Ok((position, digest)) => {
                    let acts = self.participant.shipped(operation, participant::Sealed { position, digest });
                    self.perform(Kind::Seal, acts);
                }
                Err(error) => self.channel_failed(operation, AnswerCode::ChannelLost, &error.to_string()),
            },
            Event::Filled(operation, Ok(loaded)) => self.filled(operation, loaded),
            Event::Copied(_, Err(HandoffError::Forgotten))
            | Event::Filled(_, Err(HandoffError::Forgotten)) => {}
            Event::Copied(operation, Err(error)) | Event::Filled(operation, Err(error)) => {
                let (code, message) = told(&error);
                tracing::warn!(operation, %code, message, "the handoff failed");
                self.channel_failed(operation, code, &message);
            }
            Event::Guards(operation, Ok(())) => match (&self.failure, &self.copy) {
                // The copy has failed while the program served: there is nobody who could ship.
                (Some((of, code, message)), _) if *of == operation => {
                    let (code, message) = (*code, message.clone());
                    self.channel_failed(operation, code, &message);
                }
                (_, Some((of, copy))) if *of == operation => copy.ship(),
                _ => {}
            },
            Event::Guards(operation, Err(blocked)) => {
                self.blocked = Some(blocked);
                let acts = self.participant.blocked(operation);
                self.perform(Kind::Seal, acts);
            }
            Event::Handled(kind, operation) => self.handled(kind, operation),
        }
    }

    fn welcome(&mut self, response: &HelloResponse) {
        let Some(standing) = standing(response.standing) else { return };
        let incarnation = response.instance.incarnation;
        tracing::info!(%response.standing, incarnation, "the cloud knows this process");
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.start_id.clone_from(&response.instance.start_id);
            told.standing = response.standing;
        }
        if self.participant.incarnation() == 0 {
            self.parts.gate.name(incarnation);
        }
        let acts = self.participant.welcome(standing, incarnation);
        self.perform(Kind::Resume, acts);
    }

    fn upcall(&mut self, body: &[u8]) {
        let upcall = match Upcall::decode(body) {
            Ok(upcall) => upcall,
            Err(error) => {
                tracing::warn!(%error, "an upcall cannot be read");
                let Some((operation, attempt)) = numbers(body) else { return };
                let upcall = Upcall { operation, attempt, ..Upcall::default() };
                return self.say(
                    Answer::to(&upcall, Verdict::Failed)
                        .because(AnswerCode::Malformed)
                        .saying(&error.to_string()),
                );
            }
        };
        if let Err(invalid) = upcall.validate() {
            let answer = match invalid.problem {
                Problem::Unknown => Answer::to(&upcall, Verdict::Unsupported),
                Problem::Missing
                | Problem::TooLong { .. }
                | Problem::TooMany { .. }
                | Problem::TooBig { .. }
                | Problem::Malformed { .. }
                | Problem::OutOfPlace { .. } => {
                    Answer::to(&upcall, Verdict::Failed).because(AnswerCode::Malformed)
                }
            };
            return self.say(answer.saying(&invalid.to_string()));
        }
        let Some(call) = upcall.call.clone() else {
            return self.say(Answer::to(&upcall, Verdict::Unsupported));
        };
        if upcall.operation < self.seen {
            return self.say(closed(&upcall));
        }
        if upcall.operation > self.seen {
            self.leave_older(upcall.operation);
        }
        self.seen = upcall.operation;
        let kind = kind_of(&call);
        self.ask(kind, &upcall);
        match call {
            Call::Drain(drain) => self.drain(&upcall, drain.reversible),
            Call::Stop(stop) => self.stop(&upcall, Duration::from_millis(u64::from(stop.grace_ms))),
            Call::Abort(_) => self.abort(&upcall),
            Call::Estimate(_) => self.told_to(kind, &upcall, participant::Call::Estimate),
            Call::Prepare(prepare) => self.prepare(&upcall, &prepare),
            Call::Seal(seal) => {
                self.guard_wait = Duration::from_millis(u64::from(seal.guard_wait_ms));
                self.told_to(kind, &upcall, participant::Call::Seal);
            }
            Call::Resume(resume) => {
                let outcome = match resume.outcome {
                    Outcome::Committed => participant::Outcome::Committed,
                    Outcome::RolledBack => participant::Outcome::RolledBack,
                    Outcome::Unspecified => return self.say(Answer::to(&upcall, Verdict::Unsupported)),
                };
                self.closed = self.closed.max(upcall.operation);
                self.resume(&upcall, resume.incarnation, outcome);
            }
            Call::Serve(serve) => {
                self.told_to(kind, &upcall, participant::Call::Serve { incarnation: serve.incarnation });
            }
        }
    }

    /// A higher number ends what a lower one had begun, unless that waits for `Resume`.
    fn leave_older(&mut self, operation: u32) {
        self.questions.clear();
        if let Phase::Preparing(of) = *self.participant.phase()
            && of < operation
        {
            let acts = self.participant.call(of, participant::Call::Abort);
            let acts = acts.into_iter().filter(|act| !matches!(act, Act::Answer(..))).collect();
            self.perform(Kind::Abort, acts);
        }
    }

    /// Remembers the question, so that its answer finds it; the next call of an operation ends the one before.
    fn ask(&mut self, kind: Kind, upcall: &Upcall) {
        let same = self.questions.iter_mut().find(|question| question.kind == kind);
        match same {
            Some(question) => question.attempt = upcall.attempt,
            None => self.questions.push(Question {
                kind,
                operation: upcall.operation,
                attempt: upcall.attempt,
                at_work: false,
                last: None,
            }),
        }
        if matches!(kind, Kind::Seal | Kind::Abort | Kind::Resume) {
            let before =
                |question: &&mut Question| matches!(question.kind, Kind::Prepare | Kind::Drain | Kind::Seal);
            for question in self.questions.iter_mut().filter(before).filter(|question| question.kind != kind)
            {
                question.at_work = false;
            }
        }
    }

    fn question(&mut self, kind: Kind, operation: u32) -> Option<&mut Question> {
        self.questions.iter_mut().find(|question| question.kind == kind && question.operation == operation)
    }

    /// Tells the participant, and answers as before if this was answered before.
    fn told_to(&mut self, kind: Kind, upcall: &Upcall, call: participant::Call) {
        let acts = self.participant.call(upcall.operation, call);
        let nothing_new = acts.iter().all(|act| matches!(act, Act::Answer(_, participant::Answer::Prepared)));
        let last = self.question(kind, upcall.operation).and_then(|question| question.last.clone());
        match last {
            Some(last) if nothing_new => self.say(Answer { attempt: upcall.attempt, ..last }),
            None if acts.is_empty() => self.say(Answer::to(upcall, Verdict::InProgress)),
            Some(_) | None => self.perform(kind, acts),
        }
        if kind == Kind::Seal
            && self.participant.is_sealed()
            && let Some(question) = self.question(kind, upcall.operation)
        {
            question.at_work = question.last.is_none();
        }
    }

    fn prepare(&mut self, upcall: &Upcall, prepare: &Prepare) {
        if !self.parts.has_state {
            return self
                .say(Answer::to(upcall, Verdict::Unsupported).saying("the program has no containers"));
        }
        let side = match prepare.side {
            Side::Source => participant::Side::Source,
            Side::Target => participant::Side::Target,
            Side::Unspecified => return self.say(Answer::to(upcall, Verdict::Unsupported)),
        };
        let own = &self.parts.schema;
        if let (participant::Side::Target, Some(schema)) = (side, &prepare.schema)
            && (schema.name != own.name || schema.version > own.version)
        {
            let message = format!(
                "the source has {} {}, this program reads {} up to {}",
                schema.name, schema.version, own.name, own.version
            );
            let refusal = Answer::to(upcall, Verdict::Refuse).because(AnswerCode::SchemaUnknown);
            return self.say(refusal.saying(&message));
        }
        self.token.clone_from(&prepare.channel_token);
        self.told_to(Kind::Prepare, upcall, participant::Call::Prepare(side));
    }

    fn resume(&mut self, upcall: &Upcall, incarnation: u32, outcome: participant::Outcome) {
        let was_loaded = matches!(self.participant.phase(), Phase::Loaded(..));
        let call = participant::Call::Resume { incarnation, outcome };
        let acts = self.participant.call(upcall.operation, call);
        let operation = upcall.operation;
        if was_loaded && *self.participant.phase() == Phase::Resumed(operation) {
            self.load = None;
            if let Some((_, staged)) = self.staged.take() {
                let position = staged.position;
                self.parts.store.install(staged);
                self.parts.replies.installed(position);
            }
            self.parts.gate.expect(incarnation);
            self.has_loaded = true;
            if let Some(hook) = self.parts.hooks.resume.clone() {
                self.resuming = true;
                self.work(Kind::Resume, operation, move || hook(Resuming { incarnation }));
            }
        }
        if self.resuming {
            self.say(Answer::to(upcall, Verdict::InProgress));
        } else {
            self.perform(Kind::Resume, acts);
        }
    }

    fn abort(&mut self, upcall: &Upcall) {
        let acts = self.participant.call(upcall.operation, participant::Call::Abort);
        if !self.participant.is_sealed() && !matches!(self.participant.phase(), Phase::Resumed(_)) {
            self.closed = self.closed.max(upcall.operation);
            if let Some((_, load)) = self.load.take() {
                load.forget();
            }
            self.staged = None;
        }
        self.perform(Kind::Abort, acts);
    }

    fn drain(&mut self, upcall: &Upcall, reversible: bool) {
        if upcall.operation <= self.closed {
            return self.say(closed(upcall));
        }
        let Some(hook) = self.parts.hooks.drain.clone() else {
            return self.say(Answer::to(upcall, Verdict::Unsupported));
        };
        if !self.answered_before(Kind::Drain, upcall) {
            self.say(Answer::to(upcall, Verdict::InProgress).with(Finding::InFlight(self.in_flight())));
            self.work(Kind::Drain, upcall.operation, move || hook(Draining { reversible }));
        }
    }

    fn stop(&mut self, upcall: &Upcall, grace: Duration) {
        let is_left = *self.participant.phase() == Phase::Outdated;
        if upcall.operation <= self.closed && !is_left {
            return self.say(closed(upcall));
        }
        let Some(hook) = self.parts.hooks.stop.clone() else {
            return self.say(Answer::to(upcall, Verdict::Unsupported));
        };
        if !self.answered_before(Kind::Stop, upcall) {
            self.say(Answer::to(upcall, Verdict::InProgress));
            self.work(Kind::Stop, upcall.operation, move || hook(Stopping { grace }));
        }
    }

    /// Answers a question that is being worked on or was answered. Whether it is one.
    fn answered_before(&mut self, kind: Kind, upcall: &Upcall) -> bool {
        let in_flight = self.in_flight();
        let Some(question) = self.question(kind, upcall.operation) else { return false };
        let answer = match &question.last {
            Some(last) => Answer { attempt: upcall.attempt, ..last.clone() },
            None if question.at_work && kind == Kind::Drain => {
                Answer::to(upcall, Verdict::InProgress).with(Finding::InFlight(in_flight))
            }
            None if question.at_work => Answer::to(upcall, Verdict::InProgress),
            None => return false,
        };
        self.say(answer);
        true
    }

    /// Runs a handler where the program runs.
    fn work<F>(&mut self, kind: Kind, operation: u32, work: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Some(question) = self.question(kind, operation) {
            question.at_work = true;
        }
        let events = self.events.clone();
        let program = self.parts.program.clone();
        tokio::spawn(async move {
            // A handler that panics has ended too.
            if let Err(error) = program.spawn(async move { work().await }).await {
                tracing::error!(%error, "a handler failed");
            }
            let _session_ended = events.send(Event::Handled(kind, operation)).await;
        });
    }

    fn handled(&mut self, kind: Kind, operation: u32) {
        if kind == Kind::Resume {
            self.resuming = false;
        }
        let in_flight = self.in_flight();
        let Some(question) = self.question(kind, operation).filter(|question| question.at_work) else {
            return;
        };
        question.at_work = false;
        let done = Answer {
            operation,
            attempt: question.attempt,
            verdict: Verdict::Done,
            result: (kind == Kind::Drain).then_some(Finding::InFlight(in_flight)),
            ..Answer::default()
        };
        question.last = Some(done.clone());
        self.say(done);
    }

    fn filled(&mut self, operation: u32, loaded: Loaded) {
        let (position, stated) = match loaded.stated.parse() {
            Ok(stated) => (loaded.staged.position, stated),
            Err(error) => return self.channel_failed(operation, AnswerCode::ChannelLost, &error.to_string()),
        };
        let held = participant::Sealed { position, digest: loaded.digest.to_be_bytes().to_vec() };
        let stated = participant::Sealed { position: stated.0, digest: stated.1 };
        let acts = self.participant.loaded(operation, held, stated);
        if matches!(self.participant.phase(), Phase::Loaded(of, ..) if *of == operation) {
            self.staged = Some((operation, loaded.staged));
        }
        self.perform(Kind::Prepare, acts);
    }

    fn channel_failed(&mut self, operation: u32, code: AnswerCode, message: &str) {
        self.failure = Some((operation, code, message.to_owned()));
        let kind = if self.participant.is_sealed() { Kind::Seal } else { Kind::Prepare };
        let acts = self.participant.channel_failed(operation);
        self.perform(kind, acts);
    }

    /// Does what the participant asks for. `kind` is the call that its answer belongs to.
    fn perform(&mut self, kind: Kind, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Answer(operation, answer) => self.answer(kind, operation, answer),
                Act::Open(incarnation) => {
                    self.parts.gate.open(incarnation);
                    // Not before: it takes a while, and nobody waits for it.
                    if std::mem::take(&mut self.has_loaded) {
                        let replies = self.parts.replies.clone();
                        self.parts.program.spawn_blocking(move || replies.find_loaded());
                    }
                }
                Act::Close => self.parts.gate.close(),
                Act::Copy(operation) => self.start_copy(operation),
                Act::Ship(operation) => self.wait_for_guards(operation),
                Act::Load(operation) => self.start_load(operation),
                Act::Forget(_) => {
                    // Its thread ends the copy: a later one waits for that.
                    if let Some((_, copy)) = self.copy.take() {
                        copy.forget();
                    }
                }
            }
        }
    }

    fn start_copy(&mut self, operation: u32) {
        let copy = Arc::new(Copy::default());
        self.copy = Some((operation, copy.clone()));
        self.joined = false;
        let (path, token) = (self.parts.endpoint.channel(), self.token.clone());
        let (store, events) = (self.parts.store.clone(), self.events.clone());
        self.thread("paci-copy", operation, move || {
            let _only_copy = store.only_copy();
            let copied = join::join(&path, &token).and_then(|stream| {
                let _session_ended = events.blocking_send(Event::Joined(operation));
                source::run(stream, &store, &copy)
            });
            let is_sealed = copied.is_ok();
            let _session_ended = events.blocking_send(Event::Copied(operation, copied));
            if is_sealed {
                copy.forgotten();
                store.end_copy();
            }
        });
    }

    fn start_load(&mut self, operation: u32) {
        let load = Arc::new(Load::default());
        self.load = Some((operation, load.clone()));
        self.joined = false;
        let (path, token) = (self.parts.endpoint.channel(), self.token.clone());
        let (store, events) = (self.parts.store.clone(), self.events.clone());
        self.thread("paci-load", operation, move || {
            let filled = join::join(&path, &token).and_then(|stream| {
                let _session_ended = events.blocking_send(Event::Joined(operation));
                target::run(stream, &store, &load)
            });
            let _session_ended = events.blocking_send(Event::Filled(operation, filled));
        });
    }

    fn thread(&mut self, name: &str, operation: u32, work: impl FnOnce() + Send + 'static) {
        if let Err(error) = std::thread::Builder::new().name(name.to_owned()).spawn(work) {
            self.channel_failed(operation, AnswerCode::NoRoom, &format!("no thread: {error}"));
        }
    }

    fn wait_for_guards(&mut self, operation: u32) {
        let (gate, events, wait) = (self.parts.gate.clone(), self.events.clone(), self.guard_wait);
        tokio::spawn(async move {
            let ended = tokio::time::timeout(wait, gate.ended()).await;
            let ended = ended.map_err(|_| match gate.oldest() {
                Some(oldest) => Blocked { route: oldest.route.to_string(), held_ms: ms(oldest.held) },
                None => Blocked { route: "a guard that has just ended".to_owned(), held_ms: ms(wait) },
            });
            let _session_ended = events.send(Event::Guards(operation, ended)).await;
        });
    }

    /// Says what the participant answers, in the words of the contract.
    fn answer(&mut self, kind: Kind, operation: u32, answer: participant::Answer) {
        let Some(attempt) = self.question(kind, operation).map(|question| question.attempt) else { return };
        let to = |verdict| Answer { operation, attempt, verdict, ..Answer::default() };
        let said = match answer {
            participant::Answer::Estimated => self.estimate(to(Verdict::Done)),
            participant::Answer::Prepared => {
                to(Verdict::InProgress).with(Finding::Copy(self.progress().unwrap_or_default()))
            }
            participant::Answer::Sealed(sealed) => {
                to(Verdict::Done).with(Finding::Sealed(Sealed::new(sealed.position, &sealed.digest)))
            }
            participant::Answer::Blocked => {
                let blocked = self.blocked.clone().unwrap_or_default();
                to(Verdict::Failed).because(AnswerCode::SealBlocked).with(Finding::Blocked(blocked))
            }
            participant::Answer::Loaded { held, stated } => {
                let (held, stated) =
                    ((held.position, &held.digest[..]), (stated.position, &stated.digest[..]));
                to(Verdict::Done).with(Finding::Loaded(paci::finding::Loaded::new(held, stated)))
            }
            participant::Answer::Resumed | participant::Answer::Serving | participant::Answer::Aborted => {
                to(Verdict::Done)
            }
            participant::Answer::OperationClosed => to(Verdict::Refuse).because(AnswerCode::OperationClosed),
            participant::Answer::Failed => match &self.failure {
                Some((of, code, message))
                    if *of == operation && matches!(kind, Kind::Prepare | Kind::Seal) =>
                {
                    to(Verdict::Failed).because(*code).saying(message)
                }
                Some(_) | None => to(Verdict::Failed).because(AnswerCode::WrongPhase),
            },
        };
        if let Some(question) = self.question(kind, operation) {
            question.at_work = said.verdict == Verdict::InProgress;
            question.last = said.is_final().then(|| said.clone());
        }
        self.say(said);
    }

    fn estimate(&self, answer: Answer) -> Answer {
        let mode = if self.parts.has_state { Mode::Handoff } else { Mode::Restart };
        let kib = u32::try_from(self.parts.store.held().bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let estimate = MoveEstimate {
            state_kib: Some(kib),
            modes: vec![mode],
            schema: self.parts.has_state.then(|| self.parts.schema.clone()),
            ..MoveEstimate::default()
        };
        let completed = match &self.parts.hooks.estimate {
            Some(hook) => {
                let _program = self.parts.program.enter();
                hook(estimate)
            }
            None => Ok(estimate),
        };
        match completed {
            Ok(estimate) => answer.with(Finding::Estimate(estimate)),
            Err(later) => {
                let retry_after_ms = ms(later.retry_after).clamp(1, REFUSAL_MS_MAX);
                Answer { verdict: Verdict::Defer, retry_after_ms, ..answer }.saying(&later.reason)
            }
        }
    }

    fn progress(&self) -> Option<CopyProgress> {
        let kib = |bytes: u64| u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
        if let Some((_, copy)) = &self.copy {
            let known = CopyProgress { staged: self.joined, ..CopyProgress::default() };
            let Some(progress) = copy.progress() else { return Some(known) };
            return Some(CopyProgress {
                sent_kib: kib(progress.sent_bytes),
                remaining_records: u32::try_from(progress.remaining_records).ok(),
                predicted_pause_ms: self.joined.then_some(progress.pause).map(rounded_up),
                ..known
            });
        }
        let (_, load) = self.load.as_ref()?;
        Some(CopyProgress { sent_kib: kib(load.bytes()), staged: self.joined, ..CopyProgress::default() })
    }

    /// When something is due to be said although nothing happened.
    fn next_report(&self) -> Option<Duration> {
        let at_work = self.questions.iter().filter(|question| question.at_work);
        let due = at_work.map(|question| match question.kind {
            Kind::Prepare if self.copy.is_some() && self.joined => REPORT,
            Kind::Drain
            | Kind::Stop
            | Kind::Abort
            | Kind::Estimate
            | Kind::Prepare
            | Kind::Seal
            | Kind::Resume
            | Kind::Serve => Duration::from_millis(u64::from(HEARTBEAT_MS / 3)),
        });
        due.min()
    }

    fn report(&mut self) {
        let (progress, in_flight) = (self.progress(), self.in_flight());
        let at_work = self.questions.iter().filter(|question| question.at_work);
        let said = at_work.map(|question| {
            let answer = Answer {
                operation: question.operation,
                attempt: question.attempt,
                verdict: Verdict::InProgress,
                ..Answer::default()
            };
            match (question.kind, &progress) {
                (Kind::Prepare, Some(progress)) => answer.with(Finding::Copy(progress.clone())),
                (Kind::Drain, _) => answer.with(Finding::InFlight(in_flight)),
                _ => answer,
            }
        });
        for answer in said.collect::<Vec<_>>() {
            self.say(answer);
        }
    }

    fn say(&self, answer: Answer) {
        tracing::debug!(answer.operation, answer.attempt, %answer.verdict, answer.code, "says");
        if self.answers.try_send(answer).is_err() {
            tracing::warn!(waiting = QUEUE, "the agent takes no answers; one is dropped, it will ask again");
        }
    }

    fn in_flight(&self) -> u32 {
        u32::try_from(self.parts.gate.held()).unwrap_or(u32::MAX)
    }

    /// What the next Hello tells, and whether an operation is under way.
    fn publish(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.incarnation = self.participant.incarnation();
        told.operation = self.seen;
        told.sealed = self.participant.is_sealed();
        drop(told);
        let under_way = match self.participant.phase() {
            Phase::New | Phase::Serving | Phase::Staging(None) | Phase::Outdated => false,
            Phase::Preparing(_)
            | Phase::Sealing(_)
            | Phase::Blocked(_)
            | Phase::Sealed(..)
            | Phase::Staging(Some(_))
            | Phase::Spoilt(_)
            | Phase::Loaded(..)
            | Phase::Resumed(_) => true,
        };
        self.parts.operation.send_if_modified(|of| std::mem::replace(of, under_way) != under_way);
    }
}

async fn sleep(due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep(due).await,
        None => std::future::pending().await,
    }
}

fn kind_of(call: &Call) -> Kind {
    match call {
        Call::Drain(_) => Kind::Drain,
        Call::Stop(_) => Kind::Stop,
        Call::Abort(_) => Kind::Abort,
        Call::Estimate(_) => Kind::Estimate,
        Call::Prepare(_) => Kind::Prepare,
        Call::Seal(_) => Kind::Seal,
        Call::Resume(_) => Kind::Resume,
        Call::Serve(_) => Kind::Serve,
    }
}

fn standing(standing: Standing) -> Option<participant::Standing> {
    match standing {
        Standing::Owner => Some(participant::Standing::Owner),
        Standing::Staging => Some(participant::Standing::Staging),
        Standing::Outdated => Some(participant::Standing::Outdated),
        Standing::Undecided => Some(participant::Standing::Undecided),
        Standing::Unspecified => None,
    }
}

fn closed(upcall: &Upcall) -> Answer {
    Answer::to(upcall, Verdict::Refuse).because(AnswerCode::OperationClosed)
}

/// Which code and message say why a handoff failed.
fn told(error: &HandoffError) -> (AnswerCode, String) {
    let code = match error {
        HandoffError::Join(_) | HandoffError::Token(_) | HandoffError::Dial(_) => AnswerCode::ChannelRefused,
        HandoffError::ContainerUnknown(_) => AnswerCode::SchemaUnknown,
        HandoffError::Broken(_)
        | HandoffError::Frame(_)
        | HandoffError::Encode(_)
        | HandoffError::Items(_)
        | HandoffError::Forgotten => AnswerCode::ChannelLost,
    };
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    (code, format!("{error}{}", cause.unwrap_or_default()))
}

/// Operation and attempt of an upcall that cannot be read otherwise.
fn numbers(body: &[u8]) -> Option<(u32, u32)> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let number = |name: &str| value.get(name)?.as_u64().and_then(|number| u32::try_from(number).ok());
    Some((number("operation")?, number("attempt")?))
}

fn ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn rounded_up(duration: Duration) -> u32 {
    ms(duration + Duration::from_nanos(999_999))
}
