//! Who leaves when a person wants fewer: those that can go are asked what losing them costs now, and the cheapest leave.
//!
//! Who asks to be left alone is not touched. Who does not answer leaves only if nobody else is there. Who holds what must not
//! be lost leaves by its own word, or with a consent to losing it: silence is never a yes.

use crate::asks::{self, NotAsked};
use crate::control::Control;
use crate::journal::cut;
use paci::answer::{Answer, Verdict};
use paci::finding::{Finding, Preference, RemovalQuote};
use paci::upcall::Reason;
use paracloud_core::ids::NodeId;
use paracloud_core::register::Record;
use paracloud_substrate::config::{App, State};
use paracloud_substrate::figures::millis;
use paracloud_substrate::message::{HeldOp, Question, Unasked};
use paracloud_substrate::names;
use paracloud_substrate::person::{Candidate, Standing};
use std::cmp::Reverse;
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
    let held = control.holds().into_iter().find(|hold| hold.instance == instance && hold.op == HeldOp::Drain);
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
        let nothing = RemovalQuote { cost_ms: Some(0), drain_ms: Some(0), ..RemovalQuote::default() };
        return (Candidate { why, cost_ms: Some(0), drain_ms: Some(0), ..candidate }, Some(nothing));
    }
    let answer = asks::put(control, &candidate.instance, Question::Quote, Reason::ScaleIn, QUOTE_MS).await;
    match answer {
        Ok(Answer { verdict: Verdict::Done, result: Some(Finding::Quote(quote)), .. }) => {
            let RemovalQuote { cost_ms, drain_ms, sessions, .. } = quote;
            (Candidate { cost_ms, drain_ms, sessions, why: String::new(), ..candidate }, Some(quote))
        }
        Ok(answer) => {
            let own = if answer.message.is_empty() { answer.code } else { answer.message };
            let own = if own.is_empty() { String::new() } else { format!(": {own}") };
            let why = format!("it answers {}{own}", answer.verdict);
            (Candidate { standing: Standing::Silent, why: cut(why), ..candidate }, None)
        }
        Err(not_asked) => {
            let why = match not_asked {
                NotAsked::Here(refused) => refused.message,
                NotAsked::Agent(Unasked::Busy) => "it is being asked something already".to_owned(),
                NotAsked::Agent(Unasked::Ended(how)) => format!("its process ended: {how}"),
                NotAsked::Agent(Unasked::Soon(why) | Unasked::Never(why)) => why,
            };
            (Candidate { standing: Standing::Silent, why: cut(why), ..candidate }, None)
        }
    }
}

/// Chooses among those that were asked. Those that leave come first. Of those that cost the same the one goes whose node has
/// most of them, with so many `on` each; then the one that was asked first.
fn chosen(
    mut asked: Vec<Quoted>,
    excess: usize,
    may_lose: bool,
    mut on: BTreeMap<NodeId, usize>,
) -> Vec<Looked> {
    let (mut left, mut all) = (excess, Vec::new());
    while !asked.is_empty() {
        let there =
            |candidate: &Candidate| candidate.node.and_then(|node| on.get(&node)).copied().unwrap_or(0);
        let rank = |(place, (candidate, quote)): &(usize, &Quoted)| {
            (price(quote.as_ref()), Reverse(there(candidate)), *place)
        };
        let next = asked.iter().enumerate().min_by_key(rank).map_or(0, |(place, _)| place);
        let (candidate, quote) = asked.remove(next);
        let loses = quote.is_none();
        let (standing, why) = match quote {
            None if !may_lose => (
                Standing::NeedsConsent,
                format!("it holds state, and did not say that it can go without it: {}", candidate.why),
            ),
            None if left == 0 => (Standing::Silent, candidate.why),
            None => (Standing::Leaves, format!("nobody else is there; {}", candidate.why)),
            Some(_) if left == 0 => (Standing::Stays, "losing it costs more".to_owned()),
            Some(_) if candidate.why.is_empty() => (Standing::Leaves, "losing it costs least".to_owned()),
            Some(_) => (Standing::Leaves, candidate.why),
        };
        if standing == Standing::Leaves {
            left -= 1;
            let there = candidate.node.and_then(|node| on.get_mut(&node));
            there.into_iter().for_each(|there| *there -= 1);
        }
        all.push(Looked { candidate: Candidate { standing, why: cut(why), ..candidate }, loses });
    }
    all.sort_by_key(|looked| looked.candidate.standing != Standing::Leaves);
    all
}

