//! What applications say and are told.

use super::{Node, Start, now_unix_ms};
use crate::answers::{self, Why};
use crate::doors::{Reply, Said};
use crate::holds::now_boot_ms;
use crate::leases::{Answered, Leases};
use crate::session::Session;
use crate::upcalls::Taken;
use paci::answer::Answer;
use paci::ask::Wish;
use paci::call;
use paci::channel::ChannelToken;
use paci::error::{ErrorBody, ErrorCode};
use paci::hello::{HelloRequest, HelloResponse};
use paci::instance::{DescribeResponse, Instance, Limits};
use paci::names;
use paci::participant::{self, Call, Side};
use paci::state::{Ack, State, StateChange};
use paci::wire::Message;
use paracloud_core::ids::{Incarnation, OperationNumber, StartId};
use paracloud_core::migration::agent::{FromApp, ToApp};
use paracloud_core::migration::duty;
use paracloud_core::migration::message::Offer;
use paracloud_core::register::Mode;
use paracloud_substrate::config::Work;
use paracloud_substrate::figures::millis;
use paracloud_substrate::message::{FromAgentLine, HeldOp, Hold, Note, Unasked};
use tokio::sync::oneshot;

/// How long a `Hello` waits for the register's word before it is answered `UNDECIDED`, in milliseconds.
const HELLO_MS_MAX: u64 = 3_000;

impl Node {
    /// An application says something.
    pub(super) fn said(&mut self, id: StartId, said: Said, reply: oneshot::Sender<Reply>) {
        let answered = match said {
            Said::Hello(hello) => return self.hello(id, &hello, reply),
            Said::Next(see) => {
                self.next(id, reply);
                let _ = see.send(());
                return;
            }
            Said::Report(report) => {
                self.advises(id, names::REPORT, |leases, now_ms| Ok(leases.report(report, now_ms).write()))
            }
            Said::Announce(request) => {
                let work = self.work(id);
                self.advises(id, names::ANNOUNCE, |leases, now_ms| {
                    leases.announce(request, work, now_ms).map(|answer| answer.write())
                })
            }
            Said::Ask(request) => {
                self.advises(id, names::ASK, |leases, now_ms| Ok(leases.ask(request, now_ms).write()))
            }
            Said::Describe => self.describe(id),
            Said::SetState(change) => self.set_state(id, &change),
            Said::Hold(request) => match self.pausing(id) {
                Some((start, pauses)) => {
                    let put = start.session.holds.put(request, now_boot_ms());
                    start.session.keep_soon(pauses);
                    self.tell_holds(id);
                    put.map(|granted| Some(granted.write()))
                }
                None => Err(gone()),
            },
            Said::Answer(answer) => self.answered(id, &answer),
        };
        let _ = reply.send(answered);
    }

    /// Where the work of a process's app comes from.
    fn work(&self, id: StartId) -> Work {
        let instance = self.starts.get(&id).and_then(|start| self.instances.get(&start.instance));
        instance.and_then(|instance| instance.app.scale).unwrap_or_default().work
    }

    /// A process says something of itself for a time, which it has to claim that it may.
    fn advises(
        &mut self,
        id: StartId,
        capability: &str,
        say: impl FnOnce(&mut Leases, u64) -> Result<Vec<u8>, ErrorBody>,
    ) -> Reply {
        let now_ms = self.now_ms();
        let start = self.starts.get_mut(&id).ok_or_else(gone)?;
        may_say(&start.session, capability)?;
        let said = say(&mut start.session.leases, now_ms);
        self.tell_news(id);
        said.map(Some)
    }

    /// The controller says what became of what a process asks for.
    pub(super) fn became(&mut self, id: StartId, wish: &Wish, answered: Answered) {
        let now_ms = self.now_ms();
        if let Some(start) = self.starts.get_mut(&id) {
            start.session.leases.became(wish, answered, now_ms);
            self.tell_news(id);
        }
    }

    /// Tells the controller what has changed of what a process says of itself, if that is due.
    pub(super) fn tell_news(&mut self, id: StartId) {
        let now_ms = self.now_ms();
        let Some(start) = self.starts.get_mut(&id) else { return };
        if !start.may_come_to_live() {
            start.session.leases.end();
        }
        let (name, news) = (start.instance.clone(), start.session.leases.news(now_ms));
        if let Some(advice) = news {
            self.say(FromAgentLine::Advice { instance: name, start: id, advice: Box::new(advice) });
        }
    }

