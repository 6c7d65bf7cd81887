//! Keeps the shells running: each is a child in one process group, with a lifeline that ends it when `up` dies, and
//! is started again, with a growing pause, for as long as `up` lives.

use super::roster::{Roster, ask_to_end};
use crate::figures::millis;
use paracloud_core::ids::{GatewayId, NodeId};
use paracloud_substrate::config::Cloud;
use paracloud_substrate::layout::Layout;
use paracloud_substrate::lifeline;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// First and longest pause before a shell is started again, in milliseconds; it doubles.
pub const PAUSE_MS: (u64, u64) = (100, 5_000);
/// A shell that lived so long starts its pauses from the first again, in milliseconds.
pub const SOUND_MS: u64 = 30_000;
/// A log that is larger when its shell is started is put aside (as `….1`), in bytes.
pub const LOG_BYTES_MAX: u64 = 16 << 20;

/// What the shells are to do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Run, and be started again.
    Run,
    /// Agents end, and with them what they run.
    EndAgents,
    /// All end.
    EndAll,
    /// All are killed.
    Kill,
}

/// One shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shell {
    /// The control shell.
    Controller,
    /// The agent of a node.
    Agent(NodeId),
    /// A gateway.
    Gateway(GatewayId),
}

impl Shell {
    /// All shells of a cloud.
    pub fn all(cloud: &Cloud) -> Vec<Self> {
        let agents = cloud.nodes.iter().map(|node| Self::Agent(node.id));
        let gateways = cloud.gateways.iter().map(|gateway| Self::Gateway(*gateway));
        [Self::Controller].into_iter().chain(agents).chain(gateways).collect()
    }

    /// What it and its log are called.
    pub fn name(&self) -> String {
        match self {
            Self::Controller => "controller".to_owned(),
            Self::Agent(node) => format!("agent-{node}"),
            Self::Gateway(gateway) => format!("gateway-{gateway}"),
        }
    }

    fn arguments(&self) -> Vec<String> {
        match self {
            Self::Controller => vec!["controller".to_owned()],
            Self::Agent(node) => vec!["agent".to_owned(), "--node".to_owned(), node.to_string()],
            Self::Gateway(gateway) => vec!["gateway".to_owned(), "--gateway".to_owned(), gateway.to_string()],
        }
    }

    /// From which order on it is to end.
    fn ends_at(&self) -> Order {
        match self {
            Self::Agent(_) => Order::EndAgents,
            Self::Controller | Self::Gateway(_) => Order::EndAll,
        }
    }
}

/// The shells of one `up`.
#[derive(Debug)]
pub struct Supervisor {
    order: watch::Sender<Order>,
    agents: JoinSet<()>,
    others: JoinSet<()>,
}

#[derive(Debug)]
struct Keeper {
    layout: Layout,
    program: PathBuf,
    roster: Roster,
    /// The process group of all shells: the pid of the first.
    group: Mutex<Option<i32>>,
    says: mpsc::Sender<String>,
}

impl Supervisor {
    /// Starts all shells of a cloud. What happens to them is said to `says`.
    ///
    /// # Errors
    /// It is not known which program this is.
    pub fn start(layout: &Layout, cloud: &Cloud, says: mpsc::Sender<String>) -> io::Result<Self> {
        let (order, _) = watch::channel(Order::Run);
        let keeper = Arc::new(Keeper {
            layout: layout.clone(),
            program: std::env::current_exe()?,
            roster: Roster::new(layout),
            group: Mutex::new(None),
            says,
        });
        let (mut agents, mut others) = (JoinSet::new(), JoinSet::new());
        for shell in Shell::all(cloud) {
            let set = if shell.ends_at() == Order::EndAgents { &mut agents } else { &mut others };
            set.spawn(Arc::clone(&keeper).keep(shell, order.subscribe()));
        }
        Ok(Self { order, agents, others })
    }

    /// Gives an order; an earlier one than the last is passed over.
    pub fn order(&self, order: Order) {
        self.order.send_if_modified(|now| {
            let later = order > *now;
            *now = (*now).max(order);
            later
        });
    }

