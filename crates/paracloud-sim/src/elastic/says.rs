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
    pub(crate) fn of(self, app: &App, instance: &Instance, now_ms: u64) -> Option<Told<Report>> {
        let waits_ms = u32::try_from(instance.queue.len()).unwrap_or(u32::MAX).saturating_mul(app.service_ms);
        let truth = Report {
            capacity_milli: Some(app.capacity_milli()),
            slots: Some(app.slots),
            backlog_ms: Some(waits_ms),
            boot_ms: Some(app.boot_ms),
            warm_ms: Some(app.warm_ms),
            cold_permille: Some(app.cold_permille),
            ..Report::default()
        };
        let endless = Report { backlog_ms: Some(3_600_000), ..truth };
        let (report, age_ms) = match self {
            Self::Nothing => return None,
            Self::Truth => (truth, 0),
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
