//! The state's way from source to target: what is said on the channel of a handoff.
//!
//! The DATA frames together carry one stream of items:
//!
//! ```text
//!   1 TABLE   number u16, records u64, name with its length u16      before its first record
//!   2 PUT     number u16, record                                      a record as it is now
//!   3 DELETE  number u16, record without a value                      a record that is no more
//!   4 MARK    position u64                                            everything up to there was sent; 0: not yet all
//! ```
//!
//! (Numbers are big-endian.) The source goes through all records once while it serves, then sends what changed, again
//! and again, until it is told to seal; then it sends the last changes, a MARK and the END frame. The target answers each
//! MARK with an ACK, in order, by which the source knows what is on its way. The target hashes what it loads; it never
//! takes the digest from the END frame.

pub(crate) mod convergence;
mod items;
pub(crate) mod join;
pub(crate) mod source;
pub(crate) mod target;

/// Form of the state on the channel, unless the program names one of its own.
pub(crate) const SCHEMA: (&str, u32) = ("paracloud-state", 1);

/// Why a handoff ended without its end record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandoffError {
    /// The channel could not be dialled.
    #[error("the channel's socket could not be dialled")]
    Dial(#[source] std::io::Error),
    /// The agent refused.
    #[error(transparent)]
    Join(#[from] paci::channel::JoinError),
    /// The token has not the form of one.
    #[error(transparent)]
    Token(#[from] paci::invalid::Invalid),
    /// The connection broke.
    #[error("the channel broke")]
    Broken(#[source] std::io::Error),
    /// A frame cannot be trusted, or the stream ended without its end record.
    #[error(transparent)]
    Frame(#[from] paci::frame::FrameError),
    /// A frame cannot be written.
    #[error(transparent)]
    Encode(#[from] paci::frame::EncodeError),
    /// The items are not what the state protocol says.
    #[error("the stream of state cannot be read: {0}")]
    Items(&'static str),
    /// The source has a container that this program has not.
    #[error("the source has a container {0:?}, this program has none of that name")]
    ContainerUnknown(String),
    /// The thread that copied or loaded panicked.
    #[error("the thread of the handoff panicked")]
    Panicked,
    /// The operation was forgotten.
    #[error("the operation was given up")]
    Forgotten,
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests;
