//! Another size for an owner, and the size that it has: limits are raised at once, and lowered only with the application's
//! consent and once what it uses has fallen, as measured.
//!
//! ```text
//!   larger:   raise ──▶ tell the application ──▶ resized
//!   smaller:  ask the application ──▶ measure until it fits ──▶ lower ──▶ resized
//!                  │ refused, offers another         │ the time is over
//!                  ▼                                 ▼
//!                unfit                             unfit: nothing was lowered
//! ```
//!
//! Limits are set beside the loop where that may take its time, one after the other: what is set last is what was decided last.
//! One that cannot be asked is only measured. Where nothing answers in time, nothing is said: the coordinator has a deadline
//! of its own. Beside that, every process that the register names is held to the size that it has there.

use super::{Event, Node};
use crate::answers::{self, Why};
use crate::resize::{self, Unset};
use paci::answer::{Answer, Verdict};
use paci::call;
use paci::finding::Finding;
use paci::names;
use paci::size::Resize;
use paci::upcall::Upcall;
use paracloud_core::ids::{OperationNumber, StartId};
use paracloud_core::migration::agent::Input;
use paracloud_core::migration::cause::Unfit;
use paracloud_core::register;
use paracloud_substrate::cgroup::Group;
use paracloud_substrate::config::Size;
use paracloud_substrate::message::{Note, Sizing, Unasked};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Why nothing is measured and nothing enforced of a process whose group is not known.
const UNPLACED: &str = "no limit can be enforced: in which group it runs is not known";
/// A size that could not be enforced is tried again after so long, in milliseconds.
const TRY_AGAIN_MS: u64 = 1_000;

/// The size of one process, as far as this agent has seen to it.
#[derive(Debug, Default)]
pub(super) struct SizeKept {
    /// What is enforced, if it was seen to.
    enforced: Option<Size>,
    /// It is being enforced now, or was tried last, in the node's milliseconds.
    tried_ms: Option<u64>,
    open: Option<Open>,
    /// An operation that begins once nobody sets anything any more.
    waits: Option<(OperationNumber, register::Size)>,
    /// Whoever sets limits beside the loop has another one of it.
    sets: Arc<()>,
}

/// The change of its size that it is about.
#[derive(Debug)]
struct Open {
    operation: OperationNumber,
    from: Size,
    to: Size,
    until_ms: u64,
    step: Step,
    /// Why it is not answered yet: what the application said when it put it off, or what of an answer could not be taken.
    put_off: Option<String>,
}

#[derive(Debug)]
enum Step {
    /// Whether it would fit: the application is asked.
    Asked,
    /// It is measured until it fits.
    Measured(JoinHandle<()>),
    /// The limits are the new ones, and the application is told.
    Told,
    /// Nothing came in time.
    Late,
    /// What came of it.
    Answered(Option<Unfit>),
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Step::Measured(task) = &self.step {
            task.abort();
        }
    }
}

impl SizeKept {
    /// Of a process that is started with these limits.
    pub(super) fn started_with(size: Size) -> Self {
        Self { enforced: Some(size), ..Self::default() }
    }

    /// Limits are being set beside the loop, perhaps for what is over by now.
    fn is_being_set(&self) -> bool {
        Arc::strong_count(&self.sets) > 1
    }

    /// When it is to be looked at, in the node's milliseconds.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let waits = |open: &&Open| matches!(open.step, Step::Asked | Step::Told);
        self.open.as_ref().filter(waits).map(|open| open.until_ms)
    }
}

/// What the application is asked; `None`: there is nothing that could be said.
fn question(from: Size, to: Size) -> Option<Resize> {
    let (from, to) = (resize::registered(from), resize::registered(to));
    let memory_kib = to.memory_kib.filter(|_| to.memory_kib != from.memory_kib);
    let cpu_millis = to.cpu_milli.filter(|_| to.cpu_milli != from.cpu_milli);
    let asked =
        Resize { memory_kib, cpu_millis, now_memory_kib: from.memory_kib, now_cpu_millis: from.cpu_milli };
    (memory_kib.is_some() || cpu_millis.is_some()).then_some(asked)
}

