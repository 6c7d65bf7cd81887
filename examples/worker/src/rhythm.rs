//! When the pace changes by itself: a process gets warm once, and pauses now and then. All of it is known from its
//! beginning.

use crate::pace::{FULL_PERMILLE, Pace};
use crate::settings::{Pauses, Settings};
use paracloud_sdk::Paci;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rhythm {
    begun: Instant,
    warmup: Duration,
    cold_permille: u32,
    pauses: Option<Pauses>,
}

/// The next pause, once it was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Pause {
    /// Milliseconds until it begins; 0: it has begun.
    pub(crate) in_ms: u64,
    /// How long it lasts from its beginning, or from now if it has begun, in milliseconds.
    pub(crate) for_ms: u64,
}

/// How much there is of a process that is not warm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Cold {
    /// Milliseconds until it is warm.
    pub(crate) warmup_ms: u64,
    /// The share of its speed that there is until then, in thousandths.
    pub(crate) capacity_permille: u32,
}

impl Rhythm {
    /// It begins now.
    pub(crate) fn new(settings: &Settings) -> Self {
        let Settings { warmup, cold_permille, pauses, .. } = *settings;
        Self { begun: Instant::now(), warmup, cold_permille, pauses }
    }

    /// How cold it is, if it is.
    pub(crate) fn cold(&self) -> Option<Cold> {
        let left = (self.begun + self.warmup).saturating_duration_since(Instant::now());
        let warmup_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        (warmup_ms > 0).then_some(Cold { warmup_ms, capacity_permille: self.cold_permille })
    }

    /// The pause that was announced and is not over.
    pub(crate) fn pause(&self) -> Option<Pause> {
        let pauses = self.pauses?;
        let (every, length) = (pauses.every.as_millis(), pauses.length.as_millis());
        let since = self.begun.elapsed().as_millis();
        let into = since % every;
        let ms = |ms: u128| u64::try_from(ms).unwrap_or(u64::MAX);
        if since >= every && into < length {
            return Some(Pause { in_ms: 0, for_ms: ms(length - into) });
        }
        let in_ms = every - into;
        (in_ms <= pauses.notice.as_millis()).then_some(Pause { in_ms: ms(in_ms), for_ms: ms(length) })
    }

    /// Keeps the pace by it, and tells the cloud of each change before it begins.
    pub(crate) fn keep(self, paci: &Paci, pace: &Arc<Pace>) {
        if let Some(cold) = self.cold() {
            paci.cold(self.warmup, Some(cold.capacity_permille));
            pace.warm(cold.capacity_permille);
            let pace = Arc::clone(pace);
            tokio::spawn(async move {
                sleep_until(self.begun + self.warmup).await;
                pace.warm(FULL_PERMILLE);
            });
        } else {
            paci.ready();
        }
        if let Some(pauses) = self.pauses {
            tokio::spawn(pause(paci.clone(), Arc::clone(pace), self.begun, pauses));
        }
    }
}

/// Pauses for ever, the first time after one distance.
async fn pause(paci: Paci, pace: Arc<Pace>, begun: Instant, pauses: Pauses) {
    let mut next = begun + pauses.every;
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
        let rhythm = Rhythm::new(&settings);
        rhythm.keep(&paci, &pace);
        let (mut seen, mut told) = (Vec::new(), Vec::new());
        sleep(50 * MS).await;
        for _ in 0..22 {
            seen.push(pace.permille());
            told.push((rhythm.cold().is_some(), rhythm.pause().map(|pause| (pause.in_ms, pause.for_ms))));
            sleep(100 * MS).await;
        }
        let expected = [[250; 10].as_slice(), &[0; 2], &[250; 3], &[1000; 5], &[0; 2]].concat();
        assert_eq!(seen, expected);
        assert_eq!(told[..9], [(true, None); 9]);
        assert_eq!(told[9..13], [Some((50, 200)), Some((0, 150)), Some((0, 50)), None].map(|it| (true, it)));
        assert_eq!(told[15..20], [None, None, None, None, Some((50, 200))].map(|it| (false, it)));
    }
}
