//! `paracloud stop`: ends the cloud of a directory from another terminal, after saying what will be lost.

use super::Context;
use crate::client;
use crate::failure::{Exit, Failure};
use crate::output::{Format, say, tell};
use crate::processes::{self, to_process};
use crate::up::{self, lock, roster};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::process::Identity;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// How long `up` may take to end everything beyond the longest grace of an app, in milliseconds.
pub const END_MS_MAX: u64 = 30_000;
/// The grace of programs that are ended without an `up`, in milliseconds.
const GRACE_MS: u64 = 5_000;

/// Stops the cloud; with `yes` without asking.
///
/// # Errors
/// There is no cloud here, the person does not consent, or it does not end.
pub async fn run(context: &Context, yes: bool) -> Result<(), Failure> {
    match lock::holder(&context.layout) {
        Some(pid) => end_up(context, pid, yes).await,
        None => end_leftovers(context, yes).await,
    }
}

async fn end_up(context: &Context, pid: i32, yes: bool) -> Result<(), Failure> {
    let layout = &context.layout;
    let shown = layout.root().display().to_string();
    let up =
        Identity::of(pid).map_err(|error| Failure::machine(format!("`paracloud up` (pid {pid})"), &error))?;
    let lost = match client::status(layout).await {
        Ok(status) => up::stateful(&status),
        // It cannot say, so it is asked about all that the configuration calls stateful.
        Err(_) => configured(layout),
    };
    consent(context, &lost, yes)?;
    to_process(up.pid, rustix::process::Signal::TERM);
    let grace_ms = longest_grace_ms(layout);
    if !processes::gone(&[up], Duration::from_millis(grace_ms + END_MS_MAX)).await {
        let why = format!("`paracloud up` (pid {pid}) does not end");
        return Err(Failure::new(
            Exit::Failed,
            "not_ended",
            shown,
            why,
            format!("kill -9 {pid}, then paracloud stop"),
        ));
    }
    done(context, &lost);
    Ok(())
}

/// No `up` lives here, but something may outlive one that was killed.
async fn end_leftovers(context: &Context, yes: bool) -> Result<(), Failure> {
    let layout = &context.layout;
    let shown = layout.root().display().to_string();
    if !layout.up_lock().exists() {
        let next = "name its directory: --dir DIR";
        return Err(Failure::new(Exit::Unreachable, "no_cloud", shown, "there is no cloud here", next));
    }
    let mut left = processes::all(layout);
    left.retain(|process| process.alive().is_some());
    if left.is_empty() {
        let why = "the cloud of this directory is not up, and nothing of it is running";
        return Err(Failure::new(Exit::Unreachable, "no_cloud", shown, why, ""));
    }
    let mut lost: Vec<String> = left.iter().map(|process| process.instance.clone()).collect();
    lost.sort();
    lost.dedup();
    let stateless = stateless(layout);
    lost.retain(|app| !stateless.contains(app));
    if context.format == Format::Text {
        tell("`paracloud up` was killed here; its instances still run (the next `up` would adopt them)");
    }
    consent(context, &lost, yes)?;
    // Nobody brings it up meanwhile.
    let _lock = lock::take(layout)?;
    roster::end_leftovers(layout).await?;
    if !processes::end(&processes::all(layout), Duration::from_millis(GRACE_MS)).await {
        return Err(Failure::new(
            Exit::Failed,
            "not_ended",
            shown,
            "a process was killed and is still there",
            "",
        ));
    }
    done(context, &lost);
    Ok(())
}

/// Asks, if anything would be lost.
fn consent(context: &Context, lost: &[String], yes: bool) -> Result<(), Failure> {
    if lost.is_empty() || yes {
        return Ok(());
    }
    let apps = lost.join(", ");
    let refused = |why: String| {
        let failure = Failure::new(Exit::Consent, "consent_needed", &apps, why, "paracloud stop --yes");
        Err(Failure { found: Some(Box::new(("lost", json!(lost)))), ..failure })
    };
    if context.format == Format::Json || !std::io::stdin().is_terminal() {
        return refused("stopping drops the state in memory, and needs a consent".to_owned());
    }
    tell(&format!("the state in memory of {apps} will be dropped"));
    let mut out = std::io::stderr().lock();
    let _ = write!(out, "stop? [y/N] ").and_then(|()| out.flush());
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    match read {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        Ok(_) | Err(_) => refused("not stopped: you did not say yes".to_owned()),
    }
}

fn done(context: &Context, lost: &[String]) {
    match context.format {
        Format::Json => say(&json!({ "ok": true, "dropped": lost }).to_string()),
        Format::Text => say("stopped; nothing is left running"),
    };
}

fn config(layout: &Layout) -> Vec<paracloud_substrate::config::App> {
    paracloud_substrate::config::Cloud::load(&layout.cloud()).map(|cloud| cloud.apps).unwrap_or_default()
}

fn longest_grace_ms(layout: &Layout) -> u64 {
    config(layout).iter().map(|app| u64::from(app.stop_grace_ms)).max().unwrap_or(0)
}

fn configured(layout: &Layout) -> Vec<String> {
    use paracloud_substrate::config::State;
    config(layout).into_iter().filter(|app| app.state == State::Stateful).map(|app| app.name).collect()
}

fn stateless(layout: &Layout) -> Vec<String> {
    use paracloud_substrate::config::State;
    config(layout).into_iter().filter(|app| app.state == State::None).map(|app| app.name).collect()
}
