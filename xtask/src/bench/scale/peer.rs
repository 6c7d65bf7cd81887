//! Kubernetes' way: an autoscaler that decides by one metric at each sync, and a set of replicas that follows it.
//!
//! The decision is [`paracloud_sim::peers::hpa`]'s. Its metric is one of the pods' own: jobs that a pod has, begun or not,
//! in thousandths of its slots, in the mean over one sync. A pod that does not answer has no sample. Replicas are started at
//! once and take part once they are ready. On the way down those go that are not ready, then those that were started last;
//! each is taken out of the gateway's table and gets SIGTERM at the same time, and SIGKILL when its grace is over.

use super::super::feed::{self, Became};
use super::lives::Lives;
use super::setting::{INSTANCES, PROBE_MS, Setting};
use super::{Measured, run_load};
use crate::rig;
use anyhow::{Context, Result, ensure};
use paracloud_core::ids::{GatewayId, NodeId, Placement, Revision, StartId};
use paracloud_core::register::{Change, Proposer, Record};
use paracloud_load::look::Window;
use paracloud_sim::peers::hpa::{Hpa, Phase, Pod, Sample};
use paracloud_substrate::advice::Advice;
use paracloud_substrate::config::{App, Cloud, Node, Scale, State};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::process::{Identity, signal};
use rustix::process::Signal;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const GATEWAY: GatewayId = GatewayId(1);
const NODE: NodeId = NodeId(1);
/// What changed and the gateway was not told yet.
const RECORDS_MAX: usize = 64;
/// How often replicas are looked after, in milliseconds.
const LOOK_MS: u64 = 20;
/// How long everything may take to be there, and to end, in milliseconds.
const WAIT_MS_MAX: u64 = 60_000;

/// What pods said of themselves: when, and how much of their slots they use, in thousandths.
type Said = Arc<Mutex<BTreeMap<u32, VecDeque<(Instant, u64)>>>>;

/// One replica.
#[derive(Debug)]
struct Replica {
    /// Of the last one of this number.
    before: Option<Record>,
    record: Record,
    address: SocketAddr,
    window: Window,
    process: Child,
    identity: Identity,
    started: Instant,
    ready: Option<Instant>,
    /// Since when it has had SIGTERM.
    leaves: Option<Instant>,
}

/// All of it.
struct Peer<'a> {
    setting: &'a Setting,
    lives: &'a Lives,
    directory: TempDir,
    begun: Instant,
    hpa: Hpa,
    replicas: BTreeMap<u32, Replica>,
    /// Of those that took part and ended.
    gone: BTreeMap<u32, Record>,
    starts: u64,
    said: Said,
    records: mpsc::Sender<Became>,
}

/// Runs the load against it.
pub(super) async fn measure(setting: &Setting) -> Result<Measured> {
    let [listen] = rig::free_addresses(1)?[..] else { unreachable!("one was asked for") };
    let lives = Lives::default();
    let private = Permissions::from_mode(0o700);
    let directory = tempfile::Builder::new().prefix("pc-").permissions(private).tempdir()?;
    let layout = Layout::new(directory.path())?;
    cloud(listen).save(&layout.cloud())?;
    let socket = UnixListener::bind(layout.controller_socket())?;
    let (records, became) = mpsc::channel(RECORDS_MAX);
    let said = Said::default();
    let hears = Arc::clone(&said);
    let feed = feed::serve(socket, vec!["worker".to_owned()], became, move |number, advice| {
        hear(&hears, number, advice);
    });
    let feed = tokio::spawn(feed);
    let mut gateway = gateway(&directory)?;
    let (begun, hpa) = (Instant::now(), Hpa::new(setting.hpa()));
    let (replicas, gone) = (BTreeMap::new(), BTreeMap::new());
    let mut peer =
        Peer { setting, lives: &lives, directory, begun, hpa, replicas, gone, starts: 0, said, records };
    peer.first(listen).await?;
    let measured = tokio::select! {
        measured = run_load(setting, listen, &lives, |_| Ok(())) => measured,
        error = peer.decide() => Err(error.err().context("it ended")?),
    }?;
    check(&mut gateway, &feed)?;
    peer.end().await?;
    // The end of its lifeline tells the gateway to end.
    drop(gateway.stdin.take());
    let status = tokio::time::timeout(Duration::from_millis(WAIT_MS_MAX), gateway.wait()).await;
    let status = status.context("the gateway does not end")??;
    ensure!(status.success(), "the gateway has ended: {status}");
    feed.await??;
    Ok(measured)
}

