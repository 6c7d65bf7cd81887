//! The limits of a group: set, and lowered without killing anybody.

use super::group::write;
use super::{Group, NoGroup, Version};
use crate::config::Size;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;

/// Over which CPU time is limited, in microseconds: the kernel's own default.
const PERIOD_US: u32 = 100_000;
/// The least share of a CPU that can be enforced, in thousandths: the kernel allows no quota below a milliecond.
pub const CPU_MILLI_MIN: u32 = 10;

/// Why a limit was not set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// There is no group in which it could be.
    #[error("no limit can be enforced: {0}")]
    NoGroup(NoGroup),
    /// More is in use than the limit would allow.
    #[error("{} KiB are in use, and the limit would be {} KiB", .usage_bytes.unwrap_or(0) / 1_024, .limit_bytes / 1_024)]
    InUse {
        /// What is in use, if that is known, in bytes.
        usage_bytes: Option<u64>,
        /// What was asked for, in bytes.
        limit_bytes: u64,
    },
    /// What is in use cannot be measured, so the limit is not lowered.
    #[error("{path}: what is in use cannot be measured")]
    Unmeasured {
        /// The group.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("{path}: {error}")]
    System {
        /// The file.
        path: PathBuf,
        /// What it says.
        error: String,
    },
}

impl Group {
    /// Sets the limits of a group that nobody has joined yet. Of what is not limited nothing is written.
    ///
    /// # Errors
    /// The first that cannot be set; the others are.
    pub fn limit(&self, size: Size) -> Result<(), Refused> {
        let memory = size.memory_bytes.map_or(Ok(()), |bytes| self.raise_memory(Some(bytes)));
        let cpu = size.cpu_milli.map_or(Ok(()), |milli| self.set_cpu(Some(milli)));
        memory.and(cpu)
    }

    /// Limits memory to more than before; `None`: not at all. (What is below the limit that stands is for
    /// [`Group::lower_memory`].)
    ///
    /// # Errors
    /// There is no group, or the system refuses.
    pub fn raise_memory(&self, bytes: Option<u64>) -> Result<(), Refused> {
        let seat = self.memory.as_ref().map_err(|why| Refused::NoGroup(why.clone()))?;
        let (file, none) = match seat.version {
            Version::V1 => ("memory.limit_in_bytes", "-1"),
            Version::V2 => ("memory.max", "max"),
        };
        let file = seat.path.join(file);
        let text = bytes.map_or_else(|| none.to_owned(), |bytes| bytes.to_string());
        write(&file, &text).map_err(|error| system(file, &error))
    }

    /// Limits CPU time, in thousandths of a CPU; `None`: not at all. It kills nobody in either direction.
    ///
    /// # Errors
    /// There is no group, or the system refuses.
    pub fn set_cpu(&self, milli: Option<u32>) -> Result<(), Refused> {
        let seat = self.cpu.as_ref().map_err(|why| Refused::NoGroup(why.clone()))?;
        let quota_us = |milli: u32| u64::from(milli.max(CPU_MILLI_MIN)) * u64::from(PERIOD_US) / 1_000;
        let text = |none: &str| milli.map_or_else(|| none.to_owned(), |milli| quota_us(milli).to_string());
        let set = |file: &str, text: String| {
            let file = seat.path.join(file);
            write(&file, &text).map_err(|error| system(file, &error))
        };
        match seat.version {
            Version::V1 => {
                set("cpu.cfs_period_us", PERIOD_US.to_string())?;
                set("cpu.cfs_quota_us", text("-1"))
            }
            Version::V2 => set("cpu.max", format!("{} {PERIOD_US}", text("max"))),
        }
    }

    /// Limits memory to less than before, and never to less than what is in use and `margin_bytes` beside it.
    ///
    /// Version 1 gives back what it can and refuses if that is not enough, whatever happens meanwhile. Version 2 would kill:
    /// there the group is first slowed down at the new limit (`memory.high`), so that what it uses does not grow into it
    /// between the look and the limit.
    ///
    /// # Errors
    /// More is in use, or that cannot be measured, or there is no group. The limit is as it was.
    pub fn lower_memory(&self, bytes: u64, margin_bytes: u64) -> Result<(), Refused> {
        let seat = self.memory.as_ref().map_err(|why| Refused::NoGroup(why.clone()))?;
        let fits = || match self.memory_bytes() {
            None => Err(Refused::Unmeasured { path: seat.path.clone() }),
            Some(used) if used.saturating_add(margin_bytes) > bytes => {
                Err(Refused::InUse { usage_bytes: Some(used), limit_bytes: bytes })
            }
            Some(_) => Ok(()),
        };
        match seat.version {
            Version::V1 => {
                fits()?;
                self.limit_memory_as_the_kernel_allows(bytes)
            }
            Version::V2 => {
                fits()?;
                let high = seat.path.join("memory.high");
                write(&high, &bytes.to_string()).map_err(|error| system(high.clone(), &error))?;
                let lowered = fits().and_then(|()| self.raise_memory(Some(bytes)));
                let freed = write(&high, "max").map_err(|error| system(high, &error));
                lowered.and(freed)
            }
        }
    }

