//! Connections to an application.
//!
//! | | |
//! |---|---|
//! | [`one`] | HTTP/1.1: a connection is one request's, driven by it |
//! | [`two`] | HTTP/2: a connection is many requests', driven by a task of its own |
//! | [`shared`] | the socket of such a one |
//! | [`pump`] | an upload on such a one |
//!
//! An HTTP/1.1 connection belongs to the worker that opened it: a request takes none of another one's, because it would
//! then wait for two threads. A connection that speaks HTTP/2 is the one for all workers, as long as it has room.
//!
//! What was sent is a fact and no guess: an HTTP/1.1 connection counts its bytes, and of HTTP/2 the application itself says
//! which streams it has not looked at.

mod one;
mod pump;
mod shared;
mod two;

use crate::body::{BodyError, Outgoing};
use crate::bounds::{IDLE_MAX, IDLE_WAIT, UPSTREAM_CONNECTIONS_MAX};
use crate::ticket::Witness;
use crate::workers::Worker;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{HeaderMap, Request, Response};
use paracloud_core::ids::StartId;
use paracloud_core::migration::gateway::Route;
use paracloud_substrate::config::Protocol;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection to one process, or one request's part of it.
#[derive(Debug)]
pub(crate) enum Connection {
    /// All of it.
    One(one::Connection),
    /// A stream of it.
    Two(two::Exchange),
}

/// Why an exchange has no reply.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Nothing was sent, or the application says that it has not looked at it.
    Unsent,
    /// The application says so of this request alone: it has too much to do.
    Refused,
    /// It did not begin in time.
    Late,
    /// Something was sent; and why, if it is known.
    Sent(Option<BodyError>),
}

/// The body of a reply, as it comes.
#[derive(Debug)]
pub(crate) enum Coming {
    /// Over HTTP/1.1.
    One(Incoming),
    /// Over HTTP/2.
    Two(two::Stream),
}

/// What came of a reply already.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// So much.
    pub(crate) bytes: Bytes,
    /// And that is all, with its trailers, if it has some.
    pub(crate) end: Option<Option<Box<HeaderMap>>>,
}

impl Coming {
    /// Whether all of it came.
    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::One(reply) => reply.is_end_stream(),
            Self::Two(reply) => reply.is_end_stream(),
        }
    }

    /// How long it is.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::One(reply) => reply.size_hint(),
            Self::Two(reply) => reply.size_hint(),
        }
    }
}

impl Connection {
    /// The next part of a reply's body. Nothing comes of a connection that is over but what came before.
    pub(crate) fn poll_body(
        &mut self,
        reply: &mut Coming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match (self, reply) {
            (Self::One(connection), Coming::One(reply)) => connection.poll_body(reply, cx),
            (_, Coming::Two(reply)) => reply.poll_frame(cx),
            (Self::Two(_), Coming::One(reply)) => {
                Pin::new(reply).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(BodyError::from)))
            }
        }
    }

    /// The process it leads to.
    pub(crate) fn start(&self) -> StartId {
        match self {
            Self::One(connection) => connection.start(),
            Self::Two(exchange) => exchange.start(),
        }
    }

    /// Whether it carried a request before.
    pub(crate) fn is_used(&self) -> bool {
        match self {
            Self::One(connection) => connection.is_used(),
            Self::Two(exchange) => exchange.is_used(),
        }
    }

    /// Whether others have their requests on it too.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Two(_))
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
    ) -> Result<Response<Coming>, Broken> {
        match self {
            Self::One(connection) => {
                connection.exchange(request, witness, within).await.map(|response| response.map(Coming::One))
            }
            Self::Two(exchange) => {
                let exchanged = Box::pin(exchange.exchange(request, witness));
                let exchanged = match within {
                    Some(within) => timeout(within, exchanged).await.map_err(|_| Broken::Late)?,
                    None => exchanged.await,
                };
                exchanged.map(|response| response.map(Coming::Two))
            }
        }
    }

    /// After a reply with status 101: the socket, and what was read beyond the head. There is none of HTTP/2.
    pub(crate) async fn into_stream(self) -> Option<(TcpStream, Bytes)> {
        match self {
            Self::One(connection) => Some(connection.into_stream().await),
            Self::Two(_) => None,
        }
    }
}

/// What an application speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// HTTP/1.1.
    #[default]
    One,
    /// HTTP/2, from the first byte.
    Two,
}

impl From<Protocol> for Speaks {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http1 => Self::One,
            Protocol::H2 => Self::Two,
        }
    }
}

/// Connections to the process of the current route that may be used.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    speaks: Speaks,
    open: Arc<Mutex<Open>>,
    /// Who has it opens a shared connection; whoever waits for it meanwhile uses that one.
    opening: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Open {
    start: Option<StartId>,
    /// Those that nobody uses, by their workers.
    idle: Vec<Vec<one::Connection>>,
    shared: Vec<Arc<two::Connection>>,
}

impl Open {
    fn keep_idle(&mut self, which: impl Fn(&one::Connection) -> bool) {
        self.idle.iter_mut().for_each(|of_one| of_one.retain(&which));
    }

    fn idle_count(&self) -> usize {
        self.idle.iter().map(Vec::len).sum()
    }
}

impl Pool {
    /// To an application that speaks this.
    pub(crate) fn new(speaks: Speaks) -> Self {
        Self { speaks, ..Self::default() }
    }

