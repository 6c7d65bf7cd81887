//! Nodes are drained: everything that one owns is replaced or moved, so many at once as was asked for.
//!
//! It is kept and goes on without whoever asked for it, also under the next controller, until nothing more can be done or a
//! person opens the node again. Each instance is asked first. Who asks to be left alone is waited for, within a bound; nothing
//! is moved in a weaker mode than it offers without a person's consent.

mod one;

use crate::control::Control;
use crate::decided::Decided;
use crate::ongoing::{Ongoing, Taken, Waits, known, there};
use crate::peers::Peer;
use crate::person::{refused, unknown_node};
use crate::replacing;
use one::{Going, go};
use paracloud_core::draining::{AWAY_MS, Placed};
use paracloud_core::ids::NodeId;
use paracloud_core::ordered::{Decision, Drain};
use paracloud_substrate::draining::{Drained, Terms};
use paracloud_substrate::names;
use paracloud_substrate::person::Refused;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How far a drain is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// What became of those that it is over with.
    pub(crate) drained: Vec<Drained>,
    /// Those that are waited for.
    pub(crate) waits: Waits,
    /// It is over.
    pub(crate) end: Option<Over>,
}

/// How a drain ended.
#[derive(Debug, Clone)]
pub(crate) enum Over {
    /// With every instance. These came meanwhile.
    Done(Vec<String>),
    /// It could not begin.
    Refused(Refused),
}

/// Nodes that are being drained.
pub(crate) type Drains = Ongoing<NodeId, Terms, Progress>;

/// Drains nodes for as long as the controller lives.
pub(crate) async fn run(control: Arc<Control>) {
    control.drains.run(|taken| Box::pin(drain(Arc::clone(&control), taken))).await;
}

/// Begins to drain a node, which gets nothing new from now on.
pub(crate) async fn begin(
    control: &Arc<Control>,
    node: NodeId,
    terms: Terms,
) -> Result<watch::Receiver<Progress>, Refused> {
    known(control).await;
    let terms = terms.bounded();
    if let Some(before) = control.drains.terms(&node)
        && (before.parallel, before.accept_loss) != (terms.parallel, terms.accept_loss)
    {
        let name = control.node_name(node);
        let message = format!("{name} is being drained already, in another way");
        let next = format!("wait for it; or end it, paracloud node open {name}, and say it again");
        return Err(refused("busy", message, next));
    }
    // Who joins one that goes on asks for nothing that could be in its way.
    if control.drains.terms(&node).is_none() {
        plan(control, node)?;
        let owners = control.owners();
        replacing::forget(control, |instance| owners.get(instance) == Some(&node));
    }
    let no_space = |error: io::Error| {
        let message = format!("nothing was begun: {}: {error}", control.layout.draining().display());
        refused("no_space", message, "free some space on that disk")
    };
    // Kept before anybody sees it: whoever is killed from here on leaves to the next controller what it has to do.
    let new = control.drains.hold([(node, terms)]).map_err(no_space)?;
    if let Err(why) = close(control, node, true).await {
        if let Err(error) = new.first().map_or(Ok(()), |node| control.drains.end(node)) {
            tracing::warn!(%node, %error, "it is kept that it is drained: the next controller does it");
        }
        return Err(why);
    }
    control.drains.begin(node, terms).map_err(no_space)
}

/// What would become of each instance of a node now. Nothing is changed.
pub(crate) async fn rehearse(
    control: &Arc<Control>,
    node: NodeId,
    terms: Terms,
) -> Result<Vec<Drained>, Refused> {
    known(control).await;
    let going = going(plan(control, node)?, None);
    let progress = Arc::default();
    Ok(each(control, going, Some(terms), &progress).await)
}

/// A node gets nothing new from now on, or does again.
pub(crate) async fn close(control: &Control, node: NodeId, is_closed: bool) -> Result<(), Refused> {
    if control.cloud().node(node).is_none() {
        return Err(unknown_node(control, node));
    }
    let kept = if is_closed { Ok(()) } else { control.drains.end(&node) };
    if let Err(error) = kept.and_then(|()| control.closed.set(node, is_closed)) {
        let directory = control.layout.root().display();
        let message = format!("nothing was changed: {directory}: {error}");
        return Err(refused("no_space", message, "free some space on that disk"));
    }
    control.found();
    // Who has nowhere to go looks again.
    let names = control.fleet.names();
    control.shown(names.iter().map(String::as_str)).await;
    Ok(())
}

/// Drains one.
async fn drain(control: Arc<Control>, taken: Taken<NodeId, Progress>) {
    let Taken { of: node, progress, was_kept } = &taken;
    if *was_kept {
        // Who was killed may not have come to that.
        if let Err(error) = control.closed.set(*node, true) {
            tracing::warn!(%node, %error, "a node that is drained gets new instances");
        }
        // Where nobody else takes what it owns there is nothing to plan, so all others are waited for, too.
        let nodes = control.cloud().nodes.iter().map(|node| node.id).collect::<Vec<_>>();
        let is_known =
            |node: &NodeId| control.peers.is_there(Peer::Agent(*node)) || control.lost().contains(node);
        there(&control, || nodes.iter().all(is_known)).await;
    }
    let over = match planned(&control, &taken).await {
        Err(refused) => Over::Refused(refused),
        Ok(decided) => {
            let order = control.decided("", Decision::Drain(decided.clone())).await;
            let going = going(decided, Some(&order));
            let drained = each(&control, going, None, progress).await;
            let stays = |name: &String| drained.iter().any(|it| it.instance == *name && !it.is_gone());
            let missed = owned(&control, *node).into_iter().filter(|name| !stays(name)).collect();
            Over::Done(missed)
        }
    };
    control.drains.over(&taken, || true);
    progress.send_modify(|it| it.end = Some(over));
}

