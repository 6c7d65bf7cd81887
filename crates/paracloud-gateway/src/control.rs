//! The machine of one instance, and whatever carries out what it wants done.
//!
//! The machine stands behind a lock that is held for one input and never across a wait: a request costs two short
//! visits and no message to another task. Inputs are ordered by the lock; effects are carried out in their order
//! before it is given back, because none of them waits: a verdict is handed to the request it is for, a message to the
//! link's queue, a timer to its task.

mod leaving;
mod link;
mod seen;
mod view;

pub(crate) use link::{Link, Outgoing, ToController};
pub(crate) use seen::WebSocket;
pub(crate) use view::View;

use leaving::Draining;

use crate::account::Book;
use crate::apps::{Made, Making};
use crate::bounds::{AHEAD_MAX, STREAM_AGE};
use crate::choice::Session;
use crate::loads::Loads;
use crate::parked::Log;
use crate::pause::Pause;
use crate::sessions::{SessionId, Sessions};
use crate::streams::Streams;
use crate::ticket::Heard;
use crate::upstream::Pool;
use crate::workers::Loops;
use paracloud_core::ids::{GatewayId, StartId};
use paracloud_core::migration::gateway::{Answer, Effect, Failure, Gateway, Input, Route, Ticket, Timer};
use paracloud_core::migration::message::ToGateway;
use paracloud_core::register::RecordOrder;
use paracloud_substrate::trace::Traced;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot, watch};
use tokio::task::JoinHandle;

/// What the machine says of one request.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Send it there.
    Forward(Route),
    /// Answer it.
    Fail(Failure),
    /// Its client's deadline was over before it could be sent on.
    Late,
    /// Another instance is to be chosen: this one leaves or has left, or another one takes what waits here. Nothing of the
    /// request was applied.
    Elsewhere,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Control {
    me: Weak<Self>,
    instance: String,
    state: Mutex<State>,
    view: watch::Sender<View>,
    /// Told whenever the machine may go on after it stood still.
    moving: watch::Sender<()>,
    controller: ToController,
    log: Log,
    /// Whose it is, for a crash test that stops one of them.
    gateway: GatewayId,
    /// Whether one has stopped it. Set under the lock.
    stands: AtomicBool,
    pub(crate) streams: Streams,
    pub(crate) pool: Pool,
    loops: Loops,
    /// What its application reports with its replies.
    pub(crate) loads: Loads,
    /// Places for messages of WebSockets that wait: as many as there may be requests that do.
    withheld: Semaphore,
}

#[derive(Debug)]
struct State {
    machine: Traced<Gateway>,
    tickets: Tickets,
    /// Requests that wait for a verdict.
    waiting: HashMap<Ticket, oneshot::Sender<Verdict>>,
    /// Requests whose bodies were passed on as they came, in part or whole.
    uploads: BTreeSet<Ticket>,
    pause: Pause,
    book: Book,
    ask: Option<JoinHandle<()>>,
    leaving: Option<RecordOrder>,
    draining: Option<Draining>,
    sessions: Sessions,
    /// A table was in force.
    is_known: bool,
    /// Looks again for sessions that are over.
    looks: Option<JoinHandle<()>>,
    /// The newest table that was said to release.
    released: Option<RecordOrder>,
}

/// Tickets: the lowest numbers that are free.
#[derive(Debug, Default)]
struct Tickets {
    free: Vec<u32>,
    next: u32,
}

impl State {
    fn release(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
        self.uploads.remove(&ticket);
        self.tickets.free.push(ticket.0);
    }
}

impl Tickets {
    fn take(&mut self) -> Ticket {
        Ticket(self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next
        }))
    }
}