    /// What the application speaks.
    pub(crate) fn speaks(&self) -> Speaks {
        self.speaks
    }

    fn state(&self) -> MutexGuard<'_, Open> {
        state(&self.open)
    }

    /// Forgets the connections to other processes: shared ones end with their last request.
    pub(crate) fn turn(&self, start: StartId) {
        let mut open = self.state();
        open.start = Some(start);
        open.keep_idle(|connection| connection.start() == start);
        open.shared.retain(|connection| connection.start() == start);
    }

    /// Opens connections of this worker before they are needed; of shared ones, one for all workers.
    pub(crate) async fn prepare(&self, route: Route, worker: Worker, ahead: usize) {
        let prepared = match self.speaks {
            Speaks::One => self.prepare_idle(route, worker, ahead).await,
            Speaks::Two if ahead > 0 => self.take_shared(route).await.map(drop),
            Speaks::Two => Ok(()),
        };
        if let Err(error) = prepared {
            tracing::debug!(%error, address = %route.address, "not yet to be reached");
        }
    }

    async fn prepare_idle(&self, route: Route, worker: Worker, ahead: usize) -> io::Result<()> {
        for _ in 0..ahead {
            self.give(Connection::One(one::Connection::open(route, worker).await?));
        }
        Ok(())
    }

    /// A connection of this worker that nobody uses, or a new one, or a place on a shared one.
    ///
    /// # Errors
    /// Nobody accepts.
    pub(crate) async fn take(&self, route: Route, worker: Worker) -> io::Result<Connection> {
        match self.speaks {
            Speaks::One => {
                while let Some(mut connection) = self.idle_one(route, worker) {
                    if connection.idle_for() < IDLE_WAIT && connection.is_usable().await {
                        return Ok(Connection::One(connection));
                    }
                }
                self.open(route, worker).await
            }
            Speaks::Two => Box::pin(self.take_shared(route)).await.map(Connection::Two),
        }
    }

    /// A connection that cannot have been closed meanwhile: a new one, or a shared one that was looked at.
    ///
    /// # Errors
    /// Nobody accepts.
    pub(crate) async fn open(&self, route: Route, worker: Worker) -> io::Result<Connection> {
        match self.speaks {
            // What is seldom done is apart from the future of each request.
            Speaks::One => Box::pin(one::Connection::open(route, worker)).await.map(Connection::One),
            Speaks::Two => Box::pin(self.take_shared(route)).await.map(Connection::Two),
        }
    }

    fn idle_one(&self, route: Route, worker: Worker) -> Option<one::Connection> {
        let mut open = self.state();
        let ours = open.start == Some(route.start);
        open.idle.get_mut(worker.0).filter(|_| ours).and_then(Vec::pop)
    }

    /// Takes back a connection whose exchange is over.
    pub(crate) fn give(&self, connection: Connection) {
        let Connection::One(mut connection) = connection else { return };
        if !connection.rests() {
            return;
        }
        let mut open = self.state();
        if open.start == Some(connection.start()) && open.idle_count() < IDLE_MAX {
            let Worker(number) = connection.worker();
            if open.idle.len() <= number {
                open.idle.resize_with(number + 1, Vec::new);
            }
            open.idle[number].push(connection);
        }
    }

    /// Closes what was not used for long.
    pub(crate) fn sweep(&self) {
        let mut open = self.state();
        open.keep_idle(|connection| connection.idle_for() < IDLE_WAIT);
        open.shared.retain(|connection| !connection.is_over() && connection.idle_for() < IDLE_WAIT);
    }

    /// A place on a shared connection: where most are free, or on a new one.
    async fn take_shared(&self, route: Route) -> io::Result<two::Exchange> {
        for _ in 0..=UPSTREAM_CONNECTIONS_MAX {
            let place = match self.place(route, false) {
                Some(place) => place,
                None => Box::pin(self.open_shared(route)).await?,
            };
            if place.is_usable().await {
                return Ok(place);
            }
        }
        Err(io::Error::other("it closes every connection at once"))
    }

    /// A place among those that are open; if `any`, also where none is free: then it waits at the application.
    fn place(&self, route: Route, any: bool) -> Option<two::Exchange> {
        let mut open = self.state();
        open.shared.retain(|connection| !connection.is_over());
        let ours = open.shared.iter().filter(|connection| connection.start() == route.start);
        let least = ours.min_by_key(|connection| connection.in_flight())?;
        (any || least.has_room()).then(|| two::Exchange::on(Arc::clone(least)))
    }

    async fn open_shared(&self, route: Route) -> io::Result<two::Exchange> {
        let opening = Arc::clone(&self.opening).lock_owned().await;
        let is_full = self.state().shared.len() >= UPSTREAM_CONNECTIONS_MAX;
        if let Some(place) = self.place(route, is_full) {
            return Ok(place);
        }
        let open = Arc::clone(&self.open);
        // Whoever asked for it may wait no longer: it is opened for the others too.
        let opened = tokio::spawn(async move {
            let _opening = opening;
            let connection = two::Connection::open(route).await?;
            let place = two::Exchange::on(Arc::clone(&connection));
            let mut open = state(&open);
            if open.start == Some(route.start) {
                open.shared.push(connection);
            }
            Ok(place)
        });
        opened.await.map_err(io::Error::other)?
    }
}

fn state(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
