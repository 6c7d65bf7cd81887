//! What all clients of a run share: the ways to the gateways, the ledger, the meter, and whether to send.

use crate::config::{Config, IN_FLIGHT_MAX};
use crate::ledger::Ledger;
use crate::loss::Requests;
use crate::meter::Meter;
use crate::pool::Pool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{Semaphore, watch};

/// Whether clients send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// They send.
    Sending,
    /// They finish what they have begun, and compare. The number tells one settling from the next.
    Settling(u32),
    /// They finish and leave.
    Leaving,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) config: Config,
    /// A number of this run, so that its sessions and keys are none of another's.
    pub(crate) run: u64,
    pools: Vec<Arc<Pool>>,
    ledger: Mutex<Ledger>,
    meter: Mutex<Meter>,
    /// Since the last audit.
    requests: Mutex<Requests>,
    /// One permit a request that is outstanding.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) mood: watch::Sender<Mood>,
}

impl Clients {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            pools: config.gateways.iter().map(|address| Arc::new(Pool::new(*address))).collect(),
            ledger: Mutex::new(Ledger::from_baseline(&[])),
            meter: Mutex::new(Meter::new(Instant::now())),
            requests: Mutex::default(),
            room: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            mood: watch::Sender::new(Mood::Sending),
            run: rand::random(),
            config,
        }
    }

    /// The way through a gateway; numbers beyond the last begin anew.
    pub(crate) fn pool(&self, gateway: usize) -> &Arc<Pool> {
        &self.pools[gateway % self.pools.len()]
    }

    /// The ways through all gateways, from one of them on.
    pub(crate) fn pools_from(&self, gateway: usize) -> Vec<Arc<Pool>> {
        (gateway..gateway + self.pools.len()).map(|gateway| self.pool(gateway).clone()).collect()
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The requests that are kept; `None`: none are.
    pub(crate) fn requests(&self) -> Option<MutexGuard<'_, Requests>> {
        let requests = || self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        self.config.keeps_requests.then(requests)
    }

    pub(crate) fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
