//! A run: baseline, load, windows, audits, and what came of it.

use crate::clients::{Clients, Mood};
use crate::config::{Config, ConfigError, IN_FLIGHT_MAX};
use crate::falsify::{self, Unapplied};
use crate::get::{self, GetError};
use crate::ledger::{Audit, Ledger};
use crate::loss::{self, Gap, Gone, REQUESTS_MAX};
use crate::meter::{Seen, WindowError};
use crate::sockets::{self, Settled, SocketsSeen};
use crate::{schedule, writer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// How long clients may take to finish what they have begun. A request is pursued for less.
pub const SETTLE_MS_MAX: u64 = writer::ENDEAVOUR_MS_MAX + 75_000;

/// Clients at work. When it is dropped they stop at once.
#[derive(Debug)]
pub struct Load {
    clients: Arc<Clients>,
    tasks: JoinSet<()>,
    settled: mpsc::Receiver<Settled>,
    settlings: u32,
    /// Who told the baseline.
    base_by: Option<SocketAddr>,
    /// What all audits so far found.
    found: Found,
}

#[derive(Debug, Default)]
struct Found {
    lost: u64,
    duplicated: u64,
    sockets: SocketsSeen,
}

/// What was found when nothing was outstanding.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// Of the writes since the audit before.
    pub writes: Audit,
    /// Of the WebSocket sessions since the audit before.
    pub sockets: SocketsSeen,
}

impl Audited {
    /// Nothing was lost and nothing came twice, and every session came to rest.
    pub fn is_clean(&self) -> bool {
        let SocketsSeen { unsettled, lost, repeated, .. } = self.sockets;
        self.writes.is_clean() && (u64::from(unsettled), lost, repeated) == (0, 0, 0)
    }
}

/// What was found when nothing was outstanding, and state had been lost on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditedLoss {
    /// Of what others than the lost processes acknowledged: all of it must be there.
    pub kept: Audited,
    /// Writes and messages that nobody but the lost processes had acknowledged, for each set of them; what was there at
    /// the audit before went with whoever told it.
    pub gone: Vec<u64>,
}

/// What came of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Requests, in all.
    pub seen: Seen,
    /// WebSocket sessions, in all.
    pub sockets: SocketsSeen,
    /// Acknowledged writes that were lost, by all audits.
    pub lost: u64,
    /// Writes that were applied too often, by all audits.
    pub duplicated: u64,
    /// The last audit, of what came since the one before it.
    pub audit: Audited,
}

