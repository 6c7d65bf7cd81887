//! Questions without any operation being open: what would a move cost, what would losing you cost, would you do with
//! another size? They are asked under the number that the next operation will have, and nothing is done because of them.

use super::{Node, resizing};
use crate::answers::{self, Why};
use crate::holds::now_boot_ms;
use crate::session::{Ahead, Words};
use paci::answer::{Answer, Verdict};
use paci::finding::Finding;
use paci::names;
use paci::upcall::{Reason, Upcall};
use paci::wire::Message;
use paracloud_core::ids::{OperationNumber, StartId};
use paracloud_core::migration::message::Offer;
use paracloud_core::register::Mode;
use paracloud_substrate::message::{FromAgentLine, Note, Preview, Question, UNAWARE, Unasked};

/// What the controller asks.
pub(super) struct Ask {
    pub(super) question: u64,
    pub(super) call: Question,
    pub(super) reason: Reason,
    pub(super) budget_ms: u32,
}

/// What an application has to claim, to be asked this.
fn needed(call: &Question) -> Vec<&'static str> {
    match call {
        Question::Estimate => vec![names::MOVE_ESTIMATE],
        Question::Quote => vec![names::SCALE_QUOTE],
        Question::Resize(resize) => resizing::needed(resize).collect(),
    }
}

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
        let (id, next) = self.askable(name)?;
        let Some(instance) = self.instances.get(name) else { return Err(Unasked::Busy) };
        let budget_ms = instance.app.budgets.prepare_ms;
        let now_ms = self.now_ms();
        let start = self.starts.get_mut(&id).filter(|start| start.runs());
        let start = start.ok_or_else(|| Unasked::Never(format!("it does not run on {}", self.node.name)))?;
        let hands_over = start.session.aware && start.session.can(names::MOVE_HANDOFF);
        let unable = |reason: String| Ok(Some(Preview { hands_over, offer: None, estimate: None, reason }));
        // No Hello is needed for a hold, and it counts in every mode.
        if let Some((remaining_ms, why)) = start.session.holds.against("move", now_boot_ms()) {
            let offer = Some(Offer::Hold { remaining_ms });
            return Ok(Some(Preview { hands_over, offer, estimate: None, reason: why }));
        }
        if !start.session.aware {
            return unable(UNAWARE.to_owned());
        }
        if !hands_over {
            return unable(Unasked::Lacks(names::MOVE_HANDOFF.to_owned()).to_string());
        }
        if !start.session.can(names::MOVE_ESTIMATE) {
            let reason = Unasked::Lacks(names::MOVE_ESTIMATE.to_owned()).to_string();
            return Ok(Some(Preview { hands_over, offer: Some(Offer::Accept), estimate: None, reason }));
        }
        self.is_free(name, id, next)?;
        let Some(start) = self.starts.get_mut(&id) else { return Err(Unasked::Busy) };
        let upcall = answers::question(next, &Question::Estimate, budget_ms, Why::preview(reason));
        // The time that it is told, whatever progress it reports: somebody waits.
        let until_ms = now_ms + u64::from(upcall.budget_ms);
        start.session.asked_ahead = Some(Ahead { question, words: Words::Preview, until_ms, refused: None });
        start.session.ask_ahead(upcall, now_ms);
        self.deliver(id);
        Ok(None)
    }

    /// The controller asks something under the number ahead.
    pub(super) fn question(&mut self, name: &str, ask: Ask) {
        let question = ask.question;
        if let Err(why) = self.try_question(name, ask) {
            self.say(FromAgentLine::Answered { question, answer: Err(why) });
        }
    }

    fn try_question(&mut self, name: &str, ask: Ask) -> Result<(), Unasked> {
        let Ask { question, call, reason, budget_ms } = ask;
        let (id, next) = self.askable(name)?;
        let now_ms = self.now_ms();
        let start = self.starts.get_mut(&id).filter(|start| start.runs());
        let start = start.ok_or_else(|| Unasked::Never(format!("it does not run on {}", self.node.name)))?;
        if !start.session.aware {
            return Err(Unasked::Unaware);
        }
        if let Some(lacking) = needed(&call).iter().find(|capability| !start.session.can(capability)) {
            return Err(Unasked::Lacks((*lacking).to_owned()));
        }
        let upcall = answers::question(next, &call, budget_ms, Why::question(reason, &call));
        // Its attempt is set when it is delivered.
        if let Err(invalid) = (Upcall { attempt: 1, ..upcall.clone() }).validate() {
            return Err(Unasked::Never(format!("no application can be asked that: {invalid}")));
        }
        let until_ms = now_ms + u64::from(upcall.budget_ms);
        self.is_free(name, id, next)?;
        let Some(start) = self.starts.get_mut(&id) else { return Ok(()) };
        start.session.asked_ahead = Some(Ahead { question, words: Words::Answer, until_ms, refused: None });
        start.session.ask_ahead(upcall, now_ms);
        self.deliver(id);
        Ok(())
    }

    /// Who owns an instance, and the number that its next operation will have.
    fn askable(&self, name: &str) -> Result<(StartId, OperationNumber), Unasked> {
        let instance = self.instances.get(name);
        let instance = instance.ok_or_else(|| Unasked::Never("it is not configured here".to_owned()))?;
        let record = instance.machine.machine().record();
        let record =
            record.ok_or_else(|| Unasked::Soon("the agent has not heard yet who owns it".to_owned()))?;
        Ok((record.owner.start, record.last_operation.next()))
    }

    /// Whether a process can be asked under the number ahead now.
    fn is_free(&self, name: &str, id: StartId, next: OperationNumber) -> Result<(), Unasked> {
        let record = self.instances.get(name).and_then(|instance| instance.machine.machine().record());
        let open = record.is_some_and(|record| record.operation.is_some());
        let Some(session) = self.starts.get(&id).map(|start| &start.session) else { return Ok(()) };
        // What is asked of an operation that is over (an `Abort` that has no answer) gives way to what comes next.
        let asked = session.desk.open().is_some_and(|upcall| upcall.operation >= next.0);
        if open || asked {
            return Err(Unasked::Busy);
        }
        if !session.greeted {
            return Err(Unasked::Soon("it has not said Hello since the agent started".to_owned()));
        }
        Ok(())
    }

    /// The application answered what it was asked under the number ahead.
    pub(super) fn answered_ahead(&mut self, id: StartId, answer: &Answer) {
        let Some(start) = self.starts.get_mut(&id) else { return };
        match start.session.asked_ahead.as_ref().map(|ahead| ahead.words) {
            Some(Words::Preview) => self.preview_answered(id, answer),
            Some(Words::Answer) => {
                if matches!(answer.verdict, Verdict::InProgress | Verdict::Unspecified) {
                    return;
                }
                let Some(Ahead { question, .. }) = start.session.asked_ahead.take() else { return };
                self.say(FromAgentLine::Answered { question, answer: Ok(answer.clone()) });
            }
            None => {}
        }
    }

    fn preview_answered(&mut self, id: StartId, answer: &Answer) {
        let Some(start) = self.starts.get_mut(&id) else { return };
        let (offer, notes) = answers::offer(Mode::Handoff, answer);
        let Some(offer) = offer else { return };
        let Some(Ahead { question, .. }) = start.session.asked_ahead.take() else { return };
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

    /// Nobody waits any longer for the answer to what was asked under the number ahead.
    pub(super) fn waited_ahead(&mut self, id: StartId) {
        let Some(start) = self.starts.get_mut(&id) else { return };
        let Some(mut ahead) = start.session.asked_ahead.take() else { return };
        start.session.desk.withdraw();
        let late = match ahead.words {
            Words::Preview => "the application did not answer within its budget (move.prepare)",
            Words::Answer => "the application did not answer within its budget",
        };
        let why = match ahead.refused.take() {
            Some(refused) => format!("{late}; its last answer was refused: {refused}"),
            None => late.to_owned(),
        };
        self.unasked(&ahead, Unasked::Never(why));
    }

    /// Says why there is no answer to what was asked under the number ahead.
    pub(super) fn unasked(&mut self, ahead: &Ahead, why: Unasked) {
        match ahead.words {
            Words::Preview => self.previewed(ahead.question, Err(why)),
            Words::Answer => {
                self.say(FromAgentLine::Answered { question: ahead.question, answer: Err(why) });
            }
        }
    }

    fn previewed(&mut self, question: u64, answer: Result<Preview, Unasked>) {
        self.say(FromAgentLine::Previewed { question, answer });
    }
}
