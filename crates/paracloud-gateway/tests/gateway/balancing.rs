//! An app with several instances: which of them requests go to.

use crate::application::Application;
use crate::calls::counts;
use crate::client::{Answer, Raw, answer, get, send, spawn, text};
use crate::world::{Controller, World, order, soon};
use hyper::StatusCode;
use paci::report::Report;
use paracloud_core::ids::StartId;
use paracloud_core::migration::message::{FromGateway, ToGateway};
use paracloud_substrate::advice::{Advice, Aged, Leased, Pause};
use paracloud_substrate::config::{State, Sticky};
use paracloud_substrate::message::{FromGatewayLine, ToGatewayLine};
use std::collections::BTreeSet;
use std::net::SocketAddr;

const ONE: &str = "shop.1";
const OTHER: &str = "shop.2";

/// Two instances that serve.
async fn two(state: State, sticky: Option<Sticky>) -> (World, Controller, [Application; 2]) {
    let (world, mut controller) = World::scaled(state, sticky).await;
    let applications = [Application::new(1).await, Application::new(2).await];
    for (instance, application) in [ONE, OTHER].into_iter().zip(&applications) {
        controller.obeyed_by(instance, 1, false, Some(application.route)).await;
    }
    (world, controller, applications)
}

/// Who answers so many requests, one after the other.
async fn answering(address: SocketAddr, requests: usize) -> BTreeSet<String> {
    answering_at(address, "/", requests).await
}

async fn answering_at(address: SocketAddr, path: &str, requests: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for _ in 0..requests {
        let answer = send(address, get(path)).await;
        assert_eq!(answer.status(), StatusCode::OK, "{}", text(&answer));
        names.insert(text(&answer).to_owned());
    }
    names
}

async fn name(address: SocketAddr) -> String {
    text(&send(address, get("/")).await).to_owned()
}

/// A process says this of itself. What is said after it is heard after it.
pub(crate) async fn advises(controller: &mut Controller, instance: &str, start: StartId, advice: Advice) {
    let line = ToGatewayLine::Advice { instance: instance.to_owned(), start, advice: Box::new(advice) };
    controller.writer.write(&line).await.unwrap();
}

#[tokio::test]
async fn before_any_instance_is_known_a_request_waits_for_the_first() {
    let (world, mut controller) = World::scaled(State::None, None).await;
    let client = spawn(world.address, get("/"));
    // It has come: it is counted as one that waits.
    loop {
        if let FromGatewayLine::Measured { waiting: 1, instances, .. } = controller.measured().await {
            assert!(instances.is_empty());
            break;
        }
    }
    let application = Application::new(1).await;
    controller.obeyed_by(ONE, 1, false, Some(application.route)).await;
    assert_eq!(answer(client).await.status(), StatusCode::OK);
    world.end().await;
}

