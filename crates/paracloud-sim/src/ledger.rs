//! What clients did and saw: the only judge of whether anything was lost or doubled.

use paracloud_core::ids::GatewayId;
use std::collections::{BTreeMap, BTreeSet};

/// A write of a client. Those with an even id carry it as `Idempotency-Key`, so that sending it again is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u8);

impl RequestId {
    /// Whether the application's reply cache knows it again.
    pub fn has_key(self) -> bool {
        self.0.is_multiple_of(2)
    }
}

/// What a client knows of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Not sent yet.
    Unsent,
    /// Sent, no answer yet.
    Sent,
    /// Acknowledged.
    Acknowledged,
    /// Answered: surely not applied.
    Refused,
    /// No answer will come.
    Unknown,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ledger {
    requests: BTreeMap<RequestId, Standing>,
    acknowledged: BTreeSet<RequestId>,
    /// Applied by a process that died, and held by nobody else where it counts.
    lost_by_crash: BTreeSet<RequestId>,
    tickets: u32,
}

impl Ledger {
    /// A ledger of `count` requests to be sent.
    pub fn new(count: u8) -> Self {
        Self {
            requests: (0..count).map(|id| (RequestId(id), Standing::Unsent)).collect(),
            acknowledged: BTreeSet::new(),
            lost_by_crash: BTreeSet::new(),
            tickets: 0,
        }
    }

    /// Requests that stand so.
    pub fn standing(&self, standing: Standing) -> impl Iterator<Item = RequestId> + '_ {
        self.requests.iter().filter(move |(_, it)| **it == standing).map(|(request, _)| *request)
    }

    /// Writes that died with a process of their owner.
    pub fn lost_by_crash(&self) -> usize {
        self.lost_by_crash.intersection(&self.acknowledged).count()
    }

    pub(crate) fn send(&mut self, request: RequestId, _through: GatewayId) -> u32 {
        self.requests.insert(request, Standing::Sent);
        self.tickets += 1;
        self.tickets
    }

    pub(crate) fn acknowledged(&mut self, request: RequestId) {
        self.requests.insert(request, Standing::Acknowledged);
        self.acknowledged.insert(request);
    }

    pub(crate) fn refused(&mut self, request: RequestId) {
        self.end(request, Standing::Refused);
    }

    pub(crate) fn unknown(&mut self, request: RequestId) {
        self.end(request, Standing::Unknown);
    }

    fn end(&mut self, request: RequestId, standing: Standing) {
        // A second try may have been answered before the first one failed.
        if !self.acknowledged.contains(&request) {
            self.requests.insert(request, standing);
        }
    }

    pub(crate) fn bury(&mut self, requests: impl Iterator<Item = RequestId>) {
        self.lost_by_crash.extend(requests);
    }

    /// What is wrong with the state of a process that serves.
    pub(crate) fn check(&self, state: &BTreeMap<RequestId, u8>) -> Option<String> {
        if let Some((request, times)) = state.iter().find(|(_, times)| **times > 1) {
            return Some(format!("{request:?} was applied {times} times"));
        }
        self.acknowledged
            .iter()
            .find(|request| !state.contains_key(request) && !self.lost_by_crash.contains(request))
            .map(|request| format!("acknowledged {request:?} is lost"))
    }
}
