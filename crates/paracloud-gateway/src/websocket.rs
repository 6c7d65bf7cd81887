//! A WebSocket, after the application has answered its handshake.
//!
//! Whole messages are relayed, both ways. While the table parks, a client's messages stay with the gateway, and what the
//! application says goes on. Once its process is no longer the owner, the application is told to close; what it says
//! until it does is delivered, then the client gets a close with 1012. After a move that was called off the client's
//! messages just go on. A message that waited for as long as a request may wait closes its client with 1013, and so does
//! one for which there is no room, or no place among those that wait: it has reached nobody.

use crate::bounds::{CLOSE_WAIT, QUIET_WAIT};
use crate::control::{Control, View};
use crate::frames::{Breach, From, Unit, close};
use crate::proxy::Client;
use crate::room::Room;
use crate::side::{End, Side};
use crate::upstream::Connection;
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use paracloud_core::ids::StartId;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

/// The client has to connect again: its instance is served by another process.
const RESTART: u16 = 1012;
/// The application went away, and nothing is known of a move.
const FAILED: u16 = 1011;
/// A message waited for too long, or found no room, and was not passed on.
const TRY_AGAIN_LATER: u16 = 1013;

/// A WebSocket between a client and one process.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) control: Arc<Control>,
    /// For messages.
    pub(crate) room: Arc<Room>,
    pub(crate) client: Client,
    pub(crate) start: StartId,
}

impl Tunnel {
    /// Relays until one side ends, or the instance has moved.
    pub(crate) async fn run(self, upgrade: OnUpgrade, connection: Connection) {
        let (application, beyond) = connection.into_stream().await;
        let Ok(upgraded) = upgrade.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
        let (from_client, mut to_client) = parts.io.into_inner().into_split();
        let (from_application, mut to_application) = application.into_split();
        let mut from_client = Side::new(from_client, &parts.read_buf, From::Client, &self.room);
        let mut from_application = Side::new(from_application, &beyond, From::Application, &self.room);
        let farewell =
            self.relay(&mut from_client, &mut to_application, &mut from_application, &mut to_client).await;
        drop((to_application, from_application));
        if let Some((code, reason)) = farewell {
            tracing::debug!(instance = self.control.instance(), peer = %self.client.address, code, reason, "closed");
            farewell_to(&mut from_client, to_client, code, reason).await;
        }
    }

    /// Relays, and says with what the client has to be closed, if it was not.
    async fn relay(
        &self,
        from_client: &mut Side,
        to_application: &mut OwnedWriteHalf,
        from_application: &mut Side,
        to_client: &mut OwnedWriteHalf,
    ) -> Option<(u16, &'static str)> {
        let moved = (RESTART, "the instance has moved: connect again");
        let (told, until) = watch::channel(None);
        let mut upward = pin!(self.upward(from_client, to_application));
        let mut downward = pin!(downward(from_application, to_client, until));
        tokio::select! {
            end = &mut upward => match end {
                // The application answers the close, or ends.
                End::Closed => {
                    let _ = timeout(CLOSE_WAIT, downward).await;
                    None
                }
                End::Gone => None,
                End::Breach(breach) => Some((breach.code(), "frames that are not relayed")),
                End::Late => Some((TRY_AGAIN_LATER, "a message waited too long and was not passed on")),
                End::Full => Some((TRY_AGAIN_LATER, "no room for a message, which was not passed on")),
                End::Left => {
                    told.send_replace(Some(Instant::now() + CLOSE_WAIT));
                    match timeout(CLOSE_WAIT * 2, downward).await {
                        // It closed the client in its own words.
                        Ok(End::Closed) | Err(_) => None,
                        Ok(End::Gone | End::Breach(_) | End::Left | End::Late | End::Full) => Some(moved),
                    }
                }
            },
            end = &mut downward => match end {
                // The client answers the close.
                End::Closed => {
                    let _ = timeout(CLOSE_WAIT, upward).await;
                    None
                }
                End::Breach(breach) => Some((FAILED, match breach {
                    Breach::Form => "the application broke the rules",
                    Breach::TooLong => "a message of the application is too long",
                })),
                End::Full => Some((TRY_AGAIN_LATER, "no room for a message of the application")),
                End::Gone | End::Left | End::Late => {
                    let view = *self.control.view().borrow();
                    let moves = view.parks || view.has_left(self.start);
                    Some(if moves { moved } else { (FAILED, "the application went away: connect again") })
                }
            },
        }
    }

