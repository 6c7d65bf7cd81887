//! What gateways measured of an app since it was planned the last time, all of them together.
//!
//! Every gateway says once a period what it counted in it. Figures are handed on when each gateway that is heard of has said
//! something new: of a part of them a rate would be half of what it is. Nobody's silence is taken for nothing.

use crate::control::locked;
use paracloud_core::ids::{GatewayId, InstanceNumber};
use paracloud_core::scaling::observation::{Measured, Traffic};
use paracloud_substrate::message::MeasuredInstance;
use paracloud_substrate::names::InstanceName;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A gateway that said nothing for so many periods is not waited for.
const SILENT_PERIODS: u32 = 3;
/// And not before so long.
const SILENT_MIN: Duration = Duration::from_secs(1);
/// The longest time that one line counts for, in milliseconds.
const OVER_MS_MAX: u64 = 3_600_000;

/// What one gateway counted of one app and has not been handed on.
#[derive(Debug)]
struct Counted {
    heard: Instant,
    /// It has said something since it was handed on.
    is_new: bool,
    over_ms: u64,
    arrivals: u64,
    waiting: u32,
    instances: BTreeMap<InstanceNumber, Sums>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    completions: u64,
    service_us_sum: u64,
    in_flight: u32,
    sessions: Option<u32>,
}

/// A line of a gateway.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) over_ms: u32,
    pub(crate) arrivals: u32,
    pub(crate) waiting: u32,
    pub(crate) instances: Vec<MeasuredInstance>,
}

/// Of each gateway and app that are configured one.
#[derive(Debug, Default)]
pub(crate) struct Measurements {
    all: Mutex<BTreeMap<(String, GatewayId), Counted>>,
    said: Notify,
}

/// What all gateways saw together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Together {
    pub(crate) traffic: Traffic,
    pub(crate) instances: BTreeMap<InstanceNumber, Measured>,
    /// Sessions of clients at each, where every gateway knows: one that goes through two of them counts twice.
    pub(crate) sessions: BTreeMap<InstanceNumber, u32>,
}

impl Measurements {
    /// A gateway says what it counted of an app that is configured.
    pub(crate) fn hear(&self, gateway: GatewayId, app: &str, line: Line, now: Instant) {
        let mut all = locked(&self.all);
        let counted = all.entry((app.to_owned(), gateway)).or_insert_with(|| Counted {
            heard: now,
            is_new: false,
            over_ms: 0,
            arrivals: 0,
            waiting: 0,
            instances: BTreeMap::new(),
        });
        (counted.heard, counted.is_new, counted.waiting) = (now, true, line.waiting);
        counted.over_ms = counted.over_ms.saturating_add(u64::from(line.over_ms).min(OVER_MS_MAX));
        counted.arrivals = counted.arrivals.saturating_add(line.arrivals.into());
        counted.instances.values_mut().for_each(|sums| sums.in_flight = 0);
        for said in line.instances {
            let name = said.instance.parse::<InstanceName>().ok().filter(|name| name.app() == app);
            let Some(number) = name.and_then(|name| name.number()) else { continue };
            let sums = counted.instances.entry(InstanceNumber(number)).or_default();
            sums.completions = sums.completions.saturating_add(said.completions.into());
            sums.service_us_sum = sums.service_us_sum.saturating_add(said.service_us_sum);
            (sums.in_flight, sums.sessions) = (said.in_flight, said.sessions);
        }
        drop(all);
        self.said.notify_waiters();
    }

    /// Returns when there is something to hand on of an app, or it is `until`.
    pub(crate) async fn wait(&self, app: &str, period: Duration, until: Instant) {
        loop {
            let mut said = std::pin::pin!(self.said.notified());
            said.as_mut().enable();
            if self.is_whole(app, period, Instant::now()) {
                return;
            }
            if tokio::time::timeout_at(until.into(), said).await.is_err() {
                return;
            }
        }
    }

    fn is_whole(&self, app: &str, period: Duration, now: Instant) -> bool {
        let mut all = locked(&self.all);
        let mut own = heard(&mut all, app, period, now).peekable();
        own.peek().is_some() && own.all(|(_, counted)| counted.is_new)
    }

