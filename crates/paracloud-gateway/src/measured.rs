//! What a gateway measures of an app's instances, for the controller.

use crate::choice::Came;
use paracloud_substrate::message::{FromGatewayLine, MeasuredInstance};
use std::collections::BTreeMap;
use std::time::Instant;

/// Since it was said last.
#[derive(Debug)]
pub(crate) struct Measuring {
    since: Instant,
    arrivals: u32,
    instances: BTreeMap<u32, Counted>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    completions: u32,
    failures: u32,
    service_us_sum: u64,
}

impl Default for Measuring {
    fn default() -> Self {
        Self { since: Instant::now(), arrivals: 0, instances: BTreeMap::new() }
    }
}

impl Measuring {
    /// A request came.
    pub(crate) fn came(&mut self) {
        self.arrivals = self.arrivals.saturating_add(1);
    }

    /// A request that was sent to an instance has ended, after so long.
    pub(crate) fn ended(&mut self, number: u32, came: Came, took_us: u64) {
        let counted = self.instances.entry(number).or_default();
        match came {
            Came::Answer(_) => {
                counted.completions = counted.completions.saturating_add(1);
                counted.service_us_sum = counted.service_us_sum.saturating_add(took_us);
            }
            Came::Failure => counted.failures = counted.failures.saturating_add(1),
            Came::Nothing => {}
        }
    }

    /// All of it; from now on it is counted anew.
    pub(crate) fn take(&mut self, now: Instant) -> Taken {
        let over = now.duration_since(self.since);
        let counted = std::mem::replace(self, Self { since: now, ..Self::default() });
        Taken {
            over_ms: u32::try_from(over.as_millis()).unwrap_or(u32::MAX),
            arrivals: counted.arrivals,
            counted: counted.instances,
            instances: Vec::new(),
        }
    }
}

/// What was counted, on its way to a line.
#[derive(Debug)]
pub(crate) struct Taken {
    over_ms: u32,
    arrivals: u32,
    counted: BTreeMap<u32, Counted>,
    instances: Vec<MeasuredInstance>,
}

impl Taken {
    /// An instance that there is, what is in flight there, and the sessions that live in it, where that is known.
    pub(crate) fn instance(&mut self, instance: &str, number: u32, in_flight: u32, sessions: Option<u32>) {
        let counted = self.counted.remove(&number).unwrap_or_default();
        self.instances.push(MeasuredInstance {
            instance: instance.to_owned(),
            completions: counted.completions,
            failures: counted.failures,
            in_flight,
            service_us_sum: counted.service_us_sum,
            sessions,
        });
    }

    /// The line, with how many requests wait.
    pub(crate) fn of(self, app: &str, waiting: u32) -> FromGatewayLine {
        FromGatewayLine::Measured {
            app: app.to_owned(),
            over_ms: self.over_ms,
            arrivals: self.arrivals,
            waiting,
            instances: self.instances,
        }
    }
}
