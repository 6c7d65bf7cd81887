//! Making a process larger or smaller while it runs: plain functions on its group, for whoever decided it.
//!
//! Larger at once. Smaller only once it *uses* less: what an application promises to give back is measured, and a limit that
//! would meet what it uses is not set. So nobody is killed by a limit that was lowered.

use paracloud_core::register;
use paracloud_substrate::cgroup::{Group, NoGroup, Refused};
use paracloud_substrate::config::Size;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between what is used and a limit that is lowered there is at least this share of the limit, in thousandths,
pub(crate) const MARGIN_PERMILLE: u64 = 50;
/// and at least so much, in bytes.
pub(crate) const MARGIN_BYTES_MIN: u64 = 1 << 20;
/// How often it is looked whether what is used has fallen, in milliseconds.
const LOOK_AGAIN_MS: u64 = 50;

/// Why limits were not set: they are as they were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unset {
    /// It uses more than it was to, and its time is over.
    NotFallen {
        /// What it uses, in bytes, if that is known.
        usage_bytes: Option<u64>,
    },
    /// The system refuses.
    Refused {
        /// Why, for people.
        why: String,
    },
    /// There is no group that could enforce them.
    NoGroup {
        /// Why.
        why: NoGroup,
    },
}

/// The limits of a group; of what is not limited, or cannot be: none.
pub(crate) fn limits(group: &Group) -> Size {
    Size { memory_bytes: group.memory_limit_bytes(), cpu_milli: group.usage().cpu_limit_milli }
}

/// Whether anything of it is less than now. Without a limit there is more than with any.
pub(crate) fn lessens(now: Size, to: Size) -> bool {
    let less = |to: Option<u64>, now: Option<u64>| to.unwrap_or(u64::MAX) < now.unwrap_or(u64::MAX);
    less(to.memory_bytes, now.memory_bytes) || less(to.cpu_milli.map(u64::from), now.cpu_milli.map(u64::from))
}

/// Makes these the limits of a group, each that it has not yet. None is lowered below what is used. They are all set or none.
pub(crate) fn set(group: &Group, to: Size) -> Result<(), Unset> {
    try_to_set(group, to).map_err(|refused| match refused {
        Refused::NoGroup(why) => Unset::NoGroup { why },
        Refused::InUse { usage_bytes, .. } => Unset::NotFallen { usage_bytes },
        Refused::Unmeasured { .. } | Refused::System { .. } => Unset::Refused { why: refused.to_string() },
    })
}

/// The same, and waits until so little is used that they can be set, at most this long. Dropped, it may set them once more:
/// as long as it may, it keeps `sets`.
pub(crate) async fn set_when_fallen(
    group: &Group,
    to: Size,
    within: Duration,
    sets: Arc<()>,
) -> Result<(), Unset> {
    let deadline = Instant::now() + within;
    loop {
        let is_over = Instant::now() >= deadline;
        let (looked, sets) = (group.clone(), Arc::clone(&sets));
        // The kernel may take its time to give memory back.
        let set = tokio::task::spawn_blocking(move || {
            let _sets = sets;
            set(&looked, to)
        });
        let set = set.await;
        let set = set.unwrap_or_else(|error| Err(Unset::Refused { why: error.to_string() }));
        if is_over || !matches!(set, Err(Unset::NotFallen { .. })) {
            return set;
        }
        let again = Instant::now() + Duration::from_millis(LOOK_AGAIN_MS);
        tokio::time::sleep_until(again.min(deadline)).await;
    }
}

/// Memory first: it is what may be refused.
fn try_to_set(group: &Group, to: Size) -> Result<(), Refused> {
    let before = limits(group);
    set_memory(group, before.memory_bytes, to.memory_bytes, margin_bytes)?;
    if to.cpu_milli == before.cpu_milli {
        return Ok(());
    }
    group.set_cpu(to.cpu_milli).inspect_err(|_| {
        if let Err(error) = set_memory(group, to.memory_bytes, before.memory_bytes, |_| 0) {
            tracing::warn!(%error, "a limit on memory could not be put back");
        }
    })
}

fn set_memory(
    group: &Group,
    now: Option<u64>,
    to: Option<u64>,
    margin_bytes: impl Fn(u64) -> u64,
) -> Result<(), Refused> {
    match to {
        _ if to == now => Ok(()),
        Some(bytes) if now.is_none_or(|now| bytes < now) => group.lower_memory(bytes, margin_bytes(bytes)),
        _ => group.raise_memory(to),
    }
}

/// How much is to lie between what is used and a limit that is lowered, in bytes.
pub(crate) fn margin_bytes(limit_bytes: u64) -> u64 {
    (limit_bytes / 1_000).saturating_mul(MARGIN_PERMILLE).max(MARGIN_BYTES_MIN)
}

/// A size as it is enforced.
pub(crate) fn enforced(size: register::Size) -> Size {
    Size { memory_bytes: size.memory_kib.map(|kib| u64::from(kib) << 10), cpu_milli: size.cpu_milli }
}

/// The same, as the register has it.
pub(crate) fn registered(size: Size) -> register::Size {
    let kib = |bytes: u64| u32::try_from(bytes >> 10).unwrap_or(u32::MAX);
    register::Size { memory_kib: size.memory_bytes.map(kib), cpu_milli: size.cpu_milli }
}

#[cfg(test)]
mod tests;
