//! Which instances there are, and the inbox of each.
//!
//! An app without `scale` has one. Of one with `scale` there are those that the register has a record of, those that a node
//! knows of, and those that are started here. One that has never run (no record, and no node knows of any of its
//! instances, once every node was heard or declared lost) gets its first ones.
//!
//! One that left is driven on, because its record is kept and its numbers never come again; but it is none that the app has.
//! Its name is free: whoever is added next under it is started by its record, under the next incarnation.

use crate::control::locked;
use crate::instance::Told;
use crate::marks::{Mark, Marks};
use paracloud_core::draining;
use paracloud_core::ids::{NodeId, OperationNumber};
use paracloud_core::register::Record;
use paracloud_substrate::config::{App, Cloud};
use paracloud_substrate::message::Known;
use paracloud_substrate::names::{INSTANCES_PER_APP_MAX, InstanceName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use tokio::sync::mpsc;

/// Inputs waiting for one instance; who has one more waits.
pub(crate) const INBOX_MAX: usize = 1024;

/// An instance that is to be driven from now on.
#[derive(Debug)]
pub(crate) struct Birth {
    pub(crate) name: String,
    pub(crate) app: App,
    /// Where it is started, if nobody has heard of it.
    pub(crate) node: NodeId,
    pub(crate) inbox: mpsc::Receiver<Told>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Fleet {
    parts: Mutex<Parts>,
    births: mpsc::UnboundedSender<Birth>,
}

#[derive(Debug, Default)]
struct Parts {
    inboxes: BTreeMap<String, mpsc::Sender<Told>>,
    /// Where each is started, if nobody has heard of it.
    places: BTreeMap<String, NodeId>,
    /// Nodes that have said what they know.
    introduced: BTreeSet<NodeId>,
    /// Apps of which an instance is known.
    has_run: BTreeSet<String>,
    /// Those that left, as their records say.
    gone: BTreeSet<String>,
    /// Those of them that are being started anew.
    claimed: Marks,
}

/// An instance that an app gets.
#[derive(Debug)]
pub(crate) struct Added {
    pub(crate) name: String,
    pub(crate) node: NodeId,
    /// There was one of this name, which left: it is to be told to start. Until that is answered or given up it is held, and
    /// the app has it.
    pub(crate) anew: Option<Mark>,
}

/// Why no instance can be added to an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// It has one, and no `scale`.
    NotScaled,
    /// There are as many as there may be.
    Most(u32),
    /// There is no node that could take it.
    NoNode,
}

/// Where instances are, by their names.
pub(crate) type Places = BTreeMap<String, NodeId>;

impl Fleet {
    /// The instances of a cloud, of which the register has these records, and those that were ordered and are not in it yet,
    /// each with its node. Those that are to be driven are in the other end.
    /// There are never more than a bounded number of names, and each is in it once.
    pub(crate) fn new<'a>(
        cloud: &Cloud,
        records: impl Iterator<Item = (&'a String, &'a Record)>,
        ordered: &[(String, NodeId)],
    ) -> (Self, mpsc::UnboundedReceiver<Birth>) {
        let (births, born) = mpsc::unbounded_channel();
        let fleet = Self { parts: Mutex::default(), births };
        let mut parts = locked(&fleet.parts);
        for app in cloud.apps.iter().filter(|app| app.scale.is_none()) {
            fleet.bear(&mut parts, app, &app.name, app.node);
        }
        for (name, record) in records {
            if let Some(app) = cloud.app_of(name).filter(|app| app.scale.is_some()) {
                parts.has_run.insert(app.name.clone());
                parts.gone.extend(record.gone.then(|| name.clone()));
                fleet.bear(&mut parts, app, name, app.node);
            }
        }
        for (name, node) in ordered {
            if let Some(app) = cloud.app_of(name).filter(|app| app.scale.is_some()) {
                parts.has_run.insert(app.name.clone());
                fleet.bear(&mut parts, app, name, *node);
            }
        }
        drop(parts);
        (fleet, born)
    }

    /// Makes the inbox of an instance, if there is none.
    fn bear(&self, parts: &mut Parts, app: &App, name: &str, node: NodeId) {
        if parts.inboxes.contains_key(name) {
            return;
        }
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        // Who was heard before it was heard of did not know of it.
        for node in &parts.introduced {
            let _ = sender.try_send(Told::Known(*node, nothing(name)));
        }
        parts.inboxes.insert(name.to_owned(), sender);
        parts.places.insert(name.to_owned(), node);
        // When nobody takes it, the controller ends.
        let _ = self.births.send(Birth { name: name.to_owned(), app: app.clone(), node, inbox });
    }

    /// There are apps that were not there before. What nodes know of them is not known: all are heard again.
    pub(crate) fn widen(&self, cloud: &Cloud) {
        let mut parts = locked(&self.parts);
        parts.introduced.clear();
        for app in cloud.apps.iter().filter(|app| app.scale.is_none()) {
            self.bear(&mut parts, app, &app.name, app.node);
        }
    }

    /// The inbox of an instance.
    pub(crate) fn inbox(&self, name: &str) -> Option<mpsc::Sender<Told>> {
        locked(&self.parts).inboxes.get(name).cloned()
    }

    /// Whether there is an instance of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        locked(&self.parts).inboxes.contains_key(name)
    }

    /// All that are driven: also those that left.
    pub(crate) fn names(&self) -> Vec<String> {
        locked(&self.parts).inboxes.keys().cloned().collect()
    }

    /// All instances: none that left.
    pub(crate) fn there(&self) -> Vec<String> {
        let parts = locked(&self.parts);
        parts.inboxes.keys().filter(|name| parts.is_there(name)).cloned().collect()
    }

    /// What the record of an instance says: it left, or it did not.
    pub(crate) fn mark(&self, name: &str, is_gone: bool) {
        let mut parts = locked(&self.parts);
        if !is_gone {
            parts.gone.remove(name);
        } else if !parts.gone.contains(name) {
            parts.gone.insert(name.to_owned());
        }
    }

    /// A node says what it knows. Those are all instances that are to hear of it.
    pub(crate) fn introduce(&self, cloud: &Cloud, node: NodeId, known: &[Known]) -> Vec<String> {
        let mut parts = locked(&self.parts);
        for known in known.iter().filter(|known| says_something(known)) {
            if let Some(app) = cloud.app_of(&known.instance).filter(|app| app.scale.is_some()) {
                parts.has_run.insert(app.name.clone());
                self.bear(&mut parts, app, &known.instance, app.node);
            }
        }
        parts.introduced.insert(node);
        parts.inboxes.keys().cloned().collect()
    }

    /// Gives apps that have never run their first instances, once every node that is not lost was heard.
    /// Nodes that are `closed` get none.
    pub(crate) fn found(
        &self,
        cloud: &Cloud,
        lost: &BTreeSet<NodeId>,
        owners: &Places,
        closed: impl Fn(NodeId) -> bool,
    ) {
        let mut parts = locked(&self.parts);
        let here: Vec<_> =
            cloud.nodes.iter().map(|node| node.id).filter(|node| !lost.contains(node)).collect();
        if !here.iter().all(|node| parts.introduced.contains(node)) {
            return;
        }
        let open: Vec<_> = here.into_iter().filter(|node| !closed(*node)).collect();
        for app in &cloud.apps {
            let Some(scale) = app.scale.filter(|_| !parts.has_run.contains(&app.name)) else { continue };
            for number in 1..=scale.start {
                let Ok(name) = InstanceName::numbered(&app.name, number) else { break };
                let places = parts.places_with(owners);
                let Some(node) = roomiest(&app.name, &open, &places) else { return };
                self.bear(&mut parts, app, &name.to_string(), node);
            }
            parts.has_run.insert(app.name.clone());
        }
    }

    /// Adds an instance to an app: under the lowest number that is free, on the node of these that has the fewest.
    pub(crate) fn add(&self, app: &App, nodes: &[NodeId], owners: &Places) -> Result<Added, Full> {
        let mut parts = locked(&self.parts);
        let (name, node) = parts.plan(app, 1, nodes, owners)?.pop().ok_or(Full::NoNode)?;
        parts.has_run.insert(app.name.clone());
        let anew = parts.inboxes.contains_key(&name).then(|| parts.claimed.set(&name));
        if anew.is_some() {
            parts.places.insert(name.clone(), node);
        } else {
            self.bear(&mut parts, app, &name, node);
        }
        Ok(Added { name, node, anew })
    }

    /// Which ones would be added to an app, and where.
    pub(crate) fn plan(
        &self,
        app: &App,
        count: u32,
        nodes: &[NodeId],
        owners: &Places,
    ) -> Result<Vec<(String, NodeId)>, Full> {
        locked(&self.parts).plan(app, count, nodes, owners)
    }
}

