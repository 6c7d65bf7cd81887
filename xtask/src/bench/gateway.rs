//! `cargo xtask bench gateway`: what a request costs a gateway in processor time, beside Debian's nginx as a reverse
//! proxy, with the same load to the same process.
//!
//! A cloud of `paracloud up` runs two instances of `worker`, as it would in use: its gateway chooses between them by what they
//! say of themselves. nginx goes to the same two processes, to the one with fewer connections. Both are offered the same rate by clients in a process of their own, in rounds that alternate, each below what either can do. A round
//! counts if each of the two answered what it was offered and nobody else used much of the machine meanwhile
//! (`--others-percent`); one that was disturbed is repeated, three times as many rounds as are wanted at most. Figures are
//! medians of rounds; the ratio is the median of the rounds' ratios, because the two halves of a round saw the same
//! machine.

use super::nginx::{self, Nginx};
use super::processor::{self, Used, Watch};
use super::{greatest, median};
use super::{round2, say};
use crate::report::Report;
use crate::rig::{self, Rig, Who};
use anyhow::{Context, Result};
use paracloud_load::steady::{Arrivals, Phase, Plan, Seen};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::process::Command;

const APP: &str = "worker";
/// Instances that are chosen among.
const INSTANCES: u32 = 2;
/// What is asked for: answered by the application at once, with a short body.
const PATH: &str = "/healthz";
/// What a request is to cost at most, in requests of nginx.
const RATIO_AIM: f64 = 1.3;
/// How long the cloud may take to serve.
const SETTLED_S_MAX: u64 = 60;
/// How long an answer may take, in milliseconds.
const ANSWER_MS_MAX: u32 = 10_000;
/// Rounds that are tried for each that is wanted.
const TRIES_MAX: u32 = 3;
/// A round in which less than this share of what was offered was answered is none.
const ANSWERED_MIN: f64 = 0.999;

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Requests a second, to each of the two in turn.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    requests_per_s: u32,
    /// Rounds that count.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// How long each half of a round is, in seconds.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// What others may use of the machine while a round counts, in percent of all its processors.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100))]
    others_percent: u32,
}

/// Half of a round.
#[derive(Debug, Clone)]
struct Half {
    seen: Seen,
    cpu_us_per_request: f64,
    used: Used,
}

/// A round.
#[derive(Debug, Clone)]
struct Round {
    ours: Half,
    nginx: Half,
}

impl Round {
    fn counts(&self, others_percent: f64) -> bool {
        [&self.ours, &self.nginx].iter().all(|half| {
            half.answered() >= ANSWERED_MIN * amount(half.seen.offered)
                && half.used.others_percent <= others_percent
        })
    }

    fn ratio(&self) -> f64 {
        self.ours.cpu_us_per_request / self.nginx.cpu_us_per_request
    }
}

impl Half {
    fn answered(&self) -> f64 {
        amount(self.seen.latencies_us.len() as u64)
    }
}

