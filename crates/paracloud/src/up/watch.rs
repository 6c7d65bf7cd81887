//! What `up` sees of its own cloud: when everything serves, what stands in the way, and what happens later.

use crate::client::Conversation;
use crate::command::named;
use crate::command::ps::standing;
use crate::processes::Process;
use crate::telling;
use paracloud_core::ids::{Placement, StartId};
use paracloud_core::register::{Record, Step};
use paracloud_substrate::config::{App, Cloud};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::message::Note;
use paracloud_substrate::person::{Event, Instance, Reply, Request, Status, What};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep, timeout};

/// How often it is looked whether everything serves, in milliseconds.
const LOOK_MS: u64 = 100;
/// How often it is looked afterwards, so that the end can say what is dropped, in milliseconds.
const LOOK_LATER_MS: u64 = 2_000;
/// After so long without everything serving it is said what is missing, in milliseconds; then at twice the time.
const SAY_MS: u64 = 10_000;
/// After so long without everything serving, apps that serve are said as soon as they do, in milliseconds: others may
/// not get ready for long.
const PARTS_MS: u64 = 3_000;
/// A journal that cannot be followed is dialled again after this long, in milliseconds. Where nobody holds the lock
/// (the directory was removed) a dial fails at once, and without a pause nothing else would be heard.
const DIAL_AGAIN_MS: u64 = 100;
/// How long the controller may take to answer, in milliseconds.
const ANSWER_MS: u64 = 2_000;

/// What there is to say.
#[derive(Debug)]
pub(super) enum Said {
    /// Everything serves: said once.
    Serving(Status),
    /// Not everything serves yet, but these apps do: each is said once.
    Partly(Status, Vec<String>),
    /// Not everything serves yet.
    Waiting(Status),
    /// Something happened.
    Happened(String),
}

/// Asks the controller again and again, and follows its journal.
#[derive(Debug)]
pub(super) struct Watcher {
    layout: Layout,
    cloud: Cloud,
    began_unix_ms: u64,
    began: Instant,
    say_after: Duration,
    look_at: Instant,
    serving: bool,
    /// Apps that were said to serve before everything did.
    said: BTreeSet<String>,
    last: Option<Status>,
    journal: Option<Conversation>,
    next_event: u64,
    /// Who served last, by instance.
    owners: BTreeMap<String, StartId>,
}

