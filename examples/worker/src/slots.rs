//! Jobs: so many are worked on at a time, so many wait, and the rest is refused.

use crate::ledger::Ledger;
use crate::pace::{FULL_PERMILLE, Pace};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// See the module.
#[derive(Debug)]
pub struct Slots {
    pace: Arc<Pace>,
    queue_max: usize,
    state: Mutex<State>,
    /// Jobs that are taken and not done.
    in_flight: watch::Sender<usize>,
}

#[derive(Debug)]
struct State {
    slots: u32,
    next: u64,
    running: BTreeMap<u64, Running>,
    waiting: VecDeque<Job>,
    /// Of all jobs that were taken.
    taken_work: Duration,
    ledger: Ledger,
}

/// A job that is taken.
#[derive(Debug)]
struct Job {
    id: String,
    work: Duration,
    since: Instant,
    /// Who hears that it is done.
    done: oneshot::Sender<()>,
}

/// A job that is worked on.
#[derive(Debug, Clone, Copy)]
struct Running {
    since: Instant,
    work: Duration,
}

/// Why a job is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// So many wait already.
    #[error("{0} jobs wait already: send it again later")]
    Full(usize),
    /// A job of this id is not done yet.
    #[error("a job of this id is not done yet: an id is for one job")]
    Twice,
}

/// How busy a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Jobs that are worked on at a time.
    pub slots: u32,
    /// Jobs that are worked on.
    pub running: u32,
    /// Jobs that wait.
    pub queued: u32,
    /// Work of those that wait, at full speed, in milliseconds.
    pub backlog_ms: u64,
    /// How long the first of them has waited, in milliseconds.
    pub oldest_wait_ms: u64,
    /// Work that was put into those that are worked on, and would be lost with them, in milliseconds.
    pub invested_ms: u64,
    /// Work that is left of those that are worked on, in milliseconds.
    pub left_ms: u64,
    /// Work until nothing is in flight, one job after the other as slots become free, in milliseconds at full speed.
    pub until_idle_ms: u64,
    /// How large a job is in the mean, in microseconds of work at full speed; unknown before the first one.
    pub mean_work_us: Option<u64>,
    /// How fast work goes on: thousandths of full speed, 0 in a pause.
    pub pace_permille: u32,
}

