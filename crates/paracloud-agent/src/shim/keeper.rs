//! The loop of a shim: orders and the process's end in, the machine's effects out.

use super::order::{FromShim, ToShim};
use super::place;
use super::watch::{UNSEEN, Watched, end_leftovers};
use super::{ORPHAN_MS, ORPHAN_VARIABLE, PARENT, ShimError};
use crate::accept::AGAIN_MS;
use crate::durable;
use crate::processes::{Exit, ProcessDirectory, Spec};
use paracloud_core::ids::StartId;
use paracloud_core::migration::promises::{Point, Promise};
use paracloud_core::migration::shim::{Effect, Generation, Input, Order, Shim, Status};
use paracloud_substrate::failpoint;
use paracloud_substrate::link;
use paracloud_substrate::process::{Identity, Trail};
use paracloud_substrate::trace::Traced;
use rustix::process::Signal;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Agents that may be connected at once: one, and a few that were replaced.
const AGENTS_MAX: usize = 8;
/// Lines that wait for an agent; one that does not read is dropped.
const LINES_MAX: usize = 64;

/// What happens to a shim besides its process.
enum Event {
    Ordered(u64, ToShim),
    /// The agent was told that the process is dead.
    Told,
    Gone(u64),
}

/// See the module.
pub(super) struct Keeper {
    process: ProcessDirectory,
    spec: Spec,
    machine: Traced<Shim>,
    watched: Option<Watched>,
    listener: UnixListener,
    agents: BTreeMap<u64, mpsc::Sender<FromShim>>,
    connections: u64,
    generation: Generation,
    /// When SIGTERM is followed by SIGKILL.
    kill_at: Option<Instant>,
    /// Until when no connection is accepted, because one could not be.
    deaf_until: Option<Instant>,
    /// Since when no agent has been connected.
    alone_since: Instant,
    orphan: Duration,
    /// The group of the dead process is being removed.
    removal: Option<JoinHandle<()>>,
    _lock: File,
}

