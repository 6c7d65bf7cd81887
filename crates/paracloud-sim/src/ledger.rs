//! What clients did and saw: the only judge of whether anything was lost or doubled.

use paracloud_core::ids::GatewayId;
use std::collections::{BTreeMap, BTreeSet};

/// A write of a client. Those with an even id carry it as `Idempotency-Key`, so that sending it again is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u16);

impl RequestId {
    /// Whether the application's reply cache knows it again.
    pub fn has_key(self) -> bool {
        self.0.is_multiple_of(2)
    }

    /// Whether it is of a session that lives in the instance.
    pub fn belongs(self) -> bool {
        self.0.is_multiple_of(3)
    }

    /// Whether a gateway keeps all of its body until it is answered. One in four is too large for that, one of them with
    /// a key and one without.
    pub fn is_kept_whole(self) -> bool {
        !matches!(self.0 % 8, 3 | 6)
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
    /// Those without a key that a process applied: nobody may apply them again.
    applied_once: BTreeSet<RequestId>,
    /// Held by an owner that died, when the next one had to start with nothing.
    lost_by_crash: BTreeSet<RequestId>,
    /// The same, of an instance that is moved by a restart: nothing was to be carried over.
    left_behind: BTreeSet<RequestId>,
    tickets: u32,
}

impl Ledger {
    /// A ledger of requests to be sent.
    pub fn new(requests: impl IntoIterator<Item = RequestId>) -> Self {
        Self {
            requests: requests.into_iter().map(|request| (request, Standing::Unsent)).collect(),
            acknowledged: BTreeSet::new(),
            applied_once: BTreeSet::new(),
            lost_by_crash: BTreeSet::new(),
            left_behind: BTreeSet::new(),
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

    /// Acknowledged writes that a move by restart left behind.
    pub fn left_behind(&self) -> usize {
        self.left_behind.intersection(&self.acknowledged).count()
    }

    /// Writes that a client sent and that ended in some way or are still open.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether no client sent anything.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
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

    /// Whether two requests were lost in the same ways.
    pub(crate) fn is_lost_alike(&self, one: RequestId, other: RequestId) -> bool {
        [&self.lost_by_crash, &self.left_behind]
            .iter()
            .all(|lost| lost.contains(&one) == lost.contains(&other))
    }

    /// A request is as if it had never been sent.
    pub(crate) fn forget(&mut self, request: RequestId) {
        self.requests.insert(request, Standing::Unsent);
        for seen in
            [&mut self.acknowledged, &mut self.applied_once, &mut self.lost_by_crash, &mut self.left_behind]
        {
            seen.remove(&request);
        }
    }

    /// What was owed for `past` is owed for nobody any more; from now on it is another name of an acknowledged request.
    pub(crate) fn rename(&mut self, request: RequestId, past: RequestId) {
        for lost in [&mut self.lost_by_crash, &mut self.left_behind] {
            lost.remove(&past);
            if lost.remove(&request) {
                lost.insert(past);
            }
        }
        self.forget(request);
    }

    /// No ticket is in use: their numbers begin anew.
    pub(crate) fn restart_tickets(&mut self) {
        self.tickets = 0;
    }

    /// A process changed its state for a request. What is wrong with that, if anything is.
    pub(crate) fn applied(&mut self, request: RequestId) -> Option<String> {
        // It may have died with one owner and is held by the next.
        self.lost_by_crash.remove(&request);
        self.left_behind.remove(&request);
        let again = !request.has_key() && !self.applied_once.insert(request);
        again.then(|| format!("{request:?} has no key and was applied twice"))
    }

    /// An owner that held these died, and the next one starts with nothing.
    pub(crate) fn bury(&mut self, held: BTreeSet<RequestId>, by_consent: bool) {
        let grave = if by_consent { &mut self.left_behind } else { &mut self.lost_by_crash };
        grave.extend(held);
    }

    /// What is wrong with the state of a process that serves.
    pub(crate) fn check(&self, state: &BTreeMap<RequestId, u8>) -> Option<String> {
        if let Some((request, times)) = state.iter().find(|(_, times)| **times > 1) {
            return Some(format!("{request:?} was applied {times} times"));
        }
        let refused = self.standing(Standing::Refused);
        if let Some(request) = refused.filter(|it| !it.has_key()).find(|it| self.applied_once.contains(it)) {
            return Some(format!("{request:?} was called not applied, and is"));
        }
        let known = |request: &RequestId| {
            state.contains_key(request)
                || self.lost_by_crash.contains(request)
                || self.left_behind.contains(request)
        };
        self.acknowledged
            .iter()
            .find(|request| !known(request))
            .map(|request| format!("acknowledged {request:?} is lost"))
    }
}
