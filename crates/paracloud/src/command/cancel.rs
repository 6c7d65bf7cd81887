//! `paracloud cancel APP`: gives the open move of an app up. Its source goes on serving.

use super::Context;
use crate::client::{self, ANSWER_MS_MAX};
use crate::failure::Failure;
use crate::output::{Format, say, say_object};
use paracloud_substrate::person::{Reply, Request};
use serde_json::json;

/// Asks the controller.
///
/// # Errors
/// No move is open, it is past its commit, or the cloud does not answer.
pub async fn run(context: &Context, app: &str) -> Result<(), Failure> {
    let request = Request::Cancel { instance: app.to_owned() };
    let reply = client::ask(&context.layout, app, &request, ANSWER_MS_MAX).await?;
    if reply != Reply::Done {
        return Err(client::unexpected(&context.layout, &reply));
    }
    match context.format {
        Format::Json => say_object("cancel", json!({ "ok": true, "instance": app })),
        Format::Text => say(&format!("{app}: the move is being given up; the source serves on")),
    };
    Ok(())
}
