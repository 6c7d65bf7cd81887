//! What the controller says of how instances are updated.

use super::plan::Change;
use super::row::Row;
use crate::client::{self, AGAIN_MAX, Conversation, INTERRUPTED};
use crate::command::{Context, logs, named};
use crate::failure::Failure;
use crate::output::{Format, tell};
use crate::processes;
use crate::telling;
use paracloud_substrate::names;
use paracloud_substrate::person::{Reply, Request, What};
use paracloud_substrate::updating::{NOT_BEGUN, Updated};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many lines are shown of what a process wrote that did not come up.
const LAST_LINES_MAX: usize = 3;

/// What was heard so far: each instance once, with what was said of it last.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<Vec<(Updated, Row)>>);

impl Heard {
    fn all(&self) -> MutexGuard<'_, Vec<(Updated, Row)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and hears how it goes until it is over. A controller that goes away meanwhile is asked again: it goes on with it.
    pub(super) async fn hear(
        &self,
        context: &Context,
        request: &Request,
        changes: &[Change],
    ) -> Result<(), Failure> {
        let mut again = 0;
        loop {
            match self.try_hear(context, request, changes).await {
                Err(failure) if failure.code == INTERRUPTED && again < AGAIN_MAX => again += 1,
                ended => return ended,
            }
        }
    }

    async fn try_hear(
        &self,
        context: &Context,
        request: &Request,
        changes: &[Change],
    ) -> Result<(), Failure> {
        let layout = &context.layout;
        let mut conversation = Conversation::open(layout, request).await?;
        loop {
            match conversation.hear_while_it_lives(layout).await.map_err(|cut| cut.failure(layout))? {
                Reply::Event(event) => {
                    if let What::Note(note) = &event.what
                        && context.format == Format::Text
                    {
                        tell(&format!("{}: {}", event.instance, telling::note(note)));
                    }
                }
                Reply::Waits { instance, why } => {
                    if context.format == Format::Text {
                        tell(&format!("{why}; waiting for {instance}"));
                    }
                }
                Reply::Updates(updated) => self.take(context, *updated, changes),
                Reply::Applied { updated } => {
                    updated.into_iter().for_each(|one| self.take(context, one, changes));
                    return Ok(());
                }
                Reply::Done => return Ok(()),
                Reply::Refused(refused) => return Err(client::refusal(&refused, "the manifest")),
                other @ (Reply::Status(_)
                | Reply::Outcome(_)
                | Reply::Scaled(_)
                | Reply::GivenBack(_)
                | Reply::Drains(_)
                | Reply::Drained { .. }
                | Reply::Previewed { .. }
                | Reply::Explained(_)
                | Reply::Answered(_)
                | Reply::Begun(_)) => return Err(client::unexpected(layout, &other)),
            }
        }
    }

    /// One ended. What was said already is not said again.
    fn take(&self, context: &Context, updated: Updated, changes: &[Change]) {
        let Some(change) = changes.iter().find(|change| change.app.name == updated.app) else { return };
        let mut all = self.all();
        if all.iter().any(|(known, _)| *known == updated) {
            return;
        }
        let row = Row::of(change, &updated);
        let is_begun = !row.done && row.code.as_deref() != Some(NOT_BEGUN);
        let row = if is_begun { row.wrote(last_words(context, &change.app.name)) } else { row };
        said(context, &row);
        all.retain(|(known, _)| known.instance != updated.instance);
        all.push((updated, row));
    }

    /// What became of those of an app. Of whom nothing was heard runs what counts: the controller that saw to it is gone.
    pub(super) fn rows(&self, change: &Change) -> Vec<Row> {
        let all = self.all();
        let own = all.iter().filter(|(updated, _)| updated.app == change.app.name);
        let unheard = |it: &&super::Outdated| !all.iter().any(|(known, _)| known.instance == it.instance);
        let missed = change.outdated.iter().filter(unheard).map(|it| Row::missed(change, it));
        let mut rows: Vec<_> = missed.chain(own.map(|(_, row)| row.clone())).collect();
        rows.sort_by(|left, right| names::order(&left.who, &right.who));
        rows
    }

