//! The target's side of a handoff: a thread that loads into staging containers.

use super::HandoffError;
use super::items::{self, Item};
use crate::state::digest;
use crate::state::record::{Record, key_of};
use crate::state::store::{Staged, Store};
use paci::frame::{Decoder, Encoder, Frame};
use paci::proof::Sealed;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Bytes asked of the channel at once.
const READ_BYTES: usize = 512 * 1024;
/// Room is made ahead for at most so many records of a container, however many the source announces.
const RESERVED_RECORDS_MAX: u64 = 16 * 1024 * 1024;
/// A source that does not read for this long gets no more ACKs.
const ACK_WAIT: Duration = Duration::from_millis(500);

/// What the target's thread tells, and how it is stopped. Shared with the session.
#[derive(Debug, Default)]
pub(crate) struct Load {
    bytes: AtomicU64,
    /// `None` once it was forgotten; before the join an empty list.
    stream: Mutex<Stopping>,
}

#[derive(Debug, Default)]
struct Stopping {
    forgotten: bool,
    stream: Option<UnixStream>,
}

impl Load {
    /// Leave the channel and drop what was loaded.
    pub(crate) fn forget(&self) {
        let mut stopping = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        stopping.forgotten = true;
        if let Some(stream) = stopping.stream.take() {
            let _already_closed = stream.shutdown(Shutdown::Both);
        }
    }

    /// Bytes loaded so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn start(&self, stream: &UnixStream) -> Result<(), HandoffError> {
        let mut stopping = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if stopping.forgotten {
            return Err(HandoffError::Forgotten);
        }
        stopping.stream = Some(stream.try_clone().map_err(HandoffError::Broken)?);
        Ok(())
    }
}

/// What was loaded.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) staged: Staged,
    /// Digest computed over it.
    pub(crate) digest: u128,
    /// What the end record said.
    pub(crate) stated: Sealed,
}

/// Loads from a joined channel until the end record. Blocks; it wants a thread of its own.
pub(crate) fn run(mut stream: UnixStream, store: &Store, load: &Load) -> Result<Loaded, HandoffError> {
    load.start(&stream)?;
    stream.set_write_timeout(Some(ACK_WAIT)).map_err(HandoffError::Broken)?;
    let mut incoming = Incoming::new(store.stage());
    let mut decoder = Decoder::of_state();
    let mut acks = Some(Encoder::new());
    loop {
        let buffer = decoder.buffer();
        let before = buffer.len();
        buffer.resize(before + READ_BYTES, 0);
        let read = stream.read(&mut buffer[before..]);
        buffer.truncate(before + read.as_ref().map_or(0, |bytes| *bytes));
        let bytes = read.map_err(HandoffError::Broken)?;
        if bytes == 0 {
            decoder.finish()?;
            return Err(HandoffError::Items("the stream ended"));
        }
        while let Some(frame) = decoder.next_frame()? {
            match frame {
                Frame::Data(payload) => incoming.take(payload)?,
                Frame::End(stated) => return incoming.end(stated),
                Frame::Ack(_) => {}
            }
        }
        load.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some(encoder) = &mut acks {
            let mut out = Vec::new();
            for position in incoming.marks.drain(..) {
                encoder.ack(position, &mut out)?;
            }
            if stream.write_all(&out).is_err() {
                // The source does not listen: it may. What it sends is loaded all the same.
                acks = None;
            }
        }
    }
}

/// What has arrived.
struct Incoming {
    staged: Staged,
    /// The staging table of each number that was announced.
    tables: Vec<Option<usize>>,
    /// The start of an item whose rest is in the next frame.
    carried: Vec<u8>,
    /// Positions to be acknowledged.
    marks: Vec<u64>,
}

/// A record to be loaded.
enum Arrived<'a> {
    Put(usize, &'a [u8]),
    Delete(usize, &'a [u8]),
}

impl Incoming {
    fn new(staged: Staged) -> Self {
        Self { staged, tables: Vec::new(), carried: Vec::new(), marks: Vec::new() }
    }

    fn take(&mut self, payload: &[u8]) -> Result<(), HandoffError> {
        if self.carried.is_empty() {
            let bytes = self.load(payload)?;
            self.carried.extend_from_slice(&payload[bytes..]);
            return Ok(());
        }
        let mut carried = std::mem::take(&mut self.carried);
        carried.extend_from_slice(payload);
        let bytes = self.load(&carried)?;
        carried.drain(..bytes);
        self.carried = carried;
        Ok(())
    }

    /// Loads the whole items of a piece; returns their bytes.
    fn load(&mut self, stream: &[u8]) -> Result<usize, HandoffError> {
        let mut at = 0;
        let mut arrived = Vec::with_capacity(stream.len() / 512);
        while let Some((item, bytes)) = items::read(&stream[at..])? {
            at += bytes;
            match item {
                Item::Table { number, records, name } => self.announce(number, records, name)?,
                Item::Put { number, record } => arrived.push(Arrived::Put(self.number(number)?, record)),
                Item::Delete { number, record } => {
                    arrived.push(Arrived::Delete(self.number(number)?, record));
                }
                Item::Mark { position } => {
                    self.marks.push(position);
                    self.staged.position = position;
                }
            }
        }
        self.store(&arrived);
        Ok(at)
    }

    fn store(&self, arrived: &[Arrived<'_>]) {
        let jobs = arrived.iter().filter_map(|arrived| match arrived {
            Arrived::Put(table, record) => Some(self.staged.table(*table).hasher().job(record)),
            Arrived::Delete(..) => None,
        });
        let mut jobs: Vec<_> = jobs.collect();
        digest::all(&mut jobs);
        let mut hashed = jobs.iter().map(digest::of);
        for arrived in arrived {
            match arrived {
                Arrived::Put(table, record) => {
                    let digest = hashed.next().expect("each record was hashed");
                    self.staged.table(*table).load(Record::arrived(record), digest);
                }
                Arrived::Delete(table, record) => self.staged.table(*table).unload(key_of(record)),
            }
        }
    }

    fn announce(&mut self, number: u16, records: u64, name: &str) -> Result<(), HandoffError> {
        let place = usize::from(number);
        let unknown = || HandoffError::ContainerUnknown(name.chars().take(64).collect());
        let table = self.staged.find(name).ok_or_else(unknown)?;
        if self.tables.contains(&Some(table)) {
            return Err(HandoffError::Items("a container is announced twice"));
        }
        if self.tables.len() <= place {
            self.tables.resize(place + 1, None);
        }
        self.tables[place] = Some(table);
        let records = usize::try_from(records.min(RESERVED_RECORDS_MAX)).expect("the bound fits");
        self.staged.table(table).reserve(records);
        Ok(())
    }

    fn number(&self, number: u16) -> Result<usize, HandoffError> {
        let announced = self.tables.get(usize::from(number)).copied().flatten();
        announced.ok_or(HandoffError::Items("a record of a container that was not announced"))
    }

    fn end(self, stated: Sealed) -> Result<Loaded, HandoffError> {
        if !self.carried.is_empty() {
            return Err(HandoffError::Items("the stream ended within an item"));
        }
        let digest = self.staged.digest();
        Ok(Loaded { staged: self.staged, digest, stated })
    }
}
