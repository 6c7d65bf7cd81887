//! What the decisions of earlier controllers left to the next one: it stands in the last record of the log.

use paracloud_core::ids::OperationNumber;
use paracloud_core::scaling::{Action, Memory, Record};
use paracloud_core::wishes;
use paracloud_substrate::decision::{Done, FILE_BYTES_MAX, FILES_MAX, Look, newest_first};
use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// So much of the log is looked through, in bytes: all of it.
const LOOK_BYTES_MAX: u64 = FILE_BYTES_MAX * (FILES_MAX as u64 + 1);
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
enum Lost {
    /// A line cannot be read, or the core does not decide so.
    Damaged(&'static str),
    /// The log cannot be read.
    Unread(String),
}

/// What was found of an app.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// What its next decision begins with.
    pub(super) recalled: Recalled,
    /// What a person is to know of the log, if something is wrong with it.
    pub(super) wrong: Option<String>,
    /// It was put aside: another one is begun.
    pub(super) is_aside: bool,
}

/// What the last decision of an app left, by whichever controller. A log that is damaged is put aside, and what can be read of
/// it still counts, for this app and for those that are asked about later. To be asked by one at a time.
pub(super) fn recollect(directory: &Path, app: &str, now_ms: u64) -> Found {
    let anew = |why: &str| Some(format!("{why}; scaling of {app} begins anew"));
    let mut found = Found::default();
    match look(directory, app, now_ms, false) {
        Ok(Some(recalled)) => return Found { recalled, ..found },
        Ok(None) => {}
        Err(Lost::Unread(why)) => return Found { wrong: anew(&why), ..found },
        Err(Lost::Damaged(why)) => match put_aside(directory) {
            Ok(aside) => {
                found.is_aside = true;
                let aside = aside.display();
                found.wrong = Some(format!("{why}: it lies in {aside} now, and another one is begun"));
            }
            Err(error) => {
                return Found {
                    wrong: anew(&format!("{why}, and it cannot be put aside: {error}")),
                    ..found
                };
            }
        },
    }
    match look(&aside(directory), app, now_ms, true) {
        Ok(recalled) => found.recalled = recalled.unwrap_or_default(),
        Err(Lost::Damaged(why)) => found.wrong = anew(found.wrong.as_deref().unwrap_or(why)),
        Err(Lost::Unread(why)) => found.wrong = anew(found.wrong.as_deref().unwrap_or(&why)),
    }
    found
}

/// The last decision of an app in the log of this directory, if there is one.
fn look(directory: &Path, app: &str, now_ms: u64, skips_damaged: bool) -> Result<Option<Recalled>, Lost> {
    let mut found: Option<Result<Box<Record>, Lost>> = None;
    let mut is_last = true;
    let look = |look: Look<'_>| {
        let was_last = std::mem::take(&mut is_last);
        let line = match look {
            Look::Line(line) => line,
            // A controller that was killed as it wrote left the last one.
            Look::Damaged if was_last || skips_damaged => return ControlFlow::Continue(()),
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
    let Some(record) = found.transpose()? else { return Ok(None) };
    let left_ms = record.observation.now_ms;
    if is_ahead(left_ms, now_ms) {
        return Err(Lost::Damaged("its last decision was made in the future"));
    }
    Ok(Some(Recalled { memory: record.next, left_ms }))
}

/// Whether no decision is made so late.
fn is_ahead(decided_ms: u64, now_ms: u64) -> bool {
    decided_ms > now_ms.saturating_add(AHEAD_MS_MAX)
}

/// The last decision about what an instance asked for that can be read, is made so, and was not made in the future.
pub(super) fn wish(directory: &Path, app: &str, instance: &str, now_ms: u64) -> Option<wishes::Record> {
    let last = |log: &Path| {
        let mut found = None;
        let look = |look: Look<'_>| {
            let Look::Line(line) = look else { return ControlFlow::Continue(()) };
            if line.app != app || line.kind != "wish" {
                return ControlFlow::Continue(());
            }
            match serde_json::from_str::<wishes::Record>(line.record.get()) {
                Ok(record)
                    if record.instance == instance
                        && !is_ahead(record.sight.now_ms, now_ms)
                        && record.replay() == record =>
                {
                    found = Some(record);
                    ControlFlow::Break(())
                }
                Ok(_) | Err(_) => ControlFlow::Continue(()),
            }
        };
        newest_first(log, LOOK_BYTES_MAX, look).ok()?;
        found
    };
    last(directory).or_else(|| last(&aside(directory)))
}

/// The last leave of each instance of an app that was decided, and carried out.
pub(super) fn leaves(directory: &Path, app: &str) -> BTreeMap<String, OperationNumber> {
    let mut all = BTreeMap::new();
    for log in [directory.to_owned(), aside(directory)] {
        let look = |look: Look<'_>| {
            if let Look::Line(line) = look
                && line.app == app
                && line.kind == "done"
                && let Ok(done) = serde_json::from_str::<Done>(line.record.get())
                && let (Action::Leave(_), Some(instance), Some(leave)) =
                    (done.action, done.instance, done.operation)
            {
                all.entry(instance).or_insert(leave);
            }
            ControlFlow::Continue(())
        };
        // What cannot be read was said where memory was looked for.
        let _ = newest_first(&log, LOOK_BYTES_MAX, look);
    }
    all
}

