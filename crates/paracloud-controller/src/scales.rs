//! How many instances a person wants of an app: kept for a stated time, across restarts of the controller. Until it is over
//! nobody else decides that, unless the person gives it back before.

mod given_back;

pub(crate) use given_back::give_back;

use crate::control::{Control, locked};
use crate::fewer::{self, Looked};
use crate::fleet::Full;
use crate::instance::Rejected;
use crate::journal::now_unix_ms;
use crate::kept;
use crate::orders::{By, Order, Terms};
use crate::person::{refused, rejection};
use paci::upcall::Reason;
use paracloud_core::ids::{NodeId, OperationNumber};
use paracloud_core::ordered::{self, Decision, More};
use paracloud_substrate::config::{App, Scale};
use paracloud_substrate::figures::{counted, millis};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::person::{Candidate, Kept, Leaving, Refused, Scaled, Standing, Starting};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The longest that it is kept, in milliseconds: a week.
pub(crate) const HOLD_MS_MAX: u32 = 7 * 24 * 3_600_000;

/// It is decided anew so often at most, because others came or left while some were asked.
const LOOKS_MAX: u32 = 5;

/// So long it is waited for whoever changes the number of instances now, in milliseconds.
const TURN_MS_MAX: u64 = 5_000;

/// What a person wants of one app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manual {
    /// So many instances.
    pub(crate) instances: u32,
    /// Until then, in milliseconds since 1970.
    pub(crate) until_unix_ms: u64,
}

/// What people want, by app: of each that is configured one at most.
#[derive(Debug)]
pub(crate) struct Scales(Mutex<BTreeMap<String, Manual>>);

impl Scales {
    /// What was kept. What cannot be read is nobody's wish.
    pub(crate) fn load(layout: &Layout) -> Self {
        Self(Mutex::new(kept::read(&layout.scales(), "what people wanted of numbers of instances")))
    }

    /// What a person wants of an app, as long as that is kept.
    pub(crate) fn of(&self, app: &str, now_unix_ms: u64) -> Option<Manual> {
        locked(&self.0).get(app).copied().filter(|manual| manual.until_unix_ms > now_unix_ms)
    }

    fn keep(&self, path: &Path, app: &str, manual: Manual, now_unix_ms: u64) -> io::Result<()> {
        let mut all = locked(&self.0);
        let mut next = all.clone();
        next.retain(|_, manual| manual.until_unix_ms > now_unix_ms);
        next.insert(app.to_owned(), manual);
        kept::write(path, &next)?;
        *all = next;
        Ok(())
    }

    /// Nothing is wanted of an app any more. What was, if that was not over.
    fn forget(&self, path: &Path, app: &str, now_unix_ms: u64) -> io::Result<Option<Kept>> {
        let mut all = locked(&self.0);
        let mut next = all.clone();
        let Some(Manual { instances, until_unix_ms }) = next.remove(app) else { return Ok(None) };
        kept::write(path, &next)?;
        *all = next;
        let remaining_ms = until_unix_ms.saturating_sub(now_unix_ms);
        Ok((remaining_ms > 0).then(|| Kept { app: app.to_owned(), instances, remaining_ms }))
    }
}

/// What people want of the apps that are configured.
pub(crate) fn kept(control: &Control) -> Vec<Kept> {
    let now_unix_ms = now_unix_ms();
    let kept = |app: &App| {
        let manual = control.scales.of(&app.name, now_unix_ms)?;
        let remaining_ms = manual.until_unix_ms - now_unix_ms;
        Some(Kept { app: app.name.clone(), instances: manual.instances, remaining_ms })
    };
    control.cloud().apps.iter().filter_map(kept).collect()
}

/// What a person asks for.
pub(crate) struct Wanted<'a> {
    pub(crate) app: &'a str,
    pub(crate) to: u32,
    pub(crate) hold_ms: Option<u32>,
    pub(crate) dry_run: bool,
    /// A person consents to losing what those hold that leave.
    pub(crate) accept_loss: bool,
    /// Who has not left within so many milliseconds is called back.
    pub(crate) within_ms: Option<u32>,
}

