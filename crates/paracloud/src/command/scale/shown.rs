//! What is done about a number of instances, as people read it.

use crate::figures::{counted, millis, time_of_day};
use crate::output::table_with_why;
use crate::telling::plain;
use paracloud_core::ids::NodeId;
use paracloud_substrate::person::{Candidate, Kept, Scaled, Standing};

/// What is started, what leaves and why that, and how long it is kept.
pub(super) fn text(
    scaled: &Scaled,
    dry_run: bool,
    shown: impl Fn(NodeId) -> String,
    columns: Option<usize>,
) -> String {
    let Scaled { app, from, to, starts, called_back, leaves, looked_at, until_unix_ms } = scaled;
    let now = counted(u64::from(*from), "instance");
    let has = if dry_run { "has" } else { "had" };
    let mut lines = Vec::new();
    let (begins, ends) = (starts.len() + called_back.len(), looked_at.len());
    if begins == 0 && ends == 0 {
        let nothing = if dry_run { "; nothing would be done" } else { "" };
        lines.push(format!("{app}: has {now} already{nothing}"));
    }
    if begins > 0 {
        let what = if dry_run { "would be started" } else { "are started" };
        lines.push(format!("{app}: {has} {now}; for {to} these {what}:"));
        lines.extend(called_back.iter().map(|name| format!("  {name}, called back from leaving")));
        lines.extend(starts.iter().map(|it| format!("  {} on {}", it.instance, shown(it.node))));
    }
    if ends > 0 {
        let what = match (dry_run, leaves.len()) {
            (true, _) => "would leave",
            (false, 1) => "leaves",
            (false, _) => "leave",
        };
        lines.push(format!("{app}: {has} {now}; for {to}, {} of them {what}:", leaves.len()));
        let rows: Vec<_> = looked_at.iter().map(|it| cells(it, &shown)).collect();
        lines.push(table_with_why(&["INSTANCE", "NODE", "COST", "DRAIN", "IS", "WHY"], &rows, columns));
    }
    if let Some(until) = until_unix_ms {
        let back = format!("paracloud scale {app} --auto gives it back before");
        lines.push(format!("kept until {}; {back}", time_of_day(*until)));
    }
    lines.join("\n")
}

/// Who decides from now on.
pub(super) fn given_back(app: &str, was: Option<&Kept>) -> String {
    match was {
        Some(Kept { instances, remaining_ms, .. }) => {
            let wanted = counted(u64::from(*instances), "instance");
            let left = millis(*remaining_ms);
            format!("{app}: the rule decides again; a person wanted {wanted} for {left} more")
        }
        None => format!("{app}: the rule decides already: no person has set its number"),
    }
}

fn cells(candidate: &Candidate, shown: impl Fn(NodeId) -> String) -> Vec<String> {
    let ms = |ms: Option<u32>| ms.map_or_else(|| "-".to_owned(), |ms| millis(ms.into()));
    let is = match candidate.standing {
        Standing::Leaves => "leaves",
        Standing::Stays => "stays",
        Standing::NotAsked => "not asked",
        Standing::Held => "held",
        Standing::Silent => "no price",
        Standing::NeedsConsent => "needs consent",
        Standing::Busy => "busy",
    };
    let sessions = candidate.sessions.filter(|count| *count > 0);
    let sessions =
        sessions.map_or_else(String::new, |count| format!("; {}", counted(count.into(), "session")));
    vec![
        candidate.instance.clone(),
        candidate.node.map_or_else(|| "-".to_owned(), shown),
        ms(candidate.cost_ms),
        ms(candidate.drain_ms),
        is.to_owned(),
        plain(&candidate.why) + &sessions,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::OperationNumber;
    use paracloud_substrate::person::{Leaving, Starting};

    fn shown(node: NodeId) -> String {
        node.to_string()
    }

    fn scaled(from: u32, to: u32) -> Scaled {
        Scaled {
            app: "worker".to_owned(),
            from,
            to,
            starts: Vec::new(),
            called_back: Vec::new(),
            leaves: Vec::new(),
            looked_at: Vec::new(),
            until_unix_ms: Some(1_700_000_000_000),
        }
    }

    fn dry(scaled: &Scaled) -> Scaled {
        Scaled { until_unix_ms: None, ..scaled.clone() }
    }

    #[test]
    fn who_gives_a_number_back_hears_what_was_wanted_and_who_has_none_that_nothing_was() {
        let was = Kept { app: "worker".to_owned(), instances: 1, remaining_ms: 90_000 };
        let words = "worker: the rule decides again; a person wanted 1 instance for 1 m 30 s more";
        assert_eq!(given_back("worker", Some(&was)), words);
        assert!(given_back("worker", None).contains("no person has set its number"));
    }

    #[test]
    fn what_is_started_where_and_how_long_that_is_kept_is_said() {
        let starting = |instance: &str, node| Starting { instance: instance.to_owned(), node: NodeId(node) };
        let starts = vec![starting("worker.2", 2), starting("worker.3", 1)];
        let out = Scaled { starts, called_back: vec!["worker.4".to_owned()], ..scaled(1, 4) };
        let same = scaled(3, 3);
        let texts = [
            text(&out, false, shown, None),
            text(&dry(&out), true, shown, None),
            text(&same, false, shown, None),
            text(&dry(&same), true, shown, None),
        ];
        insta::assert_snapshot!(texts.join("\n\n"));
    }

    #[test]
    fn who_leaves_what_that_costs_and_why_the_others_stay_is_said_in_a_table() {
        let one = |instance: &str, figures: Option<(u32, u32)>, standing, why: &str| Candidate {
            instance: instance.to_owned(),
            node: Some(NodeId(1)),
            cost_ms: figures.map(|(cost_ms, _)| cost_ms),
            drain_ms: figures.map(|(_, drain_ms)| drain_ms),
            sessions: figures.map(|(cost_ms, _)| u32::from(cost_ms > 1_000)),
            standing,
            why: why.to_owned(),
        };
        let looked_at = vec![
            one("worker.3", Some((0, 0)), Standing::Leaves, "costs less than worker.1"),
            one("worker.1", Some((9_000, 4_000)), Standing::Stays, "costs more than worker.3"),
            one("worker.4", None, Standing::Held, "it holds on to its place for 40.0 s: month\u{1b}[2J end"),
            one("worker.2", None, Standing::Silent, "it did not answer within 2.00 s"),
            one("worker.5", None, Standing::NotAsked, "enough of those asked can go"),
            one("worker.6", None, Standing::Busy, "another operation of it is open"),
        ];
        let leaves = vec![Leaving {
            instance: "worker.3".to_owned(),
            node: NodeId(1),
            operation: Some(OperationNumber(1)),
            drain_ms: Some(0),
        }];
        let inwards = Scaled { looked_at, leaves, ..scaled(6, 5) };
        let texts = [text(&inwards, false, shown, Some(80)), text(&dry(&inwards), true, shown, None)];
        let texts = texts.join("\n\n");
        assert!(!texts.contains('\u{1b}'), "what an application says is plain");
        insta::assert_snapshot!(texts);
    }
}
