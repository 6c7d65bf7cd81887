//! One instance in the place of another: the new one is started first, and the old one leaves when it serves. So there are never
//! fewer that serve, for the price of one more for a while.

use crate::control::{Control, locked};
use crate::decided::Decided;
use crate::ended::outcome;
use crate::orders::{By, Terms};
use crate::person::{refused, rejection, unknown_instance};
use paci::upcall::Reason;
use paracloud_core::ids::{OperationNumber, Placement, Revision, StartId};
use paracloud_substrate::config::App;
use paracloud_substrate::figures::millis;
use paracloud_substrate::person::{Refused, Starting};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// What was begun was given up for something that passes.
pub(crate) const GIVEN_UP: &str = "given_up";
/// One whose processes end before they serve is given up after so many.
const ENDED_MAX: u32 = 3;
/// It is looked so often whether a new instance serves, in milliseconds.
const LOOK_AGAIN_MS: u64 = 50;

/// Starts an instance of what an app is by now in the place of `instance`, and lets that one leave: who was started, and the leave.
/// Where there are more than `count` already, nobody is started: an earlier try was cut off in between.
async fn replace(
    control: &Arc<Control>,
    instance: &str,
    count: usize,
    order: Option<&Decided>,
) -> Result<(Option<Starting>, OperationNumber), Refused> {
    let cloud = control.cloud();
    let app = cloud.app_of(instance).filter(|_| control.fleet.has(instance));
    let Some(app) = app else { return Err(unknown_instance(control, instance)) };
    // Nobody else changes their number meanwhile.
    let _turn = control.scaling.turns.take(&app.name).await;
    let staying = control.staying(&app.name);
    let why = format!("revision {} of {} in the place of {instance}", app.revision, app.name);
    let by = By { reason: Reason::Person, why };
    let started = if staying.len() <= count {
        let started = control.start_instance(app, &by).await;
        let (instance, node) = started.map_err(|rejected| rejection(control, instance, rejected))?;
        order.iter().for_each(|order| order.opened(control, &instance, None));
        Some(Starting { instance, node })
    } else {
        None
    };
    let comes = started.as_ref().map(|it| it.instance.clone());
    // Who was started by the try before may not serve yet.
    if let Some(name) = comes.or_else(|| coming(control, app, &staying, instance)) {
        serving(control, app, &name, &by).await?;
        if started.is_some() {
            same_size(control, instance, &name, &by).await;
        }
    }
    let start = owner(control, instance).map(|leaver| leaver.start);
    let substitute = started.as_ref().map(|it| it.instance.clone());
    let why = match &substitute {
        Some(substitute) => format!("{substitute} serves in its place"),
        None => format!("there is one more of {} than it takes, in its place", app.name),
    };
    let by = By { why, ..by };
    // Whoever calls it back from now on wants no more instances than there were.
    control.substitutes.begin(instance);
    let retired = control.retire(instance, Terms::default(), &by).await;
    match (&retired, substitute) {
        (Ok(operation), substitute) => {
            order.iter().for_each(|order| order.opened(control, instance, Some(*operation)));
            let leaver = (instance.to_owned(), start);
            tokio::spawn(settle(Arc::clone(control), leaver, *operation, substitute));
        }
        (Err(_), substitute) => {
            control.substitutes.end(instance);
            if let Some(substitute) = substitute {
                take_away(control, instance, &substitute).await;
            }
        }
    }
    let operation = retired.map_err(|rejected| rejection(control, instance, rejected))?;
    Ok((started, operation))
}

/// One of what the app is by now that does not serve yet, other than `instance`.
fn coming(control: &Control, app: &App, staying: &[String], instance: &str) -> Option<String> {
    let comes = |name: &&String| {
        let record = control.views.of(name).and_then(|view| view.record);
        record.is_none_or(|it| it.served.is_none() && it.owner.revision == Revision(app.revision))
    };
    staying.iter().filter(|name| *name != instance).find(comes).cloned()
}

/// One left, and another one serves.
#[derive(Debug)]
pub(crate) struct Replaced {
    /// The one that was started; `None`: there was one more already.
    pub(crate) by: Option<Starting>,
    /// How long that took, in milliseconds.
    pub(crate) took_ms: u64,
}

/// The same, until it has left. `count`: so many there are to be; `None`: as many as there are. `order`: by which it is done, if
/// that was kept.
pub(crate) async fn to_its_end(
    control: &Arc<Control>,
    instance: &str,
    count: Option<usize>,
    order: Option<&Decided>,
) -> Result<Replaced, Refused> {
    let (heard, began) = (control.heard.subscribe(), Instant::now());
    let cloud = control.cloud();
    let Some(app) = cloud.app_of(instance) else {
        let message = format!("{instance}: it is in the manifest no more");
        return Err(refused("unknown_instance", message, "look at paracloud ps"));
    };
    let count = count.unwrap_or_else(|| control.staying(&app.name).len());
    let (by, operation) = Box::pin(replace(control, instance, count, order)).await?;
    let outcome = outcome(control, heard, instance, operation).await?;
    if outcome.committed {
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        return Ok(Replaced { by, took_ms });
    }
    let cause = outcome.cause.as_deref().unwrap_or("it was called back");
    let message = format!("{instance}: it does not leave: {cause}");
    let code = if outcome.may_pass { GIVEN_UP } else { "called_back" };
    Err(refused(code, message, "look at paracloud events"))
}

