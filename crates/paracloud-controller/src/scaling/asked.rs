//! What an application asked for, looked up in the log of decisions by the operation that came of it.

use super::explain::{About, Scaled};
use super::lookup::{self, Found};
use paracloud_core::wishes::Record;
use paracloud_substrate::decision::Opened;
use paracloud_substrate::explained::Asked;
use std::io;
use std::ops::ControlFlow;

/// The one behind an operation, if one is. Whether every line could be read.
pub(super) fn read(asked: &Scaled<'_>, found: &mut Option<Asked>) -> io::Result<bool> {
    let About::Operation(instance, operation) = asked.about else { return Ok(true) };
    let name = instance.to_string();
    lookup::decisions(asked, |one: Found<Record>| {
        let is_it = |it: &Opened| {
            let Opened { instance, operation: opened, .. } = it;
            *instance == name && *opened == Some(*operation)
        };
        if one.record.instance != name || !one.followed.iter().any(is_it) {
            return ControlFlow::Continue(());
        }
        *found = Some(Asked { unix_ms: one.unix_ms, record: Box::new(one.record) });
        ControlFlow::Break(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use paracloud_core::ids::{OperationNumber, StartId};
    use paracloud_core::register::Size;
    use paracloud_core::wishes::{Memory, Phase, Policy, Sight, Wish, decide};
    use paracloud_substrate::decision::{Decision, Log};

    const SIZE: Size = Size { memory_kib: None, cpu_milli: None };

    #[test]
    fn what_an_application_asked_for_is_found_by_the_operation_that_came_of_it() {
        let policy = Policy {
            is_scaled: false,
            counts_reports: true,
            cpu_follows_load: false,
            least: SIZE,
            most: SIZE,
            acts: 3,
            per_ms: 600_000,
            refused_ms: 60_000,
            again_ms: 2_000,
        };
        let sight = |now_ms| Sight {
            now_ms,
            wish: Wish::Move,
            reason: "the disk is slow".to_owned(),
            start: StartId(7),
            left_ms: 60_000,
            phase: Phase::Serves,
            elsewhere: 1,
            size: SIZE,
            came: None,
        };
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::open(directory.path()).unwrap();
        for (instance, now_ms, operation) in [("pup", 10, 1), ("pup", 20, 2), ("other", 20, 1)] {
            let record = decide(instance, &policy, &sight(now_ms), &Memory::default());
            log.write("pup", Decision::Wish(&record)).unwrap();
            let (instance, operation) = (instance.to_owned(), Some(OperationNumber(operation)));
            log.write(
                "pup",
                Decision::Opened(&Opened { decided_ms: now_ms, instance, operation, hindrance: None }),
            )
            .unwrap();
        }
        let found = |operation| {
            let about = About::Operation("pup".parse().unwrap(), OperationNumber(operation));
            let scaled = Scaled { app: "pup", about: &about, directory: directory.path(), began_unix_ms: 0 };
            let mut found = None;
            assert!(read(&scaled, &mut found).unwrap());
            found.map(|it| it.record.sight.now_ms)
        };
        assert_eq!([1, 2, 3].map(found), [Some(10), Some(20), None]);
    }
}
