//! The WebSocket clients: each keeps its session over as many connections as it takes.

use crate::clients::{Clients, Mood};
use crate::get::{self, Summary};
use crate::loss::Gap;
use crate::session::{Faults, Forgotten, FromServer, Session, ToServer};
use crate::wire;
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, client_async};

/// First pause before a second try to connect; it doubles. The first try comes at once.
const RETRY_MS_MIN: u64 = 20;
/// Longest pause between two tries to connect.
const RETRY_MS_MAX: u64 = 500;
/// How long a handshake may take. It is more than a gateway parks.
const HANDSHAKE_MS_MAX: u64 = 60_000;
/// The close code that stands for a connection that ended without one.
pub const CLOSE_CUT: u16 = 1006;

/// The close code of a server that was told of sequences it does not know.
const CLOSE_PROTOCOL: u16 = 1002;

/// What the WebSocket clients saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketsSeen {
    /// Sessions.
    pub sessions: u32,
    /// Sessions that did not come to rest in time, and of which nothing is said.
    pub unsettled: u32,
    /// Messages of the clients that were acknowledged.
    pub acknowledged: u64,
    /// Messages of the server that came.
    pub received: u64,
    /// Messages that were lost, in either direction.
    pub lost: u64,
    /// Messages that came more than once, in either direction.
    pub repeated: u64,
    /// Connections that the other side ended, by close code; [`CLOSE_CUT`]: without one.
    pub closes: BTreeMap<u16, u64>,
    /// Connections after a session's first one.
    pub reconnects: u64,
    /// Most tries that one reconnection took; 1: the first succeeded.
    pub tries_max: u32,
}

impl SocketsSeen {
    /// Adds what another saw.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.unsettled += other.unsettled;
        self.acknowledged += other.acknowledged;
        self.received += other.received;
        self.lost += other.lost;
        self.repeated += other.repeated;
        other.closes.iter().for_each(|(code, count)| *self.closes.entry(*code).or_default() += count);
        self.reconnects += other.reconnects;
        self.tries_max = self.tries_max.max(other.tries_max);
    }
}

/// What a session found when it had settled.
#[derive(Debug)]
pub(crate) struct Settled {
    /// The number of that settling.
    pub(crate) time: u32,
    pub(crate) seen: SocketsSeen,
    /// What is lost and repeated in it, by who had it.
    pub(crate) gaps: Vec<Gap>,
}

/// One session, until the clients leave.
pub(crate) async fn run(clients: Arc<Clients>, number: u16, settled: mpsc::Sender<Settled>) {
    let mut client = Client {
        session: Session::new(clients.run, number),
        mood: clients.mood.subscribe(),
        gateway: usize::from(number),
        seen: SocketsSeen::default(),
        settled_at: None,
        settled,
        clients,
    };
    let mut is_first = true;
    while !client.is_leaving() {
        let Some(stream) = client.connect(is_first).await else { return };
        is_first = false;
        match client.converse(stream).await {
            End::Left => return,
            End::Forgotten => client.session.renew(),
            End::Closed(code) => *client.seen.closes.entry(code).or_default() += 1,
        }
    }
}

struct Client {
    clients: Arc<Clients>,
    session: Session,
    mood: watch::Receiver<Mood>,
    gateway: usize,
    /// Since the last settling.
    seen: SocketsSeen,
    /// The last settling that it reported for.
    settled_at: Option<u32>,
    settled: mpsc::Sender<Settled>,
}

/// How a connection ended.
enum End {
    /// The clients leave.
    Left,
    /// The server knows another history of the session.
    Forgotten,
    /// The other side closed.
    Closed(u16),
}

type Socket = WebSocketStream<TcpStream>;

impl Client {
    fn is_leaving(&self) -> bool {
        *self.mood.borrow() == Mood::Leaving
    }

