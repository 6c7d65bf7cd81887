//! `cargo xtask bench move`: how long requests are parked when an instance with a large state moves under load.
//!
//! Runs and controls alternate: a window without a move, then a window of the same kind with one. The same program is
//! then killed and started again, because that is what a user would do instead. Figures called `…_p50` are medians, of
//! an even number of moves the mean of the two in the middle.

use super::pauses::{self, Pauses};
use super::restart::restarts;
use super::{clients, greatest, median, self_tests, table};
use crate::columns::hung;
use crate::replay::Replayed;
use crate::report::Report;
use crate::rig::{self, Rig};
use anyhow::{Context, Result, bail, ensure};
use paracloud_core::ids::GatewayId;
use paracloud_load::Config;
use paracloud_load::driver::Driver;
use paracloud_load::meter::Seen;
use paracloud_substrate::layout::Layout;
use paracloud_substrate::person::{Outcome, Reply, Request};
use paracloud_substrate::trace;
use serde_json::json;
use std::time::Duration;

pub(super) const INSTANCE: &str = "sessions";
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
pub(super) const BEHIND_MS: u64 = 500;
const GATEWAYS: [GatewayId; 2] = [GatewayId(1), GatewayId(2)];
/// How long the state may take to be filled, and a move or a restart to end.
pub(super) const FILLED_S_MAX: u64 = 300;

/// What to move.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Size of the state in MiB.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    state_mib: u32,
    /// Writes a second, ten in each request.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(i64::from(WRITES)..))]
    writes_per_s: u32,
    /// Moves.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// WebSocket clients beside the load.
    #[arg(long, default_value_t = 0)]
    sockets: u16,
}

/// What one move cost.
struct Run {
    outcome: Outcome,
    pauses: Pauses,
    control: Seen,
    seen: Seen,
}

/// Measures.
pub(crate) fn run(options: &Options) -> Result<Report> {
    rig::build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: &Options) -> Result<Report> {
    let gateways = rig::free_addresses(GATEWAYS.len())?;
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
    // Memory that is touched for the first time is slow: one move is told apart from the others.
    let warmup = once(&rig, &mut clients, options, "warm").await?;
    show(&table::heading());
    say("warm-up", &warmup);
    let mut runs = Vec::new();
    for number in 1..=options.runs {
        let run = once(&rig, &mut clients, options, "run").await?;
        say(&format!("run {number}"), &run);
        runs.push(run);
    }
    let all = clients.end(ALL).await?;
    let audited = clients.audit().await?;
    let self_tests = self_tests::run(&mut clients).await?;
    let (restart_gaps, restart_lost) = restarts(&rig, &mut clients).await?;
    // Nothing counts of what they would find now.
    drop(clients);
    let (left, directory) = rig.end().await;
    let replayed = Replayed::of_cloud(&Layout::new(&directory.path().join("c"))?.trace())?;
    replayed.differ.iter().for_each(|error| show(error));
    let unproven = replayed.unproven();
    if !unproven.is_empty() {
        show(&hung("", &format!("no input was replayed of any {}", unproven.join(", "))));
    }
    let left = left?;
    // Also those between the windows, and of the move that warms up.
    let (errors, unknown) = (all.errors.total(), all.unknown);
    let state_bytes = f64::from(options.state_mib) * 1024.0 * 1024.0;
    let each = |of: &dyn Fn(&Run) -> f64| runs.iter().map(of).collect::<Vec<_>>();
    let (parked, answered) = (each(&|run| run.pauses.parked_ms()), each(&|run| run.pauses.answered_ms()));
    let least_bytes =
        each(&|run| bytes(&run.outcome) / state_bytes).into_iter().fold(f64::INFINITY, f64::min);
    let slowest =
        each(&|run| run.seen.achieved_per_s / run.seen.offered_per_s).into_iter().fold(1.0, f64::min);
    let (lost, duplicated) = (audited.writes.lost, audited.writes.duplicated);
    let ok = !runs.is_empty()
        && (errors, unknown, lost, duplicated) == (0, 0, 0, 0)
        && audited.is_clean()
        && slowest >= ACHIEVED_MIN
        && least_bytes >= BYTES_RATIO_MIN
        && left == 0
        && replayed.is_proof();
    let fields = json!({
        "runs": runs.len(),
        "state_mib": options.state_mib,
        "writes_per_s": options.writes_per_s,
        "parked_ms_p50": round(median(parked.clone())),
        "parked_ms_max": round(greatest(&parked)),
        "answered_ms_p50": round(median(answered.clone())),
        "answered_ms_max": round(greatest(&answered)),
        "pauses": runs.iter().map(|run| run.pauses.count()).sum::<usize>(),
        "warmup_moves": 1,
        "warmup_parked_ms": round(warmup.pauses.parked_ms()),
        "warmup_answered_ms": round(warmup.pauses.answered_ms()),
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
        "self_tests": self_tests,
        "sockets": audited.sockets,
        "restart_gap_ms_p50": round(median(restart_gaps)),
        "restart_lost": restart_lost,
        "leftovers": left,
        "replayed_inputs": replayed.total(),
        "replayed_inputs_of": replayed.inputs,
        "replay_differs": replayed.differ.len(),
        "unproven": unproven.len(),
    });
    Ok(Report { ok, fields })
}

