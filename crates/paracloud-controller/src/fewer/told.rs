//! What a person is told of each instance that was looked at: why it leaves, why it stays, why it was not asked.

use super::Looked;
use crate::journal::cut;
use paracloud_core::ordered::{self, Fewer, Obstacle};
use paracloud_core::scaling::fewer::{Chosen, Decides, Loss, Preference, decides, may_hold_state};
use paracloud_substrate::person::{Candidate, Standing};
use std::collections::BTreeMap;

/// What is told of each: those that leave first, then the others that were asked, then the rest.
pub(super) fn told(fewer: &Fewer, whys: &BTreeMap<String, String>, holds_state: bool) -> Vec<Looked> {
    let own = |instance: &str| whys.get(instance).cloned().unwrap_or_default();
    let goes = fewer.outcome().filter(|(.., chosen)| *chosen == Chosen::Goes).last();
    let stays = fewer.outcome().find(|(.., chosen)| *chosen == Chosen::Stays);
    let asked = fewer.outcome().map(|(candidate, said, chosen)| {
        let own = own(&candidate.instance);
        let holds = match said.map(|loss| loss.state_kib) {
            Some(Some(kib)) => format!("{kib} KiB of state would be lost with it"),
            Some(None) => "it did not say that it holds no state".to_owned(),
            None => format!("it holds state, and did not say that it can go without it: {own}"),
        };
        let (standing, why) = match chosen {
            Chosen::Goes if own.is_empty() => (Standing::Leaves, before(fewer, candidate, said, stays)),
            Chosen::Goes => (Standing::Leaves, own),
            Chosen::GoesUnheard => (Standing::Leaves, format!("too few others can go; {own}")),
            Chosen::Stays => (Standing::Stays, behind(fewer, candidate, said, goes)),
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
            None if fewer.is_enough() => (Standing::NotAsked, "enough of those asked can go".to_owned()),
            None => {
                let why = format!("others were, in {} rounds: there are no more", fewer.rounds.len());
                (Standing::NotAsked, why)
            }
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

/// One that was asked, what it said and what came of it.
type Outcome<'a> = (&'a ordered::Candidate, Option<Loss>, Chosen);

/// Why one goes, where that one is the first of those that could and stay.
fn before(
    fewer: &Fewer,
    candidate: &ordered::Candidate,
    said: Option<Loss>,
    stays: Option<Outcome<'_>>,
) -> String {
    let Some((own, (other, theirs, _))) = said.zip(stays) else {
        return "all go that said that they can".to_owned();
    };
    let (name, theirs) = (&other.instance, theirs.unwrap_or_default());
    match decides(&own, &theirs) {
        Decides::Sessions if theirs.sessions.is_none() => format!("{name} does not say its sessions"),
        Decides::Sessions => format!("fewer sessions than {name}"),
        Decides::Cost if theirs.cost_ms.is_none() => format!("{name} does not say what it costs"),
        Decides::Cost => format!("costs less than {name}"),
        Decides::Preference if own.preference == Preference::Prefer => {
            format!("as dear as {name}; would rather go")
        }
        Decides::Preference => format!("as dear as {name}, which would rather stay"),
        Decides::Drain => format!("as dear as {name}; drains sooner"),
        Decides::Place if fewer.is_by_known_sessions(candidate, other) => {
            format!("as dear as {name}; fewer sessions are known to live in it")
        }
        Decides::Place => format!("as dear as {name}; {PLACE}"),
    }
}

/// Why one stays that could go, where that one is the last of those that do.
fn behind(
    fewer: &Fewer,
    candidate: &ordered::Candidate,
    said: Option<Loss>,
    goes: Option<Outcome<'_>>,
) -> String {
    let Some((own, (other, theirs, _))) = said.zip(goes) else { return "nobody is to leave".to_owned() };
    let (name, theirs) = (&other.instance, theirs.unwrap_or_default());
    match decides(&theirs, &own) {
        Decides::Sessions if own.sessions.is_none() => "does not say its sessions".to_owned(),
        Decides::Sessions => format!("more sessions than {name}"),
        Decides::Cost if own.cost_ms.is_none() => "does not say what it costs".to_owned(),
        Decides::Cost => format!("costs more than {name}"),
        Decides::Preference if own.preference == Preference::Avoid => {
            format!("as dear as {name}; would rather stay")
        }
        Decides::Preference => format!("as dear as {name}, which would rather go"),
        Decides::Drain => format!("as dear as {name}, which drains sooner"),
        Decides::Place if fewer.is_by_known_sessions(other, candidate) => {
            format!("as dear as {name}; more sessions are known to live in it")
        }
        Decides::Place => format!("as dear as {name}; {PLACE}"),
    }
}

/// What decides between two that are alike.
const PLACE: &str = "of equals one from the fullest node goes first, then who was asked first";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_leave_come_first_each_with_what_it_said_or_why_it_was_not_asked() {
        let candidate = |instance: &str, obstacle| {
            let (node, in_flight) = (None, None);
            ordered::Candidate {
                instance: instance.to_owned(),
                node,
                in_flight,
                sessions: None,
                is_down: false,
                obstacle,
            }
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
            let fewer = Fewer::of("worker", 4, to, candidates.clone(), may_lose);
            let fewer = fewer.with(vec![1, 2, 3], vec![None, costs(9), costs(1)]).decided();
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
                row("worker.1", Standing::Leaves, "costs less than worker.3", false),
                row("worker.3", Standing::Stays, "costs more than worker.1", false),
                row("worker.4", Standing::Silent, "it did not answer", false),
                row("worker.5", Standing::Held, "it holds on", false),
            ]
        );
        assert_eq!(
            looked(1, true, true)[2],
            row("worker.4", Standing::Leaves, "too few others can go; it did not answer", true)
        );
        let needs = "it holds state, and did not say that it can go without it: it did not answer";
        assert_eq!(looked(1, false, true)[2], row("worker.4", Standing::NeedsConsent, needs, true));
    }

    #[test]
    fn why_one_goes_and_the_other_stays_is_what_their_figures_say() {
        let said = |loss: Loss| Loss { state_kib: Some(0), ..loss };
        let five = said(Loss { cost_ms: Some(5), sessions: Some(1), drain_ms: Some(9), ..Loss::default() });
        let whys = |other: Loss| {
            let candidate = |instance: &str| {
                let (node, in_flight, obstacle) = (None, None, None);
                ordered::Candidate {
                    instance: instance.to_owned(),
                    node,
                    in_flight,
                    sessions: None,
                    is_down: false,
                    obstacle,
                }
            };
            let candidates = vec![candidate("web.2"), candidate("web.1")];
            let fewer =
                Fewer::of("web", 2, 1, candidates, true).with(vec![0, 1], vec![Some(five), Some(other)]);
            let [goes, stays] = &told(&fewer.decided(), &BTreeMap::new(), false)[..] else { panic!("two") };
            let why = |it: &Looked| format!("{}: {}", it.candidate.instance, it.candidate.why);
            [why(goes), why(stays)]
        };
        let rather = |preference| Loss { preference, ..five };
        let cases = [
            (
                Loss { sessions: Some(0), cost_ms: Some(9), ..five },
                "web.1: fewer sessions than web.2",
                "web.2: more sessions than web.1",
            ),
            (
                Loss { sessions: None, ..five },
                "web.2: web.1 does not say its sessions",
                "web.1: does not say its sessions",
            ),
            (
                Loss { cost_ms: Some(4), ..five },
                "web.1: costs less than web.2",
                "web.2: costs more than web.1",
            ),
            (
                Loss { cost_ms: None, ..five },
                "web.2: web.1 does not say what it costs",
                "web.1: does not say what it costs",
            ),
            (
                rather(Preference::Prefer),
                "web.1: as dear as web.2; would rather go",
                "web.2: as dear as web.1, which would rather go",
            ),
            (
                rather(Preference::Avoid),
                "web.2: as dear as web.1, which would rather stay",
                "web.1: as dear as web.2; would rather stay",
            ),
            (
                Loss { drain_ms: None, ..five },
                "web.2: as dear as web.1; drains sooner",
                "web.1: as dear as web.2, which drains sooner",
            ),
        ];
        for (other, goes, stays) in cases {
            assert_eq!(whys(other), [goes, stays], "{other:?}");
        }
        let known = |instance: &str, sessions| ordered::Candidate {
            instance: instance.to_owned(),
            node: None,
            in_flight: None,
            sessions: Some(sessions),
            is_down: false,
            obstacle: None,
        };
        let fewer = Fewer::of("web", 2, 1, vec![known("web.2", 3), known("web.1", 1)], true);
        let fewer = fewer.with(vec![1, 0], vec![Some(five), Some(five)]).decided();
        let told = told(&fewer, &BTreeMap::new(), false).into_iter().map(|it| it.candidate.why);
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                "as dear as web.2; fewer sessions are known to live in it",
                "as dear as web.1; more sessions are known to live in it"
            ]
        );
        let [goes, stays] = whys(five);
        assert_eq!(goes, format!("web.2: as dear as web.1; {PLACE}"));
        assert_eq!(stays, format!("web.1: as dear as web.2; {PLACE}"));
    }

    #[test]
    fn where_all_go_that_can_that_is_said_and_so_is_it_of_who_was_not_asked_any_more() {
        let candidate = |number: usize| {
            let (node, in_flight, obstacle) = (None, None, None);
            ordered::Candidate {
                instance: format!("web.{number}"),
                node,
                in_flight,
                sessions: None,
                is_down: false,
                obstacle,
            }
        };
        let silent = |to| {
            let mut fewer = Fewer::of("web", 100, to, (1..=100).map(candidate).collect(), true);
            while let ordered::Next::Ask(asked) = fewer.next() {
                let said = asked.iter().map(|place| (*place == 0).then(Loss::default));
                let said = said.collect();
                fewer = fewer.with(asked, said);
            }
            told(&fewer.decided(), &BTreeMap::new(), false)
        };
        let one = silent(98);
        let why = |it: &Looked| (it.candidate.standing, it.candidate.why.clone());
        assert_eq!(why(&one[0]), (Standing::Leaves, "all go that said that they can".to_owned()));
        assert_eq!(why(&one[1]), (Standing::Leaves, "too few others can go; ".to_owned()));
        let last = one.last().map(why);
        assert_eq!(
            last,
            Some((Standing::NotAsked, "others were, in 4 rounds: there are no more".to_owned()))
        );
        assert!(silent(99).iter().any(|it| it.candidate.why == "enough of those asked can go"));
    }
}
