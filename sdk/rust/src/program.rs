//! The program's end of the contract.

use crate::gate::Gate;
use crate::guard::{Guard, Refused};
use crate::handoff::SCHEMA;
use crate::http::replies::{CONTAINER, Replies};
use crate::http::{Layer, ReplyLimits};
use crate::session::agent::{Agent, CallError, unreachable};
use crate::session::hooks::{Draining, Hooks, NotNow, Resizing, Resuming, Stopping, Unfit};
use crate::session::leases::{Reported, Sources, WORDS_MAX, Word};
use crate::session::readiness::Said;
use crate::session::{self, Parts};
use crate::state::store::{RESERVED, Store};
use crate::state::{Cell, ContainerError, Map};
use paci::announcement::{AnnounceRequest, AnnounceResponse};
use paci::ask::{AskRequest, AskResponse};
use paci::bounds::{DURATION_MS_MAX, PAUSE_MS_MAX, PROGRESS_PERMILLE_MAX, STRING_BYTES_MAX};
use paci::call::Schema;
use paci::env::{Endpoint, EnvError, Environment};
use paci::error::{ErrorBody, ErrorCode};
use paci::finding::{MoveEstimate, RemovalQuote};
use paci::hold::{HoldRequest, HoldResponse};
use paci::http::Route;
use paci::instance::DescribeResponse;
use paci::invalid::Invalid;
use paci::names;
use paci::report::Report;
use paci::state::{State, StateChange};
use paci::wire::Message;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// How long a report counts that does not say for how long, in milliseconds.
const REPORT_MS: u32 = 3_000;
/// The agent's word is waited for at most so long.
const ANSWER: Duration = Duration::from_secs(10);
/// A pause that begins at once is put off for at most so long by telling of it.
const MOMENT: Duration = Duration::from_millis(100);

/// The program's end of the contract: its gate, its containers, its session with the cloud. Cheap to clone.
///
/// Without a cloud it is a no-op: the gate is open, the containers are plain maps, nothing is told to anybody.
#[derive(Debug, Clone)]
pub struct Paci {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoint: Option<Endpoint>,
    gate: Arc<Gate>,
    store: Arc<Store>,
    replies: Arc<Replies>,
    settings: Mutex<Settings>,
    readiness: watch::Sender<Said>,
    report: watch::Sender<Option<Reported>>,
    words: mpsc::Sender<Word>,
    /// What the session says them from, until it has started.
    sources: Mutex<Option<Sources>>,
    operation: watch::Sender<bool>,
    started: AtomicBool,
}

#[derive(Debug)]
struct Settings {
    hooks: Hooks,
    schema: Schema,
    app_version: String,
    has_state: bool,
    is_stateless: bool,
}

/// Why a session cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// It runs already.
    #[error("the session was started before")]
    Started,
    /// A program with containers was called stateless.
    #[error("a program that has containers is not stateless")]
    NotStateless,
    /// There is no thread for it.
    #[error("the session gets no thread of its own: {0}")]
    Thread(String),
}

/// The outcome of an operation was awaited under a guard: the operation would wait for the guard, and this for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the outcome of an operation is awaited under a guard, which the operation waits for: drop the guard first"
)]
pub struct UnderGuard;

impl Paci {
    /// The end of a program that was started with these environment variables. Nothing is dialled yet.
    ///
    /// # Errors
    /// A variable cannot be understood. The program must not serve then: it may be a target that is only being filled.
    pub fn from_env() -> Result<Self, EnvError> {
        Ok(Self::new(Environment::read(std::env::var_os)?))
    }