    /// Takes what was counted. `None`: a gateway that is heard of has said nothing new, or there is none.
    pub(crate) fn take(&self, app: &str, period: Duration, now: Instant) -> Option<Together> {
        if !self.is_whole(app, period, now) {
            return None;
        }
        let mut all = locked(&self.all);
        let taken: Vec<Counted> = heard(&mut all, app, period, now)
            .map(|(_, counted)| {
                let next = Counted {
                    heard: counted.heard,
                    is_new: false,
                    over_ms: 0,
                    arrivals: 0,
                    waiting: 0,
                    instances: BTreeMap::new(),
                };
                std::mem::replace(counted, next)
            })
            .collect();
        Some(together(&taken, now))
    }
}

/// The gateways that are heard of, with what they counted of an app.
fn heard<'a>(
    all: &'a mut BTreeMap<(String, GatewayId), Counted>,
    app: &'a str,
    period: Duration,
    now: Instant,
) -> impl Iterator<Item = (&'a GatewayId, &'a mut Counted)> {
    let silent = (period * SILENT_PERIODS).max(SILENT_MIN);
    let own = all.iter_mut().filter(move |((of, _), _)| of == app).map(|((_, id), counted)| (id, counted));
    own.filter(move |(_, counted)| now.saturating_duration_since(counted.heard) < silent)
}

/// They count at the same time: what each counted is taken for the longest time that one of them did.
fn together(taken: &[Counted], now: Instant) -> Together {
    let over_ms = taken.iter().map(|counted| counted.over_ms).max().unwrap_or(0);
    let newest = taken.iter().map(|counted| now.saturating_duration_since(counted.heard)).min();
    let age_ms = small(newest.unwrap_or_default().as_millis());
    let mut together = Together {
        traffic: Traffic { age_ms, over_ms: small(over_ms), arrivals: 0, waiting: 0 },
        instances: BTreeMap::new(),
        sessions: BTreeMap::new(),
    };
    for counted in taken {
        let whole = |part: u64| {
            let part = u128::from(part) * u128::from(over_ms);
            part.checked_div(counted.over_ms.into()).unwrap_or(0)
        };
        let traffic = &mut together.traffic;
        traffic.arrivals = traffic.arrivals.saturating_add(small(whole(counted.arrivals)));
        traffic.waiting = traffic.waiting.saturating_add(counted.waiting);
        for (number, sums) in &counted.instances {
            let first = Measured { age_ms, over_ms: small(over_ms), ..Measured::default() };
            let measured = together.instances.entry(*number).or_insert(first);
            measured.completions = measured.completions.saturating_add(small(whole(sums.completions)));
            let service_us = u64::try_from(whole(sums.service_us_sum)).unwrap_or(u64::MAX);
            measured.service_us_sum = measured.service_us_sum.saturating_add(service_us);
            measured.in_flight = measured.in_flight.saturating_add(sums.in_flight);
        }
    }
    let sessions = |number: &InstanceNumber| {
        let mut each = taken.iter().map(|counted| counted.instances.get(number).and_then(|it| it.sessions));
        each.try_fold(0_u32, |sum, each| Some(sum.saturating_add(each?)))
    };
    let known = together.instances.keys().filter_map(|number| Some((*number, sessions(number)?)));
    together.sessions = known.collect();
    together
}

