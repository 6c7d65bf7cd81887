//! One instance leaves a node that is drained.

use super::Progress;
use crate::control::Control;
use crate::decided::Decided;
use crate::ended::outcome;
use crate::fewer;
use crate::journal::{cut, now_unix_ms};
use crate::moves::{self, To};
use crate::person::refused;
use crate::replacing::{self, Replaced};
use paracloud_core::draining::{Obstacle, Way, ask_again_ms};
use paracloud_core::ids::NodeId;
use paracloud_core::migration::message::Offer;
use paracloud_core::ordered::Decision;
use paracloud_core::register::{Mode, Step};
use paracloud_substrate::decision::Hindrance;
use paracloud_substrate::draining::{Drained, End, Terms};
use paracloud_substrate::figures::millis;
use paracloud_substrate::person::{Refused, Reply};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// An instance that is to leave.
#[derive(Debug, Clone)]
pub(super) struct Going {
    pub(super) instance: String,
    pub(super) from: NodeId,
    pub(super) way: Way,
    /// The order by which it goes, if that was kept.
    pub(super) order: Option<Decided>,
}

/// What an instance says to leaving, or what stands in its way.
enum Asked {
    /// In this mode; `None`: it is replaced.
    Goes(Option<Mode>),
    /// It cannot go for this reason.
    Waits(Obstacle, Refused),
    /// Nothing more is to be done about it.
    Over(End),
}

impl Going {
    fn ends(&self, end: End) -> Drained {
        Drained { instance: self.instance.clone(), to: self.way.to(), end }
    }

    /// What keeps it there is kept with the order.
    fn hindered(&self, control: &Control, obstacle: Obstacle, why: &Refused, stays: bool) {
        let until_unix_ms = match obstacle {
            Obstacle::Held(left_ms) => Some(now_unix_ms().saturating_add(left_ms)),
            Obstacle::Busy | Obstacle::Away | Obstacle::GivenUp(_) | Obstacle::Lasting => None,
        };
        let hindrance = Hindrance { why: cut(why.message.clone()), until_unix_ms, stays };
        self.order.iter().for_each(|order| order.hindered(control, &self.instance, hindrance.clone()));
    }

    pub(super) fn stays(&self, why: Refused) -> Drained {
        self.ends(End::Stays(why))
    }
}

/// Why nothing more leaves a node.
pub(super) fn opened(control: &Control, node: NodeId) -> Refused {
    let name = control.node_name(node);
    let next = format!("paracloud drain-node {name} goes on with it");
    refused("opened", format!("{name} was opened again: it is not drained any more"), next)
}

/// Why nothing more is done about one.
pub(super) fn broke_off(instance: &str) -> Refused {
    let message = format!("{instance}: what saw to it broke off; log/controller.log says where");
    refused("broke_off", message, "look at paracloud events, and say it again")
}

/// Why it is tried again.
fn given_up(control: &Control, going: &Going, cause: Option<&str>) -> Refused {
    let to = control.node_name(going.way.to());
    let message = format!("{}: the move to {to} was given up: {}", going.instance, cause.unwrap_or_default());
    refused(replacing::GIVEN_UP, message, "look at paracloud events")
}

/// What becomes of it. In a rehearsal nothing is done, and nobody is waited for.
pub(super) async fn go(
    control: &Arc<Control>,
    going: Going,
    is_rehearsal: bool,
    progress: &watch::Sender<Progress>,
) -> Drained {
    let (mut is_told, mut tries) = (false, 0);
    loop {
        let terms = control.drains.terms(&going.from);
        let Some(terms) = terms.or_else(|| is_rehearsal.then(rehearsed)) else {
            return going.stays(opened(control, going.from));
        };
        // How it ended, if it is tried no more.
        let mut ended = None;
        let (obstacle, why) = match ask(control, &going, terms).await {
            Asked::Over(end) => return going.ends(end),
            Asked::Goes(mode) if is_rehearsal => {
                // Who is moved was asked how.
                let says = match mode {
                    None => Some(fewer::says(control, &going.instance).await),
                    Some(_) => None,
                };
                return going.ends(End::CanGo { mode, says });
            }
            Asked::Goes(_) => match leave(control, &going, terms).await {
                Ok(End::Moved(outcome)) if !outcome.committed && outcome.may_pass => {
                    tries += 1;
                    let why = given_up(control, &going, outcome.cause.as_deref());
                    ended = Some(End::Moved(outcome));
                    (Obstacle::GivenUp(tries), why)
                }
                Ok(end) => return going.ends(end),
                Err(why) if why.code == replacing::GIVEN_UP => {
                    tries += 1;
                    (Obstacle::GivenUp(tries), why)
                }
                // It was taken between question and move: asked again, it says until when.
                Err(why) if why.code == "held" => (Obstacle::Away, why),
                // Others of its app make room when they have left.
                Err(why) if why.code == replacing::NO_ROOM => (Obstacle::Busy, why),
                Err(why) => match looked_at(control, &going, why) {
                    Asked::Over(end) => return going.ends(end),
                    Asked::Waits(obstacle, why) => (obstacle, why),
                    Asked::Goes(_) => continue,
                },
            },
            Asked::Waits(obstacle, why) => (obstacle, why),
        };
        let left_ms = if is_rehearsal { 0 } else { terms.until_unix_ms.saturating_sub(now_unix_ms()) };
        let Some(wait_ms) = ask_again_ms(obstacle, left_ms) else {
            going.hindered(control, obstacle, &why, true);
            return going.ends(ended.unwrap_or(End::Stays(why)));
        };
        if !is_told {
            is_told = true;
            going.hindered(control, obstacle, &why, false);
            progress.send_if_modified(|it| it.waits.add(&going.instance, why.message.clone()));
        }
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }
}

