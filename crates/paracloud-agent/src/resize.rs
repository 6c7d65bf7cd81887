//! Making a process larger or smaller while it runs: plain functions on its group, for whoever decided it.
//!
//! Larger at once. Smaller only once it *uses* less: what an application promises to give back is measured, and a limit that
//! would meet what it uses is not set. So nobody is killed by a limit that was lowered.

use paracloud_substrate::cgroup::{Group, NoGroup, Refused};
use paracloud_substrate::config::Size;
use std::time::Duration;
use tokio::time::Instant;

/// Between what is used and a limit that is lowered there is at least this share of the limit, in thousandths,
pub(crate) const MARGIN_PERMILLE: u64 = 50;
/// and at least so much, in bytes.
pub(crate) const MARGIN_BYTES_MIN: u64 = 1 << 20;
/// How often it is looked whether what is used has fallen, in milliseconds.
const LOOK_AGAIN_MS: u64 = 50;

/// What became of making it larger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grown {
    /// The limits are the new ones.
    Raised,
    /// The system refuses, or it would not be larger. The limits are as they were.
    Refused {
        /// Why, for people.
        why: String,
    },
    /// There is no group.
    NoGroup {
        /// Why.
        why: NoGroup,
    },
}

/// What became of making it smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shrunk {
    /// The limits are the new ones.
    Lowered,
    /// Its time is over, and it uses more than it was to. The limits are as they were.
    NotFallen {
        /// What it uses, in bytes, if that is known.
        usage_bytes: Option<u64>,
    },
    /// The system refuses. The limits are as they were.
    Refused {
        /// Why, for people.
        why: String,
    },
    /// There is no group.
    NoGroup {
        /// Why.
        why: NoGroup,
    },
}

/// Raises the limits of a group to a size. What the size leaves open stays as it is.
pub(crate) fn grow(group: &Group, to: Size) -> Grown {
    let raised = || {
        let cpu_before = group.usage().cpu_limit_milli;
        if let (Some(to), Some(limit)) = (to.memory_bytes, group.memory_limit_bytes())
            && to < limit
        {
            return Err(Refused::InUse { usage_bytes: group.memory_bytes(), limit_bytes: to });
        }
        if let Some(milli) = to.cpu_milli {
            group.set_cpu(Some(milli))?;
        }
        let memory = to.memory_bytes.map_or(Ok(()), |bytes| group.raise_memory(Some(bytes)));
        memory.inspect_err(|_| put_back(group, to, cpu_before))
    };
    match raised() {
        Ok(()) => Grown::Raised,
        Err(Refused::NoGroup(why)) => Grown::NoGroup { why },
        Err(Refused::InUse { .. }) => Grown::Refused { why: "it has a larger limit already".to_owned() },
        Err(other @ (Refused::Unmeasured { .. } | Refused::System { .. })) => {
            Grown::Refused { why: other.to_string() }
        }
    }
}

/// Waits until a group uses so little that its limits can be lowered to a size, at most this long, and lowers them. What the
/// size leaves open stays as it is. It may be dropped at any time: then either nothing has changed or all.
pub(crate) async fn shrink_when_fallen(group: &Group, to: Size, within: Duration) -> Shrunk {
    let deadline = Instant::now() + within;
    loop {
        let is_over = Instant::now() >= deadline;
        match lower(group, to) {
            Ok(()) => return Shrunk::Lowered,
            Err(Refused::InUse { usage_bytes, .. }) if is_over => return Shrunk::NotFallen { usage_bytes },
            Err(Refused::InUse { .. }) => {}
            Err(Refused::NoGroup(why)) => return Shrunk::NoGroup { why },
            Err(other @ (Refused::Unmeasured { .. } | Refused::System { .. })) => {
                return Shrunk::Refused { why: other.to_string() };
            }
        }
        let again = Instant::now() + Duration::from_millis(LOOK_AGAIN_MS);
        tokio::time::sleep_until(again.min(deadline)).await;
    }
}

/// Memory first: it is what may be refused.
fn lower(group: &Group, to: Size) -> Result<(), Refused> {
    let memory_before = group.memory_limit_bytes();
    if let Some(bytes) = to.memory_bytes {
        group.lower_memory(bytes, margin_bytes(bytes))?;
    }
    let cpu = to.cpu_milli.map_or(Ok(()), |milli| group.set_cpu(Some(milli)));
    cpu.inspect_err(|_| {
        // A larger limit is never refused for what is in use.
        if to.memory_bytes.is_some()
            && let Err(error) = group.raise_memory(memory_before)
        {
            tracing::warn!(%error, "a limit on memory could not be put back");
        }
    })
}

/// How much is to lie between what is used and a limit that is lowered, in bytes.
pub(crate) fn margin_bytes(limit_bytes: u64) -> u64 {
    (limit_bytes / 1_000).saturating_mul(MARGIN_PERMILLE).max(MARGIN_BYTES_MIN)
}

fn put_back(group: &Group, to: Size, cpu_before: Option<u32>) {
    if to.cpu_milli.is_some()
        && let Err(error) = group.set_cpu(cpu_before)
    {
        tracing::warn!(%error, "a limit on CPU time could not be put back");
    }
}

#[cfg(test)]
mod tests;
