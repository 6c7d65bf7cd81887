//! From the contract's words to the machine's and back. Pure.

use paci::answer::{Answer, Verdict};
use paci::bounds;
use paci::call::{self, Mode, Prepare, Resume, Schema, Seal, Serve};
use paci::finding::{CopyProgress, Finding};
use paci::instance::Standing;
use paci::names::AnswerCode;
use paci::participant::{self, Answer as Told, Call, Outcome, Side};
use paci::proof;
use paci::upcall::{Reason, Upcall};
use paracloud_core::ids::{OperationNumber, StartId};
use paracloud_core::migration::agent::FromApp;
use paracloud_core::migration::message::{Offer, Progress};
use paracloud_core::register;
use paracloud_substrate::config::Budgets;
use paracloud_substrate::figures::millis;
use paracloud_substrate::message::{Note, Question, Speaker};

/// What an answer means to the machine, and to people.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Heard {
    pub(crate) inputs: Vec<FromApp>,
    pub(crate) notes: Vec<Note>,
}

/// What the agent itself has to say.
pub(crate) fn remark(what: String) -> Note {
    Note::Remark { by: Speaker::Agent, what }
}

/// Why an application is asked something, for the application and its people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Why {
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl Why {
    /// A move that is only thought of.
    pub(crate) fn preview(reason: Reason) -> Self {
        Self::question(reason, &Question::Estimate)
    }

    /// A question that nothing is done because of.
    pub(crate) fn question(reason: Reason, question: &Question) -> Self {
        let what = match question {
            Question::Estimate => "what a move would cost",
            Question::Quote => "what losing this instance would cost now",
            Question::Resize(_) => "whether it would do with another size",
        };
        Self { reason, message: format!("{} {what}", who_asks(reason)) }
    }

    /// Another size.
    pub(crate) fn size(reason: Reason) -> Self {
        Self { reason, message: format!("{} for another size", who_asks(reason)) }
    }

    /// A call of a move; what it leads to, if not to its end.
    pub(crate) fn call(reason: Reason, operation: Option<&register::Move>, call: &Call) -> Self {
        let places =
            operation.map(|it| format!(" from {} to {}", it.source.node, it.target.node)).unwrap_or_default();
        let asked = format!("{} for the move{places}", who_asks(reason));
        let message = match call {
            Call::Abort | Call::Resume { outcome: Outcome::RolledBack, .. } => {
                format!("{asked}; it was given up")
            }
            Call::Resume { outcome: Outcome::Committed, .. } | Call::Serve { .. } => {
                format!("{asked}; it is committed")
            }
            Call::Drain => format!("{} for its leave", who_asks(reason)),
            Call::Estimate | Call::Prepare(_) | Call::Seal => asked,
        };
        Self { reason, message }
    }
}

fn who_asks(reason: Reason) -> &'static str {
    match reason {
        Reason::Person => "a person asks",
        Reason::Asked => "as it asked itself, the cloud asks",
        Reason::Unspecified
        | Reason::Maintenance
        | Reason::ScaleIn
        | Reason::ScaleOut
        | Reason::Rebalance
        | Reason::Upgrade
        | Reason::Preemption
        | Reason::Consolidation
        | Reason::Hardware
        | Reason::Test => "the cloud asks",
    }
}

/// The upcall of a machine's call. `schema`: what the source of the move sends, as far as it said so.
pub(crate) fn upcall(
    operation: OperationNumber,
    call: Call,
    token: &str,
    schema: Option<&Schema>,
    budgets: &Budgets,
    why: Why,
) -> Upcall {
    let Why { reason, message } = why;
    let (call, budget_ms) = match call {
        Call::Estimate => (call::Call::Estimate(call::Estimate {}), budgets.prepare_ms),
        Call::Prepare(side) => {
            let side = match side {
                Side::Source => call::Side::Source,
                Side::Target => call::Side::Target,
            };
            let channel_token = token.into();
            let schema = schema.filter(|_| side == call::Side::Target).cloned();
            let prepare = Prepare { side, mode: Mode::Handoff, channel_token, schema };
            (call::Call::Prepare(prepare), budgets.prepare_ms.saturating_add(budgets.copy_ms))
        }
        Call::Seal => {
            let seal = Seal { pause_ms_max: budgets.pause_ms_max, guard_wait_ms: budgets.guard_wait_ms };
            (call::Call::Seal(seal), budgets.seal_ms)
        }
        Call::Resume { incarnation, outcome } => {
            let outcome = match outcome {
                Outcome::Committed => call::Outcome::Committed,
                Outcome::RolledBack => call::Outcome::RolledBack,
            };
            (call::Call::Resume(Resume { incarnation, outcome }), budgets.switch_ms)
        }
        Call::Serve { incarnation } => (call::Call::Serve(Serve { incarnation }), budgets.switch_ms),
        Call::Abort => (call::Call::Abort(call::Abort {}), budgets.switch_ms),
        Call::Drain => (call::Call::Drain(call::Drain { reversible: true }), bounds::DURATION_MS_MAX),
    };
    let budget_ms = budget_ms.min(bounds::DURATION_MS_MAX);
    Upcall { operation: operation.0, budget_ms, reason, message, call: Some(call), ..Upcall::default() }
}

