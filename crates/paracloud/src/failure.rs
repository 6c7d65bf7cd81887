//! How a command ends when it does not do what it was asked: who, why, what next, and an exit code that means
//! something.

use crate::output::{Format, Paint, say_object, short, tell, unwritten};
use serde_json::{Value, json};
use std::error::Error;
use std::io;
use std::process::ExitCode;

/// The most letters of a name that people are shown as whom a failure is about, and of a path or several names.
const WHO_LETTERS_MAX: (usize, usize) = (64, 160);
/// The most letters of why, and of what next.
const WHY_LETTERS_MAX: usize = 800;

/// What an exit code means. 0 is: done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It failed, or was rolled back.
    Failed = 1,
    /// The command line or the manifest is wrong, or names something that there is not.
    Usage = 2,
    /// No cloud in this directory, or it does not answer.
    Unreachable = 3,
    /// It needs a consent that was not given.
    Consent = 4,
}

/// Why a command did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// A word for programs: `consent_needed`, `no_cloud`, …
    pub code: String,
    /// Whom it is about: an app, a file, a directory.
    pub who: String,
    /// What is wrong with it.
    pub why: String,
    /// What to do; empty if there is nothing.
    pub next: String,
    /// What was found on the way, under its name: more for programs, already printed for people.
    pub found: Option<Box<(&'static str, Value)>>,
}

impl Failure {
    /// A failure that names who, why and what next.
    pub fn new(
        exit: Exit,
        code: &str,
        who: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { exit, code: code.to_owned(), who: who.into(), why: why.into(), next: next.into(), found: None }
    }

    /// Something of the machine that did not work: a file, a process.
    pub fn machine(who: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        let (who, text) = (who.into(), chain(error));
        // Who it is about stands before it already.
        let why = text.strip_prefix(&who).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&text);
        let next = if is_full(error) { "free some space on that disk" } else { "" };
        Self::new(Exit::Failed, "machine", &who, why, next)
    }

    /// The object that `--output json` prints.
    pub fn json(&self) -> Value {
        let error = json!({ "code": self.code, "who": self.who, "why": self.why, "next": self.next });
        let mut object = json!({ "ok": false, "error": error });
        if let Some((name, value)) = self.found.as_deref() {
            object[*name] = value.clone();
        }
        object
    }

    /// The lines that people read.
    pub fn text(&self, paint: Paint) -> String {
        let (name, names) = WHO_LETTERS_MAX;
        let who = short(&self.who, if self.who.contains(['/', ' ']) { names } else { name });
        let who = if who.is_empty() { "\"\"".into() } else { who };
        let why = short(&self.why, WHY_LETTERS_MAX);
        let mut text = format!("{} {who}: {why}", paint.bad("error:"));
        if !self.next.is_empty() {
            text += &format!("\n{} {}", paint.strong("next:"), short(&self.next, WHY_LETTERS_MAX));
        }
        text
    }

    /// What the command said could not be written: `error`. What it did is done all the same.
    pub fn unwritten(error: &str) -> Self {
        let why = format!("what this command said could not be written: {error}");
        Self::new(Exit::Failed, "unwritten", "standard output", why, "")
    }

    /// Prints it (to standard error for people, to standard output for programs; to standard error as well if that
    /// cannot be written) and gives the exit code.
    pub fn report(&self, format: Format) -> ExitCode {
        // A reader that went away changes nothing about how the command ended.
        let is_said = format == Format::Json && (say_object("error", self.json()) || unwritten().is_none());
        if !is_said {
            tell(&self.text(Paint::of_stderr()));
        }
        ExitCode::from(self.exit as u8)
    }
}

/// Whether there was no room, on the disk or of what this user may use of it.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
        || error.source().is_some_and(is_full)
}

/// An error and what it came from, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text += &format!(": {inner_text}");
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_substrate::config::ConfigError;

    #[test]
    fn a_full_disk_is_said_with_its_file_once_and_with_what_helps() {
        let path = std::path::Path::new("/cloud/cloud.json");
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let written = ConfigError::Write { path: path.into(), source: full() };
        let failure = Failure::machine("/cloud/cloud.json", &written);
        let lines = format!(
            "error: /cloud/cloud.json: cannot be written: {}\nnext: free some space on that disk",
            full()
        );
        assert_eq!(failure.text(Paint::PLAIN), lines);
        let other = Failure::machine("up.lock", &io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(other.next, "");
    }

    #[test]
    fn an_error_about_a_name_without_end_is_shortened_for_people_and_whole_for_programs() {
        let name = "x".repeat(5_000);
        let failure = Failure::new(Exit::Usage, "unknown_instance", &name, format!("no {name}"), &name);
        let text = failure.text(Paint::PLAIN);
        assert!(text.chars().count() < 2_000, "{}", text.len());
        assert!(text.starts_with("error: xxx") && text.contains("…: no xxx") && text.ends_with('…'));
        assert_eq!(failure.json()["error"]["who"], name);
    }
}