    /// As [`Paci::from_env`], with an environment that was read already.
    pub fn new(environment: Environment) -> Self {
        let store = Arc::new(Store::default());
        let table = store.table(CONTAINER).expect("it is the first container and its name is well formed");
        let replies = Arc::new(Replies::new(table, ReplyLimits::default()));
        let gate = Arc::new(Gate::new(environment.endpoint.is_none()));
        let settings = Settings {
            hooks: Hooks::default(),
            schema: Schema { name: SCHEMA.0.to_owned(), version: SCHEMA.1 },
            app_version: String::new(),
            has_state: false,
            is_stateless: false,
        };
        let report = watch::Sender::new(None);
        let (words, said) = mpsc::channel(WORDS_MAX);
        let sources = Sources { report: report.subscribe(), words: said };
        let inner = Inner {
            endpoint: environment.endpoint,
            gate,
            store,
            replies,
            settings: Mutex::new(settings),
            readiness: watch::Sender::new(Said::default()),
            report,
            words,
            sources: Mutex::new(Some(sources)),
            operation: watch::Sender::new(false),
            started: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whether there is a cloud.
    pub fn has_cloud(&self) -> bool {
        self.inner.endpoint.is_some()
    }

    /// The map of this name; the same for the same name. Every container is named before [`Paci::start`].
    ///
    /// # Errors
    /// The name is not one, there are too many, or the session has started.
    pub fn map(&self, name: &str) -> Result<Map, ContainerError> {
        if name.starts_with(RESERVED) {
            return Err(ContainerError::Reserved { name: name.to_owned() });
        }
        let table = self.inner.store.table(name)?;
        self.settings().has_state = true;
        Ok(Map::new(table, self.inner.gate.clone()))
    }

    /// The cell of this name. It shares its names with the maps.
    ///
    /// # Errors
    /// As [`Paci::map`].
    pub fn cell(&self, name: &str) -> Result<Cell, ContainerError> {
        self.map(name).map(Cell::new)
    }

    /// Name and version of the form of the state, which a target must read: greater when an older version of the program
    /// could not. Without it the form is the SDK's own.
    pub fn schema(&self, name: &str, version: u32) -> &Self {
        self.settings().schema = Schema { name: cut(name), version };
        self
    }

    /// Version of the program, for people and for the comparison of the two sides of a move.
    pub fn app_version(&self, version: &str) -> &Self {
        self.settings().app_version = cut(version);
        self
    }

    /// The program has nothing to carry: it may be stopped here and started there.
    pub fn stateless(&self) -> &Self {
        self.settings().is_stateless = true;
        self
    }

    /// How long results of requests with an `Idempotency-Key` are kept.
    pub fn keep_replies(&self, limits: ReplyLimits) -> &Self {
        self.inner.replies.limit(limits);
        self
    }

    /// What to do when the instance is taken out of routing: refuse new work, finish the old, and end when nothing is in
    /// flight.
    pub fn on_drain<F: Future<Output = ()> + Send + 'static>(
        &self,
        handler: impl Fn(Draining) -> F + Send + Sync + 'static,
    ) -> &Self {
        self.settings().hooks.drain = Some(Arc::new(move |drain| Box::pin(handler(drain))));
        self
    }

    /// What to do when a drain is called off, or another operation comes in its place: take work again. Without it a drain
    /// of the program is never called off.
    pub fn on_undrain<F: Future<Output = ()> + Send + 'static>(
        &self,
        handler: impl Fn() -> F + Send + Sync + 'static,
    ) -> &Self {
        self.settings().hooks.undrain = Some(Arc::new(move |()| Box::pin(handler())));
        self
    }

    /// Completes what losing this instance would cost now, or says that it is not to be chosen. It is asked of a few just
    /// before one of them is drained; what is left `None` is unknown. A quote that breaks a bound of the contract
    /// ([`RemovalQuote`]) is answered as a failure that names the bound. The handler runs on the session's own thread, where
    /// nothing else is answered meanwhile: it must not wait.
    pub fn on_quote(
        &self,
        handler: impl Fn(RemovalQuote) -> Result<RemovalQuote, NotNow> + Send + Sync + 'static,
    ) -> &Self {
        self.settings().hooks.quote = Some(Arc::new(handler));
        self
    }

