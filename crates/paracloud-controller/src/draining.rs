//! Nodes are drained: everything that one owns is replaced or moved, so many at once as was asked for.
//!
//! It is kept and goes on without whoever asked for it, also under the next controller, until nothing more can be done or a
//! person opens the node again. Each instance is asked first. Who asks to be left alone is waited for, within a bound; nothing
//! is moved in a weaker mode than it offers without a person's consent.

mod one;

use crate::control::{Control, locked};
use crate::journal::now_unix_ms;
use crate::kept;
use crate::peers::Peer;
use crate::person::{refused, unknown_node};
use one::{Going, go};
use paracloud_core::draining::{self, Placed};
use paracloud_core::ids::NodeId;
use paracloud_substrate::draining::{Drained, PARALLEL_MAX, Terms};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::names;
use paracloud_substrate::person::Refused;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// After the controller began it is waited for so long until a node that is being drained is there, in milliseconds.
const THERE_MS_MAX: u64 = 60_000;
/// How often that is looked at, in milliseconds.
const LOOK_AGAIN_MS: u64 = 50;

/// How far a drain is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// What became of those that it is over with.
    pub(crate) drained: Vec<Drained>,
    /// Those that are waited for, and why; each once.
    pub(crate) waits: Vec<(String, String)>,
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

/// Nodes that are being drained. There are never more than are configured.
#[derive(Debug)]
pub(crate) struct Drains {
    path: PathBuf,
    all: Mutex<BTreeMap<NodeId, Drain>>,
    begun: Notify,
}

#[derive(Debug)]
struct Drain {
    terms: Terms,
    progress: Arc<watch::Sender<Progress>>,
    /// Somebody works on it.
    runs: bool,
    /// An earlier controller began it.
    was_kept: bool,
}

impl Drain {
    fn new(terms: Terms, was_kept: bool) -> Self {
        Self { terms, progress: Arc::default(), runs: false, was_kept }
    }
}

/// A drain that somebody is to work on.
struct Taken {
    node: NodeId,
    progress: Arc<watch::Sender<Progress>>,
    was_kept: bool,
}

impl Drains {
    /// What was kept. What cannot be read is forgotten: what is left on a node stays there.
    pub(crate) fn load(layout: &Layout) -> Self {
        let path = layout.draining();
        let kept: BTreeMap<NodeId, Terms> = kept::read(&path, "which nodes are being drained");
        let all = kept.into_iter().map(|(node, terms)| (node, Drain::new(terms, true))).collect();
        Self { path, all: Mutex::new(all), begun: Notify::new() }
    }

    /// Begins to drain a node, or joins who does.
    fn begin(&self, node: NodeId, terms: Terms) -> io::Result<watch::Receiver<Progress>> {
        let mut all = locked(&self.all);
        if let Some(drain) = all.get(&node) {
            return Ok(drain.progress.subscribe());
        }
        self.keep(&all, Some((node, terms)))?;
        let drain = Drain::new(terms, false);
        let progress = drain.progress.subscribe();
        all.insert(node, drain);
        self.begun.notify_one();
        Ok(progress)
    }

    /// How it is being drained, if it is.
    fn terms(&self, node: NodeId) -> Option<Terms> {
        locked(&self.all).get(&node).map(|drain| drain.terms)
    }

    /// Nothing more of it is begun.
    ///
    /// # Errors
    /// That cannot be kept: the next controller would go on.
    fn end(&self, node: NodeId) -> io::Result<()> {
        self.end_if(node, |_| true)
    }

    /// The same, if it is still this one.
    fn end_if(&self, node: NodeId, is_it: impl FnOnce(&Drain) -> bool) -> io::Result<()> {
        let mut all = locked(&self.all);
        let Some(drain) = all.remove(&node) else { return Ok(()) };
        let ends = is_it(&drain);
        let kept = if ends { self.keep(&all, None) } else { Ok(()) };
        if kept.is_err() || !ends {
            all.insert(node, drain);
        }
        kept
    }

    fn keep(&self, all: &BTreeMap<NodeId, Drain>, more: Option<(NodeId, Terms)>) -> io::Result<()> {
        let terms = all.iter().map(|(node, drain)| (*node, drain.terms)).chain(more);
        kept::write(&self.path, &terms.collect::<BTreeMap<_, _>>())
    }

