//! The blow: who is struck, how, and what it means that somebody is gone when it falls.
//!
//! Everybody who is there when a trial begins is known by then, so that the blow falls as soon as the point is
//! reached. While the maker of a promise stands still, the others go on, and the move itself may end the victim first:
//! the blow then comes *too late*, which says nothing of the cell. That is decided from facts: the process is dead, and
//! the register says that its operation was to end it.

use super::cells::{Cell, Fault};
use super::courses::Kin;
use super::stand::Standing;
use super::starts;
use crate::rig::{Rig, Who};
use anyhow::{Result, bail, ensure};
use paracloud_core::ids::{NodeId, Placement, StartId};
use paracloud_core::migration::promises::Victim;
use paracloud_core::register::{Mode, MoveStep, Record, Step};
use paracloud_substrate::process::{Identity, signal};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a victim may take to appear once its point was reached.
const FOUND_S_MAX: u64 = 10;
/// How long a signal may take to be obeyed.
const OBEYED_S_MAX: u64 = 40;
/// How long the register may take to tell what a dead victim died of.
const TOLD_S_MAX: u64 = 10;
/// How often it is looked whether the point was reached, in microseconds.
const POLL_US: u64 = 200;
/// How often all processes of the machine are looked through, in milliseconds.
const SEARCH_MS: u64 = 10;

/// What came of a blow.
pub(super) enum Blow {
    /// It is dead; which application it was, if it was one.
    Done(Option<StartId>),
    /// It stands still.
    Standing(Standing),
    /// It hears nothing for as long as this file is there.
    Deaf(PathBuf),
    /// The operation itself had ended the victim before, as this says.
    Late(String),
}

/// Looks for the victim of a trial until the blow falls.
pub(super) struct Aim<'a> {
    rig: &'a Rig,
    cell: Cell,
    source: Placement,
    /// The processes from before the trial.
    known: BTreeSet<Placement>,
    /// The process that was started in the trial.
    target: Option<Placement>,
    found: Option<Identity>,
    searched: Option<Instant>,
    /// It was struck.
    is_struck: bool,
}

impl<'a> Aim<'a> {
    /// Takes aim before anything happens.
    pub(super) fn take(rig: &'a Rig, cell: Cell, source: Placement) -> Result<Self> {
        let known = starts::all(rig.layout(), cell.course.instance());
        let mut aim =
            Self { rig, cell, source, known, target: None, found: None, searched: None, is_struck: false };
        aim.look();
        let is_there = aim.found.is_some() || aim.victim().is_none();
        ensure!(is_there, "{} is not there before the trial", cell.victim);
        Ok(aim)
    }

    /// Waits until the point is reached and strikes in that moment, if the victim is known; says whether it was
    /// reached. This holds its thread, so that the blow waits for nobody else's turn.
    pub(super) fn wait_for(&mut self, fired: &Path, bound: Duration) -> Result<bool> {
        let begun = Instant::now();
        while begun.elapsed() < bound {
            if fired.exists() {
                self.hit()?;
                return Ok(true);
            }
            self.look();
            std::thread::sleep(Duration::from_micros(POLL_US));
        }
        Ok(false)
    }

    /// Sends the signal to a victim that is known.
    fn hit(&mut self) -> Result<()> {
        let (Some(identity), Some(wanted)) = (&self.found, self.signal()) else { return Ok(()) };
        if let Some(handle) = identity.open()? {
            signal(&handle, wanted)?;
            self.is_struck = true;
        }
        Ok(())
    }

    fn signal(&self) -> Option<Signal> {
        match self.cell.fault {
            Fault::Kill => Some(Signal::KILL),
            Fault::Stop => Some(Signal::STOP),
            Fault::Cut => None,
        }
    }

    /// Looks whether a victim that is yet to come has come.
    fn look(&mut self) {
        let starts_one = matches!(self.cell.course.kin(), Kin::Move(_));
        if starts_one && self.target.is_none() {
            let all = starts::all(self.rig.layout(), self.cell.course.instance());
            self.target = all.difference(&self.known).next().copied();
        }
        let is_due = self.searched.is_none_or(|last| last.elapsed() >= Duration::from_millis(SEARCH_MS));
        if let (None, Some(who), true) = (&self.found, self.victim(), is_due) {
            self.found = self.rig.find(who);
            // What is in a file is looked at whenever there is time; what needs a search is not.
            let is_cheap = matches!(who, Who::Application(..));
            self.searched = (!is_cheap).then(Instant::now);
        }
    }