    /// Version 1: the kernel's own word on whether a limit can be lowered.
    pub(super) fn limit_memory_as_the_kernel_allows(&self, bytes: u64) -> Result<(), Refused> {
        let seat = self.memory.as_ref().map_err(|why| Refused::NoGroup(why.clone()))?;
        let file = seat.path.join("memory.limit_in_bytes");
        write(&file, &bytes.to_string()).map_err(|error| match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::BUSY.raw_os_error() => {
                Refused::InUse { usage_bytes: self.memory_bytes(), limit_bytes: bytes }
            }
            _ => system(file, &error),
        })
    }
}

fn system(path: PathBuf, error: &io::Error) -> Refused {
    Refused::System { path, error: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::fixture::Fixture;

    const MIB: u64 = 1 << 20;

    fn size(memory_bytes: u64, cpu_milli: u32) -> Size {
        Size { memory_bytes: Some(memory_bytes), cpu_milli: Some(cpu_milli) }
    }

    #[test]
    fn each_version_is_told_its_limits_in_its_way() {
        let v1 = Fixture::v1();
        v1.group().limit(size(256 * MIB, 500)).unwrap();
        assert_eq!(v1.get("memory.limit_in_bytes"), "268435456");
        assert_eq!(
            (v1.get("cpu.cfs_quota_us"), v1.get("cpu.cfs_period_us")),
            ("50000".into(), "100000".into())
        );
        let v2 = Fixture::v2("memory cpu");
        v2.group().limit(size(256 * MIB, 1)).unwrap();
        assert_eq!(v2.get("memory.max"), "268435456");
        assert_eq!(v2.get("cpu.max"), "1000 100000", "no less than the kernel allows");
        v2.group().set_cpu(None).unwrap();
        assert_eq!(v2.get("cpu.max"), "max 100000");
        v1.group().limit(Size::default()).unwrap();
        assert_eq!(v1.get("memory.limit_in_bytes"), "268435456", "of what is not limited nothing is written");
    }

    #[test]
    fn a_limit_is_not_lowered_below_what_is_in_use_and_its_margin() {
        for fixture in [Fixture::v1(), Fixture::v2("memory cpu")] {
            let group = fixture.group();
            let file = if fixture.path("memory").exists() { "memory.limit_in_bytes" } else { "memory.max" };
            let before = fixture.get(file);
            let refused = group.lower_memory(64 * MIB, 5 * MIB).unwrap_err();
            assert_eq!(refused, Refused::InUse { usage_bytes: Some(60 * MIB), limit_bytes: 64 * MIB });
            assert_eq!(refused.to_string(), "61440 KiB are in use, and the limit would be 65536 KiB");
            assert_eq!(fixture.get(file), before);
            group.lower_memory(65 * MIB, 5 * MIB).unwrap();
            assert_eq!(fixture.get(file), (65 * MIB).to_string());
        }
    }

    #[test]
    fn what_cannot_be_measured_is_not_limited_to_less_and_nobody_stays_slowed_down() {
        let fixture = Fixture::v2("memory cpu");
        fixture.group().lower_memory(128 * MIB, MIB).unwrap();
        assert_eq!(fixture.get("memory.high"), "max");
        fixture.put("memory.current", "?\n");
        let group = fixture.group();
        assert!(matches!(group.lower_memory(100 * MIB, MIB), Err(Refused::Unmeasured { .. })));
        assert_eq!(
            (fixture.get("memory.max"), fixture.get("memory.high")),
            ((128 * MIB).to_string(), "max".into())
        );
    }

    #[test]
    fn where_there_is_no_group_that_is_the_reason() {
        let group = Fixture::v2("").group();
        for refused in [group.limit(size(MIB, 1)), group.lower_memory(MIB, 0), group.set_cpu(Some(100))] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, Refused::NoGroup(NoGroup::NotHandedDown { .. })), "{refused}");
        }
    }
}
