//! Frames of the state channel, written and read without I/O.
//!
//! ```text
//!   0      1            5            9                     9+n         13+n
//!   ┌──────┬────────────┬────────────┬─────────────────────┬────────────┐
//!   │ kind │ length n   │ sequence   │ payload             │ CRC-32     │
//!   └──────┴────────────┴────────────┴─────────────────────┴────────────┘
//!     u8     u32 BE       u32 BE       n bytes               u32 BE, zlib's, over all before it
//! ```
//!
//! From source to target flow DATA frames and one END; from target to source ACK frames. Each direction counts its
//! sequence from 0. **Only END ends the stream**: the connection's end before it is an error, because a copy that was
//! cut at a frame boundary looks whole.
//!
//! A gigabyte goes through here, so bytes are copied once at most on each side: [`Encoder::data_with`] lets records be
//! written where they are sent from, [`Decoder::buffer`] lets a socket be read to where they are decoded.

mod decoder;
mod encoder;

use crate::proof::Sealed;

pub use decoder::{Decoder, FrameError};
pub use encoder::{EncodeError, Encoder};

/// Bytes before a payload.
pub const HEADER_BYTES: usize = 9;
/// Bytes after a payload.
pub const TRAILER_BYTES: usize = 4;

const DATA: u8 = 1;
const END: u8 = 2;
const ACK: u8 = 3;

/// One frame as it was read. Its payload lies in the decoder's buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A piece of state.
    Data(&'a [u8]),
    /// All of the state was sent; this is what the source holds.
    End(Sealed),
    /// The target has loaded everything up to this position.
    Ack(u64),
}

/// Counts frames from 0; `None` when no number is left.
#[derive(Debug, Clone)]
struct Sequence(Option<u32>);

impl Default for Sequence {
    fn default() -> Self {
        Self(Some(0))
    }
}

impl Sequence {
    fn advance(&mut self) {
        self.0 = self.0.and_then(|number| number.checked_add(1));
    }
}
