//! `paracloud up app.yaml`: a cloud in a directory, until Ctrl-C.
//!
//! ```text
//!  manifest ─▶ DIR/cloud.json ─▶ lock ─▶ end what a killed `up` left ─▶ shells ─▶ says where clients connect
//!                                                                         │  ended? started again
//!  Ctrl-C ─▶ DIR/ending ─▶ agents end their instances and themselves ─▶ the other shells ─▶ nothing is left
//!  Ctrl-C again ─▶ everything is killed
//! ```

pub mod lock;
mod printer;
pub mod room;
pub mod roster;
pub mod supervisor;
mod watch;

use crate::command::{Context, check_directory, hint, named};
use crate::failure::{Exit, Failure};
use crate::figures::millis;
use crate::held;
use crate::losses;
use crate::manifest::{self, Resolved};
use crate::output::tell;
use crate::processes::{self, Process};
use paracloud_agent::shim::ORPHAN_MS;
use paracloud_substrate::config::{App, Cloud};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::lifeline::Ends;
use paracloud_substrate::person::Loss;
use printer::Printer;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use supervisor::{Order, Supervisor};
use tokio::sync::mpsc;
use watch::{Said, Watcher};

/// What an agent may take beyond the grace of its instances, in milliseconds; then instances are ended without it.
pub const AGENT_MS_MAX: u64 = 5_000;
/// Words of shells and journal that wait to be printed; more are dropped.
const WORDS_MAX: usize = 256;

/// What to bring up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The manifest.
    pub manifest: PathBuf,
    /// How many nodes.
    pub nodes: u32,
    /// The person consents to losing what apps hold that are in the manifest no more.
    pub accept_loss: bool,
}

/// Brings a cloud up and keeps it up until a signal.
///
/// # Errors
/// The manifest, the directory or an address cannot be used, another `up` is there, or something was left behind.
pub async fn run(context: &Context, options: &Options) -> Result<(), Failure> {
    let layout = &context.layout;
    let Resolved { mut cloud, notes } = manifest::read(&options.manifest, options.nodes, "up")?;
    check_directory(layout)?;
    room::check_paths(layout, &cloud)?;
    room::prepare(layout)?;
    let _lock = lock::take(layout)?;
    room::check_nodes(layout, &cloud)?;
    let gone = gone_apps(layout, &cloud);
    if !options.accept_loss {
        check_gone(layout, &options.manifest, &gone)?;
    }
    let mut ends = Ends::listen().map_err(|error| Failure::machine("signals", &error))?;
    forget_ending(layout)?;
    for shell in roster::end_leftovers(layout).await? {
        tell(&format!("{shell} was left by an earlier `up`: ended"));
    }
    let dropped = held::all(None, Cloud::load(&layout.cloud()).ok().as_ref(), &gone);
    end_gone(layout, &gone).await?;
    losses::keep(layout, &dropped, Loss::Removal);
    room::check_addresses(&cloud)?;
    let changed = changed_apps(layout, &cloud);
    cloud.revise(Cloud::load(&layout.cloud()).ok().as_ref(), &layout.cloud());
    begin(layout, &cloud)?;
    let (says, mut words) = mpsc::channel(WORDS_MAX);
    let shown = layout.root().display().to_string();
    let mut supervisor =
        Supervisor::start(layout, &cloud, says).map_err(|error| Failure::machine(shown, &error))?;
    let mut watcher = Watcher::new(layout, &cloud, SystemTime::now());
    let printer =
        Printer::new(context, &cloud).map_err(|error| Failure::machine("the thread that prints", &error))?;
    notes
        .iter()
        .map(ToString::to_string)
        .chain(changed)
        .for_each(|note| printer.word(&format!("note: {note}")));
    loop {
        tokio::select! {
            _ = ends.next() => break,
            Some(word) = words.recv() => printer.word(&word),
            said = watcher.next() => match said {
                Said::Serving(status) => printer.serving(&status),
                Said::Partly(status, serve) => printer.partly(&status, &serve),
                Said::Waiting(status) => printer.waiting(&status),
                Said::Happened(line) => printer.word(&line),
            },
        }
    }
    let ended = end(&printer, &mut supervisor, &mut words, &mut ends, watcher.last()).await;
    printer.finish();
    ended
}