/// A control window, then a move within a window.
async fn once(rig: &Rig, clients: &mut Driver, options: &Options, window: &str) -> Result<Run> {
    clients.begin("control").await?;
    tokio::time::sleep(Duration::from_millis(CONTROL_MS)).await;
    let control = clients.end("control").await?;
    let began_unix_us = pauses::now_unix_us()?;
    clients.begin(window).await?;
    let request = Request::Move { instance: INSTANCE.into(), to: None, accept_loss: false, wait: true };
    let replies = rig.ask(&request, Duration::from_secs(FILLED_S_MAX)).await?;
    let outcome = replies.into_iter().find_map(|reply| match reply {
        Reply::Outcome(outcome) => Some(Ok(outcome)),
        Reply::Refused(refused) => Some(Err(refused)),
        Reply::Event(_)
        | Reply::Status(_)
        | Reply::Waits { .. }
        | Reply::Drains(_)
        | Reply::Drained { .. }
        | Reply::Updates(_)
        | Reply::Applied { .. }
        | Reply::Previewed { .. }
        | Reply::Answered(_)
        | Reply::Begun(_)
        | Reply::Scaled(_)
        | Reply::GivenBack(_)
        | Reply::Explained(_)
        | Reply::Done => None,
    });
    let outcome = match outcome.context("the move ended without an outcome")? {
        Ok(outcome) => outcome,
        Err(refused) => bail!("the move was refused: {}; {}", refused.message, refused.next),
    };
    ensure!(outcome.committed, "the move was rolled back: {:?}", outcome.cause);
    tokio::time::sleep(Duration::from_millis(BEHIND_MS)).await;
    let seen = clients.end(window).await?;
    let requests_per_s = options.writes_per_s / WRITES;
    let told = outcome.parked;
    let pauses = Pauses::since(rig.layout(), &GATEWAYS, began_unix_us, told, requests_per_s).await?;
    Ok(Run { outcome, pauses, control, seen })
}

/// Shows what a move cost.
fn say(name: &str, run: &Run) {
    show(&table::row(
        name,
        run.outcome.total_ms,
        [run.pauses.parked_ms(), run.pauses.answered_ms(), run.seen.client_gap_ms, run.control.client_gap_ms],
        run.seen.achieved_per_s,
    ));
}

#[expect(clippy::print_stdout, reason = "a line a move, so that a long measurement is seen to go on")]
fn show(line: &str) {
    println!("{line}");
}

/// What each phase took, in the middle.
fn phases(runs: &[Run]) -> serde_json::Map<String, serde_json::Value> {
    let mut all = std::collections::BTreeMap::<_, Vec<f64>>::new();
    for (phase, us) in runs.iter().flat_map(|run| &run.outcome.phases) {
        all.entry(*phase).or_default().push(millis(*us) / 1000.0);
    }
    all.into_iter().map(|(phase, took)| (phase.to_string(), json!(round(median(took))))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a state is far below 2^53 bytes")]
fn bytes(outcome: &Outcome) -> f64 {
    outcome.carried_bytes.unwrap_or_default() as f64
}

#[expect(clippy::cast_precision_loss, reason = "a time is far below 2^53")]
fn millis(ms: u64) -> f64 {
    ms as f64
}

/// Two digits behind the point are enough for people.
fn round(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn a_measurement_of_nothing_is_refused() {
        for (option, least) in [("--runs", "1"), ("--state-mib", "1"), ("--writes-per-s", "10")] {
            let nothing = Command::try_parse_from(["move", option, "0"]).map(|it| it.options.runs);
            let error = nothing.unwrap_err();
            assert!(error.exit_code() != 0 && error.to_string().contains(option), "{error}");
            assert!(Command::try_parse_from(["move", option, least]).is_ok(), "{option} {least}");
        }
    }
}
