//! One instance in the place of another: the new one is started first, and the old one leaves when it serves. So there are never
//! fewer that serve, for the price of one more for a while.

use crate::control::Control;
use crate::orders::{By, Terms};
use crate::person::{refused, rejection, unknown_instance};
use paci::upcall::Reason;
use paracloud_core::ids::{NodeId, OperationNumber};
use paracloud_substrate::config::App;
use paracloud_substrate::figures::millis;
use paracloud_substrate::person::{Leaving, Refused, Scaled, Starting};
use std::time::Duration;
use tokio::time::Instant;

/// It is looked so often whether a new instance serves, in milliseconds.
const LOOK_AGAIN_MS: u64 = 50;

/// Starts an instance of what an app is by now in the place of `instance`, and lets that one leave. Where there are more than
/// `count` already, nobody is started: an earlier try was cut off in between.
pub(crate) async fn replace(control: &Control, instance: &str, count: usize) -> Result<Scaled, Refused> {
    let cloud = control.cloud();
    let app = cloud.app_of(instance).filter(|_| control.fleet.has(instance));
    let Some(app) = app else { return Err(unknown_instance(control, instance)) };
    // Nobody else changes their number meanwhile.
    let _turn = control.scaling.turn(&app.name).await;
    let staying = control.staying(&app.name);
    let why = format!("revision {} of {} in the place of {instance}", app.revision, app.name);
    let by = By { reason: Reason::Person, why };
    let mut starts = Vec::new();
    if staying.len() <= count {
        let started = control.start_instance(app, &by).await;
        let (name, node) = started.map_err(|rejected| rejection(control, instance, rejected))?;
        serving(control, app, &name, &by).await?;
        starts.push(Starting { instance: name, node });
    }
    let node = owner(control, instance);
    let operation = control.retire(instance, Terms::default(), &by).await;
    let operation = operation.map_err(|rejected| rejection(control, instance, rejected))?;
    let of = u32::try_from(staying.len()).unwrap_or(u32::MAX);
    Ok(Scaled {
        app: app.name.clone(),
        from: of,
        to: of,
        starts,
        called_back: Vec::new(),
        leaves: vec![leaving(instance, node, operation)],
        looked_at: Vec::new(),
        until_unix_ms: None,
    })
}

fn leaving(instance: &str, node: NodeId, operation: OperationNumber) -> Leaving {
    Leaving { instance: instance.to_owned(), node, operation: Some(operation), drain_ms: None }
}

fn owner(control: &Control, instance: &str) -> NodeId {
    let record = control.views.of(instance).and_then(|view| view.record);
    record.map(|record| record.owner.node).unwrap_or_default()
}

/// Waits until a new instance serves. One that does not is taken away again.
async fn serving(control: &Control, app: &App, name: &str, by: &By) -> Result<(), Refused> {
    let bound_ms = app.budgets.prepare_ms.saturating_add(app.budgets.switch_ms);
    let until = Instant::now() + Duration::from_millis(bound_ms.into());
    loop {
        let record = control.views.of(name).and_then(|view| view.record);
        if record.as_ref().is_some_and(|record| record.served.is_some()) {
            return Ok(());
        }
        if Instant::now() >= until {
            let unready = record.and_then(|record| control.why_unready(name, &record));
            let why = unready.map_or_else(String::new, |it| format!(": {}: {}", it.asked, it.answered));
            if let Err(rejected) = control.retire(name, Terms::default(), by).await {
                tracing::warn!(instance = name, ?rejected, "an instance that does not come up stays");
            }
            let message = format!("{name} did not come up within {}{why}", millis(bound_ms.into()));
            return Err(refused("not_serving", message, format!("look at `paracloud logs {name}`")));
        }
        tokio::time::sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
    }
}
