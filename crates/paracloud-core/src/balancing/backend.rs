//! What a gateway knows of one instance.

use super::BackendId;
use super::claim::{Claim, Report};
use super::debt::{DOUBT_HALF_US, Debt, FAILURE_HALF_US};
use super::inputs::{Inputs, Measured};
use super::latency::{Latency, Sample};
use super::standing::Said;

/// A request that was sent to an instance: handed back when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sent {
    /// Where.
    pub id: BackendId,
    /// To which of the processes that the instance had.
    pub(super) process: u32,
    pub(super) at_us: u64,
    /// What was in flight there, itself included.
    pub(super) in_flight: u32,
    pub(super) places: Option<u32>,
    /// It went there because of what the instance says.
    pub(super) was_promised: bool,
}

impl Sent {
    /// How long ago that was, in microseconds.
    pub fn elapsed_us(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(self.at_us)
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// The application answered: its answer began then, in microseconds.
    Answered {
        /// When.
        at_us: u64,
    },
    /// It did not, or with an error of its own.
    Failed,
    /// Its client went away, or it never got there.
    Left,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Backend {
    pub(super) id: BackendId,
    process: u32,
    own: u32,
    /// What was in flight, times for how long, since the last report: in request-microseconds.
    own_sum: u64,
    own_since_us: u64,
    own_changed_us: u64,
    latency: Latency,
    debt: Debt,
    doubt: Debt,
    claim: Claim,
    pub(super) said: Said,
}

impl Backend {
    pub(super) fn new(id: BackendId, process: u32, now_us: u64) -> Self {
        Self {
            id,
            process,
            own: 0,
            own_sum: 0,
            own_since_us: now_us,
            own_changed_us: now_us,
            latency: Latency::default(),
            debt: Debt::new(FAILURE_HALF_US),
            doubt: Debt::new(DOUBT_HALF_US),
            claim: Claim::default(),
            said: Said::default(),
        }
    }

    /// Another process is the instance from now on: nothing is known of it yet. What is on its way to the one before
    /// does not count any more.
    pub(super) fn turn(&mut self, process: u32, now_us: u64) {
        let said = self.said.of_another();
        *self = Self { said, ..Self::new(self.id, process, now_us) };
    }

    pub(super) fn own(&self) -> u32 {
        self.own
    }

    fn count(&mut self, now_us: u64) {
        let elapsed_us = now_us.saturating_sub(self.own_changed_us);
        self.own_sum = self.own_sum.saturating_add(u64::from(self.own).saturating_mul(elapsed_us));
        self.own_changed_us = now_us;
    }

    pub(super) fn sent(&mut self, places: Option<u32>, was_promised: bool, now_us: u64) -> Sent {
        self.count(now_us);
        self.own = self.own.saturating_add(1);
        let in_flight = self.own;
        Sent { id: self.id, process: self.process, at_us: now_us, in_flight, places, was_promised }
    }

    /// `typical_us`: how long requests take at its peers.
    pub(super) fn ended(&mut self, sent: Sent, end: End, typical_us: u64, now_us: u64) {
        if sent.process != self.process {
            return;
        }
        self.count(now_us);
        self.own = self.own.saturating_sub(1);
        match end {
            End::Answered { at_us } => {
                let took_us = at_us.saturating_sub(sent.at_us);
                let sample = Sample { took_us, in_flight: sent.in_flight, places: sent.places };
                self.latency.take(sample, now_us);
                if sent.was_promised && took_us > 2 * typical_us {
                    self.doubt.add(now_us);
                }
            }
            // A fast error says nothing about how long an answer takes.
            End::Failed => self.debt.add(now_us),
            End::Left => {}
        }
    }

    pub(super) fn report(&mut self, report: Report, now_us: u64) {
        self.count(now_us);
        let elapsed_us = now_us.saturating_sub(self.own_since_us);
        let own_milli = match elapsed_us {
            0 => u64::from(self.own) * 1_000,
            elapsed_us => self.own_sum.saturating_mul(1_000) / elapsed_us,
        };
        (self.own_sum, self.own_since_us) = (0, now_us);
        self.claim.take(report, own_milli, now_us);
    }

    pub(super) fn unreport(&mut self) {
        self.claim = Claim::default();
    }

    pub(super) fn inputs(&self, now_us: u64) -> Inputs {
        let latency = &self.latency;
        Inputs {
            id: self.id,
            own: self.own,
            debt_milli: self.debt.milli(now_us),
            doubt_milli: self.doubt.milli(now_us),
            answered: latency.answered,
            measured: (latency.answered > 0).then(|| Measured {
                mean_us: latency.mean_us(),
                deviation_us: latency.deviation_us(),
                service_us: latency.service_us(),
                in_flight_milli: latency.in_flight_milli(),
                age_us: latency.age_us(now_us),
            }),
            claimed: self.claim.now(now_us),
            standing: self.said.standing(now_us),
            pause: self.said.pause(now_us),
            cold: self.said.cold(now_us),
        }
    }
}
