//! `cargo xtask bench balance`: what clients see of eight instances that are not alike, by the rule after which a gateway
//! chooses among them.
//!
//! The instances are processes of `worker`, whose work is a timed wait in a stated number of slots: one pauses, one is not
//! warm, one works at half speed, five are as they should be. One gateway serves five apps that are the same eight
//! processes, each app by a rule of its own: `used` by what the instances say of themselves, `ignored` as if they said
//! nothing, and the plain ones. What they say is read from them and told to the gateway in the words of a controller
//! ([`super::feed`]), so that what is measured is the data plane and nothing else.
//!
//! Load is offered in an open loop at the same share of what all of them can do together, by clients in a process of their
//! own; requests are due at random, and in one round the same for every rule. Rounds alternate between the rules. A round
//! counts if the machine was not too busy in it (`--machine-percent`): two processors must not become the subject. Then the
//! same follows with eight instances that are alike, between `least_in_flight` and `used`: there knowing more must not cost.

mod stand;
mod workers;

use super::processor::Watch;
use super::{greatest, median};
use super::{round2, say};
use crate::report::Report;
use crate::rig;
use anyhow::{Context, Result};
use paracloud_core::balancing::Policy;
use paracloud_load::steady::{Arrivals, Phase, Plan, Seen};
use serde_json::{Map, Value, json};
use stand::Stand;
use std::collections::BTreeMap;
use tokio::process::Command;
use workers::Kind;

/// Rules, in the order in which they are shown.
const POLICIES: [Policy; 5] =
    [Policy::Random, Policy::RoundRobin, Policy::LeastInFlight, Policy::Ignored, Policy::Used];
/// Those of the control with instances that are alike.
const ALIKE: [Policy; 2] = [Policy::LeastInFlight, Policy::Used];
/// What the rule `used` is to come to at most, in the best of the others' latencies.
const RATIO_AIM: f64 = 0.7;
/// Load before what counts, in milliseconds: a gateway has to have seen its instances.
const LEAD_MS: u32 = 1_000;
/// How long an answer may take, in milliseconds.
const ANSWER_MS_MAX: u32 = 60_000;
/// Rounds that are tried for each that is wanted.
const TRIES_MAX: u32 = 3;

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds that count.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// How long each rule has in a round, in seconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Work of one request, in milliseconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    work_ms: u32,
    /// Requests that an instance works on at a time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    slots: u32,
    /// Load, in percent of what all instances can do together.
    #[arg(long, default_value_t = 70, value_parser = clap::value_parser!(u32).range(1..=200))]
    load_percent: u32,
    /// How busy the machine may be in a round that counts, in percent of all its processors.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=100))]
    machine_percent: u32,
}

/// What was seen in the rounds that count.
#[derive(Debug, Default)]
struct Found {
    seen: BTreeMap<Policy, Seen>,
    machine_percent: Vec<f64>,
    others_percent: Vec<f64>,
    dropped: u32,
}

/// Measures.
pub(crate) fn run(options: &Options) -> Result<Report> {
    rig::build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let unlike = rounds(options, Kind::Unlike, &POLICIES).await?;
        let alike = rounds(options, Kind::Alike, &ALIKE).await?;
        Ok(report(options, &unlike, &alike))
    })
}

async fn rounds(options: &Options, kind: Kind, policies: &[Policy]) -> Result<Found> {
    let mut stand = Stand::start(kind, policies, options.slots).await?;
    let per_s = kind.capacity_per_s(options.slots, options.work_ms) * options.load_percent / 100;
    say(&format!("{} instances, {per_s} requests/s", kind.name()));
    say(&format!(
        "{:>5} {:<16} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "round", "rule", "p50 ms", "p99 ms", "max ms", "machine %", "others %"
    ));
    let mut found = Found::default();
    let mut counted = 0;
    for number in 1..=options.rounds * TRIES_MAX {
        let watch = Watch::begin(stand.processes()?)?;
        let mut seen = BTreeMap::new();
        for place in 0..policies.len() {
            // Nobody is always first.
            let policy = policies[(place + number as usize) % policies.len()];
            let plan = plan(options, stand.address(policy)?, per_s, number);
            let phases = plan.run_by(Command::new(rig::binary("paracloud-steady")?)).await?;
            seen.insert(policy, phases.into_iter().next_back().context("nothing was seen")?);
            stand.check()?;
        }
        let used = watch.end()?;
        let counts = used.machine_percent <= f64::from(options.machine_percent);
        for (policy, seen) in &seen {
            let [p50, p99, max] = [500, 990, 1_000].map(|at| seen.latency_ms(at).unwrap_or(f64::NAN));
            let (machine, others) = (used.machine_percent, used.others_percent);
            let name = name(*policy);
            let dropped = if counts { "" } else { "  dropped" };
            say(&format!(
                "{number:>5} {name:<16} {p50:>9.1} {p99:>9.1} {max:>9.1} {machine:>9.0} {others:>9.0}{dropped}"
            ));
        }
        if !counts {
            found.dropped += 1;
            continue;
        }
        found.machine_percent.push(used.machine_percent);
        found.others_percent.push(used.others_percent);
        for (policy, seen) in seen {
            found.seen.entry(policy).or_default().add(&seen);
        }
        counted += 1;
        if counted == options.rounds {
            break;
        }
    }
    stand.end().await?;
    Ok(found)
}

