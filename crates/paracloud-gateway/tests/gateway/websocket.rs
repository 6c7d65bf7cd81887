//! WebSockets: whole messages, and a clean end.

use crate::application::{Application, RawApplication};
use crate::client::Raw;
use crate::world::{Controller, World, soon};
use paracloud_core::migration::gateway::Route;
use paracloud_substrate::config::Parking;
use paracloud_substrate::seen::Seen;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;

pub(crate) const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
pub(crate) const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const CLOSE: u8 = 0x88;
/// Whoever sends much sends so much at once, in bytes.
const CHUNK: usize = 64 << 10;

/// A frame of a client, masked with zeros so that a test can read it.
pub(crate) fn masked(kind: u8, text: &[u8]) -> Vec<u8> {
    [&[kind, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0], text].concat()
}

/// A frame of an application.
fn plain(kind: u8, text: &[u8]) -> Vec<u8> {
    [&[kind, u8::try_from(text.len()).unwrap()], text].concat()
}

/// A close frame's payload begins with its code.
pub(crate) fn code(code: u16) -> [u8; 2] {
    code.to_be_bytes()
}

pub(crate) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|it| it == part)
}

/// Both ends of a WebSocket through the gateway.
pub(crate) async fn connected(world: &World, source: &RawApplication) -> (Raw, Raw) {
    let mut client = Raw::connect(world.address).await;
    client.say(HANDSHAKE).await;
    let mut application = source.accept().await;
    let request = application.until("\r\n\r\n").await.to_lowercase();
    for wanted in ["connection: upgrade", "upgrade: websocket", "sec-websocket-key: dghl", "get /ws "] {
        assert!(request.contains(wanted), "{request}");
    }
    application.say(SWITCH).await;
    let answer = client.until("\r\n\r\n").await.to_lowercase();
    for wanted in
        ["http/1.1 101", "connection: upgrade", "upgrade: websocket", "s3pplmbitxaq9kygzzhzrbk+xoo="]
    {
        assert!(answer.contains(wanted), "{answer}");
    }
    (client, application)
}

