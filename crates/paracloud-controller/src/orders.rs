//! One instance fewer, that one after all, one more, another size: what people and whoever else decides the number of an
//! app's instances ask of an instance. Each is an operation like a move, with its events and its outcome.

use crate::control::Control;
use crate::fleet::{Added, Full};
use crate::instance::{Rejected, Told};
use crate::marks::Mark;
use paci::upcall::Reason;
use paracloud_core::ids::{NodeId, OperationNumber, Revision};
use paracloud_core::migration::coordinator::Command;
use paracloud_core::register::{Operation, Size, Step};
use paracloud_substrate::config::App;
use tokio::sync::{OwnedMutexGuard, oneshot};

/// A command for one instance.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) command: Command,
    /// A person consents with it to losing the state.
    pub(crate) loss_accepted: bool,
    /// What the application is told that it is for.
    pub(crate) reason: Reason,
    /// Who wants it, and why: kept with the operation. Who gives one up says with it why.
    pub(crate) why: Option<String>,
    /// It is about this operation: if another one is open, it is about nothing.
    pub(crate) only: Option<OperationNumber>,
    /// A leave or a change of size is given up after so long, in milliseconds, if the manifest does not give it up before.
    pub(crate) budget_ms: Option<u32>,
}

impl Order {
    /// A person's.
    pub(crate) fn of_person(command: Command) -> Self {
        Self { command, loss_accepted: false, reason: Reason::Person, why: None, only: None, budget_ms: None }
    }
}

/// Who wants something, and why.
#[derive(Debug, Clone)]
pub(crate) struct By {
    /// What the application is told.
    pub(crate) reason: Reason,
    /// What the journal is told, in a sentence.
    pub(crate) why: String,
}

impl By {
    fn orders(&self, command: Command) -> Order {
        Order { reason: self.reason, why: Some(self.why.clone()), ..Order::of_person(command) }
    }

    /// Gives up this operation, and none that was opened since.
    fn calls_back(&self, operation: OperationNumber) -> Order {
        Order { only: Some(operation), ..self.orders(Command::Cancel) }
    }
}

/// How an instance is to go.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Terms {
    /// It is called back after so long, in milliseconds; `None` or more than the manifest says: as the manifest says.
    pub(crate) budget_ms: Option<u32>,
    /// Somebody consented to losing what it holds.
    pub(crate) loss_accepted: bool,
}

/// What an instance will answer to an order that it was handed. It carries it out whether that is heard or not.
pub(crate) struct Answer(oneshot::Receiver<Result<OperationNumber, Rejected>>);

impl Answer {
    /// The number of the operation that was opened, or given up.
    pub(crate) async fn heard(&mut self) -> Result<OperationNumber, Rejected> {
        (&mut self.0).await.unwrap_or(Err(Rejected::Ending))
    }

    /// An answer, and who gives it and holds this until then.
    pub(crate) fn awaited(held: Option<Held>) -> (Answering, Self) {
        let (sender, receiver) = oneshot::channel();
        (Answering { sender, held }, Self(receiver))
    }
}

/// What an instance answers an order with. What stands until it has answered stands whether anybody still listens or not.
#[derive(Debug)]
pub(crate) struct Answering {
    sender: oneshot::Sender<Result<OperationNumber, Rejected>>,
    held: Option<Held>,
}

/// What stands for as long as an order is not answered.
#[derive(Debug)]
pub(crate) enum Held {
    /// Its name is given to nobody else.
    Start { _name: Mark },
    /// It counts as one that leaves, and nobody else of its app is told to.
    Leave { _turn: OwnedMutexGuard<()>, _leaves: Mark },
}

impl Answering {
    /// It is carried out, or refused, and shown.
    pub(crate) fn give(self, answered: Result<OperationNumber, Rejected>) {
        drop(self.held);
        let _ = self.sender.send(answered);
    }
}

impl Control {
    /// Hands an order to its instance: the number of the operation that it opened, or gave up.
    pub(crate) async fn order(&self, instance: &str, order: Order) -> Result<OperationNumber, Rejected> {
        self.hand(instance, order, None).await?.heard().await
    }

    /// Hands an order to its instance.
    async fn hand(&self, instance: &str, order: Order, held: Option<Held>) -> Result<Answer, Rejected> {
        if !self.fleet.has(instance) {
            return Err(Rejected::Unknown);
        }
        let (answering, answer) = Answer::awaited(held);
        self.tell(instance, Told::Command(order, answering)).await;
        Ok(answer)
    }

    /// Takes an instance away from its app: it is drained and ended, unless it is called back before. Its app keeps as many
    /// as its manifest says that it has at least.
    pub(crate) async fn retire(
        &self,
        instance: &str,
        terms: Terms,
        by: &By,
    ) -> Result<OperationNumber, Rejected> {
        self.hand_leave(instance, terms, by).await?.heard().await
    }

