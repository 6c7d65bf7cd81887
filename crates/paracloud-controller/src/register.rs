//! The one thread that may wait for the disk: it owns the store, and does one thing after the other.
//!
//! A swap is one durable write, and traffic may be parked for it; so what is only *kept* (phases, notes) never costs
//! a write that a swap would have to wait for: it is written together with the next swap, or after [`KEEP_MS`] of
//! none, later while an instance pauses. Nobody hears of anything that is not on disk, but for what says so by its
//! number 0; and who only follows what happens hears of a swap when what follows from it was said ([`Register::tell`]), so
//! that those whom a pause waits for are served first.

use crate::journal::Heard;
use crate::recovery::{self, History};
use crate::store::{ENTRIES_PER_READ_MAX, ENTRIES_PER_WRITE_MAX, Reservation, Store, StoreError, Swap};
use paracloud_core::register::{Record, Step};
use paracloud_substrate::person::{Event, Outcome, What};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;

/// Register and journal of a controller.
pub type Ledger = Store<Record, Event>;

/// Jobs waiting for the thread; who has one more waits.
const JOBS_MAX: usize = 1024;
/// Events that one follower may be behind before it has to read the journal.
const HEARD_MAX: usize = 1024;
/// Entries that wait to be written; of more, the oldest are told and not kept.
const KEPT_MAX: usize = 256;
/// The longest that an entry waits to be written, in milliseconds: usually, and while an instance pauses.
const KEEP_MS: (u64, u64) = (50, 1000);
/// The most bytes of waiting entries that a swap takes along.
const ALONG_BYTES_MAX: usize = 8 << 10;
/// Writes that are reserved for a move: every outcome of it, and what may come in its way.
const RESERVED_WRITES: u32 = 10;
/// Bytes reserved for each of them: a record, the entry that says so, and what it takes along.
const RESERVED_WRITE_BYTES: u64 = 16 << 10;
/// The longest that a broken part waits to hear whether the store is to blame, in milliseconds.
const FAULT_MS_MAX: u64 = 1000;

enum Job {
    Swap {
        instance: String,
        /// The record it must still be, and the one that replaces it.
        records: Box<(Option<Record>, Record)>,
        /// The entries that say so.
        events: Vec<Event>,
        answer: oneshot::Sender<Result<Swap<Record>, StoreError>>,
    },
    Keep(Event),
    Tell,
    TellOutcome(Box<Outcome>),
    Read {
        from: u64,
        answer: oneshot::Sender<Vec<Event>>,
    },
    Reserve {
        instance: String,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    Release {
        instance: String,
    },
}

/// The store has failed: whoever hears this ends.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the store has failed")]
pub(crate) struct Gone;

/// The thread, as its users see it.
#[derive(Debug, Clone)]
pub(crate) struct Register(mpsc::Sender<Job>);

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Register {
    /// One whose thread has ended.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        Self(mpsc::channel(1).0)
    }

    /// Swaps a record together with the entries that say so, and what follows from it, a few: all of it is on disk, or
    /// nothing. The only error in the answer is a full disk.
    pub(crate) async fn swap(
        &self,
        instance: &str,
        expected: Option<&Record>,
        new: &Record,
        events: Vec<Event>,
    ) -> Result<Result<Swap<Record>, StoreError>, Gone> {
        let (instance, records) = (instance.to_owned(), Box::new((expected.cloned(), new.clone())));
        self.ask(|answer| Job::Swap { instance, records, events, answer }).await
    }

    /// Keeps an entry, soon.
    pub(crate) async fn keep(&self, event: Event) -> Result<(), Gone> {
        self.0.send(Job::Keep(event)).await.map_err(|_| Gone)
    }

    /// What follows from the last swap was said: those who follow hear of it.
    pub(crate) async fn tell(&self) -> Result<(), Gone> {
        self.0.send(Job::Tell).await.map_err(|_| Gone)
    }

    /// Those who follow hear of an outcome, behind the swaps that led to it.
    pub(crate) async fn tell_outcome(&self, outcome: Outcome) -> Result<(), Gone> {
        self.0.send(Job::TellOutcome(Box::new(outcome))).await.map_err(|_| Gone)
    }

    /// Entries from a number on (from the oldest there is, if it was trimmed): none if there are none yet.
    pub(crate) async fn read(&self, from: u64) -> Result<Vec<Event>, Gone> {
        self.ask(|answer| Job::Read { from, answer }).await
    }

    /// Makes room for every outcome of a move; what was reserved before stays if there is none.
    pub(crate) async fn reserve(&self, instance: &str) -> Result<Result<(), StoreError>, Gone> {
        let instance = instance.to_owned();
        self.ask(|answer| Job::Reserve { instance, answer }).await
    }

    /// Gives the room back.
    pub(crate) async fn release(&self, instance: &str) -> Result<(), Gone> {
        self.0.send(Job::Release { instance: instance.to_owned() }).await.map_err(|_| Gone)
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, Gone> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(job(sender)).await.map_err(|_| Gone)?;
        receiver.await.map_err(|_| Gone)
    }
}

