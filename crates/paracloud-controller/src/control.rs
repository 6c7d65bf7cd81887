//! What the parts of the controller share. Everything in it is bounded by the configuration or by a named bound.

use crate::advised::Advised;
use crate::closed::Closed;
use crate::crashes::Crashes;
use crate::draining::Drains;
use crate::fleet::{Fleet, Places};
use crate::instance::Told;
use crate::journal::{self, Heard, now_unix_ms};
use crate::marks::Marks;
use crate::ordered::Ordered;
use crate::peers::{Out, Peer, Peers};
use crate::refusals::Refusals;
use crate::register::Register;
use crate::replacing::Replacements;
use crate::scales::Scales;
use crate::scaling::Scaling;
use crate::turns::Turns;
use crate::updating::Updates;
use crate::wishes::Wishes;
use crate::words::Words;
use paci::answer::Answer;
use paracloud_core::ids::{NodeId, OperationNumber, StartId};
use paracloud_core::migration::Phase;
use paracloud_core::register::Record;
use paracloud_substrate::advice::Advice;
use paracloud_substrate::config::Cloud;
use paracloud_substrate::layout::Layout;
use paracloud_substrate::message::{HeldOp, Hold, Note, Preview, ToGatewayLine, Unasked, Unready};
use paracloud_substrate::person::{HeldOff, Outcome, Refusal, Unanswered, What, delivery};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, oneshot};

/// How long a status waits for instances that are busy, in milliseconds; then it says what was last known.
const STATUS_MS_MAX: u64 = 250;
/// Questions to agents that are open at once.
pub(crate) const QUESTIONS_MAX: usize = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) layout: Layout,
    /// The configuration as it stands now; whoever uses it twice for one purpose takes it once.
    configuration: Mutex<Arc<Cloud>>,
    /// One after the other applies a configuration.
    pub(crate) applying: tokio::sync::Mutex<()>,
    pub(crate) register: Register,
    pub(crate) heard: broadcast::Sender<Heard>,
    pub(crate) fleet: Fleet,
    /// Instances that are to be started and are not in the register yet.
    pub(crate) ordered: Ordered,
    pub(crate) peers: Peers,
    pub(crate) views: Views,
    /// What a move would cost.
    pub(crate) questions: Questions<Preview>,
    /// Everything else that is asked under the number ahead.
    pub(crate) asked: Questions<Answer>,
    /// What applications say of themselves.
    pub(crate) advised: Advised,
    /// What people want of numbers of instances.
    pub(crate) scales: Scales,
    /// What numbers of instances are decided from, and what was decided.
    pub(crate) scaling: Scaling,
    /// What became of what applications ask for themselves.
    pub(crate) wishes: Wishes,
    /// Instances that leave because others come in their places.
    pub(crate) replacements: Replacements,
    /// Nodes that get nothing new.
    pub(crate) closed: Closed,
    /// Nodes that are being drained.
    pub(crate) drains: Drains,
    /// Apps that are being updated.
    pub(crate) updates: Updates,
    /// One after the other takes instances of an app away: so each counts those that stay.
    pub(crate) retiring: Turns,
    /// Those of them that were told to leave and have not answered yet.
    pub(crate) told_to_leave: Marks,
    refusals: Mutex<Refusals>,
    lost: Mutex<BTreeSet<NodeId>>,
    words: Mutex<Words>,
    crashes: Mutex<Crashes>,
}

