//! The source's side of a handoff: a thread that copies while the program serves.

use super::convergence::{Convergence, Progress};
use super::{HandoffError, items};
use crate::state::shard::Taken;
use crate::state::store::Store;
use crate::state::table::{SHARDS, Table};
use paci::bounds::FRAME_PAYLOAD_BYTES_MAX;
use paci::frame::{Decoder, Encoder, Frame};
use paci::proof::Sealed;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two rounds of changes, so that a slow trickle is not sent record by record.
const ROUND: Duration = Duration::from_millis(2);
/// Bytes of records gathered before they are sent: one frame's worth, less what one item more may add.
const PIECE_BYTES: usize = FRAME_PAYLOAD_BYTES_MAX - 16 * 1024;

/// What the source's thread is told, and tells. Shared with the session.
#[derive(Debug)]
pub(crate) struct Copy {
    shared: Mutex<Shared>,
    turned: Condvar,
}

#[derive(Debug)]
struct Shared {
    order: Order,
    convergence: Convergence,
    /// Unknown until the store has been counted.
    remaining_records: Option<usize>,
    /// To be shut down when the copy is forgotten: its thread may be waiting for the peer.
    stream: Option<UnixStream>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Copy,
    Ship,
    Forget,
}

impl Default for Copy {
    fn default() -> Self {
        let shared = Shared {
            order: Order::Copy,
            convergence: Convergence::new(Instant::now()),
            remaining_records: None,
            stream: None,
        };
        Self { shared: Mutex::new(shared), turned: Condvar::new() }
    }
}

impl Copy {
    /// All guards have ended: send what is left, and the end record.
    pub(crate) fn ship(&self) {
        let mut shared = self.lock();
        if shared.order == Order::Copy {
            shared.order = Order::Ship;
        }
        self.turned.notify_all();
    }

    /// Leave the channel.
    pub(crate) fn forget(&self) {
        let mut shared = self.lock();
        shared.order = Order::Forget;
        if let Some(stream) = shared.stream.take() {
            let _already_closed = stream.shutdown(Shutdown::Both);
        }
        self.turned.notify_all();
    }

    /// Waits for [`Copy::forget`].
    pub(crate) fn forgotten(&self) {
        let mut shared = self.lock();
        while shared.order != Order::Forget {
            shared = self.turned.wait(shared).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How far it has got; nothing is known before the store has been counted.
    pub(crate) fn progress(&self) -> Option<Progress> {
        let shared = self.lock();
        shared.remaining_records.map(|remaining| shared.convergence.progress(remaining))
    }

    fn order(&self) -> Order {
        self.lock().order
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rest(&self) -> Order {
        let shared = self.lock();
        if shared.order != Order::Copy {
            return shared.order;
        }
        let (shared, _) = self.turned.wait_timeout(shared, ROUND).unwrap_or_else(PoisonError::into_inner);
        shared.order
    }
}

/// Copies the state into a joined channel until it is told to ship or to forget. Blocks; it wants a thread of its own.
///
/// What it returns was in the end record: the state as it was when all guards had ended.
pub(crate) fn run(stream: UnixStream, store: &Store, copy: &Arc<Copy>) -> Result<Sealed, HandoffError> {
    let acks = stream.try_clone().map_err(HandoffError::Broken)?;
    {
        let mut shared = copy.lock();
        if shared.order == Order::Forget {
            return Err(HandoffError::Forgotten);
        }
        shared.stream = Some(stream.try_clone().map_err(HandoffError::Broken)?);
        shared.convergence = Convergence::new(Instant::now());
    }
    let reader = std::thread::Builder::new().name("paci-acks".to_owned()).spawn({
        let copy = copy.clone();
        move || read_acks(acks, &copy)
    });
    reader.map_err(HandoffError::Broken)?;
    store.begin_copy();
    copy.lock().remaining_records = Some(store.held().remaining);
    let mut outgoing = Outgoing::new(stream, store, copy);
    let done = outgoing.all();
    if done.is_err() {
        store.end_copy();
        let shared = copy.lock().stream.take();
        if let Some(stream) = shared {
            let _already_closed = stream.shutdown(Shutdown::Both);
        }
    }
    match done {
        Err(_) if copy.order() == Order::Forget => Err(HandoffError::Forgotten),
        done => done,
    }
}

fn read_acks(mut stream: UnixStream, copy: &Copy) {
    let mut decoder = Decoder::of_acks();
    let mut piece = [0; 4096];
    loop {
        let bytes = match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(bytes) => bytes,
        };
        decoder.push(&piece[..bytes]);
        loop {
            match decoder.next_frame() {
                Ok(Some(Frame::Ack(_))) => copy.lock().convergence.acked(Instant::now()),
                Ok(Some(Frame::Data(_) | Frame::End(_)) | None) => break,
                Err(error) => {
                    tracing::warn!(%error, "the target's acknowledgements cannot be read");
                    let _already_closed = stream.shutdown(Shutdown::Both);
                    return;
                }
            }
        }
    }
}

/// What is on its way out.
struct Outgoing<'a> {
    stream: UnixStream,
    store: &'a Store,
    copy: &'a Copy,
    tables: Vec<(u16, Arc<Table>)>,
    encoder: Encoder,
    /// Items to be sent, and how many records are in them.
    items: Vec<u8>,
    records: u64,
    frames: Vec<u8>,
}

impl<'a> Outgoing<'a> {
    fn new(stream: UnixStream, store: &'a Store, copy: &'a Copy) -> Self {
        let numbered = (0..).zip(store.tables());
        Self {
            stream,
            store,
            copy,
            tables: numbered.collect(),
            encoder: Encoder::new(),
            items: Vec::with_capacity(FRAME_PAYLOAD_BYTES_MAX),
            records: 0,
            frames: Vec::with_capacity(FRAME_PAYLOAD_BYTES_MAX),
        }
    }

