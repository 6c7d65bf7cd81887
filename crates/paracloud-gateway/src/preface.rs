//! What a client speaks: HTTP/2 begins with words that no HTTP/1.1 request begins with.

use rustix::net::{RecvFlags, recv};
use std::io;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What every HTTP/2 connection of a client begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// HTTP/1.1, or something that it will be told it is not.
    One,
    /// HTTP/2.
    Two,
}

/// Looks at what a client says first, and takes nothing of it.
///
/// # Errors
/// The client is gone.
pub(crate) async fn speaks(stream: &TcpStream) -> io::Result<Speaks> {
    let mut begin = [0_u8; PREFACE.len()];
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        let looked = stream.try_io(Interest::READABLE, || {
            let (came, _) = recv(stream, begin.as_mut_slice(), RecvFlags::PEEK)?;
            let begin = &begin[..came];
            match PREFACE.strip_prefix(begin) {
                Some([]) => Ok(Speaks::Two),
                // Until more came there is nothing to be ready for.
                Some(_) if came > 0 && !ready.is_read_closed() => Err(io::ErrorKind::WouldBlock.into()),
                Some(_) | None => Ok(Speaks::One),
            }
        });
        match looked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            looked => return looked,
        }
    }
}