impl Slots {
    /// Nothing is worked on.
    pub fn new(pace: Arc<Pace>, slots: u32, queue_max: usize) -> Arc<Self> {
        let state = State {
            slots,
            next: 0,
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            taken_work: Duration::ZERO,
            ledger: Ledger::default(),
        };
        Arc::new(Self { pace, queue_max, state: Mutex::new(state), in_flight: watch::Sender::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job, without a name if it has none. It is done whoever waits for it: what is returned ends then.
    ///
    /// # Errors
    /// It is not taken.
    pub fn take(
        self: &Arc<Self>,
        id: Option<String>,
        work: Duration,
    ) -> Result<(String, oneshot::Receiver<()>), Refused> {
        let mut state = self.state();
        if state.is_busy() && state.waiting.len() >= self.queue_max {
            state.ledger.refuse();
            return Err(Refused::Full(self.queue_max));
        }
        state.next += 1;
        let id = id.unwrap_or_else(|| format!("job-{}", state.next));
        if !state.ledger.accept(&id) {
            return Err(Refused::Twice);
        }
        state.taken_work += work;
        let (done, is_done) = oneshot::channel();
        state.waiting.push_back(Job { id: id.clone(), work, since: Instant::now(), done });
        self.begin(&mut state);
        Ok((id, is_done))
    }

    /// So many are worked on at a time from now on. What is begun is ended.
    pub fn resize(self: &Arc<Self>, slots: u32) {
        let mut state = self.state();
        state.slots = slots;
        self.begin(&mut state);
    }

    /// Begins what has a place now.
    fn begin(self: &Arc<Self>, state: &mut State) {
        while !state.is_busy()
            && let Some(job) = state.waiting.pop_front()
        {
            state.next += 1;
            let number = state.next;
            state.running.insert(number, Running { since: Instant::now(), work: job.work });
            let slots = Arc::clone(self);
            tokio::spawn(async move {
                slots.pace.work(job.work).await;
                slots.end(number, job);
            });
        }
        self.in_flight.send_replace(state.running.len() + state.waiting.len());
    }

    fn end(self: &Arc<Self>, number: u64, job: Job) {
        let mut state = self.state();
        state.running.remove(&number);
        state.ledger.done(&job.id);
        // Whoever has gone does not hear it.
        let _ = job.done.send(());
        self.begin(&mut state);
    }

    /// How busy it is.
    pub fn load(&self) -> Load {
        let state = self.state();
        let pace_permille = self.pace.permille();
        let invested = |it: &Running| it.since.elapsed().min(it.work);
        let invested_ms = millis(state.running.values().map(invested).sum());
        let mean = |accepted: u64| micros(state.taken_work).checked_div(accepted);
        Load {
            slots: state.slots,
            running: count(state.running.len()),
            queued: count(state.waiting.len()),
            backlog_ms: millis(state.waiting.iter().map(|job| job.work).sum()),
            oldest_wait_ms: state.waiting.front().map_or(0, |job| millis(job.since.elapsed())),
            invested_ms,
            left_ms: millis(state.running.values().map(|it| it.work).sum()).saturating_sub(invested_ms),
            until_idle_ms: millis(state.until_idle()),
            mean_work_us: mean(state.ledger.accepted),
            pace_permille,
        }
    }

    /// What became of each job.
    pub fn ledger(&self) -> Ledger {
        self.state().ledger.clone()
    }

    /// Says whenever something has changed.
    pub fn changes(&self) -> watch::Receiver<usize> {
        self.in_flight.subscribe()
    }

    /// Returns once nothing is in flight.
    pub async fn idle(&self) {
        let _ = self.in_flight.subscribe().wait_for(|in_flight| *in_flight == 0).await;
    }
}

impl State {
    fn is_busy(&self) -> bool {
        self.running.len() >= self.slots as usize
    }

    /// How long all of it takes at full speed: each that waits gets the slot that is free first.
    fn until_idle(&self) -> Duration {
        let left = |it: &Running| it.work.saturating_sub(it.since.elapsed());
        let mut busy: BinaryHeap<_> = self.running.values().map(|it| Reverse(left(it))).collect();
        let mut longest = busy.iter().map(|it| it.0).max().unwrap_or_default();
        for job in &self.waiting {
            let free = if busy.len() < self.slots.max(1) as usize { None } else { busy.pop() };
            let ends = free.map_or(Duration::ZERO, |it| it.0) + job.work;
            longest = longest.max(ends);
            busy.push(Reverse(ends));
        }
        longest
    }
}

impl Load {
    /// Jobs that are taken and not done.
    pub fn in_flight(&self) -> u32 {
        self.running + self.queued
    }

    /// About how long it takes until nothing is in flight, at this pace, in milliseconds.
    pub fn drain_ms(&self) -> u64 {
        let pace = u64::from(if self.pace_permille == 0 { FULL_PERMILLE } else { self.pace_permille });
        self.until_idle_ms * u64::from(FULL_PERMILLE) / pace
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    const SECOND: Duration = Duration::from_secs(1);

    fn slots(slots: u32, queue_max: usize) -> Arc<Slots> {
        Slots::new(Arc::new(Pace::new(FULL_PERMILLE)), slots, queue_max)
    }

    fn take(slots: &Arc<Slots>, id: &str) -> Result<oneshot::Receiver<()>, Refused> {
        slots.take(Some(id.to_owned()), SECOND).map(|(_, done)| done)
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_slot_waits_and_what_has_no_place_is_refused() {
        let slots = slots(2, 1);
        let begun = Instant::now();
        let first = take(&slots, "a").unwrap();
        take(&slots, "b").unwrap();
        let third = take(&slots, "c").unwrap();
        assert_eq!(take(&slots, "d").unwrap_err(), Refused::Full(1));
        sleep(SECOND / 4).await;
        let load = slots.load();
        assert_eq!((load.running, load.queued, load.in_flight()), (2, 1, 3));
        assert_eq!((load.backlog_ms, load.invested_ms, load.left_ms), (1_000, 500, 1_500));
        assert_eq!((load.oldest_wait_ms, load.mean_work_us, load.drain_ms()), (250, Some(1_000_000), 1_750));
        first.await.unwrap();
        assert_eq!(begun.elapsed(), SECOND);
        third.await.unwrap();
        assert_eq!(begun.elapsed(), 2 * SECOND);
        let ledger = slots.ledger();
        assert_eq!((ledger.accepted, ledger.done, ledger.refused), (3, 3, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_is_done_though_nobody_waits_for_it_and_then_all_is_idle() {
        let slots = slots(1, 10);
        drop(take(&slots, "a").unwrap());
        drop(take(&slots, "b").unwrap());
        assert_eq!(take(&slots, "b").unwrap_err(), Refused::Twice);
        slots.idle().await;
        assert_eq!(slots.ledger().done_ids, ["a", "b"]);
        assert_eq!(slots.load().in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn fewer_slots_end_what_is_begun_and_more_begin_at_once() {
        let slots = slots(2, 10);
        for id in ["a", "b", "c", "d", "e"] {
            take(&slots, id).unwrap();
        }
        slots.resize(1);
        assert_eq!(slots.load().running, 2);
        sleep(SECOND * 3 / 2).await;
        assert_eq!(slots.load().running, 1);
        slots.resize(3);
        assert_eq!((slots.load().running, slots.load().queued), (3, 0));
        slots.idle().await;
        assert_eq!(slots.load().drain_ms(), 0);
    }
}
