//! WebSocket connections: each carries one session, and each message is one guarded step.

use crate::answer::{self, Body};
use crate::talk::{Fault, FromClient, FromServer, Talk};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use paracloud_sdk::Paci;
use paracloud_sdk::state::{Map, TransactError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

/// Longest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Longest id of a session, in bytes.
const ID_BYTES_MAX: usize = 64;
/// Sessions that are kept. One more is refused with 503.
const SESSIONS_MAX: usize = 100_000;

const PROTOCOL: u16 = 1002;
const UNSUPPORTED: u16 = 1003;
const RULE: u16 = 1008;
const RESTARTS: u16 = 1012;
const REPLACED: u16 = 4001;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// All sessions, and the connections that carry them. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Sockets {
    paci: Paci,
    talks: Map,
    connections: Arc<Mutex<Connections>>,
}

/// The connection of each session, which ends when another takes its place.
#[derive(Debug, Default)]
struct Connections {
    last: u64,
    by_session: HashMap<String, (Place, oneshot::Sender<()>)>,
}

/// The place of a connection at its session.
#[derive(Debug, Clone)]
struct Place {
    number: u64,
    /// Whose place it is now. Locked while a step is taken: what another connection was greeted with is not changed behind it.
    newest: Arc<Mutex<u64>>,
}

impl Place {
    /// Takes a step, if the place is not another one's by now.
    fn take<T>(&self, step: impl FnOnce() -> T) -> Option<T> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        (*newest == self.number).then(step)
    }
}

impl Sockets {
    pub(crate) fn new(paci: Paci, talks: Map) -> Self {
        Self { paci, talks, connections: Arc::default() }
    }

    /// What is kept of a session.
    pub(crate) fn summary(&self, id: &str) -> Response<Body> {
        match self.talks.get(id) {
            Ok(Some(record)) => match serde_json::from_slice::<Talk>(&record) {
                Ok(talk) => answer::json(&talk.summary()),
                Err(_) => answer::line(StatusCode::INTERNAL_SERVER_ERROR, "the session cannot be read"),
            },
            Ok(None) => answer::line(StatusCode::NOT_FOUND, "there is no such session"),
            Err(refused) => answer::of_sdk(refused.into_response()),
        }
    }

    /// The handshake. What follows it takes its own guards.
    pub(crate) fn upgrade<B>(&self, mut request: Request<B>) -> Response<Body> {
        let bad = |why| answer::line(StatusCode::BAD_REQUEST, why);
        let Some((id, ack)) = query(request.uri().query().unwrap_or_default()) else {
            return bad(
                "want ?session={1 to 64 letters, digits, - and _} and, if there is one, &ack={a number}",
            );
        };
        let headers = request.headers();
        let is_version_13 = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
        let key = headers.get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
        let (Some(accept), true) = (key, is_version_13) else {
            return bad("want a WebSocket handshake, version 13");
        };
        let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
            return bad("want Connection: Upgrade and Upgrade: websocket");
        };
        match self.talks.len() {
            Ok(sessions) if sessions < SESSIONS_MAX => {}
            Ok(_) => return answer::line(StatusCode::SERVICE_UNAVAILABLE, "there are too many sessions"),
            Err(refused) => return answer::of_sdk(refused.into_response()),
        }
        let sockets = self.clone();
        tokio::spawn(async move {
            if let Ok(upgraded) = upgrade.await {
                sockets.carry(id, ack, TokioIo::new(upgraded)).await;
            }
        });
        let mut response = Response::new(answer::full(bytes::Bytes::new()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let accept = HeaderValue::from_str(&accept).expect("base64 is visible ASCII");
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        response
    }

    /// Carries a session until its connection ends.
    async fn carry(&self, id: String, ack: u32, upgraded: TokioIo<Upgraded>) {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
        let (place, replaced) = self.register(&id);
        let connection = Connection { sockets: self, id: &id, place: &place, socket };
        connection.run(ack, replaced).await;
        let mut connections = self.connections();
        if connections.by_session.get(&id).is_some_and(|(of, _)| of.number == place.number) {
            connections.by_session.remove(&id);
        }
    }

    fn register(&self, id: &str) -> (Place, oneshot::Receiver<()>) {
        let (end, replaced) = oneshot::channel();
        let mut connections = self.connections();
        connections.last += 1;
        let number = connections.last;
        let before = connections.by_session.get(id).map(|(place, _)| Arc::clone(&place.newest));
        let newest = before.unwrap_or_default();
        *newest.lock().unwrap_or_else(PoisonError::into_inner) = number;
        let place = Place { number, newest };
        // The one before is told by its sender being dropped.
        connections.by_session.insert(id.to_owned(), (place.clone(), end));
        (place, replaced)
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step of a session, under one guard.
    fn step(
        &self,
        id: &str,
        step: impl FnOnce(&mut Talk) -> Result<Vec<FromServer>, Fault>,
    ) -> Result<Result<Vec<FromServer>, Fault>, TransactError> {
        let guard = self.paci.enter("GET /ws")?;
        guard.run(|| {
            self.talks.try_transact(|txn| {
                let record = txn.get(id);
                // A record of ours is JSON of ours.
                let mut talk = record
                    .and_then(|record| serde_json::from_slice::<Talk>(&record).ok())
                    .unwrap_or_default();
                let said = step(&mut talk)?;
                txn.put(id, serde_json::to_vec(&talk).expect("numbers and text are JSON"));
                Ok(said)
            })
        })
    }
}

struct Connection<'a> {
    sockets: &'a Sockets,
    id: &'a str,
    place: &'a Place,
    socket: Socket,
}

/// How a connection goes on.
enum Next {
    On,
    /// Close with this code and reason.
    Close(u16, String),
    /// The other side is gone.
    Gone,
}

impl Connection<'_> {
    async fn run(mut self, ack: u32, mut replaced: oneshot::Receiver<()>) {
        let mut next = self.step(|talk| talk.greet(ack)).await;
        while matches!(next, Next::On) {
            next = tokio::select! {
                _ = &mut replaced => replaced_by_another(),
                message = self.socket.next() => match message {
                    Some(Ok(message)) => self.heard(message).await,
                    Some(Err(_)) | None => Next::Gone,
                },
            };
        }
        if let Next::Close(code, reason) = next {
            let frame = CloseFrame { code: code.into(), reason: reason.into() };
            // Who is gone already is not told.
            drop(self.socket.close(Some(frame)).await);
        }
    }

