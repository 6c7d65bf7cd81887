//! What instances say of themselves, truly or not.

use super::{App, Instance};
use paracloud_core::scaling::observation::{Report, Told};

/// How long a report is good for, in milliseconds.
const LEASE_MS: u32 = 5_000;

/// What they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Nothing.
    Nothing,
    /// What is.
    Truth,
    /// What is, one look late, as the example `worker` says it: its capacity by the mean of all work that it was sent,
    /// and not how long it took to start.
    Worker,
    /// The same with a capacity of so many thousandths of that.
    WorkerCapacity(u64),
    /// A capacity of so many thousandths of the true one.
    Capacity(u64),
    /// That nothing waits, whatever waits.
    NoQueue,
    /// That work without end waits.
    EndlessQueue,
    /// Now that, now the truth, each second.
    Flapping,
    /// The truth, until so many milliseconds from the beginning.
    SilentAfter(u64),
}

impl Says {
    /// What an instance says at this time.
    pub(crate) fn of(
        self,
        app: &App,
        instance: &mut Instance,
        period_ms: u32,
        now_ms: u64,
    ) -> Option<Told<Report>> {
        let waits_ms = u32::try_from(instance.queue.len()).unwrap_or(u32::MAX).saturating_mul(app.service_ms);
        let truth = Report {
            capacity_milli: Some(app.capacity_milli()),
            slots: Some(app.slots),
            backlog_ms: Some(waits_ms),
            warm_ms: Some(app.warm_ms),
            cold_permille: Some(app.cold_permille),
            ..Report::default()
        };
        let endless = Report { backlog_ms: Some(3_600_000), ..truth };
        let (report, age_ms) = match self {
            Self::Nothing => return None,
            Self::Truth => (truth, 0),
            Self::Worker => (worker(app, instance, 1_000)?, period_ms),
            Self::WorkerCapacity(permille) => (worker(app, instance, permille)?, period_ms),
            Self::Capacity(permille) => {
                let capacity = u64::from(app.capacity_milli()) * permille / 1_000;
                (Report { capacity_milli: u32::try_from(capacity).ok(), ..truth }, 0)
            }
            Self::NoQueue => (Report { backlog_ms: Some(0), ..truth }, 0),
            Self::EndlessQueue => (endless, 0),
            Self::Flapping => (if (now_ms / 1_000).is_multiple_of(2) { truth } else { endless }, 0),
            Self::SilentAfter(at_ms) => match now_ms.checked_sub(at_ms) {
                Some(since_ms) if since_ms > u64::from(2 * LEASE_MS) => return None,
                Some(since_ms) => (truth, u32::try_from(since_ms).unwrap_or(u32::MAX)),
                None => (truth, 0),
            },
        };
        Some(Told { value: report, age_ms, lease_ms: LEASE_MS })
    }
}

/// What it says now, for what it said at the look before.
fn worker(app: &App, instance: &mut Instance, permille: u64) -> Option<Report> {
    let per_s = instance.taken.saturating_mul(1_000_000_000).saturating_mul(app.slots.into());
    let capacity_milli = per_s.checked_div(instance.taken_us).map(|milli| milli * permille / 1_000);
    let waits_us: u64 = instance.queue.iter().map(|request| app.work_us(*request)).sum();
    let report = Report {
        capacity_milli: capacity_milli.and_then(|milli| u32::try_from(milli).ok()),
        slots: Some(app.slots),
        backlog_ms: u32::try_from(waits_us / super::MS).ok(),
        warm_ms: Some(app.warm_ms),
        cold_permille: Some(app.cold_permille),
        ..Report::default()
    };
    instance.said.replace(report)
}
