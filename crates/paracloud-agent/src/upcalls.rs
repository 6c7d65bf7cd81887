//! The upcalls of one process: what it is asked, how often it was delivered, and what it answered.
//!
//! Without I/O and without a clock: `now_ms` counts from any beginning and never goes back.

use paci::answer::{Answer, Verdict};
use paci::bounds;
use paci::call::Call;
use paci::error::{ErrorBody, ErrorCode};
use paci::finding::Finding;
use paci::upcall::Upcall;
use std::collections::{BTreeMap, VecDeque};

/// Operations whose deliveries are remembered; answers to older ones are told that the operation is closed.
const OPERATIONS_MAX: usize = 8;

/// Questions that have a final answer and are not asked any more, of which another answer is known to be another.
const SETTLED_MAX: usize = 8;
/// Whatever progress it reports, an `Abort` is waited for as long as so many of its budgets.
const ABORT_BUDGETS_MAX: u64 = 4;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// The number of the last delivery, of each operation.
    delivered: BTreeMap<u32, u32>,
    question: Option<Question>,
    /// What was asked before and has its final answer, oldest first.
    settled: VecDeque<Question>,
    abort: Option<Patience>,
}

/// How long the `Abort` of an operation is waited for, however often it is asked anew: it decides nothing, so it must not
/// keep its operation open for ever.
#[derive(Debug)]
struct Patience {
    operation: u32,
    asked_ms: u64,
    until_ms: u64,
    /// This asking of it counted as answered.
    over: bool,
}

#[derive(Debug)]
struct Question {
    upcall: Upcall,
    /// Number of its first delivery: answers to earlier ones are answers to another call.
    first: u32,
    state: State,
    /// Deliveries since the last answer that had none in their time, whether somebody polled for them or nobody.
    unanswered: u32,
    /// When it was delivered first.
    first_ms: Option<u64>,
    /// What ends its operation has no final answer, and its budget is used up.
    is_overdue: bool,
    /// It was said that nothing comes of it.
    is_told: bool,
}

#[derive(Debug)]
enum State {
    /// To be delivered. The time of a delivery that nobody polls for counts from here.
    Due { since_ms: u64 },
    /// Delivered, and nothing was heard.
    Delivered { at_ms: u64 },
    /// `IN_PROGRESS` was heard.
    Working { at_ms: u64 },
    /// To be asked again.
    Deferred { until_ms: u64 },
    /// Refused or deferred; whoever asked decides what comes of it.
    Standing,
    /// Answered for good.
    Settled(Box<Answer>),
}

/// What an answer is worth.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It answers the question.
    Counts,
    /// It was given before, or answers an earlier call: acknowledged, and counts for nothing.
    Nothing,
}

impl Desk {
    /// A desk that knows of deliveries made before.
    pub(crate) fn resumed(delivered: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut desk = Self::default();
        for (operation, attempt) in delivered {
            desk.note(operation, attempt);
        }
        desk
    }

    /// The last delivery of each operation.
    pub(crate) fn deliveries(&self) -> impl Iterator<Item = (u32, u32)> {
        self.delivered.iter().map(|(operation, attempt)| (*operation, *attempt))
    }

    /// Asks, in the place of whatever was asked before.
    pub(crate) fn ask(&mut self, upcall: Upcall, now_ms: u64) {
        if matches!(upcall.call, Some(Call::Abort(_))) {
            let of_before = self.abort.take().filter(|patience| patience.operation == upcall.operation);
            let until_ms = now_ms + u64::from(upcall.budget_ms);
            let fresh = Patience { operation: upcall.operation, asked_ms: now_ms, until_ms, over: false };
            self.abort = Some(Patience { over: false, ..of_before.unwrap_or(fresh) });
        }
        self.withdraw();
        let first = self.delivered.get(&upcall.operation).copied().unwrap_or(0).saturating_add(1);
        self.question = Some(Question {
            upcall,
            first,
            state: State::Due { since_ms: now_ms },
            unanswered: 0,
            first_ms: None,
            is_overdue: false,
            is_told: false,
        });
    }

    /// Asks no more.
    pub(crate) fn withdraw(&mut self) {
        let settled = self.question.take().filter(|question| matches!(question.state, State::Settled(_)));
        self.settled.extend(settled);
        if self.settled.len() > SETTLED_MAX {
            self.settled.pop_front();
        }
    }

    /// What is asked, if it has no answer that stands.
    pub(crate) fn open(&self) -> Option<&Upcall> {
        let question = self.question.as_ref()?;
        match question.state {
            State::Due { .. } | State::Delivered { .. } | State::Working { .. } | State::Deferred { .. } => {
                Some(&question.upcall)
            }
            State::Standing | State::Settled(_) => None,
        }
    }

