//! Where a record lies from the moment it is heard: a file that is there before it is needed, overwritten in place.
//!
//! To overwrite allocates, renames and syncs nothing, so it waits for no disk. What is written so survives every
//! process of the machine, and not the machine itself; but with the machine ends everybody who could act on it.
//!
//! ```text
//! 0                                2048                             4096
//! │ length, CRC-32, record         │ length, CRC-32, record         │
//! ```
//! The two places are written in turn: who is killed in the middle of one still has the other.

use paracloud_core::register::{Record, RecordOrder};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a place. A record has fewer than 1 KiB.
const PLACE_BYTES: usize = 2_048;
/// Bytes of a place that are before the record: its length and its checksum, little-endian.
const HEAD_BYTES: usize = 8;
/// Places of a slot.
const PLACES: usize = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Slot {
    path: PathBuf,
    /// The place that is written next.
    next: usize,
}

impl Slot {
    /// The slot beside the file that a record is kept in for good.
    pub(super) fn beside(record: &Path) -> Self {
        Self { path: record.with_extension("slot"), next: 0 }
    }

    /// The newest record in it. Makes it, if there is none, and says so by `None`.
    ///
    /// # Errors
    /// It cannot be made or read, or holds a record that this agent does not understand.
    pub(super) fn recall(&mut self) -> io::Result<Option<Record>> {
        let mut file = self.open()?;
        let mut text = Vec::with_capacity(PLACES * PLACE_BYTES);
        Read::by_ref(&mut file).take((PLACES * PLACE_BYTES) as u64).read_to_end(&mut text)?;
        if text.len() < PLACES * PLACE_BYTES {
            let missing = vec![0; PLACES * PLACE_BYTES - text.len()];
            file.write_all_at(&missing, text.len() as u64)?;
            text.extend(missing);
        }
        let mut newest: Option<(RecordOrder, usize, Record)> = None;
        for (number, place) in text.chunks_exact(PLACE_BYTES).enumerate() {
            let record = match read(place) {
                Place::Empty => continue,
                Place::Torn => {
                    let path = self.path.display();
                    tracing::warn!(%path, place = number, "a record was being written when the agent ended: passed over");
                    continue;
                }
                Place::Whole(text) => serde_json::from_slice::<Record>(text).map_err(|error| {
                    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", self.path.display()))
                })?,
            };
            if newest.as_ref().is_none_or(|(order, ..)| *order < record.order()) {
                newest = Some((record.order(), number, record));
            }
        }
        let Some((_, place, record)) = newest else { return Ok(None) };
        self.next = (place + 1) % PLACES;
        Ok(Some(record))
    }

    /// Puts a record in the place of the one before the last.
    ///
    /// # Errors
    /// It does not fit, or as the file system says. The last record is still there then.
    pub(super) fn write(&mut self, record: &[u8]) -> io::Result<()> {
        let length = u32::try_from(record.len()).ok().filter(|_| record.len() <= PLACE_BYTES - HEAD_BYTES);
        let length = length.ok_or_else(|| {
            let what = format!("a record of {} bytes does not fit into its slot", record.len());
            io::Error::new(io::ErrorKind::InvalidInput, what)
        })?;
        let checksum = crc32fast::hash(record);
        let place = [&length.to_le_bytes()[..], &checksum.to_le_bytes()[..], record].concat();
        self.open()?.write_all_at(&place, (self.next * PLACE_BYTES) as u64)?;
        self.next = (self.next + 1) % PLACES;
        Ok(())
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&self.path)
    }
}

enum Place<'a> {
    /// Nothing was ever written here.
    Empty,
    /// Not all of what was written is here.
    Torn,
    Whole(&'a [u8]),
}