impl Control {
    pub(crate) fn new(
        layout: &Layout,
        cloud: &Arc<Cloud>,
        register: Register,
        heard: broadcast::Sender<Heard>,
        (fleet, ordered): (Fleet, Ordered),
    ) -> Self {
        Self {
            layout: layout.clone(),
            configuration: Mutex::new(Arc::clone(cloud)),
            applying: tokio::sync::Mutex::default(),
            register,
            heard,
            fleet,
            ordered,
            peers: Peers::default(),
            views: Views::default(),
            questions: Questions::default(),
            asked: Questions::default(),
            advised: Advised::default(),
            scales: Scales::load(layout),
            scaling: Scaling::new(layout),
            wishes: Wishes::default(),
            replacements: Replacements::load(layout.replacing(), "which instances are being replaced"),
            closed: Closed::load(layout),
            drains: Drains::load(layout.draining(), "which nodes are being drained"),
            updates: Updates::load(layout.updating(), "which apps are being updated"),
            retiring: Turns::default(),
            told_to_leave: Marks::default(),
            refusals: Mutex::default(),
            lost: Mutex::default(),
            words: Mutex::default(),
            crashes: Mutex::default(),
        }
    }

    /// The configuration as it stands now.
    pub(crate) fn cloud(&self) -> Arc<Cloud> {
        Arc::clone(&locked(&self.configuration))
    }

    /// From now on it is this.
    pub(crate) fn configure(&self, cloud: Arc<Cloud>) {
        *locked(&self.configuration) = cloud;
    }

    /// A process says something of itself: every gateway hears it.
    pub(crate) fn advise(&self, instance: String, start: StartId, advice: Box<Advice>) {
        if !self.fleet.has(&instance) {
            return;
        }
        self.advised.hear(&instance, start, &advice);
        for gateway in &self.cloud().gateways {
            let (instance, advice) = (instance.clone(), advice.clone());
            let line = ToGatewayLine::Advice { instance, start, advice };
            self.peers.say(Peer::Gateway(*gateway), Out::ToGateway(line));
        }
    }

    /// Tells an instance; waits while its inbox is full.
    pub(crate) async fn tell(&self, instance: &str, told: Told) {
        match self.fleet.inbox(instance) {
            Some(inbox) => drop(inbox.send(told).await),
            None => tracing::debug!(instance, "a word about an instance that is not configured"),
        }
    }

