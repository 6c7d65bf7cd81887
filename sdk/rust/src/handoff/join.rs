//! Dialling the channel: one line each way.

use super::HandoffError;
use paci::bounds;
use paci::channel;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Dials the channel and joins it with a token.
pub(crate) fn join(path: &Path, token: &str) -> Result<UnixStream, HandoffError> {
    let line = channel::join_line(token)?;
    let mut stream = UnixStream::connect(path).map_err(HandoffError::Dial)?;
    stream
        .set_read_timeout(Some(Duration::from_millis(u64::from(bounds::JOIN_MS))))
        .map_err(HandoffError::Broken)?;
    stream.write_all(line.as_bytes()).map_err(HandoffError::Broken)?;
    let mut reply = Vec::new();
    // Byte by byte: what follows the line is the peer's.
    while reply.last() != Some(&b'\n') && reply.len() < bounds::JOIN_LINE_BYTES_MAX {
        let mut byte = [0];
        if stream.read(&mut byte).map_err(HandoffError::Broken)? == 0 {
            break;
        }
        reply.push(byte[0]);
    }
    channel::read_reply_line(&reply)?;
    stream.set_read_timeout(None).map_err(HandoffError::Broken)?;
    Ok(stream)
}
