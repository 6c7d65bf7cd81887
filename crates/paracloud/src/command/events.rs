//! `paracloud events`: what happened, from the journal.

use super::Context;
use crate::client::{self, ANSWER_MS_MAX, Conversation, Cut, INTERRUPTED};
use crate::failure::Failure;
use crate::output::{Format, formed, say, say_words};
use crate::telling;
use paracloud_substrate::person::{Event, Reply, Request};
use std::time::Duration;

/// After a link that broke, the journal is asked again after this long, in milliseconds.
const AGAIN_MS: u64 = 200;

/// Prints events from this number on, and with `follow` those that happen. A controller that is restarted meanwhile
/// is waited for then; nothing of the journal is printed twice.
///
/// # Errors
/// There is no cloud here, it does not answer or stands still, or without `follow` it ended before it had told everything.
pub async fn run(context: &Context, from: u64, follow: bool) -> Result<(), Failure> {
    let layout = &context.layout;
    let mut from = from;
    loop {
        if follow {
            // It may be long before something happens; that the controller answers is seen before.
            match client::status(layout).await {
                Ok(_) => {}
                Err(gone) if gone.code == INTERRUPTED => {
                    tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
                    continue;
                }
                Err(failure) => return Err(failure),
            }
        }
        let mut conversation = Conversation::open(layout, &Request::Events { from, follow }).await?;
        loop {
            let heard = if follow {
                conversation.hear_while_it_lives(layout).await
            } else {
                conversation.hear_within(ANSWER_MS_MAX).await
            };
            match heard {
                Ok(Reply::Event(event)) => {
                    if event.number != 0 {
                        from = event.number + 1;
                    }
                    let line = shown(&event, context.format);
                    let is_read = match context.format {
                        Format::Json => say(&line),
                        Format::Text => say_words(&line),
                    };
                    if !is_read {
                        return Ok(());
                    }
                }
                Ok(Reply::Refused(refused)) => return Err(client::refusal(&refused, "paracloud")),
                Ok(Reply::Done) => return Ok(()),
                Ok(other @ (Reply::Status(_) | Reply::Outcome(_) | Reply::Previewed { .. })) => {
                    return Err(client::unexpected(layout, &other));
                }
                Err(Cut::Gone) if follow => break,
                Err(cut) => return Err(cut.failure(layout)),
            }
        }
        tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
    }
}

fn shown(event: &Event, format: Format) -> String {
    match format {
        Format::Json => formed("event", serde_json::to_value(event).unwrap_or_default()),
        Format::Text => telling::line(event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::controller;
    use crate::moving::history::tests::a_move;

    #[test]
    fn an_event_names_its_form_and_is_read_as_one_all_the_same() {
        let event = a_move().remove(0);
        let line = shown(&event, Format::Json);
        assert!(line.contains(r#""schema":"paracloud.event/v1""#), "{line}");
        assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    }

    #[tokio::test]
    async fn a_journal_that_breaks_off_is_not_taken_for_the_whole() {
        let line = |reply: &Reply| serde_json::to_string(reply).unwrap() + "\n";
        let event = line(&Reply::Event(a_move().remove(0)));
        for (says, code) in [
            (event.clone(), Some(INTERRUPTED)),
            (String::new(), Some(INTERRUPTED)),
            (format!("{event}{{\"of\": \"a later version\"}}\n"), Some("version")),
            (format!("{event}{}", line(&Reply::Done)), None),
        ] {
            let (_directory, context) = controller(Some(says.clone()));
            let ended = run(&context, 0, false).await.map_err(|failure| failure.code);
            assert_eq!(ended.err().as_deref(), code, "{says}");
        }
    }
}
