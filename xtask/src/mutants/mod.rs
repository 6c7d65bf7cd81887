//! `cargo xtask mutants`: the tests are tested. Small faults are put into a copy of the tree, one at a time, and each
//! must be noticed by the test, the model or the seeds that it names.
//!
//! First everything that is to notice something must be content with the tree as it is: what is red anyway shows
//! nothing. A fault whose place is not found exactly once, or that does not compile, is a failure too: it would pass
//! for tested and is not.

mod catch;
mod list;
mod tree;

use crate::columns::hung;
use crate::report::Report;
use anyhow::{Result, ensure};
use catch::{Bench, Catch, Ran, last_lines};
use clap::Args;
use serde_json::json;
use std::time::Instant;
use tree::Tree;

/// Puts faults into a copy of the tree and expects the tests to notice each.
#[derive(Args)]
pub(crate) struct Options {
    /// Only this one; may be given again.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Names all of them, and runs none.
    #[arg(long)]
    list: bool,
}

/// A fault that somebody must notice.
#[derive(Clone, Copy)]
pub(crate) struct Mutant {
    /// What is wrong with it, in words.
    pub(crate) name: &'static str,
    /// The file, from the root of the tree.
    pub(crate) file: &'static str,
    /// What is replaced; it is there exactly once.
    pub(crate) find: &'static str,
    /// By what.
    pub(crate) replace: &'static str,
    /// Who must notice.
    pub(crate) catch: Catch,
}

/// What came of a mutant.
enum Fate {
    /// It was noticed, in these words.
    Caught(String),
    /// Nobody noticed.
    Survived(String),
    /// It could not be tried.
    NotApplied(String),
}

/// Runs the mutants; prints a line for each.
///
/// # Errors
/// No such mutant, or the copy of the tree cannot be written.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let mut mutants = list::all();
    let names: Vec<_> = mutants.iter().map(|mutant| mutant.name).collect();
    for name in &options.only {
        ensure!(
            names.contains(&name.as_str()),
            "no mutant is called {name:?}; `cargo xtask mutants --list` names all {}",
            names.len()
        );
    }
    mutants.retain(|mutant| options.only.is_empty() || options.only.iter().any(|name| name == mutant.name));
    if options.list {
        mutants.iter().for_each(|mutant| say(mutant.name));
    } else {
        return try_all(&mutants);
    }
    Ok(Report { ok: true, fields: json!({ "total": mutants.len() }) })
}

fn try_all(mutants: &[Mutant]) -> Result<Report> {
    let began = Instant::now();
    let tree = Tree::copy()?;
    let bench = Bench::new(&tree);
    let baseline_green = is_green(&bench, mutants)?;
    let (mut survived, mut not_applied, mut caught) = (Vec::new(), Vec::new(), 0);
    for mutant in mutants.iter().filter(|_| baseline_green) {
        let since = Instant::now();
        let fate = try_one(&tree, &bench, mutant)?;
        let (word, what) = match &fate {
            Fate::Caught(what) => ("caught", what),
            Fate::Survived(what) => ("SURVIVED", what),
            Fate::NotApplied(what) => ("NOT APPLIED", what),
        };
        let lead = format!("{word:<11} {:>5.1} s  ", since.elapsed().as_secs_f64());
        say(&hung(&lead, &format!("{}: {what}", mutant.name)));
        match fate {
            Fate::Caught(_) => caught += 1,
            Fate::Survived(_) => survived.push(mutant.name),
            Fate::NotApplied(_) => not_applied.push(mutant.name),
        }
    }
    Ok(Report {
        ok: baseline_green && caught == mutants.len(),
        fields: json!({
            "total": mutants.len(),
            "caught": caught,
            "not_applied": not_applied.len(),
            "baseline_green": baseline_green,
            "survived": survived,
            "not_applied_names": not_applied,
            "seconds": began.elapsed().as_secs(),
        }),
    })
}

/// Whether everybody who is to notice something is content with the tree as it is.
fn is_green(bench: &Bench<'_>, mutants: &[Mutant]) -> Result<bool> {
    let mut distinct: Vec<&Catch> = Vec::new();
    for mutant in mutants {
        if !distinct.iter().any(|known| known.runs_like(&mutant.catch)) {
            distinct.push(&mutant.catch);
        }
    }
    let mut green = true;
    for catch in distinct {
        let since = Instant::now();
        let ran = match bench.build(catch)? {
            Ok(program) => bench.run(catch, &program)?,
            Err(output) => Ran::Failed(output),
        };
        let seconds = since.elapsed().as_secs_f64();
        match ran {
            Ran::Passed => say(&hung(&format!("green       {seconds:>5.1} s  "), &catch.to_string())),
            Ran::Failed(output) | Ran::Late(output) => {
                green = false;
                let what = format!("{catch}, without any fault of ours:\n{}", last_lines(&output));
                say(&hung(&format!("RED         {seconds:>5.1} s  "), &what));
            }
        }
    }
    Ok(green)
}

fn try_one(tree: &Tree, bench: &Bench<'_>, mutant: &Mutant) -> Result<Fate> {
    let original = tree.read(mutant.file)?;
    match original.matches(mutant.find).count() {
        1 => {}
        count => return Ok(Fate::NotApplied(format!("{} has its place {count} times", mutant.file))),
    }
    tree.write(mutant.file, &original.replacen(mutant.find, mutant.replace, 1))?;
    let fate = judge(bench, mutant);
    tree.write(mutant.file, &original)?;
    fate
}

fn judge(bench: &Bench<'_>, mutant: &Mutant) -> Result<Fate> {
    let program = match bench.build(&mutant.catch)? {
        Ok(program) => program,
        Err(output) => return Ok(Fate::NotApplied(format!("it does not compile:\n{output}"))),
    };
    Ok(match bench.run(&mutant.catch, &program)? {
        Ran::Passed => Fate::Survived(format!("{} notices nothing", mutant.catch)),
        Ran::Late(output) => {
            Fate::Survived(format!("{} did not end:\n{}", mutant.catch, last_lines(&output)))
        }
        Ran::Failed(output) => match mutant.catch.noticed(&output) {
            Some(line) => Fate::Caught(line),
            None => {
                Fate::Survived(format!("{} failed in another way:\n{}", mutant.catch, last_lines(&output)))
            }
        },
    })
}

#[expect(clippy::print_stdout, reason = "what was found is what the command is run for")]
fn say(line: &str) {
    println!("{line}");
}