/// Sets how many instances an app has.
pub(crate) async fn scale(control: &Arc<Control>, wanted: &Wanted<'_>) -> Result<Scaled, Refused> {
    let (app, scale) = scaled_app(control, wanted.app)?;
    let app = &app;
    let name = &app.name;
    let Wanted { to, dry_run, .. } = *wanted;
    if !(scale.min..=scale.max).contains(&to) {
        let message =
            format!("{name} may have {} to {}, not {to}", scale.min, counted(scale.max.into(), "instance"));
        return Err(refused("out_of_bounds", message, "change scale in its manifest, or ask for less"));
    }
    let hold_ms = wanted.hold_ms.unwrap_or(scale.manual_hold_ms);
    if !(1..=HOLD_MS_MAX).contains(&hold_ms) {
        let (asked, most) = (millis(hold_ms.into()), millis(HOLD_MS_MAX.into()));
        let message = format!("{asked} is out of bounds: it is kept for 1 ms to {most}");
        return Err(refused("out_of_bounds", message, "ask for another time with --for"));
    }
    let mut looks = 0;
    let (_turn, staying, plan) = loop {
        // Who is asked takes its time: whoever decides by itself is not kept from it meanwhile.
        let names = control.staying(name);
        let staying = u32::try_from(names.len()).unwrap_or(u32::MAX);
        let plan = if to < staying {
            let (decided, looked) = fewer_of(control, app, (staying, to), wanted.accept_loss).await?;
            Plan::Fewer { decided, looked, within_ms: wanted.within_ms }
        } else {
            more_of(control, app, (staying, to))?
        };
        if dry_run {
            break (None, staying, plan);
        }
        // And does not do the same from now on.
        let turn = control.scaling.turns.take(name);
        let turn = tokio::time::timeout(Duration::from_millis(TURN_MS_MAX), turn).await;
        looks += 1;
        match turn {
            Ok(turn) if control.staying(name) == names => break (Some(turn), staying, plan),
            Ok(_) if looks < LOOKS_MAX => {}
            Ok(_) | Err(_) => {
                let message = format!("{name}: the number of its instances is being changed");
                let next = "ask again in a moment; `paracloud ps` shows what is there";
                return Err(refused("busy", message, next));
            }
        }
    };
    let mut scaled = Scaled {
        app: name.clone(),
        from: staying,
        to,
        starts: Vec::new(),
        called_back: Vec::new(),
        leaves: Vec::new(),
        looked_at: Vec::new(),
        until_unix_ms: None,
    };
    if dry_run {
        plan.say(&mut scaled);
        return Ok(scaled);
    }
    // Kept first: what is started and then forgotten would be ended again.
    let now_unix_ms = now_unix_ms();
    let until_unix_ms = now_unix_ms + u64::from(hold_ms);
    let manual = Manual { instances: to, until_unix_ms };
    if let Err(error) = control.scales.keep(&control.layout.scales(), name, manual, now_unix_ms) {
        let message = format!("nothing was begun for {name}: {}: {error}", control.layout.scales().display());
        return Err(refused("no_space", message, "free some space on that disk"));
    }
    scaled.until_unix_ms = Some(until_unix_ms);
    let ended = plan.begin(control, app, &mut scaled).await;
    let kept = millis(hold_ms.into());
    // It is wanted from now on, whatever came of it so far.
    let missed = ended.as_ref().err().map_or_else(String::new, |why| format!("; {}", why.message));
    let (wanted, begun) = (counted(to.into(), "instance"), begun(control, &scaled));
    let what = format!("a person wants {wanted}, of {staying}, for {kept}: {begun}{missed}");
    control.keep_remark(name, None, what).await;
    ended.map(|()| scaled)
}

/// Gives up what is open on an instance by a person's word. Where that is a leave, and somebody wants a number of instances,
/// it is one more from now on and for as long as before: the next decision would undo it.
pub(crate) async fn call_back(
    control: &Control,
    instance: &str,
    order: Order,
) -> Result<OperationNumber, Rejected> {
    control.shown(std::iter::once(instance)).await;
    // Kept first, as above.
    let raised = one_more(control, instance);
    let done = control.order(instance, order).await;
    if let Some((app, before, raised)) = raised {
        if let Ok(operation) = &done {
            let (from, to) = (raised.instances.saturating_sub(1), raised.instances);
            let decided = More::of(&app, from, to, vec![instance.to_owned()]);
            let kept = control.decided(&app, Decision::More(decided)).await;
            kept.opened(control, instance, Some(*operation));
            let what = format!(
                "{instance} is called back: the number that is wanted is {}, no longer {}",
                raised.instances, before.instances
            );
            control.keep_remark(&app, None, what).await;
        } else if control.scales.of(&app, now_unix_ms()) == Some(raised) {
            keep_or_say(control, &app, before);
        }
    }
    done
}