    /// Tells a controller that has heard nothing yet what a process says of itself, if it has ever said anything.
    pub(super) fn tell_advice(&mut self, id: StartId) {
        let now_ms = self.now_ms();
        let Some(start) = self.starts.get_mut(&id).filter(|start| !start.session.leases.is_silent()) else {
            return;
        };
        let (name, advice) = (start.instance.clone(), start.session.leases.tell(now_ms));
        self.say(FromAgentLine::Advice { instance: name, start: id, advice: Box::new(advice) });
    }

    /// Tells the controller what a process asks to be left alone from.
    pub(super) fn tell_holds(&mut self, id: StartId) {
        let now_unix_ms = now_unix_ms();
        for op in HeldOp::ALL {
            let Some(start) = self.starts.get(&id) else { return };
            let lives = start.may_come_to_live();
            let held = lives.then(|| start.session.holds.against(op.name(), now_boot_ms())).flatten();
            let until = |remaining_ms: u32| now_unix_ms + u64::from(remaining_ms);
            let hold = held.map(|(remaining_ms, reason)| Hold { until_unix_ms: until(remaining_ms), reason });
            self.say(FromAgentLine::Held { instance: start.instance.clone(), start: id, op, hold });
        }
    }

    fn hello(&mut self, id: StartId, hello: &HelloRequest, reply: oneshot::Sender<Reply>) {
        let now_ms = self.now_ms();
        let Some((start, pauses)) = self.pausing(id) else {
            let _ = reply.send(Err(gone()));
            return;
        };
        let session = &mut start.session;
        let Some(version) = hello.common_version(&[names::VERSION]) else {
            let what = format!("this agent speaks {}", names::VERSION);
            let _ = reply.send(Err(ErrorBody::new(ErrorCode::VersionUnsupported, &what)));
            return;
        };
        session.version = version.to_owned();
        let known: Vec<_> = names::CAPABILITIES.iter().map(|capability| capability.name).collect();
        session.capabilities = hello.common_capabilities(&known);
        let is_new = !session.aware;
        let ready_by_probe = is_new && session.state.is_none();
        (session.aware, session.greeted) = (true, true);
        session.reopen(now_ms);
        // That it speaks at all is known to the next agent at once: its probe is believed no longer.
        session.keep_soon(pauses && !is_new);
        if let Some((older, _)) = session.hello.replace((reply, now_ms + HELLO_MS_MAX)) {
            let _ = older.send(Err(ErrorBody::new(ErrorCode::Unavailable, "a newer Hello came")));
        }
        if ready_by_probe {
            session.leases.speaks();
            self.input(id, FromApp::Ready(false));
        }
        self.input(id, FromApp::Hello);
        self.ask_to_resize_anew(id);
    }

    fn next(&mut self, id: StartId, reply: oneshot::Sender<Reply>) {
        match self.starts.get_mut(&id) {
            Some(start) if start.session.greeted => {
                start.session.poll(reply);
                self.deliver(id);
            }
            Some(_) => drop(reply.send(Err(hello_first()))),
            None => drop(reply.send(Err(gone()))),
        }
    }

    fn describe(&self, id: StartId) -> Reply {
        let start = self.starts.get(&id).ok_or_else(gone)?;
        let record = self.instances.get(&start.instance).and_then(|it| it.machine.machine().record());
        let standing = record.filter(|record| record.names(id)).map(|record| duty::standing(record, id));
        let standing = standing.unwrap_or(participant::Standing::Undecided);
        let incarnation =
            record.filter(|record| record.names(id)).map_or(Incarnation(0), |it| it.incarnation);
        let instance = self.identity(id, incarnation).ok_or_else(gone)?;
        Ok(Some(DescribeResponse { instance, standing: answers::standing(standing) }.write()))
    }

