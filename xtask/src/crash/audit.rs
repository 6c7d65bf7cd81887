//! The clients of a trial, and what their ledger says at its end.

use super::cells::Loss;
use super::trial::Verdict;
use anyhow::{Result, ensure};
use paracloud_core::register::Record;
use paracloud_load::ledger::Finding;
use paracloud_load::meter::Errors;
use paracloud_load::{Audited, Config, Load};
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

/// Ends the clients, enters what their ledger says, and gives what they saw fail.
pub(super) async fn settle(verdict: &mut Verdict, mut load: Load) -> Result<Errors> {
    if verdict.loss == Loss::Nothing {
        let summary = load.stop().await?;
        verdict.lost = summary.lost + summary.sockets.lost;
        verdict.duplicated = summary.duplicated + summary.sockets.repeated;
        verdict.failed = summary.seen.errors.total() + summary.seen.unknown;
        if summary.sockets.unsettled > 0 {
            verdict.is_broken_by(format!("{} sessions did not come to rest", summary.sockets.unsettled));
        }
        return Ok(summary.seen.errors);
    }
    let first = load.audit().await?;
    verdict.lost = first.writes.lost + first.sockets.lost;
    // What died with its owner took replies and sequences along: a request that was sent twice may have been answered
    // by both, and sessions count from 1 again. A counter that is too high stays a write too many.
    verdict.duplicated = first.writes.findings.iter().map(|finding| u64::from(finding.duplicated)).sum();
    let stake = at_stake(&first);
    if verdict.lost > stake {
        verdict.is_broken_by(format!("{} lost, and only {stake} were acknowledged", verdict.lost));
    }
    // Whoever owns now is beyond reproach.
    answered(&load, AFTER_REQUESTS).await?;
    let summary = load.stop().await?;
    verdict.failed = summary.seen.errors.total() + summary.seen.unknown;
    if !summary.audit.is_clean() {
        verdict.is_broken_by(format!("after the loss more is wrong: {:?}", summary.audit));
    }
    Ok(summary.seen.errors)
}

/// The most that can have been lost: all that was ever acknowledged of what is not as it should be.
fn at_stake(audited: &Audited) -> u64 {
    let of_key = |it: &Finding| u64::from(it.base) + u64::from(it.acknowledged);
    let writes: u64 = audited.writes.findings.iter().map(of_key).sum();
    writes + audited.sockets.acknowledged + audited.sockets.received
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_can_be_lost_than_was_acknowledged() {
        let mut audited = Audited::default();
        audited.sockets.acknowledged = 3;
        audited.sockets.received = 4;
        assert_eq!(at_stake(&audited), 7);
        let finding = |base, acknowledged| Finding {
            key: 0,
            base,
            acknowledged,
            unknown: 9,
            counter: None,
            lost: base + acknowledged,
            duplicated: 0,
            repeated: 0,
            wrong_value: false,
        };
        audited.writes.findings = vec![finding(10, 1), finding(20, 2)];
        assert_eq!(at_stake(&audited), 7 + 33);
    }
}
