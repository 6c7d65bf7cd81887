//! All that goes into a decision of one instance, relative to the moment of it.

use super::BackendId;
use super::claim::Claimed;
use super::standing::{Cold, Pause, Standing};
use serde::{Deserialize, Serialize};

/// What a gateway measured of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Measured {
    /// How long requests took lately, in microseconds.
    pub mean_us: u64,
    /// How far they are from it, on average.
    pub deviation_us: u64,
    /// How long they would have taken without a queue.
    pub service_us: u64,
    /// What the gateway had in flight there when they were sent, in thousandths.
    pub in_flight_milli: u64,
    /// How old the last sample is.
    pub age_us: u64,
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Inputs {
    /// Which.
    pub id: BackendId,
    /// What the gateway has in flight there.
    pub own: u32,
    /// Its failures, in thousandths of a request in flight.
    pub debt_milli: u64,
    /// Requests that went there because of what it says and took more than twice as long as at its peers, in thousandths.
    pub doubt_milli: u64,
    /// Answers so far, up to 255.
    pub answered: u32,
    /// What they took.
    pub measured: Option<Measured>,
    /// Its report, if one counts.
    pub claimed: Option<Claimed>,
    /// How it stands but for its pauses.
    pub standing: Standing,
    /// A pause that it announced and that is not over.
    pub pause: Option<Pause>,
    /// A warm-up that is not over.
    pub cold: Option<Cold>,
}

impl Inputs {
    /// Without anything that it says of its load and of what it will do.
    pub(super) fn unsaid(self) -> Self {
        Self { claimed: None, pause: None, cold: None, ..self }
    }
}
