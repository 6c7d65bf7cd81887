//! A client's HTTP/2 connection: many requests at once, each of which is a request like any other.
//!
//! It is told to go (GOAWAY, in the graceful form of RFC 9113, 6.8: nothing that was accepted is lost) when a process has
//! left to which it had a stream, when nothing was asked on it for long, and when the gateway ends.

use crate::body::{BodyError, Reply};
use crate::bounds::{
    CONNECTION_WINDOW_BYTES, HEAD_BYTES_MAX, HEAD_WAIT, PART_BYTES, PING_INTERVAL, PING_WAIT, RESETS_OWN_MAX,
    RESETS_UNSEEN_MAX, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::server::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::sleep;

/// How a client is spoken with.
pub(crate) fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .max_send_buf_size(PART_BYTES)
        .max_pending_accept_reset_streams(RESETS_UNSEEN_MAX)
        .max_local_error_reset_streams(RESETS_OWN_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_WAIT);
    builder
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Multiplexed {
    number: u64,
    told: watch::Sender<bool>,
    in_progress: watch::Sender<u32>,
    /// How long its client may ask nothing.
    idle_wait: Duration,
}

impl Multiplexed {
    /// A client connects.
    pub(crate) fn new() -> Arc<Self> {
        Self::waiting(HEAD_WAIT)
    }

    fn waiting(idle_wait: Duration) -> Arc<Self> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let (told, in_progress) = (watch::Sender::new(false), watch::Sender::new(0));
        Arc::new(Self { number, told, in_progress, idle_wait })
    }

    /// Its number: no two have the same.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Tells its client to go: what was asked is answered, what is asked from now on comes on another connection.
    pub(crate) fn go(&self) {
        self.told.send_replace(true);
    }

    /// Returns when its client has to be told to go.
    pub(crate) async fn told(&self) {
        let mut told = self.told.subscribe();
        let mut in_progress = self.in_progress.subscribe();
        let idle = async {
            loop {
                let is_idle = *in_progress.borrow_and_update() == 0;
                tokio::select! {
                    changed = in_progress.changed() => if changed.is_err() { return },
                    () = sleep(self.idle_wait), if is_idle => return,
                }
            }
        };
        tokio::select! {
            _ = told.wait_for(|told| *told) => {}
            () = idle => {}
        }
    }

    /// A request begins.
    pub(crate) fn begin(self: &Arc<Self>, place: OwnedSemaphorePermit) -> InProgress {
        self.in_progress.send_modify(|count| *count += 1);
        InProgress { on: Arc::clone(self), _place: place }
    }
}

/// A request in progress, and its place among all of them.
#[derive(Debug)]
pub(crate) struct InProgress {
    on: Arc<Multiplexed>,
    _place: OwnedSemaphorePermit,
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.on.in_progress.send_modify(|count| *count -= 1);
    }
}

/// A reply on its way to a connection: in parts, so that what the client does not read stays where it is counted.
#[derive(Debug)]
pub(crate) struct Parted {
    reply: Reply,
    /// What is left of the part that came last.
    rest: Bytes,
    /// Until all of it was handed over; none of a request that found no place.
    _in_progress: Option<InProgress>,
}

impl Parted {
    /// Nothing was handed over yet.
    pub(crate) fn new(reply: Reply, in_progress: Option<InProgress>) -> Self {
        Self { reply, rest: Bytes::new(), _in_progress: in_progress }
    }

    fn part(&mut self) -> Frame<Bytes> {
        Frame::data(self.rest.split_to(self.rest.len().min(PART_BYTES)))
    }
}

impl Body for Parted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let me = self.get_mut();
        if !me.rest.is_empty() {
            return Poll::Ready(Some(Ok(me.part())));
        }
        let frame = match ready!(Pin::new(&mut me.reply).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            end => return Poll::Ready(end),
        };
        Poll::Ready(Some(Ok(match frame.into_data() {
            Ok(data) if data.len() > PART_BYTES => {
                me.rest = data;
                me.part()
            }
            Ok(data) => Frame::data(data),
            Err(other) => other,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.reply.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.reply.size_hint() } else { SizeHint::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn a_connection_on_which_nothing_was_asked_for_long_is_told_to_go_and_one_that_waits_is_not() {
        let connection = Multiplexed::waiting(Duration::ZERO);
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let request = connection.begin(place);
        let mut told = pin!(connection.told());
        for _ in 0..100 {
            let poll = std::future::poll_fn(|cx| Poll::Ready(told.as_mut().poll(cx))).await;
            assert!(poll.is_pending(), "a request is in progress");
            tokio::task::yield_now().await;
        }
        drop(request);
        tokio::time::timeout(Duration::from_secs(20), told).await.unwrap();
        connection.go();
        connection.told().await;
    }
}
