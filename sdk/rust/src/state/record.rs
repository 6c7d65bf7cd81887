//! A record: key and value in one piece, in the form in which they are kept, hashed and sent.
//!
//! ```text
//!   4          k     4            v
//!   ┌──────────┬─────┬────────────┬───────┐
//!   │ k, u32BE │ key │ v, u32BE   │ value │
//!   └──────────┴─────┴────────────┴───────┘
//! ```
//!
//! One allocation a record, and none on the way out: what is sent is what is kept.

use bytes::Bytes;
use std::sync::Arc;

const PREFIX: usize = 4;

/// Largest record: key, value and their two lengths, in bytes. A transaction with a larger one is refused.
pub const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Key and value in one piece. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record(Arc<[u8]>);

impl Record {
    /// A record of this key and value; `None` if it passes [`RECORD_BYTES_MAX`]. `scratch` saves an allocation.
    pub(crate) fn new(key: &[u8], value: &[u8], scratch: &mut Vec<u8>) -> Option<Self> {
        let fits = key.len().saturating_add(value.len()) <= RECORD_BYTES_MAX - 2 * PREFIX;
        let (key_bytes, value_bytes) = (u32::try_from(key.len()).ok()?, u32::try_from(value.len()).ok()?);
        if !fits {
            return None;
        }
        scratch.clear();
        scratch.reserve(2 * PREFIX + key.len() + value.len());
        scratch.extend_from_slice(&key_bytes.to_be_bytes());
        scratch.extend_from_slice(key);
        scratch.extend_from_slice(&value_bytes.to_be_bytes());
        scratch.extend_from_slice(value);
        Some(Self(scratch.as_slice().into()))
    }

    /// A record that arrived; it was split off by [`Record::split`].
    pub(crate) fn arrived(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// All of it.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its key.
    pub(crate) fn key(&self) -> &[u8] {
        key_of(&self.0)
    }

    /// Its value, without a copy.
    pub(crate) fn value(&self) -> Bytes {
        let start = self.key().len() + 2 * PREFIX;
        Bytes::from_owner(self.clone()).slice(start..)
    }

    /// How many bytes the record at the start of a piece of a stream has, as far as can be said.
    pub(crate) fn split(stream: &[u8]) -> Split {
        let length = |at: usize| {
            let four = stream.get(at..)?.first_chunk::<PREFIX>()?;
            usize::try_from(u32::from_be_bytes(*four)).ok()
        };
        let Some(key) = length(0) else { return Split::Short };
        if key > RECORD_BYTES_MAX {
            return Split::TooLarge;
        }
        let Some(value) = length(PREFIX + key) else { return Split::Short };
        let bytes = 2 * PREFIX + key + value;
        match bytes {
            _ if bytes > RECORD_BYTES_MAX => Split::TooLarge,
            _ if bytes > stream.len() => Split::Short,
            _ => Split::Whole(bytes),
        }
    }
}

impl AsRef<[u8]> for Record {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// What stands at the start of a piece of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// A record of so many bytes.
    Whole(usize),
    /// More is needed.
    Short,
    /// It would pass [`RECORD_BYTES_MAX`].
    TooLarge,
}

/// The key of a record's bytes.
///
/// # Panics
/// They are none: they come from [`Record::new`] or were split off by [`Record::split`].
pub(crate) fn key_of(record: &[u8]) -> &[u8] {
    let (prefix, rest) =
        record.split_first_chunk::<PREFIX>().expect("a record begins with the length of its key");
    &rest[..usize::try_from(u32::from_be_bytes(*prefix)).expect("a record's length fits memory")]
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn key_and_value_come_back() {
        let record = Record::new(b"alice", b"100", &mut Vec::new()).unwrap();
        assert_eq!(record.key(), b"alice");
        assert_eq!(record.value(), "100");
        assert_eq!(Record::split(record.as_bytes()), Split::Whole(16));
    }

    #[test]
    fn a_piece_of_a_record_waits_for_the_rest() {
        let record = Record::new(b"alice", b"100", &mut Vec::new()).unwrap();
        for cut in 0..record.as_bytes().len() {
            assert_eq!(Record::split(&record.as_bytes()[..cut]), Split::Short, "cut at {cut}");
        }
    }

    #[test]
    fn a_record_that_passes_its_bound_is_refused_before_it_is_waited_for() {
        assert_eq!(Record::split(&u32::MAX.to_be_bytes()), Split::TooLarge);
        let value_too_large = [&[0, 0, 0, 1, b'k'][..], &u32::MAX.to_be_bytes()].concat();
        assert_eq!(Record::split(&value_too_large), Split::TooLarge);
        assert!(Record::new(b"k", &vec![0; RECORD_BYTES_MAX], &mut Vec::new()).is_none());
    }
}
