//! What was decided is done. Each action is one word to an instance, and its answer is what became of it: whatever takes
//! longer is an operation with events of its own.

use super::quotes::Quotes;
use crate::control::Control;
use crate::instance::Rejected;
use crate::orders::{Answer, By, Terms};
use crate::person::rejection;
use crate::sizes;
use paci::upcall::Reason;
use paracloud_core::ids::{InstanceNumber, OperationNumber};
use paracloud_core::register::Size;
use paracloud_core::scaling::record::{Action, Cut, Record, Rule};
use paracloud_substrate::config::{App, State};
use paracloud_substrate::decision::Done;
use paracloud_substrate::figures::counted;
use paracloud_substrate::names::InstanceName;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long one action may take until it is begun or refused, in milliseconds.
const ACT_MS_MAX: u64 = 10_000;

/// Nobody consented to losing what an instance holds that leaves, and its manifest says how long that may take.
const LEAVES: Terms = Terms { budget_ms: None, loss_accepted: false };

/// Carries a plan out, and says what became of each of its actions. Questions are asked, and late answers heard, meanwhile and
/// later.
pub(super) async fn carry_out(
    control: &Arc<Control>,
    app: &App,
    record: &Record,
    (quotes, asking): (&Arc<Quotes>, &mut JoinSet<()>),
) -> Vec<Done> {
    let decided_ms = record.observation.now_ms;
    let mut all = Vec::new();
    for action in &record.plan.actions {
        let name = |number: InstanceNumber| {
            InstanceName::numbered(&app.name, number.0).map(|name| name.to_string()).unwrap_or_default()
        };
        let why = |what: &str| format!("scaling: {what}: {}", because(record));
        let (instance, did) = match action {
            Action::AskQuotes(of) => {
                for number in of {
                    let budget_ms = record.policy.quotes.wait_ms;
                    let asked =
                        Arc::clone(quotes).ask(Arc::clone(control), *number, name(*number), budget_ms);
                    asking.spawn(asked);
                }
                continue;
            }
            Action::Start(count) => {
                let of = (record.reasons.count, record.reasons.planned);
                let by = By {
                    reason: Reason::ScaleOut,
                    why: why(&format!("{} {}, not {}", app.name, counted(of.1.into(), "instance"), of.0)),
                };
                for _ in 0..*count {
                    let (instance, did) = match within(control.start_instance(app, &by)).await {
                        Ok((instance, _)) => (instance, Ok(None)),
                        Err(rejected) => (app.name.clone(), Err(rejected)),
                    };
                    all.push(done(control, decided_ms, &Action::Start(1), instance, did));
                }
                continue;
            }
            Action::Leave(number) => {
                let by = By { reason: Reason::ScaleIn, why: why("one fewer") };
                let instance = name(*number);
                let holds = record.observation.instances.get(number).is_some_and(|it| it.may_hold_state());
                let loss_accepted = is_lost(record.policy.accepts_loss, app.state, holds);
                let handing = control.hand_leave(&instance, Terms { loss_accepted, ..LEAVES }, &by);
                let (late, app, of) = (Arc::clone(control), app.name.clone(), instance.clone());
                let action = action.clone();
                let noted = move |leave| {
                    late.scaling.lets_go(&of, leave);
                    let (instance, operation) = (Some(of), Some(leave));
                    late.scaling
                        .keeper
                        .done(&app, Done { decided_ms, action, instance, operation, refused: None });
                };
                let did = followed(handing, asking, noted).await;
                if let Ok(leave) = did {
                    control.scaling.lets_go(&instance, leave);
                }
                (instance, did.map(Some))
            }
            Action::Revoke(number) => {
                let by = By { reason: Reason::ScaleOut, why: why("called back") };
                let instance = name(*number);
                // Another leave may have been opened since it was decided: by whoever, it is not about that one.
                let own =
                    control.leaving(&instance).filter(|(leave, _)| control.scaling.let_go(&instance, *leave));
                let did = match own {
                    Some((operation, _)) => within(control.revoke(&instance, operation, &by)).await.map(Some),
                    None => Err(Rejected::Over),
                };
                if did.is_ok() {
                    control.scaling.called_back(&instance);
                }
                (instance, did)
            }
            Action::Resize { instance: number, cpu_m } => {
                let instance = name(*number);
                let grows = record.observation.instances.get(number).and_then(|it| it.cpu_m) < Some(*cpu_m);
                let reason = if grows { Reason::ScaleOut } else { Reason::ScaleIn };
                let by = By { reason, why: why("another size") };
                let to = Size { cpu_milli: Some(*cpu_m), ..size(control, app, &instance) };
                let owner =
                    control.views.of(&instance).and_then(|view| view.record).map(|record| record.owner);
                let did = within(control.resize(&instance, to, &by)).await;
                let sizes = &control.scaling.sizes;
                match (&did, owner) {
                    (Ok(operation), Some(owner)) => sizes.begun(&instance, owner.start, *operation),
                    (Err(_), Some(owner)) => sizes.refused(&instance, owner.start),
                    (_, None) => {}
                }
                (instance, did.map(Some))
            }
        };
        all.push(done(control, decided_ms, action, instance, did));
    }
    all
}

