//! Requests with an `Idempotency-Key`.

use super::{Chunks, World, chunks, keyed, raise, said, text, world};
use crate::http::{KEYED_BODY_BYTES_MAX, REPLY_BODY_BYTES_MAX, RequestBody};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tower::{Layer as _, ServiceExt, service_fn};

#[tokio::test]
async fn a_key_is_applied_once_and_answered_the_same_however_often_it_is_sent() {
    let World { gate, map, layer, replies } = world();
    let service = layer.layer(service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
        let map = map.clone();
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "ten");
            let mut response = raise(&map);
            response.headers_mut().insert("x-told", "once".parse().unwrap());
            *response.status_mut() = StatusCode::CREATED;
            Ok::<_, Infallible>(response)
        }
    }));
    for _ in 0..3 {
        let response = service.clone().oneshot(keyed("k", "ten")).await.unwrap();
        assert_eq!(
            (response.status(), &response.headers()["x-told"]),
            (StatusCode::CREATED, &"once".parse().unwrap())
        );
        assert_eq!(text(response).await, "1");
    }
    assert_eq!(replies.held().records, 1);
    assert_eq!(text(service.clone().oneshot(keyed("other", "ten")).await.unwrap()).await, "2");
    let other = service.clone().oneshot(keyed("k", "eleven")).await.unwrap();
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let mut elsewhere = keyed("k", "ten");
    *elsewhere.uri_mut() = "/transfer?to=bob".parse().unwrap();
    assert_eq!(service.oneshot(elsewhere).await.unwrap().status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(gate.held(), 0);
}

#[tokio::test]
async fn the_guard_of_a_key_ends_once_its_answer_is_kept() {
    let World { gate, layer, replies, .. } = world();
    let service = layer.layer(service_fn(|_: Request<RequestBody<Full<Bytes>>>| async { said("done") }));
    let unwritten = service.oneshot(keyed("k", "ten")).await.unwrap();
    gate.close();
    gate.ended().await;
    assert_eq!(replies.held().records, 1, "what a seal meets has the answer in it");
    assert_eq!(text(unwritten).await, "done");
}

#[tokio::test]
async fn a_key_in_work_is_waited_for() {
    let World { gate, map, layer, .. } = world();
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let service = layer.layer(service_fn({
        let (begun, go_on) = (begun.clone(), go_on.clone());
        move |_: Request<RequestBody<Full<Bytes>>>| {
            let (map, begun, go_on) = (map.clone(), begun.clone(), go_on.clone());
            async move {
                begun.notify_one();
                go_on.notified().await;
                Ok::<_, Infallible>(raise(&map))
            }
        }
    }));
    let first = tokio::spawn(service.clone().oneshot(keyed("k", "ten")));
    begun.notified().await;
    let second = tokio::spawn(service.clone().oneshot(keyed("k", "ten")));
    tokio::task::yield_now().await;
    assert_eq!(gate.held(), 1, "who waits holds no guard");
    go_on.notify_one();
    assert_eq!(text(first.await.unwrap().unwrap()).await, "1");
    assert_eq!(text(second.await.unwrap().unwrap()).await, "1");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_worked_on_for_too_long_is_a_conflict() {
    let World { layer, .. } = world();
    let service = layer.layer(service_fn(|_: Request<RequestBody<Full<Bytes>>>| async {
        std::future::pending::<()>().await;
        said("never")
    }));
    let _first = tokio::spawn(service.clone().oneshot(keyed("k", "ten")));
    tokio::task::yield_now().await;
    let second = service.oneshot(keyed("k", "ten")).await.unwrap();
    assert_eq!(
        (second.status(), &second.headers()["retry-after"]),
        (StatusCode::CONFLICT, &"1".parse().unwrap())
    );
}

#[tokio::test]
async fn work_on_a_key_ends_when_its_client_has_gone() {
    let World { gate, map, layer, .. } = world();
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let service = layer.layer(service_fn({
        let (begun, go_on) = (begun.clone(), go_on.clone());
        move |_: Request<RequestBody<Full<Bytes>>>| {
            let (map, begun, go_on) = (map.clone(), begun.clone(), go_on.clone());
            async move {
                raise(&map);
                begun.notify_one();
                go_on.notified().await;
                Ok::<_, Infallible>(raise(&map))
            }
        }
    }));
    let first = tokio::spawn(service.clone().oneshot(keyed("k", "ten")));
    begun.notified().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.close();
    assert_eq!(gate.held(), 1, "a seal waits for the work");
    go_on.notify_one();
    gate.ended().await;
    gate.open(8);
    assert_eq!(text(service.oneshot(keyed("k", "ten")).await.unwrap()).await, "2");
}

#[tokio::test]
async fn a_handler_that_panics_frees_its_key_unless_it_has_changed_something() {
    let World { gate, map, layer, .. } = world();
    let service = layer.layer(service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
        let map = map.clone();
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            if body == "after" {
                raise(&map);
            }
            assert!(body == "fine", "a handler's fault");
            Ok::<_, Infallible>(raise(&map))
        }
    }));
    let send = |key: &'static str, body| tokio::spawn(service.clone().oneshot(keyed(key, body)));
    assert!(send("before", "before").await.unwrap_err().is_panic());
    assert!(send("before", "before").await.unwrap_err().is_panic(), "the key is free, it is tried again");
    assert!(send("after", "after").await.unwrap_err().is_panic());
    let again = send("after", "after").await.unwrap().unwrap();
    assert_eq!(again.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text(again).await.contains("unknown"), "half of it is not applied twice");
    assert_eq!(text(send("fine", "fine").await.unwrap().unwrap()).await, "2");
    assert_eq!(gate.held(), 0);
}

