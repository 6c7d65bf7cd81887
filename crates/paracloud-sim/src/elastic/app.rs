//! An instance and the requests in it.

use paracloud_core::scaling::observation::Report;
use std::collections::VecDeque;

/// A request, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    /// When it came to a gateway.
    pub(crate) came_us: u64,
    /// When it was sent to an instance.
    pub(crate) sent_us: u64,
    pub(crate) is_long: bool,
}

/// How far an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Ordered.
    Starting,
    /// Serves.
    Ready,
    /// Gets nothing new.
    Draining,
}

/// One instance.
#[derive(Debug, Clone)]
pub struct Instance {
    pub(crate) phase: Phase,
    /// Since when it is that.
    pub(crate) since_us: u64,
    pub(crate) started_us: u64,
    pub(crate) ready_us: u64,
    /// How long it had served when the run began.
    pub(crate) before_us: u64,
    pub(crate) busy: u32,
    pub(crate) queue: VecDeque<Request>,
    /// Since the last decision.
    pub(crate) completions: u32,
    /// Since the last decision.
    pub(crate) service_us: u64,
    /// Time of its slots that was used.
    pub(crate) busy_us: u64,
    /// Time it lived.
    pub(crate) lived_us: u64,
    /// What it answered when it was asked what losing it costs, and when.
    pub(crate) quote: Option<(u32, u64)>,
    /// Requests that were sent to it.
    pub(crate) taken: u64,
    /// Their work.
    pub(crate) taken_us: u64,
    /// What it said at the last look.
    pub(crate) said: Option<Report>,
}

impl Instance {
    /// One that has been warm for an hour.
    pub(crate) fn warm() -> Self {
        Self { phase: Phase::Ready, before_us: 3_600_000_000, ..Self::starting(0) }
    }

    pub(crate) fn starting(now_us: u64) -> Self {
        Self {
            phase: Phase::Starting,
            since_us: now_us,
            started_us: now_us,
            ready_us: 0,
            before_us: 0,
            busy: 0,
            queue: VecDeque::new(),
            completions: 0,
            service_us: 0,
            busy_us: 0,
            lived_us: 0,
            quote: None,
            taken: 0,
            taken_us: 0,
            said: None,
        }
    }

    /// How long it has served.
    pub(crate) fn served_us(&self, now_us: u64) -> u64 {
        now_us + self.before_us - self.ready_us
    }

    pub(crate) fn in_flight(&self) -> u32 {
        u32::try_from(self.queue.len()).unwrap_or(u32::MAX).saturating_add(self.busy)
    }
}