    /// Of each app that is not done with, the first one of which nothing was heard.
    pub(super) fn open<'a>(&self, changes: &'a [Change]) -> Vec<&'a str> {
        let all = self.all();
        let has_failed = |app: &str| all.iter().any(|(updated, row)| updated.app == app && !row.done);
        let next = |change: &'a Change| {
            let unheard = |it: &&super::Outdated| !all.iter().any(|(known, _)| known.instance == it.instance);
            change.outdated.iter().find(unheard).map(|it| it.instance.as_str())
        };
        changes.iter().filter(|change| !has_failed(&change.app.name)).filter_map(next).collect()
    }
}

/// Says of one what became of it, while others are waited for.
pub(super) fn said(context: &Context, row: &Row) {
    if context.format == Format::Text {
        tell(&row.sentence());
        row.last_words().for_each(|line| tell(&line));
    }
}

/// What the newest process of an app wrote last that wrote anything, of those that are what it is to be by now.
fn last_words(context: &Context, app: &str) -> Vec<String> {
    let counts = context.cloud().ok().and_then(|cloud| cloud.app(app).map(|app| app.revision));
    let mut all = processes::all(&context.layout);
    all.retain(|process| counts.is_some() && process.revision == counts);
    let own = all.iter().rev().filter(|process| named::is_meant(&process.instance, app));
    let mut words = own.map(|process| logs::last_lines(process, LAST_LINES_MAX));
    words.find(|lines| !lines.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::restarted;
    use crate::command::apply::Outdated;
    use crate::command::apply::row::tests::change;
    use paracloud_core::ids::{NodeId, StartId};
    use paracloud_core::register::Mode;
    use paracloud_substrate::person::{Refused, Starting};
    use paracloud_substrate::updating::End;

    fn updated(instance: &str, end: End) -> Updated {
        Updated { app: "web".to_owned(), instance: instance.to_owned(), end }
    }

    fn stays(code: &str) -> End {
        let [code, message, next] = [code, "it stays", ""].map(str::to_owned);
        End::Stays(Refused { code, message, next })
    }

    #[tokio::test]
    async fn who_hears_the_rest_from_the_next_controller_has_one_row_for_each() {
        let outdated =
            |name: &str| Outdated { instance: name.to_owned(), start: StartId(1), mode: Some(Mode::Restart) };
        let outdated = ["web.1", "web.2", "web.3", "web.4"].map(outdated).to_vec();
        let changes = [Change { outdated, ..change() }];
        let by = Starting { instance: "web.5".to_owned(), node: NodeId(1) };
        let replaced = || updated("web.1", End::Replaced { by: by.clone(), took_ms: 5, died: None });
        let ended = [updated("web.3", stays("held")), updated("web.4", stays(NOT_BEGUN))];
        let told = |one: &Updated| Reply::Updates(Box::new(one.clone()));
        let says = [
            vec![told(&replaced()), told(&updated("web.3", stays("busy")))],
            vec![told(&ended[0]), told(&ended[1]), Reply::Applied { updated: ended.to_vec() }],
        ];
        let (_directory, context) = restarted(says);
        let heard = Heard::default();
        assert_eq!(heard.open(&changes), ["web.1"]);
        let request = Request::Apply { from: Vec::new(), to: Vec::new(), update: None, wait: true };
        assert_eq!(heard.hear(&context, &request, &changes).await, Ok(()));
        let rows = heard.rows(&changes[0]);
        let rows: Vec<_> = rows.iter().map(|row| (row.who.as_str(), row.done, row.code.as_deref())).collect();
        let wanted = [
            ("web.1", true, None),
            ("web.2", true, None),
            ("web.3", false, Some("held")),
            ("web.4", false, Some(NOT_BEGUN)),
        ];
        assert_eq!(rows, wanted, "of the second the one before told nobody");
        assert!(heard.open(&changes).is_empty(), "it has failed");
    }
}
