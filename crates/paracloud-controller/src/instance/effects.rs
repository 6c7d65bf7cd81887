//! Carries out what the coordinator wants done: each effect before the next, each swap on disk before what follows.

use super::{Instance, NO_SPACE_RETRY_MS, Stuck, Swapping, WHO};
use crate::journal::{self, change_text};
use crate::operations::{FIGURES_WAIT, Tracker};
use crate::peers::{Out, Peer};
use crate::register::{Gone, swapped};
use crate::store::{StoreError, Swap};
use paracloud_core::ids::OperationNumber;
use paracloud_core::migration::cause::Cause;
use paracloud_core::migration::coordinator::{Command, Effect, Input};
use paracloud_core::migration::promises::{Point, Promise};
use paracloud_core::register::{Change, Proposer, Record};
use paracloud_substrate::message::{Terms, ToAgentLine, ToGatewayLine};
use paracloud_substrate::person::{Consent, Loss, What};
use paracloud_substrate::{failpoint, fresh_start_id};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Instance {
    /// Feeds one input, and carries out what follows from it.
    pub(super) async fn take(&mut self, input: Input) -> Result<(), Gone> {
        let effects = self.machine.take(input, fresh_start_id());
        Box::pin(self.carry_out(effects.into())).await
    }

    pub(super) async fn carry_out(&mut self, mut effects: VecDeque<Effect>) -> Result<(), Gone> {
        let mut persisted: Option<Promise> = None;
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Swap { expected, change, proposer } => {
                    self.said(persisted.take()).await?;
                    let promise = Promise::of_change(&change);
                    let following = match self.swap(expected.clone(), change, proposer).await? {
                        Swapping::Done(record, applied) => {
                            persisted = applied.then_some(promise);
                            self.machine.take(Input::Swapped { record, applied }, fresh_start_id())
                        }
                        Swapping::NoRoomToSeal => {
                            let mut effects =
                                self.machine.take(Input::Command(Command::Cancel), fresh_start_id());
                            let unchanged = Input::Swapped { record: expected, applied: false };
                            effects.extend(self.machine.take(unchanged, fresh_start_id()));
                            effects
                        }
                        Swapping::Stuck => Vec::new(),
                    };
                    effects.extend(following);
                }
                Effect::Agent(node, message) => {
                    let operation = self.machine.machine().record().and_then(|it| it.operation.clone());
                    let agreed = self.tracker.as_ref().map(|tracker| tracker.terms.clone());
                    let terms = Terms { left_ms: self.left_ms(), ..agreed.unwrap_or_default() };
                    let reason = self.tracker.as_ref().map(|tracker| tracker.reason).unwrap_or_default();
                    let instance = self.app.name.clone();
                    let size = self.machine.machine().record().and_then(|record| record.size);
                    let line = ToAgentLine::Machine { instance, message, operation, terms, reason, size };
                    self.control.peers.say(Peer::Agent(node), Out::ToAgent(line));
                }
                Effect::Gateway(gateway, message) => {
                    let line = ToGatewayLine::Machine { instance: self.app.name.clone(), message };
                    self.control.peers.say(Peer::Gateway(gateway), Out::ToGateway(line));
                }
                Effect::SetTimer(timer, after_ms) => {
                    let at = Instant::now() + Duration::from_millis(u64::from(after_ms));
                    self.timers.insert(timer, at);
                }
                Effect::CancelTimer(timer) => drop(self.timers.remove(&timer)),
                Effect::Entered(phase) => {
                    if let Some(tracker) = &mut self.tracker {
                        tracker.enter(phase);
                    }
                    let event = journal::event(&self.app.name, self.open_operation(), What::Entered(phase));
                    self.control.register.keep(event).await?;
                }
                Effect::Stray(found) => self.say_of_stray(found).await?,
                Effect::Refused(refused) => {
                    tracing::warn!(instance = self.app.name, %refused, "a command was refused after its check");
                }
            }
        }
        self.said(persisted).await?;
        self.machine.flush();
        Ok(())
    }

    /// What follows from a swap was said: now others may hear of it, and tests stop the controller here.
    pub(super) async fn said(&self, promise: Option<Promise>) -> Result<(), Gone> {
        let Some(promise) = promise else { return Ok(()) };
        // Whoever hears of it and looks sees it.
        self.publish();
        self.control.register.tell().await?;
        if failpoint::is_armed(promise, Point::AfterSend, WHO) {
            self.control.peers.flush().await;
            failpoint::reached(promise, Point::AfterSend, WHO).await;
        }
        Ok(())
    }

    pub(super) async fn swap(
        &mut self,
        expected: Record,
        change: Change,
        proposer: Proposer,
    ) -> Result<Swapping, Gone> {
        let Some(current) = self.machine.machine().record().cloned() else { return Err(Gone) };
        let new = match current.swap(&expected, &change, proposer) {
            Ok(new) => new,
            Err(refusal) => {
                tracing::info!(instance = self.app.name, ?change, %refusal, "a swap was refused");
                return Ok(Swapping::Done(current, false));
            }
        };
        let control = Arc::clone(&self.control);
        let name = &self.app.name;
        if change == Change::Seal
            && let Err(full) = control.register.reserve(name).await?
        {
            let why = format!("the journal has no room for the outcome, so nothing is sealed: {full}");
            tracing::error!(instance = name, why);
            if let Some(tracker) = &mut self.tracker {
                tracker.cause = Some(why.clone());
            }
            let what = What::Note(journal::kept(journal::remark(why)));
            control.register.keep(journal::event(name, self.open_operation(), what)).await?;
            return Ok(Swapping::NoRoomToSeal);
        }
        let promise = Promise::of_change(&change);
        failpoint::reached(promise, Point::BeforePersist, WHO).await;
        let name = &self.app.name;
        let mut events = vec![swapped(name, self.change_text(&change), (Some(&current), &new))];
        if let Some((operation, lost)) = self.loss(&change, &current, &new) {
            let lost = journal::event(name, operation, lost);
            // What an operation costs comes before its end.
            events.insert(usize::from(operation.is_none()), lost);
        }
        match control.register.swap(name, Some(&current), &new, events).await? {
            Ok(Swap::Applied) => {
                failpoint::reached(promise, Point::AfterPersist, WHO).await;
                self.applied(&change, &current, &new).await?;
                Ok(Swapping::Done(new, true))
            }
            Ok(Swap::Refused(found)) => {
                tracing::error!(instance = name, ?found, "somebody else writes this register");
                Err(Gone)
            }
            Err(full) => Ok(self.no_room(current, change, proposer, full)),
        }
    }

    /// A change in a word, with the cause that counts.
    fn change_text(&self, change: &Change) -> String {
        // The machine only knows that it was cancelled, and not by what.
        let own = self.tracker.as_ref().and_then(|tracker| tracker.cause.as_ref());
        match (change, own) {
            (
                Change::RollBack(Cause::Cancelled)
                | Change::Return(Cause::Cancelled)
                | Change::Keep(Cause::Cancelled),
                Some(why),
            ) => {
                format!("{}: {}", journal::change_name(change), journal::cut(why.clone()))
            }
            _ => change_text(change),
        }
    }

    /// That the state is lost with this change, and in which operation. It is written together with the swap: whoever
    /// reads the journal after a crash finds both or neither.
    fn loss(
        &self,
        change: &Change,
        before: &Record,
        after: &Record,
    ) -> Option<(Option<OperationNumber>, What)> {
        let lost = |(by, consent)| What::StateLost { by, consent };
        match change {
            Change::Close | Change::Gone => {
                let tracker = self.tracker.as_ref()?;
                Some((Some(tracker.operation), lost(tracker.loss(&self.app, before, after)?)))
            }
            Change::Restart { .. } | Change::Replace(_) if self.loses_at_rest(before) => {
                let why = if matches!(change, Change::Replace(_)) {
                    (Loss::Node, Consent::Person)
                } else {
                    (Loss::Death, Consent::Nobody)
                };
                Some((None, lost(why)))
            }
            Change::Open { .. }
            | Change::Seal
            | Change::Commit
            | Change::Serve(_)
            | Change::Doom
            | Change::Promote
            | Change::RollBack(_)
            | Change::Restart { .. }
            | Change::Replace(_)
            | Change::Leave
            | Change::DrainAgain
            | Change::Depart
            | Change::Return(_)
            | Change::Start(_)
            | Change::Resize(_)
            | Change::Resized
            | Change::Keep(_) => None,
        }
    }

    /// Whether a new process in the place of this record's owner begins without what that one held, and nobody has said
    /// so: of one in an operation, its end says what it cost; who ended the cloud may have said so.
    fn loses_at_rest(&self, before: &Record) -> bool {
        let held = !self.app.is_stateless() && before.served.is_some() && !self.history.lost;
        held && before.operation.is_none()
    }

    /// The disk is full, and nothing was reserved for this swap.
    pub(super) fn no_room(
        &mut self,
        current: Record,
        change: Change,
        proposer: Proposer,
        full: StoreError,
    ) -> Swapping {
        tracing::error!(instance = self.app.name, ?change, %full, "a swap has no room");
        let asked_by_others = proposer == Proposer::Agent
            || matches!(change, Change::Open { .. } | Change::Leave | Change::Start(_) | Change::Resize(_));
        let why = format!("the register cannot be written: {full}");
        if asked_by_others {
            // Whoever asked asks again.
            self.no_space = Some(full);
            return Swapping::Done(current, false);
        }
        let again = Instant::now() + Duration::from_millis(NO_SPACE_RETRY_MS);
        self.stuck = Some(Stuck { expected: current, change, proposer, again, why });
        Swapping::Stuck
    }

    /// A swap is on disk.
    pub(super) async fn applied(
        &mut self,
        change: &Change,
        before: &Record,
        after: &Record,
    ) -> Result<(), Gone> {
        match change {
            Change::Open { .. } | Change::Leave | Change::Resize(_) => {
                self.finish_closing().await?;
                let terms = Terms { loss_accepted: self.ordered.loss_accepted, ..Terms::default() };
                let reason = self.ordered.reason;
                self.tracker = Some(Tracker::new(after.last_operation, self.command_begun, terms, reason));
                let budget = self.ordered.budget_ms.map(u64::from).map(Duration::from_millis);
                self.called_back = budget.map(|budget| Instant::now() + budget);
            }
            Change::Serve(_) | Change::Promote => {
                self.history.serves(journal::now_unix_ms());
            }
            Change::Restart { .. } | Change::Replace(_) => {
                self.history.lost |= self.loses_at_rest(before);
                self.history.comes_again();
            }
            Change::Gone => {
                self.history.goes();
                self.control.left(&self.app.name);
            }
            Change::Start(_) => self.history.ordered(journal::now_unix_ms()),
            Change::Seal
            | Change::Commit
            | Change::Doom
            | Change::RollBack(_)
            | Change::Close
            | Change::DrainAgain
            | Change::Depart
            | Change::Return(_)
            | Change::Resized
            | Change::Keep(_) => {}
        }
        if let Some(tracker) = &mut self.tracker {
            tracker.swapped(change, before, after);
        }
        if before.operation.is_some() && after.operation.is_none() {
            self.control.register.release(&self.app.name).await?;
            if let Some(mut tracker) = self.tracker.take() {
                let outcome = tracker.close(&self.app, before, after);
                self.closing = Some((tracker, outcome, Instant::now() + FIGURES_WAIT));
                self.finish_closing_if_complete().await?;
            }
        }
        Ok(())
    }
}
