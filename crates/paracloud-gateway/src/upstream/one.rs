//! A connection that speaks HTTP/1.1: one request at a time.
//!
//! It is driven by the request that uses it, in that request's own task: no other task has to be woken. One that is not
//! used is not driven either, so it is looked at before it is used again: a server that closed it meanwhile is noticed
//! there. Bytes are counted where they are written and read, so that "nothing was sent" is a fact and no guess.

use super::Broken;
use crate::body::{BodyError, Outgoing};
use crate::bounds::{CONNECT_WAIT, HEAD_BYTES_MAX};
use crate::deadline::Deadline;
use crate::ticket::Witness;
use crate::workers::Worker;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1::{Builder, Connection as Driver, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use paracloud_core::ids::StartId;
use paracloud_core::migration::gateway::Route;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A socket that counts what is written to it and read from it.
#[derive(Debug)]
struct Counted {
    stream: TcpStream,
    bytes: Arc<Count>,
}

#[derive(Debug, Default)]
struct Count {
    written: AtomicU64,
    read: AtomicU64,
}

impl Counted {
    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.bytes.written.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        written
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.bytes.read.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection to one process.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Outgoing>,
    driver: Box<Driver<TokioIo<Counted>, Outgoing>>,
    /// The driver is done: with the connection, or with HTTP on it.
    is_over: bool,
    bytes: Arc<Count>,
    start: StartId,
    worker: Worker,
    /// Whether another request may use it.
    keeps: bool,
    /// Whether it carried a request before.
    used: bool,
    idle_since: Instant,
    /// When its reply has to begin.
    reply: Deadline,
}

impl Connection {
    /// Dials the process of a route, on the thread of this worker.
    ///
    /// # Errors
    /// Nobody accepts.
    pub(crate) async fn open(route: Route, worker: Worker) -> io::Result<Self> {
        let stream = tokio::time::timeout(CONNECT_WAIT, TcpStream::connect(route.address)).await??;
        stream.set_nodelay(true)?;
        let bytes = Arc::new(Count::default());
        let counted = Counted { stream, bytes: Arc::clone(&bytes) };
        let (sender, driver) = Builder::new()
            .max_buf_size(2 * HEAD_BYTES_MAX)
            .max_header_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(counted))
            .await
            .map_err(io::Error::other)?;
        let idle_since = Instant::now();
        Ok(Self {
            sender,
            driver: Box::new(driver),
            is_over: false,
            bytes,
            start: route.start,
            worker,
            keeps: true,
            used: false,
            idle_since,
            reply: Deadline::default(),
        })
    }

    /// Moves bytes on, both ways.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.is_over
            && let Poll::Ready(end) = Pin::new(&mut *self.driver).poll(cx)
        {
            if let Err(error) = end {
                tracing::debug!(%error, "a connection to an application broke");
            }
            self.is_over = true;
        }
    }

    /// The next part of a reply's body. Nothing comes of a connection that is over but what came before.
    pub(crate) fn poll_body(
        &mut self,
        reply: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.drive(cx);
        let frame = Pin::new(reply).poll_frame(cx);
        if frame.is_pending() && self.is_over {
            return Poll::Ready(Some(Err(BodyError::Over)));
        }
        frame.map(|frame| frame.map(|frame| frame.map_err(BodyError::from)))
    }

    /// Whether it can be used, looked at now.
    pub(crate) async fn is_usable(&mut self) -> bool {
        std::future::poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(!self.is_over && self.sender.is_ready())
        })
        .await
    }

    /// The process it leads to.
    pub(crate) fn start(&self) -> StartId {
        self.start
    }

    /// Whose it is.
    pub(crate) fn worker(&self) -> Worker {
        self.worker
    }

    /// For how long nobody has used it.
    pub(crate) fn idle_for(&self) -> Duration {
        self.idle_since.elapsed()
    }

    /// Its exchange is over: whether another request may use it.
    pub(crate) fn rests(&mut self) -> bool {
        self.idle_since = Instant::now();
        self.keeps && !self.is_over
    }

    /// Whether it carried a request before.
    pub(crate) fn is_used(&self) -> bool {
        self.used
    }

    /// Sends a request and returns when the head of its reply is here. `witness` hears of its first byte, and of the
    /// reply's. With `within`, the reply begins as soon.
    ///
    /// # Errors
    /// No reply came.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Outgoing>,
        witness: &Witness,
        within: Option<Duration>,
    ) -> Result<Response<Incoming>, Broken> {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let (written, read) = (count(&self.bytes.written), count(&self.bytes.read));
        self.used = true;
        self.keeps = !matches!(request.body(), Outgoing::Upload(_));
        if let Some(within) = within {
            self.reply.set(Instant::now() + within);
        }
        let mut reply = pin!(self.sender.try_send_request(request));
        let (mut sent, mut replied) = (false, false);
        std::future::poll_fn(|cx| {
            self.drive(cx);
            if !sent && count(&self.bytes.written) > written {
                sent = true;
                witness.sent_on();
            }
            if !replied && count(&self.bytes.read) > read {
                replied = true;
                witness.replied();
            }
            Poll::Ready(match reply.as_mut().poll(cx) {
                Poll::Ready(Ok(reply)) => Ok(reply),
                // A driver that is over says nothing to a request that it never took.
                Poll::Pending if !self.is_over => {
                    if within.is_some() && self.reply.poll(cx).is_ready() {
                        return Poll::Ready(Err(Broken::Late));
                    }
                    return Poll::Pending;
                }
                Poll::Pending | Poll::Ready(Err(_)) if !sent => Err(Broken::Unsent),
                Poll::Pending => Err(Broken::Sent(None)),
                Poll::Ready(Err(error)) => Err(Broken::Sent(Some(error.into_error().into()))),
            })
        })
        .await
    }

    /// After a reply with status 101: the socket, and what was read beyond the head.
    pub(crate) async fn into_stream(mut self) -> (TcpStream, Bytes) {
        // HTTP ends with the switch.
        std::future::poll_fn(|cx| {
            self.drive(cx);
            if self.is_over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let parts = self.driver.into_parts();
        (parts.io.into_inner().stream, parts.read_buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::Witness;
    use paracloud_core::ids::Incarnation;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn exchange(connection: &mut Connection) -> Result<Response<Incoming>, Broken> {
        let request = Request::new(Outgoing::Whole(Bytes::new()));
        let witness = Witness::of_nobody();
        let exchanged = tokio::time::timeout(PATIENCE, connection.exchange(request, &witness, None)).await;
        exchanged.expect("an exchange ends")
    }

    /// A connection that somebody has closed after so many exchanges, which this end has not looked at yet.
    async fn closed(exchanges: usize) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let route = Route { incarnation: Incarnation(1), start: StartId(1), address };
        let mut connection = Connection::open(route, Worker::default()).await.unwrap();
        let (mut accepted, _) = listener.accept().await.unwrap();
        for _ in 0..exchanges {
            let serves = async {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    accepted.read_buf(&mut request).await.unwrap();
                }
                accepted.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            };
            let (reply, ()) = tokio::join!(exchange(&mut connection), serves);
            assert_eq!(reply.unwrap().status(), 200);
        }
        drop(accepted);
        // Whatever happened on a socket before this is known when it is read.
        let mut later = TcpStream::connect(address).await.unwrap();
        listener.accept().await.unwrap().0.write_all(b"x").await.unwrap();
        later.read_u8().await.unwrap();
        connection
    }

    #[tokio::test]
    async fn a_connection_that_is_closed_before_the_first_byte_is_sent_keeps_no_request_waiting() {
        for exchanges in 0..3 {
            let mut connection = closed(exchanges).await;
            let exchanged = exchange(&mut connection).await;
            assert!(matches!(exchanged, Err(Broken::Unsent)), "after {exchanges}: {exchanged:?}");
        }
    }
}
