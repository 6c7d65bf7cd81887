//! `cargo xtask mutants`: the tests are tested. Small faults are put into a copy of the tree, one at a time, and each
//! must be noticed by the test, the model or the seeds that it names.
//!
//! First who is to notice something must be content with the tree as it is: what is red anyway shows nothing. A fault
//! whose place is not found exactly once, or that does not compile, is a failure too: it would pass for tested and is not.

mod catch;
mod list;
mod tree;

use crate::columns::hung;
use crate::report::{self, Report};
use anyhow::{Context, Result, anyhow, ensure};
use catch::{Catch, Program, Ran, last_lines};
use clap::Args;
use serde_json::json;
use std::collections::VecDeque;
use std::thread::ScopedJoinHandle;
use std::time::Instant;
use tree::Tree;

/// Mutants that run while another one is built. Many are noticed only by a bound that is waited for.
const RUNS_MAX: usize = 3;

/// Puts faults into a copy of the tree and expects the tests to notice each.
#[derive(Args)]
pub(crate) struct Options {
    /// Only this one; may be given again.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// One of so many: which, the commit chooses. Of the others it is only looked whether their place is there.
    #[arg(long, value_name = "COUNT", conflicts_with = "only", value_parser = clap::value_parser!(u32).range(1..=100))]
    one_in: Option<u32>,
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
        let (tried, placed) = shared(mutants, options.one_in, &report::commit());
        return try_all(&tried, &placed);
    }
    Ok(Report { ok: true, fields: json!({ "total": mutants.len() }) })
}

/// Those that are tried, and those of which only the place is looked at: every one has its turn within a few commits.
fn shared(mutants: Vec<Mutant>, one_in: Option<u32>, commit: &str) -> (Vec<Mutant>, Vec<Mutant>) {
    let one_in = usize::try_from(one_in.unwrap_or(1)).unwrap_or(1);
    let digits = commit.get(..8).and_then(|digits| usize::from_str_radix(digits, 16).ok()).unwrap_or(0);
    let turn = digits % one_in;
    let (tried, placed): (Vec<_>, Vec<_>) =
        mutants.into_iter().enumerate().partition(|(at, _)| at % one_in == turn);
    let plain = |all: Vec<(usize, Mutant)>| all.into_iter().map(|(_, mutant)| mutant).collect();
    (plain(tried), plain(placed))
}

fn try_all(mutants: &[Mutant], placed: &[Mutant]) -> Result<Report> {
    let began = Instant::now();
    let tree = Tree::copy()?;
    let groups = grouped(mutants);
    let (mut green, mut tried) = (true, Vec::new());
    for mutant in placed {
        if let Err(why) = place(&tree, mutant)? {
            tried.push(told(mutant, began, Fate::NotApplied(why)));
        }
    }
    for group in &groups {
        // What is red anyway shows nothing.
        if is_green(&tree, group)? {
            tried.extend(try_group(&tree, group)?);
        } else {
            green = false;
        }
    }
    let named = |is: fn(&Fate) -> bool| -> Vec<_> {
        tried.iter().filter(|(_, fate)| is(fate)).map(|(name, _)| *name).collect()
    };
    let caught = named(|fate| matches!(fate, Fate::Caught(_))).len();
    let survived = named(|fate| matches!(fate, Fate::Survived(_)));
    let not_applied = named(|fate| matches!(fate, Fate::NotApplied(_)));
    Ok(Report {
        ok: green && caught == mutants.len() && not_applied.is_empty(),
        fields: json!({
            "total": mutants.len() + placed.len(),
            "tried": mutants.len(),
            "caught": caught,
            "not_applied": not_applied.len(),
            "baseline_green": green,
            "survived": survived,
            "not_applied_names": not_applied,
            "seconds": began.elapsed().as_secs(),
        }),
    })
}

/// Those that the same program notices are tried one behind the other. The last of the list come first: what everything
/// else is built on is changed when nothing else is to be built any more.
fn grouped(mutants: &[Mutant]) -> Vec<Vec<&Mutant>> {
    let mut groups: Vec<Vec<&Mutant>> = Vec::new();
    for mutant in mutants.iter().rev() {
        match groups.iter_mut().find(|group| group[0].catch.is_built_like(&mutant.catch)) {
            Some(group) => group.push(mutant),
            None => groups.push(vec![mutant]),
        }
    }
    groups
}

/// Whether everybody who is to notice something of these is content with the tree as it is.
fn is_green(tree: &Tree, group: &[&Mutant]) -> Result<bool> {
    let mut runs: Vec<Vec<&Catch>> = Vec::new();
    for mutant in group {
        let catch = &mutant.catch;
        match runs.iter_mut().find(|run| run[0].runs_with(catch)) {
            Some(run) if catch.test().is_none() || run.iter().any(|it| it.test() == catch.test()) => {}
            Some(run) => run.push(catch),
            None => runs.push(vec![catch]),
        }
    }
    let mut green = true;
    for catches in runs {
        let since = Instant::now();
        let ran = match catch::build(tree, catches[0])? {
            Ok(program) => catch::run(tree, 0, &catches, &program)?,
            Err(output) => Ran::Failed(output),
        };
        let seconds = since.elapsed().as_secs_f64();
        let more = if catches.len() > 1 { format!(" and {} more", catches.len() - 1) } else { String::new() };
        match ran {
            Ran::Passed => {
                say(&hung(&format!("green       {seconds:>5.1} s  "), &format!("{}{more}", catches[0])));
            }
            Ran::Failed(output) | Ran::Late(output) => {
                green = false;
                let what =
                    format!("{}{more}, without any fault of ours:\n{}", catches[0], last_lines(&output));
                say(&hung(&format!("RED         {seconds:>5.1} s  "), &what));
            }
        }
    }
    Ok(green)
}

