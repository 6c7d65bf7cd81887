//! Makes a Rust program a participant of its cloud: it can be moved while it serves, and nothing that it acknowledged is
//! lost or applied twice.
//!
//! Three things do that, and a program uses as many of them as it needs:
//!
//! - **Containers** ([`state::Map`], [`state::Cell`]): a map that moves with the instance. It remembers what changes, so
//!   that the state is copied while the program serves and the pause is only the rest.
//! - **The guard** ([`Paci::layer`] for HTTP, [`Paci::enter`] for everything else): what a request holds while it touches
//!   the state. A move waits for all guards; from then on every request is refused before any handler code runs, and the
//!   cloud sends it to where the state went.
//! - **The reply cache**: a request with an `Idempotency-Key` is applied once, however often it is sent, before or after
//!   a move. It is in the layer; nothing needs to be done for it.
//!
//! Beside that a program can say how busy it is, what is coming and when it pauses ([`Paci::report`], [`Paci::announce`],
//! [`Paci::pausing`]), and be asked what losing it would cost and whether it would do with another size
//! ([`Paci::on_quote`], [`Paci::on_resize`]).
//!
//! Without a cloud (no `PACI_ENDPOINT` in the environment) all of it is a no-op, and the program runs as ever.
//!
//! # A counter that moves
//!
//! A plain hyper service whose `HashMap` became a [`state::Map`]:
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use hyper_util::{rt::TokioIo, service::TowerToHyperService};
//! use paracloud_sdk::{Paci, http::RequestBody, state::Map};
//! use tower::{Layer, service_fn};
//!
//! async fn count<B>(hits: Map, request: Request<RequestBody<B>>) -> Result<Response<Full<Bytes>>, std::io::Error> {
//!     let path = request.uri().path().to_owned();
//!     let counted = hits.transact(|txn| {
//!         let before = txn.get(&path).and_then(|value| value.as_ref().try_into().ok().map(u64::from_be_bytes));
//!         let now = before.unwrap_or(0) + 1;
//!         txn.put(&path, now.to_be_bytes());
//!         now
//!     });
//!     Ok(counted.map_or_else(|refused| refused.into_response(), |now| Response::new(Full::from(now.to_string()))))
//! }
//!
//! async fn serve(listener: tokio::net::TcpListener) -> Result<(), Box<dyn std::error::Error>> {
//!     let paci = Paci::from_env()?;
//!     let hits = paci.map("hits")?;
//!     paci.start().await?;
//!     paci.ready();
//!     let service = paci.layer().layer(service_fn(move |request| count(hits.clone(), request)));
//!     loop {
//!         let (stream, _) = listener.accept().await?;
//!         let connection = hyper::server::conn::http1::Builder::new()
//!             .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service.clone()));
//!         tokio::spawn(connection.with_upgrades());
//!     }
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #     use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! #     let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! #     let mut client = tokio::net::TcpStream::connect(listener.local_addr()?).await?;
//! #     tokio::spawn(async move { serve(listener).await.map_err(|error| error.to_string()) });
//! #     client.write_all(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
//! #     let mut answer = String::new();
//! #     client.read_to_string(&mut answer).await?;
//! #     assert!(answer.ends_with("\r\n\r\n1"), "{answer}");
//! #     Ok(())
//! # }
//! ```
//!
//! # A queue that says how busy it is
//!
//! What a program says of itself counts for a time and informs: it permits nothing, and without a cloud it is told to
//! nobody. What is left `None` is unknown, never zero.
//!
//! ```
//! use paracloud_sdk::words::{RemovalQuote, Report, Size};
//! use paracloud_sdk::{Paci, Unfit};
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
//! use std::time::Duration;
//!
//! #[derive(Default)]
//! struct Queue { waiting: AtomicU32, at_work: AtomicU32, done_ms: AtomicU32 }
//!
//! const JOB_MS: u32 = 50;
//!
//! fn named(paci: &Paci, queue: &Arc<Queue>) {
//!     let (idle, priced) = (paci.clone(), queue.clone());
//!     paci.stateless()
//!         // Out of routing: finish what is there. Guards that are held are counted for the cloud.
//!         .on_drain(move |_| { let idle = idle.clone(); async move { idle.idle().await } })
//!         .on_undrain(|| async {})
//!         // What losing this instance would cost now: what of the job at work would be done again.
//!         .on_quote(move |quote| Ok(RemovalQuote {
//!             cost_ms: Some(priced.done_ms.load(Relaxed)),
//!             drain_ms: Some(JOB_MS * priced.waiting.load(Relaxed)),
//!             ..quote
//!         }))
//!         // Another size: fit into it, or say what would do.
//!         .on_resize(|resize| async move {
//!             match resize.memory_kib {
//!                 Some(kib) if kib < 65_536 => Err(Unfit {
//!                     fit: Size { memory_kib: Some(65_536), cpu_millis: None },
//!                     reason: "the buffers of the workers".into(),
//!                 }),
//!                 _ => Ok(()),
//!             }
//!         });
//! }
//!
//! // Whenever it has changed: it is told at once, and again before its lease ends.
//! fn changed(paci: &Paci, queue: &Queue) -> Result<(), paracloud_sdk::words::Invalid> {
//!     let waiting = queue.waiting.load(Relaxed);
//!     paci.report(Report {
//!         work_unit: "job".into(),
//!         concurrency: Some(1),
//!         in_flight: Some(queue.at_work.load(Relaxed)),
//!         queued: Some(waiting),
//!         backlog_ms: Some(JOB_MS * waiting),
//!         ..Report::default()
//!     })
//! }
//!
//! // A pause is told before it begins, and is over with its time.
//! async fn collect(paci: &Paci) {
//!     if let Err(error) = paci.pausing(Duration::from_millis(40), Duration::from_millis(200)).await {
//!         eprintln!("the cloud does not know of the pause: {error}");
//!     }
//!     tokio::time::sleep(Duration::from_millis(40)).await;
//!     // Collect. A program that is done earlier says `paci.ready()`.
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #     let (paci, queue) = (Paci::new(paci::env::Environment::default()), Arc::new(Queue::default()));
//! #     named(&paci, &queue);
//! #     paci.start().await?;
//! #     changed(&paci, &queue)?;
//! #     collect(&paci).await;
//! #     Ok(())
//! # }
//! ```
//!
//! # What a program must know
//!
//! - Every container and handler is named before [`Paci::start`]. Source and target must name the same containers.
//! - While the gate is closed reads are refused as well as writes. A handler whose request the layer had whole before it
//!   let it in (a body of known size up to [`http::WHOLE_BODY_BYTES_MAX`], or any with an `Idempotency-Key`) is never
//!   refused until it has answered. What streams, a longer request or an answer without a known size, has a guard for
//!   each chunk and none while it waits for its peer: once the gate is closed the next chunk is an error, and every
//!   access gets [`Refused`], as it does in code outside of the layer. A handler that must answer then says 503,
//!   `outcome: unknown` ([`Refused::into_response`]).
//! - A transaction never begins inside of another one, on whatever map: it is an error at once
//!   ([`state::TransactError::Nested`]). What must change together belongs into one map.
//! - A spawned task does not inherit the guard of who spawned it; it can be given it: [`Guard::scope`].
//! - After an upgrade (a WebSocket) each message takes its own guard: [`Paci::enter`], then handle the message under
//!   [`Guard::scope`] or [`Guard::run`], and answer before the guard is dropped.
//! - A handler of [`Paci`] that panics has failed, and the cloud is told so: an estimate is no consent then, and a process
//!   whose [`Paci::on_resume`] panicked never serves.
//! - Timers, connections to others and all other outward acts wait for [`Paci::serving`].

mod gate;
mod guard;
mod handoff;
pub mod http;
#[cfg(feature = "shuttle")]
#[doc(hidden)]
pub mod interleave;
mod program;
mod route;
mod session;
pub mod state;
mod sync;

pub use guard::{Guard, Refused};
pub use program::{Paci, StartError, UnderGuard};
pub use session::agent::CallError;
pub use session::hooks::{Draining, NotNow, Resizing, Resuming, Stopping, Unfit};

/// What a program says of itself, and what it is asked: the words of the contract.
pub mod words {
    pub use paci::announcement::{AnnounceRequest, AnnounceResponse};
    pub use paci::ask::{AskRequest, AskResponse, Became, MoveMe, Replicas, RetireMe, Wish};
    pub use paci::finding::{MoveEstimate, Preference, RemovalQuote};
    pub use paci::invalid::Invalid;
    pub use paci::report::{Metric, Report};
    pub use paci::size::Size;
    pub use paci::state::State;
}
