//! What the store does on a good day, and how it says no.

use crate::disk::PowerDisk;
use crate::{Store, entry, keeping, record};
use paracloud_controller::store::{
    ENTRIES_PER_READ_MAX, ENTRIES_PER_WRITE_MAX, ENTRY_BYTES_MAX, JOURNAL_ENTRIES_MAX, Options,
    RECORD_BYTES_MAX, StoreError, Swap, Table,
};
use serde::{Deserialize, Serialize};
use std::error::Error;

fn store() -> Store {
    Store::open_on(PowerDisk::default(), Options::default()).expect("an empty disk becomes a store")
}

#[test]
fn a_swap_writes_the_record_and_its_entries_together() {
    let store = store();
    assert!(store.was_created());
    let swap = store.swap("web-1", None, &record(1), &[entry("started"), entry("ready")]).unwrap();
    assert_eq!(swap, Swap::Applied);
    assert_eq!(store.get("web-1").unwrap(), Some(record(1)));
    assert_eq!(store.entries(1, 10).unwrap(), [(1, entry("started")), (2, entry("ready"))]);
}

#[test]
fn a_swap_that_expected_another_record_writes_nothing_and_tells_the_one_there_is() {
    let store = store();
    store.swap("web-1", None, &record(1), &[entry("started")]).unwrap();
    for expected in [None, Some(&record(2))] {
        let swap = store.swap("web-1", expected, &record(3), &[entry("never")]).unwrap();
        assert_eq!(swap, Swap::Refused(Some(record(1))));
    }
    let swap = store.swap("web-2", Some(&record(1)), &record(2), &[entry("never")]).unwrap();
    assert_eq!(swap, Swap::Refused(None));
    assert_eq!(store.all().unwrap().into_iter().collect::<Vec<_>>(), [("web-1".to_owned(), record(1))]);
    assert_eq!(store.journal().unwrap(), 1..2);
}

#[test]
fn everything_is_there_after_closing_and_opening() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("state"), Options::default()).unwrap();
    store.swap("web-1", None, &record(1), &[entry("started")]).unwrap();
    store.swap("web-1", Some(&record(1)), &record(2), &[]).unwrap();
    assert_eq!(store.append(&[entry("said")]).unwrap(), 2);
    store.close().unwrap();

    let store =
        Store::open(folder.path().join("state"), Options { create: false, ..Options::default() }).unwrap();
    assert!(!store.was_created());
    assert_eq!(store.get("web-1").unwrap(), Some(record(2)));
    assert_eq!(store.entries(1, 10).unwrap(), [(1, entry("started")), (2, entry("said"))]);
    store.swap("web-1", Some(&record(2)), &record(3), &[entry("moved")]).unwrap();
    assert_eq!(store.journal().unwrap(), 1..4);
}

#[test]
fn opening_again_and_again_does_not_make_the_file_longer() {
    let folder = tempfile::tempdir().unwrap();
    let length = || std::fs::metadata(folder.path().join("store.redb")).unwrap().len();
    let open = || Store::open(folder.path(), keeping(50)).unwrap();
    for number in 1..200 {
        open().append(&[entry(format!("opening {number}"))]).unwrap();
    }
    let settled = length();
    for number in 1..50 {
        open().append(&[entry(format!("opening {number}"))]).unwrap();
    }
    assert_eq!(length(), settled);
}

#[test]
fn the_journal_is_bounded_and_says_what_it_no_longer_has() {
    let store = Store::open_on(PowerDisk::default(), keeping(3)).unwrap();
    for number in 1..=10 {
        assert_eq!(store.append(&[entry(format!("entry {number}"))]).unwrap(), number);
    }
    assert_eq!(store.journal().unwrap(), 8..11);
    let numbers: Vec<_> = store.entries(8, 10).unwrap().into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [8, 9, 10]);
    assert!(matches!(store.entries(7, 10), Err(StoreError::Trimmed { asked: 7, oldest: 8 })));
    assert_eq!(store.entries(11, 10).unwrap(), []);
}

#[test]
fn a_smaller_bound_is_reached_over_the_next_writes() {
    let disk = PowerDisk::default();
    let batch = vec![entry("often"); ENTRIES_PER_WRITE_MAX];
    let store = Store::open_on(disk.clone(), Options::default()).unwrap();
    for _ in 0..10 {
        store.append(&batch).unwrap();
    }
    drop(store);
    let store = Store::open_on(disk, keeping(5)).unwrap();
    assert_eq!(store.journal().unwrap(), 1..641);
    for _ in 0..3 {
        store.append(&[entry("once more")]).unwrap();
    }
    assert_eq!(store.journal().unwrap(), 639..644);
    assert_eq!(store.entries(639, 9).unwrap().len(), 5);
}

