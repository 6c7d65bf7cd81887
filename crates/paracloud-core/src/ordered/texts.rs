//! A decision for a person, as people read it: 80 columns, what was decided first, then why, then what it was made from.

use super::fewer::NOTHING;
use super::{Candidate, Decision, Drain, Fewer, More, Obstacle, Record, Update};
use crate::draining::{self, Placed};
use crate::ids::NodeId;
use crate::page::{Page, counted, time};
use crate::register::Mode;
use crate::scaling::fewer::{Chosen, Loss, Preference};
use crate::updating::Way;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// The most instances that are shown of one decision.
const SHOWN_MAX: usize = 24;

/// About whom of a decision about many is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of<'a> {
    /// All of them.
    All,
    /// This one, which was there.
    One(&'a str),
    /// One that came by it, whatever its name was another's before.
    New,
}

/// What was decided, and why.
#[must_use]
pub fn explain(record: &Record, of: Of<'_>) -> String {
    let mut page = Page::default();
    match &record.decision {
        Decision::Fewer(it) => fewer(&mut page, it),
        Decision::More(it) => more(&mut page, it),
        Decision::Drain(it) => drain(&mut page, it, of),
        Decision::Update(it) => update(&mut page, it),
    }
    page.lines
}

fn fewer(page: &mut Page, fewer: &Fewer) {
    let Fewer { app, from, to, may_lose, .. } = fewer;
    page.head(&format!("{app}: {from} -> {to}, by a person's word"));
    page.say("rule", "who has the fewest sessions, then who has least in it, is asked what losing it costs; of those first who has the fewest sessions, then who costs least, then who would rather go, then who is where most are");
    if !may_lose {
        page.say(
            "state",
            "it holds state, and nobody consented to losing that: who does not say that it holds none stays",
        );
    }
    let rounds: Vec<_> = fewer.rounds.iter().map(|it| it.asked.len().to_string()).collect();
    if rounds.len() > 1 {
        page.say("asked", &format!("{}: each time too few of those before can go", rounds.join(", then ")));
    }
    let asked = fewer.outcome().map(|(candidate, said, chosen)| {
        let words = match said {
            Some(NOTHING) if candidate.is_down => "does not serve: nothing is lost with it".to_owned(),
            Some(loss) => said_of(&loss, candidate.sessions),
            None => "said nothing that can be compared".to_owned(),
        };
        let words = match chosen {
            Chosen::GoesUnheard => format!("{words}, and too few others can go"),
            Chosen::Goes | Chosen::Stays | Chosen::Silent | Chosen::NeedsConsent => words,
        };
        (became(chosen), format!("{}: {words}", placed(candidate)))
    });
    let others = if fewer.is_enough() {
        "enough of those that were asked can go".to_owned()
    } else {
        format!("others were, in {} rounds, and there are no more rounds", fewer.rounds.len())
    };
    let unasked = fewer.unasked().map(|candidate| {
        let why = candidate.obstacle.map_or_else(|| others.clone(), obstacle);
        ("not asked", format!("{}: {why}", placed(candidate)))
    });
    let all: Vec<_> = asked.chain(unasked).collect();
    for (label, text) in all.iter().take(SHOWN_MAX) {
        page.say(label, text);
    }
    rest(page, all.len());
}

fn rest(page: &mut Page, count: usize) {
    if let Some(hidden) = count.checked_sub(SHOWN_MAX).filter(|hidden| *hidden > 0) {
        page.say("", &format!("and {hidden} more"));
    }
}

fn placed(candidate: &Candidate) -> String {
    let Candidate { instance, node, in_flight, .. } = candidate;
    let node = node.map_or_else(String::new, |node| format!(" on {node}"));
    let within = in_flight.map_or_else(String::new, |count| format!(", {count} in it"));
    format!("{instance}{node}{within}")
}

fn became(chosen: Chosen) -> &'static str {
    match chosen {
        Chosen::Goes | Chosen::GoesUnheard => "leaves",
        Chosen::Stays | Chosen::Silent | Chosen::NeedsConsent => "stays",
    }
}

