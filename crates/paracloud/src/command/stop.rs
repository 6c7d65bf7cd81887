//! `paracloud stop`: ends the cloud of a directory from another terminal, after saying what will be lost.

use super::Context;
use crate::client;
use crate::failure::{Exit, Failure};
use crate::figures::millis;
use crate::held::{self, Held};
use crate::losses;
use crate::output::{Format, say, say_object, tell};
use crate::processes;
use crate::up::{lock, roster};
use paracloud_substrate::config::Cloud;
use paracloud_substrate::layout::Layout;
use paracloud_substrate::message::HeldOp;
use paracloud_substrate::person::{HeldOff, Loss};
use paracloud_substrate::process::{Identity, signal};
use rustix::process::Signal;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// How long `up` may take to end everything beyond twice the longest grace of an app (its agents', then its own), in
/// milliseconds.
pub const END_MS_MAX: u64 = 30_000;
/// The grace of programs that are ended without an `up`, in milliseconds.
const GRACE_MS: u64 = 5_000;

/// Stops the cloud; with `yes` without asking.
///
/// # Errors
/// There is no cloud here, the person does not consent, or it does not end.
pub async fn run(context: &Context, yes: bool) -> Result<(), Failure> {
    match lock::living(&context.layout)? {
        Some(up) => end_up(context, &up, yes).await,
        None => end_without_up(context, yes).await,
    }
}

async fn end_up(context: &Context, up: &Identity, yes: bool) -> Result<(), Failure> {
    let layout = &context.layout;
    let pid = up.pid;
    let not_ended = |why: &str, next: String| {
        Failure::new(Exit::Failed, "not_ended", format!("`paracloud up` (pid {pid})"), why, next)
    };
    if up.is_stopped().unwrap_or(false) {
        let next = format!(
            "let it go on: kill -CONT {pid}; or kill -9 {pid}, then paracloud stop{}",
            context.hint()
        );
        return Err(not_ended("it stands still, and hears nothing", next));
    }
    let status = client::status(layout).await.ok();
    let held = held::all(status.as_ref(), config(layout).as_ref(), &processes::all_seen(layout));
    let mut holds = status.map(|status| status.holds).unwrap_or_default();
    holds.retain(|hold| hold.op == HeldOp::Stop);
    let is_ending = || layout.ending().exists();
    // What is being dropped already needs no consent.
    consent(context, &held, &holds, yes || is_ending())?;
    // A second signal would kill what has been asked to end and may still take its time. By handle: it may have ended
    // while a person thought, and its pid be somebody else's by now.
    let failed = |error: std::io::Error| Failure::machine(format!("`paracloud up` (pid {pid})"), &error);
    if let Some(handle) = up.open().map_err(failed)?.filter(|_| !is_ending()) {
        signal(&handle, Signal::TERM).map_err(failed)?;
    }
    let within_ms = 2 * longest_grace_ms(layout) + END_MS_MAX;
    if context.format == Format::Text {
        tell(&format!(
            "`paracloud up` (pid {pid}) ends everything; waiting for it, at most {}",
            millis(within_ms)
        ));
    }
    let within = Duration::from_millis(within_ms);
    if !processes::gone(std::slice::from_ref(up), within).await {
        let next = format!("kill -9 {pid}, then paracloud stop{}", context.hint());
        return Err(not_ended("it does not end", next));
    }
    // It may have been killed before it was done.
    let left = end_left(layout).await?;
    done(context, &held, &left);
    Ok(())
}

/// No `up` lives here, but something may outlive one that was killed.
async fn end_without_up(context: &Context, yes: bool) -> Result<(), Failure> {
    let layout = &context.layout;
    let shown = layout.root().display().to_string();
    if !layout.up_lock().exists() {
        let next = "name its directory: --dir DIR";
        return Err(Failure::new(Exit::Unreachable, "no_cloud", shown, "there is no cloud here", next));
    }
    let known = processes::all_seen(layout);
    if roster::living(layout).is_empty() && processes::some_left(&known).is_empty() {
        let why = "the cloud of this directory is not up, and nothing of it is running";
        let next = "nothing needs to be done; to stop another one name its directory: --dir DIR";
        return Err(Failure::new(Exit::Unreachable, "no_cloud", shown, why, next));
    }
    let held = held::all(None, config(layout).as_ref(), &known);
    if context.format == Format::Text {
        tell("`paracloud up` was killed here, and what it ran was not (the next `up` would adopt it)");
    }
    consent(context, &held, &[], yes)?;
    let left = end_left(layout).await?;
    losses::keep(layout, &held, Loss::Stop);
    done(context, &held, &left);
    Ok(())
}