fn plan(options: &Options, target: std::net::SocketAddr, per_s: u32, round: u32) -> Plan {
    let phase = |duration_ms| Phase { requests_per_s: per_s, duration_ms };
    Plan {
        targets: vec![target],
        path: "/work".to_owned(),
        body: Some(format!("{{\"ms\":{}}}", options.work_ms)),
        phases: vec![phase(LEAD_MS), phase(options.seconds * 1_000)],
        arrivals: Arrivals::Poisson,
        answer_ms_max: ANSWER_MS_MAX,
        seed: round.into(),
    }
}

fn report(options: &Options, unlike: &Found, alike: &Found) -> Report {
    let best_other = POLICIES.iter().filter(|policy| **policy != Policy::Used);
    let best_other = best_other.filter_map(|policy| unlike.p999(*policy)).reduce(f64::min);
    let ratio = unlike.p999(Policy::Used).zip(best_other).map(|(used, other)| used / other);
    let healthy = alike.p999(Policy::Used).zip(alike.p999(Policy::LeastInFlight));
    let healthy = healthy.map(|(used, least)| used / least);
    let rounds = unlike.machine_percent.len().min(alike.machine_percent.len());
    let every = || unlike.seen.values().chain(alike.seen.values());
    let lost: u64 = every().map(|seen| seen.lost + seen.failed + seen.refused + seen.given_up).sum();
    Report {
        ok: rounds == options.rounds as usize && lost == 0,
        fields: json!({
            "policies": unlike.fields(),
            "ratio_p999": ratio.map(round2),
            "ratio_aim": RATIO_AIM,
            "aim_met": ratio.is_some_and(|ratio| ratio <= RATIO_AIM),
            "healthy": alike.fields(),
            "healthy_ratio_p999": healthy.map(round2),
            "not_answered": lost,
            "rounds": rounds,
            "rounds_dropped": unlike.dropped + alike.dropped,
            "machine_percent_p50": round2(median(unlike.machine_percent.clone())),
            "machine_percent_max": round2(greatest(&unlike.machine_percent)),
            "healthy_machine_percent_p50": round2(median(alike.machine_percent.clone())),
            "healthy_machine_percent_max": round2(greatest(&alike.machine_percent)),
            "machine_percent_allowed": options.machine_percent,
            "others_percent_p50": round2(median(unlike.others_percent.clone())),
            "load_percent": options.load_percent,
        }),
    }
}

impl Found {
    fn p999(&self, policy: Policy) -> Option<f64> {
        self.seen.get(&policy)?.latency_ms(999)
    }

    fn fields(&self) -> Map<String, Value> {
        let of = |seen: &Seen| {
            let at = |permille| seen.latency_ms(permille).map(round2);
            json!({ "p50_ms": at(500), "p99_ms": at(990), "p999_ms": at(999), "n": seen.latencies_us.len() })
        };
        self.seen.iter().map(|(policy, seen)| (name(*policy), of(seen))).collect()
    }
}

/// What a rule is called: as in a manifest.
fn name(policy: Policy) -> String {
    serde_json::to_value(policy).ok().and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(p999_ms: &[(Policy, u32)]) -> Found {
        let seen = |ms: &u32| Seen { offered: 1, latencies_us: vec![ms * 1_000], ..Seen::default() };
        Found {
            seen: p999_ms.iter().map(|(policy, ms)| (*policy, seen(ms))).collect(),
            machine_percent: vec![20.0],
            others_percent: vec![1.0],
            dropped: 0,
        }
    }

    #[test]
    fn what_is_said_is_compared_with_the_best_of_all_others_and_among_equals_with_the_least_in_flight() {
        let options =
            Options { rounds: 1, seconds: 1, work_ms: 20, slots: 4, load_percent: 70, machine_percent: 60 };
        let unlike = found(&[
            (Policy::Random, 900),
            (Policy::RoundRobin, 800),
            (Policy::LeastInFlight, 200),
            (Policy::Ignored, 250),
            (Policy::Used, 120),
        ]);
        let alike = || found(&[(Policy::LeastInFlight, 50), (Policy::Used, 51)]);
        let found = report(&options, &unlike, &alike());
        assert!(found.ok);
        assert_eq!((&found.fields["ratio_p999"], &found.fields["aim_met"]), (&json!(0.6), &json!(true)));
        assert_eq!(found.fields["healthy_ratio_p999"], json!(1.02));
        let percent = ["max", "allowed"].map(|it| found.fields[format!("machine_percent_{it}")].clone());
        assert_eq!(percent, [json!(20.0), json!(60)], "what was measured is not what is allowed");
        assert_eq!(found.fields["policies"]["round_robin"]["p999_ms"], json!(800.0));
        let mut lossy = alike();
        lossy.seen.entry(Policy::Used).or_default().lost = 1;
        assert!(!report(&options, &unlike, &lossy).ok, "a request was lost");
        let none = Found { machine_percent: Vec::new(), ..alike() };
        assert!(!report(&options, &unlike, &none).ok, "no round of the control counts");
    }
}
