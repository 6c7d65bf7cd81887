//! A body that is passed on as it comes, and whose turn it is.
//!
//! However long an upload takes, it goes on as long as something of it passes. It ends when its client is silent though
//! the application would take more, when the application takes nothing on, or when all was handed over and no reply
//! begins.

use crate::again::Attempt;
use crate::body::BodyError;
use crate::streams::{CUT, Stream};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

/// What is said to a client that was silent for too long inside its upload.
const SILENT: &str = "the rest of the upload did not come in time; what came may have been applied";

/// What is said to a client whose request the application did not begin to answer.
pub(crate) const LATE: &str = "the application did not answer in time; the request may have been applied";

/// How long somebody is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waits {
    /// A client that is silent inside a body.
    pub(crate) body: Duration,
    /// A body that is read whole, from its first byte to its last.
    pub(crate) body_total: Duration,
    /// An application that has what there is of a request.
    pub(crate) reply: Duration,
}

/// Whose turn it is, and since when.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// The client's: the application would take more.
    Client(Instant),
    /// The application's: it was given a part, or all.
    Application(Instant),
}

/// Where an upload comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// From its client, once.
    Once(Incoming),
    /// From what was kept of it, then from its client.
    Again(Attempt),
}

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Once(incoming) => Pin::new(incoming)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(BodyError::from))),
            Self::Again(attempt) => attempt.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Once(incoming) => incoming.is_end_stream(),
            Self::Again(attempt) => attempt.is_end_stream(),
        }
    }
}

/// A body that is passed on as it comes. It is a stream until it ends.
#[derive(Debug)]
pub(crate) struct Upload {
    source: Source,
    stream: Option<Stream>,
    turn: watch::Sender<Turn>,
}

/// Looks on while an upload passes.
#[derive(Debug)]
pub(crate) struct Pace(watch::Receiver<Turn>);

impl Upload {
    /// Nothing has passed yet.
    pub(crate) fn begin(source: Source, stream: Stream) -> (Self, Pace) {
        let (turn, pace) = watch::channel(Turn::Application(Instant::now()));
        (Self { source, stream: Some(stream), turn }, Pace(pace))
    }

    /// Whether all of it was passed on.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    /// How long it is, if its client has said so.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Once(incoming) => incoming.size_hint(),
            Source::Again(_) => SizeHint::new(),
        }
    }

    /// The next part, for the application.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = self.source.poll_frame(cx) else {
            self.turn.send_if_modified(|turn| {
                let begins = matches!(turn, Turn::Application(_));
                if begins {
                    *turn = Turn::Client(Instant::now());
                }
                begins
            });
            return Poll::Pending;
        };
        self.turn.send_replace(Turn::Application(Instant::now()));
        if frame.is_none() || self.source.is_end_stream() {
            self.stream = None;
        }
        Poll::Ready(frame)
    }
}

impl Pace {
    /// Returns when somebody was waited for too long; with what the client is told, if it was the client.
    async fn stalled(mut self, waits: Waits) -> Option<&'static str> {
        loop {
            let (until, why) = match *self.0.borrow_and_update() {
                Turn::Client(since) => (since + waits.body, Some(SILENT)),
                Turn::Application(since) => (since + waits.reply, None),
            };
            tokio::select! {
                biased;
                changed = self.0.changed() => if changed.is_err() {
                    // The application's connection needs no more of it.
                    sleep_until(Instant::now() + waits.reply).await;
                    return None;
                },
                () = sleep_until(until) => return why,
            }
        }
    }
}

/// Returns when a reply to an upload is not waited for any more, and why: nobody did anything for too long, or the upload was cut.
pub(crate) async fn given_up((cut, pace): (oneshot::Receiver<()>, Pace), waits: Waits) -> &'static str {
    tokio::select! {
        biased;
        () = is_cut(cut) => CUT,
        silent = pace.stalled(waits) => silent.unwrap_or(LATE),
    }
}

/// Returns when the upload is cut; an upload that has ended cannot be.
async fn is_cut(cut: oneshot::Receiver<()>) {
    if cut.await.is_err() {
        std::future::pending::<()>().await;
    }
}
