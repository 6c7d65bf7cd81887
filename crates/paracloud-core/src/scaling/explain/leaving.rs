//! Who goes and who does not, and by which rule.

use super::super::fewer::{Decides, Loss, decides};
use super::super::observation::Instance;
use super::super::record::{Action, Cut, Record};
use super::super::victims::{self, Standing};
use super::instance;
use crate::ids::InstanceNumber;
use crate::page::{Page, counted, time};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;

/// The most instances of which it is said why they stay.
const STANDINGS_MAX: usize = 16;

/// The rule, if it chose among some, and what came of each.
pub(super) fn say(page: &mut Page, record: &Record, app: &str) {
    let standings = &record.reasons.standings;
    let is_chosen = |it: &Standing| {
        matches!(it, Standing::Goes(_) | Standing::Dearer(_) | Standing::Behind { .. } | Standing::Asked)
    };
    if standings.values().filter(|it| is_chosen(it)).count() > 1 {
        page.say("who goes", "who asked to; then of a few, those with the fewest sessions and the least in flight, who has the fewest sessions, then who costs least, then who would rather go, then one of the node with most; of equals the highest number");
    }
    for (number, standing) in standings.iter().take(STANDINGS_MAX) {
        let others = others(record, app, *number, *standing);
        page.say("may go?", &format!("{}: {}", instance(app, *number), text(*standing, &others)));
    }
    if let Some(hidden) = standings.len().checked_sub(STANDINGS_MAX).filter(|hidden| *hidden > 0) {
        page.say("may go?", &format!("and {hidden} more"));
    }
}

/// By what the last of those that go goes before one that could go as well.
fn others(record: &Record, app: &str, number: InstanceNumber, standing: Standing) -> String {
    let instances = &record.observation.instances;
    let mut leaves = record.plan.actions.iter().filter_map(|action| match action {
        Action::Leave(number) => Some(*number),
        Action::Revoke(_) | Action::Start(_) | Action::AskQuotes(_) | Action::Resize { .. } => None,
    });
    let Standing::Dearer(cost_ms) = standing else { return String::new() };
    let (Some(last), Some(this)) = (leaves.next_back(), instances.get(&number)) else {
        let waits = record.reasons.cuts.contains(&Cut::Quotes);
        return if waits { "and others are waited for" } else { "and others come first" }.to_owned();
    };
    let cost_of_last = match record.reasons.standings.get(&last) {
        Some(Standing::Goes(cost_ms)) => *cost_ms,
        Some(_) | None => None,
    };
    let Some(other) = instances.get(&last) else { return "and others come first".to_owned() };
    let name = instance(app, last);
    if other.retires && !this.retires {
        return format!("and {name} asked to go");
    }
    match decides(&loss(cost_of_last, other), &loss(cost_ms, this)) {
        Decides::Sessions => format!("and {name} has fewer sessions"),
        Decides::Cost if cost_ms.is_none() => format!("and what {name} costs is known"),
        Decides::Cost => format!("and {name} less"),
        Decides::Preference => format!("as {name} does, which would rather go"),
        Decides::Drain => format!("as {name} does, which is drained sooner"),
        Decides::Place if other.node == this.node => {
            format!("as {name} does: of equals the highest number goes")
        }
        Decides::Place => {
            format!("as {name} does: of equals one of the node with most goes, then the highest number")
        }
    }
}

fn loss(cost_ms: Option<u32>, instance: &Instance) -> Loss {
    victims::asked(cost_ms, instance).loss.unwrap_or_default()
}

fn text(standing: Standing, others: &str) -> String {
    let cost = |cost_ms: u32| format!("costs {} of work", time(cost_ms.into()));
    let cost_if_known =
        |cost_ms: Option<u32>| cost_ms.map_or_else(|| "nobody knows what it costs".to_owned(), cost);
    match standing {
        Standing::Goes(cost_ms) => format!("goes, {}", cost_if_known(cost_ms)),
        Standing::Dearer(cost_ms) => {
            format!("no: {}, {others}", cost_if_known(cost_ms))
        }
        Standing::TooDear(cost_ms) => format!("no: {}, more than keeping it", cost(cost_ms)),
        Standing::Asked => "it is asked".to_owned(),
        Standing::Silent => "no: it was asked and did not answer".to_owned(),
        Standing::Unmeasured => "no: nobody knows what it has in hand".to_owned(),
        Standing::Unasked => "no: it may hold something and cannot be asked".to_owned(),
        Standing::HoldsState(Some(kib)) => format!("no: {kib} KiB of state would be lost with it"),
        Standing::HoldsState(None) => "no: it did not say that it holds no state".to_owned(),
        Standing::Held(left_ms) => {
            format!("no: left alone for {}: it holds, refused, or was not done in time", time(left_ms.into()))
        }
        Standing::InOperation => "no: in an operation".to_owned(),
        Standing::Sessions(sessions) => {
            format!("no: not while it has {}", counted(sessions.into(), "session"))
        }
        Standing::NotReady => "no: it does not serve".to_owned(),
        Standing::Behind { sessions, in_flight } => {
            let sessions = sessions.filter(|it| *it > 0);
            let sessions = sessions.map_or_else(String::new, |it| counted(it.into(), "session") + " and ");
            match in_flight {
                Some(in_flight) => {
                    format!("no: with {sessions}{in_flight} in flight it comes after others that can go")
                }
                None => format!(
                    "no: with {sessions}an unknown number in flight it comes after others that can go"
                ),
            }
        }
        Standing::Spared => "not needed to go".to_owned(),
    }
}
