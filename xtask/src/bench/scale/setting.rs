//! What is the same for everybody who decides: the application, its load, and how much faster than usual time goes.

use paracloud_load::steady::{Arrivals, Phase, Plan, Seen};
use paracloud_sim::peers::hpa::{Metric, SYNC_MS, Spec};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Fewest and most instances, and as many there are before the step.
pub(super) const INSTANCES: (u32, u32) = (2, 10);
/// How busy an instance ought to be, in thousandths of its capacity: for both deciders.
const TARGET_PERMILLE: u32 = 700;
/// A request is late after this long, in milliseconds.
const LATE_MS: u32 = 100;
/// How long an answer may take, in milliseconds.
const ANSWER_MS_MAX: u32 = 60_000;
/// Load before what counts, in milliseconds: whoever decides has to have seen it.
pub(super) const LEAD_MS: u32 = 5_000;
/// What counts: before the step, in it, and behind it, in milliseconds.
const COUNTED_MS: [u32; 3] = [5_000, 30_000, 40_000];
/// The step, times the load before it.
const STEP: u32 = 5;
/// Long jobs beside the load, one a second: whoever stops one of those breaks off most.
const LONG_PER_S: u32 = 1;
/// How long such a one takes, in milliseconds.
const LONG_MS: u32 = 1_500;
/// For how long less is wanted before one goes, in starts: what a manifest has that says nothing of it, whose bounds are not
/// faster than usual.
const HOLD_STARTS: u32 = 4;
/// Usual times of what is scaled, in milliseconds: a period of decisions, the window of the budget of starts and stops, how
/// long one may take to leave, and what SIGTERM gives.
const PERIOD_MS: u64 = 1_000;
const FLAP_MS: u64 = 600_000;
const DRAIN_MS: u64 = 300_000;
const GRACE_MS: u64 = 30_000;
/// How often it is looked whether one that starts is ready, in milliseconds; of all, as it is.
pub(super) const PROBE_MS: u64 = 100;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// Time goes so many times as fast as usual.
    pub(super) faster: u32,
    /// Requests a second before the step and behind it.
    pub(super) low_per_s: u32,
    /// Work of a request, in milliseconds.
    pub(super) work_ms: u32,
    /// Requests that an instance works on at a time.
    pub(super) slots: u32,
    /// How long an instance takes until it listens, and until it is warm, in milliseconds.
    pub(super) start_ms: u32,
    /// Seeds the load.
    pub(super) seed: u64,
}

impl Setting {
    /// A usual time in milliseconds, as it is here: never nothing.
    pub(super) fn scaled_ms(&self, usual_ms: u64) -> u64 {
        (usual_ms / u64::from(self.faster)).max(1)
    }

    /// How long SIGTERM gives, in milliseconds.
    pub(super) fn grace_ms(&self) -> u64 {
        self.scaled_ms(GRACE_MS)
    }

    /// How often Kubernetes' autoscaler decides, and how long its samples are, in milliseconds.
    pub(super) fn sync_ms(&self) -> u64 {
        self.scaled_ms(SYNC_MS)
    }

    /// What Kubernetes' autoscaler is set to.
    pub(super) fn hpa(&self) -> Spec {
        let (min, max) = INSTANCES;
        Spec { metric: Metric::Own, ..Spec::usual(min, max, TARGET_PERMILLE, self.faster.into()) }
    }

