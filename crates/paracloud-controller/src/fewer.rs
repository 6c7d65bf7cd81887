//! Who leaves when a person wants fewer: those that can go are asked what losing them costs now, and the cheapest leave.
//!
//! Who asks to be left alone is not touched. Who does not answer leaves only if nobody else is there. Who holds what must not
//! be lost leaves with a consent to losing it, or when it says that it holds none of that by now: silence is never a yes.

use crate::asks::{self, NotAsked};
use crate::control::Control;
use crate::journal::cut;
use paci::answer::{Answer, Verdict};
use paci::finding::{self, Finding, RemovalQuote};
use paci::upcall::Reason;
use paracloud_core::ordered::{self, Fewer, Obstacle};
use paracloud_core::register::Record;
use paracloud_core::scaling::fewer::{Chosen, Loss, Preference, may_hold_state};
use paracloud_substrate::config::{App, State};
use paracloud_substrate::figures::millis;
use paracloud_substrate::message::{HeldOp, Question, Unasked};
use paracloud_substrate::names;
use paracloud_substrate::person::{Candidate, Standing};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinSet;

/// The most that are asked at once.
const ASKING_MAX: usize = 32;
/// An application has so long for its answer, in milliseconds.
const QUOTE_MS: u32 = 2_000;

/// An instance that was looked at.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) candidate: Candidate,
    /// What it holds is lost if it leaves.
    pub(crate) loses: bool,
}

/// Looks at all instances of an app that stay, so many to so many: what is decided, and what is told of each of them. Nothing is
/// changed.
pub(crate) async fn look(
    control: &Arc<Control>,
    app: &App,
    (from, to): (u32, u32),
    loss_accepted: bool,
) -> (Fewer, Vec<Looked>) {
    let mut names = control.staying(&app.name);
    // Who came last leaves first, where nothing else decides.
    names.sort_by(|left, right| names::order(right, left));
    control.shown(names.iter().map(String::as_str)).await;
    let mut whys = BTreeMap::new();
    let candidates = names.into_iter().map(|name| {
        let (candidate, why) = candidate(control, name);
        whys.extend(why.map(|why| (candidate.instance.clone(), why)));
        candidate
    });
    let fewer = Fewer::ask(&app.name, from, to, candidates.collect());
    let asked = fewer.asked.iter().filter_map(|place| Some(fewer.candidates.get(*place)?.instance.clone()));
    let quotes = ask_all(control, asked.collect()).await;
    let said = quotes.iter().map(|it| it.quote.as_ref().map(loss)).collect();
    let holds_state = app.state == State::Stateful;
    let fewer = fewer.choose(said, !holds_state || loss_accepted || app.accept_loss);
    whys.extend(quotes.into_iter().map(|it| (it.instance, it.why)));
    let looked = told(&fewer, &whys, holds_state);
    (fewer, looked)
}

/// What is known of an instance before anybody asks it, and why it is not asked.
fn candidate(control: &Control, instance: String) -> (ordered::Candidate, Option<String>) {
    let view = control.views.of(&instance);
    let record = view.as_ref().and_then(|view| view.record.as_ref());
    // Who only wants to stay where it is may leave all the same.
    let holds = control.holds().into_iter();
    let holds = holds.filter(|hold| hold.instance == instance && hold.op != HeldOp::Move);
    let held = holds.max_by_key(|hold| hold.remaining_ms);
    let unknown = view.as_ref().and_then(|view| view.unknown.clone());
    let (obstacle, why) = match (record, unknown, held) {
        (None, None, _) => (Some(Obstacle::Starts), "it is being started".to_owned()),
        (_, Some(why), _) => (Some(Obstacle::Unknown), why),
        (Some(Record { operation: Some(_), .. }), ..) => {
            (Some(Obstacle::InOperation), "another operation of it is open".to_owned())
        }
        (Some(_), None, Some(hold)) => {
            let left = millis(hold.remaining_ms);
            let why = format!("it holds on to its place for {left}: {}", hold.reason);
            (Some(Obstacle::Held(hold.remaining_ms)), why)
        }
        (Some(_), None, None) => (None, String::new()),
    };
    let node = record.map(|record| record.owner.node);
    let in_flight = in_flight(control, &instance);
    (ordered::Candidate { instance, node, in_flight, obstacle }, obstacle.map(|_| cut(why)))
}

/// What it has to do by its own word.
fn in_flight(control: &Control, instance: &str) -> Option<u32> {
    let owner = control.views.of(instance).and_then(|view| view.record).map(|record| record.owner.start);
    let advice = owner.and_then(|owner| control.advised.of(instance, owner));
    advice.and_then(|(advice, _)| advice.report).and_then(|report| report.said.in_flight)
}

/// One that was asked.
struct Quoted {
    instance: String,
    /// What it said. `None`: nothing that can be compared.
    quote: Option<RemovalQuote>,
    /// Why that is not its word, or why there is none.
    why: String,
}

/// Asks them all, as many at once as may be. They come back in their order.
async fn ask_all(control: &Arc<Control>, able: Vec<String>) -> Vec<Quoted> {
    let (mut asking, mut asked) = (JoinSet::new(), BTreeMap::new());
    for (place, name) in able.into_iter().enumerate() {
        if asking.len() >= ASKING_MAX {
            asked.extend(asking.join_next().await.and_then(Result::ok));
        }
        let control = Arc::clone(control);
        asking.spawn(async move { (place, quoted(&control, name).await) });
    }
    while let Some(one) = asking.join_next().await {
        asked.extend(one.ok());
    }
    asked.into_values().collect()
}

