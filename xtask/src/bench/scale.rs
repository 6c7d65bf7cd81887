//! `cargo xtask bench scale`: what clients see of a step of load, five times of what there was, and what it costs, by who
//! decides how many instances there are.
//!
//! Four runs of the same load against the same application, each in real processes: `reports` is a cloud that decides by
//! what its gateways measure and what instances say of themselves; `ignored` is the same cloud with `scale: {reports:
//! ignored}`; `hpa` is Kubernetes' autoscaler before the same gateway ([`peer`]); `floor` is a cloud that has as many
//! instances as there may be all the time: what is late there, nobody who decides can help. The step goes back down, so that
//! instances leave, and beside the load there is always a long job or two: it is counted who had a job when it was told to
//! stop (`busy_killed`), also if that job ended in the grace that everybody has: a job that did not is in `lost` too.
//!
//! Time goes faster than usual, by the same factor for all: periods, syncs, windows, holds and graces are so many times
//! shorter ([`setting`]); the work of a request, and when it is late, are not. How long an instance takes to start is the
//! same for all and stated as it is. Work is a timed wait, so that two processors do not become the subject; a run in which
//! the machine was too busy all the same does not count (`--machine-percent`).

mod lives;
mod ours;
mod peer;
mod setting;

use super::processor::Watch;
use super::{round2, say};
use crate::report::Report;
use crate::rig;
use anyhow::{Context, Result};
use lives::{Ends, Lives};
use serde_json::{Map, Value, json};
use setting::{LEAD_MS, Served, Setting, counted_ms};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Runs that are tried for each that is wanted.
const TRIES_MAX: u32 = 3;

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Runs of each that count.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// How many times as fast as usual time goes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10))]
    faster: u32,
    /// Requests a second before the step and behind it; in it five times as many.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    low_per_s: u32,
    /// Work of a request, in milliseconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=90))]
    work_ms: u32,
    /// Requests that an instance works on at a time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    slots: u32,
    /// How long an instance takes until it listens, and again until it is warm, in milliseconds as they are.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    start_ms: u32,
    /// How busy the machine may be in a run that counts, in percent of all its processors.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=100))]
    machine_percent: u32,
}

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Variant {
    Floor,
    Reports,
    Ignored,
    Hpa,
}

/// In the order in which they are run.
const VARIANTS: [Variant; 4] = [Variant::Floor, Variant::Reports, Variant::Ignored, Variant::Hpa];

/// One run of one of them.
#[derive(Debug, Clone, Copy)]
struct Measured {
    served: Served,
    instance_seconds: f64,
    ends: Ends,
    machine_percent: f64,
}

/// All runs of one of them that count.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    runs: u32,
    served: Served,
    instance_seconds: f64,
    ends: Ends,
    machine_percent_max: f64,
}

/// Measures.
pub(crate) fn run(options: &Options) -> Result<Report> {
    rig::build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (found, dropped) = runs(options).await?;
        Ok(report(options, &found, dropped))
    })
}

async fn runs(options: &Options) -> Result<(BTreeMap<Variant, Found>, u32)> {
    let (mut found, mut dropped) = (BTreeMap::<Variant, Found>::new(), 0);
    let whole_s =
        u64::from(options.runs) * VARIANTS.len() as u64 * (u64::from(LEAD_MS) + counted_ms()) / 1_000;
    say(&format!("time goes {} times as fast as usual; about {whole_s} s and the starts", options.faster));
    say(&format!(
        "{:>3} {:<8} {:>8} {:>11} {:>5} {:>6} {:>5} {:>9} {:>8}",
        "run", "decides", "late %", "instance s", "lost", "ended", "busy", "machine %", "left s"
    ));
    let begun = Instant::now();
    let (mut done, mut number) = (0, 0);
    let in_run = u32::try_from(VARIANTS.len())?;
    while done < options.runs && number < options.runs * TRIES_MAX {
        number += 1;
        let mut run = Vec::new();
        for (place, variant) in (1..).zip(VARIANTS) {
            let measured = once(&options.setting(number), variant).await;
            let measured = measured.with_context(|| format!("run {number}, {}", variant.name()))?;
            let each = begun.elapsed() / ((number - 1) * in_run + place);
            let left_s = (each * ((options.runs - done) * in_run - place)).as_secs();
            say(&row(number, variant, &measured, left_s));
            run.push((variant, measured));
        }
        // All of a run had one load: it counts for all of them or for none.
        if run.iter().all(|(_, it)| it.machine_percent <= f64::from(options.machine_percent)) {
            run.iter().for_each(|(variant, measured)| found.entry(*variant).or_default().add(measured));
            done += 1;
        } else {
            say(&format!("{number:>3} dropped: the machine was too busy"));
            dropped += 1;
        }
    }
    Ok((found, dropped))
}

