//! WebSocket frames as they pass by: where a message begins and ends, and nothing of what is in it.
//!
//! Frames are relayed as they are, masks and extensions included, so that nothing that the two ends agreed on matters
//! here. A message comes out whole, a control frame as soon as it is there.

use bytes::{Bytes, BytesMut};
use soketto::Parsing;
use soketto::base::{Codec, Header, OpCode};

/// Which way frames go: those of a client are masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Client,
    Application,
}

/// What is relayed at once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// All frames of a message.
    Message(Bytes),
    /// A ping or a pong.
    Control(Bytes),
    /// A close: nothing follows.
    Close(Bytes),
}

/// Why frames are not relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breach {
    /// They are no WebSocket's: 1002.
    Form,
    /// A message is too long: 1009.
    TooLong,
}

impl Breach {
    /// The status of the close that says so.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Form => 1002,
            Self::TooLong => 1009,
        }
    }
}

/// Finds the units in what was read.
#[derive(Debug)]
pub(crate) struct Frames {
    codec: Codec,
    from: From,
    bytes_max: usize,
    /// Frames of a message that is not complete.
    begun: BytesMut,
    is_begun: bool,
}

impl Frames {
    /// Nothing was read yet.
    pub(crate) fn new(from: From, bytes_max: usize) -> Self {
        let mut codec = Codec::new();
        codec.set_max_data_size(bytes_max).add_reserved_bits((true, true, true));
        Self { codec, from, bytes_max, begun: BytesMut::new(), is_begun: false }
    }

    /// Takes the next unit out of what was read, if it is all there.
    ///
    /// # Errors
    /// What was read must not be relayed.
    pub(crate) fn next(&mut self, read: &mut BytesMut) -> Result<Option<Unit>, Breach> {
        loop {
            let (header, head_bytes) = match self.codec.decode_header(read) {
                Ok(Parsing::Done { value, offset }) => (value, offset),
                Ok(Parsing::NeedMore(_)) => return Ok(None),
                Err(soketto::base::Error::PayloadTooLarge { .. }) => return Err(Breach::TooLong),
                Err(_) => return Err(Breach::Form),
            };
            self.check(&header)?;
            let frame_bytes = head_bytes + header.payload_len();
            if read.len() < frame_bytes {
                return Ok(None);
            }
            let frame = read.split_to(frame_bytes);
            if header.opcode() == OpCode::Close {
                return Ok(Some(Unit::Close(frame.freeze())));
            }
            if header.opcode().is_control() {
                return Ok(Some(Unit::Control(frame.freeze())));
            }
            if header.is_fin() && !self.is_begun {
                return Ok(Some(Unit::Message(frame.freeze())));
            }
            self.begun.extend_from_slice(&frame);
            self.is_begun = !header.is_fin();
            if header.is_fin() {
                return Ok(Some(Unit::Message(std::mem::take(&mut self.begun).freeze())));
            }
        }
    }

    /// Bytes of a message that is not complete, beside what was read and not looked at.
    pub(crate) fn begun_bytes(&self) -> usize {
        self.begun.len()
    }

    fn check(&self, header: &Header) -> Result<(), Breach> {
        let continues = header.opcode() == OpCode::Continue;
        if header.is_masked() != (self.from == From::Client)
            || (!header.opcode().is_control() && continues != self.is_begun)
        {
            return Err(Breach::Form);
        }
        if self.begun.len() + header.payload_len() > self.bytes_max {
            return Err(Breach::TooLong);
        }
        Ok(())
    }
}

/// A close frame to one side. A client must mask, with whatever key: one of zeros leaves the text as it is.
pub(crate) fn close(to: From, code: u16, reason: &str) -> Bytes {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    let mut header = Header::new(OpCode::Close);
    header.set_payload_len(payload.len()).set_masked(to == From::Application);
    let mut frame = BytesMut::from(Codec::new().encode_header(&header));
    frame.extend_from_slice(&payload);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: OpCode, fin: bool, masked: bool, payload: &[u8]) -> Vec<u8> {
        let mut header = Header::new(opcode);
        header.set_fin(fin).set_masked(masked).set_payload_len(payload.len());
        let mut bytes = Codec::new().encode_header(&header).to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn a_message_comes_out_whole_and_a_control_frame_inside_it_at_once() {
        let parts = [
            frame(OpCode::Text, false, true, b"one "),
            frame(OpCode::Ping, true, true, b"?"),
            frame(OpCode::Continue, true, true, b"two"),
        ];
        let mut frames = Frames::new(From::Client, 100);
        let mut read = BytesMut::new();
        let mut units = Vec::new();
        for byte in parts.concat() {
            read.extend_from_slice(&[byte]);
            units.extend(frames.next(&mut read).unwrap());
        }
        let message = [parts[0].clone(), parts[2].clone()].concat();
        assert_eq!(units, [Unit::Control(parts[1].clone().into()), Unit::Message(message.into())]);
        assert!(read.is_empty());
    }

    #[test]
    fn what_must_not_be_relayed_is_refused() {
        for (from, bytes, breach) in [
            (From::Client, frame(OpCode::Text, true, false, b"x"), Breach::Form),
            (From::Application, frame(OpCode::Text, true, true, b"x"), Breach::Form),
            (From::Client, frame(OpCode::Continue, true, true, b"x"), Breach::Form),
            (From::Client, frame(OpCode::Reserved3, true, true, b"x"), Breach::Form),
            (From::Client, frame(OpCode::Ping, false, true, b"x"), Breach::Form),
            (From::Client, frame(OpCode::Binary, true, true, &[0; 101]), Breach::TooLong),
            (
                From::Client,
                [frame(OpCode::Text, false, true, b"x"), frame(OpCode::Text, true, true, b"x")].concat(),
                Breach::Form,
            ),
            (
                From::Client,
                [frame(OpCode::Text, false, true, &[0; 60]), frame(OpCode::Continue, true, true, &[0; 60])]
                    .concat(),
                Breach::TooLong,
            ),
        ] {
            let mut frames = Frames::new(from, 100);
            assert_eq!(frames.next(&mut BytesMut::from(&bytes[..])), Err(breach), "{bytes:?}");
        }
    }

    #[test]
    fn a_close_names_its_code_and_reason() {
        let bytes = close(From::Client, 1012, "moved");
        assert_eq!(&bytes[..], b"\x88\x07\x03\xf4moved");
        let masked = close(From::Application, 1012, "moved");
        assert_eq!(&masked[..], b"\x88\x87\0\0\0\0\x03\xf4moved");
    }
}
