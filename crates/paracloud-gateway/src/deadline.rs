//! A wait that is begun for each request and almost never comes to its end.
//!
//! To tell the event loop of each would cost more than the wait is worth: it is told of one moment, and when that has come
//! and the wait has been put off meanwhile, of the next. So a wait that is put off costs no more than a number, and the
//! event loop is asked once in as long as the wait is.

use hyper::rt::{Sleep, Timer};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// One wait, to be begun again and again.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    at: Option<Instant>,
    told: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Deadline {
    /// The wait ends then, and no earlier or later.
    pub(crate) fn set(&mut self, at: Instant) {
        self.at = Some(at);
        if let Some(told) = self.told.as_mut().filter(|told| told.deadline().into_std() > at) {
            told.as_mut().reset(at.into());
        }
    }

    /// Ready once it has come.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let told = self.told.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
        loop {
            ready!(told.as_mut().poll(cx));
            if told.deadline().into_std() >= at {
                return Poll::Ready(());
            }
            told.as_mut().reset(at.into());
        }
    }
}

/// How long one connection waits for a head, as hyper asks for it: one wait at a time.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeadTimer(Arc<Mutex<Deadline>>);

impl HeadTimer {
    fn deadline(&self) -> MutexGuard<'_, Deadline> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.deadline().set(deadline);
        Box::pin(Waits(self.clone()))
    }
}

/// The wait that goes on.
struct Waits(HeadTimer);

impl Future for Waits {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.deadline().poll(cx)
    }
}

impl Sleep for Waits {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Waker;

    #[tokio::test]
    async fn a_wait_that_is_put_off_ends_no_earlier_and_one_that_is_brought_forward_no_later() {
        let mut deadline = Deadline::default();
        let look = |deadline: &mut Deadline| {
            let mut cx = Context::from_waker(Waker::noop());
            deadline.poll(&mut cx)
        };
        let after = |ms| Instant::now() + Duration::from_millis(ms);
        deadline.set(after(3_600_000));
        assert!(look(&mut deadline).is_pending());
        let at = after(20);
        deadline.set(at);
        poll_fn(|cx| deadline.poll(cx)).await;
        assert!(Instant::now() >= at, "it was brought forward, and ends");
        deadline.set(after(20));
        let _ = look(&mut deadline);
        let at = after(60);
        deadline.set(at);
        poll_fn(|cx| deadline.poll(cx)).await;
        assert!(Instant::now() >= at, "it was put off");
    }

    #[tokio::test]
    async fn who_waits_is_woken_though_the_wait_was_put_off_while_nobody_looked() {
        let timer = HeadTimer::default();
        drop(timer.sleep(Duration::from_millis(5)));
        let begun = Instant::now();
        timer.sleep(Duration::from_millis(30)).await;
        assert!(begun.elapsed() >= Duration::from_millis(30));
    }
}