#[test]
fn reads_of_the_journal_are_bounded_and_can_be_continued() {
    let store = store();
    let batch = vec![entry("often"); ENTRIES_PER_WRITE_MAX];
    for _ in 0..20 {
        store.append(&batch).unwrap();
    }
    let first = store.entries(1, usize::MAX).unwrap();
    assert_eq!(first.len(), ENTRIES_PER_READ_MAX);
    let rest = store.entries(first.last().unwrap().0 + 1, usize::MAX).unwrap();
    assert_eq!(first.len() + rest.len(), 20 * ENTRIES_PER_WRITE_MAX);
}

#[test]
fn what_is_above_a_bound_is_refused_and_the_store_goes_on() {
    let store = store();
    let large = |bytes: usize| "x".repeat(bytes);
    let huge_record = crate::Record { incarnation: 1, owner: large(RECORD_BYTES_MAX) };
    let refused = [
        store.swap("web-1", None, &huge_record, &[]).unwrap_err(),
        store.swap("web-1", None, &record(1), &[entry(large(ENTRY_BYTES_MAX))]).unwrap_err(),
        store.swap(&large(254), None, &record(1), &[]).unwrap_err(),
        store.append(&vec![entry("often"); ENTRIES_PER_WRITE_MAX + 1]).unwrap_err(),
        store.reserve(u32::MAX, 0).unwrap_err(),
        store.reserve(1, u64::MAX).unwrap_err(),
        Store::open_on(PowerDisk::default(), keeping(JOURNAL_ENTRIES_MAX + 1)).unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, StoreError::AboveBound { .. }), "{error}");
        assert!(!error.poisons());
    }
    assert!(matches!(store.get(""), Err(StoreError::EmptyKey)));
    assert_eq!(store.swap("web-1", None, &record(1), &[]).unwrap(), Swap::Applied);
}

#[test]
fn a_record_that_this_program_does_not_know_is_refused_by_name() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Other {
        incarnation: String,
    }
    let disk = PowerDisk::default();
    Store::open_on(disk.clone(), Options::default()).unwrap().swap("web-1", None, &record(1), &[]).unwrap();
    let store = paracloud_controller::store::Store::<Other, ()>::open_on(disk, Options::default()).unwrap();
    let error = store.get("web-1").unwrap_err();
    assert!(
        matches!(&error, StoreError::NotUnderstood { table: Table::Register, key, .. } if key == "web-1")
    );
    let other = Other { incarnation: "one".to_owned() };
    assert!(matches!(store.swap("web-1", None, &other, &[]), Err(StoreError::NotUnderstood { .. })));
    assert!(store.all().is_err());
}

#[test]
fn after_a_failure_of_the_disk_every_call_answers_with_that_failure() {
    let disk = PowerDisk::default();
    let store = Store::open_on(disk.clone(), Options::default()).unwrap();
    store.swap("web-1", None, &record(1), &[]).unwrap();
    disk.set_fuse(2, false);
    let first = store.swap("web-1", Some(&record(1)), &record(2), &[]).unwrap_err();
    assert!(matches!(first, StoreError::Io { .. }) && first.poisons(), "{first}");
    // The disk is well again: nothing is retried all the same.
    disk.remove_fuse();
    disk.take_written();
    let later = [
        store.get("web-1").unwrap_err(),
        store.all().unwrap_err(),
        store.entries(1, 1).unwrap_err(),
        store.journal().unwrap_err(),
        store.append(&[entry("never")]).unwrap_err(),
        store.reserve(1, 1).unwrap_err(),
        store.swap("web-1", Some(&record(1)), &record(2), &[]).unwrap_err(),
    ];
    for error in later {
        assert!(matches!(error, StoreError::Poisoned { .. }), "{error}");
        assert_eq!(error.source().unwrap().to_string(), first.to_string());
    }
    drop(store);
    assert_eq!(disk.take_written(), [], "a poisoned store writes nothing, also when it is dropped");
    let store = Store::open_on(disk, Options::default()).unwrap();
    assert!([Some(record(1)), Some(record(2))].contains(&store.get("web-1").unwrap()));
}

#[test]
fn a_directory_is_held_by_one_store() {
    let folder = tempfile::tempdir().unwrap();
    let first = Store::open(folder.path(), Options::default()).unwrap();
    let error = Store::open(folder.path(), Options::default()).unwrap_err();
    assert!(matches!(error, StoreError::Held { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    drop(first);
    Store::open(folder.path(), Options::default()).unwrap();
}

#[test]
fn a_store_that_has_vanished_is_not_replaced_by_an_empty_one_unless_that_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { create: false, ..Options::default() };
    assert!(matches!(Store::open(folder.path(), options), Err(StoreError::Absent { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(Store::open(folder.path(), Options::default()).unwrap().was_created());
}

#[test]
fn a_store_that_was_being_made_when_its_maker_died_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("store.redb.new"), b"half a store").unwrap();
    assert!(Store::open(folder.path(), Options::default()).unwrap().was_created());
}
