//! An instance that leaves, or has left: its requests go to another one, its sessions end there.

use crate::application::{Application, RawApplication};
use crate::client::{self, Answer, Raw, answer, get, send, spawn, text};
use crate::echo::{self, Client, Echo};
use crate::websocket::{CLOSE, HANDSHAKE, SWITCH, TEXT, code, contains, masked};
use crate::world::{Controller, World, order, soon};
use hyper::StatusCode;
use paracloud_core::migration::message::FromGateway;
use paracloud_substrate::advice::{Advice, Aged};
use paracloud_substrate::config::{App, Parking, Protocol, Session, State, Sticky};
use paracloud_substrate::message::{FromGatewayLine, ToGatewayLine};
use std::collections::BTreeSet;

const ONE: &str = "shop.1";
const OTHER: &str = "shop.2";
const THIRD: &str = "shop.3";
const NAMES: [&str; 3] = [ONE, OTHER, THIRD];

/// Instances that serve, and that the gateway knew before they did.
async fn serving(controller: &mut Controller, count: usize) -> Vec<Application> {
    let mut applications = Vec::new();
    for (start, instance) in (1..).zip(NAMES).take(count) {
        let application = Application::new(start).await;
        controller.obeyed_by(instance, 1, true, None).await;
        controller.obeyed_by(instance, 2, false, Some(application.route)).await;
        applications.push(application);
    }
    applications
}

/// With sessions in a cookie, each of which may be idle for so long.
fn sessions(idle_ms: u32) -> impl FnOnce(&mut App) {
    move |app| {
        app.state = State::Session;
        app.session = Some(Session { sticky: Sticky::Cookie("sid".into()), idle_ms });
    }
}

fn with_cookie(path: &str, cookie: &str) -> hyper::Request<http_body_util::Full<bytes::Bytes>> {
    let mut request = get(path);
    request.headers_mut().insert("cookie", format!("sid={cookie}").parse().unwrap());
    request
}

/// The session that an answer gives: the number of its instance and the id.
fn given(answer: &Answer) -> (usize, String) {
    let all = answer.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let value = all.filter_map(|value| value.strip_prefix("sid=")).next().unwrap();
    let (number, id) = value.split(';').next().unwrap().split_once('~').unwrap();
    (number.parse().unwrap(), id.to_owned())
}

fn is_drained(line: &FromGatewayLine) -> bool {
    matches!(line, FromGatewayLine::Machine { message: FromGateway::Drained { .. }, .. })
}

/// What it says of itself; with the table that follows it is known to have been heard.
async fn ready(controller: &mut Controller, n: u32, of: &str, application: &Application, is_ready: bool) {
    let not_ready = Aged { age_ms: 0, said: paci::state::State::NotReady };
    let advice = Advice { state: (!is_ready).then_some(not_ready), ..Advice::default() };
    let start = application.route.start;
    let line = ToGatewayLine::Advice { instance: of.to_owned(), start, advice: Box::new(advice) };
    controller.writer.write(&line).await.unwrap();
    controller.obeyed_by(of, n, false, Some(application.route)).await;
}

