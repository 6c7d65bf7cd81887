//! The matrix for people: a row for each promise and point, a column for each victim, and below it what its signs mean.

use super::cells::{Cell, Fault};
use super::courses::Course;
use super::kept::Trial;
use crate::columns::hung;
use paracloud_core::migration::promises::{Point, Promise, Victim};

/// Columns of a row's name, and of the signs of one victim.
const NAME_COLUMNS: usize = 25;
const SIGNS_COLUMNS: usize = 7;

/// What the signs mean that are not numbers.
const SIGNS: [(&str, &str); 6] = [
    ("k", "held: the victim was killed, and every promise was kept"),
    ("s", "held: the victim was stopped for a while"),
    ("c", "held: the victim was cut off from the controller"),
    (BROKEN, "behind a letter: broken, in this trial or in one before it"),
    (LATE, "behind a letter: held, after tries in which the blow came too late"),
    (UNTRIED, "behind a letter: not tried yet"),
];
const BROKEN: &str = "!";
const LATE: &str = "~";
const UNTRIED: &str = "?";

/// The table of these cells, with the rows in which one of them is.
pub(super) fn lines(cells: &[Cell], trials: &[&Trial]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut reasons = Vec::new();
    for course in Course::ALL {
        let cells: Vec<_> = cells.iter().copied().filter(|cell| cell.course == course).collect();
        if cells.is_empty() {
            continue;
        }
        lines.extend(heads(course.name()));
        for promise in Promise::ALL {
            for point in promise.points() {
                let of_row = |cell: &Cell| cell.promise == *promise && cell.point == *point;
                let of_row: Vec<_> = cells.iter().copied().filter(of_row).collect();
                if !of_row.is_empty() {
                    let signs =
                        Victim::ALL.iter().map(|victim| match course.struck(*promise, *point, *victim) {
                            Some(reason) => number(&mut reasons, reason).to_string(),
                            None => of_row
                                .iter()
                                .filter(|cell| cell.victim == *victim)
                                .map(|cell| sign(*cell, trials))
                                .collect(),
                        });
                    lines.push(row(&row_name(*promise, *point), signs));
                }
            }
        }
        lines.push(String::new());
    }
    if !lines.is_empty() {
        lines.extend(SIGNS.map(|(sign, meaning)| hung(&format!("{sign:>2}  "), meaning)));
        lines.extend(reasons.iter().zip(1..).map(|(reason, number): (_, usize)| {
            hung(&format!("{number:>2}  "), &format!("no such cell: {reason}"))
        }));
    }
    lines
}

fn heads(course: &str) -> [String; 2] {
    let (mut above, mut below) = (Vec::new(), Vec::new());
    for victim in Victim::ALL {
        let (part, what) = match victim {
            Victim::Controller => ("", "ctrl"),
            Victim::SourceAgent => ("source", "agent"),
            Victim::TargetAgent => ("target", "agent"),
            Victim::Gateway => ("", "gate"),
            Victim::SourceShim => ("source", "shim"),
            Victim::TargetShim => ("target", "shim"),
            Victim::SourceApplication => ("source", "app"),
            Victim::TargetApplication => ("target", "app"),
        };
        above.push(part.to_owned());
        below.push(what.to_owned());
    }
    [row("", above.into_iter()), row(course, below.into_iter())]
}

fn row_name(promise: Promise, point: Point) -> String {
    format!("{promise}.{point}")
}

fn row(name: &str, signs: impl Iterator<Item = String>) -> String {
    let signs: String = signs.map(|signs| format!("{signs:<SIGNS_COLUMNS$}")).collect();
    format!("{name:<NAME_COLUMNS$}{signs}").trim_end().to_owned()
}

/// The number of a reason, from 1, by which the table names it.
fn number(reasons: &mut Vec<&'static str>, reason: &'static str) -> usize {
    let at = reasons.iter().position(|known| *known == reason).unwrap_or(reasons.len());
    if at == reasons.len() {
        reasons.push(reason);
    }
    at + 1
}

/// What came of a cell.
fn sign(cell: Cell, trials: &[&Trial]) -> String {
    let letter = match cell.fault {
        Fault::Kill => "k",
        Fault::Stop => "s",
        Fault::Cut => "c",
    };
    let verdicts: Vec<_> =
        trials.iter().filter(|trial| trial.cell == cell).map(|trial| &trial.verdict).collect();
    let behind = if verdicts.is_empty() {
        UNTRIED
    } else if verdicts.iter().any(|verdict| !verdict.is_good()) {
        BROKEN
    } else if verdicts.iter().any(|verdict| verdict.late > 0) {
        LATE
    } else {
        ""
    };
    format!("{letter}{behind}")
}

#[cfg(test)]
mod tests {
    use super::super::trial::Verdict;
    use super::*;
    use crate::columns::COLUMNS;

    fn trial(cell: Cell, late: u32, violation: Option<&str>) -> Trial {
        let violation = violation.map(str::to_owned);
        let verdict = Verdict { fired: true, ended: true, late, violation, ..Verdict::default() };
        Trial { cloud: 1, cell, verdict }
    }

    #[test]
    fn the_whole_matrix_fits_a_terminal_and_every_reason_of_it_is_below_it() {
        let cells = Cell::all();
        let broken: Vec<_> = cells.iter().map(|cell| trial(*cell, 1, Some("it burnt"))).collect();
        let lines = lines(&cells, &broken.iter().collect::<Vec<_>>());
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{}", lines.join("\n"));
        let legend: Vec<_> =
            lines.iter().filter_map(|line| line.trim().split_once("  no such cell: ")).collect();
        for cell in &cells {
            for victim in Victim::ALL {
                let Some(reason) = cell.course.struck(cell.promise, cell.point, *victim) else { continue };
                assert_eq!(legend.iter().filter(|(_, meaning)| *meaning == reason).count(), 1, "{reason}");
            }
        }
        let signs = lines.iter().filter(|line| line.contains('.') && line.contains("k!s!")).count();
        let rows: std::collections::BTreeSet<_> =
            cells.iter().map(|cell| (cell.course, cell.promise, cell.point)).collect();
        assert_eq!(signs, rows.len(), "{}", lines.join("\n"));
    }

    #[test]
    fn each_end_of_a_trial_has_a_sign_and_each_sign_a_line_below_the_table() {
        let cells = &Cell::all()[..4];
        let trials = [
            trial(cells[0], 0, None),
            trial(cells[1], 2, None),
            trial(cells[2], 0, Some("it burnt")),
            trial(cells[2], 0, None),
        ];
        let trials: Vec<_> = trials.iter().collect();
        let signs: Vec<_> = cells.iter().map(|cell| sign(*cell, &trials)).collect();
        assert_eq!(signs, ["k", "s~", "k!", "s?"]);
        let lines = lines(cells, &trials);
        for (sign, meaning) in SIGNS {
            assert!(lines.contains(&format!("{sign:>2}  {meaning}")), "{}", lines.join("\n"));
        }
        assert!(lines.iter().any(|line| line.contains("ks~    k!s?")), "{}", lines.join("\n"));
        let rows = |lines: &[String]| {
            lines.iter().filter(|line| line.contains(".after_") || line.contains(".before_")).count()
        };
        assert_eq!(rows(&lines), 1, "only the row that was asked for");
    }

    #[test]
    fn without_any_cell_there_is_no_table() {
        assert!(lines(&[], &[]).is_empty());
    }
}