impl Watcher {
    pub(super) fn new(layout: &Layout, cloud: &Cloud, began: SystemTime) -> Self {
        let unix = began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            layout: layout.clone(),
            cloud: cloud.clone(),
            began_unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
            began: Instant::now(),
            say_after: Duration::from_millis(SAY_MS),
            look_at: Instant::now(),
            serving: false,
            said: BTreeSet::new(),
            last: None,
            journal: None,
            next_event: 0,
            owners: BTreeMap::new(),
        }
    }

    /// How everything was when it was looked last.
    pub(super) fn last(&self) -> Option<&Status> {
        self.last.as_ref()
    }

    /// The next thing to say. It may be dropped and called again.
    pub(super) async fn next(&mut self) -> Said {
        loop {
            if Instant::now() >= self.look_at {
                let pause_ms = if self.serving { LOOK_LATER_MS } else { LOOK_MS };
                self.look_at = Instant::now() + Duration::from_millis(pause_ms);
                if let Some(said) = self.look().await {
                    return said;
                }
            }
            let event = tokio::select! {
                () = tokio::time::sleep_until(self.look_at) => continue,
                event = self.event() => event,
            };
            if let Some(line) = self.worth_saying(&event) {
                return Said::Happened(line);
            }
        }
    }

    async fn look(&mut self) -> Option<Said> {
        let status = ask(&self.layout).await?;
        self.last = Some(status.clone());
        if self.serving {
            return None;
        }
        if obstacles(&self.layout, &self.cloud, &status).is_empty() {
            self.serving = true;
            let owners = status
                .instances
                .iter()
                .filter_map(|it| Some((it.name.clone(), it.record.as_ref()?.owner.start)));
            self.owners = owners.collect();
            return Some(Said::Serving(status));
        }
        if self.began.elapsed() >= Duration::from_millis(PARTS_MS) {
            let mut parts = parts(&self.layout, &self.cloud, &status);
            parts.retain(|app| self.said.insert(app.clone()));
            if !parts.is_empty() {
                return Some(Said::Partly(status, parts));
            }
        }
        if self.began.elapsed() >= self.say_after {
            self.say_after *= 2;
            return Some(Said::Waiting(status));
        }
        None
    }

    /// The next event of the journal. A link that breaks is dialled again.
    async fn event(&mut self) -> Event {
        loop {
            let Some(journal) = &mut self.journal else {
                let request = Request::Events { from: self.next_event, follow: true };
                match Conversation::open(&self.layout, &request).await {
                    Ok(journal) => self.journal = Some(journal),
                    Err(_) => sleep(Duration::from_millis(DIAL_AGAIN_MS)).await,
                }
                continue;
            };
            match journal.next().await {
                Some(Reply::Event(event)) => {
                    self.next_event = self.next_event.max(event.number + u64::from(event.number != 0));
                    return event;
                }
                Some(_) => {}
                None => {
                    self.journal = None;
                    sleep(Duration::from_millis(DIAL_AGAIN_MS)).await;
                }
            }
        }
    }

    /// A new owner that serves is worth a line, and so is a move that is off.
    fn owner_changed(&mut self, instance: &str, change: &str, record: &Record) -> Option<String> {
        if record.step() == Some(Step::Undo) {
            let (cause, node) = (telling::cause(change), record.owner.node);
            return Some(format!("{instance}: the move is rolled back: {cause}; it stays on {node}"));
        }
        record.served?;
        let known = self.owners.insert(instance.to_owned(), record.owner.start);
        let serves = || format!("{instance}: serves on {} now ({})", record.owner.node, record.incarnation);
        known.is_some_and(|start| start != record.owner.start).then(serves)
    }

    fn worth_saying(&mut self, event: &Event) -> Option<String> {
        if event.at_unix_ms < self.began_unix_ms {
            return None;
        }
        match &event.what {
            What::Note(Note::Reason(_)) => None,
            What::Note(note) if telling::is_notable(event) => {
                Some(format!("{}: {}", event.instance, telling::note(note)))
            }
            What::Swapped { change, record } if self.serving => {
                self.owner_changed(&event.instance, change, record)
            }
            What::StateLost { .. } => Some(format!("{}: {}", event.instance, telling::what(&event.what))),
            What::Note(_)
            | What::Swapped { .. }
            | What::Entered(_)
            | What::Progress(_)
            | What::Refused(_)
            | What::Parked { .. }
            | What::Concluded(_) => None,
        }
    }
}

async fn ask(layout: &Layout) -> Option<Status> {
    let asked = async {
        let mut conversation = Conversation::open(layout, &Request::Status).await.ok()?;
        let Reply::Status(status) = conversation.next().await? else { return None };
        Some(status)
    };
    timeout(Duration::from_millis(ANSWER_MS), asked).await.ok().flatten()
}

/// What is not as it should be: a sentence each; none if everything serves. Of an app that is in the manifest no more
/// the record is kept, and stands in nobody's way.
pub(super) fn obstacles(layout: &Layout, cloud: &Cloud, status: &Status) -> Vec<String> {
    obstacles_where(cloud, status, |instance, owner| may_live(layout, instance, owner))
}

fn may_live(layout: &Layout, instance: &str, owner: Placement) -> bool {
    let directory = layout.process(owner.node, owner.start);
    Process::at("", owner.start, instance, SystemTime::UNIX_EPOCH, &directory).may_live()
}

/// Apps that clients reach, though not everything serves.
fn parts(layout: &Layout, cloud: &Cloud, status: &Status) -> Vec<String> {
    parts_where(cloud, status, |instance, owner| may_live(layout, instance, owner))
}

fn parts_where(cloud: &Cloud, status: &Status, lives: impl Fn(&str, Placement) -> bool) -> Vec<String> {
    if status.gateways.iter().any(|(_, is_there)| !is_there) {
        return Vec::new();
    }
    let serves =
        |instance: &&Instance| cloud.app_of(&instance.name).is_some() && obstacle(instance, &lives).is_none();
    let serving: Vec<_> = status.instances.iter().filter(serves).collect();
    let has_some = |app: &&App| serving.iter().any(|instance| named::is_meant(&instance.name, &app.name));
    cloud.apps.iter().filter(has_some).map(|app| app.name.clone()).collect()
}

