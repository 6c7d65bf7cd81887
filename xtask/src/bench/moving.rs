//! `cargo xtask bench move`: how long requests are parked when an instance with a large state moves under load.
//!
//! Runs and controls alternate: a window without a move, then a window of the same kind with one. The same program is
//! then killed and started again, because that is what a user would do instead.

use super::clients;
use super::{greatest, median};
use crate::report::Report;
use crate::rig::{self, Rig, Who};
use anyhow::{Context, Result, bail, ensure};
use paracloud_core::ids::GatewayId;
use paracloud_load::Config;
use paracloud_load::driver::Driver;
use paracloud_load::ledger::{Held, Ledger, Write};
use paracloud_load::meter::Seen;
use paracloud_substrate::person::{Outcome, Reply, Request};
use paracloud_substrate::process::signal;
use paracloud_substrate::trace;
use rustix::process::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

const INSTANCE: &str = "sessions";
/// The window over everything before the restarts.
const ALL: &str = "all";
/// Writes of one request.
const WRITES: u32 = 10;
/// Bytes of one value.
const VALUE_BYTES: u32 = 1024;
/// A run in which less than this of the offered rate was achieved is no run.
const ACHIEVED_MIN: f64 = 0.95;
/// At least so much of the state must have been counted by the agents.
const BYTES_RATIO_MIN: f64 = 0.95;
/// A control window, and what is seen of clients behind a move.
const CONTROL_MS: u64 = 3_000;
const BEHIND_MS: u64 = 500;
/// How long the gateways may take to write down a pause that is over.
const LOGGED_MS_MAX: u64 = 5_000;
const GATEWAYS: usize = 2;
/// How long the state may take to be filled, and a move or a restart to end.
const FILLED_S_MAX: u64 = 300;
/// Restarts of the same program, for comparison.
const RESTARTS: u32 = 3;

/// What to move.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Size of the state in MiB.
    #[arg(long, default_value_t = 1024)]
    state_mib: u32,
    /// Writes a second, ten in each request.
    #[arg(long, default_value_t = 20_000)]
    writes_per_s: u32,
    /// Moves.
    #[arg(long, default_value_t = 10)]
    runs: u32,
    /// WebSocket clients beside the load.
    #[arg(long, default_value_t = 0)]
    sockets: u16,
    /// Last line: one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What one move cost.
struct Run {
    outcome: Outcome,
    parked_ms: Vec<f64>,
    control: Seen,
    seen: Seen,
}

