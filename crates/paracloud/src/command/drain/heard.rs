//! What the controller says of how a node is drained.

use super::row::Row;
use crate::client::{self, AGAIN_MAX, Conversation, INTERRUPTED};
use crate::command::Context;
use crate::failure::Failure;
use crate::output::tell;
use paracloud_core::ids::NodeId;
use paracloud_substrate::names;
use paracloud_substrate::person::{Reply, Request, Status};
use std::collections::BTreeSet;

/// What became of each, and who came meanwhile.
pub(super) type Ended = (Vec<Row>, Vec<String>);

/// What was heard so far: each instance once, with what was said of it last.
#[derive(Debug)]
struct Heard<'a> {
    context: &'a Context,
    name: &'a str,
    /// Whether people are told while it goes on.
    tells: bool,
    rows: Vec<Row>,
    /// What people were told, each once.
    told: BTreeSet<String>,
}

/// Asks, and hears how it goes until it is over. A controller that goes away meanwhile is asked again: it goes on with it.
/// `None`: it was begun, and is not waited for.
pub(super) async fn hear(
    context: &Context,
    name: &str,
    request: &Request,
    tells: bool,
) -> Result<Option<Ended>, Failure> {
    let &Request::DrainNode { node, dry_run, .. } = request else { return Ok(None) };
    let before = owned(&client::status(&context.layout).await?, node);
    let mut heard = Heard { context, name, tells, rows: Vec::new(), told: BTreeSet::new() };
    let mut again = 0;
    let ended = loop {
        match heard.try_hear(request).await {
            Err(failure) if failure.code == INTERRUPTED && again < AGAIN_MAX => again += 1,
            ended => break ended?,
        }
        if dry_run {
            heard.rows.clear();
        }
    };
    let Some(missed) = ended else { return Ok(None) };
    let Heard { mut rows, .. } = heard;
    if again > 0 && !dry_run {
        let now = client::status(&context.layout).await?;
        let is_heard = |name: &String| missed.contains(name) || rows.iter().any(|row| row.instance() == name);
        let unheard: Vec<_> = before.into_iter().filter(|name| !is_heard(name)).collect();
        rows.extend(unheard.into_iter().map(|name| Row::unheard(place(&now, &name), name)));
    }
    rows.sort_by(|left, right| names::order(left.instance(), right.instance()));
    Ok(Some((rows, missed)))
}

/// The instances that a node owns.
fn owned(status: &Status, node: NodeId) -> Vec<String> {
    let here = status.instances.iter().filter(|it| place(status, &it.name) == Some(node));
    here.map(|it| it.name.clone()).collect()
}

/// Where an instance is; `None`: it is not, or that is not known.
fn place(status: &Status, name: &str) -> Option<NodeId> {
    let record = status.instances.iter().find(|it| it.name == name)?.record.as_ref()?;
    Some(record.owner.node)
}

impl Heard<'_> {
    /// Who came meanwhile; `None`: it was begun, and is not waited for.
    async fn try_hear(&mut self, request: &Request) -> Result<Option<Vec<String>>, Failure> {
        let layout = &self.context.layout;
        let mut conversation = Conversation::open(layout, request).await?;
        loop {
            match conversation.hear_while_it_lives(layout).await.map_err(|cut| cut.failure(layout))? {
                Reply::Waits { instance, why } => self.say(format!("{why}; waiting for {instance}")),
                Reply::Drains(drained) => {
                    let row = Row::of(*drained);
                    self.say(row.sentence());
                    self.rows.retain(|known| known.instance() != row.instance());
                    self.rows.push(row);
                }
                Reply::Drained { missed } => return Ok(Some(missed)),
                Reply::Done => return Ok(None),
                Reply::Refused(refused) => return Err(client::refusal(&refused, self.name)),
                other @ (Reply::Begun(_)
                | Reply::Status(_)
                | Reply::Event(_)
                | Reply::Outcome(_)
                | Reply::Scaled(_)
                | Reply::GivenBack(_)
                | Reply::Updates(_)
                | Reply::Applied { .. }
                | Reply::Answered(_)
                | Reply::Explained(_)
                | Reply::Previewed { .. }) => return Err(client::unexpected(layout, &other)),
            }
        }
    }

    fn say(&mut self, line: String) {
        if self.tells && !self.told.contains(&line) {
            tell(&line);
            self.told.insert(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::restarted_after;
    use paracloud_core::ids::{Placement, StartId};
    use paracloud_core::migration::Phase;
    use paracloud_core::register::Record;
    use paracloud_substrate::config::State;
    use paracloud_substrate::draining::{Drained, End, Terms};
    use paracloud_substrate::person::{Instance, Refused, Starting};
    use serde_json::json;

    /// Each instance with its node.
    fn status(placed: &[(&str, u32)]) -> Reply {
        let instance = |&(name, node): &(&str, u32)| Instance {
            name: name.to_owned(),
            record: Some(Record::first(Placement::new(NodeId(node), StartId(7)))),
            phase: Phase::Idle,
            unknown: None,
            state: State::None,
            age_ms: None,
            restarts: false,
            unready: None,
            unanswered: None,
        };
        Reply::Status(Status { instances: placed.iter().map(instance).collect(), ..Status::default() })
    }

    fn drains(instance: &str, end: End) -> Reply {
        Reply::Drains(Box::new(Drained { instance: instance.to_owned(), to: NodeId(2), end }))
    }

    fn stays(code: &str) -> End {
        let [code, message, next] = [code, "it stays", ""].map(str::to_owned);
        End::Stays(Refused { code, message, next })
    }

    #[tokio::test]
    async fn who_hears_the_rest_from_the_next_controller_has_one_row_for_each_that_was_there() {
        let by = Starting { instance: "web.7".to_owned(), node: NodeId(2) };
        let gone = End::Replaced { by, took_ms: 5, died: None };
        let here = [("web.1", 1), ("web.2", 1), ("web.3", 1), ("web.4", 1), ("web.5", 1), ("web.6", 2)];
        let says = [
            vec![status(&here)],
            vec![drains("web.1", gone), drains("web.3", stays("held"))],
            vec![
                drains("web.3", End::Left { why: "it has left".to_owned() }),
                drains("web.4", stays("held")),
                Reply::Drained { missed: vec!["web.9".to_owned()] },
            ],
            vec![status(&[("web.4", 1), ("web.5", 3), ("web.6", 2), ("web.9", 1)])],
        ];
        let (_directory, context) = restarted_after(2, says);
        let terms = Terms { parallel: 1, until_unix_ms: 0, accept_loss: false };
        let request = Request::DrainNode { node: NodeId(1), terms, dry_run: false, wait: true };
        let (rows, missed) = hear(&context, "n1", &request, false).await.unwrap().unwrap();
        let rows = json!(rows);
        let row = |row: &serde_json::Value| {
            [&row["instance"], &row["moved"], &row["to"], &row["code"]].map(Clone::clone)
        };
        let rows: Vec<_> = rows.as_array().unwrap().iter().map(row).collect();
        let wanted = [
            [json!("web.1"), json!(true), json!(2), json!(null)],
            // Nobody told how these went.
            [json!("web.2"), json!(true), json!(null), json!("left")],
            [json!("web.3"), json!(true), json!(2), json!("left")],
            [json!("web.4"), json!(false), json!(2), json!("held")],
            [json!("web.5"), json!(true), json!(3), json!("left")],
        ];
        assert_eq!(rows, wanted);
        assert_eq!(missed, ["web.9"]);
    }
}