    /// Returns when these instances show themselves as they are after all that was heard before, or have no time to.
    pub(crate) async fn shown(&self, instances: impl Iterator<Item = &str>) {
        let shown = async {
            for inbox in instances.filter_map(|instance| self.fleet.inbox(instance)) {
                let (sender, receiver) = oneshot::channel();
                if inbox.send(Told::Show(sender)).await.is_ok() {
                    let _ = receiver.await;
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(STATUS_MS_MAX), shown).await;
    }

    /// A process asks to be left alone, or does not any more.
    pub(crate) fn hold(&self, instance: &str, start: StartId, op: HeldOp, hold: Option<Hold>) {
        if self.fleet.has(instance) {
            locked(&self.words).hold(instance, (start, op), hold, now_unix_ms());
        }
    }

    /// Instances that ask to be left alone now, each by the process that owns it. Where nobody knows which that is, each counts.
    pub(crate) fn holds(&self) -> Vec<HeldOff> {
        let counts = |instance: &str, start| {
            let record = self.views.of(instance).and_then(|view| view.record);
            record.is_none_or(|record| !record.gone && record.owner.start == start)
        };
        locked(&self.words).holds_at(now_unix_ms(), counts)
    }

    /// A process is not ready, or is.
    pub(crate) fn unready(&self, instance: &str, start: StartId, unready: Option<Unready>) {
        if self.fleet.has(instance) {
            locked(&self.words).unready(instance, start, unready);
        }
    }

    /// The owner of an instance ended, though nobody moved it. It served since then, in milliseconds since 1970.
    pub(crate) fn crashed(&self, instance: &str, owner: StartId, how: &str, served_unix_ms: Option<u64>) {
        locked(&self.crashes).ended(instance, owner, how, served_unix_ms, now_unix_ms());
    }

    /// An instance has left.
    pub(crate) fn left(&self, instance: &str) {
        locked(&self.crashes).forget(instance);
    }

    /// Why the owner of an instance is not ready, as far as its agent said.
    pub(crate) fn why_unready(&self, instance: &str, record: &Record) -> Option<Unready> {
        let owner = record.owner.start;
        let own = locked(&self.words).why_unready(instance, owner);
        if own.is_some() || record.operation.is_some() {
            return own;
        }
        locked(&self.crashes).why(instance, owner, record.served.is_some(), now_unix_ms())
    }

    /// What a process says because of an operation: that it does not do what it is asked, by silence or in words.
    pub(crate) fn undone(&self, instance: &str, operation: OperationNumber, note: &Note) {
        let (start, call, answered) = if let Note::Unresponsive { start, call, at_work } = note {
            (*start, call.clone(), at_work.then(|| "IN_PROGRESS".to_owned()))
        } else if let Note::Failure { start, code, message } = note {
            // It does not say to what. What is decided is the last that an owner is told.
            let record = self.views.of(instance).and_then(|view| view.record);
            let told = record.as_ref().and_then(delivery).filter(|(owner, _)| owner == start);
            let Some((_, call)) = told else { return };
            let own = if message.is_empty() { String::new() } else { format!(": {message}") };
            (*start, call.to_owned(), Some(format!("{code}{own}")))
        } else {
            return;
        };
        let unanswered = Unanswered { start, call, answered, since_unix_ms: now_unix_ms() };
        locked(&self.words).unanswered(instance, operation, unanswered);
    }

    /// What keeps an operation open that is decided, if its owner does not answer it.
    pub(crate) fn what_is_unanswered(&self, instance: &str) -> Option<Unanswered> {
        let record = self.views.of(instance)?.record?;
        locked(&self.words).what_is_unanswered(instance, &record)
    }

    /// A move was asked for and not begun: the journal has it, or counts it.
    pub(crate) async fn keep_refusal(&self, instance: &str, refusal: &Refusal) {
        let Some(refusal) = locked(&self.refusals).take(instance, refusal, Instant::now()) else { return };
        let event = journal::event(instance, None, What::Refused(refusal));
        // Who asked is told anyway.
        let _ = self.register.keep(event).await;
    }

    /// The controller has something to say of a command of an instance, and does not say it too often.
    pub(crate) async fn keep_remark(&self, instance: &str, operation: Option<OperationNumber>, what: String) {
        if locked(&self.refusals).has_room(instance, Instant::now()) {
            let note = journal::kept(journal::remark(what));
            let _ = self.register.keep(journal::event(instance, operation, What::Note(note))).await;
        }
    }

    /// A person said that this node will not come back. It is kept nowhere: a controller that is started later cannot
    /// know whether the node came back meanwhile, and with a word that is wrong by then it would take what lives for
    /// dead. So it waits, and is told again.
    pub(crate) fn lose(&self, node: NodeId) {
        locked(&self.lost).insert(node);
    }

    /// A node is back.
    pub(crate) fn find(&self, node: NodeId) {
        if locked(&self.lost).remove(&node) {
            tracing::warn!(%node, "a node that was declared lost is back");
        }
    }

    /// Nodes that a person declared lost to this controller.
    pub(crate) fn lost(&self) -> BTreeSet<NodeId> {
        locked(&self.lost).clone()
    }

    /// A node said what it knows, or was given up: an app that has never run may be started now.
    pub(crate) fn found(&self) {
        self.fleet.found(&self.cloud(), &self.lost(), &self.owners(), |node| self.closed.has(node));
    }

    /// Nodes that take new instances: their agents are connected, and no person drained them.
    pub(crate) fn nodes_there(&self) -> Vec<NodeId> {
        let cloud = self.cloud();
        let nodes = cloud.nodes.iter().map(|node| node.id);
        let takes = |node: &NodeId| self.peers.is_there(Peer::Agent(*node)) && !self.closed.has(*node);
        nodes.filter(takes).collect()
    }

    /// On which node the owner of each instance is.
    pub(crate) fn owners(&self) -> Places {
        let views = self.views.all().into_iter();
        let owner = |view: View| view.record.filter(|record| !record.gone).map(|record| record.owner.node);
        views.filter_map(|(name, view)| Some((name, owner(view)?))).collect()
    }

    /// A node's name.
    pub(crate) fn node_name(&self, node: NodeId) -> String {
        self.cloud().node(node).map_or_else(|| node.to_string(), |node| node.name.clone())
    }
}

/// The lock; what it guards is whole between any two statements, so a panic elsewhere does not spoil it.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How an instance is, as people see it.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) record: Option<Record>,
    pub(crate) phase: Phase,
    pub(crate) unknown: Option<String>,
    pub(crate) served_unix_ms: Option<u64>,
    /// Its owner's process has ended and no operation is open: whatever the record says, another one is started.
    pub(crate) is_dead: bool,
    /// How long it took until its first process served, in milliseconds.
    pub(crate) start_ms: Option<u32>,
    pub(crate) outcome: Option<Outcome>,
}

/// How every instance is.
#[derive(Debug, Default)]
pub(crate) struct Views(Mutex<BTreeMap<String, View>>);

impl Views {
    pub(crate) fn show(&self, instance: &str, view: View) {
        locked(&self.0).insert(instance.to_owned(), view);
    }

