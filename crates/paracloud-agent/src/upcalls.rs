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
mod tests {
    use super::*;
    use paci::call::{Abort, Prepare, Seal, Serve, Side};
    use paci::names::AnswerCode;
    use paci::proof::Sealed;

    fn seal(operation: u32) -> Upcall {
        Upcall { operation, call: Some(Call::Seal(Seal::default())), ..Upcall::default() }
    }

    fn sealed(upcall: &Upcall, position: u64) -> Answer {
        Answer::to(upcall, Verdict::Done).with(Finding::Sealed(Sealed::new(position, &[7; 16])))
    }

    fn asked(upcall: Upcall) -> (Desk, Upcall) {
        let mut desk = Desk::default();
        desk.ask(upcall, 0);
        let delivered = desk.deliver(0).unwrap();
        (desk, delivered)
    }

    #[test]
    fn attempts_grow_over_all_calls_of_an_operation() {
        let (mut desk, first) = asked(seal(7));
        desk.ask(Upcall { call: Some(Call::Serve(Serve { incarnation: 2 })), ..seal(7) }, 0);
        let second = desk.deliver(0).unwrap();
        assert_eq!((first.attempt, second.attempt), (1, 2));
        desk.ask(seal(8), 0);
        assert_eq!(desk.deliver(0).unwrap().attempt, 1);
    }

    #[test]
    fn an_unanswered_upcall_comes_again_and_then_is_said_to_be_unanswered() {
        let (mut desk, _) = asked(seal(7));
        let ack = u64::from(bounds::ACK_MS);
        assert_eq!(desk.deliver(ack - 1), None);
        assert_eq!(desk.deliver(ack).unwrap().attempt, 2);
        assert_eq!(desk.deliver(2 * ack).unwrap().attempt, 3);
        assert!(!desk.falls_silent());
        assert_eq!(desk.deliver(3 * ack).unwrap().attempt, 4);
        assert_eq!((desk.falls_silent(), desk.falls_silent(), desk.is_silent()), (true, false, true));
    }

    /// Goes by the clock of what is due, as one whom nobody polls: when it fell silent, and how often it was woken.
    fn unpolled(desk: &mut Desk) -> (u64, u32) {
        let mut wake = |woken| {
            let now_ms = desk.misses_ms().expect("it is still counted");
            desk.miss(now_ms);
            desk.falls_silent().then_some((now_ms, woken))
        };
        (1..=100).find_map(&mut wake).expect("it falls silent")
    }

    #[test]
    fn what_nobody_polls_for_counts_as_unanswered_and_uses_no_delivery_up() {
        let ack = u64::from(bounds::ACK_MS);
        let mut desk = Desk::default();
        desk.ask(seal(7), 500);
        assert_eq!(unpolled(&mut desk), (500 + 3 * ack, 3), "it never polled");
        assert_eq!(desk.misses_ms(), None, "it is said, and nothing is left to count");
        assert_eq!(desk.deliver(90_000).unwrap().attempt, 1, "it is there for who polls at last");
        assert!(!desk.falls_silent(), "said once");

        let (mut desk, upcall) = asked(seal(7));
        assert_eq!(unpolled(&mut desk), (3 * ack, 3), "it stopped when it had been asked");
        assert_eq!(desk.answer(&Answer::to(&upcall, Verdict::InProgress), false, 5_000), Ok(Taken::Counts));
        assert!(!desk.is_silent(), "it has answered");
        let heartbeats = 5_000 + 2 * u64::from(bounds::HEARTBEAT_MS);
        assert_eq!(unpolled(&mut desk), (heartbeats + 3 * ack, 3), "it stopped while it was at work");
        assert_eq!(desk.answer(&sealed(&upcall, 9), false, 20_000), Ok(Taken::Counts), "it still counts");
        assert_eq!((desk.is_silent(), desk.misses_ms()), (false, None));
    }