impl Parts {
    fn plan(
        &self,
        app: &App,
        count: u32,
        nodes: &[NodeId],
        owners: &Places,
    ) -> Result<Vec<(String, NodeId)>, Full> {
        let scale = app.scale.ok_or(Full::NotScaled)?;
        if self.count(&app.name).saturating_add(count) > scale.max {
            return Err(Full::Most(scale.max));
        }
        let mut places = self.places_with(owners);
        let mut planned = Vec::new();
        let numbers = 1..=INSTANCES_PER_APP_MAX;
        let names = numbers.filter_map(|number| InstanceName::numbered(&app.name, number).ok());
        let names = names.map(|name| name.to_string()).filter(|name| self.is_free(name));
        for name in names.take(usize::try_from(count).unwrap_or(usize::MAX)) {
            let node = roomiest(&app.name, nodes, &places).ok_or(Full::NoNode)?;
            places.insert(name.clone(), node);
            planned.push((name, node));
        }
        Ok(planned)
    }

    fn count(&self, app: &str) -> u32 {
        let own = self.inboxes.keys().filter(|name| is_of(name, app) && self.is_there(name));
        u32::try_from(own.count()).unwrap_or(u32::MAX)
    }

    fn is_there(&self, name: &str) -> bool {
        !self.gone.contains(name) || self.claimed.has(name)
    }

