//! When a client's HTTP/2 connection is told to go, and that nothing is lost by it.

use crate::application::Application;
use crate::application::RawApplication;
use crate::echo::{Client, Echo, call, get, message, messages, part, rest};
use crate::frames::{END_HEADERS, END_STREAM, GOAWAY, HEADERS, Two};
use crate::world::{World, soon};
use bytes::Bytes;

/// A call on this connection whose answer has begun and does not end.
async fn endless(client: &mut Client) -> h2::RecvStream {
    let mut endless = client.begin(call("/echo/Endless")).unwrap();
    endless.sends.send_data(message("go"), true).unwrap();
    let (response, _sends) = endless.answered().await.unwrap();
    let mut body = response.into_body();
    assert_eq!(messages(&part(&mut body).await.unwrap().unwrap()), ["begun"]);
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_whose_stream_was_cut_is_told_to_go_when_its_process_has_left_and_loses_nothing() {
    let (world, mut controller) = World::two().await;
    let (source, target) = (Echo::new(1).await, Echo::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    let (mut stream, mut other) =
        (Client::connect(world.address).await, Client::connect(world.address).await);
    let cut = endless(&mut stream).await;
    assert_eq!(other.unary("other").await.unwrap().echoed(), ["other"]);
    controller.obeyed(2, true, Some(source.route)).await;
    rest(cut).await.unwrap();
    assert!(stream.is_usable().await, "it may yet be called off");
    let mut waiting = Vec::new();
    for n in 0..50 {
        let mut call = stream.begin(call("/echo/Unary")).unwrap();
        call.sends.send_data(message(&n.to_string()), true).unwrap();
        waiting.push(tokio::spawn(call.ended()));
    }
    controller.parked().await;
    controller.obeyed(3, true, None).await;
    controller.obeyed(4, false, Some(target.route)).await;
    stream.goes().await;
    for (n, call) in waiting.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap().echoed(), [n.to_string()]);
    }
    stream.ends().await;
    assert!(other.is_usable().await, "it had no stream that was cut");
    assert_eq!(other.unary("still").await.unwrap().echoed(), ["still"]);
    assert_eq!(target.applied().len(), 51);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_move_that_was_called_off_no_connection_is_told_to_go() {
    let (world, mut controller) = World::two().await;
    let source = Echo::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Client::connect(world.address).await;
    let cut = endless(&mut client).await;
    controller.obeyed(2, true, Some(source.route)).await;
    rest(cut).await.unwrap();
    let mut again = source.route;
    again.incarnation = again.incarnation.next();
    controller.obeyed(3, false, Some(again)).await;
    let next = endless(&mut client).await;
    assert!(client.is_usable().await);
    // Nor later, for what was cut then.
    let target = Echo::new(2).await;
    drop(next);
    assert_eq!(client.unary("between").await.unwrap().echoed(), ["between"]);
    controller.obeyed(4, true, Some(again)).await;
    controller.obeyed(5, false, Some(target.route)).await;
    assert_eq!(client.unary("after").await.unwrap().echoed(), ["after"]);
    assert!(client.is_usable().await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_in_progress_to_a_process_that_has_left_goes_on_and_its_connection_is_told_to_go() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (RawApplication::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Client::connect(world.address).await;
    let mut reply = client.begin(get("/stream")).unwrap();
    reply.sends.send_data(Bytes::new(), true).unwrap();
    let mut application = source.accept().await;
    application.until("\r\n\r\n").await;
    application.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    let (response, _sends) = reply.answered().await.unwrap();
    let mut body = response.into_body();
    assert_eq!(part(&mut body).await.unwrap().unwrap(), "first");
    // Of a gateway that never heard of a park.
    controller.obeyed(2, false, Some(target.route)).await;
    client.goes().await;
    application.say("4\r\nlast\r\n0\r\n\r\n").await;
    assert_eq!(rest(body).await.unwrap().0, b"last");
    client.ends().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_asked_before_it_could_know_of_its_goaway_is_answered() {
    let (world, mut controller) = World::usual().await;
    let (source, target) = (RawApplication::new(1).await, Application::new(2).await);
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Two::connect(world.address).await;
    let head = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
    client.say(HEADERS, END_HEADERS | END_STREAM, 1, &head).await;
    let mut application = source.accept().await;
    application.until("\r\n\r\n").await;
    application.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    while client.next().await.unwrap().payload != b"first" {}
    controller.obeyed(2, true, Some(source.route)).await;
    // Until this was cut there is nothing to tell; then all comes at once.
    let cut = client.next().await.unwrap();
    assert_eq!((cut.kind, cut.stream), (crate::frames::RST_STREAM, 1));
    controller.obeyed(3, false, Some(target.route)).await;
    let goaway = client.next().await.unwrap();
    assert_eq!((goaway.kind, goaway.number(0), goaway.number(1)), (GOAWAY, u32::MAX >> 1, 0));
    // The client has read it and has others on the way. (Its answer to the ping goes after them.)
    for stream in [3, 5, 7] {
        client.say(HEADERS, END_HEADERS | END_STREAM, stream, &head).await;
    }
    let (mut answered, mut last) = (Vec::new(), None);
    while let Some(frame) = client.next().await {
        match frame.kind {
            HEADERS => answered.push((frame.stream, frame.payload[0])),
            GOAWAY => last = Some(frame.number(0)),
            _ => {}
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, [(3, 0x88), (5, 0x88), (7, 0x88)]);
    assert_eq!(last, Some(7), "and says so");
    assert_eq!(target.seen().len(), 3);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_ends_tells_its_clients_to_go_and_answers_what_they_asked() {
    let (world, mut controller) = World::usual().await;
    let source = Application::new(1).await;
    controller.obeyed(1, false, Some(source.route)).await;
    let mut client = Client::connect(world.address).await;
    source.busy(true);
    let mut call = client.begin(get("/last")).unwrap();
    call.sends.send_data(Bytes::new(), true).unwrap();
    source.counts(1).await;
    let ends = tokio::spawn(world.end());
    client.goes().await;
    source.busy(false);
    assert_eq!(call.ended().await.unwrap().text(), "app 1");
    soon("the end", ends).await.unwrap();
}
