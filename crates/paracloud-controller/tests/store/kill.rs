//! Processes killed in the middle of it. The child is this test binary again, running the same test.

use crate::{Store, entry, keeping, record};
use paracloud_controller::store::{StoreError, Swap};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const CHILD: &str = "PARACLOUD_STORE_TEST_DIRECTORY";

#[test]
fn what_was_acknowledged_is_there_after_its_writer_was_killed() {
    if let Some(directory) = child_of_a_test() {
        swaps_for_ever(&directory);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut known = 0;
    for round in 1..=8 {
        let mut child =
            again("kill::what_was_acknowledged_is_there_after_its_writer_was_killed", folder.path());
        let mut said = acknowledgements(&mut child);
        for number in said.by_ref().take(round * 7) {
            known = number;
        }
        child.kill().unwrap();
        // What it said before it died was acknowledged too.
        known = said.last().unwrap_or(known);
        child.wait().unwrap();

        let store = Store::open(folder.path(), keeping(50)).unwrap();
        let found = store.get("web-1").unwrap().unwrap();
        assert!([known, known + 1].contains(&found.incarnation), "{found:?}, acknowledged {known}");
        known = found.incarnation;
        assert_eq!(store.journal().unwrap().end, known + 1);
        let kept = store.entries(store.journal().unwrap().start, usize::MAX).unwrap();
        assert!(kept.iter().all(|(number, entry)| entry.said == format!("swap {number}")));
    }
}

#[test]
fn a_directory_is_free_as_soon_as_its_holder_was_killed() {
    if let Some(directory) = child_of_a_test() {
        swaps_for_ever(&directory);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = again("kill::a_directory_is_free_as_soon_as_its_holder_was_killed", folder.path());
    assert_eq!(acknowledgements(&mut child).next(), Some(1));
    let error = Store::open(folder.path(), keeping(50)).unwrap_err();
    assert!(matches!(error, StoreError::Held { pid: Some(pid), .. } if pid == child.id()), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    Store::open(folder.path(), keeping(50)).unwrap();
}

fn child_of_a_test() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Starts this test binary again for one test, as its child.
fn again(test: &str, directory: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("the test binary"));
    command.args([test, "--exact", "--nocapture"]).env(CHILD, directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the test binary again")
}

/// The child's part: it never ends by itself, except when nobody listens any more.
fn swaps_for_ever(directory: &Path) -> ! {
    let store = Store::open(directory, keeping(50)).expect("the child's store");
    let mut current = store.get("web-1").expect("readable");
    loop {
        let number = current.as_ref().map_or(1, |current| current.incarnation + 1);
        let new = record(number);
        let swap = store.swap("web-1", current.as_ref(), &new, &[entry(format!("swap {number}"))]);
        assert_eq!(swap.expect("a good disk"), Swap::Applied);
        current = Some(new);
        let mut out = std::io::stdout();
        writeln!(out, "acknowledged {number}").and_then(|()| out.flush()).expect("somebody listens");
    }
}

fn acknowledgements(child: &mut Child) -> impl Iterator<Item = u64> + use<> {
    let out = child.stdout.take().expect("piped");
    BufReader::new(out).lines().map_while(Result::ok).filter_map(|line| {
        // The test runner's own lines come between.
        line.split_once("acknowledged ").and_then(|(_, number)| number.parse().ok())
    })
}
