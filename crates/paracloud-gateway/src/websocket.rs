//! A WebSocket, after the application has answered its handshake.
//!
//! Whole messages are relayed, both ways. While the table parks, a client's messages stay with the gateway, and what the
//! application says goes on. Once its process is no longer the owner, the application is told to close; what it says
//! until it does is delivered, then the client gets a close with 1012. After a move that was called off the client's
//! messages just go on. A message that waited for as long as a request may wait closes its client with 1013, and so does
//! one for which there is no room, or no place among those that wait: it has reached nobody.

use crate::bounds::{CLOSE_WAIT, QUIET_WAIT};
use crate::choice::Tally;
use crate::control::{Control, View, WebSocket};
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
use tokio::time::{sleep_until, timeout, timeout_at};

/// The client has to connect again: its instance is served by another process.
const RESTART: u16 = 1012;
/// The application went away, and nothing is known of a move.
const FAILED: u16 = 1011;
/// A message waited for too long, or found no room, and was not passed on.
const TRY_AGAIN_LATER: u16 = 1013;

/// A WebSocket between a client and one process.
#[derive(Debug)]
pub(crate) struct Tunnel {
    /// Until its client was told, or was not there any more.
    pub(crate) counted: WebSocket,
    /// Its place among several instances, for as long as it is relayed.
    pub(crate) _tally: Option<Tally>,
    pub(crate) control: Arc<Control>,
    /// For messages.
    pub(crate) room: Arc<Room>,
    pub(crate) client: Client,
    pub(crate) start: StartId,
}

impl Tunnel {
    /// Relays until one side ends, or the instance has moved.
    pub(crate) async fn run(self, upgrade: OnUpgrade, connection: Connection) {
        let Some((application, beyond)) = connection.into_stream().await else { return };
        let Ok(upgraded) = upgrade.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else { return };
        let (from_client, mut to_client) = parts.io.into_inner().into_split();
        let (from_application, mut to_application) = application.into_split();
        let mut from_client = Side::new(from_client, &parts.read_buf, From::Client, &self.room);
        let mut from_application = Side::new(from_application, &beyond, From::Application, &self.room);
        let farewell =
            self.relay(&mut from_client, &mut to_application, &mut from_application, &mut to_client).await;
        drop((to_application, from_application));
        let Self { counted, control, client, .. } = self;
        match farewell {
            Last::Done => {}
            Last::Cut => control.saw(|seen| seen.streams_cut += 1),
            Last::Close(code, reason) => {
                tracing::debug!(instance = control.instance(), peer = ?client.address, code, reason, "closed");
                let until = Instant::now() + CLOSE_WAIT;
                match timeout_at(until.into(), say_farewell(&mut to_client, code, reason)).await {
                    Ok(Ok(())) if code == RESTART => control.saw(|seen| seen.websockets_closed += 1),
                    Err(_) if code == RESTART => control.saw(|seen| seen.streams_cut += 1),
                    // That of a client which is gone, and of one that was not closed for a move.
                    Ok(Ok(())) | Ok(Err(_)) | Err(_) => {}
                }
                drop(counted);
                hear_out(&mut from_client, until).await;
            }
        }
    }

    /// Relays, and says with what the client has to be closed, if it was not.
    async fn relay(
        &self,
        from_client: &mut Side,
        to_application: &mut OwnedWriteHalf,
        from_application: &mut Side,
        to_client: &mut OwnedWriteHalf,
    ) -> Last {
        let moved = Last::Close(RESTART, "the instance has moved: connect again");
        let (told, until) = watch::channel(None);
        let mut upward = pin!(self.upward(from_client, to_application));
        let mut downward = pin!(downward(from_application, to_client, until));
        tokio::select! {
            end = &mut upward => match end {
                // The application answers the close, or ends.
                End::Closed => {
                    let _ = timeout(CLOSE_WAIT, downward).await;
                    Last::Done
                }
                End::Gone => Last::Done,
                End::Breach(breach) => Last::Close(breach.code(), "frames that are not relayed"),
                End::Late => Last::Close(TRY_AGAIN_LATER, "a message waited too long and was not passed on"),
                End::Full => Last::Close(TRY_AGAIN_LATER, "no room for a message, which was not passed on"),
                End::Left => {
                    told.send_replace(Some(Instant::now() + CLOSE_WAIT));
                    match timeout(CLOSE_WAIT * 2, downward).await {
                        // It closed the client in its own words.
                        Ok(End::Closed) => Last::Done,
                        // The client reads nothing, in the middle of a message.
                        Err(_) => Last::Cut,
                        Ok(End::Gone | End::Breach(_) | End::Left | End::Late | End::Full) => moved,
                    }
                }
            },
            end = &mut downward => match end {
                // The client answers the close.
                End::Closed => {
                    let _ = timeout(CLOSE_WAIT, upward).await;
                    Last::Done
                }
                End::Breach(breach) => Last::Close(FAILED, match breach {
                    Breach::Form => "the application broke the rules",
                    Breach::TooLong => "a message of the application is too long",
                }),
                End::Full => Last::Close(TRY_AGAIN_LATER, "no room for a message of the application"),
                End::Gone | End::Left | End::Late if self.control.moves_from(self.start) => moved,
                End::Gone | End::Left | End::Late => {
                    Last::Close(FAILED, "the application went away: connect again")
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
            tokio::select! {
                biased;
                // What it has said before it went is still to be delivered: a write that failed ends nothing.
                Ok(()) = application.write_all(&bytes) => {}
                _ = view.wait_for(|view| view.has_left(self.start)) => return End::Left,
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
        let withheld = self.withheld(client, message, view).await;
        if matches!(withheld, Err(End::Late | End::Full)) {
            self.control.saw(|seen| seen.failed += 1);
        }
        withheld
    }

    async fn withheld(
        &self,
        client: &mut Side,
        message: &Bytes,
        view: &mut watch::Receiver<View>,
    ) -> Result<(), End> {
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

/// What is left to do for a client when nothing is relayed any more.
enum Last {
    /// Nothing: it was closed, or is gone.
    Done,
    /// It cannot be told anything.
    Cut,
    /// It is closed with this.
    Close(u16, &'static str),
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

/// Closes the client.
async fn say_farewell(to_client: &mut OwnedWriteHalf, code: u16, reason: &str) -> std::io::Result<()> {
    to_client.write_all(&close(From::Client, code, reason)).await?;
    to_client.shutdown().await
}

/// Hears the client out: a socket that is closed with something unread loses what was sent last.
async fn hear_out(client: &mut Side, until: Instant) {
    let heard = async {
        loop {
            client.read.clear();
            if client.socket.read_buf(&mut client.read).await? == 0 {
                return Ok::<_, std::io::Error>(());
            }
        }
    };
    let _ = timeout_at(until.into(), heard).await;
}
