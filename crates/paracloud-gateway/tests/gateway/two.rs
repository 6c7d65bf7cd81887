//! Applications that speak HTTP/2.

use crate::application::{Application, RawApplication};
use crate::client::{Raw, answer, get, post, send, spawn, text};
use crate::echo;
use crate::frames::{DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, OK, REFUSED_STREAM, RST_STREAM, Two};
use crate::world::{World, soon};
use paracloud_core::migration::message::FromGateway;
use paracloud_gateway::Terms;
use paracloud_substrate::config::{Parking, Protocol};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_speaks_http2_serves_either_kind_of_client_on_few_connections() {
    let (world, mut controller) = World::two().await;
    let source = Application::two(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = echo::Client::connect(world.address).await;
    assert_eq!(client.send(echo::post("/two"), "body").await.unwrap().text(), "app 1");
    let ones: Vec<_> = (0..50).map(|n| spawn(world.address, post(&format!("/{n}"), "one"))).collect();
    for one in ones {
        assert_eq!(text(&answer(one).await), "app 1");
    }
    assert_eq!(source.connections(), 1);
    let seen = source.seen();
    assert_eq!(seen[0].line, "POST http://shop.example/two");
    assert_eq!(
        (&seen[0].headers["via"], &seen[0].body[..]),
        (&"2.0 paracloud".parse().unwrap(), &b"body"[..])
    );
    let one = seen.iter().find(|seen| seen.line == "POST http://shop.example/7").unwrap();
    assert_eq!((&one.headers["via"], &one.body[..]), (&"1.1 paracloud".parse().unwrap(), &b"one"[..]));
    assert!(!one.headers.contains_key("host") && one.headers["x-forwarded-host"] == "shop.example");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_http2_has_no_place_for_is_answered_and_not_passed_on() {
    let (world, mut controller) = World::two().await;
    let source = Application::two(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    for (head, status) in [
        (
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n",
            "501",
        ),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a b\r\n\r\n", "400"),
    ] {
        let mut client = Raw::connect(world.address).await;
        client.say(head).await;
        let answer = client.until("}").await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains("not_applied"),
            "{answer}"
        );
    }
    assert!(source.seen().is_empty(), "{:?}", source.seen());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_refused_is_sent_again_and_one_that_was_reset_otherwise_never() {
    let (world, mut controller) = World::two().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let client = spawn(world.address, post("/order", "one"));
    let mut application = Two::accept(&source).await;
    let stream = application.request().await;
    application.say(RST_STREAM, 0, stream, &REFUSED_STREAM.to_be_bytes()).await;
    let again = application.request().await;
    assert!(again > stream);
    application.answer(again, "done").await;
    assert_eq!(text(&answer(client).await), "done");
    // INTERNAL_ERROR, CANCEL, and an end that says that all is well before anything was said.
    for reason in [2_u32, 8, 0] {
        let client = spawn(world.address, post("/order", "one"));
        let stream = application.request().await;
        application.say(RST_STREAM, 0, stream, &reason.to_be_bytes()).await;
        let lost = answer(client).await;
        assert_eq!(
            (lost.status().as_u16(), &lost.headers()["paci-outcome"]),
            (502, &"unknown".parse().unwrap())
        );
    }
    let client = spawn(world.address, get("/next"));
    let next = application.request().await;
    application.answer(next, "next").await;
    assert_eq!(text(&answer(client).await), "next", "nothing was sent between");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_above_a_goaway_is_sent_again_and_one_below_it_is_answered() {
    let (world, mut controller) = World::two().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let first = spawn(world.address, post("/first", "1"));
    let mut application = Two::accept(&source).await;
    let below = application.request().await;
    let second = spawn(world.address, post("/second", "2"));
    let above = application.request().await;
    let goaway = [below.to_be_bytes(), 0_u32.to_be_bytes()].concat();
    application.say(GOAWAY, 0, 0, &goaway).await;
    let mut next = Two::accept(&source).await;
    let again = next.request().await;
    next.answer(again, "second").await;
    assert_eq!(text(&answer(second).await), "second");
    application.answer(below, "first").await;
    assert_eq!(text(&answer(first).await), "first");
    assert!(above > below);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_below_a_goaway_whose_connection_ends_is_unknown_whatever_the_goaway_says() {
    let (world, mut controller) = World::two().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    for reason in [0_u32, 2, 11] {
        let client = spawn(world.address, post("/once", "1"));
        let mut application = Two::accept(&source).await;
        let below = application.request().await;
        application.say(GOAWAY, 0, 0, &[below.to_be_bytes(), reason.to_be_bytes()].concat()).await;
        drop(application);
        let lost = answer(client).await;
        assert_eq!(
            (lost.status().as_u16(), &lost.headers()["paci-outcome"]),
            (502, &"unknown".parse().unwrap())
        );
    }
    assert!(source.is_alone().await, "none was sent again");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_over_http2_that_breaks_off_is_not_taken_for_a_whole_one() {
    let (world, mut controller) = World::two().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    // NO_ERROR too: only the end of the stream is one.
    let mut application = None;
    for reason in [0_u32, 8] {
        let mut client = Raw::connect(world.address).await;
        client.say("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let application = match &mut application {
            Some(application) => application,
            none => none.insert(Two::accept(&source).await),
        };
        let stream = application.request().await;
        application.say(HEADERS, END_HEADERS, stream, OK).await;
        application.say(DATA, 0, stream, b"half").await;
        client.until("half").await;
        application.say(RST_STREAM, 0, stream, &reason.to_be_bytes()).await;
        assert!(!client.rest().await.ends_with(b"0\r\n\r\n"), "{reason}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_connection_that_was_closed_meanwhile_is_not_used_again() {
    let (world, mut controller) = World::two().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    for n in 0..20 {
        let client = spawn(world.address, post("/", "body"));
        let mut application = Two::accept(&source).await;
        let stream = application.request().await;
        application.answer(stream, &format!("{n:02}")).await;
        assert_eq!(text(&answer(client).await), format!("{n:02}"));
        // With a word before its end, and without one.
        if n % 2 == 0 {
            application.say(GOAWAY, 0, 0, &[stream.to_be_bytes(), 0_u32.to_be_bytes()].concat()).await;
        }
        drop(application);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_speaks_no_http2_gets_nothing_of_a_request() {
    let parking = Parking { parked_ms_max: 50, ..Parking::default() };
    let (world, mut controller) = World::speaking(Protocol::H2, parking, Terms::default()).await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let answer = send(world.address, post("/order", "one")).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["paci-outcome"]),
        (503, &"not_applied".parse().unwrap())
    );
    assert!(text(&answer).contains("`protocol: h2`"), "{}", text(&answer));
    assert!(source.seen().is_empty(), "{:?}", source.seen());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_application_that_speaks_http2_alone_it_is_said_what_its_manifest_wants() {
    let (world, mut controller) = World::usual().await;
    let source = echo::Echo::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let answer = send(world.address, post("/order", "one")).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["paci-outcome"]),
        (502, &"unknown".parse().unwrap())
    );
    assert!(text(&answer).contains("`protocol: h2`"), "{}", text(&answer));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_application_is_sealed_goes_to_the_target_over_http2_too() {
    let (world, mut controller) = World::two().await;
    let (source, target) = (Application::two(1).await, Application::two(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    source.seal();
    let clients: Vec<_> = (0..20).map(|n| spawn(world.address, post(&format!("/{n}"), "body"))).collect();
    source.refuses(20).await;
    controller.hears(FromGateway::Ask).await;
    controller.obeyed(2, false, Some(target.route)).await;
    for client in clients {
        assert_eq!(text(&answer(client).await), "app 2");
    }
    assert!(source.seen().is_empty() && target.seen().len() == 20);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_a_process_that_is_no_longer_the_one_end_with_their_last_request() {
    let (world, mut controller) = World::two().await;
    let (source, target) = (RawApplication::new(1).await, Application::two(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    let client = spawn(world.address, get("/last"));
    let mut application = Two::accept(&source).await;
    let stream = application.request().await;
    // A gateway that heard of no park is told of the target at once: what is outstanding goes on.
    controller.obeyed(2, false, Some(target.route)).await;
    assert_eq!(text(&send(world.address, get("/next")).await), "app 2");
    application.answer(stream, "source").await;
    assert_eq!(text(&answer(client).await), "source");
    let last = soon("the end", application.goaway()).await;
    assert!(last.is_some_and(|it| it.number(1) == 0), "in good order");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_beside_its_reply_and_its_trailers_pass() {
    let (world, mut controller) = World::two().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = echo::Client::connect(world.address).await;
    let mut call = client.begin(echo::post("/upload")).unwrap();
    call.sends.send_data("first".into(), false).unwrap();
    let mut application = Two::accept(&source).await;
    let stream = application.request().await;
    assert_eq!(application.next().await.unwrap().payload, b"first");
    application.say(HEADERS, END_HEADERS, stream, OK).await;
    let (response, mut sends) = call.answered().await.unwrap();
    sends.send_data("second".into(), false).unwrap();
    assert_eq!(application.next().await.unwrap().payload, b"second");
    sends.send_trailers([("x-sum".parse().unwrap(), "7".parse().unwrap())].into_iter().collect()).unwrap();
    let trailers = application.next().await.unwrap();
    assert_eq!((trailers.kind, trailers.flags & END_STREAM), (HEADERS, END_STREAM));
    application.say(DATA, 0, stream, b"done").await;
    // `x-said: 1`, and what is not the application's to say.
    let trailers = [&[0, 6][..], b"x-said", &[1], b"1", &[0, 12], b"paci-outcome", &[7], b"unknown"].concat();
    application.say(HEADERS, END_HEADERS | END_STREAM, stream, &trailers).await;
    let (body, trailers) = echo::rest(response.into_body()).await.unwrap();
    let trailers = trailers.unwrap();
    assert_eq!((&body[..], &trailers["x-said"]), (&b"done"[..], &"1".parse().unwrap()));
    assert!(!trailers.contains_key("paci-outcome"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_requests_than_an_application_takes_on_a_connection_get_another_one() {
    let (world, mut controller) = World::two().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let first = spawn(world.address, get("/first"));
    let mut raw = source.accept().await;
    let mut preface = [0; 24];
    use tokio::io::AsyncReadExt;
    soon("a preface", raw.0.read_exact(&mut preface)).await.unwrap();
    // MAX_CONCURRENT_STREAMS: 1.
    raw.say(crate::frames::frame(crate::frames::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1])).await;
    let mut application = Two(raw);
    let stream = application.request().await;
    let second = spawn(world.address, get("/second"));
    let mut other = Two::accept(&source).await;
    let beside = other.request().await;
    other.answer(beside, "second").await;
    application.answer(stream, "first").await;
    assert_eq!((text(&answer(first).await), text(&answer(second).await)), ("first", "second"));
    world.end().await;
}
