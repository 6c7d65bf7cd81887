//! The project's own commands, the same on every machine and in CI.
//!
//! `cargo xtask ci` is what CI runs. With `--json` the last line of every run, also of one that fails, is one object with
//! `schema`, `commit`, `ok` and the fields of the command; a command that came to no report, because it was asked for
//! what there is not, something does not build or a file is missing, has `ok: false` and says why in `error`. The exit
//! status is 0 if and only if `ok`, and 1 otherwise.

mod bench;
mod ci;
mod columns;
mod crash;
mod model;
mod mutants;
mod replay;
mod report;
mod rig;
mod sim;
mod wall;

use anyhow::anyhow;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use report::Report;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    /// The last line is one JSON object.
    #[arg(long, global = true)]
    json: bool,
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
    },
}

impl Command {
    fn run(&self) -> anyhow::Result<Report> {
        match self {
            Self::Ci => ci::run(),
            Self::Wall => wall::run(),
            Self::Sim(options) => sim::run(options),
            Self::Model(options) => model::run(options),
            Self::Mutants(options) => mutants::run(options),
            Self::Crash(options) => crash::run(options),
            Self::Bench(what) => bench::run(what),
            Self::Replay { logs } => replay::run(logs),
        }
    }
}

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let schema = schema(&words);
    match Arguments::try_parse_from(&words) {
        Ok(arguments) => report::finish(schema, arguments.json, &report::guarded(|| arguments.command.run())),
        Err(error) if error.use_stderr() => {
            report::finish(schema, asks_for_json(&words), &Err(anyhow!("{}", misread(&error))))
        }
        Err(help) => help.print().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
    }
}

/// The schema of a command's last line, also of one whose other words are misread.
fn schema(words: &[OsString]) -> &'static str {
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    match words.find(|word| !word.starts_with('-')) {
        Some("ci") => "ci/1",
        Some("wall") => "wall/1",
        Some("sim") => "sim/1",
        Some("model") => "model/2",
        Some("mutants") => "mutants/1",
        Some("crash") => "crash/1",
        Some("bench") => match words.find(|word| !word.starts_with('-')) {
            Some("gateway") => "bench-gateway/1",
            Some("balance") => "bench-balance/1",
            Some("scale") => "bench-scale/1",
            Some(_) | None => "bench-move/1",
        },
        Some("replay") => "replay/1",
        Some(_) | None => "xtask/1",
    }
}

/// Whether words that are misread ask for JSON. What comes behind `--` is a name.
fn asks_for_json(words: &[OsString]) -> bool {
    words.iter().take_while(|word| *word != "--").any(|word| word == "--json")
}

/// What is wrong with the words, without the word `error` before it.
fn misread(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text).trim();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return format!("no command is named\n\n{text}");
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn every_command_has_a_schema_of_its_own_and_takes_json() {
        let mut known = std::collections::BTreeSet::new();
        for command in Arguments::command().get_subcommands() {
            let line = format!("xtask --json {} --no-such-option", command.get_name());
            let schema = schema(&words(&line));
            assert!(schema.starts_with(command.get_name()) && known.insert(schema), "{line}: {schema}");
        }
        assert_eq!(schema(&words("xtask --json")), "xtask/1");
    }

    #[test]
    fn words_without_a_command_are_an_error_like_any_other() {
        for line in ["xtask", "xtask bench"] {
            let error = Arguments::try_parse_from(words(line)).err().unwrap();
            assert!(error.use_stderr() && misread(&error).starts_with("no command is named"), "{error}");
        }
    }

    #[test]
    fn json_is_asked_for_by_an_option_and_not_by_a_name() {
        assert!(asks_for_json(&words("xtask sim --sees 3 --json")));
        assert!(!asks_for_json(&words("xtask replay --no-such-option -- --json")));
    }
}
