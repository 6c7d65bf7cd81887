//! `paracloud reconsider APP`: after a person has put things right, the controller looks again at what it could not
//! decide by itself.

use super::Context;
use crate::client::{self, ANSWER_MS_MAX};
use crate::failure::Failure;
use crate::output::{Format, say, say_object};
use paracloud_substrate::person::{Reply, Request};
use serde_json::json;

/// Tells the controller.
///
/// # Errors
/// Nothing about the app is unknown, or the cloud does not answer.
pub async fn run(context: &Context, app: &str) -> Result<(), Failure> {
    let request = Request::Reconsider { instance: app.to_owned() };
    let reply = client::ask(&context.layout, app, &request, ANSWER_MS_MAX).await?;
    if reply != Reply::Done {
        return Err(client::unexpected(&context.layout, &reply));
    }
    match context.format {
        Format::Json => say_object("reconsider", json!({ "ok": true, "instance": app })),
        Format::Text => say(&format!("{app}: the controller looks again; see paracloud ps")),
    };
    Ok(())
}
