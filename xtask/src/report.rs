//! The end of a command: one JSON object as the last line, or some lines for people.

use crate::columns::hung;
use anyhow::{Result, anyhow};
use serde_json::{Map, Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};

/// What a command found.
pub(crate) struct Report {
    /// Whether everything that must hold held.
    pub(crate) ok: bool,
    /// The fields; an object.
    pub(crate) fields: Value,
}

/// Runs a command to its end: one that panics has failed like any other.
pub(crate) fn guarded(run: impl FnOnce() -> Result<Report>) -> Result<Report> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|cause| {
        let what = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let what = what.or_else(|| cause.downcast_ref::<String>().cloned());
        Err(anyhow!("it panicked: {}", what.as_deref().unwrap_or("see above")))
    })
}

/// Prints what was found, or why nothing was, and gives the exit status: 0 if and only if all is well. The schema is the
/// name and version of the fields: `sim/1`.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "every command ends here")]
pub(crate) fn finish(schema: &str, as_json: bool, found: &Result<Report>) -> ExitCode {
    if let Err(error) = found {
        eprintln!("error: {error:#}");
    }
    if as_json {
        println!("{}", line(schema, &commit(), found));
    } else if let Ok(report) = found {
        shown("", &report.fields).iter().for_each(|line| println!("{line}"));
        println!("{schema}: {}", if report.ok { "ok" } else { "FAILED" });
    }
    if found.as_ref().is_ok_and(|report| report.ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The last line. Without a report it is not `ok`, and `error` says why there is none.
fn line(schema: &str, commit: &str, found: &Result<Report>) -> Value {
    let mut object = Map::new();
    object.insert("schema".into(), json!(schema));
    object.insert("commit".into(), json!(commit));
    let (ok, fields) = match found {
        Ok(report) => (report.ok, report.fields.clone()),
        Err(error) => (false, json!({ "error": format!("{error:#}") })),
    };
    object.insert("ok".into(), json!(ok));
    object.extend(fields.as_object().cloned().unwrap_or_default());
    Value::Object(object)
}

/// A line for each field, those of an object below its name. Of a list of objects, only how many there are: whoever
/// found them has shown them.
fn shown(above: &str, fields: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in fields.as_object().into_iter().flatten() {
        let name = format!("{above}{name}");
        let text = match value {
            Value::Object(_) => {
                lines.extend(shown(&format!("{name}."), value));
                continue;
            }
            Value::Array(all) if all.iter().any(Value::is_object) => all.len().to_string(),
            Value::Array(all) if all.is_empty() => "none".to_owned(),
            Value::Array(all) => all.iter().map(plain).collect::<Vec<_>>().join(", "),
            Value::Null => "none".to_owned(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => plain(value),
        };
        lines.push(hung(&format!("{name:<24} "), &text));
    }
    lines
}

/// A value without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::COLUMNS;

    #[test]
    fn the_last_line_says_what_was_found_or_why_nothing_was() {
        let found = Ok(Report { ok: true, fields: json!({ "seeds": 3 }) });
        let (schema, commit) = ("sim/1", "abc");
        assert_eq!(
            line(schema, commit, &found),
            json!({ "schema": schema, "commit": commit, "ok": true, "seeds": 3 })
        );
        let none = Err(anyhow!("no space").context("the log cannot be written"));
        assert_eq!(
            line(schema, commit, &none),
            json!({ "schema": schema, "commit": commit, "ok": false, "error": "the log cannot be written: no space" })
        );
    }

    #[test]
    fn a_command_that_panics_has_failed_and_says_with_what() {
        for (number, what) in [(1, "a bound of 7 was passed"), (2, "never so")] {
            let found = guarded(|| match number {
                1 => panic!("a bound of {} was passed", number + 6),
                _ => panic!("never so"),
            });
            let error = found.err().unwrap().to_string();
            assert!(error.contains(what), "{error}");
        }
        assert!(guarded(|| Ok(Report { ok: true, fields: json!({}) })).is_ok());
    }

    #[test]
    fn fields_for_people_fit_a_terminal_and_lists_and_objects_are_opened() {
        let names: Vec<_> = (0..20).map(|number| format!("a mutant of number {number}")).collect();
        let fields = json!({
            "survived": names, "phases": { "copy": 1.5, "seal": 2 }, "configs": [{}, {}], "limit": null, "differ": [],
        });
        let lines = shown("", &fields).join("\n");
        assert!(lines.lines().all(|line| line.chars().count() <= COLUMNS), "{lines}");
        for (name, value) in [("phases.copy", "1.5"), ("configs", "2"), ("limit", "none"), ("differ", "none")]
        {
            assert!(lines.contains(&format!("{name:<24} {value}")), "{lines}");
        }
        assert!(lines.contains("number 0,") && lines.contains("number 19"), "{lines}");
    }
}
