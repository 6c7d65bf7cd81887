//! `paracloud resize INSTANCE`: another size for an instance, with its consent, followed until it has it or keeps its own.

use super::transfer::RESUMES_MAX;
use super::{Context, ask};
use crate::client::{self, ANSWER_MS_MAX, Conversation, Cut};
use crate::failure::{Exit, Failure};
use crate::figures::millis;
use crate::moving::history::History;
use crate::output::{Format, say, say_object, tell};
use crate::telling;
use paracloud_substrate::person::{Event, Outcome, Reply, Request, What};
use serde_json::json;

/// What may be asked for.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Memory in KiB; `None`: as it is.
    pub memory_kib: Option<u32>,
    /// Processors in thousandths; `None`: as they are.
    pub cpu_milli: Option<u32>,
    /// It is given up if it is not done within so many milliseconds; `None`: as the manifest says.
    pub budget_ms: Option<u32>,
    /// Ask the application, and change nothing.
    pub dry_run: bool,
    /// Do not stay until it is over.
    pub no_wait: bool,
}

/// Tells the controller, and follows what comes of it.
///
/// # Errors
/// It is refused, its size stays as it is, or the cloud does not answer.
pub async fn run(context: &Context, instance: &str, options: &Options) -> Result<(), Failure> {
    let Options { memory_kib, cpu_milli, budget_ms, dry_run, no_wait } = *options;
    let (name, wait) = (instance.to_owned(), !no_wait && !dry_run);
    let request = Request::Resize { instance: name, memory_kib, cpu_milli, budget_ms, dry_run, wait };
    if dry_run {
        let asked = ask::Asked::Resize { memory: memory_kib, cpu: cpu_milli };
        return ask::answered(context, instance, &asked, &request).await;
    }
    let mut conversation = Conversation::open(&context.layout, &request).await?;
    let followed = tokio::select! {
        followed = follow(context, instance, &mut conversation) => followed?,
        _ = tokio::signal::ctrl_c() => {
            let hint = context.hint();
            let next = format!("give it up: paracloud cancel {instance}{hint}; watch: paracloud events {instance} -f{hint}");
            return Err(Failure::new(Exit::Failed, "left", instance, "you left; the change of size goes on", next));
        }
    };
    match followed {
        Followed::Begun(operation) => {
            match context.format {
                Format::Json => {
                    say_object("resize", json!({ "ok": true, "instance": instance, "operation": operation }))
                }
                Format::Text => say(&format!("{instance}: begun; watch it: paracloud events {instance} -f")),
            };
            Ok(())
        }
        Followed::Ended(outcome) => report(context, instance, &outcome),
    }
}

/// How far it was followed.
enum Followed {
    /// Until this operation had begun.
    Begun(paracloud_core::ids::OperationNumber),
    /// To its end.
    Ended(Box<Outcome>),
}

/// Also when the controller is restarted meanwhile.
async fn follow(
    context: &Context,
    instance: &str,
    conversation: &mut Conversation,
) -> Result<Followed, Failure> {
    let mut history = History::new(instance, None);
    let (mut resumes, mut is_first) = (0, true);
    loop {
        let heard = if std::mem::take(&mut is_first) {
            conversation.hear_within(ANSWER_MS_MAX).await
        } else {
            conversation.hear_while_it_lives(&context.layout).await
        };
        match heard {
            Ok(Reply::Begun(operation)) => return Ok(Followed::Begun(operation)),
            Ok(Reply::Outcome(outcome)) => return Ok(Followed::Ended(Box::new(outcome))),
            Ok(Reply::Refused(refused)) => return Err(client::refusal(&refused, instance)),
            Ok(Reply::Event(event)) => {
                if history.take(&event) {
                    show(context, &event);
                }
                // Whoever was cut off hears the end from the journal alone.
                if let Some(outcome) = history.outcome().filter(|_| resumes > 0) {
                    return Ok(Followed::Ended(Box::new(outcome)));
                }
            }
            Ok(other) => return Err(client::unexpected(&context.layout, &other)),
            Err(Cut::Gone) if resumes < RESUMES_MAX && history.operation().is_some() => {
                resumes += 1;
                let request = Request::Events { from: 0, follow: true };
                *conversation = Conversation::open(&context.layout, &request).await?;
                is_first = true;
            }
            Err(cut) => return Err(cut.failure(&context.layout)),
        }
    }
}

/// What the application says, and what was measured.
fn show(context: &Context, event: &Event) {
    if let (Format::Text, What::Note(note)) = (context.format, &event.what) {
        tell(&format!("{}: {}", event.instance, telling::note(note)));
    }
}

fn report(context: &Context, instance: &str, outcome: &Outcome) -> Result<(), Failure> {
    let as_json = serde_json::to_value(outcome).map_err(|error| Failure::machine("outcome", &error))?;
    if !outcome.committed {
        let cause = outcome.cause.as_deref().unwrap_or("the cause was not heard");
        // What it said and what was measured was told when it was heard, and stands in the outcome.
        let why = format!("its size stays: {}", telling::plain(cause));
        let next = format!("paracloud explain {instance} {} tells more", outcome.operation);
        let found = Some(Box::new(("outcome", as_json)));
        return Err(Failure { found, ..Failure::new(Exit::Failed, "size_kept", instance, why, next) });
    }
    match context.format {
        Format::Json => say_object("resize", json!({ "ok": true, "outcome": as_json })),
        Format::Text => say(&format!("{instance}: has its new size, after {}", millis(outcome.total_ms))),
    };
    Ok(())
}
