//! What the process tells its cloud of itself, and what it does when it is asked.

use crate::pace::FULL_PERMILLE;
use crate::settings::Settings;
use crate::slots::Slots;
use paracloud_sdk::words::{Report, Size};
use paracloud_sdk::{Paci, Resizing, Unfit};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// From one report to the next, while something changes.
const REPORT_GAP: Duration = Duration::from_millis(100);
/// And while nothing does.
const REPORT_GAP_MAX: Duration = Duration::from_secs(1);
/// The longest time that is told of anything, in milliseconds: a day.
const DURATION_MS_MAX: u32 = 86_400_000;
/// For how long a report counts.
const VALID_FOR_MS: u32 = 3_000;

/// What the cloud may ask for.
pub(crate) fn on_calls(paci: &Paci, slots: &Arc<Slots>, settings: &Settings, stop: watch::Sender<bool>) {
    let drained = Arc::clone(slots);
    // What comes meanwhile is done as well: a drain may be called off, and then nothing is to be undone.
    paci.on_drain(move |_| {
        let slots = Arc::clone(&drained);
        async move { slots.idle().await }
    });
    paci.on_undrain(async || {});
    let quoted = Arc::clone(slots);
    paci.on_quote(move |mut quote| {
        let load = quoted.load();
        quote.cost_ms = Some(bounded(load.invested_ms));
        quote.drain_ms = Some(bounded(load.drain_ms()));
        Ok(quote)
    });
    let resized = Arc::clone(slots);
    let per_slot = Size { memory_kib: Some(settings.slot_kib), cpu_millis: Some(settings.slot_cpu_millis) };
    paci.on_resize(move |resizing| {
        let done = resize(&resized, per_slot, &resizing);
        async move { done }
    });
    let (stopped, stop) = (Arc::clone(slots), Arc::new(stop));
    paci.on_stop(move |stopping| {
        let (slots, stop) = (Arc::clone(&stopped), Arc::clone(&stop));
        async move {
            end(&slots, stopping.grace / 2).await;
            stop.send_replace(true);
        }
    });
}

/// It is told to stop: what was taken is done, as far as there is time for it.
pub(crate) async fn end(slots: &Slots, wait: Duration) {
    let load = slots.load();
    tracing::info!(running = load.running, queued = load.queued, "told to stop");
    if timeout(wait, slots.idle()).await.is_err() {
        let ids = slots.ledger().open_ids;
        tracing::error!(undone = ids.len(), ?ids, "stopped before all was done");
    }
}

/// A slot is so much memory and so much of a processor. What is begun is not broken off.
fn resize(slots: &Arc<Slots>, per_slot: Size, resizing: &Resizing) -> Result<(), Unfit> {
    let fit =
        |wanted: Option<u32>, one: Option<u32>| wanted.zip(one).map(|(wanted, one)| wanted / one.max(1));
    let in_memory = fit(resizing.memory_kib, per_slot.memory_kib);
    let in_cpu = fit(resizing.cpu_millis, per_slot.cpu_millis);
    // What does not change holds as many as there are.
    let now = slots.load();
    let Some(wanted) = in_memory.into_iter().chain(in_cpu).min() else { return Ok(()) };
    let least = now.running.max(1);
    if wanted < least {
        let of = |one: Option<u32>| one.map(|one| one.saturating_mul(least));
        let fit = Size { memory_kib: of(per_slot.memory_kib), cpu_millis: of(per_slot.cpu_millis) };
        let reason = format!("{} jobs are worked on, and that size has {wanted} slots", now.running);
        return Err(Unfit { fit, reason });
    }
    if !resizing.dry_run {
        slots.resize(wanted);
    }
    Ok(())
}

/// Tells how busy the process is, for as long as it runs.
pub(crate) async fn report(paci: Paci, slots: Arc<Slots>, settings: Settings) {
    let mut changes = slots.changes();
    loop {
        changes.mark_unchanged();
        if let Err(error) = paci.report(of(&slots, &settings)) {
            tracing::error!(%error, "how busy it is cannot be told");
        }
        sleep(REPORT_GAP).await;
        let _ = timeout(REPORT_GAP_MAX - REPORT_GAP, changes.changed()).await;
    }
}

