//! `cargo xtask sim`: many seeds, or one of them line by line.

use crate::columns::hung;
use crate::report::Report;
use anyhow::Result;
use clap::Args;
use paracloud_sim::simulation::coverage::{Cell, Coverage};
use paracloud_sim::simulation::{Run, run as simulate};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Last transitions that are shown of a run that broke a rule.
const TRANSITIONS_SHOWN_MAX: usize = 60;
/// So many seeds usually hit every cell. Fewer may hold every rule, and yet they have not tried everything.
const SEEDS_ENOUGH: u64 = 200;
/// Runs of which they are shown.
const RUNS_SHOWN_MAX: usize = 3;
/// Cells that are shown of those that were never hit.
const CELLS_SHOWN_MAX: usize = 20;

/// Runs the machines in a simulated world with faults, and checks that no promise is broken.
#[derive(Args)]
pub(crate) struct Sim {
    /// How many seeds are run: all is well only if together they tried everything, and fewer than the default seldom do.
    #[arg(long, default_value_t = SEEDS_ENOUGH, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs this one alone and prints every transition: time in ms, party, what happened, phase, record.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Prints the hits of every cell, and why others are struck out.
    #[arg(long)]
    cells: bool,
}

/// What all runs together showed.
#[derive(Default)]
struct Sum {
    runs: u64,
    coverage: Coverage,
    bad: Vec<Run>,
    violations: usize,
    unconverged: usize,
    lost_by_crash: usize,
    left_behind: usize,
    damaged_refused: u64,
    spoilt: u64,
    mismatches: u64,
    ended_early: u64,
    given_up: u64,
    unseen: u64,
    declined: u64,
    writes: usize,
    commits: u64,
    steps: usize,
}

impl Sum {
    fn add(&mut self, run: Run) {
        self.runs += 1;
        self.coverage.add(&run.coverage);
        self.violations += run.violations.len();
        self.unconverged += usize::from(run.unconverged.is_some());
        self.lost_by_crash += run.lost_by_crash;
        self.left_behind += run.left_behind;
        self.damaged_refused += u64::from(run.damaged_refused);
        self.spoilt += u64::from(run.spoilt);
        self.mismatches += u64::from(run.mismatches);
        self.ended_early += u64::from(run.ended_early);
        self.given_up += u64::from(run.given_up);
        self.unseen += u64::from(run.unseen);
        self.declined += u64::from(run.declined);
        self.writes += run.writes;
        self.commits += u64::from(run.commits);
        self.steps += run.steps;
        if !run.is_clean() {
            self.bad.push(run);
        }
    }
}

#[expect(clippy::print_stdout, reason = "what was found is what the command is run for")]
pub(crate) fn run(arguments: &Sim) -> Result<Report> {
    let sum = match arguments.seed {
        Some(seed) => {
            let traced = simulate(seed, true);
            traced.trace.iter().for_each(|line| println!("{line}"));
            let mut sum = Sum::default();
            sum.add(traced);
            sum
        }
        None => many(arguments.from, arguments.seeds, arguments.threads),
    };
    let one = arguments.seed.is_some();
    let mut bad: Vec<_> = sum.bad.iter().collect();
    bad.sort_by_key(|run| run.seed);
    for (count, it) in bad.iter().enumerate() {
        show(it, !one && count < RUNS_SHOWN_MAX);
    }
    // One run alone cannot try everything.
    let (missing, unexpected) =
        if one { (Vec::new(), Vec::new()) } else { (sum.coverage.missing(), sum.coverage.unexpected()) };
    missing.iter().take(CELLS_SHOWN_MAX).for_each(|cell| println!("never hit: {cell}"));
    if missing.len() > CELLS_SHOWN_MAX {
        println!("… and {} more; --cells names all", missing.len() - CELLS_SHOWN_MAX);
    }
    unexpected.iter().for_each(|cell| println!("hit though struck out: {cell}"));
    if arguments.cells {
        for cell in Cell::all() {
            match cell.struck() {
                Some(reason) => println!("{}", hung("", &format!("{cell}: struck out, {reason}"))),
                None => println!("{cell}: {}", sum.coverage.hits(cell)),
            }
        }
    }
    let broken = sum.violations + sum.unconverged;
    let covered = unexpected.is_empty() && missing.is_empty();
    if !missing.is_empty() {
        println!("{}", hung("", &uncovered(missing.len(), sum.runs)));
    }
    Ok(Report {
        ok: sum.runs > 0 && broken == 0 && covered,
        fields: json!({
            "seeds": sum.runs,
            "violations": sum.violations,
            "unconverged": sum.unconverged,
            "cells": Cell::meant().len(),
            "cells_zero": missing.len(),
            "cells_zero_first": missing.first().map(ToString::to_string),
            "seeds_enough": SEEDS_ENOUGH,
            "cells_struck": Cell::all().count() - Cell::meant().len(),
            "lost_by_crash": sum.lost_by_crash,
            "left_behind": sum.left_behind,
            "damaged_refused": sum.damaged_refused,
            "spoilt": sum.spoilt,
            "mismatches": sum.mismatches,
            "ended_early": sum.ended_early,
            "given_up": sum.given_up,
            "unseen": sum.unseen,
            "declined": sum.declined,
            "writes": sum.writes,
            "commits": sum.commits,
            "steps": sum.steps,
        }),
    })
}

