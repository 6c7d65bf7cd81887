//! `cargo xtask replay LOG…`: feeds the logged inputs of machines to the core and wants the logged effects, byte for
//! byte.

use crate::report::Report;
use anyhow::{Context, Result};
use paracloud_substrate::trace::{ReplayError, replay};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Replays logs; a directory stands for all logs in it.
///
/// # Errors
/// A log is not there, or cannot be read: nothing is known of it then.
pub(crate) fn run(paths: &[PathBuf]) -> Result<Report> {
    let mut logs = Vec::new();
    for path in paths {
        gather(path, &mut logs).with_context(|| format!("{} cannot be read", path.display()))?;
    }
    let mut inputs = 0;
    let mut differ = Vec::new();
    for log in &logs {
        match replay(log) {
            Ok(steps) => inputs += steps,
            Err(error @ ReplayError::Read { .. }) => return Err(error.into()),
            Err(error) => differ.push(error.to_string()),
        }
    }
    for error in &differ {
        tell(error);
    }
    let ok = differ.is_empty() && inputs > 0;
    let fields = json!({ "logs": logs.len(), "inputs": inputs, "differ": differ.len() });
    Ok(Report { ok, fields })
}

#[expect(clippy::print_stderr, reason = "what differs is said before the report")]
fn tell(error: &str) {
    eprintln!("{error}");
}

fn gather(path: &Path, logs: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() {
        logs.push(path.into());
        return Ok(());
    }
    let mut entries = std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        gather(&entry.path(), logs)?;
    }
    Ok(())
}
