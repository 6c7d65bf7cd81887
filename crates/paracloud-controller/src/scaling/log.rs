//! Decisions are kept with their reasons: each that does something, one that is made for another reason than the one before,
//! and one now and then. They are written by a thread of their own; what was decided stands whether it could be written or not.

use crate::control::locked;
use paracloud_core::scaling::Record;
use paracloud_core::scaling::record::{Cut, Rule};
use paracloud_core::{ordered, wishes};
use paracloud_substrate::decision::{Decision, Done, Fate, Opened, Writer};
use std::mem::{Discriminant, discriminant};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// However little happens, one is kept so often.
const EVERY: Duration = Duration::from_secs(10);
/// However often reasons change, no more are kept because of that than one in this time.
const EVERY_MIN: Duration = Duration::from_secs(1);
/// Entries that wait to be written; what finds no room is not kept.
const QUEUE_MAX: usize = 256;
/// How long a decision waits until it is written, before it is carried out.
const WRITE_MS_MAX: u64 = 1_000;

/// What is kept.
#[derive(Debug)]
enum Entry {
    Decision(Box<Record>),
    Done(Done),
    Wish(Box<wishes::Record>),
    Ordered(Box<ordered::Record>),
    Opened(Opened),
    /// The log was put aside.
    BeginAnew,
}

#[derive(Debug)]
struct Written {
    app: String,
    entry: Entry,
    written: Option<oneshot::Sender<()>>,
}

/// Entries since one was last seen written in time.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Missed {
    /// They found no room, and are not kept.
    dropped: u64,
    /// They were not written within the bound; they may be, later.
    late: u64,
}

/// Where they go.
#[derive(Debug, Clone)]
pub(super) struct Keeper {
    entries: mpsc::Sender<Written>,
    missed: Arc<Mutex<Missed>>,
}

impl Keeper {
    /// Writes to the log of this directory.
    pub(super) fn new(directory: &Path) -> Self {
        let (sender, mut entries) = mpsc::channel::<Written>(QUEUE_MAX);
        let mut writer = Writer::new(directory);
        std::thread::spawn(move || {
            while let Some(Written { app, entry, written }) = entries.blocking_recv() {
                write(&mut writer, &app, &entry);
                // Who waits for it goes on also where it could not be written.
                drop(written);
            }
        });
        Self::to(sender)
    }

    fn to(entries: mpsc::Sender<Written>) -> Self {
        Self { entries, missed: Arc::default() }
    }

    /// Keeps a decision. Returns once it is written, or cannot be, or takes too long.
    pub(super) async fn decided(&self, app: &str, record: &Record) {
        self.keep_in_time(app, Entry::Decision(Box::new(record.clone()))).await;
    }

    /// Keeps a decision about an ask. Returns once it is written, or cannot be, or takes too long.
    pub(super) async fn wished(&self, app: &str, record: &wishes::Record) {
        self.keep_in_time(app, Entry::Wish(Box::new(record.clone()))).await;
    }

    /// Keeps what a person's order was made into. Returns once it is written, or cannot be, or takes too long.
    pub(super) async fn ordered(&self, app: &str, record: &ordered::Record) {
        self.keep_in_time(app, Entry::Ordered(Box::new(record.clone()))).await;
    }

    /// Keeps what was begun by that.
    pub(super) fn opened(&self, app: &str, opened: Opened) {
        self.keep(app, Entry::Opened(opened), None);
    }

    /// Keeps what became of one.
    pub(super) fn done(&self, app: &str, done: Done) {
        self.keep(app, Entry::Done(done), None);
    }

    /// The log was put aside: another one is begun.
    pub(super) fn begin_anew(&self) {
        self.keep("", Entry::BeginAnew, None);
    }

    async fn keep_in_time(&self, app: &str, entry: Entry) {
        let (sender, written) = oneshot::channel();
        if !self.keep(app, entry, Some(sender)) {
            return;
        }
        if tokio::time::timeout(Duration::from_millis(WRITE_MS_MAX), written).await.is_err() {
            return self.misses(app, |missed| missed.late += 1);
        }
        let missed = std::mem::take(&mut *locked(&self.missed));
        if missed != Missed::default() {
            let Missed { dropped, late } = missed;
            tracing::info!(dropped, late, "decisions are taken in time again");
        }
    }

    fn keep(&self, app: &str, entry: Entry, written: Option<oneshot::Sender<()>>) -> bool {
        let has_room = self.entries.try_send(Written { app: app.to_owned(), entry, written }).is_ok();
        if !has_room {
            self.misses(app, |missed| missed.dropped += 1);
        }
        has_room
    }

    /// One more: the first of many is said, and how many there were when they are over.
    fn misses(&self, app: &str, count: impl FnOnce(&mut Missed)) {
        let mut missed = locked(&self.missed);
        let is_first = *missed == Missed::default();
        count(&mut missed);
        if is_first {
            tracing::warn!(app, "decisions are not written in time, or not kept; scaling goes on");
        }
    }
}

