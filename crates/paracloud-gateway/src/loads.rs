//! What the application of one instance reports of its load with its replies, and what is said of it to clients.
//!
//! This is where balancing takes reports from ([`Loads::fresh`]), and where it says what an aware application told the
//! cloud ([`Loads::say`]): that is written into replies to which the application has written nothing itself.

use crate::bounds::LOAD_LEASE;
use crate::orca::{self, Load, METRICS, METRICS_BIN};
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
    said: Option<Word>,
}

/// What one process told the cloud, as it stands in a head and in the trailers of a call, and until when it counts.
#[derive(Debug)]
struct Word {
    start: StartId,
    text: HeaderValue,
    message: HeaderValue,
    until: Instant,
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
        let until = Instant::now().checked_add(holds_for);
        state.said = load.text().zip(load.message()).zip(until).map(|((text, message), until)| Word {
            start,
            text,
            message,
            until,
        });
        self.says.store(state.said.is_some(), Ordering::Relaxed);
    }

    /// What was told counts no more.
    pub(crate) fn unsay(&self) {
        self.state().said = None;
        self.says.store(false, Ordering::Relaxed);
    }

    /// The head of a reply of this process passes. Clients of gRPC look for a report at the end of a call. Whether the
    /// application wrote one.
    pub(crate) fn head(&self, headers: &mut HeaderMap, start: StartId, is_call: bool) -> bool {
        let says = self.read(headers, start);
        if !says && !is_call {
            self.with_word(start, |word| headers.insert(METRICS, word.text.clone()));
        }
        says
    }

    /// The trailers of a reply of this process pass; they are to say what it told the cloud if they are `silent`.
    pub(crate) fn trailers(&self, trailers: &mut HeaderMap, start: StartId, silent: bool) {
        if !self.read(trailers, start) && silent {
            self.with_word(start, |word| trailers.insert(METRICS_BIN, word.message.clone()));
        }
    }

    /// What this process told the cloud, if that counts yet.
    fn with_word<T>(&self, start: StartId, then: impl FnOnce(&Word) -> T) {
        if !self.says.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state();
        let now = Instant::now();
        if state.said.take_if(|word| word.until <= now).is_some() {
            self.says.store(false, Ordering::Relaxed);
        }
        state.said.as_ref().filter(|word| word.start == start).map(then);
    }

    /// A head or trailers of this process pass: a report in them is taken up. Whether the application wrote one.
    fn read(&self, headers: &HeaderMap, start: StartId) -> bool {
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
        loads.head(&mut headers, START, false);
        assert!(headers.is_empty());
        loads.say(START, &load(), Duration::from_secs(60));
        loads.head(&mut headers, START, false);
        assert_eq!(headers[METRICS], "TEXT application_utilization:0.250");
        assert_eq!(loads.fresh(START), None, "that is not heard as its own word");
        let mut own = HeaderMap::from_iter([(METRICS, HeaderValue::from_static("eps:1"))]);
        loads.head(&mut own, START, false);
        assert_eq!(own[METRICS], "eps:1");
        assert_eq!(loads.fresh(START).map(|(load, _)| load.eps_milli), Some(Some(1_000)));
        let mut other = HeaderMap::new();
        loads.head(&mut other, StartId(8), false);
        assert!(other.is_empty() && loads.fresh(StartId(8)).is_none(), "of another process nothing is known");
    }

    #[test]
    fn what_holds_no_more_is_not_said() {
        let loads = Loads::default();
        loads.say(START, &load(), Duration::from_secs(60));
        let is_said = || {
            let mut headers = HeaderMap::new();
            loads.head(&mut headers, START, false);
            headers.contains_key(METRICS)
        };
        let left = |loads: &Loads| {
            let until = loads.state().said.as_ref().unwrap().until;
            until.saturating_duration_since(Instant::now())
        };
        assert!(is_said() && left(&loads) > LOAD_LEASE, "as long as it said, and no shorter");
        loads.state().said.iter_mut().for_each(|word| word.until = Instant::now());
        assert!(!is_said() && loads.state().said.is_none());
    }

    #[test]
    fn a_call_says_it_at_its_end_as_the_message_where_its_clients_look() {
        let loads = Loads::default();
        loads.say(START, &load(), Duration::from_secs(60));
        let (mut head, mut end) = (HeaderMap::new(), HeaderMap::new());
        loads.head(&mut head, START, true);
        loads.trailers(&mut end, START, true);
        assert!(head.is_empty());
        assert_eq!(orca::read(&end), Ok(Some(load())));
        assert!(end.contains_key(METRICS_BIN));
        let mut own = HeaderMap::from_iter([(METRICS_BIN, HeaderValue::from_static("STMzMzMzM+s/"))]);
        loads.trailers(&mut own, START, true);
        assert_eq!(own[METRICS_BIN], "STMzMzMzM+s/", "it has said so itself");
        assert_eq!(loads.fresh(START).map(|(load, _)| load.application_permille), Some(Some(850)));
        let mut other = HeaderMap::new();
        loads.trailers(&mut other, START, false);
        assert!(other.is_empty(), "other trailers are nobody's who looks for it");
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