/// Measures.
pub(crate) fn run(options: &Options) -> Result<Report> {
    rig::build()?;
    audit_finds_what_it_must()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: &Options) -> Result<Report> {
    let gateways = rig::free_addresses(GATEWAYS)?;
    let listen: Vec<_> = gateways.iter().map(|address| format!("{:?}", address.to_string())).collect();
    let manifest = format!(
        "kind: App\nname: {INSTANCE}\ncommand: [{:?}]\nlisten: [{}]\nreadiness:\n  http: /healthz\nstopGrace: 2s\n\
         env:\n  PARACLOUD_RIG: \"{{rig}}\"\n  SESSIONS_FILL_MIB: \"{}\"\n",
        rig::binary("sessions")?.display().to_string(),
        listen.join(", "),
        options.state_mib,
    );
    let rig = Rig::start(&manifest, &[(trace::SWITCH, "1".to_owned())]).await?;
    rig.settled(INSTANCE, Duration::from_secs(FILLED_S_MAX)).await.with_context(|| rig.output())?;
    let mut clients = clients::start(Config {
        gateways: gateways.clone(),
        keys: options.state_mib * 1024 * 1024 / VALUE_BYTES,
        requests_per_s: options.writes_per_s / WRITES,
        writes_per_request: u16::try_from(WRITES)?,
        value_bytes: VALUE_BYTES,
        keyed_permille: 500,
        twice_permille: 10,
        sockets: options.sockets,
        ..Config::default()
    })
    .await?;
    clients.begin(ALL).await?;
    // Memory that is touched for the first time is slow: one move before anything counts.
    once(&rig, &mut clients, "warm").await?;
    let mut runs = Vec::new();
    for number in 1..=options.runs {
        let run = once(&rig, &mut clients, "run").await?;
        say(&format!(
            "run {number:>2}: parked {:>6.2} ms, moved in {:>5} ms, worst gap {:>6.1} ms (control {:>6.1} ms), {:.0} requests/s",
            greatest(&run.parked_ms),
            run.outcome.total_ms,
            run.seen.client_gap_ms,
            run.control.client_gap_ms,
            run.seen.achieved_per_s,
        ));
        runs.push(run);
    }
    let all = clients.end(ALL).await?;
    let audited = clients.audit().await?;
    let (restart_gaps, restart_lost) = restarts(&rig, &mut clients).await?;
    let summary = clients.stop().await;
    let (left, directory) = rig.end().await;
    let (inputs, differ) = replay(directory.path())?;
    let left = left?;
    if let Err(error) = summary {
        say(&format!("the clients' last words are missing: {error:#}"));
    }
    // Also those between the windows, and of the move that warms up.
    let (errors, unknown) = (all.errors.total(), all.unknown);
    let state_bytes = f64::from(options.state_mib) * 1024.0 * 1024.0;
    let each = |of: &dyn Fn(&Run) -> f64| runs.iter().map(of).collect::<Vec<_>>();
    let parked: Vec<f64> = runs.iter().map(|run| greatest(&run.parked_ms)).collect();
    let least_bytes =
        each(&|run| bytes(&run.outcome) / state_bytes).into_iter().fold(f64::INFINITY, f64::min);
    let slowest =
        each(&|run| run.seen.achieved_per_s / run.seen.offered_per_s).into_iter().fold(1.0, f64::min);
    let (lost, duplicated) = (audited.writes.lost, audited.writes.duplicated);
    let ok = (errors, unknown, lost, duplicated) == (0, 0, 0, 0)
        && audited.is_clean()
        && slowest >= ACHIEVED_MIN
        && least_bytes >= BYTES_RATIO_MIN
        && left == 0
        && differ == 0
        && inputs > 0;
    let fields = json!({
        "runs": runs.len(),
        "state_mib": options.state_mib,
        "writes_per_s": options.writes_per_s,
        "parked_ms_p50": round(median(parked.clone())),
        "parked_ms_max": round(greatest(&parked)),
        "client_gap_ms_max": round(greatest(&each(&|run| run.seen.client_gap_ms))),
        "control_gap_ms_max": round(greatest(&each(&|run| run.control.client_gap_ms))),
        "latency_ms_p99": round(median(each(&|run| run.seen.latency_ms_p99))),
        "control_latency_ms_p99": round(median(each(&|run| run.control.latency_ms_p99))),
        "phases_ms_p50": phases(&runs),
        "total_ms_p50": round(median(each(&|run| millis(run.outcome.total_ms)))),
        "bytes_ratio": round(least_bytes),
        "offered_per_s": round(median(each(&|run| run.seen.offered_per_s))),
        "achieved_per_s": round(median(each(&|run| run.seen.achieved_per_s))),
        "errors": errors,
        "unknown": unknown,
        "lost": lost,
        "duplicated": duplicated,
        "sockets": audited.sockets,
        "restart_gap_ms_p50": round(median(restart_gaps)),
        "restart_lost": restart_lost,
        "leftovers": left,
        "replayed_inputs": inputs,
        "replay_differs": differ,
    });
    Ok(Report { schema: "bench-move/1", ok, fields })
}

/// A control window, then a move within a window.
async fn once(rig: &Rig, clients: &mut Driver, window: &str) -> Result<Run> {
    clients.begin("control").await?;
    tokio::time::sleep(Duration::from_millis(CONTROL_MS)).await;
    let control = clients.end("control").await?;
    let seen_before = pauses(rig)?.len();
    clients.begin(window).await?;
    let request = Request::Move { instance: INSTANCE.into(), to: None, accept_loss: false, wait: true };
    let replies = rig.ask(&request, Duration::from_secs(FILLED_S_MAX)).await?;
    let outcome = replies.into_iter().find_map(|reply| match reply {
        Reply::Outcome(outcome) => Some(Ok(outcome)),
        Reply::Refused(refused) => Some(Err(refused)),
        Reply::Event(_) | Reply::Status(_) | Reply::Previewed { .. } | Reply::Done => None,
    });
    let outcome = match outcome.context("the move ended without an outcome")? {
        Ok(outcome) => outcome,
        Err(refused) => bail!("the move was refused: {}; {}", refused.message, refused.next),
    };
    ensure!(outcome.committed, "the move was rolled back: {:?}", outcome.cause);
    tokio::time::sleep(Duration::from_millis(BEHIND_MS)).await;
    let seen = clients.end(window).await?;
    // A gateway may write its line later than its clients go on.
    let since = Instant::now();
    while pauses(rig)?.len() < seen_before + GATEWAYS
        && since.elapsed().as_millis() < u128::from(LOGGED_MS_MAX)
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let parked_ms = pauses(rig)?.split_off(seen_before);
    ensure!(!parked_ms.is_empty(), "no gateway has logged a pause: there was no load, or no park");
    Ok(Run { outcome, parked_ms, control, seen })
}