/// A run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The configuration breaks a bound.
    #[error("the configuration of the load")]
    Config(#[from] ConfigError),
    /// What the server holds cannot be read.
    #[error("reading what the server holds: nothing can be said of losses without it")]
    Get(#[from] GetError),
    /// Requests are outstanding longer than any is pursued.
    #[error("{outstanding} requests did not end within {SETTLE_MS_MAX} ms")]
    Unsettled {
        /// How many.
        outstanding: usize,
    },
    /// It cannot be told who acknowledged what.
    #[error("requests are not kept (`Config::keeps_requests`), or there were more than {REQUESTS_MAX}")]
    NotKept,
}

/// Reads the baseline and starts the clients.
///
/// # Errors
/// The configuration breaks a bound, or the server does not answer.
pub async fn start(config: Config) -> Result<Load, LoadError> {
    config.validate()?;
    let clients = Arc::new(Clients::new(config));
    let (held, base_by) = get::audit(&clients.pools_from(0), clients.config.keys).await?;
    *clients.ledger() = Ledger::from_baseline(&held);
    *clients.meter() = crate::meter::Meter::new(std::time::Instant::now());
    let (tell, settled) = mpsc::channel(usize::from(clients.config.sockets).max(1));
    let mut tasks = JoinSet::new();
    tasks.spawn(schedule::run(clients.clone()));
    for number in 0..clients.config.sockets {
        tasks.spawn(sockets::run(clients.clone(), number, tell.clone()));
    }
    Ok(Load { clients, tasks, settled, settlings: 0, base_by, found: Found::default() })
}

/// Loads for a while and audits.
///
/// # Errors
/// As [`start`] and [`Load::audit`].
pub async fn run(config: Config, duration: Duration) -> Result<Summary, LoadError> {
    let load = start(config).await?;
    tokio::time::sleep(duration).await;
    load.stop().await
}

impl Load {
    /// Opens a window.
    ///
    /// # Errors
    /// The name is in use, or too many windows are open.
    pub fn begin(&self, window: &str) -> Result<(), WindowError> {
        self.clients.meter().begin(window, std::time::Instant::now())
    }

    /// Closes a window and tells what clients saw in it.
    ///
    /// # Errors
    /// No window of this name is open.
    pub fn end(&self, window: &str) -> Result<Seen, WindowError> {
        self.clients.meter().end(window, std::time::Instant::now())
    }

    /// What clients have seen so far.
    pub fn seen(&self) -> Seen {
        self.clients.meter().whole(std::time::Instant::now())
    }

    /// Pauses the clients, waits until nothing is outstanding, compares with what the server holds, takes that as the
    /// new baseline, and lets the clients go on. The pause counts neither as time nor as gap.
    ///
    /// Where an owner crashed since the audit before, what this one finds is what the crash cost: the caller knows.
    ///
    /// # Errors
    /// A request does not end, or the server does not answer.
    pub async fn audit(&mut self) -> Result<Audited, LoadError> {
        let audited = self.settle().await?;
        self.go_on();
        Ok(audited)
    }

    fn go_on(&self) {
        self.clients.meter().resume(std::time::Instant::now());
        self.clients.mood.send_replace(Mood::Sending);
    }

    /// As [`Load::audit`], where processes took state along: each of these sets at once, in this order, and whoever came
    /// after them began with nothing. Each process is named by where it listened. What only they acknowledged may be
    /// missing; all the rest is compared with what is there.
    ///
    /// # Errors
    /// As [`Load::audit`]; or the requests were not kept.
    pub async fn audit_after_loss(
        &mut self,
        gone: &[BTreeSet<SocketAddr>],
    ) -> Result<AuditedLoss, LoadError> {
        let (sockets, gaps) = self.come_to_rest().await?;
        let mut lost = self.forget(gone)?;
        let mut kept = self.compare(sockets).await?;
        for (gap, place) in gaps.iter().filter_map(|gap| Some((gap, gap.is_due_to(gone)?))) {
            kept.sockets.lost = kept.sockets.lost.saturating_sub(gap.lost);
            kept.sockets.repeated = kept.sockets.repeated.saturating_sub(gap.repeated);
            if let Some(lost) = lost.get_mut(place) {
                *lost += gap.lost;
            }
        }
        self.enter(&kept);
        self.go_on();
        Ok(AuditedLoss { kept, gone: lost })
    }

    /// Puts a ledger of what others than these processes acknowledged into the place of the one of all, and says what
    /// they took along.
    fn forget(&self, gone: Gone<'_>) -> Result<Vec<u64>, LoadError> {
        let requests = self.clients.requests().ok_or(LoadError::NotKept)?;
        let mut ledger = self.clients.ledger();
        let base_went = loss::place(gone, self.base_by);
        let nothing = vec![None; self.clients.config.keys as usize];
        let mut since =
            if base_went.is_some() { Ledger::from_baseline(&nothing) } else { ledger.from_base() };
        let mut lost = requests.since(&mut since, gone).ok_or(LoadError::NotKept)?;
        if let Some(lost) = base_went.and_then(|place| lost.get_mut(place)) {
            *lost += ledger.base();
        }
        *ledger = since;
        Ok(lost)
    }

    /// Counts a write of the first key as acknowledged that is never sent: the next audit must find it lost.
    pub fn forge(&self) {
        falsify::forge(&self.clients);
    }

    /// Writes the first key, and has the same request applied once more, which is not counted: the next audit must find a
    /// write too many.
    ///
    /// # Errors
    /// The server did not apply it once more.
    pub async fn double(&self) -> Result<(), Unapplied> {
        falsify::double(&self.clients).await
    }

    /// Audits, and ends the clients.
    ///
    /// # Errors
    /// As [`Load::audit`].
    pub async fn stop(mut self) -> Result<Summary, LoadError> {
        let audit = self.settle().await?;
        self.clients.mood.send_replace(Mood::Leaving);
        let leaving = async { while self.tasks.join_next().await.is_some() {} };
        // Who does not leave in time is ended when the run is dropped.
        drop(timeout(Duration::from_millis(LEAVE_MS_MAX), leaving).await);
        let Found { lost, duplicated, sockets } = std::mem::take(&mut self.found);
        Ok(Summary { seen: self.seen(), sockets, lost, duplicated, audit })
    }

    async fn settle(&mut self) -> Result<Audited, LoadError> {
        let (sockets, _) = self.come_to_rest().await?;
        let audited = self.compare(sockets).await?;
        self.enter(&audited);
        Ok(audited)
    }

    /// Pauses the clients until nothing is outstanding, and says what the sessions found.
    async fn come_to_rest(&mut self) -> Result<(SocketsSeen, Vec<Gap>), LoadError> {
        self.clients.meter().pause(std::time::Instant::now());
        self.settlings += 1;
        self.clients.mood.send_replace(Mood::Settling(self.settlings));
        let until = Instant::now() + Duration::from_millis(SETTLE_MS_MAX);
        self.requests_end(until).await?;
        Ok(self.sockets_settle(until).await)
    }

    /// Compares with what the server holds, and begins anew from that.
    async fn compare(&mut self, sockets: SocketsSeen) -> Result<Audited, LoadError> {
        let (held, by) = get::audit(&self.clients.pools_from(0), self.clients.config.keys).await?;
        self.base_by = by;
        if let Some(mut requests) = self.clients.requests() {
            requests.clear();
        }
        Ok(Audited { writes: self.clients.ledger().audit(&held), sockets })
    }

    /// Enters what was found into what all audits found.
    fn enter(&mut self, audited: &Audited) {
        self.found.lost += audited.writes.lost;
        self.found.duplicated += audited.writes.duplicated;
        let before = std::mem::take(&mut self.found.sockets);
        self.found.sockets = audited.sockets.clone();
        let sessions = self.found.sockets.sessions;
        self.found.sockets.add(&before);
        self.found.sockets.sessions = sessions;
    }

    /// All permits are back: nothing is outstanding.
    async fn requests_end(&self, until: Instant) -> Result<(), LoadError> {
        let all = u32::try_from(IN_FLIGHT_MAX).expect("the bound fits 32 bits");
        let outstanding = || IN_FLIGHT_MAX - self.clients.room.available_permits();
        match timeout_at(until, self.clients.room.acquire_many(all)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(LoadError::Unsettled { outstanding: outstanding() }),
        }
    }

    async fn sockets_settle(&mut self, until: Instant) -> (SocketsSeen, Vec<Gap>) {
        let (mut all, mut gaps) = (SocketsSeen::default(), Vec::new());
        let sessions = u32::from(self.clients.config.sockets);
        while all.sessions < sessions {
            match timeout_at(until, self.settled.recv()).await {
                Ok(Some(settled)) if settled.time == self.settlings => {
                    all.add(&settled.seen);
                    gaps.extend(settled.gaps);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        all.unsettled = sessions - all.sessions;
        all.sessions = sessions;
        (all, gaps)
    }
}

/// How long clients may take to say goodbye.
const LEAVE_MS_MAX: u64 = 5_000;