    /// From the client to the application: stops between two messages.
    async fn upward(&self, client: &mut Side, application: &mut OwnedWriteHalf) -> End {
        let mut view = self.control.view();
        loop {
            let unit = tokio::select! {
                biased;
                _ = view.wait_for(|view| view.has_left(self.start)) => Err(End::Left),
                unit = client.next() => unit,
            };
            let unit = match unit {
                Ok(Unit::Message(bytes)) => {
                    self.pass(client, &bytes, &mut view).await.map(|()| (bytes, false))
                }
                Ok(Unit::Control(bytes)) => Ok((bytes, false)),
                Ok(Unit::Close(bytes)) => Ok((bytes, true)),
                Err(end) => Err(end),
            };
            let (bytes, closes) = match unit {
                Ok(unit) => unit,
                Err(end) => {
                    if let Some(code) = farewell_of(&end) {
                        let _ =
                            timeout(CLOSE_WAIT, application.write_all(&close(From::Application, code, "")))
                                .await;
                    }
                    return end;
                }
            };
            if application.write_all(&bytes).await.is_err() {
                // What it has said before it went is still to be delivered.
                std::future::pending::<()>().await;
            }
            if closes {
                return End::Closed;
            }
        }
    }

    /// Waits until a message may be passed on, or has waited for as long as a request may. To wait, it needs a place and
    /// room.
    async fn pass(
        &self,
        client: &mut Side,
        message: &Bytes,
        view: &mut watch::Receiver<View>,
    ) -> Result<(), End> {
        let now = *view.borrow_and_update();
        if !now.parks || now.has_left(self.start) {
            return if now.has_left(self.start) { Err(End::Left) } else { Ok(()) };
        }
        let _place = self.control.withhold().ok_or(End::Full)?;
        client.take_room_for(message)?;
        let decided = |view: &View| !view.parks || view.has_left(self.start);
        match timeout(self.control.parked_wait_max(), view.wait_for(decided)).await {
            Ok(Ok(view)) if !view.has_left(self.start) => Ok(()),
            Ok(_) => Err(End::Left),
            Err(_) => Err(End::Late),
        }
    }
}

/// With what the application is closed when nothing comes from the client any more.
fn farewell_of(end: &End) -> Option<u16> {
    match end {
        End::Left => Some(RESTART),
        End::Late | End::Full => Some(TRY_AGAIN_LATER),
        End::Breach(breach) => Some(breach.code()),
        End::Closed | End::Gone => None,
    }
}

/// From the application to the client. Once `until` is told, it ends there, or when the application is quiet.
async fn downward(
    application: &mut Side,
    client: &mut OwnedWriteHalf,
    mut until: watch::Receiver<Option<Instant>>,
) -> End {
    loop {
        let unit = tokio::select! {
            biased;
            unit = application.next() => unit,
            () = quiet(&mut until) => return End::Left,
        };
        let (bytes, closes) = match unit {
            Ok(Unit::Message(bytes) | Unit::Control(bytes)) => (bytes, false),
            // It answers the close it was told; the client gets the gateway's own words.
            Ok(Unit::Close(_)) if until.borrow().is_some() => return End::Left,
            Ok(Unit::Close(bytes)) => (bytes, true),
            Err(end) => return end,
        };
        if client.write_all(&bytes).await.is_err() {
            return End::Gone;
        }
        if closes {
            return End::Closed;
        }
        if until.borrow().is_some_and(|until| until <= Instant::now()) {
            return End::Left;
        }
    }
}

/// Ready when the application, having been told to close, has been quiet for long enough.
async fn quiet(until: &mut watch::Receiver<Option<Instant>>) {
    let told = until.wait_for(Option::is_some).await.ok().and_then(|it| *it);
    let Some(until) = told else { return std::future::pending().await };
    sleep_until(until.min(Instant::now() + QUIET_WAIT).into()).await;
}

/// Closes the client, and hears it out: a socket that is closed with something unread loses what was sent last.
async fn farewell_to(client: &mut Side, mut to_client: OwnedWriteHalf, code: u16, reason: &str) {
    let said = async {
        to_client.write_all(&close(From::Client, code, reason)).await?;
        to_client.shutdown().await?;
        loop {
            client.read.clear();
            if client.socket.read_buf(&mut client.read).await? == 0 {
                return Ok::<_, std::io::Error>(());
            }
        }
    };
    let _ = timeout(CLOSE_WAIT, said).await;
}
