//! `paracloud logs NAME`: what the processes of an app or an instance wrote, each start after the other, each line with node
//! and start; where there may be several instances, with the instance.

use super::{Context, named};
use crate::client;
use crate::failure::{Exit, Failure};
use crate::output::{Format, formed, say};
use crate::processes::{self, Process};
use crate::telling::short;
use crate::up::lock;
use paracloud_core::ids::StartId;
use paracloud_substrate::layout::Layout;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;
use tokio::time::sleep;

/// How often new output is looked for, in milliseconds.
const LOOK_AGAIN_MS: u64 = 200;
/// A longer line is printed in parts of this size, in bytes.
const LINE_BYTES_MAX: usize = 64 << 10;

/// How far the log of one start was printed.
#[derive(Debug, Default)]
struct Reading {
    offset: u64,
    rest: Vec<u8>,
}

/// Prints, and with `follow` goes on, as long as there is a cloud or something that it left.
///
/// # Errors
/// Nothing was ever started for this app here; with `follow`, the cloud is not up, or is not up any more.
pub async fn run(context: &Context, app: &str, follow: bool) -> Result<(), Failure> {
    let mut readings: BTreeMap<StartId, Reading> = BTreeMap::new();
    let cloud = context.cloud();
    let is_scaled = cloud.as_ref().is_ok_and(|cloud| cloud.app(app).is_some_and(|app| app.scale.is_some()));
    let known = cloud.map(|cloud| cloud.app(app).is_some() || cloud.app_of(app).is_some());
    loop {
        let ended = is_ended(&context.layout, app);
        let found = processes::all(&context.layout);
        let of_app: Vec<&Process> =
            found.iter().filter(|process| named::is_meant(&process.instance, app)).collect();
        if of_app.is_empty() && !(follow && known == Ok(true)) {
            return Err(nothing(app, known));
        }
        for process in of_app {
            let reading = readings.entry(process.start).or_default();
            if !reading.print(process, !follow || ended, |line| {
                say(&shown(process, line, context.format, is_scaled))
            }) {
                return Ok(());
            }
        }
        if !follow {
            return Ok(());
        }
        if ended {
            return Err(client::unreachable(&context.layout));
        }
        sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
    }
}

/// Nobody writes to these logs any more: no `up` lives here, and no process of the app, which outlive one that is killed.
fn is_ended(layout: &Layout, app: &str) -> bool {
    let lives = |process: &Process| named::is_meant(&process.instance, app) && process.may_live();
    lock::holder(layout).is_none() && !processes::all(layout).iter().any(lives)
}

fn nothing(app: &str, known: Result<bool, Failure>) -> Failure {
    match known {
        Ok(true) => {
            let why = "nothing was started for it yet";
            Failure::new(Exit::Failed, "no_log", app, why, "see paracloud ps")
        }
        Ok(false) => {
            let next = "paracloud ps lists them";
            Failure::new(Exit::Usage, "unknown_instance", app, "there is no such app", next)
        }
        Err(failure) => failure,
    }
}

impl Reading {
    /// Prints what was written until now: a process that goes on writing does not keep it from ending. With `all` also
    /// a last line without its end. `false`: nobody reads any more.
    fn print(&mut self, process: &Process, all: bool, mut say: impl FnMut(&str) -> bool) -> bool {
        let end = std::fs::metadata(process.log()).map_or(0, |metadata| metadata.len());
        loop {
            let before = self.offset;
            if !self.take(process, end, all).iter().all(|line| say(line)) {
                return false;
            }
            if self.offset == before {
                return true;
            }
        }
    }

