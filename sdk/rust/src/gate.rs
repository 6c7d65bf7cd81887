//! The gate: open, or closed with the guards that are still held. A plain structure without a runtime.
//!
//! Closing it and counting guards happen under one lock, so there is no moment at which a request slips in after the
//! gate was found empty.

use crate::route::Route;
use crate::sync::{Mutex, lock};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Decides who may touch moved state.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    open: bool,
    /// It is closed, and all that is missing is the word that it opens.
    opening: bool,
    incarnation: u32,
    /// Whoever holds a guard, by the number it got.
    holders: Slab<Holder>,
    /// Woken when the gate opens, closes, or its last guard ends.
    watchers: Slab<Waker>,
    /// Woken when the last guard ends, whether the gate is open or not.
    idlers: Slab<Waker>,
}

#[derive(Debug)]
struct Holder {
    route: Route,
    since: Instant,
}

/// The gate is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Of the process that refuses.
    pub(crate) incarnation: u32,
}

/// The oldest guard that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Oldest {
    /// What it is held for.
    pub(crate) route: Route,
    /// For how long.
    pub(crate) held: Duration,
}

/// A place among those who are woken when the gate changes. Give it back with [`Gate::unwatch`].
#[derive(Debug, Default)]
pub(crate) struct Watch(Option<usize>);

impl Gate {
    /// An open gate: for a program without a cloud, or without state that moves.
    pub(crate) fn new(open: bool) -> Self {
        Self { inner: Mutex::new(Inner { open, ..Inner::default() }) }
    }

    /// Takes a guard, if the gate is open. Never waits.
    pub(crate) fn enter(&self, route: Route) -> Result<usize, Closed> {
        let mut inner = lock(&self.inner);
        if !inner.open {
            return Err(Closed { incarnation: inner.incarnation });
        }
        Ok(inner.holders.insert(Holder { route, since: Instant::now() }))
    }

    /// Gives a guard back.
    pub(crate) fn leave(&self, holder: usize) {
        let woken = {
            let mut inner = lock(&self.inner);
            inner.holders.remove(holder);
            let is_last = inner.holders.len == 0;
            let mut woken = if is_last { inner.idlers.all() } else { Vec::new() };
            if is_last && !inner.open {
                woken.extend(inner.watchers.all());
            }
            woken
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Opens the gate under an incarnation.
    pub(crate) fn open(&self, incarnation: u32) {
        self.turn(|inner| {
            inner.open = true;
            inner.opening = false;
            inner.incarnation = incarnation;
        });
    }

    /// Stays closed, under an incarnation that only waits for the word that it serves: who comes now may wait for that.
    pub(crate) fn expect(&self, incarnation: u32) {
        self.turn(|inner| {
            inner.opening = !inner.open;
            inner.incarnation = incarnation;
        });
    }

    /// Closes the gate. Who holds a guard keeps it.
    pub(crate) fn close(&self) {
        self.turn(|inner| (inner.open, inner.opening) = (false, false));
    }

    /// Notes the incarnation that refusals carry while the gate stays as it is.
    pub(crate) fn name(&self, incarnation: u32) {
        lock(&self.inner).incarnation = incarnation;
    }

    /// Whether it is open.
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.inner).open
    }

    /// Whether it is closed and expected to open any moment.
    pub(crate) fn is_opening(&self) -> bool {
        lock(&self.inner).opening
    }

    /// The incarnation that refusals carry.
    pub(crate) fn incarnation(&self) -> u32 {
        lock(&self.inner).incarnation
    }

    /// How many guards are held.
    pub(crate) fn held(&self) -> usize {
        lock(&self.inner).holders.len
    }

    /// The oldest guard.
    pub(crate) fn oldest(&self) -> Option<Oldest> {
        let inner = lock(&self.inner);
        let oldest = inner.holders.iter().min_by_key(|holder| holder.since)?;
        Some(Oldest { route: oldest.route.clone(), held: oldest.since.elapsed() })
    }

    /// Ready when the gate is closed and no guard is held.
    pub(crate) fn poll_ended(&self, watch: &mut Watch, waker: &Waker) -> Poll<()> {
        self.poll(watch, waker, |inner| !inner.open && inner.holders.len == 0)
    }

