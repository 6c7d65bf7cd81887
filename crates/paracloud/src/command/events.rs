//! `paracloud events`: what happened, from the journal.

use super::{Context, named};
use crate::client::{self, ANSWER_MS_MAX, Conversation, Cut, INTERRUPTED};
use crate::failure::{Exit, Failure};
use crate::output::{Format, formed, say, say_words};
use crate::telling;
use paracloud_substrate::person::{Event, Reply, Request};
use std::time::Duration;

/// After a link that broke, the journal is asked again after this long, in milliseconds.
const AGAIN_MS: u64 = 200;

/// Prints events from this number on, with `app` those of one app or instance, and with `follow` those that happen. A controller that is restarted meanwhile
/// is waited for then; nothing of the journal is printed twice.
///
/// # Errors
/// There is no cloud here, it does not answer or stands still, or without `follow` it ended before it had told everything.
/// Of such an app nothing is known.
pub async fn run(context: &Context, app: Option<&str>, from: u64, follow: bool) -> Result<(), Failure> {
    let layout = &context.layout;
    let mut from = from;
    // Of one that is configured no more there may be events all the same.
    let mut unknown = app.filter(|app| {
        context.cloud().is_ok_and(|cloud| cloud.app(app).is_none() && cloud.app_of(app).is_none())
    });
    if let Some(app) = unknown.filter(|_| follow) {
        return Err(unknown_app(context, app));
    }
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
                    if app.is_some_and(|app| !named::is_meant(&event.instance, app)) {
                        continue;
                    }
                    unknown = None;
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
                Ok(Reply::Done) => return unknown.map_or(Ok(()), |app| Err(unknown_app(context, app))),
                Ok(
                    other @ (Reply::Status(_)
                    | Reply::Outcome(_)
                    | Reply::Begun(_)
                    | Reply::Scaled(_)
                    | Reply::GivenBack(_)
                    | Reply::Explained(_)
                    | Reply::Answered(_)
                    | Reply::Waits { .. }
                    | Reply::Drains(_)
                    | Reply::Drained { .. }
                    | Reply::Updates(_)
                    | Reply::Applied { .. }
                    | Reply::Previewed { .. }),
                ) => {
                    return Err(client::unexpected(layout, &other));
                }
                Err(Cut::Gone) if follow => break,
                Err(cut) => return Err(cut.failure(layout)),
            }
        }
        tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
    }
}

fn unknown_app(context: &Context, app: &str) -> Failure {
    let cloud = context.cloud().ok();
    let names: Vec<_> = cloud.iter().flat_map(|cloud| &cloud.apps).map(|app| app.name.as_str()).collect();
    let next = format!("there are: {}", names.join(", "));
    Failure::new(
        Exit::Usage,
        "unknown_instance",
        app,
        "there is no such app, and nothing is known of one",
        next,
    )
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
    use crate::moving::history::tests::{a_move, event, record};
    use paci::finding::MoveEstimate;
    use paracloud_core::ids::{NodeId, Placement, StartId};
    use paracloud_core::migration::message::Offer;
    use paracloud_core::register::{Mode, MoveStep};
    use paracloud_substrate::message::{Note, Speaker};
    use paracloud_substrate::person::{Consent, Loss, Refusal, What};
    use serde_json::json;

    /// What is not begun, what is lost, and what the cloud itself says.
    fn afterwards() -> Vec<Event> {
        let refusal = Refusal {
            to: Some(NodeId(2)),
            accept_loss: false,
            asked: Some(Placement::new(NodeId(1), StartId(0x1234_5678_0000_0001))),
            code: "consent_needed".to_owned(),
            message: "web: it does not speak PaCI, and it holds state".to_owned(),
            held_until_unix_ms: None,
            unkept: 0,
        };
        let (code, message) = ("held".to_owned(), "payroll: month end".to_owned());
        let until = Some(1_700_000_060_000);
        let held = Refusal { code, message, held_until_unix_ms: until, unkept: 29, ..refusal.clone() };
        let nobody =
            Refusal { to: None, accept_loss: true, asked: None, code: "busy".to_owned(), ..refusal.clone() };
        let full = "the journal has no room for the outcome, so nothing is sealed".to_owned();
        let remark = Note::Remark { by: Speaker::Controller, what: full };
        let estimate = MoveEstimate {
            state_kib: Some(65_536),
            shrinkable_kib: Some(16_384),
            pause_ms: Some(40),
            ..MoveEstimate::default()
        };
        let lost = |by, consent| What::StateLost { by, consent };
        let whats = [
            What::Refused(refusal),
            What::Refused(held),
            What::Refused(nobody),
            What::Note(remark),
            What::Note(Note::Estimate(estimate)),
            lost(Loss::Restart, Consent::Manifest),
            lost(Loss::Death, Consent::Nobody),
            lost(Loss::Stop, Consent::Person),
            lost(Loss::Removal, Consent::Person),
        ];
        (20..).zip(whats).map(|(number, what)| event(number, what)).collect()
    }

    #[test]
    fn what_was_not_begun_and_what_was_lost_is_told_in_a_line_and_in_json() {
        let told = |format| move |event: &Event| shown(event, format);
        let (text, json) = (told(Format::Text), told(Format::Json));
        let lines: Vec<_> = afterwards().iter().flat_map(|event| [text(event), json(event)]).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn programs_read_modes_steps_and_offers_in_one_spelling() {
        let open = record(Some(MoveStep::Sealing), 1, 4);
        let swapped = event(1, What::Swapped { change: "seal".to_owned(), record: open });
        let hold = Offer::Hold { remaining_ms: 700 };
        let previewed = json!({ "modes": [Mode::Handoff, Mode::Restart], "offers": [Offer::Accept, Offer::Refuse, hold] });
        insta::assert_snapshot!(format!("{}\n{previewed}", shown(&swapped, Format::Json)));
    }

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
            let ended = run(&context, None, 0, false).await.map_err(|failure| failure.code);
            assert_eq!(ended.err().as_deref(), code, "{says}");
        }
    }
}
