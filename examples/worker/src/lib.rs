//! `worker`: a queue of work without state. The README tells what it answers.
//!
//! Work is a timed wait, so a hundred of these processes need no processor; how fast it goes on ([`pace`]) changes while
//! the process gets warm and while it pauses. What became of each job stands in its ledger, so that a loss can be counted.
//!
//! ```text
//!   server ──▶ guard (SDK) ──▶ routes ──▶ slots ──▶ pace        POST /work
//!      │                          │         └─────▶ ledger      GET /ledger
//!      └─▶ /healthz               rhythm ──▶ pace
//!                cloud ◀──▶ slots, rhythm                    reports, drains, quotes, sizes, pauses
//! ```

mod answer;
mod cloud;
pub mod ledger;
pub mod pace;
pub mod process;
mod rhythm;
mod routes;
mod server;
mod settings;
pub mod slots;

pub use server::{App, RunError};
pub use settings::{Pauses, QUEUE_MAX, SLOTS_MAX, Settings, SettingsError};
