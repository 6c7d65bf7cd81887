//! The program's end of the contract.

use crate::gate::Gate;
use crate::guard::{Guard, Refused};
use crate::handoff::SCHEMA;
use crate::http::replies::{CONTAINER, Replies};
use crate::http::{Layer, ReplyLimits};
use crate::session::agent::{Agent, CallError};
use crate::session::hooks::{Draining, Hooks, NotNow, Resuming, Stopping};
use crate::session::{self, Parts};
use crate::state::store::{RESERVED, Store};
use crate::state::{Cell, ContainerError, Map};
use paci::bounds::STRING_BYTES_MAX;
use paci::call::Schema;
use paci::env::{Endpoint, EnvError, Environment};
use paci::finding::MoveEstimate;
use paci::hold::{HoldRequest, HoldResponse};
use paci::http::Route;
use paci::instance::DescribeResponse;
use paci::names;
use paci::state::{State, StateChange};
use paci::wire::Message;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

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
    readiness: watch::Sender<StateChange>,
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
        let inner = Inner {
            endpoint: environment.endpoint,
            gate,
            store,
            replies,
            settings: Mutex::new(settings),
            readiness: watch::Sender::new(StateChange::default()),
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
        session::start(Parts {
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
        })
        .map_err(|error| StartError::Thread(error.to_string()))
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
    /// agent has restarted.
    pub fn set_state(&self, state: State, message: &str) {
        let message: String = message.chars().filter(|char| !char.is_control()).take(50).collect();
        self.inner.readiness.send_replace(StateChange { state, message });
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
            ttl_ms: u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX),
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
            (names::MOVE_ESTIMATE, self.has_state || self.is_stateless),
            (names::MOVE_RESTART, self.is_stateless),
            (names::MOVE_HANDOFF, self.has_state),
            (names::IDEMPOTENCY_KEY, self.has_state),
        ];
        claims.iter().filter(|(_, claimed)| *claimed).map(|(name, _)| (*name).to_owned()).collect()
    }
}

async fn one_call(endpoint: &Endpoint, route: &Route, body: Vec<u8>) -> Result<bytes::Bytes, CallError> {
    let mut agent = Agent::new(endpoint.path().to_owned());
    Ok(agent.call(route, body, Duration::ZERO).await?.unwrap_or_default())
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().filter(|char| !char.is_control()).collect();
    cut.truncate(cut.floor_char_boundary(STRING_BYTES_MAX));
    cut
}
