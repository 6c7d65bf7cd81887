//! One request, as the machine knows it: from its arrival to its end, whoever causes that.

use crate::choice::{Place, Tally};
use crate::control::{Control, Verdict};
use crate::grpc;
use crate::head;
use crate::parked::{End, ParkedLine, micros, unix_us};
use crate::sessions::SessionId;
use crate::sticky::Given;
use hyper::{HeaderMap, StatusCode};
use paracloud_core::ids::StartId;
use paracloud_core::migration::gateway::{Answer, Failure, Input, Ticket, Timer};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::sync::oneshot;
use tokio::time::timeout_at;

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
    /// When its client waits no longer, if it has said so.
    deadline: Option<Instant>,
    /// When its wait has to end that began at another instance.
    latest: Option<Instant>,
    /// Its place among several instances.
    tally: Option<Tally>,
    /// The head of its reply says how far its application is used.
    says_load: bool,
    /// The session that it is of: what its client says, or its application.
    session: Option<SessionId>,
    /// It may be given to another of them while it waits.
    is_free: bool,
    /// The bound was reached: the attempt is the last one.
    is_last: bool,
    /// When the first byte of the attempt was sent, of one that waited.
    sent_on: Option<Arc<OnceLock<Instant>>>,
    /// Its wait was over before the attempt began: its client's own body is waited for since.
    released: bool,
    ended: bool,
}

impl Ticketed {
    /// A request comes. Returns when it is known what to do with it: after its wait, if it has to wait, and at its deadline
    /// at the latest.
    pub(crate) async fn arrive(
        place: Place,
        deadline: Option<Instant>,
        latest: Option<Instant>,
    ) -> (Self, Verdict) {
        let Place { control, tally, is_free, session, latest: waited } = place;
        let latest = latest.or(waited);
        let (ticket, heard) = control.arrived(session).await;
        let counts = !matches!(heard.verdict, Some(Verdict::Elsewhere));
        let mut request = Self {
            control,
            ticket,
            waits_since: None,
            bound: None,
            deadline,
            latest,
            tally,
            says_load: false,
            session: session.map(|session| session.id).filter(|_| counts),
            is_free,
            is_last: false,
            sent_on: None,
            released: false,
            ended: false,
        };
        let verdict = request.verdict(heard).await;
        (request, verdict)
    }

    /// An attempt ended without an answer of the application. Returns when it is known what to do next.
    pub(crate) async fn answered(&mut self, answer: Answer) -> Verdict {
        // Otherwise it is not sent again.
        if answer == Answer::NotApplied {
            self.wait_goes_on();
        }
        self.let_down();
        let heard = self.control.input(Input::Answered(self.ticket, answer), Some(self.ticket)).await;
        self.verdict(heard).await
    }

    async fn verdict(&mut self, heard: Heard) -> Verdict {
        if heard.parked {
            self.waits_since.get_or_insert_with(|| (Instant::now(), unix_us()));
        }
        if let Some(bound) = heard.bound {
            self.bound = Some(self.latest.map_or(bound, |latest| latest.min(bound)));
        }
        if let Some(verdict) = heard.verdict {
            return verdict;
        }
        let Some(waits) = heard.waits else { return Verdict::Fail(Failure::NotApplied) };
        // What is seldom done is apart from the future of each request.
        Box::pin(self.waits(waits)).await
    }

    /// Returns when it is known what to do, or its client waits no longer, or another instance takes it.
    async fn waits(&mut self, waits: oneshot::Receiver<Verdict>) -> Verdict {
        self.tally.iter_mut().for_each(Tally::waits);
        let others = self.tally.as_ref().filter(|_| self.is_free && !self.is_last);
        let others = others.map(|tally| (Arc::clone(tally.backends()), tally.number()));
        let deadline = self.deadline;
        let waits = async {
            let waits = self.alongside(waits);
            match deadline {
                None => waits.await.map_err(|_| Verdict::Fail(Failure::NotApplied)),
                Some(deadline) => match timeout_at(deadline.into(), waits).await {
                    Ok(verdict) => verdict.map_err(|_| Verdict::Fail(Failure::NotApplied)),
                    Err(_) => Err(Verdict::Late),
                },
            }
        };
        let verdict = match others {
            None => waits.await,
            Some((backends, number)) => tokio::select! {
                biased;
                verdict = waits => verdict,
                () = backends.another_is_open(number) => Ok(Verdict::Elsewhere),
            },
        };
        verdict.unwrap_or_else(|verdict| verdict)
    }

    /// It is given to another instance. Which one it leaves, and when its wait has to end.
    pub(crate) fn elsewhere(mut self) -> (Option<u32>, Option<Instant>) {
        self.ended = true;
        self.control.ends(Input::Left(self.ticket), self.ticket, self.session);
        self.log(End::Elsewhere);
        let waited = self.waits_since.map(|(since, _)| since + self.control.parked_wait_max());
        (self.tally.take().map(|tally| tally.number()), self.latest.or(waited))
    }

    /// Its place among several instances, to be kept for longer than itself.
    pub(crate) fn keep_tally(&mut self) -> Option<Tally> {
        self.tally.take()
    }

    /// The application said this of the session that it is of. Of which it is from now on.
    pub(crate) fn is_given(&mut self, given: Given) -> Option<SessionId> {
        self.session = self.control.answers_session(self.session, given);
        self.session
    }

    /// Which of several instances it goes to.
    pub(crate) fn number(&self) -> Option<u32> {
        self.tally.as_ref().map(Tally::number)
    }