    fn set_state(&mut self, id: StartId, change: &StateChange) -> Reply {
        let now_ms = self.now_ms();
        let start = self.starts.get_mut(&id).ok_or_else(gone)?;
        let needed = match change.state {
            State::Pausing => Some(names::PAUSING),
            State::Cold => Some(names::COLD),
            State::Unspecified | State::Ready | State::NotReady | State::Stopping | State::Draining => None,
        };
        if let Some(capability) = needed {
            may_say(&start.session, capability)?;
        }
        start.session.leases.state(change, now_ms);
        self.tell_news(id);
        // A pause is over by itself, and then it is as before.
        if change.state == State::Pausing {
            return Ok(Some(Ack {}.write()));
        }
        let start = self.starts.get_mut(&id).ok_or_else(gone)?;
        start.session.state_message.clone_from(&change.message);
        // It answers requests; how able it is to is not kept.
        let is_ready = matches!(change.state, State::Ready | State::Cold);
        let state = if is_ready { State::Ready } else { change.state };
        if start.session.state != Some(state) {
            let before = start.session.state.replace(state);
            // A target says so in the pause. It says it again to the next agent.
            start.session.keep_soon(true);
            // It keeps its place all the same: people should know.
            if before == Some(State::Ready) {
                let name = start.instance.clone();
                let own =
                    if change.message.is_empty() { String::new() } else { format!(": {}", change.message) };
                self.note(&name, None, Note::Reason(format!("it was ready, and is {}{own}", change.state)));
            }
        }
        self.input(id, FromApp::Ready(is_ready));
        Ok(Some(Ack {}.write()))
    }

    fn answered(&mut self, id: StartId, answer: &Answer) -> Reply {
        let now_ms = self.now_ms();
        let operation = OperationNumber(answer.operation);
        let name = self.starts.get(&id).ok_or_else(gone)?.instance.clone();
        let over = self.is_over(&name, operation);
        let start = self.starts.get_mut(&id).ok_or_else(gone)?;
        if !start.session.greeted {
            return Err(hello_first());
        }
        let taken = match start.session.desk.answer(answer, over, now_ms) {
            Ok(taken) => taken,
            Err(error) => {
                if error.code == ErrorCode::AnswerDiffers {
                    let what = format!("operation {}: {}", answer.operation, error.message);
                    if let Some(what) = start.session.breaches.take(what) {
                        self.note(&name, Some(operation), Note::Breach { start: id, what });
                    }
                }
                return Err(error);
            }
        };
        if taken == Taken::Counts {
            self.counts(&name, id, operation, answer);
        }
        Ok(Some(Ack {}.write()))
    }

    /// An answer that counts.
    fn counts(&mut self, name: &str, id: StartId, operation: OperationNumber, answer: &Answer) {
        let Some(start) = self.starts.get_mut(&id) else { return };
        let Some(upcall) = start.session.desk.question().cloned() else { return };
        let Some(call) = &upcall.call else { return };
        if upcall.dry_run {
            return self.answered_ahead(id, answer);
        }
        if let call::Call::Stop(_) = call {
            return self.stop_answered(name, id, operation, answer);
        }
        if let call::Call::Resize(_) = call {
            return self.resize_answered(id, operation, answer);
        }
        let heard = answers::hear(id, operation, call, start.session.mode, answer, start.session.staged);
        for input in &heard.inputs {
            match input {
                FromApp::Offer(operation, offer) => {
                    start.session.offer = Some((*operation, *offer));
                    start.session.estimate = None;
                }
                FromApp::Answer(_, participant::Answer::Prepared) => start.session.staged = true,
                FromApp::Answer(_, participant::Answer::Resumed) => {
                    // It serves again, or for the first time: nothing is sealed any more.
                    start.process.unseal();
                }
                FromApp::Hello | FromApp::Ready(_) | FromApp::Progress(..) | FromApp::Answer(..) => {}
            }
        }
        for note in heard.notes {
            if let (Note::Estimate(estimate), Some(start)) = (&note, self.starts.get_mut(&id)) {
                start.session.estimate = Some(estimate.clone());
            }
            self.note(name, Some(operation), answers::with_schema(call, note));
        }
        for input in heard.inputs {
            self.input(id, input);
        }
    }

