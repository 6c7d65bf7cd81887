//! One cell, tried on real processes: load, the story, the victim, the end, the audit.

use super::blow::{Aim, Blow};
use super::cells::{Cell, Fault, Story};
use super::courses::Kin;
use super::cut::Ear;
use super::jobs::Jobs;
use super::watch::{Answer, Seen, Watch};
use super::{audit, history, leaving, resizing, starts, story, updating, watch};
use crate::rig::Rig;
use anyhow::{Context, Result, ensure};
use paracloud_core::ids::{Revision, StartId};
use paracloud_core::register::{Mode, Record};
use paracloud_load::Load;
use paracloud_substrate::person::Instance;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a point may take to be reached.
pub(super) const FIRED_S_MAX: u64 = 40;
/// How long everything may take to settle, before a trial and after it.
pub(super) const SETTLED_S_MAX: u64 = 90;
/// How long the application may take to answer one request of ours.
pub(super) const ANSWER_S_MAX: u64 = 10;
/// How often a cell is tried whose blow comes too late, because the move had ended the victim.
const LATE_TRIES_MAX: u32 = 10;
/// What came of one trial.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Verdict {
    /// Its point was reached.
    pub(super) fired: bool,
    /// It settled again.
    pub(super) ended: bool,
    /// Tries in which the blow came too late, before this one.
    pub(super) late: u32,
    /// Acknowledged writes and messages that are gone and had to be there.
    pub(super) lost: u64,
    /// Those that went with an owner that was struck dead itself.
    pub(super) lost_with_owner: u64,
    /// Those that a move by restart left behind, as a person had consented.
    pub(super) lost_by_consent: u64,
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
    pub(super) fn is_good(&self) -> bool {
        let is_clean = (self.lost, self.duplicated) == (0, 0) && self.violation.is_none();
        self.fired && self.ended && is_clean
    }

    /// Something was wrong; what was wrong first stays.
    pub(super) fn is_broken_by(&mut self, what: impl Into<String>) {
        self.violation.get_or_insert_with(|| what.into());
    }
}

/// Tries one cell, again where the blow came too late. An error is one of the rig: nothing is known of the cell then.
pub(super) async fn run(rig: &Rig, gateways: &[SocketAddr], cell: Cell) -> Result<Verdict> {
    let mut late = 0;
    loop {
        let (mut verdict, why) = attempt(rig, gateways, cell).await?;
        verdict.late = late;
        let Some(why) = why else { return Ok(verdict) };
        late += 1;
        tracing::info!(%cell, late, why, "the blow came too late");
        if late == LATE_TRIES_MAX {
            verdict.is_broken_by(format!("the blow came too late {late} times: {why}"));
        }
        if !verdict.is_good() {
            verdict.late = late;
            return Ok(verdict);
        }
    }
}

/// The clients of a trial.
enum Clients {
    /// They write keys, of which each is in one place.
    Keys(Box<Load>),
    /// They have jobs done, by whoever is there.
    Jobs(Jobs),
}

/// A trial under way.
struct Trial<'a> {
    rig: &'a Rig,
    cell: Cell,
    clients: Clients,
    watch: Watch,
    before: Record,
    /// The revision that was applied, if one was.
    applied: Option<Revision>,
    /// The last event of the journal from before it.
    last_event: u64,
    /// The application that was struck dead, if one was.
    killed: Option<StartId>,
    verdict: Verdict,
    ear: Option<Ear>,
}

