//! The state channel's join: one line each way, then frames ([`crate::frame`]).
//!
//! ```text
//! app   → PACI-CHANNEL 1 0123456789abcdef0123456789abcdef\n
//! agent ← OK\n                 or   NO TOKEN_USED\n and the end
//! ```

use crate::bounds;
use crate::call::channel_token;
use crate::invalid::Invalid;
use crate::wire::names;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;

/// The version of the channel.
pub const CHANNEL_VERSION: u32 = 1;

const WORD: &str = "PACI-CHANNEL";

names! {
    /// Why an agent does not let an application join.
    pub enum JoinRefusal {
        /// The line is not a join line.
        Malformed = "MALFORMED",
        /// The version of the channel is not spoken here.
        VersionUnsupported = "VERSION_UNSUPPORTED",
        /// No open operation gave this process this token.
        TokenUnknown = "TOKEN_UNKNOWN",
        /// The token was used before: an end is joined once.
        TokenUsed = "TOKEN_USED",
        /// The operation is over.
        OperationClosed = "OPERATION_CLOSED",
    }
}

impl JoinRefusal {
    /// What the application does about it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Malformed => "A fault of the application: answer `FAILED`, code `CHANNEL_REFUSED`.",
            Self::VersionUnsupported => {
                "Answer `FAILED`, code `CHANNEL_REFUSED`; the two speak different channels."
            }
            Self::TokenUnknown | Self::TokenUsed => {
                "Answer `FAILED`, code `CHANNEL_REFUSED`; never join again with this token."
            }
            Self::OperationClosed => "Forget the operation; `Abort` or `Resume` follows.",
        }
    }
}

/// What joins one end of one channel, once. Who knows it may join, so [`fmt::Debug`] does not show it.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChannelToken(String);

impl fmt::Debug for ChannelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelToken({} bytes)", self.0.len())
    }
}

impl Deref for ChannelToken {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ChannelToken {
    fn from(token: &str) -> Self {
        Self(token.to_owned())
    }
}

impl From<String> for ChannelToken {
    fn from(token: String) -> Self {
        Self(token)
    }
}

/// The line that an application sends first.
///
/// # Errors
/// The token is not one.
pub fn join_line(token: &str) -> Result<String, Invalid> {
    channel_token("channelToken", token)?;
    Ok(format!("{WORD} {CHANNEL_VERSION} {token}\n"))
}

/// Reads the token of a join line, its newline included.
///
/// # Errors
/// It is no join line, or one of another version.
pub fn read_join_line(line: &[u8]) -> Result<&str, JoinRefusal> {
    let line = line.strip_suffix(b"\n").filter(|line| line.len() < bounds::JOIN_LINE_BYTES_MAX);
    let line = line.and_then(|line| std::str::from_utf8(line).ok()).ok_or(JoinRefusal::Malformed)?;
    let mut words = line.split(' ');
    let (Some(WORD), Some(version), Some(token), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(JoinRefusal::Malformed);
    };
    if version != "1" {
        return Err(JoinRefusal::VersionUnsupported);
    }
    channel_token("channelToken", token).map_err(|_| JoinRefusal::Malformed)?;
    Ok(token)
}

/// The line with which an agent answers.
pub fn reply_line(reply: Result<(), JoinRefusal>) -> String {
    match reply {
        Ok(()) => "OK\n".to_owned(),
        Err(refusal) => format!("NO {refusal}\n"),
    }
}

/// Why an application is not joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The agent refused.
    #[error("the channel was refused: {0}")]
    Refused(JoinRefusal),
    /// The agent refused for a reason that this version does not know.
    #[error("the channel was refused for an unknown reason")]
    RefusedUnknown,
    /// What came is no answer to a join line.
    #[error("{bytes} bytes, want `OK` or `NO ` and a code, and a newline")]
    Malformed {
        /// Size of what came.
        bytes: usize,
    },
}

/// Reads an agent's answer, its newline included.
///
/// # Errors
/// The agent refused, or it is no answer.
pub fn read_reply_line(line: &[u8]) -> Result<(), JoinError> {
    match std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix('\n')) {
        Some("OK") => Ok(()),
        Some(text) if text.starts_with("NO ") => {
            Err(JoinRefusal::from_name(&text[3..]).map_or(JoinError::RefusedUnknown, JoinError::Refused))
        }
        Some(_) | None => Err(JoinError::Malformed { bytes: line.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_join_line_comes_back_as_its_token() {
        let line = join_line(TOKEN).unwrap();
        assert_eq!(line, "PACI-CHANNEL 1 0123456789abcdef0123456789abcdef\n");
        assert_eq!(read_join_line(line.as_bytes()), Ok(TOKEN));
        assert!(line.len() <= bounds::JOIN_LINE_BYTES_MAX);
    }

    #[test]
    fn a_line_of_another_form_is_refused() {
        for (line, refusal) in [
            (format!("PACI-CHANNEL 1 {TOKEN}"), JoinRefusal::Malformed),
            (format!("PACI-CHANNEL 1 {TOKEN}\r\n"), JoinRefusal::Malformed),
            (format!("PACI-CHANNEL 1  {TOKEN}\n"), JoinRefusal::Malformed),
            (format!("PACI-CHANNEL 1 {TOKEN} more\n"), JoinRefusal::Malformed),
            (format!("PACI-CHANNEL 1 {}\n", TOKEN.to_uppercase()), JoinRefusal::Malformed),
            (format!("PACI-CHANNEL 2 {TOKEN}\n"), JoinRefusal::VersionUnsupported),
            ("GET / HTTP/1.1\n".to_owned(), JoinRefusal::Malformed),
            ("\n".to_owned(), JoinRefusal::Malformed),
        ] {
            assert_eq!(read_join_line(line.as_bytes()), Err(refusal), "{line:?}");
        }
    }

    #[test]
    fn a_refusal_says_why() {
        assert_eq!(reply_line(Ok(())), "OK\n");
        for refusal in JoinRefusal::ALL.iter().copied() {
            let line = reply_line(Err(refusal));
            assert!(line.len() <= bounds::JOIN_LINE_BYTES_MAX);
            assert_eq!(read_reply_line(line.as_bytes()), Err(JoinError::Refused(refusal)));
        }
        assert_eq!(read_reply_line(b"OK\n"), Ok(()));
        assert_eq!(read_reply_line(b"NO MOOD\n"), Err(JoinError::RefusedUnknown));
        assert_eq!(read_reply_line(b"OKAY\n"), Err(JoinError::Malformed { bytes: 5 }));
    }
}
