//! A probe that is a command: run where and as the program is, in its group if it has one, bounded in time and output, and
//! killed with all that it started in its own process group, whatever becomes of it.
//!
//! What leaves that group is of the program by its environment and its control group, and ends with it at the latest.

use crate::processes::ProcessDirectory;
use crate::shim::watch_for_death;
use paracloud_substrate::lifeline;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// Names the command of a probe, as JSON, to the last step before it.
pub(crate) const COMMAND: &str = "PARACLOUD_PROBE";
/// Of what a command writes, so much of the end is told, in bytes; the rest is read and forgotten.
const WORDS_BYTES_MAX: usize = 200;
/// When it has ended, its last words may take so long to arrive, in milliseconds.
const WORDS_MS_MAX: u64 = 100;

/// The command while it runs. Dropped, it is killed: its number is its own until it was waited for.
struct Running {
    child: Child,
    pid: Pid,
    was_waited_for: bool,
}

impl Running {
    fn kill(&mut self) {
        if !self.was_waited_for {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs it. An error is what is to be said of it.
pub(super) async fn run(
    process: &ProcessDirectory,
    command: &[String],
    within: Duration,
) -> Result<(), String> {
    let mut running = start(process, command).map_err(|error| format!("it could not be run: {error}"))?;
    let out = tokio::spawn(last_words(running.child.stdout.take()));
    let err = tokio::spawn(last_words(running.child.stderr.take()));
    let ended = tokio::time::timeout(within, ended(running.pid)).await;
    // What it has left in its group, too, before anybody else can have its number.
    running.kill();
    let status = running.child.wait().await;
    running.was_waited_for = true;
    let words = async { (err.await.unwrap_or_default(), out.await.unwrap_or_default()) };
    let words = tokio::time::timeout(Duration::from_millis(WORDS_MS_MAX), words).await;
    let (err, out) = words.unwrap_or_default();
    let said = if err.is_empty() { out } else { err };
    match (ended, status) {
        (Err(_), _) => {
            Err(with(format!("it did not end within {} ms, and was killed", within.as_millis()), &said))
        }
        (Ok(Err(error)), _) | (Ok(Ok(())), Err(error)) => Err(format!("it cannot be watched: {error}")),
        (Ok(Ok(())), Ok(status)) if status.success() => Ok(()),
        (Ok(Ok(())), Ok(status)) => Err(with(status.to_string(), &said)),
    }
}

fn start(process: &ProcessDirectory, command: &[String]) -> io::Result<Running> {
    let child = Command::new(crate::binary())
        .arg0(crate::NAME)
        .args(["exec", "--process"])
        .arg(process.path())
        .env(COMMAND, serde_json::to_string(command)?)
        .env_remove(lifeline::VARIABLE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let number = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let pid = number.ok_or(io::ErrorKind::NotFound)?;
    Ok(Running { child, pid, was_waited_for: false })
}

/// Returns when it is dead. It is not waited for by that.
async fn ended(pid: Pid) -> io::Result<()> {
    let mut dead = watch_for_death(&pidfd_open(pid, PidfdFlags::empty())?)?;
    dead.wait_for(|dead| *dead).await.map(drop).map_err(io::Error::other)
}

/// Reads all of it, and keeps the end.
async fn last_words(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let mut kept = Vec::new();
    let mut block = vec![0; 16 << 10];
    while let Ok(read @ 1..) = pipe.read(&mut block).await {
        kept.extend_from_slice(&block[..read]);
        kept.drain(..kept.len().saturating_sub(WORDS_BYTES_MAX));
    }
    String::from_utf8_lossy(&kept).trim().escape_debug().to_string()
}

fn with(what: String, said: &str) -> String {
    if said.is_empty() { what } else { format!("{what}: {said}") }
}
