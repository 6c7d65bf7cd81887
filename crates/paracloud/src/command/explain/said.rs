//! What an instance says of itself, why it is not ready, and what became of what it asked for.

use super::broken;
use crate::figures::{age, millis};
use crate::telling::plain;
use paci::report::Report;
use paci::state::State;
use paracloud_core::wishes;
use paracloud_substrate::advice::{Advice, Cold, Lapsed, Leased, Pause};
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
    lines.extend(says.iter().filter_map(|advice| load(name, advice.report.as_ref()?)));
    let wished = |(unix_ms, record): &(u64, Box<wishes::Record>)| {
        let since = age(now_unix_ms.saturating_sub(*unix_ms));
        let what = plain(&wishes::explain(record));
        match record.sight.left_ms {
            0 => format!("{what}; looked at {since} ago"),
            left_ms => {
                format!("{what}; looked at {since} ago, when it stood for another {}", millis(left_ms.into()))
            }
        }
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

/// What it says that it has to do. `None`: nothing of that.
fn load(name: &str, report: &Leased<Report>) -> Option<String> {
    let Leased { age_ms, remaining_ms, said } = report;
    let in_flight = said.in_flight.map(|count| format!("{count} in flight"));
    let oldest = said.oldest_wait_ms.map(|ms| millis(ms.into()));
    let waiting = match (said.queued, oldest) {
        (Some(0), _) => Some("nothing waits".to_owned()),
        (Some(count), Some(oldest)) => Some(format!("{count} wait, the oldest for {oldest}")),
        (Some(count), None) => Some(format!("{count} wait")),
        (None, Some(oldest)) => Some(format!("the oldest that waits has for {oldest}")),
        (None, None) => None,
    };
    let backlog = said.backlog_ms.map(|ms| format!("{} of work in what waits", millis(ms.into())));
    let used = said.utilisation_permille.map(|permille| {
        let what = if said.tightest.is_empty() { "what is tightest" } else { &said.tightest };
        format!("{}.{} % of {} used", permille / 10, permille % 10, plain(what))
    });
    let all: Vec<_> = [in_flight, waiting, backlog, used].into_iter().flatten().collect();
    let (since, left) = (millis((*age_ms).into()), millis((*remaining_ms).into()));
    (!all.is_empty()).then(|| format!("{name} says, {since} ago and for another {left}: {}", all.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_substrate::advice::Aged;

    #[test]
    fn what_it_says_that_it_has_to_do_is_told_and_what_it_does_not_say_is_not() {
        let told = |said| load("web.2", &Leased { age_ms: 120, remaining_ms: 2_880, said });
        let busy = Report {
            in_flight: Some(8),
            queued: Some(17),
            backlog_ms: Some(8_500),
            oldest_wait_ms: Some(900),
            utilisation_permille: Some(1_205),
            tightest: "connections".to_owned(),
            ..Report::default()
        };
        let words = "web.2 says, 120 ms ago and for another 2.88 s: 8 in flight; 17 wait, the oldest for 900 ms; 8.50 s of \
                     work in what waits; 120.5 % of connections used";
        assert_eq!(told(busy).as_deref(), Some(words));
        let idle = Report { queued: Some(0), oldest_wait_ms: Some(0), ..Report::default() };
        assert_eq!(
            told(idle).as_deref(),
            Some("web.2 says, 120 ms ago and for another 2.88 s: nothing waits")
        );
        assert_eq!(told(Report { sessions: Some(3), ..Report::default() }), None);
    }

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