/// The upcall of a question under the number ahead.
pub(crate) fn question(next: OperationNumber, question: &Question, budget_ms: u32, why: Why) -> Upcall {
    let call = match question {
        Question::Estimate => call::Call::Estimate(call::Estimate {}),
        Question::Quote => call::Call::Quote(call::Quote {}),
        Question::Resize(resize) => call::Call::Resize(*resize),
    };
    let (Why { reason, message }, budget_ms) = (why, budget_ms.min(bounds::DURATION_MS_MAX));
    let call = Some(call);
    Upcall { operation: next.0, budget_ms, reason, dry_run: true, message, call, ..Upcall::default() }
}

/// The contract's word for what the register says of a process.
pub(crate) fn standing(standing: participant::Standing) -> Standing {
    match standing {
        participant::Standing::Owner => Standing::Owner,
        participant::Standing::Staging => Standing::Staging,
        participant::Standing::Outdated => Standing::Outdated,
        participant::Standing::Undecided => Standing::Undecided,
    }
}

/// Takes an answer that counts. `staged`: this question was said to be staged before.
pub(crate) fn hear(
    start: StartId,
    operation: OperationNumber,
    asked: &call::Call,
    mode: register::Mode,
    answer: &Answer,
    staged: bool,
) -> Heard {
    let mut heard = Heard::default();
    if let call::Call::Estimate(_) = asked {
        let (offer, notes) = offer(mode, answer);
        heard.notes = notes;
        if let Some(offer) = offer {
            heard.inputs.push(FromApp::Offer(operation, offer));
            heard.inputs.push(FromApp::Answer(operation, Told::Estimated));
        }
        return heard;
    }
    if let call::Call::Abort(_) = asked {
        return aborted(start, operation, answer);
    }
    if let (call::Call::Drain(_), Verdict::Refuse | Verdict::Defer) = (asked, answer.verdict) {
        heard.notes.push(failure(start, answer));
        heard.inputs.push(FromApp::Offer(operation, Offer::Refuse));
        return heard;
    }
    if answer.code == AnswerCode::OperationClosed.as_str() {
        heard.inputs.push(FromApp::Answer(operation, Told::OperationClosed));
        return heard;
    }
    if let Some(Finding::Blocked(blocked)) = &answer.result {
        heard.notes.push(Note::Blocked { route: blocked.route.clone(), held_ms: blocked.held_ms });
        heard.inputs.push(FromApp::Answer(operation, Told::Blocked));
        return heard;
    }
    let told = match answer.verdict {
        Verdict::Done => done(asked, answer),
        Verdict::InProgress | Verdict::Unspecified => None,
        Verdict::Defer if !matches!(asked, call::Call::Seal(_)) => None,
        Verdict::Defer | Verdict::Refuse | Verdict::Unsupported | Verdict::Failed => {
            heard.notes.push(failure(start, answer));
            Some(Told::Failed)
        }
    };
    if let (call::Call::Prepare(prepare), Some(Finding::Copy(copy))) = (asked, &answer.result) {
        let was_staged = staged || answer.verdict == Verdict::Done;
        if copy.staged && !was_staged {
            heard.inputs.push(FromApp::Answer(operation, Told::Prepared));
        }
        if prepare.side == call::Side::Source
            && let Some(progress) = progress(copy)
        {
            heard.inputs.push(FromApp::Progress(operation, progress));
            heard.notes.push(Note::Copying {
                remaining_records: progress.remaining_records,
                predicted_pause_ms: progress.predicted_pause_ms,
            });
        }
    }
    if let Some(told) = told {
        heard.inputs.push(FromApp::Answer(operation, told));
    }
    heard
}

/// Nothing hangs on what is said to `Abort`: the owner was never told to seal, and owns on. Whatever is final ends it.
fn aborted(start: StartId, operation: OperationNumber, answer: &Answer) -> Heard {
    let notes = match answer.verdict {
        Verdict::Done => Vec::new(),
        Verdict::Refuse | Verdict::Unsupported | Verdict::Failed => vec![failure(start, answer)],
        Verdict::InProgress | Verdict::Defer | Verdict::Unspecified => return Heard::default(),
    };
    Heard { inputs: vec![FromApp::Answer(operation, Told::Aborted)], notes }
}

