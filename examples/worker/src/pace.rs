//! How fast work goes on. Work is a timed wait: at full speed a job of 20 ms takes 20 ms, at half speed 40, and while the
//! process pauses it stands still.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Full speed, in thousandths.
pub const FULL_PERMILLE: u32 = 1_000;

/// See the module. Shared by all work of a process.
#[derive(Debug)]
pub struct Pace {
    parts: watch::Sender<Parts>,
}

/// What makes up the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts {
    /// Of this process once it is warm.
    speed_permille: u32,
    /// What of it there is now, before it is warm.
    warm_permille: u32,
    pauses: bool,
}

impl Parts {
    /// Thousandths of full speed; 0 while it pauses.
    fn permille(self) -> u32 {
        if self.pauses { 0 } else { (self.speed_permille * self.warm_permille / FULL_PERMILLE).max(1) }
    }
}

impl Pace {
    /// A process of this speed that is warm: 1 to [`FULL_PERMILLE`].
    pub fn new(speed_permille: u32) -> Self {
        let parts = Parts { speed_permille, warm_permille: FULL_PERMILLE, pauses: false };
        Self { parts: watch::Sender::new(parts) }
    }

    /// It is not warm yet: so much of its speed is there.
    pub fn warm(&self, permille: u32) {
        self.parts.send_modify(|parts| parts.warm_permille = permille);
    }

    /// It stands still, or goes on.
    pub fn pause(&self, pauses: bool) {
        self.parts.send_modify(|parts| parts.pauses = pauses);
    }

    /// Thousandths of full speed; 0 while it pauses.
    pub fn permille(&self) -> u32 {
        self.parts.borrow().permille()
    }

    /// Returns once it does not pause.
    pub async fn goes_on(&self) {
        let _ = self.parts.subscribe().wait_for(|parts| !parts.pauses).await;
    }

    /// Takes as long as this work does, which is stated at full speed.
    pub async fn work(&self, work: Duration) {
        let mut parts = self.parts.subscribe();
        let mut left = work;
        loop {
            let permille = parts.borrow_and_update().permille();
            let begun = Instant::now();
            if permille == 0 {
                let _ = parts.changed().await;
                continue;
            }
            tokio::select! {
                () = sleep(left * FULL_PERMILLE / permille) => return,
                _ = parts.changed() => left = left.saturating_sub(begun.elapsed() * permille / FULL_PERMILLE),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What one second of work takes while something happens to the pace.
    async fn takes(speed_permille: u32, happens: impl AsyncFnOnce(&Pace)) -> Duration {
        let pace = Pace::new(speed_permille);
        let begun = Instant::now();
        tokio::join!(pace.work(SECOND), happens(&pace));
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn work_takes_as_long_as_the_pace_says_and_stands_still_in_a_pause() {
        assert_eq!(takes(FULL_PERMILLE, async |_| {}).await, SECOND);
        assert_eq!(takes(500, async |_| {}).await, 2 * SECOND);
        let paused = async |pace: &Pace| {
            sleep(SECOND / 4).await;
            pace.pause(true);
            assert_eq!(pace.permille(), 0);
            sleep(3 * SECOND).await;
            pace.pause(false);
        };
        assert_eq!(takes(FULL_PERMILLE, paused).await, 4 * SECOND);
        let warms = async |pace: &Pace| {
            pace.warm(250);
            sleep(2 * SECOND).await;
            pace.warm(FULL_PERMILLE);
        };
        assert_eq!(takes(FULL_PERMILLE, warms).await, SECOND * 5 / 2);
    }
}
