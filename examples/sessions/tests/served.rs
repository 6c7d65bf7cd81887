//! The server as its clients see it, without a cloud: a real socket, the real clients.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use paracloud_load::Config;
use paracloud_sdk::Paci;
use sessions::{App, Settings};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(30);

async fn served(fill_mib: u32) -> SocketAddr {
    let settings =
        Settings { address: ([127, 0, 0, 1], 0).into(), fill_mib, has_fault_routes: true, fault: None };
    let app = App::start(&Paci::from_env().unwrap(), &settings).await.unwrap();
    let address = app.address().unwrap();
    tokio::spawn(app.serve());
    address
}

async fn ask(address: SocketAddr, method: &str, path: &str, body: Vec<u8>) -> Response<Incoming> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request =
        Request::builder().method(method).uri(path).header("host", "a").body(Full::new(Bytes::from(body)));
    timeout(LONG, sender.send_request(request.unwrap())).await.unwrap().unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn write(key: &str, value: &str) -> Vec<u8> {
    let mut body = u16::try_from(key.len()).unwrap().to_be_bytes().to_vec();
    body.extend_from_slice(key.as_bytes());
    body.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
    body.extend_from_slice(value.as_bytes());
    body
}

#[tokio::test]
async fn a_write_is_answered_with_its_counter_and_can_be_read() {
    let address = served(0).await;
    let body = [write("a", "1"), write("a", "2")].concat();
    assert_eq!(text(ask(address, "POST", "/write", body).await).await, "[1,2]");
    let response = ask(address, "GET", "/keys/a", Vec::new()).await;
    assert_eq!(response.headers()["sessions-counter"], "2");
    assert_eq!(response.headers()["sessions-at"], address.to_string().as_str());
    assert_eq!(text(response).await, "2");
    assert_eq!(text(ask(address, "GET", "/audit", Vec::new()).await).await, "a 2 1ad5be0d\nend 1\n");
    assert_eq!(text(ask(address, "GET", "/healthz", Vec::new()).await).await, "ok\n");
}

#[tokio::test]
async fn a_request_that_is_none_is_refused_with_a_reason() {
    let address = served(0).await;
    for (method, path, body, status, why) in [
        ("POST", "/write", vec![0], StatusCode::BAD_REQUEST, "the body ends within write 0\n"),
        ("POST", "/write", vec![0; 5 << 20], StatusCode::PAYLOAD_TOO_LARGE, "the body has at most 4 MiB\n"),
        ("GET", "/write", vec![], StatusCode::METHOD_NOT_ALLOWED, "the path has another method\n"),
        ("GET", "/keys/a", vec![], StatusCode::NOT_FOUND, "nobody wrote this key\n"),
        ("GET", "/ws?session=a", vec![], StatusCode::BAD_REQUEST, "want a WebSocket handshake, version 13\n"),
    ] {
        let response = ask(address, method, path, body).await;
        assert_eq!((response.status(), text(response).await.as_str()), (status, why), "{method} {path}");
    }
}

#[tokio::test]
async fn an_upload_is_counted_and_an_endless_reply_goes_on() {
    let address = served(0).await;
    let response = ask(address, "POST", "/upload", vec![7; 3 << 20]).await;
    assert_eq!(text(response).await, r#"{"bytes":3145728}"#);
    let mut body = ask(address, "GET", "/stream", Vec::new()).await.into_body();
    for number in 0..3 {
        let frame = timeout(LONG, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), format!("{number} 0\n"));
    }
}

#[tokio::test]
async fn a_start_fills_random_values_under_the_counter_0() {
    let address = served(1).await;
    // It fills beside serving: the last key says that it is done.
    let filled = async {
        while ask(address, "GET", "/keys/k1023", Vec::new()).await.status() != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, filled).await.unwrap();
    let response = ask(address, "GET", "/keys/k0", Vec::new()).await;
    assert_eq!(response.headers()["sessions-counter"], "0");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 1024);
}