    /// Who is to be struck; `None` as long as the target is not known.
    fn victim(&self) -> Option<Who> {
        let other = if self.source.node == NodeId(1) { NodeId(2) } else { NodeId(1) };
        Some(match self.cell.victim {
            Victim::Controller => Who::Controller,
            Victim::SourceAgent => Who::Agent(self.source.node),
            Victim::TargetAgent => Who::Agent(other),
            Victim::Gateway => Who::Gateway(1),
            Victim::SourceShim => Who::Shim(self.source.node, self.source.start),
            Victim::SourceApplication => Who::Application(self.source.node, self.source.start),
            Victim::TargetShim => self.target.map(|target| Who::Shim(target.node, target.start))?,
            Victim::TargetApplication => self.target.map(|it| Who::Application(it.node, it.start))?,
        })
    }

    /// The process that a victim is, or looks after; `None`: it belongs to none.
    fn process(&self) -> Option<Placement> {
        match self.cell.victim {
            Victim::SourceShim | Victim::SourceApplication => Some(self.source),
            Victim::TargetShim | Victim::TargetApplication => self.target,
            Victim::Controller | Victim::SourceAgent | Victim::TargetAgent | Victim::Gateway => None,
        }
    }

    /// The application that the victim is, if it is one.
    fn application(&self) -> Option<StartId> {
        let is_one = matches!(self.cell.victim, Victim::SourceApplication | Victim::TargetApplication);
        self.process().filter(|_| is_one).map(|process| process.start)
    }

    /// Strikes, if that has not been done, now that the point was reached; and waits until it is felt.
    pub(super) async fn strike(mut self) -> Result<Blow> {
        if self.cell.fault == Fault::Cut {
            let file = self.rig.deaf(1);
            std::fs::write(&file, "")?;
            return Ok(Blow::Deaf(file));
        }
        // A program that was just started becomes itself in a moment.
        let begun = Instant::now();
        while self.found.is_none() {
            let is_over = self.process().is_some_and(|it| starts::is_proved_dead(self.rig.layout(), it));
            if is_over {
                return self.too_late().await;
            }
            ensure!(begun.elapsed().as_secs() < FOUND_S_MAX, "{:?} does not come", self.victim());
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.look();
        }
        if !self.is_struck {
            self.hit()?;
        }
        match self.found.take() {
            Some(identity) if self.is_struck => self.felt(identity).await,
            Some(_) | None => self.too_late().await,
        }
    }

