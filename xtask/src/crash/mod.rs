//! `cargo xtask crash`: real processes under load; at every promise, at each of its points, each victim is killed or
//! stopped, and the clients' ledger says whether anything was lost or doubled.
//!
//! A run that was interrupted goes on where it stopped: what was tried of this commit is kept in `target/crash`.

mod cells;
mod trial;

use crate::report::Report;
use crate::rig::{self, Rig};
use anyhow::{Context, Result};
use cells::{Cell, Story};
use paracloud_substrate::trace;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use trial::{INSTANCE, Verdict};

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
    /// Last line: one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// One cell and what came of it, as it is kept.
#[derive(Serialize, Deserialize)]
struct Row {
    cell: Cell,
    verdict: Verdict,
}

/// What all clouds share.
struct Work {
    todo: Mutex<VecDeque<Cell>>,
    rows: Mutex<BTreeMap<Cell, Verdict>>,
    kept: Mutex<std::fs::File>,
    ends: Mutex<Ends>,
}

/// What came of the clouds themselves.
#[derive(Default)]
struct Ends {
    leftovers: usize,
    inputs: usize,
    differ: Vec<String>,
}

/// Runs the matrix.
pub(crate) fn run(options: &Options) -> Result<Report> {
    rig::build()?;
    let mut cells = if options.smoke { Cell::smoke() } else { Cell::all() };
    cells.retain(|cell| options.only.as_ref().is_none_or(|part| cell.to_string().contains(part)));
    let (path, mut rows) = kept(options)?;
    rows.retain(|cell, verdict| cells.contains(cell) && verdict.is_good(*cell));
    let todo: VecDeque<_> = cells.iter().filter(|cell| !rows.contains_key(cell)).copied().collect();
    say(&format!("{} cells, {} of them tried before", cells.len(), rows.len()));
    let file = OpenOptions::new().create(true).append(true).open(&path)?;
    let work = Work {
        todo: Mutex::new(todo),
        rows: Mutex::new(rows),
        kept: Mutex::new(file),
        ends: Mutex::new(Ends::default()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let workers = (0..options.jobs.max(1)).map(|_| worker(&work));
        futures_util::future::join_all(workers).await.into_iter().collect::<Result<()>>()
    })?;
    let rows = work.rows.into_inner().expect("no worker panicked");
    let ends = work.ends.into_inner().expect("no worker panicked");
    Ok(conclude(&cells, &rows, &ends))
}

/// One cloud at a time, one cell after the other.
async fn worker(work: &Work) -> Result<()> {
    let mut cloud: Option<(bool, Rig, Vec<SocketAddr>)> = None;
    loop {
        let Some(cell) = work.todo.lock().expect("no worker panicked").pop_front() else { break };
        let never_ready = cell.story() == Story::NeverReady;
        if cloud.as_ref().is_some_and(|(of, ..)| *of != never_ready) {
            end(work, cloud.take()).await?;
        }
        if cloud.is_none() {
            let (manifest, gateways) = manifest(never_ready)?;
            let rig = Rig::start(&manifest, &[(trace::SWITCH, "1".to_owned())]).await?;
            cloud = Some((never_ready, rig, gateways));
        }
        let Some((_, rig, gateways)) = &cloud else { continue };
        let verdict = match trial::run(rig, gateways, cell).await {
            Ok(verdict) => verdict,
            Err(error) => Verdict { violation: Some(format!("the rig: {error:#}")), ..Verdict::default() },
        };
        let good = verdict.is_good(cell);
        say(&line(cell, &verdict));
        let text = serde_json::to_string(&Row { cell, verdict: verdict.clone() })?;
        writeln!(work.kept.lock().expect("no worker panicked"), "{text}")?;
        work.rows.lock().expect("no worker panicked").insert(cell, verdict);
        if !good {
            if let Some((_, rig, _)) = &cloud {
                keep_logs(rig, cell)?;
            }
            end(work, cloud.take()).await?;
        }
    }
    end(work, cloud).await
}

async fn end(work: &Work, cloud: Option<(bool, Rig, Vec<SocketAddr>)>) -> Result<()> {
    let Some((_, rig, _)) = cloud else { return Ok(()) };
    let (left, directory) = rig.end().await;
    let mut ends = work.ends.lock().expect("no worker panicked");
    ends.leftovers += left.unwrap_or(1);
    let layout = paracloud_substrate::layout::Layout::new(&directory.path().join("c"))?;
    for entry in std::fs::read_dir(layout.trace())?.flatten() {
        match trace::replay(&entry.path()) {
            Ok(inputs) => ends.inputs += inputs,
            Err(error) => ends.differ.push(error.to_string()),
        }
    }
    Ok(())
}

/// Copies the logs of a cloud in which a cell failed to `target/crash/CELL`.
fn keep_logs(rig: &Rig, cell: Cell) -> Result<()> {
    let to = folder().join(cell.to_string());
    let _ = std::fs::remove_dir_all(&to);
    std::fs::create_dir_all(&to)?;
    std::fs::write(to.join("up.log"), rig.output())?;
    for folder in [rig.layout().log(), rig.layout().trace()] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let _ = std::fs::copy(entry.path(), to.join(entry.file_name()));
        }
    }
    Ok(())
}

