//! An open loop of one request: sent when it is due, at a rate that may change in phases, over all targets in turn. Its
//! latency counts from the time at which it was due.
//!
//! It says of each phase what became of the requests that were due in it, and how long each took, exactly: whoever
//! measures in several rounds lays them together. [`Plan::run`] runs it here; the program `paracloud-steady` reads a
//! plan from its standard input and prints what was seen, so that clients share no process with what they measure:
//! [`Plan::run_by`].

mod open_loop;

use http::Uri;
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Requests outstanding at a time. What is due beyond it is not sent: [`Seen::given_up`].
pub const IN_FLIGHT_MAX: usize = 10_000;
/// Requests a second.
pub const REQUESTS_PER_S_MAX: u32 = 100_000;
/// Phases of a plan.
pub const PHASES_MAX: usize = 64;
/// Requests of a plan.
pub const REQUESTS_MAX: u64 = 5_000_000;
/// Targets of a plan.
pub const TARGETS_MAX: usize = 64;
/// How long whoever runs a plan waits for its process beyond the time that the plan takes, in milliseconds.
const BEHIND_MS_MAX: u64 = 30_000;

/// What to send where, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// 1 to [`TARGETS_MAX`].
    pub targets: Vec<SocketAddr>,
    /// Path and query.
    pub path: String,
    /// The body of a `POST`, as it is; `None`: a `GET`.
    pub body: Option<String>,
    /// 1 to [`PHASES_MAX`], one behind the other.
    pub phases: Vec<Phase>,
    /// When requests are due.
    pub arrivals: Arrivals,
    /// How long an answer is waited for, in milliseconds: 1 to 600000.
    pub answer_ms_max: u32,
    /// Seeds the arrivals.
    pub seed: u64,
}

/// A time with one rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// At most [`REQUESTS_PER_S_MAX`]; 0: none.
    pub requests_per_s: u32,
    /// How long it lasts, in milliseconds.
    pub duration_ms: u32,
}

/// When requests are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// At even distances.
    Even,
    /// Each by itself: exponential distances of the rate's mean.
    Poisson,
}

/// What became of the requests that were due in a phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Requests that were due.
    pub offered: u64,
    /// Those answered with a status of success, each with its latency in microseconds, in no order.
    pub latencies_us: Vec<u32>,
    /// Those answered 429 or 503.
    pub refused: u64,
    /// Those answered with another status.
    pub failed: u64,
    /// Those without a whole answer.
    pub lost: u64,
    /// Those not sent because [`IN_FLIGHT_MAX`] were outstanding.
    pub given_up: u64,
}

impl Seen {
    /// Whether every request was answered with success.
    pub fn is_clean(&self) -> bool {
        self.latencies_us.len() as u64 == self.offered
    }

    /// The latency that so many of a thousand answered requests did not exceed, in milliseconds; of none there is none.
    pub fn latency_ms(&self, permille: usize) -> Option<f64> {
        let mut all = self.latencies_us.clone();
        let last = all.len().checked_sub(1)?;
        let place = (all.len() * permille.min(1_000)).div_ceil(1_000).saturating_sub(1);
        let (_, found, _) = all.select_nth_unstable(place.min(last));
        Some(f64::from(*found) / 1e3)
    }

    /// What was seen here and there.
    pub fn add(&mut self, other: &Self) {
        self.offered += other.offered;
        self.latencies_us.extend_from_slice(&other.latencies_us);
        self.refused += other.refused;
        self.failed += other.failed;
        self.lost += other.lost;
        self.given_up += other.given_up;
    }
}

