//! `paracloud drain-node N`: moves every instance that a node owns to other nodes, a few at a time, and says at the end what
//! moved how, what could not, and why.
//!
//! From then on the node gets no new instances, until `paracloud node open`. What has no state, of an app that may have one
//! more, is replaced: another one is started elsewhere, and the one on the node leaves when that serves. The others are moved.
//!
//! Each instance is asked first. Who holds on to its place is waited for until its hold expires, within a bound. Nothing is
//! moved in a weaker mode than it offers without a person's consent, as with `paracloud move`.

mod plan;
mod replace;
mod row;

use super::{Context, node};
use crate::client::{self, Conversation};
use crate::command::transfer::{self, Followed};
use crate::failure::{Exit, Failure};
use crate::moving::history::History;
use crate::moving::view::View;
use crate::output::{Format, columns_of_stdout, say, say_object, tell};
use paracloud_core::ids::NodeId;
use paracloud_core::migration::message::Offer;
use paracloud_core::register::Mode;
use paracloud_substrate::person::{Reply, Request};
use row::Row;
use serde_json::json;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// The most moves at once.
pub const PARALLEL_MAX: u32 = 16;
/// How long holds are waited for if that is not said, in milliseconds.
pub const WAIT_MS: u32 = 600_000;
/// Who holds on to its place is asked again after this long at most, in milliseconds: it may let go before.
const ASK_AGAIN_MS: u64 = 2_000;

/// What may be asked for.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Ask the applications, and move nothing.
    pub dry_run: bool,
    /// So many moves at once.
    pub parallel: u32,
    /// Holds are waited for at most so long, in milliseconds.
    pub wait_ms: u32,
    /// The person consents to losing what cannot be handed over.
    pub accept_loss: bool,
}

/// Moves everything away from a node.
///
/// # Errors
/// There is no such node or no other one, something is still on it, or the cloud does not answer.
pub async fn run(context: &Context, name: &str, options: &Options) -> Result<(), Failure> {
    let from = node::named(context, name)?;
    let cloud = context.cloud()?;
    let status = client::status(&context.layout).await?;
    let moves = plan::moves(&status, &cloud, from, name)?;
    if !options.dry_run {
        node::takes(context, name, false).await?;
    }
    let goes = |(instance, to): (String, NodeId)| {
        let replaced = replace::may_come(&status, &cloud, &instance);
        Going { instance, from, to, replaced }
    };
    let moves: Vec<_> = moves.into_iter().map(goes).collect();
    let moving = Arc::new(Mutex::new(BTreeSet::new()));
    let rows = tokio::select! {
        rows = all(context, &moves, options, &moving) => rows?,
        _ = tokio::signal::ctrl_c() => return Err(left(context, name, &moving)),
    };
    let missed = if options.dry_run { Vec::new() } else { missed(context, from, &rows).await? };
    let shown = |node: NodeId| node::shown(&cloud, node);
    let result = row::verdict(name, &rows, &missed, options.dry_run);
    if context.format == Format::Text {
        say(&row::text(name, &rows, options.dry_run, shown, columns_of_stdout()));
    }
    match result {
        Some(failure) => {
            let next = format!("{}{}", failure.next, context.hint());
            Err(Failure { found: Some(Box::new(("instances", json!(rows)))), next, ..failure })
        }
        None => {
            if context.format == Format::Json {
                let object =
                    json!({ "ok": true, "node": name, "dry_run": options.dry_run, "instances": rows });
                say_object("drain-node", object);
            }
            Ok(())
        }
    }
}

/// An instance that is to go.
#[derive(Debug, Clone)]
struct Going {
    instance: String,
    from: NodeId,
    to: NodeId,
    /// Another one comes in its place.
    replaced: bool,
}

