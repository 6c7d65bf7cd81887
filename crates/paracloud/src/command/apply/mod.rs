//! `paracloud apply app.yaml`: what a manifest says, made so of a cloud that runs.
//!
//! ```text
//!  manifest ─▶ what differs, and who runs something else ─▶ each of those is asked ─▶ revisions ─▶ the controller: they count
//!              (what cannot be changed: refused)            (something in the way:    are         from now on (one rename), and
//!                                                            nothing is applied)      written     one after the other is updated
//! ```
//!
//! An update is a move to a process of the new revision on the same node: by handing over where the application does that, by a
//! restart where there is nothing to lose or a person consents to losing it. One that fails leaves the old process
//! serving, and those of its app after it are not begun. The controller does it, also when nobody listens: who applies the same
//! while it goes on hears of it, and after it failed goes on with what is left.

mod heard;
mod plan;
mod row;

pub use plan::running;

use super::Context;
use super::ask::quoted;
use crate::client;
use crate::failure::{Exit, Failure};
use crate::manifest::{self, Note, Resolved};
use crate::output::{Format, columns_of_stdout, say, say_object, say_words, tell};
use crate::processes;
use crate::up::room;
use heard::Heard;
use paracloud_core::register::Mode;
use paracloud_core::updating::Way;
use paracloud_substrate::config::{App, Cloud};
use paracloud_substrate::person::{Reply, Request, Revised, Status};
use paracloud_substrate::updating::Terms;
use plan::{Change, Outdated};
use row::Row;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long an app that is started is waited for until it serves, in milliseconds.
pub const START_MS_MAX: u64 = 60_000;
/// It is looked so often whether it does, in milliseconds.
const LOOK_AGAIN_MS: u64 = 100;

/// What may be asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The manifest.
    pub manifest: PathBuf,
    /// Ask the applications, and change nothing.
    pub dry_run: bool,
    /// The person consents to losing what cannot be handed over.
    pub accept_loss: bool,
    /// Do not wait for the end.
    pub no_wait: bool,
}

/// Applies a manifest.
///
/// # Errors
/// It is wrong, it cannot be applied while the cloud runs, something stands in its way, something of it did not come to be,
/// or the cloud does not answer.
pub async fn run(context: &Context, options: &Options) -> Result<(), Failure> {
    let before = context.cloud()?;
    let nodes = u32::try_from(before.nodes.len()).unwrap_or(u32::MAX);
    let Resolved { cloud: wanted, notes } = manifest::read(&options.manifest, nodes, "apply")?;
    let status = client::status(&context.layout).await?;
    let running = processes::all(&context.layout);
    let mut changes = plan::changes(&context.layout, &before, &wanted, &status, &running)?;
    if context.format == Format::Text {
        // It was told when that was applied which it is about.
        let is_fresh =
            |note: &&Note| changes.iter().any(|it| it.app.name == note.app && it.has_new_command());
        notes.iter().filter(is_fresh).for_each(|note| tell(&format!("note: {note}")));
    }
    let fresh = changes.iter().filter(|change| change.is_new).map(|change| change.app.clone()).collect();
    room::check_addresses(&Cloud { apps: fresh, ..before.clone() })?;
    let mut rows = Vec::new();
    for change in &mut changes {
        rows.extend(asked(context, change, options).await);
    }
    if let Some(failure) = row::obstacle(&rows) {
        return end(context, options, &changes, &rows, true, Some(failure));
    }
    if options.dry_run {
        return end(context, options, &changes, &rows, true, None);
    }
    let manifest = options.manifest.display().to_string();
    let heard = Heard::default();
    let rows = tokio::select! {
        rows = carry_out(context, &before, &changes, options, &heard) => rows?,
        _ = tokio::signal::ctrl_c() => return Err(left(context, &manifest, &heard.open(&changes))),
    };
    let Some(rows) = rows else {
        match context.format {
            Format::Json => say_object("apply", json!({ "ok": true, "dry_run": false, "begun": true })),
            Format::Text => {
                let ways = ways_on(context, &manifest, &heard.open(&changes));
                say_words(&format!("{manifest}: counts from now on, and is being applied\n{ways}"))
            }
        };
        return Ok(());
    };
    let failure = row::verdict(&rows, &manifest);
    end(context, options, &changes, &rows, false, failure)
}

/// Prints what became of it; of a rehearsal, what would.
fn end(
    context: &Context,
    options: &Options,
    changes: &[Change],
    rows: &[Row],
    is_rehearsal: bool,
    failure: Option<Failure>,
) -> Result<(), Failure> {
    let is_same = |change: &&Change| !change.is_written() && change.outdated.is_empty();
    let unchanged: Vec<_> = changes.iter().filter(is_same).map(|change| change.app.name.as_str()).collect();
    if context.format == Format::Text {
        say(&row::text(rows, &unchanged, is_rehearsal, columns_of_stdout()));
    }
    match failure {
        Some(failure) => Err(Failure { found: Some(Box::new(("changes", json!(rows)))), ..failure }),
        None => {
            if context.format == Format::Json {
                let object = json!({ "ok": true, "dry_run": options.dry_run, "changes": rows, "unchanged": unchanged });
                say_object("apply", object);
            }
            Ok(())
        }
    }
}

/// What would become of an app: each instance that is to be updated is asked.
async fn asked(context: &Context, change: &mut Change, options: &Options) -> Vec<Row> {
    let mut rows = Row::of_fields(change, false);
    if change.is_new || (change.anew && !change.process.is_empty()) {
        rows.push(Row::starts(change));
    }
    for at in 0..change.outdated.len() {
        let (row, mode) = ask(context, change, &change.outdated[at], options.accept_loss).await;
        change.outdated[at].mode = mode;
        let way = mode.map(|mode| change.standing().way(mode));
        rows.push(match way {
            Some(Way::Replace) if options.dry_run => {
                row.replaced(None).says(&quoted(context, &change.outdated[at].instance).await)
            }
            Some(Way::Replace) => row.replaced(None),
            Some(Way::Update(_)) | None => row,
        });
    }
    rows
}

