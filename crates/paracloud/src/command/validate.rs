//! `paracloud validate app.yaml`: what the manifest means, without starting anything.

use crate::failure::Failure;
use crate::manifest::{self, Resolved, Shown};
use crate::output::{Format, say, say_object, tell};
use serde_json::json;
use std::path::Path;

/// Prints the manifest with every field that it could have, and notes about it.
///
/// # Errors
/// The manifest is wrong.
pub fn run(path: &Path, nodes: u32, format: Format) -> Result<(), Failure> {
    let Resolved { cloud, notes } = manifest::read(path, nodes, "validate")?;
    let shown = Shown::of(&cloud);
    match format {
        Format::Json => {
            say_object(
                "validate",
                json!({ "ok": true, "cloud": shown, "notes": notes.iter().map(ToString::to_string).collect::<Vec<_>>() }),
            );
        }
        Format::Text => {
            say(shown.yaml().map_err(|error| Failure::machine("cloud", &error))?.trim_end());
            for note in notes {
                tell(&format!("note: {note}"));
            }
        }
    }
    Ok(())
}