    /// Those that nobody works on: from now on somebody does.
    fn take(&self) -> Vec<Taken> {
        let mut all = locked(&self.all);
        let idle = all.iter_mut().filter(|(_, drain)| !drain.runs);
        idle.map(|(node, drain)| {
            drain.runs = true;
            Taken { node: *node, progress: Arc::clone(&drain.progress), was_kept: drain.was_kept }
        })
        .collect()
    }
}

/// Drains nodes for as long as the controller lives.
pub(crate) async fn run(control: Arc<Control>) {
    let mut drains = JoinSet::new();
    loop {
        for taken in control.drains.take() {
            drains.spawn(Box::pin(drain(Arc::clone(&control), taken)));
        }
        tokio::select! {
            () = control.drains.begun.notified() => {}
            Some(_) = drains.join_next() => {}
        }
    }
}

/// Begins to drain a node, which gets nothing new from now on.
pub(crate) async fn begin(
    control: &Arc<Control>,
    node: NodeId,
    terms: Terms,
) -> Result<watch::Receiver<Progress>, Refused> {
    let terms = Terms { parallel: terms.parallel.clamp(1, PARALLEL_MAX), ..terms };
    if let Some(before) = control.drains.terms(node)
        && (before.parallel, before.accept_loss) != (terms.parallel, terms.accept_loss)
    {
        let name = control.node_name(node);
        let message = format!("{name} is being drained already, in another way");
        let next = format!("wait for it; or end it, paracloud node open {name}, and say it again");
        return Err(refused("busy", message, next));
    }
    // Who joins one that goes on asks for nothing that could be in its way.
    if control.drains.terms(node).is_none() {
        plan(control, node)?;
    }
    close(control, node, true).await?;
    control.drains.begin(node, terms).map_err(|error| {
        let message = format!("nothing was begun: {}: {error}", control.layout.draining().display());
        refused("no_space", message, "free some space on that disk")
    })
}

/// What would become of each instance of a node now. Nothing is changed.
pub(crate) async fn rehearse(
    control: &Arc<Control>,
    node: NodeId,
    terms: Terms,
) -> Result<Vec<Drained>, Refused> {
    let going = plan(control, node)?;
    let progress = Arc::default();
    Ok(each(control, going, Some(terms), &progress).await)
}

