//! Reading frames, from pieces of any size.

use super::{ACK, DATA, END, Frame, HEADER_BYTES, Sequence, TRAILER_BYTES};
use crate::bounds;
use crate::proof::{self, Reached, Sealed};
use crate::wire::Message;
use std::ops::Range;

/// A stream that cannot be trusted. It stays so: a decoder that gave an error gives it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The payload would pass its bound; it is not waited for.
    #[error("frame {sequence}: payload of {bytes} bytes, at most {bytes_max}")]
    TooLarge {
        /// Number of the frame.
        sequence: u32,
        /// Its stated length.
        bytes: u32,
        /// The bound.
        bytes_max: usize,
    },
    /// The checksum is not that of the bytes.
    #[error("frame {sequence}: checksum {stated:08x} was sent and {computed:08x} was computed")]
    Checksum {
        /// Number of the frame that was expected.
        sequence: u32,
        /// What the frame says.
        stated: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// A frame is missing, doubled or out of order.
    #[error("frame {expected}: the frame is numbered {found}")]
    Sequence {
        /// The number that was to come.
        expected: u32,
        /// The number that came.
        found: u32,
    },
    /// All 2^32 numbers are used.
    #[error("frame: all 2^32 sequence numbers are used")]
    SequenceExhausted,
    /// A kind that does not exist, or not in this direction.
    #[error("frame {sequence}: kind {kind} does not belong into this stream")]
    Kind {
        /// Number of the frame.
        sequence: u32,
        /// Its kind.
        kind: u8,
    },
    /// An END or ACK frame does not say what it must.
    #[error("frame {sequence}: {problem}")]
    Payload {
        /// Number of the frame.
        sequence: u32,
        /// What is wrong with its payload.
        problem: String,
    },
    /// Something follows the END frame.
    #[error("{bytes} bytes follow the end record")]
    AfterEnd {
        /// How many at least.
        bytes: usize,
    },
    /// The connection ended without an END frame, or within a frame.
    #[error("the stream ended after {frames} frames and {bytes} bytes of another, without its end record")]
    EndMissing {
        /// Whole frames that came.
        frames: u64,
        /// Bytes of the frame that was cut.
        bytes: usize,
    },
}

/// Reads the frames of one direction, as far as they have arrived.
///
/// ```
/// use paci::frame::{Decoder, Encoder, Frame};
/// use paci::proof::Sealed;
///
/// let mut sent = Vec::new();
/// let mut encoder = Encoder::new();
/// encoder.data(b"alice=100", &mut sent)?;
/// encoder.end(&Sealed::new(1, &[0xab; 16]), &mut sent)?;
///
/// let mut decoder = Decoder::of_state();
/// for piece in sent.chunks(7) {
///     decoder.push(piece);
///     while let Some(frame) = decoder.next_frame()? {
///         match frame {
///             Frame::Data(records) => assert_eq!(records, b"alice=100"),
///             Frame::End(sealed) => assert_eq!(sealed.position, "1"),
///             Frame::Ack(_) => unreachable!("a decoder of state refuses it"),
///         }
///     }
/// }
/// decoder.finish()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Everything before it was given out.
    start: usize,
    sequence: Sequence,
    carries: Carries,
    ended: bool,
    failed: Option<FrameError>,
    frames: u64,
}

/// What flows in a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carries {
    /// DATA and one END, from source to target.
    State,
    /// ACK, from target to source.
    Acks,
}

/// A frame that is whole, before its payload is understood.
struct Whole {
    kind: u8,
    payload: Range<usize>,
    sequence: u32,
}

impl Decoder {
    /// A decoder of what a target receives: DATA frames and one END.
    pub const fn of_state() -> Self {
        Self::new(Carries::State)
    }

    /// A decoder of what a source receives: ACK frames.
    pub const fn of_acks() -> Self {
        Self::new(Carries::Acks)
    }

