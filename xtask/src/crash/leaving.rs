//! Trials of an instance that leaves: two instances of a queue, of which one has work that costs more to lose.
//!
//! So it is known beforehand who leaves. Who is called back by a fault serves on; that two are wanted again is said then,
//! as by the number that was asked for it would leave once more.

use super::cells::{Cell, Story};
use super::courses::Course;
use super::jobs::{self, Past};
use super::trial::{ANSWER_S_MAX, SETTLED_S_MAX, Verdict};
use super::watch::{self, Answer};
use super::{LEAVER, starts};
use crate::rig::{self, Rig, Who};
use anyhow::{Context, Result, bail, ensure};
use paracloud_core::ids::{OperationNumber, Placement, StartId};
use paracloud_core::migration::promises::Promise;
use paracloud_core::register::{Record, Step};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::person::{Reply, Request, Status};
use paracloud_substrate::process::signal;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The app, and the instance of it that stays.
const APP: &str = "worker";
const STAYER: &str = "worker.1";
/// A number of instances that was asked for is kept for so long, in milliseconds: longer than a cloud is there.
const KEPT_MS: u32 = 3_600_000;
/// A job that does not end while a cloud is there, in milliseconds.
const LONG_JOB_MS: u32 = 600_000;
/// Who stays has so much more invested than who leaves, in milliseconds.
const MARGIN_MS: u64 = 1_500;
/// The pause between two looks, in milliseconds.
const LOOK_MS: u64 = 5;
/// And where it is looked for a point that is reached, in microseconds.
const LOOK_US: u64 = 200;
/// The pause between two tries of a request, in milliseconds.
const AGAIN_MS: u64 = 50;

/// Wants so many instances, or asks what that would do: who leaves; `None` within: it is refused now. An error: nobody
/// answers.
async fn scale(layout: &Layout, to: u32, dry_run: bool) -> Result<Option<Vec<String>>> {
    let request = Request::Scale {
        app: APP.to_owned(),
        to,
        hold_ms: Some(KEPT_MS),
        dry_run,
        accept_loss: false,
        within_ms: None,
        wait: false,
    };
    let replies = rig::ask(layout, &request, Duration::from_secs(ANSWER_S_MAX)).await?;
    ensure!(!replies.is_empty(), "the controller went away");
    Ok(replies.into_iter().find_map(|reply| match reply {
        Reply::Scaled(scaled) => Some(scaled.leaves.into_iter().map(|it| it.instance).collect()),
        Reply::Status(_)
        | Reply::Event(_)
        | Reply::Outcome(_)
        | Reply::Waits { .. }
        | Reply::Drains(_)
        | Reply::Drained { .. }
        | Reply::Updates(_)
        | Reply::Applied { .. }
        | Reply::Previewed { .. }
        | Reply::Answered(_)
        | Reply::Begun(_)
        | Reply::Explained(_)
        | Reply::Done
        | Reply::GivenBack(_)
        | Reply::Refused(_) => None,
    }))
}

/// Says that two are wanted, and whether that was taken.
async fn wants_both(layout: &Layout) -> bool {
    scale(layout, 2, false).await.is_ok_and(|taken| taken.is_some())
}

/// Calls back who is to leave, and says whether that was answered.
async fn call_back(layout: &Layout) -> bool {
    let request = Request::Cancel { instance: LEAVER.to_owned(), asked_unix_ms: 0 };
    let replies = rig::ask(layout, &request, Duration::from_secs(ANSWER_S_MAX)).await.unwrap_or_default();
    replies.iter().any(|reply| matches!(reply, Reply::Done | Reply::Refused(_)))
}

/// The record of an instance that is there.
fn record_of(status: &Status, instance: &str) -> Option<Record> {
    status.instances.iter().find(|it| it.name == instance)?.record.clone()
}

/// The record of an instance that serves with nothing open, where everybody is connected.
fn settled(status: &Status, instance: &str) -> Option<Record> {
    let record = record_of(status, instance)?;
    let is_settled = record.operation.is_none() && record.served.is_some();
    (is_settled && all_connected(status)).then_some(record)
}

fn all_connected(status: &Status) -> bool {
    status.nodes.iter().all(|node| node.connected) && status.gateways.iter().all(|(_, connected)| *connected)
}

