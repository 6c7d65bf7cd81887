//! Guard and map under chosen interleavings: `cargo test -p paracloud-sdk --features shuttle --test interleavings`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::Full;
use paracloud_sdk::http::{Layer, RequestBody};
use paracloud_sdk::interleave::{self, Peer};
use paracloud_sdk::state::{Map, TransactError};
use paracloud_sdk::{Paci, Refused};
use shuttle::future::block_on;
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{Layer as _, Service, service_fn};

/// Interleavings tried a test.
const ITERATIONS: usize = 500;

fn program() -> (Paci, Map) {
    let paci = Paci::new(paci::env::Environment::default());
    let map = paci.map("accounts").unwrap();
    map.transact(|txn| {
        txn.put("alice", [100]);
        txn.put("bob", [100]);
    })
    .unwrap();
    interleave::open(&paci, 7);
    (paci, map)
}

/// Moves one from one account to the other, as two transactions: half of it must never be seen behind a seal.
fn transfer(map: &Map) -> Result<(), TransactError> {
    map.transact(|txn| {
        let before = txn.get("alice").unwrap()[0];
        txn.put("alice", [before - 1]);
    })?;
    map.transact(|txn| {
        let before = txn.get("bob").unwrap()[0];
        txn.put("bob", [before + 1]);
    })
}

fn sum(paci: &Paci) -> u64 {
    Peer::of(paci).0.values().map(|value| u64::from(value[0])).sum()
}

/// Closes the gate, waits for the guards, and holds what is there then against what is there at the end of `others`.
fn seal(paci: &Paci, others: Vec<thread::JoinHandle<()>>) {
    interleave::close(paci);
    block_on(interleave::ended(paci));
    let sealed = interleave::held(paci);
    assert_eq!(sealed.guards, 0);
    assert_eq!(sum(paci), 200, "no half of a transfer is behind a seal");
    for other in others {
        other.join().unwrap();
    }
    assert_eq!(interleave::held(paci), sealed, "nothing changes behind a seal");
}

fn get() -> Request<Full<Bytes>> {
    Request::post("/transfer").body(Full::default()).unwrap()
}

#[test]
fn a_seal_meets_all_of_a_guarded_request_or_nothing() {
    shuttle::check_random(
        || {
            let (paci, map) = program();
            let others = (0..2).map(|_| {
                let (paci, map) = (paci.clone(), map.clone());
                thread::spawn(move || {
                    let Ok(guard) = paci.enter("POST /transfer") else { return };
                    guard.run(|| transfer(&map)).expect("who holds a guard is never refused");
                })
            });
            let others = others.collect();
            seal(&paci, others);
        },
        ITERATIONS,
    );
}

#[test]
fn a_request_through_the_layer_is_served_whole_or_refused_whole() {
    shuttle::check_random(
        || {
            let (paci, map) = program();
            let served = Arc::new(AtomicU64::new(0));
            let others = (0..2).map(|_| {
                let (layer, map, served) = (paci.layer(), map.clone(), served.clone());
                thread::spawn(move || {
                    let response = block_on(through(&layer, &map));
                    match response.status() {
                        StatusCode::OK => served.fetch_add(1, Ordering::SeqCst),
                        status => {
                            assert_eq!(status, StatusCode::MISDIRECTED_REQUEST);
                            0
                        }
                    };
                })
            });
            let others = others.collect();
            seal(&paci, others);
            assert_eq!(interleave::held(&paci).position, 2 + 2 * served.load(Ordering::SeqCst));
        },
        ITERATIONS,
    );
}

/// A transfer through the layer, with its answer taken to its end.
async fn through(layer: &Layer, map: &Map) -> Response<()> {
    let map = map.clone();
    let mut service = layer.layer(service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
        let map = map.clone();
        async move {
            transfer(&map).expect("who is let in is never refused");
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("done")))
        }
    }));
    let Ok(response) = service.call(get()).await;
    let (parts, mut body) = response.into_parts();
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        frame.unwrap();
    }
    Response::from_parts(parts, ())
}

/// An answer that changes state with each chunk, and waits between them.
struct Slow {
    map: Map,
    chunks: u8,
    waits: bool,
}

