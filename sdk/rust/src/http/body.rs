//! Bodies that know of the guard.
//!
//! A body of unknown size waits for its peer for as long as that likes. It holds a guard for each chunk and none while
//! it waits; when the gate has closed it ends with an error.

use super::{BoxError, WHOLE_BODY_BYTES_MAX};
use crate::gate::{Gate, Watch};
use crate::guard::{Refused, Slot};
use crate::route::Route;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

/// A guard that comes and goes with the chunks of a body.
pub(super) struct Lease {
    gate: Arc<Gate>,
    route: Route,
    slot: Slot,
    watch: Watch,
}

impl Lease {
    pub(super) fn new(gate: Arc<Gate>, route: Route, slot: Slot) -> Self {
        Self { gate, route, slot, watch: Watch::default() }
    }

    fn renew(&self) -> Result<(), Refused> {
        self.slot.renew(&self.gate, &self.route)
    }

    /// Nothing is there yet: let the guard go, and come back when the gate closes.
    fn wait(&mut self, waker: &Waker) -> Poll<Refused> {
        self.slot.release();
        let closed = self.gate.poll_closed(&mut self.watch, waker);
        closed.map(|()| Refused { incarnation: self.gate.incarnation() })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.gate.unwatch(&mut self.watch);
    }
}

/// The body of a request as a service under the layer gets it.
pub struct RequestBody<B>(Request<B>);

enum Request<B> {
    Whole(Option<Bytes>),
    Streaming(Pin<Box<B>>, Lease),
}

impl<B> RequestBody<B> {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self(Request::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    pub(super) fn streaming(body: B, lease: Lease) -> Self {
        Self(Request::Streaming(Box::pin(body), lease))
    }
}

impl<B> std::fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}

impl<B: Body<Data = Bytes>> Body for RequestBody<B>
where
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        match &mut self.0 {
            Request::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Request::Streaming(body, lease) => match body.as_mut().poll_frame(context) {
                Poll::Pending => lease.wait(context.waker()).map(|refused| Some(Err(refused.into()))),
                Poll::Ready(frame) => Poll::Ready(match lease.renew() {
                    Ok(()) => frame.map(|frame| frame.map_err(Into::into)),
                    Err(refused) => Some(Err(refused.into())),
                }),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Request::Whole(bytes) => bytes.is_none(),
            Request::Streaming(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Request::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Request::Streaming(body, _) => body.size_hint(),
        }
    }
}

/// The body of a response as the layer gives it to the transport.
pub struct GuardedBody<B>(Guarded<B>);

enum Guarded<B> {
    /// Of the layer itself, or of the reply cache.
    Own(Option<Bytes>),
    /// Of known size: its guard ends when the transport has it all, or drops it.
    Sized(Pin<Box<B>>, Slot),
    /// Of unknown size: a guard for each chunk.
    Streaming(Pin<Box<B>>, Lease),
    /// Of an upgrade: what follows takes its own guards.
    Free(Pin<Box<B>>),
}

impl<B: Body> GuardedBody<B> {
    pub(super) fn own(bytes: Bytes) -> Self {
        Self(Guarded::Own(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    pub(super) fn of_response(body: B, lease: Lease) -> Self {
        match body.size_hint().exact() {
            Some(bytes) if bytes <= WHOLE_BODY_BYTES_MAX => {
                Self(Guarded::Sized(Box::pin(body), lease.slot.clone()))
            }
            Some(_) | None => Self(Guarded::Streaming(Box::pin(body), lease)),
        }
    }

    pub(super) fn of_upgrade(body: B, slot: &Slot) -> Self {
        slot.release();
        Self(Guarded::Free(Box::pin(body)))
    }
}

impl<B> std::fmt::Debug for GuardedBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardedBody").finish_non_exhaustive()
    }
}

impl<B: Body<Data = Bytes>> Body for GuardedBody<B>
where
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let own =
            |frame: Option<Result<Frame<Bytes>, B::Error>>| frame.map(|frame| frame.map_err(Into::into));
        match &mut self.0 {
            Guarded::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Guarded::Free(body) => body.as_mut().poll_frame(context).map(own),
            Guarded::Sized(body, slot) => {
                let polled = slot.run(|| body.as_mut().poll_frame(context)).map(own);
                if matches!(polled, Poll::Ready(None)) || body.is_end_stream() {
                    slot.release();
                }
                polled
            }
            Guarded::Streaming(body, lease) => {
                if let Err(refused) = lease.renew() {
                    return Poll::Ready(Some(Err(refused.into())));
                }
                let polled = lease.slot.run(|| body.as_mut().poll_frame(context));
                if polled.is_pending() {
                    return lease.wait(context.waker()).map(|refused| Some(Err(refused.into())));
                }
                lease.slot.release();
                polled.map(own)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Guarded::Own(bytes) => bytes.is_none(),
            Guarded::Sized(body, _) | Guarded::Streaming(body, _) | Guarded::Free(body) => {
                body.is_end_stream()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Guarded::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Guarded::Sized(body, _) | Guarded::Streaming(body, _) | Guarded::Free(body) => body.size_hint(),
        }
    }
}
