//! The items of the state protocol, written and read.

use super::HandoffError;
use crate::state::record::{Record, Split};

const TABLE: u8 = 1;
const PUT: u8 = 2;
const DELETE: u8 = 3;
const MARK: u8 = 4;

/// Bytes before a record.
pub(super) const ITEM_PREFIX: usize = 3;

pub(super) fn write_table(number: u16, records: u64, name: &str, out: &mut Vec<u8>) {
    out.push(TABLE);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&records.to_be_bytes());
    let length = u16::try_from(name.len()).expect("a container's name has at most 64 bytes");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(name.as_bytes());
}

pub(super) fn write_put(number: u16, record: &Record, out: &mut Vec<u8>) {
    out.push(PUT);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(record.as_bytes());
}

pub(super) fn write_delete(number: u16, record: &Record, out: &mut Vec<u8>) {
    out.push(DELETE);
    out.extend_from_slice(&number.to_be_bytes());
    let key = record.key();
    out.extend_from_slice(&record.as_bytes()[..4 + key.len()]);
    out.extend_from_slice(&[0; 4]);
}

pub(super) fn write_mark(position: u64, out: &mut Vec<u8>) {
    out.push(MARK);
    out.extend_from_slice(&position.to_be_bytes());
}

/// One item, as it lies in the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    Table { number: u16, records: u64, name: &'a str },
    Put { number: u16, record: &'a [u8] },
    Delete { number: u16, record: &'a [u8] },
    Mark { position: u64 },
}

/// The first item of a piece of the stream and how many bytes it has; `None`: more is needed.
pub(super) fn read(stream: &[u8]) -> Result<Option<(Item<'_>, usize)>, HandoffError> {
    let Some((&kind, rest)) = stream.split_first() else { return Ok(None) };
    match kind {
        TABLE => Ok(read_table(rest)?.map(|(item, bytes)| (item, bytes + 1))),
        PUT | DELETE => {
            let Some((number, rest)) = rest.split_first_chunk() else { return Ok(None) };
            let number = u16::from_be_bytes(*number);
            match Record::split(rest) {
                Split::Short => Ok(None),
                Split::TooLarge => Err(HandoffError::Items("a record passes its bound")),
                Split::Whole(bytes) => {
                    let record = &rest[..bytes];
                    let put = Item::Put { number, record };
                    let item = if kind == PUT { put } else { Item::Delete { number, record } };
                    Ok(Some((item, ITEM_PREFIX + bytes)))
                }
            }
        }
        MARK => {
            Ok(rest.first_chunk().map(|position| (Item::Mark { position: u64::from_be_bytes(*position) }, 9)))
        }
        _ => Err(HandoffError::Items("an item of an unknown kind")),
    }
}

fn read_table(rest: &[u8]) -> Result<Option<(Item<'_>, usize)>, HandoffError> {
    let Some((number, rest)) = rest.split_first_chunk() else { return Ok(None) };
    let Some((records, rest)) = rest.split_first_chunk() else { return Ok(None) };
    let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes(*length));
    let Some(name) = rest.get(..length) else { return Ok(None) };
    let name =
        std::str::from_utf8(name).map_err(|_| HandoffError::Items("a container's name is not UTF-8"))?;
    let (number, records) = (u16::from_be_bytes(*number), u64::from_be_bytes(*records));
    Ok(Some((Item::Table { number, records, name }, 12 + length)))
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_and_wait_for_their_last_byte() {
        let record = Record::new(b"alice", b"100", &mut Vec::new()).unwrap();
        let without_value = Record::new(b"alice", b"", &mut Vec::new()).unwrap();
        let mut stream = Vec::new();
        write_table(3, 1, "accounts", &mut stream);
        write_put(3, &record, &mut stream);
        write_delete(3, &record, &mut stream);
        write_mark(7, &mut stream);
        let expected = [
            Item::Table { number: 3, records: 1, name: "accounts" },
            Item::Put { number: 3, record: record.as_bytes() },
            Item::Delete { number: 3, record: without_value.as_bytes() },
            Item::Mark { position: 7 },
        ];
        let mut rest = &stream[..];
        for item in expected {
            let (found, bytes) = read(rest).unwrap().unwrap();
            assert_eq!(found, item);
            for cut in 0..bytes {
                assert_eq!(read(&rest[..cut]).unwrap(), None, "{item:?} cut at {cut}");
            }
            rest = &rest[bytes..];
        }
        assert!(rest.is_empty());
        assert!(read(&[9]).is_err());
    }
}
