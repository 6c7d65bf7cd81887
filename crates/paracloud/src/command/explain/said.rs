//! What an instance says of itself, why it is not ready, and what became of what it asked for.

use super::broken;
use crate::figures::{age, millis};
use crate::telling::plain;
use paci::state::State;
use paracloud_core::wishes;
use paracloud_substrate::advice::{Advice, Cold, Lapsed, Pause};
use paracloud_substrate::explained::Explained;
use paracloud_substrate::message::Unready;

/// Before the second line of a sentence.
const UNDER: usize = 2;

/// `None`: there is nothing of it.
pub(super) fn text(explained: &Explained) -> Option<String> {
    let Explained { name, now_unix_ms, wishes, says, unready, .. } = explained;
    let mut lines = Vec::new();
    if let Some(Unready { since_unix_ms, asked, answered }) = unready {
        let since = age(now_unix_ms.saturating_sub(*since_unix_ms));
        lines.push(format!("{name} is not ready for {since}: {}: {}", plain(asked), plain(answered)));
    }
    lines.extend(says.iter().flat_map(|advice| state(name, advice)));
    let wished = |(unix_ms, record): &(u64, Box<wishes::Record>)| {
        let since = age(now_unix_ms.saturating_sub(*unix_ms));
        let left = record.sight.left_ms.into();
        let what = plain(&wishes::explain(record));
        format!("{what}; looked at {since} ago, when it stood for another {}", millis(left))
    };
    lines.extend(wishes.iter().map(wished));
    let lines: Vec<_> = lines.iter().map(|line| broken(line, UNDER)).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// What it says of how able it is, with what is left of it.
fn state(name: &str, advice: &Advice) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(Pause { in_ms, for_ms }) = advice.pause {
        let left = millis(for_ms.into());
        lines.push(match in_ms {
            0 => format!("{name} pauses, by its own word, for another {left}: it gets nothing new"),
            in_ms => format!("{name} pauses in {}, by its own word, for {left}", millis(in_ms.into())),
        });
    }
    let takes = match &advice.state {
        Some(said) => !matches!(said.said, State::NotReady | State::Stopping | State::Draining),
        None => true,
    };
    if let Some(Lapsed { for_ms, age_ms }) = advice.lapsed {
        let (lasts, since) = (millis(for_ms.into()), millis(age_ms.into()));
        let again = if takes { ": it gets requests again" } else { "" };
        lines.push(format!(
            "{name} was to pause for {lasts}; its word was over with that time, {since} ago, and it has said nothing of \
             its state since{again}"
        ));
    }
    if let Some(Cold { warmup_ms, capacity_permille }) = advice.cold {
        let able =
            capacity_permille.map(|permille| format!(", with {permille} of a thousand of its capacity"));
        let left = millis(warmup_ms.into());
        lines
            .push(format!("{name} is cold, by its own word, for another {left}{}", able.unwrap_or_default()));
    }
    if let Some(said) = &advice.state {
        let since = millis(said.age_ms.into());
        let gets = |what: &str| format!("{name} {what}, since {since}: it gets nothing new");
        lines.extend(match said.said {
            State::NotReady => Some(gets("is not ready, by its own word or its probe")),
            State::Stopping => Some(gets("stops, by its own word")),
            State::Draining => Some(gets("finishes what it has, by its own word")),
            State::Ready | State::Cold | State::Pausing | State::Unspecified => None,
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_substrate::advice::Aged;

    #[test]
    fn a_pause_that_was_over_with_its_time_is_why_it_gets_requests_again_unless_something_else_keeps_them_away()
     {
        let lapsed = Some(Lapsed { for_ms: 4_000, age_ms: 2_500 });
        let told = |said: Option<State>| {
            let state = said.map(|said| Aged { age_ms: 9_000, said });
            super::state("web.2", &Advice { lapsed, state, ..Advice::default() })
        };
        let words = "web.2 was to pause for 4.00 s; its word was over with that time, 2.50 s ago, and it has said \
                     nothing of its state since";
        for said in [None, Some(State::Ready)] {
            assert_eq!(told(said), [format!("{words}: it gets requests again")]);
        }
        assert_eq!(told(Some(State::NotReady))[0], words);
    }
}