    /// Waits until a signal that was sent is obeyed.
    async fn felt(&self, identity: Identity) -> Result<Blow> {
        let begun = Instant::now();
        loop {
            let alive = identity.is_alive()?;
            match self.cell.fault {
                Fault::Stop if identity.is_stopped()? => {
                    let process = self.process();
                    return Ok(Blow::Standing(Standing { identity, process }));
                }
                Fault::Stop if !alive => return self.too_late().await,
                Fault::Kill if !alive => return Ok(Blow::Done(self.application())),
                Fault::Stop | Fault::Kill | Fault::Cut => {}
            }
            let seconds = begun.elapsed().as_secs();
            ensure!(seconds < OBEYED_S_MAX, "{:?} does not obey a signal", self.victim());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The victim is dead already: by its operation, or it is a finding.
    async fn too_late(&self) -> Result<Blow> {
        let Some(process) = self.process() else { bail!("{:?} died before the blow", self.victim()) };
        let begun = Instant::now();
        while begun.elapsed().as_secs() < TOLD_S_MAX {
            if let Some(status) = self.rig.status().await {
                let instance = status.instances.iter().find(|it| it.name == self.cell.course.instance());
                let record = instance.and_then(|it| it.record.as_ref());
                if record.is_none_or(|record| is_ended_by_operation(record, process.start)) {
                    let step = record.and_then(Record::step);
                    let what = format!("{:?} was ended by the operation, now at {step:?}", self.victim());
                    return Ok(Blow::Late(what));
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bail!("{:?} died before the blow, and no operation was to end it", self.victim())
    }
}

/// Whether by this record a process is ended, or was.
fn is_ended_by_operation(record: &Record, start: StartId) -> bool {
    let Some(operation) = record.moving() else {
        let leaves = record.step() == Some(Step::Leaving);
        return leaves || record.owner.start != start;
    };
    let (source, target) = (operation.source.start == start, operation.target.start == start);
    match operation.step {
        MoveStep::Open => false,
        MoveStep::Sealing | MoveStep::Switch => operation.mode == Mode::Restart && source,
        MoveStep::Retire => source,
        MoveStep::Doomed | MoveStep::Undo => target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{Incarnation, OperationNumber};
    use paracloud_core::register::{Change, Move, Operation, Proposer};

    const SOURCE: Placement = Placement::new(NodeId(1), StartId(1));
    const TARGET: Placement = Placement::new(NodeId(2), StartId(2));

    fn record(owner: Placement, mode: Mode, step: Option<MoveStep>) -> Record {
        let source_address = ([127, 0, 0, 1], 80).into();
        let base = Incarnation(1);
        let operation =
            step.map(|step| Move { mode, step, base, source: SOURCE, source_address, target: TARGET });
        let operation = operation.map(Operation::Move);
        let (incarnation, last_operation) = (Incarnation(1), OperationNumber(1));
        Record {
            incarnation,
            owner,
            served: Some(source_address),
            last_operation,
            operation,
            gone: false,
            size: None,
        }
    }

    #[test]
    fn a_move_ends_its_source_once_the_target_serves_and_its_target_when_it_is_off() {
        let handoff = |owner, step| record(owner, Mode::Handoff, Some(step));
        for step in [MoveStep::Open, MoveStep::Sealing] {
            assert!(!is_ended_by_operation(&handoff(SOURCE, step), SOURCE.start), "{step:?}");
            assert!(!is_ended_by_operation(&handoff(SOURCE, step), TARGET.start), "{step:?}");
        }
        assert!(!is_ended_by_operation(&handoff(TARGET, MoveStep::Switch), SOURCE.start));
        assert!(is_ended_by_operation(&handoff(TARGET, MoveStep::Retire), SOURCE.start));
        assert!(!is_ended_by_operation(&handoff(TARGET, MoveStep::Retire), TARGET.start));
        assert!(is_ended_by_operation(&handoff(TARGET, MoveStep::Doomed), TARGET.start));
        assert!(is_ended_by_operation(&handoff(SOURCE, MoveStep::Undo), TARGET.start));
        assert!(!is_ended_by_operation(&handoff(SOURCE, MoveStep::Undo), SOURCE.start));
    }

    #[test]
    fn a_move_by_restart_ends_its_source_first() {
        let restart = |owner, step| record(owner, Mode::Restart, Some(step));
        assert!(!is_ended_by_operation(&restart(SOURCE, MoveStep::Open), SOURCE.start));
        assert!(is_ended_by_operation(&restart(SOURCE, MoveStep::Sealing), SOURCE.start));
        assert!(is_ended_by_operation(&restart(TARGET, MoveStep::Switch), SOURCE.start));
        assert!(!is_ended_by_operation(&restart(TARGET, MoveStep::Switch), TARGET.start));
    }

    #[test]
    fn who_leaves_is_ended_once_that_is_decided_and_not_while_it_is_drained() {
        let rest = record(SOURCE, Mode::Handoff, None);
        let draining = rest.apply(&Change::Leave, Proposer::Coordinator).unwrap();
        assert!(!is_ended_by_operation(&draining, SOURCE.start));
        let leaving = draining.apply(&Change::Depart, Proposer::Coordinator).unwrap();
        assert!(is_ended_by_operation(&leaving, SOURCE.start));
    }

    #[test]
    fn at_rest_everybody_but_the_owner_has_been_ended() {
        let rest = record(TARGET, Mode::Handoff, None);
        assert!(is_ended_by_operation(&rest, SOURCE.start));
        assert!(!is_ended_by_operation(&rest, TARGET.start));
    }
}
