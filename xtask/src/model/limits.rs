//! How long a search of one configuration may last and how much memory it may take, so that it can be had on any
//! machine of ours: a search that runs into one of the two is unfinished.

use anyhow::{Context, Result};
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Longest search of one configuration, in seconds.
const SECONDS_MAX: u64 = 15 * 60;
/// Most memory the process may have resident during a search, in MiB.
const MEMORY_MIB_MAX: u64 = 16 * 1024;
/// The memory in use is looked at this often at most, in milliseconds.
const LOOK_MS: u64 = 100;

/// See the module.
pub(super) struct Limits {
    began: Instant,
    looked_ms: AtomicU64,
    peak_mib: AtomicU64,
}

impl Limits {
    /// A search begins now.
    ///
    /// # Errors
    /// The kernel does not say how much memory is in use.
    pub(super) fn begin() -> Result<Self> {
        let resident = resident_mib().context("/proc/self/status does not say how much memory is in use")?;
        let (looked_ms, peak_mib) = (AtomicU64::new(0), AtomicU64::new(resident));
        Ok(Self { began: Instant::now(), looked_ms, peak_mib })
    }

    /// Whether one of the two is reached.
    pub(super) fn are_reached(&self) -> bool {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now_ms >= self.looked_ms.load(Ordering::Relaxed).saturating_add(LOOK_MS) {
            self.looked_ms.store(now_ms, Ordering::Relaxed);
            self.peak_mib.fetch_max(resident_mib().unwrap_or(0), Ordering::Relaxed);
        }
        self.reached().is_some()
    }

    /// Which one is, if any.
    pub(super) fn reached(&self) -> Option<&'static str> {
        if self.began.elapsed().as_secs() >= SECONDS_MAX {
            Some("seconds")
        } else {
            (self.peak_mib() >= MEMORY_MIB_MAX).then_some("memory")
        }
    }

    /// Seconds since it began.
    pub(super) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Most memory that was seen in use, in MiB.
    pub(super) fn peak_mib(&self) -> u64 {
        self.peak_mib.load(Ordering::Relaxed)
    }
}

/// What the kernel holds resident for this process.
fn resident_mib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}
