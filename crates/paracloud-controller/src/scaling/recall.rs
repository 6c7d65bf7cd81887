//! What the decisions of earlier controllers left to the next one: it stands in the last record of the log.

use paracloud_core::scaling::{Memory, Record};
use paracloud_core::wishes;
use paracloud_substrate::decision::{Look, newest_first};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// So much of the log is looked through, in bytes.
const LOOK_BYTES_MAX: u64 = 16 << 20;
/// Decisions are not further ahead of the clock than this, in milliseconds.
const AHEAD_MS_MAX: u64 = 3_600_000;

/// What the next decision begins with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recalled {
    pub(super) memory: Memory,
    /// When it was left, in milliseconds; no decision is earlier.
    pub(super) left_ms: u64,
}

/// What keeps it from being recalled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// A line cannot be read, or the core does not decide so.
    Damaged(&'static str),
    /// The log cannot be read.
    Unread(String),
}

/// What the last decision of an app left. Nothing, if none was made yet.
pub(super) fn recall(directory: &Path, app: &str, now_ms: u64) -> Result<Recalled, Lost> {
    let mut found: Option<Result<Box<Record>, Lost>> = None;
    let mut is_last = true;
    let look = |look: Look<'_>| {
        let was_last = std::mem::take(&mut is_last);
        let line = match look {
            Look::Line(line) => line,
            // A controller that was killed as it wrote left it.
            Look::Damaged if was_last => return ControlFlow::Continue(()),
            Look::Damaged => {
                found = Some(Err(Lost::Damaged("a line of it cannot be read")));
                return ControlFlow::Break(());
            }
        };
        if line.app != app || line.kind != "scaling" {
            return ControlFlow::Continue(());
        }
        let read = serde_json::from_str::<Record>(line.record.get());
        found = Some(match read {
            Ok(record) if record.replay() == record => Ok(Box::new(record)),
            Ok(_) => Err(Lost::Damaged("its last decision is not made so")),
            Err(_) => Err(Lost::Damaged("its last decision cannot be read")),
        });
        ControlFlow::Break(())
    };
    newest_first(directory, LOOK_BYTES_MAX, look).map_err(|error| Lost::Unread(error.to_string()))?;
    let Some(record) = found.transpose()? else { return Ok(Recalled::default()) };
    let left_ms = record.observation.now_ms;
    if left_ms > now_ms.saturating_add(AHEAD_MS_MAX) {
        return Err(Lost::Damaged("its last decision was made in the future"));
    }
    Ok(Recalled { memory: record.next, left_ms })
}

/// The last decision about what an instance asked for, if it can be read and is made so.
pub(super) fn wish(directory: &Path, app: &str, instance: &str) -> Option<wishes::Record> {
    let mut found = None;
    let look = |look: Look<'_>| {
        let Look::Line(line) = look else { return ControlFlow::Continue(()) };
        if line.app != app || line.kind != "wish" {
            return ControlFlow::Continue(());
        }
        match serde_json::from_str::<wishes::Record>(line.record.get()) {
            Ok(record) if record.instance == instance && record.replay() == record => {
                found = Some(record);
                ControlFlow::Break(())
            }
            Ok(_) | Err(_) => ControlFlow::Continue(()),
        }
    };
    newest_first(directory, LOOK_BYTES_MAX, look).ok()?;
    found
}

/// Puts a damaged log aside, so that another one is begun; the one that was put aside before goes. Says where it is.
pub(super) fn put_aside(directory: &Path) -> io::Result<PathBuf> {
    let aside = directory.with_extension("damaged");
    match std::fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    std::fs::rename(directory, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::scaling::{Observation, Policy, plan};
    use paracloud_substrate::decision::{Decision, Log};

    fn written(directory: &Path, seconds: u64) -> Memory {
        let mut memory = Memory::default();
        let mut log = Log::open(directory).unwrap();
        for second in 1..=seconds {
            let observation = Observation { now_ms: second * 1_000, ..Observation::default() };
            let (_, next, record) = plan(&Policy::between(2, 8), &observation, &memory);
            memory = next;
            log.write("worker", Decision::Scaling(&record)).unwrap();
            log.write("other", Decision::Scaling(&record)).unwrap();
        }
        memory
    }

    #[test]
    fn what_the_last_decision_left_is_recalled_also_behind_a_torn_line() {
        let directory = tempfile::tempdir().unwrap();
        let recalled = |app: &str| recall(directory.path(), app, 9_000);
        assert_eq!(recalled("worker"), Ok(Recalled::default()));
        let memory = written(directory.path(), 3);
        assert_eq!(recalled("worker"), Ok(Recalled { memory: memory.clone(), left_ms: 3_000 }));
        assert_eq!(recalled("nobody"), Ok(Recalled::default()));
        let file = directory.path().join("decisions.jsonl");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}{{\"app\":\"wor")).unwrap();
        assert_eq!(recalled("worker"), Ok(Recalled { memory, left_ms: 3_000 }));
    }

    #[test]
    fn a_log_that_is_damaged_or_decided_by_another_core_or_from_the_future_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path(), 3);
        let file = directory.path().join("decisions.jsonl");
        let text = std::fs::read_to_string(&file).unwrap();
        let recalled = |text: String, now_ms| {
            std::fs::write(&file, text).unwrap();
            recall(directory.path(), "worker", now_ms)
        };
        let torn = text.replace("\"kind\"", "kind") + "\n";
        assert!(matches!(recalled(torn, 9_000), Err(Lost::Damaged(_))));
        let other = text.replace("{\"start\":2}", "{\"start\":3}");
        assert_eq!(recalled(other, 9_000), Err(Lost::Damaged("its last decision is not made so")));
        let later = text
            .replace("\"now_ms\":3000", "\"now_ms\":99000000")
            .replace("\"planned_ms\":3000", "\"planned_ms\":99000000");
        assert!(recalled(later, 9_000).is_err());
        let aside = put_aside(directory.path()).unwrap();
        assert!(aside.join("decisions.jsonl").exists() && !directory.path().exists());
        assert_eq!(recall(directory.path(), "worker", 9_000), Ok(Recalled::default()));
        std::fs::create_dir(directory.path()).unwrap();
        put_aside(directory.path()).unwrap();
        assert!(!aside.join("decisions.jsonl").exists(), "one is kept");
        std::fs::remove_dir_all(aside).unwrap();
        std::fs::create_dir(directory.path()).unwrap();
    }
}
