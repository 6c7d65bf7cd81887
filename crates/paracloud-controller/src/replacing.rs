//! One instance in the place of another: the new one is started first, and the old one leaves when it serves. So there are never
//! fewer that serve, for the price of one more for a while. From the start of the new one on the old one is none of those that
//! stay, so that whoever counts them counts right.
//!
//! It is kept and goes on without whoever asked for it, also under the next controller: who asks for it again joins it. If the
//! one that was to leave stays, the one that came in its place leaves again.

mod one;
mod serving;

use crate::control::Control;
use crate::decided::Decided;
use crate::journal::now_unix_ms;
use crate::ongoing::{Ongoing, Taken, there};
use crate::peers::Peer;
use crate::person::{refused, unknown_instance};
use one::Work;
use paracloud_core::ids::{OperationNumber, Placement};
use paracloud_substrate::person::{Outcome, Refused, Starting};
use serde::{Deserialize, Serialize};
pub(crate) use serving::comes_up_ms;
use std::sync::Arc;

/// What was begun was given up for something that passes.
pub(crate) const GIVEN_UP: &str = "given_up";
/// There are as many as there may be, for as long as others of the app leave: nothing was begun.
pub(crate) const NO_ROOM: &str = "no_room";
/// Somebody called back who was to leave.
const CALLED_BACK: &str = "called_back";
/// The controller ends: the next one goes on.
const RESTARTS: &str = "controller_restarts";

/// Replacements, each by the instance that is to leave.
pub(crate) type Replacements = Ongoing<String, Kept, Progress>;

/// What is kept of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The process that is to leave.
    owner: Placement,
    /// The order by which it is, if that was kept.
    order: Option<Decided>,
    /// When that was begun, in milliseconds since 1970.
    since_unix_ms: u64,
    step: Step,
}

/// How far one is. Each is kept before anything of it is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// Nothing was done.
    Begun,
    /// This one is started, and waited for.
    Comes(Starting),
    /// It leaves, by the first operation after this one.
    Leaves { substitute: Starting, after: OperationNumber },
    /// It stays, for this reason: the one that came in its place leaves again, if this is its last operation still.
    Returns { substitute: Starting, at: OperationNumber, why: Refused },
    /// It was called back: nobody tries it again by the same order.
    Stays(Refused),
}

impl Step {
    /// Whether it is on its way out, and another one in its place is on its way in.
    fn is_going(&self) -> bool {
        matches!(self, Self::Comes(_) | Self::Leaves { .. })
    }
}

/// How it ended, once it has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Option<Result<Replaced, Refused>>);

/// One left, and another one serves.
#[derive(Debug, Clone)]
pub(crate) struct Replaced {
    /// The one that was started.
    pub(crate) by: Starting,
    /// How long that took, in milliseconds.
    pub(crate) took_ms: u64,
    /// How the process of the one that left ended while it was drained, if it did.
    pub(crate) died: Option<String>,
}

/// Replaces instances for as long as the controller lives.
pub(crate) async fn run(control: Arc<Control>) {
    control.replacements.run(|taken| Box::pin(replace(Arc::clone(&control), taken))).await;
}

/// Replaces an instance by one of what its app is by now, or joins who does, until that is over. `order`: by which it is done,
/// if that was kept.
pub(crate) async fn to_its_end(
    control: &Control,
    instance: &str,
    order: Option<&Decided>,
) -> Result<Replaced, Refused> {
    let Some(owner) = owner(control, instance) else { return Err(unknown_instance(control, instance)) };
    // Another process of its name may have been called back.
    forget(control, |_| false);
    let kept = Kept { owner, order: order.cloned(), since_unix_ms: now_unix_ms(), step: Step::Begun };
    let begun = control.replacements.begin(instance.to_owned(), kept);
    let mut progress = begun.map_err(|error| no_space(control, instance, &error))?;
    match progress.wait_for(|progress| progress.0.is_some()).await.map(|progress| progress.0.clone()) {
        Ok(Some(ended)) => ended,
        Ok(None) | Err(_) => {
            let message = format!("{instance}: its replacement broke off");
            Err(refused("broken_off", message, "look at paracloud events, and ask again"))
        }
    }
}