    /// The machine tells a process something.
    pub(super) fn tell_application(&mut self, name: &str, id: StartId, message: ToApp) {
        match message {
            ToApp::Welcome(standing, incarnation) => self.welcome(id, standing, incarnation),
            ToApp::Call(operation, call) => self.call(name, id, operation, call),
        }
    }

    fn welcome(&mut self, id: StartId, standing: participant::Standing, incarnation: Incarnation) {
        let instance = self.identity(id, incarnation);
        let Some(start) = self.starts.get_mut(&id) else { return };
        let Some((reply, _)) = start.session.hello.take() else { return };
        let answer = instance.map(|instance| HelloResponse {
            version: start.session.version.clone(),
            capabilities: start.session.capabilities.clone(),
            instance,
            standing: answers::standing(standing),
            limits: Limits::of_the_contract(),
        });
        let _ = reply.send(answer.map(|answer| Some(answer.write())).ok_or_else(gone));
    }

    fn identity(&self, id: StartId, incarnation: Incarnation) -> Option<Instance> {
        let start = self.starts.get(&id)?;
        Some(Instance {
            app: self.instances.get(&start.instance)?.app.name.clone(),
            id: start.instance.clone(),
            start_id: id.to_string(),
            incarnation: incarnation.0,
            node: self.node.name.clone(),
            substrate: "local".to_owned(),
        })
    }

    fn call(&mut self, name: &str, id: StartId, operation: OperationNumber, call: Call) {
        // That it is to stop is the last word: the next call of the operation would take it back.
        if self.ending.is_some() {
            return;
        }
        let mode = self.mode_of(name, operation);
        let Some(instance) = self.instances.get(name) else { return };
        let budgets = instance.app.budgets;
        let leaves = instance.leave().is_some_and(|(number, _)| number == operation);
        let drain_ms = instance.app.scale.unwrap_or_default().drain_ms;
        let now_ms = self.now_ms();
        let Some(start) = self.starts.get_mut(&id) else { return };
        if let Some(ahead) = start.session.asked_ahead.take() {
            self.unasked(&ahead, Unasked::Busy);
        }
        let Some(start) = self.starts.get_mut(&id) else { return };
        start.session.mode = mode;
        let mut token = ChannelToken::default();
        match call {
            Call::Estimate => {
                if let Some((offer, reason)) = self.offer_unasked(name, id, mode) {
                    if let Some(reason) = reason {
                        self.note(name, Some(operation), answers::remark(reason));
                    }
                    return self.offered(id, operation, offer);
                }
            }
            Call::Prepare(_) if !start.session.can(names::MOVE_HANDOFF) => {
                let message = format!("it does not claim the capability {}", names::MOVE_HANDOFF);
                let note = Note::Failure { start: id, code: "UNSUPPORTED".to_owned(), message };
                self.note(name, Some(operation), note);
                return self.input(id, FromApp::Answer(operation, participant::Answer::Failed));
            }
            Call::Prepare(side) => {
                if side == Side::Source
                    && let Err(error) = start.process.prepare_to_seal()
                {
                    tracing::debug!(%error, start = %id, "the seal will take longer");
                }
                token = self.tokens.issue(operation, id, side);
            }
            Call::Seal => {
                if let Err(error) = start.process.seal(operation) {
                    tracing::warn!(%error, start = %id, "not noted as sealed; it is not told to seal");
                    let message = format!("that it seals cannot be noted, so it is not told to: {error}");
                    let note = Note::Failure { start: id, code: "CANNOT_SEAL".to_owned(), message };
                    self.note(name, Some(operation), note);
                    // Clients wait: rather an end of the move at once than another try.
                    return self.input(id, FromApp::Answer(operation, participant::Answer::Failed));
                }
            }
            Call::Drain => {
                if let Some((remaining_ms, why)) = start.session.holds.against("drain", now_boot_ms()) {
                    let rest = millis(remaining_ms.into());
                    let remark = format!("it holds on to its place for another {rest}: {why}");
                    self.note(name, Some(operation), answers::remark(remark));
                    return self.input(id, FromApp::Offer(operation, Offer::Hold { remaining_ms }));
                }
                // Who cannot be called back is told nothing before it is stopped: only what gateways have there counts.
                if !start.session.can(names::DRAIN_REVERSIBLE) {
                    return self.input(id, FromApp::Answer(operation, participant::Answer::Drained));
                }
            }
            Call::Abort if leaves && !start.session.can(names::DRAIN_REVERSIBLE) => {
                return self.input(id, FromApp::Answer(operation, participant::Answer::Aborted));
            }
            Call::Resume { .. } | Call::Serve { .. } | Call::Abort => {}
        }
        let Some(instance) = self.instances.get(name) else { return };
        let (schema, ordered_ms) = (instance.terms.schema.clone(), instance.left_ms(now_ms));
        let told = instance.moving().filter(|(number, _)| *number == operation);
        let why = Why::call(instance.reason, told.map(|(_, operation)| operation), &call);
        if let Some(start) = self.starts.get_mut(&id) {
            let mut upcall = answers::upcall(operation, call, &token, schema.as_ref(), &budgets, why);
            if call == Call::Drain {
                upcall.budget_ms = drain_ms.min(ordered_ms).clamp(1, paci::bounds::DURATION_MS_MAX);
            }
            start.session.ask(upcall, now_ms);
        }
        self.deliver(id);
    }

