//! How long requests take at one instance.
//!
//! Moving averages (Jacobson 1988, as RFC 6298 has it for round trips; Finagle and Linkerd balance by one), in sixteenths
//! of a microsecond: `mean += (sample - mean) / 8` if the sample is longer, `/ 16` if it is shorter, so that what becomes
//! slow is seen sooner than what becomes fast; `deviation += (|sample - mean| - deviation) / 16`. Beside the time itself
//! runs the *service* time: what a request would have taken without a queue, `time * places / max(places, in flight)`, by
//! what was in flight when it was sent.
//!
//! A figure that nobody renews goes towards that of its peers, half of the way each second: an instance that was slow once
//! is tried again.

use super::left_permille;

/// Half of what sets it apart from its peers is forgotten in this time without a sample, in microseconds.
const LATENCY_HALF_US: u64 = 1_000_000;
/// Samples are cut to this, in microseconds.
const SAMPLE_US_MAX: u64 = 60_000_000;
/// More answers are not counted: whoever gave so many is known.
const ANSWERED_MAX: u32 = 255;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Latency {
    /// In sixteenths of a microsecond.
    mean: u64,
    deviation: u64,
    service: u64,
    /// What was in flight when the requests of the mean were sent, in sixteenths of a thousandth.
    in_flight: u64,
    at_us: u64,
    pub(super) answered: u32,
}

/// One request that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) took_us: u64,
    /// What was in flight when it was sent, itself included.
    pub(super) in_flight: u32,
    /// How many the instance works on at once, if that is known.
    pub(super) places: Option<u32>,
}

impl Latency {
    pub(super) fn take(&mut self, sample: Sample, now_us: u64) {
        let took = sample.took_us.min(SAMPLE_US_MAX) << 4;
        let in_flight = u64::from(sample.in_flight.max(1));
        let service = match sample.places {
            Some(places) => took * u64::from(places) / u64::from(places).max(in_flight),
            None => took,
        };
        let in_flight = (in_flight.min(1 << 20) * 1_000) << 4;
        self.at_us = now_us;
        self.answered = (self.answered + 1).min(ANSWERED_MAX);
        if self.answered == 1 {
            (self.mean, self.deviation, self.service, self.in_flight) = (took, took / 2, service, in_flight);
            return;
        }
        self.deviation = towards(self.deviation, took.abs_diff(self.mean), 16, 16);
        self.mean = towards(self.mean, took, 8, 16);
        self.service = towards(self.service, service, 8, 16);
        self.in_flight = towards(self.in_flight, in_flight, 8, 16);
    }

    pub(super) fn mean_us(&self) -> u64 {
        self.mean >> 4
    }

    pub(super) fn deviation_us(&self) -> u64 {
        self.deviation >> 4
    }

    pub(super) fn service_us(&self) -> u64 {
        self.service >> 4
    }

    pub(super) fn in_flight_milli(&self) -> u64 {
        self.in_flight >> 4
    }

    pub(super) fn age_us(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(self.at_us)
    }
}

fn towards(mean: u64, sample: u64, up: u64, down: u64) -> u64 {
    if sample > mean { mean + (sample - mean) / up } else { mean - (mean - sample) / down }
}

/// A figure of one, as it counts after nobody renewed it for so long, beside the same of its peers.
pub(super) fn forgotten(figure_us: u64, typical_us: u64, age_us: u64) -> u64 {
    let left = left_permille(age_us, LATENCY_HALF_US);
    (figure_us * left + typical_us * (1_000 - left)) / 1_000
}

/// A figure that is within half of its peers' is theirs: less is noise, and whoever follows noise sends everything to
/// whoever was lucky last.
pub(super) fn level(figure_us: u64, typical_us: u64) -> u64 {
    let is_noise = figure_us * 2 <= typical_us * 3 && figure_us * 3 >= typical_us * 2;
    if is_noise { typical_us } else { figure_us }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(samples: &[u64], in_flight: u32, places: Option<u32>) -> Latency {
        let mut latency = Latency::default();
        samples.iter().for_each(|took_us| latency.take(Sample { took_us: *took_us, in_flight, places }, 0));
        latency
    }

    #[test]
    fn it_comes_to_what_requests_take_and_sooner_upwards() {
        let steady = after(&[10_000; 100], 1, None);
        assert_eq!((steady.mean_us(), steady.service_us()), (10_000, 10_000));
        assert!(steady.deviation_us() < 100);
        let mut samples = [10_000; 20];
        samples[10..].fill(40_000);
        let rising = after(&samples, 1, None).mean_us() - 10_000;
        samples.reverse();
        let falling = 40_000 - after(&samples, 1, None).mean_us();
        assert!(rising > falling, "{rising} {falling}");
    }

    #[test]
    fn what_was_spent_in_a_queue_is_no_service() {
        let queued = after(&[40_000; 10], 8, Some(2));
        assert_eq!((queued.mean_us(), queued.service_us()), (40_000, 10_000));
    }

    #[test]
    fn what_nobody_renews_comes_to_what_its_peers_have() {
        assert_eq!(forgotten(200, 100, 0), 200);
        assert_eq!(forgotten(200, 100, LATENCY_HALF_US), 150);
        assert_eq!(forgotten(200, 100, 20 * LATENCY_HALF_US), 100);
    }
}