/// The same process, after a move that was called off.
pub(crate) fn again(route: Route) -> Route {
    Route { incarnation: route.incarnation.next(), ..route }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_pass_both_ways_and_nobody_counts_as_outstanding() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let (mut client, mut application) = connected(&world, &source).await;
    client.say(masked(TEXT, b"hello")).await;
    application.until("hello").await;
    application.say(plain(TEXT, b"welcome")).await;
    client.until("welcome").await;
    controller.obeyed(2, true, Some(source.route)).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_never_sees_half_a_message() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let (mut client, mut application) = connected(&world, &source).await;
    // A first frame, then a ping: what passes is the ping alone.
    client.say(masked(0x01, b"first ")).await;
    client.say(masked(0x89, b"ping")).await;
    assert_eq!(
        application.until("ping").await.as_bytes(),
        String::from_utf8_lossy(&masked(0x89, b"ping")).as_bytes()
    );
    client.say(masked(0x80, b"second")).await;
    application.until("second").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_move_that_was_called_off_withheld_messages_go_on() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let (mut client, mut application) = connected(&world, &source).await;
    controller.obeyed(2, true, Some(source.route)).await;
    client.say(masked(TEXT, b"withheld")).await;
    // What the application says goes on.
    application.say(plain(TEXT, b"tick")).await;
    client.until("tick").await;
    controller.obeyed(3, false, Some(again(source.route))).await;
    application.until("withheld").await;
    application.say(plain(TEXT, b"got it")).await;
    client.until("got it").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_waited_for_as_long_as_a_request_may_closes_its_client_with_1013_and_reaches_nobody() {
    let parking = Parking { parked_ms_max: 200, ..Parking::default() };
    let (world, mut controller) = World::new(parking).await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let (mut client, mut application) = connected(&world, &source).await;
    controller.obeyed(2, true, Some(source.route)).await;
    client.say(masked(TEXT, b"withheld")).await;
    let seen = client.rest().await;
    assert_eq!((seen[0], &seen[2..4]), (CLOSE, &code(1013)[..]), "{seen:?}");
    assert!(!contains(&application.rest().await, b"withheld"));
    controller.obeyed(3, false, Some(again(source.route))).await;
    assert_eq!(controller.whole_pause().await.seen, Seen { failed: 1, ..Seen::default() });
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_move_everything_that_was_said_is_delivered_then_the_client_is_closed_with_1012() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (RawApplication::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    let (mut client, mut application) = connected(&world, &source).await;
    controller.obeyed(2, true, Some(source.route)).await;
    client.say(masked(TEXT, b"withheld")).await;
    application.say(plain(TEXT, b"last words")).await;
    controller.obeyed(3, false, Some(target.route)).await;
    application.until(&String::from_utf8_lossy(&code(1012))).await;
    application.say(plain(TEXT, b"very last")).await;
    application.say(plain(CLOSE, &code(1012))).await;
    let seen = client.rest().await;
    let said = [plain(TEXT, b"last words"), plain(TEXT, b"very last")].concat();
    assert!(seen.starts_with(&said), "{seen:?}");
    assert_eq!(seen[said.len()], CLOSE);
    assert_eq!(seen[said.len() + 2..][..2], code(1012));
    assert!(!contains(&application.rest().await, b"withheld"));
    let told = controller.whole_pause().await;
    assert_eq!(told.seen, Seen { websockets_closed: 1, ..Seen::default() });
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_that_cannot_be_closed_because_its_client_reads_nothing_counts_as_cut() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (RawApplication::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    let (client, application) = connected(&world, &source).await;
    let application = Flood::new(application, long_message(&[]));
    controller.obeyed(2, true, Some(source.route)).await;
    controller.obeyed(3, false, Some(target.route)).await;
    let told = controller.whole_pause().await;
    assert_eq!(told.seen, Seen { streams_cut: 1, ..Seen::default() });
    application.ends().await;
    drop(client);
    world.end().await;
}

/// Somebody who sends the same again and again until it cannot, and reads nothing.
struct Flood {
    task: JoinHandle<()>,
    bytes: Arc<AtomicUsize>,
}

impl Flood {
    fn new(mut from: Raw, message: Vec<u8>) -> Self {
        let bytes = Arc::new(AtomicUsize::new(0));
        let sent = Arc::clone(&bytes);
        let task = tokio::spawn(async move {
            for at in (0..message.len()).cycle().step_by(CHUNK) {
                let end = message.len().min(at + CHUNK);
                if from.0.write_all(&message[at..end]).await.is_err() {
                    return;
                }
                sent.fetch_add(end - at, Ordering::Relaxed);
            }
        });
        Self { task, bytes }
    }

    /// Waits until it has sent all that anybody takes: the gateway has said much meanwhile, and it nothing.
    async fn is_stuck(&self, controller: &mut Controller, route: Route) {
        let mut last = (0, 0);
        soon("a connection that takes nothing more", async {
            while last.1 < 100 {
                controller.obeyed(2, false, Some(again(route))).await;
                let sent = self.bytes.load(Ordering::Relaxed);
                last = (sent, if sent > 0 && sent == last.0 { last.1 + 1 } else { 0 });
            }
        })
        .await;
    }

    async fn ends(self) {
        soon("the end of the connection", self.task).await.unwrap();
    }
}

/// A message of which no buffer takes many, as whole chunks.
fn long_message(mask: &[u8]) -> Vec<u8> {
    let length = 16 * CHUNK - 10 - mask.len();
    let marked = if mask.is_empty() { 127 } else { 0x80 | 127 };
    [&[0x82, marked][..], &(length as u64).to_be_bytes(), mask, &vec![b'x'; length]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_takes_nothing_keeps_no_client_from_being_closed_with_1012() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (RawApplication::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    let (client, application) = connected(&world, &source).await;
    let client = Flood::new(client, long_message(&[0; 4]));
    client.is_stuck(&mut controller, source.route).await;
    controller.obeyed(3, false, Some(target.route)).await;
    let told = controller.whole_pause().await;
    assert_eq!(told.seen, Seen { websockets_closed: 1, ..Seen::default() });
    client.ends().await;
    drop(application);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_ends_a_websocket_whose_application_is_gone_and_whose_client_reads_nothing_of_what_it_said() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (RawApplication::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    let (client, application) = connected(&world, &source).await;
    let (client, application) =
        (Flood::new(client, long_message(&[0; 4])), Flood::new(application, long_message(&[])));
    client.is_stuck(&mut controller, source.route).await;
    application.is_stuck(&mut controller, source.route).await;
    // It leaves something unread: what is written to it from now on fails.
    application.task.abort();
    assert!(application.task.await.unwrap_err().is_cancelled());
    controller.obeyed(3, false, Some(target.route)).await;
    client.ends().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_does_not_answer_a_close_keeps_no_client() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (RawApplication::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    let (mut client, mut application) = connected(&world, &source).await;
    application.say(plain(TEXT, b"said")).await;
    controller.obeyed(2, false, Some(target.route)).await;
    let seen = client.rest().await;
    assert!(seen.starts_with(&plain(TEXT, b"said")) && contains(&seen, &code(1012)), "{seen:?}");
    let told = controller.whole_pause().await;
    assert_eq!(told.seen, Seen { websockets_closed: 1, ..Seen::default() }, "also without a pause");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_dies_closes_its_clients_with_a_reason() {
    for (parks, wanted) in [(false, 1011), (true, 1012)] {
        let (world, mut controller) = World::usual().await;
        let source = RawApplication::new(1).await;
        controller.obeyed(1, false, Some(source.route)).await;
        let (mut client, mut application) = connected(&world, &source).await;
        controller.obeyed(2, parks, Some(source.route)).await;
        // Half a message of a dead application is no message.
        application.say(&plain(TEXT, b"half a message")[..6]).await;
        drop(application);
        let seen = client.rest().await;
        assert_eq!((seen[0], &seen[2..4]), (CLOSE, &code(wanted)[..]), "{seen:?}");
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_passes_in_the_words_of_whoever_said_it() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let (mut client, mut application) = connected(&world, &source).await;
    client.say(masked(CLOSE, b"\x03\xe8bye")).await;
    application.until("bye").await;
    application.say(plain(CLOSE, b"\x03\xe8bye too")).await;
    drop(application);
    let seen = client.rest().await;
    assert_eq!(seen, plain(CLOSE, b"\x03\xe8bye too"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_break_the_rules_close_both_ends() {
    let too_long = [&[0x82, 0xff][..], &(1u64 << 30).to_be_bytes(), &[0; 4]].concat();
    for (bytes, wanted) in [(plain(TEXT, b"not masked"), 1002), (too_long, 1009)] {
        let (world, mut controller) = World::usual().await;
        let source = RawApplication::new(1).await;
        controller.obeyed(1, false, Some(source.route)).await;
        let (mut client, mut application) = connected(&world, &source).await;
        client.say(&bytes).await;
        let seen = client.rest().await;
        assert_eq!((seen[0], &seen[2..4]), (CLOSE, &code(wanted)[..]), "{seen:?}");
        assert_eq!(application.rest().await, masked(CLOSE, &code(wanted)));
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_waits_and_is_sent_again_like_any_request() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (Application::new(1).await, RawApplication::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    source.seal();
    let mut client = Raw::connect(world.address).await;
    client.say(HANDSHAKE).await;
    source.refuses(1).await;
    controller.obeyed(2, true, Some(source.route)).await;
    controller.obeyed(3, false, Some(target.route)).await;
    let mut application = target.accept().await;
    application.until("\r\n\r\n").await;
    // The first message may come with the head.
    application.say([SWITCH.as_bytes(), &plain(TEXT, b"welcome")].concat()).await;
    client.until("welcome").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_the_application_declines_is_answered_in_its_words() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Raw::connect(world.address).await;
    client.say(HANDSHAKE).await;
    let mut application = source.accept().await;
    application.until("\r\n\r\n").await;
    application.say("HTTP/1.1 404 Not Found\r\ncontent-length: 7\r\n\r\nno such").await;
    assert!(client.until("no such").await.starts_with("HTTP/1.1 404"));
    world.end().await;
}
