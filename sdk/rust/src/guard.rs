//! Guards: what a request holds while it touches state that moves.
//!
//! A guard is re-entrant. Who holds one always gets another, also after the gate was closed, so that a layer and a
//! `transact` inside it never wait for each other or refuse each other. The guard that a future or closure runs under is
//! found by [`Guard::scope`] and [`Guard::run`]; a spawned task does not inherit it.

use crate::gate::{Closed, Gate, Watch};
use crate::route::Route;
use crate::sync::{AtomicBool, Mutex, Ordering, lock, thread_local};
use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

thread_local! {
    /// The slots that the running code is under, innermost last.
    static CURRENT: RefCell<Vec<Slot>> = const { RefCell::new(Vec::new()) };
}

/// The gate is closed: this process does not serve, or no longer. Nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gate is closed: incarnation {incarnation} does not serve now; the request was refused")]
pub struct Refused {
    /// Of the process that refuses.
    pub incarnation: u32,
}

impl From<Closed> for Refused {
    fn from(closed: Closed) -> Self {
        Self { incarnation: closed.incarnation }
    }
}

/// Access to moved state, until it is dropped. A clone is the same guard, which ends with its last clone.
#[derive(Clone)]
pub struct Guard {
    held: Arc<Held>,
}

struct Held {
    gate: Arc<Gate>,
    holder: usize,
    /// Something was changed under it.
    wrote: AtomicBool,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gate.leave(self.holder);
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("holder", &self.held.holder).finish_non_exhaustive()
    }
}

impl Guard {
    /// A new guard, whatever the running code is under.
    pub(crate) fn take(gate: &Arc<Gate>, route: Route) -> Result<Self, Refused> {
        let holder = gate.enter(route)?;
        Ok(Self { held: Arc::new(Held { gate: gate.clone(), holder, wrote: AtomicBool::new(false) }) })
    }

    /// The guard that the running code is under, or a new one.
    pub(crate) fn enter(gate: &Arc<Gate>, route: &str) -> Result<Self, Refused> {
        match Self::current(gate) {
            Some(guard) => Ok(guard),
            None => Self::take(gate, route.into()),
        }
    }

    /// The guard of this gate that the running code is under.
    pub(crate) fn current(gate: &Arc<Gate>) -> Option<Self> {
        CURRENT.with(|current| {
            let current = current.borrow();
            let slots = current.iter().rev();
            slots.filter_map(Slot::guard).find(|guard| Arc::ptr_eq(&guard.held.gate, gate))
        })
    }

    /// Runs a future under this guard: every access to moved state in it uses the guard, also after the gate was
    /// closed. This is how a guard is passed to a spawned task, which does not inherit it:
    /// `tokio::spawn(guard.clone().scope(work))`.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> + use<F> {
        Slot::holding(self).scope(future)
    }

    /// Runs a closure under this guard.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        Slot::holding(self.clone()).run(work)
    }

    pub(crate) fn note_change(&self) {
        self.held.wrote.store(true, Ordering::Release);
    }

    /// Whether something was changed under it.
    pub(crate) fn has_changed(&self) -> bool {
        self.held.wrote.load(Ordering::Acquire)
    }
}

/// Where code finds its guard. A streaming body empties it while it waits for its peer and fills it for each chunk.
#[derive(Clone)]
pub(crate) struct Slot {
    guard: Arc<Mutex<Option<Guard>>>,
}

impl Slot {
    pub(crate) fn holding(guard: Guard) -> Self {
        Self { guard: Arc::new(Mutex::new(Some(guard))) }
    }

    pub(crate) fn guard(&self) -> Option<Guard> {
        lock(&self.guard).clone()
    }

    /// Lets the guard go. It ends here, unless another holds it too.
    pub(crate) fn release(&self) {
        let guard = lock(&self.guard).take();
        drop(guard);
    }

    /// Takes a guard again, if there is none.
    pub(crate) fn renew(&self, gate: &Arc<Gate>, route: &Route) -> Result<(), Refused> {
        let mut guard = lock(&self.guard);
        if guard.is_none() {
            *guard = Some(Guard::take(gate, route.clone())?);
        }
        Ok(())
    }

    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let _under = Under::new(self.clone());
        work()
    }

    pub(crate) fn scope<F: Future>(self, future: F) -> Scoped<F> {
        Scoped { slot: self, future: Box::pin(future) }
    }
}

