//! `paracloud ask APP QUESTION`: asks an application what the cloud would ask it, and changes nothing.

use super::{Context, named};
use crate::client;
use crate::failure::Failure;
use crate::figures::{bytes, millis};
use crate::output::{Format, say, say_object};
use crate::quantity;
use clap::{ArgGroup, Subcommand};
use paci::answer::{Answer, Verdict};
use paci::finding::{Finding, MoveEstimate, Preference, RemovalQuote};
use paci::size::{Resize, Size};
use paracloud_substrate::message::Question;
use paracloud_substrate::person::{Reply, Request};
use serde_json::json;

/// An application has ten seconds for its answer; the rest is the way, in milliseconds.
const ASKED_MS_MAX: u64 = 15_000;

/// What an application can be asked.
#[derive(Debug, Clone, Subcommand)]
pub enum Asked {
    /// What would a move cost?
    Estimate,
    /// What would losing this instance cost, now?
    Quote,
    /// Would it do with another size?
    #[command(group(ArgGroup::new("size").required(true).multiple(true)))]
    Resize {
        /// Memory that it would have, such as 64MiB
        #[arg(long, value_name = "SIZE", value_parser = memory_kib, group = "size", allow_hyphen_values = true)]
        memory: Option<u32>,
        /// Processors that it would have: 2, or 500m for half of one
        #[arg(long, value_name = "CPUS", value_parser = cpu_millis, group = "size", allow_hyphen_values = true)]
        cpu: Option<u32>,
    },
}

impl Asked {
    fn name(&self) -> &'static str {
        match self {
            Self::Estimate => "estimate",
            Self::Quote => "quote",
            Self::Resize { .. } => "resize",
        }
    }

    fn question(&self) -> Question {
        match self {
            Self::Estimate => Question::Estimate,
            Self::Quote => Question::Quote,
            Self::Resize { memory, cpu } => {
                Question::Resize(Resize { memory_kib: *memory, cpu_millis: *cpu, ..Resize::default() })
            }
        }
    }
}

/// Asks the application, through the controller.
///
/// # Errors
/// It cannot be asked, does not answer in time, or the cloud does not answer.
pub async fn run(context: &Context, app: &str, asked: &Asked) -> Result<(), Failure> {
    let instance = named::instance(context, app).await?;
    let request = Request::Ask { instance: instance.clone(), question: asked.question() };
    answered(context, &instance, asked, &request).await
}

/// Sends what asks an application, and says what it answered.
pub(super) async fn answered(
    context: &Context,
    instance: &str,
    asked: &Asked,
    request: &Request,
) -> Result<(), Failure> {
    let reply = client::ask(&context.layout, instance, request, ASKED_MS_MAX).await?;
    let Reply::Answered(answer) = reply else { return Err(client::unexpected(&context.layout, &reply)) };
    match context.format {
        Format::Json => {
            let answered =
                json!({ "ok": true, "instance": instance, "question": asked.name(), "answer": answer });
            say_object("ask", answered)
        }
        Format::Text => say(&format!("{instance}: {}", told(asked, &answer))),
    };
    Ok(())
}

/// What an instance says to being lost, in words, or why it does not say that. Nothing is changed by asking it.
pub(super) async fn quoted(context: &Context, instance: &str) -> String {
    let request = Request::Ask { instance: instance.to_owned(), question: Asked::Quote.question() };
    match client::ask(&context.layout, instance, &request, ASKED_MS_MAX).await {
        Ok(Reply::Answered(answer)) => told(&Asked::Quote, &answer),
        Ok(other) => client::unexpected(&context.layout, &other).why,
        Err(failure) => failure.why,
    }
}

