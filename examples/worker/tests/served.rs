//! The worker as its clients see it, without a cloud: a real socket.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use paracloud_sdk::Paci;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::timeout;
use worker::{App, Settings};

const LONG: Duration = Duration::from_secs(30);

async fn served(variables: &[(&str, &str)]) -> SocketAddr {
    let variables = [&[("PORT", "0")], variables].concat();
    let lookup = |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| value.into());
    let app = App::start(&Paci::from_env().unwrap(), &Settings::read(lookup).unwrap()).await.unwrap();
    let address = app.address().unwrap();
    tokio::spawn(app.serve());
    address
}

async fn ask(
    address: SocketAddr,
    method: &'static str,
    path: &'static str,
    body: &str,
) -> (StatusCode, Response<Incoming>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let request = Request::builder().method(method).uri(path).header("host", "a").body(body);
    let response = timeout(LONG, sender.send_request(request.unwrap())).await.unwrap().unwrap();
    (response.status(), response)
}

async fn text((status, response): (StatusCode, Response<Incoming>)) -> (StatusCode, String) {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn ledger(address: SocketAddr) -> Value {
    let (status, text) = text(ask(address, "GET", "/ledger", "").await).await;
    assert_eq!(status, StatusCode::OK);
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_job_is_answered_when_it_is_done_and_stands_in_the_ledger() {
    let address = served(&[("PACI_INSTANCE", "worker.2")]).await;
    assert_eq!(text(ask(address, "GET", "/healthz", "").await).await, (StatusCode::OK, "ok\n".to_owned()));
    let (status, done) = text(ask(address, "POST", "/work", r#"{"ms":1,"id":"a"}"#).await).await;
    assert_eq!((status, done.as_str()), (StatusCode::OK, r#"{"id":"a","at":"worker.2","done":true}"#));
    let ledger = ledger(address).await;
    let counts = ["at", "accepted", "done", "refused", "running", "done_ids"].map(|it| ledger[it].clone());
    assert_eq!(counts, [json!("worker.2"), json!(1), json!(1), json!(0), json!(0), json!(["a"])]);
}

#[tokio::test]
async fn what_finds_no_place_is_refused_with_a_time_and_counted() {
    let address = served(&[("SLOTS", "1"), ("QUEUE_MAX", "0")]).await;
    let long = r#"{"ms":600000,"id":"long","wait":false}"#;
    let (status, taken) = text(ask(address, "POST", "/work", long).await).await;
    assert_eq!((status, taken.contains(r#""done":false"#)), (StatusCode::ACCEPTED, true), "{taken}");
    let (status, response) = ask(address, "POST", "/work", r#"{"ms":1}"#).await;
    assert_eq!(
        (status, &response.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    let ledger = ledger(address).await;
    let counts = ["accepted", "done", "refused", "running", "open_ids"].map(|it| ledger[it].clone());
    assert_eq!(counts, [json!(1), json!(0), json!(1), json!(1), json!(["long"])]);
}

#[tokio::test]
async fn a_request_that_is_none_is_refused_with_a_reason() {
    let address = served(&[]).await;
    let long_id = format!(r#"{{"ms":1,"id":"{}"}}"#, "i".repeat(65));
    let long_body = format!(r#"{{"ms":1,"id":"{}"}}"#, "i".repeat(5_000));
    for (method, path, body, status, why) in [
        ("POST", "/work", "", StatusCode::BAD_REQUEST, r#"want {"ms":20}"#),
        ("POST", "/work", "{}", StatusCode::BAD_REQUEST, "missing field `ms`"),
        ("POST", "/work", r#"{"ms":-1}"#, StatusCode::BAD_REQUEST, r#"want {"ms":20}"#),
        ("POST", "/work", r#"{"ms":1,"urgent":true}"#, StatusCode::BAD_REQUEST, "unknown field `urgent`"),
        ("POST", "/work", r#"{"ms":600001}"#, StatusCode::BAD_REQUEST, "ms: 600001, want at most 600000"),
        ("POST", "/work", long_id.as_str(), StatusCode::BAD_REQUEST, "id: want 1 to 64 bytes"),
        ("POST", "/work", long_body.as_str(), StatusCode::PAYLOAD_TOO_LARGE, "at most 4 KiB"),
        ("GET", "/work", "", StatusCode::METHOD_NOT_ALLOWED, "the path has another method"),
        ("GET", "/jobs", "", StatusCode::NOT_FOUND, "there is no such path"),
    ] {
        let (found, text) = text(ask(address, method, path, body).await).await;
        assert!(
            found == status && text.contains(why) && text.ends_with('\n'),
            "{method} {path} {body}: {text}"
        );
    }
    assert_eq!(ledger(address).await["accepted"], 0);
}

#[tokio::test]
async fn what_it_tells_its_cloud_can_be_read() {
    let address = served(&[("SLOTS", "2"), ("WARMUP_MS", "3600000"), ("COLD_PERMILLE", "300")]).await;
    let (status, text) = text(ask(address, "GET", "/said", "").await).await;
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &said["report"]["concurrency"]), (StatusCode::OK, &json!(2)));
    assert_eq!((&said["cold"]["capacity_permille"], &said["pause"]), (&json!(300), &json!(null)));
}

#[tokio::test]
async fn sigterm_ends_a_process_once_its_jobs_are_done_and_answered() {
    let mut process = Command::new(env!("CARGO_BIN_EXE_worker"))
        .env_clear()
        .env("PORT", "0")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut line = async |wanted: &str| {
        timeout(LONG, async {
            while let Some(line) = log.next_line().await.unwrap() {
                if line.contains(wanted) {
                    return line;
                }
            }
            panic!("it ended without {wanted:?}");
        })
        .await
        .unwrap()
    };
    let listening = line("listening").await;
    let address = listening.split("address=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let job = tokio::spawn(ask(address, "POST", "/work", r#"{"ms":500}"#));
    while ledger(address).await["running"] != 1 {}
    let kill = Command::new("kill").arg(process.id().unwrap().to_string()).status().await.unwrap();
    assert!(kill.success());
    assert!(line("told to stop").await.contains("running=1"));
    let (status, done) = text(timeout(LONG, job).await.unwrap().unwrap()).await;
    assert!(status == StatusCode::OK && done.contains(r#""done":true"#), "{done}");
    assert!(timeout(LONG, process.wait()).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn whoever_finds_its_address_taken_says_so_in_one_line_and_ends() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
    let ended = command.env("PORT", address.port().to_string()).output();
    let ended = timeout(LONG, ended).await.unwrap().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    let (start, end) =
        (format!("worker: cannot listen on {address}: "), "; set HOST and PORT to an address that is free\n");
    assert!(said.starts_with(&start) && said.ends_with(end), "{said}");
}
