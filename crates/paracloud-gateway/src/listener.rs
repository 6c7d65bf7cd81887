//! Where clients connect.

use crate::answer;
use crate::bounds::{ACCEPT_PAUSE, HEAD_BYTES_MAX, HEAD_WAIT, LISTEN_QUEUE_MAX};
use crate::deadline::HeadTimer;
use crate::multiplexed::{self, Multiplexed, Parted};
use crate::preface::{Speaks, speaks};
use crate::proxy::{Client, Proxy};
use crate::workers::Loops;
use hyper::header::HeaderValue;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Listens on an address.
///
/// # Errors
/// It is taken, or not of this machine.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(LISTEN_QUEUE_MAX)
}

/// Accepts the clients of one app.
#[derive(Debug)]
pub(crate) struct Accepting {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) workers: Loops,
    pub(crate) ending: watch::Receiver<bool>,
}

impl Accepting {
    /// Accepts until it is told to end. Each connection takes a place, and goes to a worker.
    pub(crate) async fn accept(self, listener: TcpListener) {
        let mut ending = self.ending.clone();
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = until(&mut ending) => return,
            };
            // It is to be watched by its worker's event loop, and by no other.
            let accepted = accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection is not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(address) = HeaderValue::try_from(peer.ip().to_string()) else { continue };
            let Some((seat, handle)) = self.workers.seat() else { return };
            let worker = seat.worker();
            let client = Client { address, worker, _place: Arc::new((place, seat)), multiplexed: None };
            let (proxy, ending) = (Arc::clone(&self.proxy), self.ending.clone());
            handle.spawn(async move {
                match TcpStream::from_std(stream) {
                    Ok(stream) => serve(stream, peer, client, &proxy, ending).await,
                    Err(error) => tracing::warn!(%error, "a connection is not served"),
                }
            });
        }
    }
}

async fn until(ending: &mut watch::Receiver<bool>) {
    let _ = ending.wait_for(|ending| *ending).await;
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    client: Client,
    proxy: &Arc<Proxy>,
    mut ending: watch::Receiver<bool>,
) {
    let keeps_alive = |()| Ok(rustix::net::sockopt::set_socket_keepalive(&stream, true)?);
    if let Err(error) = stream.set_nodelay(true).and_then(keeps_alive) {
        tracing::debug!(%peer, %error, "a client is gone already");
        return;
    }
    let spoken = tokio::select! {
        spoken = tokio::time::timeout(HEAD_WAIT, speaks(&stream)) => spoken,
        () = until(&mut ending) => return,
    };
    let end = match spoken {
        Ok(Ok(Speaks::One)) => one(stream, client, proxy, ending).await,
        Ok(Ok(Speaks::Two)) => two(stream, client, proxy, ending).await,
        Ok(Err(_)) | Err(_) => return tracing::debug!(%peer, "a client said nothing"),
    };
    if let Err(error) = end {
        tracing::debug!(%peer, %error, "a client's connection broke");
    }
}

/// Serves a client that speaks HTTP/1.1.
async fn one(
    stream: TcpStream,
    client: Client,
    proxy: &Arc<Proxy>,
    mut ending: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let service = service_fn(|request| {
        let client = &client;
        async move { Ok::<_, Infallible>(proxy.serve(client, request).await) }
    });
    let served = Builder::new()
        .timer(HeadTimer::default())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(2 * HEAD_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut served = pin!(served);
    tokio::select! {
        end = &mut served => end,
        () = until(&mut ending) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    }
}

/// Serves a client that speaks HTTP/2: each stream is a request.
async fn two(
    stream: TcpStream,
    client: Client,
    proxy: &Arc<Proxy>,
    mut ending: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let connection = Multiplexed::new();
    let client = Client { multiplexed: Some(Arc::clone(&connection)), ..client };
    let service = service_fn(|request| {
        let (proxy, client) = (Arc::clone(proxy), client.clone());
        let in_progress =
            Arc::clone(&proxy.streams).try_acquire_owned().ok().map(|place| connection.begin(place));
        async move {
            let response = match &in_progress {
                Some(_) => proxy.serve(&client, request).await,
                None => answer::to_call(&request, answer::full()),
            };
            Ok::<_, Infallible>(response.map(|reply| Parted::new(reply, in_progress)))
        }
    });
    let served = multiplexed::builder().serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    tokio::select! {
        end = &mut served => return end,
        () = until(&mut ending) => {}
        () = connection.told() => {}
    }
    served.as_mut().graceful_shutdown();
    served.await
}
