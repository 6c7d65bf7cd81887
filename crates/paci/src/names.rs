//! The registries: versions, capabilities, kinds of operation, codes of answers, and the names kept for later.
//!
//! Behaviour is gated by capability names alone. A name is never used anew for something else. The `.proto` and the
//! reference page print these lists; a test holds the three together.

use crate::wire::names;

/// The version of the contract.
pub const VERSION: &str = "v1";

names! {
    /// How settled a capability is.
    pub enum Stage {
        /// It may change or go away.
        Alpha = "alpha",
        /// It changes only with a new name.
        Beta = "beta",
        /// It stays.
        Stable = "stable",
    }
}

/// One row of the registry of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// Its name in `Hello`.
    pub name: &'static str,
    /// How settled it is.
    pub stage: Stage,
    /// The first version of the contract that has it.
    pub since: &'static str,
    /// What an application that claims it does.
    pub meaning: &'static str,
}

macro_rules! capabilities {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $stage:ident, $since:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: &str = $text;)+

        /// The registry of capabilities.
        pub const CAPABILITIES: &[Capability] = &[$(Capability {
            name: $text,
            stage: Stage::$stage,
            since: $since,
            meaning: concat!($($doc),+),
        }),+];
    };
}

capabilities! {
    /// Answers `stop`: exits by itself within the grace.
    STOP = "stop", Beta, "v1";
    /// Answers `drain`: refuses new work, finishes the old, reports `inFlight`.
    DRAIN = "drain", Beta, "v1";
    /// With `drain`: takes work again after `abort`.
    DRAIN_REVERSIBLE = "drain.reversible", Beta, "v1";
    /// Answers `estimate`.
    MOVE_ESTIMATE = "move.estimate", Beta, "v1";
    /// Has nothing to carry: may be stopped here and started there.
    MOVE_RESTART = "move.restart", Beta, "v1";
    /// Answers `prepare`, `seal`, `resume`, `serve`, `abort`; speaks on the state channel; refuses while its gate is closed.
    MOVE_HANDOFF = "move.handoff", Alpha, "v1";
    /// Keeps the result of a request with an `Idempotency-Key` with its state, and moves it with it.
    IDEMPOTENCY_KEY = "idempotency.key", Alpha, "v1";
    /// May say `Report`. Silence is no fault.
    REPORT = "report", Alpha, "v1";
    /// May say `Announce`.
    ANNOUNCE = "announce", Alpha, "v1";
    /// May say `Ask`.
    ASK = "ask", Alpha, "v1";
    /// May say `PAUSING`, before the pause begins.
    PAUSING = "pausing", Alpha, "v1";
    /// May say `COLD`.
    COLD = "cold", Alpha, "v1";
    /// Answers `quote` at once.
    SCALE_QUOTE = "scale.quote", Alpha, "v1";
    /// Answers `resize` of processors.
    RESIZE_CPU = "resize.cpu", Alpha, "v1";
    /// Answers `resize` of memory: lets go of what is too much, or says what it could do with.
    RESIZE_MEMORY = "resize.memory", Alpha, "v1";
}

/// Kinds of operation that a `Hold` can hold off. Another name is refused: who says it would take itself for held.
pub const HOLD_OPS: &[(&str, &str)] = &[
    ("drain", "being taken out of routing"),
    ("move", "being moved to another place"),
    ("stop", "being stopped for good"),
];

names! {
    /// Why an application refuses or fails. Its own reasons have the prefix `APP_`.
    pub enum AnswerCode {
        /// The operation is closed, or a higher one was seen.
        OperationClosed = "OPERATION_CLOSED",
        /// A guard did not end in time; the gate stays closed.
        SealBlocked = "SEAL_BLOCKED",
        /// The channel could not be joined.
        ChannelRefused = "CHANNEL_REFUSED",
        /// The channel broke, or ended without its end record.
        ChannelLost = "CHANNEL_LOST",
        /// The target cannot read state of this schema.
        SchemaUnknown = "SCHEMA_UNKNOWN",
        /// The target has no room for the state.
        NoRoom = "NO_ROOM",
        /// The call makes no sense in the phase the application is in.
        WrongPhase = "WRONG_PHASE",
        /// A field of the upcall breaks its bound.
        Malformed = "MALFORMED",
        /// It cannot do with the size; `fit` says what it could do with.
        DoesNotFit = "DOES_NOT_FIT",
    }
}

