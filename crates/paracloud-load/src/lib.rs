//! The open-loop client of `sessions`, and the ledger that says whether anything was lost or doubled.
//!
//! Requests are sent when they are due, whatever became of those before, and their latency counts from that time: a
//! server that stands still is seen standing still. Each request writes random values on uniform keys; the server
//! answers each write with its key's counter. The ledger keeps, for each key, what was acknowledged and what may have
//! been applied; an audit compares that with what the server holds.
//!
//! ```text
//!   schedule ──▶ writer ──▶ send ──▶ pool ──▶ gateway 1, gateway 2, …
//!                  │                  ▲
//!                  ▼                  │
//!      meter    ledger ◀── audit ◀── get        session ◀── sockets ──▶ gateway …
//! ```
//!
//! Use [`start`] and [`Load`] in a program, or [`process::serve`] in a process of its own, so that the clients do not
//! share a runtime with what they measure; [`driver`] drives that process. [`steady`] is an open loop of one request to
//! whatever serves it: the load of measurements.

mod clients;
pub mod config;
mod counters;
pub mod driver;
mod falsify;
mod get;
pub mod ledger;
pub mod look;
mod loss;
pub mod meter;
mod pool;
pub mod process;
mod run;
mod schedule;
mod send;
mod session;
mod sockets;
pub mod steady;
mod wire;
mod writer;

pub use config::Config;
pub use falsify::Unapplied;
pub use get::GetError;
pub use run::{Audited, AuditedLoss, Load, LoadError, SETTLE_MS_MAX, Summary, run, start};
pub use sockets::{CLOSE_CUT, SocketsSeen};
pub use wire::AuditError;
