//! What people hear of an operation: notes, progress, and the outcome with what clients saw.

use super::Instance;
use crate::journal::{self, Heard};
use crate::operations::Tracker;
use crate::peers::Peer;
use crate::register::Gone;
use paracloud_core::ids::{GatewayId, OperationNumber};
use paracloud_core::register::Step;
use paracloud_substrate::message::Note;
use paracloud_substrate::person::{Conclusion, What};
use paracloud_substrate::seen::{Account, Seen};
use std::collections::BTreeSet;

impl Instance {
    pub(super) async fn note(&mut self, operation: Option<OperationNumber>, note: Note) -> Result<(), Gone> {
        if self.is_undone(operation, &note) {
            return Ok(());
        }
        let operation = operation.or_else(|| self.dies_draining(&note));
        let current = |tracker: &&mut Tracker| operation.is_none_or(|number| number == tracker.operation);
        let closing = self.closing.as_mut().map(|(tracker, ..)| tracker);
        if let Some(tracker) = self.tracker.as_mut().or(closing).filter(current) {
            match &note {
                Note::Estimate(estimate) => tracker.estimated(estimate),
                Note::Carried { bytes } => tracker.carried(*bytes),
                Note::Copying { predicted_pause_ms, .. } => tracker.predicted(*predicted_pause_ms),
                Note::Reason(_)
                | Note::Remark { .. }
                | Note::Blocked { .. }
                | Note::Ended { .. }
                | Note::Unready { .. }
                | Note::Unresponsive { .. }
                | Note::Breach { .. }
                | Note::Awaited { .. }
                | Note::Failure { .. }
                | Note::Sized(_) => tracker.troubled(&journal::kept(note.clone())),
            }
        }
        if let Some(operation) = operation {
            self.control.undone(&self.app.name, operation, &note);
        }
        if let Note::Ended { start, how } = &note {
            self.crashed(*start, how);
        }
        if matches!(note, Note::Carried { .. } | Note::Copying { .. }) {
            self.tell_progress();
            return Ok(());
        }
        if !self.allowance.take() {
            tracing::debug!(instance = self.app.name, "a note too many: not kept");
            return Ok(());
        }
        let what = What::Note(journal::kept(note));
        self.control.register.keep(journal::event(&self.app.name, operation, what)).await
    }

    /// The leave that this is about, if it says that the process ended that is being drained: nobody had told it to.
    fn dies_draining(&self, note: &Note) -> Option<OperationNumber> {
        let (Note::Ended { start, .. }, Some(record)) = (note, self.machine.machine().record()) else {
            return None;
        };
        let is_it = record.step() == Some(Step::Draining) && record.owner.start == *start;
        is_it.then_some(record.last_operation)
    }

    /// Whether this says that limits are set of a change of size that is over, and another size stayed: it was set between the end
    /// and the agent's hearing of it, and is put back.
    fn is_undone(&self, operation: Option<OperationNumber>, note: &Note) -> bool {
        let (Note::Sized(sizing), Some(record)) = (note, self.machine.machine().record()) else {
            return false;
        };
        let is_open = record.operation.is_some() && Some(record.last_operation) == operation;
        sizing.is_done() && !is_open && record.size != Some(sizing.to)
    }

    pub(super) fn tell_progress(&mut self) {
        let Some(tracker) = &mut self.tracker else { return };
        if let Some(progress) = tracker.progress() {
            let event = journal::event(&self.app.name, Some(tracker.operation), What::Progress(progress));
            let _ = self.control.heard.send(Heard::Event(event));
        }
    }

    pub(super) async fn parked(
        &mut self,
        gateway: GatewayId,
        account: Account,
        again: bool,
    ) -> Result<(), Gone> {
        // Before gateways are released there is more to come, whatever they know of it.
        let step = self.machine.machine().record().and_then(|record| record.step());
        let is_last = !account.more && matches!(step, None | Some(Step::Retire | Step::Undo));
        let closing = self.closing.as_mut().map(|(tracker, ..)| tracker);
        let (operation, is_news) = match self.tracker.as_mut().or(closing) {
            Some(tracker) => (Some(tracker.operation), tracker.parked(gateway, &account, is_last)),
            // What is said once more belongs to what ended long ago, or is known.
            None => (self.late(gateway, is_last), !again),
        };
        // That nobody saw anything is no event, but an outcome need not wait for more.
        if is_news && account.seen != Seen::default() {
            let what = What::Parked { gateway: gateway.0, account };
            self.control.register.keep(journal::event(&self.app.name, operation, what)).await?;
        }
        self.finish_closing_if_complete().await
    }

    /// The operation to which a gateway still had something to say when its outcome was told.
    fn late(&mut self, gateway: GatewayId, is_last: bool) -> Option<OperationNumber> {
        let (operation, gateways) = self.late.as_mut()?;
        let expected = if is_last { gateways.remove(&gateway) } else { gateways.contains(&gateway) };
        expected.then_some(*operation)
    }

    /// Reports the outcome as soon as every gateway that is there has said all that its clients saw.
    pub(super) async fn finish_closing_if_complete(&mut self) -> Result<(), Gone> {
        let Some((tracker, ..)) = &self.closing else { return Ok(()) };
        let there = |gateway: &&GatewayId| self.control.peers.is_there(Peer::Gateway(**gateway));
        let cloud = self.control.cloud();
        let mut gateways = cloud.gateways.iter().filter(there);
        if !tracker.parks || gateways.all(|gateway| tracker.has_heard(*gateway)) {
            self.finish_closing().await?;
        }
        Ok(())
    }

    pub(super) async fn finish_closing(&mut self) -> Result<(), Gone> {
        let Some((tracker, mut outcome, _)) = self.closing.take() else { return Ok(()) };
        let cloud = self.control.cloud();
        let gateways = cloud.gateways.iter().filter(|_| tracker.parks);
        let late: BTreeSet<_> = gateways.copied().filter(|gateway| !tracker.has_heard(*gateway)).collect();
        tracker.conclude(&mut outcome, late.is_empty());
        self.late = Some((tracker.operation, late)).filter(|(_, late)| !late.is_empty());
        self.last_outcome = Some(outcome.clone());
        self.publish();
        let (carried_bytes, clients_known) = (outcome.carried_bytes, outcome.clients_known);
        let what = What::Concluded(Conclusion { carried_bytes, clients_known });
        self.control.register.keep(journal::event(&self.app.name, Some(outcome.operation), what)).await?;
        self.control.register.tell_outcome(outcome).await
    }
}
