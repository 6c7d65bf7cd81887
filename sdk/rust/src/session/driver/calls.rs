//! What each call that is more than a word to the participant sets going.

use super::super::hooks::{Draining, Resizing, Resuming, Stopping};
use super::handlers::Renewal;
use super::{Driver, Kind, closed};
use paci::answer::{Answer, Verdict};
use paci::call::{Prepare, Side};
use paci::finding::{Finding, RemovalQuote};
use paci::names::AnswerCode;
use paci::participant::{self, Act, Phase};
use paci::size::Resize;
use paci::upcall::Upcall;
use std::time::Duration;

impl Driver {
    pub(super) fn prepare(&mut self, upcall: &Upcall, prepare: &Prepare) {
        if !self.parts.has_state {
            return self
                .say(Answer::to(upcall, Verdict::Unsupported).saying("the program has no containers"));
        }
        let side = match prepare.side {
            Side::Source => participant::Side::Source,
            Side::Target => participant::Side::Target,
            Side::Unspecified => return self.say(Answer::to(upcall, Verdict::Unsupported)),
        };
        if upcall.operation <= self.closed {
            return self.say(closed(upcall));
        }
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

    pub(super) fn resume(&mut self, upcall: &Upcall, incarnation: u32, outcome: participant::Outcome) {
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
                self.renewal = Renewal::AtWork;
                self.work(Kind::Resume, operation, move || hook(Resuming { incarnation }));
            }
        }
        match &self.renewal {
            Renewal::Done => self.perform(Kind::Resume, acts),
            Renewal::AtWork => self.say(Answer::to(upcall, Verdict::InProgress)),
            Renewal::Failed(failure) => self.say(failure.answer(Answer::to(upcall, Verdict::Failed))),
        }
    }

    pub(super) fn serve(&mut self, upcall: &Upcall, incarnation: u32) {
        match &self.renewal {
            Renewal::Done => {
                self.told_to(Kind::Serve, upcall, participant::Call::Serve { incarnation });
            }
            // Nobody was told that the process is ready.
            Renewal::AtWork => {
                self.say(Answer::to(upcall, Verdict::Failed).because(AnswerCode::WrongPhase));
            }
            Renewal::Failed(failure) => self.say(failure.answer(Answer::to(upcall, Verdict::Failed))),
        }
    }

    pub(super) fn abort(&mut self, upcall: &Upcall) {
        let acts = self.participant.call(upcall.operation, participant::Call::Abort);
        if !self.participant.is_sealed() && !matches!(self.participant.phase(), Phase::Resumed(_)) {
            self.closed = self.closed.max(upcall.operation);
            if let Some((_, load)) = self.load.take() {
                load.forget();
            }
            self.staged = None;
        }
        let drained = self.drained.take_if(|drained| *drained <= upcall.operation);
        if let (Some(_), Some(hook)) = (drained, self.parts.hooks.undrain.clone()) {
            self.work(Kind::Abort, upcall.operation, move || hook(()));
        }
        // Who is being told to take work again has done as asked when that is done.
        let is_at_work =
            self.question(Kind::Abort, upcall.operation).is_some_and(|question| question.at_work);
        let (answers, others): (Vec<_>, Vec<_>) =
            acts.into_iter().partition(|act| is_at_work && matches!(act, Act::Answer(..)));
        self.perform(Kind::Abort, others);
        if !answers.is_empty() {
            self.say(Answer::to(upcall, Verdict::InProgress));
        }
    }

    /// What would losing the program cost, now? Asked afresh each time: a price of before is none.
    pub(super) fn quote(&mut self, upcall: &Upcall) {
        if upcall.operation <= self.closed {
            return self.say(closed(upcall));
        }
        let quote = RemovalQuote {
            state_kib: self.parts.has_state.then(|| self.state_kib()),
            ..RemovalQuote::default()
        };
        self.say(self.priced(Answer::to(upcall, Verdict::Done), quote));
    }

    pub(super) fn resize(&mut self, upcall: &Upcall, resize: Resize) {
        if upcall.operation <= self.closed {
            return self.say(closed(upcall));
        }
        let Some(hook) = self.parts.hooks.resize.clone() else {
            return self.say(Answer::to(upcall, Verdict::Unsupported));
        };
        if !self.answered_before(Kind::Resize, upcall) {
            self.say(Answer::to(upcall, Verdict::InProgress));
            let resizing = Resizing {
                memory_kib: resize.memory_kib,
                cpu_millis: resize.cpu_millis,
                now_memory_kib: resize.now_memory_kib,
                now_cpu_millis: resize.now_cpu_millis,
                dry_run: upcall.dry_run,
                budget: Duration::from_millis(u64::from(upcall.budget_ms)),
            };
            self.work(Kind::Resize, upcall.operation, move || hook(resizing));
        }
    }

    pub(super) fn drain(&mut self, upcall: &Upcall, reversible: bool) {
        if upcall.operation <= self.closed {
            return self.say(closed(upcall));
        }
        let Some(hook) = self.parts.hooks.drain.clone() else {
            return self.say(Answer::to(upcall, Verdict::Unsupported));
        };
        let acts = self.participant.call(upcall.operation, participant::Call::Drain);
        // Whoever is being drained, or is, has no other answer than the one that its handler has.
        if self.answered_before(Kind::Drain, upcall) {
            return;
        }
        let begins = acts.contains(&Act::Drain(upcall.operation));
        self.perform(Kind::Drain, acts);
        if begins {
            self.say(Answer::to(upcall, Verdict::InProgress).with(Finding::InFlight(self.in_flight())));
            self.drained = Some(upcall.operation);
            self.work(Kind::Drain, upcall.operation, move || hook(Draining { reversible }));
        }
    }

    pub(super) fn stop(&mut self, upcall: &Upcall, grace: Duration) {
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
    pub(super) fn answered_before(&mut self, kind: Kind, upcall: &Upcall) -> bool {
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
}
