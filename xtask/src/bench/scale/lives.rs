//! Which processes of the application there were, for how long, and what they were at when they were told to stop.

use anyhow::Result;
use paracloud_substrate::process::Identity;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often it is looked who lives.
const LOOK_MS: u64 = 50;
/// What an instance writes when it is told to stop, and behind it how many jobs it works on.
const TOLD: (&str, &str) = ("told to stop", "running=");
/// What it writes once it can be sent something.
const LISTENS: &str = "listening";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lives(Mutex<BTreeMap<i32, Life>>);

/// One process.
#[derive(Debug)]
struct Life {
    identity: Identity,
    lives: bool,
    /// What it writes: whoever removes the file takes nothing away.
    log: File,
}

/// How they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// Processes.
    pub(super) all: u32,
    /// Those that had been told to stop while they worked on a job.
    pub(super) busy: u32,
    /// Those that listened and ended without having been told.
    pub(super) untold: u32,
}

impl Lives {
    fn all(&self) -> MutexGuard<'_, BTreeMap<i32, Life>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a process. One that is known already is the same.
    pub(super) fn add(&self, identity: Identity, log: impl FnOnce() -> std::io::Result<File>) -> Result<()> {
        let mut all = self.all();
        if all.get(&identity.pid).is_none_or(|known| known.identity != identity) {
            let life = Life { identity, lives: true, log: log()? };
            all.insert(life.identity.pid, life);
        }
        Ok(())
    }

    /// How many live.
    fn living(&self) -> u32 {
        let mut count = 0;
        for life in self.all().values_mut().filter(|life| life.lives) {
            life.lives = life.identity.is_alive().unwrap_or(false);
            count += u32::from(life.lives);
        }
        count
    }

    /// Sums up for so long how long each lives, in seconds. `look` finds new ones.
    pub(super) async fn instance_seconds(
        &self,
        wait: Duration,
        look: impl Fn(&Self) -> Result<()>,
    ) -> Result<f64> {
        let mut ticks = tokio::time::interval(Duration::from_millis(LOOK_MS));
        let begun = Instant::now();
        let (mut before, mut sum) = (begun, 0.0);
        loop {
            ticks.tick().await;
            look(self)?;
            let now = Instant::now().min(begun + wait);
            sum += f64::from(self.living()) * (now - before).as_secs_f64();
            before = now;
            if now == begun + wait {
                return Ok(sum);
            }
        }
    }

    /// How those ended that have.
    pub(super) fn ends(&self) -> Result<Ends> {
        self.living();
        let mut ends = Ends::default();
        for life in self.all().values_mut() {
            ends.all += 1;
            let mut text = String::new();
            life.log.rewind()?;
            life.log.read_to_string(&mut text)?;
            match was_busy(&text) {
                Some(is_busy) => ends.busy += u32::from(is_busy),
                None => ends.untold += u32::from(!life.lives && text.contains(LISTENS)),
            }
        }
        Ok(ends)
    }
}

/// Whether an instance that wrote this worked on a job when it was told to stop; `None`: it was not told.
fn was_busy(log: &str) -> Option<bool> {
    let told = log.lines().find(|line| line.contains(TOLD.0))?;
    let running = told.split(TOLD.1).nth(1)?.split_whitespace().next()?;
    Some(running != "0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::Command;

    #[test]
    fn an_instance_was_busy_if_it_worked_on_a_job_when_it_was_first_told_to_stop() {
        let idle = "t INFO worker: listening\nt INFO worker::cloud: told to stop running=0 queued=0\n";
        assert_eq!(was_busy(idle), Some(false));
        let busy = "t INFO worker::cloud: told to stop running=3 queued=7\nt told to stop running=0 queued=0";
        assert_eq!(was_busy(busy), Some(true));
        assert_eq!(was_busy("t INFO worker: listening"), None);
    }

    #[tokio::test]
    async fn who_lives_counts_for_as_long_and_who_ended_untold_is_told_of() {
        let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        let lives = Lives::default();
        let mut log = tempfile::tempfile().unwrap();
        log.write_all(b"listening\n").unwrap();
        let identity = Identity::of(i32::try_from(sleeper.id()).unwrap()).unwrap();
        lives.add(identity.clone(), || log.try_clone()).unwrap();
        lives.add(identity, || panic!("it is known")).unwrap();
        let seconds = lives.instance_seconds(Duration::from_millis(120), |_| Ok(())).await.unwrap();
        assert!((seconds - 0.12).abs() < 1e-9, "{seconds}");
        assert_eq!(lives.ends().unwrap(), Ends { all: 1, busy: 0, untold: 0 });
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert_eq!(lives.living(), 0);
        assert_eq!(lives.ends().unwrap().untold, 1);
    }
}
