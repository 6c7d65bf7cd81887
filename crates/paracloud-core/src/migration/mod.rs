//! The move of an instance from one node to another.
//!
//! ```text
//!  phase     source               target                gateways        what ends it
//!  ────────────────────────────────────────────────────────────────────────────────────────────────────────
//!  offer     serves, is asked     –                     → source        its answer; silence is no consent
//!  prepare   serves               started, STAGING      → source        ready, or nothing has happened
//!  copy      serves and ships     loads                 → source        predicted pause fits its budget
//!  drain     serves and ships     loads                 streams leave   none is left, or its budget
//!            ── swap: open → sealing (the intent to seal) ──
//!  park      serves what it has   caught up             park            nothing outstanding, or its budget
//!  seal      gate closed, last    proves the digest     parked          digests equal, or roll back by swap
//!            delta sent
//!            ══ swap: sealing → switch, source@e → target@e+1: THE POINT OF NO RETURN ══
//!  switch    sealed               takes its identity    parked          ready, or doom, end, promote the source
//!            ── swap: switch → retire, served(e+1) ──
//!  serve     sealed               gate opens            → target        it serves
//!  release   sealed               serves                → target        every gateway that took longer, or its budget
//!  retire    ended                serves                → target        proof of death
//!            ── swap: closed ──
//! ```
//!
//! A move that is given up goes `undo` (the source hears it) → `release` → `retire` (of the target) → closed; a
//! target that does not get ready goes `doom` first. In mode `restart` there is no copy, `seal` ends the source
//! instead of sealing it, and `switch` starts the target; nothing is started there before the source is proved dead.
//!
//! An instance that leaves (the other way in which one stops at a node) goes
//!
//! ```text
//!  phase     owner                gateways                              what ends it
//!  ────────────────────────────────────────────────────────────────────────────────────────────────────────
//!            ── swap: (none) → draining ──
//!  drain     serves what it has   start nothing new there               none has anything there, or revoked
//!  leave     finishes what it has as before                             it has nothing left, or revoked
//!            ══ swap: draining → leaving: THE POINT OF NO RETURN ══
//!  retire    ended                as before                             proof of death
//!            ── swap: leaving → gone ──
//!  release                        forget it                             all have, or its budget
//! ```
//!
//! and one that is called back (`revoked`: by a person, by the application's refusal or hold, by the budget) goes
//! `return` (the owner hears it) → `release` (gateways route to it again) → closed. A leave needs the word of every
//! gateway: who cannot say that it has nothing there returns the victim when the budget is used up. An owner that dies
//! while it is drained has left. Who gets another size goes `resize` → closed.
//!
//! The machines: [`coordinator`] (in the controller), [`agent`] and [`shim`] (on each node), [`gateway`], and the
//! application's side, [`paci::participant`]. They share no state and meet only in [`message`]s.
//!
//! # Invariants
//!
//! - **I1** No two processes of an instance have their gate open at once: none acknowledges a request beside another.
//! - **I2** Whatever an owner acknowledged is in what the next owner serves, once; except what died with the owner's
//!   own process, which is counted.
//! - **I3** Before the commit the source can always resume; after it it never does, except by promotion, when the
//!   target is dead and has never served.
//! - **I4** A gateway starts nothing new on a route after it said that it parks (except each request's one attempt at
//!   its bound), and parks no request longer than its bound.
//! - **I5** Whatever single part crashes, stalls or is cut off, the operation ends by itself: committed or rolled
//!   back, and the register remembers which. One that needs a node whose agent stays away ends when that agent is back,
//!   or a person gives the node up.
//!
//! The simulation and the model check I1 to I4 after every step; I5 at the end of every run, and from every state of the
//! model's small configurations and a sample of those of the others; [`promises`] says what is persisted before what is sent.

pub mod agent;
pub mod cause;
pub mod convergence;
pub mod coordinator;
pub mod duty;
pub mod gateway;
pub mod message;
pub mod promises;
pub mod shim;

use core::fmt;
use serde::{Deserialize, Serialize};

/// A phase of a move, by the name that a person says aloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No operation is open.
    Idle,
    /// A new owner process is being started.
    Start,
    /// The application is asked.
    Offer,
    /// The target is made ready.
    Prepare,
    /// State crosses while the source serves.
    Copy,
    /// Uploads and streaming replies are told to leave; before a leave, gateways send nothing new and see to the end of
    /// what they have there.
    Drain,
    /// Gateways stop forwarding.
    Park,
    /// The source closes its gate, or is stopped.
    Seal,
    /// The target takes the identity over.
    Switch,
    /// The target that did not get ready is ended.
    Doom,
    /// The target opens its gate.
    Serve,
    /// The source hears that the move is off.
    Undo,
    /// Gateways take the route up.
    Release,
    /// The process that is no longer needed is ended.
    Retire,
    /// The application is drained: it finishes what it has, and may be called back.
    Leave,
    /// The application that was drained hears that it serves on.
    Return,
    /// The owner gets another size.
    Resize,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Start => "start",
            Self::Offer => "offer",
            Self::Prepare => "prepare",
            Self::Copy => "copy",
            Self::Drain => "drain",
            Self::Park => "park",
            Self::Seal => "seal",
            Self::Switch => "switch",
            Self::Doom => "doom",
            Self::Serve => "serve",
            Self::Undo => "undo",
            Self::Release => "release",
            Self::Retire => "retire",
            Self::Leave => "leave",
            Self::Return => "return",
            Self::Resize => "resize",
        })
    }
}

/// A side of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Where it starts.
    Source,
    /// Where it ends.
    Target,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}