/// Whether it is said of one that leaves that its state is lost: a person consented to that in the manifest, and there may be
/// some.
fn is_lost(is_accepted: bool, state: State, may_hold_state: bool) -> bool {
    is_accepted && state == State::Stateful && may_hold_state
}

async fn within<T>(acts: impl Future<Output = Result<T, Rejected>>) -> Result<T, Rejected> {
    in_time(acts).await.unwrap_or_else(|| Err(late()))
}

async fn in_time<T>(acts: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(ACT_MS_MAX), Box::pin(acts)).await.ok()
}

fn late() -> Rejected {
    Rejected::Undecided("it did not take the command in time: it may still be carried out".to_owned())
}

/// Hears what an instance answers to an order. One that it was handed and does not answer in time is followed: what it opens
/// is noted when it says so.
async fn followed(
    handing: impl Future<Output = Result<Answer, Rejected>>,
    following: &mut JoinSet<()>,
    noted: impl FnOnce(OperationNumber) + Send + 'static,
) -> Result<OperationNumber, Rejected> {
    let mut handed = None;
    let heard = in_time(async { handed.insert(handing.await?).heard().await });
    if let Some(did) = heard.await {
        return did;
    }
    if let Some(mut answer) = handed {
        following.spawn(async move {
            if let Ok(operation) = answer.heard().await {
                noted(operation);
            }
        });
    }
    Err(late())
}

fn done(
    control: &Control,
    decided_ms: u64,
    action: &Action,
    instance: String,
    did: Result<Option<OperationNumber>, Rejected>,
) -> Done {
    let action = action.clone();
    match did {
        Ok(operation) => Done { decided_ms, action, instance: Some(instance), operation, refused: None },
        Err(rejected) => {
            let why = rejection(control, &instance, rejected).message;
            tracing::warn!(instance, why, ?action, "what was decided is not done");
            Done { decided_ms, action, instance: None, operation: None, refused: Some(why) }
        }
    }
}

/// The size that an instance has.
fn size(control: &Control, app: &App, instance: &str) -> Size {
    let record = control.views.of(instance).and_then(|view| view.record);
    record.and_then(|record| record.size).unwrap_or_else(|| sizes::registered(app.resources.start))
}

/// Why it was decided, in a few words.
fn because(record: &Record) -> &'static str {
    if record.reasons.cuts.iter().any(|cut| matches!(cut, Cut::Retiring(_))) {
        return "another one comes in the place of one that asked to go";
    }
    match record.reasons.rule {
        Rule::Manual => "a person set the number",
        Rule::Load => "enough for the requests that come",
        Rule::Queue => "enough to work off what waits",
        Rule::Waiting => "requests wait, and nobody knows yet what an instance can do",
        Rule::Announced => "enough for what is announced, as far as it is believed",
        Rule::Asked => "the app asked for more",
        Rule::Idle => "nothing comes",
        Rule::Fixed => "the size follows the load",
        Rule::Unusable | Rule::Blind | Rule::Unknown | Rule::Unsaturated => "within its bounds",
    }
}

#[cfg(test)]
mod tests;
