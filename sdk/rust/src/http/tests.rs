//! The layer around small services, without a network.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod keyed;

use super::replies::{CONTAINER, Replies};
use super::{BoxError, GuardedBody, Layer, ReplyLimits, RequestBody};
use crate::gate::Gate;
use crate::state::Map;
use crate::state::table::Table;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tower::{Layer as _, ServiceExt, service_fn};

/// A body whose chunks a test sends.
struct Chunks {
    chunks: mpsc::UnboundedReceiver<&'static str>,
    size: Option<u64>,
}

fn chunks(size: Option<u64>) -> (mpsc::UnboundedSender<&'static str>, Chunks) {
    let (sender, chunks) = mpsc::unbounded_channel();
    (sender, Chunks { chunks, size })
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.chunks.poll_recv(context);
        chunk.map(|chunk| chunk.map(|chunk| Ok(Frame::data(Bytes::from_static(chunk.as_bytes())))))
    }

    fn size_hint(&self) -> SizeHint {
        self.size.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

struct World {
    gate: Arc<Gate>,
    map: Map,
    layer: Layer,
    replies: Arc<Table>,
}

fn world() -> World {
    let gate = Arc::new(Gate::default());
    gate.open(7);
    let replies = Arc::new(Table::new(CONTAINER));
    let cache = Arc::new(Replies::new(replies.clone(), ReplyLimits::default()));
    let map = Map::new(Arc::new(Table::new("accounts")), gate.clone());
    World { map, layer: Layer::new(gate.clone(), Some(cache)), gate, replies }
}

fn get() -> Request<Full<Bytes>> {
    Request::get("/balance?of=alice").body(Full::default()).unwrap()
}

fn keyed(key: &str, body: &'static str) -> Request<Full<Bytes>> {
    Request::post("/transfer").header("idempotency-key", key).body(Full::from(body)).unwrap()
}

fn said(text: &'static str) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from(text)))
}

/// Raises a counter and says its value.
fn raise(map: &Map) -> Response<Full<Bytes>> {
    let raised = map.transact(|txn| {
        let before = txn.get("counter").map_or(0, |value| value[0]);
        txn.put("counter", [before + 1]);
        before + 1
    });
    raised.map_or_else(|refused| refused.into_response(), |now| Response::new(Full::from(now.to_string())))
}

async fn text<B: Body<Data = Bytes>>(response: Response<GuardedBody<B>>) -> String
where
    B::Error: Into<BoxError>,
{
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_closed_gate_refuses_before_any_handler_code_runs() {
    let World { gate, layer, .. } = world();
    gate.close();
    let ran = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let service = layer.layer(service_fn({
        let ran = ran.clone();
        move |_: Request<RequestBody<Full<Bytes>>>| {
            ran.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            async { said("served") }
        }
    }));
    for request in [get(), keyed("k", "body")] {
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST);
        assert_eq!(response.headers()["paci-not-applied"], "7");
        assert_eq!(response.body().size_hint().exact(), Some(0));
    }
    assert_eq!(ran.load(std::sync::atomic::Ordering::SeqCst), 0);
    gate.open(8);
    assert_eq!(text(service.oneshot(get()).await.unwrap()).await, "served");
}

#[tokio::test]
async fn only_the_layer_says_not_applied() {
    let World { layer, .. } = world();
    let service = layer.layer(service_fn(|request: Request<RequestBody<Full<Bytes>>>| async move {
        assert!(!request.headers().contains_key("paci-not-applied"));
        let response = Response::builder().status(421).header("paci-not-applied", "7");
        Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
    }));
    for mut request in [get(), keyed("k", "")] {
        request.headers_mut().insert("paci-not-applied", "6".parse().unwrap());
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 421);
        assert!(!response.headers().contains_key("paci-not-applied"));
    }
}

#[tokio::test]
async fn a_guard_ends_when_the_answer_was_handed_over_or_dropped() {
    let World { gate, layer, .. } = world();
    let service = layer.layer(service_fn(|_: Request<RequestBody<Full<Bytes>>>| async { said("answer") }));
    let response = service.clone().oneshot(get()).await.unwrap();
    assert_eq!(gate.held(), 1);
    assert_eq!(&*gate.oldest().unwrap().route, "GET /balance");
    response.into_body().frame().await.unwrap().unwrap();
    assert_eq!(gate.held(), 0);
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(gate.held(), 1);
    drop(response);
    assert_eq!(gate.held(), 0);
}