/// What each phase took, in the middle.
fn phases(runs: &[Run]) -> serde_json::Map<String, serde_json::Value> {
    let mut all = std::collections::BTreeMap::<_, Vec<f64>>::new();
    for (phase, us) in runs.iter().flat_map(|run| &run.outcome.phases) {
        all.entry(*phase).or_default().push(millis(*us) / 1000.0);
    }
    all.into_iter().map(|(phase, took)| (phase.to_string(), json!(round(median(took))))).collect()
}

/// Every pause in both gateways' own logs, in milliseconds.
fn pauses(rig: &Rig) -> Result<Vec<f64>> {
    let mut found = Vec::new();
    for gateway in [GatewayId(1), GatewayId(2)] {
        let text = std::fs::read_to_string(rig.layout().parked_log(gateway)).unwrap_or_default();
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).context("a gateway's log of waits")?;
            if line["kind"] == "pause"
                && let Some(parked_us) = line["parked_us"].as_u64()
            {
                let began = line["began_unix_us"].as_u64().context("a pause without a beginning")?;
                found.push((began, millis(parked_us) / 1000.0));
            }
        }
    }
    found.sort_by_key(|(began, _)| *began);
    Ok(found.into_iter().map(|(_, parked_ms)| parked_ms).collect())
}

/// What a user would do instead: kill the program, and let it be started again. Gaps, and writes lost.
async fn restarts(rig: &Rig, clients: &mut Driver) -> Result<(Vec<f64>, u64)> {
    let mut gaps = Vec::new();
    let mut lost = 0;
    for _ in 0..RESTARTS {
        let before = rig.settled(INSTANCE, Duration::from_secs(FILLED_S_MAX)).await?;
        let owner = before.record.context("it serves without a record")?.owner;
        clients.begin("restart").await?;
        let process =
            rig.find(Who::Application(owner.node, owner.start)).context("the owner is not there")?;
        signal(&process.open()?.context("the owner is dead already")?, Signal::KILL)?;
        rig.until(INSTANCE, "serves again", Duration::from_secs(FILLED_S_MAX), |_, instance| {
            let record = instance.record.as_ref();
            record.is_some_and(|record| record.owner.start != owner.start && record.served.is_some())
        })
        .await?;
        tokio::time::sleep(Duration::from_millis(BEHIND_MS)).await;
        gaps.push(clients.end("restart").await?.client_gap_ms);
        lost += clients.audit().await?.writes.lost;
    }
    Ok((gaps, lost))
}

/// The two self-tests: an audit that cannot fail would say nothing.
fn audit_finds_what_it_must() -> Result<()> {
    let held = |counter| vec![Some(Held { counter, crc32: 7 })];
    let write = Write { key: 0, crc32: 7 };
    let mut dropped = Ledger::from_baseline(&held(0));
    dropped.acknowledge(write, 1);
    ensure!(dropped.audit(&held(0)).lost == 1, "the audit does not find a dropped write");
    let mut doubled = Ledger::from_baseline(&held(0));
    doubled.acknowledge(write, 1);
    ensure!(doubled.audit(&held(2)).duplicated == 1, "the audit does not find a doubled write");
    Ok(())
}

fn replay(directory: &std::path::Path) -> Result<(usize, usize)> {
    let traces = paracloud_substrate::layout::Layout::new(&directory.join("c"))?.trace();
    let (mut inputs, mut differ) = (0, 0);
    for entry in std::fs::read_dir(traces)?.flatten() {
        match trace::replay(&entry.path()) {
            Ok(steps) => inputs += steps,
            Err(error) => {
                say(&error.to_string());
                differ += 1;
            }
        }
    }
    Ok((inputs, differ))
}

#[expect(clippy::cast_precision_loss, reason = "a state is far below 2^53 bytes")]
fn bytes(outcome: &Outcome) -> f64 {
    outcome.carried_bytes as f64
}

#[expect(clippy::cast_precision_loss, reason = "a time is far below 2^53")]
fn millis(ms: u64) -> f64 {
    ms as f64
}

/// Two digits behind the point are enough for people.
fn round(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

#[expect(clippy::print_stdout, reason = "a line a run, so that a long measurement is seen to go on")]
fn say(line: &str) {
    println!("{line}");
}
