//! `cargo xtask replay LOG…`: feeds the logged inputs of machines to the core and wants the logged effects, byte for
//! byte; logged decisions are made again from what is in their records, and are to come out the same. In an empty log nothing
//! was decided: that is said, and is no failure.

use crate::report::Report;
use anyhow::{Context, Result};
use paracloud_substrate::trace::{MACHINES, ReplayError, replay};
use paracloud_substrate::{decision, layout};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Replays logs; a directory stands for all logs in it.
///
/// # Errors
/// A log is not there, or cannot be read: nothing is known of it then.
pub(crate) fn run(paths: &[PathBuf]) -> Result<Report> {
    let mut logs = Vec::new();
    for path in paths {
        gather(path, &mut logs).with_context(|| format!("{} cannot be read", path.display()))?;
    }
    let mut replayed = Replayed::default();
    let mut empty = 0_usize;
    for log in &logs {
        if std::fs::metadata(log).is_ok_and(|it| it.len() == 0) {
            tell(&format!("{} is empty: nothing was decided in it", log.display()));
            empty += 1;
        } else {
            replayed.add(log)?;
        }
    }
    for error in &replayed.differ {
        tell(error);
    }
    let ok = replayed.differ.is_empty() && (replayed.total() > 0 || empty > 0);
    let fields = json!({
        "logs": logs.len(),
        "empty": empty,
        "inputs": replayed.total(),
        "inputs_of": replayed.inputs,
        "differ": replayed.differ.len(),
    });
    Ok(Report { ok, fields })
}

/// What came of logs that were fed to the core again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replayed {
    /// Inputs that had the logged effects, by the machine that they were put into; decisions that came out the same, by
    /// their kind.
    pub(crate) inputs: BTreeMap<String, usize>,
    /// Logs that do not replay: the core answers otherwise, or they were given up or cannot be read.
    pub(crate) differ: Vec<String>,
}

impl Replayed {
    /// All logs of a cloud that has ended. They prove something if there are inputs of every machine.
    ///
    /// # Errors
    /// What logs there are is not to be learnt.
    pub(crate) fn of_cloud(traces: &Path) -> Result<Self> {
        let mut logs = Vec::new();
        // Without the directory nobody wrote a log, and nothing is proven.
        if traces.is_dir() {
            gather(traces, &mut logs).with_context(|| format!("{} cannot be read", traces.display()))?;
        }
        let mut replayed = Self::default();
        for log in &logs {
            if let Err(error) = replayed.add(log) {
                replayed.differ.push(error.to_string());
            }
        }
        Ok(replayed)
    }

    /// Inputs of all machines.
    pub(crate) fn total(&self) -> usize {
        self.inputs.values().sum()
    }

    /// The machines of which no input was replayed, so that nothing is proven of them.
    pub(crate) fn unproven(&self) -> Vec<&'static str> {
        let is_unproven = |machine: &&str| self.inputs.get(*machine).is_none_or(|inputs| *inputs == 0);
        MACHINES.into_iter().filter(is_unproven).collect()
    }

    /// Whether every machine of a cloud did what the core does.
    pub(crate) fn is_proof(&self) -> bool {
        self.differ.is_empty() && self.unproven().is_empty()
    }

    fn add(&mut self, log: &Path) -> Result<(), ReplayError> {
        let replayed = if decision::is_log(log) {
            decision::replay(log)
        } else {
            replay(log).map(|log| [(log.machine, log.inputs)].into())
        };
        match replayed {
            Ok(replayed) => {
                for (of, inputs) in replayed {
                    *self.inputs.entry(of.to_owned()).or_default() += inputs;
                }
            }
            Err(error @ ReplayError::Read { .. }) => return Err(error),
            Err(error) => self.differ.push(error.to_string()),
        }
        Ok(())
    }
}

#[expect(clippy::print_stderr, reason = "what differs, and what is no proof, is said before the report")]
fn tell(error: &str) {
    eprintln!("{error}");
}

