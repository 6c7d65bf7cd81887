//! An instance without state goes by another one that is started elsewhere before it leaves: there are never fewer that serve.

use super::row::Row;
use super::{Asked, One};
use crate::client::{self, Conversation};
use crate::failure::{Exit, Failure};
use paracloud_core::register::{Record, Step};
use paracloud_substrate::config::{App, Cloud};
use paracloud_substrate::message::HeldOp;
use paracloud_substrate::names::InstanceName;
use paracloud_substrate::person::{Reply, Request, Status};
use tokio::time::Instant;

/// Whether another one may come in the place of an instance: it has no state, its app is scaled, and there may be one more.
pub(super) fn may_come(status: &Status, cloud: &Cloud, instance: &str) -> bool {
    let app = cloud.app_of(instance).filter(|app| app.is_stateless());
    let Some((app, scale)) = app.and_then(|app| Some((app, app.scale?))) else { return false };
    of(status, app, |_| true) < scale.max
}

/// How many instances of an app there are that are so.
fn of(status: &Status, app: &App, is_so: impl Fn(Option<Step>) -> bool) -> u32 {
    let is_own = |name: &str| name.parse::<InstanceName>().is_ok_and(|it| it.app() == app.name);
    let own = status.instances.iter().filter(|instance| is_own(&instance.name));
    let own = own.filter(|instance| is_so(instance.record.as_ref().and_then(|record| record.step())));
    u32::try_from(own.count()).unwrap_or(u32::MAX)
}

impl One {
    /// What it says to that: only a hold stands in the way.
    pub(super) async fn ask_to_leave(&self) -> Asked {
        let status = match client::status(&self.context.layout).await {
            Ok(status) => status,
            Err(failure) => return Asked::Row(self.stays(&failure.code, &failure.why)),
        };
        let own = status.instances.iter().find(|it| it.name == self.instance);
        let step = own.and_then(|it| it.record.as_ref()).and_then(Record::step);
        if own.is_none() || matches!(step, Some(Step::Draining | Step::Leaving)) {
            return Asked::Row(self.stays("busy", "it is leaving already"));
        }
        let holds = |op| matches!(op, HeldOp::Drain | HeldOp::Move);
        let held = status.holds.iter().find(|hold| hold.instance == self.instance && holds(hold.op));
        match held {
            None => Asked::Goes(None),
            Some(hold) => {
                let left = crate::figures::millis(hold.remaining_ms);
                let why = format!("it holds on to its place for {left}: {}", hold.reason);
                Asked::Held(self.stays("held", &why), hold.remaining_ms)
            }
        }
    }

    /// Has another one started in its place, and waits until it has left.
    pub(super) async fn be_replaced(&self) -> Result<Row, Failure> {
        let (layout, instance, began) = (&self.context.layout, &self.instance, Instant::now());
        let status = client::status(layout).await?;
        let cloud = self.context.cloud()?;
        let Some(app) = cloud.app_of(instance) else {
            return Ok(self.stays("unknown_instance", "it is in the manifest no more"));
        };
        let count = of(&status, app, |step| !matches!(step, Some(Step::Draining | Step::Leaving)));
        let request = Request::Replace { instance: instance.clone(), count };
        let mut conversation = Conversation::open(layout, &request).await?;
        let _moves = super::Moves::begin(instance, &self.moving);
        let mut by = None;
        loop {
            match conversation.hear_while_it_lives(layout).await.map_err(|cut| cut.failure(layout))? {
                Reply::Scaled(scaled) => by = scaled.starts.into_iter().next(),
                Reply::Event(_) => {}
                Reply::Outcome(outcome) if outcome.committed => {
                    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                    let row = self.stays("", "").going(None);
                    return Ok(row.replaced(by.as_ref(), took_ms));
                }
                Reply::Outcome(outcome) => {
                    let cause = outcome.cause.as_deref().unwrap_or("it was called back");
                    let why = format!("it does not leave: {cause}");
                    return Err(Failure::new(Exit::Failed, "called_back", instance, why, ""));
                }
                Reply::Refused(refused) => return Err(client::refusal(&refused, instance)),
                other @ (Reply::Done
                | Reply::Begun(_)
                | Reply::Status(_)
                | Reply::Answered(_)
                | Reply::Explained(_)
                | Reply::Previewed { .. }) => return Err(client::unexpected(layout, &other)),
            }
        }
    }
}