/// Why a plan was not run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A field breaks its bound.
    #[error("the plan of the load: {field}: {found}, want {want}")]
    Bound {
        /// The field.
        field: &'static str,
        /// What it is.
        found: String,
        /// Its bound.
        want: &'static str,
    },
    /// The process of the clients cannot be started, or says nothing.
    #[error("the process of the clients: {0}")]
    Process(#[from] io::Error),
    /// It says something else than what was seen.
    #[error("the process of the clients: {0}")]
    Otherwise(#[from] serde_json::Error),
    /// It has failed, and said why.
    #[error("the process of the clients has failed; it says: {0}")]
    Failed(String),
}

impl Plan {
    /// Checks every bound.
    ///
    /// # Errors
    /// Names the first field that breaks its bound.
    pub fn validate(&self) -> Result<(), PlanError> {
        let check = |holds: bool, field, found: String, want| {
            if holds { Ok(()) } else { Err(PlanError::Bound { field, found, want }) }
        };
        let (targets, phases) = (self.targets.len(), self.phases.len());
        check((1..=TARGETS_MAX).contains(&targets), "targets", targets.to_string(), "1 to 64")?;
        check((1..=PHASES_MAX).contains(&phases), "phases", phases.to_string(), "1 to 64")?;
        let fastest = self.phases.iter().map(|phase| phase.requests_per_s).max().unwrap_or_default();
        check(fastest <= REQUESTS_PER_S_MAX, "requests_per_s", fastest.to_string(), "at most 100000")?;
        let all: u64 = self.phases.iter().map(Phase::requests).sum();
        check(all <= REQUESTS_MAX, "phases", format!("{all} requests"), "at most 5000000 requests")?;
        let wait = self.answer_ms_max;
        check((1..=600_000).contains(&wait), "answer_ms_max", wait.to_string(), "1 to 600000")?;
        let path: Option<Uri> = self.path.parse().ok().filter(|_| self.path.starts_with('/'));
        let malformed =
            || PlanError::Bound { field: "path", found: self.path.clone(), want: "a path from / on" };
        path.map(drop).ok_or_else(malformed)
    }

    /// How long all phases last, in milliseconds.
    pub fn duration_ms(&self) -> u64 {
        self.phases.iter().map(|phase| u64::from(phase.duration_ms)).sum()
    }

    /// Runs it in a process: `command` is the program `paracloud-steady`. The process ends with this future.
    ///
    /// # Errors
    /// A field breaks its bound, or the process does not say what it saw.
    pub async fn run_by(&self, mut command: Command) -> Result<Vec<Seen>, PlanError> {
        self.validate()?;
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = pipes.kill_on_drop(true).spawn()?;
        let mut input = process.stdin.take().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        input.write_all(&serde_json::to_vec(self)?).await?;
        drop(input);
        let wait = self.duration_ms() + u64::from(self.answer_ms_max) + BEHIND_MS_MAX;
        let output = timeout(Duration::from_millis(wait), process.wait_with_output()).await;
        let output = output.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if !output.status.success() {
            return Err(PlanError::Failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

impl Phase {
    /// About how many it has.
    fn requests(&self) -> u64 {
        u64::from(self.requests_per_s) * u64::from(self.duration_ms) / 1_000
    }
}

impl Arrivals {
    /// From one request to the next.
    fn gap(self, per_s: u32, random: &mut Xoshiro256PlusPlus) -> Duration {
        let even = 1.0 / f64::from(per_s);
        match self {
            Self::Even => Duration::from_secs_f64(even),
            // 1 − [0, 1) is never 0.
            Self::Poisson => Duration::from_secs_f64(-even * (1.0 - random.random::<f64>()).ln()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn plan(target: SocketAddr, per_s: u32, duration_ms: u32) -> Plan {
        Plan {
            targets: vec![target],
            path: "/".to_owned(),
            body: None,
            phases: vec![Phase { requests_per_s: per_s, duration_ms }],
            arrivals: Arrivals::Poisson,
            answer_ms_max: 20_000,
            seed: 7,
        }
    }

    #[tokio::test]
    async fn nobody_there_is_lost_and_a_plan_out_of_bounds_is_refused_with_its_field() {
        let nobody = crate::driver::free_addresses(1).unwrap()[0];
        let seen = plan(nobody, 100, 100).run().await.unwrap();
        assert!(seen[0].offered > 0 && seen[0].lost == seen[0].offered, "{seen:?}");
        let spoilt = |spoil: fn(&mut Plan)| {
            let mut plan = plan(nobody, 100, 100);
            spoil(&mut plan);
            plan.validate().unwrap_err().to_string()
        };
        for (error, field) in [
            (spoilt(|plan| plan.targets.clear()), "targets"),
            (spoilt(|plan| plan.phases.clear()), "phases"),
            (spoilt(|plan| plan.phases[0].requests_per_s = 100_001), "requests_per_s"),
            (spoilt(|plan| plan.phases[0].duration_ms = u32::MAX), "requests"),
            (spoilt(|plan| plan.answer_ms_max = 0), "answer_ms_max"),
            (spoilt(|plan| plan.path = "a b".to_owned()), "path"),
        ] {
            assert!(error.contains(field) && error.contains("want"), "{field}: {error}");
        }
    }

    #[test]
    fn a_quantile_is_a_latency_that_was_seen() {
        let seen = Seen { latencies_us: (1..=1_000).rev().map(|ms| ms * 1_000).collect(), ..Seen::default() };
        for (permille, ms) in [(0, 1.0), (500, 500.0), (990, 990.0), (999, 999.0), (1_000, 1_000.0)] {
            assert_eq!(seen.latency_ms(permille), Some(ms), "{permille}");
        }
        assert_eq!(Seen::default().latency_ms(500), None);
    }

    #[test]
    fn gaps_of_their_own_have_the_mean_of_the_rate() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let all: Duration = (0..10_000).map(|_| Arrivals::Poisson.gap(1_000, &mut random)).sum();
        assert!((9.5..10.5).contains(&all.as_secs_f64()), "{all:?}");
    }

    #[tokio::test]
    async fn a_process_that_fails_or_says_something_else_is_heard() {
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("cat > /dev/null; {script}")]);
            let plan = plan(([127, 0, 0, 1], 1).into(), 1, 1);
            async move { plan.run_by(command).await }
        };
        let failed = run("echo no room >&2; exit 3").await.unwrap_err();
        assert!(failed.to_string().contains("no room"), "{failed}");
        assert!(matches!(run("echo nothing").await, Err(PlanError::Otherwise(_))));
        let seen =
            run(r#"echo '[{"offered":1,"latencies_us":[5],"refused":0,"failed":0,"lost":0,"given_up":0}]'"#);
        assert!(seen.await.unwrap()[0].is_clean());
    }
}