/// The lines of the gateway up to one by which so many wait.
async fn until_waiting(controller: &mut Controller, wanted: u32) {
    loop {
        if let FromGatewayLine::Measured { waiting, .. } = controller.measured().await
            && waiting == wanted
        {
            return;
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_any_instance_takes_its_request_waits_no_more() {
    let (world, mut controller) = World::scaled(State::None, None).await;
    let mut raw = Raw::connect(world.address).await;
    raw.say("GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
    let client = spawn(world.address, get("/"));
    until_waiting(&mut controller, 2).await;
    drop(raw);
    until_waiting(&mut controller, 1).await;
    let application = Application::new(1).await;
    controller.obeyed_by(ONE, 1, false, Some(application.route)).await;
    assert_eq!(answer(client).await.status(), StatusCode::OK);
    until_waiting(&mut controller, 0).await;
    world.end().await;
}

#[tokio::test]
async fn requests_go_to_all_instances_and_to_none_that_parks() {
    let (world, mut controller, applications) = two(State::None, None).await;
    assert_eq!(answering(world.address, 40).await.len(), 2);
    controller.obeyed_by(ONE, 2, true, Some(applications[0].route)).await;
    let other = name(world.address).await;
    assert_eq!(answering(world.address, 20).await, BTreeSet::from([other]));
    controller.obeyed_by(ONE, 3, false, Some(applications[0].route)).await;
    assert_eq!(answering(world.address, 40).await.len(), 2);
    world.end().await;
}

/// An instance is about to move: what lives long there is to end.
async fn leaves(controller: &mut Controller, instance: &str, n: u32) {
    let message = ToGateway::Leave { order: order(n) };
    controller.writer.write(&ToGatewayLine::Machine { instance: instance.into(), message }).await.unwrap();
    let message = FromGateway::Drained { order: order(n) };
    controller.hears_line(FromGatewayLine::Machine { instance: instance.into(), message }).await;
}

#[tokio::test]
async fn nothing_new_goes_to_an_instance_that_is_about_to_move_until_it_has_or_the_move_is_off() {
    let (world, mut controller, [one, other]) = two(State::None, None).await;
    let both = answering(world.address, 40).await;
    assert_eq!(both.len(), 2);
    leaves(&mut controller, ONE, 1).await;
    let among = async |names: &BTreeSet<String>| {
        soon("who is chosen", async { while answering(world.address, 20).await != *names {} }).await;
    };
    among(&BTreeSet::from(["app 2".to_owned()])).await;
    // It is off: the record has changed, and the route has not.
    controller.obeyed_by(ONE, 2, false, Some(one.route)).await;
    among(&both).await;
    // One that comes late, of a move that is over.
    leaves(&mut controller, ONE, 1).await;
    among(&both).await;
    // There is nobody else: it serves until its requests wait.
    leaves(&mut controller, ONE, 2).await;
    controller.obeyed_by(OTHER, 2, true, Some(other.route)).await;
    among(&BTreeSet::from(["app 1".to_owned()])).await;
    world.end().await;
}

#[tokio::test]
async fn a_request_that_waits_at_an_instance_is_given_to_another_that_opens() {
    let (world, mut controller) = World::scaled(State::None, None).await;
    let applications = [Application::new(1).await, Application::new(2).await];
    controller.obeyed_by(ONE, 1, true, Some(applications[0].route)).await;
    let client = spawn(world.address, get("/"));
    let asks = FromGatewayLine::Machine { instance: ONE.to_owned(), message: FromGateway::Ask };
    controller.hears_line(asks).await;
    controller.obeyed_by(OTHER, 1, false, Some(applications[1].route)).await;
    assert_eq!(answer(client).await.status(), StatusCode::OK);
    assert!(applications[0].seen().is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_request_that_one_instance_refused_untouched_goes_to_another() {
    let (world, _controller, applications) = two(State::None, None).await;
    applications[0].seal();
    let names = answering(world.address, 30).await;
    assert_eq!(names.len(), 1);
    assert!(applications[0].seen().is_empty());
    assert_eq!(applications[1].seen().len(), 30);
    world.end().await;
}

#[tokio::test]
async fn where_instances_hold_state_a_request_stays_with_the_one_it_was_sent_to() {
    let (world, mut controller) = World::scaled(State::Stateful, None).await;
    let applications = [Application::new(1).await, Application::new(2).await];
    controller.obeyed_by(ONE, 1, true, Some(applications[0].route)).await;
    let client = spawn(world.address, get("/"));
    let asks = FromGatewayLine::Machine { instance: ONE.to_owned(), message: FromGateway::Ask };
    controller.hears_line(asks).await;
    controller.obeyed_by(OTHER, 1, false, Some(applications[1].route)).await;
    controller.obeyed_by(ONE, 2, false, Some(applications[0].route)).await;
    assert_eq!(answer(client).await.status(), StatusCode::OK);
    assert_eq!((applications[0].seen().len(), applications[1].seen().len()), (1, 0));
    world.end().await;
}

#[tokio::test]
async fn one_that_says_that_it_pauses_or_is_not_ready_gets_nothing_for_as_long() {
    let (world, mut controller, applications) = two(State::None, None).await;
    let (route, start) = (applications[0].route, applications[0].route.start);
    let pause = Some(Pause { in_ms: 0, for_ms: 25_000 });
    let state = Some(Aged { age_ms: 0, said: paci::state::State::NotReady });
    let words = [Advice { pause, ..Advice::default() }, Advice { state, ..Advice::default() }];
    for (n, advice) in (2..).step_by(2).zip(words) {
        // Of a process that is not the one.
        advises(&mut controller, ONE, StartId(99), advice.clone()).await;
        controller.obeyed_by(OTHER, n, false, Some(applications[1].route)).await;
        assert_eq!(answering(world.address, 40).await.len(), 2);
        let before = applications[0].seen().len();
        advises(&mut controller, ONE, start, advice).await;
        controller.obeyed_by(ONE, n, false, Some(route)).await;
        assert_eq!(answering(world.address, 20).await.len(), 1);
        assert_eq!(applications[0].seen().len(), before);
        advises(&mut controller, ONE, start, Advice::default()).await;
        controller.obeyed_by(ONE, n + 1, false, Some(route)).await;
        assert_eq!(answering(world.address, 40).await.len(), 2);
    }
    world.end().await;
}

/// Waits until it is kept of a choice that these parts of a thousand of the first and of the second instance are used, by
/// their word. Meanwhile requests go to this path.
async fn until_used(world: &World, path: &str, wanted: [u64; 2]) {
    until_used_by(world, async || _ = answering_at(world.address, path, 4).await, &wanted).await;
}

/// The same of all instances, whatever the requests are.
pub(crate) async fn until_used_by(world: &World, mut asks: impl AsyncFnMut(), wanted: &[u64]) {
    let log = world.layout.gateway(paracloud_core::ids::GatewayId(1)).join("decisions.jsonl");
    let wanted: Vec<_> = wanted.iter().copied().map(Some).collect();
    let used = |line: &str| {
        let kept: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        let inputs = kept["record"]["inputs"].as_array().cloned().unwrap_or_default();
        inputs.iter().map(|it| it["claimed"]["report"]["utilisation_permille"].as_u64()).collect::<Vec<_>>()
    };
    soon("what is used", async {
        loop {
            asks().await;
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if text.lines().last().is_some_and(|line| used(line) == wanted) {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_an_application_says_of_its_load_with_its_replies_counts_and_its_word_to_the_cloud_before_that()
{
    let (world, mut controller, applications) = two(State::None, None).await;
    until_used(&world, "/full/1", [1_000, 100]).await;
    until_used(&world, "/full/2?cpu_utilization", [100, 1_000]).await;
    until_used(&world, "/full/1?application_utilization:0,cpu_utilization", [1_000, 100]).await;
    let said = Report { valid_for_ms: 60_000, utilisation_permille: Some(300), ..Report::default() };
    let report = Some(Leased { said, age_ms: 0, remaining_ms: 60_000 });
    let advice = Advice { report, ..Advice::default() };
    advises(&mut controller, ONE, applications[0].route.start, advice).await;
    until_used(&world, "/full/1", [300, 100]).await;
    // And its clients are told so in the replies in which it says nothing itself, for as long as it says so.
    let told = async || {
        soon("a reply of the first", async {
            loop {
                let answer = send(world.address, get("/")).await;
                let told = answer.headers().get("endpoint-load-metrics").cloned();
                if text(&answer) == "app 1" {
                    return told;
                }
                assert_eq!(told, None);
            }
        })
        .await
    };
    assert_eq!(told().await.unwrap(), "TEXT application_utilization:0.300");
    let [one, _] = &applications;
    advises(&mut controller, ONE, one.route.start, Advice::default()).await;
    controller.obeyed_by(ONE, 2, false, Some(one.route)).await;
    assert_eq!(told().await, None);
    world.end().await;
}

#[tokio::test]
async fn one_that_wants_three_times_as_much_as_another_gets_it_by_its_own_word_and_as_much_without_one() {
    let (world, mut controller, applications) = two(State::None, None).await;
    let [one, other] = &applications;
    // From one that has not answered as many yet requests are kept away, whatever it says.
    assert_eq!(answering(world.address, 120).await.len(), 2);
    for (n, weight_permille, least) in [(2, None, [18, 18]), (3, Some(3_000), [27, 8])] {
        let said = Report { valid_for_ms: 60_000, weight_permille, ..Report::default() };
        let report = Some(Leased { age_ms: 0, remaining_ms: 60_000, said });
        advises(&mut controller, ONE, one.route.start, Advice { report, ..Advice::default() }).await;
        controller.obeyed_by(ONE, n, false, Some(one.route)).await;
        applications.iter().for_each(|application| application.busy(true));
        let before = applications.each_ref().map(|it| it.seen().len());
        let clients: Vec<_> = (0..40).map(|_| spawn(world.address, get("/"))).collect();
        // All forty are under way at a time: the choice goes by what each has.
        one.counts(before[0] + least[0]).await;
        other.counts(before[1] + least[1]).await;
        applications.iter().for_each(|application| application.busy(false));
        for client in clients {
            assert_eq!(answer(client).await.status(), StatusCode::OK);
        }
    }
    world.end().await;
}

#[tokio::test]
async fn what_was_measured_is_told_once_a_period() {
    let (world, mut controller, _applications) = two(State::None, None).await;
    answering(world.address, 25).await;
    let (mut came, mut done, mut took_us) = (0, 0, 0);
    while done < 25 {
        let FromGatewayLine::Measured { app, arrivals, instances, .. } = controller.measured().await else {
            continue;
        };
        assert_eq!(app, "shop");
        came += arrivals;
        for instance in instances {
            assert!([ONE, OTHER].contains(&instance.instance.as_str()));
            assert_eq!(instance.failures, 0);
            done += instance.completions;
            took_us += instance.service_us_sum;
        }
    }
    assert_eq!((came, done), (25, 25));
    assert!(took_us > 0);
    world.end().await;
}

#[tokio::test]
async fn a_choice_is_kept_with_all_that_it_is_made_from() {
    let (world, _controller, _applications) = two(State::None, None).await;
    answering(world.address, 10).await;
    let log = world.layout.gateway(paracloud_core::ids::GatewayId(1)).join("decisions.jsonl");
    soon("a record", async {
        while !std::fs::read_to_string(&log).is_ok_and(|text| text.ends_with('\n')) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains(r#""kind":"balancing""#), "{text}");
    paracloud_substrate::decision::replay(&log).unwrap();
    world.end().await;
}

fn with_cookie(cookie: &str) -> hyper::Request<http_body_util::Full<bytes::Bytes>> {
    let mut request = get("/");
    request.headers_mut().insert("cookie", cookie.parse().unwrap());
    request
}

/// The cookie that an answer gives.
fn given(answer: &Answer) -> String {
    let all = answer.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    all.filter_map(|value| value.strip_prefix("sid=")).next().unwrap().split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_is_kept_with_the_instance_that_gave_it_its_session() {
    let (world, mut controller, applications) = two(State::Session, Some(Sticky::Cookie("sid".into()))).await;
    let login = send(world.address, get("/login")).await;
    let cookie = given(&login);
    let (number, id) = cookie.split_once('~').unwrap();
    assert_eq!(id, "abc");
    for _ in 0..20 {
        let answer = send(world.address, with_cookie(&format!("theme=dark; sid={cookie}"))).await;
        assert_eq!(text(&answer), text(&login));
    }
    let own = &applications[if number == "1" { 0 } else { 1 }];
    assert!(own.seen().iter().skip(1).all(|seen| seen.headers["cookie"] == "theme=dark; sid=abc"));
    // While it parks, its clients wait for it, whoever else serves.
    let instance = format!("shop.{number}");
    controller.obeyed_by(&instance, 2, true, Some(own.route)).await;
    let client = spawn(world.address, with_cookie(&format!("sid={cookie}")));
    let asks = FromGatewayLine::Machine { instance: instance.clone(), message: FromGateway::Ask };
    controller.hears_line(asks).await;
    assert_eq!(answering(world.address, 10).await.len(), 1);
    controller.obeyed_by(&instance, 3, false, Some(own.route)).await;
    assert_eq!(text(&answer(client).await), text(&login));
    // A session of an instance that nobody knows is none.
    assert_eq!(send(world.address, with_cookie("sid=7~abc")).await.status(), StatusCode::OK);
    world.end().await;
}

#[tokio::test]
async fn an_error_of_the_server_is_a_failure_of_its_instance_and_any_other_answer_is_an_answer() {
    let (world, mut controller) = World::scaled(State::None, None).await;
    let application = Application::new(1).await;
    controller.obeyed_by(ONE, 1, false, Some(application.route)).await;
    for (status, wanted) in [(200, (3, 0)), (404, (3, 0)), (500, (0, 3)), (503, (0, 3))] {
        for _ in 0..3 {
            let answer = send(world.address, get(&format!("/answers/{status}"))).await;
            assert_eq!(answer.status().as_u16(), status);
        }
        assert_eq!(counts(&mut controller, 3).await, wanted, "{status}");
    }
    world.end().await;
}

#[tokio::test]
async fn what_one_refused_waits_for_it_while_the_other_is_not_ready_or_leaves() {
    for leaves in [false, true] {
        let (world, mut controller, [one, other]) = two(State::None, None).await;
        if leaves {
            controller.drains(OTHER, 2, Some(other.route)).await;
        } else {
            let state = Some(Aged { age_ms: 0, said: paci::state::State::NotReady });
            advises(&mut controller, OTHER, other.route.start, Advice { state, ..Advice::default() }).await;
            controller.obeyed_by(OTHER, 2, false, Some(other.route)).await;
        }
        one.seal();
        let client = spawn(world.address, get("/"));
        one.refuses(2).await;
        one.unseal();
        controller.obeyed_by(ONE, 2, false, Some(one.route)).await;
        assert_eq!(text(&answer(client).await), "app 1", "{leaves}");
        assert!(other.seen().is_empty());
        world.end().await;
    }
}
