//! `paracloud move APP`: asks for a move, follows it to its end also when the controller is restarted meanwhile, and
//! says what clients saw.

use super::{Context, node};
use crate::client::{self, ANSWER_MS_MAX, Conversation, Cut};
use crate::failure::{Exit, Failure};
use crate::figures::{bytes, millis};
use crate::moving::history::History;
use crate::moving::view::{View, summary};
use crate::output::{Format, say, say_object};
use crate::telling;
use paracloud_core::ids::{NodeId, OperationNumber, StartId};
use paracloud_core::migration::Phase;
use paracloud_core::migration::message::Offer;
use paracloud_core::register::Mode;
use paracloud_substrate::config::State;
use paracloud_substrate::message::{Note, Preview};
use paracloud_substrate::person::{Event, Outcome, Refused, Reply, Request, What};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How often a controller may be restarted during one move before its follower gives up.
pub const RESUMES_MAX: u32 = 20;

/// How long the end of a move is waited for once its owner did not do what was decided, in milliseconds: what was
/// noted may be of the question before, or long over when the journal is read after a restart of the controller.
pub const UNDELIVERED_MS: u64 = 2_000;

/// How long a follower who heard the end from the journal waits for the rest of what clients saw, in milliseconds: the
/// controller itself waits for gateways that long, and its conclusion may have gone with it.
pub const CONCLUDED_MS: u64 = 2_000;

/// What a move may be asked for with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The target node; `None`: any other.
    pub to: Option<String>,
    /// The person consents to losing the state.
    pub accept_loss: bool,
    /// Do not stay until it ended.
    pub no_wait: bool,
}

/// Moves an app.
///
/// # Errors
/// It is refused, it needs a consent, it was rolled back, or the cloud does not answer.
pub async fn run(context: &Context, app: &str, options: &Options) -> Result<(), Failure> {
    let to = target(context, options.to.as_deref())?;
    let (accept_loss, wait) = (options.accept_loss, !options.no_wait);
    let request = Request::Move { instance: app.to_owned(), to, accept_loss, wait };
    let mut conversation = Conversation::open(&context.layout, &request).await?;
    let mut view = View::new(app, context.format);
    let mut history = History::new(app, None);
    let followed = tokio::select! {
        followed = follow(context, app, wait, &mut conversation, &mut history, &mut view) => followed,
        _ = tokio::signal::ctrl_c() => {
            let hint = context.hint();
            let next = format!("give it up: paracloud cancel {app}{hint}; watch it: paracloud events {app} -f{hint}");
            Err(Failure::new(Exit::Failed, "left", app, "you left; the move goes on", next))
        }
    };
    view.finish();
    match followed? {
        Followed::Ended(outcome) => report(context, &outcome),
        Followed::Begun(operation) => {
            match context.format {
                Format::Json => {
                    say_object("move", json!({ "ok": true, "instance": app, "operation": operation }))
                }
                Format::Text => say(&format!("{app}: the move has begun; watch it: paracloud events -f")),
            };
            Ok(())
        }
    }
}

/// How far a move was followed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Followed {
    /// Until this operation had begun.
    Begun(OperationNumber),
    /// To its end.
    Ended(Box<Outcome>),
}

