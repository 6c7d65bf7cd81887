//! What the gateways' own logs say of pauses.

use super::greatest;
use anyhow::{Context, Result, ensure};
use paracloud_core::ids::GatewayId;
use paracloud_gateway::ParkedLine;
use paracloud_substrate::layout::Layout;
use std::time::{Duration, Instant, SystemTime};

/// From so many requests a second on, spread evenly over the gateways, somebody waits at each in every pause.
const CERTAIN_PER_S: u32 = 2_000;
/// How long the gateways may take to write down a pause that is over.
const LOGGED_MS_MAX: u64 = 5_000;
/// How often their logs are looked at meanwhile.
const LOOK_MS: u64 = 20;

/// The pauses of one move, at all gateways.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Pauses(Vec<Pause>);

/// A pause at one gateway.
#[derive(Debug, PartialEq)]
struct Pause {
    gateway: GatewayId,
    /// Requests that waited.
    requests: u32,
    /// From the first request withheld to the first byte for the target.
    parked_ms: Option<f64>,
    /// From the first request withheld to the first byte of the target's answer.
    answered_ms: Option<f64>,
}

/// The wall clock, which the logs are in.
pub(super) fn now_unix_us() -> Result<u128> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros())
}

impl Pauses {
    /// Those that began since then, once the logs have all of them: `told` requests waited, as the controller heard.
    ///
    /// # Errors
    /// A gateway has logged none though at `requests_per_s` somebody waited there, the logs do not have all that waited,
    /// or nobody who waited in one was answered.
    pub(super) async fn since(
        layout: &Layout,
        gateways: &[GatewayId],
        began_unix_us: u128,
        told: u32,
        requests_per_s: u32,
    ) -> Result<Self> {
        let since = Instant::now();
        loop {
            let mut found = Self::default();
            for gateway in gateways {
                let text = std::fs::read_to_string(layout.parked_log(*gateway)).unwrap_or_default();
                found.add(*gateway, &text, began_unix_us)?;
            }
            let checked = found.check(gateways, told, requests_per_s);
            if checked.is_ok() || since.elapsed() > Duration::from_millis(LOGGED_MS_MAX) {
                return checked.map(|()| found);
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
    }

    /// How many.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The longest, to the first byte for the target.
    pub(super) fn parked_ms(&self) -> f64 {
        self.longest(|pause| pause.parked_ms)
    }

    /// The longest, to the first byte of the target's answer.
    pub(super) fn answered_ms(&self) -> f64 {
        self.longest(|pause| pause.answered_ms)
    }

    fn longest(&self, of: impl Fn(&Pause) -> Option<f64>) -> f64 {
        greatest(&self.0.iter().filter_map(of).collect::<Vec<_>>())
    }

    /// Adds what a log says. A line that is not written to its end is none yet.
    fn add(&mut self, gateway: GatewayId, text: &str, since_unix_us: u128) -> Result<()> {
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let line =
                serde_json::from_str(line).with_context(|| format!("the log of waits of {gateway}"))?;
            let ParkedLine::Pause { began_unix_us, parked_us, answered_us, requests, .. } = line else {
                continue;
            };
            if u128::from(began_unix_us) >= since_unix_us {
                let (parked_ms, answered_ms) = (parked_us.map(millis), answered_us.map(millis));
                self.0.push(Pause { gateway, requests, parked_ms, answered_ms });
            }
        }
        Ok(())
    }

    fn check(&self, gateways: &[GatewayId], told: u32, requests_per_s: u32) -> Result<()> {
        let logged: u32 = self.0.iter().map(|pause| pause.requests).sum();
        ensure!(!self.0.is_empty(), "no gateway has logged a pause: there was no load, or no park");
        ensure!(
            logged >= told,
            "the controller heard of {told} requests that waited, and the gateways have logged {logged}"
        );
        for gateway in gateways {
            let mut own = self.0.iter().filter(|pause| pause.gateway == *gateway).peekable();
            ensure!(
                own.peek().is_some() || requests_per_s < CERTAIN_PER_S,
                "{gateway} has logged no pause: at {requests_per_s} requests/s somebody must have waited there"
            );
            ensure!(
                own.all(|pause| pause.parked_ms.is_some() && pause.answered_ms.is_some()),
                "{gateway} has logged a pause after which nobody who had waited was answered"
            );
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a pause is far below 2^53 microseconds")]
fn millis(us: u64) -> f64 {
    us as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAYS: [GatewayId; 2] = [GatewayId(1), GatewayId(2)];

    fn pause(began_unix_us: u64, parked_us: u64, answered_us: Option<u64>) -> String {
        let (instance, parked_us) = ("sessions".to_owned(), Some(parked_us));
        let line =
            ParkedLine::Pause { instance, began_unix_us, parked_us, answered_us, requests: 3, failed: 0 };
        serde_json::to_string(&line).unwrap() + "\n"
    }

    fn found(logs: [&str; 2]) -> Pauses {
        let mut found = Pauses::default();
        for (gateway, log) in GATEWAYS.into_iter().zip(logs) {
            found.add(gateway, log, 1_000).unwrap();
        }
        found
    }

    #[test]
    fn the_longest_pause_of_all_gateways_since_the_move_began_counts() {
        let one = pause(999, 90_000, Some(90_000)) + &pause(1_000, 2_000, Some(2_500));
        let two = pause(1_001, 1_500, Some(3_000)) + &pause(1_002, 9_000, Some(9_000))[..20];
        let found = found([&one, &two]);
        assert_eq!(found.count(), 2);
        assert!((found.parked_ms() - 2.0).abs() < 1e-9 && (found.answered_ms() - 3.0).abs() < 1e-9);
        found.check(&GATEWAYS, 6, 2_000).unwrap();
    }

    #[test]
    fn a_move_is_none_if_a_gateway_has_no_pause_in_its_log() {
        let only = found([&pause(1_000, 2_000, Some(2_500)), ""]);
        let missing = only.check(&GATEWAYS, 3, 2_000).unwrap_err().to_string();
        assert!(missing.starts_with("g2 has logged no pause"), "{missing}");
        // With a load so small that nobody need have waited there: unless the controller knows better.
        only.check(&GATEWAYS, 3, 500).unwrap();
        let told = only.check(&GATEWAYS, 4, 500).unwrap_err().to_string();
        assert!(told.contains("heard of 4") && told.contains("logged 3"), "{told}");
        assert!(found(["", ""]).check(&GATEWAYS, 0, 500).is_err());
    }

    #[test]
    fn a_move_is_none_if_a_pause_was_not_answered() {
        let log = pause(1_000, 2_000, Some(2_500));
        let unanswered = found([&log, &pause(1_000, 2_000, None)]).check(&GATEWAYS, 6, 2_000);
        assert!(unanswered.unwrap_err().to_string().starts_with("g2"));
    }
}