fn read(place: &[u8]) -> Place<'_> {
    let Some((&[a, b, c, d, e, f, g, h], text)) = place.split_first_chunk::<HEAD_BYTES>() else {
        return Place::Torn;
    };
    let (length, checksum) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    if (length, checksum) == (0, 0) {
        return Place::Empty;
    }
    match usize::try_from(length).ok().and_then(|length| text.get(..length)) {
        Some(text) if crc32fast::hash(text) == checksum => Place::Whole(text),
        Some(_) | None => Place::Torn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{Incarnation, NodeId, OperationNumber, Placement, Revision, StartId};
    use paracloud_core::register::{Mode, Move, MoveStep, Operation, Size};
    use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

    fn record(incarnation: u32) -> Record {
        let mut record = Record::first(Placement::new(NodeId(1), StartId(1)));
        record.incarnation = Incarnation(incarnation);
        record
    }

    fn text(incarnation: u32) -> Vec<u8> {
        serde_json::to_vec(&record(incarnation)).unwrap()
    }

    fn slot() -> (tempfile::TempDir, Slot) {
        let directory = tempfile::tempdir().unwrap();
        let slot = Slot::beside(&directory.path().join("shop.json"));
        (directory, slot)
    }

    #[test]
    fn a_slot_gives_back_the_newest_record_and_goes_on_from_there() {
        let (directory, mut slot) = slot();
        assert_eq!(slot.recall().unwrap(), None);
        for incarnation in 1..=5 {
            slot.write(&text(incarnation)).unwrap();
            slot = Slot::beside(&directory.path().join("shop.json"));
            assert_eq!(slot.recall().unwrap(), Some(record(incarnation)));
        }
        assert_eq!(slot.path.metadata().unwrap().len(), 4_096, "it never grows");
    }

    #[test]
    fn a_torn_record_is_passed_over_and_the_one_before_it_is_found() {
        let (_directory, mut slot) = slot();
        slot.write(&text(1)).unwrap();
        slot.write(&text(2)).unwrap();
        // Half of the third one arrives, in the place of the first.
        let whole = std::fs::read(&slot.path).unwrap();
        slot.write(&text(3)).unwrap();
        let mut torn = std::fs::read(&slot.path).unwrap();
        let half = HEAD_BYTES + text(3).len() / 2;
        torn[half..PLACE_BYTES].copy_from_slice(&vec![0; PLACE_BYTES - half]);
        torn[PLACE_BYTES..].copy_from_slice(&whole[PLACE_BYTES..]);
        std::fs::write(&slot.path, torn).unwrap();
        assert_eq!(slot.recall().unwrap(), Some(record(2)));
        // What is written next takes the place of the torn one.
        slot.write(&text(4)).unwrap();
        assert_eq!(slot.recall().unwrap(), Some(record(4)));
    }

    #[test]
    fn what_is_no_record_at_all_is_said_and_what_does_not_fit_is_not_written() {
        let (_directory, mut slot) = slot();
        slot.write(&text(1)).unwrap();
        assert_eq!(slot.write(&[b' '; PLACE_BYTES]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(slot.recall().unwrap(), Some(record(1)));
        slot.write(b"{}").unwrap();
        assert_eq!(slot.recall().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_longest_record_there_can_be_fits() {
        let address: SocketAddr = SocketAddrV6::new(Ipv6Addr::from([0xff; 16]), 65_535, 0, u32::MAX).into();
        let place = Placement::new(NodeId(u32::MAX), StartId(u64::MAX)).running(Revision(u32::MAX));
        let operation = Move {
            mode: Mode::Handoff,
            step: MoveStep::Sealing,
            base: Incarnation(u32::MAX),
            source: place,
            source_address: address,
            target: place,
        };
        let longest = Record {
            incarnation: Incarnation(u32::MAX),
            owner: place,
            served: Some(address),
            last_operation: OperationNumber(u32::MAX),
            operation: Some(Operation::Move(operation)),
            gone: false,
            size: Some(Size { memory_kib: Some(u32::MAX), cpu_milli: Some(u32::MAX) }),
        };
        let (_directory, mut slot) = slot();
        slot.write(&serde_json::to_vec(&longest).unwrap()).unwrap();
        assert_eq!(slot.recall().unwrap(), Some(longest));
    }
}