    #[test]
    fn what_ends_an_operation_is_overdue_after_its_budget_whatever_is_said_of_work() {
        let serve = Upcall { call: Some(Call::Serve(Serve { incarnation: 2 })), budget_ms: 9_000, ..seal(7) };
        let (mut desk, upcall) = asked(serve);
        let at_work = Answer::to(&upcall, Verdict::InProgress);
        let told: Vec<_> = (1..=20)
            .filter(|second| {
                let now_ms = second * 1_000;
                desk.answer(&at_work, false, now_ms).unwrap();
                desk.wait(now_ms);
                desk.falls_silent()
            })
            .collect();
        assert_eq!(told, [9], "once");
        assert!(desk.is_silent() && desk.is_at_work());
        desk.answer(&Answer::to(&upcall, Verdict::Done), false, 21_000).unwrap();
        assert!(!desk.is_silent());
        // A copy may last.
        let prepare = Upcall { call: Some(Call::Prepare(Prepare::default())), budget_ms: 9_000, ..seal(8) };
        let (mut desk, _) = asked(prepare);
        assert_eq!(desk.overdue_ms(), None);
        desk.wait(10_000);
        assert!(!desk.is_silent());
    }

    #[test]
    fn a_poller_that_is_gone_for_less_than_the_time_of_a_delivery_has_missed_none() {
        let ack = u64::from(bounds::ACK_MS);
        let mut desk = Desk::default();
        desk.ask(seal(7), 0);
        for attempt in 1..=10 {
            let due_ms = desk.due_ms().unwrap();
            desk.miss(due_ms + ack - 1);
            let upcall = desk.deliver(due_ms + ack - 1).unwrap();
            assert_eq!(upcall.attempt, attempt);
            assert!(!desk.falls_silent());
            desk.answer(&Answer::to(&upcall, Verdict::InProgress), false, due_ms + ack - 1).unwrap();
        }
    }

    #[test]
    fn a_delivery_that_reached_nobody_is_due_at_once() {
        let (mut desk, _) = asked(seal(7));
        desk.returned();
        assert_eq!(desk.deliver(0).unwrap().attempt, 2);
    }

    #[test]
    fn one_at_work_is_asked_again_only_after_two_heartbeats() {
        let (mut desk, upcall) = asked(seal(7));
        assert_eq!(desk.answer(&Answer::to(&upcall, Verdict::InProgress), false, 500), Ok(Taken::Counts));
        assert_eq!(desk.due_ms(), Some(500 + 2 * u64::from(bounds::HEARTBEAT_MS)));
    }

    #[test]
    fn an_answer_to_what_was_never_delivered_is_unknown() {
        let (mut desk, upcall) = asked(seal(7));
        for (operation, attempt) in [(6, 1), (7, 2), (8, 1)] {
            let answer = Answer { operation, attempt, ..sealed(&upcall, 9) };
            assert_eq!(desk.answer(&answer, false, 0).unwrap_err().code, ErrorCode::OperationUnknown);
        }
        assert!(desk.open().is_some(), "the question stands");
    }

    #[test]
    fn the_first_final_answer_counts_and_another_one_is_refused() {
        let (mut desk, upcall) = asked(seal(7));
        assert_eq!(desk.answer(&sealed(&upcall, 9), false, 0), Ok(Taken::Counts));
        assert_eq!(desk.answer(&sealed(&upcall, 9), false, 0), Ok(Taken::Nothing), "said again");
        assert_eq!(desk.answer(&sealed(&upcall, 9), true, 0), Ok(Taken::Nothing), "said again, late");
        let other = desk.answer(&sealed(&upcall, 10), false, 0).unwrap_err();
        assert_eq!(other.code, ErrorCode::AnswerDiffers);
        let straggler = Answer::to(&upcall, Verdict::InProgress);
        assert_eq!(desk.answer(&straggler, false, 0), Ok(Taken::Nothing));
        assert_eq!(desk.due_ms(), None);
    }