fn said_of(loss: &Loss, known: Option<u32>) -> String {
    let Loss { sessions, cost_ms, preference, drain_ms, state_kib } = *loss;
    let cost = cost_ms
        .map_or_else(|| "does not say what it costs".to_owned(), |ms| format!("costs {}", time(ms.into())));
    let rather = match preference {
        Preference::Prefer => Some("would rather go".to_owned()),
        Preference::Avoid => Some("would rather stay".to_owned()),
        Preference::Unspecified => None,
    };
    let parts = [
        Some(cost),
        sessions.map(|said| {
            let own = counted(said.into(), "session");
            known.filter(|known| *known != said).map_or_else(
                || own.clone(),
                |known| format!("{own} by its own word, {known} by what was known before"),
            )
        }),
        rather,
        drain_ms.map(|ms| format!("drains within {}", time(ms.into()))),
        Some(
            state_kib
                .map_or_else(|| "does not say what it holds".to_owned(), |kib| format!("holds {kib} KiB")),
        ),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn obstacle(obstacle: Obstacle) -> String {
    match obstacle {
        Obstacle::Starts => "it is being started".to_owned(),
        Obstacle::Unknown => "nothing can be decided about it".to_owned(),
        Obstacle::InOperation => "another operation of it is open".to_owned(),
        Obstacle::Held(left_ms) => format!("it holds on to its place for {}", time(left_ms)),
    }
}

fn more(page: &mut Page, more: &More) {
    let More { app, from, to, leaving, back, starts } = more;
    page.head(&format!("{app}: {from} -> {to}, by a person's word"));
    page.say("rule", "who leaves still is called back first, and the rest is started");
    page.say("leaving", &names(leaving));
    page.say("back", &names(back));
    page.say("starts", &starts.to_string());
}

fn names(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match (names.len(), names.len().saturating_sub(SHOWN_MAX)) {
        (0, _) => "nobody".to_owned(),
        (_, 0) => shown,
        (_, hidden) => format!("{shown} and {hidden} more"),
    }
}

fn drain(page: &mut Page, drain: &Drain, of: Of<'_>) {
    let Drain { node, placed, open, most, stateful, ways } = drain;
    let Some(ways) = ways else {
        page.head(&format!("{node} is drained: what it has can go nowhere"));
        page.say("because", "no other node takes instances");
        return;
    };
    let are = if ways.len() == 1 { "is" } else { "are" };
    page.head(&format!("{node} is drained: {} {are} to leave it", ways.len()));
    page.say("rule", "who holds nothing, of an app that may have one more, is replaced; the others are moved; each to the node with the fewest of its app, then with the fewest of all");
    // How those are replaced that were there is why another one came.
    let leaves = |name: &str| ways.iter().any(|(it, _)| it == name);
    let shown = |(name, way): &&(String, draining::Way)| match of {
        Of::One(asked) if leaves(asked) => name == asked,
        Of::One(_) | Of::New => matches!(way, draining::Way::Replace(_)),
        Of::All => true,
    };
    let all: Vec<_> = ways.iter().filter(shown).collect();
    for (name, way) in all.iter().take(SHOWN_MAX) {
        let (label, to) = match way {
            draining::Way::Move(to) => ("move", to),
            draining::Way::Replace(to) => ("replace", to),
        };
        let app = placed.iter().find(|it| it.name == *name).map_or("", |it| it.app.as_str());
        let there = placed.iter().filter(|it| it.app == app).count();
        let may = most.get(app).map_or_else(
            || {
                let why = if stateful.contains(app) {
                    "it holds state, by its manifest"
                } else {
                    "it is alone: its manifest has no scale"
                };
                why.to_owned()
            },
            |most| format!("{there} of at most {most} of {app} are there"),
        );
        page.say(label, &format!("{name} to {to}: {may}"));
    }
    rest(page, all.len());
    let apps: Vec<_> = all.iter().filter_map(|(name, _)| placed.iter().find(|it| it.name == *name)).collect();
    let app =
        apps.first().filter(|first| apps.iter().all(|it| it.app == first.app)).map(|it| it.app.as_str());
    for other in open.iter().filter(|it| *it != node).take(SHOWN_MAX) {
        page.say("takes", &filled(*other, placed, app));
    }
}

/// How full a node is.
fn filled(node: NodeId, placed: &[Placed], app: Option<&str>) -> String {
    let on = || placed.iter().filter(|it| it.node == node);
    let of_app = app.map(|app| format!(", {} of {app}", on().filter(|it| it.app == app).count()));
    format!("{node}: has {} in all{}", on().count(), of_app.unwrap_or_default())
}

fn update(page: &mut Page, update: &Update) {
    let Update { instance, revision, standing, offered, way } = update;
    let becomes = match way {
        Some(Way::Replace) => "another one comes first, then it leaves",
        Some(Way::Update(Mode::Handoff)) => "it hands over to a new process where it is",
        Some(Way::Update(Mode::Restart)) => "it gets a new process where it is, without what it held",
        None => "it gets a new process where it is, in the mode that it offers",
    };
    page.head(&format!("{instance} comes to {revision}: {becomes}"));
    page.say("rule", "who holds nothing and hands nothing over, of an app that may have one more, is replaced; any other gets a new process where it is");
    page.say(
        "holds",
        if standing.is_stateless { "nothing, by its manifest" } else { "state, by its manifest" },
    );
    let count = match standing.most {
        Some(most) => format!("{} of at most {most} are there", standing.count),
        None => "one alone: its manifest has no scale".to_owned(),
    };
    page.say("count", &count);
    page.say(
        "offers",
        match offered {
            Some(Mode::Handoff) => "to hand over",
            Some(Mode::Restart) => "nothing to hand over",
            None => "was not asked: there is one way",
        },
    );
}
