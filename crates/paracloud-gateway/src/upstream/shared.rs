//! The socket of a shared connection: its driver reads and writes, and whoever is about to use it may look.

use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A socket that its driver owns, and others may look at.
#[derive(Debug, Clone)]
pub(super) struct Shared(pub(super) Arc<TcpStream>);

/// What there is to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// Nothing.
    Nothing,
    /// Something that the driver has not come to yet.
    Something,
    /// The end.
    End,
}

impl Shared {
    /// What there is to read, without taking it.
    pub(super) fn unread(&self) -> Unread {
        let mut byte = [0_u8; 1];
        match recv(&*self.0, byte.as_mut_slice(), RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((0, _)) => Unread::End,
            Ok(_) => Unread::Something,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Unread::Nothing,
            Err(_) => Unread::End,
        }
    }
}

/// Tries for as long as the socket says that it is ready, and is not.
fn tried<T>(
    mut ready: impl FnMut() -> Poll<io::Result<()>>,
    mut attempt: impl FnMut() -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        ready!(ready())?;
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        tried(|| self.0.poll_read_ready(cx), || self.0.try_read_buf(buf).map(drop))
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        tried(|| self.0.poll_write_ready(cx), || self.0.try_write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        tried(|| self.0.poll_write_ready(cx), || self.0.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(&*self.0, Shutdown::Write).map_err(io::Error::from))
    }
}
