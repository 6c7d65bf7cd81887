//! A gateway's choice among instances, as people read it.

use super::{COLUMNS, broken};
use crate::figures::{age, millis, time_of_day};
use crate::output::{short, table_with_why};
use paracloud_core::balancing::{BackendId, Clamp, Inputs, Judged, Regime, Rule, Standing};
use paracloud_substrate::explained::{Choice, Explained};

/// Columns before what is continued.
const UNDER: usize = 4;
/// The most letters of an instance's name in a table.
const NAME_LETTERS_MAX: usize = 23;
/// The most instances that are shown; those that were compared come first.
const SHOWN_MAX: usize = 8;

/// Who was chosen, by what, and what was made of those that were compared and of the one that was asked after.
pub(super) fn text(choice: &Choice, explained: &Explained) -> String {
    let Choice { gateway, unix_ms, record } = choice;
    let name = |id: BackendId| format!("{}.{id}", explained.app);
    let ago = age(explained.now_unix_ms.saturating_sub(*unix_ms));
    let head = format!(
        "{gateway} chose {} at {} ({ago} ago): {}, {}{}",
        name(record.chosen),
        time_of_day(*unix_ms),
        rule(record.rule),
        regime(record.regime),
        record.alternative.map_or_else(String::new, |other| format!("; next best: {}", name(other)))
    );
    let mut lines = vec![broken(&head, UNDER)];
    let mut shown: Vec<_> = record.inputs.iter().zip(&record.judged).collect();
    let is_asked = |id: BackendId| name(id) == explained.name;
    shown.sort_by_key(|(inputs, _)| {
        let is_compared = record.compared.contains(&inputs.id);
        (!is_asked(inputs.id), inputs.id != record.chosen, !is_compared, inputs.id)
    });
    let hidden = shown.len().saturating_sub(SHOWN_MAX);
    shown.truncate(SHOWN_MAX);
    // Of all of them it is the same: a place is known of each, or of none.
    let knows_places = record.judged.iter().any(|judged| judged.places > 0);
    let cost = |cost_of: u64| cost(cost_of, if knows_places { "ms" } else { "req" });
    let rows = shown.iter().map(|(inputs, judged)| {
        let (aged, trusted) = inputs.claimed.map_or_else(
            || ("-".to_owned(), "-".to_owned()),
            |claimed| (millis(claimed.age_us / 1_000), format!("{} %", judged.trust_permille / 10)),
        );
        vec![
            short_name(&explained.app, inputs.id),
            inputs.own.to_string(),
            aged,
            trusted,
            cost(judged.raw),
            cost(judged.seen),
            cost(judged.cost),
            remarks(inputs, judged, record.compared.contains(&inputs.id)),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let headings = ["INSTANCE", "IN FLIGHT", "REPORT", "TRUST", "COST SAID", "SEEN", "USED", "WHY"];
    lines.push(table_with_why(&headings, &rows, Some(COLUMNS)));
    if hidden > 0 {
        lines.push(format!("and {hidden} more"));
    }
    lines.join("\n")
}

/// A cost as it is compared: how long one more would take there, in milliseconds, grown by how full the instance is; where
/// nobody says how much it can do, requests that would be there.
fn cost(cost: u64, unit: &str) -> String {
    match cost / 1_000 {
        whole @ ..10_000 => format!("{whole}.{} {unit}", cost % 1_000 / 100),
        whole @ ..10_000_000 => format!("{}k {unit}", whole / 1_000),
        whole => format!("{}M {unit}", whole / 1_000_000),
    }
}

/// An instance's name in so many letters: of a long one the number is whole.
fn short_name(app: &str, id: BackendId) -> String {
    let number = id.to_string();
    let app_max = NAME_LETTERS_MAX.saturating_sub(1 + number.len());
    format!("{}.{number}", short(app, app_max))
}

fn remarks(inputs: &Inputs, judged: &Judged, is_compared: bool) -> String {
    let standing = match judged.standing {
        Standing::Open => None,
        Standing::Pausing => Some("it pauses, or is about to"),
        Standing::Parked => Some("its requests wait"),
        Standing::NotReady => Some("it is not ready"),
        Standing::Absent => Some("it does not run yet"),
        Standing::Draining => Some("it drains"),
    };
    let cuts: Vec<_> = Vec::<Clamp>::from(judged.clamps).into_iter().map(clamp).collect();
    let cut = (!cuts.is_empty()).then(|| format!("cut: {}", cuts.join(", ")));
    let debt = inputs.debt_milli;
    let failed =
        (debt >= 100).then(|| format!("failed lately: as {}.{} more", debt / 1_000, debt % 1_000 / 100));
    let said = [
        (!is_compared).then(|| "not compared".to_owned()),
        standing.map(str::to_owned),
        judged.is_hot.then(|| "one more would wait".to_owned()),
        failed,
        cut,
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn rule(rule: Rule) -> &'static str {
    match rule {
        Rule::Only => "there was one",
        Rule::Cold => "the least cost of those where it need not wait",
        Rule::Hot => "it waits everywhere, and there least",
        Rule::LeastLoaded => "the least load of those that were compared",
        Rule::LeastInFlight => "the least of its own in flight",
        Rule::RoundRobin => "its turn",
        Rule::Random => "by chance",
    }
}

fn regime(regime: Regime) -> &'static str {
    match regime {
        Regime::Alone => "no other could be chosen",
        Regime::Reports => "by what they say of themselves",
        Regime::Silent => "nobody says how much it can do",
        Regime::LeastBad => "none should have got it",
    }
}

fn clamp(clamp: Clamp) -> &'static str {
    match clamp {
        Clamp::Weight => "its weight",
        Clamp::Places => "how many it works on at once",
        Clamp::InFlight => "less in flight than was sent",
        Clamp::Room => "room that is not seen",
        Clamp::Full => "no room, and it is not slow",
        Clamp::Cost => "its cost is far from what is seen",
        Clamp::Pause => "too many pause at once",
    }
}
