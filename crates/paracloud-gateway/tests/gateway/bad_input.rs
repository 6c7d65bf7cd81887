//! What nobody should send, and what cannot begin.

use crate::application::{Application, RawApplication};
use crate::client::{Raw, answer, get, send, spawn, text};
use crate::world::{World, cloud, free_address, private_directory};
use paracloud_core::ids::GatewayId;
use paracloud_gateway::{HEAD_BYTES_MAX, Terms, run_until};
use paracloud_substrate::config::Parking;
use paracloud_substrate::layout::Layout;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_refused_and_reaches_no_application() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(500));
    for (bytes, status) in [
        ("complete nonsense\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\ncontent-length: many\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", "400"),
        (&long, "431"),
        (&many, "431"),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "405"),
    ] {
        let mut client = Raw::connect(world.address).await;
        client.say(bytes).await;
        let seen = String::from_utf8_lossy(&client.rest().await).into_owned();
        assert!(seen.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {seen}");
    }
    assert!(source.is_alone().await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_answers_nonsense_is_an_unknown_outcome() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(2 * HEAD_BYTES_MAX));
    for bytes in ["nonsense\r\n\r\n", &long] {
        let client = spawn(world.address, get("/"));
        let mut application = source.accept().await;
        application.until("\r\n\r\n").await;
        use tokio::io::AsyncWriteExt;
        let _ = application.0.write_all(bytes.as_bytes()).await;
        assert_eq!(answer(client).await.status(), 502);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_breaks_its_body_off_leaves_nothing_behind() {
    let (world, mut controller) = World::usual().await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Raw::connect(world.address).await;
    client.say("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf").await;
    drop(client);
    controller.obeyed(2, true, Some(source.route)).await;
    controller.obeyed(3, false, Some(source.route)).await;
    assert_eq!(text(&send(world.address, get("/next")).await), "app 1");
    assert_eq!(source.seen().len(), 1, "{:?}", source.seen());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_never_silent_and_never_done_with_its_body_is_answered_all_the_same() {
    let terms = Terms { body_wait_total: Duration::from_millis(50), ..Terms::default() };
    let (world, mut controller) = World::on(Parking::default(), terms).await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Raw::connect(world.address).await;
    client.say("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1048576\r\n\r\n").await;
    let (mut answers, mut says) = client.0.split();
    let drips = async {
        while says.write_all(b"x").await.is_ok() {
            tokio::task::yield_now().await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let answered = async {
        while answers.read_buf(&mut answer).await.is_ok_and(|bytes| bytes > 0 && !answer.ends_with(b"}")) {}
    };
    crate::world::soon("an answer", async {
        tokio::select! {
            () = drips => {}
            () = answered => {}
        }
    })
    .await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("not_applied"), "{answer}");
    assert!(source.is_alone().await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_taken_is_an_error_that_says_which() {
    let directory = private_directory();
    let layout = Layout::new(directory.path()).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    cloud(address, Parking::default()).save(&layout.cloud()).unwrap();
    let error = run_until(layout, GatewayId(1), Terms::default(), std::future::pending())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("shop") && error.contains("listen"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_not_configured_is_an_error_that_says_which_there_are() {
    let directory = private_directory();
    let layout = Layout::new(directory.path()).unwrap();
    let missing =
        run_until(layout.clone(), GatewayId(1), Terms::default(), std::future::pending()).await.unwrap_err();
    assert!(missing.to_string().contains("cloud.json"), "{missing}");
    cloud(free_address(), Parking::default()).save(&layout.cloud()).unwrap();
    let unknown = run_until(layout, GatewayId(7), Terms::default(), std::future::pending())
        .await
        .unwrap_err()
        .to_string();
    assert!(unknown.contains("g7") && unknown.contains("g1"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_others_may_enter_is_not_used() {
    let directory = private_directory();
    let layout = Layout::new(directory.path()).unwrap();
    cloud(free_address(), Parking::default()).save(&layout.cloud()).unwrap();
    set_permissions(directory.path(), Permissions::from_mode(0o750)).unwrap();
    let refused = run_until(layout, GatewayId(1), Terms::default(), std::future::pending())
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("0750") && refused.contains("chmod 700"), "{refused}");
}
