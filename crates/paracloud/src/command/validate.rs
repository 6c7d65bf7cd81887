//! `paracloud validate app.yaml`: what the manifest means, without starting anything.

use crate::failure::Failure;
use crate::manifest::{self, Resolved};
use crate::output::{Format, say, tell};
use serde_json::json;
use std::path::Path;

/// Prints the resolved cloud, and notes about it.
///
/// # Errors
/// The manifest is wrong.
pub fn run(path: &Path, nodes: u32, format: Format) -> Result<(), Failure> {
    let Resolved { cloud, notes } = manifest::read(path, nodes)?;
    match format {
        Format::Json => {
            say(&json!({ "ok": true, "cloud": cloud, "notes": notes }).to_string());
        }
        Format::Text => {
            let text =
                serde_json::to_string_pretty(&cloud).map_err(|error| Failure::machine("cloud", &error))?;
            say(&text);
            for note in notes {
                tell(&format!("note: {note}"));
            }
        }
    }
    Ok(())
}