/// One try; with it, why the blow came too late, if it did.
async fn attempt(rig: &Rig, gateways: &[SocketAddr], cell: Cell) -> Result<(Verdict, Option<String>)> {
    let (before, applied) = prepare(rig, cell).await?;
    let last_event = history::events(rig, 1).await?.last().map_or(0, |event| event.number);
    let clients = match cell.course.kin() {
        Kin::Move(_) => Clients::Keys(Box::new(audit::load(gateways, &before).await?)),
        Kin::Leave | Kin::Resize => Clients::Jobs(Jobs::start(gateways, &format!("j{last_event}")).await?),
    };
    let one_at_once = cell.course.mode() == Some(Mode::Restart);
    let watch = Watch::begin(rig.layout().clone(), cell.course.instance(), one_at_once);
    let ear = (cell.fault == Fault::Cut).then(|| Ear::begin(rig)).transpose()?;
    let verdict = Verdict::default();
    let killed = None;
    let mut trial = Trial { rig, cell, clients, watch, before, applied, last_event, killed, verdict, ear };
    let mut aim = Aim::take(rig, cell, trial.before.owner)?;
    // What a trial before this one left would look like this one's.
    for left in std::fs::read_dir(rig.failpoints())?.flatten() {
        std::fs::remove_file(left.path())?;
    }
    let armed = rig.failpoints().join(cell.armed());
    std::fs::write(&armed, "")?;
    let fired = armed.with_file_name(format!("{}.fired", cell.armed()));
    let asking = story::begin(rig, cell, &fired, &trial.before).await?;
    let bound = Duration::from_secs(FIRED_S_MAX);
    if !tokio::task::block_in_place(|| aim.wait_for(&fired, bound))? {
        let _ = std::fs::remove_file(&armed);
        trial.verdict.is_broken_by("its point was not reached");
        return Ok((trial.finish(Instant::now()).await?, None));
    }
    trial.verdict.fired = true;
    let struck = aim.strike().await;
    std::fs::write(armed.with_file_name(format!("{}.go", cell.armed())), "")?;
    let begun = Instant::now();
    let mut late = None;
    match struck {
        Err(error) => trial.verdict.is_broken_by(format!("{error:#}")),
        Ok(Blow::Done(killed)) => trial.killed = killed,
        Ok(Blow::Late(why)) => late = Some(why),
        Ok(Blow::Standing(standing)) => {
            if let Err(error) = standing.stand(rig).await {
                trial.verdict.is_broken_by(format!("{error:#}"));
            }
        }
        Ok(Blow::Deaf(file)) => {
            let told = trial.told().await;
            std::fs::remove_file(file)?;
            if told.is_err() {
                trial.verdict.is_broken_by("the operation waits for a gateway that is cut off");
            }
        }
    }
    let verdict = trial.finish(begun).await?;
    drop(asking);
    Ok((verdict, late))
}

/// Waits until everything is as a trial of this cell begins: the record, and the revision that was applied for it.
async fn prepare(rig: &Rig, cell: Cell) -> Result<(Record, Option<Revision>)> {
    let course = cell.course;
    match course.kin() {
        Kin::Move(_) if course.is_update() => {
            let (record, applied) = updating::prepare(rig).await?;
            Ok((record, Some(applied)))
        }
        Kin::Move(_) => {
            let settled = rig.settled(course.instance(), Duration::from_secs(SETTLED_S_MAX)).await?;
            Ok((settled.record.context("it serves without a record")?, None))
        }
        Kin::Leave => Ok((leaving::prepare(rig, course).await?, None)),
        Kin::Resize => Ok((resizing::prepare(rig, course).await?, None)),
    }
}