/// Wants those that stay and the one that may be called back: its app, what was wanted, and what is from now on. `None`: so
/// many are wanted already, or nobody wants a number.
fn one_more(control: &Control, instance: &str) -> Option<(String, Manual, Manual)> {
    let (_, returns) = control.leaving(instance)?;
    if control.is_replaced(instance) {
        return None;
    }
    let app = control.cloud().app_of(instance).filter(|_| returns)?.clone();
    let before = control.scales.of(&app.name, now_unix_ms())?;
    let most = app.scale.map_or(before.instances, |scale| scale.max);
    // Counted, so that it is one more however often it is asked.
    let staying = u32::try_from(control.staying(&app.name).len()).unwrap_or(u32::MAX);
    let instances = staying.saturating_add(1).min(most).max(before.instances);
    let raised = Manual { instances, ..before };
    let is_kept = raised != before && keep_or_say(control, &app.name, raised);
    is_kept.then_some((app.name, before, raised))
}

fn keep_or_say(control: &Control, app: &str, manual: Manual) -> bool {
    let kept = control.scales.keep(&control.layout.scales(), app, manual, now_unix_ms());
    if let Err(error) = &kept {
        tracing::warn!(app, %error, "how many instances are wanted cannot be kept");
    }
    kept.is_ok()
}

/// What is to be done so that an app has as many instances as a person wants.
enum Plan {
    /// Who leaves still is called back first, and the rest is started.
    More {
        decided: More,
        starts: Vec<(String, NodeId)>,
    },
    Fewer {
        decided: ordered::Fewer,
        looked: Vec<Looked>,
        within_ms: Option<u32>,
    },
}

/// As many, or more.
fn more_of(control: &Control, app: &App, (from, to): (u32, u32)) -> Result<Plan, Refused> {
    let of_app = control.fleet.there().into_iter().filter(|name| control.is_of(name, &app.name));
    // Who goes because another one came in its place goes all the same.
    let by_number = of_app.filter(|name| !control.is_replaced(name));
    let leaving = by_number.filter(|name| control.leaving(name).is_some_and(|(_, returns)| returns));
    let decided = More::of(&app.name, from, to, leaving.collect());
    let planned = control.fleet.plan(app, decided.starts, &control.nodes_there(), &control.owners());
    let starts = planned.map_err(|full| not_added(control, &app.name, full))?;
    Ok(Plan::More { decided, starts })
}

/// So many fewer.
async fn fewer_of(
    control: &Arc<Control>,
    app: &App,
    (from, to): (u32, u32),
    accept_loss: bool,
) -> Result<(ordered::Fewer, Vec<Looked>), Refused> {
    let excess = usize::try_from(from.saturating_sub(to)).unwrap_or(usize::MAX);
    let (decided, looked) = fewer::look(control, app, (from, to), accept_loss).await;
    let standing = |standing| move |it: &&Looked| it.candidate.standing == standing;
    let leaves = looked.iter().filter(standing(Standing::Leaves)).count();
    let needing: Vec<_> = looked.iter().filter(standing(Standing::NeedsConsent)).collect();
    if leaves < excess
        && let Some(first) = needing.first()
    {
        let names: Vec<_> = needing.iter().map(|it| it.candidate.instance.as_str()).collect();
        let message = format!("{}: {}: {}", app.name, names.join(", "), first.candidate.why);
        let next =
            "consent to losing it with --accept-loss, or say `state: none` in the manifest if it has none";
        return Err(refused("consent_needed", message, next));
    }
    Ok((decided, looked))
}

impl Plan {
    /// What would be done.
    fn say(self, scaled: &mut Scaled) {
        match self {
            Self::More { decided, starts } => {
                scaled.called_back = decided.back;
                scaled.starts = starting(starts);
            }
            Self::Fewer { looked, .. } => {
                let all: Vec<_> = looked.into_iter().map(|it| it.candidate).collect();
                scaled.leaves = all.iter().filter_map(|candidate| leaving(candidate, None)).collect();
                scaled.looked_at = all;
            }
        }
    }