    /// Waits for something, and tells the machine when the request has waited as long as it may. What is large is pinned by
    /// who asks: an argument stands in the future of an `async fn` twice.
    pub(crate) async fn alongside<F: Future + Unpin>(&mut self, something: F) -> F::Output {
        if self.bound.is_none() {
            return something.await;
        }
        Box::pin(self.within_its_bound(something)).await
    }

    async fn within_its_bound<F: Future + Unpin>(&mut self, mut something: F) -> F::Output {
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
    pub(crate) fn witness(&mut self) -> Witness {
        let waits = self.waits_since.map(|(since, _)| Waits {
            control: Arc::clone(&self.control),
            since,
            sent_on: Arc::clone(self.sent_on.get_or_insert_default()),
            released: self.released,
            is_of_the_pause: !self.is_last,
        });
        Witness { waits, replied: OnceLock::new() }
    }

    /// It would be sent on now, if its client had sent its body.
    pub(crate) fn released(&mut self) {
        if let Some((since, _)) = self.waits_since
            && !self.released
        {
            self.released = true;
            self.control.wait_ends(micros(since.elapsed()));
        }
    }

    fn was_sent_on(&self) -> Option<Instant> {
        self.sent_on.as_ref()?.get().copied()
    }

    /// The attempt was refused: if its wait was over, it is not.
    fn wait_goes_on(&mut self) {
        let was_over = self.has_waited() && (self.released || self.was_sent_on().is_some());
        (self.sent_on, self.released) = (None, false);
        if was_over {
            self.control.wait_goes_on();
        }
    }

    /// And the application did not refuse it.
    pub(crate) fn served(&mut self, witness: &Witness, status: StatusCode) {
        self.tally.iter_mut().for_each(|tally| tally.answered(status));
        if let (Some(control), Some((since, _)), Some(replied)) =
            (witness.of_the_pause(), self.waits_since, witness.replied.get())
        {
            control.answered(since, *replied);
        }
    }

    /// The head of the reply of this process passes.
    pub(crate) fn headed(&mut self, headers: &mut HeaderMap, start: StartId, is_call: bool) {
        self.says_load = self.control.loads.head(headers, start, is_call);
    }

    /// What this process says after its reply passes. That is where a call says what came of it, whatever its head said.
    pub(crate) fn trailed(&mut self, trailers: Option<&mut HeaderMap>, start: StartId, is_call: bool) {
        if is_call && grpc::has_failed(trailers.as_deref()) {
            self.let_down();
        }
        if let Some(trailers) = trailers {
            head::trailers(trailers);
            self.control.loads.trailers(trailers, start, is_call && !self.says_load);
        }
    }

    /// Its instance did not take it, or has failed it though its reply has begun.
    pub(crate) fn let_down(&mut self) {
        self.tally.iter_mut().for_each(Tally::failed);
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
        self.control.ends(Input::Answered(self.ticket, Answer::Replied), self.ticket, self.session);
        self.log(End::Replied);
    }

    /// The gateway answered, as the machine said.
    pub(crate) fn failed(mut self) {
        self.ended = true;
        self.control.release(self.ticket, self.session);
        self.log(End::Failed);
    }

    /// The gateway answered, because the client waits no longer.
    pub(crate) fn late(mut self) {
        self.ended = true;
        self.log(End::Failed);
        self.control.late(self.ticket, self.session);
    }

    fn log(&self, end: End) {
        let Some((since, began_unix_us)) = self.waits_since else { return };
        let sent_on = self.was_sent_on();
        let until = sent_on.unwrap_or_else(Instant::now);
        let line = ParkedLine::Request {
            instance: self.control.instance().to_owned(),
            began_unix_us,
            waited_us: micros(until.duration_since(since)),
            end,
        };
        let waits = sent_on.is_none() && !self.released;
        self.control.waited(line, waits.then(|| micros(until.duration_since(since))));
    }
}

/// Looks out for the first byte of an attempt, and of its reply.
#[derive(Debug)]
pub(crate) struct Witness {
    /// Of a request that waited; of others nobody asks when.
    waits: Option<Waits>,
    replied: OnceLock<Instant>,
}

/// The wait that an attempt ends.
#[derive(Debug)]
struct Waits {
    control: Arc<Control>,
    since: Instant,
    sent_on: Arc<OnceLock<Instant>>,
    /// It was over before.
    released: bool,
    /// At the bound the attempt shows nothing of the pause.
    is_of_the_pause: bool,
}

impl Witness {
    /// Of a request that never waited.
    #[cfg(test)]
    pub(crate) fn of_nobody() -> Self {
        Self { waits: None, replied: OnceLock::new() }
    }

    fn of_the_pause(&self) -> Option<&Arc<Control>> {
        self.waits.as_ref().filter(|waits| waits.is_of_the_pause).map(|waits| &waits.control)
    }

    /// Its first byte was sent just now.
    pub(crate) fn sent_on(&self) {
        if let Some(Waits { control, since, sent_on, released, is_of_the_pause }) = &self.waits
            && let now = Instant::now()
            && sent_on.set(now).is_ok()
        {
            control.sent_on(micros(now.duration_since(*since)), !released, is_of_the_pause.then_some(now));
        }
    }

    /// The first byte of its reply came just now; that may yet be a refusal.
    pub(crate) fn replied(&self) {
        if self.of_the_pause().is_some() {
            self.replied.get_or_init(Instant::now);
        }
    }
}

impl Drop for Ticketed {
    fn drop(&mut self) {
        if !self.ended {
            self.control.ends(Input::Left(self.ticket), self.ticket, self.session);
            self.log(End::Left);
        }
    }
}
