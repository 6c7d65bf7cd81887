//! An upload on a shared connection: it goes on beside its reply, as fast as the application takes it.

use crate::body::BodyError;
use crate::upload::Upload;
use bytes::Bytes;
use h2::{Reason, SendStream};
use hyper::body::Frame;
use std::task::{Context, Poll};
use tokio::task::JoinHandle;

/// An upload in progress. Dropped, it ends: what the application has not got then it will not get.
#[derive(Debug)]
pub(super) struct Pump(JoinHandle<()>);

impl Pump {
    /// Begins to send.
    pub(super) fn start(mut sink: SendStream<Bytes>, mut upload: Upload) -> Self {
        Self(tokio::spawn(async move {
            if pump(&mut sink, &mut upload).await.is_err() {
                // Of a stream that is gone already this is nothing.
                sink.send_reset(Reason::CANCEL);
            }
        }))
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn pump(sink: &mut SendStream<Bytes>, upload: &mut Upload) -> Result<(), BodyError> {
    loop {
        let frame = std::future::poll_fn(|cx| match reset(sink, cx) {
            Some(end) => Poll::Ready(Some(Err(end))),
            None => upload.poll_frame(cx),
        });
        let Some(frame) = frame.await.transpose()? else {
            return Ok(sink.send_data(Bytes::new(), true)?);
        };
        match frame.into_data().map_err(Frame::into_trailers) {
            Ok(data) => {
                let is_end = upload.is_end_stream();
                send(sink, data, is_end).await?;
                if is_end {
                    return Ok(());
                }
            }
            Err(Ok(trailers)) => return Ok(sink.send_trailers(trailers)?),
            // There are no others.
            Err(Err(_)) => {}
        }
    }
}

/// Sends a part once there is room for it at the application, as far as there is.
async fn send(sink: &mut SendStream<Bytes>, mut data: Bytes, is_end: bool) -> Result<(), BodyError> {
    while !data.is_empty() {
        sink.reserve_capacity(data.len());
        let room = match sink.capacity() {
            0 => std::future::poll_fn(|cx| sink.poll_capacity(cx)).await.ok_or(BodyError::Over)??,
            room => room,
        };
        let part = data.split_to(room.min(data.len()));
        let is_last = data.is_empty();
        sink.send_data(part, is_end && is_last)?;
        if is_last {
            return Ok(());
        }
    }
    Ok(sink.send_data(data, is_end)?)
}

/// Whether the application wants no more of it.
fn reset(sink: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Option<BodyError> {
    match sink.poll_reset(cx) {
        Poll::Ready(Ok(_)) => Some(BodyError::Over),
        Poll::Ready(Err(error)) => Some(error.into()),
        Poll::Pending => None,
    }
}