    /// A record of an app that is configured no longer: kept and not driven.
    pub(crate) fn show_unconfigured(&self, instance: &str, record: &Record) {
        let unknown = "it is not in the configuration any more: its record is kept, and nobody drives it; put it back into the \
                       manifest, or bring the cloud up again, which ends what is left of it";
        let view = View {
            record: Some(record.clone()),
            phase: Phase::Idle,
            unknown: Some(unknown.to_owned()),
            served_unix_ms: None,
            is_dead: false,
            start_ms: None,
            outcome: None,
        };
        self.show(instance, view);
    }

    pub(crate) fn of(&self, instance: &str) -> Option<View> {
        locked(&self.0).get(instance).cloned()
    }

    /// Whether one serves: its process has begun to, and lives as far as is known.
    pub(crate) fn serves(&self, instance: &str) -> bool {
        let serves =
            |view: &View| !view.is_dead && view.record.as_ref().is_some_and(|it| it.served.is_some());
        locked(&self.0).get(instance).is_some_and(serves)
    }

    pub(crate) fn all(&self) -> BTreeMap<String, View> {
        locked(&self.0).clone()
    }
}

/// An agent's answer to a question, or why there is none.
pub(crate) type Answered<T> = Result<T, Unasked>;

/// Where who asked waits for the answer.
type Waiting<T> = oneshot::Sender<Answered<T>>;

/// Questions to agents that wait for their answer.
#[derive(Debug)]
pub(crate) struct Questions<T> {
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, (NodeId, Waiting<T>)>>,
}

impl<T> Default for Questions<T> {
    fn default() -> Self {
        Self { next: AtomicU64::default(), open: Mutex::default() }
    }
}

impl<T> Questions<T> {
    /// A new question to an agent; `None` if too many are open.
    pub(crate) fn ask(&self, node: NodeId) -> Option<(u64, oneshot::Receiver<Answered<T>>)> {
        let mut open = locked(&self.open);
        open.retain(|_, (_, waiting)| !waiting.is_closed());
        if open.len() >= QUESTIONS_MAX {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        open.insert(number, (node, sender));
        Some((number, receiver))
    }

    /// An answer came from a node. One to a question that it was not asked is passed over.
    pub(crate) fn answer(&self, node: NodeId, number: u64, answer: Answered<T>) {
        let mut open = locked(&self.open);
        if open.get(&number).is_some_and(|(asked, _)| *asked == node)
            && let Some((_, waiting)) = open.remove(&number)
        {
            let _ = waiting.send(answer);
        }
    }

    /// The link of an agent broke: it will not answer.
    pub(crate) fn give_up(&self, node: NodeId) {
        locked(&self.open).retain(|_, (asked, _)| *asked != node);
    }
}