    /// Waits until all agents have ended, at most this long.
    pub async fn agents_ended(&mut self, within: Duration) -> bool {
        ended(&mut self.agents, within).await
    }

    /// Waits until all shells have ended, at most this long.
    pub async fn all_ended(&mut self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        ended(&mut self.agents, within).await
            && ended(&mut self.others, deadline.saturating_duration_since(Instant::now())).await
    }
}

async fn ended(set: &mut JoinSet<()>, within: Duration) -> bool {
    timeout(within, async { while set.join_next().await.is_some() {} }).await.is_ok()
}

impl Keeper {
    /// One shell, until it is to end and has ended.
    async fn keep(self: Arc<Self>, shell: Shell, mut order: watch::Receiver<Order>) {
        let name = shell.name();
        let mut pause_ms = PAUSE_MS.0;
        while *order.borrow_and_update() < shell.ends_at() {
            let begun = Instant::now();
            let how = match self.spawn(&shell) {
                Ok(child) => self.watch(&shell, child, &mut order).await,
                Err(error) => format!("could not be started: {error}"),
            };
            if *order.borrow() >= shell.ends_at() {
                return;
            }
            if begun.elapsed() >= Duration::from_millis(SOUND_MS) {
                pause_ms = PAUSE_MS.0;
            }
            let log = self.log(&name);
            let said =
                format!("{name} {how}; starting it again in {} (see {})", millis(pause_ms), log.display());
            self.say(said);
            tokio::select! {
                () = sleep(Duration::from_millis(pause_ms)) => {}
                _ = order.wait_for(|now| *now >= shell.ends_at()) => return,
            }
            pause_ms = (pause_ms * 2).min(PAUSE_MS.1);
        }
    }

    /// Waits for its end, and passes orders on. Says how it ended.
    async fn watch(&self, shell: &Shell, mut child: Child, order: &mut watch::Receiver<Order>) -> String {
        // Kept open as long as the child is to live: its end would end the child.
        let _lifeline = child.stdin.take();
        let mut told = Order::Run;
        loop {
            let now = *order.borrow_and_update();
            if now >= shell.ends_at() && now != told {
                told = now;
                match (now, child.id()) {
                    // Not waited for yet, so the pid is still the child's.
                    (Order::Kill, _) => drop(child.start_kill()),
                    (_, Some(pid)) => ask_to_end(pid),
                    (_, None) => {}
                }
            }
            tokio::select! {
                status = child.wait() => return status.map_or_else(|error| format!("is lost: {error}"), ended_how),
                changed = order.changed() => if changed.is_err() {
                    drop(child.start_kill());
                },
            }
        }
    }

    fn spawn(&self, shell: &Shell) -> io::Result<Child> {
        let name = shell.name();
        let mut group = self.group.lock().unwrap_or_else(PoisonError::into_inner);
        let log = open_log(&self.log(&name))?;
        let mut command = Command::new(&self.program);
        command.args(shell.arguments()).arg("--dir").arg(self.layout.root());
        command.env(lifeline::VARIABLE, "1").stdin(Stdio::piped());
        command.stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let child = match *group {
            Some(leader) => command.process_group(leader).spawn().or_else(|error| {
                // The last of the group is gone, and the group with it.
                if error.kind() == io::ErrorKind::PermissionDenied {
                    *group = None;
                    return command.process_group(0).spawn();
                }
                Err(error)
            })?,
            None => command.process_group(0).spawn()?,
        };
        if let Some(pid) = child.id() {
            group.get_or_insert(pid.cast_signed());
            if let Err(error) = self.roster.enter(&name, pid) {
                self.say(format!("{name} is not in {}: {error}", self.layout.up_shells().display()));
            }
        }
        Ok(child)
    }

    /// A terminal that stands still loses some of this, not the supervision.
    fn say(&self, text: String) {
        let _ = self.says.try_send(text);
    }

    fn log(&self, name: &str) -> PathBuf {
        self.layout.log().join(format!("{name}.log"))
    }
}

fn open_log(path: &std::path::Path) -> io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

fn ended_how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(code)) => format!("ended with exit status {code}"),
        (None, None) => "ended".to_owned(),
    }
}
