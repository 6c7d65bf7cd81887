//! One value as it lies on disk: a header, then the payload.
//!
//! ```text
//! offset  size  little-endian
//!      0     4  crc32c over table, key and everything below
//!      4     2  format version
//!      6     4  length of the payload in bytes
//!     10     8  sequence number
//!     18     …  payload (JSON)
//! ```
//!
//! The checksum covers table and key although neither is stored here, so that a value found under a key it was not
//! written for is as damaged as one with a flipped bit. redb's own page checksums are verified only when a file is
//! opened; this header is verified at every read.

use super::error::{Fault, Table};

/// The format this program writes, and the only one it reads.
const VERSION: u16 = 1;

/// Bytes in front of every payload.
const HEADER_BYTES: usize = 18;

/// A payload whose frame was found whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    /// The number it was written under.
    pub(super) sequence: u64,
    /// The JSON text.
    pub(super) payload: Vec<u8>,
}

/// Frames `payload` for `key` of `table`. A payload is far below 4 GiB: its writer has bounded it.
pub(super) fn encode(table: Table, key: &[u8], sequence: u64, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload is bounded far below 4 GiB");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(payload);
    let checksum = checksum(table, key, &bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads a frame back, or says what is wrong with it.
pub(super) fn decode(table: Table, key: &[u8], bytes: &[u8]) -> Result<Value, Fault> {
    let Some((header, payload)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(Fault::Truncated {
            expected_bytes: HEADER_BYTES as u64,
            found_bytes: bytes.len() as u64,
        });
    };
    let [c0, c1, c2, c3, v0, v1, l0, l1, l2, l3, sequence @ ..] = *header;
    let version = u16::from_le_bytes([v0, v1]);
    if version != VERSION {
        return Err(Fault::Version { expected: VERSION, found: version });
    }
    let length = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
    if length != payload.len() as u64 {
        return Err(Fault::Truncated {
            expected_bytes: HEADER_BYTES as u64 + length,
            found_bytes: bytes.len() as u64,
        });
    }
    let (expected, found) = (u32::from_le_bytes([c0, c1, c2, c3]), checksum(table, key, &bytes[4..]));
    if expected != found {
        return Err(Fault::Checksum { expected, found });
    }
    Ok(Value { sequence: u64::from_le_bytes(sequence), payload: payload.to_vec() })
}

fn checksum(table: Table, key: &[u8], rest: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&[table.tag()]);
    let crc = crc32c::crc32c_append(crc, &(key.len() as u64).to_le_bytes());
    let crc = crc32c::crc32c_append(crc, key);
    crc32c::crc32c_append(crc, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_gives_back_what_was_framed() {
        let bytes = encode(Table::Register, b"web-1", 7, b"{}");
        let value = decode(Table::Register, b"web-1", &bytes).unwrap();
        assert_eq!(value, Value { sequence: 7, payload: b"{}".to_vec() });
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let bytes = encode(Table::Journal, &3_u64.to_le_bytes(), 3, br#"{"said":"offer accepted"}"#);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(Table::Journal, &3_u64.to_le_bytes(), &damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_is_seen_and_says_how_much_was_expected() {
        let bytes = encode(Table::Head, b"", 1, b"{\"write\":1}");
        for kept in 0..bytes.len() {
            let fault = decode(Table::Head, b"", &bytes[..kept]).unwrap_err();
            let expected_bytes = if kept < HEADER_BYTES { HEADER_BYTES } else { bytes.len() } as u64;
            assert_eq!(fault, Fault::Truncated { expected_bytes, found_bytes: kept as u64 });
        }
    }

    #[test]
    fn a_value_under_another_key_or_in_another_table_is_damaged() {
        let bytes = encode(Table::Register, b"web-1", 7, b"{}");
        assert!(matches!(decode(Table::Register, b"web-2", &bytes), Err(Fault::Checksum { .. })));
        assert!(matches!(decode(Table::Journal, b"web-1", &bytes), Err(Fault::Checksum { .. })));
    }

    #[test]
    fn another_format_version_is_named_and_not_read() {
        let mut bytes = encode(Table::Register, b"web-1", 7, b"{}");
        bytes[4] = 9;
        let fault = decode(Table::Register, b"web-1", &bytes).unwrap_err();
        assert_eq!(fault, Fault::Version { expected: 1, found: 9 });
    }
}
