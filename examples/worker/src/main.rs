//! `worker`: see the README beside it.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

/// What ends it before its time is said in one line.
fn main() -> ExitCode {
    let Err(error) = worker::process::run() else { return ExitCode::SUCCESS };
    let first: &dyn Error = error.as_ref();
    let causes = std::iter::successors(Some(first), |&error| error.source());
    let why: Vec<_> = causes.map(ToString::to_string).collect();
    let _ = writeln!(std::io::stderr(), "worker: {}", why.join(": "));
    ExitCode::FAILURE
}
