//! Who leaves when a person wants fewer: those that can go are asked what losing them costs now, and the cheapest leave.
//!
//! Who asks to be left alone is not touched. Who does not answer leaves only if nobody else is there. Who holds what must not
//! be lost leaves by its own word, or with a consent to losing it: silence is never a yes.

use crate::asks::{self, NotAsked};
use crate::control::Control;
use crate::journal::cut;
use paci::answer::{Answer, Verdict};
use paci::finding::{self, Finding, RemovalQuote};
use paci::upcall::Reason;
use paracloud_core::ids::NodeId;
use paracloud_core::register::Record;
use paracloud_core::scaling::fewer::{self, Asked, Chosen, Loss, Preference};
use paracloud_substrate::config::{App, State};
use paracloud_substrate::figures::millis;
use paracloud_substrate::message::{HeldOp, Question, Unasked};
use paracloud_substrate::names;
use paracloud_substrate::person::{Candidate, Standing};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinSet;

/// For each that is to leave so many are asked.
const ASKED_PER_LEAVE: usize = 3;
/// The most that are asked at once, and to choose among where fewer are to leave.
const ASKED_MAX: usize = 32;
/// An application has so long for its answer, in milliseconds.
const QUOTE_MS: u32 = 2_000;

/// An instance that was looked at.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) candidate: Candidate,
    /// What it holds is lost if it leaves.
    pub(crate) loses: bool,
}

/// Looks at all instances of an app that stay: those that are to leave first, the cheapest first; then the others. Nothing is
/// changed.
pub(crate) async fn look(
    control: &Arc<Control>,
    app: &App,
    excess: usize,
    loss_accepted: bool,
) -> Vec<Looked> {
    let mut names = control.staying(&app.name);
    names.sort_by(|left, right| names::order(right, left));
    control.shown(names.iter().map(String::as_str)).await;
    let (mut able, mut others) = (Vec::new(), Vec::new());
    for name in names {
        let candidate = candidate(control, name);
        if candidate.standing == Standing::NotAsked { able.push(candidate) } else { others.push(candidate) }
    }
    // Who has least to do first, then who came last.
    able.sort_by_key(|candidate| in_flight(control, &candidate.instance));
    let most = asked_of(excess);
    let mut on = BTreeMap::new();
    for node in able.iter().chain(&others).filter_map(|candidate| candidate.node) {
        *on.entry(node).or_default() += 1;
    }
    others.extend(able.split_off(able.len().min(most)));
    let holds_state = app.state == State::Stateful;
    let may_lose = !holds_state || loss_accepted || app.accept_loss;
    let mut all = chosen(ask_all(control, able).await, excess, may_lose, on);
    all.iter_mut().for_each(|looked| looked.loses &= holds_state);
    all.extend(others.into_iter().map(|candidate| Looked { candidate, loses: false }));
    all
}

/// So many are asked where `excess` are to leave: at least as many, because who is not asked does not leave.
fn asked_of(excess: usize) -> usize {
    excess.saturating_mul(ASKED_PER_LEAVE).min(ASKED_MAX).max(excess)
}

/// What is known of an instance before anybody asks it.
fn candidate(control: &Control, instance: String) -> Candidate {
    let view = control.views.of(&instance);
    let record = view.as_ref().and_then(|view| view.record.as_ref());
    // Who only wants to stay where it is may leave all the same.
    let holds = control.holds().into_iter();
    let holds = holds.filter(|hold| hold.instance == instance && hold.op != HeldOp::Move);
    let held = holds.max_by_key(|hold| hold.remaining_ms);
    let unknown = view.as_ref().and_then(|view| view.unknown.clone());
    let (standing, why) = match (record, unknown, held) {
        (None, None, _) => (Standing::Busy, "it is being started".to_owned()),
        (_, Some(why), _) => (Standing::Busy, why),
        (Some(Record { operation: Some(_), .. }), ..) => {
            (Standing::Busy, "another operation of it is open".to_owned())
        }
        (Some(_), None, Some(hold)) => {
            let left = millis(hold.remaining_ms);
            (Standing::Held, format!("it holds on to its place for {left}: {}", hold.reason))
        }
        (Some(_), None, None) => (Standing::NotAsked, "others have less to do".to_owned()),
    };
    let node = record.map(|record| record.owner.node);
    let (cost_ms, drain_ms, sessions) = (None, None, None);
    Candidate { instance, node, cost_ms, drain_ms, sessions, standing, why: cut(why) }
}

