//! Places for clients: so many are connected at once, and no more.

use crate::application::{Application, RawApplication};
use crate::client::Raw;
use crate::websocket::connected;
use crate::world::World;
use paracloud_gateway::Terms;
use paracloud_substrate::config::Parking;

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_too_many_waits_until_a_place_is_free_and_a_websocket_has_one() {
    let terms = Terms { connections_max: 2, ..Terms::default() };
    let (world, mut controller) = World::on(Parking::default(), terms).await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let (tunnel, _application) = connected(&world, &source).await;
    let mut client = Raw::connect(world.address).await;
    client.say(get("/0")).await;
    let mut served = source.accept().await;
    let mut too_many = Raw::connect(world.address).await;
    too_many.say(get("/too-many")).await;
    for n in 1..=50 {
        served.until("\r\n\r\n").await;
        served.say(format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{n:02}")).await;
        client.until(&format!("\r\n\r\n{n:02}")).await;
        client.say(get(&format!("/{n}"))).await;
    }
    served.until("/50").await;
    assert!(source.is_alone().await, "others are served meanwhile");
    drop(tunnel);
    let mut next = source.accept().await;
    next.until("/too-many").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_one_worker_share_its_connections_to_the_application_and_take_none_of_another_ones() {
    for (workers, connections) in [(1, 1), (2, 2), (3, 2)] {
        let (world, mut controller) =
            World::on(Parking::default(), Terms { workers, ..Terms::default() }).await;
        let source = Application::new(1).await;
        controller.obeyed(1, false, Some(source.route)).await;
        let mut clients = [Raw::connect(world.address).await, Raw::connect(world.address).await];
        for n in 0..10 {
            for client in &mut clients {
                client.say(get(&format!("/{n}"))).await;
                client.until("\r\n\r\napp 1").await;
            }
        }
        assert_eq!(source.connections(), connections, "of {workers} workers");
        world.end().await;
    }
}