/// A new order counts for instances that were called back from the one before.
pub(crate) fn forget(control: &Control, is_meant: impl Fn(&str) -> bool) {
    for instance in control.replacements.going_on() {
        let Some(kept) = control.replacements.terms(&instance) else { continue };
        let is_over = matches!(kept.step, Step::Stays(_));
        let record = control.views.of(&instance).and_then(|view| view.record);
        let is_another = record.is_some_and(|it| it.gone || it.owner.start != kept.owner.start);
        if is_over
            && (is_another || is_meant(&instance))
            && let Err(error) = control.replacements.end(&instance)
        {
            tracing::warn!(%error, instance, "it is kept that it was called back");
        }
    }
}

impl Control {
    /// Whether an instance goes because another one comes in its place.
    pub(crate) fn is_replaced(&self, instance: &str) -> bool {
        self.replacements.terms(&instance.to_owned()).is_some_and(|kept| kept.step.is_going())
    }

    /// Whether that goes on, or it was called back: who asks for it again joins it.
    pub(crate) fn has_replacement(&self, instance: &str) -> bool {
        let kept = self.replacements.terms(&instance.to_owned());
        kept.zip(owner(self, instance)).is_some_and(|(kept, owner)| match kept.step {
            Step::Stays(_) => kept.owner.start == owner.start,
            Step::Begun | Step::Comes(_) | Step::Leaves { .. } | Step::Returns { .. } => true,
        })
    }
}

/// Replaces one.
async fn replace(control: Arc<Control>, taken: Taken<String, Progress>) {
    let instance = &taken.of;
    let Some(kept) = control.replacements.terms_of(&taken) else { return };
    // It is over, and kept until it is ordered again.
    if let Step::Stays(why) = kept.step {
        taken.progress.send_modify(|progress| progress.0 = Some(Err(why)));
        return;
    }
    if taken.was_kept {
        let node = || owner(&control, instance).map(|owner| owner.node);
        there(&control, || node().is_none_or(|node| control.peers.is_there(Peer::Agent(node)))).await;
    }
    let work = Work { control: &control, instance, order: kept.order.as_ref() };
    let ended = work.go(kept.step).await;
    match &ended {
        Err(why) if why.code == RESTARTS => std::future::pending().await,
        Err(why) if why.code == CALLED_BACK => {
            let why = why.clone();
            if let Err(error) = control.replacements.became(instance, |kept| kept.step = Step::Stays(why)) {
                tracing::warn!(%error, instance, "the next controller may replace it again");
            }
        }
        Ok(_) | Err(_) => drop(control.replacements.over(&taken, || true)),
    }
    let took_ms = now_unix_ms().saturating_sub(kept.since_unix_ms);
    let outcome = control.views.of(instance).and_then(|view| view.outcome);
    let died =
        outcome.as_ref().filter(|it| it.because.as_ref().is_some_and(|it| it.is_end_of(kept.owner.start)));
    let died = died.and_then(Outcome::died).map(str::to_owned);
    let ended = ended.map(|by| Replaced { by, took_ms, died });
    taken.progress.send_modify(|progress| progress.0 = Some(ended));
}

/// The process that owns an instance.
fn owner(control: &Control, instance: &str) -> Option<Placement> {
    let record = control.views.of(instance).and_then(|view| view.record).filter(|record| !record.gone);
    record.map(|record| record.owner)
}

/// What could not be kept is not done.
fn no_space(control: &Control, instance: &str, error: &std::io::Error) -> Refused {
    let path = control.layout.replacing();
    let message = format!("{instance} is not replaced: {}: {error}", path.display());
    refused("no_space", message, "free some space on that disk, then ask again")
}