/// What becomes of each, a few at a time; in the order in which they were planned.
async fn all(
    context: &Context,
    moves: &[Going],
    options: &Options,
    moving: &Arc<Mutex<BTreeSet<String>>>,
) -> Result<Vec<Row>, Failure> {
    let until = Instant::now() + Duration::from_millis(options.wait_ms.into());
    let mut queue: VecDeque<_> = moves.iter().cloned().enumerate().collect();
    let (mut running, mut rows) = (JoinSet::new(), Vec::new());
    loop {
        while running.len() < options.parallel.clamp(1, PARALLEL_MAX) as usize
            && let Some((place, Going { instance, from, to, replaced })) = queue.pop_front()
        {
            let (context, options, moving) = (context.clone(), *options, Arc::clone(moving));
            let one = One { context, instance, from, to, replaced, options, moving };
            running.spawn(async move { (place, one.row(until).await) });
        }
        let Some(done) = running.join_next().await else { break };
        let (place, row) = done.map_err(|error| Failure::machine("paracloud", &error))?;
        if context.format == Format::Text && !options.dry_run {
            tell(&row.sentence());
        }
        rows.push((place, row));
    }
    rows.sort_by_key(|(place, _)| *place);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// One instance that is to go.
struct One {
    context: Context,
    instance: String,
    from: NodeId,
    to: NodeId,
    replaced: bool,
    options: Options,
    moving: Arc<Mutex<BTreeSet<String>>>,
}

impl One {
    /// What becomes of it. Holds are waited for until then.
    async fn row(&self, until: Instant) -> Row {
        let mut is_told = false;
        loop {
            let asked = if self.replaced { self.ask_to_leave().await } else { self.ask().await };
            let asked = match asked {
                Asked::Row(row) => self.looked_at(row).await,
                Asked::Goes(mode) if self.options.dry_run => return self.stays("", "").going(mode),
                Asked::Goes(_) => match self.leave_the_node().await {
                    Ok(row) => return row,
                    Err(failure) if failure.code == "held" => continue,
                    Err(failure) => self.looked_at(self.stays(&failure.code, &failure.why)).await,
                },
                held @ Asked::Held(..) => held,
            };
            let held = match asked {
                Asked::Row(row) => return row,
                Asked::Held(row, remaining_ms) => Some((row, remaining_ms)),
                Asked::Goes(_) => None,
            };
            let Some((row, remaining_ms)) = held else {
                // It was taken between question and move: asked again, it says until when.
                continue;
            };
            if self.options.dry_run || Instant::now() >= until {
                return row;
            }
            if !is_told && self.context.format == Format::Text {
                is_told = true;
                tell(&format!("{}: {}; waiting for it", self.instance, row.why()));
            }
            let wait = Duration::from_millis(remaining_ms.clamp(1, ASK_AGAIN_MS));
            sleep(wait.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }

    fn stays(&self, code: &str, why: &str) -> Row {
        Row::stays(&self.instance, self.to, code, why)
    }

    /// Whether what stands in its way is that it goes already, or is gone: somebody else has moved it, or has it leave.
    async fn looked_at(&self, row: Row) -> Asked {
        let Ok(status) = client::status(&self.context.layout).await else { return Asked::Row(row) };
        let own = status.instances.iter().find(|it| it.name == self.instance);
        let Some(record) = own.and_then(|instance| instance.record.as_ref()) else {
            return Asked::Row(row.left("it has left meanwhile"));
        };
        match record.step() {
            None if record.owner.node != self.from => Asked::Row(row.left("it is elsewhere meanwhile")),
            Some(_) if row.is_busy() => Asked::Held(row, ASK_AGAIN_MS),
            None | Some(_) => Asked::Row(row),
        }
    }

    /// Asks it what a move would be.
    async fn ask(&self) -> Asked {
        let request = Request::Preview { instance: self.instance.clone(), to: Some(self.to) };
        let within_ms = client::offer_ms_max(&self.context.layout, &self.instance);
        let reply = match client::ask(&self.context.layout, &self.instance, &request, within_ms).await {
            Ok(reply) => reply,
            Err(failure) => return Asked::Row(self.stays(&failure.code, &failure.why)),
        };
        let Reply::Previewed { mode, preview, obstacle, .. } = reply else {
            let failure = client::unexpected(&self.context.layout, &reply);
            return Asked::Row(self.stays(&failure.code, &failure.why));
        };
        let Some(obstacle) = obstacle else { return Asked::Goes(mode) };
        let failure = client::refusal(&obstacle, &self.instance);
        let row = self.stays(&failure.code, &failure.why);
        match (&preview.offer, failure.code.as_str()) {
            (Some(Offer::Hold { remaining_ms }), _) => Asked::Held(row, u64::from(*remaining_ms)),
            (_, "consent_needed" | "refused") if self.options.accept_loss => Asked::Goes(Some(Mode::Restart)),
            _ => Asked::Row(row),
        }
    }

    async fn leave_the_node(&self) -> Result<Row, Failure> {
        if !self.replaced {
            return self.go().await;
        }
        match self.be_replaced().await {
            // There are as many as there may be by now.
            Err(failure) if failure.code == "out_of_bounds" => self.go().await,
            replaced => replaced,
        }
    }

    /// Moves it.
    async fn go(&self) -> Result<Row, Failure> {
        let Self { context, instance, to, options, .. } = self;
        let (accept_loss, wait) = (options.accept_loss, true);
        let request = Request::Move { instance: instance.clone(), to: Some(*to), accept_loss, wait };
        let mut conversation = Conversation::open(&context.layout, &request).await?;
        let _moves = Moves::begin(instance, &self.moving);
        // Several at once: each is told of when it is over.
        let (mut view, mut history) = (View::new(instance, Format::Json), History::new(instance, None));
        let followed =
            transfer::follow(context, instance, wait, &mut conversation, &mut history, &mut view).await?;
        let Followed::Ended(outcome) = followed else {
            return Ok(self.stays("not_followed", "its move was begun and not followed"));
        };
        Ok(Row::of(&outcome, *to))
    }
}

/// What an instance says to being moved.
enum Asked {
    /// In this mode.
    Goes(Option<Mode>),
    /// For so long, in milliseconds.
    Held(Row, u64),
    Row(Row),
}

/// Its move is open as long as this lives.
struct Moves<'a> {
    instance: &'a str,
    moving: &'a Mutex<BTreeSet<String>>,
}

impl<'a> Moves<'a> {
    fn begin(instance: &'a str, moving: &'a Mutex<BTreeSet<String>>) -> Self {
        moving.lock().unwrap_or_else(PoisonError::into_inner).insert(instance.to_owned());
        Self { instance, moving }
    }
}

impl Drop for Moves<'_> {
    fn drop(&mut self) {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner).remove(self.instance);
    }
}

/// The person left: what was begun goes on, and nothing more is.
fn left(context: &Context, name: &str, moving: &Mutex<BTreeSet<String>>) -> Failure {
    let open: Vec<_> = moving.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
    let why = match open.as_slice() {
        [] => "you left; no move is open, and no other is begun".to_owned(),
        some => format!("you left; the moves of {} go on, and no other is begun", some.join(", ")),
    };
    let hint = context.hint();
    let cancel = open.first().map(|first| format!("give one up: paracloud cancel {first}{hint}; "));
    let next = format!(
        "{}paracloud ps{hint} shows what is where; paracloud drain-node {name}{hint} goes on with it, and paracloud node \
         open {name}{hint} lets it have new instances again",
        cancel.unwrap_or_default()
    );
    Failure::new(Exit::Failed, "left", name, why, next)
}

/// Instances on the node of which no row tells: they came meanwhile.
async fn missed(context: &Context, from: NodeId, rows: &[Row]) -> Result<Vec<String>, Failure> {
    let status = client::status(&context.layout).await?;
    let cloud = context.cloud()?;
    let mut there = plan::owned(&status, &cloud, from);
    there.retain(|instance| !rows.iter().any(|row| row.is_of(instance) && !row.is_moved()));
    Ok(there)
}
