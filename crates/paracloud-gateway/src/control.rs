//! The machine of one instance, and whatever carries out what it wants done.
//!
//! The machine stands behind a lock that is held for one input and never across a wait: a request costs two short
//! visits and no message to another task. Inputs are ordered by the lock; effects are carried out in their order
//! before it is given back, because none of them waits: a verdict is handed to the request it is for, a message to the
//! link's queue, a timer to its task.

use crate::account::Book;
use crate::bounds::{AHEAD_MAX, LINK_QUEUE_MAX, STREAM_AGE};
use crate::loads::Loads;
use crate::parked::{Log, ParkedLine};
use crate::pause::{Pause, Waited};
use crate::streams::Streams;
use crate::ticket::Heard;
use crate::upstream::{Pool, Speaks};
use paracloud_core::ids::{GatewayId, StartId};
use paracloud_core::migration::gateway::{
    Answer, Effect, Failure, Gateway, Input, Route, Setting, Ticket, Timer,
};
use paracloud_core::migration::message::{FromGateway, ToGateway};
use paracloud_core::migration::promises::{Point, Promise};
use paracloud_core::register::RecordOrder;
use paracloud_substrate::message::FromGatewayLine;
use paracloud_substrate::seen::{Account, Seen};
use paracloud_substrate::{failpoint, trace::Traced};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch};
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
    /// It waited here, and another instance takes requests.
    Elsewhere,
}

/// The table in force, for those who are not asked about one request: tunnels, streams, slow bodies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// Nothing new is started.
    pub(crate) parks: bool,
    /// The instance leaves, or has left: what is new goes to another one.
    pub(crate) drains: bool,
    /// Where requests go.
    pub(crate) route: Option<Route>,
}

impl View {
    /// Whether the process that was sent to no longer is the one.
    pub(crate) fn has_left(&self, start: StartId) -> bool {
        self.route.is_some_and(|route| route.start != start)
    }
}

/// A message for the controller.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) line: FromGatewayLine,
    /// The promise that it makes. The machine stands still while this lives.
    pub(crate) stand: Option<(Promise, Stand)>,
}

/// Keeps a machine from taking inputs, for as long as it lives: a crash test stopped it at a promise.
#[derive(Debug)]
pub(crate) struct Stand(Arc<Control>);

impl Drop for Stand {
    fn drop(&mut self) {
        self.0.stands.store(false, Ordering::SeqCst);
        self.0.moving.send_replace(());
    }
}

/// The receiving end of what the machines say, and whether anybody takes it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) queue: mpsc::Receiver<Outgoing>,
    pub(crate) is_up: Arc<AtomicBool>,
}

/// The sending end.
#[derive(Debug, Clone)]
pub(crate) struct ToController {
    queue: mpsc::Sender<Outgoing>,
    is_up: Arc<AtomicBool>,
}

impl ToController {
    /// Both ends.
    pub(crate) fn new() -> (Self, Link) {
        let (sender, receiver) = mpsc::channel(LINK_QUEUE_MAX);
        let is_up = Arc::new(AtomicBool::new(false));
        (Self { queue: sender, is_up: Arc::clone(&is_up) }, Link { queue: receiver, is_up })
    }

    /// Hands a message over. A message that finds no link, or a full queue, is lost, as messages may be; then the answer
    /// is `false`.
    pub(crate) fn send(&self, message: Outgoing) -> bool {
        if !self.is_up.load(Ordering::Relaxed) {
            return false;
        }
        let sent = self.queue.try_send(message).is_ok();
        if !sent {
            tracing::debug!("a message to the controller is lost: its queue is full");
        }
        sent
    }
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
    /// The instance leaves, by the record with this order: when the last stream ends, nothing but requests is left.
    draining: Option<RecordOrder>,
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
    /// The machine of an instance at its beginning.
    pub(crate) fn new(
        gateway: GatewayId,
        instance: &str,
        setting: Setting,
        speaks: Speaks,
        trace: &Path,
        controller: ToController,
        log: Log,
    ) -> Arc<Self> {
        let withheld = Semaphore::new(setting.parked_max as usize);
        let machine = Traced::new(setting, trace, &format!("{gateway}-{instance}"));
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
            released: None,
        };
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            instance: instance.to_owned(),
            state: Mutex::new(state),
            view: watch::Sender::new(View::default()),
            moving: watch::Sender::new(()),
            controller,
            log,
            gateway,
            stands: AtomicBool::new(false),
            streams: Streams::default(),
            pool: Pool::new(speaks),
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