#[tokio::test]
async fn a_handler_that_is_let_in_is_served_to_its_end_behind_a_closed_gate() {
    let World { gate, map, layer, .. } = world();
    let service = layer.layer(service_fn({
        let (gate, map) = (gate.clone(), map.clone());
        move |_: Request<RequestBody<Full<Bytes>>>| {
            let (gate, map) = (gate.clone(), map.clone());
            async move {
                gate.close();
                Ok::<_, Infallible>(raise(&map))
            }
        }
    }));
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(text(response).await, "1");
    assert_eq!(raise(&map).status(), StatusCode::SERVICE_UNAVAILABLE, "outside of the layer it is refused");
}

#[tokio::test]
async fn a_handler_that_is_cancelled_gives_its_guard_back() {
    let World { gate, layer, .. } = world();
    let service = layer.layer(service_fn(|_: Request<RequestBody<Full<Bytes>>>| async {
        std::future::pending::<()>().await;
        said("never")
    }));
    let mut response = service.oneshot(get());
    assert!(polled_once(&mut response).await.is_pending());
    assert_eq!(gate.held(), 1);
    drop(response);
    assert_eq!(gate.held(), 0);
}

async fn polled_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
}

#[tokio::test]
async fn an_upgrade_ends_the_guard() {
    let World { gate, layer, .. } = world();
    let service = layer.layer(service_fn(|_: Request<RequestBody<Full<Bytes>>>| async {
        let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        Ok::<_, Infallible>(response.body(Empty::<Bytes>::new()).unwrap())
    }));
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(gate.held(), 0);
    drop(response);
}

#[tokio::test]
async fn a_streaming_answer_takes_a_guard_a_chunk_and_ends_with_an_error_at_the_seal() {
    let World { gate, layer, .. } = world();
    let (sender, body) = chunks(None);
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let service = layer.layer(service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
        let body = body.lock().unwrap().take().unwrap();
        async { Ok::<_, Infallible>(Response::new(body)) }
    }));
    let mut answer = service.oneshot(get()).await.unwrap().into_body();
    sender.send("one").unwrap();
    assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    assert_eq!(gate.held(), 0);
    let waiting =
        tokio::spawn(async move { answer.frame().await.unwrap().map(|_| ()).unwrap_err().to_string() });
    tokio::task::yield_now().await;
    assert_eq!(gate.held(), 0, "it waits for its peer without a guard");
    gate.close();
    assert!(waiting.await.unwrap().contains("the gate is closed"));
}

#[tokio::test]
async fn an_upload_in_progress_holds_no_guard_and_ends_with_an_error_at_the_seal() {
    let World { gate, map, layer, .. } = world();
    let (sender, body) = chunks(None);
    let service = layer.layer(service_fn(move |request: Request<RequestBody<Chunks>>| {
        let map = map.clone();
        async move {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                if frame.is_err() {
                    return Ok(crate::Refused { incarnation: 7 }.into_response());
                }
                raise(&map);
            }
            Ok::<_, Infallible>(raise(&map))
        }
    }));
    let upload = tokio::spawn(service.oneshot(Request::post("/upload").body(body).unwrap()));
    sender.send("a piece").unwrap();
    tokio::task::yield_now().await;
    assert_eq!(gate.held(), 0);
    gate.close();
    let response = upload.await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!response.headers().contains_key("paci-not-applied"), "it had begun");
}

#[tokio::test]
async fn a_small_body_that_arrives_slowly_is_refused_as_a_whole() {
    let World { gate, layer, .. } = world();
    let (sender, body) = chunks(Some(10));
    let service = layer.layer(service_fn(|_: Request<RequestBody<Chunks>>| async { said("never") }));
    let request = tokio::spawn(service.oneshot(Request::post("/transfer").body(body).unwrap()));
    sender.send("12345").unwrap();
    tokio::task::yield_now().await;
    assert_eq!(gate.held(), 0);
    gate.close();
    sender.send("67890").unwrap();
    drop(sender);
    assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn a_request_waits_at_a_gate_that_is_about_to_open_and_is_refused_at_a_closed_one() {
    let world = world();
    world.gate.close();
    let service =
        || world.layer.clone().layer(service_fn(|_: Request<RequestBody<_>>| async { said("done") }));
    let refused = service().oneshot(get()).await.unwrap();
    assert_eq!(refused.status(), StatusCode::MISDIRECTED_REQUEST);
    world.gate.expect(8);
    let waiting = tokio::spawn(service().oneshot(get()));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    assert_eq!(world.gate.held(), 0, "who waits holds up no seal");
    world.gate.open(8);
    assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_does_not_open_refuses_who_waited_untouched() {
    let world = world();
    world.gate.close();
    world.gate.expect(8);
    let service = world.layer.layer(service_fn(|_: Request<RequestBody<_>>| async { said("done") }));
    let refused = service.oneshot(get()).await.unwrap();
    assert_eq!(refused.status(), StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(refused.headers()["paci-not-applied"], "8");
}