impl Keeper {
    /// `None`: the directory has a shim.
    pub(super) async fn open(directory: &Path) -> Result<Option<Self>, ShimError> {
        let failed = |source| ShimError::Directory { path: directory.into(), source };
        let process = ProcessDirectory::at(directory.to_path_buf());
        // Fails only for the leader of a group, which is on its own already.
        let _ = rustix::process::setsid();
        let Some(lock) = durable::lock(&process.lock()).map_err(failed)? else { return Ok(None) };
        let spec = process.spec().map_err(failed)?;
        let identity = process.identity().map_err(failed)?;
        // Who became the program was marked before. Without a sure answer nothing is started.
        let marked = identity.is_some() || process.is_marked().map_err(failed)?;
        let (mut watched, mut removal) = (None, None);
        if let Some(leader) = identity {
            let mut trail = trail(&process, &spec, leader);
            match trail.leader().open().map_err(failed)? {
                Some(handle) => watched = Some(Watched::adopted(handle, &process, trail).map_err(failed)?),
                None if process.exit().map_err(failed)?.is_none() => {
                    end_leftovers(&process, &mut trail, false).await;
                    removal = Some(tokio::spawn(place::leave(process.clone())));
                }
                None => {}
            }
        }
        match std::fs::remove_file(process.socket()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(process.socket()).map_err(failed)?;
        let machine = Traced::new((), &spec.trace, &format!("{}-{}", spec.node, spec.start));
        let orphan_ms = std::env::var(ORPHAN_VARIABLE).ok().and_then(|text| text.parse().ok());
        let orphan = Duration::from_millis(orphan_ms.unwrap_or(ORPHAN_MS).min(ORPHAN_MS));
        let alive = watched.is_some();
        let mut keeper = Self {
            process,
            spec,
            machine,
            watched,
            listener,
            agents: BTreeMap::new(),
            connections: 0,
            generation: Generation::default(),
            kill_at: None,
            deaf_until: None,
            alone_since: Instant::now(),
            orphan,
            removal,
            _lock: lock,
        };
        keeper.drive(Input::Started { marked, alive }, None).await?;
        Ok(Some(keeper))
    }

    pub(super) async fn run(mut self) -> Result<(), ShimError> {
        let done = self.serve().await;
        // Nobody waits for that but this process.
        if let Some(removal) = self.removal.take() {
            let _ = removal.await;
        }
        done
    }

    async fn serve(&mut self) -> Result<(), ShimError> {
        let (events, mut heard) = mpsc::channel(LINES_MAX);
        loop {
            self.machine.flush();
            let kill_at = self.kill_at;
            let orphaned_at = self.agents.is_empty().then_some(self.alone_since + self.orphan);
            tokio::select! {
                connection = self.listener.accept(), if self.deaf_until.is_none() => match connection {
                    Ok((stream, _)) => self.connect(stream, &events),
                    Err(error) => {
                        tracing::warn!(%error, "an agent's connection could not be accepted");
                        self.deaf_until = Some(Instant::now() + Duration::from_millis(AGAIN_MS));
                    }
                },
                () = at(self.deaf_until) => self.deaf_until = None,
                Some(event) = heard.recv() => match event {
                    Event::Ordered(asker, line) => {
                        self.generation = self.generation.max(line.generation);
                        self.drive(Input::Ordered(line.generation, line.order), Some(asker)).await?;
                    }
                    Event::Told => return Ok(()),
                    Event::Gone(agent) => self.gone(agent),
                },
                () = ended(self.watched.as_ref()) => {
                    self.buried().await?;
                    // Nobody to tell. How it ended is written down for whoever comes.
                    if self.agents.is_empty() && !self.up_may_live() {
                        return Ok(());
                    }
                }
                () = at(kill_at) => {
                    self.kill_at = None;
                    self.signal(Signal::KILL);
                }
                () = at(orphaned_at) => if self.orphaned().await? { return Ok(()) },
            }
        }
    }

    fn failed(&self, source: io::Error) -> ShimError {
        ShimError::Directory { path: self.process.path().into(), source }
    }

    fn connect(&mut self, stream: UnixStream, events: &mpsc::Sender<Event>) {
        if self.agents.len() == AGENTS_MAX {
            return;
        }
        self.connections += 1;
        let id = self.connections;
        let (lines, queue) = mpsc::channel(LINES_MAX);
        self.agents.insert(id, lines);
        tokio::spawn(attend(id, stream, queue, events.clone()));
    }

    fn gone(&mut self, agent: u64) {
        if self.agents.remove(&agent).is_some() && self.agents.is_empty() {
            self.alone_since = Instant::now();
        }
    }

    /// Takes one input in and does what the machine wants done, in its order.
    async fn drive(&mut self, input: Input, asker: Option<u64>) -> Result<(), ShimError> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for effect in self.machine.take(input, StartId(0)) {
                match effect {
                    Effect::Mark => {
                        self.mark().await?;
                        inputs.push_back(Input::Marked);
                    }
                    Effect::Exec => match self.start().await {
                        Ok(watched) => {
                            self.watched = Some(watched);
                            failpoint::reached(Promise::Mark, Point::AfterSend, &self.spec.node).await;
                        }
                        Err(error) => {
                            let how = format!("it could not be started: {error}");
                            self.note_exit(&Exit { how });
                            inputs.push_back(Input::Exited);
                        }
                    },
                    Effect::Kill => self.kill(),
                    Effect::Report(status) => self.report(status),
                    Effect::Superseded(generation) => {
                        if let Some(lines) = asker.and_then(|asker| self.agents.get(&asker)) {
                            let _ = lines.try_send(FromShim::Superseded(generation));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Uses the start id up.
    async fn mark(&self) -> Result<(), ShimError> {
        failpoint::reached(Promise::Mark, Point::BeforePersist, &self.spec.node).await;
        durable::write_synced(&self.process.marker(), b"").map_err(|source| self.failed(source))?;
        failpoint::reached(Promise::Mark, Point::AfterPersist, &self.spec.node).await;
        Ok(())
    }

    /// Starts the process, without any pipe to it: it must not notice when this shim dies.
    async fn start(&self) -> io::Result<Watched> {
        let log = OpenOptions::new().create(true).append(true).open(self.process.log())?;
        let child = Command::new(crate::binary())
            .arg0(crate::NAME)
            .args(["exec", "--process"])
            .arg(self.process.path())
            .env(PARENT, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Watched::child(child, &self.process, |leader| trail(&self.process, &self.spec, leader)).await
    }

    /// Asks the process to end; after its grace it is killed. Asking again changes nothing.
    fn kill(&mut self) {
        if self.kill_at.is_none() && self.watched.is_some() {
            self.kill_at = Some(Instant::now() + Duration::from_millis(self.spec.stop_grace_ms.into()));
            self.signal(Signal::TERM);
        }
    }

    fn signal(&self, which: Signal) {
        let Some(watched) = &self.watched else { return };
        if let Err(error) = watched.signal(which) {
            tracing::warn!(%error, pid = watched.pid(), "the process cannot be signalled");
        }
    }

    /// The process is dead: ends what it left behind, then says so.
    async fn buried(&mut self) -> Result<(), ShimError> {
        let Some(mut watched) = self.watched.take() else { return Ok(()) };
        watched.end_leftovers().await;
        let failure = std::fs::read_to_string(self.process.failure()).ok();
        let Exit { how } = watched.exit(failure);
        let limited = if place::was_killed_for_memory(&self.process) { place::FOR_MEMORY } else { "" };
        self.note_exit(&Exit { how: format!("{how}{limited}") });
        self.kill_at = None;
        self.drive(Input::Exited, None).await?;
        self.removal = Some(tokio::spawn(place::leave(self.process.clone())));
        Ok(())
    }

    fn report(&self, status: Status) {
        if status == Status::Dead {
            let never = match self.process.identity() {
                Ok(None) => "it was never started, and never will be",
                Ok(Some(_)) | Err(_) => UNSEEN,
            };
            self.note_exit(&Exit { how: never.to_owned() });
        }
        for lines in self.agents.values() {
            let _ = lines.try_send(FromShim::Status(status));
        }
    }

    /// Writes down how the process ended, once.
    fn note_exit(&self, exit: &Exit) {
        let noted = match self.process.exit() {
            Ok(Some(_)) => return,
            Ok(None) | Err(_) => self.process.write_exit(exit),
        };
        if let Err(error) = noted {
            tracing::warn!(%error, how = exit.how, "how the process ended could not be written down");
        }
    }

    /// Whether an `up` of this cloud may live: if that cannot be seen, it may. It is looked at again after [`ORPHAN_MS`].
    fn up_may_live(&self) -> bool {
        let path = &self.spec.up_lock;
        durable::is_locked(path).unwrap_or_else(|error| {
            tracing::warn!(%error, path = %path.display(), "it cannot be seen whether `up` lives: taken for living");
            true
        })
    }

    /// Nobody has looked after this process for a long time. Says whether the shim is done.
    async fn orphaned(&mut self) -> Result<bool, ShimError> {
        self.alone_since = Instant::now();
        match self.machine.machine().status() {
            Status::Dead | Status::Unstarted => return Ok(true),
            Status::Running => {}
        }
        if !self.up_may_live() && !self.process.is_sealed() {
            tracing::warn!("no agent and no `up` for long: the process is ended");
            self.drive(Input::Ordered(self.generation, Order::End), None).await?;
        }
        Ok(false)
    }
}

/// How what a process leaves behind is known.
fn trail(process: &ProcessDirectory, spec: &Spec, leader: Identity) -> Trail {
    Trail::of(leader, (paci::env::ENDPOINT, spec.endpoint()), &process.log())
}

async fn ended(watched: Option<&Watched>) {
    match watched {
        Some(watched) => watched.ended().await,
        None => std::future::pending().await,
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// One agent's connection.
async fn attend(
    id: u64,
    stream: UnixStream,
    mut queue: mpsc::Receiver<FromShim>,
    events: mpsc::Sender<Event>,
) {
    let (mut reader, mut writer) = link::halves(stream);
    loop {
        tokio::select! {
            line = reader.read::<ToShim>() => match line {
                Ok(Some(line)) => {
                    if events.send(Event::Ordered(id, line)).await.is_err() { return }
                }
                Ok(None) | Err(_) => break,
            },
            line = queue.recv() => {
                let Some(line) = line else { break };
                if writer.write(&line).await.is_err() { break }
                if line == FromShim::Status(Status::Dead) {
                    let _ = events.send(Event::Told).await;
                }
            }
        }
    }
    let _ = events.send(Event::Gone(id)).await;
}
