//! A body of which nobody said how long it is, and which may have to be sent again.
//!
//! That of a short call comes with its head or soon after it, but the next one may never end: so it is passed on as it
//! comes, and kept at the same time, for as long as there is room for all of it.

use crate::body::BodyError;
use crate::bounds::{LOOKS_MAX, PART_COST_BYTES};
use crate::room::Taken;
use bytes::{Bytes, BytesMut};
use hyper::HeaderMap;
use hyper::body::{Body, Frame, Incoming};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

/// The body of one request.
#[derive(Debug)]
pub(crate) struct Again(Arc<Mutex<Inner>>);

/// The body as one attempt passes it on, from its beginning.
#[derive(Debug)]
pub(crate) struct Attempt {
    body: Arc<Mutex<Inner>>,
    number: u32,
    /// How many parts it has passed on.
    parts: usize,
    /// It has passed on the trailers.
    is_over: bool,
}

#[derive(Debug)]
struct Inner {
    incoming: Incoming,
    kept: Kept,
    /// All of it came.
    ended: bool,
    /// The attempt that passes it on. Those before it get nothing any more.
    attempt: u32,
}

/// What came of it.
#[derive(Debug)]
struct Kept {
    parts: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    /// All that came is here. Otherwise only what was not passed on yet: there is one attempt, or there was.
    is_whole: bool,
    room: Taken,
    bytes_max: usize,
    /// Why no more comes.
    broken: Option<BodyError>,
}

impl Kept {
    fn add(&mut self, part: &Bytes) {
        if !self.is_whole {
            return;
        }
        let bytes = self.room.bytes() + part.len() + PART_COST_BYTES;
        self.is_whole = bytes <= self.bytes_max && self.room.resize(bytes);
        self.parts.push(part.clone());
    }

    /// The part with this number, unless it comes only now. What is passed on once is not kept.
    fn part(&mut self, number: &mut usize) -> Option<Bytes> {
        let part = self.parts.get_mut(*number);
        if part.is_some() {
            *number += 1;
        }
        if self.is_whole {
            return part.cloned();
        }
        let part = part.map(std::mem::take);
        if part.is_none() {
            (self.parts, *number) = (Vec::new(), 0);
            self.room.resize(0);
        }
        part
    }
}

impl Inner {
    /// Whether there may be another attempt: the first one takes what is there, however much it is.
    fn is_kept(&self) -> bool {
        self.kept.is_whole || self.attempt == 0
    }

    /// The next part that comes, which is kept.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        Poll::Ready(match frame {
            None => {
                self.ended = true;
                None
            }
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.kept.add(data);
                }
                if let Some(trailers) = frame.trailers_ref() {
                    self.kept.trailers = Some(trailers.clone());
                    self.ended = true;
                }
                self.ended |= self.incoming.is_end_stream();
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                self.kept.is_whole = false;
                Some(Err(error.into()))
            }
        })
    }
}

fn locked(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Again {
    /// Nothing is read yet. `bytes_max`: the most that is kept, with what each part costs.
    pub(crate) fn new(incoming: Incoming, room: Taken, bytes_max: usize) -> Self {
        let kept = Kept { parts: Vec::new(), trailers: None, is_whole: true, room, bytes_max, broken: None };
        Self(Arc::new(Mutex::new(Inner { incoming, kept, ended: false, attempt: 0 })))
    }

    /// Takes what has come already, and waits for nothing. All of it, if that is all: then it is a body like any other.
    pub(crate) async fn look(&self) -> Option<Bytes> {
        for look in 0..LOOKS_MAX {
            if look > 0 {
                tokio::task::yield_now().await;
            }
            std::future::poll_fn(|cx| {
                let mut inner = locked(&self.0);
                while !inner.ended && inner.kept.is_whole {
                    match inner.poll_next(cx) {
                        Poll::Pending => break,
                        // It is said to who passes it on.
                        Poll::Ready(Some(Err(error))) => inner.kept.broken = Some(error),
                        Poll::Ready(None | Some(Ok(_))) => {}
                    }
                }
                Poll::Ready(())
            })
            .await;
            let inner = locked(&self.0);
            if inner.ended || !inner.kept.is_whole {
                break;
            }
        }
        self.whole()
    }

    /// All of it, if all is here and has no trailers.
    pub(crate) fn whole(&self) -> Option<Bytes> {
        let mut inner = locked(&self.0);
        if !inner.ended || !inner.kept.is_whole || inner.kept.trailers.is_some() {
            return None;
        }
        inner.kept.is_whole = false;
        let nothing = inner.kept.room.none();
        let room = std::mem::replace(&mut inner.kept.room, nothing);
        let mut parts = std::mem::take(&mut inner.kept.parts);
        let bytes = if parts.len() <= 1 {
            parts.pop().unwrap_or_default()
        } else {
            let mut all = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
            parts.iter().for_each(|part| all.extend_from_slice(part));
            all.freeze()
        };
        Some(Bytes::from_owner(Whole { bytes, _room: room }))
    }

    /// Passes it on from its beginning; `None` if that is not here any more.
    pub(crate) fn begin(&self) -> Option<Attempt> {
        let mut inner = locked(&self.0);
        if !inner.is_kept() {
            return None;
        }
        inner.attempt += 1;
        Some(Attempt { body: Arc::clone(&self.0), number: inner.attempt, parts: 0, is_over: false })
    }

    /// Whether all that came is still here.
    pub(crate) fn is_kept(&self) -> bool {
        locked(&self.0).is_kept()
    }
}

impl Attempt {
    /// The next part.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let inner = &mut *locked(&self.body);
        if inner.attempt != self.number {
            return Poll::Ready(Some(Err(BodyError::Over)));
        }
        if let Some(part) = inner.kept.part(&mut self.parts) {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        if let Some(broken) = inner.kept.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        if !inner.ended {
            let frame = ready!(inner.poll_next(cx));
            self.parts = inner.kept.parts.len();
            self.is_over = matches!(&frame, Some(Ok(frame)) if frame.is_trailers());
            return Poll::Ready(frame);
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        self.is_over = true;
        Poll::Ready(inner.kept.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    /// Whether all of it was passed on.
    pub(crate) fn is_end_stream(&self) -> bool {
        let inner = locked(&self.body);
        let all = self.parts >= inner.kept.parts.len();
        inner.ended && all && (self.is_over || inner.kept.trailers.is_none())
    }
}

/// A body that is all here, and its room.
struct Whole {
    bytes: Bytes,
    _room: Taken,
}

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
