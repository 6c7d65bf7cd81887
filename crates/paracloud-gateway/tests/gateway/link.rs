//! The link to the controller, and life without it.

use crate::application::Application;
use crate::client::{get, send, text};
use crate::world::{INSTANCE, World, order, soon};
use paracloud_core::migration::gateway::Table;
use paracloud_core::migration::message::{FromGateway, ToGateway};
use paracloud_substrate::message::ToGatewayLine;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_controller_a_gateway_goes_on_as_it_was_and_asks_the_next_one() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (Application::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    drop(controller);
    assert_eq!(text(&send(world.address, get("/")).await), "app 1");
    let mut next = world.linked().await;
    assert_eq!(text(&send(world.address, get("/")).await), "app 1");
    next.obeyed(2, false, Some(target.route)).await;
    assert_eq!(text(&send(world.address, get("/")).await), "app 2");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_has_nothing_to_say_says_that_it_goes_on() {
    let (world, mut controller) = World::usual().await;
    for _ in 0..2 {
        controller.beat().await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_speaks_garbage_is_dropped_and_dialled_again() {
    let (world, mut controller) = World::usual().await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    controller.writer.write(&"no message").await.unwrap();
    controller.dropped().await;
    let mut next = world.linked().await;
    assert_eq!(text(&send(world.address, get("/")).await), "app 1");
    next.obeyed(2, true, Some(source.route)).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_table_and_one_of_another_app_change_nothing() {
    let (world, mut controller) = World::usual().await;
    let (source, other) = (Application::new(1).await, Application::new(2).await);
    controller.obeyed(2, false, Some(source.route)).await;
    controller.table(1, false, Some(other.route)).await;
    let table = Table { order: order(3), parks: false, drains: false, route: Some(other.route) };
    let line = ToGatewayLine::Machine { instance: "another".into(), message: ToGateway::Table(table) };
    controller.writer.write(&line).await.unwrap();
    // Said again, so that both have been heard by now.
    controller.obeyed(2, false, Some(source.route)).await;
    assert_eq!(text(&send(world.address, get("/")).await), "app 1");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_deaf_goes_on_by_its_old_route() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (Application::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    let deaf = world.layout.root().join("deaf");
    std::fs::write(&deaf, "").unwrap();
    controller.table(2, true, Some(source.route)).await;
    assert_eq!(text(&send(world.address, get("/")).await), "app 1");
    source.seal();
    let refused = crate::client::spawn(world.address, get("/"));
    source.refuses(1).await;
    std::fs::remove_file(&deaf).unwrap();
    soon("a question", async { while controller.next().await != FromGateway::Ask {} }).await;
    controller.obeyed(3, false, Some(target.route)).await;
    assert_eq!(text(&crate::client::answer(refused).await), "app 2", "{INSTANCE}");
    world.end().await;
}
