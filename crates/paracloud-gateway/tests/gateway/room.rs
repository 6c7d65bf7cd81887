//! Room for bodies that are kept to be sent again, of all requests together.

use crate::application::{Application, RawApplication};
use crate::client::{Answer, Raw, answer, post, spawn, text};
use crate::world::{Controller, World};
use paracloud_core::migration::message::FromGateway;
use paracloud_gateway::Terms;
use paracloud_substrate::config::Parking;

/// Room for one body of [`BODY`], and not for two.
async fn narrow() -> (World, Controller) {
    World::on(Parking::default(), Terms { replay_bytes_total_max: 12, ..Terms::default() }).await
}

const BODY: &str = "8 bytes.";
const HALF: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf";
const REPLY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Who answers a request with a body that `source` refuses: `target`, if all of it is still here.
async fn refused(
    world: &World,
    controller: &mut Controller,
    (from, source): (u32, &Application),
    target: &Application,
) -> Answer {
    controller.obeyed(from, false, Some(source.route)).await;
    source.seal();
    let client = spawn(world.address, post("/", BODY));
    source.refuses(1).await;
    controller.obeyed(from + 1, false, Some(target.route)).await;
    answer(client).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_in_flight_takes_room_until_its_request_is_answered() {
    let (world, mut controller) = narrow().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let first = spawn(world.address, post("/first", BODY));
    let mut in_flight = source.accept().await;
    in_flight.until(BODY).await;
    // Without room for it the next one is passed on as it comes.
    let mut second = Raw::connect(world.address).await;
    second.say(HALF).await;
    let mut streamed = source.accept().await;
    streamed.until("half").await;
    second.say("half").await;
    streamed.until("half").await;
    streamed.say(REPLY).await;
    second.until("ok").await;
    in_flight.say(REPLY).await;
    assert_eq!(text(&answer(first).await), "ok");
    let (next, target) = (Application::new(2).await, Application::new(3).await);
    let third = refused(&world, &mut controller, (2, &next), &target).await;
    assert_eq!(text(&third), "app 3", "there is room again");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_body_that_waits_to_be_sent_again_takes_room() {
    let (world, mut controller) = narrow().await;
    let (source, target) = (Application::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    source.seal();
    let waiting = spawn(world.address, post("/waiting", BODY));
    source.refuses(1).await;
    controller.hears(FromGateway::Ask).await;
    let spent = answer(spawn(world.address, post("/spent", BODY))).await;
    assert!(spent.status() == 503 && text(&spent).contains("not_applied"), "{spent:?}");
    controller.obeyed(2, false, Some(target.route)).await;
    assert_eq!(text(&answer(waiting).await), "app 2");
    let last = Application::new(3).await;
    let next = refused(&world, &mut controller, (3, &target), &last).await;
    assert_eq!(text(&next), "app 3", "there is room again");
    let seen: Vec<_> = target.seen().into_iter().map(|it| (it.line, it.body)).collect();
    assert_eq!(seen, [("POST /waiting".to_owned(), BODY.into())]);
    world.end().await;
}
