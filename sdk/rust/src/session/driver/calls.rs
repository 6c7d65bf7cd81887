//! What each call that is more than a word to the participant sets going.

use super::super::hooks::{Draining, Resuming, Stopping};
use super::handlers::Renewal;
use super::{Driver, Kind, closed};
use paci::answer::{Answer, Verdict};
use paci::call::{Prepare, Side};
use paci::finding::Finding;
use paci::names::AnswerCode;
use paci::participant::{self, Phase};
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
        self.perform(Kind::Abort, acts);
    }

    pub(super) fn drain(&mut self, upcall: &Upcall, reversible: bool) {
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