/// What an application has to claim, to be asked for this size.
pub(super) fn needed(resize: &Resize) -> impl Iterator<Item = &'static str> {
    let memory = resize.memory_kib.map(|_| names::RESIZE_MEMORY);
    memory.into_iter().chain(resize.cpu_millis.map(|_| names::RESIZE_CPU))
}

impl Node {
    /// The register says that the owner is to get another size. Ordered again and again until it says that that is over.
    pub(super) fn resize(&mut self, name: &str, operation: OperationNumber, id: StartId, to: register::Size) {
        let Some(start) = self.starts.get_mut(&id) else { return };
        start.size.waits = None;
        match start.size.open.as_ref().filter(|open| open.operation == operation).map(|open| &open.step) {
            Some(Step::Answered(unfit)) => {
                let resized = Input::Resized(operation, id, *unfit);
                self.inputs.push_back((name.to_owned(), resized));
            }
            Some(Step::Asked | Step::Measured(_) | Step::Told | Step::Late) => {}
            None => {
                // Dropped, what is measured for another one sets nothing any more but what it sets now.
                start.size.open = None;
                if start.size.is_being_set() {
                    start.size.waits = Some((operation, to));
                    return;
                }
                self.begin_to_resize(name, operation, id, resize::enforced(to));
            }
        }
    }

    /// Begins what waited until nobody sets anything any more, if that is not over.
    fn resize_at_last(&mut self, id: StartId) {
        let Some(start) = self.starts.get_mut(&id).filter(|start| !start.size.is_being_set()) else { return };
        let Some((operation, to)) = start.size.waits.take() else { return };
        let name = start.instance.clone();
        if !self.is_over(&name, operation) {
            self.resize(&name, operation, id, to);
        }
    }

    fn begin_to_resize(&mut self, name: &str, operation: OperationNumber, id: StartId, to: Size) {
        let now_ms = self.now_ms();
        let Some(instance) = self.instances.get(name) else { return };
        let record = instance.machine.machine().record();
        let from =
            record.and_then(|record| record.size).map_or(instance.app.resources.start, resize::enforced);
        let until_ms = now_ms + u64::from(instance.app.budgets.prepare_ms);
        let group = self.group_of(id);
        let Some(start) = self.starts.get_mut(&id) else { return };
        start.size.open = Some(Open { operation, from, to, until_ms, step: Step::Asked, put_off: None });
        let Some(group) = group else {
            return self.resized(id, Some(Unfit::Unsupported), None, UNPLACED);
        };
        if let Some(why) = unenforceable(&group, to) {
            return self.resized(id, Some(Unfit::Unsupported), None, &why);
        }
        let now = resize::limits(&group);
        let lessens = resize::lessens(from, to) || resize::lessens(now, to);
        if lessens {
            if !self.ask_to_resize(name, id) {
                self.measure_until_it_fits(id);
            }
            return;
        }
        match resize::set(&group, to) {
            Ok(()) if self.ask_to_resize(name, id) => self.is_at(id, Step::Told),
            Ok(()) => self.resized(id, None, None, ""),
            Err(unset) => self.not_resized(id, unset),
        }
    }

    /// Asks the application for a size, or tells it of one. `false`: it cannot be asked.
    fn ask_to_resize(&mut self, name: &str, id: StartId) -> bool {
        let now_ms = self.now_ms();
        let Some(instance) = self.instances.get(name) else { return false };
        let (reason, ordered_ms) = (instance.reason, instance.left_ms(now_ms));
        let Some(start) = self.starts.get_mut(&id) else { return false };
        let Some(open) = &start.size.open else { return false };
        let Some(asked) = question(open.from, open.to) else { return false };
        if !(start.session.aware && needed(&asked).all(|capability| start.session.can(capability))) {
            return false;
        }
        let left_ms = u32::try_from(open.until_ms.saturating_sub(now_ms)).unwrap_or(u32::MAX);
        let Why { reason, message } = Why::size(reason);
        let upcall = Upcall {
            operation: open.operation.0,
            budget_ms: left_ms.min(ordered_ms).clamp(1, paci::bounds::DURATION_MS_MAX),
            reason,
            message,
            call: Some(call::Call::Resize(asked)),
            ..Upcall::default()
        };
        let ahead = start.session.asked_ahead.take();
        // One that has not said Hello yet is asked when it does.
        if start.session.greeted {
            start.session.ask(upcall, now_ms);
        }
        if let Some(ahead) = ahead {
            self.unasked(&ahead, Unasked::Busy);
        }
        self.deliver(id);
        true
    }