fn cloud(listen: SocketAddr) -> Cloud {
    let (min, max) = INSTANCES;
    let app = App {
        listen: vec![listen],
        state: State::None,
        scale: Some(Scale { min, max, start: min, ..Scale::default() }),
        ..App::new("worker", vec!["worker".to_owned()])
    };
    let node = Node { id: NODE, name: "n1".to_owned(), host: [127, 0, 1, 1].into() };
    Cloud { nodes: vec![node], gateways: vec![GATEWAY], apps: vec![app] }
}

fn gateway(directory: &TempDir) -> Result<Child> {
    let gateway = Command::new(rig::binary("paracloud")?)
        .args(["gateway", "--gateway", "g1", "--dir"])
        .arg(directory.path())
        // It ends when this program does, however that ends.
        .env("PARACLOUD_LIFELINE", "1")
        .env("RUST_LOG", "warn")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(File::create(directory.path().join("gateway.log"))?)
        .kill_on_drop(true)
        .spawn()?;
    Ok(gateway)
}

fn check(gateway: &mut Child, feed: &JoinHandle<Result<()>>) -> Result<()> {
    if let Some(status) = gateway.try_wait()? {
        anyhow::bail!("the gateway has ended: {status}");
    }
    ensure!(!feed.is_finished(), "the gateway is not told anything any more");
    Ok(())
}

/// What a pod says, as a scraped metric: samples are kept for as long as any mean needs them.
fn hear(said: &Said, number: u32, advice: &Advice) {
    let Some(report) = &advice.report else { return };
    let jobs = |count: Option<u32>| u64::from(count.unwrap_or_default());
    let slots = jobs(report.said.concurrency).max(1);
    let used_permille = (jobs(report.said.in_flight) + jobs(report.said.queued)) * 1_000 / slots;
    let mut all = said.lock().unwrap_or_else(PoisonError::into_inner);
    let of_pod = all.entry(number).or_default();
    of_pod.push_back((Instant::now(), used_permille));
    of_pod.retain(|(at, _)| at.elapsed() < Duration::from_millis(WAIT_MS_MAX));
}

