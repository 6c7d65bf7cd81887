//! `paracloud drain-node N`: everything that a node owns is taken away from it, and it is said at the end what went how, what
//! could not, and why.
//!
//! The controller does it, also when nobody listens. Who asks while it goes on hears of it; `paracloud node open` ends it. Of a
//! controller that ends meanwhile the next one goes on with it, and is listened to.

mod heard;
mod row;

use super::{Context, node};
use crate::failure::{Exit, Failure};
use crate::output::{Format, columns_of_stdout, say, say_object, say_words};
use paracloud_core::ids::NodeId;
pub use paracloud_substrate::draining::PARALLEL_MAX;
use paracloud_substrate::draining::Terms;
use paracloud_substrate::person::Request;
use serde_json::json;
use std::time::{Duration, SystemTime};

/// How long holds are waited for if that is not said, in milliseconds.
pub const WAIT_MS: u32 = 600_000;

/// What may be asked for.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Ask the applications, and move nothing.
    pub dry_run: bool,
    /// So many leave at once.
    pub parallel: u32,
    /// Holds are waited for at most so long, in milliseconds.
    pub wait_ms: u32,
    /// The person consents to losing what cannot be handed over.
    pub accept_loss: bool,
    /// Do not wait for the end.
    pub no_wait: bool,
}

/// Drains a node.
///
/// # Errors
/// There is no such node or no other one, something is still on it, or the cloud does not answer.
pub async fn run(context: &Context, name: &str, options: &Options) -> Result<(), Failure> {
    let from = node::named(context, name)?;
    let tells = context.format == Format::Text && !options.dry_run;
    let request = request(from, options);
    let heard = tokio::select! {
        heard = heard::hear(context, name, &request, tells) => heard?,
        _ = tokio::signal::ctrl_c() => return Err(left(context, name, options)),
    };
    let Some((rows, missed)) = heard else {
        match context.format {
            Format::Json => say_object("drain-node", json!({ "ok": true, "node": name, "begun": true })),
            Format::Text => say_words(&format!("{name}: is being drained")),
        };
        return Ok(());
    };
    let cloud = context.cloud()?;
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

/// What is asked of the controller.
fn request(node: NodeId, options: &Options) -> Request {
    let Options { dry_run, parallel, wait_ms, accept_loss, no_wait } = *options;
    let until = SystemTime::now() + Duration::from_millis(wait_ms.into());
    let since = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let until_unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let terms = Terms { parallel, until_unix_ms, accept_loss };
    Request::DrainNode { node, terms, dry_run, wait: !no_wait }
}

/// The person left: it goes on.
fn left(context: &Context, name: &str, options: &Options) -> Failure {
    let hint = context.hint();
    if options.dry_run {
        return Failure::new(Exit::Failed, "left", name, "you left; nothing was changed", "ask again");
    }
    let next = format!(
        "paracloud drain-node {name}{hint} hears of it again; paracloud node open {name}{hint} ends it, and lets it have new \
         instances again"
    );
    Failure::new(Exit::Failed, "left", name, "you left; it is being drained all the same", next)
}
