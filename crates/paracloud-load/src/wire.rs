//! What `sessions` reads and answers: the body of `POST /write`, the counters, and the lines of `GET /audit`.

use crate::ledger::{Held, Holdings, Write};
use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use rand::{Rng, RngExt};
use std::net::SocketAddr;

/// Longest line of an audit: a key of 128 bytes, a counter and a checksum.
const LINE_BYTES_MAX: usize = 256;

/// A request of random values on random keys, and what it writes.
pub(crate) fn request(
    random: &mut impl Rng,
    keys: u32,
    writes: u16,
    value_bytes: u32,
) -> (Bytes, Vec<Write>) {
    let value_len = value_bytes as usize;
    let mut body = BytesMut::with_capacity(usize::from(writes) * (value_len + 24));
    let mut written = Vec::with_capacity(writes.into());
    for _ in 0..writes {
        let key = random.random_range(0..keys);
        let name = format!("k{key}");
        body.put_u16(u16::try_from(name.len()).expect("the name of a key has at most 11 bytes"));
        body.put_slice(name.as_bytes());
        body.put_u32(value_bytes);
        let start = body.len();
        body.put_bytes(0, value_len);
        random.fill_bytes(&mut body[start..]);
        written.push(Write { key, crc32: crc32fast::hash(&body[start..]) });
    }
    (body.freeze(), written)
}

/// The counters of an answer, if there are as many as were asked for.
pub(crate) fn counters(body: &[u8], writes: usize) -> Option<Vec<u32>> {
    serde_json::from_slice::<Vec<u32>>(body).ok().filter(|counters| counters.len() == writes)
}

/// Who answers: where that process listens. `None`: the server does not say.
pub(crate) fn by(headers: &HeaderMap) -> Option<SocketAddr> {
    headers.get("sessions-at")?.to_str().ok()?.parse().ok()
}

/// Reads an audit from pieces of any size.
#[derive(Debug)]
pub(crate) struct AuditReader {
    held: Holdings,
    /// Keys that came, those that are none of ours included.
    keys: u64,
    rest: Vec<u8>,
    ended: bool,
}

/// An audit that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// A line is not a key, a counter and a checksum.
    #[error("the audit has a line that is none: {line:?}")]
    Malformed {
        /// The line, cut.
        line: String,
    },
    /// A key came twice.
    #[error("the audit names the key k{key} twice")]
    Doubled {
        /// Number of the key.
        key: u32,
    },
    /// There was no last line, or it counts other than what came.
    #[error("the audit was cut after {keys} keys")]
    Cut {
        /// Keys that came.
        keys: u64,
    },
}

impl AuditReader {
    pub(crate) fn new(keys: u32) -> Self {
        Self { held: vec![None; keys as usize], keys: 0, rest: Vec::new(), ended: false }
    }

    pub(crate) fn piece(&mut self, piece: &[u8]) -> Result<(), AuditError> {
        let mut rest = piece;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(at);
            rest = &after[1..];
            if self.rest.is_empty() {
                self.line(line)?;
            } else {
                self.rest.extend_from_slice(line);
                let whole = std::mem::take(&mut self.rest);
                self.line(&whole)?;
            }
        }
        self.rest.extend_from_slice(rest);
        if self.rest.len() > LINE_BYTES_MAX { Err(malformed(&self.rest)) } else { Ok(()) }
    }

    pub(crate) fn end(self) -> Result<Holdings, AuditError> {
        if self.ended && self.rest.is_empty() {
            Ok(self.held)
        } else {
            Err(AuditError::Cut { keys: self.keys })
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), AuditError> {
        let text = std::str::from_utf8(line).map_err(|_| malformed(line))?;
        let mut words = text.split(' ');
        let (key, number, crc32) = (words.next(), words.next(), words.next());
        let number: Option<u32> = number.and_then(|number| number.parse().ok());
        match (key, number, crc32, self.ended) {
            (Some("end"), Some(keys), None, false) => {
                self.ended = true;
                if u64::from(keys) == self.keys { Ok(()) } else { Err(AuditError::Cut { keys: self.keys }) }
            }
            (Some(key), Some(counter), Some(crc32), false) => {
                let crc32 = u32::from_str_radix(crc32, 16).map_err(|_| malformed(line))?;
                self.keys += 1;
                self.key(key, Held { counter, crc32 })
            }
            _ => Err(malformed(line)),
        }
    }

    fn key(&mut self, name: &str, held: Held) -> Result<(), AuditError> {
        let ours = name.strip_prefix('k').and_then(|number| number.parse::<u32>().ok());
        let Some((key, slot)) = ours.and_then(|key| Some((key, self.held.get_mut(key as usize)?))) else {
            return Ok(());
        };
        if slot.replace(held).is_some() { Err(AuditError::Doubled { key }) } else { Ok(()) }
    }
}

fn malformed(line: &[u8]) -> AuditError {
    AuditError::Malformed { line: String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    fn read(pieces: &[&str]) -> Result<Holdings, AuditError> {
        let mut reader = AuditReader::new(2);
        pieces.iter().try_for_each(|piece| reader.piece(piece.as_bytes()))?;
        reader.end()
    }

    #[test]
    fn a_request_has_the_bytes_that_the_server_reads() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let (body, writes) = request(&mut random, 1, 2, 3);
        assert_eq!(body.len(), 2 * (2 + 2 + 4 + 3));
        assert_eq!(&body[..8], [0, 2, b'k', b'0', 0, 0, 0, 3]);
        assert_eq!(writes[0], Write { key: 0, crc32: crc32fast::hash(&body[8..11]) });
    }

    #[test]
    fn an_audit_is_read_however_it_is_cut_into_pieces() {
        let whole = "k1 17 5aaf026e\nother 1 00000000\nend 2\n";
        let held = Ok(vec![None, Some(Held { counter: 17, crc32: 0x5aaf_026e })]);
        assert_eq!(read(&[whole]), held);
        for cut in 1..whole.len() {
            let (left, right) = whole.split_at(cut);
            assert_eq!(read(&[left, right]), held, "cut at {cut}");
        }
    }

    #[test]
    fn an_audit_without_its_last_line_says_nothing() {
        assert_eq!(read(&["k1 17 5aaf026e\n"]), Err(AuditError::Cut { keys: 1 }));
        assert_eq!(read(&["k1 17 5aaf026e\nend 2\n"]), Err(AuditError::Cut { keys: 1 }));
        assert_eq!(read(&["k1 17 5aaf026e\nend 1"]), Err(AuditError::Cut { keys: 1 }));
    }

    #[test]
    fn a_key_that_comes_twice_and_a_line_that_is_none_are_refused() {
        assert_eq!(read(&["k1 1 0\nk1 1 0\n"]), Err(AuditError::Doubled { key: 1 }));
        assert!(matches!(read(&["k1 many 0\n"]), Err(AuditError::Malformed { .. })));
        assert!(matches!(read(&[&"x".repeat(300)]), Err(AuditError::Malformed { .. })));
    }

    #[test]
    fn who_answers_is_read_from_the_head() {
        let mut headers = HeaderMap::new();
        assert_eq!(by(&headers), None);
        headers.insert("sessions-at", http::HeaderValue::from_static("127.0.1.1:20000"));
        assert_eq!(by(&headers), Some(([127, 0, 1, 1], 20_000).into()));
    }

    #[test]
    fn an_answer_of_another_length_is_none() {
        assert_eq!(counters(b"[1,2]", 2), Some(vec![1, 2]));
        assert_eq!(counters(b"[1,2]", 3), None);
        assert_eq!(counters(b"oops", 1), None);
    }
}
