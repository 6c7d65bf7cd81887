//! The body of `POST /write`.

use bytes::{Buf, Bytes};

/// Writes of one request.
pub const WRITES_MAX: usize = 64;
/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 128;
/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Longest body, in bytes.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Printable ASCII without blanks.
    pub key: Bytes,
    /// Any bytes.
    pub value: Bytes,
}

/// A body that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// It ends within a write.
    #[error("the body ends within write {0}")]
    Short(usize),
    /// A key is empty, too long, or has other characters than `!` to `~`.
    #[error("the key of write {0}: want 1 to {KEY_BYTES_MAX} printable ASCII characters without blanks")]
    Key(usize),
    /// A value is too long.
    #[error("the value of write {0}: at most {VALUE_BYTES_MAX} bytes")]
    Value(usize),
    /// There is no write, or there are too many.
    #[error("want 1 to {WRITES_MAX} writes")]
    Count,
}

/// Reads a body.
///
/// # Errors
/// It is not of the form that the README gives.
pub fn read(mut body: Bytes) -> Result<Vec<Write>, BatchError> {
    let mut writes = Vec::new();
    while body.has_remaining() {
        let number = writes.len();
        if number == WRITES_MAX {
            return Err(BatchError::Count);
        }
        let key_bytes = body.try_get_u16().map_err(|_| BatchError::Short(number))?;
        let key = piece(&mut body, key_bytes.into(), number)?;
        if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.iter().all(u8::is_ascii_graphic) {
            return Err(BatchError::Key(number));
        }
        let value_bytes = body.try_get_u32().map_err(|_| BatchError::Short(number))?;
        let value_bytes = usize::try_from(value_bytes).unwrap_or(usize::MAX);
        if value_bytes > VALUE_BYTES_MAX {
            return Err(BatchError::Value(number));
        }
        let value = piece(&mut body, value_bytes, number)?;
        writes.push(Write { key, value });
    }
    if writes.is_empty() { Err(BatchError::Count) } else { Ok(writes) }
}

fn piece(body: &mut Bytes, bytes: usize, number: usize) -> Result<Bytes, BatchError> {
    if body.len() < bytes { Err(BatchError::Short(number)) } else { Ok(body.split_to(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(writes: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (key, value) in writes {
            body.extend_from_slice(&u16::try_from(key.len()).unwrap().to_be_bytes());
            body.extend_from_slice(key);
            body.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
            body.extend_from_slice(value);
        }
        body
    }

    fn read(body: Vec<u8>) -> Result<Vec<Write>, BatchError> {
        super::read(body.into())
    }

    #[test]
    fn writes_come_back_in_order() {
        let writes = read(body(&[(b"a", b"1"), (b"a", b""), (b"b~", b"\0\xff")])).unwrap();
        let pairs: Vec<_> = writes.iter().map(|write| (&write.key[..], &write.value[..])).collect();
        assert_eq!(pairs, [(&b"a"[..], &b"1"[..]), (b"a", b""), (b"b~", b"\0\xff")]);
    }

    #[test]
    fn a_body_that_is_cut_anywhere_is_refused() {
        let whole = body(&[(b"key", b"value")]);
        assert_eq!(read(Vec::new()), Err(BatchError::Count));
        for cut in 1..whole.len() {
            assert_eq!(read(whole[..cut].to_vec()), Err(BatchError::Short(0)), "cut at {cut}");
        }
    }

    #[test]
    fn keys_values_and_counts_beyond_their_bounds_are_refused() {
        for key in [&b""[..], b"a b", b"\n", "ä".as_bytes(), &[b'k'; KEY_BYTES_MAX + 1]] {
            assert_eq!(read(body(&[(b"fine", b""), (key, b"")])), Err(BatchError::Key(1)), "{key:?}");
        }
        let mut large = vec![0, 1, b'k'];
        large.extend_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(read(large), Err(BatchError::Value(0)));
        assert_eq!(read(body(&[(&b"k"[..], &b""[..]); WRITES_MAX + 1])), Err(BatchError::Count));
        assert_eq!(read(body(&[(&b"k"[..], &b""[..]); WRITES_MAX])).unwrap().len(), WRITES_MAX);
    }
}
