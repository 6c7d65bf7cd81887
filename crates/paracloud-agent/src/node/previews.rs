//! What would a move cost? Asked without any move being open.

use super::{Node, now_unix_ms};
use crate::answers::{self, Why};
use paci::answer::Answer;
use paci::finding::Finding;
use paci::names;
use paci::participant::Call;
use paci::upcall::{Reason, Upcall};
use paracloud_core::ids::StartId;
use paracloud_core::migration::message::Offer;
use paracloud_core::register::Mode;
use paracloud_substrate::message::{FromAgentLine, Note, Preview, Unasked};

impl Node {
    /// The controller asks for a preview.
    pub(super) fn preview(&mut self, name: &str, question: u64, reason: Reason) {
        match self.try_preview(name, question, reason) {
            Ok(None) => {}
            Ok(Some(preview)) => self.previewed(question, Ok(preview)),
            Err(why) => self.previewed(question, Err(why)),
        }
    }

    /// `None`: the application is asked first.
    fn try_preview(&mut self, name: &str, question: u64, reason: Reason) -> Result<Option<Preview>, Unasked> {
        let instance = self.instances.get(name);
        let instance = instance.ok_or_else(|| Unasked::Never("it is not configured here".to_owned()))?;
        let record = instance.machine.machine().record();
        let record =
            record.ok_or_else(|| Unasked::Soon("the agent has not heard yet who owns it".to_owned()))?;
        let (id, next, open) = (record.owner.start, record.last_operation.next(), record.operation.is_some());
        let budgets = instance.app.budgets;
        let now_ms = self.now_ms();
        let start = self.starts.get_mut(&id).filter(|start| start.runs());
        let start = start.ok_or_else(|| Unasked::Never(format!("it does not run on {}", self.node.name)))?;
        let hands_over = start.session.aware && start.session.can(names::MOVE_HANDOFF);
        let unable = |reason: String| Ok(Some(Preview { hands_over, offer: None, estimate: None, reason }));
        // No Hello is needed for a hold, and it counts in every mode.
        if let Some((remaining_ms, why)) = start.session.holds.against("move", now_unix_ms()) {
            let offer = Some(Offer::Hold { remaining_ms });
            return Ok(Some(Preview { hands_over, offer, estimate: None, reason: why }));
        }
        if !start.session.aware {
            return unable("it does not speak PaCI".to_owned());
        }
        if !hands_over {
            return unable(format!("it does not claim the capability {}", names::MOVE_HANDOFF));
        }
        if !start.session.can(names::MOVE_ESTIMATE) {
            let reason = format!("it does not claim the capability {}", names::MOVE_ESTIMATE);
            return Ok(Some(Preview { hands_over, offer: Some(Offer::Accept), estimate: None, reason }));
        }
        // What is asked of an operation that is over (an `Abort` that has no answer) gives way to what comes next.
        let asked = start.session.desk.open().is_some_and(|upcall| upcall.operation >= next.0);
        if open || asked {
            return Err(Unasked::Busy);
        }
        if !start.session.greeted {
            return Err(Unasked::Soon("it has not said Hello since the agent started".to_owned()));
        }
        let upcall = answers::upcall(next, Call::Estimate, "", None, &budgets, Why::preview(reason));
        // The time that it is told, whatever progress it reports: somebody waits.
        start.session.preview = Some((question, now_ms + u64::from(upcall.budget_ms)));
        start.session.preview_refused = None;
        start.session.ask_ahead(Upcall { dry_run: true, ..upcall }, now_ms);
        self.deliver(id);
        Ok(None)
    }

    /// The application answered one.
    pub(super) fn preview_answered(&mut self, id: StartId, answer: &Answer) {
        let Some(start) = self.starts.get_mut(&id) else { return };
        let (offer, notes) = answers::offer(Mode::Handoff, answer);
        let Some(offer) = offer else { return };
        let Some((question, _)) = start.session.preview.take() else { return };
        let estimate = match &answer.result {
            Some(Finding::Estimate(estimate)) => Some(estimate.clone()),
            Some(_) | None => None,
        };
        let why =
            notes.into_iter().find_map(|note| if let Note::Reason(why) = note { Some(why) } else { None });
        let reason = why.unwrap_or_else(|| answer.message.clone());
        // One that estimates and names other modes alone cannot hand over.
        let offer = if offer == Offer::Refuse && estimate.is_some() { None } else { Some(offer) };
        self.previewed(question, Ok(Preview { hands_over: true, offer, estimate, reason }));
    }

    /// Nobody waits for the answer to a preview any longer.
    pub(super) fn preview_waited(&mut self, id: StartId) {
        let Some(start) = self.starts.get_mut(&id) else { return };
        let Some((question, _)) = start.session.preview.take() else { return };
        start.session.desk.withdraw();
        let late = "the application did not answer within its budget (move.prepare)".to_owned();
        let why = match start.session.preview_refused.take() {
            Some(refused) => format!("{late}; its last answer was refused: {refused}"),
            None => late,
        };
        self.previewed(question, Err(Unasked::Never(why)));
    }

    pub(super) fn previewed(&mut self, question: u64, answer: Result<Preview, Unasked>) {
        self.say(FromAgentLine::Previewed { question, answer });
    }
}
