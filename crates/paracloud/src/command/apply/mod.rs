//! `paracloud apply app.yaml`: what a manifest says, made so of a cloud that runs.
//!
//! ```text
//!  manifest ─▶ what differs, and who runs something else ─▶ each of those is asked ─▶ revisions ─▶ they count ─▶ one after
//!              (what cannot be changed: refused)            (something in the way:    are         from now on   the other
//!                                                            nothing is applied)      written     (one rename)  is updated
//! ```
//!
//! An update is a move to a process of the new revision on the same node: by handing over where the application does that, by a
//! restart where there is nothing to lose or a person consents to losing it. One that fails leaves the old process
//! serving, and those of its app after it are not begun. Whoever applies the same again goes on with what is left.

mod plan;
mod row;

pub use plan::running;

use super::Context;
use crate::client::{self, ANSWER_MS_MAX, Conversation, INTERRUPTED};
use crate::command::logs;
use crate::command::transfer::{self, Followed};
use crate::failure::{Exit, Failure};
use crate::manifest::{self, Resolved};
use crate::moving::history::History;
use crate::moving::view::View;
use crate::output::{Format, columns_of_stdout, say, say_object, tell};
use crate::processes;
use crate::up::room;
use paracloud_core::register::Mode;
use paracloud_substrate::config::{App, Cloud};
use paracloud_substrate::person::{Reply, Request, Revised, Status};
use plan::{Change, Outdated};
use row::Row;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long an app that is started is waited for until it serves, in milliseconds.
pub const START_MS_MAX: u64 = 60_000;
/// So many lines are shown of what a process wrote that did not come up.
const LAST_LINES_MAX: usize = 3;
/// It is looked so often whether it does, in milliseconds.
const LOOK_AGAIN_MS: u64 = 100;
/// How often a controller that went away is told again what is to be applied, or to update an instance.
const AGAIN_MAX: u32 = 5;

/// What may be asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The manifest.
    pub manifest: PathBuf,
    /// Ask the applications, and change nothing.
    pub dry_run: bool,
    /// The person consents to losing what cannot be handed over.
    pub accept_loss: bool,
}