impl Control {
    /// The machine of an instance of this app at its beginning.
    pub(crate) fn new(making: &Making, instance: &str, app: &Made) -> Arc<Self> {
        let gateway = making.gateway;
        let withheld = Semaphore::new(app.setting.parked_max as usize);
        let machine = Traced::new(app.setting.clone(), &making.trace, &format!("{gateway}-{instance}"));
        let state = State {
            machine,
            tickets: Tickets::default(),
            waiting: HashMap::new(),
            uploads: BTreeSet::new(),
            pause: Pause::default(),
            book: Book::default(),
            ask: None,
            leaving: None,
            draining: None,
            sessions: Sessions::new(app.idle),
            is_known: false,
            looks: None,
            released: None,
        };
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            instance: instance.to_owned(),
            state: Mutex::new(state),
            view: watch::Sender::new(View::default()),
            moving: watch::Sender::new(()),
            controller: making.controller.clone(),
            log: making.log.clone(),
            gateway,
            stands: AtomicBool::new(false),
            streams: Streams::default(),
            pool: Pool::new(app.speaks),
            loops: making.loops.clone(),
            loads: Loads::default(),
            withheld,
        })
    }

    /// The instance's name.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// How long a request may wait.
    pub(crate) fn parked_wait_max(&self) -> Duration {
        Duration::from_millis(self.state().machine.setting().parked_ms_max.into())
    }

    /// A place for a message that waits, if one is free.
    pub(crate) fn withhold(&self) -> Option<SemaphorePermit<'_>> {
        self.withheld.try_acquire().ok()
    }

    /// The table in force, as it changes.
    pub(crate) fn view(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    /// How many requests wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state().machine.machine().parked()
    }

    /// How many sessions live in it; `None`: the app has none, or there may be some that were not seen.
    pub(crate) fn sessions(&self) -> Option<u32> {
        self.state().sessions.count(Instant::now())
    }

    /// Whether a request that came now would be sent on.
    pub(crate) fn is_open(&self) -> bool {
        let view = self.view.borrow();
        !view.parks && !view.drains && view.route.is_some()
    }

    /// Whether the instance leaves or has left.
    pub(crate) fn drains(&self) -> bool {
        self.view.borrow().drains
    }

    /// Whether it has left.
    pub(crate) fn is_gone(&self) -> bool {
        self.view.borrow().is_gone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request comes: it gets a ticket.
    pub(crate) async fn arrived(&self, session: Option<Session>) -> (Ticket, Heard) {
        let mut state = self.woken().await;
        let ticket = state.tickets.take();
        let input = match session {
            Some(Session { lives_here: true, .. }) => Input::Belongs(ticket),
            Some(_) | None => Input::Arrived(ticket),
        };
        let heard = self.take(&mut state, input, Some(ticket));
        if let Some(Session { id, .. }) = session
            && !matches!(heard.verdict, Some(Verdict::Elsewhere))
        {
            state.sessions.begins(id, Instant::now());
            // It may be the first that lives there since the instance was to leave.
            if state.looks.as_ref().is_none_or(JoinHandle::is_finished) {
                self.looks_on(&mut state);
            }
        }
        (ticket, heard)
    }

    /// Takes an input in; what it means for `own` is answered, what it means for others is handed to them.
    pub(crate) async fn input(&self, input: Input, own: Option<Ticket>) -> Heard {
        let mut state = self.woken().await;
        self.take(&mut state, input, own)
    }

    /// Takes in the last input of a request, of this session, from where nothing can be awaited. Its ticket may be used again.
    pub(crate) fn ends(&self, input: Input, ticket: Ticket, session: Option<SessionId>) {
        self.soon(move |me, state| {
            session.into_iter().for_each(|id| state.sessions.ends(id, Instant::now()));
            let _ = me.take(state, input, None);
            state.release(ticket);
        });
    }

    /// Does something with the state from where nothing can be awaited: now, unless the machine stands still.
    fn soon(&self, something: impl FnOnce(&Self, &mut State) + Send + 'static) {
        if let Some(mut state) = self.awake() {
            return something(self, &mut state);
        }
        let Some(me) = self.me.upgrade() else { return };
        tokio::spawn(async move {
            let mut state = me.woken().await;
            something(&me, &mut state);
        });
    }

    /// The request has ended, and the machine knows it.
    pub(crate) fn release(&self, ticket: Ticket, session: Option<SessionId>) {
        self.soon(move |me, state| {
            session.into_iter().for_each(|id| state.sessions.ends(id, Instant::now()));
            state.release(ticket);
            me.look(state);
        });
    }

    /// The state, unless the machine stands still for a test.
    fn awake(&self) -> Option<MutexGuard<'_, State>> {
        let state = self.state();
        (!self.stands.load(Ordering::SeqCst)).then_some(state)
    }

    /// The state, once the machine does not stand still.
    async fn woken(&self) -> MutexGuard<'_, State> {
        loop {
            if let Some(state) = self.awake() {
                return state;
            }
            let mut moving = self.moving.subscribe();
            if self.stands.load(Ordering::SeqCst) {
                let _ = moving.changed().await;
            }
        }
    }

    /// The last stream has ended.
    pub(crate) fn streams_ended(&self) {
        self.soon(|me, state| {
            if let Some(order) = state.leaving {
                let _ = me.take(state, Input::Drained(order), None);
            }
            me.look(state);
        });
    }

    /// Whether what ends now on the way to this process ends because the instance moves.
    pub(crate) fn moves_from(&self, start: StartId) -> bool {
        let view = self.view.borrow();
        view.parks || view.drains || view.has_left(start)
    }

    /// Hands what the machine's log holds to its file.
    pub(crate) fn flush(&self) {
        self.state().machine.flush();
    }

    /// The coordinator speaks.
    pub(crate) async fn coordinator(&self, message: ToGateway) {
        self.input(Input::Coordinator(message), None).await;
        // Whoever looks at the log sees all up to here.
        self.flush();
    }

    fn take(&self, state: &mut State, input: Input, own: Option<Ticket>) -> Heard {
        let mut heard = Heard::default();
        let may_wait =
            matches!(input, Input::Arrived(_) | Input::Belongs(_) | Input::Answered(_, Answer::NotApplied));
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let is_table = matches!(input, Input::Coordinator(ToGateway::Table(_)));
            let effects = state.machine.take(input, StartId(0));
            // Before anybody is sent on by it: whoever reads its body now would else take the old table for a newer one.
            if is_table {
                self.show(state);
            }
            for effect in effects {
                match effect {
                    Effect::Forward(ticket, route) => {
                        deliver(state, &mut heard, ticket, Verdict::Forward(route));
                    }
                    Effect::Fail(ticket, failure) => {
                        state.pause.failed();
                        let is_upload = state.uploads.contains(&ticket);
                        state.book.saw_if_open(|seen| {
                            seen.failed += 1;
                            seen.uploads_failed += u32::from(is_upload);
                        });
                        deliver(state, &mut heard, ticket, Verdict::Fail(failure));
                    }
                    Effect::Coordinator(message) => self.say(state, message),
                    Effect::SetTimer(Timer::Bound(_), after_ms) => {
                        heard.bound = Some(Instant::now() + Duration::from_millis(after_ms.into()));
                    }
                    Effect::SetTimer(Timer::Ask, after_ms) => self.arm(state, after_ms),
                    Effect::CancelTimer(Timer::Ask) => state.ask.iter().for_each(JoinHandle::abort),
                    // It is the request's own, and ends with it.
                    Effect::CancelTimer(Timer::Bound(_)) => {}
                    Effect::Drain(order) => self.leaves(state, order),
                    Effect::Elsewhere(ticket) => deliver(state, &mut heard, ticket, Verdict::Elsewhere),
                    Effect::Leave(order) => {
                        state.leaving = Some(order);
                        let is_over =
                            state.machine.machine().table().is_some_and(|table| table.order > order);
                        self.view
                            .send_if_modified(|view| std::mem::replace(&mut view.moves, !is_over) == is_over);
                        next = self.streams.is_empty().then_some(Input::Drained(order));
                    }
                    Effect::Parked(_) => {
                        state.pause.withheld(Instant::now());
                        state.book.open();
                        heard.parked = true;
                    }
                }
            }
            next = next.or_else(|| self.emptied(state));
        }
        if let (Some(own), None, true) = (own, &heard.verdict, may_wait) {
            let (sender, receiver) = oneshot::channel();
            state.waiting.insert(own, sender);
            heard.waits = Some(receiver);
        }
        self.settle(state);
        heard
    }

    fn arm(&self, state: &mut State, after_ms: u32) {
        let me = self.me.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after_ms.into())).await;
            if let Some(me) = me.upgrade() {
                me.input(Input::Timer(Timer::Ask), None).await;
            }
        });
        if let Some(old) = state.ask.replace(timer) {
            old.abort();
        }
    }

    /// Has connections opened before they are needed, so many: each worker, its part of them.
    fn prepare(&self, me: &Arc<Self>, route: Route, ahead: usize) {
        let workers = self.loops.each();
        let part = ahead.div_ceil(workers.len().max(1));
        for (worker, handle) in workers {
            let me = Arc::clone(me);
            handle.spawn(async move { me.pool.prepare(route, worker, part).await });
        }
    }

    /// Shows the table to those who are not asked about one request.
    fn show(&self, state: &mut State) {
        let machine = state.machine.machine();
        let Some(table) = machine.table() else { return };
        if state.draining.is_some_and(|draining| draining.order < table.order) {
            state.draining = None;
        }
        if state.leaving.is_some_and(|order| order < table.order) {
            state.leaving = None;
        }
        let (parks, drains, route) = (table.parks, table.drains, table.route);
        let now = View { parks, drains, moves: state.leaving.is_some(), route };
        let waiting = machine.parked();
        let order = table.order;
        state.sessions_by(&now);
        let before = self.view.send_replace(now);
        if before == now {
            return;
        }
        tracing::info!(instance = self.instance, ?order, parks = now.parks, route = ?now.route, "table");
        let Some(me) = self.me.upgrade() else { return };
        if let Some(route) = now.route.filter(|route| before.route.is_none_or(|it| it.start != route.start)) {
            self.pool.turn(route.start);
            self.streams.left_for(route.start);
            self.prepare(&me, route, waiting.min(AHEAD_MAX));
        }
        if now.parks && !before.parks {
            if state.pause.is_over() {
                state.pause.take_failed();
                let waited = state.pause.take_waited();
                state.book.saw_if_open(|seen| seen::saw(seen, waited));
            }
            if let Some(before) = state.book.turn() {
                let _ = self.tell(before, false);
            }
            tokio::spawn(cut_streams(me));
        }
        if state.book.has_left_behind(now.route.map(|route| route.start)) {
            state.book.open();
        }
        if before.parks && !now.parks {
            self.streams.stayed();
            state.book.tell_soon();
        }
    }
}

fn deliver(state: &mut State, heard: &mut Heard, ticket: Ticket, verdict: Verdict) {
    match state.waiting.remove(&ticket) {
        // A client that has left meanwhile says so itself.
        Some(waiting) => _ = waiting.send(verdict),
        None => heard.verdict = Some(verdict),
    }
}

/// Cuts what streams, as it becomes old enough, for as long as the table parks: a reply that was outstanding may begin
/// to stream after that.
async fn cut_streams(control: Arc<Control>) {
    let mut view = control.view();
    while view.borrow_and_update().parks {
        let next = Streams::cut_old(&control).unwrap_or_else(|| Instant::now() + STREAM_AGE);
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            _ = view.changed() => {}
        }
    }
}
