//! The last line of a command: one JSON object, or a sentence for people.

use serde_json::{Map, Value, json};
use std::process::{Command, ExitCode};

/// What a command found.
pub(crate) struct Report {
    /// Name and version of the fields: `sim/1`.
    pub(crate) schema: &'static str,
    /// Whether everything that must hold held.
    pub(crate) ok: bool,
    /// The fields; an object.
    pub(crate) fields: Value,
}

impl Report {
    /// Prints it and gives the exit status: 0 if and only if `ok`.
    #[expect(clippy::print_stdout, reason = "the report is what the command is run for")]
    pub(crate) fn finish(self, as_json: bool) -> ExitCode {
        if as_json {
            println!("{}", self.line());
        } else {
            for (name, value) in self.fields.as_object().into_iter().flatten() {
                println!("{name:<24} {value}");
            }
            println!("{}: {}", self.schema, if self.ok { "ok" } else { "FAILED" });
        }
        if self.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn line(&self) -> Value {
        let mut object = Map::new();
        object.insert("schema".into(), json!(self.schema));
        object.insert("commit".into(), json!(commit()));
        object.insert("ok".into(), json!(self.ok));
        object.extend(self.fields.as_object().cloned().unwrap_or_default());
        Value::Object(object)
    }
}

/// The commit this tree stands on, with `+` if it has changes of its own.
pub(crate) fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let dirty = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|it| !it.is_empty());
    if dirty { head + "+" } else { head }
}