/// A directory in which `ending` was left ended badly: agents that are told to stop now only hand over.
fn forget_ending(layout: &Layout) -> Result<(), Failure> {
    match std::fs::remove_file(layout.ending()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::machine(layout.ending().display().to_string(), &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What was started for apps that are in the manifest no more: nobody would look after it.
fn gone_apps(layout: &Layout, cloud: &Cloud) -> Vec<Process> {
    let mut gone = processes::all(layout);
    gone.retain(|process| cloud.app_of(&process.instance).is_none());
    gone
}

/// A sentence for each app whose process runs on though the manifest would start another one by now.
fn changed_apps(layout: &Layout, cloud: &Cloud) -> Vec<String> {
    let Ok(before) = Cloud::load(&layout.cloud()) else { return Vec::new() };
    let running = processes::all(layout);
    let runs = |app: &App| {
        running.iter().any(|process| named::is_meant(&process.instance, &app.name) && process.may_live())
    };
    let differs = |app: &App| before.app(&app.name).is_some_and(|was| !was.runs_as(app));
    let changed = cloud.apps.iter().filter(|app| differs(app) && runs(app));
    changed
        .map(|app| {
            format!(
                "{}: its process runs on as it was started; what has changed in the manifest since holds from its \
                 next start on, such as by a move",
                app.name
            )
        })
        .collect()
}

/// What would be lost with them takes a consent. A renamed app is another app: nothing of the first becomes its.
fn check_gone(layout: &Layout, manifest: &Path, gone: &[Process]) -> Result<(), Failure> {
    let before = Cloud::load(&layout.cloud()).ok();
    let held = held::all(None, before.as_ref(), gone);
    if held.is_empty() {
        return Ok(());
    }
    let apps: Vec<_> = held.iter().map(|held| held.instance.as_str()).collect();
    let why = format!(
        "in the manifest no more, but still running here, and may hold state; without a cloud it is ended after {}",
        millis(ORPHAN_MS)
    );
    let next = format!(
        "put it back into {0} at once, or consent to the loss: paracloud up {0} --accept-loss{1}",
        manifest.display(),
        hint(layout)
    );
    let failure = Failure::new(Exit::Consent, "consent_needed", apps.join(", "), why, next);
    Err(Failure { found: Some(Box::new(("lost", json!(apps)))), ..failure })
}

async fn end_gone(layout: &Layout, gone: &[Process]) -> Result<(), Failure> {
    for process in gone.iter().filter(|process| process.may_live()) {
        tell(&format!(
            "{} is in the manifest no more: its process on {} is ended",
            process.instance, process.node
        ));
    }
    let grace = Duration::from_millis(AGENT_MS_MAX);
    if !processes::end(gone, grace).await {
        return Err(left_behind(layout));
    }
    Ok(())
}

fn begin(layout: &Layout, cloud: &Cloud) -> Result<(), Failure> {
    let failed = |path: &Path, error: &(dyn std::error::Error + 'static)| {
        Failure::machine(path.display().to_string(), error)
    };
    layout.make(&layout.log()).map_err(|error| failed(&layout.log(), &error))?;
    // What is the same needs no room: on a full disk, what a killed `up` left is adopted before it is ended.
    if Cloud::load(&layout.cloud()).is_ok_and(|before| before == *cloud) {
        return Ok(());
    }
    cloud.save(&layout.cloud()).map_err(|error| failed(&layout.cloud(), &error))
}

/// Ends everything: instances by their agents, then the shells, then whatever is left.
async fn end(
    printer: &Printer<'_>,
    supervisor: &mut Supervisor,
    words: &mut mpsc::Receiver<String>,
    ends: &mut Ends,
    last: Option<&paracloud_substrate::person::Status>,
) -> Result<(), Failure> {
    let layout = &printer.context.layout;
    let dropped = held::all(last, Some(printer.cloud), &processes::all_seen(layout));
    printer.ending(last);
    if let Err(error) = std::fs::write(layout.ending(), "") {
        // Agents then leave what they run to a successor that will not come: it is ended below.
        printer.word(&format!("{}: {error}; going on without it", layout.ending().display()));
    }
    let grace_ms = printer.cloud.apps.iter().map(|app| u64::from(app.stop_grace_ms)).max().unwrap_or(0);
    let orderly = async {
        supervisor.order(Order::EndAgents);
        if !supervisor.agents_ended(Duration::from_millis(grace_ms + AGENT_MS_MAX)).await {
            printer.word("agents do not end: going on without them");
        }
        // An agent that was not there has not ended its instances.
        let ended = processes::end(&processes::all_seen(layout), Duration::from_millis(grace_ms)).await;
        supervisor.order(Order::EndAll);
        ended && supervisor.all_ended(Duration::from_millis(roster::SHELL_MS_MAX)).await
    };
    let ended = tokio::select! {
        ended = orderly => ended,
        _ = ends.next() => {
            printer.word("killing everything");
            false
        }
    };
    words.close();
    if !ended {
        supervisor.order(Order::Kill);
        let shells = supervisor.all_ended(Duration::from_millis(roster::SHELL_MS_MAX)).await;
        if !processes::end(&processes::all_seen(layout), Duration::ZERO).await || !shells {
            return Err(left_behind(layout));
        }
    }
    losses::keep(layout, &dropped, Loss::Stop);
    forget_ending(layout)?;
    // It says who runs, and nobody does.
    let _ = std::fs::remove_file(layout.up_shells());
    printer.ended();
    Ok(())
}

fn left_behind(layout: &Layout) -> Failure {
    let why = "a process was killed and is still there: it waits in the kernel";
    let next = "look for it with ps; the next `paracloud up` in this directory ends it";
    Failure::new(Exit::Failed, "left_behind", layout.root().display().to_string(), why, next)
}