async fn quoted(control: &Control, instance: String) -> Quoted {
    let serves = control.views.of(&instance).and_then(|view| view.record?.served).is_some();
    if !serves {
        let (cost_ms, drain_ms, sessions) = (Some(0), Some(0), Some(0));
        let state_kib = Some(0);
        let nothing = RemovalQuote { cost_ms, drain_ms, sessions, state_kib, ..RemovalQuote::default() };
        return Quoted { instance, quote: Some(nothing), why: "it does not serve".to_owned() };
    }
    match price(control, &instance).await {
        Ok(quote) => Quoted { instance, quote: Some(quote), why: String::new() },
        Err(why) => Quoted { instance, quote: None, why: cut(why) },
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

/// What is told of each: those that leave first, then the others that were asked, then the rest.
fn told(fewer: &Fewer, whys: &BTreeMap<String, String>, holds_state: bool) -> Vec<Looked> {
    let own = |instance: &str| whys.get(instance).cloned().unwrap_or_default();
    let asked = fewer.outcome().map(|(candidate, said, chosen)| {
        let own = own(&candidate.instance);
        let holds = match said.map(|loss| loss.state_kib) {
            Some(Some(kib)) => format!("{kib} KiB of state would be lost with it"),
            Some(None) => "it did not say that it holds no state".to_owned(),
            None => format!("it holds state, and did not say that it can go without it: {own}"),
        };
        let (standing, why) = match chosen {
            Chosen::Goes if own.is_empty() => (Standing::Leaves, "losing it costs least".to_owned()),
            Chosen::Goes => (Standing::Leaves, own),
            Chosen::GoesUnheard => (Standing::Leaves, format!("nobody else is there; {own}")),
            Chosen::Stays => (Standing::Stays, "losing it costs more".to_owned()),
            Chosen::Silent => (Standing::Silent, own),
            Chosen::NeedsConsent => (Standing::NeedsConsent, holds),
        };
        let loses = holds_state && said.is_none_or(|loss| may_hold_state(loss.state_kib));
        Looked { candidate: shown(candidate, said, standing, why), loses }
    });
    let unasked = fewer.unasked().map(|candidate| {
        let (standing, why) = match candidate.obstacle {
            Some(Obstacle::Held(_)) => (Standing::Held, own(&candidate.instance)),
            Some(_) => (Standing::Busy, own(&candidate.instance)),
            None => (Standing::NotAsked, "others have less to do".to_owned()),
        };
        Looked { candidate: shown(candidate, None, standing, why), loses: false }
    });
    let mut all: Vec<_> = asked.chain(unasked).collect();
    all.sort_by_key(|looked| looked.candidate.standing != Standing::Leaves);
    all
}

fn shown(candidate: &ordered::Candidate, said: Option<Loss>, standing: Standing, why: String) -> Candidate {
    let Loss { sessions, cost_ms, drain_ms, .. } = said.unwrap_or_default();
    let (instance, node) = (candidate.instance.clone(), candidate.node);
    Candidate { instance, node, cost_ms, drain_ms, sessions, standing, why: cut(why) }
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
    fn a_price_is_told_in_words_and_what_is_not_said_is_not() {
        let quote = RemovalQuote { cost_ms: Some(7), sessions: Some(2), ..RemovalQuote::default() };
        assert_eq!(in_words(&quote), "losing it costs 7 ms of work; sessions: 2");
        assert_eq!(in_words(&RemovalQuote::default()), "it does not say what losing it costs");
    }

    #[test]
    fn those_that_leave_come_first_each_with_what_it_said_or_why_it_was_not_asked() {
        let candidate = |instance: &str, obstacle| {
            let (node, in_flight) = (None, None);
            ordered::Candidate { instance: instance.to_owned(), node, in_flight, obstacle }
        };
        let costs = |cost_ms| Some(Loss { cost_ms: Some(cost_ms), state_kib: Some(0), ..Loss::default() });
        let candidates = vec![
            candidate("worker.5", Some(Obstacle::Held(900))),
            candidate("worker.4", None),
            candidate("worker.3", None),
            candidate("worker.1", None),
        ];
        let whys = [("worker.5", "it holds on"), ("worker.4", "it did not answer")];
        let whys = whys.map(|(name, why)| (name.to_owned(), why.to_owned())).into();
        let looked = |to, may_lose, holds_state| {
            let fewer = Fewer::ask("worker", 4, to, candidates.clone());
            let fewer = fewer.choose(vec![None, costs(9), costs(1)], may_lose);
            let told = told(&fewer, &whys, holds_state).into_iter();
            told.map(|it| (it.candidate.instance, it.candidate.standing, it.candidate.why, it.loses))
                .collect::<Vec<_>>()
        };
        let row = |instance: &str, standing, why: &str, loses| {
            (instance.to_owned(), standing, why.to_owned(), loses)
        };
        assert_eq!(
            looked(3, true, false),
            [
                row("worker.1", Standing::Leaves, "losing it costs least", false),
                row("worker.3", Standing::Stays, "losing it costs more", false),
                row("worker.4", Standing::Silent, "it did not answer", false),
                row("worker.5", Standing::Held, "it holds on", false),
            ]
        );
        assert_eq!(
            looked(1, true, true)[2],
            row("worker.4", Standing::Leaves, "nobody else is there; it did not answer", true)
        );
        let needs = "it holds state, and did not say that it can go without it: it did not answer";
        assert_eq!(looked(1, false, true)[2], row("worker.4", Standing::NeedsConsent, needs, true));
    }
}
