//! Uploads and replies that are passed on as they come.
//!
//! They keep no instance from moving. When the coordinator says that a park is near, the gateway waits for the last
//! of them and says so; when a table parks, those that are still there are cut: the connection to the application is
//! dropped at once, and the client sees its body end early or is answered with the reason. A client whose HTTP/2
//! connection had such a stream is told to go once its process has left, and not at all after a move that was called off.

use crate::bounds::STREAM_AGE;
use crate::control::Control;
use crate::multiplexed::Multiplexed;
use crate::passing::Passing;
use paracloud_core::ids::StartId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;
use tokio::sync::oneshot;

/// What is said to a client whose upload was cut.
pub(crate) const CUT: &str = "the upload was cut because its instance moves; it may have been applied";

/// Those of one instance.
#[derive(Debug, Default)]
pub(crate) struct Streams(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    live: BTreeMap<u64, Entry>,
    /// HTTP/2 connections of which a stream was cut while the table parks, by number, and the process it led to.
    cut: BTreeMap<u64, (Weak<Multiplexed>, StartId)>,
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    /// It says of itself that it goes on for long.
    endless: bool,
    way: Way,
    cut: Cut,
}

/// Whose stream it is.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    /// The process it leads to.
    pub(crate) start: StartId,
    /// The client's connection, if it is an HTTP/2 one.
    pub(crate) client: Option<Arc<Multiplexed>>,
}

/// How a stream is cut.
#[derive(Debug)]
pub(crate) enum Cut {
    /// Whoever sends the upload listens.
    Upload(oneshot::Sender<()>),
    /// The reply is taken out of its body.
    Reply(Weak<Passing>),
}

/// A stream in progress: ends when dropped.
#[derive(Debug)]
pub(crate) struct Stream {
    control: Arc<Control>,
    number: u64,
}

impl Streams {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether none is in progress.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner().live.is_empty()
    }

    /// A stream begins.
    pub(crate) fn begin(control: &Arc<Control>, endless: bool, way: Way, cut: Cut) -> Stream {
        let mut inner = control.streams.inner();
        inner.next += 1;
        let number = inner.next;
        inner.live.insert(number, Entry { since: Instant::now(), endless, way, cut });
        drop(inner);
        Stream { control: Arc::clone(control), number }
    }

    /// This process is the one from now on: tells the clients to go that had a stream to another one, or still have.
    pub(crate) fn left_for(&self, route: StartId) {
        let mut inner = self.inner();
        let cut = std::mem::take(&mut inner.cut);
        let live = inner.live.values().filter(|entry| entry.way.start != route);
        let live: Vec<_> = live.filter_map(|entry| entry.way.client.clone()).collect();
        drop(inner);
        let cut = cut.into_values().filter(|(_, start)| *start != route).filter_map(|(it, _)| it.upgrade());
        cut.chain(live).for_each(|client| client.go());
    }

    /// The process stays: no client has to go.
    pub(crate) fn stayed(&self) {
        self.inner().cut.clear();
    }

    /// Cuts those that have lasted. The answer says when the next one will have.
    pub(crate) fn cut_old(control: &Arc<Control>) -> Option<Instant> {
        let now = Instant::now();
        let mut inner = control.streams.inner();
        let is_old = |entry: &Entry| entry.endless || now.duration_since(entry.since) >= STREAM_AGE;
        let old: Vec<u64> =
            inner.live.iter().filter(|(_, it)| is_old(it)).map(|(number, _)| *number).collect();
        let cut: Vec<Entry> = old.iter().filter_map(|number| inner.live.remove(number)).collect();
        for Way { start, client } in cut.iter().map(|entry| &entry.way) {
            if let Some(client) = client {
                inner.cut.insert(client.number(), (Arc::downgrade(client), *start));
            }
        }
        let next = inner.live.values().map(|entry| entry.since + STREAM_AGE).min();
        drop(inner);
        if !cut.is_empty() {
            tracing::info!(
                instance = control.instance(),
                streams = cut.len(),
                "cut, because the instance moves"
            );
        }
        for entry in cut {
            match entry.cut {
                Cut::Upload(listener) => _ = listener.send(()),
                Cut::Reply(passing) => {
                    if let Some(passing) = passing.upgrade() {
                        passing.cut();
                    }
                }
            }
        }
        next
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut inner = self.control.streams.inner();
        inner.live.remove(&self.number);
        let last = inner.live.is_empty();
        drop(inner);
        if last {
            self.control.streams_ended();
        }
    }
}
