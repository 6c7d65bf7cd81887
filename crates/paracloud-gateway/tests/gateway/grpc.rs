//! Calls of gRPC, through moves too.

use crate::application::{Clogged, RawApplication};
use crate::echo::{Client, Echo, call, message, messages, part, rest, timed};
use crate::frames::{RST_STREAM, Two};
use crate::world::{World, soon};
use paracloud_core::migration::gateway::Route;
use paracloud_core::migration::message::FromGateway;
use paracloud_gateway::Terms;
use paracloud_substrate::config::{Parking, Protocol};
use paracloud_substrate::seen::Seen;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Why a stream was reset (RFC 9113, 7).
const CANCEL: u32 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_each_kind_pass_with_their_trailers() {
    let (world, mut controller) = World::two().await;
    let source = Echo::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Client::connect(world.address).await;
    let unary = client.unary("one").await.unwrap();
    assert_eq!(unary.echoed(), ["one"]);
    assert_eq!((unary.field("content-type"), unary.field("via")), ("application/grpc", "2.0 paracloud"));
    assert!(
        unary.field("endpoint-load-metrics").contains("0.5"),
        "a report of load is the client's to read too"
    );
    assert_eq!(source.heads()[0]["te"], "trailers");
    // Both sides in turn: the answer to a part comes before the next part is said.
    let mut stream = client.begin(call("/echo/Stream")).unwrap();
    stream.sends.send_data(message("0"), false).unwrap();
    let (response, mut sends) = stream.answered().await.unwrap();
    let mut body = response.into_body();
    for n in 1..50 {
        assert_eq!(messages(&part(&mut body).await.unwrap().unwrap()), [(n - 1).to_string()]);
        sends.send_data(message(&n.to_string()), false).unwrap();
    }
    sends.send_data(bytes::Bytes::new(), true).unwrap();
    let (last, trailers) = rest(body).await.unwrap();
    assert_eq!(
        (messages(&last), &trailers.unwrap()["grpc-status"]),
        (vec!["49".to_owned()], &"0".parse().unwrap())
    );
    // Many messages at once, from the client's side alone.
    let mut upload = client.begin(call("/echo/Unary")).unwrap();
    for n in 0..100 {
        upload.sends.send_data(message(&format!("u{n}")), n == 99).unwrap();
    }
    assert_eq!(upload.ended().await.unwrap().echoed().len(), 100);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_gateway_answers_by_itself_a_client_of_grpc_reads_as_a_status() {
    let parking = Parking { parked_ms_max: 50, ..Parking::default() };
    let (world, mut controller) = World::speaking(Protocol::H2, parking, Terms::default()).await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, true, None).await;
    let mut client = Client::connect(world.address).await;
    let parked = client.unary("parked").await.unwrap();
    assert_eq!((parked.status(), parked.field("grpc-status")), (200, "14"), "{parked:?}");
    assert_eq!(
        (parked.field("paci-outcome"), parked.field("content-type")),
        ("not_applied", "application/grpc")
    );
    assert!(parked.field("grpc-message").contains("send it again") && parked.body.is_empty());
    controller.obeyed(2, false, Some(source.route)).await;
    let mut lost = client.begin(call("/echo/Unary")).unwrap();
    lost.sends.send_data(message("lost"), true).unwrap();
    let lost = tokio::spawn(lost.ended());
    let mut application = Two::accept(&source).await;
    application.request().await;
    drop(application);
    let lost = lost.await.unwrap().unwrap();
    assert_eq!((lost.status(), lost.field("grpc-status"), lost.field("paci-outcome")), (200, "2", "unknown"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_waits_no_longer_than_its_deadline_and_is_not_sent_after_it() {
    let (world, mut controller) = World::two().await;
    let source = Echo::new(1).await;
    controller.obeyed(1, true, Some(source.route)).await;
    let mut client = Client::connect(world.address).await;
    let mut late = client.begin(timed("/echo/Unary", Some("50m"))).unwrap();
    late.sends.send_data(message("late"), true).unwrap();
    let late = late.ended().await.unwrap();
    assert_eq!(
        (late.status(), late.field("grpc-status"), late.field("paci-outcome")),
        (200, "4", "not_applied")
    );
    let mut none = client.begin(timed("/echo/Unary", Some("0n"))).unwrap();
    none.sends.send_data(message("none"), true).unwrap();
    assert_eq!(none.ended().await.unwrap().field("grpc-status"), "4");
    // One that has time waits, and its application is told what is left of it.
    let mut waits = client.begin(timed("/echo/Unary", Some("60S"))).unwrap();
    waits.sends.send_data(message("waits"), true).unwrap();
    let waits = tokio::spawn(waits.ended());
    controller.parked().await;
    controller.obeyed(2, false, Some(source.route)).await;
    assert_eq!(waits.await.unwrap().unwrap().echoed(), ["waits"]);
    let left = source.heads()[0]["grpc-timeout"].to_str().unwrap().to_owned();
    let micros: u64 = left.strip_suffix('u').unwrap().parse().unwrap();
    assert!(micros < 60_000_000 && micros > 30_000_000, "{left}");
    assert_eq!(source.applied(), [("waits".to_owned(), 1)].into(), "nothing else was sent");
    let seen = controller.whole_pause().await.seen;
    assert_eq!((seen.failed, seen.requests), (2, 3), "{seen:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_waits_no_longer_than_its_deadline_for_a_connection_either() {
    let (world, mut controller) = World::two().await;
    let clogged = Clogged::new().await;
    controller.obeyed(1, false, Some(clogged.route())).await;
    let mut client = Client::connect(world.address).await;
    let mut patient = client.begin(call("/echo/Unary")).unwrap();
    patient.sends.send_data(message("patient"), true).unwrap();
    let patient = tokio::spawn(patient.ended());
    clogged.is_dialled().await;
    let mut late = client.begin(timed("/echo/Unary", Some("50m"))).unwrap();
    late.sends.send_data(message("late"), true).unwrap();
    // Nobody asks before the gateway gives up to dial.
    tokio::select! {
        late = late.ended() => {
            let late = late.unwrap();
            assert_eq!((late.field("grpc-status"), late.field("paci-outcome")), ("4", "not_applied"));
        }
        () = controller.parked() => panic!("it waits for as long as it is dialled"),
    }
    let source = Echo::on(1, clogged.listener);
    controller.obeyed(2, false, Some(source.route)).await;
    assert_eq!(patient.await.unwrap().unwrap().echoed(), ["patient"]);
    assert_eq!(source.applied(), [("patient".to_owned(), 1)].into());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_opened_for_the_others_though_who_asked_for_it_first_waits_no_longer() {
    let (world, mut controller) = World::two().await;
    let clogged = Clogged::new().await;
    controller.obeyed(1, false, Some(clogged.route())).await;
    let mut client = Client::connect(world.address).await;
    let mut late = client.begin(timed("/echo/Unary", Some("500m"))).unwrap();
    late.sends.send_data(message("late"), true).unwrap();
    clogged.is_dialled().await;
    assert_eq!(late.ended().await.unwrap().field("grpc-status"), "4");
    for what in ["what was first", "what the gateway dialled"] {
        soon(what, clogged.listener.accept()).await.unwrap();
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_is_not_told_of_time_that_went_by_while_it_was_dialled() {
    let (world, mut controller) = World::two().await;
    let clogged = Clogged::new().await;
    controller.obeyed(1, false, Some(clogged.route())).await;
    let mut client = Client::connect(world.address).await;
    let mut dials = client.begin(timed("/echo/Unary", Some("60S"))).unwrap();
    dials.sends.send_data(message("dials"), true).unwrap();
    let dials = tokio::spawn(dials.ended());
    clogged.is_dialled().await;
    let source = Echo::on(1, clogged.listener);
    assert_eq!(dials.await.unwrap().unwrap().echoed(), ["dials"]);
    let left = source.heads()[0]["grpc-timeout"].to_str().unwrap().to_owned();
    let micros: u64 = left.strip_suffix('u').unwrap().parse().unwrap();
    // It was dialled again after a second, as TCP does.
    assert!(micros < 59_500_000 && micros > 30_000_000, "{left}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_was_sent_on_is_waited_for_until_its_deadline_and_given_up_then() {
    let (world, mut controller) = World::two().await;
    let source = RawApplication::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Client::connect(world.address).await;
    let mut first = client.begin(call("/echo/Unary")).unwrap();
    first.sends.send_data(message("first"), true).unwrap();
    let (first, mut application) = tokio::join!(first.ended(), async {
        let mut application = Two::accept(&source).await;
        let stream = application.request().await;
        application.answer(stream, "").await;
        application
    });
    first.unwrap();
    const DEADLINE: Duration = Duration::from_secs(2);
    for is_whole in [true, false] {
        let begun = Instant::now();
        let mut overdue = client.begin(timed("/echo/Unary", Some("2S"))).unwrap();
        overdue.sends.send_data(message("overdue"), is_whole).unwrap();
        let (overdue, said) = tokio::join!(overdue.ended(), async {
            let stream = application.request().await;
            loop {
                let frame = application.next().await.unwrap();
                if frame.kind == RST_STREAM && frame.stream == stream {
                    return frame.number(0);
                }
            }
        });
        let overdue = overdue.unwrap();
        assert_eq!(
            (overdue.status(), overdue.field("grpc-status"), overdue.field("paci-outcome")),
            (200, "4", "unknown"),
            "{is_whole}"
        );
        assert!(begun.elapsed() >= DEADLINE, "no sooner");
        assert_eq!(said, CANCEL, "the application is told that nobody waits");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_cannot_be_read_is_answered_with_what_is_wrong() {
    let (world, mut controller) = World::two().await;
    let source = Echo::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Client::connect(world.address).await;
    for timeout in ["", "S", "1", "1x", "-1S", "123456789S", "1.5S"] {
        let mut odd = client.begin(timed("/echo/Unary", Some(timeout))).unwrap();
        // It may be answered, and then take no more, before its message is sent.
        drop(odd.sends.send_data(message("odd"), true));
        let odd = odd.ended().await.unwrap();
        assert_eq!((odd.status(), odd.field("grpc-status")), (200, "3"), "{timeout}");
        assert!(odd.field("grpc-message").contains("grpc-timeout"), "{odd:?}");
    }
    assert!(source.applied().is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streaming_reply_that_is_cut_says_why_in_its_trailers() {
    let (world, mut controller) = World::two().await;
    let source = Echo::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Client::connect(world.address).await;
    let mut endless = client.begin(call("/echo/Endless")).unwrap();
    endless.sends.send_data(message("go"), true).unwrap();
    let (response, _sends) = endless.answered().await.unwrap();
    let mut body = response.into_body();
    assert_eq!(messages(&part(&mut body).await.unwrap().unwrap()), ["begun"]);
    controller.obeyed(2, true, Some(source.route)).await;
    let (nothing, trailers) = rest(body).await.unwrap();
    let trailers = trailers.unwrap();
    assert_eq!((nothing.len(), &trailers["grpc-status"]), (0, &"2".parse().unwrap()));
    assert_eq!(trailers["paci-outcome"], "unknown");
    assert!(trailers["grpc-message"].to_str().unwrap().contains("instance moves"));
    controller.obeyed(3, false, Some(source.route)).await;
    assert_eq!(controller.whole_pause().await.seen, Seen { streams_cut: 1, ..Seen::default() });
    world.end().await;
}

/// Clients that call without a pause, each call with a message of its own.
struct Load {
    ends: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<(u32, Vec<String>)>>,
}

impl Load {
    fn start(address: SocketAddr, done: &Arc<AtomicU32>) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let clients = (0..8).map(|client| {
            let (ends, done) = (Arc::clone(&ends), Arc::clone(done));
            tokio::spawn(async move {
                let mut connection = Client::connect(address).await;
                let (mut calls, mut failed) = (0, Vec::new());
                while !ends.load(Ordering::Relaxed) {
                    if !connection.is_usable().await {
                        connection = Client::connect(address).await;
                    }
                    let text = format!("{client}.{calls}");
                    let went = if calls % 2 == 0 {
                        connection.unary(&text).await
                    } else {
                        // In two parts, so that it is passed on as it comes.
                        let mut call = connection.begin(call("/echo/Stream")).unwrap();
                        let message = message(&text);
                        call.sends.send_data(message.slice(..3), false).unwrap();
                        tokio::task::yield_now().await;
                        call.sends.send_data(message.slice(3..), true).unwrap();
                        call.ended().await
                    };
                    match went {
                        Ok(ended) if ended.field("grpc-status") == "0" => {}
                        other => failed.push(format!("{text}: {other:?}")),
                    }
                    calls += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                (calls, failed)
            })
        });
        let clients = clients.collect();
        Self { ends, clients }
    }

    async fn end(self) -> u32 {
        self.ends.store(true, Ordering::Relaxed);
        let mut calls = 0;
        for client in self.clients {
            let (called, failed) = soon("a client", client).await.unwrap();
            assert!(failed.is_empty(), "{failed:?}");
            calls += called;
        }
        calls
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moves_and_roll_backs_under_calls_fail_none_and_each_is_applied_once() {
    let (world, mut controller) = World::two().await;
    let services = [Echo::new(1).await, Echo::new(2).await];
    let done = Arc::new(AtomicU32::new(0));
    let mut order = 1;
    let mut at = 0;
    let route = |at: usize| -> Option<Route> { Some(services[at].route) };
    services[1].seal(true);
    controller.obeyed(order, false, route(at)).await;
    let load = Load::start(world.address, &done);
    for turn in 0..20 {
        let before = done.load(Ordering::Relaxed);
        soon("calls between two moves", async {
            while done.load(Ordering::Relaxed) < before + 20 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // Every other time the gateway hears of the move only by being refused.
        let is_told = turn % 2 == 0;
        if is_told {
            order += 1;
            controller.obeyed(order, true, route(at)).await;
        }
        services[at].seal(true);
        if turn % 3 != 2 {
            at = 1 - at;
        }
        if !is_told {
            controller.hears(FromGateway::Ask).await;
        }
        order += 1;
        controller.obeyed(order, false, route(at)).await;
        // The target is open a little later than it is known.
        services[at].seal(false);
    }
    let calls = load.end().await;
    let mut applied = services[0].applied();
    for (message, count) in services[1].applied() {
        *applied.entry(message).or_default() += count;
    }
    assert_eq!(applied.len(), calls as usize);
    assert!(applied.values().all(|count| *count == 1), "{applied:?}");
    world.end().await;
}
