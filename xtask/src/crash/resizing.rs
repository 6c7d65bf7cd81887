//! Trials of another size, on real control groups: what the kernel enforces is read from its own files.

use super::SIZED;
use super::cells::Cell;
use super::courses::{Course, Kin};
use super::trial::{ANSWER_S_MAX, SETTLED_S_MAX, Verdict};
use crate::rig::Rig;
use anyhow::{Context, Result, ensure};
use paracloud_core::ids::{Placement, StartId};
use paracloud_core::register::{Record, Size};
use paracloud_substrate::cgroup::{Group, Hierarchies, Site};
use paracloud_substrate::layout::Layout;
use paracloud_substrate::person::Request;
use serde::Deserialize;
use std::time::{Duration, Instant};

/// The size of the manifest, and those from which and to which it goes.
const SMALL: Size = size(256, 500);
const LARGE: Size = size(512, 1_000);
const TOO_SMALL: Size = size(64, 250);
/// What a process has in use that does not keep to a smaller size, in bytes. Its program says the same in its command.
pub(super) const BALLAST_BYTES: u64 = 120_000_000;
/// The pause between two looks, in milliseconds.
const LOOK_MS: u64 = 10;
/// How long the kernel may take to show a limit, in seconds.
const LIMITED_S_MAX: u64 = 5;

const fn size(memory_mib: u32, cpu_milli: u32) -> Size {
    Size { memory_kib: Some(memory_mib * 1_024), cpu_milli: Some(cpu_milli) }
}

/// What the manifest says of it.
pub(super) const RESOURCES: &str = "resources:\n  memory: 256MiB\n  cpu: 500m\n  resizeMin: {memory: 48MiB, cpu: 250m}\n  resizeMax: {memory: 1GiB, cpu: 2}\n";

/// The size from which a course goes, and the one to which.
fn way(course: Course) -> (Size, Size) {
    match course {
        Course::Shrink => (LARGE, SMALL),
        Course::Unkept => (SMALL, TOO_SMALL),
        Course::Handoff
        | Course::Restart
        | Course::Update
        | Course::UpdateRestart
        | Course::Leave
        | Course::Revoked
        | Course::Raced
        | Course::Grow => (SMALL, LARGE),
    }
}

/// Whether control groups with limits can be made here.
pub(super) fn is_possible() -> bool {
    let Ok(hierarchies) = Hierarchies::find() else { return false };
    let Ok(directory) = tempfile::tempdir() else { return false };
    let group = Site::of(&hierarchies, directory.path()).make("n1", StartId(1));
    let is_possible = group.memory.is_ok() && group.cpu.is_ok();
    let _ = group.remove();
    paracloud_substrate::cgroup::sweep_gone_clouds(&hierarchies);
    is_possible
}

/// What came of the cells of another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resized {
    /// They are tried like the others.
    Ran,
    /// They are left out.
    NoGroups,
    /// None was chosen.
    NotAsked,
}

impl Resized {
    /// As the report has it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ran => "ran",
            Self::NoGroups => "no control groups",
            Self::NotAsked => "not asked for",
        }
    }
}

/// Leaves the cells of another size out, where that is not possible.
pub(super) fn keep_possible(cells: &mut Vec<Cell>, is_possible: impl FnOnce() -> bool) -> Resized {
    let all = cells.len();
    let others = cells.iter().filter(|cell| cell.course.kin() != Kin::Resize).count();
    if others == all {
        return Resized::NotAsked;
    }
    if is_possible() {
        return Resized::Ran;
    }
    cells.retain(|cell| cell.course.kin() != Kin::Resize);
    Resized::NoGroups
}

/// A person's word that it is to have this size.
fn request(to: Size, wait: bool) -> Request {
    let (instance, budget_ms) = (SIZED.to_owned(), None);
    let (memory_kib, cpu_milli, dry_run) = (to.memory_kib, to.cpu_milli, false);
    Request::Resize { instance, memory_kib, cpu_milli, budget_ms, dry_run, wait }
}

/// Waits until it has the size from which it is to go; with its record.
pub(super) async fn prepare(rig: &Rig, course: Course) -> Result<Record> {
    let (from, _) = way(course);
    let begun = Instant::now();
    loop {
        let settled = rig.settled(SIZED, Duration::from_secs(SETTLED_S_MAX)).await?;
        let record = settled.record.context("it serves without a record")?;
        let group = group(rig.layout(), record.owner);
        let used = group.and_then(|group| group.memory_bytes()).unwrap_or_default();
        let is_heavy = course != Course::Unkept || used >= BALLAST_BYTES;
        if record.size.unwrap_or(SMALL) == from && is_heavy {
            return Ok(record);
        }
        ensure!(begun.elapsed().as_secs() < SETTLED_S_MAX, "it does not get the size from which it is to go");
        if record.size.unwrap_or(SMALL) != from {
            let _ = rig.ask(&request(from, true), Duration::from_secs(ANSWER_S_MAX)).await;
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
}

/// The word with which a course begins.
pub(super) fn order(course: Course) -> Request {
    request(way(course).1, false)
}

/// Says what is wrong with the size at the end: by the register, and by the kernel.
pub(super) async fn judge(verdict: &mut Verdict, rig: &Rig, course: Course, after: &Record) {
    let (from, to) = way(course);
    let told = after.size.unwrap_or(SMALL);
    if course == Course::Unkept && told != from {
        verdict.is_broken_by(format!("it has much in use, and its size is {told:?}"));
    }
    if ![from, to].contains(&told) {
        verdict.is_broken_by(format!("its size is neither the old nor the new one: {told:?}"));
    }
    let begun = Instant::now();
    loop {
        let enforced = group(rig.layout(), after.owner).map(|group| enforced(&group));
        if enforced == Some(told) {
            return;
        }
        if begun.elapsed().as_secs() >= LIMITED_S_MAX {
            return verdict
                .is_broken_by(format!("its size is {told:?}, and the kernel enforces {enforced:?}"));
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
}

fn enforced(group: &Group) -> Size {
    let memory_kib = group.memory_limit_bytes().and_then(|bytes| u32::try_from(bytes / 1_024).ok());
    Size { memory_kib, cpu_milli: group.usage().cpu_limit_milli }
}

/// The part of `group.json` that matters here.
#[derive(Deserialize)]
struct Place {
    group: Group,
}

/// The control group of a process.
fn group(layout: &Layout, place: Placement) -> Option<Group> {
    let text = std::fs::read(layout.process(place.node, place.start).join("group.json")).ok()?;
    serde_json::from_slice::<Place>(&text).ok().map(|place| place.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_another_size_are_left_out_where_no_group_can_be_made_and_nothing_else_is() {
        let (mut all, mut here) = (Cell::all(), Cell::all());
        assert_eq!(keep_possible(&mut here, || true), Resized::Ran);
        assert_eq!(here, all);
        assert_eq!(keep_possible(&mut here, || false), Resized::NoGroups);
        all.retain(|cell| cell.course.kin() != Kin::Resize);
        assert_eq!(here, all);
        assert_eq!(keep_possible(&mut here, || true), Resized::NotAsked);
        assert_eq!(here, all);
    }
}