fn row(number: u32, variant: Variant, measured: &Measured, left_s: u64) -> String {
    let &Measured { ref served, instance_seconds, ref ends, machine_percent } = measured;
    format!(
        "{number:>3} {:<8} {:>8.2} {instance_seconds:>11.0} {:>5} {:>6} {:>5} {machine_percent:>9.0} {left_s:>8}",
        variant.name(),
        served.late_percent(),
        served.lost,
        ends.all,
        ends.busy,
    )
}

async fn once(setting: &Setting, variant: Variant) -> Result<Measured> {
    match variant {
        Variant::Floor | Variant::Reports | Variant::Ignored => ours::measure(setting, variant).await,
        Variant::Hpa => peer::measure(setting).await,
    }
}

/// The load, and meanwhile who lives. `look` finds processes that are new.
async fn run_load(
    setting: &Setting,
    listen: SocketAddr,
    lives: &Lives,
    look: impl Fn(&Lives) -> Result<()>,
) -> Result<Measured> {
    let watch = Watch::begin(Vec::new())?;
    let [load, long] = setting.plans(listen);
    let clients = rig::binary("paracloud-steady")?;
    let lived = async {
        tokio::time::sleep(Duration::from_millis(LEAD_MS.into())).await;
        lives.instance_seconds(Duration::from_millis(counted_ms()), &look).await
    };
    let seen = async {
        let (load, long) =
            tokio::try_join!(load.run_by(Command::new(&clients)), long.run_by(Command::new(&clients)))?;
        anyhow::Ok(Served::of(&load, &long))
    };
    let (served, instance_seconds) = tokio::try_join!(seen, lived)?;
    look(lives)?;
    let machine_percent = watch.end()?.machine_percent;
    Ok(Measured { served, instance_seconds, ends: lives.ends()?, machine_percent })
}

impl Options {
    fn setting(&self, run: u32) -> Setting {
        let &Self { faster, low_per_s, work_ms, slots, start_ms, .. } = self;
        Setting { faster, low_per_s, work_ms, slots, start_ms, seed: run.into() }
    }
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Reports => "reports",
            Self::Ignored => "ignored",
            Self::Hpa => "hpa",
        }
    }
}

impl Found {
    fn add(&mut self, measured: &Measured) {
        let Measured { served, instance_seconds, ends, machine_percent } = *measured;
        self.runs += 1;
        self.served.offered += served.offered;
        self.served.late += served.late;
        self.served.lost += served.lost;
        self.instance_seconds += instance_seconds;
        self.ends.all += ends.all;
        self.ends.busy += ends.busy;
        self.ends.untold += ends.untold;
        self.machine_percent_max = self.machine_percent_max.max(machine_percent);
    }

    /// In the mean of its runs.
    fn instance_seconds(&self) -> f64 {
        self.instance_seconds / f64::from(self.runs.max(1))
    }
}