    /// The environment of every instance.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        [
            ("SLOTS", self.slots),
            ("QUEUE_MAX", 100_000),
            ("BOOT_MS", self.start_ms),
            ("WARMUP_MS", self.start_ms),
            ("COLD_PERMILLE", 500),
        ]
        .map(|(name, value)| (name, value.to_string()))
        .to_vec()
    }

    /// The manifest, with so many instances at the start and at least, and with this rule for reports.
    pub(super) fn manifest(&self, program: &str, listen: SocketAddr, min: u32, reports: &str) -> Value {
        let ms = |usual_ms| format!("{}ms", self.scaled_ms(usual_ms));
        let mut environment: Value = self.environment().into_iter().collect();
        environment["PARACLOUD_RIG"] = "{rig}".into();
        json!({
            "kind": "App",
            "name": "worker",
            "command": [program],
            "env": environment,
            "listen": [listen],
            "state": "none",
            "readiness": { "http": "/healthz", "period": format!("{PROBE_MS}ms") },
            "stopGrace": ms(GRACE_MS),
            "scale": {
                "min": min,
                "max": INSTANCES.1,
                "start": min,
                "period": ms(PERIOD_MS),
                "hold": format!("{}ms", self.start_ms * HOLD_STARTS),
                "target": format!("{}%", TARGET_PERMILLE / 10),
                "flap": { "actions": 4 * INSTANCES.1, "per": ms(FLAP_MS) },
                "drain": ms(DRAIN_MS),
                "reports": reports,
            },
        })
    }

    /// The load, and the long jobs beside it.
    pub(super) fn plans(&self, target: SocketAddr) -> [Plan; 2] {
        let [before, step, behind] = COUNTED_MS;
        let of = |rates: [u32; 4], work_ms: u32, seed| Plan {
            targets: vec![target],
            path: "/work".to_owned(),
            body: Some(json!({ "ms": work_ms }).to_string()),
            phases: std::iter::zip(rates, [LEAD_MS, before, step, behind])
                .map(|(requests_per_s, duration_ms)| Phase { requests_per_s, duration_ms })
                .collect(),
            arrivals: Arrivals::Poisson,
            answer_ms_max: ANSWER_MS_MAX,
            seed,
        };
        let low = self.low_per_s;
        let load = of([low, low, STEP * low, low], self.work_ms, self.seed);
        let long = of([LONG_PER_S; 4], LONG_MS, self.seed.wrapping_add(1));
        [load, long]
    }
}

/// How long what counts lasts, in milliseconds.
pub(super) fn counted_ms() -> u64 {
    COUNTED_MS.into_iter().map(u64::from).sum()
}

/// What clients saw of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Served {
    /// Requests that count.
    pub(super) offered: u64,
    /// Those of them that were late, or not answered with success.
    pub(super) late: u64,
    /// Requests and long jobs, also those before what counts, that were not answered with success.
    pub(super) lost: u64,
}

impl Served {
    /// From what was seen in each phase of the load and of the long jobs.
    pub(super) fn of(load: &[Seen], long: &[Seen]) -> Self {
        let unanswered = |seen: &Seen| seen.refused + seen.failed + seen.lost + seen.given_up;
        let is_late = |us: &&u32| **us > LATE_MS * 1_000;
        let slow = |seen: &Seen| seen.latencies_us.iter().filter(is_late).count() as u64;
        let counted = load.get(1..).unwrap_or_default();
        Self {
            offered: counted.iter().map(|seen| seen.offered).sum(),
            late: counted.iter().map(|seen| slow(seen) + unanswered(seen)).sum(),
            lost: load.iter().chain(long).map(unanswered).sum(),
        }
    }

    /// The share of those that were late, in percent.
    #[expect(clippy::cast_precision_loss, reason = "requests of a minute")]
    pub(super) fn late_percent(&self) -> f64 {
        100.0 * self.late as f64 / self.offered.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTING: Setting =
        Setting { faster: 10, low_per_s: 120, work_ms: 20, slots: 4, start_ms: 1_000, seed: 1 };

    #[test]
    fn every_time_of_a_decision_is_as_much_shorter_and_the_hold_is_four_starts() {
        let manifest = SETTING.manifest("worker", ([127, 0, 0, 1], 1).into(), 2, "used");
        let times = ["period", "hold", "drain"].map(|name| manifest["scale"][name].clone());
        assert_eq!(times, ["100ms", "4000ms", "30000ms"]);
        assert_eq!(
            (&manifest["scale"]["flap"]["per"], &manifest["stopGrace"]),
            (&"60000ms".into(), &"3000ms".into())
        );
        assert_eq!((SETTING.sync_ms(), SETTING.hpa().stabilisation_ms), (1_500, 30_000));
    }

    #[test]
    fn what_is_late_counts_from_behind_the_lead_and_what_is_lost_from_the_beginning() {
        let seen = |latencies_us: Vec<u32>, lost| Seen { offered: 4, latencies_us, lost, ..Seen::default() };
        let load = [seen(vec![900_000; 4], 1), seen(vec![100_000, 100_001, 5], 1), seen(vec![1; 4], 0)];
        let served = Served::of(&load, &[seen(vec![1_500_000], 2)]);
        assert_eq!(served, Served { offered: 8, late: 2, lost: 4 });
        assert!((served.late_percent() - 25.0).abs() < 1e-9);
    }
}