impl Trial<'_> {
    /// Waits until the story has come to its end.
    async fn told(&self) -> Result<Instance> {
        let bound = Duration::from_secs(SETTLED_S_MAX);
        let told = |it: &Instance| {
            it.record.as_ref().is_some_and(|record| story::is_told(self.cell, &self.before, record))
        };
        self.rig.until(self.cell.course.instance(), "ends its operation", bound, |_, it| told(it)).await
    }

    /// Waits until its operation has ended and all is at rest; with the record of whoever serves, if somebody does.
    async fn at_rest(&self) -> Result<Option<Record>> {
        match self.cell.course.kin() {
            Kin::Leave => leaving::at_rest(self.rig, self.cell, &self.before).await,
            Kin::Move(_) | Kin::Resize => {
                self.told().await?;
                at_rest(self.rig, self.cell.course.instance()).await.map(Some)
            }
        }
    }

    /// Waits for the end and judges what there is to judge.
    async fn finish(mut self, begun: Instant) -> Result<Verdict> {
        if self.cell.story() == Story::Blocked {
            story::let_go(self.rig).await;
        }
        let at_rest = self.at_rest().await;
        self.verdict.settled_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let after = match at_rest {
            Ok(record) => record,
            Err(error) => {
                self.verdict.is_broken_by(format!("{error:#}"));
                return Ok(self.verdict);
            }
        };
        self.verdict.ended = true;
        let seen = self.watch.end().await.context("nobody watched who accepts requests")?;
        let events = history::events(self.rig, self.last_event + 1).await?;
        let history = history::of(&events, self.cell.course.instance(), &self.before)?;
        judge_owners(&mut self.verdict, &seen, &history::owners(&self.before, &history));
        let errors = match self.clients {
            Clients::Keys(load) => {
                let struck = self.cell.struck_alone(self.before.owner.start, self.killed);
                let gone = history::gone(&self.before, &history, &struck);
                Some(audit::settle(&mut self.verdict, *load, &gone).await?)
            }
            Clients::Jobs(jobs) => {
                let end = after.as_ref().map(|record| record.owner.start);
                let (place, killed) = (self.before.owner, self.killed.is_some());
                let past = leaving::past(self.rig, self.cell.course, place, end, killed);
                let serving = leaving::serving(self.rig).await?;
                let may_fail = self.cell.may_turn_away();
                jobs.settle(&mut self.verdict, &serving, past.as_ref(), may_fail).await?;
                None
            }
        };
        if self.cell.course.kin() == Kin::Leave {
            let told = history::decided(&history);
            leaving::judge(&mut self.verdict, self.cell, &self.before, after.as_ref(), &told);
        }
        let Some(after) = after else { return Ok(self.verdict) };
        if let Some(applied) = self.applied {
            let records = (&self.before, &after);
            updating::judge(&mut self.verdict, self.rig, records, applied, &history);
        }
        if self.cell.course.kin() == Kin::Resize {
            resizing::judge(&mut self.verdict, self.rig, self.cell.course, &after).await;
        }
        // Read once all requests have ended: the gateway has heard its new route by then.
        if let (Some(ear), Some(errors)) = (&self.ear, errors) {
            let (source, owner) = (self.before.owner.start, after.owner.start);
            // A source that cannot refuse is not stopped before every gateway parks.
            let (by_handoff, has_moved) = (self.cell.course.mode() == Some(Mode::Handoff), owner != source);
            if by_handoff != has_moved {
                self.verdict.is_broken_by(format!("with a gateway cut off it has moved: {has_moved}"));
            }
            if by_handoff && !seen.refused.contains_key(&source) {
                self.verdict.is_broken_by("the sealed source refused nobody");
            }
            if let Some(fault) = ear.end(source, owner)? {
                self.verdict.is_broken_by(fault);
            }
            // What was sent to the source as it was ended has no reply: that is promised to be `unknown`.
            if errors.total() > errors.unknown {
                self.verdict.is_broken_by(format!("clients were turned away: {errors:?}"));
            }
        }
        Ok(self.verdict)
    }
}

fn judge_owners(verdict: &mut Verdict, seen: &Seen, owners: &[StartId]) {
    if seen.accepted.is_empty() {
        verdict.is_broken_by("nobody was seen accepting requests: the watch was blind");
    }
    if let Some(what) = watch::judge(&seen.accepted, owners) {
        verdict.is_broken_by(what);
    }
    if let Some((one, other)) = seen.together {
        verdict.is_broken_by(format!("{one} ran when {other} was not proved dead"));
    }
}

/// Waits until all is settled, exactly the owner is alive, and it serves. What was just killed may not be known to be
/// dead when everything else is at rest.
async fn at_rest(rig: &Rig, instance: &str) -> Result<Record> {
    let begun = Instant::now();
    loop {
        let settled = rig.settled(instance, Duration::from_secs(SETTLED_S_MAX)).await?;
        let record = settled.record.context("it settled without a record")?;
        let address = record.served.context("it settled without an address")?;
        let answer = watch::ask(address).await;
        if starts::is_alone(rig, instance, record.owner) && answer == Answer::Accepted {
            return Ok(record);
        }
        ensure!(
            begun.elapsed().as_secs() < SETTLED_S_MAX,
            "at rest {:?} are alive, the owner is {:?}, and it says {answer:?}",
            starts::alive(rig, instance),
            record.owner
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