    /// What to do when the instance is to have another size: fit into it, or make use of it; or say what it could do with.
    pub fn on_resize<F: Future<Output = Result<(), Unfit>> + Send + 'static>(
        &self,
        handler: impl Fn(Resizing) -> F + Send + Sync + 'static,
    ) -> &Self {
        self.settings().hooks.resize = Some(Arc::new(move |resize| Box::pin(handler(resize))));
        self
    }

    /// What to do when the process is to exit: make it exit within the grace. Without this handler it gets SIGTERM.
    pub fn on_stop<F: Future<Output = ()> + Send + 'static>(
        &self,
        handler: impl Fn(Stopping) -> F + Send + Sync + 'static,
    ) -> &Self {
        self.settings().hooks.stop = Some(Arc::new(move |stop| Box::pin(handler(stop))));
        self
    }

    /// What to do in the new process after a move, before it serves: make anew what must not be the same in two processes.
    /// If it panics, the process never serves: the cloud ends it, and the source goes on.
    pub fn on_resume<F: Future<Output = ()> + Send + 'static>(
        &self,
        handler: impl Fn(Resuming) -> F + Send + Sync + 'static,
    ) -> &Self {
        self.settings().hooks.resume = Some(Arc::new(move |resume| Box::pin(handler(resume))));
        self
    }

    /// Completes what a move is estimated to cost, or says that it cannot be now. An estimate that breaks a bound of the
    /// contract ([`paci::finding::MoveEstimate`]) is answered as a failure that names the bound. The handler runs on the
    /// session's own thread, where nothing else is answered meanwhile: it must not wait.
    pub fn on_estimate(
        &self,
        handler: impl Fn(MoveEstimate) -> Result<MoveEstimate, NotNow> + Send + Sync + 'static,
    ) -> &Self {
        self.settings().hooks.estimate = Some(Arc::new(handler));
        self
    }

    /// Starts the session with the cloud, if there is one: within a tokio runtime, after every container and handler was
    /// named. It does not wait for the cloud; a program with containers refuses requests until it was told that it owns.
    ///
    /// # Errors
    /// It was started before, the program was called stateless and has containers, or there is no thread for it.
    #[expect(clippy::unused_async, reason = "it needs a running runtime, and may wait for the cloud one day")]
    pub async fn start(&self) -> Result<(), StartError> {
        let settings = self.settings();
        if settings.is_stateless && settings.has_state {
            return Err(StartError::NotStateless);
        }
        if self.inner.started.swap(true, Ordering::AcqRel) {
            return Err(StartError::Started);
        }
        self.inner.store.start();
        let Some(endpoint) = self.inner.endpoint.clone() else { return Ok(()) };
        if !settings.has_state {
            self.inner.gate.open(0);
        }
        let sources = self.inner.sources.lock().unwrap_or_else(PoisonError::into_inner).take();
        let sources = sources.ok_or(StartError::Started)?;
        let parts = Parts {
            endpoint,
            gate: self.inner.gate.clone(),
            store: self.inner.store.clone(),
            replies: self.inner.replies.clone(),
            hooks: settings.hooks.clone(),
            schema: settings.schema.clone(),
            app_version: settings.app_version.clone(),
            capabilities: settings.capabilities(),
            has_state: settings.has_state,
            readiness: self.inner.readiness.subscribe(),
            operation: self.inner.operation.clone(),
            program: Handle::current(),
        };
        session::start(parts, sources).map_err(|error| StartError::Thread(error.to_string()))
    }

    /// The layer that puts HTTP services under the guard.
    pub fn layer(&self) -> Layer {
        Layer::new(self.inner.gate.clone(), Some(self.inner.replies.clone()))
    }

    /// A guard: access to moved state until it is dropped. Within another guard it is the same one. It never waits.
    /// `route` names it for people who look for what holds up a seal; it is cut at 128 bytes.
    ///
    /// # Errors
    /// The gate is closed.
    pub fn enter(&self, route: &str) -> Result<Guard, Refused> {
        Guard::enter(&self.inner.gate, route)
    }

    /// Whether the gate is open.
    pub fn is_serving(&self) -> bool {
        self.inner.gate.is_open()
    }

    /// Ends when the gate is open: before that a program fires no timers and dials nobody.
    pub async fn serving(&self) {
        self.inner.gate.opened().await;
    }

    /// The incarnation under which this process acts; 0: none was told.
    pub fn incarnation(&self) -> u32 {
        self.inner.gate.incarnation()
    }

    /// Ends when no move is under way.
    ///
    /// # Errors
    /// At once, under a guard: the move would wait for it.
    pub async fn settled(&self) -> Result<(), UnderGuard> {
        if Guard::current(&self.inner.gate).is_some() {
            return Err(UnderGuard);
        }
        // The sender is ours: it does not end before us.
        let mut operation = self.inner.operation.subscribe();
        drop(operation.wait_for(|under_way| !under_way).await);
        Ok(())
    }

    /// Tells the cloud that the program answers requests.
    pub fn ready(&self) {
        self.set_state(State::Ready, "");
    }

    /// Tells the cloud whether the program wants requests, and why. The last state counts; it is told again whenever the
    /// agent has restarted. What has a time beside it is not said here: see [`Paci::pausing`] and [`Paci::cold`].
    pub fn set_state(&self, state: State, message: &str) {
        if matches!(state, State::Pausing | State::Cold) {
            return tracing::warn!(%state, "this state has a time, which is missing: nothing is told");
        }
        let message: String = message.chars().filter(|char| !char.is_control()).take(50).collect();
        self.say_state(StateChange { state, message, ..StateChange::default() });
    }

    /// Tells the cloud that the program answers requests, but for so long has only this share of its capacity
    /// (1000 is all of it; `None`: it does not know). It is ready by itself when that is over. At most a day.
    pub fn cold(&self, warmup: Duration, capacity_permille: Option<u32>) {
        let warmup_ms = ms(warmup).clamp(1, DURATION_MS_MAX);
        let capacity_permille = capacity_permille.map(|share| share.min(PROGRESS_PERMILLE_MAX));
        let state = State::Cold;
        self.say_state(StateChange { state, warmup_ms, capacity_permille, ..StateChange::default() });
    }

    fn say_state(&self, change: StateChange) {
        self.inner.readiness.send_modify(|said| said.state(change));
    }

    /// Tells the cloud that the program will answer nothing for a while, before it begins: at most a minute ahead, for at
    /// most a minute. Returns when the agent knows it, and at the latest when it begins, but for a moment. It is over with
    /// its time; [`Paci::ready`] ends it earlier. A pause needs nobody's leave: a program that must pause does so also if
    /// this fails.
    ///
    /// # Errors
    /// The agent cannot be reached in time, or refuses. Once it can be reached it is told what is left of the pause.
    pub async fn pausing(&self, begins_in: Duration, lasts: Duration) -> Result<(), CallError> {
        if self.inner.endpoint.is_none() {
            return Ok(());
        }
        self.is_started()?;
        let longest = Duration::from_millis(u64::from(PAUSE_MS_MAX));
        let lasts = lasts.clamp(Duration::from_millis(1), longest);
        let begins_in = begins_in.min(longest);
        let mut answered = None;
        self.inner.readiness.send_modify(|said| answered = Some(said.pausing(begins_in, lasts)));
        let Some(answered) = answered else { return Ok(()) };
        answer(answered, begins_in.max(MOMENT)).await
    }

    /// Tells the cloud how much the program can do and has to do: at once, and again before its lease ends while the value
    /// stands, which is until it is said anew and for at most a minute: who hangs is not to be taken for idle. What is
    /// `None` is unknown, never zero. `valid_for_ms` 0 stands for three seconds. A newer value within 20 ms takes the place
    /// of the older. `Report::default()` takes back what was said.
    ///
    /// # Errors
    /// A field breaks its bound; then what was said before stands.
    pub fn report(&self, report: Report) -> Result<(), Invalid> {
        let valid_for_ms = if report.valid_for_ms == 0 { REPORT_MS } else { report.valid_for_ms };
        let report = Report { valid_for_ms, ..report };
        report.validate()?;
        self.inner.report.send_replace(Some(Reported { report, at: Instant::now() }));
        Ok(())
    }

    /// Tells the cloud what demand is coming, or takes that back. It is told again to an agent that has restarted, until
    /// it is over. Returns what became of it; without a cloud it stands.
    ///
    /// # Errors
    /// A field breaks its bound, the agent refuses, or it cannot be reached; then it is told to the next one.
    pub async fn announce(&self, request: AnnounceRequest) -> Result<AnnounceResponse, CallError> {
        request.validate().map_err(|invalid| CallError::Refused(invalid.into()))?;
        if request.id.is_empty() {
            return Err(CallError::Refused(ErrorBody::new(
                ErrorCode::OutOfBounds,
                "id: missing or empty, and it is needed",
            )));
        }
        if self.inner.endpoint.is_none() {
            return Ok(AnnounceResponse { stands: !request.revokes(), message: String::new() });
        }
        let (said, answered) = oneshot::channel();
        self.word(Word::Announce(request, said)).await?;
        answer(answered, ANSWER).await
    }

    /// Asks for something to be done with the program itself: to be moved, another size, other instances beside it, to be
    /// retired. It is no right; what comes of it comes as a call to a handler, or not at all. The answer says what is known of
    /// that, and when the same, asked again, is answered with more. It is told again to an agent
    /// that has restarted, until it is over. Without a cloud it stands and nothing comes of it.
    ///
    /// # Errors
    /// As [`Paci::announce`].
    pub async fn ask(&self, request: AskRequest) -> Result<AskResponse, CallError> {
        request.validate().map_err(|invalid| CallError::Refused(invalid.into()))?;
        if self.inner.endpoint.is_none() {
            let granted_valid_for_ms = request.valid_for_ms;
            return Ok(AskResponse { granted_valid_for_ms, ..AskResponse::default() });
        }
        let (said, answered) = oneshot::channel();
        self.word(Word::Ask(request, said)).await?;
        answer(answered, ANSWER).await
    }

    async fn word(&self, word: Word) -> Result<(), CallError> {
        self.is_started()?;
        tokio::time::timeout(ANSWER, self.inner.words.send(word))
            .await
            .map_err(unreachable)?
            .map_err(unreachable)
    }

    /// Words that nobody takes would be waited for without end.
    fn is_started(&self) -> Result<(), CallError> {
        let is_started = self.inner.started.load(Ordering::Acquire);
        is_started.then_some(()).ok_or_else(|| unreachable("the session has not started"))
    }

    /// Guards that are held now: requests that are being answered.
    pub fn in_flight(&self) -> u32 {
        u32::try_from(self.inner.gate.held()).unwrap_or(u32::MAX)
    }

    /// Ends when no guard is held: what a handler of [`Paci::on_drain`] waits for. A program whose work is not done under
    /// guards has more to wait for.
    pub async fn idle(&self) {
        self.inner.gate.idle().await;
    }

    /// Asks to be left alone for a while: from all kinds of operation, or from these
    /// ([`paci::names::HOLD_OPS`]). Said again with the same key it replaces the one before; for no time it releases it.
    /// Returns for how long it was granted; without a cloud that is all of it.
    ///
    /// # Errors
    /// The agent cannot be reached, or refuses.
    pub async fn hold(
        &self,
        key: &str,
        ttl: Duration,
        reason: &str,
        ops: &[&str],
    ) -> Result<Duration, CallError> {
        let Some(endpoint) = &self.inner.endpoint else { return Ok(ttl) };
        let request = HoldRequest {
            key: key.to_owned(),
            ops: ops.iter().map(|&op| op.to_owned()).collect(),
            ttl_ms: ms(ttl),
            reason: reason.to_owned(),
        };
        request.validate().map_err(|invalid| CallError::Refused(invalid.into()))?;
        let route = Route::Hold { key: key.to_owned() };
        let body = one_call(endpoint, &route, request.write()).await?;
        let granted = HoldResponse::read(&body).map_err(|error| CallError::Refused(error.into()))?;
        Ok(Duration::from_millis(u64::from(granted.granted_ttl_ms)))
    }

    /// Who the cloud says this process is; `None` without a cloud.
    ///
    /// # Errors
    /// The agent cannot be reached, or refuses.
    pub async fn describe(&self) -> Result<Option<DescribeResponse>, CallError> {
        let Some(endpoint) = &self.inner.endpoint else { return Ok(None) };
        let body = one_call(endpoint, &Route::Describe, Vec::new()).await?;
        DescribeResponse::read(&body).map(Some).map_err(|error| CallError::Refused(error.into()))
    }

    #[cfg(feature = "shuttle")]
    pub(crate) fn gate(&self) -> &Gate {
        &self.inner.gate
    }

    #[cfg(feature = "shuttle")]
    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.inner.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settings {
    fn capabilities(&self) -> Vec<String> {
        let claims = [
            (names::STOP, self.hooks.stop.is_some()),
            (names::DRAIN, self.hooks.drain.is_some()),
            (names::DRAIN_REVERSIBLE, self.hooks.drain.is_some() && self.hooks.undrain.is_some()),
            (names::MOVE_ESTIMATE, self.has_state || self.is_stateless),
            (names::MOVE_RESTART, self.is_stateless),
            (names::MOVE_HANDOFF, self.has_state),
            (names::IDEMPOTENCY_KEY, self.has_state),
            (names::REPORT, true),
            (names::ANNOUNCE, true),
            (names::ASK, true),
            (names::PAUSING, true),
            (names::COLD, true),
            (names::SCALE_QUOTE, self.hooks.quote.is_some()),
            (names::RESIZE_CPU, self.hooks.resize.is_some()),
            (names::RESIZE_MEMORY, self.hooks.resize.is_some()),
        ];
        claims.iter().filter(|(_, claimed)| *claimed).map(|(name, _)| (*name).to_owned()).collect()
    }
}

/// The agent's word, which is waited for at most so long.
async fn answer<T>(
    answered: oneshot::Receiver<Result<T, CallError>>,
    longest: Duration,
) -> Result<T, CallError> {
    match tokio::time::timeout(longest, answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(unreachable("something newer was said, or the session has ended")),
        Err(late) => Err(unreachable(late)),
    }
}

async fn one_call(endpoint: &Endpoint, route: &Route, body: Vec<u8>) -> Result<bytes::Bytes, CallError> {
    let mut agent = Agent::new(endpoint.path().to_owned());
    Ok(agent.call(route, body, Duration::ZERO).await?.unwrap_or_default())
}

fn ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().filter(|char| !char.is_control()).collect();
    cut.truncate(cut.floor_char_boundary(STRING_BYTES_MAX));
    cut
}
