//! HTTP/2 of which the test says every frame.

use crate::application::RawApplication;
use crate::client::Raw;
use crate::world::soon;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// `:status: 200`, from the table that everybody has.
pub(crate) const OK: &[u8] = &[0x88];
pub(crate) const REFUSED_STREAM: u32 = 7;

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The *n*-th number of four bytes in it.
    pub(crate) fn number(&self, n: usize) -> u32 {
        u32::from_be_bytes(self.payload[4 * n..4 * n + 4].try_into().unwrap())
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// One end of a connection.
pub(crate) struct Two(pub(crate) Raw);

impl Two {
    /// The next connection of the gateway to an application.
    pub(crate) async fn accept(application: &RawApplication) -> Self {
        let mut raw = application.accept().await;
        let mut preface = [0; PREFACE.len()];
        soon("a preface", raw.0.read_exact(&mut preface)).await.unwrap();
        assert_eq!(preface, PREFACE);
        raw.say(frame(SETTINGS, 0, 0, &[])).await;
        Self(raw)
    }

    /// A client's connection to the gateway.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut raw = Raw::connect(address).await;
        raw.say([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        Self(raw)
    }

    pub(crate) async fn say(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.0.say(frame(kind, flags, stream, payload)).await;
    }

    /// The next frame that is about a stream, or a GOAWAY; `None` at the end. Settings and pings are answered.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.any().await?;
            match frame.kind {
                SETTINGS | PING if frame.flags & ACK == 0 => {
                    let payload = if frame.kind == PING { &frame.payload[..] } else { &[] };
                    // Nobody may be there any more to hear it.
                    let _ = self.0.0.write_all(&self::frame(frame.kind, ACK, 0, payload)).await;
                }
                SETTINGS | PING | WINDOW_UPDATE => {}
                _ => return Some(frame),
            }
        }
    }

    async fn any(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        if soon("a frame", self.0.0.read_exact(&mut head)).await.is_err() {
            return None;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        soon("the rest of a frame", self.0.0.read_exact(&mut payload)).await.ok()?;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The stream of the next request.
    pub(crate) async fn request(&mut self) -> u32 {
        loop {
            let frame = self.next().await.expect("a request");
            if frame.kind == HEADERS {
                return frame.stream;
            }
        }
    }

    /// Answers a request, with a body.
    pub(crate) async fn answer(&mut self, stream: u32, body: &str) {
        self.say(HEADERS, END_HEADERS, stream, OK).await;
        self.say(DATA, END_STREAM, stream, body.as_bytes()).await;
    }

    /// Reads to the end, and returns the last GOAWAY, if one came.
    pub(crate) async fn goaway(&mut self) -> Option<Frame> {
        let mut last = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                last = Some(frame);
            }
        }
        last
    }
}
