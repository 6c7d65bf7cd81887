//! Results of requests with a key move with the state.

use super::{copying, resume, seal, upcall};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use paci::call::{Call, Outcome, Serve};
use paracloud_sdk::Paci;
use paracloud_sdk::http::RequestBody;
use paracloud_sdk::state::Map;
use std::convert::Infallible;
use tower::{Layer as _, ServiceExt, service_fn};

/// Raises a counter through the layer, always with the same key; the answer is the counter's value.
async fn raised((paci, map): &(Paci, Map)) -> String {
    let map = map.clone();
    let service = paci.layer().layer(service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
        let map = map.clone();
        async move {
            let raised = map.transact(|txn| {
                let next = txn.get("counter").map_or(0, |value| value[0]) + 1;
                txn.put("counter", [next]);
                next
            });
            let now = raised.expect("who is let in is never refused");
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(now.to_string())))
        }
    }));
    let request = Request::post("/raise").header("idempotency-key", "k").body(Full::default()).unwrap();
    let body = service.oneshot(request).await.unwrap().into_body().collect().await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_source_answered_is_answered_the_same_by_the_target() {
    let mut moved = copying(|_| {}).await;
    assert_eq!(raised(&moved.left).await, "1");
    moved.source.ask(upcall(41, 2, seal()));
    moved.source.done(41).await;
    moved.target.done(41).await;
    moved.target.ask(upcall(41, 2, resume(8, Outcome::Committed)));
    moved.target.done(41).await;
    moved.target.ask(upcall(41, 3, Call::Serve(Serve { incarnation: 8 })));
    moved.target.done(41).await;
    assert_eq!(raised(&moved.right).await, "1", "it is not applied again");
    assert_eq!(moved.right.1.get("counter").unwrap().unwrap()[..], [1]);
}