/// Who wants to go first, then by sessions and cost; who does not say costs more than who does, and who says nothing most.
fn price(quote: Option<&RemovalQuote>) -> impl Ord + use<> {
    quote.map_or((true, 0, false, 0, (false, 0), 0), |quote| {
        let preference = match quote.preference {
            Preference::Prefer => 0,
            Preference::Unspecified => 1,
            Preference::Avoid => 2,
        };
        let cost = (quote.cost_ms.is_none(), quote.cost_ms.unwrap_or_default());
        let sessions = quote.sessions.unwrap_or_default();
        (false, preference, sessions > 0, sessions, cost, quote.drain_ms.unwrap_or(u32::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(instance: &str, quote: Option<RemovalQuote>) -> Quoted {
        let why = if quote.is_some() { "" } else { "it did not answer" };
        let candidate = Candidate {
            instance: instance.to_owned(),
            node: None,
            cost_ms: None,
            drain_ms: None,
            sessions: None,
            standing: Standing::NotAsked,
            why: why.to_owned(),
        };
        (candidate, quote)
    }

    fn costs(cost_ms: u32) -> Option<RemovalQuote> {
        Some(RemovalQuote { cost_ms: Some(cost_ms), ..RemovalQuote::default() })
    }

    fn leave(asked: Vec<Quoted>, excess: usize, may_lose: bool) -> Vec<(String, bool)> {
        let all = chosen(asked, excess, may_lose, BTreeMap::new()).into_iter();
        let leaves = all.filter(|looked| looked.candidate.standing == Standing::Leaves);
        leaves.map(|looked| (looked.candidate.instance, looked.loses)).collect()
    }

    fn named(names: &[&str]) -> Vec<(String, bool)> {
        names.iter().map(|name| ((*name).to_owned(), false)).collect()
    }

    #[test]
    fn a_few_for_each_that_is_to_leave_are_asked_and_never_fewer_than_are_to_leave() {
        assert_eq!([1, 5, 20, 32, 56].map(asked_of), [3, 15, 32, 32, 56]);
    }

    #[test]
    fn the_cheapest_leave_and_what_is_not_said_is_dearer_than_what_is() {
        let unpriced = Some(RemovalQuote { drain_ms: Some(1), ..RemovalQuote::default() });
        let all = || {
            vec![
                asked("worker.4", costs(9)),
                asked("worker.3", unpriced.clone()),
                asked("worker.2", costs(0)),
                asked("worker.1", costs(9)),
            ]
        };
        assert_eq!(leave(all(), 1, false), named(&["worker.2"]));
        assert_eq!(leave(all(), 2, false), named(&["worker.2", "worker.4"]), "of equals who came last");
        let most = named(&["worker.2", "worker.4", "worker.1", "worker.3"]);
        assert_eq!(leave(all(), 9, false), most);
        assert!(leave(all(), 0, true).is_empty());
    }

    #[test]
    fn of_those_that_cost_the_same_those_leave_whose_node_has_most() {
        let at = |instance: &str, node: u32| {
            let (candidate, quote) = asked(instance, costs(0));
            (Candidate { node: Some(NodeId(node)), ..candidate }, quote)
        };
        let all = vec![at("worker.4", 2), at("worker.3", 1), at("worker.2", 1), at("worker.1", 1)];
        let on = BTreeMap::from([(NodeId(1), 3), (NodeId(2), 1)]);
        let looked = chosen(all, 2, false, on);
        let left: Vec<_> = looked.iter().take(2).map(|it| it.candidate.instance.as_str()).collect();
        assert_eq!(left, ["worker.3", "worker.2"]);
    }

    #[test]
    fn of_those_that_cost_the_same_those_leave_from_the_fullest_node_in_turn() {
        let at = |instance: &str, node: u32| {
            let (candidate, quote) = asked(instance, costs(0));
            (Candidate { node: Some(NodeId(node)), ..candidate }, quote)
        };
        let all = [("worker.5", 1), ("worker.4", 2), ("worker.3", 1), ("worker.2", 2), ("worker.1", 1)];
        let on = BTreeMap::from([(NodeId(1), 3), (NodeId(2), 2)]);
        let looked = chosen(all.map(|(name, node)| at(name, node)).to_vec(), 3, false, on);
        let left: Vec<_> = looked.iter().take(3).map(|it| it.candidate.instance.as_str()).collect();
        assert_eq!(left, ["worker.5", "worker.4", "worker.3"], "as many stay on each, as far as that goes");
    }

    #[test]
    fn who_would_rather_go_goes_first_and_who_has_sessions_or_would_rather_stay_later() {
        let with = |preference, sessions| {
            Some(RemovalQuote { preference, sessions: Some(sessions), ..costs(5).unwrap_or_default() })
        };
        let all = vec![
            asked("worker.4", with(Preference::Avoid, 0)),
            asked("worker.3", with(Preference::Unspecified, 2)),
            asked("worker.2", costs(5_000)),
            asked("worker.1", with(Preference::Prefer, 7)),
        ];
        let first = named(&["worker.1", "worker.2", "worker.3", "worker.4"]);
        assert_eq!(leave(all, 4, false), first);
    }

    #[test]
    fn who_says_nothing_goes_when_nobody_else_is_there_and_of_what_holds_state_never_without_a_consent() {
        let all = || vec![asked("worker.2", None), asked("worker.1", costs(60_000))];
        assert_eq!(leave(all(), 1, true), named(&["worker.1"]));
        assert_eq!(leave(all(), 2, true), [("worker.1".to_owned(), false), ("worker.2".to_owned(), true)]);
        assert_eq!(leave(all(), 2, false), named(&["worker.1"]), "silence is never a yes");
        let looked = chosen(all(), 2, false, BTreeMap::new());
        let standings: Vec<_> = looked.iter().map(|it| it.candidate.standing).collect();
        assert_eq!(standings, [Standing::Leaves, Standing::NeedsConsent]);
    }
}
