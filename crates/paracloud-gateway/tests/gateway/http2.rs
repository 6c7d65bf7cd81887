//! Clients that speak HTTP/2: each stream is a request like any other.

use crate::application::{Application, RawApplication};
use crate::client::Raw;
use crate::echo::{Client, get, post, rest};
use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM, Two};
use crate::world::World;
use bytes::Bytes;
use paracloud_core::migration::message::FromGateway;
use paracloud_gateway::{HEAD_BYTES_MAX, RESETS_OWN_MAX, STREAMS_MAX, Terms};
use paracloud_substrate::config::Parking;

const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_speaks_http2_where_others_speak_http1() {
    let (world, mut controller) = World::usual().await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Client::connect(world.address).await;
    let mut request = post("/cart?item=1");
    let headers = request.headers_mut();
    headers.append("cookie", "a=1".parse().unwrap());
    headers.append("cookie", "b=2".parse().unwrap());
    headers.insert("host", "other.example".parse().unwrap());
    headers.insert("content-length", "3".parse().unwrap());
    let answer = client.send(request, "one").await.unwrap();
    assert_eq!((answer.status(), answer.text()), (200, "app 1"));
    assert_eq!((answer.field("x-app"), answer.field("via")), ("app 1", "1.1 paracloud"));
    let seen = source.seen().remove(0);
    assert_eq!((seen.line.as_str(), &seen.body[..]), ("POST /cart?item=1", &b"one"[..]));
    for (name, value) in [
        ("host", "shop.example"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "shop.example"),
        ("via", "2.0 paracloud"),
        ("cookie", "a=1; b=2"),
        ("content-length", "3"),
    ] {
        assert_eq!(seen.headers[name], value, "{name}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_speaks_is_seen_however_slowly_it_says_it() {
    let (world, mut controller) = World::usual().await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    // Each byte arrives before the next one is said: the other client is answered in between.
    let mut other = Client::connect(world.address).await;
    let mut slow = Raw::connect(world.address).await;
    for byte in PREFACE {
        slow.say([*byte]).await;
        assert_eq!(other.send(get("/"), "").await.unwrap().status(), 200);
    }
    let mut two = Two(slow);
    two.say(crate::frames::SETTINGS, 0, 0, &[]).await;
    // `:method: GET`, `:scheme: http`, `:path: /`, `:authority: a`.
    two.say(HEADERS, END_HEADERS | END_STREAM, 1, &[0x82, 0x86, 0x84, 0x41, 1, b'a']).await;
    let head = two.next().await.unwrap();
    assert_eq!((head.kind, head.stream, head.payload[0]), (HEADERS, 1, 0x88));
    for begin in ["P", "PR", "PRI * HTTP/1.1\r\n"] {
        let mut one = Raw::connect(world.address).await;
        one.say(begin).await;
        assert_eq!(other.send(get("/"), "").await.unwrap().status(), 200);
        let rest =
            if begin == "P" { "OST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n" } else { "\r\n\r\n" };
        one.say(rest).await;
        let wanted = if begin == "P" { "HTTP/1.1 200" } else { "HTTP/1.1 " };
        one.until(wanted).await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_come_in_a_pause_wait_and_go_to_the_target_and_their_connection_stays() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (Application::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    controller.obeyed(2, true, Some(source.route)).await;
    let mut client = Client::connect(world.address).await;
    let mut waiting = Vec::new();
    for n in 0..20 {
        let mut call = client.begin(post(&format!("/{n}"))).unwrap();
        // With a length and without one.
        call.sends.send_data(Bytes::from(format!("body {n}")), n % 2 == 0).unwrap();
        if n % 2 == 1 {
            call.sends.send_data(Bytes::from_static(b" rest"), true).unwrap();
        }
        waiting.push(tokio::spawn(call.ended()));
    }
    controller.parked().await;
    controller.obeyed(3, true, None).await;
    controller.obeyed(4, false, Some(target.route)).await;
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap().text(), "app 2");
    }
    assert!(source.seen().is_empty(), "{:?}", source.seen());
    let mut seen: Vec<_> = target.seen().iter().map(|it| (it.line.clone(), it.body.clone())).collect();
    let rest = |n: u32| if n % 2 == 1 { " rest" } else { "" };
    let sent = (0..20).map(|n| (format!("POST /{n}"), Bytes::from(format!("body {n}{}", rest(n)))));
    let mut sent: Vec<_> = sent.collect();
    seen.sort();
    sent.sort();
    assert_eq!(seen, sent);
    assert!(client.is_usable().await, "nothing of it was cut: it goes on");
    assert_eq!(client.send(get("/later"), "").await.unwrap().text(), "app 2");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_stream_is_sent_again_whole_though_nobody_said_how_long_it_is() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (Application::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    source.seal();
    let mut client = Client::connect(world.address).await;
    let mut call = client.begin(post("/order")).unwrap();
    call.sends.send_data(Bytes::from_static(b"two of "), false).unwrap();
    source.refuses(1).await;
    controller.hears(FromGateway::Ask).await;
    controller.obeyed(2, false, Some(target.route)).await;
    call.sends.send_data(Bytes::from_static(b"them"), true).unwrap();
    assert_eq!(call.ended().await.unwrap().text(), "app 2");
    assert_eq!(target.seen().remove(0).body, "two of them");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_stream_that_was_too_long_to_be_kept_is_spent() {
    let parking = Parking { replay_bytes_max: 1_024, ..Parking::default() };
    let (world, mut controller) = World::new(parking).await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    source.seal();
    let mut client = Client::connect(world.address).await;
    let mut call = client.begin(post("/order")).unwrap();
    call.sends.send_data(Bytes::from(vec![b'x'; 2_048]), true).unwrap();
    let spent = call.ended().await.unwrap();
    assert_eq!((spent.status(), spent.field("paci-outcome")), (503, "not_applied"));
    source.refuses(1).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_resets_its_stream_leaves_nothing_behind() {
    let (world, mut controller) = World::usual().await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    source.busy(true);
    let mut client = Client::connect(world.address).await;
    let call = client.begin(get("/left")).unwrap();
    let mut sends = call.sends;
    sends.send_data(Bytes::new(), true).unwrap();
    source.counts(1).await;
    sends.send_reset(h2::Reason::CANCEL);
    // It is not waited for.
    controller.obeyed(2, true, Some(source.route)).await;
    controller.obeyed(3, false, Some(source.route)).await;
    source.busy(false);
    assert_eq!(client.send(get("/next"), "").await.unwrap().text(), "app 1");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stream_more_than_may_be_in_progress_is_answered_at_once() {
    let terms = Terms { streams_total_max: 2, ..Terms::default() };
    let (world, mut controller) = World::on(Parking::default(), terms).await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    source.busy(true);
    let (mut first, mut second) =
        (Client::connect(world.address).await, Client::connect(world.address).await);
    let mut calls = Vec::new();
    for client in [&mut first, &mut second] {
        let mut call = client.begin(get("/")).unwrap();
        call.sends.send_data(Bytes::new(), true).unwrap();
        calls.push(tokio::spawn(call.ended()));
    }
    source.counts(2).await;
    let full = second.send(get("/too-many"), "").await.unwrap();
    assert_eq!((full.status(), full.field("paci-outcome")), (503, "not_applied"));
    assert!(full.text().contains("in progress"), "{full:?}");
    source.busy(false);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(second.send(get("/"), "").await.unwrap().status(), 200);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_how_many_streams_it_may_have_and_one_more_is_refused_by_its_stream() {
    let (world, mut controller) = World::usual().await;
    controller.obeyed(1, true, None).await;
    let mut two = Two::connect(world.address).await;
    for n in 0..=STREAMS_MAX {
        two.say(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &[0x82, 0x86, 0x84, 0x41, 1, b'a']).await;
    }
    let refused = two.next().await.unwrap();
    assert_eq!((refused.kind, refused.stream, refused.number(0)), (RST_STREAM, 2 * STREAMS_MAX + 1, 7));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_the_rules_is_answered_or_ends_its_own_connection_and_nobody_elses() {
    let (world, mut controller) = World::usual().await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut other = Client::connect(world.address).await;
    // Too many bytes of head, too many fields, no host, another proxy's work.
    let mut long = get("/");
    long.headers_mut().insert("x", "x".repeat(HEAD_BYTES_MAX).parse().unwrap());
    let mut many = get("/");
    for n in 0..200 {
        many.headers_mut()
            .insert(hyper::header::HeaderName::try_from(format!("x-{n}")).unwrap(), "x".parse().unwrap());
    }
    let connect = hyper::Request::connect("a:80").version(hyper::Version::HTTP_2).body(()).unwrap();
    for (request, status) in [(long, 431), (many, 431), (connect, 405)] {
        let mut client = Client::connect(world.address).await;
        assert_eq!(client.send(request, "").await.unwrap().status(), status);
    }
    // A frame that is longer than it may be; headers of no stream; words that are no frame.
    for breach in [
        vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1],
        crate::frames::frame(HEADERS, END_HEADERS, 0, &[0x82]),
        crate::frames::frame(HEADERS, END_HEADERS, 1, &[0xff; 64]),
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
    ] {
        let mut client = Two::connect(world.address).await;
        client.0.say(&breach).await;
        assert!(client.goaway().await.is_some_and(|it| it.number(1) != 0), "{breach:?}");
    }
    // Requests without a path, each of which is an error of its stream, without an end.
    let mut client = Two::connect(world.address).await;
    flood(&mut client, 8 * RESETS_OWN_MAX, |stream| {
        crate::frames::frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x82, 0x86])
    })
    .await;
    let last = client.goaway().await;
    assert!(last.as_ref().is_none_or(|it| it.number(1) == ENHANCE_YOUR_CALM), "{last:?}");
    assert_eq!(other.send(get("/"), "").await.unwrap().text(), "app 1");
    world.end().await;
}

/// Says so many frames of streams of their own, for as long as anybody takes them.
async fn flood(client: &mut Two, count: usize, frames: impl Fn(u32) -> Vec<u8>) {
    crate::world::soon("a flood", async {
        for n in 0..u32::try_from(count).unwrap() {
            use tokio::io::AsyncWriteExt;
            if client.0.0.write_all(&frames(2 * n + 1)).await.is_err() {
                return;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_reset_at_once_without_an_end_leave_nothing_behind_and_nobody_else_notices() {
    let (world, mut controller) = World::usual().await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut other = Client::connect(world.address).await;
    let mut client = Two::connect(world.address).await;
    flood(&mut client, 5_000, |stream| {
        let head = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
        let request = crate::frames::frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
        [request, crate::frames::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    })
    .await;
    assert_eq!(other.send(get("/"), "").await.unwrap().text(), "app 1");
    drop(client);
    // None of them is waited for.
    controller.obeyed(2, true, Some(source.route)).await;
    controller.obeyed(3, false, Some(source.route)).await;
    assert_eq!(other.send(get("/"), "").await.unwrap().text(), "app 1");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_nobody_reads_holds_no_other_stream_of_its_connection_back() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Client::connect(world.address).await;
    let mut unread = client.begin(get("/unread")).unwrap();
    unread.sends.send_data(Bytes::new(), true).unwrap();
    let mut application = source.accept().await;
    application.until("\r\n\r\n").await;
    let said = tokio::spawn(async move {
        let body = vec![b'x'; 3 << 20];
        application.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())).await;
        application.say(&body).await;
        application
    });
    let (response, _sends) = unread.answered().await.unwrap();
    for n in 0..10 {
        let mut call = client.begin(get(&format!("/{n}"))).unwrap();
        call.sends.send_data(Bytes::new(), true).unwrap();
        let call = tokio::spawn(call.ended());
        let mut application = source.accept().await;
        application.until("\r\n\r\n").await;
        application.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
        assert_eq!(call.await.unwrap().unwrap().text(), "ok");
    }
    let (body, _) = rest(response.into_body()).await.unwrap();
    assert_eq!(body.len(), 3 << 20);
    crate::world::soon("the application", said).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_of_load_that_cannot_be_read_passes_and_changes_nothing_of_its_reply() {
    let (world, mut controller) = World::usual().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Client::connect(world.address).await;
    for report in ["eps:NaN", "JSON {", "BIN !", "cpu_utilization:-1", &"x:1,".repeat(4_000)] {
        let mut call = client.begin(get("/")).unwrap();
        call.sends.send_data(Bytes::new(), true).unwrap();
        let call = tokio::spawn(call.ended());
        let mut application = source.accept().await;
        application.until("\r\n\r\n").await;
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\nendpoint-load-metrics: {report}\r\n");
        application.say(format!("{head}content-length: 2\r\n\r\nok")).await;
        let answer = call.await.unwrap().unwrap();
        assert_eq!((answer.text(), answer.field("endpoint-load-metrics")), ("ok", report));
    }
    world.end().await;
}
