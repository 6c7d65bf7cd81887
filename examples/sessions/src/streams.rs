//! An endless reply and a request of any length. Neither keeps the instance from moving: the SDK takes a guard for each
//! chunk, and none while it waits for the peer.

use crate::answer::{self, Body};
use crate::records::Records;
use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use paracloud_sdk::Refused;
use paracloud_sdk::http::{BoxError, RequestBody};
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Between two lines of the endless reply.
const LINE_MS: u64 = 50;

/// Lines without end: a number, and how many keys there are.
pub(crate) fn endless(records: Records) -> Response<Body> {
    let mut ticks = interval(Duration::from_millis(LINE_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let lines = stream::unfold(
        (ticks, 0_u64, records),
        async |(mut ticks, number, records): (Interval, _, Records)| {
            ticks.tick().await;
            let line = records.len().map(|keys| Frame::data(Bytes::from(format!("{number} {keys}\n"))));
            Some((line.map_err(BoxError::from), (ticks, number + 1, records)))
        },
    );
    answer::streamed(StreamBody::new(lines).boxed_unsync())
}

/// The lines of an audit. Going through all records takes a while, so it is not done where requests are served.
pub(crate) async fn audit(records: Records) -> Response<Body> {
    match tokio::task::spawn_blocking(move || records.audit()).await {
        Ok(Ok(pieces)) => {
            let pieces = pieces.map(|piece| Ok::<_, BoxError>(Frame::data(piece)));
            answer::streamed(StreamBody::new(stream::iter(pieces)).boxed_unsync())
        }
        Ok(Err(refused)) => answer::of_sdk(refused.into_response()),
        Err(_) => answer::line(StatusCode::INTERNAL_SERVER_ERROR, "the audit failed"),
    }
}

#[derive(Serialize)]
struct Counted {
    bytes: u64,
}

/// Counts the bytes of a body as they come.
pub(crate) async fn upload(mut body: RequestBody<Incoming>) -> Response<Body> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            Err(error) => return cut(&error),
        }
    }
    answer::json(&Counted { bytes })
}

/// The body ended early: the client is gone, or the gate was closed.
pub(crate) fn cut(error: &BoxError) -> Response<Body> {
    match error.downcast_ref::<Refused>() {
        Some(refused) => answer::of_sdk(refused.into_response()),
        None => answer::line(StatusCode::BAD_REQUEST, "the body ended early"),
    }
}
