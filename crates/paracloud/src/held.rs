//! What the instances of a cloud hold in memory, as far as it is known: what ends with their processes.

use crate::processes::Process;
use paracloud_substrate::config::{App, Cloud};
use paracloud_substrate::person::{Instance, Status};
use std::collections::BTreeSet;

/// An instance that may hold state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub instance: String,
    /// Why it is not known what it holds, if so; else it serves, and holds what it was told.
    pub unknown: Option<String>,
}

impl Held {
    /// What is at stake, in a sentence that goes on after its name.
    pub fn why(&self) -> String {
        match &self.unknown {
            None => "it holds state in its memory".to_owned(),
            Some(why) => format!("what it holds is not known ({why})"),
        }
    }
}

/// Every instance that may hold state: all but those without any, and those of which no process may live. `status` is
/// what the controller says, if it answers; `cloud` the configuration, if there is one.
pub fn all(status: Option<&Status>, cloud: Option<&Cloud>, processes: &[Process]) -> Vec<Held> {
    let living = processes.iter().filter(|process| process.may_live());
    let names: BTreeSet<_> = living.map(|process| process.instance.as_str()).collect();
    let may_hold = |name: &&str| !is_stateless(name, cloud);
    let held = |name: &str| Held { instance: name.to_owned(), unknown: unknown(name, status) };
    names.into_iter().filter(may_hold).map(held).collect()
}

/// Whether a configuration says that an instance holds nothing. One that does not know it says nothing.
pub fn is_stateless(instance: &str, cloud: Option<&Cloud>) -> bool {
    cloud.and_then(|cloud| cloud.app_of(instance)).is_some_and(App::is_stateless)
}

fn unknown(name: &str, status: Option<&Status>) -> Option<String> {
    let Some(status) = status else { return Some("the controller does not answer".to_owned()) };
    match status.instances.iter().find(|instance| instance.name == name) {
        None => Some("the controller does not know of it".to_owned()),
        Some(Instance { unknown: Some(why), .. }) => Some(why.clone()),
        Some(Instance { record: None, .. }) => Some("it is not decided yet who owns".to_owned()),
        Some(Instance { record: Some(record), .. }) if record.served.is_none() => {
            Some("its owner does not serve yet".to_owned())
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{NodeId, Placement, StartId};
    use paracloud_core::migration::Phase;
    use paracloud_core::register::{Change, Mode, Proposer, Record};
    use paracloud_substrate::config::State;
    use paracloud_substrate::process::Identity;
    use std::path::Path;
    use std::time::SystemTime;

    const SOURCE: Placement = Placement::new(NodeId(1), StartId(7));
    const TARGET: Placement = Placement::new(NodeId(2), StartId(8));

    /// One that lives: this very process.
    fn living(directory: &Path, instance: &str) -> Process {
        let identity = serde_json::to_vec(&Identity::own().unwrap()).unwrap();
        std::fs::write(directory.join("identity.json"), identity).unwrap();
        Process::at("n1", StartId(7), instance, SystemTime::now(), directory)
    }

    fn status(record: Option<Record>, unknown: Option<&str>) -> Status {
        let unknown = unknown.map(str::to_owned);
        let (name, phase) = ("web".to_owned(), Phase::Idle);
        let instance = Instance {
            name,
            record,
            phase,
            unknown,
            state: State::Stateful,
            age_ms: None,
            restarts: false,
            unready: None,
            unanswered: None,
        };
        Status { instances: vec![instance], ..Status::default() }
    }

    fn after(changes: &[Change]) -> Record {
        let apply = |record: Record, change| record.apply(change, Proposer::Coordinator).unwrap();
        changes.iter().fold(Record::first(SOURCE), apply)
    }

    #[test]
    fn whatever_lives_may_hold_state_and_what_is_not_sure_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let lives = [living(directory.path(), "web")];
        let serve = Change::Serve("127.0.1.1:20000".parse().unwrap());
        let open = Change::Open { mode: Mode::Handoff, target: TARGET };
        let committed = after(&[serve.clone(), open, Change::Seal, Change::Commit]);
        let unknown = |status: Option<Status>| {
            let held = all(status.as_ref(), None, &lives);
            assert_eq!(held.len(), 1, "{held:?}");
            held[0].unknown.clone()
        };
        assert_eq!(unknown(Some(status(Some(after(&[serve])), None))), None);
        let unsure = [
            unknown(None),
            unknown(Some(status(None, Some("n2 has not answered")))),
            unknown(Some(status(None, None))),
            unknown(Some(status(Some(committed), None))),
            unknown(Some(status(Some(after(&[])), None))),
            unknown(Some(Status { instances: Vec::new(), ..status(None, None) })),
        ];
        let said = unsure.map(|why| why.unwrap());
        assert_eq!(
            said,
            [
                "the controller does not answer",
                "n2 has not answered",
                "it is not decided yet who owns",
                "its owner does not serve yet",
                "its owner does not serve yet",
                "the controller does not know of it",
            ]
        );
    }

    #[test]
    fn what_never_started_and_what_has_no_state_holds_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let never = [Process::at("n1", StartId(7), "web", SystemTime::now(), directory.path())];
        assert!(all(None, None, &never).is_empty());
        let lives = [living(directory.path(), "web")];
        let manifest = |state: &str| format!("kind: App\nname: web\ncommand: [sh, '{{port}}']\n{state}\n");
        let cloud =
            |state: &str| crate::manifest::resolve(&manifest(state), Path::new("/"), 2).unwrap().cloud;
        assert!(all(None, Some(&cloud("state: none")), &lives).is_empty());
        assert_eq!(all(None, Some(&cloud("")), &lives).len(), 1);
        std::fs::write(directory.path().join("identity.json"), "{").unwrap();
        assert_eq!(all(None, None, &lives).len(), 1, "who cannot be read may live");
    }
}