    /// It has opened its session anew, which forgot what it was asked.
    pub(super) fn ask_to_resize_anew(&mut self, id: StartId) {
        let Some(start) = self.starts.get(&id) else { return };
        let name = start.instance.clone();
        if start.size.due_ms().is_some() && !self.ask_to_resize(&name, id) {
            // It does not claim any more what it was asked by.
            match self.starts.get(&id).and_then(|start| start.size.open.as_ref()).map(|open| &open.step) {
                Some(Step::Asked) => self.measure_until_it_fits(id),
                _ => self.resized(id, None, None, ""),
            }
        }
    }

    /// What the application says to its size.
    pub(super) fn resize_answered(&mut self, id: StartId, operation: OperationNumber, answer: &Answer) {
        let Some(start) = self.starts.get(&id) else { return };
        let Some(open) = start.size.open.as_ref().filter(|open| open.operation == operation) else { return };
        let is_final = !matches!(answer.verdict, Verdict::InProgress | Verdict::Defer | Verdict::Unspecified);
        match (&open.step, answer.verdict) {
            (Step::Asked, Verdict::Done) => self.measure_until_it_fits(id),
            (Step::Asked, Verdict::Refuse | Verdict::Unsupported | Verdict::Failed) => {
                let offered = match &answer.result {
                    Some(Finding::Fit(fit)) => {
                        Some(register::Size { memory_kib: fit.memory_kib, cpu_milli: fit.cpu_millis })
                    }
                    Some(_) | None => None,
                };
                let unfit = match (offered, answer.verdict) {
                    (Some(offered), _) => Unfit::Offers(offered),
                    (None, Verdict::Failed) => Unfit::Failed,
                    (None, _) => Unfit::Refused,
                };
                self.resized(id, Some(unfit), offered, &answers::reason(answer));
            }
            // It has its limits, whatever it makes of them.
            (Step::Told, Verdict::Done) => self.resized(id, None, None, ""),
            (Step::Told, _) if is_final => self.resized(id, None, None, &answers::reason(answer)),
            // It is asked again, as it said when.
            (Step::Asked | Step::Told, Verdict::Defer) => self.put_off(id, answers::reason(answer)),
            (Step::Asked | Step::Told | Step::Measured(_) | Step::Late | Step::Answered(_), _) => {}
        }
    }

    /// It puts its answer off: why, people are told once, and again where it says something else.
    fn put_off(&mut self, id: StartId, said: String) {
        let Some(start) = self.starts.get_mut(&id) else { return };
        let Some(open) = &mut start.size.open else { return };
        if open.put_off.as_ref() == Some(&said) {
            return;
        }
        open.put_off = Some(said.clone());
        let (name, operation) = (start.instance.clone(), open.operation);
        self.note(&name, Some(operation), Note::Reason(said));
    }

    /// What it answered to its size could not be taken.
    pub(super) fn resize_misanswered(&mut self, id: StartId, what: &str) {
        let open = self.starts.get_mut(&id).and_then(|start| start.size.open.as_mut());
        if let Some(open) = open.filter(|open| matches!(open.step, Step::Asked | Step::Told)) {
            open.put_off = Some(what.to_owned());
        }
    }

