//! What a person's order was made into, and what was begun by it.

use super::{broken, role};
use crate::figures::{age, time_of_day};
use crate::telling::plain;
use paracloud_core::ordered;
use paracloud_substrate::decision::{Hindrance, Opened};
use paracloud_substrate::explained::{Explained, Ordered, Role};

/// The most instances of which it is said what was begun.
const SHOWN_MAX: usize = 16;
/// Before the second line of what was begun.
const UNDER: usize = 12;

pub(super) fn text(order: &Ordered, explained: &Explained) -> String {
    let Ordered { unix_ms, record, opened, .. } = order;
    let what = if order.role == Role::Acted {
        "The last order of a person".to_owned()
    } else {
        role(order.role, explained)
    };
    let ago = age(explained.now_unix_ms.saturating_sub(*unix_ms));
    let head = format!("{what}, {} ({ago} ago)", time_of_day(*unix_ms));
    let is_app = explained.name == explained.app && explained.operation.is_none();
    let asked = (!is_app).then_some(explained.name.as_str());
    let of = match (asked, order.role) {
        (None, _) => ordered::Of::All,
        (Some(_), Role::Started) => ordered::Of::New,
        (Some(name), _) => ordered::Of::One(name),
    };
    let mut lines = vec![head, ordered::explain(record, of).trim_end().to_owned()];
    // Who is asked after is not left out.
    let mut begun: Vec<_> = opened.iter().collect();
    begun.sort_by_key(|it| Some(it.instance.as_str()) != asked);
    let revokes = matches!(record.decision, ordered::Decision::More(_));
    lines.extend(begun.iter().take(SHOWN_MAX).map(|it| line(it, revokes)));
    if let Some(hidden) = begun.len().checked_sub(SHOWN_MAX).filter(|hidden| *hidden > 0) {
        lines.push(format!("            and {hidden} more"));
    }
    lines.join("\n")
}

fn line(opened: &Opened, revokes: bool) -> String {
    let instance = &opened.instance;
    if let Some(Hindrance { why, until_unix_ms, stays }) = &opened.hindrance {
        let label = if *stays { "stays" } else { "waited" };
        let until = until_unix_ms.map(|until| format!(", until {}", time_of_day(until)));
        // It begins with who it is.
        let why = plain(why.strip_prefix(instance.as_str()).unwrap_or(why).trim_start_matches(':').trim());
        let line = format!("  {label:<10}{instance}{}: {why}", until.unwrap_or_default());
        return broken(&line, UNDER);
    }
    let what = match opened.operation {
        None => "started".to_owned(),
        Some(operation) if revokes => format!("called back ({operation})"),
        Some(operation) => operation.to_string(),
    };
    broken(&format!("  done      {instance}: {what}"), UNDER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_kept_from_leaving_is_told_with_the_hold_and_its_end() {
        let kept = |why: &str, until_unix_ms, stays| {
            let hindrance = Some(Hindrance { why: why.to_owned(), until_unix_ms, stays });
            line(&Opened { decided_ms: 1, instance: "web.1".to_owned(), operation: None, hindrance }, false)
        };
        let why = "web.1: it holds on to its place for 7.00 s: backup";
        let held = "web.1, until 22:13:20.000Z: it holds on to its place for 7.00 s:\n            backup";
        assert_eq!(kept(why, Some(1_700_000_000_000), false), format!("  waited    {held}"));
        let busy = kept("another operation of it is open", None, true);
        assert_eq!(busy, "  stays     web.1: another operation of it is open");
    }
}
