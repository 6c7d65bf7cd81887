//! The project's own commands, the same on every machine and in CI.
//!
//! `cargo xtask ci` is what CI runs. Each command that shows something takes `--json`; its last line is then one
//! object with `schema`, `commit`, `ok` and the fields of its own, and the exit status is 0 if and only if `ok`.

mod report;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {}

fn main() -> ExitCode {
    match Arguments::parse().command {}
}