/// Ends whatever of the cloud runs without an `up`, and says what that was.
async fn end_left(layout: &Layout) -> Result<Vec<String>, Failure> {
    // Nobody brings it up meanwhile. Where the directory was removed there is nothing to lock.
    let _lock = layout.root().exists().then(|| lock::take(layout)).transpose()?;
    let mut left = roster::end_leftovers(layout).await?;
    let known = processes::all_seen(layout);
    left.extend(processes::some_left(&known));
    if !processes::end(&known, Duration::from_millis(GRACE_MS)).await {
        let shown = layout.root().display().to_string();
        let why = "a process was killed and is still there: it waits in the kernel";
        return Err(Failure::new(Exit::Failed, "not_ended", shown, why, "paracloud stop, once more"));
    }
    Ok(left)
}

/// Asks, if anything would be lost, or an application asked not to be stopped.
fn consent(context: &Context, held: &[Held], holds: &[HeldOff], yes: bool) -> Result<(), Failure> {
    if yes || (held.is_empty() && holds.is_empty()) {
        return Ok(());
    }
    let refused = |why: String| {
        let mut apps = names(held);
        apps.extend(holds.iter().map(|hold| hold.instance.as_str()).filter(|app| !names(held).contains(app)));
        let next = format!("paracloud stop --yes{}", context.hint());
        let failure = Failure::new(Exit::Consent, "consent_needed", apps.join(", "), why, next);
        Err(Failure { found: Some(Box::new(("lost", json!(names(held))))), ..failure })
    };
    let stakes = stakes(held, holds);
    let what = if held.is_empty() { "stopping needs" } else { "stopping drops it, and needs" };
    if context.format == Format::Json || !std::io::stdin().is_terminal() {
        let named = |(app, stake): &(&str, String)| format!("{app}: {stake}");
        let said = if let [(_, only)] = &stakes[..] {
            only.clone()
        } else {
            stakes.iter().map(named).collect::<Vec<_>>().join("; ")
        };
        return refused(format!("{said}; {what} a consent"));
    }
    stakes.iter().for_each(|(app, stake)| tell(&format!("{app}: {stake}")));
    let mut out = std::io::stderr().lock();
    let question = if held.is_empty() { "stop all the same?" } else { "stop, and drop it?" };
    let _ = write!(out, "{question} [y/N] ").and_then(|()| out.flush());
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    match read {
        Ok(_) if matches!(answer.trim(), "y" | "Y" | "yes") => Ok(()),
        Ok(_) | Err(_) => refused("not stopped: you did not say yes".to_owned()),
    }
}

/// What speaks against it: of which app, and a sentence that goes on after its name.
fn stakes<'a>(held: &'a [Held], holds: &'a [HeldOff]) -> Vec<(&'a str, String)> {
    let asks = |hold: &'a HeldOff| {
        let (left, reason) = (millis(hold.remaining_ms), hold.reason.escape_debug());
        (hold.instance.as_str(), format!("it asks not to be stopped for another {left} ({reason})"))
    };
    let holding = held.iter().map(|held| (held.instance.as_str(), held.why()));
    holding.chain(holds.iter().map(asks)).collect()
}

fn names(held: &[Held]) -> Vec<&str> {
    held.iter().map(|held| held.instance.as_str()).collect()
}

fn done(context: &Context, held: &[Held], left: &[String]) {
    match context.format {
        Format::Json => say_object("stop", json!({ "ok": true, "dropped": names(held), "left": left })),
        Format::Text => {
            left.iter().for_each(|left| tell(&format!("{left} was left running: ended")));
            say("stopped; nothing is left running")
        }
    };
}

fn config(layout: &Layout) -> Option<Cloud> {
    Cloud::load(&layout.cloud()).ok()
}

fn longest_grace_ms(layout: &Layout) -> u64 {
    let apps = config(layout).map(|cloud| cloud.apps).unwrap_or_default();
    apps.iter().map(|app| u64::from(app.stop_grace_ms)).max().unwrap_or(0)
}