impl Peer<'_> {
    fn now_ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }

    /// The first replicas, until they are warm and clients are served.
    async fn first(&mut self, listen: SocketAddr) -> Result<()> {
        for _ in 0..INSTANCES.0 {
            self.start()?;
        }
        let window = Window::new(listen);
        let warm = Duration::from_millis(u64::from(self.setting.start_ms) * 2);
        loop {
            self.look_after().await?;
            let all = self.replicas.values().all(|it| it.ready.is_some() && it.started.elapsed() >= warm);
            if all && window.look("/healthz", Duration::from_millis(WAIT_MS_MAX)).await.is_ok() {
                return Ok(());
            }
            ensure!(
                self.begun.elapsed() < Duration::from_millis(WAIT_MS_MAX),
                "the first replicas are not ready"
            );
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
    }

    /// Decides for ever.
    async fn decide(&mut self) -> Result<()> {
        let sync = Duration::from_millis(self.setting.sync_ms());
        let mut next = Instant::now() + sync;
        let mut ticks = tokio::time::interval(Duration::from_millis(LOOK_MS));
        loop {
            ticks.tick().await;
            self.look_after().await?;
            if Instant::now() >= next {
                next += sync;
                self.sync().await?;
            }
        }
    }

    fn start(&mut self) -> Result<()> {
        self.starts += 1;
        let number =
            (1..).find(|number| !self.replicas.contains_key(number)).context("there are too many")?;
        let [address] = rig::free_addresses(1)?[..] else { unreachable!("one was asked for") };
        let path = self.directory.path().join(format!("{}.log", self.starts));
        let log = File::create(&path)?;
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(rig::binary("worker")?)
            .env_clear()
            .envs(self.setting.environment())
            .env("HOST", address.ip().to_string())
            .env("PORT", address.port().to_string())
            .env("PACI_INSTANCE", format!("worker.{number}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("setpriv, of util-linux, cannot be run")?;
        let identity = Identity::of(i32::try_from(process.id().context("a worker has ended")?)?)?;
        self.lives.add(identity.clone(), || File::open(&path))?;
        let owner = Placement { node: NODE, start: StartId(self.starts), revision: Revision::first() };
        let before = self.gone.remove(&number);
        let record = match &before {
            Some(before) => before.apply(&Change::Start(owner), Proposer::Coordinator)?,
            None => Record::first(owner),
        };
        let (window, started) = (Window::new(address), Instant::now());
        let (ready, leaves) = (None, None);
        let replica = Replica { before, record, address, window, process, identity, started, ready, leaves };
        self.replicas.insert(number, replica);
        Ok(())
    }

    /// Who became ready takes part, and who ended is gone.
    async fn look_after(&mut self) -> Result<()> {
        let grace = Duration::from_millis(self.setting.grace_ms());
        let mut gone = Vec::new();
        for (number, it) in &mut self.replicas {
            if let Some(since) = it.leaves {
                if it.process.try_wait()?.is_some() {
                    gone.push(*number);
                } else if since.elapsed() > grace {
                    it.process.start_kill()?;
                }
                continue;
            }
            if let Some(status) = it.process.try_wait()? {
                anyhow::bail!("replica {number} has ended by itself: {status}");
            }
            let wait = Duration::from_millis(PROBE_MS);
            if it.ready.is_none() && it.window.look("/healthz", wait).await.is_ok() {
                it.ready = Some(Instant::now());
                it.record = it.record.apply(&Change::Serve(it.address), Proposer::Coordinator)?;
                self.records.send((*number, it.record.clone())).await?;
            }
        }
        for number in gone {
            let Some(it) = self.replicas.remove(&number) else { continue };
            if it.ready.is_some() {
                let record = it.record.apply(&Change::Depart, Proposer::Coordinator)?;
                let record = record.apply(&Change::Gone, Proposer::Coordinator)?;
                self.records.send((number, record.clone())).await?;
                self.gone.insert(number, record);
            } else if let Some(before) = it.before {
                self.gone.insert(number, before);
            }
            self.said.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        }
        Ok(())
    }

    async fn sync(&mut self) -> Result<()> {
        let pods: Vec<Pod> = self.replicas.iter().map(|(number, it)| self.pod(*number, it)).collect();
        let live = || self.replicas.iter().filter(|(_, it)| it.leaves.is_none());
        let current = u32::try_from(live().count())?;
        // Those that are not ready go first, then those that were started last.
        let mut order: Vec<_> =
            live().map(|(number, it)| (it.ready.is_some(), it.started, *number)).collect();
        order.sort_by_key(|(is_ready, started, _)| (*is_ready, std::cmp::Reverse(*started)));
        let desired = self.hpa.sync(self.now_ms(Instant::now()), current, &pods);
        for _ in current..desired {
            self.start()?;
        }
        for (_, _, number) in order.into_iter().take(current.saturating_sub(desired) as usize) {
            self.leave(number).await?;
        }
        Ok(())
    }

    /// A pod, as the autoscaler sees it.
    fn pod(&self, number: u32, it: &Replica) -> Pod {
        let window_ms = self.setting.sync_ms();
        let now_ms = self.now_ms(Instant::now());
        let all = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let within = |at: &Instant| at.elapsed() < Duration::from_millis(window_ms) && *at >= it.started;
        let samples: Vec<u64> = all
            .get(&number)
            .into_iter()
            .flatten()
            .filter(|(at, _)| within(at))
            .map(|(_, used)| *used)
            .collect();
        let mean = samples.iter().sum::<u64>().checked_div(samples.len() as u64);
        Pod {
            phase: if it.leaves.is_some() { Phase::Gone } else { Phase::Running },
            started_ms: self.now_ms(it.started),
            ready: Some(match it.ready {
                Some(at) => (true, self.now_ms(at)),
                None => (false, self.now_ms(it.started)),
            }),
            sample: mean.map(|used_permille| Sample { at_ms: now_ms, window_ms, used_permille }),
        }
    }

    async fn leave(&mut self, number: u32) -> Result<()> {
        let it = self.replicas.get_mut(&number).context("there is no such replica")?;
        it.leaves = Some(Instant::now());
        // Of one that never took part nobody is to be told.
        if it.ready.is_some() {
            it.record = it.record.apply(&Change::Leave, Proposer::Coordinator)?;
            self.records.send((number, it.record.clone())).await?;
        }
        if let Some(handle) = it.identity.open()? {
            signal(&handle, Signal::TERM)?;
        }
        Ok(())
    }

    /// Ends all replicas.
    async fn end(mut self) -> Result<()> {
        for (_, mut it) in std::mem::take(&mut self.replicas) {
            it.process.kill().await?;
        }
        Ok(())
    }
}