/// An answer in words.
fn told(asked: &Asked, answer: &Answer) -> String {
    let own = match (answer.code.is_empty(), answer.message.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!(": {}", answer.message),
        (false, true) => format!(": {}", answer.code),
        (false, false) => format!(": {} ({})", answer.message, answer.code),
    };
    let later =
        |ms: u32| if ms == 0 { String::new() } else { format!("; ask again in {}", millis(ms.into())) };
    match (answer.verdict, &answer.result) {
        (Verdict::Done, Some(Finding::Quote(quote))) => priced(quote) + &own,
        (Verdict::Done, Some(Finding::Estimate(estimate))) => estimated(estimate) + &own,
        (Verdict::Done, _) => format!("it would do with that{own}"),
        (Verdict::Defer, _) => format!("not now{own}{}", later(answer.retry_after_ms)),
        (Verdict::Refuse, Some(Finding::Fit(size))) => format!("no{own}; it could do with {}", sized(*size)),
        (Verdict::Refuse, _) => format!("no{own}{}", later(answer.retry_after_ms)),
        (Verdict::Unsupported, _) => format!("it does not know {}{own}", asked.name()),
        (Verdict::Failed | Verdict::InProgress | Verdict::Unspecified, _) => format!("it failed{own}"),
    }
}

/// What is not known is left out, or said to be: it is not nothing.
fn priced(quote: &RemovalQuote) -> String {
    let cost = quote.cost_ms.map_or_else(
        || "what losing it now would cost is not known".to_owned(),
        |cost_ms| match cost_ms {
            0 => "losing it now would cost nothing".to_owned(),
            _ => format!("losing it now would cost {} of work", millis(cost_ms.into())),
        },
    );
    let drained = quote.drain_ms.map(|drain_ms| format!("drained in {}", millis(drain_ms.into())));
    let state = quote.state_kib.map(|kib| format!("{} of state to hand over", kib_of(kib)));
    let sessions = quote.sessions.map(|count| format!("{count} sessions that only it can serve"));
    let preference = match quote.preference {
        Preference::Prefer => Some("it would rather go than another".to_owned()),
        Preference::Avoid => Some("it would rather stay than another".to_owned()),
        Preference::Unspecified => None,
    };
    let rest = [drained, state, sessions, preference].into_iter().flatten();
    std::iter::once(cost).chain(rest).collect::<Vec<_>>().join(", ")
}

fn estimated(estimate: &MoveEstimate) -> String {
    let state = estimate.state_kib.map(|kib| format!("{} of state", kib_of(kib)));
    let dropped = estimate.shrinkable_kib.map(|kib| format!("{} of it could be dropped first", kib_of(kib)));
    let pause = estimate.pause_ms.map(|pause_ms| format!("a pause of {}", millis(pause_ms.into())));
    let modes = estimate.modes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    let modes = (!modes.is_empty()).then(|| format!("by {modes}"));
    let known = [state, dropped, pause, modes].into_iter().flatten().collect::<Vec<_>>().join(", ");
    if known.is_empty() { "it can be moved now".to_owned() } else { format!("it can be moved now: {known}") }
}

