//! One request, as the machine knows it: from its arrival to its end, whoever causes that.

use crate::control::{Control, Verdict};
use crate::parked::{End, ParkedLine, micros, unix_us};
use paracloud_core::migration::gateway::{Answer, Failure, Input, Ticket, Timer};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::sync::oneshot;

/// What an input meant for the request it was about.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// What to do.
    pub(crate) verdict: Option<Verdict>,
    /// Or where it will be said.
    pub(crate) waits: Option<oneshot::Receiver<Verdict>>,
    /// Its wait has a bound from now on.
    pub(crate) bound: Option<Instant>,
    /// It waits for the first time.
    pub(crate) parked: bool,
}

/// A request with its ticket. Dropped without an end, its client has left.
#[derive(Debug)]
pub(crate) struct Ticketed {
    control: Arc<Control>,
    ticket: Ticket,
    /// When it began to wait, if it ever did.
    waits_since: Option<(Instant, u64)>,
    /// When its wait has to end. Taken when the timer fires.
    bound: Option<Instant>,
    /// The bound was reached: the attempt is the last one.
    is_last: bool,
    /// When the first byte of the attempt was sent.
    sent_on: Option<Instant>,
    ended: bool,
}

impl Ticketed {
    /// A request comes. Returns when it is known what to do with it: after its wait, if it has to wait.
    pub(crate) async fn arrive(control: &Arc<Control>) -> (Self, Verdict) {
        let (ticket, heard) = control.arrived().await;
        let mut request = Self {
            control: Arc::clone(control),
            ticket,
            waits_since: None,
            bound: None,
            is_last: false,
            sent_on: None,
            ended: false,
        };
        let verdict = request.verdict(heard).await;
        (request, verdict)
    }

    /// An attempt ended without an answer of the application. Returns when it is known what to do next.
    pub(crate) async fn answered(&mut self, answer: Answer) -> Verdict {
        self.sent_on = None;
        let heard = self.control.input(Input::Answered(self.ticket, answer), Some(self.ticket)).await;
        self.verdict(heard).await
    }

    async fn verdict(&mut self, heard: Heard) -> Verdict {
        if heard.parked {
            self.waits_since.get_or_insert_with(|| (Instant::now(), unix_us()));
        }
        self.bound = heard.bound.or(self.bound);
        if let Some(verdict) = heard.verdict {
            return verdict;
        }
        let Some(waits) = heard.waits else { return Verdict::Fail(Failure::NotApplied) };
        self.alongside(waits).await.unwrap_or(Verdict::Fail(Failure::NotApplied))
    }

    /// Waits for something, and tells the machine when the request has waited as long as it may.
    pub(crate) async fn alongside<F: Future>(&mut self, something: F) -> F::Output {
        let mut something = pin!(something);
        while let Some(bound) = self.bound {
            tokio::select! {
                biased;
                output = &mut something => return output,
                () = tokio::time::sleep_until(bound.into()) => {
                    self.bound = None;
                    self.is_last = true;
                    self.control.input(Input::Timer(Timer::Bound(self.ticket)), None).await;
                }
            }
        }
        something.await
    }

    /// Whether it ever waited.
    pub(crate) fn has_waited(&self) -> bool {
        self.waits_since.is_some()
    }

    /// Looks out for the first byte of the next attempt, and of its reply.
    pub(crate) fn witness(&self) -> Witness {
        // At the bound the attempt shows nothing of the pause.
        let control = (self.has_waited() && !self.is_last).then(|| Arc::clone(&self.control));
        Witness { control, waited: self.has_waited(), sent_on: OnceLock::new(), replied: OnceLock::new() }
    }

    /// The attempt is over.
    pub(crate) fn saw(&mut self, witness: &Witness) {
        self.sent_on = witness.sent_on.get().copied();
    }

    /// And the application did not refuse it.
    pub(crate) fn served(&self, witness: &Witness) {
        if let (Some(control), Some((since, _)), Some(replied)) =
            (&witness.control, self.waits_since, witness.replied.get())
        {
            control.answered(since, *replied);
        }
    }

    /// Its body is passed on as it comes, from now on.
    pub(crate) fn uploads(&self) {
        self.control.uploads(self.ticket);
    }

    /// Whether its next attempt is the one at the bound.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// The control of its instance.
    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// The application answered.
    pub(crate) fn replied(mut self) {
        self.ended = true;
        self.control.input_now(Input::Answered(self.ticket, Answer::Replied), Some(self.ticket));
        self.log(End::Replied);
    }

    /// The gateway answered, as the machine said.
    pub(crate) fn failed(mut self) {
        self.ended = true;
        self.control.release(self.ticket);
        self.log(End::Failed);
    }

    fn log(&self, end: End) {
        let Some((since, began_unix_us)) = self.waits_since else { return };
        let until = self.sent_on.unwrap_or_else(Instant::now);
        self.control.waited(ParkedLine::Request {
            instance: self.control.instance().to_owned(),
            began_unix_us,
            waited_us: micros(until.duration_since(since)),
            end,
        });
    }
}

/// Looks out for the first byte of an attempt, and of its reply.
#[derive(Debug)]
pub(crate) struct Witness {
    control: Option<Arc<Control>>,
    waited: bool,
    sent_on: OnceLock<Instant>,
    replied: OnceLock<Instant>,
}

impl Witness {
    /// Of a request that never waited.
    #[cfg(test)]
    pub(crate) fn of_nobody() -> Self {
        Self { control: None, waited: false, sent_on: OnceLock::new(), replied: OnceLock::new() }
    }

    /// Its first byte was sent just now. Of a request that never waited nobody asks when.
    pub(crate) fn sent_on(&self) {
        if !self.waited {
            return;
        }
        let now = *self.sent_on.get_or_init(Instant::now);
        if let Some(control) = &self.control {
            control.sent_on(now);
        }
    }

    /// The first byte of its reply came just now; that may yet be a refusal.
    pub(crate) fn replied(&self) {
        if self.control.is_some() {
            self.replied.get_or_init(Instant::now);
        }
    }
}

impl Drop for Ticketed {
    fn drop(&mut self) {
        if !self.ended {
            self.control.input_now(Input::Left(self.ticket), Some(self.ticket));
            self.log(End::Left);
        }
    }
}
