//! A reply that is passed on as it comes, because its length is unknown or large.
//!
//! It can be cut from outside, also while the client does not read: then the connection to the application is gone at
//! once, and the client sees the end when it reads on: a gRPC client in trailers that say why, any other as a reply that is
//! not whole.

use crate::body::BodyError;
use crate::grpc;
use crate::streams::{Cut, Stream, Streams, Way};
use crate::ticket::Ticketed;
use crate::upstream::{Coming, Connection};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

/// See the module.
#[derive(Debug)]
pub(crate) struct Passing {
    content: Mutex<Option<Content>>,
    length: SizeHint,
    /// Whether its client reads the end of a call in trailers.
    is_call: bool,
    /// It has ended, for its client.
    ended: AtomicBool,
}

/// What passes.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) connection: Connection,
    /// What came of it already.
    pub(crate) first: Option<Bytes>,
    pub(crate) rest: Coming,
    /// It says of itself that it goes on for long.
    pub(crate) endless: bool,
    /// Whether it answers a gRPC call.
    pub(crate) is_call: bool,
}

#[derive(Debug)]
struct Content {
    connection: Connection,
    first: Option<Bytes>,
    reply: Coming,
    request: Ticketed,
    stream: Option<Stream>,
}

impl Passing {
    /// A reply begins.
    pub(crate) fn begin(begun: Begun, request: Ticketed, way: Way) -> Arc<Self> {
        let Begun { connection, first, rest: reply, endless, is_call } = begun;
        let control = Arc::clone(request.control());
        let length = if first.is_some() { SizeHint::new() } else { reply.size_hint() };
        let content = Content { connection, first, reply, request, stream: None };
        let content = Mutex::new(Some(content));
        let passing = Arc::new(Self { content, length, is_call, ended: AtomicBool::new(false) });
        let stream = Streams::begin(&control, endless, way, Cut::Reply(Arc::downgrade(&passing)));
        // Unless it was cut already.
        if let Some(content) = passing.content().as_mut() {
            content.stream = Some(stream);
        }
        passing
    }

    fn content(&self) -> MutexGuard<'_, Option<Content>> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts it: for the machine it has ended.
    pub(crate) fn cut(&self) {
        let content = self.content().take();
        let Some(Content { connection, reply, request, stream, .. }) = content else { return };
        // First the application is let go, then it is said.
        drop((connection, reply));
        request.control().saw(|seen| seen.streams_cut += 1);
        request.replied();
        drop(stream);
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.length
    }

    pub(crate) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut slot = self.content();
        let Some(content) = slot.as_mut() else { return Poll::Ready(self.end(BodyError::Cut)) };
        if let Some(first) = content.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let mut frame = ready!(content.connection.poll_body(&mut content.reply, cx));
        if matches!(&frame, Some(Ok(frame)) if !frame.is_trailers()) {
            return Poll::Ready(frame);
        }
        let ended = slot.take();
        drop(slot);
        if let Some(Content { connection, mut request, .. }) = ended {
            let start = connection.start();
            if let None | Some(Ok(_)) = &frame {
                let trailers = frame.as_mut().and_then(|frame| frame.as_mut().ok()?.trailers_mut());
                request.trailed(trailers, start, self.is_call);
                self.ended.store(true, Ordering::Relaxed);
                request.control().pool.give(connection);
            } else if request.control().moves_from(start) {
                // Its process went in the move, before this was old enough to be cut.
                request.control().saw(|seen| seen.streams_cut += 1);
            } else {
                request.let_down();
            }
            request.replied();
        }
        match frame {
            Some(Err(error)) => Poll::Ready(self.end(error)),
            frame => Poll::Ready(frame),
        }
    }

    /// What its client sees of its end, once.
    fn end(&self, error: BodyError) -> Option<Result<Frame<Bytes>, BodyError>> {
        if self.ended.swap(true, Ordering::Relaxed) {
            return None;
        }
        let why = if matches!(error, BodyError::Cut) { grpc::CUT } else { grpc::BROKEN };
        Some(if self.is_call { Ok(Frame::trailers(grpc::unknown(why))) } else { Err(error) })
    }
}