    /// Ready when the gate is open.
    pub(crate) fn poll_open(&self, watch: &mut Watch, waker: &Waker) -> Poll<()> {
        self.poll(watch, waker, |inner| inner.open)
    }

    /// Ready when the gate is closed.
    pub(crate) fn poll_closed(&self, watch: &mut Watch, waker: &Waker) -> Poll<()> {
        self.poll(watch, waker, |inner| !inner.open)
    }

    /// Ready when no guard is held.
    pub(crate) fn poll_idle(&self, watch: &mut Watch, waker: &Waker) -> Poll<()> {
        let mut inner = lock(&self.inner);
        if let Some(place) = watch.0.take() {
            inner.idlers.remove(place);
        }
        if inner.holders.len == 0 {
            return Poll::Ready(());
        }
        watch.0 = Some(inner.idlers.insert(waker.clone()));
        Poll::Pending
    }

    /// Gives a place among those back that wait for [`Gate::poll_idle`].
    pub(crate) fn idle_no_more(&self, watch: &mut Watch) {
        if let Some(place) = watch.0.take() {
            lock(&self.inner).idlers.remove(place);
        }
    }

    /// Gives a place among the watchers back.
    pub(crate) fn unwatch(&self, watch: &mut Watch) {
        if let Some(place) = watch.0.take() {
            lock(&self.inner).watchers.remove(place);
        }
    }

    fn poll(&self, watch: &mut Watch, waker: &Waker, holds: impl FnOnce(&Inner) -> bool) -> Poll<()> {
        let mut inner = lock(&self.inner);
        if let Some(place) = watch.0.take() {
            inner.watchers.remove(place);
        }
        if holds(&inner) {
            return Poll::Ready(());
        }
        watch.0 = Some(inner.watchers.insert(waker.clone()));
        Poll::Pending
    }

    fn turn(&self, change: impl FnOnce(&mut Inner)) {
        let woken = {
            let mut inner = lock(&self.inner);
            change(&mut inner);
            inner.watchers.all()
        };
        woken.into_iter().for_each(Waker::wake);
    }
}

/// Numbered places, used again once they are free.
#[derive(Debug)]
struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    fn insert(&mut self, value: T) -> usize {
        self.len += 1;
        if let Some(place) = self.free.pop() {
            self.places[place] = Some(value);
            return place;
        }
        self.places.push(Some(value));
        self.places.len() - 1
    }

    fn remove(&mut self, place: usize) {
        if self.places[place].take().is_some() {
            self.free.push(place);
            self.len -= 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten()
    }
}

impl Slab<Waker> {
    /// Every waker, each of which keeps its place: its owner gives it back.
    fn all(&self) -> Vec<Waker> {
        self.iter().cloned().collect()
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_refuses_with_its_incarnation_and_keeps_the_guards_that_are_held() {
        let gate = Gate::default();
        assert_eq!(gate.enter("GET /".into()), Err(Closed { incarnation: 0 }));
        gate.open(7);
        let held = gate.enter("GET /".into()).unwrap();
        gate.close();
        assert_eq!(gate.enter("GET /".into()), Err(Closed { incarnation: 7 }));
        assert_eq!(gate.held(), 1);
        gate.leave(held);
        assert_eq!(gate.held(), 0);
    }

    #[test]
    fn the_oldest_guard_is_named_with_its_route() {
        let gate = Gate::new(true);
        let first = gate.enter("POST /transfer".into()).unwrap();
        gate.enter("GET /".into()).unwrap();
        assert_eq!(&*gate.oldest().unwrap().route, "POST /transfer");
        gate.leave(first);
        gate.enter("GET /late".into()).unwrap();
        assert_eq!(&*gate.oldest().unwrap().route, "GET /");
    }

    #[test]
    fn guards_have_ended_only_when_the_gate_is_closed_and_the_last_is_given_back() {
        let gate = Gate::new(true);
        let held = gate.enter("GET /".into()).unwrap();
        let mut watch = Watch::default();
        assert!(gate.poll_ended(&mut watch, Waker::noop()).is_pending());
        gate.close();
        assert!(gate.poll_ended(&mut watch, Waker::noop()).is_pending());
        gate.leave(held);
        assert!(gate.poll_ended(&mut watch, Waker::noop()).is_ready());
        gate.unwatch(&mut watch);
    }
}