/// How busy it is.
pub(crate) fn of(slots: &Slots, settings: &Settings) -> Report {
    let load = slots.load();
    let own_speed = |work_ms: u64| work_ms * u64::from(FULL_PERMILLE) / u64::from(settings.speed_permille);
    // How much it can do is known once it is known how large jobs are.
    let capacity = load.mean_work_us.filter(|mean| *mean > 0).map(|mean| {
        let per_s = u64::from(load.slots) * u64::from(settings.speed_permille);
        bounded(per_s * 1_000_000 / mean)
    });
    Report {
        valid_for_ms: VALID_FOR_MS,
        capacity_milli_per_s: capacity,
        concurrency: Some(load.slots),
        in_flight: Some(load.running),
        queued: Some(load.queued),
        backlog_ms: Some(bounded(own_speed(load.backlog_ms))),
        oldest_wait_ms: Some(bounded(load.oldest_wait_ms)),
        utilisation_permille: Some(load.running * FULL_PERMILLE / load.slots.max(1)),
        tightest: "slots".to_owned(),
        warmup_ms: Some(bounded(u64::try_from(settings.warmup.as_millis()).unwrap_or(u64::MAX))),
        cold_permille: Some(if settings.warmup.is_zero() { FULL_PERMILLE } else { settings.cold_permille }),
        ..Report::default()
    }
}

/// No figure of the worker comes near the bounds of the contract but by a queue of jobs that take days: that is told as a
/// day.
fn bounded(figure: u64) -> u32 {
    u32::try_from(figure).unwrap_or(u32::MAX).min(DURATION_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Pace;

    fn settings() -> Settings {
        Settings::read(|name| (name == "SPEED_PERMILLE").then(|| "500".into())).unwrap()
    }

    fn resizing(cpu_millis: u32, dry_run: bool) -> Resizing {
        let budget = Duration::from_secs(1);
        Resizing {
            memory_kib: None,
            cpu_millis: Some(cpu_millis),
            now_memory_kib: None,
            now_cpu_millis: None,
            dry_run,
            budget,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_is_in_its_bounds_and_tells_no_capacity_before_a_job_was_seen() {
        let slots = Slots::new(Arc::new(Pace::new(500)), 2, 10);
        let first = of(&slots, &settings());
        paci::wire::Message::validate(&first).unwrap();
        assert_eq!((first.capacity_milli_per_s, first.in_flight, first.queued), (None, Some(0), Some(0)));
        for _ in 0..3 {
            slots.take(None, Duration::from_millis(20)).unwrap();
        }
        sleep(Duration::from_millis(7)).await;
        let busy = of(&slots, &settings());
        paci::wire::Message::validate(&busy).unwrap();
        // Two slots at half speed do fifty jobs of 20 ms a second.
        assert_eq!(busy.capacity_milli_per_s, Some(50_000));
        assert_eq!((busy.in_flight, busy.queued, busy.backlog_ms), (Some(2), Some(1), Some(40)));
        assert_eq!((busy.oldest_wait_ms, busy.utilisation_permille), (Some(7), Some(1_000)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_size_that_breaks_off_no_job_is_taken_and_another_is_answered_with_one_that_would_do() {
        let slots = Slots::new(Arc::new(Pace::new(FULL_PERMILLE)), 4, 10);
        let per_slot = Size { memory_kib: Some(1_024), cpu_millis: Some(100) };
        for _ in 0..3 {
            slots.take(None, Duration::from_secs(1)).unwrap();
        }
        resize(&slots, per_slot, &resizing(300, true)).unwrap();
        assert_eq!(slots.load().slots, 4, "it was only asked");
        let unfit = resize(&slots, per_slot, &resizing(299, false)).unwrap_err();
        assert_eq!(unfit.fit, Size { memory_kib: Some(3 * 1_024), cpu_millis: Some(300) });
        assert!(unfit.reason.contains("3 jobs"), "{}", unfit.reason);
        resize(&slots, per_slot, &resizing(800, false)).unwrap();
        assert_eq!(slots.load().slots, 8);
        slots.idle().await;
        let none = resize(&slots, per_slot, &resizing(50, false)).unwrap_err();
        assert_eq!(none.fit.cpu_millis, Some(100));
    }
}