impl Body for Slow {
    type Data = Bytes;
    type Error = TransactError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransactError>>> {
        if self.chunks == 0 {
            return Poll::Ready(None);
        }
        self.waits = !self.waits;
        if self.waits {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.chunks -= 1;
        Poll::Ready(Some(transfer(&self.map).map(|()| Frame::data(Bytes::from_static(b"chunk")))))
    }
}

#[test]
fn a_slow_answer_does_not_hold_up_a_seal_and_is_cut_between_two_chunks() {
    shuttle::check_random(
        || {
            let (paci, map) = program();
            let other = {
                let (layer, map) = (paci.layer(), map.clone());
                thread::spawn(move || {
                    let mut service = layer.layer(service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
                        let body = Slow { map: map.clone(), chunks: 3, waits: false };
                        async { Ok::<_, Infallible>(Response::new(body)) }
                    }));
                    let Ok(response) = block_on(service.call(get()));
                    let mut body = response.into_body();
                    let next =
                        || block_on(std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)));
                    let cut = std::iter::from_fn(next).find_map(Result::err);
                    if let Some(error) = cut {
                        assert!(error.is::<Refused>(), "the layer cuts it, not the map: {error}");
                    }
                })
            };
            seal(&paci, vec![other]);
        },
        ITERATIONS,
    );
}

#[test]
fn a_handler_that_is_cancelled_leaves_no_guard_and_nothing_half_done_by_one_transaction() {
    shuttle::check_random(
        || {
            let (paci, map) = program();
            let other = {
                let (layer, map) = (paci.layer(), map.clone());
                thread::spawn(move || {
                    let mut service = layer.layer(service_fn(move |_: Request<RequestBody<Full<Bytes>>>| {
                        let map = map.clone();
                        async move {
                            transfer(&map).expect("who is let in is never refused");
                            std::future::pending::<()>().await;
                            Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
                        }
                    }));
                    let mut response = service.call(get());
                    let once = std::future::poll_fn(|context| {
                        Poll::Ready(response.as_mut().poll(context).is_ready())
                    });
                    let _refused = block_on(once);
                    thread::yield_now();
                    drop(response);
                })
            };
            seal(&paci, vec![other]);
        },
        ITERATIONS,
    );
}

#[test]
fn a_copy_beside_transactions_ends_with_what_is_held() {
    shuttle::check_random(
        || {
            let (paci, map) = program();
            let others: Vec<_> = (0..2_u8)
                .map(|number| {
                    let (paci, map) = (paci.clone(), map.clone());
                    thread::spawn(move || {
                        let Ok(guard) = paci.enter("write") else { return };
                        guard.run(|| {
                            map.put([number], [0]).unwrap();
                            map.delete([number]).unwrap();
                            map.put([7], [0]).unwrap();
                            transfer(&map).unwrap();
                        });
                    })
                })
                .collect();
            let mut peer = Peer::begin(&paci);
            peer.copy(&paci);
            peer.drain(&paci);
            seal(&paci, others);
            peer.drain(&paci);
            assert_eq!(peer, Peer::of(&paci));
        },
        ITERATIONS,
    );
}

#[test]
fn a_visit_that_reads_and_changes_its_map_ends_beside_a_writer_and_a_copy() {
    shuttle::check_random(
        || {
            let (paci, map) = program();
            let visitor = {
                let (paci, map) = (paci.clone(), map.clone());
                thread::spawn(move || {
                    let Ok(guard) = paci.enter("visit") else { return };
                    let mut met = Vec::new();
                    guard.run(|| {
                        map.for_each(|key, value| {
                            met.push(key.to_vec());
                            if key.len() > 1 {
                                assert!(map.get(key).unwrap().is_some());
                                map.put(key, value).unwrap();
                            }
                        })
                        .unwrap();
                    });
                    let stays = |name: &str| met.iter().filter(|key| *key == name.as_bytes()).count();
                    assert_eq!((stays("alice"), stays("bob")), (1, 1), "what stays is met once");
                })
            };
            let writer = {
                let (paci, map) = (paci.clone(), map.clone());
                thread::spawn(move || {
                    let Ok(guard) = paci.enter("write") else { return };
                    guard.run(|| {
                        map.put([7], [0]).unwrap();
                        map.delete([7]).unwrap();
                        map.put([8], [0]).unwrap();
                    });
                })
            };
            let mut peer = Peer::begin(&paci);
            peer.copy(&paci);
            seal(&paci, vec![visitor, writer]);
            peer.drain(&paci);
            assert_eq!(peer, Peer::of(&paci));
        },
        ITERATIONS,
    );
}

#[test]
fn transactions_that_are_begun_inside_of_each_other_in_either_order_never_wait_for_each_other() {
    shuttle::check_random(
        || {
            let (paci, map) = program();
            let other = paci.map("orders").unwrap();
            let orders = [(map.clone(), other.clone()), (other, map)];
            let threads: Vec<_> = orders
                .into_iter()
                .map(|(outer, inner)| {
                    thread::spawn(move || {
                        let within = outer.transact(|txn| {
                            txn.put([7], [0]);
                            inner.put([8], [0])
                        });
                        assert_eq!(within, Ok(Err(TransactError::Nested)));
                        assert_eq!(inner.get([8]), Ok(None));
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
        },
        ITERATIONS,
    );
}