    fn is_free(&self, name: &str) -> bool {
        !self.inboxes.contains_key(name) || !self.is_there(name)
    }

    /// Where each instance is: where its owner is, or else where it is to be started.
    fn places_with(&self, owners: &Places) -> Places {
        let planned = self.places.iter().filter(|(name, _)| self.is_there(name));
        let planned = planned.map(|(name, node)| (name.clone(), *node));
        planned.chain(owners.iter().map(|(name, node)| (name.clone(), *node))).collect()
    }
}

/// The node that one more of an app goes to.
fn roomiest(app: &str, nodes: &[NodeId], places: &Places) -> Option<NodeId> {
    let named = places.iter().map(|(name, node)| (name.parse::<InstanceName>().ok(), *node));
    let named: Vec<_> = named.collect();
    let placed = named.iter().map(|(name, node)| (name.as_ref().map_or("", InstanceName::app), *node));
    draining::roomiest(app, nodes, placed)
}

fn is_of(instance: &str, app: &str) -> bool {
    instance.parse::<InstanceName>().is_ok_and(|instance| instance.app() == app)
}

/// What a node says that has never heard of an instance.
pub(crate) fn nothing(instance: &str) -> Known {
    Known {
        instance: instance.to_owned(),
        record: None,
        operation: OperationNumber::default(),
        alive: Vec::new(),
        dead: Vec::new(),
    }
}

fn says_something(known: &Known) -> bool {
    *known != nothing(&known.instance)
}

#[cfg(test)]
mod tests;
