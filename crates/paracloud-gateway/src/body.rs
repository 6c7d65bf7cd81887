//! Bodies: what a client sends, what an application gets, what a client gets.

use crate::passing::Passing;
use crate::room::Taken;
use crate::upload::{Upload, Waits};
use crate::upstream::{Coming, Connection};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, timeout_at};

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The other side broke off.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// The other side reset its stream.
    #[error(transparent)]
    Reset(#[from] h2::Error),
    /// The connection that it came on is over.
    #[error("the connection is over")]
    Over,
    /// Its instance moves.
    #[error("cut, because the instance moves")]
    Cut,
}

impl BodyError {
    /// Whether what came is no HTTP/1.1, where that was to come.
    pub(crate) fn is_other_protocol(&self) -> bool {
        matches!(self, Self::Broken(error) if error.is_parse() && !error.is_parse_too_large())
    }
}

/// What an application gets.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// All of it is here.
    Whole(Bytes),
    /// It is passed on as it comes.
    Upload(Upload),
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Upload(upload) => upload.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Upload(upload) => upload.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Upload(upload) => upload.size_hint(),
        }
    }
}

/// What a client gets.
#[derive(Debug)]
pub(crate) enum Reply {
    /// All of it is here.
    Held(Bytes),
    /// All of it is here, with what is said after it.
    Trailed(Bytes, Option<Box<HeaderMap>>),
    /// It is passed on as it comes.
    Passing(Arc<Passing>),
}

impl Reply {
    /// A body that is here.
    pub(crate) fn held(bytes: Bytes) -> Self {
        Self::Held(bytes)
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Held(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Held(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Trailed(bytes, trailers) if bytes.is_empty() => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))))
            }
            Self::Trailed(bytes, _) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Passing(passing) => passing.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Held(bytes) | Self::Trailed(bytes, None) => bytes.is_empty(),
            Self::Trailed(_, Some(_)) | Self::Passing(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Held(bytes) => SizeHint::with_exact(bytes.len() as u64),
            // Whoever counts on a length looks for nothing after it.
            Self::Trailed(..) => SizeHint::new(),
            Self::Passing(passing) => passing.size_hint(),
        }
    }
}

/// A body that is all here, and its room: whoever has a part of the bytes has the room.
#[derive(Debug)]
struct Kept {
    bytes: Bytes,
    _room: Option<Taken>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body that is read whole before anything is sent on. Its room is given back when the last of its bytes is.
#[derive(Debug)]
pub(crate) struct Gathering {
    incoming: Incoming,
    pieces: Pieces,
    room: Option<Taken>,
    waits: Waits,
    /// When it has to be here, once it is read.
    until: Option<Instant>,
}

/// Why a body was not read whole.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The client broke off.
    Broken,
    /// The client was silent, or took, for too long.
    Slow,
}

impl Gathering {
    /// Nothing is read yet.
    pub(crate) fn new(incoming: Incoming, room: Taken, waits: Waits) -> Self {
        Self { incoming, pieces: Pieces::of(room.bytes()), room: Some(room), waits, until: None }
    }

    /// Reads on to the end. It may be dropped and called again without loss.
    ///
    /// # Errors
    /// There is no end to come.
    pub(crate) async fn read(&mut self) -> Result<Bytes, Unread> {
        let until = *self.until.get_or_insert_with(|| Instant::now() + self.waits.body_total);
        loop {
            if self.incoming.is_end_stream() {
                return Ok(self.whole());
            }
            match timeout_at(until.min(Instant::now() + self.waits.body), self.incoming.frame()).await {
                Err(_) => return Err(Unread::Slow),
                Ok(None) => return Ok(self.whole()),
                Ok(Some(Err(_))) => return Err(Unread::Broken),
                Ok(Some(Ok(frame))) => self.pieces.add(frame),
            }
        }
    }

    fn whole(&mut self) -> Bytes {
        Bytes::from_owner(Kept { bytes: self.pieces.all(), _room: self.room.take() })
    }
}

/// Reads a reply's body whole.
///
/// # Errors
/// The application broke off.
pub(crate) async fn hold(connection: &mut Connection, mut reply: Coming) -> Result<Bytes, BodyError> {
    let length = reply.size_hint().upper().and_then(|length| usize::try_from(length).ok());
    let mut pieces = Pieces::of(length.unwrap_or(0));
    std::future::poll_fn(|cx| {
        loop {
            match ready!(connection.poll_body(&mut reply, cx)) {
                None => return Poll::Ready(Ok(pieces.all())),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                Some(Ok(frame)) => pieces.add(frame),
            }
        }
    })
    .await
}

/// What was read so far: one piece is not copied.
#[derive(Debug)]
struct Pieces {
    /// How much it will be: more is not allocated for it.
    length: usize,
    first: Bytes,
    more: BytesMut,
}

impl Pieces {
    fn of(length: usize) -> Self {
        Self { length, first: Bytes::new(), more: BytesMut::new() }
    }

    fn add(&mut self, frame: Frame<Bytes>) {
        let Ok(data) = frame.into_data() else { return };
        if self.more.is_empty() && self.first.is_empty() {
            self.first = data;
            return;
        }
        if self.more.is_empty() {
            self.more.reserve(self.length);
            self.more.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.more.extend_from_slice(&data);
    }

    fn all(&mut self) -> Bytes {
        if self.more.is_empty() { std::mem::take(&mut self.first) } else { self.more.split().freeze() }
    }
}