    /// The offer of an application that need not or cannot be asked.
    fn offer_unasked(&self, name: &str, id: StartId, mode: Mode) -> Option<(Offer, Option<String>)> {
        let session = &self.starts.get(&id)?.session;
        let loss_accepted = self.instances.get(name).is_some_and(|instance| instance.terms.loss_accepted);
        if let Some((remaining_ms, why)) = session.holds.against("move", now_boot_ms()) {
            return Some((
                Offer::Hold { remaining_ms },
                Some(format!("it holds on to its place for another {}: {why}", millis(remaining_ms.into()))),
            ));
        }
        if mode == Mode::Handoff && !session.can(names::MOVE_HANDOFF) {
            let why = if session.aware {
                format!("it does not claim the capability {}", names::MOVE_HANDOFF)
            } else {
                "it does not speak PaCI, so it cannot hand its state over".to_owned()
            };
            return Some((Offer::Refuse, Some(why)));
        }
        if mode == Mode::Restart && loss_accepted {
            // A person has heard what the application says to a move, and consented to this one.
            return Some((Offer::Accept, None));
        }
        if mode == Mode::Restart && session.can(names::MOVE_HANDOFF) {
            let why = "it can hand its state over, and no person consented to losing it with this move";
            return Some((Offer::Refuse, Some(why.to_owned())));
        }
        (!session.can(names::MOVE_ESTIMATE)).then_some((Offer::Accept, None))
    }

    fn offered(&mut self, id: StartId, operation: OperationNumber, offer: Offer) {
        if let Some(start) = self.starts.get_mut(&id) {
            start.session.offer = Some((operation, offer));
            start.session.estimate = None;
        }
        self.input(id, FromApp::Offer(operation, offer));
        self.input(id, FromApp::Answer(operation, participant::Answer::Estimated));
    }

    /// The coordinator asks for an offer, perhaps again: repeats one that may have been lost.
    pub(super) fn repeat_offer(&mut self, name: &str, operation: OperationNumber, id: StartId) {
        let Some(start) = self.starts.get(&id) else { return };
        let Some((_, offer)) = start.session.offer.filter(|(of, _)| *of == operation) else { return };
        // The estimate may have been lost as well, and its schema is to be known before the target is asked.
        if let Some(estimate) = start.session.estimate.clone() {
            self.note(name, Some(operation), Note::Estimate(estimate));
        }
        self.input(id, FromApp::Offer(operation, offer));
    }

    fn mode_of(&self, name: &str, operation: OperationNumber) -> Mode {
        let told = self.instances.get(name).and_then(super::Instance::moving);
        // A mode that is not known is the one that loses nothing.
        told.filter(|(number, _)| *number == operation).map_or(Mode::Handoff, |(_, operation)| operation.mode)
    }

    /// A process, and whether clients may wait in a pause that it has a part in.
    fn pausing(&mut self, id: StartId) -> Option<(&mut Start, bool)> {
        let start = self.starts.get_mut(&id)?;
        let pauses = self.instances.get(&start.instance).is_some_and(|instance| instance.pauses(id));
        Some((start, pauses))
    }

