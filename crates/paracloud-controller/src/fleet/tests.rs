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

/// Whether it is what was added.
fn is(added: &Result<Added, Full>, name: &str, node: u32, anew: bool) -> bool {
    added.as_ref().is_ok_and(|it| it.name == name && it.node == NodeId(node) && it.anew.is_some() == anew)
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
    assert!(is(&fleet.add(app, &nodes(), &owners), "worker.2", 1, false));
    assert!(is(&fleet.add(app, &nodes()[1..], &owners), "worker.4", 2, false));
    assert_eq!(fleet.add(app, &nodes(), &owners).unwrap_err(), Full::Most(4));
    assert_eq!(fleet.add(cloud.app("web").unwrap(), &nodes(), &owners).unwrap_err(), Full::NotScaled);
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
    let second = fleet.add(app, &nodes(), &owners);
    assert!(is(&second, "worker.2", 1, true));
    // Its record says that it left until it was told to start: it is not given away twice meanwhile.
    fleet.mark("worker.2", true);
    assert_eq!(fleet.there(), there_are(&["web", "worker.1", "worker.2", "worker.3"]));
    let fourth = fleet.add(app, &nodes(), &owners);
    assert!(is(&fourth, "worker.4", 2, true));
    assert_eq!(fleet.add(app, &nodes(), &owners).unwrap_err(), Full::Most(4));
    // It could not be started: its name is free again.
    drop(second);
    assert_eq!(fleet.there(), there_are(&["web", "worker.1", "worker.3", "worker.4"]));
    fleet.mark("worker.4", false);
    drop(fourth);
    assert_eq!(fleet.there(), there_are(&["web", "worker.1", "worker.3", "worker.4"]));
    fleet.mark("worker.4", true);
    assert_eq!(fleet.there(), there_are(&["web", "worker.1", "worker.3"]), "it left again");
}

#[test]
fn who_was_heard_before_an_instance_was_heard_of_knew_nothing_of_it() {
    let cloud = cloud(1);
    let (fleet, mut births) = Fleet::new(&cloud, std::iter::empty(), &[]);
    born(&mut births);
    fleet.introduce(&cloud, NodeId(1), &[]);
    let app = cloud.app("worker").unwrap();
    assert_eq!(fleet.add(app, &[], &Places::new()).unwrap_err(), Full::NoNode);
    fleet.add(app, &nodes(), &Places::new()).unwrap();
    let mut birth = births.try_recv().unwrap();
    let told = birth.inbox.try_recv().unwrap();
    assert!(matches!(told, Told::Known(NodeId(1), known) if known == nothing("worker.1")));
    assert!(birth.inbox.try_recv().is_err());
}