    /// The next whole lines before `end`, from one chunk; at the end with `all` also a last one without its end.
    fn take(&mut self, process: &Process, end: u64, all: bool) -> Vec<String> {
        let mut lines = Vec::new();
        // No log yet, or a directory that was just removed: nothing to print.
        let Ok(mut file) = File::open(process.log()) else { return lines };
        if file.seek(SeekFrom::Start(self.offset)).is_err() {
            return lines;
        }
        let mut chunk = vec![0; LINE_BYTES_MAX];
        let left = usize::try_from(end.saturating_sub(self.offset)).unwrap_or(LINE_BYTES_MAX);
        let count = file.read(&mut chunk[..left.min(LINE_BYTES_MAX)]).unwrap_or(0);
        self.offset += u64::try_from(count).unwrap_or(0);
        for byte in &chunk[..count] {
            if *byte == b'\n' || self.rest.len() == LINE_BYTES_MAX {
                lines.push(text(&std::mem::take(&mut self.rest)));
            }
            if *byte != b'\n' {
                self.rest.push(*byte);
            }
        }
        if count == 0 && all && !self.rest.is_empty() {
            lines.push(text(&std::mem::take(&mut self.rest)));
        }
        lines
    }
}

/// The last lines of what a process wrote, at most so many.
pub(crate) fn last_lines(process: &Process, lines_max: usize) -> Vec<String> {
    let end = std::fs::metadata(process.log()).map_or(0, |metadata| metadata.len());
    let chunk = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut reading = Reading { offset: end.saturating_sub(chunk), rest: Vec::new() };
    let mut lines = Vec::new();
    reading.print(process, true, |line| {
        lines.push(line.to_owned());
        true
    });
    lines.retain(|line| !line.trim().is_empty());
    lines.split_off(lines.len().saturating_sub(lines_max))
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches('\r').to_owned()
}

fn shown(process: &Process, line: &str, format: Format, is_scaled: bool) -> String {
    match format {
        Format::Json => {
            let (instance, node, start) = (&process.instance, &process.node, process.start);
            formed("log", json!({ "instance": instance, "node": node, "start": start, "line": line }))
        }
        Format::Text if is_scaled => {
            format!("{} {}/{} {line}", process.instance, process.node, short(process.start))
        }
        Format::Text => format!("{}/{} {line}", process.node, short(process.start)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn process(directory: &std::path::Path) -> Process {
        Process::at("n1", StartId(0x1234_5678_9abc_def0), "web", SystemTime::now(), directory)
    }

    fn printed(reading: &mut Reading, process: &Process, all: bool) -> Vec<String> {
        let mut lines = Vec::new();
        assert!(reading.print(process, all, |line| {
            lines.push(line.to_owned());
            true
        }));
        lines
    }

    #[test]
    fn a_line_is_printed_once_and_only_when_it_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let process = process(directory.path());
        let mut reading = Reading::default();
        assert!(printed(&mut reading, &process, false).is_empty(), "no log yet");
        std::fs::write(process.log(), "one\ntw").unwrap();
        assert_eq!(printed(&mut reading, &process, false), ["one"]);
        std::fs::write(process.log(), "one\ntwo\r\n\nlast").unwrap();
        assert_eq!(printed(&mut reading, &process, false), ["two", ""]);
        assert_eq!(printed(&mut reading, &process, true), ["last"]);
        assert!(printed(&mut reading, &process, true).is_empty());
        assert_eq!(shown(&process, "one", Format::Text, false), "n1/12345678 one");
        assert_eq!(shown(&process, "one", Format::Text, true), "web n1/12345678 one");
    }

    #[test]
    fn the_last_lines_are_those_with_something_in_them() {
        let directory = tempfile::tempdir().unwrap();
        let process = process(directory.path());
        assert!(last_lines(&process, 2).is_empty(), "no log yet");
        std::fs::write(process.log(), "one\n".repeat(40_000) + "two\nthree\n\n \n").unwrap();
        assert_eq!(last_lines(&process, 2), ["two", "three"]);
        assert_eq!(last_lines(&process, 3), ["one", "two", "three"]);
    }

    #[test]
    fn a_process_that_writes_as_fast_as_it_is_read_does_not_keep_its_log_from_ending() {
        let directory = tempfile::tempdir().unwrap();
        let process = process(directory.path());
        std::fs::write(process.log(), "first\n").unwrap();
        let mut log = File::options().append(true).open(process.log()).unwrap();
        let mut lines = Vec::new();
        assert!(Reading::default().print(&process, true, |line| {
            lines.push(line.to_owned());
            std::io::Write::write_all(&mut log, b"one more\n").unwrap();
            lines.len() < 100
        }));
        assert_eq!(lines, ["first"]);
    }
}