/// Until the outcome, or without `wait` until the move has begun.
///
/// # Errors
/// It is refused, or the cloud does not answer any more.
pub(crate) async fn follow(
    context: &Context,
    app: &str,
    wait: bool,
    conversation: &mut Conversation,
    history: &mut History,
    view: &mut View,
) -> Result<Followed, Failure> {
    let mut resumes = 0;
    let mut first_ms_max = Some(client::offer_ms_max(&context.layout, app));
    let mut open: Option<Undelivered> = None;
    let mut ends = None;
    loop {
        // A follower that was cut off hears the end from the journal.
        if resumes > 0
            && let Some(mut outcome) = history.outcome()
        {
            let until = *ends.get_or_insert_with(|| Instant::now() + Duration::from_millis(CONCLUDED_MS));
            if history.is_concluded() || until <= Instant::now() {
                outcome.state_lost &= holds_state(context, app).await?;
                return Ok(Followed::Ended(Box::new(outcome)));
            }
        }
        if let Some(operation) = history.operation().filter(|_| !wait) {
            return Ok(Followed::Begun(operation));
        }
        let first = first_ms_max.take();
        let next = async {
            match first {
                Some(within_ms) => conversation.hear_within(within_ms).await,
                None => conversation.hear_while_it_lives(&context.layout).await,
            }
        };
        let heard = match (ends, &open) {
            (Some(ends), _) => match timeout_at(ends, next).await {
                Ok(heard) => heard,
                Err(_) => continue,
            },
            (None, None) => next.await,
            (None, Some(open)) => match timeout_at(open.until, next).await {
                Ok(heard) => heard,
                Err(_) => return Err(open.failure.clone()),
            },
        };
        match heard {
            Ok(Reply::Event(event)) => {
                if history.take(&event) {
                    view.show(&event);
                    open = open.filter(|open| open.what.is_awaited_in(history));
                    open = open.or_else(|| undelivered(app, history, &event));
                    open = open.or_else(|| unreachable(app, history, &event));
                }
            }
            Ok(Reply::Begun(operation)) if !wait => return Ok(Followed::Begun(operation)),
            Ok(Reply::Outcome(outcome)) => return Ok(Followed::Ended(Box::new(outcome))),
            Ok(Reply::Refused(refused)) => return Err(client::refusal(&refused, app)),
            Ok(
                other @ (Reply::Done
                | Reply::Begun(_)
                | Reply::Status(_)
                | Reply::Answered(_)
                | Reply::Scaled(_)
                | Reply::GivenBack(_)
                | Reply::Explained(_)
                | Reply::Waits { .. }
                | Reply::Drains(_)
                | Reply::Drained { .. }
                | Reply::Updates(_)
                | Reply::Applied { .. }
                | Reply::Previewed { .. }),
            ) => {
                return Err(client::unexpected(&context.layout, &other));
            }
            // All that it had to say was heard, but for the rest of what clients saw.
            Err(_) if ends.is_some() => ends = Some(Instant::now()),
            Err(Cut::Gone) if resumes < RESUMES_MAX => {
                resumes += 1;
                view.say("the controller does not answer; waiting for it");
                let resumed = resume(context, app, history).await;
                *conversation = resumed.map_err(|failure| cut_off(failure, history))?;
                first_ms_max = Some(ANSWER_MS_MAX);
                view.say("the controller is back");
            }
            Err(cut) => {
                return Err(cut_off(cut.failure(&context.layout), history));
            }
        }
    }
}

/// The move is not followed any more: what becomes of it, and where that is to be read. Nothing of the move is in this
/// command.
fn cut_off(failure: Failure, history: &History) -> Failure {
    if failure.exit != Exit::Unreachable {
        return failure;
    }
    let (begun, is_down) = (history.operation(), failure.code == "no_cloud");
    let what = match (begun, is_down) {
        (Some(operation), true) => {
            format!(
                "the move had begun ({operation}): the next `up` in this directory rolls it back or finishes it"
            )
        }
        (None, true) => {
            "whether the move had begun is not known: if so, the next `up` in this directory rolls it \
                         back or finishes it"
                .to_owned()
        }
        (Some(_), false) => "the move goes on without this command".to_owned(),
        (None, false) => "the move may still begin, when the controller comes to it".to_owned(),
    };
    let next = match (begun, is_down) {
        (_, true) => format!("{}; then paracloud events says how the move ended", failure.next),
        (Some(_), false) => format!("{}; how the move ends: paracloud events", failure.next),
        (None, false) => format!("paracloud events shows whether it did; {}", failure.next),
    };
    Failure { why: format!("{}; {what}", failure.why), next, ..failure }
}

async fn holds_state(context: &Context, app: &str) -> Result<bool, Failure> {
    let status = client::status(&context.layout).await?;
    Ok(status.instances.iter().any(|instance| instance.name == app && instance.state != State::None))
}

