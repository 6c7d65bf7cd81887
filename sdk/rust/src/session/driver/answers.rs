//! What is said to the agent: answers, and reports while something is at work.

use super::super::QUEUE;
use super::super::hooks::NotNow;
use super::{Driver, Kind, REPORT, ms, rounded_up};
use paci::answer::{Answer, Verdict};
use paci::bounds::{HEARTBEAT_MS, REFUSAL_MS_MAX};
use paci::call::Mode;
use paci::finding::{CopyProgress, Finding, MoveEstimate};
use paci::names::AnswerCode;
use paci::participant;
use paci::proof::Sealed;
use paci::wire::Message;
use std::time::Duration;

impl Driver {
    /// Says what the participant answers, in the words of the contract.
    pub(super) fn answer(&mut self, kind: Kind, operation: u32, answer: participant::Answer) {
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
            participant::Answer::Resumed
            | participant::Answer::Serving
            | participant::Answer::Aborted
            | participant::Answer::Drained => to(Verdict::Done),
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

    pub(super) fn estimate(&self, answer: Answer) -> Answer {
        let mode = if self.parts.has_state { Mode::Handoff } else { Mode::Restart };
        let estimate = MoveEstimate {
            state_kib: Some(self.state_kib()),
            modes: vec![mode],
            schema: self.parts.has_state.then(|| self.parts.schema.clone()),
            ..MoveEstimate::default()
        };
        self.completed(answer, estimate)
    }

    pub(super) fn state_kib(&self) -> u32 {
        u32::try_from(self.parts.store.held().bytes.div_ceil(1024)).unwrap_or(u32::MAX)
    }

    pub(super) fn deferred(answer: Answer, later: &NotNow) -> Answer {
        let retry_after_ms = ms(later.retry_after).clamp(1, REFUSAL_MS_MAX);
        Answer { verdict: Verdict::Defer, retry_after_ms, ..answer }.saying(&later.reason)
    }

    pub(super) fn progress(&self) -> Option<CopyProgress> {
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
    pub(super) fn next_report(&self) -> Option<Duration> {
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
            | Kind::Serve
            | Kind::Quote
            | Kind::Resize => Duration::from_millis(u64::from(HEARTBEAT_MS / 3)),
        });
        due.min()
    }

    pub(super) fn report(&mut self) {
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

    pub(super) fn say(&self, answer: Answer) {
        let Some(answer) = takeable(answer) else { return };
        tracing::debug!(answer.operation, answer.attempt, %answer.verdict, answer.code, "says");
        if self.answers.try_send(answer).is_err() {
            tracing::warn!(waiting = QUEUE, "the agent takes no answers; one is dropped, it will ask again");
        }
    }

    pub(super) fn in_flight(&self) -> u32 {
        u32::try_from(self.parts.gate.held()).unwrap_or(u32::MAX)
    }
}

/// An answer that the contract takes: this one, or what can be said in its place. The agent refuses every other, and would
/// never learn what became of its question.
fn takeable(answer: Answer) -> Option<Answer> {
    let Err(invalid) = answer.validate() else { return Some(answer) };
    let Answer { operation, attempt, verdict, .. } = answer;
    tracing::warn!(operation, attempt, %verdict, %invalid, "an answer breaks a bound; another is given in its place");
    let bare = Answer { operation, attempt, verdict, ..Answer::default() };
    let said = match verdict {
        // What breaks the bound is how far it has got; that it is at work is true.
        Verdict::InProgress => bare,
        Verdict::Unspecified
        | Verdict::Done
        | Verdict::Defer
        | Verdict::Refuse
        | Verdict::Unsupported
        | Verdict::Failed => Answer { verdict: Verdict::Failed, ..bare }
            .because(AnswerCode::Malformed)
            .saying(&invalid.to_string()),
    };
    // Without operation or attempt there is nothing that could be answered.
    Some(said).filter(|said| said.validate().is_ok())
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use paci::finding::Blocked;

    fn answer(verdict: Verdict) -> Answer {
        Answer { operation: 41, attempt: 1, verdict, ..Answer::default() }
    }

    #[test]
    fn what_the_contract_does_not_take_is_said_in_a_form_that_it_takes() {
        let fine = answer(Verdict::Done).with(Finding::InFlight(0));
        assert_eq!(takeable(fine.clone()), Some(fine));

        let late = CopyProgress { predicted_pause_ms: Some(u32::MAX), ..CopyProgress::default() };
        let at_work = answer(Verdict::InProgress).with(Finding::Copy(late));
        assert_eq!(takeable(at_work), Some(answer(Verdict::InProgress)), "a move does not end for a figure");

        let unnamed = Blocked { route: String::new(), held_ms: 7 };
        let blocked =
            answer(Verdict::Failed).because(AnswerCode::SealBlocked).with(Finding::Blocked(unnamed));
        let said = takeable(blocked).unwrap();
        assert_eq!((said.verdict, &*said.code), (Verdict::Failed, "MALFORMED"));
        assert_eq!(said.message, "blocked.route: missing or empty, and it is needed");

        assert_eq!(takeable(answer(Verdict::Defer)).unwrap().verdict, Verdict::Failed);
        assert_eq!(takeable(Answer { attempt: 0, ..answer(Verdict::Done) }), None);
    }
}
