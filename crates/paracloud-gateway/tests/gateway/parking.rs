//! Requests that wait.

use crate::application::{Application, RawApplication};
use crate::client::{Raw, answer, get, post, send, spawn, text};
use crate::world::World;
use crate::world::order;
use paracloud_core::migration::message::{FromGateway, ToGateway};
use paracloud_gateway::{End, ParkedLine};
use paracloud_substrate::config::Parking;
use paracloud_substrate::seen::Seen;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_goes_to_the_owner_and_its_answer_comes_back() {
    let (world, mut controller) = World::usual().await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let answer = send(world.address, post("/cart?item=1", "one")).await;
    assert_eq!((answer.status().as_u16(), text(&answer)), (200, "app 1"));
    assert_eq!(
        (&answer.headers()["x-app"], &answer.headers()["via"]),
        (&"app 1".parse().unwrap(), &"1.1 paracloud".parse().unwrap())
    );
    let seen = source.seen().remove(0);
    assert_eq!((seen.line.as_str(), &seen.body[..]), ("POST /cart?item=1", &b"one"[..]));
    assert_eq!(
        (&seen.headers["host"], &seen.headers["x-forwarded-for"]),
        (&"shop.example".parse().unwrap(), &"127.0.0.1".parse().unwrap())
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_come_in_a_pause_wait_and_go_to_the_target() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (Application::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    controller.obeyed(2, true, Some(source.route)).await;
    let waiting: Vec<_> =
        (0..20).map(|n| spawn(world.address, post(&format!("/{n}"), format!("body {n}")))).collect();
    controller.parked().await;
    controller.obeyed(3, true, None).await;
    controller.obeyed(4, false, Some(target.route)).await;
    for client in waiting {
        assert_eq!(text(&answer(client).await), "app 2");
    }
    assert!(source.seen().is_empty(), "{:?}", source.seen());
    let mut seen: Vec<_> = target.seen().iter().map(|it| (it.line.clone(), it.body.clone())).collect();
    let mut sent: Vec<_> = (0..20).map(|n| (format!("POST /{n}"), format!("body {n}").into())).collect();
    seen.sort();
    sent.sort();
    assert_eq!(seen, sent);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_logged_and_told_to_the_controller() {
    let (world, mut controller) = World::usual().await;
    let target = Application::new(2).await;
    controller.obeyed(1, true, None).await;
    let waiting = spawn(world.address, get("/"));
    controller.parked().await;
    controller.obeyed(2, false, Some(target.route)).await;
    assert_eq!(text(&answer(waiting).await), "app 2");
    let account = controller.pause().await;
    let parked_us_max = account.seen.parked_us_max;
    assert!(parked_us_max > 0);
    let seen = Seen { requests: 1, parked_us_max, ..Seen::default() };
    assert_eq!((account.seen, account.more), (seen, false));
    let lines = world.log(2).await;
    assert!(
        lines.iter().any(|line| matches!(
            line,
            ParkedLine::Pause { requests: 1, parked_us: Some(parked), answered_us: Some(answered), .. }
                if *parked >= parked_us_max && answered >= parked
        )),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|line| matches!(line, ParkedLine::Request { end: End::Replied, .. })),
        "{lines:?}"
    );
    assert_eq!(longest(&lines), parked_us_max, "{lines:?}");
    world.end().await;
}

/// The longest wait of any request in the log, in microseconds.
fn longest(lines: &[ParkedLine]) -> u64 {
    let waited = lines.iter().filter_map(|line| match line {
        ParkedLine::Request { waited_us, .. } => Some(*waited_us),
        ParkedLine::Pause { .. } => None,
    });
    waited.max().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_wait_is_told_of_requests_that_were_given_up_too() {
    let (world, mut controller) = World::new(Parking { parked_ms_max: 50, ..Parking::default() }).await;
    controller.obeyed(1, true, None).await;
    let waiting: Vec<_> = (0..3).map(|n| spawn(world.address, get(&format!("/{n}")))).collect();
    for client in waiting {
        assert_eq!(answer(client).await.status(), 503);
    }
    let mut told = Seen::default();
    while told.requests < 3 {
        told.add(&controller.pause().await.seen);
    }
    let lines = world.log(4).await;
    assert!(lines.iter().any(|line| matches!(line, ParkedLine::Pause { parked_us: None, .. })), "{lines:?}");
    assert_eq!(told.parked_us_max, longest(&lines), "{lines:?}");
    assert!(told.parked_us_max >= 50_000, "{told:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_answered_when_the_target_serves_and_not_when_it_refuses() {
    let (world, mut controller) = World::usual().await;
    let target = RawApplication::new(2).await;
    controller.obeyed(1, true, None).await;
    let waiting = spawn(world.address, get("/"));
    controller.parked().await;
    controller.obeyed(2, false, Some(target.route)).await;
    let mut connection = target.accept().await;
    connection.until("\r\n\r\n").await;
    connection
        .say("HTTP/1.1 421 Misdirected Request\r\npaci-not-applied: 2\r\ncontent-length: 0\r\n\r\n")
        .await;
    // It is tried again.
    connection.until("\r\n\r\n").await;
    connection.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(text(&answer(waiting).await), "ok");
    let lines = world.log(2).await;
    let of_last_attempt = lines.iter().find_map(|line| match line {
        ParkedLine::Request { waited_us, .. } => Some(*waited_us),
        ParkedLine::Pause { .. } => None,
    });
    let of_pause = lines.iter().find_map(|line| match line {
        ParkedLine::Pause { parked_us, answered_us, .. } => (*parked_us).zip(*answered_us),
        ParkedLine::Request { .. } => None,
    });
    let ((parked, answered), waited) = of_pause.zip(of_last_attempt).unwrap();
    assert!(parked <= waited && waited <= answered, "{lines:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_in_which_nobody_waited_is_told_too() {
    let (world, mut controller) = World::usual().await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    controller.obeyed(2, true, Some(source.route)).await;
    controller.obeyed(3, false, Some(source.route)).await;
    let told = controller.pause().await;
    assert_eq!((told.seen, told.more), (Seen::default(), false));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_says_that_it_parked_only_when_nothing_is_outstanding() {
    let (world, mut controller) = World::usual().await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    source.busy(true);
    let client = spawn(world.address, get("/slow"));
    source.counts(1).await;
    controller.table(2, true, Some(source.route)).await;
    // What is asked later is answered earlier.
    controller.say(ToGateway::Leave { order: order(1) }).await;
    assert_eq!(controller.next().await, FromGateway::Drained { order: order(1) });
    let waiting = spawn(world.address, get("/later"));
    assert_eq!(controller.next().await, FromGateway::Ask);
    source.busy(false);
    controller.hears(FromGateway::Obeyed { order: order(2), parks: true }).await;
    assert_eq!(text(&answer(client).await), "app 1");
    controller.obeyed(3, false, Some(source.route)).await;
    answer(waiting).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_more_than_may_wait_is_answered_at_once() {
    let (world, mut controller) = World::new(Parking { parked_max: 2, ..Parking::default() }).await;
    let target = Application::new(2).await;
    controller.obeyed(1, true, None).await;
    let (ended, mut first) = tokio::sync::mpsc::unbounded_channel();
    for n in 0..3 {
        let (ended, address) = (ended.clone(), world.address);
        tokio::spawn(async move { ended.send(send(address, get(&format!("/{n}"))).await) });
    }
    let full = crate::world::soon("an answer", first.recv()).await.unwrap();
    assert_eq!(
        (full.status().as_u16(), &full.headers()["paci-outcome"]),
        (503, &"not_applied".parse().unwrap())
    );
    assert!(full.headers().contains_key("retry-after"));
    assert!(text(&full).contains(r#""outcome":"not_applied""#), "{}", text(&full));
    controller.obeyed(2, false, Some(target.route)).await;
    for _ in 0..2 {
        assert_eq!(text(&crate::world::soon("an answer", first.recv()).await.unwrap()), "app 2");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_bound_there_is_one_attempt_and_whoever_is_there_decides() {
    let (world, mut controller) = World::new(Parking { parked_ms_max: 50, ..Parking::default() }).await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    controller.obeyed(2, true, Some(source.route)).await;
    assert_eq!(text(&send(world.address, get("/served")).await), "app 1");
    source.seal();
    let refused = send(world.address, get("/refused")).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["paci-outcome"]),
        (503, &"not_applied".parse().unwrap())
    );
    source.refuses(1).await;
    let lines = world.log(4).await;
    assert!(
        lines.iter().any(|line| matches!(line, ParkedLine::Request { end: End::Failed, .. })),
        "{lines:?}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_stays_unread_while_its_request_waits() {
    let (world, mut controller) = World::usual().await;
    let target = RawApplication::new(2).await;
    controller.obeyed(1, true, None).await;
    let mut client = Raw::connect(world.address).await;
    client.say("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").await;
    controller.parked().await;
    // Whoever asked is told to go on only when its body is read.
    controller.obeyed(2, false, Some(target.route)).await;
    client.until("100 Continue").await;
    assert!(target.is_alone().await, "nothing reaches the application before the body is here");
    client.say("body").await;
    let mut application = target.accept().await;
    let request = application.until("body").await;
    assert!(request.starts_with("POST / HTTP/1.1\r\n") && !request.contains("expect"), "{request}");
    application.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    client.until("ok").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_while_it_waits_is_forgotten() {
    let (world, mut controller) = World::usual().await;
    let target = Application::new(2).await;
    controller.obeyed(1, true, None).await;
    let client = spawn(world.address, get("/left"));
    controller.parked().await;
    client.abort();
    let lines = world.log(2).await;
    assert!(lines.iter().any(|line| matches!(line, ParkedLine::Request { end: End::Left, .. })), "{lines:?}");
    assert!(lines.iter().any(|line| matches!(line, ParkedLine::Pause { parked_us: None, .. })), "{lines:?}");
    let seen = controller.pause().await.seen;
    assert_eq!((seen.requests, seen.parked_us_max), (1, longest(&lines)), "{lines:?}");
    controller.obeyed(2, false, Some(target.route)).await;
    assert_eq!(text(&send(world.address, get("/next")).await), "app 2");
    assert_eq!(target.seen().len(), 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_slow_with_its_body_keeps_nobody_from_parking() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (RawApplication::new(1).await, Application::new(2).await);
    controller.obeyed(1, true, None).await;
    let mut client = Raw::connect(world.address).await;
    client.say("POST /slow HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").await;
    controller.parked().await;
    controller.obeyed(2, false, Some(source.route)).await;
    client.until("100 Continue").await;
    client.say("bo").await;
    // It has a verdict to be sent on, and is not all here.
    controller.obeyed(3, true, Some(source.route)).await;
    controller.obeyed(4, false, Some(target.route)).await;
    client.say("dy").await;
    client.until("app 2").await;
    assert!(source.is_alone().await);
    assert_eq!(target.seen()[0].body, "body");
    world.end().await;
}
