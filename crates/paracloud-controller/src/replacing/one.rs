//! The steps of one replacement.

use super::{CALLED_BACK, GIVEN_UP, NO_ROOM, RESTARTS, Step, no_space, serving};
use crate::control::Control;
use crate::decided::Decided;
use crate::ended::outcome;
use crate::fleet::Full;
use crate::instance::Rejected;
use crate::journal::Heard;
use crate::orders::{By, Terms};
use crate::person::{refused, rejection, unknown_instance};
use paci::upcall::Reason;
use paracloud_core::ids::{OperationNumber, Placement};
use paracloud_core::register::{Operation, Record};
use paracloud_substrate::config::App;
use paracloud_substrate::person::{Outcome, Refused, Starting};
use tokio::sync::{OwnedMutexGuard, broadcast};

/// One that is under way.
pub(super) struct Work<'a> {
    pub(super) control: &'a Control,
    /// Who is to leave.
    pub(super) instance: &'a str,
    pub(super) order: Option<&'a Decided>,
}

/// Operations that ended, from before one was begun on.
type Ends = broadcast::Receiver<Heard>;

/// Who was to leave …
enum Left {
    /// … has left.
    So,
    /// … stays.
    Not(Refused),
    /// … was never told to.
    Untold,
}

impl Work<'_> {
    /// From this step on to its end: who serves in its place.
    pub(super) async fn go(&self, kept: Step) -> Result<Starting, Refused> {
        let mut step = kept;
        if matches!(&step, Step::Comes(substitute) if !self.is_there(substitute)) {
            // It was not begun, or has left again.
            step = Step::Begun;
        }
        loop {
            step = match step {
                Step::Begun => Step::Comes(self.starts().await?),
                Step::Comes(substitute) => {
                    let left = match self.leaves(&substitute).await {
                        Ok((ends, leave)) => self.ended(ends, leave).await,
                        Err(why) => Left::Not(why),
                    };
                    match left {
                        // Whose end was missed was told all the same.
                        Left::So | Left::Untold => return Ok(substitute),
                        Left::Not(why) => return Err(self.returns(substitute, why).await),
                    }
                }
                Step::Leaves { substitute, after } => match self.looked_at(after).await {
                    Left::So => return Ok(substitute),
                    Left::Untold if self.is_there(&substitute) => Step::Comes(substitute),
                    Left::Untold => Step::Begun,
                    Left::Not(why) => return Err(self.returns(substitute, why).await),
                },
                Step::Returns { substitute, at, why } => {
                    let _turn = self.turn().await;
                    self.undo(&substitute, at).await;
                    return Err(why);
                }
                Step::Stays(why) => return Err(why),
            };
        }
    }

    fn is_there(&self, substitute: &Starting) -> bool {
        self.control.fleet.there().contains(&substitute.instance)
    }

    fn last_operation(&self, substitute: &Starting) -> OperationNumber {
        let record = self.control.views.of(&substitute.instance).and_then(|view| view.record);
        record.map(|record| record.last_operation).unwrap_or_default()
    }

    fn keep(&self, step: Step) -> Result<(), Refused> {
        let kept = self.control.replacements.change(&self.instance.to_owned(), |kept| kept.step = step);
        kept.map_err(|error| no_space(self.control, self.instance, &error))
    }

    /// The app has its turn: nobody else changes or counts its instances meanwhile.
    async fn turn(&self) -> OwnedMutexGuard<()> {
        let app = self.control.cloud().app_of(self.instance).map(|app| app.name.clone()).unwrap_or_default();
        self.control.scaling.turns.take(&app).await
    }

    fn by(&self, app: &App) -> By {
        let why = format!("revision {} of {} in the place of {}", app.revision, app.name, self.instance);
        By { reason: Reason::Person, why }
    }

    fn owner(&self) -> Option<Placement> {
        self.control.replacements.terms(&self.instance.to_owned()).map(|kept| kept.owner)
    }

    /// Whether this is the one that is to leave: its process may have been started again since, as what it was.
    fn is_owner(&self, now: Placement) -> bool {
        self.owner().is_some_and(|it| (it.node, it.revision) == (now.node, now.revision))
    }

    fn record(&self) -> Option<Record> {
        self.control.views.of(self.instance).and_then(|view| view.record).filter(|record| !record.gone)
    }

    /// Starts another one.
    async fn starts(&self) -> Result<Starting, Refused> {
        let Self { control, instance, .. } = *self;
        let cloud = control.cloud();
        let app = cloud.app_of(instance).filter(|_| control.fleet.has(instance));
        let Some(app) = app else { return Err(unknown_instance(control, instance)) };
        let _turn = self.turn().await;
        let planned = control.fleet.plan(app, 1, &control.nodes_there(), &control.owners());
        if let Ok(Some((instance, node))) = planned.map(|mut planned| planned.pop()) {
            self.keep(Step::Comes(Starting { instance, node }))?;
        }
        let started = control.start_instance(app, &self.by(app)).await;
        let (name, node) = started.map_err(|rejected| self.not_started(app, rejected))?;
        self.order.iter().for_each(|order| order.opened(control, &name, None));
        Ok(Starting { instance: name, node })
    }

    fn not_started(&self, app: &App, rejected: Rejected) -> Refused {
        let is_full = matches!(rejected, Rejected::Full(Full::Most(_)));
        let why = rejection(self.control, self.instance, rejected);
        let others =
            self.control.fleet.there().into_iter().filter(|name| self.control.is_of(name, &app.name));
        let is_left_soon =
            others.filter(|name| name != self.instance).any(|name| self.control.is_going(&name));
        if is_full && is_left_soon { refused(NO_ROOM, why.message, why.next) } else { why }
    }

    /// Waits until the other one serves, and lets this one leave.
    async fn leaves(&self, substitute: &Starting) -> Result<(Ends, OperationNumber), Refused> {
        let Self { control, instance, .. } = *self;
        let name = &substitute.instance;
        let cloud = control.cloud();
        let Some(app) = cloud.app_of(instance) else {
            let message = format!("{instance}: it is in the manifest no more");
            return Err(refused("unknown_instance", message, "look at paracloud ps"));
        };
        serving::wait(control, app, name).await?;
        serving::same_size(control, instance, name, &self.by(app)).await;
        // Whoever takes one away meanwhile has done so, or sees that this one goes.
        let _turn = self.turn().await;
        control.shown([instance, name].into_iter()).await;
        if !control.staying(&app.name).contains(name) {
            let message = format!("{name} leaves already, which came in the place of {instance}");
            return Err(refused("not_serving", message, format!("look at `paracloud events {name}`")));
        }
        let record = self.record().filter(|record| self.is_owner(record.owner));
        let Some(record) = record else {
            let message = format!("{instance}: it left, or moved, before another one served in its place");
            return Err(refused("departed", message, "look at paracloud events"));
        };
        let ends = control.heard.subscribe();
        let step = Step::Leaves { substitute: substitute.clone(), after: record.last_operation };
        let kept = control.replacements.change(&instance.to_owned(), |kept| {
            (kept.owner, kept.step) = (record.owner, step);
        });
        kept.map_err(|error| no_space(control, instance, &error))?;
        let by = By { why: format!("{name} serves in its place"), ..self.by(app) };
        let leave = control.retire(instance, Terms::default(), &by).await;
        let leave = leave.map_err(|rejected| rejection(control, instance, rejected))?;
        self.order.iter().for_each(|order| order.opened(control, instance, Some(leave)));
        Ok((ends, leave))
    }

    /// Waits until a leave has ended.
    async fn ended(&self, ends: Ends, leave: OperationNumber) -> Left {
        match outcome(self.control, ends, self.instance, leave).await {
            Ok(outcome) => self.left(Some(&outcome)),
            // It was missed.
            Err(_) => Box::pin(self.looked_at(OperationNumber(leave.0.saturating_sub(1)))).await,
        }
    }

    /// What became of the first operation after this one, if there was any, by what is known of the instance.
    async fn looked_at(&self, after: OperationNumber) -> Left {
        let Self { control, instance, .. } = *self;
        let ends = control.heard.subscribe();
        control.shown(std::iter::once(instance)).await;
        let Some(record) = self.record() else { return Left::So };
        match &record.operation {
            Some(Operation::Leave(_)) => self.ended(ends, record.last_operation).await,
            // Its process may be another one all the same, by a crash or because its node was lost.
            Some(_) | None if record.last_operation <= after => Left::Untold,
            // Its name has another bearer.
            Some(_) | None if self.owner().is_some_and(|it| it.start != record.owner.start) => Left::So,
            Some(_) | None => {
                let outcome = control.views.of(instance).and_then(|view| view.outcome);
                self.left(outcome.filter(|outcome| outcome.operation > after).as_ref())
            }
        }
    }

    /// As it ended; none: that it was not done is all that is known.
    fn left(&self, outcome: Option<&Outcome>) -> Left {
        if outcome.is_some_and(|outcome| outcome.committed) {
            return Left::So;
        }
        let cause = outcome.and_then(|outcome| outcome.cause.as_deref()).unwrap_or("it was called back");
        let message = format!("{}: it does not leave: {cause}", self.instance);
        let code = if outcome.is_some_and(|outcome| outcome.may_pass) { GIVEN_UP } else { CALLED_BACK };
        Left::Not(refused(code, message, "look at paracloud events"))
    }

    /// It stays: nobody needs the one that came in its place. Says why.
    async fn returns(&self, substitute: Starting, why: Refused) -> Refused {
        if why.code == RESTARTS {
            return why;
        }
        // Both stay for a moment.
        let _turn = self.turn().await;
        let at = self.last_operation(&substitute);
        let step = Step::Returns { substitute: substitute.clone(), at, why: why.clone() };
        // It is one of those that stay from now on, whether that is kept or not.
        let kept = self.control.replacements.became(&self.instance.to_owned(), |kept| kept.step = step);
        if let Err(error) = kept {
            let name = substitute.instance.as_str();
            tracing::warn!(%error, name, "the next controller may take it for one that comes");
        }
        self.undo(&substitute, at).await;
        why
    }

    /// Takes the one away that came, if it is that one still and the other one is there.
    async fn undo(&self, substitute: &Starting, at: OperationNumber) {
        let Self { control, instance, .. } = *self;
        let is_that = self.is_there(substitute) && self.last_operation(substitute) == at;
        let substitute = substitute.instance.as_str();
        if !is_that || self.record().is_none() || control.leaving(substitute).is_some() {
            return;
        }
        let why = format!("{instance} stays, in whose place it was started");
        let by = By { reason: Reason::ScaleIn, why: why.clone() };
        if let Err(rejected) = control.retire(substitute, Terms::default(), &by).await {
            let refused = rejection(control, substitute, rejected).message;
            control.keep_remark(substitute, None, format!("{why}, and it cannot leave: {refused}")).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kept;
    use super::*;
    use crate::stage::{Stage, drains, serves, worker};
    use paracloud_core::ids::NodeId;
    use paracloud_core::migration::coordinator::Command;
    use paracloud_substrate::config::Scale;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn nobody_leaves_for_one_that_leaves_itself_by_then() {
        let mut stage =
            Stage::of(worker(Scale { min: 1, max: 3, ..Scale::default() }), [serves(1), drains(2)]);
        let control = std::sync::Arc::clone(&stage.control);
        let substitute = Starting { instance: "worker.2".to_owned(), node: NodeId(1) };
        let (owner, step) = (serves(1).owner, Step::Comes(substitute.clone()));
        let kept = Kept { owner, order: None, since_unix_ms: 0, step };
        let _progress = control.replacements.begin("worker.1".to_owned(), kept).unwrap();
        let work = Work { control: &control, instance: "worker.1", order: None };
        let minute = Duration::from_secs(60);
        let leaves = tokio::time::timeout(minute, work.leaves(&substitute)).await;
        let refused = leaves.map(|left| left.map(|(_, leave)| leave).unwrap_err()).unwrap();
        assert_eq!(refused.code, "not_serving", "{refused:?}");
        assert!(refused.message.contains("worker.2 leaves already"), "{refused:?}");
        assert!(stage.handed("worker.1").is_none(), "it is told nothing");
        // One that serves and stays is what it leaves for.
        stage.shows("worker.2", serves(2));
        assert!(tokio::time::timeout(minute, work.leaves(&substitute)).await.is_err(), "nobody answers");
        assert_eq!(stage.handed("worker.1").unwrap().0.command, Command::Leave);
    }
}
