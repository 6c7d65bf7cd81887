//! Drives the participant: what arrives is told to it, and what it asks for is done.
//!
//! All decisions on gate and operation are [`Participant`]'s. Here is what stands around it: which question an answer
//! belongs to, the threads that copy and load, the program's handlers.

mod acts;
mod answers;
mod calls;
mod handlers;

use super::Parts;
use crate::handoff::HandoffError;
use crate::handoff::source::Copy;
use crate::handoff::target::{Load, Loaded};
use crate::state::store::Staged;
use bytes::Bytes;
use handlers::{Ended, Failure, Renewal};
use paci::answer::{Answer, Verdict};
use paci::call::{Call, Outcome};
use paci::channel::ChannelToken;
use paci::finding::Blocked;
use paci::hello::{HelloResponse, Told};
use paci::instance::Standing;
use paci::invalid::Problem;
use paci::names::AnswerCode;
use paci::participant::{self, Act, Participant, Phase};
use paci::proof::Sealed;
use paci::size::Resize;
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
    /// A handler has ended, one way or the other: of which run of which question.
    Handled(Kind, u32, u32, Result<Ended, Failure>),
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
    Quote,
    Resize,
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
    /// What is asked, where one operation may ask several things of a kind: whether it is a dry run, and which size.
    size: Option<(bool, Resize)>,
    /// Which of these it is.
    run: u32,
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
    renewal: Renewal,
    /// The operation that drains the program, or has drained it, and that was not called off.
    drained: Option<u32>,
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
            renewal: Renewal::Done,
            drained: None,
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
            Event::Handled(kind, operation, run, ended) => self.handled(kind, operation, run, ended),
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
                Problem::Unknown { .. } => Answer::to(&upcall, Verdict::Unsupported),
                Problem::Missing
                | Problem::Zero
                | Problem::TooSmall { .. }
                | Problem::NoneOf { .. }
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
            Call::Serve(serve) => self.serve(&upcall, serve.incarnation),
            Call::Quote(_) => self.quote(&upcall),
            Call::Resize(resize) => self.resize(&upcall, resize),
        }
    }

    /// A higher number ends what a lower one had begun, unless that waits for `Resume`.
    fn leave_older(&mut self, operation: u32) {
        self.questions.clear();
        if self.drained.take().is_some()
            && let Some(hook) = self.parts.hooks.undrain.clone()
        {
            self.parts.program.spawn(async move { hook(()).await });
        }
        if let Phase::Preparing(of) | Phase::Draining(of) | Phase::Drained(of) = *self.participant.phase()
            && of < operation
        {
            let acts = self.participant.call(of, participant::Call::Abort);
            let acts = acts.into_iter().filter(|act| !matches!(act, Act::Answer(..))).collect();
            self.perform(Kind::Abort, acts);
        }
    }

    /// Remembers the question, so that its answer finds it; the next call of an operation ends the one before.
    fn ask(&mut self, kind: Kind, upcall: &Upcall) {
        let size = match &upcall.call {
            Some(Call::Resize(resize)) => Some((upcall.dry_run, *resize)),
            _ => None,
        };
        let same = self.questions.iter_mut().find(|question| question.kind == kind);
        match same {
            Some(question) if question.size == size => question.attempt = upcall.attempt,
            // Another question of the same kind, in the place of the one before.
            Some(question) => {
                let run = question.run.wrapping_add(1);
                *question =
                    Question { attempt: upcall.attempt, at_work: false, last: None, size, run, ..*question };
            }
            None => self.questions.push(Question {
                kind,
                operation: upcall.operation,
                attempt: upcall.attempt,
                at_work: false,
                last: None,
                size,
                run: 0,
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

    /// What the next Hello tells, and whether an operation is under way.
    fn publish(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.incarnation = self.participant.incarnation();
        told.operation = self.seen;
        told.sealed = self.participant.is_sealed();
        drop(told);
        let under_way = match self.participant.phase() {
            Phase::New | Phase::Serving | Phase::Staging(None) | Phase::Outdated => false,
            Phase::Draining(_)
            | Phase::Drained(_)
            | Phase::Preparing(_)
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
        Call::Quote(_) => Kind::Quote,
        Call::Resize(_) => Kind::Resize,
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
        | HandoffError::Panicked
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

pub(super) fn ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn rounded_up(duration: Duration) -> u32 {
    ms(duration + Duration::from_nanos(999_999))
}