/// A rehearsal asks for no consent.
fn rehearsed() -> Terms {
    Terms { parallel: 1, until_unix_ms: 0, accept_loss: false }
}

async fn ask(control: &Arc<Control>, going: &Going, terms: Terms) -> Asked {
    match going.way {
        Way::Replace(_) => asked_to_leave(control, going),
        Way::Move(to) => match Box::pin(moves::preview(control, &going.instance, To::Node(to))).await {
            Err(why) => looked_at(control, going, why),
            Ok(Reply::Previewed { mode, obstacle: None, .. }) => Asked::Goes(mode),
            Ok(Reply::Previewed { preview, obstacle: Some(why), .. }) => {
                match (preview.offer, why.code.as_str()) {
                    (Some(Offer::Hold { remaining_ms }), _) => {
                        Asked::Waits(Obstacle::Held(remaining_ms.into()), why)
                    }
                    (_, "consent_needed" | "refused") if terms.accept_loss => {
                        Asked::Goes(Some(Mode::Restart))
                    }
                    _ => looked_at(control, going, why),
                }
            }
            Ok(_) => Asked::Over(End::Stays(refused("unknown", "it was not asked", "look at paracloud ps"))),
        },
    }
}

/// What one says to being replaced: only a hold stands in the way, or that it goes already.
fn asked_to_leave(control: &Control, going: &Going) -> Asked {
    let name = &going.instance;
    // An earlier controller began it, or somebody else: it is joined.
    if control.has_replacement(name) {
        return Asked::Goes(None);
    }
    let step = control.views.of(name).and_then(|view| view.record).and_then(|record| record.step());
    if matches!(step, Some(Step::Draining | Step::Leaving)) {
        let message = format!("{name}: it is leaving already");
        return looked_at(control, going, refused("busy", message, "wait for it"));
    }
    // Whatever it holds off: it is to be taken out of routing, ended, and to be elsewhere by another one.
    let holds = control.holds().into_iter().filter(|hold| hold.instance == *name);
    let Some(hold) = holds.max_by_key(|hold| hold.remaining_ms) else { return Asked::Goes(None) };
    let left = millis(hold.remaining_ms);
    let message = format!("{name}: it holds on to its place for {left}: {}", hold.reason);
    let why = refused("held", message, "ask again when the hold has expired");
    Asked::Waits(Obstacle::Held(hold.remaining_ms), why)
}

/// Whether what stands in its way is that it goes already, or is gone: somebody else has moved it, or has it leave.
fn looked_at(control: &Control, going: &Going, why: Refused) -> Asked {
    let left = |why: &str| Asked::Over(End::Left { why: why.to_owned() });
    let record = control.views.of(&going.instance).and_then(|view| view.record);
    let Some(record) = record.filter(|record| !record.gone) else { return left("it has left meanwhile") };
    match record.step() {
        None if record.owner.node != going.from => {
            left(&format!("it is on {} by now", control.node_name(record.owner.node)))
        }
        Some(_) if matches!(why.code.as_str(), "busy" | "departed" | "overtaken") => {
            Asked::Waits(Obstacle::Busy, why)
        }
        None | Some(_) if why.code == "node_unreachable" => Asked::Waits(Obstacle::Away, why),
        None | Some(_) => Asked::Waits(Obstacle::Lasting, why),
    }
}

async fn leave(control: &Arc<Control>, going: &Going, terms: Terms) -> Result<End, Refused> {
    match going.way {
        Way::Move(to) => moved(control, going, to, terms).await,
        Way::Replace(_) => {
            let order = going.order.as_ref();
            match Box::pin(replacing::to_its_end(control, &going.instance, order)).await {
                // There are as many as there may be by now.
                Err(why) if why.code == "out_of_bounds" => {
                    let anew = super::plan(control, going.from)?;
                    let ways = anew.ways.iter().flatten();
                    let way = ways.filter(|(name, _)| *name == going.instance).map(|(_, way)| *way).next();
                    let Some(Way::Move(to)) = way else {
                        return Err(refused(replacing::NO_ROOM, why.message, why.next));
                    };
                    let order = Some(control.decided("", Decision::Drain(anew)).await);
                    moved(control, &Going { order, way: Way::Move(to), ..going.clone() }, to, terms).await
                }
                Err(why) => Err(why),
                Ok(Replaced { by, took_ms, died }) => Ok(End::Replaced { by, took_ms, died }),
            }
        }
    }
}

async fn moved(control: &Control, going: &Going, to: NodeId, terms: Terms) -> Result<End, Refused> {
    let instance = going.instance.as_str();
    let heard = control.heard.subscribe();
    let wanted =
        moves::Wanted { instance: instance.to_owned(), to: To::Node(to), accept_loss: terms.accept_loss };
    let operation = Box::pin(moves::begin(control, &wanted)).await?;
    going.order.iter().for_each(|order| order.opened(control, instance, Some(operation)));
    Ok(End::Moved(outcome(control, heard, instance, operation).await?))
}
