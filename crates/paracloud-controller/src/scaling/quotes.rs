//! What instances answered when they were asked what losing them costs.

use crate::asks::{self, NotAsked};
use crate::control::{Control, locked};
use crate::fewer;
use paci::answer::{Answer, Verdict};
use paci::bounds;
use paci::finding::Finding;
use paci::upcall::Reason;
use paracloud_core::ids::{InstanceNumber, StartId};
use paracloud_core::scaling::observation::{Quote, Told};
use paracloud_substrate::message::{Question, Unasked};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Instances of an app that are asked at once; more wait for their turn.
const AT_ONCE_MAX: usize = 16;
/// One that cannot be asked is asked again after so long.
const UNABLE: Duration = Duration::from_secs(60);

/// What one answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// So much.
    Quote(Quote, Option<u32>),
    /// Not now: for so long, in milliseconds.
    Later(u32),
    /// It cannot say what losing it costs.
    Unable,
}

/// What is known of one from asking it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) quote: Option<Told<Quote>>,
    /// Sessions that only it can serve, by the same answer.
    pub(super) sessions: Option<u32>,
    /// It wants to be left alone for so long, in milliseconds.
    pub(super) held_ms: Option<u32>,
    /// It cannot be asked.
    pub(super) is_unable: bool,
}

/// The last answer of each instance of one app.
#[derive(Debug)]
pub(super) struct Quotes {
    answers: Mutex<BTreeMap<InstanceNumber, (StartId, Said, Instant)>>,
    turns: Semaphore,
}

impl Default for Quotes {
    fn default() -> Self {
        Self { answers: Mutex::default(), turns: Semaphore::new(AT_ONCE_MAX) }
    }
}

impl Quotes {
    /// What is known of this process; an answer is good for so long, in milliseconds.
    pub(super) fn of(&self, number: InstanceNumber, start: StartId, valid_ms: u32, now: Instant) -> Known {
        let answers = locked(&self.answers);
        let Some((_, said, at)) = answers.get(&number).filter(|(of, ..)| *of == start) else {
            return Known::default();
        };
        let age = now.saturating_duration_since(*at);
        let age_ms = u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
        match *said {
            Said::Quote(value, sessions) => {
                let quote = Told { value, age_ms, lease_ms: valid_ms };
                let sessions = sessions.filter(|_| quote.is_good());
                Known { quote: Some(quote), sessions, ..Known::default() }
            }
            Said::Later(for_ms) => {
                let left_ms = for_ms.saturating_sub(age_ms);
                Known { held_ms: (left_ms > 0).then_some(left_ms), ..Known::default() }
            }
            Said::Unable => Known { is_unable: age < UNABLE, ..Known::default() },
        }
    }

    /// It was to leave and did not: it is left alone as long as who refuses without saying for how long.
    pub(super) fn stayed(&self, number: InstanceNumber, start: StartId, now: Instant) {
        locked(&self.answers).insert(number, (start, Said::Later(bounds::REFUSAL_MS), now));
    }

    /// Forgets those that are not there any more.
    pub(super) fn keep(&self, is_there: impl Fn(InstanceNumber) -> bool) {
        locked(&self.answers).retain(|number, _| is_there(*number));
    }

    /// Asks one, and keeps what it answers. Nothing that it does not say is kept.
    pub(super) async fn ask(
        self: Arc<Self>,
        control: Arc<Control>,
        number: InstanceNumber,
        name: String,
        budget_ms: u32,
    ) {
        let Ok(_turn) = self.turns.acquire().await else { return };
        let Some(record) = control.views.of(&name).and_then(|view| view.record) else { return };
        let answer = asks::put(&control, &name, Question::Quote, Reason::ScaleIn, budget_ms).await;
        let said = match answer {
            Ok(answer) => said(&answer),
            // One that let its time pass is only silent.
            Err(NotAsked::Agent(Unasked::Unaware | Unasked::Lacks(_))) => Some(Said::Unable),
            Err(NotAsked::Agent(_) | NotAsked::Here(_)) => None,
        };
        match said {
            Some(said) => {
                locked(&self.answers).insert(number, (record.owner.start, said, Instant::now()));
            }
            None => tracing::debug!(name, "what losing it costs was not said"),
        }
    }
}

