//! Owners that ought to be ready and are not: why, and when people are told.
//!
//! A program that speaks of itself is taken by its word, any other by what the probe saw last. Nothing is told before
//! [`PATIENCE_MS`] have passed, so that a start as it should be is no news; then a reason is told when it changes, and
//! not more often than every [`TELL_AGAIN_MS`].

use super::{Node, Start, now_unix_ms};
use crate::probe;
use paci::state::State;
use paracloud_core::ids::StartId;
use paracloud_substrate::message::{FromAgentLine, Note, Unready};
use tokio::sync::watch;

/// How long an owner may take to get ready before anything is said of it, in milliseconds.
const PATIENCE_MS: u64 = 2_000;
/// The shortest time between two reasons that are told of one process, in milliseconds.
const TELL_AGAIN_MS: u64 = 5_000;

/// What was seen and told of one process.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    /// What the probe saw last.
    probe: Option<watch::Receiver<Option<String>>>,
    /// Since when it is not ready: in the node's milliseconds, and since 1970.
    since: Option<(u64, u64)>,
    told: Option<Unready>,
    told_ms: Option<u64>,
}

/// Something to tell.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Unready(Unready),
    /// What was told is over.
    Over,
}

impl Readiness {
    /// A probe begins: it says here what it sees.
    pub(super) fn probed(&mut self) -> watch::Sender<Option<String>> {
        let (sender, receiver) = watch::channel(None);
        self.probe = Some(receiver);
        sender
    }

    /// What there is to tell. `seen`: how it was asked and what came back, if it is not ready though it ought to be.
    fn news(&mut self, seen: Option<(String, String)>, now_ms: u64, now_unix_ms: u64) -> Option<News> {
        let Some((asked, answered)) = seen else {
            self.since = None;
            return self.told.take().map(|_| News::Over);
        };
        let (since_ms, since_unix_ms) = *self.since.get_or_insert((now_ms, now_unix_ms));
        let is_told =
            self.told.as_ref().is_some_and(|told| (&told.asked, &told.answered) == (&asked, &answered));
        let is_due = |told_ms: u64| now_ms.saturating_sub(told_ms) >= TELL_AGAIN_MS;
        if is_told || now_ms.saturating_sub(since_ms) < PATIENCE_MS || !self.told_ms.is_none_or(is_due) {
            return None;
        }
        let unready = Unready { since_unix_ms, asked, answered };
        (self.told, self.told_ms) = (Some(unready.clone()), Some(now_ms));
        Some(News::Unready(unready))
    }
}

impl Start {
    /// How it was asked and what came back, if it runs and is not ready.
    fn seen_unready(&self, probe: &paracloud_substrate::config::Probe) -> Option<(String, String)> {
        if !self.runs() {
            return None;
        }
        let own = |answered: String| Some(("PaCI SetState".to_owned(), answered));
        let message = &self.session.state_message;
        match self.session.state {
            // Of one that leaves nothing is expected.
            Some(State::Ready | State::Stopping | State::Draining) => None,
            Some(state) if message.is_empty() => own(format!("the application says {state}")),
            Some(state) => own(format!("the application says {state}: {message}")),
            None if self.session.aware => own("the application has not said READY".to_owned()),
            None => {
                let answered = self.readiness.probe.as_ref()?.borrow().clone()?;
                Some((probe::asked(probe, self.address), answered))
            }
        }
    }
}

impl Node {
    /// Looks whether there is something to tell of owners that ought to be ready.
    pub(super) fn look_for_the_unready(&mut self) {
        // While nobody hears it, nothing is told.
        if self.link.is_none() || self.ending.is_some() {
            return;
        }
        let (now_ms, now_unix_ms) = (self.now_ms(), now_unix_ms());
        let mut news = Vec::new();
        for (id, start) in &mut self.starts {
            let Some(instance) = self.instances.get(&start.instance) else { continue };
            let owns = instance.machine.machine().record().is_some_and(|record| record.owner.start == *id);
            let seen = if owns { start.seen_unready(&instance.app.readiness.probe) } else { None };
            if let Some(told) = start.readiness.news(seen, now_ms, now_unix_ms) {
                news.push((*id, start.instance.clone(), told));
            }
        }
        for (id, name, told) in news {
            self.tell_readiness(id);
            if let News::Unready(unready) = told {
                self.note(&name, None, Note::Unready { start: id, unready });
            }
        }
    }

    /// Tells the controller why a process is not ready, as far as there was something to tell.
    pub(super) fn tell_readiness(&mut self, id: StartId) {
        let Some(start) = self.starts.get(&id) else { return };
        let unready = start.readiness.told.clone().filter(|_| !start.is_dead());
        self.say(FromAgentLine::Unready { instance: start.instance.clone(), start: id, unready });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(answered: &str) -> Option<(String, String)> {
        Some(("PaCI SetState".to_owned(), answered.to_owned()))
    }

    fn told(news: Option<News>) -> Option<(u64, String)> {
        match news? {
            News::Unready(unready) => Some((unready.since_unix_ms, unready.answered)),
            News::Over => Some((0, "over".to_owned())),
        }
    }

    #[test]
    fn a_start_as_it_should_be_is_no_news() {
        let mut readiness = Readiness::default();
        assert_eq!(readiness.news(seen("refused"), 0, 7), None);
        assert_eq!(readiness.news(seen("HTTP 503"), PATIENCE_MS - 1, 7), None);
        assert_eq!(readiness.news(None, PATIENCE_MS, 7), None);
        assert_eq!(readiness.news(seen("refused"), PATIENCE_MS + 1, 7), None, "it begins anew");
    }

    #[test]
    fn a_reason_is_told_when_it_changes_and_not_too_often_and_its_end_at_once() {
        let mut readiness = Readiness::default();
        let mut at = |now_ms: u64, answered: Option<&str>| {
            let seen = answered.and_then(seen);
            told(readiness.news(seen, now_ms, 1_000 + now_ms))
        };
        let first = PATIENCE_MS + 100;
        assert_eq!(at(100, Some("refused")), None);
        assert_eq!(at(first, Some("refused")), Some((1_100, "refused".to_owned())));
        assert_eq!(at(first + TELL_AGAIN_MS, Some("refused")), None, "it is known");
        assert_eq!(at(first + TELL_AGAIN_MS, Some("HTTP 500")), Some((1_100, "HTTP 500".to_owned())));
        let flutters = (1..TELL_AGAIN_MS).filter_map(|ms| {
            at(first + TELL_AGAIN_MS + ms, Some(if ms % 2 == 0 { "HTTP 500" } else { "HTTP 503" }))
        });
        assert_eq!(flutters.count(), 0);
        let later = first + 2 * TELL_AGAIN_MS;
        assert_eq!(at(later, Some("HTTP 503")), Some((1_100, "HTTP 503".to_owned())));
        assert_eq!(at(later + 1, None), Some((0, "over".to_owned())));
        assert_eq!(at(later + 2, None), None);
    }
}
