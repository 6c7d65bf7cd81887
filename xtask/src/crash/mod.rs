//! `cargo xtask crash`: real processes under load; at every promise, at each of its points, each victim is killed or
//! stopped, and the clients' ledger says whether anything was lost or doubled.
//!
//! A run that was interrupted goes on where it stopped: what was tried of this commit is kept in `target/crash`.

mod audit;
mod blow;
mod cells;
mod cloud;
mod conclude;
mod courses;
mod cut;
mod history;
mod http;
mod jobs;
mod kept;
mod leaving;
mod resizing;
mod stand;
mod starts;
mod story;
mod table;
mod trial;
mod updating;
mod watch;

use crate::columns::hung;
use crate::report::{self, Report};
use crate::rig;
use anyhow::{Result, anyhow, ensure};
use cells::Cell;
use cloud::{Cloud, Kind};
use kept::Kept;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use trial::Verdict;

/// The instance that is moved or updated.
const INSTANCE: &str = "sessions";
/// The instance that leaves.
const LEAVER: &str = "worker.2";
/// The instance that gets another size.
const SIZED: &str = "worker";
/// How long a run takes cells on, in seconds. What is left then is tried by the next run.
const RUN_S_MAX: u64 = 85 * 60;
/// What came of a trial stands below its cell, so far in.
const INDENT: &str = "       ";
/// Threads of one job, beside the one that strikes.
const JOB_THREADS: usize = 2;

/// What to try.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Every victim once at every promise, killed after it was sent.
    #[arg(long)]
    smoke: bool,
    /// Forget what was tried of this commit before.
    #[arg(long)]
    fresh: bool,
    /// Only cells whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Clouds at work at once.
    #[arg(long, default_value_t = 3)]
    jobs: usize,
}

/// What all clouds share.
struct Work {
    begun: Instant,
    total: usize,
    todo: Mutex<VecDeque<Cell>>,
    kept: Mutex<Kept>,
    /// Cells done in this run, and the seconds that they were expected to take.
    done: Mutex<(usize, u64)>,
}

/// Runs the matrix.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let mut cells = chosen(options)?;
    let all = cells.len();
    let resized = resizing::keep_possible(&mut cells, resizing::is_possible);
    if cells.len() < all {
        let left_out = all - cells.len();
        say(&format!("{left_out} cells are left out: no control group with a limit can be made here"));
    }
    rig::build()?;
    let commit = report::commit();
    if commit.ends_with('+') {
        say("this tree has changes of its own: nothing that was tried before counts");
    }
    let kept = Kept::open(&folder(), &commit, options.fresh)?;
    let todo: VecDeque<_> = cells.iter().filter(|cell| !kept.is_done(**cell)).copied().collect();
    say(&format!("{} cells, {} of them done before", cells.len(), cells.len() - todo.len()));
    let work = Work {
        begun: Instant::now(),
        total: todo.len(),
        todo: Mutex::new(todo),
        kept: Mutex::new(kept),
        done: Mutex::new((0, 0)),
    };
    // Each has a runtime of its own, so that none waits for another's turn when it is to strike.
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(|| job(&work))).collect();
        jobs.into_iter().try_for_each(|job| job.join().map_err(|_| anyhow!("a job panicked"))?)
    })?;
    let kept = work.kept.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(conclude::conclude(&cells, resized, &kept, work.begun.elapsed().as_secs()))
}

/// The cells that are asked for: at least one.
fn chosen(options: &Options) -> Result<Vec<Cell>> {
    let mut cells = if options.smoke { Cell::smoke() } else { Cell::all() };
    let Some(part) = &options.only else { return Ok(cells) };
    let example = cells.first().map(ToString::to_string).unwrap_or_default();
    cells.retain(|cell| cell.to_string().contains(part));
    ensure!(!cells.is_empty(), "no cell's name contains {part:?}: names are like {example:?}");
    Ok(cells)
}

fn job(work: &Work) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(JOB_THREADS).enable_all().build()?;
    runtime.block_on(worker(work))
}