    async fn heard(&mut self, message: Message) -> Next {
        match message {
            Message::Text(text) => match serde_json::from_str::<FromClient>(text.as_str()) {
                Ok(message) => self.step(|talk| talk.hear(message.clone())).await,
                Err(_) => Next::Close(UNSUPPORTED, "the message is none of those in the README".to_owned()),
            },
            Message::Binary(_) | Message::Frame(_) => Next::Close(UNSUPPORTED, "want text".to_owned()),
            Message::Close(_) => Next::Gone,
            Message::Ping(_) | Message::Pong(_) => Next::On,
        }
    }

    /// Takes a step and says what came of it.
    ///
    /// A message that met a closed gate waits: a move that is rolled back goes on with it. If the move is committed this
    /// process ends, and the client, which got no acknowledgement, sends it again to the next owner.
    async fn step(&mut self, step: impl Fn(&mut Talk) -> Result<Vec<FromServer>, Fault>) -> Next {
        let said = loop {
            let Some(taken) = self.place.take(|| self.sockets.step(self.id, &step)) else {
                return replaced_by_another();
            };
            match taken {
                Ok(Ok(said)) => break said,
                Ok(Err(fault)) => return Next::Close(code(fault), fault.to_string()),
                Err(TransactError::Refused(_)) => self.sockets.paci.serving().await,
                Err(TransactError::RecordTooLarge { .. }) => {
                    return Next::Close(RESTARTS, "the session is too large".to_owned());
                }
                Err(TransactError::Nested) => {
                    return Next::Close(RESTARTS, "a step began inside of another one".to_owned());
                }
            }
        };
        for message in &said {
            let text = serde_json::to_string(message).expect("numbers and text are JSON");
            // The guard has ended: a client that does not read must not keep the instance from moving. What is lost on the
            // way is part of the state, and comes again with the next connection.
            if self.socket.feed(Message::text(text)).await.is_err() {
                return Next::Gone;
            }
        }
        if self.socket.flush().await.is_err() { Next::Gone } else { Next::On }
    }
}

fn replaced_by_another() -> Next {
    Next::Close(REPLACED, "a newer connection of the session is there".to_owned())
}

fn code(fault: Fault) -> u16 {
    match fault {
        Fault::Gap | Fault::AckUnsent => PROTOCOL,
        Fault::TextTooLong | Fault::Unacknowledged => RULE,
    }
}

/// Session and acknowledgement of a query.
fn query(query: &str) -> Option<(String, u32)> {
    let find = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name));
    let id = find("session=")?;
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let fits = (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_id);
    let ack = find("ack=").map_or(Some(0), |ack| ack.parse().ok())?;
    fits.then(|| (id.to_owned(), ack))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_takes_no_step_once_another_one_carries_its_session() {
        let paci = Paci::from_env().unwrap();
        let sockets = Sockets::new(paci.clone(), paci.map("talks").unwrap());
        let (before, _replaced) = sockets.register("a");
        assert_eq!(before.take(|| 1), Some(1));
        let (other, _) = sockets.register("b");
        let (after, _) = sockets.register("a");
        assert_eq!(before.take(|| 1), None, "what came on it is sent again on the newer one");
        assert_eq!((after.take(|| 1), other.take(|| 1)), (Some(1), Some(1)));
    }

    #[test]
    fn a_query_names_session_and_acknowledgement() {
        assert_eq!(query("session=a-1_B&ack=7"), Some(("a-1_B".into(), 7)));
        assert_eq!(query("ack=7&session=a"), Some(("a".into(), 7)));
        assert_eq!(query("session=a"), Some(("a".into(), 0)));
        for bad in
            ["", "session=", "session=a%20b", "session=a&ack=many", &format!("session={}", "x".repeat(65))]
        {
            assert_eq!(query(bad), None, "{bad}");
        }
    }
}