fn sized(size: Size) -> String {
    let memory = size.memory_kib.map(|kib| format!("{} of memory", kib_of(kib)));
    let cpu = size.cpu_millis.map(|millis| format!("{millis}m of processors"));
    [memory, cpu].into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

fn kib_of(kib: u32) -> String {
    bytes(u64::from(kib) * 1_024)
}

/// KiB of an amount with its unit.
pub(crate) fn memory_kib(text: &str) -> Result<u32, String> {
    let wrong =
        || "want an amount of memory with its unit, such as 64MiB or 1GiB: from 1KiB to 4TiB".to_owned();
    let kib = quantity::amount(text, quantity::BYTES).ok_or_else(wrong)?.div_ceil(1_024);
    let out_of_bounds = || "want from 1KiB to 4TiB of memory".to_owned();
    u32::try_from(kib).ok().filter(|kib| *kib > 0).ok_or_else(out_of_bounds)
}

/// Thousandths of a number of processors.
pub(crate) fn cpu_millis(text: &str) -> Result<u32, String> {
    let most = quantity::PROCESSORS_MILLI_MAX;
    let wrong = || {
        let want = "want a number of processors, such as 2, or thousandths of one, such as 500m";
        format!("{want}: from 1m to {}", most / 1_000)
    };
    let millis = quantity::processors_milli(text).ok_or_else(wrong)?;
    let out_of_bounds = || format!("want from 1m to {} processors", most / 1_000);
    Some(millis).filter(|millis| (1..=most).contains(millis)).ok_or_else(out_of_bounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(verdict: Verdict) -> Answer {
        Answer { operation: 1, attempt: 1, verdict, ..Answer::default() }
    }

    #[test]
    fn an_answer_is_told_in_words_and_what_is_not_known_is_not_said_to_be_nothing() {
        let quote = RemovalQuote {
            cost_ms: Some(4_200),
            sessions: Some(0),
            preference: Preference::Avoid,
            ..RemovalQuote::default()
        };
        let priced = answer(Verdict::Done).with(Finding::Quote(quote));
        assert_eq!(
            told(&Asked::Quote, &priced),
            "losing it now would cost 4.20 s of work, 0 sessions that only it can serve, it would rather stay than another"
        );
        let unknown = answer(Verdict::Done).with(Finding::Quote(RemovalQuote::default()));
        assert_eq!(told(&Asked::Quote, &unknown), "what losing it now would cost is not known");
        let estimate = MoveEstimate {
            state_kib: Some(65_536),
            shrinkable_kib: Some(16_384),
            pause_ms: Some(40),
            ..MoveEstimate::default()
        };
        let moves = answer(Verdict::Done).with(Finding::Estimate(estimate));
        assert_eq!(
            told(&Asked::Estimate, &moves),
            "it can be moved now: 64.0 MiB of state, 16.0 MiB of it could be dropped first, a pause of 40 ms"
        );
        let resize = Asked::Resize { memory: Some(1_024), cpu: None };
        let fit = Finding::Fit(Size { memory_kib: Some(65_536), cpu_millis: None });
        let code = "DOES_NOT_FIT".to_owned();
        let counter = Answer { code, ..answer(Verdict::Refuse) }.saying("the index").with(fit);
        assert_eq!(
            told(&resize, &counter),
            "no: the index (DOES_NOT_FIT); it could do with 64.0 MiB of memory"
        );
        assert_eq!(told(&resize, &answer(Verdict::Done)), "it would do with that");
        let later = Answer { retry_after_ms: 2_000, ..answer(Verdict::Defer) }.saying("payroll");
        assert_eq!(told(&Asked::Quote, &later), "not now: payroll; ask again in 2.00 s");
    }

    #[test]
    fn a_size_is_read_with_its_unit_and_nothing_else_is_taken_for_one() {
        assert_eq!((memory_kib("64MiB"), memory_kib("1GiB")), (Ok(65_536), Ok(1 << 20)));
        assert_eq!((cpu_millis("2"), cpu_millis("500m")), (Ok(2_000), Ok(500)));
        assert_eq!((memory_kib("1TiB"), cpu_millis("1024")), (Ok(1 << 30), Ok(1_024_000)));
        for bad in ["", "64", "MiB", "-1MiB", "64MB"] {
            assert!(memory_kib(bad).unwrap_err().starts_with("want an amount"), "{bad}");
        }
        for bad in ["0KiB", "9999999GiB", "16TiB"] {
            assert_eq!(memory_kib(bad).unwrap_err(), "want from 1KiB to 4TiB of memory");
        }
        for bad in ["", "m", "0.5", "-1"] {
            assert!(cpu_millis(bad).unwrap_err().starts_with("want a number"), "{bad}");
        }
        for bad in ["0", "1025", "9999999"] {
            assert_eq!(cpu_millis(bad).unwrap_err(), "want from 1m to 1024 processors");
        }
    }
}
