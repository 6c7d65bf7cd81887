//! The errors of the HTTP binding: a status, a stable code, a message for people, and what to do next.

use crate::bounds;
use crate::invalid::{self, Invalid};
use crate::wire::{Message, ReadError, wire_enum};
use serde::{Deserialize, Serialize};

wire_enum! {
    /// What went wrong. Codes are stable; messages are not.
    pub enum ErrorCode {
        "CODE_UNSPECIFIED",
        /// The body is not the JSON of this message.
        Malformed = "MALFORMED",
        /// A field breaks its bound; the message names field, bound and size.
        OutOfBounds = "OUT_OF_BOUNDS",
        /// The header `Paci: 1` is missing.
        HeaderMissing = "HEADER_MISSING",
        /// The process that connected is none of this start.
        PeerNotAllowed = "PEER_NOT_ALLOWED",
        /// There is no such path.
        PathUnknown = "PATH_UNKNOWN",
        /// This operation and attempt was never delivered to this process.
        OperationUnknown = "OPERATION_UNKNOWN",
        /// The path has no such method.
        MethodNotAllowed = "METHOD_NOT_ALLOWED",
        /// No version is common to both sides.
        VersionUnsupported = "VERSION_UNSUPPORTED",
        /// The agent has no `Hello` of this process, as after a restart of the agent.
        HelloRequired = "HELLO_REQUIRED",
        /// A newer `Next` of this instance took the place of this one.
        Superseded = "SUPERSEDED",
        /// The operation is over.
        OperationClosed = "OPERATION_CLOSED",
        /// Another answer was given to the same question before; that one counts.
        AnswerDiffers = "ANSWER_DIFFERS",
        /// The body passes its bound.
        BodyTooLarge = "BODY_TOO_LARGE",
        /// The instance has as many holds as it may.
        HoldsFull = "HOLDS_FULL",
        /// The instance calls too often.
        TooManyRequests = "TOO_MANY_REQUESTS",
        /// Request line and headers pass their bound.
        HeadTooLarge = "HEAD_TOO_LARGE",
        /// A fault of the agent.
        Internal = "INTERNAL",
        /// The agent cannot answer now: it starts, ends, or waits for the register.
        Unavailable = "UNAVAILABLE",
        /// The call needs a capability that this process did not claim in `Hello`; the message names it.
        CapabilityMissing = "CAPABILITY_MISSING",
        /// The instance has as many announcements as it may.
        AnnouncementsFull = "ANNOUNCEMENTS_FULL",
    }
}

wire_enum! {
    /// What the application does next.
    pub enum NextStep {
        "NEXT_UNSPECIFIED",
        /// Change the request; said again as it is, it fails again.
        Fix = "FIX",
        /// Say the same again after a pause that doubles.
        Retry = "RETRY",
        /// Say `Hello`, then the same again.
        SayHello = "SAY_HELLO",
        /// Drop this answer; keep everything that was told.
        Forget = "FORGET",
        /// Stop polling here: another poller of the instance has taken over.
        StopPolling = "STOP_POLLING",
        /// Go on as without a cloud; what is sealed stays sealed.
        GoWithout = "GO_WITHOUT",
    }
}

impl ErrorCode {
    /// The status it goes with.
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::OutOfBounds => 400,
            Self::HeaderMissing | Self::PeerNotAllowed | Self::CapabilityMissing => 403,
            Self::PathUnknown | Self::OperationUnknown => 404,
            Self::MethodNotAllowed => 405,
            Self::VersionUnsupported
            | Self::HelloRequired
            | Self::Superseded
            | Self::OperationClosed
            | Self::AnswerDiffers => 409,
            Self::BodyTooLarge => 413,
            Self::HoldsFull | Self::TooManyRequests | Self::AnnouncementsFull => 429,
            Self::HeadTooLarge => 431,
            Self::Unspecified | Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// What the application does next.
    pub const fn next(self) -> NextStep {
        match self {
            Self::Malformed
            | Self::OutOfBounds
            | Self::HeaderMissing
            | Self::PathUnknown
            | Self::MethodNotAllowed
            | Self::BodyTooLarge
            | Self::HeadTooLarge
            | Self::HoldsFull
            | Self::CapabilityMissing
            | Self::AnnouncementsFull => NextStep::Fix,
            Self::Unspecified | Self::TooManyRequests | Self::Internal | Self::Unavailable => NextStep::Retry,
            Self::HelloRequired => NextStep::SayHello,
            Self::OperationUnknown | Self::OperationClosed | Self::AnswerDiffers => NextStep::Forget,
            Self::Superseded => NextStep::StopPolling,
            Self::PeerNotAllowed | Self::VersionUnsupported => NextStep::GoWithout,
        }
    }