/// What it has to do by its own word; unknown is not nothing.
fn in_flight(control: &Control, instance: &str) -> u32 {
    let owner = control.views.of(instance).and_then(|view| view.record).map(|record| record.owner.start);
    let advice = owner.and_then(|owner| control.advised.of(instance, owner));
    let report = advice.and_then(|(advice, _)| advice.report);
    report.and_then(|report| report.said.in_flight).unwrap_or(u32::MAX)
}

/// An instance, and what it said, if it said anything that can be compared.
type Quoted = (Candidate, Option<RemovalQuote>);

/// Asks them all, as many at once as may be. They come back in their order.
async fn ask_all(control: &Arc<Control>, able: Vec<Candidate>) -> Vec<Quoted> {
    let (mut asking, mut asked) = (JoinSet::new(), BTreeMap::new());
    for (place, candidate) in able.into_iter().enumerate() {
        if asking.len() >= ASKED_MAX {
            asked.extend(asking.join_next().await.and_then(Result::ok));
        }
        let control = Arc::clone(control);
        asking.spawn(async move { (place, quoted(&control, candidate).await) });
    }
    while let Some(one) = asking.join_next().await {
        asked.extend(one.ok());
    }
    asked.into_values().collect()
}

async fn quoted(control: &Control, candidate: Candidate) -> Quoted {
    let serves = control.views.of(&candidate.instance).and_then(|view| view.record?.served).is_some();
    if !serves {
        let why = "it does not serve".to_owned();
        let (cost_ms, drain_ms, sessions) = (Some(0), Some(0), Some(0));
        let state_kib = Some(0);
        let nothing = RemovalQuote { cost_ms, drain_ms, sessions, state_kib, ..RemovalQuote::default() };
        return (Candidate { why, cost_ms: Some(0), drain_ms: Some(0), ..candidate }, Some(nothing));
    }
    match price(control, &candidate.instance).await {
        Ok(quote) => {
            let RemovalQuote { cost_ms, drain_ms, sessions, .. } = quote;
            (Candidate { cost_ms, drain_ms, sessions, why: String::new(), ..candidate }, Some(quote))
        }
        Err(why) => (Candidate { standing: Standing::Silent, why: cut(why), ..candidate }, None),
    }
}

/// What losing an instance costs by its own word, or why it did not say that.
async fn price(control: &Control, instance: &str) -> Result<RemovalQuote, String> {
    match asks::put(control, instance, Question::Quote, Reason::ScaleIn, QUOTE_MS).await {
        Ok(Answer { verdict: Verdict::Done, result: Some(Finding::Quote(quote)), .. }) => Ok(quote),
        Ok(answer) => {
            let own = if answer.message.is_empty() { answer.code } else { answer.message };
            let own = if own.is_empty() { String::new() } else { format!(": {own}") };
            Err(format!("it answers {}{own}", answer.verdict))
        }
        Err(NotAsked::Here(refused)) => Err(refused.message),
        Err(NotAsked::Agent(Unasked::Busy)) => Err("it is being asked something already".to_owned()),
        Err(NotAsked::Agent(Unasked::Ended(how))) => Err(format!("its process ended: {how}")),
        Err(NotAsked::Agent(Unasked::Soon(why) | Unasked::Never(why))) => Err(why),
    }
}

/// What an instance says of being lost, in words. Nothing is changed by asking it.
pub(crate) async fn says(control: &Control, instance: &str) -> String {
    cut(match price(control, instance).await {
        Ok(quote) => in_words(&quote),
        Err(why) => why,
    })
}

fn in_words(quote: &RemovalQuote) -> String {
    let parts = [
        quote.cost_ms.map(|ms| format!("losing it costs {} of work", millis(ms.into()))),
        quote.drain_ms.map(|ms| format!("it drains within {}", millis(ms.into()))),
        quote.sessions.filter(|sessions| *sessions > 0).map(|sessions| format!("sessions: {sessions}")),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "it does not say what losing it costs".to_owned() } else { parts.join("; ") }
}

