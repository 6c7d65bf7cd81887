//! A log that is gone on with after it could not be written for a time.

use super::{Decision, Log};
use std::io;
use std::path::{Path, PathBuf};

/// What became of a decision that was to be kept.
#[derive(Debug)]
pub enum Fate {
    /// It is kept.
    Kept,
    /// It is kept, and so many before it were not.
    KeptAgain(u64),
    /// It is not kept, and the one before it was.
    Lost(io::Error),
    /// It is not kept either.
    LostToo,
}

/// See the module.
#[derive(Debug)]
pub struct Writer {
    directory: PathBuf,
    log: Option<Log>,
    lost: u64,
}

impl Writer {
    /// Writes to the log of this directory, which is opened for the first decision.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.into(), log: None, lost: 0 }
    }

    /// Keeps a decision of an app, if it can be kept now.
    pub fn write(&mut self, app: &str, decision: Decision<'_>) -> Fate {
        match self.open().and_then(|log| log.write(app, decision)) {
            Ok(()) => match std::mem::take(&mut self.lost) {
                0 => Fate::Kept,
                lost => Fate::KeptAgain(lost),
            },
            Err(error) => {
                // Whatever is in its way may be gone the next time; what is half written is ended then.
                self.log = None;
                self.lost += 1;
                if self.lost == 1 { Fate::Lost(error) } else { Fate::LostToo }
            }
        }
    }

    /// The log was put aside: another one is begun.
    pub fn begin_anew(&mut self) {
        self.log = None;
    }

    fn open(&mut self) -> io::Result<&mut Log> {
        let log = match self.log.take() {
            Some(log) => log,
            None => Log::open(&self.directory)?,
        };
        Ok(self.log.insert(log))
    }
}

#[cfg(test)]
mod tests {
    use super::super::replay;
    use super::*;
    use paracloud_core::scaling::{Memory, Observation, Policy, plan};

    #[test]
    fn a_log_that_could_not_be_written_is_gone_on_with_and_it_is_said_how_much_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("decisions");
        std::fs::write(&place, "in the way").unwrap();
        let (.., record) = plan(&Policy::between(1, 8), &Observation::default(), &Memory::default());
        let mut writer = Writer::new(&place);
        let mut write = || writer.write("worker", Decision::Scaling(&record));
        assert!(matches!(write(), Fate::Lost(_)));
        assert!(matches!(write(), Fate::LostToo));
        std::fs::remove_file(&place).unwrap();
        assert!(matches!(write(), Fate::KeptAgain(2)));
        assert!(matches!(write(), Fate::Kept));
        assert_eq!(replay(&place.join("decisions.jsonl")).unwrap(), [("scaling", 2)].into());
    }
}