    /// Whether a request that came now would be sent on.
    pub(crate) fn is_open(&self) -> bool {
        let view = self.view.borrow();
        !view.parks && !view.drains && view.route.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request comes: it gets a ticket.
    pub(crate) async fn arrived(&self) -> (Ticket, Heard) {
        let mut state = self.woken().await;
        let ticket = state.tickets.take();
        let heard = self.take(&mut state, Input::Arrived(ticket), Some(ticket));
        (ticket, heard)
    }

    /// Takes an input in; what it means for `own` is answered, what it means for others is handed to them.
    pub(crate) async fn input(&self, input: Input, own: Option<Ticket>) -> Heard {
        let mut state = self.woken().await;
        self.take(&mut state, input, own)
    }

    /// Takes an input in from where nothing can be awaited. With `ended`, it is the last one of this request, whose
    /// ticket may be used again.
    pub(crate) fn input_now(&self, input: Input, ended: Option<Ticket>) {
        if let Some(mut state) = self.awake() {
            let _ = self.take(&mut state, input, None);
            return ended.into_iter().for_each(|ticket| state.release(ticket));
        }
        let Some(me) = self.me.upgrade() else { return };
        tokio::spawn(async move {
            let mut state = me.woken().await;
            let _ = me.take(&mut state, input, None);
            ended.into_iter().for_each(|ticket| state.release(ticket));
        });
    }

    /// The request has ended, and the machine knows it.
    pub(crate) fn release(&self, ticket: Ticket) {
        self.state().release(ticket);
    }

    /// The deadline of a request was over before it could be sent on, and the gateway has answered.
    pub(crate) fn late(&self, ticket: Ticket) {
        self.input_now(Input::Left(ticket), Some(ticket));
        let mut state = self.state();
        state.pause.failed();
        state.book.saw_if_open(|seen| seen.failed += 1);
        self.settle(&mut state);
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
        let (leaving, draining) = {
            let state = self.state();
            (state.leaving, state.draining)
        };
        if let Some(order) = leaving {
            self.input_now(Input::Drained(order), None);
        }
        if let Some(order) = draining {
            self.input_now(Input::Emptied(order), None);
        }
    }

    /// The first byte of a request that waited for so long, in microseconds, was sent on. `ends`: its wait was not over
    /// before; `of_the_pause`: when, if that shows something of the pause.
    pub(crate) fn sent_on(&self, waited_us: u64, ends: bool, of_the_pause: Option<Instant>) {
        let mut state = self.state();
        if ends {
            state.pause.wait_ends(waited_us);
        } else {
            state.pause.lasted(waited_us);
        }
        if let Some(now) = of_the_pause {
            state.pause.sent_on(now);
        }
        self.settle(&mut state);
    }

    /// The wait of a request is over, after so long, in microseconds.
    pub(crate) fn wait_ends(&self, waited_us: u64) {
        let mut state = self.state();
        state.pause.wait_ends(waited_us);
        self.settle(&mut state);
    }

    /// A request waits again whose wait was over.
    pub(crate) fn wait_goes_on(&self) {
        self.state().pause.wait_goes_on();
    }

    /// The first byte of a reply came, `now`, to a request that waited since then.
    pub(crate) fn answered(&self, since: Instant, now: Instant) {
        let mut state = self.state();
        state.pause.answered(since, now);
        self.settle(&mut state);
    }

    /// A request that waited has ended; `waited_us`: and its wait with it, after so long, in microseconds.
    pub(crate) fn waited(&self, line: ParkedLine, waited_us: Option<u64>) {
        let mut state = self.state();
        if let Some(waited_us) = waited_us {
            state.pause.wait_ends(waited_us);
        }
        state.pause.ended();
        self.settle(&mut state);
        drop(state);
        self.log.write(line);
    }

    /// The body of a request is passed on as it comes.
    pub(crate) fn uploads(&self, ticket: Ticket) {
        self.state().uploads.insert(ticket);
    }

    /// A WebSocket to this process is relayed, for as long as what is returned lives.
    pub(crate) fn websocket(self: &Arc<Self>, start: StartId) -> WebSocket {
        self.state().book.websocket_begins(start);
        WebSocket { control: Arc::clone(self), start }
    }

    /// A client saw something of a pause, or of what follows it.
    pub(crate) fn saw(&self, what: impl FnOnce(&mut Seen)) {
        let mut state = self.state();
        state.book.saw(what);
        self.settle(&mut state);
    }

    /// Whether what ends now on the way to this process ends because the instance moves.
    pub(crate) fn moves_from(&self, start: StartId) -> bool {
        let view = self.view.borrow();
        view.parks || view.has_left(start)
    }

    /// What was told last of a pause is told again: the link before this one may have lost it.
    pub(crate) fn tell_again(&self) {
        if let Some(account) = self.state().book.last() {
            let _ = self.tell(account, true);
        }
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
        let may_wait = matches!(input, Input::Arrived(_) | Input::Answered(_, Answer::NotApplied));
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
                    Effect::Drain(order) => {
                        state.draining = Some(order);
                        next = self.streams.is_empty().then_some(Input::Emptied(order));
                    }
                    // Answered so that its client sends it again at once.
                    Effect::Elsewhere(ticket) => {
                        deliver(state, &mut heard, ticket, Verdict::Fail(Failure::NotApplied));
                    }
                    Effect::Leave(order) => {
                        state.leaving = Some(order);
                        next = self.streams.is_empty().then_some(Input::Drained(order));
                    }
                    Effect::Parked(_) => {
                        state.pause.withheld(Instant::now());
                        state.book.open();
                        heard.parked = true;
                    }
                }
            }
        }
        if let (Some(own), None, true) = (own, &heard.verdict, may_wait) {
            let (sender, receiver) = oneshot::channel();
            state.waiting.insert(own, sender);
            heard.waits = Some(receiver);
        }
        self.settle(state);
        heard
    }

    /// Says something to the controller.
    fn say(&self, state: &mut State, message: FromGateway) {
        let promise = match &message {
            FromGateway::Obeyed { parks: true, .. } => Some(Promise::Parked),
            FromGateway::Obeyed { order, parks: false } if state.released.as_ref() < Some(order) => {
                state.released = Some(*order);
                Some(Promise::Released)
            }
            FromGateway::Drained { order } if state.draining.as_ref() == Some(order) => {
                Some(Promise::Drained)
            }
            FromGateway::Obeyed { .. } | FromGateway::Ask | FromGateway::Drained { .. } => None,
        };
        let up = self.controller.is_up.load(Ordering::Relaxed);
        let armed = promise.filter(|promise| {
            up && failpoint::is_armed(*promise, Point::AfterSend, &self.gateway.to_string())
        });
        let stand = armed.zip(self.me.upgrade()).map(|(promise, me)| {
            self.stands.store(true, Ordering::SeqCst);
            (promise, Stand(me))
        });
        let line = FromGatewayLine::Machine { instance: self.instance.clone(), message };
        let _ = self.controller.send(Outgoing { line, stand });
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

    /// Shows the table to those who are not asked about one request.
    fn show(&self, state: &mut State) {
        let machine = state.machine.machine();
        let Some(table) = machine.table() else { return };
        if state.draining.is_some_and(|order| order < table.order) {
            state.draining = None;
        }
        if state.leaving.is_some_and(|order| order < table.order) {
            state.leaving = None;
        }
        let now = View { parks: table.parks, drains: table.drains, route: table.route };
        let waiting = machine.parked();
        let before = self.view.send_replace(now);
        if before == now {
            return;
        }
        tracing::info!(instance = self.instance, order = ?table.order, parks = now.parks, route = ?now.route, "table");
        let Some(me) = self.me.upgrade() else { return };
        if let Some(route) = now.route.filter(|route| before.route.is_none_or(|it| it.start != route.start)) {
            self.pool.turn(route.start);
            self.streams.left_for(route.start);
            let ahead = waiting.min(AHEAD_MAX);
            let me = Arc::clone(&me);
            tokio::spawn(async move { me.pool.prepare(route, ahead).await });
        }
        if now.parks && !before.parks {
            if state.pause.is_over() {
                state.pause.take_failed();
                let waited = state.pause.take_waited();
                state.book.saw_if_open(|seen| saw(seen, waited));
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

    /// Writes a pause into the log once nothing more will be known of it, and tells the controller what clients saw.
    fn settle(&self, state: &mut State) {
        let said = state.pause.say(state.machine.machine().parked());
        for over in said.lines {
            self.log.write(ParkedLine::Pause {
                instance: self.instance.clone(),
                began_unix_us: over.began_unix_us,
                parked_us: over.parked_us,
                answered_us: over.answered_us,
                requests: over.requests,
                failed: over.failed,
            });
        }
        if let Some(waited) = said.waited {
            // A wait alone, of a request that was counted before, opens no account.
            if waited.requests > 0 {
                state.book.open();
            }
            state.book.saw_if_open(|seen| saw(seen, waited));
            state.book.tell_soon();
        }
        let view = *self.view.borrow();
        let waits = view.parks || !state.pause.is_settled();
        if let Some(account) = state.book.due(waits, view.route.map(|route| route.start))
            && self.tell(account, false)
        {
            state.book.told(account);
        }
    }

    fn tell(&self, account: Account, again: bool) -> bool {
        let line = FromGatewayLine::Parked { instance: self.instance.clone(), account, again };
        self.controller.send(Outgoing { line, stand: None })
    }
}

/// A WebSocket that is relayed.
#[derive(Debug)]
pub(crate) struct WebSocket {
    control: Arc<Control>,
    start: StartId,
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        let mut state = self.control.state();
        state.book.websocket_ends(self.start);
        self.control.settle(&mut state);
    }
}

/// Clients waited.
fn saw(seen: &mut Seen, waited: Waited) {
    seen.requests += waited.requests;
    seen.parked_us_max = seen.parked_us_max.max(waited.longest_us);
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