fn small(figure: impl TryInto<u32>) -> u32 {
    figure.try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(1);

    fn line(over_ms: u32, arrivals: u32, of_first: (u32, u32)) -> Line {
        let (completions, in_flight) = of_first;
        let first = |instance: &str| MeasuredInstance {
            instance: instance.to_owned(),
            completions,
            failures: 0,
            in_flight,
            service_us_sum: u64::from(completions) * 1_000,
            sessions: None,
        };
        let instances = ["worker.1", "other.1", "worker", "worker.900"].map(first).to_vec();
        Line { over_ms, arrivals, waiting: 1, instances }
    }

    #[test]
    fn what_gateways_counted_is_handed_on_once_each_has_said_something_new() {
        let (measurements, now) = (Measurements::default(), Instant::now());
        assert_eq!(measurements.take("worker", PERIOD, now), None, "nobody said anything");
        measurements.hear(GatewayId(1), "worker", line(1_000, 40, (30, 3)), now);
        measurements.hear(GatewayId(2), "worker", line(500, 10, (5, 2)), now);
        measurements.hear(GatewayId(2), "other", line(500, 99, (9, 9)), now);
        let all = measurements.take("worker", PERIOD, now).unwrap();
        assert_eq!(all.traffic, Traffic { age_ms: 0, over_ms: 1_000, arrivals: 60, waiting: 2 });
        let first =
            Measured { age_ms: 0, over_ms: 1_000, completions: 40, service_us_sum: 40_000, in_flight: 5 };
        assert_eq!(
            all.instances,
            BTreeMap::from([(InstanceNumber(1), first)]),
            "no other name is one of its"
        );
        measurements.hear(GatewayId(1), "worker", line(1_000, 40, (30, 3)), now);
        assert_eq!(measurements.take("worker", PERIOD, now), None, "the other one's word is awaited");
        measurements.hear(GatewayId(1), "worker", line(1_000, 20, (10, 1)), now);
        measurements.hear(GatewayId(2), "worker", line(2_000, 0, (0, 0)), now);
        let all = measurements.take("worker", PERIOD, now).unwrap();
        assert_eq!((all.traffic.over_ms, all.traffic.arrivals), (2_000, 60), "nothing that was said is lost");
        assert_eq!(all.instances[&InstanceNumber(1)].in_flight, 1, "the last look counts");
    }

    #[test]
    fn sessions_are_known_where_every_gateway_knows_them() {
        let (measurements, now) = (Measurements::default(), Instant::now());
        let heard = |said: [Option<u32>; 2]| {
            for (gateway, sessions) in (1..).map(GatewayId).zip(said) {
                let mut line = line(1_000, 1, (1, 0));
                line.instances.iter_mut().for_each(|it| it.sessions = sessions);
                measurements.hear(gateway, "worker", line, now);
            }
            measurements.take("worker", PERIOD, now).unwrap().sessions.into_values().collect::<Vec<_>>()
        };
        assert_eq!(heard([Some(2), Some(3)]), [5]);
        assert_eq!(heard([Some(0), Some(0)]), [0]);
        assert!(heard([Some(2), None]).is_empty(), "unknown is not nothing");
    }

    #[test]
    fn a_gateway_that_is_silent_for_long_is_not_waited_for_and_silence_is_not_zero() {
        let (measurements, now) = (Measurements::default(), Instant::now());
        measurements.hear(GatewayId(1), "worker", line(1_000, 40, (30, 3)), now);
        measurements.hear(GatewayId(2), "worker", line(1_000, 40, (30, 3)), now);
        measurements.take("worker", PERIOD, now).unwrap();
        let later = now + 4 * PERIOD;
        assert_eq!(measurements.take("worker", PERIOD, later), None, "nobody is heard of");
        measurements.hear(GatewayId(1), "worker", line(1_000, 7, (7, 0)), later);
        let all = measurements.take("worker", PERIOD, later).unwrap();
        assert_eq!(all.traffic.arrivals, 7);
    }

    #[test]
    fn no_figure_of_a_gateway_overflows_anything() {
        let (measurements, now) = (Measurements::default(), Instant::now());
        for _ in 0..3 {
            let mut most = line(u32::MAX, u32::MAX, (u32::MAX, u32::MAX));
            most.instances.iter_mut().for_each(|it| it.service_us_sum = u64::MAX);
            measurements.hear(GatewayId(1), "worker", most, now);
            measurements.hear(GatewayId(2), "worker", line(0, u32::MAX, (1, u32::MAX)), now);
        }
        let all = measurements.take("worker", PERIOD, now).unwrap();
        assert_eq!(all.traffic.arrivals, u32::MAX);
        assert_eq!(all.instances[&InstanceNumber(1)].service_us_sum, u64::MAX);
    }
}
