//! Uploads and replies that last.

use crate::application::{Application, RawApplication};
use crate::client::Raw;
use crate::world::{World, order};
use paracloud_core::migration::message::{FromGateway, ToGateway};
use paracloud_substrate::seen::Seen;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
const EVENTS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";

/// A client that gets the beginning of a reply, and the application's end of it.
async fn streaming(world: &World, source: &RawApplication, head: &str) -> (Raw, Raw) {
    let mut client = Raw::connect(world.address).await;
    client.say("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut application = source.accept().await;
    application.until("\r\n\r\n").await;
    application.say(head).await;
    client.until("first").await;
    (client, application)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_upload_does_not_reach_the_application_before_it_is_complete() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Raw::connect(world.address).await;
    client.say("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 8\r\n\r\n").await;
    client.until("100 Continue").await;
    client.say("half").await;
    // Parking does not wait for it either.
    controller.obeyed(2, true, Some(source.route)).await;
    assert!(source.is_alone().await);
    controller.obeyed(3, false, Some(source.route)).await;
    client.say("half").await;
    let mut application = source.accept().await;
    application.until("halfhalf").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streaming_reply_keeps_no_gateway_from_parking_and_is_cut() {
    for head in [CHUNKED, EVENTS] {
        let (world, mut controller) = World::usual().await;
        let source = RawApplication::new(1).await;
        controller.obeyed(1, false, Some(source.route)).await;
        let (mut client, mut application) = streaming(&world, &source, head).await;
        controller.obeyed(2, true, Some(source.route)).await;
        assert_eq!(application.rest().await, b"", "the application is let go");
        let rest = client.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "the client sees that it is not whole");
        controller.obeyed(3, false, Some(source.route)).await;
        let told = controller.whole_pause().await;
        assert_eq!(told.seen, Seen { streams_cut: 1, ..Seen::default() });
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streaming_reply_that_nobody_reads_is_cut_too() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let (_client, mut application) = streaming(&world, &source, EVENTS).await;
    let writes = tokio::spawn(async move {
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
        loop {
            use tokio::io::AsyncWriteExt;
            if application.0.write_all(&chunk).await.is_err() {
                return;
            }
        }
    });
    controller.obeyed(2, true, Some(source.route)).await;
    crate::world::soon("the end of the connection", writes).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_young_reply_of_a_process_that_goes_is_cut_in_the_pause_once_it_is_old_enough_and_counts() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (RawApplication::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    let (mut client, application) = streaming(&world, &source, CHUNKED).await;
    controller.obeyed(2, true, Some(source.route)).await;
    drop(application);
    let rest = client.rest().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "the client sees that it is not whole");
    controller.obeyed(3, false, Some(target.route)).await;
    assert_eq!(controller.whole_pause().await.seen, Seen { streams_cut: 1, ..Seen::default() });
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_controller_may_not_have_heard_of_a_pause_is_told_again_on_the_next_link() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let (_client, mut application) = streaming(&world, &source, EVENTS).await;
    controller.obeyed(2, true, Some(source.route)).await;
    application.rest().await;
    controller.obeyed(3, false, Some(source.route)).await;
    let told = controller.whole_pause().await;
    drop(controller);
    let mut next = world.linked().await;
    assert_eq!(next.account(true).await, told);
    // So is what was seen of a pause that goes on over the end of a link.
    let (_client, mut application) = streaming(&world, &source, EVENTS).await;
    next.obeyed(4, true, Some(source.route)).await;
    application.rest().await;
    drop(next);
    let mut last = world.linked().await;
    last.obeyed(5, false, Some(source.route)).await;
    let later = last.whole_pause().await;
    assert!(later.began_unix_us > told.began_unix_us && later.seen.streams_cut == 1, "{later:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_says_when_the_last_stream_has_ended() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    controller.say(ToGateway::Leave { order: order(1) }).await;
    controller.hears(FromGateway::Drained { order: order(1) }).await;
    let (mut client, mut application) = streaming(&world, &source, CHUNKED).await;
    controller.say(ToGateway::Leave { order: order(2) }).await;
    // The next answer is that of the table: of the stream nothing is said yet.
    controller.table(1, false, Some(source.route)).await;
    assert_eq!(controller.next().await, FromGateway::Obeyed { order: order(1), parks: false });
    application.say("0\r\n\r\n").await;
    client.until("0\r\n\r\n").await;
    controller.hears(FromGateway::Drained { order: order(2) }).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_in_progress_is_cut_with_a_reason() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Raw::connect(world.address).await;
    client.say("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n").await;
    let mut application = source.accept().await;
    application.until("some").await;
    controller.say(ToGateway::Leave { order: order(1) }).await;
    controller.obeyed(2, true, Some(source.route)).await;
    let answer = client.until("}").await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("unknown"), "{answer}");
    assert!(answer.contains("instance moves"), "{answer}");
    application.rest().await;
    controller.obeyed(3, false, Some(source.route)).await;
    let told = controller.whole_pause().await;
    assert_eq!(told.seen, Seen { failed: 1, uploads_failed: 1, ..Seen::default() });
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_all_sent_is_a_request_like_any_other() {
    let (world, mut controller) = World::usual().await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    source.busy(true);
    let mut client = Raw::connect(world.address).await;
    client
        .say("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n0\r\n\r\n")
        .await;
    source.counts(1).await;
    controller.say(ToGateway::Leave { order: order(1) }).await;
    controller.hears(FromGateway::Drained { order: order(1) }).await;
    controller.table(2, true, Some(source.route)).await;
    source.busy(false);
    client.until("app 1").await;
    controller.hears(FromGateway::Obeyed { order: order(2), parks: true }).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_reply_passes_whole() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Raw::connect(world.address).await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let mut application = source.accept().await;
    application.until("\r\n\r\n").await;
    let body = vec![b'x'; 3 << 20];
    let said = tokio::spawn(async move {
        application.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())).await;
        application.say(&body).await;
        application
    });
    let reply = client.rest().await;
    let head = reply.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(reply.len() - head, 3 << 20);
    crate::world::soon("the application", said).await.unwrap();
    world.end().await;
}
