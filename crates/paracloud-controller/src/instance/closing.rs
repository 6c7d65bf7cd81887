//! What people hear of an operation: notes, progress, and the outcome with what clients saw.

use super::Instance;
use crate::journal::{self, Heard};
use crate::operations::{Figures, Tracker};
use crate::peers::Peer;
use crate::register::Gone;
use paracloud_core::ids::{GatewayId, OperationNumber};
use paracloud_substrate::message::Note;
use paracloud_substrate::person::What;

impl Instance {
    pub(super) async fn note(&mut self, operation: Option<OperationNumber>, note: Note) -> Result<(), Gone> {
        let current = |tracker: &&mut Tracker| operation.is_none_or(|number| number == tracker.operation);
        let closing = self.closing.as_mut().map(|(tracker, ..)| tracker);
        if let Some(tracker) = self.tracker.as_mut().or(closing).filter(current) {
            match &note {
                Note::Estimate(estimate) => tracker.estimated(estimate),
                Note::Carried { bytes } => tracker.carried(*bytes),
                Note::Copying { predicted_pause_ms, .. } => tracker.predicted(*predicted_pause_ms),
                Note::Reason(_)
                | Note::Blocked { .. }
                | Note::Ended { .. }
                | Note::Unready { .. }
                | Note::Unresponsive { .. }
                | Note::Breach { .. }
                | Note::Failure { .. } => tracker.troubled(&journal::kept(note.clone())),
            }
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

    pub(super) fn tell_progress(&mut self) {
        let Some(tracker) = &mut self.tracker else { return };
        if let Some(progress) = tracker.progress() {
            let event = journal::event(&self.app.name, Some(tracker.operation), What::Progress(progress));
            let _ = self.control.heard.send(Heard::Event(event));
        }
    }

    pub(super) async fn parked(&mut self, gateway: GatewayId, figures: Figures) -> Result<(), Gone> {
        let closing = self.closing.as_mut().map(|(tracker, ..)| tracker);
        let operation = self.tracker.as_mut().or(closing).map(|tracker| {
            tracker.parked(gateway, figures);
            tracker.operation
        });
        // That nobody waited is no event, but an outcome need not wait for more.
        if figures != Figures::default() {
            let what = What::Parked {
                gateway: gateway.0,
                requests: figures.requests,
                parked_us_max: figures.parked_us_max,
                failed: figures.failed,
            };
            self.control.register.keep(journal::event(&self.app.name, operation, what)).await?;
        }
        self.finish_closing_if_complete().await
    }

    /// Reports the outcome as soon as every gateway that is there has said what its clients saw.
    pub(super) async fn finish_closing_if_complete(&mut self) -> Result<(), Gone> {
        let Some((tracker, ..)) = &self.closing else { return Ok(()) };
        let there = |gateway: &&GatewayId| self.control.peers.is_there(Peer::Gateway(**gateway));
        let mut gateways = self.control.cloud.gateways.iter().filter(there);
        if !tracker.parks || gateways.all(|gateway| tracker.has_heard(*gateway)) {
            self.finish_closing().await?;
        }
        Ok(())
    }

    pub(super) async fn finish_closing(&mut self) -> Result<(), Gone> {
        let Some((tracker, mut outcome, _)) = self.closing.take() else { return Ok(()) };
        tracker.add_figures(&mut outcome);
        self.last_outcome = Some(outcome.clone());
        self.publish();
        self.control.register.tell_outcome(outcome).await
    }
}
