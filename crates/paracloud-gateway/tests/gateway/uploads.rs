//! Uploads that take long: who is waited for, and for how long.

use crate::application::RawApplication;
use crate::client::{Raw, answer, get, spawn, text};
use crate::world::{Controller, World, soon};
use paracloud_gateway::Terms;
use paracloud_substrate::config::Parking;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const BEGUN: &str = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n";
const REST: &str = "4\r\nrest\r\n0\r\n\r\n";
/// Long enough for an application that answers at once, on a machine that has much to do.
const REPLY_WAIT: Duration = Duration::from_secs(2);
const SHORT: Duration = Duration::from_millis(50);

/// A world with these bounds, and an upload of which the application has the beginning.
async fn begun(terms: Terms) -> (World, Controller, RawApplication, Raw, Raw) {
    let (world, mut controller) = World::on(Parking::default(), terms).await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Raw::connect(world.address).await;
    client.say(BEGUN).await;
    let mut application = source.accept().await;
    application.until("some").await;
    (world, controller, source, client, application)
}

fn assert_unknown(answer: &str, reason: &str) {
    let is_unknown = answer.starts_with("HTTP/1.1 502") && answer.contains("unknown");
    assert!(is_unknown && answer.contains(reason), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_may_take_longer_than_an_application_may_take_to_answer() {
    let terms = Terms { reply_wait: REPLY_WAIT, ..Terms::default() };
    let (world, _controller, source, mut client, mut application) = begun(terms).await;
    // A request that came later and is not answered says when that time is over.
    let later = spawn(world.address, get("/later"));
    let mut silent = source.accept().await;
    silent.until("/later").await;
    let late = answer(later).await;
    assert!(late.status() == 502 && text(&late).contains("did not answer in time"), "{late:?}");
    client.say(REST).await;
    application.until("rest").await;
    application.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let reply = client.until("ok").await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_client_is_silent_ends() {
    let terms = Terms { body_wait: SHORT, ..Terms::default() };
    let (world, _controller, _source, mut client, mut application) = begun(terms).await;
    assert_unknown(&client.until("}").await, "did not come in time");
    application.rest().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_has_all_of_an_upload_and_says_nothing_is_an_unknown_outcome() {
    let terms = Terms { reply_wait: SHORT, ..Terms::default() };
    let (world, _controller, _source, mut client, mut application) = begun(terms).await;
    client.say(REST).await;
    assert_unknown(&client.until("}").await, "did not answer in time");
    application.rest().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_takes_nothing_of_an_upload_is_an_unknown_outcome() {
    let terms = Terms { reply_wait: SHORT, ..Terms::default() };
    let (world, _controller, _source, mut client, _application) = begun(terms).await;
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
    let (mut answers, mut says) = client.0.split();
    let uploads = async {
        while says.write_all(&chunk).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let answered = async {
        use tokio::io::AsyncReadExt;
        while answers.read_buf(&mut answer).await.is_ok_and(|bytes| bytes > 0 && !answer.ends_with(b"}")) {}
    };
    soon("an answer", async {
        tokio::select! {
            () = uploads => {}
            () = answered => {}
        }
    })
    .await;
    assert_unknown(&String::from_utf8_lossy(&answer), "did not answer in time");
    world.end().await;
}
