//! `paracloud node lost NODE`: a person's word that a node will not come back.

use super::Context;
use crate::client::{self, ANSWER_MS_MAX};
use crate::failure::{Exit, Failure};
use crate::output::{Format, say_object, say_words};
use paracloud_substrate::person::{Reply, Request};
use serde_json::json;

/// When the word is over: it is kept nowhere, so that one that has become wrong meanwhile does not outlive a restart.
const UNTIL: &str = "its agent connects or the controller is started again";

/// Tells the controller.
///
/// # Errors
/// There is no such node, or the cloud does not answer.
pub async fn lost(context: &Context, name: &str) -> Result<(), Failure> {
    let node = named(context, name)?;
    let reply = client::ask(&context.layout, name, &Request::NodeLost { node }, ANSWER_MS_MAX).await?;
    if reply != Reply::Done {
        return Err(client::unexpected(&context.layout, &reply));
    }
    match context.format {
        Format::Json => say_object("node", json!({ "ok": true, "node": name, "until": UNTIL })),
        Format::Text => say_words(&format!(
            "{name}: counts as lost, and what ran there as dead, until {UNTIL}; if an app waits for it then, say it again"
        )),
    };
    Ok(())
}

/// The node of this name in the cloud of the directory.
///
/// # Errors
/// There is no cloud here, or no such node in it.
pub fn named(context: &Context, name: &str) -> Result<paracloud_core::ids::NodeId, Failure> {
    let cloud = context.cloud()?;
    cloud.node_named(name).map(|node| node.id).ok_or_else(|| {
        let names: Vec<_> = cloud.nodes.iter().map(|node| node.name.as_str()).collect();
        let next = format!("the nodes are {}", names.join(", "));
        Failure::new(Exit::Usage, "unknown_node", name, "there is no such node", next)
    })
}
