//! The log of decisions: each with all that went into it, so that it can be made again.
//!
//! One line of JSON each: what kind of decision, of which app, when, and the record that the core made. The log is bounded:
//! a full file is kept beside the one that is written, a few of them, and the oldest goes. It is for people and for
//! [`replay()`]; nothing that is promised to anybody hangs on it, so a line that cannot be written is reported to who wrote it,
//! and the decision stands.

mod done;
mod opened;
mod read;
mod replay;
mod writer;

pub use done::Done;
pub use opened::{Hindrance, Opened};
pub use read::{Look, newest_first};
pub use replay::{Replayed, replay};
pub use writer::{Fate, Writer};

use paracloud_core::{balancing, ordered, scaling, wishes};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the file that is written is called, without its ending.
const NAME: &str = "decisions";
/// A file of this length is full, in bytes.
pub const FILE_BYTES_MAX: u64 = 8 << 20;
/// Full files that are kept.
pub const FILES_MAX: u32 = 4;
/// The longest line that is written, in bytes: a decision of a thousand instances takes about half of it.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// A decision.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "record")]
pub enum Decision<'a> {
    /// How many instances, and how large.
    Scaling(&'a scaling::Record),
    /// Which instance a request goes to.
    Balancing(&'a balancing::Record),
    /// What became of what was decided before.
    Done(&'a Done),
    /// What becomes of what an instance asks for.
    Wish(&'a wishes::Record),
    /// What a person's order was made into.
    Ordered(&'a ordered::Record),
    /// What was begun by that, or because of an ask.
    Opened(&'a Opened),
}

#[derive(Serialize)]
struct Written<'a> {
    app: &'a str,
    unix_ms: u64,
    #[serde(flatten)]
    decision: Decision<'a>,
}

/// A line, as it is read: the record stays text.
#[derive(Debug, Deserialize)]
pub struct Line<'a> {
    /// Of which app; empty: of all that are on a node.
    pub app: String,
    /// When it was written, in milliseconds since 1970.
    pub unix_ms: u64,
    /// What kind of decision.
    pub kind: String,
    /// The record.
    #[serde(borrow)]
    pub record: &'a RawValue,
}

/// A log that is written.
#[derive(Debug)]
pub struct Log {
    directory: PathBuf,
    file: File,
    bytes: u64,
    file_bytes_max: u64,
}

/// Whether this is one of its files.
pub fn is_log(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix(NAME).is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".jsonl"))
}

impl Log {
    /// Goes on with the log of this directory, or begins it.
    ///
    /// # Errors
    /// Directory or file cannot be made.
    pub fn open(directory: &Path) -> io::Result<Self> {
        Self::open_with(directory, FILE_BYTES_MAX)
    }

    fn open_with(directory: &Path, file_bytes_max: u64) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let file = File::options().create(true).read(true).append(true).open(path(directory, 0))?;
        let mut log =
            Self { directory: directory.into(), bytes: file.metadata()?.len(), file, file_bytes_max };
        log.end_torn_line()?;
        Ok(log)
    }

    /// A line that a crash cut off would spoil the next one.
    fn end_torn_line(&mut self) -> io::Result<()> {
        if self.bytes == 0 {
            return Ok(());
        }
        let mut last = [0];
        self.file.seek(SeekFrom::End(-1))?;
        self.file.read_exact(&mut last)?;
        if last != *b"\n" {
            self.file.write_all(b"\n")?;
            self.bytes += 1;
        }
        Ok(())
    }

    /// Adds a decision of an app.
    ///
    /// # Errors
    /// It cannot be written, or is longer than [`LINE_BYTES_MAX`]. The next one is tried anew.
    pub fn write(&mut self, app: &str, decision: Decision<'_>) -> io::Result<()> {
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let unix_ms = u64::try_from(unix_ms).unwrap_or(u64::MAX);
        let mut line = serde_json::to_vec(&Written { app, unix_ms, decision })?;
        line.push(b'\n');
        if line.len() > LINE_BYTES_MAX {
            let long = format!("a decision of {} bytes is longer than a line may be", line.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, long));
        }
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(length) > self.file_bytes_max {
            self.turn()?;
        }
        self.file.write_all(&line)?;
        self.bytes += length;
        Ok(())
    }

    /// The full file goes beside the others, and the oldest goes.
    fn turn(&mut self) -> io::Result<()> {
        for number in (0..FILES_MAX).rev() {
            match std::fs::rename(path(&self.directory, number), path(&self.directory, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        self.file = File::options().create(true).read(true).append(true).open(path(&self.directory, 0))?;
        self.bytes = self.file.metadata()?.len();
        Ok(())
    }
}

fn path(directory: &Path, number: u32) -> PathBuf {
    let ending = if number == 0 { "jsonl".to_owned() } else { format!("{number}.jsonl") };
    directory.join(format!("{NAME}.{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::ReplayError;
    use paracloud_core::scaling::{Memory, Observation, Policy, plan};

    fn records(count: u64) -> Vec<scaling::Record> {
        let mut memory = Memory::default();
        let decided = (0..count).map(|second| {
            let observation = Observation { now_ms: second * 1_000, ..Observation::default() };
            let (_, next, record) = plan(&Policy::between(2, 8), &observation, &memory);
            memory = next;
            record
        });
        decided.collect()
    }

    fn written(directory: &Path, count: u64, file_bytes_max: u64) {
        let mut log = Log::open_with(directory, file_bytes_max).unwrap();
        for record in records(count) {
            log.write("worker", Decision::Scaling(&record)).unwrap();
        }
    }

    fn files(directory: &Path) -> Vec<PathBuf> {
        let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|it| it.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn every_decision_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path(), 7, FILE_BYTES_MAX);
        let [file] = &files(directory.path())[..] else { panic!("one file") };
        assert!(is_log(file));
        assert_eq!(replay(file).unwrap(), [("scaling", 7)].into());
    }

    #[test]
    fn a_decision_that_was_changed_is_not_made_again() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path(), 3, FILE_BYTES_MAX);
        let file = &files(directory.path())[0];
        let text = std::fs::read_to_string(file).unwrap();
        std::fs::write(file, text.replacen("{\"start\":2}", "{\"start\":3}", 1)).unwrap();
        assert!(matches!(replay(file), Err(ReplayError::Differs { line: 1, .. })));
    }

    #[test]
    fn the_log_is_bounded_and_its_newest_decisions_stay() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path(), 60, 6_000);
        let files = files(directory.path());
        assert_eq!(files.len(), 1 + usize::try_from(FILES_MAX).unwrap());
        for file in &files {
            assert!(is_log(file) && std::fs::metadata(file).unwrap().len() <= 6_000);
            assert!(replay(file).unwrap()["scaling"] > 0);
        }
        let newest = std::fs::read_to_string(path(directory.path(), 0)).unwrap();
        assert!(newest.lines().last().unwrap().contains("\"now_ms\":59000"));
    }

    #[test]
    fn a_line_that_a_crash_cut_off_spoils_no_other_one() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path(), 2, FILE_BYTES_MAX);
        let file = files(directory.path()).remove(0);
        let text = std::fs::read(&file).unwrap();
        std::fs::write(&file, &text[..text.len() - 20]).unwrap();
        assert_eq!(replay(&file).unwrap(), [("scaling", 1)].into(), "the last line is torn");
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, [&whole[..], b"\xc3"].concat()).unwrap();
        assert_eq!(replay(&file).unwrap(), [("scaling", 1)].into(), "it is torn within a character");
        std::fs::write(&file, whole).unwrap();
        written(directory.path(), 1, FILE_BYTES_MAX);
        assert!(matches!(replay(&file), Err(ReplayError::Form { line: 2, .. })), "said, and not passed over");
    }

    #[test]
    fn other_files_are_none_of_its() {
        for name in ["coordinator-sessions-1.jsonl", "decisions", "decisions.txt", "decisionsjsonl"] {
            assert!(!is_log(Path::new(name)), "{name}");
        }
    }
}