    /// When it comes.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Unspecified => "A code of a later version: go by the status.",
            Self::Malformed => {
                "The body is not the JSON of this message, or path and body name different things."
            }
            Self::OutOfBounds => "A field breaks its bound; the message names field, bound and size.",
            Self::HeaderMissing => "The header `Paci: 1` is missing.",
            Self::PeerNotAllowed => "The process that connected is none of this start.",
            Self::PathUnknown => "There is no such path.",
            Self::OperationUnknown => "This operation and attempt was never delivered to this process.",
            Self::MethodNotAllowed => "The path has no such method.",
            Self::VersionUnsupported => "No version is common to both sides.",
            Self::HelloRequired => {
                "The agent has no `Hello` of this process, as after a restart of the agent."
            }
            Self::Superseded => "A newer `Next` of this instance took the place of this one.",
            Self::OperationClosed => "The operation is over.",
            Self::AnswerDiffers => "Another answer was given to the same question before; that one counts.",
            Self::BodyTooLarge => "The body passes its bound.",
            Self::HoldsFull => "The instance has as many holds as it may: release one.",
            Self::TooManyRequests => "The instance calls too often; `Retry-After` says when.",
            Self::HeadTooLarge => "Request line and headers pass their bound.",
            Self::Internal => "A fault of the agent.",
            Self::Unavailable => "The agent cannot answer now: it starts, ends, or waits for the register.",
            Self::CapabilityMissing => {
                "The call needs a capability that this process did not claim in `Hello`; the message names it."
            }
            Self::AnnouncementsFull => "The instance has as many announcements as it may: revoke one.",
        }
    }
}

/// The body of every answer whose status is 400 or more.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ErrorBody {
    /// What went wrong.
    pub code: ErrorCode,
    /// For people: what was expected and what came.
    pub message: String,
    /// What to do.
    pub next: NextStep,
}

impl ErrorBody {
    /// An error with its message, which is cut to its bound.
    pub fn new(code: ErrorCode, message: &str) -> Self {
        Self { code, message: invalid::fitting(message), next: code.next() }
    }

    /// The status it goes with.
    pub const fn status(&self) -> u16 {
        self.code.status()
    }
}

impl From<ReadError> for ErrorBody {
    fn from(error: ReadError) -> Self {
        let code = match error {
            ReadError::TooLong { .. } => ErrorCode::BodyTooLarge,
            ReadError::Empty
            | ReadError::NotJson { .. }
            | ReadError::Cut { .. }
            | ReadError::NotAnObject { .. }
            | ReadError::Twice { .. }
            | ReadError::Shape(_) => ErrorCode::Malformed,
            ReadError::Invalid(_) => ErrorCode::OutOfBounds,
        };
        Self::new(code, &error.to_string())
    }
}

impl From<Invalid> for ErrorBody {
    fn from(error: Invalid) -> Self {
        Self::from(ReadError::Invalid(error))
    }
}

impl Message for ErrorBody {
    fn validate(&self) -> Result<(), Invalid> {
        invalid::text("message", &self.message, bounds::MESSAGE_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::HoldRequest;

    #[test]
    fn an_error_says_what_to_do_next() {
        let body =
            ErrorBody::new(ErrorCode::HelloRequired, "no Hello of this process since the agent started");
        assert_eq!(body.status(), 409);
        assert_eq!(
            String::from_utf8(body.write()).unwrap(),
            r#"{"code":"HELLO_REQUIRED","message":"no Hello of this process since the agent started","next":"SAY_HELLO"}"#
        );
    }

    #[test]
    fn a_body_out_of_bounds_becomes_an_error_that_names_the_field() {
        let error = HoldRequest::read(br#"{"ttlMs":3600001}"#).unwrap_err();
        let body = ErrorBody::from(error);
        assert_eq!((body.status(), body.code), (400, ErrorCode::OutOfBounds));
        assert_eq!(body.message, "ttlMs: 3600001, at most 3600000");
    }

    #[test]
    fn a_body_of_another_shape_becomes_an_error_that_says_what_came_and_what_is_wanted() {
        let body = ErrorBody::from(HoldRequest::read(br#"{"ttlMs":"long"}"#).unwrap_err());
        assert_eq!(body.code, ErrorCode::Malformed);
        assert_eq!(body.message, r#"ttlMs: "long", want a whole number from 0 to 4294967295"#);
    }

    #[test]
    fn an_error_of_a_later_version_can_still_be_read() {
        let body = ErrorBody::read(br#"{"code":"MOON_IS_FULL","next":"HOWL"}"#).unwrap();
        assert_eq!((body.code, body.next), (ErrorCode::Unspecified, NextStep::Unspecified));
    }
}