    /// Tries until there is a connection. `None`: the clients leave.
    async fn connect(&mut self, is_first: bool) -> Option<Socket> {
        let (mut tries, mut pause_ms) = (1, RETRY_MS_MIN);
        loop {
            let target = self.session.target();
            let address = self.clients.pool(self.gateway).address();
            let handshake = async {
                let stream = TcpStream::connect(address).await.ok()?;
                stream.set_nodelay(true).ok()?;
                client_async(format!("ws://{address}{target}"), stream).await.ok()
            };
            let connected = tokio::select! {
                _ = self.mood.wait_for(|mood| *mood == Mood::Leaving) => return None,
                connected = timeout(Duration::from_millis(HANDSHAKE_MS_MAX), handshake) => connected.ok().flatten(),
            };
            if let Some((socket, response)) = connected {
                self.session.is_connected_to(wire::by(response.headers()));
                if !is_first {
                    self.seen.reconnects += 1;
                    self.seen.tries_max = self.seen.tries_max.max(tries);
                }
                return Some(socket);
            }
            tokio::select! {
                _ = self.mood.wait_for(|mood| *mood == Mood::Leaving) => return None,
                () = sleep(Duration::from_millis(pause_ms)) => {}
            }
            self.gateway += 1;
            tries += 1;
            pause_ms = (pause_ms * 2).min(RETRY_MS_MAX);
        }
    }

    async fn converse(&mut self, mut socket: Socket) -> End {
        let mut ticks = ticks(self.clients.config.socket_message_ms);
        let mut has_resumed = false;
        loop {
            let mood = *self.mood.borrow_and_update();
            match mood {
                Mood::Leaving => {
                    // It says goodbye; whether that arrives changes nothing.
                    drop(socket.close(None).await);
                    return End::Left;
                }
                Mood::Settling(time) if has_resumed && self.session.is_settled() => {
                    if self.settle(time).await.is_err() {
                        return End::Forgotten;
                    }
                }
                Mood::Settling(_) | Mood::Sending => {}
            }
            let may_send = has_resumed && mood == Mood::Sending;
            let out = tokio::select! {
                changed = self.mood.changed() => if changed.is_ok() { continue } else { return End::Left },
                _ = ticks.tick(), if may_send => self.session.next().into_iter().collect(),
                message = socket.next() => match message {
                    Some(Ok(Message::Close(frame))) if code(frame.as_ref()) == CLOSE_PROTOCOL => {
                        // It was sent an acknowledgement of what it does not know: a server that began anew.
                        let _forgotten = self.session.resume(0);
                        return End::Forgotten;
                    }
                    Some(Ok(Message::Close(frame))) => return End::Closed(code(frame.as_ref())),
                    Some(Ok(Message::Text(text))) => match self.heard(text.as_str(), &mut has_resumed) {
                        Ok(out) => out,
                        Err(Forgotten) => return End::Forgotten,
                    },
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return End::Closed(CLOSE_CUT),
                },
            };
            for message in out {
                let text = serde_json::to_string(&message).expect("numbers and text are JSON");
                // A connection that takes nothing any more says why when it is read.
                if socket.send(Message::text(text)).await.is_err() {
                    break;
                }
            }
        }
    }

    fn heard(&mut self, text: &str, has_resumed: &mut bool) -> Result<Vec<ToServer>, Forgotten> {
        match serde_json::from_str(text) {
            Ok(FromServer::Ack { ack }) if !*has_resumed => {
                *has_resumed = true;
                self.session.resume(ack)
            }
            Ok(FromServer::Ack { ack }) => self.session.ack(ack).map(|()| Vec::new()),
            Ok(FromServer::Message { seq, text }) => {
                self.seen.received += 1;
                Ok(vec![self.session.receive(seq, &text)])
            }
            Err(_) => {
                self.session.is_garbled();
                Err(Forgotten)
            }
        }
    }

    /// Compares once for each settling, and reports.
    async fn settle(&mut self, time: u32) -> Result<(), Forgotten> {
        if self.settled_at == Some(time) {
            return Ok(());
        }
        self.settled_at = Some(time);
        let mut compared = Ok(());
        if self.session.has_sent() {
            let pools = self.clients.pools_from(self.gateway);
            let Ok(Summary { kept, by }) = get::kept(&pools, &self.session.id()).await else {
                return Ok(());
            };
            compared = self.session.compare(kept.as_ref(), by);
        }
        let (Faults { lost, repeated }, gaps) = self.session.take_faults();
        let acknowledged = self.session.take_acknowledged();
        let seen = std::mem::take(&mut self.seen);
        let seen = SocketsSeen { sessions: 1, acknowledged, lost, repeated, ..seen };
        // Nobody waits any more: that session counts as unsettled.
        drop(self.settled.send(Settled { time, seen, gaps }).await);
        compared
    }
}

fn ticks(every_ms: u32) -> Interval {
    let mut ticks = interval(Duration::from_millis(every_ms.into()));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

fn code(frame: Option<&CloseFrame>) -> u16 {
    frame.map_or(1005, |frame| frame.code.into())
}