/// What the store held when it was opened.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) records: BTreeMap<String, Record>,
    pub(crate) histories: BTreeMap<String, History>,
}

/// The thread, as its owner sees it.
#[derive(Debug)]
pub(crate) struct Disk {
    register: Option<Register>,
    heard: broadcast::Sender<Heard>,
    thread: Option<JoinHandle<Option<StoreError>>>,
}

/// Opens the store, reads all of it, and starts the thread.
pub(crate) async fn start<O>(open: O) -> Result<(Disk, Found), StoreError>
where
    O: FnOnce() -> Result<Ledger, StoreError> + Send + 'static,
{
    let opened = tokio::task::spawn_blocking(move || {
        let store = open()?;
        let found = Found { records: store.all()?, histories: recovery::histories(&store)? };
        Ok::<_, StoreError>((store, found))
    });
    let (store, found) = opened.await.unwrap_or_else(|error| {
        Err(StoreError::Engine { doing: "opening the store", detail: error.to_string() })
    })?;
    let (jobs, queue) = mpsc::channel(JOBS_MAX);
    let heard = broadcast::Sender::new(HEARD_MAX);
    let clerk = Clerk {
        // Of what paused when another controller ended, the next swap says whether it still does.
        pausing: BTreeSet::new(),
        store,
        heard: heard.clone(),
        waiting: VecDeque::new(),
        since: Instant::now(),
        untold: VecDeque::new(),
        rooms: BTreeMap::new(),
    };
    let runtime = Handle::current();
    let thread = tokio::task::spawn_blocking(move || clerk.work(&runtime, queue));
    Ok((Disk { register: Some(Register(jobs)), heard, thread: Some(thread) }, found))
}

impl Disk {
    /// For those who use it.
    pub(crate) fn register(&self) -> Register {
        self.register.clone().unwrap_or_else(|| Register(mpsc::channel(1).0))
    }

    /// Where everything that happens is heard.
    pub(crate) fn heard(&self) -> broadcast::Sender<Heard> {
        self.heard.clone()
    }

    /// Returns when the store has failed.
    pub(crate) async fn ended(&mut self) -> StoreError {
        let Some(thread) = &mut self.thread else { return std::future::pending().await };
        let ended = thread.await;
        self.thread = None;
        match ended {
            Ok(Some(fault)) => fault,
            Ok(None) => {
                StoreError::Engine { doing: "serving the store", detail: "nobody uses it".to_owned() }
            }
            Err(error) => StoreError::Engine { doing: "serving the store", detail: error.to_string() },
        }
    }

    /// The store's failure, if it has failed.
    pub(crate) async fn fault(&mut self) -> Option<StoreError> {
        tokio::time::timeout(Duration::from_millis(FAULT_MS_MAX), self.ended()).await.ok()
    }

    /// Lets go of the store, once nobody uses it any more.
    pub(crate) async fn close(&mut self) {
        self.register = None;
        if let Some(thread) = self.thread.take()
            && let Ok(Some(fault)) = thread.await
        {
            tracing::warn!(%fault, "the store was not closed in good order");
        }
    }
}

/// Whether requests are parked for this instance, or are about to be.
fn pauses(record: &Record) -> bool {
    matches!(record.step(), Some(Step::Sealing | Step::Switch | Step::Doomed))
}

/// The thread's own state.
struct Clerk {
    store: Ledger,
    heard: broadcast::Sender<Heard>,
    /// Entries that are not on disk yet.
    waiting: VecDeque<Event>,
    /// When the first of them came.
    since: Instant,
    /// Entries that are on disk and that those who follow have not heard yet.
    untold: VecDeque<Event>,
    rooms: BTreeMap<String, Reservation>,
    pausing: BTreeSet<String>,
}

impl Clerk {
    /// Works until nobody uses it any more (`None`) or the store fails.
    fn work(mut self, runtime: &Handle, mut queue: mpsc::Receiver<Job>) -> Option<StoreError> {
        loop {
            let job = if self.waiting.is_empty() {
                queue.blocking_recv()
            } else {
                let keep_ms = if self.pausing.is_empty() { KEEP_MS.0 } else { KEEP_MS.1 };
                let left = Duration::from_millis(keep_ms).saturating_sub(self.since.elapsed());
                let next = runtime.block_on(async { tokio::time::timeout(left, queue.recv()).await });
                let Ok(job) = next else {
                    if let Err(fault) = self.write_waiting() {
                        return Some(fault);
                    }
                    continue;
                };
                job
            };
            let Some(job) = job else { break };
            if let Err(fault) = self.work_on(job) {
                tracing::error!(%fault, "the store failed");
                return Some(fault);
            }
        }
        let Err(fault) = self.write_waiting().and_then(|()| self.store.close()) else { return None };
        Some(fault)
    }