/// Writes an entry, and says when that begins to fail and when it is over.
fn write(writer: &mut Writer, app: &str, entry: &Entry) {
    let decision = match entry {
        Entry::Decision(record) => Decision::Scaling(record),
        Entry::Done(done) => Decision::Done(done),
        Entry::Wish(record) => Decision::Wish(record),
        Entry::Ordered(record) => Decision::Ordered(record),
        Entry::Opened(opened) => Decision::Opened(opened),
        Entry::BeginAnew => return writer.begin_anew(),
    };
    match writer.write(app, decision) {
        Fate::Kept | Fate::LostToo => {}
        Fate::KeptAgain(lost) => tracing::info!(lost, "decisions are kept again"),
        Fate::Lost(error) => tracing::warn!(app, %error, "decisions are not kept; scaling goes on"),
    }
}

/// When a decision is kept.
#[derive(Debug, Default)]
pub(super) struct Sampling(Option<(Instant, Rule, Vec<Discriminant<Cut>>)>);

impl Sampling {
    /// Whether this one is kept. It counts as kept then.
    pub(super) fn takes(&mut self, record: &Record, now: Instant) -> bool {
        let cuts: Vec<_> = record.reasons.cuts.iter().map(discriminant).collect();
        let is_due = self.0.as_ref().is_none_or(|(at, rule, known)| {
            let is_same = (*rule, known) == (record.reasons.rule, &cuts);
            now.saturating_duration_since(*at) >= if is_same { EVERY } else { EVERY_MIN }
        });
        let takes = is_due || !record.plan.actions.is_empty();
        if takes {
            self.0 = Some((now, record.reasons.rule, cuts));
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::scaling::{Action, Memory, Observation, Policy, plan};
    use paracloud_substrate::decision::replay;
    use std::io::Write;

    fn record() -> Record {
        plan(&Policy::between(1, 4), &Observation::default(), &Memory::default()).2
    }

    #[test]
    fn what_does_something_or_has_another_reason_is_kept_and_one_now_and_then() {
        let (mut sampling, now, mut record) = (Sampling::default(), Instant::now(), record());
        record.plan.actions.clear();
        let mut takes = |record: &Record, after: Duration| sampling.takes(record, now + after);
        let second = Duration::from_secs(1);
        assert_eq!(
            [0, 1, 9, 10, 11].map(|at| takes(&record, at * second)),
            [true, false, false, true, false]
        );
        let mut acts = record.clone();
        acts.plan.actions.push(Action::Start(1));
        assert!(takes(&acts, 12 * second) && takes(&acts, 12 * second));
        let mut other = record.clone();
        other.reasons.rule = Rule::Manual;
        assert!(takes(&other, 13 * second) && !takes(&other, 14 * second));
        other.reasons.cuts = vec![Cut::Min(1)];
        assert!(takes(&other, 15 * second));
        other.reasons.cuts = vec![Cut::Min(2)];
        assert!(!takes(&other, 16 * second), "by how much a limit cuts is no other reason");
        assert!(takes(&record, 17 * second) && !takes(&other, 17 * second), "not each of many");
    }

    fn done() -> Done {
        Done {
            decided_ms: 0,
            action: Action::Start(1),
            instance: Some("worker.2".to_owned()),
            operation: None,
            refused: None,
        }
    }

    /// What is said in one test, which asks for it on its own thread.
    static SAID: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    struct Said;

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            locked(&SAID).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_room_or_is_written_too_late_is_said_once_and_then_how_many_there_were() {
        let listens = tracing_subscriber::fmt().with_writer(|| Said).with_ansi(false).finish();
        let _listens = tracing::subscriber::set_default(listens);
        let said = || String::from_utf8(std::mem::take(&mut *locked(&SAID))).unwrap();
        let (sender, mut entries) = mpsc::channel(1);
        let keeper = Keeper::to(sender);
        for times in 1..=2 {
            // It takes the only room there is, and nobody writes.
            keeper.decided("worker", &record()).await;
            assert!(said().contains("decisions are not written in time"), "{times}");
            keeper.decided("worker", &record()).await;
            keeper.done("worker", done());
            assert_eq!(*locked(&keeper.missed), Missed { dropped: 2, late: 1 }, "{times}");
            assert_eq!(said(), "", "{times}: it was said");
            assert!(entries.recv().await.is_some());
            // What nobody waits for says nothing of how soon it is written.
            keeper.done("worker", done());
            assert!(entries.recv().await.is_some());
            assert_eq!(said(), "", "{times}");
            let decision = record();
            tokio::join!(keeper.decided("worker", &decision), async { drop(entries.recv().await) });
            let said = said();
            assert!(
                said.contains("taken in time again") && said.contains("dropped=2 late=1"),
                "{times}: {said}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_made_again_and_a_log_that_cannot_be_written_keeps_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("decisions");
        // A file is in the way.
        std::fs::write(&path, "").unwrap();
        let keeper = Keeper::new(&path);
        keeper.decided("worker", &record()).await;
        std::fs::remove_file(&path).unwrap();
        keeper.decided("worker", &record()).await;
        keeper.done("worker", done());
        keeper.decided("worker", &record()).await;
        let replayed = replay(&path.join("decisions.jsonl")).unwrap();
        assert_eq!(replayed, [("done", 1), ("scaling", 2)].into(), "the first could not be written");
    }
}