/// One cloud at a time, one cell after the other.
async fn worker(work: &Work) -> Result<()> {
    let mut cloud: Option<Cloud> = None;
    while let Some(cell) = work.next() {
        if cloud.as_ref().is_some_and(|cloud| !cloud.serves(cell)) {
            end(work, cloud.take()).await?;
        }
        let mut current = match cloud.take() {
            Some(cloud) => cloud,
            None => {
                let number = lock(&work.kept).new_cloud();
                Cloud::start(number, Kind::of(cell)).await?
            }
        };
        let verdict = match trial::run(&current.rig, &current.gateways, cell).await {
            Ok(verdict) => verdict,
            Err(error) => Verdict { violation: Some(format!("the rig: {error:#}")), ..Verdict::default() },
        };
        current.trials += 1;
        let good = verdict.is_good();
        say(&line(&work.progress(cell), cell, &verdict));
        lock(&work.kept).tried(current.number, cell, verdict)?;
        if good {
            cloud = Some(current);
        } else {
            current.keep_logs(&folder().join(cell.to_string()))?;
            end(work, Some(current)).await?;
        }
    }
    end(work, cloud).await
}

async fn end(work: &Work, cloud: Option<Cloud>) -> Result<()> {
    let Some(cloud) = cloud else { return Ok(()) };
    let number = cloud.number;
    let end = cloud.end().await?;
    lock(&work.kept).ended(number, end)
}

impl Work {
    fn next(&self) -> Option<Cell> {
        let mut todo = lock(&self.todo);
        if self.begun.elapsed().as_secs() >= RUN_S_MAX && !todo.is_empty() {
            say(&format!("{} cells are left to the next run: the time is used up", todo.len()));
            todo.clear();
        }
        todo.pop_front()
    }

    /// A cell is done: how far everything is.
    fn progress(&self, cell: Cell) -> String {
        let left: u64 = lock(&self.todo).iter().map(|cell| cell.expected_s()).sum();
        let (cells, seconds) = {
            let mut done = lock(&self.done);
            done.0 += 1;
            done.1 += cell.expected_s();
            *done
        };
        let eta_s = self.begun.elapsed().as_secs() * left / seconds.max(1);
        let width = self.total.to_string().len();
        format!("[{cells:>width$}/{} eta {:>2}:{:02}]", self.total, eta_s / 60, eta_s % 60)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn folder() -> PathBuf {
    Path::new("target").join("crash")
}

fn line(progress: &str, cell: Cell, verdict: &Verdict) -> String {
    let word = if verdict.is_good() { "held" } else { "BROKEN" };
    let mut what = format!("settled in {} ms", verdict.settled_ms);
    for (name, count) in [
        ("lost", verdict.lost),
        ("lost with the owner", verdict.lost_with_owner),
        ("lost by consent", verdict.lost_by_consent),
        ("doubled", verdict.duplicated),
        ("failed", verdict.failed),
        ("late", verdict.late.into()),
    ] {
        if count > 0 {
            what += &format!(", {name} {count}");
        }
    }
    if let Some(violation) = &verdict.violation {
        what += &format!(": {violation}");
    }
    format!("{word:<6} {cell}\n{}", hung(&format!("{INDENT}{progress} "), &what))
}

#[expect(clippy::print_stdout, reason = "the table is what the command is run for")]
fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::COLUMNS;

    fn only(smoke: bool, part: &str) -> Result<Vec<Cell>> {
        let only = Some(part.to_owned());
        chosen(&Options { smoke, fresh: false, only, jobs: 1 })
    }

    #[test]
    fn a_name_that_no_cell_has_is_refused_before_anything_is_tried() {
        let cell = Cell::smoke()[0];
        for smoke in [true, false] {
            let error = only(smoke, "no-such-cell").unwrap_err().to_string();
            assert!(error.contains("no-such-cell") && error.contains("names are like"), "{error}");
            assert!(only(smoke, &cell.to_string()).unwrap().contains(&cell));
        }
    }

    #[test]
    fn what_came_of_a_trial_fits_a_terminal_and_says_no_more_than_there_was() {
        let good = Verdict { fired: true, ended: true, settled_ms: 1_234, failed: 2, ..Verdict::default() };
        let broken = Verdict { violation: Some("it burnt down to its ground; ".repeat(9)), ..good.clone() };
        for cell in Cell::all() {
            for verdict in [&good, &broken] {
                let all = line("[1234/1962 eta 123:45]", cell, verdict);
                assert!(all.lines().all(|line| line.chars().count() <= COLUMNS), "{all}");
            }
        }
        let said = line("[1/2 eta  0:01]", Cell::all()[0], &good);
        let is_whole = said.ends_with("[1/2 eta  0:01] settled in 1234 ms, failed 2");
        assert!(said.starts_with("held") && is_whole, "{said}");
        assert!(line("", Cell::all()[0], &broken).starts_with("BROKEN"));
    }
}