/// The plan. Who takes up what was begun waits for those that are not there for as long as the node is to be drained: nobody
/// is there who could be told that it was given up.
async fn planned(control: &Control, taken: &Taken<NodeId, Progress>) -> Result<Drain, Refused> {
    let Taken { of: node, progress, was_kept } = taken;
    loop {
        let planned = plan(control, *node);
        let passes = ["node_unreachable", "no_other_node"];
        let is_away = |why: &&Refused| passes.contains(&why.code.as_str());
        let Some(why) = planned.as_ref().err().filter(is_away) else { return planned };
        if !was_kept || control.drains.terms(node).is_none() {
            return planned;
        }
        let name = control.node_name(*node);
        progress.send_if_modified(|it| it.waits.add(&name, why.message.clone()));
        tokio::time::sleep(Duration::from_millis(AWAY_MS)).await;
    }
}

/// The instances that a node owns, in the order in which people count.
fn owned(control: &Control, node: NodeId) -> Vec<String> {
    let owners = control.owners().into_iter();
    let here = owners.filter(|(name, at)| *at == node && control.fleet.has(name));
    let mut names: Vec<_> = here.map(|(name, _)| name).collect();
    names.sort_by(|left, right| names::order(left, right));
    names
}

/// How each of them is to leave.
fn plan(control: &Control, node: NodeId) -> Result<Drain, Refused> {
    let cloud = control.cloud();
    let name = control.node_name(node);
    if cloud.node(node).is_none() {
        return Err(unknown_node(control, node));
    }
    let owners = control.owners().into_iter();
    let placed = owners.filter_map(|(name, node)| {
        let app = cloud.app_of(&name).filter(|_| control.fleet.has(&name))?.name.clone();
        Some(Placed { name, app, node })
    });
    let mut placed: Vec<_> = placed.collect();
    placed.sort_by(|left, right| names::order(&left.name, &right.name));
    let replaced = cloud.apps.iter().filter(|app| app.is_stateless());
    let most = replaced.filter_map(|app| Some((app.name.clone(), app.scale?.max))).collect();
    let stateful = cloud.apps.iter().filter(|app| !app.is_stateless()).map(|app| app.name.clone());
    let decided = Drain::of(node, placed, control.nodes_there(), most).with_state(stateful.collect());
    if decided.ways.as_ref().is_some_and(Vec::is_empty) {
        return Ok(decided);
    }
    if !control.peers.is_there(Peer::Agent(node)) {
        let message =
            format!("{name}: its agent is not connected: what runs there can neither be asked nor moved");
        let next = format!("wait for it; if it will not come back: paracloud node lost {name}");
        return Err(refused("node_unreachable", message, next));
    }
    if decided.ways.is_none() {
        let message = format!("{name}: no other node is connected that takes instances");
        return Err(refused("no_other_node", message, "look at paracloud ps"));
    }
    Ok(decided)
}

/// Those that are to leave, by an order that was kept; in a rehearsal, by none.
fn going(decided: Drain, order: Option<&Decided>) -> Vec<Going> {
    let (from, ways) = (decided.node, decided.ways.into_iter().flatten());
    ways.map(|(instance, way)| Going { instance, from, way, order: order.cloned() }).collect()
}

/// What becomes of each, a few at a time, in the order in which they were planned. With `rehearsal` nothing is done.
async fn each(
    control: &Arc<Control>,
    going: Vec<Going>,
    rehearsal: Option<Terms>,
    progress: &Arc<watch::Sender<Progress>>,
) -> Vec<Drained> {
    let mut queue: VecDeque<_> = going.into_iter().enumerate().collect();
    let (mut running, mut those, mut all) = (JoinSet::new(), BTreeMap::new(), BTreeMap::new());
    loop {
        let node = queue.front().map(|(_, going)| going.from);
        let terms = rehearsal.or_else(|| control.drains.terms(&node?));
        let parallel = terms.map_or(0, |terms| usize::try_from(terms.bounded().parallel).unwrap_or(1));
        while running.len() < parallel
            && let Some((place, going)) = queue.pop_front()
        {
            let (control, progress) = (Arc::clone(control), Arc::clone(progress));
            let (is_rehearsal, whose) = (rehearsal.is_some(), (place, going.clone()));
            let goes = async move { Box::pin(go(&control, going, is_rehearsal, &progress)).await };
            those.insert(running.spawn(goes).id(), whose);
        }
        if let Some(joined) = running.join_next_with_id().await {
            let (id, drained) = match joined {
                Ok((id, drained)) => (id, Ok(drained)),
                Err(broken) => (broken.id(), Err(broken)),
            };
            let Some((place, going)) = those.remove(&id) else { continue };
            let drained = drained.unwrap_or_else(|error| {
                tracing::error!(%error, instance = going.instance, "the drain of an instance broke off");
                going.stays(one::broke_off(&going.instance))
            });
            progress.send_modify(|it| it.drained.push(drained.clone()));
            all.insert(place, drained);
            continue;
        }
        // The node was opened again: nobody else leaves it.
        let Some((place, going)) = queue.pop_front() else { break };
        let drained = going.stays(one::opened(control, going.from));
        progress.send_modify(|it| it.drained.push(drained.clone()));
        all.insert(place, drained);
    }
    all.into_values().collect()
}