/// Instances that leave because others came in their place, until that is over. There are never more than instances.
#[derive(Debug, Default)]
pub(crate) struct Substitutes(Mutex<BTreeSet<String>>);

impl Substitutes {
    fn begin(&self, instance: &str) {
        locked(&self.0).insert(instance.to_owned());
    }

    fn end(&self, instance: &str) {
        locked(&self.0).remove(instance);
    }

    /// Whether an instance leaves because another one came in its place.
    pub(crate) fn is_replaced(&self, instance: &str) -> bool {
        locked(&self.0).contains(instance)
    }
}

/// Waits until a leave has ended. If who was to leave stays, nobody needs the one that came in its place.
/// Its name is used again soon, and then another process has it.
async fn settle(
    control: Arc<Control>,
    (instance, start): (String, Option<StartId>),
    operation: OperationNumber,
    substitute: Option<String>,
) {
    let stays = loop {
        // The controller ends: whoever asks again finds one more, and starts none.
        let Some(inbox) = control.fleet.inbox(&instance).filter(|inbox| !inbox.is_closed()) else { return };
        drop(inbox);
        let record = control.views.of(&instance).and_then(|view| view.record);
        match record {
            Some(record) if record.last_operation == operation && record.operation.is_some() => {}
            Some(record) if record.last_operation >= operation => {
                break !record.gone && Some(record.owner.start) == start;
            }
            Some(_) | None => {}
        }
        tokio::time::sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
    };
    control.substitutes.end(&instance);
    if let Some(substitute) = substitute.filter(|_| stays) {
        take_away(&control, &instance, &substitute).await;
    }
}

/// Ends an instance that was started in the place of one that stays.
async fn take_away(control: &Control, instance: &str, substitute: &str) {
    let why = format!("{instance} stays, in whose place it was started");
    let by = By { reason: Reason::ScaleIn, why: why.clone() };
    if let Err(rejected) = control.retire(substitute, Terms::default(), &by).await {
        let refused = rejection(control, substitute, rejected).message;
        control.keep_remark(substitute, None, format!("{why}, and it cannot leave: {refused}")).await;
    }
}

fn owner(control: &Control, instance: &str) -> Option<Placement> {
    control.views.of(instance).and_then(|view| view.record).map(|record| record.owner)
}

/// What comes in the place of one that was given another size gets that too. Where it does not, it serves all the same.
async fn same_size(control: &Control, instance: &str, substitute: &str, by: &By) {
    let size = |name: &str| control.views.of(name)?.record?.size;
    let Some(to) = size(instance).filter(|to| size(substitute) != Some(*to)) else { return };
    let heard = control.heard.subscribe();
    let why = match control.resize(substitute, to, by).await {
        Err(rejected) => Some(rejection(control, substitute, rejected).message),
        Ok(operation) => match outcome(control, heard, substitute, operation).await {
            Err(refused) => Some(refused.message),
            Ok(ended) if ended.committed => None,
            Ok(ended) => Some(ended.cause.unwrap_or_else(|| "it was given up".to_owned())),
        },
    };
    if let Some(why) = why {
        let what = format!("it does not have the size of {instance}, in whose place it came: {why}");
        control.keep_remark(substitute, None, what).await;
    }
}

/// Waits until a new instance serves. One that does not is taken away again.
async fn serving(control: &Control, app: &App, name: &str, by: &By) -> Result<(), Refused> {
    let bound_ms = app.budgets.prepare_ms.saturating_add(app.budgets.switch_ms);
    let until = Instant::now() + Duration::from_millis(bound_ms.into());
    let mut first = None;
    loop {
        let record = control.views.of(name).and_then(|view| view.record).filter(|record| !record.gone);
        if record.as_ref().is_some_and(|record| record.served.is_some()) {
            return Ok(());
        }
        let incarnation = record.as_ref().map(|record| record.incarnation.0);
        first = first.or(incarnation);
        let ended = incarnation.zip(first).map_or(0, |(now, first)| now.saturating_sub(first));
        if ended >= ENDED_MAX || Instant::now() >= until {
            let unready = record.and_then(|record| control.why_unready(name, &record));
            let why = unready.map_or_else(String::new, |it| format!(": {}: {}", it.asked, it.answered));
            if let Err(rejected) = control.retire(name, Terms::default(), by).await {
                tracing::warn!(instance = name, ?rejected, "an instance that does not come up stays");
            }
            let within = if ended >= ENDED_MAX {
                String::new()
            } else {
                format!(" within {}", millis(bound_ms.into()))
            };
            let message = format!("{name} did not come up{within}{why}");
            return Err(refused("not_serving", message, format!("look at `paracloud logs {name}`")));
        }
        tokio::time::sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
    }
}
