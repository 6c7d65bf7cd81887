//! One instance comes to what counts.

use super::Progress;
use crate::control::Control;
use crate::decided::Decided;
use crate::ended::outcome;
use crate::moves::{self, To, Wanted};
use crate::person::refused;
use crate::replacing::{self, Replaced};
use paracloud_core::ids::Revision;
use paracloud_core::ordered::{Decision, Update};
use paracloud_core::register::{Mode, Operation, Record};
use paracloud_core::updating::{Standing, Way};
use paracloud_substrate::config::App;
use paracloud_substrate::person::{Outcome, Refused, Reply};
use paracloud_substrate::updating::End;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::Sender;
use tokio::time::Instant;

/// How often it is looked whether there may be one more, in milliseconds.
const LOOK_AGAIN_MS: u64 = 1_000;
/// Another operation of an instance is waited for so long, in milliseconds.
const BUSY_MS_MAX: u64 = 600_000;

/// What came of it.
pub(super) enum Ended {
    /// This.
    So(Box<End>),
    /// Something else was under way. It is to be looked at again.
    Again,
    /// Nothing: its node's agent is away.
    Away(Refused),
}

/// Brings one to what its app is.
pub(super) async fn update(
    control: &Arc<Control>,
    app: &App,
    instance: &str,
    record: &Record,
    progress: &Sender<Progress>,
) -> Ended {
    // A replacement that goes on is joined.
    if record.operation.is_some() && !control.has_replacement(instance) {
        let why = format!("{instance}: another operation of it is open");
        progress.send_if_modified(|it| it.waits.add(instance, why));
        return other(control, instance, record).await;
    }
    match Box::pin(try_update(control, app, instance, progress)).await {
        Ok(end) => so(end),
        // The controller ends, and this with it: the next one goes on.
        Err(why) if why.code == "controller_restarts" => std::future::pending().await,
        Err(why) => looked_at(control, instance, record, why),
    }
}

/// An operation of it is open: one that an earlier controller began for this, or somebody else's.
async fn other(control: &Control, instance: &str, record: &Record) -> Ended {
    let heard = control.heard.subscribe();
    let now = control.views.of(instance).and_then(|view| view.record);
    if now.is_none_or(|now| now.last_operation != record.last_operation || now.operation.is_none()) {
        return Ended::Again;
    }
    let bound = Duration::from_millis(BUSY_MS_MAX);
    let ends = outcome(control, heard, instance, record.last_operation);
    match (tokio::time::timeout(bound, ends).await, &record.operation) {
        (Err(_), _) => {
            let message = format!("{instance}: another operation of it is open, and does not end");
            let next = format!("look at paracloud events {instance}, and apply it again when that is over");
            so(End::Stays(refused("busy", message, next)))
        }
        (Ok(Ok(ended)), Some(Operation::Leave(_))) if ended.committed => so(left()),
        (Ok(Ok(ended)), Some(Operation::Move(_))) if ended.committed && is_new(control, instance, &ended) => {
            so(End::InPlace(ended))
        }
        (Ok(_), _) => Ended::Again,
    }
}

/// Whether a move that was committed was to what counts.
fn is_new(control: &Control, instance: &str, outcome: &Outcome) -> bool {
    let record = control.views.of(instance).and_then(|view| view.record);
    let cloud = control.cloud();
    record.zip(cloud.app_of(instance)).is_some_and(|(record, app)| {
        record.last_operation == outcome.operation && record.owner.revision.0 == app.revision
    })
}

/// That nothing was done may be because it goes, or went, or because something else came first.
fn looked_at(control: &Control, instance: &str, record: &Record, why: Refused) -> Ended {
    let now = control.views.of(instance).and_then(|view| view.record).filter(|now| !now.gone);
    match now {
        None => so(left()),
        Some(now) if now.operation.is_some() && now.last_operation != record.last_operation => Ended::Again,
        // Another process is it by now, or will be, and runs the same.
        Some(now) if now.owner.start != record.owner.start => Ended::Again,
        Some(_) if why.code == "not_serving" && !control.views.serves(instance) => Ended::Again,
        Some(_) if why.code == "node_unreachable" => Ended::Away(why),
        Some(_) => so(End::Stays(why)),
    }
}

