//! Who leaves when a person wants fewer: those that can go are asked what losing them costs now, and the cheapest leave.
//!
//! Who asks to be left alone is not touched. As long as too few of those that were asked can go, others are asked; who does not
//! answer leaves only if too few others can. Who holds what must not be lost leaves with a consent to losing it, or when it says
//! that it holds none of that by now: silence is never a yes.

mod told;

use crate::asks::{self, NotAsked};
use crate::control::Control;
use crate::journal::cut;
use paci::answer::{Answer, Verdict};
use paci::finding::{self, Finding, RemovalQuote};
use paci::upcall::Reason;
use paracloud_core::ordered::{self, Fewer, Next, Obstacle};
use paracloud_core::register::Record;
use paracloud_core::scaling::fewer::{Loss, Preference};
use paracloud_substrate::config::{App, State};
use paracloud_substrate::figures::millis;
use paracloud_substrate::message::{HeldOp, Question};
use paracloud_substrate::names;
use paracloud_substrate::person::Candidate;
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
    let holds_state = app.state == State::Stateful;
    let may_lose = !holds_state || loss_accepted || app.accept_loss;
    let mut fewer = Fewer::of(&app.name, from, to, candidates.collect(), may_lose);
    while let Next::Ask(asked) = fewer.next() {
        let able = asked.iter().filter_map(|place| fewer.candidates.get(*place));
        let able = able.map(|it| (it.instance.clone(), it.is_down)).collect();
        let quotes = ask_all(control, able).await;
        let said = quotes.iter().map(|it| it.quote.as_ref().map(loss)).collect();
        whys.extend(quotes.into_iter().map(|it| (it.instance, it.why)));
        fewer = fewer.with(asked, said);
    }
    let fewer = fewer.decided();
    let looked = told::told(&fewer, &whys, holds_state);
    (fewer, looked)
}

/// What is known of an instance before anybody asks it, and why it is not asked.
fn candidate(control: &Control, instance: String) -> (ordered::Candidate, Option<String>) {
    let view = control.views.of(&instance);
    // One that left and stays all the same is being started anew.
    let record = view.as_ref().and_then(|view| view.record.as_ref()).filter(|record| !record.gone);
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
    let is_down = record.is_some_and(|record| record.served.is_none());
    let sessions = control.scaling.sessions(&instance);
    (
        ordered::Candidate { instance, node, in_flight, sessions, is_down, obstacle },
        obstacle.map(|_| cut(why)),
    )
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
async fn ask_all(control: &Arc<Control>, able: Vec<(String, bool)>) -> Vec<Quoted> {
    let (mut asking, mut asked) = (JoinSet::new(), BTreeMap::new());
    for (place, (name, was_down)) in able.into_iter().enumerate() {
        if asking.len() >= ASKING_MAX {
            asked.extend(asking.join_next().await.and_then(Result::ok));
        }
        let control = Arc::clone(control);
        asking.spawn(async move { (place, quoted(&control, name, was_down).await) });
    }
    while let Some(one) = asking.join_next().await {
        asked.extend(one.ok());
    }
    asked.into_values().collect()
}

/// Who does not serve is not asked. Who serves by now, and did not when it was looked at, may hold anything: that it says nothing
/// is not written as if it still did not serve.
async fn quoted(control: &Control, instance: String, was_down: bool) -> Quoted {
    let serves = control.views.of(&instance).and_then(|view| view.record?.served).is_some();
    if !serves {
        return Quoted { instance, quote: None, why: "it does not serve".to_owned() };
    }
    match price(control, &instance).await {
        Ok(quote) => Quoted { instance, quote: Some(quote), why: String::new() },
        Err(why) => Quoted { instance, quote: was_down.then(RemovalQuote::default), why: cut(why) },
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
        Err(NotAsked::Agent(unasked)) => Err(unasked.to_string()),
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
    use crate::stage::{Stage, gone, serves, worker};
    use paracloud_substrate::config::Scale;

    #[tokio::test]
    async fn one_that_left_and_is_being_started_anew_is_no_candidate_for_leaving() {
        let stage = Stage::of(worker(Scale { max: 2, ..Scale::default() }), [serves(1), gone(2)]);
        let (control, cloud) = (&stage.control, stage.control.cloud());
        let app = cloud.app("worker").unwrap();
        let _added = control.fleet.add(app, &control.nodes_there(), &control.owners());
        assert_eq!(control.staying("worker"), ["worker.1", "worker.2"]);
        let obstacle = |name: &str| candidate(control, name.to_owned()).0.obstacle;
        assert_eq!((obstacle("worker.1"), obstacle("worker.2")), (None, Some(Obstacle::Starts)));
    }

    #[test]
    fn a_price_is_told_in_words_and_what_is_not_said_is_not() {
        let quote = RemovalQuote { cost_ms: Some(7), sessions: Some(2), ..RemovalQuote::default() };
        assert_eq!(in_words(&quote), "losing it costs 7 ms of work; sessions: 2");
        assert_eq!(in_words(&RemovalQuote::default()), "it does not say what losing it costs");
    }
}
