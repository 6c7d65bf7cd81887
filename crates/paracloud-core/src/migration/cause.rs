//! Why a move was given up: kept in the journal, shown to people, never a string on the wire.

use serde::{Deserialize, Serialize};

/// Why a move was rolled back.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error,
)]
pub enum Cause {
    /// Somebody asked for it.
    #[error("cancelled")]
    Cancelled,
    /// The coordinator was restarted while nothing was sealed yet.
    #[error("the controller was restarted before anything was sealed")]
    Interrupted,
    /// The application does not want to move.
    #[error("the application refused to move")]
    Refused,
    /// The application asked to be left alone.
    #[error("the application holds on to its place")]
    Held,
    /// A phase did not end within its budget.
    #[error("the {0} phase did not end within its budget")]
    Late(super::Phase),
    /// The copy does not catch up with what changes.
    #[error("the copy does not converge: the pause would not fit its budget")]
    Diverging,
    /// A guard did not end: somebody still works on the state.
    #[error("SEAL_BLOCKED: a request holds its guard and did not end")]
    SealBlocked,
    /// The source sent its end record before it was asked to seal.
    #[error("the source ended its stream before it was asked to seal")]
    EndedEarly,
    /// What the target loaded is not what the source sealed.
    #[error("the digests of source and target differ")]
    DigestMismatch,
    /// The source's process died.
    #[error("the source's process died")]
    SourceDied,
    /// The target's process died.
    #[error("the target's process died")]
    TargetDied,
    /// One side could not go on: it refused a call, or the channel ended without its end record.
    #[error("the {0} could not go on: its channel broke or it refused a call")]
    Failed(super::Role),
    /// The application does not want to leave.
    #[error("the application refused to leave")]
    Unwilling,
    /// The application answered the drain with a failure.
    #[error("the application could not be drained")]
    Undrained,
    /// The owner could not get its new size.
    #[error("{0}")]
    Unfit(Unfit),
}

impl Cause {
    /// Whether the same may well come to its end another time: something broke or took too long, and nobody said no.
    pub fn is_passing(self) -> bool {
        match self {
            Self::Interrupted
            | Self::Held
            | Self::Late(_)
            | Self::SealBlocked
            | Self::EndedEarly
            | Self::SourceDied
            | Self::TargetDied
            | Self::Failed(_)
            | Self::Unfit(Unfit::Failed) => true,
            Self::Cancelled
            | Self::Refused
            | Self::Diverging
            | Self::DigestMismatch
            | Self::Unwilling
            | Self::Undrained
            | Self::Unfit(_) => false,
        }
    }
}

/// Why an owner did not get another size.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error,
)]
pub enum Unfit {
    /// The application does not fit into it, and says into what it would.
    #[error("the application does not fit into that size, and offers another one")]
    Offers(crate::register::Size),
    /// The application refuses.
    #[error("the application refused another size")]
    Refused,
    /// The application tried, and failed.
    #[error("the application failed at another size")]
    Failed,
    /// What it uses, as it was measured, did not fall below the new limit.
    #[error("what it uses did not fall below the new limit: the limit was not lowered")]
    Unmet,
    /// There is nothing on its node that would enforce a limit.
    #[error("nothing on its node enforces limits")]
    Unsupported,
}