fn gather(path: &Path, logs: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() {
        logs.push(path.into());
        return Ok(());
    }
    let mut entries = std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    // What requests waited is written beside the decisions of a gateway: nothing is decided in it.
    let is_log = |name: &OsStr| !name.to_str().is_some_and(|name| name.starts_with(layout::PARKED));
    for entry in entries.into_iter().filter(|it| is_log(&it.file_name())) {
        gather(&entry.path(), logs)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log of a machine that heard this often the same.
    fn log(machine: &str, setting: &str, input: &str, effects: &str, inputs: usize) -> String {
        let line = format!(r#"{{"input":{input},"fresh":"0000000000000001","effects":{effects}}}"#);
        format!("{{\"machine\":\"{machine}\",\"setting\":{setting}}}\n{}", format!("{line}\n").repeat(inputs))
    }

    #[test]
    fn logs_prove_nothing_without_inputs_of_every_machine() {
        let folder = tempfile::tempdir().unwrap();
        let traces = folder.path().join("trace");
        assert_eq!(Replayed::of_cloud(&traces).unwrap(), Replayed::default(), "nobody wrote a log");
        assert_eq!(Replayed::default().unproven(), MACHINES);
        std::fs::create_dir(&traces).unwrap();
        let shim =
            |inputs| log("shim", "null", r#"{"Started":{"marked":false,"alive":false}}"#, "[]", inputs);
        std::fs::write(traces.join("shim-1.jsonl"), shim(0)).unwrap();
        assert_eq!(Replayed::of_cloud(&traces).unwrap().unproven(), MACHINES, "it heard nothing");
        std::fs::write(traces.join("shim-2.jsonl"), shim(1)).unwrap();
        let replayed = Replayed::of_cloud(&traces).unwrap();
        assert_eq!(replayed.differ, Vec::<String>::new());
        assert_eq!((replayed.total(), replayed.unproven()), (1, vec!["coordinator", "agent", "gateway"]));
        assert!(!replayed.is_proof());
    }

    #[test]
    fn a_log_that_was_given_up_or_differs_is_no_proof_whatever_the_others_say() {
        let inputs = MACHINES.map(|machine| (machine.to_owned(), 1)).into();
        let all = Replayed { inputs, differ: Vec::new() };
        assert!(all.is_proof());
        for machine in MACHINES {
            let mut silent = all.clone();
            silent.inputs.insert(machine.to_owned(), 0);
            assert_eq!((silent.unproven(), silent.is_proof()), (vec![machine], false));
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("shim-1.given-up"), log("shim", "null", "", "", 0)).unwrap();
        let given_up = Replayed::of_cloud(folder.path()).unwrap().differ;
        assert!(given_up.len() == 1 && given_up[0].contains("was given up"), "{given_up:?}");
        assert!(!Replayed { differ: given_up, ..all }.is_proof());
    }

    #[test]
    fn logged_decisions_are_made_again_and_one_that_was_changed_differs() {
        use paracloud_core::scaling::{Memory, Observation, Policy, plan};
        let folder = tempfile::tempdir().unwrap();
        let (_, _, mut record) = plan(&Policy::between(2, 8), &Observation::default(), &Memory::default());
        let mut log = decision::Log::open(folder.path()).unwrap();
        log.write("worker", decision::Decision::Scaling(&record)).unwrap();
        let replayed = Replayed::of_cloud(folder.path()).unwrap();
        assert_eq!((replayed.total(), replayed.differ.len()), (1, 0));
        record.reasons.raw += 1;
        log.write("worker", decision::Decision::Scaling(&record)).unwrap();
        assert_eq!(Replayed::of_cloud(folder.path()).unwrap().differ.len(), 1);
    }

    #[test]
    fn an_empty_log_is_said_to_be_one_and_fails_nothing_and_what_requests_waited_is_no_log() {
        let folder = tempfile::tempdir().unwrap();
        let outcome = |paths: &[&Path]| {
            let paths: Vec<_> = paths.iter().map(|it| it.to_path_buf()).collect();
            run(&paths).map(|it| (it.ok, it.fields["logs"].as_u64(), it.fields["empty"].as_u64())).unwrap()
        };
        assert_eq!(outcome(&[folder.path()]), (false, Some(0), Some(0)), "nothing is there");
        drop(decision::Log::open(folder.path()).unwrap());
        assert_eq!(outcome(&[folder.path()]), (true, Some(1), Some(1)));
        let parked = folder.path().join(layout::PARKED);
        std::fs::write(&parked, "").unwrap();
        assert_eq!(outcome(&[&parked]), (true, Some(1), Some(1)));
        std::fs::write(&parked, "{\"waited_us\":7}\n").unwrap();
        assert_eq!(outcome(&[folder.path()]), (true, Some(1), Some(1)), "it is passed over");
        assert!(!outcome(&[&parked]).0, "and is none where it is named");
    }
}
