//! The controller's disk: what the register's records look like between two controllers.
//!
//! Each record carries a sequence and a checksum over both, as the real store's does, and the journal has one entry a
//! swap with the same sequence. A write that was not acknowledged is there whole or not at all (the engine's
//! promise). What was acknowledged can still be damaged by the medium; then reading must fail, never answer.

use paracloud_core::register::Record;

/// Journal entries that are kept.
const JOURNAL_ENTRIES_MAX: usize = 8;

const SEQUENCE_BYTES: usize = 8;
const HEADER_BYTES: usize = SEQUENCE_BYTES + 4;

/// What the medium does to acknowledged bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// One bit of the record flips.
    RecordBit(usize),
    /// One bit of a journal entry flips.
    JournalBit(usize),
    /// The record is an earlier one: the last write never reached the medium, though it was acknowledged.
    RecordOld,
    /// The journal lacks its last entry.
    JournalShort,
}

/// Why a disk cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is shorter than its header")]
    Short,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("its sequence is {found}, the journal says {expected}")]
    Sequence { expected: u64, found: u64 },
    #[error("it is whole and cannot be understood")]
    Format,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    record: Vec<u8>,
    journal: Vec<Vec<u8>>,
    sequence: u64,
    before: Vec<u8>,
    intact: Option<(Vec<u8>, Vec<Vec<u8>>)>,
}

impl Disk {
    pub(super) fn new(record: &Record) -> Self {
        let mut disk =
            Self { record: Vec::new(), journal: Vec::new(), sequence: 0, before: Vec::new(), intact: None };
        disk.write(record);
        disk.write(record);
        disk
    }

    /// A swap is acknowledged.
    pub(super) fn write(&mut self, record: &Record) {
        self.sequence += 1;
        let frame = frame(self.sequence, record);
        self.journal.push(frame.clone());
        if self.journal.len() > JOURNAL_ENTRIES_MAX {
            self.journal.remove(0);
        }
        self.before = std::mem::replace(&mut self.record, frame);
    }

    /// What a controller that starts finds.
    pub(super) fn read(&self) -> Result<Record, Unreadable> {
        let (found, record) = open(&self.record)?;
        let mut expected = None;
        for entry in &self.journal {
            let (sequence, _) = open(entry)?;
            if let Some(expected) = expected.filter(|it| *it != sequence) {
                return Err(Unreadable::Sequence { expected, found: sequence });
            }
            expected = Some(sequence + 1);
        }
        let expected = expected.map_or(0, |next| next - 1);
        if found == expected { Ok(record) } else { Err(Unreadable::Sequence { expected, found }) }
    }

    /// The medium damages what was acknowledged.
    pub(super) fn damage(&mut self, damage: Damage) {
        if self.intact.is_none() {
            self.intact = Some((self.record.clone(), self.journal.clone()));
        }
        match damage {
            Damage::RecordBit(at) => flip(&mut self.record, at),
            Damage::JournalBit(at) => {
                let entry = at % self.journal.len().max(1);
                if let Some(entry) = self.journal.get_mut(entry) {
                    flip(entry, at);
                }
            }
            Damage::RecordOld => self.record.clone_from(&self.before),
            Damage::JournalShort => {
                self.journal.pop();
            }
        }
    }

    /// Whether the medium has damaged what was acknowledged.
    pub(super) fn is_damaged(&self) -> bool {
        self.intact.is_some()
    }

    /// A person puts a whole copy back.
    pub(super) fn restore(&mut self) {
        if let Some((record, journal)) = self.intact.take() {
            self.record = record;
            self.journal = journal;
        }
    }
}

fn frame(sequence: u64, record: &Record) -> Vec<u8> {
    let mut frame = sequence.to_le_bytes().to_vec();
    // A record has nothing that JSON cannot say; an empty frame would be refused when it is read.
    let body = serde_json::to_vec(record).unwrap_or_default();
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&frame), &body);
    frame.extend(checksum.to_le_bytes());
    frame.extend(body);
    frame
}

fn open(frame: &[u8]) -> Result<(u64, Record), Unreadable> {
    let (header, body) = frame.split_at_checked(HEADER_BYTES).ok_or(Unreadable::Short)?;
    let (sequence, checksum) = header.split_at(SEQUENCE_BYTES);
    let stated = u32::from_le_bytes(checksum.try_into().map_err(|_| Unreadable::Short)?);
    if crc32c::crc32c_append(crc32c::crc32c(sequence), body) != stated {
        return Err(Unreadable::Checksum);
    }
    let sequence = u64::from_le_bytes(sequence.try_into().map_err(|_| Unreadable::Short)?);
    Ok((sequence, serde_json::from_slice(body).map_err(|_| Unreadable::Format)?))
}

fn flip(bytes: &mut [u8], at: usize) {
    let bit = at % (bytes.len() * 8).max(1);
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{NodeId, Placement, StartId};
    use paracloud_core::register::{Change, Mode, Proposer};

    fn disk() -> (Disk, Record) {
        let mut record = Record::first(Placement::new(NodeId(1), StartId(7)));
        let mut disk = Disk::new(&record);
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let target = Placement::new(NodeId(2), StartId(8));
        for change in [Change::Serve(address), Change::Open { mode: Mode::Handoff, target }, Change::Seal] {
            record = record.apply(&change, Proposer::Coordinator).unwrap();
            disk.write(&record);
        }
        (disk, record)
    }

    #[test]
    fn what_was_written_is_read() {
        let (disk, record) = disk();
        assert_eq!(disk.read(), Ok(record));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let (whole, _) = disk();
        for bit in 0..whole.record.len() * 8 {
            let mut disk = whole.clone();
            disk.damage(Damage::RecordBit(bit));
            assert!(disk.read().is_err(), "bit {bit}");
        }
        for at in 0..4_000 {
            let mut disk = whole.clone();
            disk.damage(Damage::JournalBit(at));
            assert!(disk.read().is_err(), "bit {at}");
        }
    }

    #[test]
    fn a_lost_acknowledged_write_is_refused_and_a_restored_copy_is_read() {
        for damage in [Damage::RecordOld, Damage::JournalShort] {
            let (mut disk, record) = disk();
            disk.damage(damage);
            assert!(matches!(disk.read(), Err(Unreadable::Sequence { .. })), "{damage:?}");
            disk.restore();
            assert_eq!(disk.read(), Ok(record));
        }
    }
}
