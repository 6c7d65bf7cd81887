//! Every decision of Paracloud, without I/O, clock or randomness.
//!
//! Each machine is a plain value (comparable, hashable, serialisable) with one method:
//! `step(&mut self, setting, input, &mut effects)`. What it wants done comes out as effects, in order; *persist* is
//! an effect with an answer, and what promises something leaves only after it. Time is a named timer that fires, ids
//! that must never repeat arrive with the input. The shells that run on real sockets, the simulation and the model
//! checker drive this same code.
//!
//! The crate is built without the standard library: there is no clock, no file, no socket, no thread and no map with an
//! order of its own to be had in it.
//!
//! Where to start reading: [`migration`] has the picture of a move and its invariants, [`register`] who owns, and
//! [`migration::coordinator`] how a move is driven.

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod balancing;
pub mod draining;
pub mod ids;
pub mod machine;
pub mod migration;
pub mod ordered;
mod page;
pub mod register;
pub mod scaling;
pub mod updating;
pub mod wishes;

pub use page::counted;
