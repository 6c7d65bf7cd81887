//! `paracloud events`: what happened, from the journal.

use super::Context;
use crate::client::{self, Conversation};
use crate::failure::Failure;
use crate::output::{Format, say};
use crate::telling;
use paracloud_substrate::person::{Event, Reply, Request};
use std::time::Duration;

/// After a link that broke, the journal is asked again after this long, in milliseconds.
const AGAIN_MS: u64 = 200;

/// Prints events from this number on, and with `follow` those that happen. A controller that is restarted meanwhile
/// is waited for; nothing of the journal is printed twice.
///
/// # Errors
/// There is no cloud here, or it does not answer.
pub async fn run(context: &Context, from: u64, follow: bool) -> Result<(), Failure> {
    let mut from = from;
    loop {
        let mut conversation = Conversation::open(&context.layout, &Request::Events { from, follow }).await?;
        while let Some(reply) = conversation.next().await {
            match reply {
                Reply::Event(event) => {
                    if event.number != 0 {
                        from = event.number + 1;
                    }
                    if !say(&shown(&event, context.format)) {
                        return Ok(());
                    }
                }
                Reply::Refused(refused) => return Err(client::refusal(&refused, "paracloud")),
                Reply::Done => break,
                other @ (Reply::Status(_) | Reply::Outcome(_) | Reply::Previewed { .. }) => {
                    return Err(client::unexpected(&context.layout, &other));
                }
            }
        }
        if !follow {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
    }
}

fn shown(event: &Event, format: Format) -> String {
    match format {
        Format::Json => serde_json::to_string(event).unwrap_or_default(),
        Format::Text => telling::line(event),
    }
}