    /// Hands a delivery that is due to the application.
    pub(super) fn deliver(&mut self, id: StartId) {
        let now_ms = self.now_ms();
        let Some((start, pauses)) = self.pausing(id) else { return };
        if start.session.deliver(now_ms, pauses) {
            self.tell_silence(id);
        }
    }

    /// Says that a process does not answer, if it is so: when it has become so, and on each link again, because what was
    /// said on another may not have been heard.
    pub(super) fn tell_silence(&mut self, id: StartId) {
        // Of the dead nothing is expected.
        let Some(start) = self.starts.get(&id).filter(|start| !start.is_dead()) else { return };
        let Some((operation, call)) = start.session.asked().filter(|_| start.session.desk.is_silent()) else {
            return;
        };
        let (name, call, at_work) =
            (start.instance.clone(), call.to_owned(), start.session.desk.is_at_work());
        self.note(&name, operation, Note::Unresponsive { start: id, call, at_work });
    }

    /// Tells people of something that breaks the contract and was refused. `answers`: it was an answer, so what was asked
    /// is still open, and may be answered rightly.
    pub(super) fn breached(&mut self, id: StartId, what: String, answers: bool) {
        let Some(start) = self.starts.get_mut(&id) else { return };
        if let Some(ahead) = start.session.asked_ahead.as_mut().filter(|_| answers) {
            ahead.refused = Some(what.clone());
        }
        let name = start.instance.clone();
        let asked = start.session.asked();
        let what = match asked {
            Some((_, call)) if answers => format!("its answer to {call} was refused: {what}"),
            Some(_) | None => what,
        };
        if answers {
            self.resize_misanswered(id, &what);
        }
        self.note(&name, asked.and_then(|(operation, _)| operation), Note::Breach { start: id, what });
    }

    /// An `Abort` that nobody answers counts as answered when its budget has passed.
    fn lapse(&mut self, id: StartId, now_ms: u64) {
        let Some(start) = self.starts.get_mut(&id) else { return };
        let Some(waited_ms) = start.session.desk.lapse(now_ms) else { return };
        let Some(operation) = start.session.desk.question().map(|upcall| OperationNumber(upcall.operation))
        else {
            return;
        };
        let name = start.instance.clone();
        self.note(&name, Some(operation), answers::unanswered_abort(id, waited_ms));
        self.input(id, FromApp::Answer(operation, participant::Answer::Aborted));
    }

    /// Sees to everything that is due: deliveries, and questions that waited long enough.
    pub(super) async fn see_to_sessions(&mut self) {
        let now_ms = self.now_ms();
        let ids: Vec<_> = self.starts.keys().copied().collect();
        for id in ids {
            self.lapse(id, now_ms);
            self.see_to_size(id, now_ms);
            self.deliver(id);
            let waited = |until: u64| until <= now_ms;
            let Some(start) = self.starts.get_mut(&id) else { continue };
            if start.session.hello.as_ref().is_some_and(|(_, until)| waited(*until)) {
                self.welcome(id, participant::Standing::Undecided, Incarnation(0));
            }
            let Some(start) = self.starts.get_mut(&id) else { continue };
            if start.session.asked_ahead.as_ref().is_some_and(|ahead| waited(ahead.until_ms)) {
                self.waited_ahead(id);
            }
            self.tell_news(id);
        }
        self.see_to_the_end().await;
    }
}

/// Whether a process may say what needs this capability, and to this agent: who has restarted has forgotten what was said
/// for a time, and hears of that.
fn may_say(session: &Session, capability: &str) -> Result<(), ErrorBody> {
    if !session.greeted {
        return Err(hello_first());
    }
    if !session.can(capability) {
        let what = format!("it needs the capability {capability}, which this process did not claim in Hello");
        return Err(ErrorBody::new(ErrorCode::CapabilityMissing, &what));
    }
    Ok(())
}

fn gone() -> ErrorBody {
    ErrorBody::new(ErrorCode::Unavailable, "the agent does not serve this process now")
}

fn hello_first() -> ErrorBody {
    ErrorBody::new(ErrorCode::HelloRequired, "no Hello of this process since the agent started")
}
