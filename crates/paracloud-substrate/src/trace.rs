//! The log of one machine: its setting, then each input with the time and the effects it had. Fed to the core again,
//! the inputs must have the same effects, byte for byte; the times are for people, who lay the logs of all machines of
//! a move beside each other.
//!
//! It is written before the effects are carried out, through a buffer: a shell that is killed loses the end of its
//! log, never the middle, and a log replays as far as it goes.

use paracloud_core::ids::StartId;
use paracloud_core::machine::Machine;
use paracloud_core::migration::{agent::Agent, coordinator::Coordinator, gateway::Gateway, shim::Shim};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The variable that switches logs on: `1`.
pub const SWITCH: &str = "PARACLOUD_TRACE";

/// A machine with its setting, and its log if that is switched on.
#[derive(Debug)]
pub struct Traced<M: Machine> {
    machine: M,
    setting: M::Setting,
    log: Option<BufWriter<File>>,
}

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    machine: &'a str,
    #[serde(borrow)]
    setting: &'a RawValue,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    input: &'a RawValue,
    fresh: StartId,
    #[serde(borrow)]
    effects: &'a RawValue,
}

impl<M: Machine> Traced<M> {
    /// A machine at its beginning. `name` tells its log from others in `directory`.
    ///
    /// A log that cannot be written is said to be missing, and the machine goes on without.
    pub fn new(setting: M::Setting, directory: &Path, name: &str) -> Self {
        let wanted = std::env::var_os(SWITCH).is_some_and(|value| value == "1");
        let log = wanted.then(|| begin::<M>(&setting, directory, name)).and_then(|log| {
            log.inspect_err(|error| tracing::warn!(%error, name, "no log of this machine")).ok()
        });
        Self { machine: M::default(), setting, log }
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// What it is set to.
    pub fn setting(&self) -> &M::Setting {
        &self.setting
    }

    /// Takes one input in and says what is to be done, in this order.
    pub fn take(&mut self, input: M::Input, fresh: StartId) -> Vec<M::Effect> {
        let mut effects = Vec::new();
        let Some(log) = &mut self.log else {
            self.machine.take(&self.setting, input, fresh, &mut effects);
            return effects;
        };
        let unix_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let heard = serde_json::to_string(&input);
        self.machine.take(&self.setting, input, fresh, &mut effects);
        let written = heard.map_err(io::Error::from).and_then(|heard| {
            let done = serde_json::to_string(&effects)?;
            writeln!(
                log,
                "{{\"unix_us\":{unix_us},\"input\":{heard},\"fresh\":\"{fresh}\",\"effects\":{done}}}"
            )
        });
        if let Err(error) = written {
            tracing::warn!(%error, "the log of this machine ends here");
            self.log = None;
        }
        effects
    }

    /// Hands what is buffered to the file.
    pub fn flush(&mut self) {
        if let Some(log) = &mut self.log {
            let _ = log.flush();
        }
    }
}

fn begin<M: Machine>(setting: &M::Setting, directory: &Path, name: &str) -> io::Result<BufWriter<File>> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join(format!("{}-{name}-{}.jsonl", M::NAME, std::process::id()));
    let mut log = BufWriter::new(File::create(path)?);
    let setting = serde_json::value::to_raw_value(setting)?;
    let head = serde_json::to_string(&Head { machine: M::NAME, setting: &setting })?;
    writeln!(log, "{head}")?;
    log.flush()?;
    Ok(log)
}

