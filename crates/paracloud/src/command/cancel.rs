//! `paracloud cancel APP`: gives the open operation of an instance up. Who serves goes on serving.

use super::Context;
use crate::client::{self, ANSWER_MS_MAX, Conversation};
use crate::failure::Failure;
use crate::output::{Format, say, say_object};
use paracloud_substrate::person::{Reply, Request};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// Asks the controller.
///
/// # Errors
/// No move is open, it is past its commit, or the cloud does not answer.
pub async fn run(context: &Context, app: &str) -> Result<(), Failure> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let asked_unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let request = Request::Cancel { instance: app.to_owned(), asked_unix_ms };
    let mut conversation = Conversation::open(&context.layout, &request).await?;
    match conversation.hear_within(ANSWER_MS_MAX).await {
        Ok(Reply::Done) => {}
        Ok(Reply::Refused(refused)) => return Err(client::refusal(&refused, app)),
        Ok(other) => return Err(client::unexpected(&context.layout, &other)),
        Err(cut) => return Err(asked_all_the_same(app, cut.failure(&context.layout))),
    }
    match context.format {
        Format::Json => say_object("cancel", json!({ "ok": true, "instance": app })),
        Format::Text => say(&format!("{app}: what is open is being given up; it serves on")),
    };
    Ok(())
}

/// The controller has the request, and may come to it when nobody waits any more.
fn asked_all_the_same(app: &str, failure: Failure) -> Failure {
    let why =
        format!("{}; the move of {app} may still be given up, when the controller comes to it", failure.why);
    let next = format!("paracloud events shows whether it was; {}", failure.next);
    Failure { why, next, ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::controller;
    use crate::failure::Exit;

    #[tokio::test(start_paused = true)]
    async fn a_cancel_that_had_no_answer_may_still_be_carried_out_and_says_where_to_look() {
        for (says, code) in [(None, "no_answer"), (Some(String::new()), "interrupted")] {
            let (_directory, context) = controller(says);
            let failure = run(&context, "web").await.unwrap_err();
            assert_eq!((failure.exit, failure.code.as_str()), (Exit::Unreachable, code));
            assert!(failure.why.contains("the move of web may still be given up"), "{failure:?}");
            assert!(failure.next.starts_with("paracloud events shows whether"), "{failure:?}");
        }
    }
}