    /// Tells an instance to leave, as [`Self::retire`]. Until it has answered, whether that is heard or not, it is none of those
    /// that stay, and nobody else of its app is told to leave.
    pub(crate) async fn hand_leave(&self, instance: &str, terms: Terms, by: &By) -> Result<Answer, Rejected> {
        let cloud = self.cloud();
        let app = cloud.app_of(instance).ok_or(Rejected::Unknown)?;
        let least = app.scale.ok_or(Rejected::Full(Full::NotScaled))?.min;
        let turn = self.retiring.take(&app.name).await;
        keeps(least, &self.staying(&app.name), instance)?;
        let Terms { budget_ms, loss_accepted } = terms;
        let order = Order { budget_ms, loss_accepted, ..by.orders(Command::Leave) };
        let held = Held::Leave { _turn: turn, _leaves: self.told_to_leave.set(instance) };
        self.hand(instance, order, Some(held)).await
    }

    /// Calls an instance back that is to leave. After its end was decided that is refused.
    pub(crate) async fn revoke(
        &self,
        instance: &str,
        operation: OperationNumber,
        by: &By,
    ) -> Result<OperationNumber, Rejected> {
        self.order(instance, by.calls_back(operation)).await
    }

    /// Gives an instance another size.
    pub(crate) async fn resize(
        &self,
        instance: &str,
        to: Size,
        by: &By,
    ) -> Result<OperationNumber, Rejected> {
        self.order(instance, by.orders(Command::Resize(to))).await
    }

    /// Adds an instance to an app, and says its name and its node. One of a name that was never used is started as soon as
    /// it is known that nobody knows of it: every node was heard, or declared lost.
    pub(crate) async fn start_instance(&self, app: &App, by: &By) -> Result<(String, NodeId), Rejected> {
        self.start_instance_on(app, &self.nodes_there(), by).await
    }

    /// The same, on one of these nodes.
    pub(crate) async fn start_instance_on(
        &self,
        app: &App,
        nodes: &[NodeId],
        by: &By,
    ) -> Result<(String, NodeId), Rejected> {
        // Kept before anybody hears of it. Who was there before has a record that says it.
        let planned = self.fleet.plan(app, 1, nodes, &self.owners()).map_err(Rejected::Full)?;
        let planned = planned.into_iter().find(|(name, _)| !self.fleet.has(name));
        if let Some((name, node)) = &planned {
            self.ordered.put(name, *node, &by.why);
        }
        let added = self.fleet.add(app, nodes, &self.owners());
        let comes = |planned: &str| added.as_ref().is_ok_and(|added| added.name == planned);
        if let Some((name, _)) = planned.filter(|(name, _)| !comes(name)) {
            self.ordered.done(&name);
        }
        let Added { name, node, anew } = added.map_err(Rejected::Full)?;
        if let Some(mark) = anew {
            let revision = Revision(app.revision);
            let order = by.orders(Command::Start { to: node, revision });
            self.hand(&name, order, Some(Held::Start { _name: mark })).await?.heard().await?;
        }
        Ok((name, node))
    }

    /// Whether an instance is one of this app.
    pub(crate) fn is_of(&self, instance: &str, app: &str) -> bool {
        self.cloud().app_of(instance).is_some_and(|it| it.name == app)
    }

    /// Whether an instance is on its way out. Who is told to leave is that before it has answered, and who is being replaced as
    /// soon as another one is on its way in.
    pub(crate) fn is_going(&self, instance: &str) -> bool {
        // In this order: it is told to until it has shown that it leaves.
        self.is_about_to_leave(instance) || self.leaving(instance).is_some()
    }

    /// Whether that is so though no leave of it is open yet.
    pub(crate) fn is_about_to_leave(&self, instance: &str) -> bool {
        self.told_to_leave.has(instance) || self.is_replaced(instance)
    }

    /// Instances of an app that are there and not on their way out, by their names.
    pub(crate) fn staying(&self, app: &str) -> Vec<String> {
        let mut names = self.fleet.there();
        names.retain(|name| self.is_of(name, app) && !self.is_going(name));
        names
    }

    /// The leave of an instance, if one is open, and whether it can still be called back.
    pub(crate) fn leaving(&self, instance: &str) -> Option<(OperationNumber, bool)> {
        let record = self.views.of(instance)?.record?;
        match (&record.operation, record.step()) {
            (Some(Operation::Leave(_)), Some(Step::Draining)) => Some((record.last_operation, true)),
            (Some(Operation::Leave(_)), Some(Step::Leaving)) => Some((record.last_operation, false)),
            _ => None,
        }
    }
}

/// Whether an app has its fewest still when this one of those that stay goes. Who goes already is none of them.
fn keeps(least: u32, stays: &[String], instance: &str) -> Result<(), Rejected> {
    let is_one = stays.iter().any(|name| name == instance);
    if is_one && stays.len() <= least as usize { Err(Rejected::Fewest(least)) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
