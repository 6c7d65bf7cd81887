//! How requests come.

/// A rate over time, in thousandths of a request a second; times in milliseconds.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Always the same.
    Constant(u64),
    /// One rate, then for a while another one, then the first again.
    Step {
        /// Before and after.
        low: u64,
        /// In between.
        high: u64,
        /// When it begins.
        at_ms: u64,
        /// How long it lasts.
        for_ms: u64,
        /// How long it takes to get there.
        ramp_ms: u64,
    },
    /// A day: the square of a sine.
    Day {
        /// At night.
        low: u64,
        /// At noon.
        high: u64,
        /// How long a day is.
        day_ms: u64,
    },
    /// Half of the time one rate, half of it another one.
    Square {
        /// One.
        low: u64,
        /// The other one.
        high: u64,
        /// How long each.
        half_ms: u64,
    },
    /// From each of these times on this rate.
    Stairs(&'static [(u64, u64)]),
}

impl Shape {
    /// The rate at a time.
    pub fn rate_milli(&self, now_ms: u64) -> u64 {
        match *self {
            Self::Constant(rate) => rate,
            Self::Step { low, high, at_ms, for_ms, ramp_ms } => match now_ms.checked_sub(at_ms) {
                Some(since_ms) if since_ms < ramp_ms => low + (high - low) * since_ms / ramp_ms,
                Some(since_ms) if since_ms < for_ms => high,
                Some(_) | None => low,
            },
            Self::Day { low, high, day_ms } => low + share(high - low, now_ms, day_ms),
            Self::Square { low, high, half_ms } => {
                if (now_ms / half_ms).is_multiple_of(2) {
                    low
                } else {
                    high
                }
            }
            Self::Stairs(stairs) => {
                stairs.iter().rev().find(|(at_ms, _)| *at_ms <= now_ms).map_or(0, |(_, rate)| *rate)
            }
        }
    }

    /// Where a step begins, and how high it is.
    pub(crate) fn step(&self) -> Option<(u64, u64)> {
        match *self {
            Self::Step { at_ms, high, .. } => Some((at_ms, high)),
            Self::Constant(_) | Self::Day { .. } | Self::Square { .. } | Self::Stairs(_) => None,
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between nothing and the whole")]
#[expect(clippy::cast_precision_loss, reason = "milliseconds of days")]
fn share(whole: u64, now_ms: u64, day_ms: u64) -> u64 {
    let half_turn = std::f64::consts::PI * now_ms as f64 / day_ms as f64;
    (whole as f64 * half_turn.sin().powi(2)) as u64
}
