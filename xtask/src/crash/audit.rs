//! The clients of a trial, and what their ledger says at its end.

use super::history::{Gone, Why};
use super::trial::Verdict;
use anyhow::{Result, ensure};
use paracloud_core::register::Record;
use paracloud_load::meter::Errors;
use paracloud_load::{Config, Load};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Requests answered before the story begins.
const WARM_REQUESTS: u64 = 20;
/// Requests answered after a loss, so that it is seen that nothing else is wrong.
const AFTER_REQUESTS: u64 = 40;
/// How long so many answers may take, in seconds.
const AFTER_S_MAX: u64 = 30;

/// Clients at work, the first of them answered.
pub(super) async fn load(gateways: &[SocketAddr], record: &Record) -> Result<Load> {
    let config = Config {
        gateways: gateways.to_vec(),
        keys: 512,
        requests_per_s: 150,
        writes_per_request: 10,
        value_bytes: 64,
        sockets: 4,
        twice_permille: 50,
        seed: record.last_operation.0.into(),
        keeps_requests: true,
        ..Config::default()
    };
    let load = paracloud_load::start(config).await?;
    answered(&load, WARM_REQUESTS).await?;
    Ok(load)
}

/// Waits for so many more answers.
async fn answered(load: &Load, more: u64) -> Result<()> {
    let (wanted, begun) = (load.seen().achieved + more, Instant::now());
    while load.seen().achieved < wanted {
        ensure!(begun.elapsed().as_secs() < AFTER_S_MAX, "the clients are not answered");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Ends the clients, enters what their ledger says, and gives what they saw fail. What only those who are gone had
/// acknowledged counts as theirs; all the rest must be there.
pub(super) async fn settle(verdict: &mut Verdict, mut load: Load, gone: &[Gone]) -> Result<Errors> {
    if !gone.is_empty() {
        let sets: Vec<_> = gone.iter().map(|gone| gone.processes.clone()).collect();
        let audited = load.audit_after_loss(&sets).await?;
        for (gone, lost) in gone.iter().zip(audited.gone) {
            match gone.why {
                Why::Struck => verdict.lost_with_owner += lost,
                Why::Consented => verdict.lost_by_consent += lost,
            }
        }
        // Whoever owns now goes on well.
        answered(&load, AFTER_REQUESTS).await?;
    }
    let summary = load.stop().await?;
    verdict.lost = summary.lost + summary.sockets.lost;
    verdict.duplicated = summary.duplicated + summary.sockets.repeated;
    verdict.failed = summary.seen.errors.total() + summary.seen.unknown;
    if summary.sockets.unsettled > 0 {
        verdict.is_broken_by(format!("{} sessions did not come to rest", summary.sockets.unsettled));
    }
    Ok(summary.seen.errors)
}
