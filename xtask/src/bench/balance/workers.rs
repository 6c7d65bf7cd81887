//! Eight processes of `worker`, alike or not. They end with this program, however that ends.

use crate::rig;
use anyhow::{Context, Result, ensure};
use paracloud_load::look::Window;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How many.
pub(super) const COUNT: u32 = 8;
/// How long one may take until it answers, in milliseconds.
const BEGIN_MS_MAX: u64 = 10_000;
/// How often that is looked at.
const LOOK_MS: u64 = 20;
/// What differs: a variable with the number of an instance is for that instance alone.
const UNLIKE: &[(&str, &str)] = &[
    ("PAUSE_EVERY_MS_1", "2000"),
    ("PAUSE_MS_1", "200"),
    ("PAUSE_NOTICE_MS_1", "300"),
    // As long as it may be: it stays cold.
    ("WARMUP_MS_2", "3600000"),
    ("COLD_PERMILLE_2", "300"),
    ("SPEED_PERMILLE_3", "500"),
];
/// What the first three of them have of a whole one's capacity, in thousandths.
const UNLIKE_PERMILLE: u32 = 900 + 300 + 500;

/// Whether they are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Unlike,
    Alike,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unlike => "8 unlike",
            Self::Alike => "8 like",
        }
    }

    /// Requests a second that all of them can do together.
    pub(super) fn capacity_per_s(self, slots: u32, work_ms: u32) -> u32 {
        let permille = match self {
            Self::Unlike => (COUNT - 3) * 1_000 + UNLIKE_PERMILLE,
            Self::Alike => COUNT * 1_000,
        };
        permille * slots / work_ms.max(1)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Workers {
    processes: Vec<Child>,
    addresses: Vec<SocketAddr>,
}

impl Workers {
    /// Starts them, and waits until all answer.
    pub(super) async fn start(kind: Kind, slots: u32) -> Result<Self> {
        let program = rig::binary("worker")?;
        let addresses = rig::free_addresses(COUNT as usize)?;
        let mut processes = Vec::new();
        for (number, address) in (1..).zip(&addresses) {
            let mut command = Command::new("setpriv");
            command
                .args(["--pdeathsig", "KILL"])
                .arg(&program)
                .env_clear()
                .env("HOST", address.ip().to_string())
                .env("PORT", address.port().to_string())
                .env("PACI_INSTANCE", format!("worker.{number}"))
                .env("SLOTS", slots.to_string())
                .env("QUEUE_MAX", "100000")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true);
            if kind == Kind::Unlike {
                command.envs(UNLIKE.iter().copied());
            }
            processes.push(command.spawn().context("setpriv, of util-linux, cannot be run")?);
        }
        for (number, address) in (1..).zip(&addresses) {
            let (window, began) = (Window::new(*address), Instant::now());
            let wait = Duration::from_millis(BEGIN_MS_MAX);
            while let Err(error) = window.look("/healthz", wait).await {
                ensure!(began.elapsed() < wait, "worker.{number} does not answer: {error}");
                tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            }
        }
        Ok(Self { processes, addresses })
    }

    /// Where they listen, by their numbers from 1.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Their processes.
    ///
    /// # Errors
    /// One has ended.
    pub(super) fn pids(&self) -> Result<Vec<i32>> {
        let pid = |process: &Child| Ok(i32::try_from(process.id().context("a worker has ended")?)?);
        self.processes.iter().map(pid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_can_do_together_counts_what_the_unlike_ones_lack() {
        assert_eq!(Kind::Alike.capacity_per_s(4, 20), 1_600);
        assert_eq!(Kind::Unlike.capacity_per_s(4, 20), 1_340);
    }
}
