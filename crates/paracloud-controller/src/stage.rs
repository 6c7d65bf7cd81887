//! The parts of a controller whose instances nobody drives: what they are told waits, and what they are is what a test shows.
//! Nothing reaches a disk but what parts keep for themselves.

use crate::control::{Control, View};
use crate::fleet::{Birth, Fleet};
use crate::instance::Told;
use crate::ordered::Ordered;
use crate::orders::{Answering, Order};
use crate::peers::Outgoing;
use crate::register::Register;
use paracloud_core::ids::{NodeId, Placement, StartId};
use paracloud_core::migration::Phase;
use paracloud_core::migration::shim::Generation;
use paracloud_core::register::{Change, Proposer, Record};
use paracloud_substrate::config::{App, Cloud, Node, Scale};
use paracloud_substrate::layout::Layout;
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc};

/// See the module: one app of several instances, on one node, whose agent is there.
pub(crate) struct Stage {
    pub(crate) control: Arc<Control>,
    inboxes: BTreeMap<String, mpsc::Receiver<Told>>,
    _agent: Outgoing,
    _births: mpsc::UnboundedReceiver<Birth>,
    _directory: tempfile::TempDir,
}

/// The node.
const NODE: NodeId = NodeId(1);

/// The app.
pub(crate) fn worker(scale: Scale) -> App {
    App { scale: Some(scale), ..App::new("worker", vec!["worker".to_owned()]) }
}

/// Who runs, and what became of that.
pub(crate) fn after(start: u64, changes: &[Change]) -> Record {
    let first = Record::first(Placement::new(NODE, StartId(start)));
    let apply = |record: Record, change: &Change| record.apply(change, Proposer::Coordinator).unwrap();
    changes.iter().fold(first, apply)
}

/// It came to serve.
pub(crate) fn served() -> Change {
    Change::Serve("127.0.1.1:20000".parse().unwrap())
}

/// One that serves.
pub(crate) fn serves(start: u64) -> Record {
    after(start, &[served()])
}

/// One that is to leave, and can be called back.
pub(crate) fn drains(start: u64) -> Record {
    after(start, &[served(), Change::Leave])
}

/// One that has left.
pub(crate) fn gone(start: u64) -> Record {
    after(start, &[served(), Change::Leave, Change::Depart, Change::Gone])
}

impl Stage {
    /// `worker.1` and so on are as these records say.
    pub(crate) fn of(app: App, records: impl IntoIterator<Item = Record>) -> Self {
        let directory =
            tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let layout = Layout::new(directory.path()).unwrap();
        let node = Node { id: NODE, name: "n1".to_owned(), host: [127, 0, 1, 1].into() };
        let cloud = Arc::new(Cloud { nodes: vec![node], gateways: Vec::new(), apps: vec![app] });
        let named = |(place, record)| (format!("worker.{}", place + 1), record);
        let records: Vec<_> = records.into_iter().enumerate().map(named).collect();
        let each = records.iter().map(|(name, record)| (name, record));
        let (fleet, mut births) = Fleet::new(&cloud, each, &[]);
        let born = std::iter::from_fn(|| births.try_recv().ok());
        let inboxes = born.map(|birth| (birth.name, birth.inbox)).collect();
        let heard = broadcast::channel(1).0;
        let ordered = Ordered::load(&layout);
        let control = Control::new(&layout, &cloud, Register::nowhere(), heard, (fleet, ordered));
        let agent = control.peers.connect_agent(NODE, Generation(1)).unwrap();
        let control = Arc::new(control);
        let stage = Self { control, inboxes, _agent: agent, _births: births, _directory: directory };
        records.into_iter().for_each(|(name, record)| stage.shows(&name, record));
        stage
    }

    /// From now on it is this.
    pub(crate) fn shows(&self, instance: &str, record: Record) {
        self.control.fleet.mark(instance, record.gone);
        let view = View {
            record: Some(record),
            phase: Phase::Idle,
            unknown: None,
            served_unix_ms: None,
            is_dead: false,
            start_ms: None,
            outcome: None,
        };
        self.control.views.show(instance, view);
    }

    /// The order that an instance was handed and that nobody has carried out.
    pub(crate) fn handed(&mut self, instance: &str) -> Option<(Order, Answering)> {
        let inbox = self.inboxes.get_mut(instance).unwrap();
        let order =
            |told| if let Told::Command(order, answering) = told { Some((order, answering)) } else { None };
        std::iter::from_fn(|| inbox.try_recv().ok()).find_map(order)
    }
}
