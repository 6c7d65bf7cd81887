//! A gateway on real sockets: the test plays the controller, the applications and the clients.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod application;
mod bad_input;
mod balancing;
mod calls;
mod client;
mod echo;
mod failpoint;
mod frames;
mod goaway;
mod grpc;
mod http2;
mod leaving;
mod link;
mod messages;
mod parking;
mod places;
mod retry;
mod room;
mod streams;
mod tools;
mod two;
mod uploads;
mod websocket;
mod world;