/// What is to be said of cells that were never hit.
fn uncovered(cells: usize, seeds: u64) -> String {
    let next = if seeds < SEEDS_ENOUGH {
        format!("--seeds {SEEDS_ENOUGH} is usually enough to hit every cell")
    } else {
        "so many seeds usually hit every cell: something is no longer tried as often as it was".to_owned()
    };
    format!("{cells} cells were never hit by {seeds} seeds, so nothing is known of them: {next}")
}

/// So many seeds, from one on; after the greatest comes the least.
fn many(from: u64, seeds: u64, threads: u64) -> Sum {
    let sum = Mutex::new(Sum::default());
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= seeds {
                        return;
                    }
                    let run = simulate(from.wrapping_add(number), false);
                    sum.lock().unwrap_or_else(PoisonError::into_inner).add(run);
                }
            });
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What is wrong with a run; and, run again, what happened last.
#[expect(clippy::print_stdout, reason = "what was found is what the command is run for")]
fn show(bad: &Run, with_transitions: bool) {
    if with_transitions {
        let trace = simulate(bad.seed, true).trace;
        let last = trace.len().saturating_sub(TRANSITIONS_SHOWN_MAX);
        trace.iter().skip(last).for_each(|line| println!("{line}"));
    }
    for violation in &bad.violations {
        println!("seed {}: {}: {}", bad.seed, violation.rule, violation.what);
    }
    if let Some(why) = &bad.unconverged {
        println!("seed {}: {why}", bad.seed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        sim: Sim,
    }

    #[test]
    fn no_seed_at_all_is_refused() {
        let refused = Command::try_parse_from(["sim", "--seeds", "0"]).map(|it| it.sim.seeds);
        let error = refused.unwrap_err();
        assert!(error.exit_code() != 0 && error.to_string().contains("--seeds"), "{error}");
        assert_eq!(Command::try_parse_from(["sim", "--seeds", "1"]).unwrap().sim.seeds, 1);
    }

    #[test]
    fn too_few_seeds_are_told_how_many_are_enough_and_enough_are_not() {
        let enough = format!("--seeds {SEEDS_ENOUGH} is usually enough");
        let few = uncovered(84, 3);
        assert!(few.starts_with("84 cells were never hit by 3 seeds") && few.contains(&enough), "{few}");
        assert!(!uncovered(1, SEEDS_ENOUGH).contains("--seeds"));
    }

    #[test]
    fn as_many_seeds_are_run_as_were_asked_for_wherever_they_begin() {
        for from in [0, u64::MAX] {
            assert_eq!(many(from, 2, 1).runs, 2, "from {from}");
        }
    }
}
