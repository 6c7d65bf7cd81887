//! What the whole matrix says: figures and a table.

use super::cells::{Cell, Fault};
use super::kept::{Kept, Trial};
use super::resizing::Resized;
use super::trial::Verdict;
use super::{say, table};
use crate::columns::hung;
use crate::replay::Replayed;
use crate::report::Report;
use serde_json::json;

/// The report on these cells: of every trial there was, not of the last one.
///
/// Its field `resize` says whether cells of another size are among them: `ran`; `no control groups`: they were left out,
/// because no control group with a limit can be made here; `not asked for`: none was chosen.
pub(super) fn conclude(cells: &[Cell], resized: Resized, kept: &Kept, seconds: u64) -> Report {
    let trials: Vec<_> = kept.trials.iter().filter(|trial| cells.contains(&trial.cell)).collect();
    let count = |of: &dyn Fn(&Trial) -> bool| trials.iter().filter(|trial| of(trial)).count();
    let sum = |of: &dyn Fn(&Verdict) -> u64| trials.iter().map(|trial| of(&trial.verdict)).sum::<u64>();
    let lost = |faults: &[Fault]| -> u64 {
        let of = |trial: &&&Trial| faults.contains(&trial.cell.fault);
        trials.iter().filter(of).map(|trial| trial.verdict.lost).sum()
    };
    let of_cell = |cell: &Cell| trials.iter().filter(|trial| trial.cell == *cell).collect::<Vec<_>>();
    let is_good = |trial: &Trial| trial.verdict.is_good();
    let fired = cells.iter().filter(|cell| of_cell(cell).iter().any(|trial| trial.verdict.fired)).count();
    let retried = cells.iter().filter(|cell| of_cell(cell).len() > 1).count();
    let broken = cells.iter().filter(|cell| of_cell(cell).iter().any(|trial| !is_good(trial))).count();
    let broken_before = cells.iter().filter(|cell| {
        let trials = of_cell(cell);
        trials.last().is_some_and(|last| is_good(last)) && trials.iter().any(|trial| !is_good(trial))
    });
    let broken_before = broken_before.count();
    let leftovers: usize = kept.clouds.values().map(|end| end.leftovers).sum();
    let mut replayed = Replayed::default();
    let mut unproven = 0;
    for (cloud, end) in &kept.clouds {
        for (machine, inputs) in &end.replayed.inputs {
            *replayed.inputs.entry(machine.clone()).or_default() += inputs;
        }
        replayed.differ.extend_from_slice(&end.replayed.differ);
        for machine in end.replayed.unproven() {
            say(&hung("  ", &format!("cloud {cloud}: no input of any {machine} was replayed")));
            unproven += 1;
        }
    }
    replayed.differ.iter().for_each(|difference| say(difference));
    table::lines(cells, &trials).iter().for_each(|line| say(line));
    let all_done = cells.iter().all(|cell| kept.is_done(*cell));
    let is_proof = replayed.is_proof() && unproven == 0;
    let ok = !cells.is_empty() && all_done && broken == 0 && is_proof && leftovers == 0;
    let fields = json!({
        "cells": cells.len(),
        "fired": fired,
        "resize": resized.word(),
        "struck": Cell::struck_count(),
        "violations": count(&|trial| trial.verdict.violation.is_some()) + replayed.differ.len(),
        "unended": count(&|trial| !trial.verdict.ended),
        "lost": lost(&[Fault::Stop, Fault::Cut]),
        "duplicated": sum(&|verdict| verdict.duplicated),
        "lost_by_crash_owner": sum(&|verdict| verdict.lost_with_owner),
        "lost_by_crash_other": lost(&[Fault::Kill]),
        "lost_by_consent": sum(&|verdict| verdict.lost_by_consent),
        "leftovers": leftovers,
        "late": sum(&|verdict| verdict.late.into()),
        "retried": retried,
        "broken_before": broken_before,
        "replayed_inputs": replayed.total(),
        "replayed_inputs_of": replayed.inputs,
        "unproven": unproven,
        "seconds": seconds,
    });
    Report { ok, fields }
}

#[cfg(test)]
mod tests {
    use super::super::kept::End;
    use super::*;
    use paracloud_substrate::trace::MACHINES;

    fn good() -> Verdict {
        Verdict { fired: true, ended: true, ..Verdict::default() }
    }

