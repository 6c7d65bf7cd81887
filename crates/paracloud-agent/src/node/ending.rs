//! The cloud is being ended: applications are told to stop, processes are ended, and what is dead is waited for.

use super::Node;
use paci::call::{self, Stop};
use paci::names;
use paci::upcall::{Reason, Upcall};
use paracloud_core::ids::StartId;
use paracloud_core::migration::shim::Order;
use std::time::Duration;
use tokio::time::Instant;

/// Beyond an app's own grace, its process's death is waited for this long, in milliseconds. Shims that are not done
/// then finish by themselves.
const DEATH_MS_MAX: u64 = 5_000;

/// How far the end has got.
pub(super) struct Ending {
    /// Each process that is not ordered to end yet, and when it will be.
    told: Vec<(StartId, Instant)>,
    /// When nobody is waited for any more.
    until: Instant,
}

impl Node {
    /// Tells every application to stop that listens, and ends the others.
    pub(super) async fn begin_to_end(&mut self) {
        tracing::info!("the cloud is being ended: so are the instances here");
        let now = Instant::now();
        let (mut told, mut longest_ms) = (Vec::new(), 0);
        let living: Vec<_> = self.living();
        let now_ms = self.now_ms();
        for id in living {
            let Some(start) = self.starts.get_mut(&id) else { continue };
            let Some(instance) = self.instances.get(&start.instance) else { continue };
            let grace_ms = instance.app.stop_grace_ms;
            longest_ms = longest_ms.max(grace_ms);
            let listens = start.session.greeted && start.session.can(names::STOP);
            if listens {
                let record = instance.machine.machine().record();
                let operation = record.map_or(1, |record| record.last_operation.next().0);
                let call = Some(call::Call::Stop(Stop { grace_ms }));
                let message = "the cloud is being ended".to_owned();
                let budget_ms = grace_ms;
                let reason = Reason::Person;
                let stop = Upcall { operation, budget_ms, reason, message, call, ..Upcall::default() };
                start.session.ask(stop, now_ms);
                self.deliver(id);
            }
            told.push((id, if listens { now + Duration::from_millis(grace_ms.into()) } else { now }));
        }
        let until = now + Duration::from_millis(u64::from(longest_ms) + DEATH_MS_MAX);
        self.ending = Some(Ending { told, until });
        self.see_to_the_end().await;
    }

    fn living(&self) -> Vec<StartId> {
        self.starts.iter().filter(|(_, start)| start.may_come_to_live()).map(|(id, _)| *id).collect()
    }

    /// Ends those whose time is up.
    #[expect(clippy::unused_async, reason = "one of the loop's steps")]
    pub(super) async fn see_to_the_end(&mut self) {
        let now = Instant::now();
        let Some(ending) = &mut self.ending else { return };
        let (due, told) = ending.told.iter().partition(|(_, at)| *at <= now);
        ending.told = told;
        let due: Vec<(StartId, Instant)> = due;
        for (id, _) in due {
            let Some(name) = self.starts.get(&id).map(|start| start.instance.clone()) else { continue };
            self.order(&name, id, self.generation, Order::End);
        }
    }

    pub(super) fn ending_due(&self) -> Option<Instant> {
        let ending = self.ending.as_ref()?;
        ending.told.iter().map(|(_, at)| *at).chain([ending.until]).min()
    }

    /// Whether the end is complete, or has been waited for long enough.
    pub(super) fn is_ended(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| Instant::now() >= ending.until || self.living().is_empty())
    }
}