fn so(end: End) -> Ended {
    Ended::So(Box::new(end))
}

fn left() -> End {
    End::Left { why: "it has left meanwhile".to_owned() }
}

async fn try_update(
    control: &Arc<Control>,
    app: &App,
    instance: &str,
    progress: &Sender<Progress>,
) -> Result<End, Refused> {
    if control.has_replacement(instance) {
        return replaced(control, instance, None, progress).await;
    }
    let accept_loss = control.updates.terms(&app.name).unwrap_or_default().terms.accept_loss;
    let count = control.staying(&app.name).len();
    // Nobody has to be asked whose process does not serve, and who has nothing to hand over.
    let serves = control.views.serves(instance);
    let standing = Standing {
        is_stateless: app.is_stateless(),
        count: u32::try_from(count).unwrap_or(u32::MAX),
        most: app.scale.map(|scale| scale.max),
    };
    let offered = match standing.may_replace() {
        true if serves => offered(control, instance, accept_loss).await?,
        true => Some(Mode::Restart),
        false => None,
    };
    let decide = |standing| Update::of(instance, Revision(app.revision), standing, offered);
    let decided = decide(standing);
    let way = decided.way;
    let mut order = control.decided(&app.name, Decision::Update(decided)).await;
    if way == Some(Way::Replace) {
        match replaced(control, instance, Some(&order), progress).await {
            // There are as many as there may be by now.
            Err(why) if why.code == "out_of_bounds" => {
                let count = standing.most.unwrap_or(standing.count);
                let full = decide(Standing { count, ..standing });
                order = control.decided(&app.name, Decision::Update(full)).await;
            }
            ended => return ended,
        }
    }
    let heard = control.heard.subscribe();
    let wanted = Wanted { instance: instance.to_owned(), to: To::Current, accept_loss };
    let operation = Box::pin(moves::begin(control, &wanted)).await?;
    order.opened(control, instance, Some(operation));
    Ok(End::InPlace(outcome(control, heard, instance, operation).await?))
}

async fn replaced(
    control: &Control,
    instance: &str,
    order: Option<&Decided>,
    progress: &Sender<Progress>,
) -> Result<End, Refused> {
    let until = Instant::now() + Duration::from_millis(BUSY_MS_MAX);
    loop {
        match replacing::to_its_end(control, instance, order).await {
            // Others of its app make room when they have left.
            Err(why) if why.code == replacing::NO_ROOM && Instant::now() < until => {
                progress
                    .send_if_modified(|it| it.waits.add(instance, format!("{instance}: {}", why.message)));
                tokio::time::sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
            }
            ended => return ended.map(|Replaced { by, took_ms, died }| End::Replaced { by, took_ms, died }),
        }
    }
}

/// The mode that it offers. `None`: it was not to be learnt; what stands in the way is said when that is begun.
async fn offered(control: &Control, instance: &str, accept_loss: bool) -> Result<Option<Mode>, Refused> {
    let previewed = Box::pin(moves::preview(control, instance, To::Current)).await?;
    let Reply::Previewed { mode, obstacle, .. } = previewed else { return Ok(None) };
    match obstacle {
        None => Ok(mode),
        Some(why) if is_overruled(&why, accept_loss) => Ok(Some(Mode::Restart)),
        Some(why) => Err(why),
    }
}

/// Whether what stands in the way stands there only as long as nobody consents to losing the state.
fn is_overruled(why: &Refused, accept_loss: bool) -> bool {
    accept_loss && matches!(why.code.as_str(), "consent_needed" | "refused")
}

/// Why one was not begun of which nothing serves.
pub(super) fn not_serving(instance: &str) -> Refused {
    let message = format!("{instance}: it does not serve: its process is started again as what it was");
    refused("not_serving", message, format!("look at paracloud logs {instance}, and apply it again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_refuses_for_its_state_is_overruled_by_a_consent_and_by_nothing_else() {
        let cases = [("consent_needed", true), ("refused", true), ("held", false), ("busy", false)];
        for (code, for_its_state) in cases {
            let why = refused(code, "no", "ask again");
            let overruled = [true, false].map(|accept_loss| is_overruled(&why, accept_loss));
            assert_eq!(overruled, [for_its_state, false], "{code}");
        }
    }
}