    fn work_on(&mut self, job: Job) -> Result<(), StoreError> {
        match job {
            Job::Swap { instance, records, events, answer } => {
                let (expected, new) = *records;
                let swapped = self.swap(&instance, expected.as_ref(), &new, events);
                let swapped = tolerated(swapped)?;
                let _ = answer.send(swapped);
            }
            Job::Keep(event) => {
                if self.waiting.is_empty() {
                    self.since = Instant::now();
                }
                self.waiting.push_back(event);
                if self.waiting.len() > KEPT_MAX {
                    self.tell_unkept(1);
                }
            }
            Job::Tell => self.tell(),
            Job::TellOutcome(outcome) => {
                self.tell();
                let _ = self.heard.send(Heard::Outcome(*outcome));
            }
            Job::Read { from, answer } => {
                let range = self.store.journal()?;
                let found = self.store.entries(from.max(range.start), ENTRIES_PER_READ_MAX)?;
                let events = found.into_iter().map(|(number, event)| Event { number, ..event }).collect();
                let _ = answer.send(events);
            }
            Job::Reserve { instance, answer } => {
                let bytes = u64::from(RESERVED_WRITES) * RESERVED_WRITE_BYTES;
                let made = tolerated(self.store.reserve(RESERVED_WRITES, bytes))?;
                let _ = answer.send(made.map(|room| {
                    self.rooms.insert(instance, room);
                }));
            }
            Job::Release { instance } => drop(self.rooms.remove(&instance)),
        }
        Ok(())
    }

    fn swap(
        &mut self,
        instance: &str,
        expected: Option<&Record>,
        new: &Record,
        events: Vec<Event>,
    ) -> Result<Swap<Record>, StoreError> {
        let along = self.along(events.len());
        let mut entries: Vec<_> = self.waiting.iter().take(along).cloned().collect();
        entries.extend(events);
        self.number(&mut entries)?;
        let swapped = match self.rooms.get_mut(instance) {
            Some(room) => self.store.swap_within(room, instance, expected, new, &entries)?,
            None => self.store.swap(instance, expected, new, &entries)?,
        };
        if swapped == Swap::Applied {
            self.waiting.drain(..along);
            self.since = Instant::now();
            if pauses(new) {
                self.pausing.insert(instance.to_owned());
            } else {
                self.pausing.remove(instance);
            }
            self.untold.extend(entries);
            if self.untold.len() > KEPT_MAX {
                self.tell();
            }
        }
        Ok(swapped)
    }

    /// How many of the waiting entries a swap takes along beside so many of its own.
    fn along(&self, own: usize) -> usize {
        let mut bytes = 0;
        let fits = self.waiting.iter().take(ENTRIES_PER_WRITE_MAX.saturating_sub(own)).take_while(|event| {
            bytes += serde_json::to_vec(event).map_or(ALONG_BYTES_MAX, |text| text.len());
            bytes <= ALONG_BYTES_MAX
        });
        fits.count()
    }

    fn write_waiting(&mut self) -> Result<(), StoreError> {
        while !self.waiting.is_empty() {
            let count = self.waiting.len().min(ENTRIES_PER_WRITE_MAX);
            let mut entries: Vec<_> = self.waiting.iter().take(count).cloned().collect();
            self.number(&mut entries)?;
            match tolerated(self.store.append(&entries))? {
                Ok(_) => {
                    self.waiting.drain(..count);
                    self.untold.extend(entries);
                    self.tell();
                }
                Err(full) => {
                    tracing::warn!(%full, count, "entries of the journal are told and not kept");
                    self.tell_unkept(count);
                }
            }
        }
        Ok(())
    }

    fn number(&self, entries: &mut [Event]) -> Result<(), StoreError> {
        for (number, entry) in (self.store.journal()?.end..).zip(entries) {
            entry.number = number;
        }
        Ok(())
    }

    fn tell(&mut self) {
        for event in self.untold.drain(..) {
            let _ = self.heard.send(Heard::Event(event));
        }
    }

    fn tell_unkept(&mut self, count: usize) {
        self.untold.extend(self.waiting.drain(..count));
        self.tell();
    }
}

/// A full disk is said to whoever asked. Everything else ends the store.
fn tolerated<T>(answer: Result<T, StoreError>) -> Result<Result<T, StoreError>, StoreError> {
    match answer {
        Ok(value) => Ok(Ok(value)),
        Err(full @ StoreError::NoSpace { .. }) => Ok(Err(full)),
        Err(fault) => Err(fault),
    }
}

/// The entry that says what a swap did. It is of the operation that was open before it or is after it: its end is, too.
pub(crate) fn swapped(instance: &str, change: String, (before, record): (Option<&Record>, &Record)) -> Event {
    let is_open = |record: &Record| record.operation.is_some();
    let is_of_one = is_open(record) || before.is_some_and(is_open);
    let operation = is_of_one.then_some(record.last_operation);
    crate::journal::event(instance, operation, What::Swapped { change, record: record.clone() })
}
