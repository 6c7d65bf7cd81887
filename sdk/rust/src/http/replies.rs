//! The reply cache: a request with an `Idempotency-Key` is applied once, however often it is sent.
//!
//! Results are records of a container of their own: they move with the state and the digest covers them. A result is
//! stored under the guard under which its change was made, so that a seal meets both or neither.

use super::reply::{Reply, Said};
use crate::guard::Guard;
use crate::state::record::Record;
use crate::state::table::{Change, Table};
use bytes::Bytes;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Name of the container of the results.
pub(crate) const CONTAINER: &str = "paci.replies";

/// How long results are kept. A program states this to its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyLimits {
    /// At most so many; one more, and the oldest is forgotten.
    pub entries_max: usize,
    /// At most so many bytes of them.
    pub bytes_max: usize,
    /// At most so long. After a move it counts anew.
    pub kept: Duration,
}

impl Default for ReplyLimits {
    /// 100 000 results, 64 MiB, ten minutes.
    fn default() -> Self {
        Self { entries_max: 100_000, bytes_max: 64 * 1024 * 1024, kept: Duration::from_secs(600) }
    }
}

/// The reply cache.
#[derive(Debug)]
pub(crate) struct Replies {
    table: Arc<Table>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Requests being worked on: fingerprint, and what ends with the work.
    working: HashMap<Bytes, ([u8; 16], watch::Receiver<()>)>,
    /// The stored results, oldest first.
    order: VecDeque<Entry>,
    /// Bytes of all of them.
    bytes: usize,
    number: u64,
    limits: ReplyLimits,
}

#[derive(Debug)]
struct Entry {
    stored: Instant,
    key: Bytes,
    bytes: usize,
}

/// What a request with a key has to do.
pub(crate) enum Begun {
    /// Nothing: this is the result.
    Stored(Said),
    /// Nothing: the key belongs to another request.
    Other,
    /// Wait for the end of this and ask again.
    Wait(watch::Receiver<()>),
    /// Its work.
    Fresh(Claim),
}

/// A key that is being worked on. Dropped without a result it is free again.
pub(crate) struct Claim {
    replies: Arc<Replies>,
    key: Bytes,
    fingerprint: [u8; 16],
    _end: watch::Sender<()>,
}

impl Replies {
    pub(crate) fn new(table: Arc<Table>, limits: ReplyLimits) -> Self {
        Self { table, inner: Mutex::new(Inner { limits, ..Inner::default() }) }
    }

    pub(crate) fn limit(&self, limits: ReplyLimits) {
        self.lock().limits = limits;
    }

    /// Begins a request.
    pub(crate) fn begin(self: &Arc<Self>, key: &Bytes, fingerprint: [u8; 16]) -> Begun {
        let mut inner = self.lock();
        self.forget_old(&mut inner);
        if let Some((of, end)) = inner.working.get(key) {
            return if *of == fingerprint { Begun::Wait(end.clone()) } else { Begun::Other };
        }
        let stored = self.table.get(self.table.hash(key), key);
        if let Some(reply) = stored.and_then(|record| Reply::decode(&record.value())) {
            return if reply.fingerprint == fingerprint { Begun::Stored(reply.said) } else { Begun::Other };
        }
        let (sender, end) = watch::channel(());
        inner.working.insert(key.clone(), (fingerprint, end));
        Begun::Fresh(Claim { replies: self.clone(), key: key.clone(), fingerprint, _end: sender })
    }

    /// What was loaded is served from now on, and the state has this position: every stored result has a lower number.
    pub(crate) fn installed(&self, position: u64) {
        let mut inner = self.lock();
        inner.number = inner.number.max(position);
    }

    /// Finds what was loaded, so that it is forgotten in its turn; its age counts anew. It takes a while and can be done
    /// while requests are served.
    pub(crate) fn find_loaded(&self) {
        let mut found = Vec::new();
        self.table.each(|record| {
            let number = Reply::number(&record.value()).unwrap_or(0);
            found.push((number, Bytes::copy_from_slice(record.key()), record.as_bytes().len()));
        });
        found.sort_unstable_by_key(|(number, ..)| *number);
        let mut inner = self.lock();
        let newer: HashSet<Bytes> = inner.order.iter().map(|entry| entry.key.clone()).collect();
        let stored = Instant::now();
        for (_, key, bytes) in found.into_iter().rev().filter(|(_, key, _)| !newer.contains(key)) {
            inner.bytes += bytes;
            inner.order.push_front(Entry { stored, key, bytes });
        }
    }

