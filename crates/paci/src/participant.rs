//! The application's side of the contract, as one small machine without I/O.
//!
//! It says which upcalls are answered how, when the gate opens and closes, and which operation is over. An SDK
//! drives it with what arrives on the socket and with what its own parts finished (guards ended, last delta sent,
//! everything loaded); the simulation and the model checker drive the very same code.
//!
//! ```text
//!             OWNER                Prepare             Seal              shipped
//!   New ────────────────▶ Serving ────────▶ Preparing ──────▶ Sealing ──────────▶ Sealed
//!    │                      ▲  ▲ ◀──Abort─────┘                  │ blocked          │
//!    │                      │  └──────────── Resume(rolled back) ┴──────────────────┤
//!    │ STAGING              │ Serve                                                 │ Resume(committed)
//!    └───▶ Staging ─────▶ Loaded ─────▶ Resumed                                 Outdated
//!             Prepare, end record   Resume(committed)
//! ```
//!
//! Three rules carry the safety of a move:
//! - the gate is open in `Serving` and `Preparing` (and while it is drained, which closes no gate: what still comes is
//!   served) and in no other phase;
//! - what closed it is undone by `Resume` (or, for a target, `Resume` and then `Serve`) and by nothing else: no
//!   timer, no lost socket, no handshake un-seals;
//! - `Resume{N}` and `Abort{N}` close operation N: N and every lower number are refused from then on.

use serde::{Deserialize, Serialize};

/// How an operation ended, told by `Resume`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// The target owns now.
    Committed,
    /// The source owns on, under a new incarnation.
    RolledBack,
}

/// Which end of a move an application is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    /// It gives its state.
    Source,
    /// It is filled.
    Target,
}

/// What the register says of a process, told in the answer to `Hello`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// It may act for the instance.
    Owner,
    /// It is only being filled: it must not act outwardly.
    Staging,
    /// Another process owns the instance.
    Outdated,
    /// The register could not be asked yet; say `Hello` again.
    Undecided,
}

/// What a side holds: how many changes went into it, and their digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sealed {
    /// Number of changes the state has seen.
    pub position: u64,
    /// Digest of the state, 16 to 64 bytes; an empty one proves nothing and is refused.
    pub digest: Vec<u8>,
}

impl Sealed {
    /// Shortest and longest digest that proves anything, in bytes.
    pub const DIGEST_BYTES: core::ops::RangeInclusive<usize> = 16..=64;

    /// Whether the digest is long enough to prove anything and short enough to be one.
    pub fn is_well_formed(&self) -> bool {
        Self::DIGEST_BYTES.contains(&self.digest.len())
    }
}

/// An upcall of a move, with its operation number beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Call {
    /// What would a move cost? Changes nothing.
    Estimate,
    /// Get ready for a move, as one side of it.
    Prepare(Side),
    /// Close the gate, wait for all guards, send the last delta and its digest.
    Seal,
    /// The operation is over; this is who you are now.
    Resume {
        /// Incarnation of the owner from now on.
        incarnation: u32,
        /// How the operation ended.
        outcome: Outcome,
    },
    /// Open the gate: you are the owner, and the register has it that you serve.
    Serve {
        /// Incarnation under which it serves.
        incarnation: u32,
    },
    /// The operation is over before it came to a seal; or the drain is off, and work is taken again.
    Abort,
    /// Take no new work, and say when all there was is done. It may be called off by `Abort`.
    Drain,
}

/// What an application answers to a [`Call`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Answer {
    /// It can be moved; the estimate itself travels beside the machine.
    Estimated,
    /// Ready for the move; the source copies from now on, the target loads.
    Prepared,
    /// Gate closed, guards ended, last delta sent.
    Sealed(Sealed),
    /// The gate is closed but a guard did not end in time.
    Blocked,
    /// The target has everything up to the end record.
    Loaded {
        /// What it computed over what it loaded.
        held: Sealed,
        /// What the end record said the source holds.
        stated: Sealed,
    },
    /// Identity taken. An owner rolled back serves again; a committed target waits for `Serve`.
    Resumed,
    /// The gate is open.
    Serving,
    /// The move was forgotten; after a drain: work is taken again.
    Aborted,
    /// All the work there was is done.
    Drained,
    /// The operation is closed, or a higher one was seen.
    OperationClosed,
    /// The call makes no sense in this phase, or the channel ended without its end record.
    Failed,
}