    fn measure_until_it_fits(&mut self, id: StartId) {
        let now_ms = self.now_ms();
        let Some(group) = self.group_of(id) else {
            return self.resized(id, Some(Unfit::Unsupported), None, UNPLACED);
        };
        let events = self.events.clone();
        let Some(start) = self.starts.get_mut(&id) else { return };
        let SizeKept { open: Some(open), sets, .. } = &mut start.size else { return };
        let (operation, to) = (open.operation, open.to);
        let within = Duration::from_millis(open.until_ms.saturating_sub(now_ms));
        let sets = Arc::clone(sets);
        open.step = Step::Measured(tokio::spawn(async move {
            let set = resize::set_when_fallen(&group, to, within, sets).await;
            let _ = events.send(Event::Resized { start: id, operation: Some(operation), to, set }).await;
        }));
    }

    /// Limits were set, or not: for an operation, or for the size that the process has.
    pub(super) fn limits_set(
        &mut self,
        id: StartId,
        operation: Option<OperationNumber>,
        to: Size,
        set: Result<(), Unset>,
    ) {
        let Some(start) = self.starts.get_mut(&id) else { return };
        let is_open = operation.is_some() && start.size.open.as_ref().map(|open| open.operation) == operation;
        match (operation, set) {
            // What cannot be enforced is said where it is found.
            (None, Ok(()) | Err(Unset::NoGroup { .. })) => start.size.enforced = Some(to),
            (None, Err(unset)) => tracing::debug!(start = %id, ?unset, "its size is not enforced yet"),
            (Some(_), Ok(())) if is_open => self.resized(id, None, None, ""),
            (Some(_), Err(unset)) if is_open => self.not_resized(id, unset),
            // Whatever was set for an operation that is over is looked at again.
            (Some(_), _) => start.size.enforced = None,
        }
        self.resize_at_last(id);
    }

    fn not_resized(&mut self, id: StartId, unset: Unset) {
        let (unfit, why) = match unset {
            Unset::NotFallen { .. } => (
                Unfit::Unmet,
                "what it uses did not fall below the new limit and its margin in time".to_owned(),
            ),
            Unset::Refused { why } => (Unfit::Unsupported, why),
            Unset::NoGroup { why } => (Unfit::Unsupported, format!("no limit can be enforced: {why}")),
        };
        self.resized(id, Some(unfit), None, &why);
    }

    /// What came of it, for the coordinator and for people.
    fn resized(&mut self, id: StartId, unfit: Option<Unfit>, offered: Option<register::Size>, why: &str) {
        let Some(operation) = self.say_of_size(id, unfit.is_none(), offered, why) else { return };
        let Some(start) = self.starts.get_mut(&id) else { return };
        let name = start.instance.clone();
        if let Some(open) = &mut start.size.open {
            start.size.enforced = unfit.is_none().then_some(open.to);
            open.step = Step::Answered(unfit);
        }
        self.inputs.push_back((name, Input::Resized(operation, id, unfit)));
    }

    fn say_of_size(
        &mut self,
        id: StartId,
        is_done: bool,
        offered: Option<register::Size>,
        why: &str,
    ) -> Option<OperationNumber> {
        let group = self.group_of(id);
        let start = self.starts.get(&id)?;
        let (name, open) = (start.instance.clone(), start.size.open.as_ref()?);
        let used_kib = group.as_ref().and_then(Group::memory_bytes).map(|bytes| bytes >> 10);
        let stands = group.as_ref().map(resize::limits).unwrap_or_default();
        let sizing = Sizing {
            start: id,
            from: resize::registered(open.from),
            to: resize::registered(open.to),
            // The kernel's own figure is rounded.
            limit: resize::registered(if is_done { open.to } else { stands }),
            used_kib,
            offered,
            why: why.to_owned(),
        };
        let operation = open.operation;
        self.note(&name, Some(operation), Note::Sized(sizing));
        Some(operation)
    }

    fn is_at(&mut self, id: StartId, step: Step) {
        if let Some(open) = self.starts.get_mut(&id).and_then(|start| start.size.open.as_mut()) {
            open.step = step;
        }
    }