    fn store(&self, claim: &Claim, said: Said) {
        let mut inner = self.lock();
        inner.number += 1;
        let reply = Reply { fingerprint: claim.fingerprint, number: inner.number, said };
        let record = Record::new(&claim.key, &reply.encode(), &mut Vec::new());
        let record = record.expect("a result is far smaller than a record may be");
        let bytes = record.as_bytes().len();
        self.change(Change { record, live: true });
        inner.bytes += bytes;
        inner.order.push_back(Entry { stored: Instant::now(), key: claim.key.clone(), bytes });
        self.forget_old(&mut inner);
    }

    /// Deletes results that are too old or too many. Called under a guard.
    fn forget_old(&self, inner: &mut Inner) {
        while let Some(oldest) = inner.order.front() {
            let limits = inner.limits;
            let few = inner.order.len() <= limits.entries_max && inner.bytes <= limits.bytes_max;
            if few && oldest.stored.elapsed() <= limits.kept {
                return;
            }
            if let Some(Entry { key, bytes, .. }) = inner.order.pop_front() {
                inner.bytes -= bytes;
                let record = Record::new(&key, &[], &mut Vec::new()).expect("a key has at most 128 bytes");
                self.change(Change { record, live: false });
            }
        }
    }

    fn change(&self, change: Change) {
        let _writer = self.table.writer();
        self.table.apply(&[change]);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Stores the result; the key is answered with it from now on. Under the guard of the request.
    pub(crate) fn store(self, said: Said, guard: &Guard) {
        guard.note_change();
        self.replies.store(&self, said);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.replies.lock().working.remove(&self.key);
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use crate::gate::Gate;
    use http::{HeaderMap, StatusCode};

    fn replies(limits: ReplyLimits) -> Arc<Replies> {
        Arc::new(Replies::new(Arc::new(Table::new(CONTAINER)), limits))
    }

    fn said(body: &'static str) -> Said {
        Said::Whole {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    fn guard() -> Guard {
        Guard::enter(&Arc::new(Gate::new(true)), "test").expect("the gate is open")
    }

    fn claim(replies: &Arc<Replies>, key: &'static str) -> Claim {
        let Begun::Fresh(claim) = replies.begin(&Bytes::from_static(key.as_bytes()), [1; 16]) else {
            panic!("the key {key} is free")
        };
        claim
    }

    #[test]
    fn a_key_has_one_result_and_belongs_to_one_request() {
        let replies = replies(ReplyLimits::default());
        let key = Bytes::from_static(b"k");
        let working = claim(&replies, "k");
        assert!(matches!(replies.begin(&key, [1; 16]), Begun::Wait(_)));
        assert!(matches!(replies.begin(&key, [2; 16]), Begun::Other));
        working.store(said("done"), &guard());
        assert!(matches!(replies.begin(&key, [1; 16]), Begun::Stored(found) if found == said("done")));
        assert!(matches!(replies.begin(&key, [2; 16]), Begun::Other));
    }

    #[test]
    fn a_claim_that_is_dropped_frees_its_key() {
        let replies = replies(ReplyLimits::default());
        drop(claim(&replies, "k"));
        drop(claim(&replies, "k"));
        assert_eq!(replies.table.held().records, 0);
    }

    #[test]
    fn the_oldest_results_are_forgotten_and_the_digest_with_them() {
        let replies = replies(ReplyLimits { entries_max: 2, ..ReplyLimits::default() });
        for key in ["a", "b", "c"] {
            claim(&replies, key).store(said("done"), &guard());
        }
        assert_eq!(replies.table.held().records, 2);
        drop(claim(&replies, "a"));
        assert!(matches!(replies.begin(&Bytes::from_static(b"b"), [1; 16]), Begun::Stored(_)));
    }

    #[test]
    fn results_that_were_loaded_are_forgotten_in_their_order() {
        let source = replies(ReplyLimits { entries_max: 3, ..ReplyLimits::default() });
        for key in ["a", "b", "c"] {
            claim(&source, key).store(said("done"), &guard());
        }
        let target = Arc::new(Replies::new(source.table.clone(), source.lock().limits));
        target.installed(source.table.held().position);
        target.find_loaded();
        claim(&target, "d").store(said("done"), &guard());
        drop(claim(&target, "a"));
        assert!(matches!(target.begin(&Bytes::from_static(b"b"), [1; 16]), Begun::Stored(_)));
    }
}
