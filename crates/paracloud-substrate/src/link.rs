//! Links: lines of JSON over a unix socket in the cloud's directory, which only its owner can reach.
//!
//! A link that breaks loses what was on it, and says so to both ends; whoever dialled dials again. Nothing is
//! repeated here: the machines say again what was not answered.

use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::codec::{FramedRead, FramedWrite, LinesCodec, LinesCodecError};

/// The longest line; a longer one ends the link.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// First and longest pause before a link is dialled again, in milliseconds; it doubles.
pub const REDIAL_MS: (u64, u64) = (20, 500);

/// An agent and a gateway say something to the controller at least this often, in milliseconds, from the task that does
/// their work: one that stands still says nothing.
pub const BEAT_MS: u64 = 1_000;
/// A link on which nothing was heard for so long is dropped by the controller, in milliseconds of its own life: whoever
/// is at the other end stands still, and dials again when it goes on.
pub const SILENT_MS: u64 = 15_000;

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket.
    #[error("the link broke")]
    Io(#[from] io::Error),
    /// A line above the bound.
    #[error("a line of more than {LINE_BYTES_MAX} bytes on a link")]
    TooLong,
    /// A line that is no message.
    #[error("a line on a link that is no message of this version")]
    Form(#[from] serde_json::Error),
}

impl From<LinesCodecError> for LinkError {
    fn from(error: LinesCodecError) -> Self {
        match error {
            LinesCodecError::MaxLineLengthExceeded => Self::TooLong,
            LinesCodecError::Io(error) => Self::Io(error),
        }
    }
}

/// The reading half.
#[derive(Debug)]
pub struct Reader(FramedRead<OwnedReadHalf, LinesCodec>);

/// The writing half.
#[derive(Debug)]
pub struct Writer(FramedWrite<OwnedWriteHalf, LinesCodec>);

/// The two halves of a connected socket.
pub fn halves(stream: UnixStream) -> (Reader, Writer) {
    let codec = || LinesCodec::new_with_max_length(LINE_BYTES_MAX);
    let (read, write) = stream.into_split();
    (Reader(FramedRead::new(read, codec())), Writer(FramedWrite::new(write, codec())))
}

impl Reader {
    /// The next message; `None` when the other end is gone. It may be dropped and called again without loss.
    ///
    /// # Errors
    /// The link is of no use any more.
    pub async fn read<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LinkError> {
        match self.0.next().await {
            None => Ok(None),
            Some(line) => Ok(Some(serde_json::from_str(&line?)?)),
        }
    }
}

impl Writer {
    /// Hands one message to the socket.
    ///
    /// # Errors
    /// The link is of no use any more.
    pub async fn write<T: Serialize>(&mut self, message: &T) -> Result<(), LinkError> {
        Ok(self.0.send(serde_json::to_string(message)?).await?)
    }
}

/// Dials until somebody answers.
pub async fn dial(path: &Path) -> UnixStream {
    let mut pause_ms = REDIAL_MS.0;
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return stream,
            Err(error) => tracing::debug!(path = %path.display(), %error, "nobody answers yet"),
        }
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        pause_ms = (pause_ms * 2).min(REDIAL_MS.1);
    }
}