    /// Sees to what the application was asked and has not answered in its time.
    pub(super) fn see_to_size(&mut self, id: StartId, now_ms: u64) {
        let Some(start) = self.starts.get_mut(&id) else { return };
        if start.size.due_ms().is_none_or(|due_ms| due_ms > now_ms) {
            return;
        }
        // How that ended is said by how the process did.
        if start.is_dead() {
            start.size.open = None;
            return;
        }
        let Some(open) = &start.size.open else { return };
        let is_told = matches!(open.step, Step::Told);
        let said = open.put_off.as_ref().map_or_else(String::new, |said| format!("; it said: {said}"));
        if start.session.desk.question().is_some_and(|asked| asked.operation == open.operation.0) {
            start.session.desk.withdraw();
        }
        if is_told {
            let why = format!("it did not say in time that it makes use of it{said}");
            return self.resized(id, None, None, &why);
        }
        self.say_of_size(id, false, None, &format!("it did not say in time whether it fits{said}"));
        self.is_at(id, Step::Late);
    }

    /// Holds every process that the register names to the size that it has there, and forgets changes that are over.
    pub(super) fn keep_sizes(&mut self) {
        let now_ms = self.now_ms();
        let ids: Vec<_> = self.starts.iter().filter(|(_, start)| start.runs()).map(|(id, _)| *id).collect();
        for id in ids {
            self.forget_resize(id);
            self.resize_at_last(id);
            if let Some((group, to)) = self.unkept_size(id, now_ms)
                && let Some(start) = self.starts.get_mut(&id)
            {
                start.size.tried_ms = Some(now_ms);
                let (events, sets) = (self.events.clone(), Arc::clone(&start.size.sets));
                tokio::task::spawn_blocking(move || {
                    let set = resize::set(&group, to);
                    drop(sets);
                    let _ = events.blocking_send(Event::Resized { start: id, operation: None, to, set });
                });
            }
        }
    }

    fn forget_resize(&mut self, id: StartId) {
        let Some(start) = self.starts.get(&id) else { return };
        let Some(operation) = start.size.open.as_ref().map(|open| open.operation) else { return };
        if !self.is_over(&start.instance.clone(), operation) {
            return;
        }
        let Some(start) = self.starts.get_mut(&id) else { return };
        let asked = start.session.desk.question();
        let asks = asked.is_some_and(|asked| {
            asked.operation == operation.0 && matches!(asked.call, Some(call::Call::Resize(_)))
        });
        if asks {
            start.session.desk.withdraw();
        }
        // Whatever was set for it and not said to be: it is looked at again.
        if !matches!(start.size.open.take().as_ref().map(|open| &open.step), Some(Step::Answered(_)) | None) {
            start.size.enforced = None;
        }
    }

    /// The size that a process is to be held to, where that was not seen to yet, and its group.
    fn unkept_size(&self, id: StartId, now_ms: u64) -> Option<(Group, Size)> {
        let start = self.starts.get(&id)?;
        let instance = self.instances.get(&start.instance)?;
        let record = instance.machine.machine().record().filter(|record| record.names(id))?;
        if record.resize().is_some()
            || start.size.open.is_some()
            || start.size.is_being_set()
            || instance.pauses(id)
        {
            return None;
        }
        let to = record.size.map_or(instance.app.resources.start, resize::enforced);
        let waits = start.size.tried_ms.is_some_and(|tried_ms| now_ms < tried_ms + TRY_AGAIN_MS);
        if start.size.enforced == Some(to) || waits {
            return None;
        }
        Some((self.group_of(id)?, to))
    }

    fn group_of(&self, id: StartId) -> Option<Group> {
        let start = self.starts.get(&id)?;
        let known = start.measured.group().cloned();
        known.or_else(|| start.process.place().ok().flatten().map(|place| place.group))
    }
}

/// Why a limit of this size could not be enforced, if so.
fn unenforceable(group: &Group, to: Size) -> Option<String> {
    let memory = to.memory_bytes.and_then(|_| group.memory.as_ref().err());
    let cpu = to.cpu_milli.and_then(|_| group.cpu.as_ref().err());
    memory.or(cpu).map(|why| format!("no limit can be enforced: {why}"))
}