    /// The question, answered or not.
    pub(crate) fn question(&self) -> Option<&Upcall> {
        self.question.as_ref().map(|question| &question.upcall)
    }

    /// When an `Abort` that stands without an answer counts as answered.
    pub(crate) fn lapses_ms(&self) -> Option<u64> {
        let open = self.open().filter(|upcall| matches!(upcall.call, Some(Call::Abort(_))))?;
        let patience = self.abort.as_ref().filter(|it| it.operation == open.operation && !it.over)?;
        Some(patience.until_ms)
    }

    /// Says once that an `Abort` counts as answered from now on, and how long it was waited for, in milliseconds. It stands,
    /// and is delivered on.
    pub(crate) fn lapse(&mut self, now_ms: u64) -> Option<u64> {
        if self.lapses_ms()? > now_ms {
            return None;
        }
        let patience = self.abort.as_mut()?;
        patience.over = true;
        Some(now_ms.saturating_sub(patience.asked_ms))
    }

    /// When something is to be delivered.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        match self.question.as_ref()?.state {
            State::Due { since_ms } => Some(since_ms),
            State::Delivered { at_ms } => Some(at_ms + u64::from(bounds::ACK_MS)),
            State::Working { at_ms } => Some(at_ms + 2 * u64::from(bounds::HEARTBEAT_MS)),
            State::Deferred { until_ms } => Some(until_ms),
            State::Standing | State::Settled(_) => None,
        }
    }

    /// The next delivery, if one is due.
    pub(crate) fn deliver(&mut self, now_ms: u64) -> Option<Upcall> {
        if self.due_ms()? > now_ms {
            return None;
        }
        let question = self.question.as_mut()?;
        let operation = question.upcall.operation;
        let attempt = self.delivered.get(&operation).copied().unwrap_or(0).saturating_add(1);
        question.upcall.attempt = attempt;
        question.count(matches!(question.state, State::Delivered { .. }));
        question.state = State::Delivered { at_ms: now_ms };
        question.first_ms.get_or_insert(now_ms);
        let upcall = question.upcall.clone();
        self.note(operation, attempt);
        Some(upcall)
    }

    /// The last delivery reached nobody.
    pub(crate) fn returned(&mut self) {
        if let Some(question) = &mut self.question
            && let State::Delivered { at_ms } = question.state
        {
            question.state = State::Due { since_ms: at_ms };
        }
    }

    /// When [`Self::miss`] has something to count; `None`: not before somebody polls.
    pub(crate) fn misses_ms(&self) -> Option<u64> {
        let question = self.question.as_ref().filter(|question| !question.is_silent())?;
        let due_ms = self.due_ms()?;
        let time_ms = if matches!(question.state, State::Delivered { .. }) { 0 } else { bounds::ACK_MS };
        Some(due_ms + u64::from(time_ms))
    }

    /// Nobody polls. A delivery that is due and finds nobody for as long as an answer to one is waited for counts as one
    /// without an answer. It is not made: its number is still to be used.
    pub(crate) fn miss(&mut self, now_ms: u64) {
        if self.misses_ms().is_none_or(|misses_ms| misses_ms > now_ms) {
            return;
        }
        if let Some(question) = &mut self.question {
            question.count(true);
            question.state = State::Due { since_ms: now_ms };
        }
    }

    /// When what ends an operation is overdue, if it is not yet: it has its budget, whatever is said meanwhile. Its operation
    /// stays open until it is done, so people have to hear that it is not.
    pub(crate) fn overdue_ms(&self) -> Option<u64> {
        let ends = matches!(self.open()?.call, Some(Call::Resume(_) | Call::Serve(_)));
        let question = self.question.as_ref().filter(|question| ends && !question.is_overdue)?;
        Some(question.first_ms? + u64::from(question.upcall.budget_ms))
    }

    /// Time has passed.
    pub(crate) fn wait(&mut self, now_ms: u64) {
        if self.overdue_ms().is_some_and(|overdue_ms| overdue_ms <= now_ms)
            && let Some(question) = &mut self.question
        {
            question.is_overdue = true;
        }
    }

    /// Whether the application is not responsive: what it is asked had no answer too often, or none that is final in its
    /// time.
    pub(crate) fn is_silent(&self) -> bool {
        let is_silent = |question: &Question| question.is_silent() || question.is_overdue;
        self.open().is_some() && self.question.as_ref().is_some_and(is_silent)
    }

    /// Whether it says that it is at work, or will be.
    pub(crate) fn is_at_work(&self) -> bool {
        let question = self.question.as_ref();
        question.is_some_and(|it| matches!(it.state, State::Working { .. } | State::Deferred { .. }))
    }

    /// Whether it has just become so: said once until it answers.
    pub(crate) fn falls_silent(&mut self) -> bool {
        let is_silent = self.is_silent();
        let Some(question) = &mut self.question else { return false };
        is_silent && !std::mem::replace(&mut question.is_told, is_silent)
    }

    fn note(&mut self, operation: u32, attempt: u32) {
        self.delivered.insert(operation, attempt);
        while self.delivered.len() > OPERATIONS_MAX {
            self.delivered.pop_first();
        }
    }

    /// Takes an answer in. `closed`: the register says that its operation is over.
    pub(crate) fn answer(&mut self, answer: &Answer, closed: bool, now_ms: u64) -> Result<Taken, ErrorBody> {
        let older = self.delivered.len() == OPERATIONS_MAX
            && self.delivered.first_key_value().is_some_and(|(first, _)| answer.operation < *first);
        if older {
            return Err(over());
        }
        if self.delivered.get(&answer.operation).is_none_or(|last| answer.attempt > *last) {
            let what =
                format!("operation {}, attempt {} was never delivered", answer.operation, answer.attempt);
            return Err(ErrorBody::new(ErrorCode::OperationUnknown, &what));
        }
        let current = self
            .question
            .as_mut()
            .filter(|it| it.upcall.operation == answer.operation && it.first <= answer.attempt);
        let Some(question) = current else {
            let earlier = self.settled.iter().find(|question| {
                let attempts = question.first..=question.upcall.attempt;
                question.upcall.operation == answer.operation && attempts.contains(&answer.attempt)
            });
            let unsettled = if closed { Err(over()) } else { Ok(Taken::Nothing) };
            return earlier.and_then(|question| question.again(answer, closed)).unwrap_or(unsettled);
        };
        let Some(call) = &question.upcall.call else { return Ok(Taken::Nothing) };
        answer.answers(call)?;
        if let Some(worth) = question.again(answer, closed) {
            return worth;
        }
        let state = match answer.verdict {
            Verdict::Done | Verdict::Unsupported | Verdict::Failed => {
                State::Settled(Box::new(answer.clone()))
            }
            // Who asked what a thing would cost does not wait until it can be: that is the answer.
            Verdict::Defer if !matches!(call, Call::Estimate(_)) && !question.upcall.dry_run => {
                State::Deferred { until_ms: now_ms + u64::from(answer.retry_after_ms) }
            }
            Verdict::Defer | Verdict::Refuse => State::Standing,
            Verdict::InProgress | Verdict::Unspecified => State::Working { at_ms: now_ms },
        };
        if closed {
            // It counts for nothing, but what was answered is not asked on.
            if matches!(state, State::Settled(_) | State::Standing) {
                question.state = state;
            }
            return Err(over());
        }
        if let (Some(patience), State::Working { .. }, Call::Abort(_)) = (&mut self.abort, &state, call) {
            let budget_ms = u64::from(question.upcall.budget_ms);
            let longest_ms = patience.asked_ms + ABORT_BUDGETS_MAX * budget_ms;
            patience.until_ms = patience.until_ms.max((now_ms + budget_ms).min(longest_ms));
        }
        (question.unanswered, question.is_told) = (0, question.is_told && question.is_overdue);
        question.state = state;
        Ok(Taken::Counts)
    }
}