    const fn new(carries: Carries) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            sequence: Sequence(Some(0)),
            carries,
            ended: false,
            failed: None,
            frames: 0,
        }
    }

    /// Takes the next piece of the stream. Call [`Decoder::next_frame`] until it gives `None` before the next piece:
    /// then no more than one frame and one piece are ever held.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer().extend_from_slice(piece);
    }

    /// The buffer to append the next piece to: a socket that reads into it saves the copy of [`Decoder::push`].
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        &mut self.buffer
    }

    /// The next frame, if it is whole.
    ///
    /// # Errors
    /// The stream cannot be trusted from here on.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let step = self.whole().and_then(|whole| whole.map(|whole| self.take(whole)).transpose());
        match step {
            Ok(None) => Ok(None),
            Ok(Some(Taken::Data(payload))) => Ok(Some(Frame::Data(&self.buffer[payload]))),
            Ok(Some(Taken::End(sealed))) => Ok(Some(Frame::End(sealed))),
            Ok(Some(Taken::Ack(position))) => Ok(Some(Frame::Ack(position))),
            Err(error) => {
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    /// The connection has ended, and [`Decoder::next_frame`] gave `None`: was that all?
    ///
    /// # Errors
    /// The end record did not come, or a frame was cut.
    pub fn finish(&self) -> Result<(), FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let bytes = self.buffer.len() - self.start;
        match (self.carries, self.ended) {
            (Carries::State | Carries::Acks, true) if bytes > 0 => Err(FrameError::AfterEnd { bytes }),
            (Carries::State | Carries::Acks, true) => Ok(()),
            (Carries::Acks, false) if bytes == 0 => Ok(()),
            (Carries::State | Carries::Acks, false) => {
                Err(FrameError::EndMissing { frames: self.frames, bytes })
            }
        }
    }

    /// Finds the next whole frame and holds it against length, checksum and sequence, in this order: the length first,
    /// because it says how much to wait for.
    fn whole(&self) -> Result<Option<Whole>, FrameError> {
        let rest = &self.buffer[self.start..];
        if self.ended {
            return if rest.is_empty() { Ok(None) } else { Err(FrameError::AfterEnd { bytes: rest.len() }) };
        }
        let Some((header, _)) = rest.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [kind, l0, l1, l2, l3, s0, s1, s2, s3] = *header;
        let (length, found) = (u32::from_be_bytes([l0, l1, l2, l3]), u32::from_be_bytes([s0, s1, s2, s3]));
        let expected = self.sequence.0.ok_or(FrameError::SequenceExhausted)?;
        let bytes_max = match kind {
            END | ACK => bounds::FRAME_CONTROL_BYTES_MAX,
            _ => bounds::FRAME_PAYLOAD_BYTES_MAX,
        };
        let payload = match usize::try_from(length) {
            Ok(bytes) if bytes <= bytes_max => HEADER_BYTES..HEADER_BYTES + bytes,
            Ok(_) | Err(_) => {
                return Err(FrameError::TooLarge { sequence: expected, bytes: length, bytes_max });
            }
        };
        let summed = &rest[..payload.end.min(rest.len())];
        let Some((trailer, _)) = rest[summed.len()..].split_first_chunk::<TRAILER_BYTES>() else {
            return Ok(None);
        };
        let (stated, computed) = (u32::from_be_bytes(*trailer), crc32fast::hash(summed));
        if stated != computed {
            return Err(FrameError::Checksum { sequence: expected, stated, computed });
        }
        if found != expected {
            return Err(FrameError::Sequence { expected, found });
        }
        Ok(Some(Whole {
            kind,
            payload: self.start + payload.start..self.start + payload.end,
            sequence: found,
        }))
    }

    /// Understands a whole frame and passes on behind it.
    fn take(&mut self, whole: Whole) -> Result<Taken, FrameError> {
        let Whole { kind, payload, sequence } = whole;
        let after = payload.end + TRAILER_BYTES;
        let problem = |problem: String| FrameError::Payload { sequence, problem };
        let taken = match (self.carries, kind) {
            (Carries::State, DATA) => Taken::Data(payload),
            (Carries::State, END) => {
                let sealed =
                    Sealed::read(&self.buffer[payload]).map_err(|error| problem(error.to_string()))?;
                self.ended = true;
                Taken::End(sealed)
            }
            (Carries::Acks, ACK) => {
                let reached =
                    Reached::read(&self.buffer[payload]).map_err(|error| problem(error.to_string()))?;
                let position = proof::position("position", &reached.position);
                Taken::Ack(position.map_err(|error| problem(error.to_string()))?)
            }
            (Carries::State | Carries::Acks, kind) => return Err(FrameError::Kind { sequence, kind }),
        };
        self.start = after;
        self.sequence.advance();
        self.frames += 1;
        Ok(taken)
    }
}

/// A frame without its borrow.
enum Taken {
    Data(Range<usize>),
    End(Sealed),
    Ack(u64),
}
