//! Room for messages of WebSockets, of all clients together.

use crate::application::RawApplication;
use crate::client::Raw;
use crate::websocket::{CLOSE, TEXT, again, code, connected, contains, masked};
use crate::world::World;
use paracloud_gateway::{MESSAGE_BYTES_FREE, Terms};
use paracloud_substrate::config::Parking;
use tokio::io::AsyncWriteExt;

/// A WebSocket through the gateway.
struct Both {
    client: Raw,
    application: Raw,
}

async fn both(world: &World, source: &RawApplication) -> Both {
    let (client, application) = connected(world, source).await;
    Both { client, application }
}

/// A message of a client in one frame, with a length of 64 bits, whose payload ends so.
fn long(bytes: usize, end: &str) -> Vec<u8> {
    let fill = vec![b'.'; bytes - end.len()];
    let head = [&[0x82, 0xff][..], &(bytes as u64).to_be_bytes(), &[0; 4]].concat();
    [&head, &fill[..], end.as_bytes()].concat()
}

fn assert_closed(seen: &[u8], wanted: u16) {
    assert_eq!((seen[0], &seen[2..4]), (CLOSE, &code(wanted)[..]), "{seen:?}");
}

/// Two clients say the same in a pause. One of them is closed with 1013, and its message reached nobody; that is checked,
/// and the other one given back.
async fn one_of(mut one: Both, mut other: Both, message: &str) -> Both {
    one.client.say(masked(TEXT, message.as_bytes())).await;
    other.client.say(masked(TEXT, message.as_bytes())).await;
    let (seen, mut closed, left) = tokio::select! {
        seen = one.client.rest() => (seen, one, other),
        seen = other.client.rest() => (seen, other, one),
    };
    assert_closed(&seen, 1013);
    assert!(!contains(&closed.application.rest().await, message.as_bytes()));
    left
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_finds_no_room_or_no_place_to_wait_closes_its_client_with_1013_and_reaches_nobody() {
    let one_place = Parking { parked_max: 1, ..Parking::default() };
    // A frame of 14 bytes, and not two.
    let little_room = Terms { messages_bytes_total_max: 20, ..Terms::default() };
    for (parking, terms) in [(Parking::default(), little_room), (one_place, Terms::default())] {
        let (world, mut controller) = World::on(parking, terms).await;
        let source = RawApplication::new(1).await;
        controller.obeyed(1, false, Some(source.route)).await;
        let mut left = both(&world, &source).await;
        let mut route = source.route;
        // Again: room and place were given back.
        for (n, message) in [(2, "withheld"), (4, "and now.")] {
            let next = both(&world, &source).await;
            controller.obeyed(n, true, Some(route)).await;
            left = one_of(left, next, message).await;
            route = again(route);
            controller.obeyed(n + 1, false, Some(route)).await;
            left.application.until(message).await;
        }
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_on_its_way_takes_room_until_it_is_passed_on() {
    let terms = Terms { messages_bytes_total_max: 4 * MESSAGE_BYTES_FREE, ..Terms::default() };
    let (world, mut controller) = World::on(Parking::default(), terms).await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let Both { mut client, mut application } = both(&world, &source).await;
    for end in ["first", "second", "third"] {
        client.say(long(3 * MESSAGE_BYTES_FREE, end)).await;
        application.until(end).await;
    }
    // Nobody moves, and all the same.
    client.say(long(16 * MESSAGE_BYTES_FREE, "too long")).await;
    assert_closed(&client.rest().await, 1013);
    assert_eq!(application.rest().await, masked(CLOSE, &code(1013)));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_an_application_that_finds_no_room_closes_its_client_with_1013() {
    let terms = Terms { messages_bytes_total_max: MESSAGE_BYTES_FREE, ..Terms::default() };
    let (world, mut controller) = World::on(Parking::default(), terms).await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let Both { mut client, mut application } = both(&world, &source).await;
    let head = [&[0x82, 0x7f][..], &(1u64 << 20).to_be_bytes()].concat();
    application.say(&head).await;
    // The gateway may be gone before all of it is said.
    let _ = application.0.write_all(&vec![b'.'; 2 * MESSAGE_BYTES_FREE]).await;
    assert_closed(&client.rest().await, 1013);
    application.rest().await;
    world.end().await;
}
