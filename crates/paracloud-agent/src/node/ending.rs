//! How processes are ended: an application that listens is told to stop and given its grace, and then its shim is
//! ordered to end it. So it is for all of them when the cloud is being ended.

use super::{Instance, Node, Start};
use crate::answers;
use paci::answer::{Answer, Verdict};
use paci::call::{self, Stop};
use paci::names;
use paci::upcall::{Reason, Upcall};
use paracloud_core::ids::{OperationNumber, StartId};
use paracloud_core::migration::shim::Order;
use paracloud_core::register::{LeaveStep, Mode, MoveStep};
use std::time::Duration;
use tokio::time::Instant;

/// Beyond an app's own grace, its process's death is waited for this long, in milliseconds. Shims that are not done
/// then finish by themselves.
const DEATH_MS_MAX: u64 = 5_000;

/// The cloud is being ended.
pub(super) struct Ending {
    /// When nobody is waited for any more.
    until: Instant,
}

/// Under which number a process is told to stop.
enum Number {
    /// An operation of the register.
    Issued(OperationNumber),
    /// The one that the register would issue next.
    Ahead(OperationNumber),
}

/// How far the end of one process has got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Parting {
    /// It is not to end.
    #[default]
    None,
    /// It was told to stop. If it is still there then, its shim is ordered to end it.
    Told(Instant),
    /// Its shim was ordered to end it.
    Ordered,
}

impl Node {
    /// Tells every application to stop that listens, and ends the others.
    pub(super) async fn begin_to_end(&mut self) {
        tracing::info!("the cloud is being ended: so are the instances here");
        let mut longest_ms = 0;
        for id in self.living() {
            let Some(start) = self.starts.get(&id) else { continue };
            let Some(instance) = self.instances.get(&start.instance) else { continue };
            longest_ms = longest_ms.max(instance.app.stop_grace_ms);
            let name = start.instance.clone();
            let operation = end_of(instance, start);
            let is_told = told_until(start).is_some();
            if !is_told && !self.tell_to_stop(id, operation, "the cloud is being ended") {
                self.order_end(&name, id);
            }
        }
        let until = Instant::now() + Duration::from_millis(u64::from(longest_ms) + DEATH_MS_MAX);
        self.ending = Some(Ending { until });
        self.see_to_the_end().await;
    }

    fn living(&self) -> Vec<StartId> {
        self.starts.iter().filter(|(_, start)| start.may_come_to_live()).map(|(id, _)| *id).collect()
    }

    /// The machine wants a process ended. The owner that is stopped here to be started elsewhere is told first; whoever
    /// owns nothing any more, or never did, has nothing left to do, and others wait for its end.
    pub(super) fn end(&mut self, name: &str, id: StartId) {
        if self
            .starts
            .get(&id)
            .is_some_and(|start| told_until(start).is_some_and(|until| Instant::now() < until))
        {
            return;
        }
        let open = self.instances.get(name).and_then(Instance::moving);
        let restarted = open.filter(|(_, operation)| {
            operation.mode == Mode::Restart
                && operation.step == MoveStep::Sealing
                && operation.source.start == id
        });
        let told = restarted.map(|(number, operation)| {
            let why = format!("it is stopped here and started on {}", operation.target.node);
            (Number::Issued(number), why)
        });
        let left = self.instances.get(name).and_then(Instance::leave);
        let left = left.filter(|(_, leave)| leave.step == LeaveStep::Leaving && leave.victim.start == id);
        let told = told.or_else(|| left.map(|(number, _)| (Number::Issued(number), "it leaves".to_owned())));
        let is_told = told.is_some_and(|(number, why)| self.tell_to_stop(id, number, &why));
        if !is_told {
            self.order_end(name, id);
        }
    }

    /// Ends a process because of no operation: it is told to stop if it listens, or else its shim is ordered to end it.
    pub(super) fn end_by_itself(&mut self, id: StartId, why: &str) {
        let Some(start) = self.starts.get(&id) else { return };
        let Some(instance) = self.instances.get(&start.instance) else { return };
        let (name, number) = (start.instance.clone(), end_of(instance, start));
        if !self.tell_to_stop(id, number, why) {
            self.order_end(&name, id);
        }
    }

