//! Trials of an update: another revision is written and named before anything is struck, and the instance is to go to it.

use super::history::Swap;
use super::trial::{ANSWER_S_MAX, SETTLED_S_MAX, Verdict};
use super::{INSTANCE, history};
use crate::rig::{Rig, Who};
use anyhow::{Context, Result, ensure};
use paracloud_core::ids::Revision;
use paracloud_core::migration::promises::Promise;
use paracloud_core::register::{Record, Step};
use paracloud_substrate::config::{App, Cloud};
use paracloud_substrate::person::{Reply, Request, Revised};
use std::time::Duration;

/// The variable that tells of which revision a process is.
const VARIABLE: &str = "CRASH_REVISION";

/// Waits until the instance serves, and applies something new: its record, and the revision that counts from now on.
pub(super) async fn prepare(rig: &Rig) -> Result<(Record, Revision)> {
    let settled = rig.settled(INSTANCE, Duration::from_secs(SETTLED_S_MAX)).await?;
    let record = settled.record.context("it serves without a record")?;
    let path = rig.layout().cloud();
    let cloud = Cloud::load(&path)?;
    let known = cloud.app(INSTANCE).context("the app is not in its cloud")?;
    let mut app = known.clone();
    let wanted = known.revision + 1;
    app.env.insert(VARIABLE.to_owned(), wanted.to_string());
    let app = Cloud::add_revision(&path, &app)?;
    ensure!(app.revision == wanted, "somebody else writes revisions: {} and not {wanted}", app.revision);
    let named = |app: &App| Revised { app: app.name.clone(), revision: app.revision, anew: false };
    // The trial has it updated, when it is ready for that.
    let (from, to) = (vec![named(known)], vec![named(&app)]);
    let request = Request::Apply { from, to, update: None, wait: false };
    let replies = rig.ask(&request, Duration::from_secs(ANSWER_S_MAX)).await?;
    ensure!(replies.contains(&Reply::Done), "what was applied is not taken: {replies:?}");
    Ok((record, Revision(app.revision)))
}

/// Says what is wrong with the revision that an instance is of at the end.
pub(super) fn judge(
    verdict: &mut Verdict,
    rig: &Rig,
    told: (&Record, &Record),
    applied: Revision,
    all: &[Swap],
) {
    let (before, after) = told;
    let wanted = revision_of(&history::steps(all), before.owner.revision, applied);
    let found = after.owner.revision;
    if found != wanted {
        verdict.is_broken_by(format!("it is of revision {found:?} and was to be of {wanted:?}"));
    }
    if let Some(what) = fault_of_process(rig, after) {
        verdict.is_broken_by(what);
    }
}

/// The revision after these decisions, each with the step that it was made at: the new one from where that is committed, or
/// again what it was when the operation began that is given up before its target serves.
fn revision_of(decided: &[(Option<Step>, Promise)], before: Revision, applied: Revision) -> Revision {
    let (mut revision, mut at_open) = (before, before);
    for (step, change) in decided {
        match (change, step) {
            (Promise::Open, _) => at_open = revision,
            (Promise::Commit, _) => revision = applied,
            (Promise::Promote, _) | (Promise::Restart, Some(Step::Switch | Step::Doomed)) => {
                revision = at_open;
            }
            _ => {}
        }
    }
    revision
}

/// What is wrong with the environment of the owner's process, which tells of which revision it really is.
fn fault_of_process(rig: &Rig, record: &Record) -> Option<String> {
    let Some(process) = rig.find(Who::Application(record.owner.node, record.owner.start)) else {
        return Some("the owner is not there".to_owned());
    };
    let environment = std::fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
    let wanted = (record.owner.revision.0 > 1).then(|| record.owner.revision.0.to_string());
    let found = variable(&environment);
    (found != wanted).then(|| format!("its process is of revision {found:?} and not of {wanted:?}"))
}

fn variable(environment: &[u8]) -> Option<String> {
    let pairs = environment.split(|byte| *byte == 0).filter_map(|pair| std::str::from_utf8(pair).ok());
    let mut values = pairs.filter_map(|pair| pair.strip_prefix(VARIABLE)?.strip_prefix('='));
    values.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_committed_last_says_of_which_revision_the_instance_is() {
        use Promise::{Close, Commit, Doom, Open, Promote, Restart, RollBack, Seal, Serve};
        use Step::{Doomed, Retire, Sealing, Switch, Undo};
        let of = |decided: &[(Option<Step>, Promise)]| revision_of(decided, Revision(1), Revision(2)).0;
        let (open, seal, commit) = ((None, Open), (Some(Step::Open), Seal), (Some(Sealing), Commit));
        assert_eq!(of(&[]), 1);
        assert_eq!(of(&[open, (Some(Step::Open), RollBack), (Some(Undo), Close)]), 1);
        let served = [open, seal, commit, (Some(Switch), Serve)];
        assert_eq!(of(&served), 2);
        let doomed = [open, seal, commit, (Some(Switch), Doom)];
        assert_eq!(of(&[&doomed[..], &[(Some(Doomed), Promote), (Some(Undo), Close)]].concat()), 1);
        assert_eq!(of(&[&doomed[..], &[(Some(Doomed), Restart)]].concat()), 1, "it is given up");
        assert_eq!(of(&[open, seal, commit, (Some(Switch), Restart)]), 1, "and did not serve");
        assert_eq!(of(&[&served[..], &[(Some(Retire), Restart)]].concat()), 2, "a new process of the same");
    }

    #[test]
    fn the_revision_of_a_process_is_read_from_its_environment() {
        assert_eq!(variable(b"A=1\0CRASH_REVISION=7\0B=2\0"), Some("7".to_owned()));
        assert_eq!(variable(b"A=1\0NO_CRASH_REVISION=7\0"), None);
    }
}
