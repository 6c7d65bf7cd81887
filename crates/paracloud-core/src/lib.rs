//! Every decision of Paracloud, without I/O, clock or randomness.
//!
//! Each machine is a plain value (comparable, hashable, serialisable) with one method:
//! `step(&mut self, setting, input, &mut effects)`. What it wants done comes out as effects, in order; *persist* is
//! an effect with an answer, and what promises something leaves only after it. Time is a named timer that fires, ids
//! that must never repeat arrive with the input. The shells that run on real sockets, the simulation and the model
//! checker drive this same code.
//!
//! Where to start reading: [`migration`] has the picture of a move and its invariants, [`register`] who owns, and
//! [`migration::coordinator`] how a move is driven.

pub mod ids;
pub mod machine;
pub mod migration;
pub mod register;