fn obstacles_where(cloud: &Cloud, status: &Status, lives: impl Fn(&str, Placement) -> bool) -> Vec<String> {
    let nodes = status
        .nodes
        .iter()
        .filter(|node| !node.connected)
        .map(|node| format!("waiting for the agent of {}", node.name));
    let gateways = status
        .gateways
        .iter()
        .filter(|(_, is_there)| !is_there)
        .map(|(id, _)| format!("waiting for gateway g{id}"));
    let instances = status.instances.iter().filter(|instance| cloud.app_of(&instance.name).is_some());
    let has_none =
        |app: &&App| !status.instances.iter().any(|instance| named::is_meant(&instance.name, &app.name));
    let unstarted = cloud.apps.iter().filter(has_none).map(|app| format!("{}: not started yet", app.name));
    let instances = instances.filter_map(|instance| obstacle(instance, &lives));
    nodes.chain(gateways).chain(instances).chain(unstarted).collect()
}

fn obstacle(instance: &Instance, lives: impl Fn(&str, Placement) -> bool) -> Option<String> {
    let name = &instance.name;
    if let Some(why) = &instance.unknown {
        return Some(format!("{name}: unknown: {why}"));
    }
    match &instance.record {
        Some(record) if record.served.is_some() && lives(name, record.owner) => None,
        // The register still says who served in a cloud that was ended in good order.
        Some(record) if record.served.is_some() => Some(format!(
            "{name}: its last process is gone; a new one is to be started on {}",
            record.owner.node
        )),
        Some(record) => {
            let why = instance.unready.as_ref().map_or_else(
                || "not ready yet".to_owned(),
                |unready| telling::unready_for(unready, now_unix_ms()),
            );
            Some(format!("{name}: {} on {}, {why}", standing(instance), record.owner.node))
        }
        None => Some(format!("{name}: not started yet")),
    }
}

fn now_unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// What serves, where clients connect to it, and why the others do not serve.
pub(super) fn partly(cloud: &Cloud, status: &Status, serve: &[String], obstacles: &[String]) -> String {
    let apps = cloud.apps.iter().filter(|app| serve.contains(&app.name));
    let mut lines = vec!["not everything serves yet, but:".to_owned()];
    lines.extend(apps.flat_map(|app| connects(app, status)));
    lines.extend(obstacles.iter().cloned());
    lines.join("\n")
}

fn connects(app: &App, status: &Status) -> Vec<String> {
    let found = status.instances.iter().filter(|instance| named::is_meant(&instance.name, &app.name));
    let served =
        found.filter_map(|instance| instance.record.as_ref().filter(|record| record.served.is_some()));
    let nodes: Vec<_> = served.map(|record| record.owner.node).collect();
    let place = match (nodes.as_slice(), app.scale) {
        ([], _) => String::new(),
        ([only], None) => format!(" on {only}"),
        (several, _) => {
            let on: BTreeSet<_> = several.iter().map(ToString::to_string).collect();
            let on: Vec<_> = on.into_iter().collect();
            let instances =
                crate::figures::counted(u64::try_from(several.len()).unwrap_or(u64::MAX), "instance");
            format!(" with {instances} on {}", on.join(", "))
        }
    };
    let mut lines = vec![format!("  {} serves{place}; clients connect to", app.name)];
    lines.extend(app.listen.iter().map(|address| format!("    http://{}", reachable(*address))));
    lines
}

/// Where clients connect, and what to try next.
pub(super) fn welcome(cloud: &Cloud, status: &Status, hint: &str) -> String {
    let counted =
        |count: usize, noun| crate::figures::counted(u64::try_from(count).unwrap_or(u64::MAX), noun);
    let mut lines = vec![format!(
        "up: {}, {}, {}",
        counted(cloud.nodes.len(), "node"),
        counted(cloud.gateways.len(), "gateway"),
        counted(cloud.apps.len(), "app")
    )];
    lines.extend(cloud.apps.iter().flat_map(|app| connects(app, status)));
    let first = cloud.apps.first().map_or_else(
        || "APP".to_owned(),
        |app| if app.scale.is_some() { format!("{}.1", app.name) } else { app.name.clone() },
    );
    lines.push("try, in another terminal:".to_owned());
    lines.extend(
        ["ps", &format!("move {first}"), &format!("logs -f {first}")]
            .map(|it| format!("  paracloud {it}{hint}")),
    );
    lines.push("Ctrl-C ends it".to_owned());
    lines.join("\n")
}