/// Waits until so many requests wait.
async fn waiting(controller: &mut Controller, count: u32) {
    let waits = |line| matches!(line, FromGatewayLine::Measured { waiting, .. } if waiting == count);
    soon("requests that wait", async { while !waits(controller.measured().await) {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_at_an_instance_that_leaves_is_given_to_another_whatever_a_client_speaks() {
    for protocol in [Protocol::Http1, Protocol::H2] {
        let (world, mut controller) = World::scaled_as(|app| app.protocol = protocol).await;
        let is_two = protocol == Protocol::H2;
        let one = if is_two { Application::two(1).await } else { Application::new(1).await };
        one.seal();
        controller.obeyed_by(ONE, 1, false, Some(one.route)).await;
        let over_one = spawn(world.address, client::post("/cart", "one"));
        let mut two = Client::connect(world.address).await;
        let over_two = tokio::spawn(async move { two.send(echo::post("/cart"), "two").await.unwrap() });
        one.refuses(2).await;
        waiting(&mut controller, 2).await;
        // Where instances hold state it stays there for as long as that may come back.
        let other = if is_two { Application::two(2).await } else { Application::new(2).await };
        controller.obeyed_by(OTHER, 1, false, Some(other.route)).await;
        assert!(other.seen().is_empty());
        controller.drains(ONE, 2, Some(one.route)).await;
        assert_eq!(text(&answer(over_one).await), "app 2");
        assert_eq!(over_two.await.unwrap().text(), "app 2");
        let bodies: BTreeSet<_> = other.seen().into_iter().map(|seen| seen.body).collect();
        assert_eq!(bodies, BTreeSet::from(["one".into(), "two".into()]), "all of it, once");
        assert!(one.seen().is_empty() && other.seen().len() == 2);
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_an_instance_refuses_as_it_leaves_is_answered_by_another() {
    let (world, mut controller) = World::scaled_as(|app| app.protocol = Protocol::H2).await;
    let (one, other) = (Echo::new(1).await, Echo::new(2).await);
    one.seal(true);
    controller.obeyed_by(ONE, 1, false, Some(one.route)).await;
    let mut client = Client::connect(world.address).await;
    let call = tokio::spawn(async move { client.unary("hello").await.unwrap() });
    waiting(&mut controller, 1).await;
    controller.drains(ONE, 2, Some(one.route)).await;
    waiting(&mut controller, 1).await;
    controller.obeyed_by(OTHER, 1, false, Some(other.route)).await;
    assert_eq!(call.await.unwrap().echoed(), ["hello"]);
    assert_eq!((one.applied().len(), other.applied()["hello"]), (0, 1));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_instance_refuses_after_it_began_to_leave_goes_to_another_and_it_is_drained() {
    let (world, mut controller) = World::scaled_as(|_| {}).await;
    let (one, other) = (RawApplication::new(1).await, RawApplication::new(2).await);
    controller.obeyed_by(ONE, 1, false, Some(one.route)).await;
    let request = client::post("/", "all of it");
    let http = spawn(world.address, request);
    let mut first = one.accept().await;
    first.until("all of it").await;
    let mut websocket = Raw::connect(world.address).await;
    websocket.say(HANDSHAKE).await;
    let mut second = one.accept().await;
    second.until("\r\n\r\n").await;
    controller.obeyed_by(OTHER, 1, false, Some(other.route)).await;
    controller.drains(ONE, 2, Some(one.route)).await;
    for application in [&mut first, &mut second] {
        application.say("HTTP/1.1 421 x\r\npaci-not-applied: 1\r\ncontent-length: 0\r\n\r\n").await;
    }
    controller.drained(ONE, 2).await;
    for _ in 0..2 {
        let mut application = other.accept().await;
        let head = application.until("\r\n\r\n").await;
        if head.starts_with("GET /ws") {
            application.say(SWITCH).await;
            websocket.until("101 Switching").await;
            websocket.say(masked(TEXT, b"hello")).await;
            application.until("hello").await;
        } else {
            if !head.contains("all of it") {
                application.until("all of it").await;
            }
            application.say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nother").await;
        }
    }
    assert_eq!(text(&answer(http).await), "other");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_leaves_gets_nothing_new_and_one_that_is_called_back_serves_at_once() {
    let (world, mut controller) = World::scaled(State::None, None).await;
    let applications = serving(&mut controller, 2).await;
    controller.drains(ONE, 3, Some(applications[0].route)).await;
    controller.drained(ONE, 3).await;
    for _ in 0..20 {
        assert_eq!(text(&send(world.address, get("/")).await), "app 2");
    }
    // Both leave: who comes now waits for whoever is called back.
    controller.drains(OTHER, 3, Some(applications[1].route)).await;
    let client = spawn(world.address, get("/"));
    waiting(&mut controller, 1).await;
    controller.obeyed_by(ONE, 4, false, Some(applications[0].route)).await;
    assert_eq!(text(&answer(client).await), "app 1");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_every_instance_has_left_a_request_waits_no_longer_than_its_bound_and_is_told_why() {
    let parking = Parking { parked_ms_max: 50, ..Parking::default() };
    let (world, mut controller) = World::scaled_as(|app| app.parking = parking).await;
    let applications = serving(&mut controller, 2).await;
    controller.drains(ONE, 3, Some(applications[0].route)).await;
    controller.drains(OTHER, 3, None).await;
    let answer = send(world.address, client::post("/", "body")).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["paci-outcome"], "not_applied");
    assert_eq!(answer.headers()["retry-after"], "1");
    assert!(text(&answer).contains("no instance of this app takes requests"), "{}", text(&answer));
    assert!(applications.iter().all(|application| application.seen().is_empty()));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_gone_is_not_measured_and_with_its_number_another_one_begins() {
    let (world, mut controller) = World::scaled(State::None, None).await;
    let applications = serving(&mut controller, 2).await;
    let measured = |line: FromGatewayLine| {
        let FromGatewayLine::Measured { instances, .. } = line else { panic!("{line:?}") };
        instances.into_iter().map(|it| it.instance).collect::<Vec<_>>()
    };
    assert_eq!(measured(controller.measured().await), [ONE, OTHER]);
    controller.drains(ONE, 3, None).await;
    soon("its end", async { while measured(controller.measured().await) != [OTHER] {} }).await;
    // It is not waited for, nor its old process.
    for _ in 0..10 {
        assert_eq!(text(&send(world.address, get("/")).await), "app 2");
    }
    let again = Application::new(9).await;
    controller.obeyed_by(ONE, 4, true, None).await;
    controller.obeyed_by(ONE, 5, false, Some(again.route)).await;
    controller.drains(OTHER, 3, None).await;
    assert_eq!(text(&send(world.address, get("/")).await), "app 9");
    assert!(applications[0].seen().is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_goes_on_at_an_instance_that_leaves_which_is_drained_when_its_application_ends_it() {
    let (world, mut controller) = World::scaled_as(sessions(60_000)).await;
    let applications = serving(&mut controller, 2).await;
    let (number, id) = given(&send(world.address, get("/login")).await);
    let (own, other) = (number - 1, 2 - number);
    let cookie = format!("{number}~{id}");
    controller.drains(NAMES[own], 3, Some(applications[own].route)).await;
    for _ in 0..10 {
        let new = send(world.address, get("/")).await;
        assert_eq!(text(&new), format!("app {}", other + 1));
        assert_eq!(text(&send(world.address, with_cookie("/", &cookie)).await), format!("app {number}"));
    }
    controller.obeyed_by(NAMES[own], 4, false, Some(applications[own].route)).await;
    // Called back, and asked again: the session holds as before.
    controller.drains(NAMES[own], 5, Some(applications[own].route)).await;
    let logout = send(world.address, with_cookie("/logout", &cookie)).await;
    assert_eq!(text(&logout), format!("app {number}"));
    controller.drained(NAMES[own], 5).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_another_gateway_still_has_stays_with_its_instance_until_that_has_left() {
    let (world, mut controller) = World::scaled_as(sessions(300)).await;
    let applications = serving(&mut controller, 2).await;
    let route = Some(applications[0].route);
    controller.drains(ONE, 3, route).await;
    controller.drained(ONE, 3).await;
    // It was said that no session is left there: that is taken back before anything is sent there again.
    let client = spawn(world.address, with_cookie("/", "1~abc"));
    controller.until(ONE, FromGateway::Wanted { order: order(3) }).await;
    assert!(applications.iter().all(|it| it.seen().is_empty()));
    controller.drains(ONE, 4, route).await;
    assert_eq!(text(&answer(client).await), "app 1");
    // From then on it lives there as any other does, until nothing was seen of it for long enough.
    controller.drained(ONE, 4).await;
    let late = spawn(world.address, with_cookie("/", "1~abc"));
    controller.until(ONE, FromGateway::Wanted { order: order(4) }).await;
    controller.drains(ONE, 5, None).await;
    assert_eq!(text(&answer(late).await), "app 2", "its end was decided first");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_with_a_session_is_not_drained_before_it_ends_and_one_without_is_at_once() {
    let (world, mut controller) = World::scaled_as(sessions(60_000)).await;
    let applications = serving(&mut controller, 2).await;
    let (number, _) = given(&send(world.address, get("/login")).await);
    let (own, other) = (number - 1, 2 - number);
    controller.drains(NAMES[own], 3, Some(applications[own].route)).await;
    let mut lines = controller.drains(NAMES[other], 3, Some(applications[other].route)).await;
    lines.extend(controller.until(NAMES[other], FromGateway::Drained { order: order(3) }).await);
    assert_eq!(lines.iter().filter(|line| is_drained(line)).count(), 1, "{lines:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_begins_with_a_request_that_was_there_when_its_instance_began_to_leave_is_waited_for()
{
    let (world, mut controller) = World::scaled_as(sessions(60_000)).await;
    let applications = serving(&mut controller, 1).await;
    applications[0].busy(true);
    let login = spawn(world.address, get("/login"));
    applications[0].counts(1).await;
    controller.drains(ONE, 3, Some(applications[0].route)).await;
    applications[0].busy(false);
    let (_, id) = given(&answer(login).await);
    // It ends: nothing but that lets the instance go.
    let mut lines = controller.obeyed_by(OTHER, 1, true, None).await;
    lines.extend(controller.obeyed_by(OTHER, 2, true, None).await);
    assert!(!lines.iter().any(is_drained), "{lines:?}");
    send(world.address, with_cookie("/logout", &format!("1~{id}"))).await;
    controller.drained(ONE, 3).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_which_nothing_is_seen_for_long_enough_lets_its_instance_go() {
    let (world, mut controller) = World::scaled_as(sessions(300)).await;
    let applications = serving(&mut controller, 1).await;
    given(&send(world.address, get("/login")).await);
    controller.drains(ONE, 3, Some(applications[0].route)).await;
    controller.drained(ONE, 3).await;
    // Of one that served before the gateway heard of it nobody knows which sessions it has: it is waited for as long.
    let other = Application::new(2).await;
    controller.obeyed_by(OTHER, 1, false, Some(other.route)).await;
    controller.drains(OTHER, 2, Some(other.route)).await;
    controller.obeyed_by(THIRD, 1, true, None).await;
    controller.drained(OTHER, 2).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_idle_from_when_its_last_request_was_answered_and_not_from_when_that_came() {
    let (world, mut controller) = World::scaled_as(sessions(1_000)).await;
    let applications = serving(&mut controller, 2).await;
    applications[0].busy(true);
    let long = spawn(world.address, with_cookie("/", "1~abc"));
    applications[0].counts(1).await;
    // What is seen later of another one is idle for long enough by now.
    send(world.address, with_cookie("/", "2~def")).await;
    controller.drains(OTHER, 3, Some(applications[1].route)).await;
    controller.drained(OTHER, 3).await;
    applications[0].busy(false);
    assert_eq!(text(&answer(long).await), "app 1");
    let mut lines = controller.drains(ONE, 3, Some(applications[0].route)).await;
    lines.extend(controller.obeyed_by(THIRD, 1, true, None).await);
    assert!(!lines.iter().any(is_drained), "{lines:?}");
    controller.drained(ONE, 3).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_began_after_an_instance_does_not_say_that_no_session_is_there() {
    let (world, mut controller) = World::scaled_as(sessions(60_000)).await;
    let (one, other) = (Application::new(1).await, Application::new(2).await);
    controller.obeyed_by(ONE, 1, false, Some(one.route)).await;
    controller.drains(ONE, 2, Some(one.route)).await;
    let mut lines = controller.obeyed_by(OTHER, 1, true, None).await;
    lines.extend(controller.obeyed_by(OTHER, 2, false, Some(other.route)).await);
    lines.extend(controller.drains(OTHER, 3, Some(other.route)).await);
    lines.extend(controller.until(OTHER, FromGateway::Drained { order: order(3) }).await);
    assert_eq!(lines.iter().filter(|line| is_drained(line)).count(), 1, "{lines:?}");
    // A session that it never saw is served there all the same.
    assert_eq!(text(&send(world.address, with_cookie("/", "1~abc")).await), "app 1");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_instance_is_gone_is_chosen_anew_and_stays_with_that_choice() {
    let (world, mut controller) = World::scaled_as(sessions(60_000)).await;
    let applications = serving(&mut controller, 3).await;
    controller.drains(THIRD, 3, None).await;
    let first = text(&send(world.address, with_cookie("/", "3~abc")).await).to_owned();
    for _ in 0..20 {
        assert_eq!(
            text(&send(world.address, with_cookie("/", "3~abc")).await),
            first,
            "without a new mark too"
        );
    }
    let served: Vec<_> = applications.iter().flat_map(Application::seen).collect();
    assert!(served.iter().all(|seen| seen.headers["cookie"] == "sid=abc"), "{served:?}");
    // It is marked anew as soon as the application says its id again.
    let (number, id) = given(&send(world.address, with_cookie("/login", "3~abc")).await);
    assert_eq!((format!("app {number}"), id.as_str()), (first, "abc"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_is_closed_when_its_instance_has_left_and_is_its_session_until_then() {
    let (world, mut controller) = World::scaled_as(sessions(60_000)).await;
    let one = RawApplication::new(1).await;
    controller.obeyed_by(ONE, 1, true, None).await;
    controller.obeyed_by(ONE, 2, false, Some(one.route)).await;
    let mut client = Raw::connect(world.address).await;
    client.say(HANDSHAKE.replace("host: a", "host: a\r\ncookie: sid=1~abc")).await;
    let mut application = one.accept().await;
    application.until("\r\n\r\n").await;
    application.say(SWITCH).await;
    client.until("\r\n\r\n").await;
    controller.drains(ONE, 3, Some(one.route)).await;
    client.say(masked(TEXT, b"still here")).await;
    application.until("still here").await;
    let lines = controller.obeyed_by(OTHER, 1, true, None).await;
    assert!(!lines.iter().any(is_drained), "{lines:?}");
    controller.drains(ONE, 4, None).await;
    let seen = client.rest().await;
    assert!(seen[0] == CLOSE && contains(&seen, &code(1012)), "{seen:?}");
    assert!(contains(&application.rest().await, &code(1012)));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nobody_is_ready_a_request_waits_and_at_its_bound_whoever_is_there_decides() {
    let (world, mut controller) = World::scaled(State::None, None).await;
    let applications = serving(&mut controller, 2).await;
    for (instance, application) in NAMES.into_iter().zip(&applications) {
        ready(&mut controller, 3, instance, application, false).await;
    }
    let client = spawn(world.address, get("/"));
    waiting(&mut controller, 1).await;
    ready(&mut controller, 4, OTHER, &applications[1], true).await;
    assert_eq!(text(&answer(client).await), "app 2");
    world.end().await;

    let parking = Parking { parked_ms_max: 50, ..Parking::default() };
    let (world, mut controller) = World::scaled_as(|app| app.parking = parking).await;
    let applications = serving(&mut controller, 1).await;
    ready(&mut controller, 3, ONE, &applications[0], false).await;
    assert_eq!(send(world.address, get("/")).await.status(), StatusCode::OK);
    assert_eq!(applications[0].seen().len(), 1);
    // Another one that is being started could not decide.
    controller.obeyed_by(OTHER, 1, true, None).await;
    assert_eq!(send(world.address, get("/")).await.status(), StatusCode::OK);
    assert_eq!(applications[0].seen().len(), 2);
    world.end().await;
}