/// And how it would go to its new process.
async fn ask(
    context: &Context,
    change: &Change,
    outdated: &Outdated,
    accept_loss: bool,
) -> (Row, Option<Mode>) {
    let instance = &outdated.instance;
    let request = Request::PreviewUpdate { instance: instance.clone() };
    let within_ms = client::offer_ms_max(&context.layout, instance);
    let failure = match client::ask(&context.layout, instance, &request, within_ms).await {
        Ok(Reply::Previewed { mode, obstacle: None, .. }) => {
            return (Row::stays(change, outdated, "", "").going(mode), mode);
        }
        Ok(Reply::Previewed { obstacle: Some(obstacle), .. }) => client::refusal(&obstacle, instance),
        Ok(other) => client::unexpected(&context.layout, &other),
        Err(failure) => failure,
    };
    let row = Row::stays(change, outdated, &failure.code, &failure.why);
    match failure.code.as_str() {
        // What a restart costs is said when it is done.
        "consent_needed" | "refused" if accept_loss => (row.going(Some(Mode::Restart)), Some(Mode::Restart)),
        // It has nothing, and has died since it was looked at.
        "not_serving" if change.app.is_stateless() => (row.going(Some(Mode::Restart)), Some(Mode::Restart)),
        // What is open is waited for, and may be its update.
        "busy" | "departed" | "overtaken" if change.is_updating => (row.going(None), None),
        _ => (row, None),
    }
}

/// Writes what is new, lets it count, and hears how who runs something else is updated. `None`: nobody waits for that.
async fn carry_out(
    context: &Context,
    before: &Cloud,
    changes: &[Change],
    options: &Options,
    heard: &Heard,
) -> Result<Option<Vec<Row>>, Failure> {
    let began = Instant::now();
    let is_same = |change: &Change| !change.is_written() && !change.anew && change.outdated.is_empty();
    if !changes.iter().all(is_same) {
        let request = request(context, before, changes, options)?;
        heard.hear(context, &request, changes).await?;
        if options.no_wait {
            return Ok(None);
        }
    }
    let mut rows = Vec::new();
    for change in changes {
        rows.extend(Row::of_fields(change, true));
        rows.extend(heard.rows(change));
    }
    for change in changes.iter().filter(|it| it.is_new || (it.anew && !it.process.is_empty())) {
        let row = served(context, &change.app, Row::starts(change), began).await?;
        heard::said(context, &row);
        rows.push(row);
    }
    Ok(Some(rows))
}

/// Writes the revisions that are new, and asks for them to be named.
fn request(
    context: &Context,
    before: &Cloud,
    changes: &[Change],
    options: &Options,
) -> Result<Request, Failure> {
    let path = context.layout.cloud();
    let written = |change: &Change| {
        let app = if change.is_written() {
            Cloud::add_revision(&path, &change.app)
                .map_err(|error| Failure::machine(path.display().to_string(), &error))?
        } else {
            change.app.clone()
        };
        Ok(Revised { app: app.name, revision: app.revision, anew: change.anew })
    };
    let to = changes.iter().map(written).collect::<Result<Vec<_>, Failure>>()?;
    let named = |app: &App| Revised { app: app.name.clone(), revision: app.revision, anew: false };
    let outdated = changes.iter().flat_map(|change| &change.outdated).map(|it| it.start).collect();
    Ok(Request::Apply {
        from: before.apps.iter().map(named).collect(),
        to,
        update: Some(Terms { outdated, accept_loss: options.accept_loss }),
        wait: !options.no_wait,
    })
}

/// Waits until an app serves of which nothing did.
async fn served(context: &Context, app: &App, row: Row, began: Instant) -> Result<Row, Failure> {
    let until = began + Duration::from_millis(START_MS_MAX);
    let wanted = app.scale.map_or(1, |scale| scale.start) as usize;
    loop {
        let status = client::status(&context.layout).await?;
        if serving(&status, &app.name) >= wanted {
            return Ok(row.served(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)));
        }
        if Instant::now() >= until {
            return Ok(row.failed("not_serving", "it does not serve yet: see paracloud ps and logs"));
        }
        sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
    }
}

fn serving(status: &Status, app: &str) -> usize {
    let own = status.instances.iter().filter(|instance| super::named::is_meant(&instance.name, app));
    own.filter(|instance| instance.serves()).count()
}

/// The person left while these were to be updated: it goes on.
fn left(context: &Context, manifest: &str, open: &[&str]) -> Failure {
    let why = if open.is_empty() {
        "you left; no update is open, and none is begun".to_owned()
    } else {
        format!("you left; the update of {} goes on, and of those after it", open.join(", "))
    };
    Failure::new(Exit::Failed, "left", manifest, why, ways_on(context, manifest, open))
}

/// What one can do who does not wait. `open`: of each app the one that comes next.
fn ways_on(context: &Context, manifest: &str, open: &[&str]) -> String {
    let hint = context.hint();
    match open.first() {
        Some(instance) => format!(
            "watch it: paracloud events -f{hint}; give it up: paracloud cancel {instance}{hint}, or whichever it has come to, and \
             no other of its app is begun; paracloud apply {manifest}{hint} hears of it again"
        ),
        None => format!(
            "paracloud ps{hint} shows who runs which revision; paracloud apply {manifest}{hint} goes on with it"
        ),
    }
}
