//! One cell, tried on real processes: load, the story, the victim, the end, the audit.

use super::cells::{Cell, Fault, STOPPED_MS, Story};
use crate::rig::{Rig, Who};
use anyhow::{Context, Result, bail, ensure};
use paracloud_core::ids::{NodeId, Placement, StartId};
use paracloud_core::migration::promises::{Point, Promise, Victim};
use paracloud_core::register::Record;
use paracloud_load::{Config, Load};
use paracloud_substrate::link;
use paracloud_substrate::message::Caller;
use paracloud_substrate::person::{Reply, Request};
use paracloud_substrate::process::{Identity, signal};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The instance of every trial.
pub(super) const INSTANCE: &str = "sessions";
/// How long a point may take to be reached.
const FIRED_S_MAX: u64 = 40;
/// How long everything may take to settle, before a trial and after it.
const SETTLED_S_MAX: u64 = 90;
/// How long the application may take to answer one request of ours.
const ANSWER_S_MAX: u64 = 10;
/// Requests answered before the story begins.
const WARM_REQUESTS: u64 = 20;

/// What came of one trial.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Verdict {
    /// Its point was reached.
    pub(super) fired: bool,
    /// It settled again.
    pub(super) ended: bool,
    /// Acknowledged writes and messages that are gone.
    pub(super) lost: u64,
    /// Writes and messages that came twice.
    pub(super) duplicated: u64,
    /// What else was wrong.
    pub(super) violation: Option<String>,
    /// Requests that clients saw fail or end without an answer.
    pub(super) failed: u64,
    /// How long it took to settle after the blow, in milliseconds.
    pub(super) settled_ms: u64,
}

impl Verdict {
    pub(super) fn is_good(&self, cell: Cell) -> bool {
        let lost = self.lost == 0 || cell.may_lose();
        self.fired && self.ended && lost && self.duplicated == 0 && self.violation.is_none()
    }
}