fn said(answer: &Answer) -> Option<Said> {
    match (answer.verdict, &answer.result) {
        (Verdict::Done, Some(Finding::Quote(quote))) => Some(match quote.cost_ms {
            Some(cost_ms) => {
                let preference = fewer::preference(quote.preference);
                let quoted = Quote { cost_ms, preference, state_kib: quote.state_kib };
                Said::Quote(quoted, quote.sessions)
            }
            None => Said::Unable,
        }),
        (Verdict::Defer, _) => Some(Said::Later(answer.retry_after_ms)),
        (Verdict::Refuse, _) => {
            let for_ms = answer.retry_after_ms;
            Some(Said::Later(if for_ms == 0 { bounds::REFUSAL_MS } else { for_ms }))
        }
        (Verdict::Unsupported, _) => Some(Said::Unable),
        (Verdict::Done | Verdict::InProgress | Verdict::Failed | Verdict::Unspecified, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paci::finding::RemovalQuote;

    fn known(answer: &Answer, later_ms: u64) -> Known {
        let (quotes, now) = (Quotes::default(), Instant::now());
        if let Some(said) = said(answer) {
            locked(&quotes.answers).insert(InstanceNumber(1), (StartId(1), said, now));
        }
        let later = now + Duration::from_millis(later_ms);
        assert_eq!(quotes.of(InstanceNumber(1), StartId(2), 5_000, later), Known::default());
        quotes.of(InstanceNumber(1), StartId(1), 5_000, later)
    }

    fn quoted(cost_ms: Option<u32>) -> Answer {
        let quote = RemovalQuote { cost_ms, sessions: Some(2), ..RemovalQuote::default() };
        Answer { verdict: Verdict::Done, result: Some(Finding::Quote(quote)), ..Answer::default() }
    }

    #[test]
    fn an_answer_is_good_for_its_time_and_of_its_process() {
        let good = known(&quoted(Some(70)), 4_000);
        let quote = Told { value: Quote { cost_ms: 70, ..Quote::default() }, age_ms: 4_000, lease_ms: 5_000 };
        assert_eq!((good.quote, good.sessions, good.is_unable), (Some(quote), Some(2), false));
        let old = known(&quoted(Some(70)), 6_000);
        assert!(!old.quote.unwrap().is_good() && old.sessions.is_none(), "{old:?}");
    }

    #[test]
    fn who_was_to_leave_and_did_not_is_left_alone_for_a_time() {
        let (quotes, now) = (Quotes::default(), Instant::now());
        quotes.stayed(InstanceNumber(1), StartId(1), now);
        let held = |after_ms| {
            let later = now + Duration::from_millis(after_ms);
            quotes.of(InstanceNumber(1), StartId(1), 5_000, later).held_ms
        };
        let for_ms = bounds::REFUSAL_MS;
        assert_eq!([held(0), held(for_ms.into())], [Some(for_ms), None]);
    }

    #[test]
    fn who_refuses_is_left_alone_for_a_time_and_who_cannot_say_it_is_no_candidate() {
        let verdict = |verdict, retry_after_ms| Answer { verdict, retry_after_ms, ..Answer::default() };
        assert_eq!(known(&verdict(Verdict::Defer, 900), 300).held_ms, Some(600));
        assert_eq!(known(&verdict(Verdict::Defer, 900), 900), Known::default());
        assert_eq!(known(&verdict(Verdict::Refuse, 0), 0).held_ms, Some(bounds::REFUSAL_MS));
        assert!(known(&verdict(Verdict::Unsupported, 0), 0).is_unable);
        assert!(known(&quoted(None), 0).is_unable, "a cost that is not said is not zero");
        assert!(!known(&quoted(None), 60_000).is_unable, "it is asked again");
        assert_eq!(known(&verdict(Verdict::Failed, 0), 0), Known::default());
    }
}