/// It is well measured if every run was, and if nothing was lost and nobody stopped at work by a cloud. What Kubernetes'
/// way stops at work is its figure, and no fault of the measurement.
fn report(options: &Options, found: &BTreeMap<Variant, Found>, dropped: u32) -> Report {
    let of = |variant| found.get(&variant).copied().unwrap_or_default();
    let floor = of(Variant::Floor).served.late_percent();
    let excess = |variant| round2((of(variant).served.late_percent() - floor).max(0.0));
    let fields = |variant: Variant| {
        let it = of(variant);
        json!({
            "slo_excess_pp": excess(variant),
            "instance_seconds": round2(it.instance_seconds()),
            "lost": it.served.lost,
            "busy_killed": it.ends.busy,
            "ended_untold": it.ends.untold,
            "requests": it.served.offered,
        })
    };
    let (deciders, ours) = (&VARIANTS[1..], &VARIANTS[..3]);
    let variants: Map<String, Value> =
        deciders.iter().map(|variant| (variant.name().to_owned(), fields(*variant))).collect();
    let is_whole = VARIANTS.iter().all(|variant| of(*variant).runs == options.runs);
    let is_sound = ours
        .iter()
        .map(|variant| of(*variant))
        .all(|it| it.served.lost == 0 && it.ends.busy == 0 && it.ends.untold == 0);
    let reports = (excess(Variant::Reports), of(Variant::Reports).instance_seconds());
    let beats = |other| reports.0 < excess(other) && reports.1 <= of(other).instance_seconds();
    Report {
        ok: is_whole && is_sound,
        fields: json!({
            "variants": variants,
            "floor_percent": round2(floor),
            "beats_ignored": beats(Variant::Ignored),
            "beats_hpa": beats(Variant::Hpa),
            "aim_met": beats(Variant::Ignored) && beats(Variant::Hpa),
            "faster": options.faster,
            "runs": of(Variant::Reports).runs,
            "runs_dropped": dropped,
            "machine_percent_allowed": options.machine_percent,
            "machine_percent_max": round2(found.values().map(|it| it.machine_percent_max).fold(0.0, f64::max)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options = Options {
        runs: 1,
        faster: 10,
        low_per_s: 120,
        work_ms: 20,
        slots: 4,
        start_ms: 1_000,
        machine_percent: 60,
    };

    fn found(figures: [(Variant, u64, f64); 4]) -> BTreeMap<Variant, Found> {
        let one = |(variant, late, instance_seconds)| {
            let served = Served { offered: 1_000, late, lost: 0 };
            let measured =
                Measured { served, instance_seconds, ends: Ends::default(), machine_percent: 20.0 };
            let mut found = Found::default();
            found.add(&measured);
            (variant, found)
        };
        figures.into_iter().map(one).collect()
    }

    #[test]
    fn it_is_met_if_both_others_are_beaten_beyond_the_floor_at_no_more_instance_seconds() {
        let figures = [
            (Variant::Floor, 5, 750.0),
            (Variant::Reports, 45, 300.0),
            (Variant::Ignored, 55, 300.0),
            (Variant::Hpa, 155, 320.0),
        ];
        let met = report(&OPTIONS, &found(figures), 0);
        assert!(met.ok);
        let percent = ["max", "allowed"].map(|it| met.fields[format!("machine_percent_{it}")].clone());
        assert_eq!(percent, [json!(20.0), json!(60)], "what was measured is not what is allowed");
        assert_eq!(
            (&met.fields["variants"]["reports"]["slo_excess_pp"], &met.fields["aim_met"]),
            (&json!(4.0), &json!(true))
        );
        assert_eq!(met.fields["variants"]["hpa"]["slo_excess_pp"], json!(15.0));
        let mut dearer = figures;
        dearer[1].2 = 310.0;
        let dearer = report(&OPTIONS, &found(dearer), 0);
        assert_eq!(
            (&dearer.fields["beats_ignored"], &dearer.fields["beats_hpa"]),
            (&json!(false), &json!(true))
        );
        assert!(dearer.ok, "an aim that is missed is well measured");
    }

    #[test]
    fn what_a_cloud_loses_or_stops_at_work_is_a_fault_and_what_kubernetes_way_stops_is_a_figure() {
        let figures = VARIANTS.map(|variant| (variant, 0, 1.0));
        let with = |variant, spoil: fn(&mut Found)| {
            let mut found = found(figures);
            found.entry(variant).and_modify(spoil);
            report(&OPTIONS, &found, 0).ok
        };
        assert!(with(Variant::Hpa, |it| it.ends.busy = 4));
        assert!(!with(Variant::Reports, |it| it.ends.busy = 1));
        assert!(!with(Variant::Ignored, |it| it.served.lost = 1));
        assert!(!with(Variant::Reports, |it| it.ends.untold = 1));
        assert!(!with(Variant::Hpa, |it| it.runs = 0), "a variant was not measured");
    }
}
