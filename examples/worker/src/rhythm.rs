//! When the pace changes by itself: a process gets warm once, and pauses now and then.

use crate::pace::{FULL_PERMILLE, Pace};
use crate::settings::{Pauses, Settings};
use paracloud_sdk::Paci;
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

/// Begins both, as far as they are wanted, and tells the cloud of each before it begins.
pub(crate) fn begin(paci: &Paci, pace: &Arc<Pace>, settings: &Settings) {
    if settings.warmup.is_zero() {
        paci.ready();
    } else {
        paci.cold(settings.warmup, Some(settings.cold_permille));
        pace.warm(settings.cold_permille);
        let (pace, warm) = (Arc::clone(pace), Instant::now() + settings.warmup);
        tokio::spawn(async move {
            sleep_until(warm).await;
            pace.warm(FULL_PERMILLE);
        });
    }
    if let Some(pauses) = settings.pauses {
        tokio::spawn(pause(paci.clone(), Arc::clone(pace), pauses));
    }
}

/// Pauses for ever, the first time after one distance.
async fn pause(paci: Paci, pace: Arc<Pace>, pauses: Pauses) {
    let mut next = Instant::now() + pauses.every;
    loop {
        if !pauses.notice.is_zero() {
            sleep_until(next - pauses.notice).await;
            // It is no collector that waits for an answer.
            tokio::spawn(announce(paci.clone(), next, pauses));
        }
        sleep_until(next).await;
        pace.pause(true);
        sleep_until(next + pauses.length).await;
        pace.pause(false);
        next += pauses.every;
    }
}

async fn announce(paci: Paci, begins: Instant, pauses: Pauses) {
    let begins_in = begins.saturating_duration_since(Instant::now());
    if let Err(error) = paci.pausing(begins_in, pauses.length).await {
        tracing::warn!(%error, "a pause cannot be told of");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::sleep;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn a_process_gets_warm_and_pauses_at_even_distances() {
        let variables = [
            ("WARMUP_MS", "1500"),
            ("COLD_PERMILLE", "250"),
            ("PAUSE_EVERY_MS", "1000"),
            ("PAUSE_MS", "200"),
        ];
        let lookup = |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| value.into());
        let settings = Settings::read(lookup).unwrap();
        let pace = Arc::new(Pace::new(FULL_PERMILLE));
        let paci = Paci::from_env().unwrap();
        begin(&paci, &pace, &settings);
        let mut seen = Vec::new();
        sleep(50 * MS).await;
        for _ in 0..22 {
            seen.push(pace.permille());
            sleep(100 * MS).await;
        }
        let expected = [[250; 10].as_slice(), &[0; 2], &[250; 3], &[1000; 5], &[0; 2]].concat();
        assert_eq!(seen, expected);
    }
}