/// Tries one cell. An error is one of the rig: nothing is known of the cell then.
pub(super) async fn run(rig: &Rig, gateways: &[SocketAddr], cell: Cell) -> Result<Verdict> {
    let before = rig.settled(INSTANCE, Duration::from_secs(SETTLED_S_MAX)).await?;
    let record = before.record.context("it serves without a record")?;
    let config = Config {
        gateways: gateways.to_vec(),
        keys: 512,
        requests_per_s: 150,
        writes_per_request: 10,
        value_bytes: 64,
        sockets: 4,
        twice_permille: 50,
        seed: record.last_operation.0.into(),
        ..Config::default()
    };
    let load = paracloud_load::start(config).await?;
    while load.seen().achieved < WARM_REQUESTS {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let known = starts(rig);
    let armed = rig.failpoints().join(cell.armed());
    // What a trial before this one left would look like this one's.
    for left in std::fs::read_dir(rig.failpoints())?.flatten() {
        std::fs::remove_file(left.path())?;
    }
    std::fs::write(&armed, "")?;
    begin(rig, cell.story(), &record.owner, record.served).await?;
    let mut verdict = Verdict::default();
    if !appears(&armed.with_file_name(format!("{}.fired", cell.armed())), FIRED_S_MAX).await {
        let _ = std::fs::remove_file(&armed);
        verdict.violation = Some("its point was not reached".to_owned());
        return finish(rig, load, cell, &record, verdict, Instant::now()).await;
    }
    verdict.fired = true;
    let struck = strike(rig, cell, record.owner, &known).await;
    std::fs::write(armed.with_file_name(format!("{}.go", cell.armed())), "")?;
    let begun = Instant::now();
    match struck {
        Err(error) => verdict.violation = Some(format!("{error:#}")),
        Ok(Blow::Done) => {}
        Ok(Blow::Standing(identity)) => {
            tokio::time::sleep(Duration::from_millis(STOPPED_MS)).await;
            if let Some(handle) = identity.open()? {
                signal(&handle, Signal::CONT)?;
            }
        }
        Ok(Blow::Deaf(file)) => {
            let ended =
                rig.until(INSTANCE, "ends its move", Duration::from_secs(SETTLED_S_MAX), |_, instance| {
                    instance.record.as_ref().is_some_and(|record| record.operation.is_none())
                });
            if ended.await.is_err() {
                verdict.violation = Some("the move waits for a gateway that is cut off".to_owned());
            }
            std::fs::remove_file(file)?;
        }
    }
    finish(rig, load, cell, &record, verdict, begun).await
}

/// Whether the story of a cell has come to its end in this record.
fn is_told(cell: Cell, before: &Record, now: &Record) -> bool {
    // A controller that was killed before it wrote anything has forgotten the command.
    let forgotten = (cell.promise, cell.point, cell.victim, cell.fault)
        == (Promise::Open, Point::BeforePersist, Victim::Controller, Fault::Kill);
    let begun = match cell.story() {
        Story::OwnerDies => now.owner.start != before.owner.start,
        Story::Move | Story::Blocked | Story::NeverReady => {
            forgotten || now.last_operation > before.last_operation
        }
    };
    begun && now.operation.is_none() && now.served.is_some()
}

async fn finish(
    rig: &Rig,
    load: Load,
    cell: Cell,
    before: &Record,
    mut verdict: Verdict,
    begun: Instant,
) -> Result<Verdict> {
    if cell.story() == Story::Blocked {
        let rolled_back =
            rig.until(INSTANCE, "is rolled back", Duration::from_secs(SETTLED_S_MAX), |_, it| {
                it.record.as_ref().is_some_and(|record| record.operation.is_none() && record.served.is_some())
            });
        if let Ok(instance) = rolled_back.await
            && let Some(address) = instance.record.and_then(|record| record.served)
        {
            // A process that was killed holds nothing any more.
            if let Err(error) = get(address, "/faults/let-go").await {
                tracing::info!(%error, "nobody holds a guard");
            }
        }
    }
    let told = rig.until(INSTANCE, "ends its operation", Duration::from_secs(SETTLED_S_MAX), |_, it| {
        it.record.as_ref().is_some_and(|record| is_told(cell, before, record))
    });
    let settled = match told.await {
        Ok(_) => rig.settled(INSTANCE, Duration::from_secs(SETTLED_S_MAX)).await,
        Err(error) => Err(error),
    };
    verdict.settled_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    match settled {
        Ok(_) => verdict.ended = true,
        Err(error) => {
            verdict.violation.get_or_insert_with(|| format!("{error:#}"));
            return Ok(verdict);
        }
    }
    let summary = load.stop().await?;
    verdict.lost = summary.lost + summary.sockets.lost;
    verdict.duplicated = if cell.may_lose() {
        // What died with its owner took replies and sequences along: a request that was sent twice may have been
        // answered by both, and sessions count from 1 again. A counter that is too high stays a write too many.
        summary.audit.writes.findings.iter().map(|finding| u64::from(finding.duplicated)).sum()
    } else {
        summary.duplicated + summary.sockets.repeated
    };
    verdict.failed = summary.seen.errors.total() + summary.seen.unknown;
    let alive =
        starts(rig).into_iter().filter(|place| rig.find(Who::Application(place.node, place.start)).is_some());
    let alive = alive.count();
    if alive != 1 {
        verdict
            .violation
            .get_or_insert_with(|| format!("{alive} processes of the instance are alive at rest"));
    }
    Ok(verdict)
}

/// Begins the story in which the promise is made.
async fn begin(rig: &Rig, story: Story, owner: &Placement, served: Option<SocketAddr>) -> Result<()> {
    match story {
        Story::OwnerDies => {
            let process = rig.find(Who::Application(owner.node, owner.start));
            let process = process.context("the owner is not there")?;
            let handle = process.open()?.context("the owner is dead already")?;
            return Ok(signal(&handle, Signal::KILL)?);
        }
        Story::Blocked => hold_guard(served.context("it does not serve")?).await?,
        Story::Move | Story::NeverReady => {}
    }
    // The answer may never come: the point may stop the controller before it.
    let socket = rig.layout().controller_socket();
    tokio::spawn(async move {
        let begun = Instant::now();
        // An instance that has just settled may not be known to be ready by all yet.
        while begun.elapsed().as_secs() < FIRED_S_MAX {
            match ask_for_move(&socket).await {
                Ok(Some(Reply::Refused(refused))) => tracing::info!(?refused, "asked again"),
                Ok(_) => return,
                Err(error) => return tracing::info!(%error, "the controller is gone"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    Ok(())
}

/// The first answer to a request for a move.
async fn ask_for_move(socket: &Path) -> Result<Option<Reply>> {
    let request = Request::Move { instance: INSTANCE.to_owned(), to: None, accept_loss: false, wait: false };
    let (mut reader, mut writer) = link::halves(link::dial(socket).await);
    writer.write(&Caller::Person).await?;
    writer.write(&request).await?;
    Ok(reader.read().await?)
}

/// What is left to do about a victim.
enum Blow {
    Done,
    Standing(Identity),
    Deaf(std::path::PathBuf),
}

async fn strike(rig: &Rig, cell: Cell, source: Placement, known: &BTreeSet<Placement>) -> Result<Blow> {
    let other = if source.node == NodeId(1) { NodeId(2) } else { NodeId(1) };
    let begun = Instant::now();
    let mut target = starts(rig).difference(known).next().copied();
    let wanted = matches!(cell.victim, Victim::TargetShim | Victim::TargetApplication);
    while wanted && target.is_none() && begun.elapsed().as_secs() < ANSWER_S_MAX {
        tokio::time::sleep(Duration::from_millis(1)).await;
        target = starts(rig).difference(known).next().copied();
    }
    let target = || target.context("there is no target process");
    let who = match cell.victim {
        Victim::Controller => Who::Controller,
        Victim::SourceAgent => Who::Agent(source.node),
        Victim::TargetAgent => Who::Agent(other),
        Victim::Gateway => Who::Gateway(1),
        Victim::SourceShim => Who::Shim(source.node, source.start),
        Victim::SourceApplication => Who::Application(source.node, source.start),
        Victim::TargetShim => target().map(|place| Who::Shim(place.node, place.start))?,
        Victim::TargetApplication => target().map(|place| Who::Application(place.node, place.start))?,
    };
    if cell.fault == Fault::Cut {
        let file = rig.deaf(1);
        std::fs::write(&file, "")?;
        return Ok(Blow::Deaf(file));
    }
    // A program that was just started becomes itself in a moment.
    let begun = Instant::now();
    let identity = loop {
        match rig.find(who) {
            Some(identity) => break identity,
            None if begun.elapsed().as_secs() < ANSWER_S_MAX => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            None => bail!("{who:?} is not there"),
        }
    };
    let handle = identity.open()?.with_context(|| format!("{who:?} is dead already"))?;
    match cell.fault {
        Fault::Kill => {
            signal(&handle, Signal::KILL)?;
            let begun = Instant::now();
            while identity.is_alive()? {
                ensure!(begun.elapsed().as_secs() < FIRED_S_MAX, "{who:?} does not die");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(Blow::Done)
        }
        Fault::Stop => {
            signal(&handle, Signal::STOP)?;
            Ok(Blow::Standing(identity))
        }
        Fault::Cut => bail!("a cut is no signal"),
    }
}

/// Every process that was ever started for the instance.
fn starts(rig: &Rig) -> BTreeSet<Placement> {
    let mut found = BTreeSet::new();
    for node in [NodeId(1), NodeId(2)] {
        for entry in std::fs::read_dir(rig.layout().processes(node)).into_iter().flatten().flatten() {
            let start = entry.file_name().to_str().and_then(|name| name.parse::<StartId>().ok());
            found.extend(start.map(|start| Placement { node, start }));
        }
    }
    found
}

async fn appears(file: &Path, seconds: u64) -> bool {
    let begun = Instant::now();
    while begun.elapsed().as_secs() < seconds {
        if file.exists() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    false
}

/// Makes the application hold a guard for ever, and waits until it does.
async fn hold_guard(address: SocketAddr) -> Result<()> {
    // It holds the guard also when nobody waits for the answer; what comes next on the connection waits for it.
    let mut stream = TcpStream::connect(address).await.context("the application does not answer")?;
    stream.write_all(request(address, "/faults/hold-guard").as_bytes()).await?;
    // Another request is answered: the one before it was taken up, or soon is.
    get(address, "/healthz").await
}

/// Sends a request to the application itself, and waits for the answer.
async fn get(address: SocketAddr, path: &str) -> Result<()> {
    let answered = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request(address, path).as_bytes()).await?;
        stream.read(&mut [0; 16]).await
    };
    let answered = tokio::time::timeout(Duration::from_secs(ANSWER_S_MAX), answered).await;
    let bytes = answered.context("the application does not answer in time")??;
    ensure!(bytes > 0, "the application closed the connection");
    Ok(())
}

fn request(address: SocketAddr, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")
}