fn load(address: SocketAddr) -> Config {
    // Twice the same address: as through two gateways.
    Config {
        gateways: vec![address, address],
        keys: 50,
        requests_per_s: 200,
        twice_permille: 500,
        sockets: 8,
        socket_message_ms: 10,
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_find_nothing_lost_and_nothing_doubled() {
    let address = served(0).await;
    let mut clients = paracloud_load::start(load(address)).await.unwrap();
    clients.begin("first").unwrap();
    let has_worked = async {
        while clients.seen().achieved < 100 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, has_worked).await.unwrap();
    let audited = clients.audit().await.unwrap();
    assert!(audited.is_clean(), "{audited:?}");
    assert!(audited.writes.acknowledged >= 1_000 && audited.sockets.acknowledged >= 8, "{audited:?}");
    let window = clients.end("first").unwrap();
    assert_eq!((window.errors.total(), window.unknown), (0, 0));
    let summary = clients.stop().await.unwrap();
    assert_eq!((summary.lost, summary.duplicated, summary.sockets.sessions), (0, 0, 8));
    assert_eq!(summary.seen.offered, summary.seen.achieved);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_loss_only_what_the_lost_process_acknowledged_may_be_missing() {
    let [first, second, third] = [served(0).await, served(0).await, served(0).await];
    let relay = Relay::to(first).await;
    let config = Config { keeps_requests: true, ..load(relay.address) };
    let mut clients = paracloud_load::start(config).await.unwrap();
    let work = async |clients: &paracloud_load::Load| {
        let wanted = clients.seen().achieved + 100;
        let has_worked = async {
            while clients.seen().achieved < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, has_worked).await.unwrap();
    };
    work(&clients).await;
    relay.switch(second);
    work(&clients).await;
    let gone = [BTreeSet::from([first])];
    let audited = clients.audit_after_loss(&gone).await.unwrap();
    assert!(audited.kept.is_clean(), "{audited:?}");
    assert!(audited.gone[0] >= 500 && audited.kept.writes.acknowledged >= 500, "{audited:?}");
    // What is lost of whoever came after it is lost.
    work(&clients).await;
    relay.switch(third);
    work(&clients).await;
    let audited = clients.audit_after_loss(&gone).await.unwrap();
    assert!(audited.kept.writes.lost >= 500 && audited.kept.sockets.lost > 0, "{audited:?}");
    assert_eq!(audited.gone, [0]);
}

/// A route that can be changed: what was connected is cut then.
struct Relay {
    address: SocketAddr,
    to: watch::Sender<SocketAddr>,
    _connections: JoinSet<()>,
}

impl Relay {
    async fn to(first: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to, route) = watch::channel(first);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let mut route = route.clone();
                connections.spawn(async move {
                    let to = *route.borrow_and_update();
                    let Ok(mut server) = TcpStream::connect(to).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = route.changed() => {}
                    }
                });
            }
        });
        Self { address, to, _connections: task }
    }

    fn switch(&self, to: SocketAddr) {
        self.to.send_replace(to);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_no_client_sent_is_found_by_the_audit() {
    let address = served(0).await;
    let clients = paracloud_load::start(load(address)).await.unwrap();
    text(ask(address, "POST", "/write", write("k7", "once more")).await).await;
    let summary = clients.stop().await.unwrap();
    assert_eq!(summary.duplicated, 1, "{summary:?}");
    assert_eq!(summary.audit.writes.findings[0].key, 7);
}

#[tokio::test]
async fn whoever_finds_its_address_taken_says_so_in_one_line_and_ends() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sessions"));
    let ended = command.env("PORT", address.port().to_string()).output();
    let ended = timeout(LONG, ended).await.unwrap().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    let (start, end) = (
        format!("sessions: cannot listen on {address}: "),
        "; set HOST and PORT to an address that is free\n",
    );
    assert!(said.starts_with(&start) && said.ends_with(end), "{said}");
}
