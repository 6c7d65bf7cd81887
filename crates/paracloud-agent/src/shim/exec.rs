//! The last step before a program runs: this process makes itself known, then becomes the program.
//!
//! The order is what makes a start id be used once. The identity is synced first, then the parent is looked at: if
//! the shim that marked the start id died meanwhile, a successor may have read "marked, no identity" and said *dead*,
//! and this process must not become the program any more. Then the process enters its group, so that its limits hold from
//! the program's first instruction.

use super::{ShimError, place};
use crate::probe;
use crate::processes::{ProcessDirectory, Spec};
use paracloud_substrate::process::Identity;
use std::convert::Infallible;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Names the shim, by its pid, to the process that it starts.
pub(crate) const PARENT: &str = "PARACLOUD_SHIM";
/// Variables of the cloud's own parts begin so. A program does not inherit them.
const OWN: &[u8] = b"PARACLOUD_";

/// Becomes the program of a process directory. Run by the shim; returns only if that failed.
///
/// # Errors
/// The directory cannot be read or written, the shim is gone, or the program cannot be run.
pub fn exec(directory: &Path) -> Result<Infallible, ShimError> {
    let process = ProcessDirectory::at(directory.to_path_buf());
    if let Ok(command) = std::env::var(probe::COMMAND) {
        return become_probe(&process, &command).inspect_err(|error| {
            let cause =
                std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            // It is the end of what it says, and told as such.
            let _ = writeln!(std::io::stderr(), "{error}{cause}");
        });
    }
    become_program(&process).inspect_err(|error| {
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        // Best effort: without it the exit status still tells that it failed.
        let _ = std::fs::write(process.failure(), format!("{error}{cause}"));
    })
}

fn become_program(process: &ProcessDirectory) -> Result<Infallible, ShimError> {
    let directory = |source| ShimError::Directory { path: process.path().into(), source };
    let spec = process.spec().map_err(directory)?;
    rustix::process::setsid().map_err(|error| directory(error.into()))?;
    process.write_identity(&Identity::own().map_err(directory)?).map_err(directory)?;
    let parent = std::env::var(PARENT).ok().and_then(|pid| pid.parse::<i32>().ok());
    let present = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if parent.is_none() || parent != present {
        return Err(ShimError::Orphaned);
    }
    place::enter(process, &spec).map_err(directory)?;
    run(&spec, &spec.command)
}

/// Becomes the command of a probe, as the program of the process runs.
fn become_probe(process: &ProcessDirectory, command: &str) -> Result<Infallible, ShimError> {
    let directory = |source| ShimError::Directory { path: process.path().into(), source };
    let spec = process.spec().map_err(directory)?;
    let command: Vec<String> = serde_json::from_str(command).map_err(|_| ShimError::NoCommand)?;
    // It is bounded by whoever asked for it. Without him nobody would end it.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    // Before the program is where it is to be, nothing is run beside it.
    let place = process.place().map_err(directory)?.ok_or(ShimError::NotPlaced)?;
    // Where there is no group it runs without, as the program does.
    let _ = place.group.join();
    run(&spec, &command)
}

/// Becomes a command, in the directory and with the environment that a process is to have.
fn run(spec: &Spec, command: &[String]) -> Result<Infallible, ShimError> {
    let (program, arguments) = command.split_first().ok_or(ShimError::NoCommand)?;
    let failed = |source| ShimError::Program { program: program.clone(), source };
    std::env::set_current_dir(&spec.directory)
        .map_err(|source| ShimError::Directory { path: spec.directory.clone(), source })?;
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(OWN) {
            command.env_remove(name);
        }
    }
    Err(failed(command.envs(&spec.env).exec()))
}