    #[test]
    fn an_answer_to_an_earlier_call_counts_for_nothing() {
        let (mut desk, first) = asked(seal(7));
        desk.ask(Upcall { call: Some(Call::Abort(Abort {})), ..seal(7) }, 0);
        desk.deliver(0).unwrap();
        assert_eq!(desk.answer(&sealed(&first, 9), false, 0), Ok(Taken::Nothing));
        assert!(desk.open().is_some());
        assert_eq!(desk.answer(&sealed(&first, 9), true, 0).unwrap_err().code, ErrorCode::OperationClosed);
    }

    #[test]
    fn another_answer_is_another_one_also_when_the_next_call_is_asked() {
        let (mut desk, first) = asked(seal(7));
        desk.answer(&sealed(&first, 9), false, 0).unwrap();
        for incarnation in 2..7 {
            desk.ask(Upcall { call: Some(Call::Serve(Serve { incarnation })), ..seal(7) }, 0);
            let serve = desk.deliver(0).unwrap();
            desk.answer(&Answer::to(&serve, Verdict::Done), false, 0).unwrap();
        }
        assert_eq!(desk.answer(&sealed(&first, 9), false, 0), Ok(Taken::Nothing), "said again");
        let other = desk.answer(&sealed(&first, 10), false, 0).unwrap_err();
        assert_eq!(other.code, ErrorCode::AnswerDiffers);
        assert!(other.message.starts_with("seal was answered DONE"), "{other:?}");
        assert_eq!(desk.answer(&sealed(&first, 10), true, 0).unwrap_err().code, ErrorCode::OperationClosed);
        for operation in 8..20 {
            desk.ask(seal(operation), 0);
            let upcall = desk.deliver(0).unwrap();
            desk.answer(&sealed(&upcall, 9), false, 0).unwrap();
        }
        assert_eq!(desk.settled.len(), SETTLED_MAX);
    }

    #[test]
    fn an_answer_of_another_call_is_out_of_bounds_and_changes_nothing() {
        let (mut desk, upcall) = asked(seal(7));
        let bare = Answer::to(&upcall, Verdict::Done);
        assert_eq!(desk.answer(&bare, false, 0).unwrap_err().code, ErrorCode::OutOfBounds);
        assert_eq!(desk.answer(&sealed(&upcall, 9), false, 0), Ok(Taken::Counts));
    }

    #[test]
    fn an_answer_after_the_operation_is_over_is_refused() {
        let (mut desk, upcall) = asked(seal(7));
        assert_eq!(desk.answer(&sealed(&upcall, 9), true, 0).unwrap_err().code, ErrorCode::OperationClosed);
    }

    #[test]
    fn a_deferral_is_asked_again_when_it_expires() {
        let prepare = Call::Prepare(Prepare { side: Side::Source, ..Prepare::default() });
        let (mut desk, upcall) = asked(Upcall { call: Some(prepare), ..seal(7) });
        let defer = Answer { retry_after_ms: 300, ..Answer::to(&upcall, Verdict::Defer) };
        assert_eq!(desk.answer(&defer, false, 100), Ok(Taken::Counts));
        assert_eq!(desk.due_ms(), Some(400));
    }

    fn abort(budget_ms: u32) -> Upcall {
        Upcall { call: Some(Call::Abort(Abort {})), budget_ms, ..seal(7) }
    }

    #[test]
    fn an_abort_that_is_not_answered_counts_as_answered_once_and_is_delivered_on() {
        let (mut desk, _) = asked(abort(1_500));
        assert_eq!((desk.lapses_ms(), desk.lapse(1_499)), (Some(1_500), None));
        assert_eq!((desk.lapse(1_600), desk.lapse(1_700), desk.lapses_ms()), (Some(1_600), None, None));
        let late = desk.deliver(1_600).unwrap();
        assert_eq!((late.attempt, &late.call), (2, &abort(0).call));
        let done = Answer::to(&late, Verdict::Done);
        assert_eq!(desk.answer(&done, true, 1_700).unwrap_err().code, ErrorCode::OperationClosed);
        assert_eq!(desk.due_ms(), None, "it has answered: it is not asked on");
        for call in [seal(7).call, Some(Call::Serve(Serve { incarnation: 2 }))] {
            let (desk, _) = asked(Upcall { call, budget_ms: 1_500, ..seal(7) });
            assert_eq!(desk.lapses_ms(), None, "what is decided is waited for");
        }
    }