/// What people hear of an `Abort` that counts as answered, after so many milliseconds.
pub(crate) fn unanswered_abort(start: StartId, waited_ms: u64) -> Note {
    let message = format!(
        "it did not answer abort for {}, which counts as an answer; it is told again until it answers",
        millis(waited_ms)
    );
    Note::Failure { start, code: "ABORT_UNANSWERED".to_owned(), message }
}

fn done(asked: &call::Call, answer: &Answer) -> Option<Told> {
    match (asked, &answer.result) {
        (call::Call::Seal(_), Some(Finding::Sealed(sealed))) => {
            sealed.parse().ok().map(held).map(Told::Sealed)
        }
        (call::Call::Prepare(_), Some(Finding::Loaded(loaded))) => {
            let (holds, stated) = (loaded.held().ok()?, loaded.stated().ok()?);
            Some(Told::Loaded { held: held(holds), stated: held(stated) })
        }
        (call::Call::Prepare(_), _) => Some(Told::Prepared),
        (call::Call::Resume(_), _) => Some(Told::Resumed),
        (call::Call::Serve(_), _) => Some(Told::Serving),
        (call::Call::Drain(_), _) => Some(Told::Drained),
        (
            call::Call::Seal(_)
            | call::Call::Estimate(_)
            | call::Call::Abort(_)
            | call::Call::Stop(_)
            | call::Call::Quote(_)
            | call::Call::Resize(_),
            _,
        ) => None,
    }
}

fn held((position, digest): (u64, Vec<u8>)) -> participant::Sealed {
    participant::Sealed { position, digest }
}

/// What is absent is unknown: a copy that cannot predict its pause has no progress to judge.
fn progress(copy: &CopyProgress) -> Option<Progress> {
    Some(Progress {
        sent_kib: copy.sent_kib,
        remaining_records: copy.remaining_records.unwrap_or(u32::MAX),
        predicted_pause_ms: copy.predicted_pause_ms?,
    })
}

pub(crate) fn failure(start: StartId, answer: &Answer) -> Note {
    let code = if answer.code.is_empty() { answer.verdict.to_string() } else { answer.code.clone() };
    Note::Failure { start, code, message: answer.message.clone() }
}

/// A note of an answer, and if it says that a target cannot read what the source sends, with the name of that: the
/// target's own words may say only what it reads.
pub(crate) fn with_schema(asked: &call::Call, note: Note) -> Note {
    match (asked, note) {
        (
            call::Call::Prepare(Prepare { schema: Some(Schema { name, version }), .. }),
            Note::Failure { start, code, message },
        ) if code == AnswerCode::SchemaUnknown.as_str()
            && !message.contains(&format!("{name} {version}")) =>
        {
            let message = format!("the source has {name} {version}: {message}");
            Note::Failure { start, code, message }
        }
        (_, note) => note,
    }
}

/// What an answer to `Estimate` says of a move in this mode; `None`: nothing yet.
pub(crate) fn offer(mode: register::Mode, answer: &Answer) -> (Option<Offer>, Vec<Note>) {
    let wanted = match mode {
        register::Mode::Handoff => Mode::Handoff,
        register::Mode::Restart => Mode::Restart,
    };
    match (&answer.verdict, &answer.result) {
        (Verdict::Done, Some(Finding::Estimate(estimate))) => {
            let mut notes = vec![Note::Estimate(estimate.clone())];
            // An estimate that names no modes leaves it to the capabilities. A restart was consented to by others.
            if mode == register::Mode::Restart
                || estimate.modes.is_empty()
                || estimate.modes.contains(&wanted)
            {
                return (Some(Offer::Accept), notes);
            }
            let own = if answer.message.is_empty() { String::new() } else { format!(": {}", answer.message) };
            notes.push(Note::Reason(format!("it does not offer the mode {wanted}{own}")));
            (Some(Offer::Refuse), notes)
        }
        (Verdict::Defer, _) => {
            (Some(Offer::Hold { remaining_ms: answer.retry_after_ms }), vec![Note::Reason(reason(answer))])
        }
        (Verdict::InProgress, _) => (None, Vec::new()),
        (
            Verdict::Done | Verdict::Refuse | Verdict::Unsupported | Verdict::Failed | Verdict::Unspecified,
            _,
        ) => (Some(Offer::Refuse), vec![Note::Reason(reason(answer))]),
    }
}

/// Why, for people.
pub(crate) fn reason(answer: &Answer) -> String {
    match (answer.code.is_empty(), answer.message.is_empty()) {
        (true, true) => answer.verdict.to_string(),
        (true, false) => answer.message.clone(),
        (false, true) => answer.code.clone(),
        (false, false) => format!("{}: {}", answer.code, answer.message),
    }
}

/// 16 random bytes in hexadecimal: a channel token.
pub(crate) fn fresh_token() -> String {
    proof::hex(&rand::random::<[u8; bounds::CHANNEL_TOKEN_DIGITS / 2]>())
}

#[cfg(test)]
mod tests;