/// A node gets nothing new from now on, or does again.
pub(crate) async fn close(control: &Control, node: NodeId, is_closed: bool) -> Result<(), Refused> {
    if control.cloud().node(node).is_none() {
        return Err(unknown_node(control, node));
    }
    let kept = if is_closed { Ok(()) } else { control.drains.end(node) };
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
async fn drain(control: Arc<Control>, Taken { node, progress, was_kept }: Taken) {
    if was_kept {
        there(&control, node).await;
    }
    let over = match plan(&control, node) {
        Err(refused) => Over::Refused(refused),
        Ok(going) => {
            let drained = each(&control, going, None, &progress).await;
            let stays = |name: &String| drained.iter().any(|it| it.instance == *name && !it.is_gone());
            let missed = owned(&control, node).into_iter().filter(|name| !stays(name)).collect();
            Over::Done(missed)
        }
    };
    // Who opened the node and drains it again begins another one.
    if let Err(error) = control.drains.end_if(node, |drain| Arc::ptr_eq(&drain.progress, &progress)) {
        tracing::warn!(%node, %error, "a drain that is over is kept: the next controller looks at the node again");
    }
    progress.send_modify(|it| it.end = Some(over));
}

/// Waits until what runs on a node is known, after the controller began.
async fn there(control: &Control, node: NodeId) {
    let until = now_unix_ms() + THERE_MS_MAX;
    while now_unix_ms() < until {
        let is_there = control.peers.is_there(Peer::Agent(node));
        let is_known = |name: &String| control.views.of(name).is_some_and(|view| view.record.is_some());
        if is_there && control.fleet.there().iter().all(is_known) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
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
fn plan(control: &Control, node: NodeId) -> Result<Vec<Going>, Refused> {
    let cloud = control.cloud();
    let name = control.node_name(node);
    if cloud.node(node).is_none() {
        return Err(unknown_node(control, node));
    }
    if owned(control, node).is_empty() {
        return Ok(Vec::new());
    }
    if !control.peers.is_there(Peer::Agent(node)) {
        let message =
            format!("{name}: its agent is not connected: what runs there can neither be asked nor moved");
        let next = format!("wait for it; if it will not come back: paracloud node lost {name}");
        return Err(refused("node_unreachable", message, next));
    }
    let owners = control.owners();
    let placed = owners.iter().filter_map(|(name, node)| {
        let app = cloud.app_of(name).filter(|_| control.fleet.has(name))?;
        Some(Placed { name, app: &app.name, node: *node })
    });
    let mut placed: Vec<_> = placed.collect();
    placed.sort_by(|left, right| names::order(left.name, right.name));
    let most = |app: &str| {
        let app = cloud.apps.iter().find(|it| it.name == app).filter(|it| it.is_stateless())?;
        Some(app.scale?.max)
    };
    let Some(ways) = draining::plan(node, &placed, &control.nodes_there(), most) else {
        let message = format!("{name}: no other node is connected that takes instances");
        return Err(refused("no_other_node", message, "look at paracloud ps"));
    };
    let going = |(instance, way): (&str, _)| Going { instance: instance.to_owned(), from: node, way };
    Ok(ways.into_iter().map(going).collect())
}

/// What becomes of each, a few at a time, in the order in which they were planned. With `rehearsal` nothing is done.
async fn each(
    control: &Arc<Control>,
    going: Vec<Going>,
    rehearsal: Option<Terms>,
    progress: &Arc<watch::Sender<Progress>>,
) -> Vec<Drained> {
    let mut queue: VecDeque<_> = going.into_iter().enumerate().collect();
    let (mut running, mut all) = (JoinSet::new(), BTreeMap::new());
    loop {
        let node = queue.front().map(|(_, going)| going.from);
        let terms = rehearsal.or_else(|| control.drains.terms(node?));
        let parallel = terms.map_or(0, |terms| usize::try_from(terms.parallel).unwrap_or(1));
        while running.len() < parallel
            && let Some((place, going)) = queue.pop_front()
        {
            let (control, progress) = (Arc::clone(control), Arc::clone(progress));
            let is_rehearsal = rehearsal.is_some();
            running
                .spawn(async move { (place, Box::pin(go(&control, going, is_rehearsal, &progress)).await) });
        }
        if let Some(joined) = running.join_next().await {
            let Ok((place, drained)) = joined else { continue };
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

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { parallel: 2, until_unix_ms: 5, accept_loss: false };

    #[test]
    fn a_drain_is_kept_until_it_is_over_and_found_by_the_next_controller() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        let drains = Drains::load(&layout);
        let first = drains.begin(NodeId(1), TERMS).unwrap();
        assert_eq!(Drains::load(&layout).terms(NodeId(1)), Some(TERMS), "from its beginning");
        drains.begin(NodeId(2), Terms { accept_loss: true, ..TERMS }).unwrap();
        assert_eq!(drains.take().len(), 2);
        assert!(drains.take().is_empty(), "somebody works on them");
        let again = drains.begin(NodeId(1), TERMS).unwrap();
        assert!(again.same_channel(&first), "who asks again hears of the same");
        drains.end(NodeId(2)).unwrap();
        let next = Drains::load(&layout);
        assert_eq!(next.terms(NodeId(1)), Some(TERMS));
        assert_eq!(next.take().into_iter().map(|taken| taken.node).collect::<Vec<_>>(), [NodeId(1)]);
        next.end(NodeId(1)).unwrap();
        assert!(Drains::load(&layout).take().is_empty());
    }

    #[test]
    fn what_cannot_be_kept_is_not_begun_and_not_ended() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        let drains = Drains::load(&layout);
        drains.begin(NodeId(1), TERMS).unwrap();
        std::fs::create_dir(layout.draining().with_extension("new")).unwrap();
        assert!(drains.begin(NodeId(2), TERMS).is_err() && drains.terms(NodeId(2)).is_none());
        assert!(drains.end(NodeId(1)).is_err());
        assert_eq!(drains.terms(NodeId(1)), Some(TERMS), "the next controller would go on");
    }
}