/// Why a log does not replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Not readable.
    #[error("{path}: cannot be read")]
    Read {
        /// The log.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that is none of such a log.
    #[error("{path}:{line}: not a line of a machine's log: {source}")]
    Form {
        /// The log.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// A machine that there is not.
    #[error("{path}: there is no machine {name:?}")]
    Unknown {
        /// The log.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// The core does something else now.
    #[error("{path}:{line}: to this input the core answers otherwise\n  logged  {logged}\n  now     {now}")]
    Differs {
        /// The log.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The effects in the log.
        logged: String,
        /// The effects of the core.
        now: String,
    },
}

/// Replays a log and says how many inputs it had. A torn last line is passed over.
///
/// # Errors
/// It cannot be read, or the core answers otherwise.
pub fn replay(path: &Path) -> Result<usize, ReplayError> {
    let read = |source| ReplayError::Read { path: path.into(), source };
    let mut reader = BufReader::new(File::open(path).map_err(read)?);
    let mut line = String::new();
    reader.read_line(&mut line).map_err(read)?;
    let form = |line, source| ReplayError::Form { path: path.into(), line, source };
    let head: Head<'_> = serde_json::from_str(&line).map_err(|error| form(1, error))?;
    match head.machine {
        Coordinator::NAME => replay_as::<Coordinator>(path, head.setting, reader),
        Agent::NAME => replay_as::<Agent>(path, head.setting, reader),
        Gateway::NAME => replay_as::<Gateway>(path, head.setting, reader),
        Shim::NAME => replay_as::<Shim>(path, head.setting, reader),
        name => Err(ReplayError::Unknown { path: path.into(), name: name.to_owned() }),
    }
}

fn replay_as<M: Machine>(
    path: &Path,
    setting: &RawValue,
    reader: impl BufRead,
) -> Result<usize, ReplayError> {
    let form = |line, source| ReplayError::Form { path: path.into(), line, source };
    let setting: M::Setting = serde_json::from_str(setting.get()).map_err(|error| form(1, error))?;
    let mut machine = M::default();
    let mut steps = 0;
    let mut lines = reader.lines().enumerate().peekable();
    while let Some((index, text)) = lines.next() {
        let number = index + 2;
        let text = text.map_err(|source| ReplayError::Read { path: path.into(), source })?;
        let line: Line<'_> = match serde_json::from_str(&text) {
            Ok(line) => line,
            Err(error) if error.is_eof() && lines.peek().is_none() => break,
            Err(error) => return Err(form(number, error)),
        };
        let input = serde_json::from_str(line.input.get()).map_err(|error| form(number, error))?;
        let mut effects = Vec::new();
        machine.take(&setting, input, line.fresh, &mut effects);
        let now = serde_json::to_string(&effects).map_err(|error| form(number, error))?;
        if now != line.effects.get() {
            let logged = line.effects.get().to_owned();
            return Err(ReplayError::Differs { path: path.into(), line: number, logged, now });
        }
        steps += 1;
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::migration::shim::{Generation, Input, Order};

    fn log(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.jsonl");
        std::fs::write(&path, text).unwrap();
        (directory, path)
    }

    fn a_shims_life() -> String {
        let mut text = "{\"machine\":\"shim\",\"setting\":null}\n".to_owned();
        let mut shim = Shim::default();
        for input in [
            Input::Started { marked: false, alive: false },
            Input::Ordered(Generation(1), Order::Spawn),
            Input::Marked,
            Input::Exited,
        ] {
            let mut effects = Vec::new();
            shim.step(input, &mut effects);
            let (input, effects) =
                (serde_json::to_string(&input).unwrap(), serde_json::to_string(&effects).unwrap());
            text += &format!("{{\"input\":{input},\"fresh\":\"0000000000000001\",\"effects\":{effects}}}\n");
        }
        text
    }

    #[test]
    fn a_log_replays_to_the_same_effects() {
        let (_directory, path) = log(&a_shims_life());
        assert_eq!(replay(&path).unwrap(), 4);
    }

    #[test]
    fn a_torn_last_line_is_passed_over_and_any_other_is_not() {
        let text = a_shims_life();
        let (_directory, path) = log(&text[..text.len() - 9]);
        assert_eq!(replay(&path).unwrap(), 3);
        let torn_inside = text.replacen("\"fresh\"", "\"fre", 1);
        let (_directory, path) = log(&torn_inside);
        assert!(matches!(replay(&path), Err(ReplayError::Form { line: 2, .. })));
    }

    #[test]
    fn another_effect_than_the_logged_one_is_found() {
        let (_directory, path) = log(&a_shims_life().replace("\"Exec\"", "\"Kill\""));
        assert!(matches!(replay(&path), Err(ReplayError::Differs { .. })));
    }
}
