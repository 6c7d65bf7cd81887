//! A log fed to the core again.

use super::log::{self, Head};
use paracloud_core::ids::StartId;
use paracloud_core::machine::Machine;
use paracloud_core::migration::{agent::Agent, coordinator::Coordinator, gateway::Gateway, shim::Shim};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The machines there are. In a cloud each is at work, whatever it does.
pub const MACHINES: [&str; 4] = [Coordinator::NAME, Agent::NAME, Gateway::NAME, Shim::NAME];

/// A log that the core agrees with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Of which of [`MACHINES`].
    pub machine: &'static str,
    /// Inputs in it.
    pub inputs: usize,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    input: &'a RawValue,
    fresh: StartId,
    #[serde(borrow)]
    effects: &'a RawValue,
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
    /// Its machine could not go on with it.
    #[error(
        "{path}: this log was given up, because it could not be written: what its machine did then is not known"
    )]
    GivenUp {
        /// What is left of the log.
        path: PathBuf,
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

/// Replays a log and says what was in it. A torn last line is passed over, also where it is the first one: whoever wrote it
/// was killed as it began.
///
/// # Errors
/// It cannot be read, was given up, or the core answers otherwise.
pub fn replay(path: &Path) -> Result<Replayed, ReplayError> {
    if log::is_given_up(path) {
        return Err(ReplayError::GivenUp { path: path.into() });
    }
    let read = |source| ReplayError::Read { path: path.into(), source };
    let mut reader = BufReader::new(File::open(path).map_err(read)?);
    let mut line = String::new();
    reader.read_line(&mut line).map_err(read)?;
    let form = |line, source| ReplayError::Form { path: path.into(), line, source };
    if !line.ends_with('\n')
        && let Some(machine) = of_name(path)
    {
        return Ok(Replayed { machine, inputs: 0 });
    }
    let head: Head<'_> = serde_json::from_str(&line).map_err(|error| form(1, error))?;
    match head.machine {
        Coordinator::NAME => replay_as::<Coordinator>(path, head.setting, reader),
        Agent::NAME => replay_as::<Agent>(path, head.setting, reader),
        Gateway::NAME => replay_as::<Gateway>(path, head.setting, reader),
        Shim::NAME => replay_as::<Shim>(path, head.setting, reader),
        name => Err(ReplayError::Unknown { path: path.into(), name: name.to_owned() }),
    }
}

/// The machine that a log is called after.
fn of_name(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let (machine, _) = name.split_once('-')?;
    MACHINES.into_iter().find(|known| *known == machine)
}

fn replay_as<M: Machine>(
    path: &Path,
    setting: &RawValue,
    reader: impl BufRead,
) -> Result<Replayed, ReplayError> {
    let form = |line, source| ReplayError::Form { path: path.into(), line, source };
    let setting: M::Setting = serde_json::from_str(setting.get()).map_err(|error| form(1, error))?;
    let mut machine = M::default();
    let mut inputs = 0;
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
        inputs += 1;
    }
    Ok(Replayed { machine: M::NAME, inputs })
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
        assert_eq!(replay(&path).unwrap(), Replayed { machine: "shim", inputs: 4 });
    }

    #[test]
    fn a_torn_last_line_is_passed_over_and_any_other_is_not() {
        let text = a_shims_life();
        let (_directory, path) = log(&text[..text.len() - 9]);
        assert_eq!(replay(&path).unwrap().inputs, 3);
        let torn_inside = text.replacen("\"fresh\"", "\"fre", 1);
        let (_directory, path) = log(&torn_inside);
        assert!(matches!(replay(&path), Err(ReplayError::Form { line: 2, .. })));
    }

    #[test]
    fn a_log_whose_writer_was_killed_as_it_began_has_no_input() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shim-n1-0000000000000001-7.jsonl");
        for text in ["", "{\"machine\":\"sh"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(replay(&path).unwrap(), Replayed { machine: "shim", inputs: 0 }, "{text:?}");
        }
        std::fs::write(&path, "{\"machine\":\"sh\n").unwrap();
        assert!(matches!(replay(&path), Err(ReplayError::Form { line: 1, .. })));
        let (_directory, path) = log("");
        assert!(replay(&path).is_err(), "nobody knows whose log that is");
    }

    #[test]
    fn another_effect_than_the_logged_one_is_found() {
        let (_directory, path) = log(&a_shims_life().replace("\"Exec\"", "\"Kill\""));
        assert!(matches!(replay(&path), Err(ReplayError::Differs { .. })));
    }
}
