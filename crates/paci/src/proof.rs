//! What a side of a move holds, stated so that the two sides can be compared: a position and a digest.
//!
//! Both are text. A position counts changes and may pass 2⁵³, beyond which a parser that keeps numbers as doubles
//! (JavaScript, `jq`) changes them in silence; so it is a decimal string, in one spelling only. A digest is lowercase
//! hexadecimal; an empty or short one proves nothing and is refused.

use crate::bounds;
use crate::invalid::{self, Invalid, Problem};
use crate::wire::Message;
use serde::{Deserialize, Serialize};

/// The source's answer to `Seal`, and the payload of the channel's END frame.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sealed {
    /// Number of changes the state has seen: decimal digits.
    pub position: String,
    /// Digest of the state: lowercase hexadecimal of 16 to 64 bytes.
    pub digest: String,
}

impl Sealed {
    /// States a position and a digest.
    pub fn new(position: u64, digest: &[u8]) -> Self {
        Self { position: position.to_string(), digest: hex(digest) }
    }

    /// The two as values.
    ///
    /// # Errors
    /// One of them is not well formed.
    pub fn parse(&self) -> Result<(u64, Vec<u8>), Invalid> {
        Ok((position("sealed.position", &self.position)?, digest("sealed.digest", &self.digest)?))
    }
}

impl Message for Sealed {
    const BODY_BYTES_MAX: usize = bounds::FRAME_CONTROL_BYTES_MAX;

    fn validate(&self) -> Result<(), Invalid> {
        self.parse().map(|_| ())
    }
}

/// The payload of the channel's ACK frame: the target has everything up to here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reached {
    /// Number of changes loaded: decimal digits.
    pub position: String,
}

impl Message for Reached {
    const BODY_BYTES_MAX: usize = bounds::FRAME_CONTROL_BYTES_MAX;

    fn validate(&self) -> Result<(), Invalid> {
        position("position", &self.position).map(|_| ())
    }
}

/// Reads a position.
///
/// # Errors
/// It is no decimal number of at most 64 bits, or not in its one spelling (a leading zero, a sign).
pub fn position(field: &'static str, text: &str) -> Result<u64, Invalid> {
    let want = "a decimal number of 1 to 20 digits below 2^64, without leading zeros";
    if text.is_empty() {
        return Err(Invalid::new(field, Problem::Missing));
    }
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let value = if canonical { text.parse().ok() } else { None };
    value.ok_or_else(|| Invalid::new(field, Problem::Malformed { came: invalid::quoted(text), want }))
}

/// Reads a digest.
///
/// # Errors
/// It is not lowercase hexadecimal of [`bounds::DIGEST_BYTES_MIN`] to [`bounds::DIGEST_BYTES_MAX`] bytes.
pub fn digest(field: &'static str, text: &str) -> Result<Vec<u8>, Invalid> {
    let want = "32 to 128 lowercase hexadecimal digits, an even number of them";
    if text.is_empty() {
        return Err(Invalid::new(field, Problem::Missing));
    }
    let bytes = bounds::DIGEST_BYTES_MIN..=bounds::DIGEST_BYTES_MAX;
    let well_formed =
        text.len().is_multiple_of(2) && bytes.contains(&(text.len() / 2)) && invalid::is_lowercase_hex(text);
    if !well_formed {
        return Err(Invalid::new(field, Problem::Malformed { came: format!("{} bytes", text.len()), want }));
    }
    let value = |digit: u8| if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 };
    Ok(text.as_bytes().chunks_exact(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect())
}

/// Bytes as lowercase hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .map(|half| char::from(DIGITS[usize::from(half)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_digest_is_refused() {
        let empty = Sealed { position: "7".into(), digest: String::new() };
        assert_eq!(empty.validate(), Err(Invalid::new("sealed.digest", Problem::Missing)));
    }

    #[test]
    fn a_digest_shorter_than_16_or_longer_than_64_bytes_is_refused() {
        for (bytes, accepted) in [(15, false), (16, true), (64, true), (65, false)] {
            assert_eq!(Sealed::new(7, &vec![0xab; bytes]).validate().is_ok(), accepted, "{bytes}");
        }
    }

    #[test]
    fn a_digest_has_one_spelling() {
        for bad in ["AB".repeat(16), "0x".repeat(16), format!("{}a", "ab".repeat(16)), "ä".repeat(32)] {
            assert!(digest("digest", &bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_position_has_one_spelling() {
        for bad in ["", "-1", "+1", "01", " 1", "1e3", "18446744073709551616", "999999999999999999999"] {
            assert!(position("position", bad).is_err(), "{bad:?}");
        }
        assert_eq!(position("position", "0"), Ok(0));
        assert_eq!(u64::MAX.to_string().len(), bounds::POSITION_DIGITS_MAX);
    }

    proptest! {
        #[test]
        fn a_statement_comes_back_as_it_was(at in any::<u64>(), bytes in prop::collection::vec(any::<u8>(), 16..=64)) {
            prop_assert_eq!(Sealed::new(at, &bytes).parse(), Ok((at, bytes)));
        }
    }
}