/// Puts a damaged log aside, so that another one is begun; the one that was put aside before goes. Says where it is.
fn put_aside(directory: &Path) -> io::Result<PathBuf> {
    let aside = aside(directory);
    match std::fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    std::fs::rename(directory, &aside)?;
    Ok(aside)
}

fn aside(directory: &Path) -> PathBuf {
    directory.with_extension("damaged")
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::InstanceNumber;
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
        let recalled = |app: &str| recollect(directory.path(), app, 9_000);
        assert_eq!(recalled("worker"), Found::default());
        let memory = written(directory.path(), 3);
        let left = Recalled { memory, left_ms: 3_000 };
        let found = Found { recalled: left, ..Found::default() };
        assert_eq!(recalled("worker"), found);
        assert_eq!(recalled("nobody"), Found::default());
        let file = directory.path().join("decisions.jsonl");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}{{\"app\":\"wor")).unwrap();
        assert_eq!(recalled("worker"), found);
    }

    #[test]
    fn the_last_leave_of_each_instance_is_recalled() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path()).unwrap();
        let mut done = |app: &str, number: u32, operation: Option<u32>| {
            let action = Action::Leave(InstanceNumber(number));
            let instance = operation.map(|_| format!("{app}.{number}"));
            let operation = operation.map(OperationNumber);
            let done = Done { decided_ms: 0, action, instance, operation, refused: None };
            log.write(app, Decision::Done(&done)).unwrap();
        };
        done("worker", 2, Some(3));
        done("worker", 2, Some(7));
        done("worker", 1, None);
        done("other", 1, Some(9));
        let expected = [("worker.2".to_owned(), OperationNumber(7))];
        assert_eq!(leaves(directory.path(), "worker"), expected.into());
    }

    /// The log of two apps, changed so, as each of them finds it.
    fn damaged(change: impl FnOnce(String) -> String) -> (Memory, [Found; 2]) {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("decisions");
        let memory = written(&directory, 3);
        let file = directory.join("decisions.jsonl");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, change(text)).unwrap();
        let found = ["worker", "other"].map(|app| recollect(&directory, app, 9_000));
        assert!(!directory.exists() && aside(&directory).join("decisions.jsonl").exists());
        (memory, found)
    }

    #[test]
    fn a_damaged_log_is_put_aside_once_and_what_can_be_read_of_it_counts_for_every_app() {
        let (memory, [first, second]) = damaged(|text| format!("{text}no decision\nnor this\n"));
        let recalled = Recalled { memory, left_ms: 3_000 };
        assert_eq!((&first.recalled, &second.recalled), (&recalled, &recalled));
        assert!(first.is_aside && first.wrong.as_ref().is_some_and(|it| it.contains("another one is begun")));
        assert!(!first.wrong.unwrap().contains("begins anew"));
        assert_eq!((second.is_aside, second.wrong), (false, None), "the first one said it");
    }

    #[test]
    fn what_another_core_decided_or_is_from_the_future_is_not_believed() {
        let other = |text: String| text.replace("{\"start\":2}", "{\"start\":3}");
        let later = |text: String| {
            text.replace("\"now_ms\":3000", "\"now_ms\":99000000")
                .replace("\"planned_ms\":3000", "\"planned_ms\":99000000")
        };
        for (_, found) in [damaged(other), damaged(later)] {
            for found in found {
                assert_eq!(found.recalled, Recalled::default());
                assert!(found.wrong.unwrap().ends_with("begins anew"));
            }
        }
    }

    #[test]
    fn the_last_ask_that_was_not_decided_in_the_future_is_recalled() {
        use paracloud_core::ids::StartId;
        use paracloud_core::register::Size;
        use paracloud_core::wishes::{Phase, Policy, Sight, Wish, decide};
        let directory = tempfile::tempdir().unwrap();
        let size = Size { memory_kib: None, cpu_milli: None };
        let policy = Policy {
            is_scaled: false,
            counts_reports: true,
            cpu_follows_load: false,
            least: size,
            most: size,
            acts: 3,
            per_ms: 600_000,
            refused_ms: 60_000,
            again_ms: 2_000,
        };
        let mut log = Log::open(directory.path()).unwrap();
        for now_ms in [1_000, 4_000_000] {
            let sight = Sight {
                now_ms,
                wish: Wish::Move,
                reason: "the disk is slow".to_owned(),
                start: StartId(7),
                left_ms: 60_000,
                phase: Phase::Serves,
                elsewhere: 1,
                size,
                came: None,
            };
            log.write("pup", Decision::Wish(&decide("pup", &policy, &sight, &wishes::Memory::default())))
                .unwrap();
        }
        let recalled = |now_ms| wish(directory.path(), "pup", "pup", now_ms).map(|it| it.sight.now_ms);
        assert_eq!(recalled(4_000_000 - AHEAD_MS_MAX), Some(4_000_000), "a clock may be a little behind");
        assert_eq!(recalled(4_000_000 - AHEAD_MS_MAX - 1), Some(1_000));
    }

    #[test]
    fn one_log_that_was_put_aside_is_kept() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("decisions");
        written(&directory, 1);
        put_aside(&directory).unwrap();
        std::fs::create_dir(&directory).unwrap();
        let aside = put_aside(&directory).unwrap();
        assert!(!aside.join("decisions.jsonl").exists() && !directory.exists());
    }
}
