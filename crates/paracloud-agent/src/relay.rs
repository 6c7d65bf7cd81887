//! Joins the two ends of a state channel and counts what crosses. Plain reads and writes on threads of their own: a
//! copy of gigabytes must not keep the agent's tasks waiting.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is read at once; nothing more is held between the two ends.
const BUFFER_BYTES: usize = 256 * 1024;

/// Two joined ends. Dropping it breaks the channel: both ends see its end.
#[derive(Debug)]
pub(crate) struct Relay {
    source: UnixStream,
    target: UnixStream,
    crossed: Arc<Crossed>,
}

/// How much has crossed.
#[derive(Debug, Default)]
struct Crossed {
    /// From source to target.
    bytes: AtomicU64,
    /// Nothing more will cross from source to target.
    over: AtomicBool,
}

impl Relay {
    /// Joins two connected sockets.
    pub(crate) fn join(source: UnixStream, target: UnixStream) -> io::Result<Self> {
        source.set_nonblocking(false)?;
        target.set_nonblocking(false)?;
        let crossed = Arc::new(Crossed::default());
        let forth = (source.try_clone()?, target.try_clone()?);
        let back = (target.try_clone()?, source.try_clone()?);
        let counted = Arc::clone(&crossed);
        std::thread::Builder::new().name("channel-forth".to_owned()).spawn(move || {
            carry(forth.0, forth.1, &counted.bytes);
            counted.over.store(true, Ordering::Release);
        })?;
        std::thread::Builder::new().name("channel-back".to_owned()).spawn(move || {
            carry(back.0, back.1, &AtomicU64::new(0));
        })?;
        Ok(Self { source, target, crossed })
    }

    /// Bytes from source to target so far, and whether these are all.
    pub(crate) fn carried(&self) -> (u64, bool) {
        let over = self.crossed.over.load(Ordering::Acquire);
        (self.crossed.bytes.load(Ordering::Relaxed), over)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.source.shutdown(Shutdown::Both);
        let _ = self.target.shutdown(Shutdown::Both);
    }
}

/// Carries until the end of what comes, and passes the end on. An error ends both directions.
fn carry(mut from: UnixStream, mut into: UnixStream, bytes: &AtomicU64) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => {
                let _ = into.shutdown(Shutdown::Write);
                return;
            }
            Ok(read) => {
                if into.write_all(&buffer[..read]).is_err() {
                    break;
                }
                bytes.fetch_add(read as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = into.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined() -> (UnixStream, UnixStream, Relay) {
        let (source, source_end) = UnixStream::pair().unwrap();
        let (target, target_end) = UnixStream::pair().unwrap();
        (source, target, Relay::join(source_end, target_end).unwrap())
    }

    #[test]
    fn what_crosses_is_counted_and_an_end_is_passed_on() {
        let (mut source, mut target, relay) = joined();
        let writer = std::thread::spawn(move || {
            source.write_all(&vec![7; 3 << 20]).unwrap();
            source.shutdown(Shutdown::Write).unwrap();
            let mut acknowledged = Vec::new();
            source.read_to_end(&mut acknowledged).unwrap();
            acknowledged
        });
        let mut arrived = Vec::new();
        target.read_to_end(&mut arrived).unwrap();
        assert_eq!(arrived, vec![7; 3 << 20]);
        target.write_all(b"all").unwrap();
        drop(target);
        assert_eq!(writer.join().unwrap(), b"all", "the way back stays open after the way there has ended");
        assert_eq!(relay.carried().0, 3 << 20);
    }

    #[test]
    fn a_dropped_relay_ends_both_ends() {
        let (mut source, mut target, relay) = joined();
        drop(relay);
        assert_eq!(source.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(target.read(&mut [0; 8]).unwrap(), 0);
    }
}