    fn all(&mut self) -> Result<Sealed, HandoffError> {
        self.every_record()?;
        loop {
            let order = self.copy.rest();
            self.changes()?;
            match order {
                Order::Copy => {}
                Order::Ship => break,
                Order::Forget => return Err(HandoffError::Forgotten),
            }
        }
        let held = self.store.held();
        debug_assert_eq!(held.remaining, 0, "nobody changes the state after all guards ended");
        let sealed = Sealed::new(held.position, &held.digest.to_be_bytes());
        self.frames.clear();
        self.encoder.end(&sealed, &mut self.frames)?;
        self.stream.write_all(&self.frames).map_err(HandoffError::Broken)?;
        Ok(sealed)
    }

    /// Goes through all records once.
    fn every_record(&mut self) -> Result<(), HandoffError> {
        for (number, table) in self.tables.clone() {
            items::write_table(number, table.held().records as u64, table.name(), &mut self.items);
            for shard in 0..SHARDS {
                while !self.piece(|take| table.copy(shard, take), number) {
                    self.flush(0)?;
                }
                if self.items.len() >= PIECE_BYTES {
                    self.flush(0)?;
                }
            }
        }
        self.flush(0)
    }

    /// Sends what changed, until a moment came at which nothing was left.
    fn changes(&mut self) -> Result<(), HandoffError> {
        let position = self.store.held().position;
        for (number, table) in self.tables.clone() {
            for shard in 0..SHARDS {
                while !self.piece(|take| table.drain(shard, take), number) {
                    self.flush(0)?;
                }
            }
        }
        if self.records == 0 && self.copy.order() == Order::Copy {
            self.copy.lock().remaining_records = Some(self.store.held().remaining);
            return Ok(());
        }
        self.flush(position)
    }

    /// Gathers a piece from one shard, whose lock is held meanwhile. Whether the shard has no more.
    fn piece(&mut self, from: impl FnOnce(&mut dyn FnMut(Taken<'_>) -> bool) -> bool, number: u16) -> bool {
        let (items, records) = (&mut self.items, &mut self.records);
        from(&mut |taken| {
            match taken {
                Taken::Put(record) => items::write_put(number, record, items),
                Taken::Delete(record) => items::write_delete(number, record, items),
            }
            *records += 1;
            items.len() < PIECE_BYTES
        })
    }

    /// Sends what was gathered, with a MARK at its end.
    fn flush(&mut self, position: u64) -> Result<(), HandoffError> {
        items::write_mark(position, &mut self.items);
        for piece in self.items.chunks(FRAME_PAYLOAD_BYTES_MAX) {
            self.frames.clear();
            self.encoder.data(piece, &mut self.frames)?;
            self.stream.write_all(&self.frames).map_err(HandoffError::Broken)?;
        }
        let remaining = self.store.held().remaining;
        let mut shared = self.copy.lock();
        shared.convergence.sent(self.items.len() as u64, self.records, Instant::now());
        shared.remaining_records = Some(remaining);
        let order = shared.order;
        drop(shared);
        self.items.clear();
        self.records = 0;
        if order == Order::Forget { Err(HandoffError::Forgotten) } else { Ok(()) }
    }
}
