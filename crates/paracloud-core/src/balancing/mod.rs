//! Which instance of an app a request goes to.
//!
//! ```text
//!  a gateway's own: in flight, latency, failures ──┐
//!  reports of the application, as leases ──────────┼─▶ Inputs ─▶ Fleet ─▶ Judged ─▶ two or more drawn ─▶ the least
//!  what it says of itself: pauses, warm-up, ready ─┘   (raw)     (median)  (bounded)    by weight          costly
//! ```
//!
//! A [`Balancer`] holds what one gateway knows of the instances of one app. It has no clock and no dice: the time in
//! microseconds and a random number come with each call, all arithmetic is in integers and all orders are total, so the
//! same calls give the same choices everywhere. [`Balancer::record`] chooses and says why: a [`Record`] has all that went
//! in, and [`Record::replay`] decides anew from it.
//!
//! # The rules
//!
//! 1. **What may be chosen.** An instance that drains, is not ready, whose requests wait at the gateway, or that pauses
//!    before a request would end, gets nothing new while there is another ([`Standing`]). If there is none, the least
//!    bad is chosen, and the record says so.
//! 2. **Hot and cold.** An instance is hot if one more request would have to wait in it: it has as many as it works on at
//!    once. Of those compared a cold one goes before a hot one; of cold ones that with the least expected time, times one
//!    plus the share of its places that is taken; of hot ones that with the least expected time.
//! 3. **How many are compared.** Up to [`COMPARED_MAX`] by one gateway alone, which knows what it has sent, or if every
//!    report is fresh; by one of several that part of them, and two at least, drawn by weight. Old knowledge that is shared
//!    sends everybody to the same instance if all are compared; random ones do not.
//! 4. **Nobody reports.** The one with less in flight of two that are drawn by weight.
//! 5. **What an application says refines what the gateway sees**, by a factor of [`TRUST`] at most, up or down; each
//!    bound that cut something is in the record ([`Clamp`]). What is said is believed whole for half of its lease, then
//!    ever less, and less for each request that went there because of it and took twice as long as elsewhere. What is
//!    not said is taken to be as with its peers, never as zero and never as full.
//! 6. **A failure counts like a request that is still in flight**, and is forgotten with a half-life of
//!    [`FAILURE_HALF_US`]: whoever fails fast draws no more than whoever hangs.
//! 7. **A new instance** that states its warm-up has the capacity that it states until then. One that states nothing may have one
//!    request more at once than it has answered: it is known after a few round trips, and no crowd meets it before.
//!    There is no ramp in seconds: how long an unknown program warms up, nobody knows, and its latency shows it soon.
//! 8. **A pause** is kept to before it begins: what would not end until then is not sent there. One in
//!    [`PAUSE_SHARE`] may pause at once; if more say so, each is avoided in proportion. It is over with its lease.

mod backend;
mod balancer;
mod choice;
mod claim;
mod debt;
mod dice;
mod fleet;
mod inputs;
mod judged;
mod latency;
mod picture;
mod policy;
mod record;
mod standing;
#[cfg(test)]
mod tests;

pub use backend::{End, Sent};
pub use balancer::{Balancer, Chosen};
pub use choice::{Regime, Rule};
pub use claim::{Claimed, Report};
pub use debt::FAILURE_HALF_US;
pub use fleet::Fleet;
pub use inputs::{Inputs, Measured};
pub use judged::{Clamp, Clamps, Judged};
pub use policy::{Policy, Setting};
pub use record::Record;
pub use standing::{Cold, Pause, Standing};

use core::fmt;
/// The longest pause that is kept to and the longest lease of a report, in milliseconds: what is said to last longer is not
/// believed.
pub use paci::bounds::{PAUSE_MS_MAX, REPORT_MS_MAX};
use serde::{Deserialize, Serialize};

/// By how much what an application says may differ from what the gateway sees: a quarter of it at least, four times at
/// most.
pub const TRUST: u64 = 4;
/// The most instances that are compared for one request.
pub const COMPARED_MAX: usize = 16;
/// One in so many instances may pause at once.
pub const PAUSE_SHARE: u32 = 4;
/// A pause is kept to this long before it begins at most, in microseconds, however long requests take.
pub const PAUSE_LEAD_US_MAX: u64 = 2_000_000;
/// The longest warm-up that is believed, in milliseconds.
pub const WARMUP_MS_MAX: u32 = 600_000;
/// A report is fresh for so long, in microseconds. With a few gateways a full view that is no older is better than two
/// random choices; one that is a second old is worse than none.
pub const FRESH_US: u64 = 50_000;
/// What a gateway has computed of all instances holds for so long, in microseconds, if nothing else changes it.
pub const PICTURE_US: u64 = 1_000;
/// An ordinary weight.
pub const WEIGHT_PERMILLE: u32 = 1_000;

/// One instance, as a balancer knows it: numbered by whoever keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackendId(pub u32);

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What is left of something after a time, in thousandths, if half of it goes in `half_us`. Between two halvings it goes
/// in a straight line.
fn left_permille(elapsed_us: u64, half_us: u64) -> u64 {
    let halvings = elapsed_us / half_us;
    if halvings >= 10 {
        return 0;
    }
    let left = 1_000 >> halvings;
    left - left * (elapsed_us % half_us) / half_us / 2
}
