//! What is promised of a move, seen from outside: real processes, real clients, and a person at the command line.

#[expect(
    clippy::unwrap_used,
    dead_code,
    reason = "a rig that cannot be set up fails its test; other tests use the rest of it"
)]
#[path = "../rig/mod.rs"]
mod rig;

mod advised;
mod apply;
mod asked;
mod blocked;
mod clients;
mod disk;
mod drains;
mod examples;
mod forgotten;
mod forms;
mod frozen;
mod holder;
mod instances;
mod killed;
mod lost;
mod misbehaving;
mod ordered;
mod orders;
mod paused;
mod points;
mod refused;
mod scale_in;
mod scaling;
mod secrets;
mod shapes;
mod sizes;
mod sockets;
mod streams;
mod struck;
mod substitutes;
mod unready;
mod unruly;
mod updates;
mod written;