    /// Does it.
    async fn begin(self, control: &Control, app: &App, scaled: &mut Scaled) -> Result<(), Refused> {
        let reason = match &self {
            Self::More { .. } => Reason::ScaleOut,
            Self::Fewer { .. } => Reason::ScaleIn,
        };
        let by = By {
            reason,
            why: format!("a person wants {} of {}", counted(scaled.to.into(), "instance"), app.name),
        };
        match self {
            Self::More { decided, starts } => {
                let (back, mut missing) = (decided.back.clone(), starts.len());
                let order = control.decided(&app.name, Decision::More(decided)).await;
                for name in back {
                    let revoked = match control.leaving(&name) {
                        Some((operation, _)) => control.revoke(&name, operation, &by).await.ok(),
                        None => None,
                    };
                    match revoked {
                        Some(operation) => {
                            order.opened(control, &name, Some(operation));
                            scaled.called_back.push(name);
                        }
                        // It has left meanwhile: another one comes.
                        None => missing += 1,
                    }
                }
                for _ in 0..missing {
                    let one = control.start_instance(app, &by).await;
                    let started = one.map_err(|rejected| rejection(control, &app.name, rejected))?;
                    order.opened(control, &started.0, None);
                    scaled.starts.extend(starting(vec![started]));
                }
            }
            Self::Fewer { decided, looked, within_ms } => {
                let order = control.decided(&app.name, Decision::Fewer(decided)).await;
                for Looked { mut candidate, loses } in looked {
                    if candidate.standing == Standing::Leaves {
                        let terms = Terms { budget_ms: within_ms, loss_accepted: loses };
                        match control.retire(&candidate.instance, terms, &by).await {
                            Ok(operation) => {
                                order.opened(control, &candidate.instance, Some(operation));
                                scaled.leaves.extend(leaving(&candidate, Some(operation)));
                            }
                            Err(rejected) => {
                                candidate.why = rejection(control, &candidate.instance, rejected).message;
                                candidate.standing = Standing::Busy;
                            }
                        }
                    }
                    scaled.looked_at.push(candidate);
                }
            }
        }
        Ok(())
    }
}

fn leaving(candidate: &Candidate, operation: Option<OperationNumber>) -> Option<Leaving> {
    let node = candidate.node.filter(|_| candidate.standing == Standing::Leaves)?;
    let (instance, drain_ms) = (candidate.instance.clone(), candidate.drain_ms);
    Some(Leaving { instance, node, operation, drain_ms })
}

/// What was begun, for the journal.
fn begun(control: &Control, scaled: &Scaled) -> String {
    let on = |name: &str, node| format!("{name} on {}", control.node_name(node));
    let starts: Vec<_> = scaled.starts.iter().map(|it| on(&it.instance, it.node)).collect();
    let leaves: Vec<_> = scaled.leaves.iter().map(|it| on(&it.instance, it.node)).collect();
    let all = [
        (!starts.is_empty()).then(|| starts.join(", ")),
        (!scaled.called_back.is_empty()).then(|| format!("{} called back", scaled.called_back.join(", "))),
        (!leaves.is_empty()).then(|| format!("{} to leave", leaves.join(", "))),
    ];
    let all: Vec<_> = all.into_iter().flatten().collect();
    if all.is_empty() { "nothing is begun".to_owned() } else { all.join("; ") }
}

fn starting(planned: Vec<(String, NodeId)>) -> Vec<Starting> {
    planned.into_iter().map(|(instance, node)| Starting { instance, node }).collect()
}

fn scaled_app(control: &Control, name: &str) -> Result<(App, Scale), Refused> {
    let cloud = control.cloud();
    let Some(app) = cloud.app(name) else {
        let shown: String = name.chars().take(64).collect();
        let apps: Vec<_> = cloud.apps.iter().map(|app| app.name.as_str()).collect();
        let next = format!("there are: {}", apps.join(", "));
        return Err(refused("unknown_instance", format!("there is no app {shown:?}"), next));
    };
    match app.scale {
        Some(scale) => Ok((app.clone(), scale)),
        None => Err(not_added(control, name, Full::NotScaled)),
    }
}

/// Why an app gets no instance, or loses none.
pub(crate) fn not_added(control: &Control, name: &str, full: Full) -> Refused {
    match full {
        Full::NotScaled => {
            let message = format!("{name} has one instance: its manifest has no scale");
            refused("not_scaled", message, "give it scale: {max: N}, and bring the cloud up with that")
        }
        Full::Most(most) => {
            let of_app = control.fleet.there().into_iter().filter(|it| control.is_of(it, name));
            match of_app.filter(|it| control.is_going(it)).count() {
                0 => {
                    let message =
                        format!("{name} has {}, as many as it may have", counted(most.into(), "instance"));
                    refused("out_of_bounds", message, "raise scale.max in its manifest, and apply it")
                }
                leaving => {
                    let message = format!(
                        "{name} may have {}, and has them with {leaving} that leave still",
                        counted(most.into(), "instance")
                    );
                    refused(
                        "busy",
                        message,
                        "ask again when they have left; `paracloud ps` shows who is there",
                    )
                }
            }
        }
        Full::NoNode => {
            let cloud = control.cloud();
            let nodes: Vec<_> = cloud.nodes.iter().map(|node| node.name.as_str()).collect();
            let message = format!("no node is connected that takes an instance of {name}");
            let next = format!(
                "look at the agents of {}; one that was drained takes some after paracloud node open NODE",
                nodes.join(", ")
            );
            refused("node_unreachable", message, next)
        }
    }
}

#[cfg(test)]
mod tests;
