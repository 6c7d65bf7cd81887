//! The Paracloud Interface (PaCI): messages, bounds, bindings and the application's side of the contract.
//!
//! The contract itself is `proto/paci/v1/paci.proto`; `docs/reference/paci-v1.md` tells how to implement it from the
//! text alone. This crate is the same in Rust: plain values without I/O, used by agents, SDKs, conformance and the
//! simulation. Tests hold the three together.
//!
//! | module | what it is |
//! |---|---|
//! | [`wire`] | a message as JSON, and back |
//! | [`bounds`], [`invalid`] | every bound by name; what is said of a field that breaks one |
//! | [`names`] | registries: version, capabilities, codes, reserved names |
//! | [`hello`], [`instance`], [`state`], [`hold`], [`report`], [`announcement`], [`ask`] | cloudcalls: app → cloud |
//! | [`upcall`], [`call`], [`size`] | upcalls: cloud → app |
//! | [`answer`], [`finding`], [`proof`] | what an application answers; position and digest |
//! | [`http`], [`error`] | the first binding: HTTP/1.1 and JSON on a unix socket |
//! | [`channel`], [`frame`] | the state channel of a handoff: its join, its frames |
//! | [`mod@env`] | where the cloud is, if there is one |

pub mod announcement;
pub mod answer;
pub mod ask;
pub mod bounds;
pub mod call;
pub mod channel;
pub mod env;
pub mod error;
pub mod finding;
pub mod frame;
pub mod hello;
pub mod hold;
pub mod http;
pub mod instance;
pub mod invalid;
pub mod names;
pub mod participant;
pub mod proof;
pub mod report;
pub mod size;
pub mod state;
pub mod upcall;
pub mod wire;
