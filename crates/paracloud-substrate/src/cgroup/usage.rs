//! What a group uses.

use super::{Group, Seat, Version};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version 1 has no word for "no limit", but a number near the largest: whatever is above this is none.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// What is measured of a group; what cannot be is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Memory that could not be given back at once, in bytes: without files that are cached and were not used of late.
    pub memory_bytes: Option<u64>,
    /// The limit on memory, in bytes; absent: none.
    pub memory_limit_bytes: Option<u64>,
    /// CPU time since it was made, in microseconds.
    pub cpu_us: Option<u64>,
    /// The limit on CPU time, in thousandths of a CPU; absent: none.
    pub cpu_limit_milli: Option<u32>,
    /// Share of the last ten seconds in which some of it waited for memory, in thousandths.
    pub memory_stalled_permille: Option<u16>,
    /// The same, for a CPU.
    pub cpu_stalled_permille: Option<u16>,
}

impl Group {
    /// Looks at all of it.
    pub fn usage(&self) -> Usage {
        let pressure = |name: &str| some_avg10_permille(&read(&self.unified.as_ref()?.join(name))?);
        Usage {
            memory_bytes: self.memory_bytes(),
            memory_limit_bytes: self.memory_limit_bytes(),
            cpu_us: self.accounting.as_ref().and_then(cpu_us),
            cpu_limit_milli: self.cpu.as_ref().ok().and_then(cpu_limit_milli),
            memory_stalled_permille: pressure("memory.pressure"),
            cpu_stalled_permille: pressure("cpu.pressure"),
        }
    }

    /// [`Usage::memory_bytes`].
    pub fn memory_bytes(&self) -> Option<u64> {
        let Seat { version, path } = self.memory.as_ref().ok()?;
        let (used, inactive) = match version {
            Version::V1 => ("memory.usage_in_bytes", "total_inactive_file"),
            Version::V2 => ("memory.current", "inactive_file"),
        };
        let used: u64 = read(&path.join(used))?.trim().parse().ok()?;
        let inactive = field(&read(&path.join("memory.stat"))?, inactive).unwrap_or(0);
        Some(used.saturating_sub(inactive))
    }

    /// How many processes in it the kernel has killed because its limit on memory was reached. `None`: it is not known.
    pub fn killed_for_memory(&self) -> Option<u64> {
        let Seat { version, path } = self.memory.as_ref().ok()?;
        let file = match version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        field(&read(&path.join(file))?, "oom_kill")
    }

    /// [`Usage::memory_limit_bytes`].
    pub fn memory_limit_bytes(&self) -> Option<u64> {
        let Seat { version, path } = self.memory.as_ref().ok()?;
        let file = match version {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        };
        read(&path.join(file))?.trim().parse().ok().filter(|limit| *limit < NO_LIMIT_BYTES)
    }
}

fn cpu_us(seat: &Seat) -> Option<u64> {
    match seat.version {
        Version::V1 => Some(read(&seat.path.join("cpuacct.usage"))?.trim().parse::<u64>().ok()? / 1_000),
        Version::V2 => field(&read(&seat.path.join("cpu.stat"))?, "usage_usec"),
    }
}

fn cpu_limit_milli(seat: &Seat) -> Option<u32> {
    let (quota, period) = match seat.version {
        Version::V1 => {
            (read(&seat.path.join("cpu.cfs_quota_us"))?, read(&seat.path.join("cpu.cfs_period_us"))?)
        }
        Version::V2 => {
            let text = read(&seat.path.join("cpu.max"))?;
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.to_owned(), period.to_owned())
        }
    };
    // Without a limit it is -1 or `max`.
    let (quota, period): (u64, u64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    u32::try_from(quota.saturating_mul(1_000).checked_div(period)?).ok()
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The number behind a name that begins a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// `some avg10=12.34 …`, in thousandths.
fn some_avg10_permille(text: &str) -> Option<u16> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    let percent = line.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?;
    let (whole, part) = percent.split_once('.').unwrap_or((percent, "0"));
    let tenths: u16 = part.get(..1).and_then(|digit| digit.parse().ok()).unwrap_or(0);
    Some(whole.parse::<u16>().ok()?.saturating_mul(10).saturating_add(tenths).min(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::fixture::Fixture;

    const MIB: u64 = 1 << 20;

    #[test]
    fn both_versions_say_the_same_in_their_ways() {
        let v1 = Fixture::v1();
        let measured = Usage { memory_bytes: Some(60 * MIB), cpu_us: Some(1_500_000), ..Usage::default() };
        assert_eq!(v1.group().usage(), measured, "no limit, and no pressure in version 1");
        let v2 = Fixture::v2("memory cpu");
        let pressed = Usage { memory_stalled_permille: Some(123), cpu_stalled_permille: Some(5), ..measured };
        assert_eq!(v2.group().usage(), pressed);
        v1.put("memory.limit_in_bytes", "268435456\n");
        v1.put("cpu.cfs_quota_us", "50000\n");
        let usage = v1.group().usage();
        assert_eq!((usage.memory_limit_bytes, usage.cpu_limit_milli), (Some(256 * MIB), Some(500)));
        v2.put("memory.max", "268435456\n");
        assert_eq!(v2.group().usage().memory_limit_bytes, Some(256 * MIB));
    }

    #[test]
    fn what_cannot_be_read_is_absent_and_never_nothing() {
        let fixture = Fixture::v1();
        fixture.put("memory.usage_in_bytes", "many\n");
        assert_eq!(fixture.group().usage().memory_bytes, None);
        assert_eq!(some_avg10_permille("full avg10=1.00\n"), None);
        assert_eq!(some_avg10_permille("some avg10=100.00 avg60=0\n"), Some(1_000));
        assert_eq!(field("inactive_file_x 3\ninactive_file 4\n", "inactive_file"), Some(4));
    }
}
