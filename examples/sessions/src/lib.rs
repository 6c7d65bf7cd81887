//! `sessions`: an HTTP and WebSocket server with its state in memory, which moves while it serves. The README tells what
//! it answers.
//!
//! What makes it movable stands in [`App::start`]: two maps of the SDK, and the SDK's layer around the service. The rest
//! is a server as any other.
//!
//! ```text
//!   server ──▶ guard (SDK) ──▶ routes ──▶ records, batch        POST /write, GET /keys, GET /audit
//!      │                          ├─────▶ streams               GET /stream, POST /upload
//!      └─▶ /healthz               └─────▶ socket ──▶ talk       GET /ws
//! ```

mod answer;
pub mod batch;
mod faults;
mod fill;
pub mod process;
pub mod records;
mod routes;
mod server;
mod settings;
mod socket;
mod streams;
pub mod talk;

pub use server::{App, RunError};
pub use settings::{Fault, Settings, SettingsError};