/// Waits until both instances serve, and who is to leave is the one that it costs less to lose; with its record.
pub(super) async fn prepare(rig: &Rig, course: Course) -> Result<Record> {
    let begun = Instant::now();
    let (mut is_asked, mut last) = (false, None);
    while begun.elapsed().as_secs() < SETTLED_S_MAX {
        is_asked = is_asked || wants_both(rig.layout()).await;
        if let Some(status) = rig.status().await.filter(|_| is_asked) {
            // A process of the trial before may end while it is asked.
            match prepared(rig, course, &status).await {
                Ok(Some(leaves)) => return Ok(leaves),
                Ok(None) => {}
                Err(error) => last = Some(error),
            }
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
    bail!("two instances do not settle: {}", last.map_or_else(String::new, |error| format!("{error:#}")));
}

/// The record of who is to leave, if both are as they are to be.
async fn prepared(rig: &Rig, course: Course, status: &Status) -> Result<Option<Record>> {
    let (Some(stays), Some(leaves)) = (settled(status, STAYER), settled(status, LEAVER)) else {
        return Ok(None);
    };
    let Some((stayer, leaver)) = stays.served.zip(leaves.served) else { return Ok(None) };
    if !starts::is_alone(rig, LEAVER, leaves.owner) {
        return Ok(None);
    }
    if course != Course::Revoked && jobs::has_long_job(leaver, LONG_JOB_MS).await? {
        // From a trial in which it was to be called back for it: in this one it could not leave.
        let process = rig.find(Who::Application(leaves.owner.node, leaves.owner.start));
        if let Some(handle) = process.and_then(|process| process.open().transpose()).transpose()? {
            signal(&handle, Signal::KILL)?;
        }
        return Ok(None);
    }
    let wanted = if course == Course::Revoked { has_work(leaver).await? } else { 0 };
    if jobs::invested_ms(stayer).await? < wanted + MARGIN_MS {
        jobs::give(stayer, LONG_JOB_MS).await?;
        tokio::time::sleep(Duration::from_millis(MARGIN_MS / 4)).await;
        return Ok(None);
    }
    // An instance that has just been started may not be known to answer yet.
    let would_leave = scale(rig.layout(), 1, true).await?;
    Ok(would_leave.is_some_and(|names| names == [LEAVER]).then_some(leaves))
}

/// Sees to it that an instance has a job that keeps it from leaving; with what was invested in it.
async fn has_work(address: SocketAddr) -> Result<u64> {
    if !jobs::has_long_job(address, LONG_JOB_MS).await? {
        jobs::give(address, LONG_JOB_MS).await?;
    }
    jobs::invested_ms(address).await
}

/// What a person does in such a trial, for as long as it is let run: one fewer is wanted, and in its story who is to leave
/// is called back.
pub(super) async fn person(layout: Layout, story: Story, fired: PathBuf, begun: OperationNumber) {
    // Who did not say in time what its leaving would cost stays, and is asked again. Once the point is reached nobody is: it
    // may stop the controller before it answers.
    loop {
        let leaves = scale(&layout, 1, false).await.ok().flatten().unwrap_or_default();
        if fired.exists() || leaves.iter().any(|name| name == LEAVER) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
    }
    match story {
        Story::CalledBack => {
            // Until it is heard that it is called back, or there is nobody any more.
            loop {
                let status = rig::status(&layout).await;
                let record = status.as_ref().map(|status| record_of(status, LEAVER));
                match record {
                    Some(None) => return,
                    Some(Some(record)) => match record.step() {
                        Some(Step::Draining) => _ = call_back(&layout).await,
                        Some(_) => {}
                        None if record.last_operation > begun => return,
                        None => {}
                    },
                    None => {}
                }
                tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            }
        }
        Story::Raced => {
            while !fired.exists() {
                tokio::time::sleep(Duration::from_micros(LOOK_US)).await;
            }
            while !call_back(&layout).await {
                tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
            }
        }
        Story::Move
        | Story::Blocked
        | Story::NeverReady
        | Story::OwnerDies
        | Story::Restarted
        | Story::Leaves
        | Story::Resized => {}
    }
}

/// Waits until it has left, or serves on; with its record, if it does.
pub(super) async fn at_rest(rig: &Rig, cell: Cell, before: &Record) -> Result<Option<Record>> {
    let begun = Instant::now();
    let mut is_kept = false;
    let mut last = None;
    while begun.elapsed().as_secs() < SETTLED_S_MAX {
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        let Some(status) = rig.status().await.filter(all_connected) else { continue };
        let alive = starts::alive(rig, LEAVER);
        let record = record_of(&status, LEAVER);
        last = Some((record.clone(), alive.clone()));
        let Some(record) = record else {
            if alive.is_empty() && starts::is_over(rig.layout(), before.owner) {
                return Ok(None);
            }
            continue;
        };
        let has_ended = record.last_operation > before.last_operation || cell.is_forgotten();
        let Some(address) = record.served.filter(|_| has_ended && record.operation.is_none()) else {
            continue;
        };
        // Its leave has ended by itself. What is wanted is said again, as it would leave once more.
        is_kept = is_kept || wants_both(rig.layout()).await;
        let serves = watch::ask(address).await == Answer::Accepted;
        if is_kept && serves && starts::is_alone(rig, LEAVER, record.owner) {
            return Ok(Some(record));
        }
    }
    bail!("{LEAVER}: neither has it left nor does it serve on; last seen: {last:?}")
}

/// Says what is wrong with how a leave ended.
pub(super) fn judge(
    verdict: &mut Verdict,
    cell: Cell,
    before: &Record,
    end: Option<&Record>,
    told: &[Promise],
) {
    let was_struck = cell.kills_application();
    match end {
        None if !told.contains(&Promise::Gone) => {
            verdict.is_broken_by("it is there no longer, and the register does not say that it is gone");
        }
        None if cell.course == Course::Revoked && !was_struck => {
            verdict.is_broken_by("it was called back while it had work, and has left");
        }
        None => {}
        Some(record) => {
            let is_same = record.owner == before.owner;
            if !(is_same || was_struck || told.contains(&Promise::Gone)) {
                verdict.is_broken_by(format!("another process serves: {:?}", record.owner));
            }
            if !told.contains(&Promise::Return) && !told.contains(&Promise::Gone) && !cell.is_forgotten() {
                verdict.is_broken_by("it serves on, and the register does not say that it was called back");
            }
        }
    }
}

/// Those of the app that serve, and where.
pub(super) async fn serving(rig: &Rig) -> Result<BTreeMap<String, SocketAddr>> {
    let status = rig.status().await.context("the controller is away")?;
    let served =
        status.instances.iter().filter_map(|it| Some((it.name.clone(), it.record.as_ref()?.served?)));
    Ok(served.collect())
}

/// What the process left that was there when the trial began, if it is there no longer.
pub(super) fn past(
    rig: &Rig,
    course: Course,
    before: Placement,
    end: Option<StartId>,
    was_struck: bool,
) -> Option<Past> {
    let log = rig.layout().process(before.node, before.start).join("log");
    (end != Some(before.start)).then(|| Past { instance: course.instance().to_owned(), log, was_struck })
}

#[cfg(test)]
mod tests {
    use super::super::cells::Fault;
    use super::*;
    use paracloud_core::ids::NodeId;
    use paracloud_core::migration::promises::{Point, Victim};

    const ALL: [Promise; 3] = [Promise::Leave, Promise::Depart, Promise::Gone];
    const BACK: [Promise; 3] = [Promise::Leave, Promise::Return, Promise::Close];

    fn before() -> Record {
        Record::first(Placement::new(NodeId(2), StartId(1)))
    }

    fn is_good(course: Course, victim: Victim, end: Option<&Record>, told: &[Promise]) -> bool {
        let (promise, point, fault) = (Promise::Leave, Point::AfterSend, Fault::Kill);
        let mut verdict = Verdict { fired: true, ended: true, ..Verdict::default() };
        judge(&mut verdict, Cell { course, promise, point, victim, fault }, &before(), end, told);
        verdict.is_good()
    }

    #[test]
    fn who_has_left_is_gone_by_the_register_too() {
        assert!(is_good(Course::Leave, Victim::Controller, None, &ALL));
        assert!(!is_good(Course::Leave, Victim::Controller, None, &ALL[..2]));
    }

    #[test]
    fn who_was_called_back_with_work_to_do_has_not_left() {
        assert!(is_good(Course::Revoked, Victim::SourceAgent, Some(&before()), &BACK));
        assert!(!is_good(Course::Revoked, Victim::SourceAgent, None, &ALL));
        assert!(is_good(Course::Revoked, Victim::SourceApplication, None, &ALL), "it was struck dead");
        assert!(is_good(Course::Raced, Victim::SourceAgent, None, &ALL), "it may have left before");
    }

    #[test]
    fn who_serves_on_was_called_back_and_is_the_same_process() {
        let other = Record::first(Placement::new(NodeId(2), StartId(2)));
        assert!(!is_good(Course::Leave, Victim::SourceShim, Some(&before()), &ALL[..1]));
        assert!(!is_good(Course::Leave, Victim::SourceShim, Some(&other), &BACK));
        assert!(is_good(Course::Leave, Victim::SourceApplication, Some(&other), &BACK));
    }
}
