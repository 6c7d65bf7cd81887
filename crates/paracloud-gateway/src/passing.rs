//! A reply that is passed on as it comes, because its length is unknown or large.
//!
//! It can be cut from outside, also while the client does not read: then the connection to the application is gone at
//! once, and the client sees the end when it reads on.

use crate::body::BodyError;
use crate::streams::{Cut, Stream, Streams};
use crate::ticket::Ticketed;
use crate::upstream::Connection;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

/// See the module.
#[derive(Debug)]
pub(crate) struct Passing {
    content: Mutex<Option<Content>>,
    length: SizeHint,
}

#[derive(Debug)]
struct Content {
    connection: Connection,
    reply: Incoming,
    request: Ticketed,
    stream: Option<Stream>,
}

impl Passing {
    /// A reply begins. `endless` if it says of itself that it goes on for long.
    pub(crate) fn begin(
        connection: Connection,
        reply: Incoming,
        request: Ticketed,
        endless: bool,
    ) -> Arc<Self> {
        let control = Arc::clone(request.control());
        let length = reply.size_hint();
        let content = Content { connection, reply, request, stream: None };
        let passing = Arc::new(Self { content: Mutex::new(Some(content)), length });
        let stream = Streams::begin(&control, endless, Cut::Reply(Arc::downgrade(&passing)));
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
        let Some(Content { connection, reply, request, stream }) = content else { return };
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
        let Some(content) = slot.as_mut() else { return Poll::Ready(Some(Err(BodyError::Cut))) };
        let frame = ready!(content.connection.poll_body(&mut content.reply, cx));
        if matches!(frame, Some(Ok(_))) {
            return Poll::Ready(frame);
        }
        let ended = slot.take();
        drop(slot);
        if let Some(Content { connection, request, .. }) = ended {
            if frame.is_none() {
                request.control().pool.give(connection);
            } else if request.control().moves_from(connection.start()) {
                // Its process went in the move, before this was old enough to be cut.
                request.control().saw(|seen| seen.streams_cut += 1);
            }
            request.replied();
        }
        Poll::Ready(frame)
    }
}