/// Says what became of those that were asked; those that leave come first.
fn chosen(asked: Vec<Quoted>, excess: usize, may_lose: bool, on: BTreeMap<NodeId, usize>) -> Vec<Looked> {
    let loss = |(candidate, quote): &Quoted| Asked {
        node: candidate.node,
        loss: quote.as_ref().map(loss),
        // A person asks for a number, and not for one that would go.
        retires: false,
    };
    let all_chosen = fewer::choose(&asked.iter().map(loss).collect::<Vec<_>>(), excess, may_lose, on);
    let mut asked: BTreeMap<usize, Quoted> = asked.into_iter().enumerate().collect();
    let mut all: Vec<Looked> = all_chosen
        .into_iter()
        .filter_map(|(place, one)| Some((asked.remove(&place)?, one)))
        .map(|((candidate, quote), one)| {
            let own = candidate.why.clone();
            let holds = match quote.as_ref().map(|quote| quote.state_kib) {
                Some(Some(kib)) => format!("{kib} KiB of state would be lost with it"),
                Some(None) => "it did not say that it holds no state".to_owned(),
                None => format!("it holds state, and did not say that it can go without it: {own}"),
            };
            let (standing, why) = match one {
                Chosen::Goes if own.is_empty() => (Standing::Leaves, "losing it costs least".to_owned()),
                Chosen::Goes => (Standing::Leaves, own),
                Chosen::GoesUnheard => (Standing::Leaves, format!("nobody else is there; {own}")),
                Chosen::Stays => (Standing::Stays, "losing it costs more".to_owned()),
                Chosen::Silent => (Standing::Silent, own),
                Chosen::NeedsConsent => (Standing::NeedsConsent, holds),
            };
            let candidate = Candidate { standing, why: cut(why), ..candidate };
            Looked { candidate, loses: quote.is_none_or(|quote| quote.state_kib != Some(0)) }
        })
        .collect();
    all.sort_by_key(|looked| looked.candidate.standing != Standing::Leaves);
    all
}

fn loss(quote: &RemovalQuote) -> Loss {
    let &RemovalQuote { sessions, cost_ms, drain_ms, preference, state_kib } = quote;
    Loss { sessions, cost_ms, preference: self::preference(preference), drain_ms, state_kib }
}

/// As decisions name it.
pub(crate) fn preference(said: finding::Preference) -> Preference {
    match said {
        finding::Preference::Prefer => Preference::Prefer,
        finding::Preference::Unspecified => Preference::Unspecified,
        finding::Preference::Avoid => Preference::Avoid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_for_each_that_is_to_leave_are_asked_and_never_fewer_than_are_to_leave() {
        assert_eq!([1, 5, 20, 32, 56].map(asked_of), [3, 15, 32, 32, 56]);
    }

    #[test]
    fn a_price_is_told_in_words_and_what_is_not_said_is_not() {
        let quote = RemovalQuote { cost_ms: Some(7), sessions: Some(2), ..RemovalQuote::default() };
        assert_eq!(in_words(&quote), "losing it costs 7 ms of work; sessions: 2");
        assert_eq!(in_words(&RemovalQuote::default()), "it does not say what losing it costs");
    }

    #[test]
    fn those_that_leave_come_first_each_with_what_it_said_or_why_it_was_not_asked() {
        let asked = |instance: &str, why: &str, quote: Option<RemovalQuote>| {
            let (cost_ms, drain_ms, sessions) = (None, None, None);
            let (instance, why) = (instance.to_owned(), why.to_owned());
            let standing = Standing::NotAsked;
            let candidate = Candidate { instance, node: None, cost_ms, drain_ms, sessions, standing, why };
            (candidate, quote)
        };
        let costs = |cost_ms| {
            let (cost_ms, state_kib) = (Some(cost_ms), Some(0));
            Some(RemovalQuote { cost_ms, state_kib, ..RemovalQuote::default() })
        };
        let all = vec![
            asked("worker.4", "it did not answer", None),
            asked("worker.3", "", costs(9)),
            asked("worker.2", "it does not serve", costs(0)),
            asked("worker.1", "", costs(1)),
        ];
        let looked = chosen(all.clone(), 2, true, BTreeMap::new());
        let said: Vec<_> = looked
            .iter()
            .map(|it| (it.candidate.instance.as_str(), it.candidate.standing, it.loses))
            .collect();
        assert_eq!(
            said,
            [
                ("worker.2", Standing::Leaves, false),
                ("worker.1", Standing::Leaves, false),
                ("worker.3", Standing::Stays, false),
                ("worker.4", Standing::Silent, true),
            ]
        );
        let whys: Vec<_> = looked.iter().map(|it| it.candidate.why.as_str()).collect();
        assert_eq!(
            whys,
            ["it does not serve", "losing it costs least", "losing it costs more", "it did not answer"]
        );
        let all = chosen(all, 4, true, BTreeMap::new());
        assert_eq!(all[3].candidate.why, "nobody else is there; it did not answer");
    }
}
