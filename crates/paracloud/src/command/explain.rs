//! `paracloud explain`: why an app has so many instances, why an instance is there and what it gets, what was behind an
//! operation.

mod asked;
mod choice;
mod ordered;
mod said;

use super::Context;
use crate::client::{self, ANSWER_MS_MAX};
use crate::failure::{Exit, Failure};
use crate::figures::{age, millis, time_of_day};
use crate::moving::history::History;
use crate::output::{self, Format, folded, say, say_object};
use crate::telling::{self, plain};
use paracloud_core::ids::OperationNumber;
use paracloud_core::scaling::Action;
use paracloud_core::scaling::explain::explain;
use paracloud_substrate::decision::Done;
use paracloud_substrate::explained::{Decided, Explained, Role};
use paracloud_substrate::message::Usage;
use paracloud_substrate::person::{Kind, Reply, Request};
use std::collections::BTreeSet;

/// Columns of a line, at most, as far as a word does not take more.
const COLUMNS: usize = 80;
/// Bytes of a mebibyte, in kibibytes.
const KIB_OF_MIB: u64 = 1_024;

/// Reads the number of an operation: `op-3`, or `3`.
///
/// # Errors
/// It is none.
pub fn operation(text: &str) -> Result<OperationNumber, String> {
    let number = text.strip_prefix("op-").unwrap_or(text).parse().ok().filter(|number| *number > 0);
    number.map(OperationNumber).ok_or_else(|| "want the number of an operation, such as op-3".to_owned())
}

/// Asks the controller and prints.
///
/// # Errors
/// There is no cloud here, it does not answer, or there is no such app, instance or operation.
pub async fn run(context: &Context, name: &str, operation: Option<OperationNumber>) -> Result<(), Failure> {
    let request = Request::Explain { name: name.to_owned(), operation };
    let reply = client::ask(&context.layout, name, &request, ANSWER_MS_MAX).await?;
    let Reply::Explained(explained) = reply else { return Err(client::unexpected(&context.layout, &reply)) };
    if is_empty(&explained) {
        let next = "it is decided once a period: ask again in a moment";
        return Err(Failure::new(Exit::Failed, "nothing_decided", name, "nothing was decided yet", next));
    }
    match context.format {
        Format::Json => {
            let mut object =
                serde_json::to_value(&*explained).map_err(|error| Failure::machine("explain", &error))?;
            object["ok"] = true.into();
            say_object("explain", object)
        }
        Format::Text => say(&text(&explained)),
    };
    Ok(())
}

/// Whether there is nothing to be told.
fn is_empty(explained: &Explained) -> bool {
    let Explained { decisions, orders, choices, events, wishes, says, unready, usage, .. } = explained;
    let is_decided = !(decisions.is_empty()
        && orders.is_empty()
        && choices.is_empty()
        && events.is_empty()
        && wishes.is_empty());
    !is_decided && says.is_none() && unready.is_none() && usage.is_none()
}

fn text(explained: &Explained) -> String {
    let mut parts = Vec::new();
    let mut told: Vec<u64> = Vec::new();
    // Of an instance or an operation the decisions behind it come first, and the present one last.
    let is_app = explained.name == explained.app && explained.operation.is_none();
    let (present, behind): (Vec<_>, Vec<_>) =
        explained.decisions.iter().partition(|decided| decided.role == Role::Present);
    let orders: Vec<_> = explained.orders.iter().map(|it| ordered::text(it, explained)).collect();
    let order: Vec<&Decided> = if is_app {
        present.into_iter().chain(behind).collect()
    } else {
        parts.extend(operated(explained));
        parts.extend(asked::text(explained));
        parts.extend(orders.iter().cloned());
        behind.into_iter().chain(present).collect()
    };
    for decided in order {
        let decided_ms = decided.record.observation.now_ms;
        if told.contains(&decided_ms) {
            parts.push(format!("{}: the same decision as above", role(decided.role, explained)));
            continue;
        }
        told.push(decided_ms);
        parts.push(decision(decided, explained));
    }
    let is_acted = |decided: &Decided| decided.role == Role::Acted;
    if is_app && orders.is_empty() && !explained.decisions.iter().any(is_acted) {
        parts.push(format!("{}: nothing was done to it by any decision that is kept", explained.app));
    }
    if is_app {
        parts.extend(orders);
    }
    // The newest of each gateway: people see how it chooses, and JSON has the rest.
    let mut gateways = BTreeSet::new();
    let newest = explained.choices.iter().filter(|choice| gateways.insert(choice.gateway));
    parts.extend(newest.map(|choice| choice::text(choice, explained)));
    parts.extend(said::text(explained));
    parts.extend(explained.usage.iter().map(|(usage, age_ms)| used(usage, *age_ms)));
    parts.extend(explained.gaps.iter().map(|gap| format!("not whole: {}", plain(gap))));
    folded(&parts.join("\n\n"), Some(COLUMNS)).into_owned()
}