    #[test]
    fn an_abort_that_is_asked_anew_has_no_more_time_and_counts_as_answered_anew() {
        let (mut desk, _) = asked(abort(1_500));
        desk.withdraw();
        desk.ask(abort(1_500), 1_000);
        assert_eq!(desk.lapses_ms(), Some(1_500), "a Hello after the other does not put it off");
        assert!(desk.lapse(1_500).is_some());
        desk.ask(abort(1_500), 2_000);
        assert!(desk.lapse(2_000).is_some(), "whoever asked anew has to hear it anew");
        desk.ask(Upcall { operation: 8, ..abort(1_500) }, 3_000);
        assert_eq!(desk.lapses_ms(), Some(4_500), "another operation's");
    }

    #[test]
    fn progress_puts_the_end_of_an_abort_off_but_not_for_ever() {
        let (mut desk, mut upcall) = asked(abort(1_000));
        let mut now_ms = 0;
        while desk.lapse(now_ms).is_none() {
            assert!(now_ms <= 4_000, "{desk:?}");
            let working = Answer::to(&upcall, Verdict::InProgress);
            assert_eq!(desk.answer(&working, false, now_ms), Ok(Taken::Counts));
            upcall = desk.deliver(now_ms).unwrap_or(upcall);
            now_ms += 100;
        }
        assert_eq!(now_ms, 4_000, "four budgets");
        let (mut desk, upcall) = asked(abort(1_000));
        desk.answer(&Answer::to(&upcall, Verdict::InProgress), false, 900).unwrap();
        let defer = Answer { retry_after_ms: 5_000, ..Answer::to(&upcall, Verdict::Defer) };
        desk.answer(&defer, false, 950).unwrap();
        assert_eq!(desk.lapses_ms(), Some(1_900), "a deferral is no progress");
    }

    #[test]
    fn an_abort_that_is_answered_is_not_said_to_be_unanswered() {
        for verdict in [Verdict::Done, Verdict::Failed, Verdict::Unsupported, Verdict::Refuse] {
            let (mut desk, upcall) = asked(abort(1_000));
            let answer = Answer::to(&upcall, verdict);
            let answer =
                if verdict == Verdict::Done { answer } else { answer.because(AnswerCode::WrongPhase) };
            assert_eq!(desk.answer(&answer, false, 10), Ok(Taken::Counts));
            assert_eq!((desk.lapses_ms(), desk.lapse(5_000)), (None, None), "{verdict}");
        }
    }

    #[test]
    fn after_a_restart_deliveries_go_on_from_where_they_were() {
        let (desk, _) = asked(seal(7));
        let mut desk = Desk::resumed(desk.deliveries().collect::<Vec<_>>());
        desk.ask(seal(7), 0);
        assert_eq!(desk.deliver(0).unwrap().attempt, 2);
    }

    #[test]
    fn operations_long_past_are_closed_and_not_kept() {
        let mut desk = Desk::default();
        for operation in 1..=20 {
            desk.ask(seal(operation), 0);
            desk.deliver(0).unwrap();
        }
        assert_eq!(desk.deliveries().count(), OPERATIONS_MAX);
        let old = Answer { operation: 2, attempt: 1, verdict: Verdict::InProgress, ..Answer::default() };
        assert_eq!(desk.answer(&old, false, 0).unwrap_err().code, ErrorCode::OperationClosed);
    }
}