/// A future that runs under a slot.
pub(crate) struct Scoped<F> {
    slot: Slot,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _under = Under::new(self.slot.clone());
        self.future.as_mut().poll(context)
    }
}

/// Code on this thread runs under a slot, until this is dropped.
struct Under;

impl Under {
    fn new(slot: Slot) -> Self {
        CURRENT.with(|current| current.borrow_mut().push(slot));
        Self
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        let slot = CURRENT.with(|current| current.borrow_mut().pop());
        drop(slot);
    }
}

/// Waits for a state of the gate.
pub(crate) struct Turned<'a> {
    gate: &'a Gate,
    watch: Watch,
    poll: fn(&Gate, &mut Watch, &std::task::Waker) -> Poll<()>,
}

impl Gate {
    /// Ends when the gate is closed and all guards were given back.
    pub(crate) fn ended(&self) -> Turned<'_> {
        Turned { gate: self, watch: Watch::default(), poll: Self::poll_ended }
    }

    /// Ends when no guard is held.
    pub(crate) fn idle(&self) -> Idle<'_> {
        Idle { gate: self, watch: Watch::default() }
    }

    /// Ends when the gate is open.
    pub(crate) fn opened(&self) -> Turned<'_> {
        Turned { gate: self, watch: Watch::default(), poll: Self::poll_open }
    }
}

/// See [`Gate::idle`].
pub(crate) struct Idle<'a> {
    gate: &'a Gate,
    watch: Watch,
}

impl Future for Idle<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.gate.poll_idle(&mut this.watch, context.waker())
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.gate.idle_no_more(&mut self.watch);
    }
}

impl Future for Turned<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        (this.poll)(this.gate, &mut this.watch, context.waker())
    }
}

impl Drop for Turned<'_> {
    fn drop(&mut self) {
        self.gate.unwatch(&mut self.watch);
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    fn open() -> Arc<Gate> {
        Arc::new(Gate::new(true))
    }

    #[test]
    fn who_holds_a_guard_gets_another_after_the_gate_was_closed() {
        let gate = open();
        let guard = Guard::enter(&gate, "POST /transfer").unwrap();
        gate.close();
        assert!(Guard::enter(&gate, "elsewhere").is_err());
        guard.run(|| Guard::enter(&gate, "inside").unwrap());
        assert_eq!(gate.held(), 1, "the inner one was the same guard");
        drop(guard);
        assert_eq!(gate.held(), 0);
    }

    #[test]
    fn a_guard_of_another_gate_opens_nothing() {
        let (one, other) = (open(), Arc::new(Gate::new(false)));
        let guard = Guard::enter(&one, "GET /").unwrap();
        assert!(guard.run(|| Guard::enter(&other, "GET /")).is_err());
    }

    #[tokio::test]
    async fn a_spawned_task_does_not_inherit_a_guard_but_can_be_given_one() {
        let gate = open();
        let guard = Guard::enter(&gate, "GET /").unwrap();
        gate.close();
        let scoped = guard.clone().scope({
            let gate = gate.clone();
            async move {
                let spawned = tokio::spawn({
                    let gate = gate.clone();
                    async move { Guard::enter(&gate, "spawned").is_ok() }
                });
                let given = tokio::spawn({
                    let gate = gate.clone();
                    let guard = Guard::enter(&gate, "GET /").unwrap();
                    guard.scope(async move { Guard::enter(&gate, "given").is_ok() })
                });
                (spawned.await.unwrap(), given.await.unwrap())
            }
        });
        assert_eq!(scoped.await, (false, true));
        drop(guard);
        gate.ended().await;
    }

    #[test]
    fn a_panic_leaves_no_guard_behind() {
        let gate = open();
        let guard = Guard::enter(&gate, "GET /").unwrap();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            guard.run(|| panic!("a handler's fault"));
        }));
        assert!(result.is_err());
        drop(guard);
        assert!(Guard::current(&gate).is_none());
        assert_eq!(gate.held(), 0);
    }
}