fn role(role: Role, explained: &Explained) -> String {
    let Explained { name, app, operation, .. } = explained;
    let operation = operation.map_or_else(String::new, |operation| operation.to_string());
    match role {
        Role::Present => format!("The last decision about {app}"),
        Role::Acted => "The last one by which something was done".to_owned(),
        Role::Started => format!("{name} was started by this one"),
        Role::Changed => format!("{name} was last changed by this one"),
        Role::Looked => format!("{name} was looked at by this one"),
        Role::Opened => format!("{operation} of {name} was opened by this one"),
        Role::GaveUp => format!("{operation} of {name} was given up by this one"),
    }
}

fn decision(decided: &Decided, explained: &Explained) -> String {
    let ago = age(explained.now_unix_ms.saturating_sub(decided.unix_ms));
    let what = role(decided.role, explained);
    let head = format!("{what}, {} ({ago} ago)", time_of_day(decided.unix_ms));
    let manual = decided.record.observation.manual;
    let until = manual.map(|manual| time_of_day(decided.unix_ms.saturating_add(manual.left_ms.into())));
    let words = explain(&decided.record, &explained.app, until.as_deref());
    let mut lines = vec![head, words.trim_end().to_owned()];
    lines.extend(decided.done.iter().map(done));
    lines.join("\n")
}

/// What became of an action.
fn done(done: &Done) -> String {
    let Done { action, instance, operation, refused, .. } = done;
    let what = match action {
        Action::Start(_) => "started",
        Action::Leave(_) => "leaves",
        Action::Revoke(_) => "called back",
        Action::Resize { .. } => "gets another size",
        Action::AskQuotes(_) => "asked",
    };
    let operation = operation.map_or_else(String::new, |operation| format!(" ({operation})"));
    let line = match (instance, refused) {
        (_, Some(why)) => format!("  not done  {what}: {}", plain(why)),
        (Some(instance), None) => format!("  done      {instance}: {what}{operation}"),
        (None, None) => format!("  done      {what}{operation}"),
    };
    broken(&line, 12)
}

/// What the journal has of an operation, and whether a decision was behind it.
fn operated(explained: &Explained) -> Option<String> {
    let operation = explained.operation?;
    let roles = explained.decisions.iter().map(|it| it.role);
    let is_decided = roles.chain(explained.orders.iter().map(|it| it.role)).any(|role| role == Role::Opened);
    let by = match &explained.asked {
        Some(_) => "opened because the application asked for it, below",
        None if is_decided => "opened by a decision, below",
        None => "no decision behind it is kept: a person ordered it, or its entries say why",
    };
    let head = format!("{} {operation}: {by}; {}", explained.name, ended(explained));
    let head = broken(&head, 2);
    let entries = explained.events.iter().map(|event| broken(&telling::line(event), 4));
    Some(std::iter::once(head).chain(entries).collect::<Vec<_>>().join("\n"))
}

/// How the operation ended, by what the journal has of it.
fn ended(explained: &Explained) -> String {
    let mut history = History::new(&explained.name, explained.operation);
    for event in &explained.events {
        history.take(event);
    }
    let Some(outcome) = history.outcome() else { return "it is not over".to_owned() };
    let (node, took) = (outcome.node, millis(outcome.total_ms));
    match outcome.kind {
        _ if !outcome.committed => telling::why(&outcome).unwrap_or_else(|| "it was not done".to_owned()),
        Kind::Move => format!("it was done in {took}: on {node} since"),
        Kind::Leave => {
            let died = outcome.died().map_or_else(String::new, |how| format!("; {}", telling::died(how)));
            format!("it was done in {took}: it has left {node}{died}")
        }
        Kind::Resize => format!("it was done in {took}: it has its new size"),
    }
}

/// What an instance's process uses.
fn used(usage: &Usage, age_ms: u32) -> String {
    let mib = |kib: u64| format!("{} MiB", kib / KIB_OF_MIB);
    let cpu = |milli: u32| format!("{}.{:03} processors", milli / 1_000, milli % 1_000);
    let of = |used: Option<String>, limit: Option<String>| {
        let used = used.unwrap_or_else(|| "not known".to_owned());
        match limit {
            Some(limit) => format!("{used} of {limit}"),
            None => used,
        }
    };
    let memory = of(usage.memory_kib.map(mib), usage.memory_limit_kib.map(mib));
    let cpu = of(usage.cpu_milli.map(cpu), usage.cpu_limit_milli.map(cpu));
    format!("It uses, by its agent's measure {} ago: memory {memory}, {cpu}", millis(age_ms.into()))
}

/// A line broken at words, with the rest under this column.
fn broken(line: &str, under: usize) -> String {
    output::broken(line, under, COLUMNS)
}

#[cfg(test)]
mod tests;
