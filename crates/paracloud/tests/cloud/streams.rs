//! Replies without end and uploads that take their time, while their server moves.

use crate::clients::Clients;
use crate::rig::{PATIENCE, Rig, wait_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// Begins an upload whose first bytes are on their way.
fn upload(rig: &Rig, gateway: usize) -> TcpStream {
    let mut upload = rig.send(gateway, "POST /upload", CHUNKED);
    chunk(&mut upload);
    upload
}

fn chunk(upload: &mut TcpStream) {
    upload.write_all(b"4\r\nmore\r\n").expect("the gateway takes it");
}

/// Reads the endless reply up to the line of this number.
fn read_until(reply: &mut impl BufRead, number: &str) {
    let mut line = String::new();
    while !line.starts_with(number) {
        line.clear();
        assert_ne!(reply.read_line(&mut line).expect("text"), 0, "the reply goes on until a move");
    }
}

/// Everything that comes until the end, and whether it was a whole answer of chunks.
fn rest(mut stream: impl Read) -> (String, bool) {
    let mut bytes = Vec::new();
    // A connection that is reset has ended too.
    let _ = stream.read_to_end(&mut bytes);
    (String::from_utf8_lossy(&bytes).into_owned(), bytes.ends_with(b"0\r\n\r\n"))
}

/// Uploads that failed and streams that were cut, and whether that is all.
fn saw(moved: &Value) -> (&Value, &Value, &Value) {
    let outcome = &moved["outcome"];
    (&outcome["uploads_failed"], &outcome["streams_cut"], &outcome["clients_known"])
}

fn entered(events: &[Value], phase: &str) -> bool {
    events.iter().any(|event| event["what"]["entered"] == phase)
}

#[test]
fn an_endless_reply_and_a_slow_upload_are_cut_after_the_drain_and_nobody_else_notices() {
    let rig = Rig::sessions(&json!({ "drain": "400ms" }), &json!({ "SESSIONS_FILL_MIB": "4" }));
    let mut up = rig.up(&[]);
    up.serving();
    let mut clients = Clients::modest(&rig, 10);
    let mut reply = BufReader::new(rig.send(0, "GET /stream", ""));
    let mut slow = upload(&rig, 1);
    // A stream that has lasted: ten lines are half a second.
    read_until(&mut reply, "10 ");
    chunk(&mut slow);

    let moved = rig.json(&["move", "sessions"]);
    assert_eq!((&moved["outcome"]["node"], &moved["outcome"]["failed"]), (&2.into(), &1.into()), "{moved:#}");
    assert_eq!(saw(&moved), (&1.into(), &1.into(), &true.into()), "{moved:#}");
    let events = rig.events();
    assert!(entered(&events, "drain"), "{events:#?}");
    let told = rig.run(&["events"]).out;
    assert!(told.contains("1 failed, 1 of them an upload") && told.contains("; 1 stream cut"), "{told}");
    let (said, is_whole) = rest(reply);
    assert!(!is_whole && said.contains("\n11 "), "what was cut does not look whole: {said}");
    let (said, _) = rest(slow);
    assert!(said.starts_with("HTTP/1.1 502 ") && said.contains("the upload was cut"), "{said}");
    assert!(said.contains("unknown"), "{said}");
    clients.audit_clean();
}

#[test]
fn an_upload_that_ends_within_the_drain_is_answered_and_the_move_goes_on_at_once() {
    let rig = Rig::sessions(&json!({ "drain": "50s" }), &json!({}));
    let mut up = rig.up(&[]);
    up.serving();
    let mut clients = Clients::modest(&rig, 10);
    let mut slow = upload(&rig, 0);
    let begun = rig.run(&["move", "sessions", "--no-wait"]);
    assert_eq!(begun.code, 0, "{}", begun.err);
    wait_until("gateways are told to drain", || entered(&rig.events(), "drain"));
    chunk(&mut slow);
    slow.write_all(b"0\r\n\r\n").expect("the gateway takes it");
    slow.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut answer = [0; 4096];
    let read = slow.read(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{\"bytes\":8}"), "{answer}");
    wait_until("it has moved", || {
        rig.record().is_some_and(|record| record["owner"]["node"] == 2 && record["operation"].is_null())
    });
    clients.audit_clean();
}

#[test]
fn an_endless_reply_to_a_request_with_a_key_blocks_no_seal_and_is_begun_once() {
    let rig = Rig::sessions(&json!({ "drain": "100ms" }), &json!({}));
    let mut up = rig.up(&[]);
    up.serving();
    let asked = |key: &str| {
        let head = format!("Idempotency-Key: {key}\r\n");
        let mut reply = BufReader::new(rig.send(0, "GET /stream", &head));
        read_until(&mut reply, "1 ");
        reply
    };
    let (lasts, gone) = (asked("lasts"), asked("gone"));
    drop(gone);
    let moved = rig.json(&["move", "sessions"]);
    assert_eq!((&moved["outcome"]["node"], &moved["outcome"]["failed"]), (&2.into(), &0.into()), "{moved:#}");
    assert_eq!(saw(&moved), (&0.into(), &1.into(), &true.into()), "{moved:#}");
    let (_, is_whole) = rest(lasts);
    assert!(!is_whole, "what was cut does not look whole");
    for key in ["lasts", "gone"] {
        let head = format!("Connection: close\r\nIdempotency-Key: {key}\r\n");
        let (said, _) = rest(rig.send(1, "GET /stream", &head));
        assert!(said.starts_with("HTTP/1.1 500 ") && said.contains("not applied again"), "{said}");
    }
}