impl Question {
    /// One delivery more had no answer, if so.
    fn count(&mut self, had_none: bool) {
        self.unanswered = self.unanswered.saturating_add(had_none.into());
    }

    fn is_silent(&self) -> bool {
        self.unanswered >= bounds::UNANSWERED_MAX
    }

    /// What an answer is worth once there was a final one: nothing, or it is another one.
    fn again(&self, answer: &Answer, closed: bool) -> Option<Result<Taken, ErrorBody>> {
        let State::Settled(settled) = &self.state else { return None };
        if !answer.is_final() || is_same(settled, answer) {
            return Some(Ok(Taken::Nothing));
        }
        if closed {
            return Some(Err(over()));
        }
        let name = self.upcall.call.as_ref().map_or("it", Call::name);
        let what = format!("{name} was answered {} before; that counts", settled.verdict);
        Some(Err(ErrorBody::new(ErrorCode::AnswerDiffers, &what)))
    }
}

fn over() -> ErrorBody {
    ErrorBody::new(ErrorCode::OperationClosed, "the operation is over")
}

/// Whether two final answers say the same. Figures and words may differ: they decide nothing.
fn is_same(settled: &Answer, again: &Answer) -> bool {
    let decides = |answer: &Answer| match &answer.result {
        Some(Finding::Sealed(_) | Finding::Loaded(_)) => answer.result.clone(),
        Some(
            Finding::Estimate(_)
            | Finding::Copy(_)
            | Finding::Blocked(_)
            | Finding::InFlight(_)
            | Finding::Quote(_)
            | Finding::Fit(_),
        )
        | None => None,
    };
    settled.verdict == again.verdict && settled.code == again.code && decides(settled) == decides(again)
}

#[cfg(test)]
mod tests;
