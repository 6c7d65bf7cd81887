//! The file of a log, as long as it can be written.
//!
//! A log that was given up must not pass for a short one: it lies under another name then. What is renamed needs no room,
//! so that also works on a full disk.

use paracloud_core::machine::Machine;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The ending of a log that was given up, in the place of `jsonl`.
const GIVEN_UP: &str = "given-up";

/// Its first line.
#[derive(Serialize, Deserialize)]
pub(super) struct Head<'a> {
    pub(super) machine: &'a str,
    #[serde(borrow)]
    pub(super) setting: &'a RawValue,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Log {
    /// Begins one. `None`: it cannot be written, which is said, and remembered in the directory.
    pub(super) fn begin<M: Machine>(setting: &M::Setting, directory: &Path, name: &str) -> Option<Self> {
        let path = directory.join(format!("{}-{name}-{}.jsonl", M::NAME, std::process::id()));
        let begun = begun::<M>(setting, directory, &path);
        begun.inspect_err(|error| give_up(&path, error)).ok().map(|file| Self { path, file })
    }

    /// Adds a line.
    pub(super) fn write(&mut self, line: std::fmt::Arguments<'_>) -> io::Result<()> {
        writeln!(self.file, "{line}")
    }

    /// Hands what is buffered to the file.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Ends it before its time, which is said and seen by its name.
    pub(super) fn give_up(self, error: &io::Error) {
        // Without what is buffered: there may be room for the end of it.
        let _ = self.file.into_parts();
        give_up(&self.path, error);
    }
}

/// Whether this is what was left of a log that was given up.
pub(super) fn is_given_up(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == GIVEN_UP)
}

fn begun<M: Machine>(setting: &M::Setting, directory: &Path, path: &Path) -> io::Result<BufWriter<File>> {
    std::fs::create_dir_all(directory)?;
    let mut file = BufWriter::new(File::create(path)?);
    let setting = serde_json::value::to_raw_value(setting)?;
    let head = serde_json::to_string(&Head { machine: M::NAME, setting: &setting })?;
    writeln!(file, "{head}")?;
    file.flush()?;
    Ok(file)
}

fn give_up(path: &Path, error: &io::Error) {
    let left = path.with_extension(GIVEN_UP);
    let kept = std::fs::rename(path, &left).or_else(|_| File::create(&left).map(drop));
    let path = path.display();
    tracing::warn!(%error, %path, is_remembered = kept.is_ok(), "the log of this machine is given up");
}

#[cfg(test)]
mod tests {
    use super::super::{ReplayError, Traced, replay};
    use super::*;
    use paracloud_core::ids::StartId;
    use paracloud_core::migration::shim::{Generation, Input, Order, Shim};

    const NAME: &str = "n1-0000000000000001";

    /// A shim's log whose disk becomes full after its first line.
    fn full(directory: &Path) -> Log {
        let mut log = Log::begin::<Shim>(&(), directory, NAME).expect("there is room for its beginning");
        log.file = BufWriter::new(File::options().write(true).open("/dev/full").unwrap());
        log
    }

    fn starts(shim: &mut Traced<Shim>) {
        let ordered = Input::Ordered(Generation(1), Order::Spawn);
        for input in [Input::Started { marked: false, alive: false }, ordered] {
            shim.take(input, StartId(1));
        }
    }

    /// The only log there is, which was given up.
    fn left(directory: &Path) -> String {
        let logs: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        let [path] = &logs[..] else { panic!("one log, not {logs:?}") };
        let error = replay(path).unwrap_err();
        assert!(matches!(&error, ReplayError::GivenUp { path: of } if of == path), "{error}");
        std::fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn a_log_that_cannot_be_written_any_longer_is_given_up_and_its_machine_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let mut shim = Traced::with(Some(full(directory.path())), ());
        starts(&mut shim);
        shim.flush();
        let left = left(directory.path());
        assert!(left.starts_with("{\"machine\":\"shim\""), "what was written is kept: {left:?}");
        assert!(!shim.take(Input::Marked, StartId(1)).is_empty());
    }

    #[test]
    fn the_end_of_a_log_that_cannot_be_written_when_its_machine_ends_gives_it_up() {
        let directory = tempfile::tempdir().unwrap();
        let mut shim = Traced::with(Some(full(directory.path())), ());
        starts(&mut shim);
        drop(shim);
        left(directory.path());
    }

    #[test]
    fn a_log_that_cannot_be_begun_is_remembered_as_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let begun = Log::begin::<Shim>(&(), directory.path(), NAME).unwrap();
        let blocked = begun.path.clone();
        drop(begun);
        std::fs::remove_file(&blocked).unwrap();
        // A directory is no file, and one that is not empty makes way for none.
        std::fs::create_dir_all(blocked.join("inside")).unwrap();
        assert!(Log::begin::<Shim>(&(), directory.path(), NAME).is_none());
        left(directory.path());
    }
}
