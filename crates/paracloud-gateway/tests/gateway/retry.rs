//! When a request is sent again, and when never.

use crate::application::{Application, RawApplication};
use crate::client::{Raw, answer, get, post, spawn, text};
use crate::world::World;
use paracloud_core::migration::message::FromGateway;
use paracloud_substrate::config::Parking;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_is_asked_for_and_sent_to_the_new_owner_unchanged() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (Application::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    source.seal();
    let client = spawn(world.address, post("/order", "two of them"));
    source.refuses(1).await;
    controller.hears(FromGateway::Ask).await;
    controller.obeyed(2, false, Some(target.route)).await;
    assert_eq!(text(&answer(client).await), "app 2");
    let seen = target.seen().remove(0);
    assert_eq!((seen.line.as_str(), &seen.body[..]), ("POST /order", &b"two of them"[..]));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_whose_body_never_comes_is_a_refusal() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (RawApplication::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    let client = spawn(world.address, get("/"));
    let mut connection = source.accept().await;
    connection.until("\r\n\r\n").await;
    connection
        .say("HTTP/1.1 421 Misdirected Request\r\npaci-not-applied: 1\r\ncontent-length: 9\r\n\r\n")
        .await;
    controller.obeyed(2, false, Some(target.route)).await;
    assert_eq!(text(&answer(client).await), "app 2");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_move_that_was_called_off_a_refused_request_is_sent_to_the_source_again() {
    let (world, mut controller) = World::usual().await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    source.seal();
    let client = spawn(world.address, get("/"));
    source.refuses(1).await;
    source.unseal();
    let mut again = source.route;
    again.incarnation = again.incarnation.next();
    controller.obeyed(2, false, Some(again)).await;
    assert_eq!(text(&answer(client).await), "app 1");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_first_byte_was_sent_is_never_sent_again() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let client = spawn(world.address, post("/once", "body"));
    let mut connection = source.accept().await;
    connection.until("body").await;
    drop(connection);
    let lost = answer(client).await;
    assert_eq!((lost.status().as_u16(), &lost.headers()["paci-outcome"]), (502, &"unknown".parse().unwrap()));
    assert!(text(&lost).contains(r#""outcome":"unknown""#), "{}", text(&lost));
    assert!(source.is_alone().await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_unknown() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let client = spawn(world.address, get("/"));
    let mut connection = source.accept().await;
    connection.until("\r\n\r\n").await;
    connection.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    drop(connection);
    assert_eq!(answer(client).await.status(), 502);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_gone_has_applied_nothing() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (Application::new(1).await, Application::new(2).await);
    let gone = source.route;
    controller.obeyed(1, false, Some(gone)).await;
    source.end().await;
    let client = spawn(world.address, post("/", "kept"));
    controller.hears(FromGateway::Ask).await;
    controller.obeyed(2, false, Some(target.route)).await;
    assert_eq!(text(&answer(client).await), "app 2");
    assert_eq!(target.seen()[0].body, "kept");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_server_closed_meanwhile_is_not_used_again() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    for n in 0..20 {
        let client = spawn(world.address, post("/", "body"));
        let mut connection = source.accept().await;
        connection.until("body").await;
        connection.say(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{n:02}")).await;
        assert_eq!(text(&answer(client).await), format!("{n:02}"));
        // Without a word of it in its answer.
        drop(connection);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_421_without_the_header_of_its_gate_and_the_header_without_a_421_are_answers() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    for head in [
        "421 Misdirected Request\r\n",
        "503 Service Unavailable\r\npaci-not-applied: 1\r\n",
        // Of a gate that is not its own: a program may say anything.
        "421 Misdirected Request\r\npaci-not-applied: 7\r\n",
    ] {
        let client = spawn(world.address, post("/order", "one"));
        let mut connection = source.accept().await;
        connection.until("one").await;
        connection.say(format!("HTTP/1.1 {head}connection: close\r\ncontent-length: 2\r\n\r\nno")).await;
        let answer = answer(client).await;
        assert_eq!((answer.status().as_str(), text(&answer)), (&head[..3], "no"));
        assert!(!answer.headers().contains_key("paci-not-applied"));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_that_is_refused_is_spent() {
    let (world, mut controller) = World::new(Parking { replay_bytes_max: 8, ..Parking::default() }).await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    source.seal();
    let mut client = Raw::connect(world.address).await;
    client.say("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n123456789").await;
    let answer = client.until("}").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("not_applied"), "{answer}");
    source.refuses(1).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_to_a_process_that_is_gone_goes_to_the_next_one() {
    let (world, mut controller) = World::new(Parking { replay_bytes_max: 8, ..Parking::default() }).await;
    let (source, target) = (Application::new(1).await, Application::new(2).await);
    let gone = source.route;
    controller.obeyed(1, false, Some(gone)).await;
    source.end().await;
    let client = spawn(world.address, post("/", "longer than eight bytes"));
    controller.hears(FromGateway::Ask).await;
    controller.obeyed(2, false, Some(target.route)).await;
    assert_eq!(text(&answer(client).await), "app 2");
    assert_eq!(target.seen()[0].body, "longer than eight bytes");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_on_one_connection_use_few_connections_to_the_application() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Raw::connect(world.address).await;
    client.say("GET /0 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut application = source.accept().await;
    for n in 0..50 {
        application.until("\r\n\r\n").await;
        application.say(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{n:02}")).await;
        client.until(&format!("\r\n\r\n{n:02}")).await;
        client.say(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", n + 1)).await;
    }
    application.until("/50").await;
    assert!(source.is_alone().await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_without_a_body_and_answers_without_one_pass() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Raw::connect(world.address).await;
    client.say("HEAD /a HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut application = source.accept().await;
    application.until("\r\n\r\n").await;
    application.say("HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n").await;
    assert!(client.until("\r\n\r\n").await.to_lowercase().contains("content-length: 77"));
    client.say("POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await;
    assert!(application.until("\r\n\r\n").await.contains("content-length: 0"));
    application.say("HTTP/1.1 204 No Content\r\n\r\n").await;
    client.until("204").await;
    world.end().await;
}