/// Tries these one behind the other: each is built alone, and most run while the next one is built.
fn try_group(tree: &Tree, group: &[&Mutant]) -> Result<Vec<(&'static str, Fate)>> {
    std::thread::scope(|scope| {
        let (mut tried, mut running) = (Vec::new(), VecDeque::new());
        let mut numbers = (1..=RUNS_MAX).cycle();
        for mutant in group {
            let since = Instant::now();
            if running.len() == RUNS_MAX {
                tried.extend(running.pop_front().map(joined).transpose()?);
            }
            match built(tree, mutant)? {
                Err(why) => tried.push(told(mutant, since, Fate::NotApplied(why))),
                Ok(program) => {
                    let number = numbers.next().context("a cycle ended")?;
                    let program = program.kept(tree, number)?;
                    let is_kept = program.is_kept();
                    running.push_back(scope.spawn(move || judge(tree, number, mutant, since, &program)));
                    while !is_kept && let Some(run) = running.pop_front() {
                        tried.push(joined(run)?);
                    }
                }
            }
        }
        for run in running {
            tried.push(joined(run)?);
        }
        Ok(tried)
    })
}

fn joined<T>(run: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    run.join().map_err(|_| anyhow!("a run panicked"))?
}

/// The text of the file in which a mutant has its place, exactly once; the inner error says how often it is there.
fn place(tree: &Tree, mutant: &Mutant) -> Result<std::result::Result<String, String>> {
    let original = tree.read(mutant.file)?;
    Ok(match original.matches(mutant.find).count() {
        1 => Ok(original),
        count => Err(format!("{} has its place {count} times", mutant.file)),
    })
}

/// Builds the program with a mutant; the inner error says why there is none.
fn built(tree: &Tree, mutant: &Mutant) -> Result<std::result::Result<Program, String>> {
    let original = match place(tree, mutant)? {
        Ok(original) => original,
        Err(why) => return Ok(Err(why)),
    };
    tree.write(mutant.file, &original.replacen(mutant.find, mutant.replace, 1))?;
    let built = catch::build(tree, &mutant.catch);
    tree.write(mutant.file, &original)?;
    match built? {
        Ok(program) => Ok(Ok(program)),
        Err(output) => Ok(Err(format!("it does not compile:\n{output}"))),
    }
}

fn judge(
    tree: &Tree,
    number: usize,
    mutant: &Mutant,
    since: Instant,
    program: &Program,
) -> Result<(&'static str, Fate)> {
    let fate = match catch::run(tree, number, &[&mutant.catch], program)? {
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
    };
    Ok(told(mutant, since, fate))
}

fn told(mutant: &Mutant, since: Instant, fate: Fate) -> (&'static str, Fate) {
    let (word, what) = match &fate {
        Fate::Caught(what) => ("caught", what),
        Fate::Survived(what) => ("SURVIVED", what),
        Fate::NotApplied(what) => ("NOT APPLIED", what),
    };
    let lead = format!("{word:<11} {:>5.1} s  ", since.elapsed().as_secs_f64());
    say(&hung(&lead, &format!("{}: {what}", mutant.name)));
    (mutant.name, fate)
}

#[expect(clippy::print_stdout, reason = "what was found is what the command is run for")]
fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_mutant_has_its_place_once_in_the_tree_as_it_is() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = |mutant: &Mutant| fs::read_to_string(root.join(mutant.file)).unwrap_or_default();
        let is_lost = |mutant: &&Mutant| text(mutant).matches(mutant.find).count() != 1;
        let all = list::all();
        let lost: Vec<_> = all.iter().filter(is_lost).map(|it| (it.file, it.name)).collect();
        assert_eq!(lost, []);
    }

    #[test]
    fn every_mutant_has_its_turn_and_is_looked_at_meanwhile() {
        let all = list::all();
        let commits = ["00000000ab", "00000001cd", "00000002ef"];
        let names = |all: &[Mutant]| all.iter().map(|it| it.name).collect::<Vec<_>>();
        let mut tried = Vec::new();
        for commit in commits {
            let (turn, placed) = shared(all.clone(), Some(3), commit);
            assert_eq!(turn.len() + placed.len(), all.len());
            tried.extend(names(&turn));
        }
        let mut expected = names(&all);
        tried.sort_unstable();
        expected.sort_unstable();
        assert_eq!(tried, expected);
        assert!(shared(all, None, "unknown").1.is_empty());
    }
}