/// An address that a client can use: 0.0.0.0 is none.
fn reachable(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    let loopback =
        if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
    SocketAddr::new(loopback, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{NodeId, Placement, StartId};
    use paracloud_core::migration::Phase;
    use paracloud_core::register::Record;
    use paracloud_substrate::config::State;
    use paracloud_substrate::message::Unready;
    use paracloud_substrate::person::Node;

    fn cloud() -> Cloud {
        let text = "kind: App\nname: sessions\ncommand: [sh, '{port}']\nlisten: [8080, '0.0.0.0:8081']\n";
        crate::manifest::resolve(text, std::path::Path::new("/"), 2).unwrap().cloud
    }

    fn status(served: bool, connected: bool) -> Status {
        let mut record = Record::first(Placement::new(NodeId(1), StartId(7)));
        record.served = served.then(|| "127.0.1.1:20000".parse().unwrap());
        let instance = Instance {
            name: "sessions".to_owned(),
            record: Some(record),
            phase: Phase::Idle,
            unknown: None,
            state: State::Stateful,
            age_ms: None,
            restarts: false,
            unready: None,
            unanswered: None,
        };
        let node = Node { id: NodeId(1), name: "n1".to_owned(), connected, closed: false, draining: false };
        Status {
            instances: vec![instance],
            nodes: vec![node],
            gateways: vec![(1, connected)],
            ..Status::default()
        }
    }

    #[test]
    fn where_there_is_no_cloud_any_more_it_is_looked_for_with_pauses_in_which_others_are_heard() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(&directory.path().join("removed")).unwrap();
        let (heard, hears) = std::sync::mpsc::channel();
        // A thread of its own: one that never pauses would never give this one its turn.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let watcher =
                    tokio::spawn(
                        async move { Watcher::new(&layout, &cloud(), SystemTime::now()).next().await },
                    );
                let other = tokio::spawn(async move { heard.send(()) });
                other.await.unwrap().unwrap();
                watcher.abort();
            });
        });
        hears.recv_timeout(Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn everything_serves_when_nothing_stands_in_the_way() {
        assert!(obstacles_where(&cloud(), &status(true, true), |_, _| true).is_empty());
        assert_eq!(
            obstacles_where(&cloud(), &status(false, false), |_, _| true),
            [
                "waiting for the agent of n1",
                "waiting for gateway g1",
                "sessions: starting on n1, not ready yet"
            ]
        );
    }

    #[test]
    fn one_that_does_not_get_ready_hides_no_other_that_serves() {
        let text = "kind: App\nname: sessions\ncommand: [sh, '{port}']\nlisten: [8080]\n---\nkind: App\nname: web\n\
                    command: [sh, '{port}']\nlisten: [9090]\n";
        let cloud = crate::manifest::resolve(text, std::path::Path::new("/"), 2).unwrap().cloud;
        let mut both = status(true, true);
        let mut web = status(false, true).instances.remove(0);
        web.name = "web".to_owned();
        both.instances.push(web);
        let lives = |_: &str, _| true;
        let parts = parts_where(&cloud, &both, lives);
        assert_eq!(parts, ["sessions"]);
        insta::assert_snapshot!(partly(&cloud, &both, &parts, &obstacles_where(&cloud, &both, lives)));
        both.gateways[0].1 = false;
        assert!(parts_where(&cloud, &both, lives).is_empty(), "clients do not reach it");
    }

    #[test]
    fn why_an_instance_is_not_ready_is_said() {
        let mut status = status(false, true);
        status.instances[0].unready = Some(Unready {
            since_unix_ms: now_unix_ms() - 12_000,
            asked: "TCP connect to 127.0.1.1:20000".to_owned(),
            answered: "connection refused".to_owned(),
        });
        let waits = obstacles_where(&cloud(), &status, |_, _| true);
        assert!(waits[0].starts_with("sessions: starting on n1, not ready for "), "{waits:?}");
        assert!(waits[0].ends_with(" s: TCP connect to 127.0.1.1:20000: connection refused"), "{waits:?}");
    }

    #[test]
    fn an_owner_that_served_once_and_is_dead_does_not_serve() {
        let gone = obstacles_where(&cloud(), &status(true, true), |instance, owner| {
            instance != "sessions" || owner.start != StartId(7)
        });
        assert_eq!(gone, ["sessions: its last process is gone; a new one is to be started on n1"]);
    }

    #[test]
    fn an_app_that_is_in_the_manifest_no_more_stands_in_nobodys_way() {
        let mut status = status(true, true);
        let kept = "its record is kept".to_owned();
        let mut gone = status.instances[0].clone();
        (gone.name, gone.unknown) = ("gone".to_owned(), Some(kept));
        status.instances.push(gone);
        assert!(obstacles_where(&cloud(), &status, |_, _| true).is_empty());
    }

    #[test]
    fn the_welcome_says_where_clients_connect_and_what_to_try() {
        insta::assert_snapshot!(welcome(&cloud(), &status(true, true), " --dir /tmp/cloud"));
    }
}