/// Where the application stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Nobody told it yet who it is.
    New,
    /// Owner.
    Serving,
    /// Owner, and the source of this operation: it serves and ships.
    Preparing(u32),
    /// The gate is closed; guards are ending or the last delta is on its way.
    Sealing(u32),
    /// The gate is closed and one guard did not end in time.
    Blocked(u32),
    /// Gate closed, guards ended, last delta sent.
    Sealed(u32, Sealed),
    /// To be filled, by this operation once `Prepare` named it.
    Staging(Option<u32>),
    /// The channel ended without its end record: what was loaded is worth nothing.
    Spoilt(u32),
    /// Filled, digest computed.
    Loaded(u32, Sealed, Sealed),
    /// Identity taken, gate still closed.
    Resumed(u32),
    /// Another process owns.
    Outdated,
    /// Owner, by this operation without new work: it finishes what it has.
    Draining(u32),
    /// The same, with nothing left to do.
    Drained(u32),
}

/// What the machine asks of the program around it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Act {
    /// Answer the upcall of this operation.
    Answer(u32, Answer),
    /// Open the gate; refusals and replies carry this incarnation.
    Open(u32),
    /// Close the gate.
    Close,
    /// Join the channel and ship the state while serving; report with [`Participant::prepared`].
    Copy(u32),
    /// Wait for all guards, send the last delta and the end record; report with [`Participant::shipped`] or
    /// [`Participant::blocked`].
    Ship(u32),
    /// Join the channel and load; report with [`Participant::prepared`] and [`Participant::loaded`].
    Load(u32),
    /// Forget the operation: stop copying, leave the channel; take work again.
    Forget(u32),
    /// Take no new work, finish the old; report with [`Participant::emptied`].
    Drain(u32),
}

/// The application's side of the contract.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Participant {
    phase: Phase,
    incarnation: u32,
    /// Highest operation number in any call so far.
    seen: u32,
    /// This operation and all below are over.
    closed: u32,
}

impl Default for Participant {
    fn default() -> Self {
        Self { phase: Phase::New, incarnation: 0, seen: 0, closed: 0 }
    }
}

impl Participant {
    /// Where it stands.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The incarnation it was last told.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// The highest operation it has heard of.
    pub fn operation(&self) -> u32 {
        self.seen
    }

