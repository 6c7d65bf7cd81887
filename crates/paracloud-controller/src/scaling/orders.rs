//! What people's orders were made into, looked up in the log of decisions.

use super::explain::{About, Scaled};
use super::lookup::{self, Found};
use paracloud_core::ordered::{Decision, Record};
use paracloud_substrate::decision::Opened;
use paracloud_substrate::explained::{Ordered, Role};
use std::io;
use std::ops::ControlFlow;

/// Adds those that are asked after, the newest of each role. Whether every line could be read.
pub(super) fn read(asked: &Scaled<'_>, orders: &mut Vec<Ordered>) -> io::Result<bool> {
    let Scaled { app, about, .. } = *asked;
    let mut wanted = match about {
        About::App => vec![Role::Acted],
        About::Instance(_) => vec![Role::Changed, Role::Started, Role::Looked],
        About::Operation(..) => vec![Role::GaveUp, Role::Opened],
    };
    lookup::decisions(asked, |found: Found<Record>| {
        let role = role(about, app, &found.app, &found.record, &found.followed)
            .filter(|role| found.is_of_this_one || *role != Role::Looked);
        if let Some(at) = wanted.iter().position(|wanted| role == Some(*wanted)) {
            let (role, record) = (wanted.swap_remove(at), Box::new(found.record));
            orders.push(Ordered { role, unix_ms: found.unix_ms, record, opened: found.followed });
        }
        if wanted.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

/// What a decision is to what is asked after.
fn role(about: &About, app: &str, of: &str, record: &Record, opened: &[Opened]) -> Option<Role> {
    let revokes = matches!(record.decision, Decision::More(_));
    match about {
        About::App => (of == app || record.drains(app)).then_some(Role::Acted),
        About::Instance(instance) => {
            let name = instance.to_string();
            match opened.iter().find(|it| it.instance == name && it.hindrance.is_none()) {
                Some(Opened { operation: Some(_), .. }) => Some(Role::Changed),
                Some(Opened { operation: None, .. }) => Some(Role::Started),
                None => record.is_about(&name).then_some(Role::Looked),
            }
        }
        About::Operation(instance, operation) => {
            let name = instance.to_string();
            let is_it = |it: &Opened| it.instance == name && it.operation == Some(*operation);
            let role = if revokes { Role::GaveUp } else { Role::Opened };
            opened.iter().any(is_it).then_some(role)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::draining::Placed;
    use paracloud_core::ids::{NodeId, OperationNumber};
    use paracloud_core::ordered::{Candidate, Drain, Fewer, More};
    use paracloud_substrate::decision::{self, Hindrance, Log};
    use std::path::Path;

    /// One is let go, then called back while another one is started.
    fn logged(directory: &Path) {
        let candidate = |instance: &str| {
            let (node, in_flight, obstacle) = (None, None, None);
            Candidate {
                instance: instance.to_owned(),
                node,
                in_flight,
                sessions: None,
                is_down: false,
                obstacle,
            }
        };
        let fewer = Fewer::of("web", 2, 1, vec![candidate("web.2"), candidate("web.1")], true);
        let fewer = Decision::Fewer(fewer.with(vec![0, 1], vec![None, None]).decided());
        let more = Decision::More(More::of("web", 1, 3, vec!["web.2".to_owned()]));
        let mut log = Log::open(directory).unwrap();
        let mut write = |at_ms, decision, opened: &[(&str, Option<u32>)]| {
            let record = Record { at_ms, decision };
            log.write("web", decision::Decision::Ordered(&record)).unwrap();
            for (instance, operation) in opened {
                let (instance, operation) = ((*instance).to_owned(), operation.map(OperationNumber));
                let opened = Opened { decided_ms: at_ms, instance, operation, hindrance: None };
                log.write("web", decision::Decision::Opened(&opened)).unwrap();
            }
        };
        write(1, fewer, &[("web.2", Some(4))]);
        write(2, more, &[("web.2", Some(4)), ("web.3", None)]);
    }

    #[test]
    fn a_drain_of_a_node_is_an_order_about_the_apps_that_had_something_there() {
        let directory = tempfile::tempdir().unwrap();
        logged(directory.path());
        let placed = |name: &str, app: &str, node| {
            let (name, app) = (name.to_owned(), app.to_owned());
            Placed { name, app, node: NodeId(node) }
        };
        let placed = vec![placed("web.1", "web", 1), placed("db", "db", 2)];
        let drain = Drain::of(NodeId(1), placed, vec![NodeId(2)], [("web".to_owned(), 8)].into());
        let record = Record { at_ms: 3, decision: Decision::Drain(drain) };
        let mut log = Log::open(directory.path()).unwrap();
        log.write("", decision::Decision::Ordered(&record)).unwrap();
        let why = "web.1: it holds on to its place for 7.00 s: backup".to_owned();
        let hindrance = Some(Hindrance { why, until_unix_ms: Some(7_003), stays: true });
        let kept = Opened { decided_ms: 3, instance: "web.1".to_owned(), operation: None, hindrance };
        log.write("", decision::Decision::Opened(&kept)).unwrap();
        let about = About::Instance("web.1".parse().unwrap());
        let of_one = Scaled { app: "web", about: &about, directory: directory.path(), began_unix_ms: 0 };
        assert_eq!(found(&of_one), [(Role::Looked, 3)], "nothing was begun on who was kept from it");
        let of =
            |app| found(&Scaled { app, about: &About::App, directory: directory.path(), began_unix_ms: 0 });
        assert_eq!(of("web"), [(Role::Acted, 3)]);
        assert_eq!(of("db"), [], "it was on another node");
    }

    fn found(asked: &Scaled<'_>) -> Vec<(Role, u64)> {
        let mut orders = Vec::new();
        assert!(read(asked, &mut orders).unwrap());
        let mut found: Vec<_> = orders.iter().map(|it| (it.role, it.record.at_ms)).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn an_order_is_found_by_its_app_by_those_whom_it_touched_and_by_the_operations_that_came_of_it() {
        let directory = tempfile::tempdir().unwrap();
        logged(directory.path());
        let asked = |app: &str, about: &About, began_unix_ms: u64| {
            found(&Scaled { app, about, directory: directory.path(), began_unix_ms })
        };
        let of = |about: &About| asked("web", about, 0);
        let instance = |name: &str| About::Instance(name.parse().unwrap());
        assert_eq!(of(&About::App), [(Role::Acted, 2)]);
        assert_eq!(of(&instance("web.1")), [(Role::Looked, 1)]);
        assert_eq!(of(&instance("web.2")), [(Role::Changed, 2)]);
        assert_eq!(of(&instance("web.3")), [(Role::Started, 2)]);
        let operation = |number| About::Operation("web.2".parse().unwrap(), OperationNumber(number));
        assert_eq!(of(&operation(4)), [(Role::Opened, 1), (Role::GaveUp, 2)]);
        assert_eq!(of(&operation(3)), [], "that one was somebody else's");
        assert_eq!(asked("other", &About::App, 0), []);
        for name in ["web.1", "web.2", "web.3"] {
            assert_eq!(asked("web", &instance(name), u64::MAX), [], "{name} is another one by now");
        }
    }
}
