//! Every bound of the contract, by name. Both sides may rely on them, and a message that passes one is refused.
//!
//! The reference page prints [`ALL`]; a test holds the two together, and another holds the numbers that the `.proto`
//! cites. Units stand last in a name. A duration is relative, in milliseconds, counted from receipt on the receiver's
//! own monotonic clock.

/// One row of the table of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Its name, unit last.
    pub name: &'static str,
    /// The number.
    pub value: u64,
    /// What it bounds, and what happens when it is reached.
    pub meaning: &'static str,
}

macro_rules! bounds {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $value:expr;)+) => {
        $($(#[doc = $doc])+ pub const $name: $type = $value;)+

        /// Every bound, in the order of the reference page.
        pub const ALL: &[Bound] =
            &[$(Bound { name: stringify!($name), value: $name as u64, meaning: concat!($($doc),+) }),+];
    };
}

bounds! {
    /// Request line and headers of one request. Longer: 431 HEAD_TOO_LARGE.
    HEAD_BYTES_MAX: usize = 8 * 1024;
    /// Body of `Hello`. Longer: 413 BODY_TOO_LARGE.
    HELLO_BODY_BYTES_MAX: usize = 8 * 1024;
    /// Body of every other message, in both directions. Longer: 413 BODY_TOO_LARGE.
    BODY_BYTES_MAX: usize = 16 * 1024;
    /// Body of `Report`. Longer: 413 BODY_TOO_LARGE.
    REPORT_BODY_BYTES_MAX: usize = 4 * 1024;
    /// A text without a bound of its own.
    STRING_BYTES_MAX: usize = 128;
    /// A name of a capability, of a version, of an operation held off.
    NAME_BYTES_MAX: usize = 64;
    /// A message for people. A sender cuts a longer one.
    MESSAGE_BYTES_MAX: usize = 200;
    /// Versions named in one `Hello`.
    VERSIONS_MAX: usize = 8;
    /// Capabilities named in one `Hello`.
    CAPABILITIES_MAX: usize = 64;
    /// Modes named in one estimate.
    MODES_MAX: usize = 8;
    /// Holds of one instance at a time. One more: 429 HOLDS_FULL.
    HOLDS_MAX: usize = 32;
    /// Kinds of operation named in one hold.
    HOLD_OPS_MAX: usize = 8;
    /// Longest time one hold lasts unless it is said again. An agent may grant less.
    HOLD_MS_MAX: u32 = 3_600_000;
    /// Longest time one report counts unless it is said again. An agent may grant less.
    REPORT_MS_MAX: u32 = 60_000;
    /// Figures of its own in one report.
    METRICS_MAX: usize = 16;
    /// Work that waits or would be lost, in milliseconds of work: 30 days. It stands for more as well.
    WORK_MS_MAX: u32 = 2_592_000_000;
    /// How far a resource is used: 1000 is all of it, and what waits for it counts on.
    UTILISATION_PERMILLE_MAX: u32 = 10_000;
    /// How much of the load an instance wants beside an ordinary one, which has 1000.
    WEIGHT_PERMILLE_MAX: u32 = 10_000;
    /// Announcements of one instance at a time. One more: 429 ANNOUNCEMENTS_FULL.
    ANNOUNCEMENTS_MAX: usize = 16;
    /// Longest time one ask stands unless it is said again. An agent may grant less.
    ASK_MS_MAX: u32 = 600_000;
    /// Instances that one ask may want.
    REPLICAS_MAX: u32 = 10_000;
    /// How far ahead a pause is told, and how long it lasts, each at most. A longer one is NOT_READY.
    PAUSE_MS_MAX: u32 = 60_000;
    /// How long a refusal or a deferral stands at most.
    REFUSAL_MS_MAX: u32 = 600_000;
    /// How long a refusal stands that names no time.
    REFUSAL_MS: u32 = 60_000;
    /// Longest wait of one `Next`.
    WAIT_MS_MAX: u32 = 30_000;
    /// An upcall without any answer for this long is delivered again.
    ACK_MS: u32 = 1_000;
    /// An application at work answers `IN_PROGRESS` at least this often.
    HEARTBEAT_MS: u32 = 3_000;
    /// After so many deliveries without an answer the application is shown as not responsive.
    UNANSWERED_MAX: u32 = 3;
    /// Any duration without a bound of its own: one day.
    DURATION_MS_MAX: u32 = 86_400_000;
    /// First pause before a failed call is tried again; it doubles each time.
    RETRY_MS_MIN: u32 = 100;
    /// Longest pause before a failed call is tried again.
    RETRY_MS_MAX: u32 = 5_000;
    /// A progress: 1000 is all of it.
    PROGRESS_PERMILLE_MAX: u32 = 1_000;
    /// Digits of a position; its value is at most 18446744073709551615.
    POSITION_DIGITS_MAX: usize = 20;
    /// Shortest digest, in bytes; two hexadecimal digits each.
    DIGEST_BYTES_MIN: usize = 16;
    /// Longest digest, in bytes; two hexadecimal digits each.
    DIGEST_BYTES_MAX: usize = 64;
    /// Path of a socket: what `sockaddr_un` holds on Linux, without its closing zero byte.
    SOCKET_PATH_BYTES_MAX: usize = 107;
    /// Hexadecimal digits of a channel token, no more and no fewer.
    CHANNEL_TOKEN_DIGITS: usize = 32;
    /// A line of the channel's join, newline included.
    JOIN_LINE_BYTES_MAX: usize = 64;
    /// The agent closes a channel connection whose join line is not there after this long.
    JOIN_MS: u32 = 5_000;
    /// Payload of one DATA frame.
    FRAME_PAYLOAD_BYTES_MAX: usize = 256 * 1024;
    /// Payload of one END or ACK frame.
    FRAME_CONTROL_BYTES_MAX: usize = 1_024;
    /// An `Idempotency-Key`.
    IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
    /// How long a request waits for the result of one with the same key that is being worked on. Then: 409.
    IDEMPOTENCY_WAIT_MS: u32 = 10_000;
    /// How long a target that has taken over may keep a request waiting for `serve`. Then: 421.
    SERVE_WAIT_MS: u32 = 1_000;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_bounds_share_a_name() {
        let mut names: Vec<_> = ALL.iter().map(|bound| bound.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn a_heartbeat_leaves_room_for_one_lost_acknowledgement() {
        const { assert!(HEARTBEAT_MS >= 2 * ACK_MS) }
    }
}