    /// Whether requests may touch the state.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Serving | Phase::Preparing(_) | Phase::Draining(_) | Phase::Drained(_))
    }

    /// Whether it was told to seal and not yet told the outcome.
    pub fn is_sealed(&self) -> bool {
        matches!(self.phase, Phase::Sealing(_) | Phase::Blocked(_) | Phase::Sealed(..))
    }

    /// The answer to `Hello`. It gives a new process its standing; it never un-seals one.
    pub fn welcome(&mut self, standing: Standing, incarnation: u32) -> Vec<Act> {
        match (standing, &self.phase) {
            (Standing::Owner, Phase::New) => {
                self.phase = Phase::Serving;
                self.incarnation = incarnation;
                vec![Act::Open(incarnation)]
            }
            (Standing::Staging, Phase::New) => {
                self.phase = Phase::Staging(None);
                vec![]
            }
            (
                Standing::Outdated,
                Phase::New | Phase::Serving | Phase::Preparing(_) | Phase::Draining(_) | Phase::Drained(_),
            ) => {
                self.phase = Phase::Outdated;
                vec![Act::Close]
            }
            // Sealed, staged or resumed: only the operation's own outcome changes that.
            (Standing::Owner | Standing::Staging | Standing::Outdated | Standing::Undecided, _) => vec![],
        }
    }

    /// An upcall arrived, for the first time or again: the same question gets the same answer.
    pub fn call(&mut self, operation: u32, call: Call) -> Vec<Act> {
        let refuse = vec![Act::Answer(operation, Answer::OperationClosed)];
        if operation < self.seen {
            return refuse;
        }
        self.seen = operation;
        match call {
            Call::Estimate if operation > self.closed => vec![Act::Answer(operation, Answer::Estimated)],
            Call::Prepare(side) if operation > self.closed => self.prepare(operation, side),
            Call::Seal if operation > self.closed => self.seal(operation),
            Call::Drain if operation > self.closed => self.drain(operation),
            Call::Estimate | Call::Prepare(_) | Call::Seal | Call::Drain => refuse,
            Call::Resume { incarnation, outcome } => self.resume(operation, incarnation, outcome),
            Call::Serve { incarnation } => self.serve(operation, incarnation),
            Call::Abort => self.abort(operation),
        }
    }

    /// The channel is joined (and, for a target, everything it needs is reserved).
    pub fn prepared(&self, operation: u32) -> Vec<Act> {
        match self.phase {
            Phase::Preparing(of) | Phase::Staging(Some(of)) if of == operation => {
                vec![Act::Answer(operation, Answer::Prepared)]
            }
            Phase::New
            | Phase::Serving
            | Phase::Preparing(_)
            | Phase::Sealing(_)
            | Phase::Blocked(_)
            | Phase::Sealed(..)
            | Phase::Staging(_)
            | Phase::Spoilt(_)
            | Phase::Loaded(..)
            | Phase::Resumed(_)
            | Phase::Draining(_)
            | Phase::Drained(_)
            | Phase::Outdated => vec![],
        }
    }

    /// All the work there was is done.
    pub fn emptied(&mut self, operation: u32) -> Vec<Act> {
        if self.phase != Phase::Draining(operation) {
            return vec![];
        }
        self.phase = Phase::Drained(operation);
        vec![Act::Answer(operation, Answer::Drained)]
    }

    fn drain(&mut self, operation: u32) -> Vec<Act> {
        match &self.phase {
            Phase::Serving => {
                self.phase = Phase::Draining(operation);
                vec![Act::Drain(operation)]
            }
            // It is answered when all is done.
            Phase::Draining(of) if *of == operation => vec![],
            Phase::Drained(of) if *of == operation => vec![Act::Answer(operation, Answer::Drained)],
            Phase::Preparing(of) | Phase::Draining(of) | Phase::Drained(of) => {
                // The one before was given up without a word reaching us.
                let forget = Act::Forget(*of);
                self.closed = *of;
                self.phase = Phase::Draining(operation);
                vec![forget, Act::Drain(operation)]
            }
            Phase::New
            | Phase::Sealing(_)
            | Phase::Blocked(_)
            | Phase::Sealed(..)
            | Phase::Staging(_)
            | Phase::Spoilt(_)
            | Phase::Loaded(..)
            | Phase::Resumed(_)
            | Phase::Outdated => vec![Act::Answer(operation, Answer::Failed)],
        }
    }

    /// All guards ended, and the last delta with its end record was sent.
    pub fn shipped(&mut self, operation: u32, sealed: Sealed) -> Vec<Act> {
        if !matches!(self.phase, Phase::Sealing(of) | Phase::Blocked(of) if of == operation) {
            return vec![];
        }
        self.phase = Phase::Sealed(operation, sealed.clone());
        vec![Act::Answer(operation, Answer::Sealed(sealed))]
    }

    /// A guard did not end in time. The gate stays closed.
    pub fn blocked(&mut self, operation: u32) -> Vec<Act> {
        if self.phase != Phase::Sealing(operation) {
            return vec![];
        }
        self.phase = Phase::Blocked(operation);
        vec![Act::Answer(operation, Answer::Blocked)]
    }

    /// The end record arrived and everything before it is loaded.
    pub fn loaded(&mut self, operation: u32, held: Sealed, stated: Sealed) -> Vec<Act> {
        if self.phase != Phase::Staging(Some(operation)) {
            return vec![];
        }
        self.phase = Phase::Loaded(operation, held.clone(), stated.clone());
        vec![Act::Answer(operation, Answer::Loaded { held, stated })]
    }

    /// The channel broke, or ended without its end record. What is sealed stays sealed.
    pub fn channel_failed(&mut self, operation: u32) -> Vec<Act> {
        match self.phase {
            Phase::Staging(Some(of)) if of == operation => {
                self.phase = Phase::Spoilt(operation);
                vec![Act::Answer(operation, Answer::Failed)]
            }
            Phase::Preparing(of) | Phase::Sealing(of) | Phase::Blocked(of) if of == operation => {
                vec![Act::Answer(operation, Answer::Failed)]
            }
            Phase::New
            | Phase::Serving
            | Phase::Preparing(_)
            | Phase::Sealing(_)
            | Phase::Blocked(_)
            | Phase::Sealed(..)
            | Phase::Staging(_)
            | Phase::Spoilt(_)
            | Phase::Loaded(..)
            | Phase::Resumed(_)
            | Phase::Draining(_)
            | Phase::Drained(_)
            | Phase::Outdated => vec![],
        }
    }

    fn prepare(&mut self, operation: u32, side: Side) -> Vec<Act> {
        match (&self.phase, side) {
            (Phase::Serving, Side::Source) => {
                self.phase = Phase::Preparing(operation);
                vec![Act::Copy(operation)]
            }
            (Phase::Preparing(of), Side::Source) if *of == operation => {
                vec![Act::Answer(operation, Answer::Prepared)]
            }
            (Phase::Preparing(of) | Phase::Draining(of) | Phase::Drained(of), Side::Source) => {
                // The one before was given up without a word reaching us.
                let forget = Act::Forget(*of);
                self.closed = *of;
                self.phase = Phase::Preparing(operation);
                vec![forget, Act::Copy(operation)]
            }
            (Phase::Staging(None), Side::Target) => {
                self.phase = Phase::Staging(Some(operation));
                vec![Act::Load(operation)]
            }
            (Phase::Staging(Some(of)), Side::Target) if *of == operation => {
                vec![Act::Answer(operation, Answer::Prepared)]
            }
            (Phase::Loaded(of, held, stated), Side::Target) if *of == operation => {
                vec![Act::Answer(operation, Answer::Loaded { held: held.clone(), stated: stated.clone() })]
            }
            (
                Phase::New
                | Phase::Serving
                | Phase::Preparing(_)
                | Phase::Sealing(_)
                | Phase::Blocked(_)
                | Phase::Sealed(..)
                | Phase::Staging(_)
                | Phase::Spoilt(_)
                | Phase::Loaded(..)
                | Phase::Resumed(_)
                | Phase::Draining(_)
                | Phase::Drained(_)
                | Phase::Outdated,
                Side::Source | Side::Target,
            ) => vec![Act::Answer(operation, Answer::Failed)],
        }
    }

    fn seal(&mut self, operation: u32) -> Vec<Act> {
        match &self.phase {
            Phase::Preparing(of) if *of == operation => {
                self.phase = Phase::Sealing(operation);
                vec![Act::Close, Act::Ship(operation)]
            }
            // It will be answered when the guards ended.
            Phase::Sealing(of) if *of == operation => vec![],
            Phase::Blocked(of) if *of == operation => vec![Act::Answer(operation, Answer::Blocked)],
            Phase::Sealed(of, sealed) if *of == operation => {
                vec![Act::Answer(operation, Answer::Sealed(sealed.clone()))]
            }
            Phase::New
            | Phase::Serving
            | Phase::Preparing(_)
            | Phase::Sealing(_)
            | Phase::Blocked(_)
            | Phase::Sealed(..)
            | Phase::Staging(_)
            | Phase::Spoilt(_)
            | Phase::Loaded(..)
            | Phase::Resumed(_)
            | Phase::Draining(_)
            | Phase::Drained(_)
            | Phase::Outdated => vec![Act::Answer(operation, Answer::Failed)],
        }
    }

    fn resume(&mut self, operation: u32, incarnation: u32, outcome: Outcome) -> Vec<Act> {
        let first = operation > self.closed;
        self.closed = self.closed.max(operation);
        let answer = Act::Answer(operation, Answer::Resumed);
        match (&self.phase, outcome) {
            (Phase::Sealing(_) | Phase::Blocked(_) | Phase::Sealed(..), Outcome::RolledBack) if first => {
                self.phase = Phase::Serving;
                self.incarnation = incarnation;
                vec![Act::Forget(operation), Act::Open(incarnation), answer]
            }
            (
                Phase::Serving | Phase::Preparing(_) | Phase::Draining(_) | Phase::Drained(_),
                Outcome::RolledBack,
            ) if first => {
                let was_copying = self.phase != Phase::Serving;
                self.phase = Phase::Serving;
                self.incarnation = incarnation;
                let forget = was_copying.then_some(Act::Forget(operation));
                forget.into_iter().chain([Act::Open(incarnation), answer]).collect()
            }
            (Phase::Loaded(of, ..), Outcome::Committed) if first && *of == operation => {
                self.phase = Phase::Resumed(operation);
                self.incarnation = incarnation;
                vec![answer]
            }
            (
                Phase::Serving
                | Phase::Preparing(_)
                | Phase::Draining(_)
                | Phase::Drained(_)
                | Phase::Sealing(_)
                | Phase::Blocked(_)
                | Phase::Sealed(..),
                Outcome::Committed,
            ) if first => {
                self.phase = Phase::Outdated;
                vec![Act::Forget(operation), Act::Close, answer]
            }
            // Told before: the same answer.
            (Phase::Serving, Outcome::RolledBack)
            | (Phase::Resumed(_) | Phase::Serving | Phase::Outdated, Outcome::Committed) => vec![answer],
            (
                Phase::New
                | Phase::Preparing(_)
                | Phase::Draining(_)
                | Phase::Drained(_)
                | Phase::Sealing(_)
                | Phase::Blocked(_)
                | Phase::Sealed(..)
                | Phase::Staging(_)
                | Phase::Spoilt(_)
                | Phase::Loaded(..)
                | Phase::Resumed(_)
                | Phase::Outdated,
                Outcome::Committed | Outcome::RolledBack,
            ) => vec![Act::Answer(operation, Answer::Failed)],
        }
    }

    fn serve(&mut self, operation: u32, incarnation: u32) -> Vec<Act> {
        match self.phase {
            Phase::Resumed(of) if of == operation && incarnation == self.incarnation => {
                self.phase = Phase::Serving;
                vec![Act::Open(incarnation), Act::Answer(operation, Answer::Serving)]
            }
            Phase::Serving | Phase::Preparing(_) | Phase::Draining(_) | Phase::Drained(_)
                if incarnation == self.incarnation =>
            {
                vec![Act::Answer(operation, Answer::Serving)]
            }
            Phase::New
            | Phase::Serving
            | Phase::Preparing(_)
            | Phase::Sealing(_)
            | Phase::Blocked(_)
            | Phase::Sealed(..)
            | Phase::Staging(_)
            | Phase::Spoilt(_)
            | Phase::Loaded(..)
            | Phase::Resumed(_)
            | Phase::Draining(_)
            | Phase::Drained(_)
            | Phase::Outdated => vec![Act::Answer(operation, Answer::Failed)],
        }
    }

    fn abort(&mut self, operation: u32) -> Vec<Act> {
        match self.phase {
            // Sealed means sealed: only `Resume` ends that.
            Phase::Sealing(_) | Phase::Blocked(_) | Phase::Sealed(..) => {
                vec![Act::Answer(operation, Answer::Failed)]
            }
            Phase::Preparing(_) | Phase::Draining(_) | Phase::Drained(_) => {
                self.closed = self.closed.max(operation);
                self.phase = Phase::Serving;
                vec![Act::Forget(operation), Act::Answer(operation, Answer::Aborted)]
            }
            Phase::New
            | Phase::Serving
            | Phase::Staging(_)
            | Phase::Spoilt(_)
            | Phase::Loaded(..)
            | Phase::Resumed(_)
            | Phase::Outdated => {
                self.closed = self.closed.max(operation);
                vec![Act::Answer(operation, Answer::Aborted)]
            }
        }
    }
}