#[tokio::test]
async fn refusals_are_not_stored() {
    let World { gate, map, layer, replies } = world();
    let service = layer.layer(service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
        let map = map.clone();
        async move {
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            if map.len().unwrap() > 0 { Ok::<_, Infallible>(raise(&map)) } else { Ok(response) }
        }
    }));
    gate.close();
    assert_eq!(service.clone().oneshot(keyed("k", "")).await.unwrap().status(), 421);
    gate.open(8);
    assert_eq!(service.clone().oneshot(keyed("k", "")).await.unwrap().status(), 503);
    assert_eq!(replies.held().records, 0);
    for (key, body, status) in [("", "", 400), ("a b", "", 400), (&*"k".repeat(129), "", 400)] {
        assert_eq!(service.clone().oneshot(keyed(key, body)).await.unwrap().status(), status, "{key:?}");
    }
    let large = Box::leak("x".repeat(KEYED_BODY_BYTES_MAX + 1).into_boxed_str());
    assert_eq!(service.oneshot(keyed("k", large)).await.unwrap().status(), 413);
    assert_eq!(replies.held().records, 0);
}

/// A service whose effect is outside of the state: it answers with a body whose chunks a test sends, and counts itself.
fn streaming(
    body: Chunks,
    runs: &Arc<AtomicUsize>,
) -> impl tower::Service<
    Request<RequestBody<Full<Bytes>>>,
    Response = Response<Chunks>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Chunks>, Infallible>> + Send,
> + Clone
+ Send
+ 'static {
    let (runs, body) = (runs.clone(), Arc::new(Mutex::new(Some(body))));
    service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
        runs.fetch_add(1, Ordering::SeqCst);
        let body = body.lock().unwrap().take().unwrap_or_else(|| chunks(Some(0)).1);
        async { Ok(Response::new(body)) }
    })
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_a_key_holds_up_no_seal_and_is_not_begun_again() {
    let World { gate, layer, .. } = world();
    let (sender, body) = chunks(None);
    let runs = Arc::default();
    let service = layer.layer(streaming(body, &runs));
    let first = tokio::time::timeout(Duration::from_secs(30), service.clone().oneshot(keyed("k", "")));
    let first = first.await.expect("its answer is not waited for").unwrap();
    assert_eq!(first.status(), StatusCode::OK);
    let mut first = first.into_body();
    sender.send("one").unwrap();
    assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
    assert_eq!(gate.held(), 0);

    let retried = service.oneshot(keyed("k", "")).await.unwrap();
    assert_eq!(retried.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text(retried).await.contains("not applied again"));
    assert_eq!(runs.load(Ordering::SeqCst), 1);

    gate.close();
    gate.ended().await;
    let error = first.frame().await.unwrap().map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("the gate is closed"));
}

#[tokio::test]
async fn a_stream_with_a_key_ends_with_its_client() {
    let World { gate, layer, .. } = world();
    let (sender, body) = chunks(None);
    let service = layer.layer(streaming(body, &Arc::default()));
    drop(service.oneshot(keyed("k", "")).await.unwrap());
    assert!(sender.is_closed());
    gate.close();
    gate.ended().await;
}

#[tokio::test]
async fn an_answer_that_is_too_long_to_be_kept_reaches_its_first_client_whole() {
    let World { gate, map, layer, replies } = world();
    let counted = map.clone();
    let service = layer.layer(service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
        let map = map.clone();
        async move {
            raise(&map);
            let longer = usize::from(request.headers()["idempotency-key"] == "long");
            let body = vec![b'x'; REPLY_BODY_BYTES_MAX + longer];
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(body)))
        }
    }));
    for (key, bytes, again) in [
        ("fits", REPLY_BODY_BYTES_MAX, StatusCode::OK),
        ("long", REPLY_BODY_BYTES_MAX + 1, StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        let first = service.clone().oneshot(keyed(key, "")).await.unwrap();
        assert_eq!(first.status(), StatusCode::OK, "{key}");
        assert_eq!(text(first).await.len(), bytes, "{key}");
        assert_eq!(service.clone().oneshot(keyed(key, "")).await.unwrap().status(), again, "{key}");
    }
    assert_eq!((gate.held(), replies.held().records), (0, 2));
    assert_eq!(counted.get("counter").unwrap().unwrap()[..], [2], "each is applied once");
}