/// Measures.
pub(crate) fn run(options: &Options) -> Result<Report> {
    rig::build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: &Options) -> Result<Report> {
    nginx::install().await?;
    let [gateway, other] = rig::free_addresses(2)?[..] else { anyhow::bail!("two addresses are needed") };
    let manifest = format!(
        "kind: App\nname: {APP}\ncommand: [{:?}]\nlisten: [{:?}]\nstate: none\nreadiness:\n  http: {PATH}\n\
         scale: {{min: {INSTANCES}, max: {INSTANCES}, start: {INSTANCES}}}\nstopGrace: 2s\nenv:\n  \
         PARACLOUD_RIG: \"{{rig}}\"\n",
        rig::binary("worker")?.display().to_string(),
        gateway.to_string(),
    );
    let rig = Rig::start(&manifest, &[]).await?;
    let mut applications = Vec::new();
    for number in 1..=INSTANCES {
        let settled = rig.settled(&format!("{APP}.{number}"), Duration::from_secs(SETTLED_S_MAX)).await;
        let record = settled.with_context(|| rig.output())?.record.context("it serves without a record")?;
        applications.push(record.served.context("it serves nowhere")?);
    }
    let nginx = Nginx::start(other, &applications).await?;
    let pid = rig.find(Who::Gateway(1)).context("the gateway is not there")?.pid;
    let cloud: Vec<i32> = rig.processes().iter().map(|(identity, _)| identity.pid).collect();
    let all = [cloud, vec![nginx.pid()?]].concat();
    // Connections are opened, and memory is touched, before anything counts.
    half(options, gateway, pid, &all).await?;
    half(options, nginx.address(), nginx.pid()?, &all).await?;
    say(&format!("{:>5} {:>10} {:>10} {:>7} {:>9}", "round", "gateway us", "nginx us", "ratio", "others %"));
    let (mut rounds, mut dropped) = (Vec::new(), 0);
    for number in 1..=options.rounds * TRIES_MAX {
        let round = if number % 2 == 0 {
            let nginx = half(options, nginx.address(), nginx.pid()?, &all).await?;
            Round { ours: half(options, gateway, pid, &all).await?, nginx }
        } else {
            let ours = half(options, gateway, pid, &all).await?;
            Round { nginx: half(options, nginx.address(), nginx.pid()?, &all).await?, ours }
        };
        let counts = round.counts(options.others_percent.into());
        say(&row(number, &round, counts));
        if counts {
            rounds.push(round);
        } else {
            dropped += 1;
        }
        if rounds.len() == options.rounds as usize {
            break;
        }
    }
    drop(nginx);
    let (left, _directory) = rig.end().await;
    Ok(report(options, &rounds, dropped, left?))
}

/// Offers the load to one of the two, and looks at what it used.
async fn half(options: &Options, target: SocketAddr, pid: i32, all: &[i32]) -> Result<Half> {
    let plan = Plan {
        targets: vec![target],
        path: PATH.to_owned(),
        body: None,
        phases: vec![Phase { requests_per_s: options.requests_per_s, duration_ms: options.seconds * 1_000 }],
        arrivals: Arrivals::Even,
        answer_ms_max: ANSWER_MS_MAX,
        seed: 0,
    };
    let (watch, before) = (Watch::begin(all.to_vec())?, processor::of(pid)?);
    let mut seen = plan.run_by(Command::new(rig::binary("paracloud-steady")?)).await?;
    let cpu_s = processor::of(pid)? - before;
    let used = watch.end()?;
    let seen = seen.pop().context("nothing was seen")?;
    let cpu_us_per_request = cpu_s * 1e6 / amount(seen.latencies_us.len() as u64);
    Ok(Half { seen, cpu_us_per_request, used })
}

fn report(options: &Options, rounds: &[Round], dropped: u32, left: usize) -> Report {
    let each = |of: &dyn Fn(&Round) -> f64| rounds.iter().map(of).collect::<Vec<_>>();
    let ratios = each(&Round::ratio);
    let ratio = median(ratios.clone());
    let (mut ours, mut nginx) = (Seen::default(), Seen::default());
    for round in rounds {
        ours.add(&round.ours.seen);
        nginx.add(&round.nginx.seen);
    }
    let not_answered = ours.lost + ours.failed + ours.refused + ours.given_up;
    Report {
        ok: rounds.len() == options.rounds as usize && left == 0 && not_answered == 0,
        fields: json!({
            "cpu_us_per_request": round2(median(each(&|round| round.ours.cpu_us_per_request))),
            "nginx_cpu_us_per_request": round2(median(each(&|round| round.nginx.cpu_us_per_request))),
            "ratio": round2(ratio),
            "ratio_min": round2(ratios.iter().copied().fold(f64::INFINITY, f64::min)),
            "ratio_max": round2(greatest(&ratios)),
            "ratio_aim": RATIO_AIM,
            "aim_met": ratio <= RATIO_AIM,
            "rounds": rounds.len(),
            "rounds_dropped": dropped,
            "others_percent_max": round2(greatest(&each(&|round| {
                round.ours.used.others_percent.max(round.nginx.used.others_percent)
            }))),
            "others_percent_allowed": options.others_percent,
            "machine_percent_p50": round2(median(each(&|round| round.ours.used.machine_percent))),
            "requests_per_s": options.requests_per_s,
            "lost": ours.lost,
            "failed": ours.failed,
            "not_answered": not_answered,
            "latency_ms_p50": ours.latency_ms(500).map(round2),
            "latency_ms_p99": ours.latency_ms(990).map(round2),
            "nginx_latency_ms_p50": nginx.latency_ms(500).map(round2),
            "nginx_latency_ms_p99": nginx.latency_ms(990).map(round2),
            "leftovers": left,
        }),
    }
}

