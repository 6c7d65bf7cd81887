//! The program's handlers: they run where the program runs, and one that panics has failed and nothing else.

use super::super::hooks::Unfit;
use super::{Driver, Event, Kind};
use paci::answer::{Answer, Verdict};
use paci::finding::{Finding, MoveEstimate, RemovalQuote};
use paci::names::AnswerCode;
use paci::size::Size;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Code of the answer to a call whose handler did not come to its end.
const HANDLER_FAILED: &str = "APP_HANDLER_FAILED";

/// Whether a target is made anew, so that it may be told to serve.
#[derive(Debug)]
pub(super) enum Renewal {
    /// It is, or nothing has to be.
    Done,
    /// The handler of `Resume` is at work: the answer waits for it.
    AtWork,
    /// The handler failed. What it left behind is neither the source's identity nor a new one: it never serves.
    Failed(Failure),
}

/// Why a handler did not come to its end, for people.
#[derive(Debug, Clone)]
pub(in crate::session) struct Failure(String);

impl Failure {
    fn of(kind: Kind, panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let failure = format!("the handler of {kind:?} panicked: {text}");
        tracing::error!("{failure}");
        Self(failure)
    }

    /// Completes an answer that says that it failed.
    pub(super) fn answer(&self, answer: Answer) -> Answer {
        Answer { verdict: Verdict::Failed, code: HANDLER_FAILED.to_owned(), ..answer }.saying(&self.0)
    }
}

/// How a handler ended that came to its end.
#[derive(Debug)]
pub(in crate::session) enum Ended {
    /// What was asked is done.
    Done,
    /// It cannot be.
    Unfit(Unfit),
}

impl From<()> for Ended {
    fn from((): ()) -> Self {
        Self::Done
    }
}

impl From<Result<(), Unfit>> for Ended {
    fn from(ended: Result<(), Unfit>) -> Self {
        ended.map_or_else(Self::Unfit, |()| Self::Done)
    }
}

impl Driver {
    /// Asks the program to complete what losing it would cost.
    pub(super) fn priced(&self, answer: Answer, quote: RemovalQuote) -> Answer {
        let Some(hook) = &self.parts.hooks.quote else {
            return Answer { verdict: Verdict::Unsupported, ..answer };
        };
        let _program = self.parts.program.enter();
        // As with an estimate.
        match catch_unwind(AssertUnwindSafe(|| hook(quote))) {
            Ok(Ok(quote)) => answer.with(Finding::Quote(quote)),
            Ok(Err(later)) => Self::deferred(answer, &later),
            Err(panic) => Failure::of(Kind::Quote, &*panic).answer(answer),
        }
    }

    /// Asks the program to complete an estimate.
    pub(super) fn completed(&self, answer: Answer, estimate: MoveEstimate) -> Answer {
        let Some(hook) = &self.parts.hooks.estimate else {
            return answer.with(Finding::Estimate(estimate));
        };
        let _program = self.parts.program.enter();
        // What the handler shares with the program is the program's to mend, as after a panic anywhere else in it.
        match catch_unwind(AssertUnwindSafe(|| hook(estimate))) {
            Ok(Ok(estimate)) => answer.with(Finding::Estimate(estimate)),
            Ok(Err(later)) => Self::deferred(answer, &later),
            Err(panic) => Failure::of(Kind::Estimate, &*panic).answer(answer),
        }
    }

    /// Runs a handler where the program runs.
    pub(super) fn work<F>(&mut self, kind: Kind, operation: u32, work: impl FnOnce() -> F + Send + 'static)
    where
        F: Future + Send + 'static,
        F::Output: Into<Ended> + Send,
    {
        let mut run = 0;
        if let Some(question) = self.question(kind, operation) {
            question.at_work = true;
            run = question.run;
        }
        let events = self.events.clone();
        let program = self.parts.program.clone();
        tokio::spawn(async move {
            let ended = program.spawn(async move { work().await }).await;
            let ended = ended.map(Into::into).map_err(|error| match error.try_into_panic() {
                Ok(panic) => Failure::of(kind, &*panic),
                Err(_) => Failure("the program's runtime has ended".to_owned()),
            });
            let _session_ended = events.send(Event::Handled(kind, operation, run, ended)).await;
        });
    }

    pub(super) fn handled(&mut self, kind: Kind, operation: u32, run: u32, ended: Result<Ended, Failure>) {
        if kind == Kind::Resume {
            self.renewed(&ended);
        }
        if (kind, ended.is_ok()) == (Kind::Drain, true) {
            // What it answers to that is said below, with its figure.
            let _ = self.participant.emptied(operation);
        }
        let in_flight = self.in_flight();
        // A run that another took the place of answers nothing.
        let is_awaited = |question: &&mut super::Question| question.at_work && question.run == run;
        let Some(question) = self.question(kind, operation).filter(is_awaited) else { return };
        question.at_work = false;
        let attempt = question.attempt;
        let done = Answer { operation, attempt, verdict: Verdict::Done, ..Answer::default() };
        let answer = match ended {
            Ok(Ended::Done) if kind == Kind::Drain => done.with(Finding::InFlight(in_flight)),
            Ok(Ended::Done) => done,
            Ok(Ended::Unfit(unfit)) => unfitting(done, unfit),
            Err(failure) => failure.answer(done),
        };
        question.last = Some(answer.clone());
        self.say(answer);
    }

    fn renewed(&mut self, ended: &Result<Ended, Failure>) {
        self.renewal = match ended {
            Ok(_) => Renewal::Done,
            Err(failure) => {
                // It will not open: who waits for that is refused now.
                self.parts.gate.close();
                Renewal::Failed(failure.clone())
            }
        };
    }
}

/// The answer of who cannot do with a size.
fn unfitting(answer: Answer, unfit: Unfit) -> Answer {
    let refusal = Answer { verdict: Verdict::Refuse, ..answer }.because(AnswerCode::DoesNotFit);
    let refusal = refusal.saying(&unfit.reason);
    if unfit.fit == Size::default() { refusal } else { refusal.with(Finding::Fit(unfit.fit)) }
}