    /// Tells an application to stop, if it listens and was not told before. Whether it was told.
    fn tell_to_stop(&mut self, id: StartId, number: Number, message: &str) -> bool {
        let now_ms = self.now_ms();
        let Some(start) = self.starts.get_mut(&id) else { return false };
        let Some(instance) = self.instances.get(&start.instance) else { return false };
        let listens = start.may_come_to_live() && start.session.greeted && start.session.can(names::STOP);
        if !listens || start.parting != Parting::None {
            return false;
        }
        let grace_ms = instance.app.stop_grace_ms;
        let call = Some(call::Call::Stop(Stop { grace_ms }));
        let (reason, message) = (Reason::Person, message.to_owned());
        let stop = Upcall { budget_ms: grace_ms, reason, message, call, ..Upcall::default() };
        match number {
            Number::Issued(OperationNumber(operation)) => {
                start.session.ask(Upcall { operation, ..stop }, now_ms);
            }
            Number::Ahead(OperationNumber(operation)) => {
                start.session.ask_ahead(Upcall { operation, ..stop }, now_ms);
            }
        }
        start.parting = Parting::Told(Instant::now() + Duration::from_millis(grace_ms.into()));
        self.deliver(id);
        true
    }

    /// An application answers that it was told to stop. One that will not is ended at once.
    pub(super) fn stop_answered(
        &mut self,
        name: &str,
        id: StartId,
        operation: OperationNumber,
        answer: &Answer,
    ) {
        match answer.verdict {
            // Its end is the real answer.
            Verdict::Done | Verdict::InProgress | Verdict::Defer | Verdict::Unspecified => {}
            Verdict::Refuse | Verdict::Unsupported | Verdict::Failed => {
                self.note(name, Some(operation), answers::failure(id, answer));
                self.order_end(name, id);
            }
        }
    }

    fn order_end(&mut self, name: &str, id: StartId) {
        self.order(name, id, self.generation, Order::End);
        if let Some(start) = self.starts.get_mut(&id) {
            start.parting = Parting::Ordered;
        }
    }

    /// Ends those whose time is up.
    #[expect(clippy::unused_async, reason = "one of the loop's steps")]
    pub(super) async fn see_to_the_end(&mut self) {
        let now = Instant::now();
        let is_due = |start: &Start| told_until(start).is_some_and(|until| until <= now);
        let due = self.starts.iter().filter(|(_, start)| is_due(start));
        let due: Vec<_> = due.map(|(id, start)| (*id, start.instance.clone())).collect();
        for (id, name) in due {
            self.order_end(&name, id);
        }
    }

    pub(super) fn ending_due(&self) -> Option<Instant> {
        let told = self.starts.values().filter_map(told_until);
        told.chain(self.ending.as_ref().map(|ending| ending.until)).min()
    }

    /// Whether the end is complete, or has been waited for long enough.
    pub(super) fn is_ended(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| Instant::now() >= ending.until || self.living().is_empty())
    }
}

/// The number of the cloud's end, for one process: that of an operation which is open, because whoever has seen a higher
/// one refuses what is left of it. One that was told how the operation ends would refuse to stop under it.
fn end_of(instance: &Instance, start: &Start) -> Number {
    let record = instance.machine.machine().record();
    let recorded = record.map(|record| record.last_operation).unwrap_or_default();
    // No record has the number of an operation before its seal.
    let newest = recorded.max(start.session.heard());
    let may_be_open = newest > recorded || record.is_some_and(|record| record.operation.is_some());
    if may_be_open && !start.session.has_closed(newest) {
        Number::Issued(newest)
    } else {
        Number::Ahead(newest.next())
    }
}

/// Until when a process that was told to stop, and is not known to be dead, has time to do so.
fn told_until(start: &Start) -> Option<Instant> {
    match start.parting {
        Parting::Told(until) if start.may_come_to_live() => Some(until),
        Parting::Told(_) | Parting::None | Parting::Ordered => None,
    }
}
