//! `paracloud scale APP N`: how many instances an app has, by a person's word, kept for a stated time. Those that leave
//! because of it are followed until they are gone, or called back.

mod follow;
mod shown;

use super::Context;
use crate::client::{self, ANSWER_MS_MAX, Conversation};
use crate::failure::{Exit, Failure};
use crate::output::{Format, columns_of_stdout, say, say_object, say_words};
use follow::{Leaves, Left};
use paracloud_substrate::person::{Reply, Request, Scaled, Standing};
use serde_json::{Value, json};

/// How long the first answer may take: whoever changes the number now is waited for, and those that could go are asked before,
/// in some rounds; in milliseconds.
const SCALED_MS_MAX: u64 = ANSWER_MS_MAX + 15_000;

/// What may be asked for.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// So many instances.
    pub to: u32,
    /// For so long, in milliseconds; `None`: as the manifest says.
    pub hold_ms: Option<u32>,
    /// Ask the applications, change nothing, and say what would be done.
    pub dry_run: bool,
    /// The person consents to losing the state of those that leave.
    pub accept_loss: bool,
    /// Who has not left within so many milliseconds is called back; `None`: as the manifest says.
    pub within_ms: Option<u32>,
    /// Do not stay until those have left that do.
    pub no_wait: bool,
}

/// Tells the controller.
///
/// # Errors
/// There is no such app, it cannot have so many instances, a consent is missing, an instance that was to leave stays, or the
/// cloud does not answer.
pub async fn run(context: &Context, app: &str, options: &Options) -> Result<(), Failure> {
    let Options { to, hold_ms, dry_run, accept_loss, within_ms, no_wait } = *options;
    let wait = !no_wait && !dry_run;
    let request = Request::Scale { app: app.to_owned(), to, hold_ms, dry_run, accept_loss, within_ms, wait };
    let mut conversation = Conversation::open(&context.layout, &request).await?;
    let scaled = match conversation.hear_within(SCALED_MS_MAX).await {
        Ok(Reply::Scaled(scaled)) => scaled,
        Ok(Reply::Refused(refused)) => return Err(client::refusal(&refused, app)),
        Ok(other) => return Err(client::unexpected(&context.layout, &other)),
        Err(cut) => return Err(cut.failure(&context.layout)),
    };
    if context.format == Format::Text {
        let cloud = context.cloud()?;
        say(&shown::text(&scaled, dry_run, |node| super::node::shown(&cloud, node), columns_of_stdout()));
    }
    let mut leaves = Leaves::of(&scaled);
    if wait && !leaves.is_over() {
        tokio::select! {
            followed = leaves.follow(context, &mut conversation) => followed?,
            _ = tokio::signal::ctrl_c() => return Err(left(context, app, &leaves)),
        }
    }
    let all = leaves.all();
    let object = object(&scaled, all, dry_run)?;
    if let Some(failure) = verdict(context, &scaled, all) {
        return Err(Failure { found: Some(Box::new(("scaled", object))), ..failure });
    }
    if context.format == Format::Json {
        let mut object = object;
        object["ok"] = true.into();
        say_object("scale", object);
    }
    Ok(())
}

/// Gives the number of instances back to who decides it by itself.
///
/// # Errors
/// There is no such app, or the cloud does not answer.
pub async fn give_back(context: &Context, app: &str) -> Result<(), Failure> {
    let request = Request::GiveBack { app: app.to_owned() };
    let reply = client::ask(&context.layout, app, &request, ANSWER_MS_MAX).await?;
    let Reply::GivenBack(was) = reply else { return Err(client::unexpected(&context.layout, &reply)) };
    match context.format {
        Format::Json => {
            say_object("scale", json!({ "ok": true, "app": app, "auto": true, "given_back": was }))
        }
        Format::Text => say_words(&shown::given_back(app, was.as_ref())),
    };
    Ok(())
}

fn object(scaled: &Scaled, leaves: &[Left], dry_run: bool) -> Result<Value, Failure> {
    let mut object = serde_json::to_value(scaled).map_err(|error| Failure::machine("scale", &error))?;
    object["dry_run"] = dry_run.into();
    for (leaf, left) in object["leaves"].as_array_mut().into_iter().flatten().zip(leaves) {
        leaf["outcome"] = json!(left.outcome);
    }
    Ok(object)
}

/// Why there are not as few as were wanted.
fn verdict(context: &Context, scaled: &Scaled, leaves: &[Left]) -> Option<Failure> {
    let (app, hint) = (&scaled.app, context.hint());
    let events = format!("paracloud events {app}{hint} tells how it went");
    let stands = format!(
        "while the number stands (`paracloud ps` shows it) who can leave later does; paracloud scale {app} --auto{hint} takes \
         it back"
    );
    let staying: Vec<_> = leaves.iter().filter_map(Left::stays).collect();
    if !staying.is_empty() {
        let why = staying.join("; ");
        return Some(Failure::new(Exit::Failed, "called_back", app, why, format!("{stands}; {events}")));
    }
    let missing = scaled.from.saturating_sub(scaled.to) as usize;
    if missing <= scaled.leaves.len() {
        return None;
    }
    let of = |standing| move |it: &&paracloud_substrate::person::Candidate| it.standing == standing;
    let held: Vec<_> = scaled.looked_at.iter().filter(of(Standing::Held)).collect();
    let names = |all: &[&paracloud_substrate::person::Candidate]| {
        all.iter().map(|it| it.instance.as_str()).collect::<Vec<_>>().join(", ")
    };
    let short = missing - scaled.leaves.len();
    let (code, who) = match held.as_slice() {
        [] => {
            let busy: Vec<_> = scaled.looked_at.iter().filter(of(Standing::Busy)).collect();
            ("busy", format!("cannot leave now: {}", names(&busy)))
        }
        held => ("held", format!("asked to be left alone: {}", names(held))),
    };
    let why = format!("{short} of {missing} that were to leave stay: {who}");
    Some(Failure::new(Exit::Failed, code, app, why, stands))
}

/// The person left: what was begun goes on.
fn left(context: &Context, app: &str, leaves: &Leaves) -> Failure {
    let (open, hint) = (leaves.open(), context.hint());
    let goes = if open.len() == 1 { "goes" } else { "go" };
    let why = format!("you left; {} {goes} on leaving", open.join(", "));
    let first = open.first().map_or(app, String::as_str);
    let next =
        format!("call one back: paracloud cancel {first}{hint}; watch: paracloud events {app} -f{hint}");
    Failure::new(Exit::Failed, "left", app, why, next)
}
