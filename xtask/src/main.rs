//! The project's own commands, the same on every machine and in CI.
//!
//! `cargo xtask ci` is what CI runs. Each command that shows something takes `--json`; its last line is then one
//! object with `schema`, `commit`, `ok` and the fields of its own, and the exit status is 0 if and only if `ok`.

mod bench;
mod ci;
mod crash;
mod model;
mod mutants;
mod replay;
mod report;
mod rig;
mod sim;
mod wall;

use clap::{Parser, Subcommand};
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What CI runs: everything below in its short form, and all tests.
    Ci,
    /// Floors and purity of the crates.
    Wall,
    /// The machines under virtual time, dice and faults: many seeds, or one replayed.
    Sim(sim::Sim),
    /// The machines under every choice there is, searched to the end.
    Model(model::Options),
    /// Faults put into a copy of the tree, each of which must be noticed.
    Mutants(mutants::Options),
    /// Real processes under load, killed and stopped at every promise.
    Crash(crash::Options),
    /// Figures, each beside its control.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Feeds the logs of machines to the core again.
    Replay {
        /// Logs, or directories of them.
        #[arg(required = true)]
        logs: Vec<PathBuf>,
        /// Last line: one JSON object.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Ci => end(ci::run()),
        Command::Wall => end(wall::check()),
        Command::Sim(arguments) => sim::sim(&arguments),
        Command::Model(options) => report(model::run(&options), options.json),
        Command::Mutants(options) => report(mutants::run(&options), options.json),
        Command::Crash(options) => report(crash::run(&options), options.json),
        Command::Bench(what) => report(bench::run(&what), what.is_json()),
        Command::Replay { logs, json } => report(replay::run(&logs), json),
    }
}

/// The end of a command that shows something.
fn report(report: anyhow::Result<Report>, as_json: bool) -> ExitCode {
    match report {
        Ok(report) => report.finish(as_json),
        Err(error) => end(Err(error)),
    }
}

/// The end of a command that succeeds or says why not.
#[expect(clippy::print_stderr, reason = "an error is printed once, here")]
fn end(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