fn manifest(never_ready: bool) -> Result<(String, Vec<SocketAddr>)> {
    let gateways = rig::free_addresses(2)?;
    let listen: Vec<_> = gateways.iter().map(|address| format!("{:?}", address.to_string())).collect();
    let fault = if never_ready { "\n  SESSIONS_FAULT: never-ready-on-resume" } else { "" };
    let text = format!(
        "kind: App\nname: {INSTANCE}\ncommand: [{:?}]\nlisten: [{}]\nstopGrace: 1s\ndrain: 1s\n\
         readiness:\n  http: /healthz\nenv:\n  PARACLOUD_RIG: \"{{rig}}\"\n  SESSIONS_FAULTS: \"1\"{fault}\n\
         move:\n  prepare: 10s\n  copy: 30s\n  park: 2s\n  seal: 3s\n  guardWait: 1s\n  switch: 3s\n  release: 2s\n",
        rig::binary("sessions")?.display().to_string(),
        listen.join(", "),
    );
    Ok((text, gateways))
}

fn folder() -> PathBuf {
    Path::new("target").join("crash")
}

/// What was tried of this commit before.
fn kept(options: &Options) -> Result<(PathBuf, BTreeMap<Cell, Verdict>)> {
    std::fs::create_dir_all(folder())?;
    let path = folder().join(format!("{}.jsonl", crate::report::commit()));
    if options.fresh || !path.exists() {
        std::fs::write(&path, "").with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let text = std::fs::read_to_string(&path)?;
    // A line that was torn when a run was interrupted is tried again.
    let rows = text.lines().filter_map(|line| serde_json::from_str::<Row>(line).ok());
    Ok((path, rows.map(|row| (row.cell, row.verdict)).collect()))
}

fn line(cell: Cell, verdict: &Verdict) -> String {
    let word = if verdict.is_good(cell) { "held" } else { "BROKEN" };
    let Verdict { lost, duplicated, failed, settled_ms, .. } = verdict;
    let what = verdict.violation.as_ref().map(|what| format!(": {what}")).unwrap_or_default();
    format!(
        "{word:<6} {cell:<56} settled in {settled_ms:>6} ms, lost {lost}, doubled {duplicated}, failed {failed}{what}"
    )
}

fn conclude(cells: &[Cell], rows: &BTreeMap<Cell, Verdict>, ends: &Ends) -> Report {
    let count = |of: &dyn Fn(&Cell, &Verdict) -> bool| rows.iter().filter(|(cell, it)| of(cell, it)).count();
    let sum = |of: &dyn Fn(&Cell, &Verdict) -> u64| rows.iter().map(|(cell, it)| of(cell, it)).sum::<u64>();
    let owner_died = |cell: &Cell| cell.may_lose();
    let fired = count(&|_, verdict| verdict.fired);
    let violations = count(&|_, verdict| verdict.violation.is_some()) + ends.differ.len();
    let unended = count(&|_, verdict| !verdict.ended);
    let duplicated = sum(&|_, verdict| verdict.duplicated);
    let by_owner = sum(&|cell, verdict| if owner_died(cell) { verdict.lost } else { 0 });
    let killed = |cell: &Cell| cell.fault == cells::Fault::Kill;
    let by_other = sum(&|cell, verdict| if !owner_died(cell) && killed(cell) { verdict.lost } else { 0 });
    let lost = sum(&|cell, verdict| if !owner_died(cell) && !killed(cell) { verdict.lost } else { 0 });
    for difference in &ends.differ {
        say(difference);
    }
    table(rows);
    let all_tried = rows.len() == cells.len() && fired == cells.len();
    let ok = all_tried
        && (violations, unended, ends.leftovers) == (0, 0, 0)
        && (lost, duplicated, by_other) == (0, 0, 0);
    let fields = json!({
        "cells": cells.len(),
        "fired": fired,
        "struck": Cell::struck().len(),
        "violations": violations,
        "unended": unended,
        "lost": lost,
        "duplicated": duplicated,
        "lost_by_crash_owner": by_owner,
        "lost_by_crash_other": by_other,
        "leftovers": ends.leftovers,
        "replayed_inputs": ends.inputs,
    });
    Report { schema: "crash/1", ok, fields }
}

/// A row a promise and point, a column a victim: a letter for each fault that held, `!` for one that broke.
fn table(rows: &BTreeMap<Cell, Verdict>) {
    use paracloud_core::migration::promises::{Promise, Victim};
    let short = ["ctrl", "s.agent", "t.agent", "gateway", "s.shim", "t.shim", "s.app", "t.app"];
    say(&format!("{:<26}{}", "promise.point", short.map(|it| format!("{it:<9}")).concat()));
    for promise in Promise::ALL {
        for point in promise.points() {
            let mut text = String::new();
            for victim in Victim::ALL {
                let mut marks = String::new();
                for (cell, verdict) in rows {
                    if (cell.promise, cell.point, cell.victim) == (*promise, *point, *victim) {
                        let letter = match cell.fault {
                            cells::Fault::Kill => 'k',
                            cells::Fault::Stop => 's',
                            cells::Fault::Cut => 'c',
                        };
                        marks.push(if verdict.is_good(*cell) { letter } else { '!' });
                    }
                }
                if promise.struck(*point, *victim).is_some() {
                    marks.push('–');
                }
                text += &format!("{marks:<9}");
            }
            say(&format!("{:<26}{text}", format!("{promise}.{point}")));
        }
    }
}

#[expect(clippy::print_stdout, reason = "the table is what the command is run for")]
fn say(line: &str) {
    println!("{line}");
}
