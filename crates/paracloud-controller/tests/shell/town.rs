//! A cloud's directory with a controller in it, and what its people ask.

use crate::player::{Agent, Gates, Gateway};
use paracloud_controller::store::{Options, StoreError};
use paracloud_controller::{ControllerError, Ledger, run_on};
use paracloud_core::ids::{GatewayId, NodeId};
use paracloud_substrate::config::{App, Cloud, Node};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::link::{self, Reader, Writer};
use paracloud_substrate::message::Caller;
use paracloud_substrate::person::{Event, Instance, Refused, Reply, Request, Status, What};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The longest that anything in these tests is waited for.
pub(crate) const WAIT: Duration = Duration::from_secs(30);

/// Waits, bounded.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT, what).await.expect("it happens")
}

/// A cloud of two nodes and two gateways with one app, `web`, first started on node 1.
pub(crate) struct Town {
    pub(crate) layout: Layout,
    pub(crate) gates: Arc<Mutex<Gates>>,
    _directory: tempfile::TempDir,
}

impl Town {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Cloud)) -> Self {
        let directory =
            tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        let mut cloud = cloud();
        change(&mut cloud);
        cloud.save(&layout.cloud()).unwrap();
        Self { layout, gates: Arc::default(), _directory: directory }
    }

    /// Both nodes and both gateways.
    pub(crate) fn populate(&self) -> (Agent, Agent, Gateway, Gateway) {
        (Agent::start(self, 1), Agent::start(self, 2), Gateway::start(self, 1), Gateway::start(self, 2))
    }

    /// One request of a person, and everything that is replied.
    pub(crate) async fn ask(&self, request: Request) -> Vec<Reply> {
        soon(async {
            let mut person = Person::ask(&self.layout, &request).await;
            let mut replies = Vec::new();
            while let Some(reply) = person.next().await {
                replies.push(reply);
            }
            replies
        })
        .await
    }

    pub(crate) async fn refused(&self, request: Request) -> Refused {
        match self.ask(request).await.pop() {
            Some(Reply::Refused(refused)) => refused,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(crate) async fn status(&self) -> Status {
        match self.ask(Request::Status).await.pop() {
            Some(Reply::Status(status)) => status,
            other => panic!("no status: {other:?}"),
        }
    }

    pub(crate) async fn web(&self) -> Instance {
        self.status().await.instances.into_iter().find(|it| it.name == "web").unwrap()
    }

    /// Every event from the first on, until one that is waited for, over restarts of the controller.
    pub(crate) async fn until(&self, awaited: impl Fn(&Event) -> bool) -> Vec<Event> {
        soon(async {
            let mut seen: Vec<Event> = Vec::new();
            loop {
                let from = seen.last().map_or(1, |event| event.number + 1);
                let mut person = Person::ask(&self.layout, &Request::Events { from, follow: true }).await;
                while let Some(reply) = person.next().await {
                    let Reply::Event(event) = reply else { panic!("not an event: {reply:?}") };
                    if event.number == 0 {
                        continue;
                    }
                    seen.push(event);
                    if awaited(seen.last().unwrap()) {
                        return seen;
                    }
                }
            }
        })
        .await
    }

    /// Until the register changed so.
    pub(crate) async fn until_swapped(&self, awaited: &str) -> Vec<Event> {
        self.until(|event| matches!(&event.what, What::Swapped { change, .. } if change == awaited)).await
    }

    pub(crate) fn move_to(node: u32) -> Request {
        Request::Move { instance: "web".to_owned(), to: Some(NodeId(node)), accept_loss: false, wait: true }
    }
}

/// One connection of a command.
pub(crate) struct Person {
    reader: Reader,
    /// Dropping it would end the command.
    _writer: Writer,
}

impl Person {
    pub(crate) async fn ask(layout: &Layout, request: &Request) -> Self {
        let (reader, mut writer) = link::halves(link::dial(&layout.controller_socket()).await);
        let _ = writer.write(&Caller::Person).await;
        let _ = writer.write(request).await;
        Self { reader, _writer: writer }
    }

    pub(crate) async fn next(&mut self) -> Option<Reply> {
        self.reader.read().await.ok().flatten()
    }
}

/// A controller in this process.
pub(crate) struct Controller {
    end: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ControllerError>>,
}

impl Controller {
    pub(crate) fn start(town: &Town) -> Self {
        let directory = town.layout.controller();
        Self::start_on(town, move || Ledger::open(&directory, Options::default()))
    }

    pub(crate) fn start_on(
        town: &Town,
        open: impl Fn() -> Result<Ledger, StoreError> + Clone + Send + 'static,
    ) -> Self {
        let (end, ended) = oneshot::channel();
        let layout = town.layout.clone();
        let task = tokio::spawn(async move {
            run_on(layout, open, async {
                let _ = ended.await;
            })
            .await
        });
        Self { end: Some(end), task }
    }

    pub(crate) async fn stop(mut self) {
        drop(self.end.take());
        soon(&mut self.task).await.unwrap().unwrap();
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The events among what was replied.
pub(crate) fn events(replies: &[Reply]) -> Vec<Event> {
    let event = |reply: &Reply| if let Reply::Event(event) = reply { Some(event.clone()) } else { None };
    replies.iter().filter_map(event).collect()
}

/// What the register said after each change, oldest first.
pub(crate) fn swaps(events: &[Event]) -> Vec<(String, paracloud_core::register::Record)> {
    let swap = |event: &Event| {
        let What::Swapped { change, record } = &event.what else { return None };
        Some((change.clone(), record.clone()))
    };
    events.iter().filter_map(swap).collect()
}

fn cloud() -> Cloud {
    let node = |id: u32| Node {
        id: NodeId(id),
        name: format!("n{id}"),
        host: format!("127.0.1.{id}").parse().unwrap(),
    };
    let web = App { stop_grace_ms: 1000, drain_ms: 1000, ..App::new("web", vec!["web".to_owned()]) };
    Cloud { nodes: vec![node(1), node(2)], gateways: vec![GatewayId(1), GatewayId(2)], apps: vec![web] }
}