    /// A report on one cell after these trials, all in one cloud with this end.
    fn report(verdicts: Vec<Verdict>, end: End) -> Report {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept::open(folder.path(), "abc", true).unwrap();
        let cell = Cell::all()[0];
        let cloud = kept.new_cloud();
        for verdict in verdicts {
            kept.tried(cloud, cell, verdict).unwrap();
        }
        kept.ended(cloud, end).unwrap();
        conclude(&[cell], Resized::NotAsked, &kept, 1)
    }

    fn replayed() -> End {
        let inputs = MACHINES.map(|machine| (machine.to_owned(), 1)).into();
        End { replayed: Replayed { inputs, differ: Vec::new() }, ..End::default() }
    }

    #[test]
    fn a_cell_that_held_and_a_clean_cloud_are_a_success() {
        assert!(report(vec![good()], replayed()).ok);
        assert!(!report(Vec::new(), replayed()).ok, "nothing was tried");
    }

    #[test]
    fn no_cell_at_all_is_no_success_whatever_was_tried_before() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept::open(folder.path(), "abc", true).unwrap();
        let cloud = kept.new_cloud();
        kept.tried(cloud, Cell::all()[0], good()).unwrap();
        kept.ended(cloud, replayed()).unwrap();
        assert!(conclude(&[Cell::all()[0]], Resized::NotAsked, &kept, 1).ok);
        assert!(!conclude(&[], Resized::NotAsked, &kept, 1).ok);
    }

    #[test]
    fn whether_another_size_was_tried_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::open(folder.path(), "abc", true).unwrap();
        let said = |resized| conclude(&Cell::all(), resized, &kept, 1).fields["resize"].clone();
        let all = [Resized::Ran, Resized::NoGroups, Resized::NotAsked].map(said);
        assert_eq!(all, ["ran", "no control groups", "not asked for"].map(|word| json!(word)));
    }

    #[test]
    fn a_cell_that_ever_broke_stays_broken() {
        let broken = Verdict { violation: Some("it burnt".to_owned()), ..good() };
        let report = report(vec![broken, good()], replayed());
        assert!(!report.ok);
        assert_eq!((&report.fields["violations"], &report.fields["broken_before"]), (&json!(1), &json!(1)));
    }

    #[test]
    fn what_may_be_gone_is_told_apart_from_what_may_not() {
        let consented = Verdict { lost_by_consent: 3, lost_with_owner: 4, ..good() };
        let report_of = report;
        let report = report_of(vec![consented.clone()], replayed());
        assert!(report.ok);
        let figures = |report: &Report| {
            let figure = |name| report.fields[name].as_u64().unwrap();
            ["lost_by_consent", "lost_by_crash_owner", "lost_by_crash_other"].map(figure)
        };
        assert_eq!(figures(&report), [3, 4, 0]);
        // What was acknowledged after it.
        let report = report_of(vec![Verdict { lost: 1, ..consented }], replayed());
        assert!(!report.ok);
        assert_eq!(figures(&report), [3, 4, 1]);
    }

    #[test]
    fn what_is_wrong_with_a_cloud_is_a_failure() {
        assert!(!report(vec![good()], End { leftovers: 1, ..replayed() }).ok);
        let mut differs = replayed();
        differs.replayed.differ.push("line 3".to_owned());
        assert!(!report(vec![good()], differs).ok);
        assert!(!report(vec![good()], End::default()).ok, "nothing was replayed");
    }

    #[test]
    fn a_cloud_in_which_one_kind_of_machine_wrote_no_log_is_a_failure_whatever_the_others_wrote() {
        for machine in MACHINES {
            let folder = tempfile::tempdir().unwrap();
            let mut kept = Kept::open(folder.path(), "abc", true).unwrap();
            let cell = Cell::all()[0];
            let mut silent = replayed();
            silent.replayed.inputs.remove(machine);
            for end in [silent, replayed()] {
                let cloud = kept.new_cloud();
                kept.tried(cloud, cell, good()).unwrap();
                kept.ended(cloud, end).unwrap();
            }
            let report = conclude(&[cell], Resized::NotAsked, &kept, 1);
            assert!(!report.ok, "no {machine} in the first cloud");
            assert_eq!(report.fields["unproven"], 1);
            assert_eq!(report.fields["replayed_inputs_of"][machine], 1);
        }
    }
}
