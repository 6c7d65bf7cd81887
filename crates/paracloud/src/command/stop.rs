//! `paracloud stop`: ends the cloud of a directory from another terminal, after saying what will be lost.

use super::Context;
use crate::client;
use crate::failure::{Exit, Failure};
use crate::held::{self, Held};
use crate::output::{Format, say, tell};
use crate::processes::{self, to_process};
use crate::up::{lock, roster};
use paracloud_substrate::config::Cloud;
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
    let status = client::status(layout).await.ok();
    let held = held::all(status.as_ref(), config(layout).as_ref(), &processes::all(layout));
    consent(context, &held, yes)?;
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
    done(context, &held);
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
    let held = held::all(None, config(layout).as_ref(), &left);
    if context.format == Format::Text {
        tell("`paracloud up` was killed here; its instances still run (the next `up` would adopt them)");
    }
    consent(context, &held, yes)?;
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
    done(context, &held);
    Ok(())
}

/// Asks, if anything would be lost.
fn consent(context: &Context, held: &[Held], yes: bool) -> Result<(), Failure> {
    if held.is_empty() || yes {
        return Ok(());
    }
    let refused = |why: String| {
        let apps = names(held);
        let failure =
            Failure::new(Exit::Consent, "consent_needed", apps.join(", "), why, "paracloud stop --yes");
        Err(Failure { found: Some(Box::new(("lost", json!(apps)))), ..failure })
    };
    let stakes: Vec<_> = held.iter().map(|held| format!("{}: {}", held.instance, held.why())).collect();
    if context.format == Format::Json || !std::io::stdin().is_terminal() {
        let stakes = if let [only] = held { only.why() } else { stakes.join("; ") };
        return refused(format!("{stakes}; stopping drops it, and needs a consent"));
    }
    stakes.iter().for_each(|stake| tell(stake));
    let mut out = std::io::stderr().lock();
    let _ = write!(out, "stop, and drop it? [y/N] ").and_then(|()| out.flush());
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    match read {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        Ok(_) | Err(_) => refused("not stopped: you did not say yes".to_owned()),
    }
}

fn names(held: &[Held]) -> Vec<&str> {
    held.iter().map(|held| held.instance.as_str()).collect()
}

fn done(context: &Context, held: &[Held]) {
    match context.format {
        Format::Json => say(&json!({ "ok": true, "dropped": names(held) }).to_string()),
        Format::Text => say("stopped; nothing is left running"),
    };
}

fn config(layout: &Layout) -> Option<Cloud> {
    Cloud::load(&layout.cloud()).ok()
}

fn longest_grace_ms(layout: &Layout) -> u64 {
    let apps = config(layout).map(|cloud| cloud.apps).unwrap_or_default();
    apps.iter().map(|app| u64::from(app.stop_grace_ms)).max().unwrap_or(0)
}