impl AnswerCode {
    /// What the cloud does about it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::OperationClosed => "Nothing: the operation is over for this application.",
            Self::SealBlocked => "Rolls the move back by a swap; the gate opens with `Resume`.",
            Self::ChannelRefused => "Aborts the move; a later one has a new token.",
            Self::ChannelLost => "Aborts the move, or rolls it back if the source was told to seal.",
            Self::SchemaUnknown => {
                "Aborts the move: source and target need versions that understand each other."
            }
            Self::NoRoom => "Aborts the move: the target needs more memory or disk.",
            Self::WrongPhase => "Aborts or rolls back; it shows a fault on one side.",
            Self::Malformed => "Aborts or rolls back; it shows a fault on one side.",
            Self::DoesNotFit => "Leaves the size as it is; it may ask for what `fit` says.",
        }
    }
}

names! {
    /// What a reserved name would be.
    pub enum Kind {
        /// An app → cloud call.
        Cloudcall = "cloudcall",
        /// A cloud → app call.
        Upcall = "upcall",
        /// A value of `State`.
        State = "state",
        /// A value of `Mode`.
        Mode = "mode",
        /// A value of `Outcome`.
        Outcome = "outcome",
        /// A capability.
        Capability = "capability",
        /// Another way to carry the same messages.
        Binding = "binding",
    }
}

/// A name kept for a later version: nobody uses it for anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved {
    /// The name.
    pub name: &'static str,
    /// What it would be.
    pub kind: Kind,
    /// What for, in one line.
    pub meaning: &'static str,
}

const fn reserved(kind: Kind, name: &'static str, meaning: &'static str) -> Reserved {
    Reserved { name, kind, meaning }
}

/// The names kept for later.
pub const RESERVED: &[Reserved] = &[
    reserved(Kind::Cloudcall, "Session", "upcalls and answers on one stream"),
    reserved(Kind::Upcall, "diagnose", "say what is wrong"),
    reserved(Kind::State, "DEGRADED", "answers, with less than it should have"),
    reserved(Kind::Mode, "CHECKPOINT", "the process is frozen, copied and restored from outside"),
    reserved(Kind::Outcome, "CLONED", "the target is a second owner-to-be under an identity of its own"),
    reserved(Kind::Capability, "role", "leader, follower: told in SetState"),
    reserved(Kind::Capability, "gauges", "sends gauges of its own, in Report"),
    reserved(Kind::Capability, "keys", "owns keys: told in Report, followed by gateways"),
    reserved(Kind::Capability, "move.checkpoint", "can be moved in mode CHECKPOINT"),
    reserved(Kind::Capability, "move.clone", "understands the outcome CLONED"),
    reserved(Kind::Capability, "move.connections", "hands open connections over"),
    reserved(Kind::Capability, "diagnose", "answers diagnose"),
    reserved(Kind::Binding, "grpc", "gRPC on the same socket, from the same messages"),
    reserved(Kind::Binding, "sd_notify", "NOTIFY_SOCKET for software that speaks it already"),
    reserved(Kind::Binding, "vsock", "PACI_ENDPOINT=vsock:// for virtual machines"),
    reserved(Kind::Binding, "tcp", "PACI_ENDPOINT=tcp:// on the loopback, with a token file"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds;
    use crate::invalid;

    #[test]
    fn every_capability_is_a_name_that_hello_accepts() {
        let names = CAPABILITIES.iter().map(|capability| capability.name);
        let reserved = RESERVED.iter().filter(|name| name.kind == Kind::Capability).map(|name| name.name);
        for name in names.chain(reserved) {
            assert_eq!(invalid::name("capabilities", name, bounds::NAME_BYTES_MAX), Ok(()));
        }
    }

    #[test]
    fn no_name_is_used_and_reserved_at_once() {
        for reserved in RESERVED.iter().filter(|name| name.kind == Kind::Capability) {
            assert!(
                CAPABILITIES.iter().all(|capability| capability.name != reserved.name),
                "{}",
                reserved.name
            );
        }
    }

    #[test]
    fn a_code_of_ours_does_not_look_like_one_of_the_applications() {
        assert!(AnswerCode::ALL.iter().all(|code| !code.as_str().starts_with("APP_")));
    }
}
