//! Writing frames.

use super::{ACK, DATA, END, HEADER_BYTES, Sequence, TRAILER_BYTES};
use crate::bounds;
use crate::proof::{Reached, Sealed};
use crate::wire::Message;

/// A frame cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The payload passes its bound; nothing was written.
    #[error("frame: payload of {bytes} bytes, at most {bytes_max}")]
    TooLarge {
        /// The payload.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// END was written: nothing follows it.
    #[error("frame: nothing follows the end record")]
    Ended,
    /// The stream has as many frames as can be numbered.
    #[error("frame: all 2^32 sequence numbers are used")]
    SequenceExhausted,
}

/// Writes the frames of one direction.
#[derive(Debug, Clone, Default)]
pub struct Encoder {
    sequence: Sequence,
    ended: bool,
}

impl Encoder {
    /// An encoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a DATA frame to `out`.
    ///
    /// # Errors
    /// The payload passes [`bounds::FRAME_PAYLOAD_BYTES_MAX`], or the stream has ended; `out` is as before.
    pub fn data(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.reserve(HEADER_BYTES + payload.len() + TRAILER_BYTES);
        self.data_with(out, |out| out.extend_from_slice(payload))
    }

    /// Appends a DATA frame to `out`, whose payload is what `write` appends.
    ///
    /// # Errors
    /// As [`Encoder::data`].
    ///
    /// # Panics
    /// `write` took bytes away that it did not append.
    pub fn data_with(
        &mut self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), EncodeError> {
        self.frame(DATA, bounds::FRAME_PAYLOAD_BYTES_MAX, out, write)
    }

    /// Appends the END frame to `out`.
    ///
    /// # Errors
    /// As [`Encoder::data`].
    pub fn end(&mut self, sealed: &Sealed, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let payload = sealed.write();
        self.frame(END, bounds::FRAME_CONTROL_BYTES_MAX, out, |out| out.extend_from_slice(&payload))?;
        self.ended = true;
        Ok(())
    }

    /// Appends an ACK frame to `out`.
    ///
    /// # Errors
    /// As [`Encoder::data`].
    pub fn ack(&mut self, position: u64, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let payload = Reached { position: position.to_string() }.write();
        self.frame(ACK, bounds::FRAME_CONTROL_BYTES_MAX, out, |out| out.extend_from_slice(&payload))
    }

    fn frame(
        &mut self,
        kind: u8,
        bytes_max: usize,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), EncodeError> {
        if self.ended {
            return Err(EncodeError::Ended);
        }
        let sequence = self.sequence.0.ok_or(EncodeError::SequenceExhausted)?;
        let start = out.len();
        out.push(kind);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&sequence.to_be_bytes());
        write(out);
        let bytes = out
            .len()
            .checked_sub(start + HEADER_BYTES)
            .expect("a payload's writer only appends to the buffer");
        let length = match u32::try_from(bytes) {
            Ok(length) if bytes <= bytes_max => length,
            Ok(_) | Err(_) => {
                out.truncate(start);
                return Err(EncodeError::TooLarge { bytes, bytes_max });
            }
        };
        out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
        let sum = crc32fast::hash(&out[start..]);
        out.extend_from_slice(&sum.to_be_bytes());
        self.sequence.advance();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_frame_has_the_bytes_that_the_reference_shows() {
        let mut out = Vec::new();
        Encoder::new().data(b"hello", &mut out).unwrap();
        assert_eq!(out, [1, 0, 0, 0, 5, 0, 0, 0, 0, b'h', b'e', b'l', b'l', b'o', 0x5a, 0xaf, 0x02, 0x6e]);
    }

    #[test]
    fn a_payload_that_passes_its_bound_leaves_the_buffer_as_it_was() {
        let mut out = b"before".to_vec();
        let mut encoder = Encoder::new();
        let bytes = bounds::FRAME_PAYLOAD_BYTES_MAX + 1;
        let error = encoder.data(&vec![0; bytes], &mut out).unwrap_err();
        assert_eq!(error, EncodeError::TooLarge { bytes, bytes_max: bounds::FRAME_PAYLOAD_BYTES_MAX });
        assert_eq!(out, b"before");
        encoder.data(b"", &mut out).unwrap();
        assert_eq!(out[6 + 5..6 + 9], [0; 4], "the frame that was refused took no number");
    }

    #[test]
    fn nothing_is_written_after_the_end_record() {
        let mut out = Vec::new();
        let mut encoder = Encoder::new();
        encoder.end(&Sealed::new(0, &[7; 16]), &mut out).unwrap();
        let written = out.len();
        assert_eq!(encoder.data(b"more", &mut out), Err(EncodeError::Ended));
        assert_eq!(encoder.end(&Sealed::new(0, &[7; 16]), &mut out), Err(EncodeError::Ended));
        assert_eq!(out.len(), written);
    }

    #[test]
    fn the_number_of_a_frame_never_comes_round() {
        let mut encoder = Encoder { sequence: Sequence(Some(u32::MAX)), ended: false };
        let mut out = Vec::new();
        encoder.data(b"last", &mut out).unwrap();
        assert_eq!(encoder.data(b"one more", &mut out), Err(EncodeError::SequenceExhausted));
    }
}
