//! Calls of gRPC to an app with several instances: what the end of each says of the instance that it was sent to.

use crate::application::Clogged;
use crate::balancing::{advises, until_used_by};
use crate::echo::{Client, Echo, Ended, USED_PERMILLE, call, message, part, rest, timed};
use crate::world::{Controller, World, soon};
use paci::report::Report;
use paracloud_substrate::advice::{Advice, Leased};
use paracloud_substrate::config::Protocol;
use paracloud_substrate::message::FromGatewayLine;

const ONE: &str = "shop.1";

/// One instance of an app that speaks gRPC, and a client.
async fn one() -> (World, Controller, Echo, Client) {
    let (world, mut controller) = World::scaled_as(|app| app.protocol = Protocol::H2).await;
    let echo = Echo::new(1).await;
    controller.obeyed_by(ONE, 1, false, Some(echo.route)).await;
    let client = Client::connect(world.address).await;
    (world, controller, echo, client)
}

/// How many requests were answered and how many failed, once there were so many.
pub(crate) async fn counts(controller: &mut Controller, requests: u32) -> (u32, u32) {
    soon("the end of requests", async {
        let mut counted = (0, 0);
        while counted.0 + counted.1 < requests {
            let FromGatewayLine::Measured { instances, .. } = controller.measured().await else { continue };
            for instance in instances {
                counted = (counted.0 + instance.completions, counted.1 + instance.failures);
            }
        }
        counted
    })
    .await
}

/// Calls with one message, and reads the answer to its end, whatever that is.
async fn calls(client: &mut Client, path: &str) -> Option<Ended> {
    let mut call = client.begin(call(path)).unwrap();
    let _ = call.sends.send_data(message("one"), true);
    call.ended().await.ok()
}

/// The same, of one whose answer has begun when it ends: no end of it comes with its head.
async fn calls_in_parts(client: &mut Client, path: &str) {
    let mut call = client.begin(call(path)).unwrap();
    call.sends.send_data(message("one"), false).unwrap();
    let (response, mut sends) = call.answered().await.unwrap();
    let mut body = response.into_body();
    part(&mut body).await.unwrap().unwrap();
    sends.send_data(bytes::Bytes::new(), true).unwrap();
    let _ = rest(body).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_ends_with_an_error_of_the_server_or_not_at_all_is_a_failure_of_its_instance() {
    let (world, mut controller, _echo, mut client) = one().await;
    for (path, in_parts, wanted) in [
        ("/echo/Unary?0", false, (3, 0)),
        ("/echo/Unary?5", false, (3, 0)),
        ("/echo/Unary?14", false, (0, 3)),
        ("/echo/Head?5", false, (3, 0)),
        ("/echo/Head?14", false, (0, 3)),
        ("/echo/Stream?5", true, (3, 0)),
        ("/echo/Stream?13", true, (0, 3)),
        ("/echo/Broken", true, (0, 3)),
    ] {
        for _ in 0..3 {
            if in_parts {
                calls_in_parts(&mut client, path).await;
            } else {
                calls(&mut client, path).await;
            }
        }
        assert_eq!(counts(&mut controller, 3).await, wanted, "{path}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_takes_no_connection_before_the_deadline_of_a_call_has_failed_it() {
    let (world, mut controller) = World::scaled_as(|app| app.protocol = Protocol::H2).await;
    let clogged = Clogged::new().await;
    controller.obeyed_by(ONE, 1, false, Some(clogged.route())).await;
    let mut client = Client::connect(world.address).await;
    let mut late = client.begin(timed("/echo/Unary", Some("500m"))).unwrap();
    late.sends.send_data(message("late"), true).unwrap();
    assert_eq!(late.ended().await.unwrap().field("grpc-status"), "4");
    assert_eq!(counts(&mut controller, 1).await, (0, 1));
    // Who had no time to take one has not.
    let echo = Echo::on(1, clogged.listener);
    for timeout in ["0n", "1n", "60S"] {
        let mut call = client.begin(timed("/echo/Unary?0", Some(timeout))).unwrap();
        drop(call.sends.send_data(message("one"), true));
        let status = if timeout == "60S" { "0" } else { "4" };
        assert_eq!(call.ended().await.unwrap().field("grpc-status"), status, "{timeout}");
    }
    assert_eq!(counts(&mut controller, 1).await, (1, 0));
    assert_eq!(echo.applied().len(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_application_says_of_its_load_at_the_end_of_a_call_counts() {
    for (path, in_parts) in [
        ("/echo/Unary", false),
        ("/echo/Unary?14&used", false),
        ("/echo/Unary?0&headed", false),
        ("/echo/Head", false),
        ("/echo/Stream", true),
    ] {
        let (world, _controller, _echo, mut client) = one().await;
        let asks = async || match in_parts {
            true => calls_in_parts(&mut client, path).await,
            false => _ = calls(&mut client, path).await,
        };
        until_used_by(&world, asks, &[USED_PERMILLE]).await;
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_application_told_the_cloud_of_its_load_its_calls_say_at_their_end() {
    let (world, mut controller, echo, mut client) = one().await;
    let said = Report { valid_for_ms: 60_000, utilisation_permille: Some(250), ..Report::default() };
    let report = Some(Leased { said, age_ms: 0, remaining_ms: 60_000 });
    advises(&mut controller, ONE, echo.route.start, Advice { report, ..Advice::default() }).await;
    controller.obeyed_by(ONE, 2, false, Some(echo.route)).await;
    // Field 9, a double: a quarter.
    let message = "SQAAAAAAANA/";
    for path in ["/echo/Unary?0", "/echo/Head?0"] {
        let ended = calls(&mut client, path).await.unwrap();
        assert_eq!(ended.field("endpoint-load-metrics-bin"), message, "{ended:?}");
        assert_eq!(ended.field("endpoint-load-metrics"), "");
    }
    for path in ["/echo/Unary", "/echo/Unary?0&headed"] {
        let ended = calls(&mut client, path).await.unwrap();
        assert_eq!(ended.field("endpoint-load-metrics"), "TEXT application_utilization:0.5", "its own");
        assert_eq!(ended.field("endpoint-load-metrics-bin"), "", "{path}");
    }
    world.end().await;
}
