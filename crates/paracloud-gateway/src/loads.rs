//! What the application of one instance reports of its load with its replies, and what is said of it to clients.
//!
//! This is where balancing takes reports from ([`Loads::fresh`]), and where it says what an aware application told the
//! cloud ([`Loads::say`]): that is written into replies to which the application has written nothing itself.

use crate::bounds::LOAD_LEASE;
use crate::orca::{self, Load, METRICS};
use hyper::header::{HeaderMap, HeaderValue};
use paracloud_core::ids::StartId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    state: Mutex<State>,
    /// Whether there is something to say, looked at without the lock.
    says: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    read: Option<(StartId, Load, Instant)>,
    said: Option<(StartId, HeaderValue, Instant)>,
}

impl Loads {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this process reported last, and how long ago; nothing once that is longer than [`LOAD_LEASE`].
    pub(crate) fn fresh(&self, start: StartId) -> Option<(Load, Duration)> {
        let state = self.state();
        let (of, load, at) = state.read.as_ref()?;
        let age = at.elapsed();
        (*of == start && age < LOAD_LEASE).then(|| (load.clone(), age))
    }

    /// What this process told the cloud of its load: from now on, for as long as that holds, its replies say so too.
    pub(crate) fn say(&self, start: StartId, load: &Load, holds_for: Duration) {
        let mut state = self.state();
        let now = Instant::now();
        state.said = load.header().map(|value| (start, value, now + holds_for.min(LOAD_LEASE)));
        self.says.store(state.said.is_some(), Ordering::Relaxed);
    }

    /// The head of a reply of this process passes.
    pub(crate) fn head(&self, headers: &mut HeaderMap, start: StartId) {
        if !self.read(headers, start) && self.says.load(Ordering::Relaxed) {
            let mut state = self.state();
            let now = Instant::now();
            if state.said.as_ref().is_some_and(|(_, _, until)| *until <= now) {
                state.said = None;
                self.says.store(false, Ordering::Relaxed);
            }
            if let Some((_, value, _)) = state.said.as_ref().filter(|(of, ..)| *of == start) {
                headers.insert(METRICS, value.clone());
            }
        }
    }

    /// A head or trailers of this process pass: a report in them is taken up. Whether the application wrote one.
    pub(crate) fn read(&self, headers: &HeaderMap, start: StartId) -> bool {
        if !orca::is_there(headers) {
            return false;
        }
        match orca::read(headers) {
            Ok(Some(load)) => self.state().read = Some((start, load, Instant::now())),
            Ok(None) => {}
            Err(error) => tracing::debug!(?start, %error, "a report of load is not taken"),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: StartId = StartId(7);

    fn load() -> Load {
        Load { application_permille: Some(250), ..Load::default() }
    }

    #[test]
    fn what_an_application_told_the_cloud_is_written_where_it_has_written_nothing_itself() {
        let loads = Loads::default();
        let mut headers = HeaderMap::new();
        loads.head(&mut headers, START);
        assert!(headers.is_empty());
        loads.say(START, &load(), LOAD_LEASE);
        loads.head(&mut headers, START);
        assert_eq!(headers[METRICS], "TEXT application_utilization:0.250");
        assert_eq!(loads.fresh(START), None, "that is not heard as its own word");
        let mut own = HeaderMap::from_iter([(METRICS, HeaderValue::from_static("eps:1"))]);
        loads.head(&mut own, START);
        assert_eq!(own[METRICS], "eps:1");
        assert_eq!(loads.fresh(START).map(|(load, _)| load.eps_milli), Some(Some(1_000)));
        let mut other = HeaderMap::new();
        loads.head(&mut other, StartId(8));
        assert!(other.is_empty() && loads.fresh(StartId(8)).is_none(), "of another process nothing is known");
    }

    #[test]
    fn what_holds_no_more_is_not_said() {
        let loads = Loads::default();
        loads.say(START, &load(), Duration::ZERO);
        let mut headers = HeaderMap::new();
        loads.head(&mut headers, START);
        assert!(headers.is_empty());
    }

    #[test]
    fn a_report_that_is_refused_changes_nothing() {
        let loads = Loads::default();
        loads.read(&HeaderMap::from_iter([(METRICS, HeaderValue::from_static("eps:1"))]), START);
        loads.read(&HeaderMap::from_iter([(METRICS, HeaderValue::from_static("eps:NaN"))]), START);
        assert_eq!(loads.fresh(START).map(|(load, _)| load.eps_milli), Some(Some(1_000)));
    }

    #[test]
    fn what_was_reported_longer_ago_than_its_lease_counts_no_more() {
        let loads = Loads::default();
        let since = |ago: Duration| {
            loads.state().read = Some((START, load(), Instant::now().checked_sub(ago).unwrap()));
        };
        since(LOAD_LEASE / 2);
        assert!(loads.fresh(START).is_some_and(|(_, age)| age >= LOAD_LEASE / 2));
        since(LOAD_LEASE);
        assert_eq!(loads.fresh(START), None);
    }
}