fn row(number: u32, round: &Round, counts: bool) -> String {
    let (ours, nginx) = (&round.ours, &round.nginx);
    format!(
        "{number:>5} {:>10.1} {:>10.1} {:>7.2} {:>9.0}{}",
        ours.cpu_us_per_request,
        nginx.cpu_us_per_request,
        round.ratio(),
        ours.used.others_percent.max(nginx.used.others_percent),
        if counts { "" } else { "  dropped" },
    )
}

#[expect(clippy::cast_precision_loss, reason = "requests are far below 2^53")]
fn amount(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(cpu_us_per_request: f64, others_percent: f64, answered: usize) -> Half {
        let seen = Seen { offered: 1_000, latencies_us: vec![500; answered], ..Seen::default() };
        let used = Used { machine_percent: 50.0, others_percent };
        Half { seen, cpu_us_per_request, used }
    }

    #[test]
    fn a_round_counts_if_nobody_disturbed_either_half_and_all_was_answered() {
        let round = |ours, nginx| Round { ours, nginx };
        assert!(round(half(13.0, 10.0, 1_000), half(10.0, 0.0, 999)).counts(10.0));
        assert!(!round(half(13.0, 10.1, 1_000), half(10.0, 0.0, 1_000)).counts(10.0));
        assert!(!round(half(13.0, 0.0, 1_000), half(10.0, 10.1, 1_000)).counts(10.0));
        assert!(!round(half(13.0, 0.0, 998), half(10.0, 0.0, 1_000)).counts(10.0));
    }

    #[test]
    fn the_ratio_is_that_of_the_middle_round_and_too_few_rounds_are_no_measurement() {
        let options = Options { requests_per_s: 100, rounds: 3, seconds: 1, others_percent: 10 };
        let round = |ours, nginx| Round { ours: half(ours, 0.0, 1_000), nginx: half(nginx, 0.0, 1_000) };
        let rounds = [round(12.0, 10.0), round(30.0, 20.0), round(13.0, 10.0)];
        let found = report(&options, &rounds, 2, 0);
        assert!(found.ok);
        assert_eq!((&found.fields["ratio"], &found.fields["aim_met"]), (&json!(1.3), &json!(true)));
        assert_eq!(found.fields["ratio_max"], json!(1.5));
        assert_eq!(
            (&found.fields["latency_ms_p99"], &found.fields["rounds_dropped"]),
            (&json!(0.5), &json!(2))
        );
        assert!(!report(&options, &rounds[1..], 8, 0).ok);
        assert!(!report(&options, &rounds, 0, 1).ok, "a process was left");
        let spoils: [fn(&mut Seen); 4] =
            [|it| it.lost = 1, |it| it.failed = 1, |it| it.refused = 1, |it| it.given_up = 1];
        for spoil in spoils {
            let mut spoilt = rounds.clone();
            spoil(&mut spoilt[0].ours.seen);
            assert!(!report(&options, &spoilt, 0, 0).ok, "a request was not answered");
        }
    }
}
