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
    claimed: BTreeSet<String>,
}

/// An instance that an app gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) name: String,
    pub(crate) node: NodeId,
    /// There was one of this name, which left: it is to be told to start.
    pub(crate) anew: bool,
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

    /// One that was added anew was told so, and has answered.
    pub(crate) fn unclaim(&self, name: &str) {
        locked(&self.parts).claimed.remove(name);
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

    /// Adds an instance to an app: under the lowest number that is free, on the node of these that has the fewest. Who is
    /// added anew is claimed until that is taken back.
    pub(crate) fn add(&self, app: &App, nodes: &[NodeId], owners: &Places) -> Result<Added, Full> {
        let mut parts = locked(&self.parts);
        let (name, node) = parts.plan(app, 1, nodes, owners)?.pop().ok_or(Full::NoNode)?;
        parts.has_run.insert(app.name.clone());
        let anew = parts.inboxes.contains_key(&name);
        if anew {
            parts.claimed.insert(name.clone());
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
        !self.gone.contains(name) || self.claimed.contains(name)
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
mod tests {
    use super::*;
    use paracloud_core::ids::{Placement, StartId};
    use paracloud_substrate::config::{Node, Scale};

    fn cloud(start: u32) -> Cloud {
        let node = |id: u32| Node { id: NodeId(id), name: format!("n{id}"), host: [127, 0, 1, 1].into() };
        let scale = Some(Scale { max: 4, start, ..Scale::default() });
        let worker = App { scale, ..App::new("worker", vec!["worker".to_owned()]) };
        let web = App::new("web", vec!["web".to_owned()]);
        Cloud { nodes: vec![node(1), node(2), node(3)], gateways: Vec::new(), apps: vec![web, worker] }
    }

    fn there(name: &str) -> (String, Record) {
        (name.to_owned(), Record::first(Placement::new(NodeId(1), StartId(1))))
    }

    fn left(name: &str) -> (String, Record) {
        let (name, record) = there(name);
        (name, Record { gone: true, ..record })
    }

    fn each(records: &[(String, Record)]) -> impl Iterator<Item = (&String, &Record)> {
        records.iter().map(|(name, record)| (name, record))
    }

    fn there_are(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn added(name: &str, node: u32, anew: bool) -> Added {
        Added { name: name.to_owned(), node: NodeId(node), anew }
    }

    fn nodes() -> [NodeId; 3] {
        [1, 2, 3].map(NodeId)
    }

    fn born(births: &mut mpsc::UnboundedReceiver<Birth>) -> Vec<(String, u32)> {
        std::iter::from_fn(|| births.try_recv().ok()).map(|birth| (birth.name, birth.node.0)).collect()
    }

    fn at(places: &[(&str, u32)]) -> Vec<(String, u32)> {
        places.iter().map(|(name, node)| ((*name).to_owned(), *node)).collect()
    }

    #[test]
    fn an_app_that_has_never_run_gets_its_first_instances_once_every_node_was_heard() {
        let cloud = cloud(3);
        let (fleet, mut births) = Fleet::new(&cloud, std::iter::empty(), &[]);
        assert_eq!(born(&mut births), at(&[("web", 1)]));
        let (lost, owners) = (BTreeSet::from([NodeId(3)]), Places::new());
        fleet.introduce(&cloud, NodeId(1), &[nothing("web"), nothing("worker.2")]);
        fleet.found(&cloud, &lost, &owners, |_| false);
        assert!(born(&mut births).is_empty(), "one node was not heard");
        assert_eq!(fleet.introduce(&cloud, NodeId(2), &[]), ["web"]);
        fleet.found(&cloud, &lost, &owners, |_| true);
        assert!(born(&mut births).is_empty(), "no node takes any");
        fleet.found(&cloud, &lost, &owners, |_| false);
        let first = at(&[("worker.1", 2), ("worker.2", 1), ("worker.3", 2)]);
        assert_eq!(born(&mut births), first, "spread over those that are there, the fewest first");
        fleet.found(&cloud, &BTreeSet::new(), &owners, |_| false);
        assert!(born(&mut births).is_empty(), "once and for all");
    }

    #[test]
    fn what_the_register_or_a_node_knows_of_is_there_and_nothing_is_added_to_it() {
        let cloud = cloud(3);
        let records = ["worker.4", "worker", "gone.1"].map(there);
        let (fleet, mut births) = Fleet::new(&cloud, each(&records), &[]);
        assert_eq!(born(&mut births), at(&[("web", 1), ("worker.4", 1)]));
        let lives = Known { alive: vec![(StartId(7), false)], ..nothing("worker.2") };
        let foreign = Known { alive: vec![(StartId(8), false)], ..nothing("other.1") };
        let told = fleet.introduce(&cloud, NodeId(1), &[lives, foreign, nothing("worker.1")]);
        assert_eq!(told, ["web", "worker.2", "worker.4"]);
        for node in nodes() {
            fleet.introduce(&cloud, node, &[]);
        }
        fleet.found(&cloud, &BTreeSet::new(), &Places::new(), |_| false);
        assert_eq!(born(&mut births), at(&[("worker.2", 1)]));
    }

    #[test]
    fn one_that_is_added_gets_the_lowest_free_number_and_the_emptiest_node_within_the_bound() {
        let cloud = cloud(1);
        let records = ["worker.1", "worker.3"].map(there);
        let (fleet, mut births) = Fleet::new(&cloud, each(&records), &[]);
        born(&mut births);
        let app = cloud.app("worker").unwrap();
        let owners = Places::from([("worker.1".to_owned(), NodeId(2)), ("worker.3".to_owned(), NodeId(3))]);
        assert_eq!(fleet.add(app, &nodes(), &owners), Ok(added("worker.2", 1, false)));
        assert_eq!(fleet.add(app, &nodes()[1..], &owners), Ok(added("worker.4", 2, false)));
        assert_eq!(fleet.add(app, &nodes(), &owners), Err(Full::Most(4)));
        assert_eq!(fleet.add(cloud.app("web").unwrap(), &nodes(), &owners), Err(Full::NotScaled));
    }

    #[test]
    fn the_number_of_one_that_left_is_the_first_to_be_used_again_and_it_is_none_that_the_app_has() {
        let cloud = cloud(1);
        let records = [there("worker.1"), left("worker.2"), there("worker.3"), left("worker.4")];
        let (fleet, mut births) = Fleet::new(&cloud, each(&records), &[]);
        assert_eq!(births.try_recv().unwrap().name, "web");
        assert_eq!(born(&mut births).len(), 4, "they are driven all the same");
        let app = cloud.app("worker").unwrap();
        assert_eq!((fleet.there(), fleet.names().len()), (there_are(&["web", "worker.1", "worker.3"]), 5));
        let owners = Places::from([("worker.1".to_owned(), NodeId(2)), ("worker.3".to_owned(), NodeId(3))]);
        let planned = fleet.plan(app, 2, &nodes(), &owners).unwrap();
        assert_eq!(planned, [("worker.2".to_owned(), NodeId(1)), ("worker.4".to_owned(), NodeId(2))]);
        assert_eq!(fleet.add(app, &nodes(), &owners), Ok(added("worker.2", 1, true)));
        // Its record says that it left until it was told to start: it is not given away twice meanwhile.
        fleet.mark("worker.2", true);
        assert_eq!(fleet.there(), there_are(&["web", "worker.1", "worker.2", "worker.3"]));
        assert_eq!(fleet.add(app, &nodes(), &owners), Ok(added("worker.4", 2, true)));
        assert_eq!(fleet.add(app, &nodes(), &owners), Err(Full::Most(4)));
        // It could not be started: its name is free again.
        fleet.unclaim("worker.2");
        assert_eq!(fleet.there(), there_are(&["web", "worker.1", "worker.3", "worker.4"]));
        fleet.mark("worker.4", false);
        fleet.unclaim("worker.4");
        assert_eq!(fleet.there(), there_are(&["web", "worker.1", "worker.3", "worker.4"]));
    }

    #[test]
    fn who_was_heard_before_an_instance_was_heard_of_knew_nothing_of_it() {
        let cloud = cloud(1);
        let (fleet, mut births) = Fleet::new(&cloud, std::iter::empty(), &[]);
        born(&mut births);
        fleet.introduce(&cloud, NodeId(1), &[]);
        let app = cloud.app("worker").unwrap();
        assert_eq!(fleet.add(app, &[], &Places::new()), Err(Full::NoNode));
        fleet.add(app, &nodes(), &Places::new()).unwrap();
        let mut birth = births.try_recv().unwrap();
        let told = birth.inbox.try_recv().unwrap();
        assert!(matches!(told, Told::Known(NodeId(1), known) if known == nothing("worker.1")));
        assert!(birth.inbox.try_recv().is_err());
    }
}