/// Applies a manifest.
///
/// # Errors
/// It is wrong, it cannot be applied while the cloud runs, something stands in its way, something of it did not come to be,
/// or the cloud does not answer.
pub async fn run(context: &Context, options: &Options) -> Result<(), Failure> {
    let before = context.cloud()?;
    let nodes = u32::try_from(before.nodes.len()).unwrap_or(u32::MAX);
    let Resolved { cloud: wanted, notes } = manifest::read(&options.manifest, nodes)?;
    if context.format == Format::Text {
        notes.iter().for_each(|note| tell(&format!("note: {note}")));
    }
    let status = client::status(&context.layout).await?;
    let running = processes::all(&context.layout);
    let mut changes = plan::changes(&context.layout, &before, &wanted, &status, &running)?;
    let fresh = changes.iter().filter(|change| change.is_new).map(|change| change.app.clone()).collect();
    room::check_addresses(&Cloud { apps: fresh, ..before.clone() })?;
    let mut rows = Vec::new();
    for change in &mut changes {
        rows.extend(asked(context, change, options.accept_loss).await);
    }
    if let Some(failure) = row::obstacle(&rows) {
        return end(context, options, &changes, &rows, true, Some(failure));
    }
    if options.dry_run {
        return end(context, options, &changes, &rows, true, None);
    }
    let open = Mutex::default();
    let rows = tokio::select! {
        rows = carry_out(context, &before, &changes, options, &open) => rows?,
        _ = tokio::signal::ctrl_c() => return Err(left(context, &options.manifest, &open)),
    };
    let failure = row::verdict(&rows, &options.manifest.display().to_string());
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
async fn asked(context: &Context, change: &mut Change, accept_loss: bool) -> Vec<Row> {
    let mut rows = Row::of_fields(change, false);
    if change.is_new || (change.anew && !change.process.is_empty()) {
        rows.push(Row::starts(change));
    }
    for at in 0..change.outdated.len() {
        let (row, mode) = ask(context, change, &change.outdated[at], accept_loss).await;
        change.outdated[at].mode = mode;
        rows.push(if change.replaces(&change.outdated[at]) { row.replaced(None) } else { row });
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
    let stays = |failure: &Failure| Row::stays(change, outdated, &failure.code, &failure.why);
    let request = Request::PreviewUpdate { instance: instance.clone() };
    let within_ms = client::offer_ms_max(&context.layout, instance);
    match client::ask(&context.layout, instance, &request, within_ms).await {
        Ok(Reply::Previewed { mode, obstacle: None, .. }) => {
            (Row::stays(change, outdated, "", "").going(mode), mode)
        }
        Ok(Reply::Previewed { obstacle: Some(obstacle), .. }) => {
            let failure = client::refusal(&obstacle, instance);
            let row = stays(&failure);
            match failure.code.as_str() {
                // What a restart costs is said when it is done.
                "consent_needed" | "refused" if accept_loss => {
                    (row.going(Some(Mode::Restart)), Some(Mode::Restart))
                }
                _ => (row, None),
            }
        }
        Ok(other) => (stays(&client::unexpected(&context.layout, &other)), None),
        Err(failure) => (stays(&failure), None),
    }
}

/// Writes what is new, lets it count, and updates who runs something else.
async fn carry_out(
    context: &Context,
    before: &Cloud,
    changes: &[Change],
    options: &Options,
    open: &Mutex<Option<String>>,
) -> Result<Vec<Row>, Failure> {
    name(context, before, changes).await?;
    let mut rows = Vec::new();
    let began = Instant::now();
    for change in changes {
        rows.extend(Row::of_fields(change, true));
        let mut failed = false;
        for outdated in &change.outdated {
            let at = (!failed).then(|| outdated.instance.clone());
            *open.lock().unwrap_or_else(PoisonError::into_inner) = at;
            let row = if failed {
                let why = "not begun: the update of another one of its app failed";
                Row::stays(change, outdated, "not_begun", why)
            } else if change.replaces(outdated) {
                replace(context, change, outdated).await
            } else {
                update(context, change, outdated, options.accept_loss).await
            };
            let row = if row.done || failed { row } else { row.wrote(last_words(context, &change.app.name)) };
            failed |= !row.done;
            *open.lock().unwrap_or_else(PoisonError::into_inner) = None;
            said(context, &row);
            rows.push(row);
        }
    }
    for change in changes.iter().filter(|it| it.is_new || (it.anew && !it.process.is_empty())) {
        let row = served(context, &change.app, Row::starts(change), began).await?;
        said(context, &row);
        rows.push(row);
    }
    Ok(rows)
}

fn said(context: &Context, row: &Row) {
    if context.format == Format::Text {
        tell(&row.sentence());
        row.last_words().for_each(|line| tell(&line));
    }
}

/// What the newest process of an app wrote last that wrote anything, of those that are what it is to be by now.
fn last_words(context: &Context, app: &str) -> Vec<String> {
    let counts = context.cloud().ok().and_then(|cloud| cloud.app(app).map(|app| app.revision));
    let mut all = processes::all(&context.layout);
    all.retain(|process| counts.is_some() && process.revision == counts);
    let own = all.iter().rev().filter(|process| super::named::is_meant(&process.instance, app));
    let mut words = own.map(|process| logs::last_lines(process, LAST_LINES_MAX));
    words.find(|lines| !lines.is_empty()).unwrap_or_default()
}

/// Writes the revisions that are new, and has them named. Nothing is, if nothing is new.
async fn name(context: &Context, before: &Cloud, changes: &[Change]) -> Result<(), Failure> {
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
    if changes.iter().all(|change| !change.is_written() && !change.anew) {
        return Ok(());
    }
    let named = |app: &App| Revised { app: app.name.clone(), revision: app.revision, anew: false };
    let request = Request::Apply { from: before.apps.iter().map(named).collect(), to };
    // What was named already is found to be so.
    let mut again = 0;
    loop {
        match client::ask(&context.layout, "the manifest", &request, ANSWER_MS_MAX).await {
            Ok(Reply::Done) => return Ok(()),
            Ok(other) => return Err(client::unexpected(&context.layout, &other)),
            Err(failure) if failure.code == INTERRUPTED && again < AGAIN_MAX => again += 1,
            Err(failure) => return Err(failure),
        }
    }
}

/// Updates one instance, and says how that ended.
async fn update(context: &Context, change: &Change, outdated: &Outdated, accept_loss: bool) -> Row {
    let row = Row::stays(change, outdated, "", "");
    let mut again = 0;
    loop {
        match try_update(context, &outdated.instance, accept_loss).await {
            Ok(Followed::Ended(outcome)) => return row.ended(&outcome),
            Ok(Followed::Begun(_)) => {
                return row.failed("not_followed", "its update was begun and not followed");
            }
            // The controller went away before it began.
            Err(failure) if failure.code == INTERRUPTED && again < AGAIN_MAX => again += 1,
            Err(failure) => return row.failed(&failure.code, &failure.why),
        }
    }
}

/// Starts another instance in the place of one that holds nothing, and lets that leave.
async fn replace(context: &Context, change: &Change, outdated: &Outdated) -> Row {
    let row = Row::stays(change, outdated, "", "");
    let (began, mut again) = (Instant::now(), 0);
    loop {
        match try_replace(context, change, outdated).await {
            Ok(by) => {
                let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                return row.replaced(by.as_deref()).served(took_ms);
            }
            Err(failure) if failure.exit == Exit::Unreachable && again < AGAIN_MAX => again += 1,
            Err(failure) => return row.failed(&failure.code, &failure.why),
        }
        // Whether it left meanwhile, nobody could say.
        match client::status(&context.layout).await {
            Ok(status) if !status.instances.iter().any(|it| it.name == outdated.instance) => {
                return row
                    .replaced(None)
                    .served(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// Who came in its place, as far as that was heard.
async fn try_replace(
    context: &Context,
    change: &Change,
    outdated: &Outdated,
) -> Result<Option<String>, Failure> {
    let (layout, instance) = (&context.layout, &outdated.instance);
    let request = Request::Replace { instance: instance.clone(), count: change.count };
    let mut conversation = Conversation::open(layout, &request).await?;
    let mut by = None;
    loop {
        match conversation.hear_while_it_lives(layout).await.map_err(|cut| cut.failure(layout))? {
            Reply::Scaled(scaled) => by = scaled.starts.into_iter().next().map(|it| it.instance),
            Reply::Event(_) => {}
            Reply::Outcome(outcome) if outcome.committed => return Ok(by),
            Reply::Outcome(outcome) => {
                let cause = outcome.cause.as_deref().unwrap_or("it was called back");
                let why = format!("it does not leave: {cause}");
                return Err(Failure::new(Exit::Failed, "called_back", instance, why, ""));
            }
            Reply::Refused(refused) => return Err(client::refusal(&refused, instance)),
            other @ (Reply::Status(_)
            | Reply::Waits { .. }
            | Reply::Drains(_)
            | Reply::Drained { .. }
            | Reply::Previewed { .. }
            | Reply::Explained(_)
            | Reply::Answered(_)
            | Reply::Begun(_)
            | Reply::Done) => return Err(client::unexpected(layout, &other)),
        }
    }
}

async fn try_update(context: &Context, instance: &str, accept_loss: bool) -> Result<Followed, Failure> {
    let request = Request::Update { instance: instance.to_owned(), accept_loss, wait: true };
    let mut conversation = Conversation::open(&context.layout, &request).await?;
    let (mut view, mut history) = (View::new(instance, Format::Json), History::new(instance, None));
    transfer::follow(context, instance, true, &mut conversation, &mut history, &mut view).await
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
    own.filter(|instance| instance.record.as_ref().is_some_and(|record| record.served.is_some())).count()
}

/// The person left while the update of `open` was.
fn left(context: &Context, manifest: &Path, open: &Mutex<Option<String>>) -> Failure {
    let (open, hint) = (open.lock().unwrap_or_else(PoisonError::into_inner).clone(), context.hint());
    let goes_on = format!("paracloud apply {}{hint} goes on with it", manifest.display());
    let (why, next) = match open {
        Some(instance) => (
            format!("you left; the update of {instance} goes on, and no other is begun"),
            format!(
                "watch it: paracloud events {instance} -f{hint}; give it up: paracloud cancel {instance}{hint}; {goes_on}"
            ),
        ),
        None => (
            "you left; no update is open, and none is begun".to_owned(),
            format!("paracloud ps{hint} shows who runs which revision; {goes_on}"),
        ),
    };
    Failure::new(Exit::Failed, "left", manifest.display().to_string(), why, next)
}
