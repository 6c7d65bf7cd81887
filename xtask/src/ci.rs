//! `cargo xtask ci`: what CI runs, in the order in which a fault shows soonest.

use crate::report::Report;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::process::Command;
use std::time::Instant;

/// One thing that must succeed.
struct Job {
    name: &'static str,
    command: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

const fn job(name: &'static str, command: &'static [&'static str]) -> Job {
    Job { name, command, environment: &[] }
}

const JOBS: &[Job] = &[
    job("format", &["cargo", "fmt", "--all", "--check"]),
    job("wall", &["cargo", "xtask", "wall"]),
    job("lint", &["cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    Job {
        name: "docs",
        command: &["cargo", "doc", "--workspace", "--no-deps", "--document-private-items"],
        environment: &[("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links")],
    },
    // Snapshots are compared, never written.
    Job { name: "tests", command: &["cargo", "test", "--workspace"], environment: &[("INSTA_UPDATE", "no")] },
    job(
        "interleavings",
        &["cargo", "test", "-p", "paracloud-sdk", "--features", "shuttle", "--test", "interleavings"],
    ),
    job("simulation", &["cargo", "xtask", "sim", "--seeds", "200"]),
    job("model", &["cargo", "xtask", "model", "--small"]),
    job("crashes", &["cargo", "xtask", "crash", "--smoke", "--fresh"]),
    // Each commit has a third of them, every mutant within a few commits; all of them take the better part of an hour.
    job("mutants", &["cargo", "xtask", "mutants", "--one-in", "3"]),
];

/// Runs all of it and stops at the first failure.
pub(crate) fn run() -> Result<Report> {
    let mut passed = 0;
    for job in JOBS {
        let begun = Instant::now();
        say(&format!("ci: {} …", job.name));
        let (program, arguments) = job.command.split_first().context("a job without a command")?;
        let status = Command::new(program)
            .args(arguments)
            .envs(job.environment.iter().copied())
            .status()
            .with_context(|| format!("{program} cannot be run"))?;
        let line = job.command.join(" ");
        ensure!(status.success(), "ci: {} failed; run it alone: {line}", job.name);
        say(&format!("ci: {} passed in {} s", job.name, begun.elapsed().as_secs()));
        passed += 1;
    }
    say(&format!("{passed} passed, 0 failed"));
    Ok(Report { ok: true, fields: json!({ "passed": passed }) })
}

#[expect(clippy::print_stdout, reason = "what CI shows")]
fn say(line: &str) {
    println!("{line}");
}