/// What a move waits for without a bound.
#[derive(Clone, Copy)]
enum Awaited {
    /// An answer of its owner to what was decided: who that is, and what it was told.
    Owner(StartId, &'static str),
    /// An agent that is away, in this phase.
    Agent(Option<Phase>),
}

impl Awaited {
    /// Whether it still is waited for.
    fn is_awaited_in(self, history: &History) -> bool {
        match self {
            Self::Owner(owner, call) => history.delivery() == Some((owner, call)),
            Self::Agent(phase) => history.phase() == phase,
        }
    }
}

/// What keeps a move open.
struct Undelivered {
    what: Awaited,
    /// Until when its end is still waited for.
    until: Instant,
    failure: Failure,
}

/// The outcome is decided, and the owner does not answer when it is told, or answers that it failed: that may last for
/// ever, so nobody waits.
fn undelivered(app: &str, history: &History, event: &Event) -> Option<Undelivered> {
    let delivery = history.delivery()?;
    let (owner, call) = delivery;
    let why = match &event.what {
        // Others may be silent for ever, and the owner may have been silent before: neither keeps the end from coming.
        What::Note(Note::Unresponsive { start, call: asked, at_work })
            if (*start, asked.as_str()) == delivery =>
        {
            if *at_work {
                format!("says that it is at work on {call}, and is not done in time")
            } else {
                format!("does not answer {call}; it is told again until it does")
            }
        }
        What::Note(Note::Failure { start, code, message }) if *start == owner => {
            let code = telling::plain(code);
            let own =
                if message.is_empty() { String::new() } else { format!(": {}", telling::plain(message)) };
            format!("answered {call} with {code}{own}")
        }
        What::Swapped { .. }
        | What::Entered(_)
        | What::Note(_)
        | What::Progress(_)
        | What::Refused(_)
        | What::StateLost { .. }
        | What::Parked { .. }
        | What::Concluded(_) => return None,
    };
    let why = format!("the move is decided, but its owner {why}");
    let next = format!(
        "paracloud logs {app} shows why; if it stays so, end its process, and the state in it goes with it"
    );
    let failure = Failure::new(Exit::Failed, "undelivered", app, why, next);
    let what = Awaited::Owner(owner, call);
    Some(Undelivered { what, until: Instant::now() + Duration::from_millis(UNDELIVERED_MS), failure })
}

/// The move waits for a node whose agent is away: that may last for ever, so nobody waits. Only a copy has a time by which
/// it is over.
fn unreachable(app: &str, history: &History, event: &Event) -> Option<Undelivered> {
    let What::Note(note @ Note::Awaited { node, .. }) = &event.what else { return None };
    if history.phase() == Some(Phase::Copy) {
        return None;
    }
    let why = format!("the move {}; it {}", history.standing(), telling::note(note));
    let node = telling::plain(node);
    let next = format!(
        "it goes on by itself when that agent is back: an agent that hangs is started again when it is killed; if {node} will not come back: paracloud node lost {node}"
    );
    let failure = Failure::new(Exit::Failed, "node_unreachable", app, why, next);
    let what = Awaited::Agent(history.phase());
    Some(Undelivered { what, until: Instant::now() + Duration::from_millis(UNDELIVERED_MS), failure })
}

/// Goes on following from the journal.
async fn resume(context: &Context, app: &str, history: &mut History) -> Result<Conversation, Failure> {
    if history.operation().is_none() {
        let status = client::status(&context.layout).await?;
        let record = status.instances.iter().find(|it| it.name == app).and_then(|it| it.record.as_ref());
        let Some(record) = record.filter(|record| record.operation.is_some()) else {
            let why = "the controller was restarted before it said whether the move began; none is open now";
            return Err(Failure::new(
                Exit::Failed,
                "interrupted",
                app,
                why,
                "see paracloud events, or move it again",
            ));
        };
        *history = History::new(app, Some(record.last_operation));
    }
    Conversation::open(&context.layout, &Request::Events { from: 0, follow: true }).await
}

fn report(context: &Context, outcome: &Outcome) -> Result<(), Failure> {
    let as_json = serde_json::to_value(outcome).map_err(|error| Failure::machine("outcome", &error))?;
    if context.format == Format::Text {
        say(&summary(outcome));
    }
    let because =
        outcome.because.as_ref().map_or_else(String::new, |note| format!(" ({})", telling::note(note)));
    if outcome.committed
        && let Some(cause) = &outcome.cause
    {
        let why = format!("it moved to {}, but {cause}{because}", outcome.node);
        let next = format!("see paracloud events, and paracloud logs {}", outcome.instance);
        let found = Some(Box::new(("outcome", as_json)));
        return Err(Failure { found, ..Failure::new(Exit::Failed, "crashed", &outcome.instance, why, next) });
    }
    if outcome.committed {
        if context.format == Format::Json {
            say_object("move", json!({ "ok": true, "outcome": as_json }));
        }
        return Ok(());
    }
    let cause = outcome.cause.as_deref().unwrap_or("the cause was not heard");
    let why = format!("the move was rolled back: {cause}{because}; it serves on {}", outcome.node);
    let next = format!("see paracloud events, and paracloud logs {}", outcome.instance);
    let found = Some(Box::new(("outcome", as_json)));
    Err(Failure { found, ..Failure::new(Exit::Failed, "rolled_back", &outcome.instance, why, next) })
}

/// Asks the application what a move would cost, and changes nothing.
///
/// # Errors
/// It could not be moved now, or the cloud does not answer.
pub async fn preview(context: &Context, app: &str, to: Option<&str>) -> Result<(), Failure> {
    let request = Request::Preview { instance: app.to_owned(), to: target(context, to)? };
    let within_ms = client::offer_ms_max(&context.layout, app);
    let reply = client::ask(&context.layout, app, &request, within_ms).await?;
    let Reply::Previewed { mode, to, preview, obstacle } = reply else {
        return Err(client::unexpected(&context.layout, &reply));
    };
    let found = json!({ "mode": mode, "to": to, "preview": preview, "obstacle": obstacle });
    if context.format == Format::Text {
        say(&previewed(app, mode, to, &preview, obstacle.as_ref()));
    }
    if let Some(failure) = stopped_by(app, mode, to, obstacle.as_ref()) {
        return Err(Failure { found: Some(Box::new(("preview", found))), ..failure });
    }
    if context.format == Format::Json {
        say_object("move", json!({ "ok": true, "preview": found }));
    }
    Ok(())
}

/// Why the move would be refused, as the move itself would say it.
fn stopped_by(app: &str, mode: Option<Mode>, to: NodeId, obstacle: Option<&Refused>) -> Option<Failure> {
    match (obstacle, mode) {
        (Some(refused), _) => Some(client::refusal(refused, app)),
        (None, Some(_)) => None,
        (None, None) => {
            let why = format!("it cannot be moved to {to} now");
            Some(Failure::new(Exit::Failed, "obstacle", app, why, "see paracloud ps"))
        }
    }
}

fn previewed(
    app: &str,
    mode: Option<Mode>,
    to: NodeId,
    preview: &Preview,
    obstacle: Option<&Refused>,
) -> String {
    let mode = match mode {
        Some(Mode::Handoff) => "by handoff: it hands its state over while it serves",
        Some(Mode::Restart) => "by restart: it is stopped, then started there",
        None if obstacle.is_some_and(|it| matches!(it.code.as_str(), "consent_needed" | "refused")) => {
            "with --accept-loss alone: it is started there without its state"
        }
        None => "in no way now",
    };
    let mut lines = vec![format!("{app} could be moved to {to} {mode}")];
    lines.push(match preview.offer {
        Some(Offer::Accept) => "the application agrees".to_owned(),
        Some(Offer::Hold { remaining_ms }) => {
            format!("the application holds on for {}", millis(remaining_ms.into()))
        }
        Some(Offer::Refuse) => "the application refuses".to_owned(),
        None if preview.reason.is_empty() => "the application cannot hand its state over".to_owned(),
        None => format!("the application cannot hand its state over: {}", preview.reason.escape_debug()),
    });
    if preview.offer.is_some() && !preview.reason.is_empty() {
        lines.push(format!("it says   {}", preview.reason.escape_debug()));
    }
    if let Some(estimate) = &preview.estimate {
        let figures = [
            ("state", estimate.state_kib.map(|kib| bytes(u64::from(kib) << 10))),
            ("can drop", estimate.shrinkable_kib.map(|kib| bytes(u64::from(kib) << 10))),
            ("changes", estimate.dirty_kib_per_s.map(|kib| format!("{}/s", bytes(u64::from(kib) << 10)))),
            ("pause", estimate.pause_ms.map(|ms| millis(ms.into()))),
            ("warm-up", estimate.warmup_ms.map(|ms| millis(ms.into()))),
        ];
        lines.extend(figures.into_iter().filter_map(|(name, figure)| Some(format!("{name:<9} {}", figure?))));
    }
    lines.join("\n")
}

fn target(context: &Context, name: Option<&str>) -> Result<Option<NodeId>, Failure> {
    name.map(|name| node::named(context, name)).transpose()
}

#[cfg(test)]
mod tests;
