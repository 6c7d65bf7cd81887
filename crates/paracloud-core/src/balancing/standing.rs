//! Whether an instance gets new requests.

use super::{PAUSE_MS_MAX, WARMUP_MS_MAX};
use serde::{Deserialize, Serialize};

/// How a backend stands, the best first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It takes new ones.
    #[default]
    Open,
    /// It pauses, or would before a request ended; or it is about to move.
    Pausing,
    /// Its requests wait at the gateway: it moves, or is between two processes.
    Parked,
    /// It is not ready.
    NotReady,
    /// It has never served: its requests wait at the gateway until it does.
    Absent,
    /// It is to end.
    Draining,
}

/// A pause, from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pause {
    /// When it begins, in microseconds; 0 if it has.
    pub begins_in_us: u64,
    /// When it ends.
    pub ends_in_us: u64,
}

/// It is not fully able yet, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cold {
    /// For how long that is so, in microseconds from now; at most [`WARMUP_MS_MAX`].
    pub ends_in_us: u64,
    /// The share of its capacity that it has until then; `None`: it has not said, and half is taken.
    pub capacity_permille: Option<u32>,
}

/// Less than this share of its capacity, in thousandths, is not believed of anybody who serves.
const CAPACITY_PERMILLE_MIN: u64 = 100;
/// The share of one that has not said it.
const CAPACITY_PERMILLE_UNKNOWN: u32 = 500;

impl Cold {
    /// The share of its capacity that it has, in thousandths.
    pub(super) fn permille(&self) -> u64 {
        let said = self.capacity_permille.unwrap_or(CAPACITY_PERMILLE_UNKNOWN);
        u64::from(said).clamp(CAPACITY_PERMILLE_MIN, 1_000)
    }
}

/// What is said of one instance, by itself, its agent or the register. Each word of an application is over with its
/// lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Said {
    pub(super) parked: bool,
    pub(super) absent: bool,
    pub(super) draining: bool,
    /// It is about to move: its requests are going to wait, nobody knows how long.
    pub(super) moving: bool,
    not_ready_until_us: Option<u64>,
    pause_us: Option<(u64, u64)>,
    /// And until when.
    cold: Option<(Cold, u64)>,
}

impl Said {
    /// What holds of another process of the instance too.
    pub(super) fn of_another(self) -> Self {
        let Self { parked, absent, draining, .. } = self;
        Self { parked, absent, draining, ..Self::default() }
    }

    pub(super) fn not_ready(&mut self, until_us: Option<u64>) {
        self.not_ready_until_us = until_us;
    }

    pub(super) fn pauses(&mut self, pause: Option<Pause>, now_us: u64) {
        self.pause_us = pause.map(|pause| {
            let from_us = now_us.saturating_add(pause.begins_in_us);
            let longest_us = u64::from(PAUSE_MS_MAX) * 1_000;
            let lasts_us = pause.ends_in_us.saturating_sub(pause.begins_in_us).min(longest_us);
            (from_us, from_us.saturating_add(lasts_us))
        });
    }

    pub(super) fn is_cold(&mut self, cold: Option<Cold>, now_us: u64) {
        let longest_us = u64::from(WARMUP_MS_MAX) * 1_000;
        self.cold = cold.map(|cold| (cold, now_us.saturating_add(cold.ends_in_us.min(longest_us))));
    }

    /// How it stands but for its pauses.
    pub(super) fn standing(&self, now_us: u64) -> Standing {
        let not_ready = self.not_ready_until_us.is_some_and(|until_us| now_us < until_us);
        if self.draining {
            Standing::Draining
        } else if self.absent {
            Standing::Absent
        } else if not_ready {
            Standing::NotReady
        } else if self.parked {
            Standing::Parked
        } else {
            Standing::Open
        }
    }

    /// Whoever is about to move pauses as long as anybody may, until that is over.
    pub(super) fn pause(&self, now_us: u64) -> Option<Pause> {
        if self.moving {
            return Some(Pause { begins_in_us: 0, ends_in_us: u64::from(PAUSE_MS_MAX) * 1_000 });
        }
        let (from_us, until_us) = self.pause_us.filter(|(_, until_us)| now_us < *until_us)?;
        Some(Pause { begins_in_us: from_us.saturating_sub(now_us), ends_in_us: until_us - now_us })
    }

    pub(super) fn cold(&self, now_us: u64) -> Option<Cold> {
        let (cold, until_us) = self.cold.filter(|(_, until_us)| now_us < *until_us)?;
        Some(Cold { ends_in_us: until_us - now_us, ..cold })
    }
}
